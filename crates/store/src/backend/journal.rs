//! The file in front of the database: every batch is one record in it, in place and synced by one `fdatasync`
//! before anybody is told. A batch in sled costs a dozen wake-ups of its threads and writes more than it was given; here
//! it is one write into bytes that were there before, so the file system's own journal has no part in it.
//!
//! ```text
//! record, at a multiple of 512     magic 8, sequence 8, length 4, zero 4, digest 16, payload, zeros
//! payload, once per row            table length 2, table, key length 2, key, then
//!                                  0: the row goes;  1: revision 8, value length 4, value
//! ```
//!
//! Numbers are little endian. Sequences go up by one and never start anew. When the file is full its rows are
//! in the database, and the next record is written at its front: what stands behind it then has lower numbers. A
//! record that is not whole is one whose write was cut off, and the last: the next is written only when it is synced.
//! If a whole one with a higher number is found behind it, it was damaged, and that is an error.
//!
//! Deliberately absent: what is in the database already. Who reads passes by what has a number up to the one there.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{BackendError, Change};
use crate::folder::{io, sync_path};

const MAGIC: [u8; 8] = *b"gantryj1";
/// What a disk writes whole: a record that is synced is never written over with the one behind it.
const BLOCK_BYTES: usize = 512;
const HEADER_BYTES: usize = 40;
const DIGEST_BYTES: usize = 16;

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    capacity: usize,
    /// Where the next record goes.
    tail: usize,
    is_new: bool,
}

/// One record, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) sequence: u64,
    pub(super) changes: Vec<Change>,
}

impl Journal {
    /// Opens the file, or makes one of `capacity` bytes that are on disk before anything is in them.
    pub(super) fn open(path: &Path, capacity: usize) -> Result<Self, BackendError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(io("open", path))?;
        let length = file.metadata().map_err(io("read", path))?.len();
        let length = usize::try_from(length).expect("usize has 64 bits");
        if length < capacity {
            file.write_all_at(&vec![0; capacity - length], u64::try_from(length).expect("a length"))
                .map_err(io("write", path))?;
            file.sync_all().map_err(io("sync", path))?;
            if let Some(folder) = path.parent() {
                sync_path(folder)?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            capacity: capacity.max(length),
            tail: 0,
            is_new: length < capacity,
        })
    }

    /// Whether it was made by this open, or its making had not come to its end.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The records after number `settled`, in order. What is written next goes behind the last of them.
    pub(super) fn read(&mut self, settled: u64) -> Result<Vec<Batch>, BackendError> {
        let mut bytes = vec![0; self.capacity];
        self.file.read_exact_at(&mut bytes, 0).map_err(io("read", &self.path))?;
        let (mut batches, mut at, mut previous) = (Vec::new(), 0, None);
        while let Some((batch, length)) = record(&bytes[at..]) {
            if previous.is_some_and(|previous| batch.sequence != previous + 1) {
                break;
            }
            previous = Some(batch.sequence);
            at += length;
            batches.push(batch);
        }
        let newest = previous.unwrap_or(0);
        let behind = (at..self.capacity).step_by(BLOCK_BYTES).filter_map(|at| sequence(&bytes[at..]));
        if let Some(found) = behind.filter(|found| *found > newest.max(settled) + 1).max() {
            return Err(BackendError::JournalDamaged {
                path: self.path.clone(),
                expected: newest + 1,
                found,
            });
        }
        if newest <= settled {
            self.tail = 0;
            return Ok(Vec::new());
        }
        if let Some(first) = batches.first().filter(|first| first.sequence > settled + 1) {
            let (expected, found) = (settled + 1, first.sequence);
            return Err(BackendError::JournalDamaged { path: self.path.clone(), expected, found });
        }
        self.tail = at;
        batches.retain(|batch| batch.sequence > settled);
        Ok(batches)
    }

    /// Whether there is room for `bytes` behind the last record.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.tail + bytes <= self.capacity
    }

    /// Whether it could ever be written here.
    pub(super) fn could_hold(&self, bytes: usize) -> bool {
        bytes <= self.capacity
    }

    /// Writes encoded records, for which there is room, behind the last and returns when they survive a power cut.
    pub(super) fn append(&mut self, records: &[u8]) -> Result<(), BackendError> {
        let at = u64::try_from(self.tail).expect("a length");
        self.file.write_all_at(records, at).map_err(io("write", &self.path))?;
        self.file.sync_data().map_err(io("sync", &self.path))?;
        self.tail += records.len();
        Ok(())
    }

    /// Starts at the front again: everything in it is in the database, durably.
    pub(super) fn restart(&mut self) {
        self.tail = 0;
    }
}

