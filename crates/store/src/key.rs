//! How a row's key becomes bytes: in the order of the keys, and so that the bytes of a tuple's first
//! fields are a prefix of the whole, because listing a namespace is a scan of a prefix.
//!
//! ```text
//! u64      8 bytes, big endian
//! text     its bytes with 00 written as 01 01 and 01 as 01 02, then 00
//! tuple    its fields, one after the other
//! ```
//!
//! Deliberately absent: keys that can be of several shapes. A table has one shape of key.

use std::fmt::Display;
use std::str::FromStr;

/// A key's longest encoding in bytes. sled's index pages stay in its log file only while keys are short
/// (see `backend/disk.rs`), and the longest image reference with its namespace is 447 bytes.
pub(crate) const KEY_BYTES_MAX: usize = 480;

/// Something rows are found by.
pub trait Key: Sized {
    /// Appends the encoding of this key.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes a key from the front of `bytes`; `None` when there is none of this shape.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;

    /// The encoding by itself.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        self.encode(&mut out);
        out
    }

    /// The key that is exactly `bytes`.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let key = Self::decode(&mut bytes)?;
        bytes.is_empty().then_some(key)
    }
}

impl Key for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self::from_be_bytes(*head))
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        decode_text(bytes)
    }
}

/// A text type of the vocabulary is keyed by its text.
macro_rules! text_key {
    ($($name:ident),*) => {$(
        impl Key for gantry_types::$name {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_displayed(self, out);
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                decode_parsed(bytes)
            }
        }
    )*};
}

text_key!(
    Namespace,
    ContainerId,
    ContainerName,
    ExecId,
    SnapshotKey,
    LeaseId,
    RequestId,
    Digest,
    Reference,
    NetworkId,
    NetworkName,
    EndpointId,
    SandboxId
);

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}

/// Key bytes as people read them in an export and in an error: printable ASCII as it is, the rest and
/// `%` as `%XX`.
pub(crate) fn readable(key: &[u8]) -> String {
    use std::fmt::Write as _;

    key.iter().fold(String::with_capacity(key.len() + 8), |mut text, &byte| {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("writing to a String succeeds");
        }
        text
    })
}

/// The bytes [`readable`] was made from.
pub(crate) fn from_readable(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut key = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
            key.push(u8::try_from(value).ok()?);
        } else {
            key.push(byte);
        }
    }
    Some(key)
}

fn encode_displayed(value: &impl Display, out: &mut Vec<u8>) {
    encode_text(&value.to_string(), out);
}

fn decode_parsed<T: FromStr>(bytes: &mut &[u8]) -> Option<T> {
    decode_text(bytes)?.parse().ok()
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            0 => out.extend_from_slice(&[1, 1]),
            1 => out.extend_from_slice(&[1, 2]),
            plain => out.push(plain),
        }
    }
    out.push(0);
}

fn decode_text(bytes: &mut &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let (text, rest) = (&bytes[..end], &bytes[end + 1..]);
    let mut plain = Vec::with_capacity(text.len());
    let mut escaped = text.iter();
    while let Some(&byte) = escaped.next() {
        plain.push(if byte == 1 { escaped.next()?.checked_sub(1)? } else { byte });
    }
    *bytes = rest;
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_sort_as_their_bytes_do(a: (String, u64), b: (String, u64)) {
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }

        #[test]
        fn texts_with_control_bytes_sort_as_their_bytes_do(
            a in "[\u{0}-\u{3}a]{0,4}", b in "[\u{0}-\u{3}a]{0,4}", x: u64, y: u64,
        ) {
            let (a, b) = ((a, x), (b, y));
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
            prop_assert_eq!(Some(a.clone()), Key::from_bytes(&a.to_bytes()));
        }

        #[test]
        fn every_key_comes_back(key: (String, u64, String)) {
            prop_assert_eq!(Some(key.clone()), Key::from_bytes(&key.to_bytes()));
        }

        #[test]
        fn readable_keys_come_back(key: Vec<u8>) {
            prop_assert_eq!(Some(key.clone()), from_readable(&readable(&key)));
        }

        #[test]
        fn arbitrary_bytes_are_never_a_panic(bytes: Vec<u8>) {
            let _ = <(String, u64)>::from_bytes(&bytes);
            let _ = from_readable(&String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_first_field_of_a_tuple_is_a_prefix_of_that_namespace_only() {
        let of = |text: &str| text.to_owned().to_bytes();
        let key = ("ab".to_owned(), "c".to_owned()).to_bytes();
        assert!(key.starts_with(&of("ab")));
        assert!(!key.starts_with(&of("a")));
    }
}
