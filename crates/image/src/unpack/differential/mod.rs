//! Do other readers of tar see what we see? Archives are put together by a grammar of blocks whose PAX, GNU and header fields
//! contradict each other, and read by us, by GNU tar, by Python's tarfile and by the `tar` crate. An archive that we take must
//! be the same list of entries to each of them that takes it too: then nothing can be smuggled past a scanner or into a
//! later unpacking (CVE-2025-62518 and its kin). What we refuse may mean anything.
//!
//! The seed of a disagreement is printed; `GANTRY_TAR_SEED` runs that one archive, `GANTRY_TAR_ROUNDS` more of them.

mod grammar;
mod readers;

use std::collections::BTreeMap;

use readers::{Reader, Seen};

/// Archives of an ordinary run.
const ROUNDS: u64 = 2000;

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn an_archive_that_is_taken_is_the_same_to_every_reader() {
    let first = number_from("GANTRY_TAR_SEED");
    let rounds = if first.is_some() { 1 } else { number_from("GANTRY_TAR_ROUNDS").unwrap_or(ROUNDS) };
    let seeds: Vec<u64> = (0..rounds).map(|round| first.unwrap_or(round)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let mut taken = BTreeMap::new();
    for seed in seeds {
        let bytes = grammar::archive(seed);
        if let Some(ours) = readers::ours(&bytes) {
            std::fs::write(folder.path().join(seed.to_string()), &bytes).expect("the disk has room");
            taken.insert(seed, ours);
        }
    }
    // Both kinds must be there, or the grammar has lost its point.
    assert!(first.is_some() || (taken.len() as u64) > rounds / 10, "only {} taken", taken.len());
    assert!(first.is_some() || (taken.len() as u64) < rounds * 9 / 10, "{} of {rounds} taken", taken.len());
    let mut wrong = Vec::new();
    for reader in [Reader::GnuTar, Reader::Python, Reader::TarCrate] {
        let mut refused = 0;
        for (seed, theirs) in readers::read_all(reader, folder.path(), taken.keys().copied()) {
            let ours = &taken[&seed];
            match theirs {
                Ok(theirs) if same(ours, &theirs) => {}
                Ok(theirs) => wrong.push(difference(seed, reader, ours, &theirs)),
                Err(_) => refused += 1,
            }
        }
        assert!(refused * 2 < taken.len().max(2), "{reader:?} refuses {refused} of {} archives", taken.len());
    }
    assert!(wrong.is_empty(), "{} disagreements\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}

fn same(ours: &[Seen], theirs: &[Seen]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| ours.is(theirs))
}

fn difference(seed: u64, reader: Reader, ours: &[Seen], theirs: &[Seen]) -> String {
    let at = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours.is(theirs)).count();
    format!("seed {seed}, entry {at}: we see {:?}, {reader:?} sees {:?}", ours.get(at), theirs.get(at))
}
