//! The D-Bus messages of five calls (D-Bus Specification, "Marshaling" and "Message Protocol"), little-endian. Encoding
//! knows the few types that these calls have; decoding reads headers and the strings at a body's beginning, refuses what
//! does not add up, and never trusts a length. Pure.

use super::SystemdError;

/// Bytes of one message; systemd's answers are some hundred.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Bytes of a header before its list of fields.
pub(super) const PREFIX: usize = 16;

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `s`.
    Text(String),
    /// `b`.
    Flag(bool),
    /// `t`.
    Number(u64),
    /// `au`.
    Numbers(Vec<u32>),
    /// `ay`.
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Flag(_) => "b",
            Self::Number(_) => "t",
            Self::Numbers(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An answer.
    Return,
    /// A refusal.
    Error,
    /// Something that happened.
    Signal,
    /// A call, or what later versions may add.
    Other,
}

/// A message that came, as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The call that it answers.
    pub(super) reply_to: Option<u32>,
    /// A signal's name.
    pub(super) member: String,
    /// An error's name.
    pub(super) error: String,
    signature: String,
    body: Vec<u8>,
}

/// Bytes that grow, each value at its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.number(value.into());
    }

    /// A string or an object's path.
    pub(super) fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).expect("signatures are short"));
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// A list whose items are at this alignment. Its length does not count the padding before the first of them.
    pub(super) fn array(&mut self, alignment: usize, items: impl FnOnce(&mut Self)) {
        self.number(0);
        let at = self.bytes.len() - 4;
        self.align(alignment);
        let first = self.bytes.len();
        items(self);
        let bytes = length(self.bytes.len() - first);
        self.bytes[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Text(text) => self.text(text),
            Value::Flag(flag) => self.flag(*flag),
            Value::Number(number) => {
                self.align(8);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Numbers(numbers) => self.array(4, |list| {
                for number in numbers {
                    list.number(*number);
                }
            }),
            Value::Bytes(bytes) => self.array(1, |list| list.bytes.extend(bytes)),
        }
    }
}

/// Where a call goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

/// A call with its number.
pub(super) fn call(target: Target, member: &str, signature: &str, body: &Writer, serial: u32) -> Vec<u8> {
    const METHOD_CALL: u8 = 1;
    const VERSION: u8 = 1;
    let mut message = Writer { bytes: vec![b'l', METHOD_CALL, 0, VERSION] };
    message.number(length(body.bytes.len()));
    message.number(serial);
    message.array(8, |fields| {
        let texts = [
            (1, "o", target.path),
            (2, "s", target.interface),
            (3, "s", member),
            (6, "s", target.destination),
        ];
        for (code, kind, text) in texts {
            fields.align(8);
            fields.bytes.push(code);
            fields.signature(kind);
            fields.text(text);
        }
        if !signature.is_empty() {
            fields.align(8);
            fields.bytes.push(8);
            fields.signature("g");
            fields.signature(signature);
        }
    });
    message.align(8);
    message.bytes.extend(&body.bytes);
    message.bytes
}

/// How long the message is whose first [`PREFIX`] bytes these are.
pub(super) fn total(prefix: &[u8; PREFIX]) -> Result<usize, SystemdError> {
    let number = |at: usize| {
        let bytes = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
        usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
    };
    let total = PREFIX.checked_add(number(12)).map(|header| header.next_multiple_of(8));
    let total = total.and_then(|header| header.checked_add(number(4)));
    match total {
        Some(total) if prefix[0] == b'l' && total <= BYTES_MAX => Ok(total),
        _ => Err(SystemdError::Malformed),
    }
}

/// Reads a whole message.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, SystemdError> {
    let prefix = bytes.first_chunk::<PREFIX>().ok_or(SystemdError::Malformed)?;
    if total(prefix)? != bytes.len() {
        return Err(SystemdError::Malformed);
    }
    let kind = match prefix[1] {
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Other,
    };
    let mut reader = Reader { bytes, at: 12 };
    let end = PREFIX + usize::try_from(reader.number()?).unwrap_or(usize::MAX);
    let (mut reply_to, mut member, mut error, mut signature) = (None, "", "", "");
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?) {
            (5, "u") => reply_to = Some(reader.number()?),
            (3, "s") => member = reader.text()?,
            (4, "s") => error = reader.text()?,
            (8, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.number()?),
            _ => return Err(SystemdError::Malformed),
        }
    }
    let body = bytes.get(end.next_multiple_of(8)..).ok_or(SystemdError::Malformed)?.to_vec();
    let (member, error, signature) = (member.to_owned(), error.to_owned(), signature.to_owned());
    Ok(Message { kind, reply_to, member, error, signature, body })
}

impl Message {
    /// The strings and paths at the body's beginning, numbers left out.
    pub(super) fn texts(&self) -> Result<Vec<&str>, SystemdError> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let mut texts = Vec::new();
        for kind in self.signature.chars() {
            match kind {
                's' | 'o' => texts.push(reader.text()?),
                'u' => drop(reader.number()?),
                _ => break,
            }
        }
        Ok(texts)
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], SystemdError> {
        let end = self.at.checked_add(count).ok_or(SystemdError::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(SystemdError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, SystemdError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, SystemdError> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| SystemdError::Malformed)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<&'b str, SystemdError> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.terminated(count)
    }

    fn signature(&mut self) -> Result<&'b str, SystemdError> {
        let count = self.byte()?.into();
        self.terminated(count)
    }

    fn terminated(&mut self, count: usize) -> Result<&'b str, SystemdError> {
        let text = std::str::from_utf8(self.take(count)?).map_err(|_| SystemdError::Malformed)?;
        if self.byte()? == 0 { Ok(text) } else { Err(SystemdError::Malformed) }
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("our messages are short")
}

#[cfg(test)]
mod tests;
