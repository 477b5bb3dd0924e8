//! The container's log on disk: what init wrote, line by line, in the text format of Kubernetes' CRI
//! (`2026-01-02T03:04:05.678901234Z stdout F text`), in numbered segments of bounded size.
//!
//! ```text
//! <log dir>/log.7     full
//!           log.8     full
//!           log.9     being appended to; log.6 was removed when it began
//! ```
//!
//! Each read from a pipe is written out at once, so a killed shim loses nothing that it had read and no line
//! is held in memory. What is not yet a whole line is flagged `P` and the next piece of that stream goes on
//! with it; a reader joins them. A write that fails is counted and forgotten: a full disk never blocks the
//! container. Where it tore a line, the next successful write begins on a new one. Nothing is fsynced.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gantry_api::shim::LOG_SEGMENT_PREFIX;
use gantry_types::{LOG_SEGMENT_BYTES, LOG_SEGMENTS_MAX};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, fchmod, open, openat, unlinkat};

use crate::clock;

/// Text gathered before a write; about one read of a pipe.
const GATHERED_BYTES: usize = 16 << 10;
/// Content of one record at the most, so that a gathered record always fits.
const CONTENT_BYTES_MAX: usize = 8 << 10;
/// The smallest segment that makes sense.
const SEGMENT_BYTES_MIN: u64 = 4 << 10;

/// Which stream a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The writer of one container's log.
#[derive(Debug)]
pub(crate) struct Log {
    dir: OwnedFd,
    segment: Option<File>,
    number: u64,
    segment_bytes: u64,
    segment_bytes_max: u64,
    segments_max: u64,
    gathered: Vec<u8>,
    /// Bytes of output inside `gathered`, for the count of what a failed write loses.
    gathered_content: u64,
    /// Whether the segment ends in the middle of a record.
    torn: bool,
    /// Whether the last record of each stream, standard output and error, leaves its line unfinished.
    unfinished: [bool; 2],
    /// The same as it is in the segment, without what is gathered: a segment ends where this is not so.
    unfinished_in_segment: bool,
    dropped_bytes: u64,
}

impl Log {
    /// Opens the log in `dir`, going on where an earlier run stopped. Zero limits mean the defaults. A container
    /// that writes nothing gets no segment.
    pub(crate) fn open(dir: &Path, segment_bytes: u64, segments_max: u32) -> io::Result<Self> {
        let dir = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let number = newest_segment(dir.as_fd())?.max(1);
        let segment_bytes_max = if segment_bytes == 0 { LOG_SEGMENT_BYTES } else { segment_bytes };
        let default_segments = u64::try_from(LOG_SEGMENTS_MAX).expect("a small number");
        let segments_max = if segments_max == 0 { default_segments } else { u64::from(segments_max) };
        Ok(Self {
            dir,
            segment: None,
            number,
            segment_bytes: 0,
            segment_bytes_max: segment_bytes_max.max(SEGMENT_BYTES_MIN),
            segments_max,
            gathered: Vec::new(),
            gathered_content: 0,
            torn: false,
            unfinished: [false; 2],
            unfinished_in_segment: false,
            dropped_bytes: 0,
        })
    }

