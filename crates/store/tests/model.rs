//! Any sequence of transactions and restarts leaves what the same sequence leaves in a plain map.

use std::collections::BTreeMap;

use gantry_store::backend::Memory;
use gantry_store::{Options, Page, Schema, Store, StoreError, Table};
use proptest::prelude::*;

const LEFT: Table<(String, u64), String> = Table::new("left");
const RIGHT: Table<(String, u64), String> = Table::new("right");

type Model = BTreeMap<(bool, (String, u64)), String>;

#[derive(Debug, Clone)]
enum Step {
    /// A transaction; the last value says whether it fails at its end.
    Transact(Vec<(bool, (String, u64), Option<usize>)>, bool),
    Close,
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = ("[ab\u{0}]{0,2}", 0..4_u64);
    let size = prop_oneof![0..40_usize, 4_000..4_200_usize, 9_000..20_000_usize];
    let change = (any::<bool>(), key, proptest::option::weighted(0.7, size));
    let transact = (proptest::collection::vec(change, 0..12), proptest::bool::weighted(0.1));
    let transact = transact.prop_map(|(changes, fails)| Step::Transact(changes, fails));
    proptest::collection::vec(
        prop_oneof![8 => transact, 1 => Just(Step::Close), 1 => Just(Step::Drop)],
        1..25,
    )
}

fn schema() -> Schema {
    Schema::new(1).with(&LEFT).with(&RIGHT)
}

fn table(left: bool) -> &'static Table<(String, u64), String> {
    if left { &LEFT } else { &RIGHT }
}

fn play(steps: Vec<Step>, open: &dyn Fn() -> Store) {
    let mut model = Model::new();
    let mut store = open();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Transact(changes, fails) => transact(&store, &mut model, n, changes, fails),
            Step::Close => {
                store.close().expect("it closes");
                store = open();
            }
            Step::Drop => {
                drop(store);
                store = open();
            }
        }
        compare(&store, &model);
    }
}

fn transact(
    store: &Store,
    model: &mut Model,
    n: usize,
    changes: Vec<(bool, (String, u64), Option<usize>)>,
    fails: bool,
) {
    let mut after = model.clone();
    let outcome = store.transaction(|tx| {
        for (left, key, size) in changes {
            if let Some(size) = size {
                let value = format!("{n}{}", "x".repeat(size));
                tx.insert(table(left), &key, value.clone())?;
                after.insert((left, key), value);
            } else {
                let removed = tx.remove(table(left), &key).map(|row| String::clone(&row.value));
                assert_eq!(removed, after.remove(&(left, key)));
            }
        }
        if fails { Err(StoreError::Closed) } else { Ok(()) }
    });
    if let Ok(((), commit)) = outcome {
        if n.is_multiple_of(3) {
            commit.wait_durable().expect("it is durable");
        } else {
            commit.lazily();
        }
        *model = after;
    }
}

fn compare(store: &Store, model: &Model) {
    for left in [false, true] {
        let found: Vec<_> = store.scan(table(left), &Page::all());
        let found: Vec<_> = found.iter().map(|(key, row)| (key, &*row.value)).collect();
        let expected = model.iter().filter(|((side, _), _)| *side == left);
        let expected: Vec<_> = expected.map(|((_, key), value)| (key, value)).collect();
        assert!(found == expected, "{} rows found, {} expected, or they differ", found.len(), expected.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_store_behaves_as_a_map(steps in steps()) {
        let memory = Memory::new();
        play(steps, &|| {
            Store::with_backend(Box::new(memory.clone()), schema(), Options::default()).expect("it opens")
        });
    }

    #[test]
    fn the_store_on_sled_behaves_as_a_map(steps in steps()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("meta");
        play(steps, &|| Store::open(&path, schema(), Options::default()).expect("it opens"));
    }
}
