//! How one message becomes bytes on a control connection: a little-endian length of four bytes and the
//! protobuf. A length is checked before anything is allocated for it.

use gantry_types::{Class, Classified, SHIM_FRAME_BYTES_MAX};
use prost::Message;

/// Bytes of the length in front of each frame.
const HEADER_BYTES: usize = 4;
/// Capacity that an emptied reader keeps; more (a plan) goes back to the allocator.
const KEPT_BYTES: usize = 4096;

/// Why bytes are not a frame. The connection they came on is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is zero or over the limit.
    #[error("a frame of {length} bytes is outside 1 to {SHIM_FRAME_BYTES_MAX}")]
    Length {
        /// What the header said, or what the message would need.
        length: usize,
    },
    /// The bytes are not the message.
    #[error("a frame of {length} bytes does not decode")]
    Decode {
        /// The frame's length.
        length: usize,
        /// What prost says.
        source: prost::DecodeError,
    },
}

impl Classified for FrameError {
    fn class(&self) -> Class {
        match self {
            Self::Length { .. } | Self::Decode { .. } => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Length { .. } => "SHIM_FRAME_LENGTH",
            Self::Decode { .. } => "SHIM_FRAME_DECODE",
        }
    }
}

/// Appends `message` as one frame.
pub fn encode(message: &impl Message, into: &mut Vec<u8>) -> Result<(), FrameError> {
    let length = message.encoded_len();
    let header = u32::try_from(length).ok().filter(|_| (1..=SHIM_FRAME_BYTES_MAX).contains(&length));
    let Some(header) = header else { return Err(FrameError::Length { length }) };
    into.reserve(HEADER_BYTES + length);
    into.extend_from_slice(&header.to_le_bytes());
    // A vector grows, so this cannot fail for want of room.
    message.encode(into).map_err(|_| FrameError::Length { length })
}

/// Takes bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    read: usize,
}

impl FrameReader {
    /// A reader with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what arrived. Call [`Self::next_message`] until it gives `None` before adding more, so that what is held
    /// stays near one frame.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more bytes are added.
    pub fn next_message<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let waiting = &self.bytes[self.read..];
        let Some(header) = waiting.first_chunk::<HEADER_BYTES>() else {
            self.compact();
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if !(1..=SHIM_FRAME_BYTES_MAX).contains(&length) {
            return Err(FrameError::Length { length });
        }
        let Some(payload) = waiting.get(HEADER_BYTES..HEADER_BYTES + length) else {
            self.compact();
            return Ok(None);
        };
        let message = M::decode(payload).map_err(|source| FrameError::Decode { length, source })?;
        self.read += HEADER_BYTES + length;
        Ok(Some(message))
    }

    /// Whether a frame has begun and is not whole: an end of file here is not a clean one.
    pub fn is_mid_frame(&self) -> bool {
        self.read < self.bytes.len()
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.read);
        self.read = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::v1::{KillRequest, Request, request::Action};
    use super::*;

    fn kill(id: u64) -> Request {
        Request {
            id,
            action: Some(Action::Kill(KillRequest { exec_id: String::new(), signal: 15, all: false })),
        }
    }

    #[test]
    fn messages_come_back_whole_whatever_the_pieces() {
        let mut bytes = Vec::new();
        for id in 1..=3 {
            encode(&kill(id), &mut bytes).expect("small");
        }
        for piece in [1, 2, 3, 7, bytes.len()] {
            let mut reader = FrameReader::new();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(piece) {
                reader.extend(chunk);
                while let Some(request) = reader.next_message::<Request>().expect("well formed") {
                    seen.push(request);
                }
            }
            assert_eq!(seen, [kill(1), kill(2), kill(3)]);
            assert!(!reader.is_mid_frame());
        }
    }

    #[test]
    fn a_length_outside_the_limits_is_refused_before_its_bytes_arrive() {
        for length in [0, u32::try_from(SHIM_FRAME_BYTES_MAX).expect("4 MiB") + 1, u32::MAX] {
            let mut reader = FrameReader::new();
            reader.extend(&length.to_le_bytes());
            assert!(matches!(reader.next_message::<Request>(), Err(FrameError::Length { .. })));
        }
    }

    #[test]
    fn a_frame_that_is_no_message_is_an_error() {
        let mut reader = FrameReader::new();
        reader.extend(&[2, 0, 0, 0, 0xff, 0xff]);
        assert!(matches!(reader.next_message::<Request>(), Err(FrameError::Decode { length: 2, .. })));
    }

    #[test]
    fn a_large_frame_leaves_no_memory_behind() {
        let mut reader = FrameReader::new();
        let mut request = kill(1);
        if let Some(Action::Kill(kill)) = &mut request.action {
            kill.exec_id = "x".repeat(1 << 20);
        }
        let mut bytes = Vec::new();
        encode(&request, &mut bytes).expect("under the limit");
        reader.extend(&bytes);
        assert!(reader.next_message::<Request>().expect("well formed").is_some());
        assert!(reader.next_message::<Request>().expect("nothing left").is_none());
        assert!(reader.bytes.capacity() <= KEPT_BYTES);
    }
}