    /// Writes what a stream gave in one read.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let stamp = clock::stamp(clock::unix_ns());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, whole) = match line.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (line, false),
            };
            let mut pieces = content.chunks(CONTENT_BYTES_MAX).peekable();
            if pieces.peek().is_none() {
                self.record(&stamp, stream, whole, b"");
            }
            while let Some(piece) = pieces.next() {
                self.record(&stamp, stream, whole && pieces.peek().is_none(), piece);
            }
        }
        self.write_out();
    }

    /// Bytes of output that could not be written.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    fn record(&mut self, stamp: &[u8], stream: Stream, whole: bool, content: &[u8]) {
        const AROUND_BYTES: usize = clock::STAMP_BYTES + " stdout F \n".len();
        if self.gathered.len() + content.len() + AROUND_BYTES > GATHERED_BYTES {
            self.write_out();
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(GATHERED_BYTES + 1);
        }
        self.gathered.extend_from_slice(stamp);
        self.gathered.extend_from_slice(match (stream, whole) {
            (Stream::Stdout, true) => b" stdout F ",
            (Stream::Stdout, false) => b" stdout P ",
            (Stream::Stderr, true) => b" stderr F ",
            (Stream::Stderr, false) => b" stderr P ",
        });
        self.gathered.extend_from_slice(content);
        self.gathered.push(b'\n');
        self.unfinished[usize::from(stream == Stream::Stderr)] = !whole;
        self.gathered_content += u64::try_from(content.len()).expect("a length");
    }

    fn write_out(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        if self.open_segment().and_then(|()| self.write_gathered()).is_err() {
            self.dropped_bytes += self.gathered_content;
        }
        self.gathered.clear();
        self.gathered_content = 0;
        self.unfinished_in_segment = self.unfinished.contains(&true);
    }

    fn write_gathered(&mut self) -> io::Result<()> {
        if self.torn {
            self.gathered.insert(0, b'\n');
        }
        let segment = self.segment.as_mut().expect("opened before");
        let mut written = 0;
        let result = loop {
            match segment.write(&self.gathered[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if written == self.gathered.len() {
                break Ok(());
            }
        };
        if written > 0 {
            self.segment_bytes += length(&self.gathered[..written]);
            self.torn = self.gathered[written - 1] != b'\n';
        }
        result
    }

    /// The oldest goes first, so that on a full disk the next can begin at all. If it cannot, the current one
    /// stays closed and each write tries again.
    fn next_segment(&mut self) {
        self.segment = None;
        self.torn = false;
        self.number += 1;
        self.segment_bytes = 0;
        if let Some(oldest) = self.number.checked_sub(self.segments_max) {
            // Missing, or removed by a person: either way it is gone.
            let _ = unlinkat(&self.dir, segment_name(oldest), AtFlags::empty());
        }
    }

    /// Makes sure that a segment is open and has room for what is gathered. A line is not split over two segments,
    /// so that one whose beginning is dropped is dropped whole, unless it would double the segment.
    fn open_segment(&mut self) -> io::Result<()> {
        if self.segment.is_none() {
            self.continue_segment()?;
        }
        let bytes_max = self.segment_bytes_max * if self.unfinished_in_segment { 2 } else { 1 };
        if self.segment_bytes > 0 && self.segment_bytes + length(&self.gathered) > bytes_max {
            self.next_segment();
            self.continue_segment()?;
        }
        Ok(())
    }

    fn continue_segment(&mut self) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let segment = openat(&self.dir, segment_name(self.number), flags, Mode::from_raw_mode(0o640))?;
        // Whatever the umask is, the group may read.
        fchmod(&segment, Mode::from_raw_mode(0o640))?;
        self.segment_bytes = u64::try_from(rustix::fs::fstat(&segment)?.st_size).unwrap_or(0);
        if self.segment_bytes > 0 {
            let mut last = [0];
            rustix::io::pread(&segment, &mut last, self.segment_bytes - 1)?;
            self.torn = last != *b"\n";
        }
        self.segment = Some(File::from(segment));
        Ok(())
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a length")
}

fn segment_name(number: u64) -> String {
    let mut name = String::from(LOG_SEGMENT_PREFIX);
    name.push_str(&number.to_string());
    name
}

fn newest_segment(dir: std::os::fd::BorrowedFd<'_>) -> io::Result<u64> {
    let mut newest = 0;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let number = entry.file_name().to_str().ok().and_then(|name| name.strip_prefix(LOG_SEGMENT_PREFIX));
        newest = newest.max(number.and_then(|number| number.parse().ok()).unwrap_or(0));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log's records as (stream, flag, content), after checking that each has a stamp.
    fn records(dir: &Path) -> Vec<(String, String, String)> {
        let mut numbers: Vec<u64> = std::fs::read_dir(dir)
            .expect("readable")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("ascii"))
            .map(|name| name.strip_prefix("log.").expect("only segments").parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        let text: String = numbers
            .iter()
            .map(|number| std::fs::read_to_string(dir.join(format!("log.{number}"))).expect("utf-8"))
            .collect();
        text.lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ').map(str::to_owned);
                assert_eq!(fields.next().expect("stamp").len(), clock::STAMP_BYTES);
                let mut next = || fields.next().expect("a field");
                (next(), next(), next())
            })
            .collect()
    }

    fn record(stream: &str, flag: &str, content: &str) -> (String, String, String) {
        (stream.to_owned(), flag.to_owned(), content.to_owned())
    }

    #[test]
    fn lines_are_whole_and_what_is_not_yet_a_line_is_partial() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = Log::open(dir.path(), 0, 0).expect("open");
        assert_eq!(records(dir.path()), []);
        log.append(Stream::Stdout, b"one\n\ntwo");
        log.append(Stream::Stderr, b"oops\n");
        log.append(Stream::Stdout, b" and a half\n");
        let expected = [
            record("stdout", "F", "one"),
            record("stdout", "F", ""),
            record("stdout", "P", "two"),
            record("stderr", "F", "oops"),
            record("stdout", "F", " and a half"),
        ];
        assert_eq!(records(dir.path()), expected);
        assert_eq!(log.dropped_bytes(), 0);
    }

    #[test]
    fn a_line_longer_than_a_record_is_cut_into_partial_ones() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = Log::open(dir.path(), 0, 0).expect("open");
        let mut line = vec![b'x'; 2 * CONTENT_BYTES_MAX + 1];
        line.push(b'\n');
        log.append(Stream::Stdout, &line);
        let lengths: Vec<_> =
            records(dir.path()).into_iter().map(|(_, flag, content)| (flag, content.len())).collect();
        let partial = ("P".to_owned(), CONTENT_BYTES_MAX);
        assert_eq!(lengths, [partial.clone(), partial, ("F".to_owned(), 1)]);
    }

    #[test]
    fn a_line_that_comes_in_pieces_stays_in_one_segment_unless_it_is_endless() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = Log::open(dir.path(), 4096, 4).expect("open");
        log.append(Stream::Stdout, &[b'a'; 3000]);
        log.append(Stream::Stdout, &[b'a'; 3000]);
        assert!(!dir.path().join("log.2").exists(), "the line's end is with its beginning");
        log.append(Stream::Stdout, b"\n");
        log.append(Stream::Stdout, b"next\n");
        assert!(dir.path().join("log.2").exists(), "the next line begins the next segment");
        for _ in 0..10 {
            log.append(Stream::Stderr, &[b'b'; 3000]);
        }
        assert!(dir.path().join("log.4").exists(), "a line without an end does not grow a segment for ever");
    }

    #[test]
    fn old_segments_go_when_new_ones_begin() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = Log::open(dir.path(), 4096, 2).expect("open");
        let mut line = [b'x'; 1500];
        line[1499] = b'\n';
        for _ in 0..20 {
            log.append(Stream::Stdout, &line);
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("readable")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("ascii"))
            .collect();
        names.sort();
        assert_eq!(names, ["log.10", "log.9"]);
        for name in names {
            assert!(std::fs::metadata(dir.path().join(name)).expect("there").len() <= 4096);
        }
    }

    #[test]
    fn a_second_run_goes_on_in_the_newest_segment_and_never_inside_a_torn_line() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("log.3"), "torn").expect("written");
        let mut log = Log::open(dir.path(), 0, 0).expect("open");
        log.append(Stream::Stdout, b"a\n");
        log.append(Stream::Stdout, b"b\n");
        let text = std::fs::read_to_string(dir.path().join("log.3")).expect("utf-8");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "torn");
        assert!(lines[1].ends_with(" stdout F a") && lines[2].ends_with(" stdout F b"));
    }

    #[test]
    fn a_disk_that_refuses_is_counted_and_written_to_again_later() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut log = Log::open(dir.path(), 0, 0).expect("open");
        log.append(Stream::Stdout, b"first\n");
        // Every write to this device fails with ENOSPC.
        let full = File::options().write(true).open("/dev/full").expect("a kernel device");
        let good = log.segment.replace(full);
        log.append(Stream::Stdout, b"lost\n");
        assert_eq!(log.dropped_bytes(), 4);
        log.segment = good;
        log.append(Stream::Stdout, b"kept\n");
        assert_eq!(records(dir.path()), [record("stdout", "F", "first"), record("stdout", "F", "kept")]);
    }
}
