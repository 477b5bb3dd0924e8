//! Follows one header block (HPACK, RFC 7541 section 6) byte by byte and turns each `%` of a plain
//! `:authority` value into `-`. Fields are read in turn; what the dynamic table holds is never needed, because
//! a value that enters it was mended on the way.

const AUTHORITY: &[u8; 10] = b":authority";
/// `:authority` in the static table.
const AUTHORITY_INDEX: u8 = 1;

/// Where in a block the next byte is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// At the first byte of a field.
    #[default]
    Field,
    /// In the later bytes of a number that nothing depends on; `then` comes after it.
    Number { literal: bool },
    /// At the first byte of a name.
    NameLength,
    /// In a name.
    Name { left: usize, is_authority: bool },
    /// At the first byte of a value.
    ValueLength { is_authority: bool },
    /// In a value.
    Value { left: usize, is_authority: bool },
    /// In the later bytes of a string's length.
    Length { of_name: bool, is_authority: bool, value: usize, shift: u32 },
    /// In something that is not HPACK; h2 will answer it.
    Foreign,
}

/// One header block.
#[derive(Debug, Default)]
pub(super) struct Block {
    place: Place,
}

impl Block {
    /// Takes the block's next byte, and mends it.
    pub(super) fn mend(&mut self, byte: &mut u8) {
        self.place = match self.place {
            Place::Field => field(*byte),
            Place::Number { literal } if *byte & 0x80 != 0 => Place::Number { literal },
            Place::Number { literal: true } => Place::ValueLength { is_authority: false },
            Place::Number { literal: false } => Place::Field,
            Place::NameLength => length(*byte, true, true),
            Place::ValueLength { is_authority } => length(*byte, false, is_authority),
            Place::Name { left, is_authority } => {
                let expected = AUTHORITY.len().checked_sub(left).and_then(|at| AUTHORITY.get(at));
                string(true, left - 1, is_authority && expected == Some(byte))
            }
            Place::Value { left, is_authority } => {
                if is_authority && *byte == b'%' {
                    *byte = b'-';
                }
                string(false, left - 1, is_authority)
            }
            Place::Length { of_name, is_authority, value, shift } => {
                longer(*byte, of_name, is_authority, value, shift)
            }
            Place::Foreign => Place::Foreign,
        };
    }
}

/// The first byte of a field: what kind it is, and an index in its lower bits.
fn field(byte: u8) -> Place {
    let (mask, literal) = match byte {
        0x80.. => (0x7f, false),
        0x40..=0x7f => (0x3f, true),
        0x20..=0x3f => (0x1f, false),
        0..=0x1f => (0x0f, true),
    };
    match (byte & mask, literal) {
        (index, literal) if index == mask => Place::Number { literal },
        (_, false) => Place::Field,
        (0, true) => Place::NameLength,
        (index, true) => Place::ValueLength { is_authority: index == AUTHORITY_INDEX },
    }
}

/// The first byte of a string: whether it is Huffman-coded, and its length or the beginning of it.
fn length(byte: u8, of_name: bool, is_authority: bool) -> Place {
    let is_authority = is_authority && byte & 0x80 == 0;
    match byte & 0x7f {
        0x7f => Place::Length { of_name, is_authority, value: 0x7f, shift: 0 },
        left => string(
            of_name,
            usize::from(left),
            is_authority && (!of_name || usize::from(left) == AUTHORITY.len()),
        ),
    }
}

/// A later byte of a string's length. Four of them are more than any header that h2 takes.
fn longer(byte: u8, of_name: bool, is_authority: bool, value: usize, shift: u32) -> Place {
    if shift > 21 {
        return Place::Foreign;
    }
    let value = value + (usize::from(byte & 0x7f) << shift);
    if byte & 0x80 == 0 {
        string(of_name, value, is_authority && !of_name)
    } else {
        Place::Length { of_name, is_authority, value, shift: shift + 7 }
    }
}

/// The place in a string of which `left` bytes are to come.
fn string(of_name: bool, left: usize, is_authority: bool) -> Place {
    match (of_name, left) {
        (true, 0) => Place::ValueLength { is_authority },
        (false, 0) => Place::Field,
        (true, left) => Place::Name { left, is_authority },
        (false, left) => Place::Value { left, is_authority },
    }
}