/// Appends one record to `out`.
pub(super) fn encode(sequence: u64, changes: &[Change], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    let short = |length: usize| u16::try_from(length).expect("names and keys are limited").to_le_bytes();
    let long = |length: usize| u32::try_from(length).expect("values are limited").to_le_bytes();
    for change in changes {
        out.extend_from_slice(&short(change.table.len()));
        out.extend_from_slice(change.table.as_bytes());
        out.extend_from_slice(&short(change.key.len()));
        out.extend_from_slice(&change.key);
        match &change.row {
            None => out.push(0),
            Some((revision, value)) => {
                out.push(1);
                out.extend_from_slice(&revision.to_le_bytes());
                out.extend_from_slice(&long(value.len()));
                out.extend_from_slice(value);
            }
        }
    }
    let payload = start + HEADER_BYTES;
    let length = long(out.len() - payload);
    let digest = digest(sequence, &out[payload..]);
    let header = [&MAGIC[..], &sequence.to_le_bytes(), &length, &[0; 4], &digest].concat();
    out[start..payload].copy_from_slice(&header);
    let padded = (out.len() - start).next_multiple_of(BLOCK_BYTES);
    out.resize(start + padded, 0);
}

fn digest(sequence: u64, payload: &[u8]) -> [u8; DIGEST_BYTES] {
    let whole = Sha256::new().chain_update(sequence.to_le_bytes()).chain_update(payload).finalize();
    whole[..DIGEST_BYTES].try_into().expect("a SHA-256 is longer")
}

/// The number of the record at the front of `bytes`, if there is a whole one.
fn sequence(bytes: &[u8]) -> Option<u64> {
    payload(bytes).map(|(sequence, _)| sequence)
}

/// The number and the payload of the record at the front, if it is whole.
fn payload(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = bytes;
    if take(&mut rest, MAGIC.len())? != MAGIC {
        return None;
    }
    let sequence = u64::from_le_bytes(array(&mut rest)?);
    let length = u32::from_le_bytes(array(&mut rest)?);
    take(&mut rest, 4)?;
    let expected: [u8; DIGEST_BYTES] = array(&mut rest)?;
    let payload = take(&mut rest, usize::try_from(length).ok()?)?;
    (digest(sequence, payload) == expected).then_some((sequence, payload))
}

/// The record at the front, and the bytes that it takes.
fn record(bytes: &[u8]) -> Option<(Batch, usize)> {
    let (sequence, payload) = payload(bytes)?;
    let mut rest = payload;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        changes.push(change(&mut rest)?);
    }
    Some((Batch { sequence, changes }, (HEADER_BYTES + payload.len()).next_multiple_of(BLOCK_BYTES)))
}

fn change(rest: &mut &[u8]) -> Option<Change> {
    let table = short(rest)?;
    let table = String::from_utf8(take(rest, table)?.to_vec()).ok()?;
    let key = short(rest)?;
    let key = take(rest, key)?.to_vec();
    let row = if take(rest, 1)? == [0] {
        None
    } else {
        let revision = u64::from_le_bytes(array(rest)?);
        let length = u32::from_le_bytes(array(rest)?);
        Some((revision, take(rest, usize::try_from(length).ok()?)?.to_vec()))
    };
    Some(Change { table, key, row })
}

