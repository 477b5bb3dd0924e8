//! A blocking reader over a container's segments: where to start, then batch after batch in order.
//!
//! It holds one open segment and its number. When that segment is at its end and a later one exists it
//! goes on there; so a rotation is not seen by whoever follows. A segment dropped while it is being read
//! is still read to its end through the open descriptor. A reader that does not follow is told to stop where the
//! log ended when it was opened: a container may write faster than anybody reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::{self, Entry};

/// Lines handed out at once.
const BATCH_LINES: usize = 256;
/// Longest raw line that is believed; the shim cuts at 16 KiB.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The oldest line kept.
    Oldest,
    /// The last so many whole lines.
    Tail(usize),
}

/// Where reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nowhere: whatever is written later is read too.
    Never,
    /// With the line that was the last one when the log was opened.
    Present,
}

/// The reader. All calls block on the disk.
#[derive(Debug)]
pub(crate) struct LogReader {
    folder: PathBuf,
    current: Option<Segment>,
    /// Where to stop, in which segment; `None` is nowhere.
    end: Option<Position>,
    /// A raw line whose end is not yet written.
    pending: Vec<u8>,
}

/// A segment that is being read.
#[derive(Debug)]
struct Segment {
    file: BufReader<File>,
    at: Position,
}

/// A place in the log; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    segment: u64,
    offset: u64,
}

impl LogReader {
    /// Opens the log in `folder` at `start`. A folder without segments is an empty log that may grow.
    pub(crate) fn open(folder: &Path, start: Start, end: End) -> io::Result<Self> {
        let present = present_end(folder)?;
        let mut reader = Self { folder: folder.to_owned(), current: None, end: None, pending: Vec::new() };
        match start {
            Start::Oldest => {}
            Start::Tail(lines) => reader.seek_tail(lines, present)?,
        }
        match end {
            End::Never => {}
            End::Present => reader.end = Some(present),
        }
        Ok(reader)
    }

