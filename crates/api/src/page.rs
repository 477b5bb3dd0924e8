//! Page tokens: where the next page of a list begins. A token holds the last key that was sent, so a page is
//! found by one seek, and resources made or removed between two pages neither repeat nor hide others. It is
//! hex behind a version digit, so that no client is tempted to read or build one.

use crate::convert::{FieldProblem, InvalidField};

/// The first byte of a token of this form.
const VERSION: char = '1';
/// Bytes of one token; the longest key is a whole image name.
const TOKEN_BYTES_MAX: usize = 2048;

/// The token of the page after `last_key`.
pub fn encode(last_key: &str) -> String {
    use std::fmt::Write as _;
    let mut token = String::with_capacity(1 + last_key.len() * 2);
    token.push(VERSION);
    for byte in last_key.bytes() {
        // Writing to a String cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The key that the field `page_token` of a request begins after; empty means the first page.
pub fn decode(token: &str) -> Result<Option<String>, InvalidField> {
    if token.is_empty() {
        return Ok(None);
    }
    let key = token
        .strip_prefix(VERSION)
        .filter(|hex| {
            token.len() <= TOKEN_BYTES_MAX && hex.len() % 2 == 0 && hex.bytes().all(|b| b.is_ascii_hexdigit())
        })
        .and_then(|hex| {
            let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok());
            String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
        });
    key.map(Some).ok_or_else(|| {
        let text = token.chars().take(160).collect();
        InvalidField::new(
            "page_token",
            FieldProblem::Malformed { text, rule: "a token from the page before" },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_key() {
        for key in ["", "a", "docker.io/library/redis:7", "é\0"] {
            assert_eq!(decode(&encode(key)), Ok(Some(key.to_owned())));
        }
        assert_eq!(decode(""), Ok(None));
    }

    #[test]
    fn a_token_that_gantry_did_not_make_is_refused() {
        let long = encode(&"x".repeat(TOKEN_BYTES_MAX));
        for token in ["0", "2ab", "1a", "1zz", "1ff", "1é", "1+1", long.as_str()] {
            assert!(decode(token).is_err(), "{token}");
        }
    }
}
