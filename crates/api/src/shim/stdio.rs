//! How standard streams are framed on an attachment's socket: one tag byte, a little-endian length of four
//! bytes, the payload. Headers are separate from payloads, so that a writer can gather both in one call and
//! a reader can pass a payload on without copying it.

use std::fmt;

use gantry_types::{Class, Classified};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 5;
/// Bytes of one payload at the most.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 10;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// To the shim: bytes for standard input.
    Stdin,
    /// From the shim: bytes of standard output, or of the terminal.
    Stdout,
    /// From the shim: bytes of standard error.
    Stderr,
    /// From the shim, empty: the process is over and all its output was sent.
    End,
    /// To the shim, empty: end of standard input.
    CloseStdin,
}

/// What stands in front of each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub tag: Tag,
    /// Its bytes.
    pub length: usize,
}

/// Why bytes are not a frame. The attachment they came on is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StdioError {
    /// No such tag.
    #[error("a stream frame has the unknown tag {tag}")]
    Tag {
        /// The byte.
        tag: u8,
    },
    /// A payload over the limit, or one where there must be none.
    #[error("a stream frame with tag {tag} has {length} bytes of payload")]
    Length {
        /// The tag's byte.
        tag: u8,
        /// What the header said.
        length: usize,
    },
}

impl Classified for StdioError {
    fn class(&self) -> Class {
        match self {
            Self::Tag { .. } | Self::Length { .. } => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Tag { .. } => "STREAM_FRAME_TAG",
            Self::Length { .. } => "STREAM_FRAME_LENGTH",
        }
    }
}

impl Tag {
    /// The byte on the wire.
    pub fn as_byte(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::End => 3,
            Self::CloseStdin => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::End, Self::CloseStdin]
            .into_iter()
            .find(|tag| tag.as_byte() == byte)
    }

    fn payload_max(self) -> usize {
        match self {
            Self::Stdin | Self::Stdout | Self::Stderr => PAYLOAD_BYTES_MAX,
            Self::End | Self::CloseStdin => 0,
        }
    }
}

impl Header {
    /// The header's bytes.
    ///
    /// # Panics
    /// If `length` is over [`PAYLOAD_BYTES_MAX`] by so much that it is no 32-bit number.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.length).expect("a payload is at most 32 KiB").to_le_bytes();
        [self.tag.as_byte(), length[0], length[1], length[2], length[3]]
    }

    /// The header at the start of `bytes`; `None` until five bytes are there.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, StdioError> {
        let Some([byte, length @ ..]) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let tag = Tag::from_byte(*byte).ok_or(StdioError::Tag { tag: *byte })?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > tag.payload_max() {
            return Err(StdioError::Length { tag: *byte, length });
        }
        Ok(Some(Self { tag, length }))
    }
}

/// Appends `payload` as frames, split where it is over the limit.
pub fn encode(tag: Tag, payload: &[u8], into: &mut Vec<u8>) {
    for part in payload.chunks(PAYLOAD_BYTES_MAX) {
        into.extend_from_slice(&Header { tag, length: part.len() }.encode());
        into.extend_from_slice(part);
    }
    if payload.is_empty() {
        into.extend_from_slice(&Header { tag, length: 0 }.encode());
    }
}

/// Takes bytes as they come and gives whole frames. Holds at most one frame beside what was added last.
#[derive(Default)]
pub struct StdioReader {
    bytes: Vec<u8>,
    read: usize,
}

impl fmt::Debug for StdioReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are a user's input.
        f.debug_struct("StdioReader").field("waiting_bytes", &(self.bytes.len() - self.read)).finish()
    }
}

impl StdioReader {
    /// A reader with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes are added.
    pub fn next_frame(&mut self) -> Result<Option<(Tag, &[u8])>, StdioError> {
        let waiting = &self.bytes[self.read..];
        let Some(header) = Header::decode(waiting)? else { return Ok(None) };
        let Some(payload) = waiting.get(HEADER_BYTES..HEADER_BYTES + header.length) else { return Ok(None) };
        self.read += HEADER_BYTES + header.length;
        Ok(Some((header.tag, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_whatever_the_pieces() {
        let mut bytes = Vec::new();
        encode(Tag::Stdin, b"hello", &mut bytes);
        encode(Tag::CloseStdin, b"", &mut bytes);
        encode(Tag::Stderr, b"x", &mut bytes);
        for piece in [1, 2, 4, 6, bytes.len()] {
            let mut reader = StdioReader::new();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(piece) {
                reader.extend(chunk);
                while let Some((tag, payload)) = reader.next_frame().expect("well formed") {
                    seen.push((tag, payload.to_vec()));
                }
            }
            let expected = [
                (Tag::Stdin, b"hello".to_vec()),
                (Tag::CloseStdin, Vec::new()),
                (Tag::Stderr, b"x".to_vec()),
            ];
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_payload_over_the_limit_becomes_several_frames() {
        let mut bytes = Vec::new();
        encode(Tag::Stdout, &vec![7; PAYLOAD_BYTES_MAX + 1], &mut bytes);
        let mut reader = StdioReader::new();
        reader.extend(&bytes);
        assert_eq!(
            reader.next_frame().expect("first").map(|(_, payload)| payload.len()),
            Some(PAYLOAD_BYTES_MAX)
        );
        assert_eq!(reader.next_frame().expect("second").map(|(_, payload)| payload.len()), Some(1));
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn unknown_tags_and_impossible_lengths_are_refused() {
        assert_eq!(Header::decode(&[9, 0, 0, 0, 0]), Err(StdioError::Tag { tag: 9 }));
        assert_eq!(Header::decode(&[1, 0, 0, 1, 0]), Err(StdioError::Length { tag: 1, length: 65536 }));
        assert_eq!(Header::decode(&[3, 1, 0, 0, 0]), Err(StdioError::Length { tag: 3, length: 1 }));
        assert_eq!(Header::decode(&[1, 0, 0]), Ok(None));
    }
}
