//! One line of a log segment: `<RFC 3339 time> <stdout|stderr> <F|P> <bytes>\n`
//! (Kubernetes' CRI log format). `P` marks a piece whose line goes on in the next piece of that stream.

/// Which of the process's streams wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// One parsed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Nanoseconds since the epoch.
    pub unix_ns: i64,
    pub stream: LogStream,
    /// What the process wrote, its newline included when the line is whole.
    pub bytes: Vec<u8>,
}

/// Whether this raw line ends a line of the process.
pub(crate) fn is_full(line: &[u8]) -> bool {
    let mut parts = line.splitn(4, |&b| b == b' ');
    parts.nth(2) == Some(b"F")
}

/// Parses a raw line, its own newline already cut. `None` for what is not in the format: a segment cut
/// off by a crash may end in half a line, and a damaged line must not hide the rest.
pub(crate) fn parse(line: &[u8]) -> Option<Entry> {
    let mut parts = line.splitn(4, |&b| b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let unix_ns = time.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    let stream = match parts.next()? {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let full = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut bytes = parts.next()?.to_vec();
    if full {
        bytes.push(b'\n');
    }
    Some(Entry { unix_ns: i64::try_from(unix_ns).ok()?, stream, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_the_format_parses_and_anything_else_does_not() {
        let entry = parse(b"1970-01-01T00:00:01.000000002Z stderr F a b  c").expect("in the format");
        assert_eq!(
            entry,
            Entry { unix_ns: 1_000_000_002, stream: LogStream::Stderr, bytes: b"a b  c\n".to_vec() }
        );
        assert_eq!(parse(b"1970-01-01T00:00:01Z stdout P x").expect("in the format").bytes, b"x");
        for line in [
            &b""[..],
            b"x",
            b"1970-01-01T00:00:01Z stdin F x",
            b"1970-01-01T00:00:01Z stdout",
            b"\xff stdout F x",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
