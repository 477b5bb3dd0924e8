//! Detach keys: what they are called, and finding them in what is typed.

/// The keys that detach, as the bytes a terminal sends for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        // Ctrl-P, Ctrl-Q.
        Self(vec![0x10, 0x11])
    }
}

/// Keys in the form `ctrl-p,ctrl-q`, `ctrl-x,q`, or empty for none.
pub(crate) fn detach_keys(text: &str) -> Result<DetachKeys, String> {
    let key = |text: &str| match text.as_bytes() {
        [letter] => Some(*letter),
        [prefix @ .., letter] if prefix == b"ctrl-" => match letter.to_ascii_lowercase() {
            letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_') => Some(letter & 0x1f),
            _ => None,
        },
        _ => None,
    };
    if text.is_empty() {
        return Ok(DetachKeys(Vec::new()));
    }
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.map(DetachKeys).ok_or_else(|| format!("{text:?} is not a list of keys such as ctrl-p,ctrl-q"))
}

/// Looks for the keys in a stream of input. Bytes that may be their beginning are held back until it is clear.
#[derive(Debug)]
pub(crate) struct DetachScan {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachScan {
    pub(crate) fn new(keys: &DetachKeys) -> Self {
        Self { keys: keys.0.clone(), matched: 0 }
    }

    /// What is to be passed on of `input`; `None` once the keys were pressed.
    pub(crate) fn pass(&mut self, input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(input.len());
        for &byte in input {
            if self.keys.get(self.matched) != Some(&byte) && self.matched > 0 {
                out.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return None;
                }
            } else {
                out.push(byte);
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_names() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q"), Ok(DetachKeys::default()));
        assert_eq!(detach_keys("ctrl-X,q,ctrl-@"), Ok(DetachKeys(vec![0x18, b'q', 0])));
        for text in ["ctrl", "ctrl-", "ctrl-1", "a,,b", "alt-x"] {
            assert!(detach_keys(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_keys_are_found_across_reads_and_never_passed_on() {
        let mut scan = DetachScan::new(&DetachKeys::default());
        assert_eq!(scan.pass(b"ab\x10"), Some(b"ab".to_vec()));
        assert_eq!(scan.pass(b"c\x10\x10"), Some(b"\x10c\x10".to_vec()));
        assert_eq!(scan.pass(b"\x11"), None);
    }

    #[test]
    fn without_keys_everything_passes() {
        let mut scan = DetachScan::new(&DetachKeys(Vec::new()));
        assert_eq!(scan.pass(b"\x10\x11"), Some(b"\x10\x11".to_vec()));
    }
}
