//! A blocking reader over a container's segments: where to start, then batch after batch in order.
//!
//! It holds one open segment and its number. When that segment is at its end and a later one exists it
//! goes on there; so a rotation is not seen by whoever follows. A segment dropped while it is being read
//! is still read to its end through the open descriptor.

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

/// The reader. All calls block on the disk.
#[derive(Debug)]
pub(crate) struct LogReader {
    folder: PathBuf,
    current: Option<(u64, BufReader<File>)>,
    /// A raw line whose end is not yet written.
    pending: Vec<u8>,
}

impl LogReader {
    /// Opens the log in `folder` at `start`. A folder without segments is an empty log that may grow.
    pub(crate) fn open(folder: &Path, start: Start) -> io::Result<Self> {
        let mut reader = Self { folder: folder.to_owned(), current: None, pending: Vec::new() };
        match start {
            Start::Oldest => {}
            Start::Tail(lines) => reader.seek_tail(lines)?,
        }
        Ok(reader)
    }

    /// The next lines, fewer than [`BATCH_LINES`] only at the present end; empty means nothing new yet.
    pub(crate) fn next_batch(&mut self) -> io::Result<Vec<Entry>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_LINES {
            let Some((number, segment)) = &mut self.current else {
                if !self.open_next(0)? {
                    break;
                }
                continue;
            };
            let number = *number;
            match read_line(segment, &mut self.pending)? {
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
                    self.current = Some((number, BufReader::with_capacity(32 << 10, file)));
                    return Ok(true);
                }
                // Rotation dropped it between the listing and the open.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Places the reader before the last `lines` whole lines.
    fn seek_tail(&mut self, lines: usize) -> io::Result<()> {
        let mut wanted = lines;
        for number in segments(&self.folder)?.into_iter().rev() {
            let Ok(file) = File::open(segment_path(&self.folder, number)) else { continue };
            let mut segment = BufReader::with_capacity(32 << 10, file);
            let (offset, found) = offset_of_tail(&mut segment, wanted)?;
            segment.seek(SeekFrom::Start(offset))?;
            self.current = Some((number, segment));
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

/// Reads on into `line` until a newline (cut off) or the present end. Overlong lines are cut.
fn read_line(segment: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<Line> {
    loop {
        let available = segment.fill_buf()?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let (taken, whole) = match available.iter().position(|&b| b == b'\n') {
            Some(at) => (at, true),
            None => (available.len(), false),
        };
        let room = LINE_BYTES_MAX.saturating_sub(line.len()).min(taken);
        line.extend_from_slice(&available[..room]);
        segment.consume(taken + usize::from(whole));
        if whole {
            return Ok(Line::Whole);
        }
    }
}

/// Where the last `wanted` whole lines of a segment begin, and how many of them there are. A line's
/// leading pieces belong to it.
fn offset_of_tail(segment: &mut BufReader<File>, wanted: usize) -> io::Result<(u64, usize)> {
    let mut starts = VecDeque::new();
    let mut position = 0;
    let mut line_start = 0;
    let mut raw = Vec::new();
    while let Line::Whole = read_line(segment, &mut raw)? {
        position = segment.stream_position()?;
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
        let mut reader = LogReader::open(folder.path(), Start::Oldest).expect("opens");
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
            let mut reader = LogReader::open(folder.path(), Start::Tail(lines)).expect("opens");
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
        let mut reader = LogReader::open(folder.path(), Start::Oldest).expect("opens");
        assert_eq!(read(&mut reader), "a\n");
        file.write_all(b"out F b\n").expect("written");
        assert_eq!(read(&mut reader), "b\n");
    }
}
