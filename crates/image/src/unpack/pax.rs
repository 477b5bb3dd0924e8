//! PAX extended headers (POSIX.1-2024, pax, "ustar extended header"): records of the form `length key=value\n`, whose values
//! may hold any byte. Only the keys used are kept; a key that other readers honour and we do not is refused.

use super::UnpackError;
use super::error::shown;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What one extended header says of the next entry.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    /// Name and value.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pax {
    /// Parses a whole header. `at` is where it is, for errors.
    pub(super) fn parse(mut bytes: &[u8], at: u64) -> Result<Self, UnpackError> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (record, rest) = record(bytes).ok_or(UnpackError::Header { at, field: "extended header" })?;
            if hides_another(&bytes[..bytes.len() - rest.len()]) {
                return Err(UnpackError::Header {
                    at,
                    field: "a record within a record of an extended header",
                });
            }
            bytes = rest;
            let equals = record.iter().position(|byte| *byte == b'=');
            // Python stops at a record without a key, and so misses those behind it.
            let equals = equals.filter(|equals| *equals > 0);
            let equals = equals.ok_or(UnpackError::Header { at, field: "extended header" })?;
            pax.set(&record[..equals], &record[equals + 1..], at)?;
        }
        Ok(pax)
    }

    /// Whether it says anything that decides where or how long an entry is. In a *global* header that would
    /// rename every entry that follows, which some readers do and some do not.
    pub(super) fn decides(&self) -> bool {
        *self != Self::default()
    }

    fn set(&mut self, key: &[u8], value: &[u8], at: u64) -> Result<(), UnpackError> {
        let number =
            || decimal(value).ok_or(UnpackError::Header { at, field: "number in an extended header" });
        match key {
            b"path" => set_once(&mut self.path, value.to_vec(), value, "name"),
            b"linkpath" => set_once(&mut self.link, value.to_vec(), value, "link"),
            b"size" => set_once(&mut self.size, number()?, value, "size"),
            b"uid" => set_once(&mut self.uid, number()?, value, "owner"),
            b"gid" => set_once(&mut self.gid, number()?, value, "group"),
            b"mtime" => {
                let time = timestamp(value).ok_or(UnpackError::Header { at, field: "mtime" })?;
                set_once(&mut self.mtime, time, value, "mtime")
            }
            // Sparse files in PAX form: the size and the name of the entry are not what they seem.
            key if key.starts_with(b"GNU.sparse.") => Err(UnpackError::Kind { entry: shown(key), kind: 'S' }),
            key if key.starts_with(XATTR) => {
                self.xattrs.push((key[XATTR.len()..].to_vec(), value.to_vec()));
                Ok(())
            }
            // Comments, atime, ctime, names of owners, and vendors' notes change nothing here.
            _ => Ok(()),
        }
    }
}

fn set_once<T: PartialEq>(
    slot: &mut Option<T>,
    new: T,
    shown_as: &[u8],
    field: &'static str,
) -> Result<(), UnpackError> {
    if slot.as_ref().is_some_and(|old| *old != new) {
        return Err(UnpackError::Disagreement { entry: shown(shown_as), field });
    }
    *slot = Some(new);
    Ok(())
}

/// Splits off one record: its `key=value` and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return None;
    }
    Some((&bytes[space + 1..length - 1], &bytes[length..]))
}

/// Whether a line of the record's value would itself be a record to a reader that goes by lines (the `tar` crate's does).
fn hides_another(whole: &[u8]) -> bool {
    let lines = whole.split_inclusive(|byte| *byte == b'\n').skip(1);
    lines
        .into_iter()
        .any(|line| record(line).is_some_and(|(inside, rest)| rest.is_empty() && inside.contains(&b'=')))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `seconds[.fraction]`, seconds perhaps negative.
fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // A negative time with a fraction counts from the second below.
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        (true | false, _) => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: &str, value: &str) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while format!("{length}").len() + body != length {
            length += 1;
        }
        format!("{length} {key}={value}\n").into_bytes()
    }

    #[test]
    fn records_may_hold_newlines_and_equal_signs() {
        let bytes =
            [written("path", "a=b\nc"), written("SCHILY.xattr.user.x", "1\n2"), written("mtime", "12.5")];
        let pax = Pax::parse(&bytes.concat(), 0).expect("parses");
        assert_eq!(pax.path.as_deref(), Some(&b"a=b\nc"[..]));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"1\n2".to_vec())]);
        assert_eq!(pax.mtime, Some((12, 500_000_000)));
    }

    #[test]
    fn a_key_given_twice_with_two_values_is_refused() {
        let twice = [written("size", "1"), written("size", "2")].concat();
        assert!(matches!(Pax::parse(&twice, 0), Err(UnpackError::Disagreement { .. })));
    }

    #[test]
    fn a_record_hidden_in_anothers_value_is_refused() {
        let hidden = [b"x\n".as_slice(), &written("path", "y")].concat();
        let value = String::from_utf8(hidden[..hidden.len() - 1].to_vec()).expect("text");
        assert!(Pax::parse(&written("comment", &value), 0).is_err());
        // A line that is no whole record is data.
        Pax::parse(&written("SCHILY.xattr.user.x", "1\n99 path=y\n"), 0).expect("parses");
    }

    #[test]
    fn broken_records_are_refused() {
        for bytes in [
            &b"x"[..],
            b"5 a=b",
            b"99 a=b\n",
            b"0 a=b\n",
            b"6 a-b\n\n",
            b"18446744073709551616 a=b\n",
            b" a=b\n",
            b"5 =b\n",
        ] {
            assert!(Pax::parse(bytes, 0).is_err(), "{bytes:?}");
        }
        assert!(Pax::parse(&written("GNU.sparse.major", "1"), 0).is_err());
        assert!(Pax::parse(&written("size", "-1"), 0).is_err());
    }
}
