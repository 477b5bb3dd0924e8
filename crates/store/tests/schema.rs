//! Rows written by one version of Gantry and read by another.

use gantry_store::{Migration, Options, Revision, Schema, Store, StoreError, Table, backend::Memory};
use serde::{Deserialize, Serialize};

const OLD: Table<String, Old> = Table::new("things");
const NEW: Table<String, New> = Table::new("items");
const KEPT: Table<String, u8> = Table::new("kept");

#[derive(Serialize, Deserialize)]
struct Old {
    size: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    size_bytes: u64,
}

fn open(memory: &Memory, schema: Schema) -> Result<Store, StoreError> {
    Store::with_backend(Box::new(memory.clone()), schema, Options::default())
}

fn filled() -> Memory {
    let memory = Memory::new();
    let store = open(&memory, Schema::new(1).with(&OLD).with(&KEPT)).expect("it opens");
    let fill = store.transaction::<_, StoreError>(|tx| {
        tx.insert(&KEPT, &"k".to_owned(), 1)?;
        tx.insert(&OLD, &"a".to_owned(), Old { size: 3 })
    });
    fill.expect("it commits").1.lazily();
    store.close().expect("it closes");
    memory
}

fn new_schema() -> Schema {
    let to_bytes = Migration {
        to: 2,
        run: |raw| {
            raw.for_each("things", |_, value| {
                let size = value["size"].as_u64().unwrap_or(0);
                *value = serde_json::to_value(New { size_bytes: size * 1024 })?;
                Ok(())
            })
        },
    };
    let renamed = Migration {
        to: 3,
        run: |raw| {
            raw.rename("things", "items");
            Ok(())
        },
    };
    Schema::new(3).with(&NEW).with(&KEPT).migrated_by(to_bytes).migrated_by(renamed)
}

#[test]
fn every_step_between_two_versions_is_run_once_and_kept() {
    let memory = filled();
    for _ in 0..2 {
        let store = open(&memory, new_schema()).expect("it migrates");
        let row = store.get(&NEW, &"a".to_owned()).expect("the row came along");
        assert_eq!((&*row.value, row.revision), (&New { size_bytes: 3072 }, Revision(2)));
        let kept = store.get(&KEPT, &"k".to_owned()).expect("the row stayed");
        assert_eq!(kept.revision, Revision(1), "what did not change keeps its revision");
    }
}

#[test]
fn a_newer_version_is_refused_and_left_as_it_is() {
    let memory = filled();
    drop(open(&memory, new_schema()).expect("it migrates"));
    let refused = open(&memory, Schema::new(1).with(&OLD).with(&KEPT)).expect_err("it is newer");
    assert!(matches!(refused, StoreError::TooNew { found: 3, known: 1 }));
    open(&memory, new_schema()).expect("it is as it was");
}

#[test]
fn a_missing_step_a_missing_table_and_a_row_of_another_shape_are_named() {
    let memory = filled();
    let no_step = open(&memory, Schema::new(2).with(&OLD).with(&KEPT)).expect_err("there is no step");
    assert!(matches!(no_step, StoreError::TooOld { found: 1 }));
    let no_table = open(&memory, Schema::new(1).with(&OLD)).expect_err("a table is missing");
    assert!(matches!(no_table, StoreError::TableUnknown { table } if table == "kept"));
    let other_shape: Table<String, u8> = Table::new("things");
    let unreadable =
        open(&memory, Schema::new(1).with(&other_shape).with(&KEPT)).expect_err("it is no number");
    assert_eq!(unreadable.to_string(), "the row a%00 of table \"things\" cannot be read");
}