    /// The next lines, fewer than [`BATCH_LINES`] only at the end or the present one; empty means nothing new yet.
    pub(crate) fn next_batch(&mut self) -> io::Result<Vec<Entry>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_LINES {
            let Some(segment) = &mut self.current else {
                if !self.open_next(0)? {
                    break;
                }
                continue;
            };
            if self.end.is_some_and(|end| segment.at >= end) {
                break;
            }
            let number = segment.at.segment;
            match segment.read_line(&mut self.pending)? {
                Line::Whole => {
                    batch.extend(entry::parse(&self.pending));
                    self.pending.clear();
                }
                Line::End => {
                    // The writer only leaves a segment at a line's end, so what is pending belongs to this one.
                    if !self.open_next(number + 1)? {
                        break;
                    }
                    self.pending.clear();
                }
            }
        }
        Ok(batch)
    }

    /// Goes to the first segment numbered `from` or later; false when there is none.
    fn open_next(&mut self, from: u64) -> io::Result<bool> {
        for number in segments(&self.folder)?.into_iter().filter(|&number| number >= from) {
            match File::open(segment_path(&self.folder, number)) {
                Ok(file) => {
                    self.current = Some(Segment::new(file, number));
                    return Ok(true);
                }
                // Rotation dropped it between the listing and the open.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Places the reader before the last `lines` whole lines before `end`.
    fn seek_tail(&mut self, lines: usize, end: Position) -> io::Result<()> {
        let mut wanted = lines;
        for number in segments(&self.folder)?.into_iter().rev() {
            let Ok(file) = File::open(segment_path(&self.folder, number)) else { continue };
            let mut segment = Segment::new(file, number);
            let (offset, found) = segment.offset_of_tail(wanted, end)?;
            segment.file.seek(SeekFrom::Start(offset))?;
            segment.at.offset = offset;
            self.current = Some(segment);
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        Ok(())
    }
}

enum Line {
    Whole,
    End,
}

impl Segment {
    fn new(file: File, number: u64) -> Self {
        let at = Position { segment: number, offset: 0 };
        Self { file: BufReader::with_capacity(32 << 10, file), at }
    }

    /// Reads on into `line` until a newline (cut off) or the present end. Overlong lines are cut.
    fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        loop {
            let available = self.file.fill_buf()?;
            if available.is_empty() {
                return Ok(Line::End);
            }
            let (taken, whole) = match available.iter().position(|&b| b == b'\n') {
                Some(at) => (at, true),
                None => (available.len(), false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(line.len()).min(taken);
            line.extend_from_slice(&available[..room]);
            let consumed = taken + usize::from(whole);
            self.file.consume(consumed);
            self.at.offset += consumed as u64;
            if whole {
                return Ok(Line::Whole);
            }
        }
    }

    /// Where the last `wanted` whole lines before `end` begin, and how many of them there are. A line's
    /// leading pieces belong to it.
    fn offset_of_tail(&mut self, wanted: usize, end: Position) -> io::Result<(u64, usize)> {
        let mut starts = VecDeque::new();
        let mut position = 0;
        let mut line_start = 0;
        let mut raw = Vec::new();
        while self.at < end
            && let Line::Whole = self.read_line(&mut raw)?
        {
            position = self.at.offset;
            if entry::is_full(&raw) {
                starts.push_back(line_start);
                if starts.len() > wanted {
                    starts.pop_front();
                }
                line_start = position;
            }
            raw.clear();
        }
        // With nothing wanted, reading starts behind everything; unfinished pieces at the end are new output.
        let behind = if wanted == 0 { position } else { line_start.min(position) };
        let offset = starts.front().copied().unwrap_or(behind);
        Ok((offset, starts.len()))
    }
}

/// Where the log ends now.
fn present_end(folder: &Path) -> io::Result<Position> {
    while let Some(segment) = segments(folder)?.last().copied() {
        match std::fs::metadata(segment_path(folder, segment)) {
            Ok(file) => return Ok(Position { segment, offset: file.len() }),
            // Rotation dropped it, so there are later ones.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Position { segment: 0, offset: 0 })
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("log.{number}"))
}

/// Numbers of the segments there are, ascending.
fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers: Vec<u64> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("log.")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn write(folder: &Path, number: u64, lines: &[&str]) {
        let mut file =
            File::options().create(true).append(true).open(segment_path(folder, number)).expect("a segment");
        for line in lines {
            writeln!(file, "1970-01-01T00:00:01Z stdout {line}").expect("a line");
        }
    }

    fn read(reader: &mut LogReader) -> String {
        let entries = reader.next_batch().expect("readable");
        entries.into_iter().map(|entry| String::from_utf8(entry.bytes).expect("text")).collect()
    }

    #[test]
    fn reading_goes_on_across_a_rotation() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut reader = LogReader::open(folder.path(), Start::Oldest, End::Never).expect("opens");
        assert_eq!(read(&mut reader), "");
        write(folder.path(), 1, &["F a", "P b"]);
        assert_eq!(read(&mut reader), "a\nb");
        write(folder.path(), 1, &["F c"]);
        write(folder.path(), 2, &["F d"]);
        std::fs::remove_file(segment_path(folder.path(), 1)).expect("rotated away");
        assert_eq!(read(&mut reader), "c\nd\n");
        assert_eq!(read(&mut reader), "");
    }

    #[test]
    fn a_tail_counts_whole_lines_over_segments() {
        let folder = tempfile::tempdir().expect("a temp folder");
        write(folder.path(), 3, &["F a", "F b"]);
        write(folder.path(), 4, &["P c", "F d", "P e"]);
        for (lines, expected) in [(0, ""), (1, "cd\ne"), (2, "b\ncd\ne"), (9, "a\nb\ncd\ne")] {
            let mut reader = LogReader::open(folder.path(), Start::Tail(lines), End::Never).expect("opens");
            assert_eq!(read(&mut reader), expected, "{lines}");
        }
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let folder = tempfile::tempdir().expect("a temp folder");
        write(folder.path(), 1, &["F a"]);
        let mut file =
            File::options().append(true).open(segment_path(folder.path(), 1)).expect("the segment");
        file.write_all(b"1970-01-01T00:00:01Z std").expect("written");
        let mut reader = LogReader::open(folder.path(), Start::Oldest, End::Never).expect("opens");
        assert_eq!(read(&mut reader), "a\n");
        file.write_all(b"out F b\n").expect("written");
        assert_eq!(read(&mut reader), "b\n");
    }

    #[test]
    fn a_reader_that_stops_at_the_present_end_does_not_read_what_comes_later() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let open = |start| LogReader::open(folder.path(), start, End::Present).expect("opens");
        let mut before_all = open(Start::Oldest);
        write(folder.path(), 1, &["F a", "F b"]);
        let half = b"1970-01-01T00:00:01Z stdout F c";
        let mut file =
            File::options().append(true).open(segment_path(folder.path(), 1)).expect("the segment");
        file.write_all(half).expect("written");
        let (mut all, mut last, mut none) = (open(Start::Oldest), open(Start::Tail(1)), open(Start::Tail(0)));
        file.write_all(b"\n").expect("written");
        write(folder.path(), 1, &["F d"]);
        write(folder.path(), 2, &["F e"]);
        assert_eq!(read(&mut before_all), "");
        // The line that was being written when the log was opened is the last.
        assert_eq!(read(&mut all), "a\nb\nc\n");
        assert_eq!(read(&mut all), "");
        assert_eq!(read(&mut last), "b\nc\n");
        assert_eq!(read(&mut none), "c\n");
    }
}
