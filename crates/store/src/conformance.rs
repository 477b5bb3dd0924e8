//! What every backend must do, as cases that a backend's tests run one by one or all together. Each case
//! gets a way to open one and the same set of rows again and again, empty at first.

use std::collections::BTreeMap;

use crate::backend::{Backend, Change, Record};

/// Opens the rows under test. What was opened before is gone by then.
pub type Open<'a> = dyn FnMut() -> Box<dyn Backend> + 'a;

/// A case: its name, and the function that panics when the backend fails it.
pub type Case = (&'static str, fn(&mut Open<'_>));

/// All cases.
pub const CASES: &[Case] = &[
    ("a new backend is empty", new_is_empty),
    ("rows of every size come back", sizes),
    ("keys of any bytes come back", keys),
    ("a later batch wins over an earlier one", later_wins),
    ("a row that shrinks or goes leaves nothing behind", nothing_left_behind),
    ("removing what is not there does nothing", remove_absent),
    ("what was flushed is there without a close", flushed_without_close),
    ("tables with names that begin alike stay apart", similar_tables),
    ("a large batch is one batch", large_batch),
];

type Model = BTreeMap<(String, Vec<u8>), (u64, Vec<u8>)>;

fn new_is_empty(open: &mut Open<'_>) {
    assert_eq!(open().load().expect("an empty backend loads"), []);
    assert_eq!(open().load().expect("and again"), []);
}

fn sizes(open: &mut Open<'_>) {
    let sizes = [0, 1, 4085, 4086, 4087, 4096, 8182, 8183, 100_000, 4 * 1024 * 1024];
    let changes: Vec<_> =
        sizes.iter().map(|&size| put("sizes", &[size_byte(size)], 7, filled(size))).collect();
    check(open, &[&changes]);
}

fn keys(open: &mut Open<'_>) {
    let keys: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"a",
        b"a\0",
        b"a\0\0",
        b"\xff\xff",
        &[b'k'; crate::key::KEY_BYTES_MAX],
    ];
    let changes: Vec<_> = keys.iter().map(|key| put("keys", key, 1, key.to_vec())).collect();
    check(open, &[&changes]);
}

fn later_wins(open: &mut Open<'_>) {
    check(open, &[&[put("t", b"k", 1, filled(10))], &[put("t", b"k", 2, filled(20))]]);
}

fn nothing_left_behind(open: &mut Open<'_>) {
    let large = [put("t", b"shrinks", 1, filled(50_000)), put("t", b"goes", 1, filled(50_000))];
    let small = [put("t", b"shrinks", 2, filled(5)), take("t", b"goes")];
    check(open, &[&large, &small]);
    // What is large again must not find parts of what it was.
    check(open, &[&[put("t", b"shrinks", 3, filled(9_000)), put("t", b"goes", 3, filled(4_100))]]);
    check(open, &[&[take("t", b"shrinks"), take("t", b"goes")]]);
}

fn remove_absent(open: &mut Open<'_>) {
    check(open, &[&[take("t", b"never"), put("t", b"there", 1, filled(3))]]);
}

fn flushed_without_close(open: &mut Open<'_>) {
    let mut backend = open();
    backend.load().expect("it loads");
    backend.apply(&[put("t", b"k", 9, filled(5_000))]).expect("it applies");
    backend.flush().expect("it flushes");
    drop(backend);
    let found = open().load().expect("it loads again");
    assert_eq!(found, [Record { table: "t".into(), key: b"k".to_vec(), revision: 9, value: filled(5_000) }]);
}

fn similar_tables(open: &mut Open<'_>) {
    check(
        open,
        &[&[put("a", b"bc", 1, filled(1)), put("ab", b"c", 2, filled(2)), put("abc", b"", 3, filled(3))]],
    );
}

fn large_batch(open: &mut Open<'_>) {
    let row = |n: u32| {
        put("many", &n.to_be_bytes(), u64::from(n), filled(usize::try_from(n % 5_000).expect("small")))
    };
    check(open, &[&(0..2_000).map(row).collect::<Vec<_>>()]);
    let every_other = |n: u32| take("many", &n.to_be_bytes());
    check(open, &[&(0..2_000).step_by(2).map(every_other).collect::<Vec<_>>()]);
}

/// Applies batches with a close after each, and compares everything there is with what there should be:
/// what was there before, and the batches.
fn check(open: &mut Open<'_>, batches: &[&[Change]]) {
    let mut model: Model = load(open().as_mut());
    for batch in batches {
        let mut backend = open();
        assert_eq!(load(backend.as_mut()), model);
        backend.apply(batch).expect("it applies");
        backend.flush().expect("it flushes");
        backend.close().expect("it closes");
        for change in *batch {
            let key = (change.table.clone(), change.key.clone());
            match &change.row {
                Some(row) => model.insert(key, row.clone()),
                None => model.remove(&key),
            };
        }
        let found = load(open().as_mut());
        assert!(
            found == model,
            "{} rows found, {} expected, or their contents differ",
            found.len(),
            model.len()
        );
    }
}

fn load(backend: &mut dyn Backend) -> Model {
    let records = backend.load().expect("it loads");
    let count = records.len();
    let model: Model =
        records.into_iter().map(|row| ((row.table, row.key), (row.revision, row.value))).collect();
    assert_eq!(model.len(), count, "a row came twice");
    model
}

fn put(table: &str, key: &[u8], revision: u64, value: Vec<u8>) -> Change {
    Change { table: table.into(), key: key.to_vec(), row: Some((revision, value)) }
}

fn take(table: &str, key: &[u8]) -> Change {
    Change { table: table.into(), key: key.to_vec(), row: None }
}

fn filled(bytes: usize) -> Vec<u8> {
    (0..bytes).map(size_byte).collect()
}

fn size_byte(number: usize) -> u8 {
    u8::try_from(number % 251).expect("below 251")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Disk, Journaled, Memory};

    #[test]
    fn the_memory_backend_passes_every_case() {
        for (name, case) in CASES {
            let memory = Memory::new();
            println_case(name);
            case(&mut || Box::new(memory.clone()));
        }
    }

    #[test]
    fn sled_passes_every_case() {
        for (name, case) in CASES {
            let folder = tempfile::tempdir().expect("a temporary folder");
            println_case(name);
            let path = folder.path().join("sled");
            case(&mut || Box::new(Disk::open(&path, Arc::default()).expect("it opens")));
            let large_pages = std::fs::read_dir(path.join("blobs")).expect("sled makes the folder").count();
            assert_eq!(large_pages, 0, "pages outgrew the log in: {name}");
        }
    }

    #[test]
    fn sled_behind_its_journal_passes_every_case() {
        for (name, case) in CASES {
            let folder = tempfile::tempdir().expect("a temporary folder");
            println_case(name);
            let path = folder.path().join("sled");
            case(&mut || Box::new(Journaled::open(&path, false, Arc::default()).expect("it opens")));
        }
    }

    #[expect(clippy::print_stdout, reason = "captured by the test harness, and shown with a failure")]
    fn println_case(name: &str) {
        println!("case: {name}");
    }
}