fn short(rest: &mut &[u8]) -> Option<usize> {
    Some(u16::from_le_bytes(array(rest)?).into())
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 16 * BLOCK_BYTES;

    fn batch(sequence: u64, bytes: usize) -> Batch {
        let put = Change { table: "t".into(), key: vec![0, 0xff], row: Some((sequence, vec![7; bytes])) };
        let gone = Change { table: "other".into(), key: Vec::new(), row: None };
        Batch { sequence, changes: vec![put, gone] }
    }

    fn write(journal: &mut Journal, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            let mut record = Vec::new();
            encode(sequence, &batch(sequence, 600).changes, &mut record);
            journal.append(&record).expect("written");
        }
    }

    fn journal() -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let journal = Journal::open(&path, CAPACITY).expect("made");
        (folder, path, journal)
    }

    fn sequences(path: &Path, settled: u64) -> Result<Vec<u64>, BackendError> {
        let mut journal = Journal::open(path, CAPACITY).expect("opened");
        Ok(journal.read(settled)?.iter().map(|batch| batch.sequence).collect())
    }

    fn overwrite(path: &Path, block: usize) {
        let file = File::options().write(true).open(path).expect("there");
        let at = u64::try_from(block * BLOCK_BYTES + 100).expect("small");
        file.write_all_at(&[0xa5; 8], at).expect("writable");
    }

    #[test]
    fn what_was_appended_is_read_and_gone_on_with() {
        let (_folder, path, mut journal) = journal();
        assert_eq!(journal.read(0).expect("empty"), []);
        write(&mut journal, 1..=3);
        let mut again = Journal::open(&path, CAPACITY).expect("opened");
        assert_eq!(again.read(0).expect("whole"), [batch(1, 600), batch(2, 600), batch(3, 600)]);
        write(&mut again, [4]);
        assert_eq!(sequences(&path, 1).expect("whole"), [2, 3, 4]);
        assert_eq!(sequences(&path, 4).expect("all settled"), [0; 0]);
    }

    #[test]
    fn after_a_restart_at_the_front_what_stands_behind_is_of_the_past() {
        let (_folder, path, mut journal) = journal();
        write(&mut journal, 1..=7);
        journal.restart();
        write(&mut journal, [8, 9]);
        assert_eq!(sequences(&path, 7).expect("whole"), [8, 9]);
        // The first record after the restart was cut off: everything before it is settled.
        overwrite(&path, 0);
        assert_eq!(sequences(&path, 8).expect("the rest is settled"), [0; 0]);
    }

    #[test]
    fn a_last_record_that_was_cut_off_never_was_and_its_place_is_taken() {
        let (_folder, path, mut journal) = journal();
        write(&mut journal, 1..=3);
        overwrite(&path, 5);
        let mut again = Journal::open(&path, CAPACITY).expect("opened");
        assert_eq!(again.read(0).expect("whole").len(), 2);
        write(&mut again, [3]);
        assert_eq!(sequences(&path, 0).expect("whole"), [1, 2, 3]);
    }

    #[test]
    fn a_damaged_record_with_others_behind_it_and_a_missing_one_are_errors() {
        let (_folder, path, mut journal) = journal();
        write(&mut journal, 1..=4);
        overwrite(&path, 2);
        let refused = sequences(&path, 0).expect_err("the second is damaged");
        assert!(matches!(refused, BackendError::JournalDamaged { expected: 2, found: 4, .. }), "{refused}");
        // What is in the database already need not be whole.
        assert_eq!(sequences(&path, 4).expect("settled"), [0; 0]);
        let (_folder, path, mut journal) = self::journal();
        write(&mut journal, 5..=6);
        sequences(&path, 3).expect_err("the fourth is missing");
    }
}
