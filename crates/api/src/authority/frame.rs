//! Follows the frames of one HTTP/2 connection from its client (RFC 9113, section 4), byte by byte where
//! headers are and in strides elsewhere. It holds a few numbers and no bytes of the stream, so nothing that a
//! client sends makes it grow.

use super::block::Block;

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Bytes of the priority fields.
const PRIORITY_BYTES: usize = 5;

/// Where in the connection the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the preface, after so many bytes of it.
    Preface(usize),
    /// In a frame's nine bytes of header, after so many of them.
    Header(usize),
    /// In the first byte of a padded HEADERS frame.
    PadLength,
    /// In a payload.
    Payload,
    /// In something that is not HTTP/2.
    Foreign,
}

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    place: Place,
    header: [u8; 9],
    /// Bytes of the payload that come before its header block.
    skip: usize,
    /// Bytes of the payload that are its header block.
    fragment: usize,
    /// Bytes of the payload that come after it.
    padding: usize,
    block: Block,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            place: Place::Preface(0),
            header: [0; 9],
            skip: 0,
            fragment: 0,
            padding: 0,
            block: Block::default(),
        }
    }
}

impl Frames {
    /// Mends the next bytes of the stream in place.
    pub(super) fn mend(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() && self.place != Place::Foreign {
            let taken = match self.place {
                Place::Preface(at) => self.preface(at, bytes[0]),
                Place::Header(at) => self.header(at, bytes[0]),
                Place::PadLength => self.pad_length(bytes[0]),
                Place::Payload => self.payload(bytes),
                Place::Foreign => return,
            };
            bytes = &mut bytes[taken..];
        }
    }

    fn preface(&mut self, at: usize, byte: u8) -> usize {
        self.place = if PREFACE[at] != byte {
            Place::Foreign
        } else if at + 1 == PREFACE.len() {
            Place::Header(0)
        } else {
            Place::Preface(at + 1)
        };
        1
    }

    fn header(&mut self, at: usize, byte: u8) -> usize {
        self.header[at] = byte;
        if at + 1 < self.header.len() {
            self.place = Place::Header(at + 1);
            return 1;
        }
        let [a, b, c, kind, flags, ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (self.skip, self.fragment, self.padding) = match kind {
            HEADERS if flags & PRIORITY != 0 => (PRIORITY_BYTES, length.saturating_sub(PRIORITY_BYTES), 0),
            HEADERS | CONTINUATION => (0, length, 0),
            _ => (length, 0, 0),
        };
        let padded = kind == HEADERS && flags & PADDED != 0 && length > 0;
        self.place = if padded { Place::PadLength } else { Place::Payload };
        self.end_of_payload();
        1
    }

    fn pad_length(&mut self, byte: u8) -> usize {
        // The byte itself and the padding are of the payload's length; more padding than payload is the
        // client's error, which h2 will answer.
        self.padding = usize::from(byte).min(self.fragment.saturating_sub(1));
        self.fragment = self.fragment.saturating_sub(1 + self.padding);
        self.place = Place::Payload;
        self.end_of_payload();
        1
    }

    fn payload(&mut self, bytes: &mut [u8]) -> usize {
        let part = if self.skip > 0 {
            &mut self.skip
        } else if self.fragment > 0 {
            let taken = self.fragment.min(bytes.len());
            bytes[..taken].iter_mut().for_each(|byte| self.block.mend(byte));
            self.fragment -= taken;
            self.end_of_payload();
            return taken;
        } else {
            &mut self.padding
        };
        let taken = (*part).min(bytes.len());
        *part -= taken;
        self.end_of_payload();
        taken
    }

    /// Turns to the next frame when this one is through.
    fn end_of_payload(&mut self) {
        if self.place != Place::Payload || self.skip + self.fragment + self.padding > 0 {
            return;
        }
        let [_, _, _, kind, flags, ..] = self.header;
        if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0 {
            self.block = Block::default();
        }
        self.place = Place::Header(0);
    }
}
