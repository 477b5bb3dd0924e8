//! A workload whose whole state follows from one number, so that a store found after a crash can be
//! compared row by row with what it must be: the state after some transaction, and none older than the
//! newest acknowledged one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_store::{Commit, Options, Page, Schema, Store, StoreError, Table};
use serde::{Deserialize, Serialize};

const NEWEST: Table<String, u64> = Table::new("newest");
const ACCOUNTS: Table<(String, u64), Account> = Table::new("accounts");
const EVENTS: Table<u64, u64> = Table::new("events");

const ACCOUNT_COUNT: u64 = 61;
const EVENTS_KEPT: u64 = 100;
/// Names the store's folder to a writer in a process of its own.
const FOLDER: &str = "GANTRY_STORE_LEDGER";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    written_by: u64,
    filler: String,
}

pub(crate) fn schema() -> Schema {
    Schema::new(1).with(&NEWEST).with(&ACCOUNTS).with(&EVENTS)
}

pub(crate) fn open(folder: &Path) -> Result<Store, StoreError> {
    let options = Options { lazy_delay: Duration::from_millis(50), reserve_bytes: 0, ..Options::default() };
    Store::open(folder, schema(), options)
}

/// Makes the next transaction, and returns its number.
pub(crate) fn write(store: &Store) -> Result<(u64, Commit), StoreError> {
    store.transaction(|tx| {
        let n = newest_in(tx.get(&NEWEST, &"all".to_owned())) + 1;
        tx.insert(&NEWEST, &"all".to_owned(), n)?;
        if removes(n) {
            tx.remove(&ACCOUNTS, &account_key(n));
        } else {
            tx.insert(&ACCOUNTS, &account_key(n), account(n))?;
        }
        assert_eq!(tx.append(&EVENTS, n)?, n);
        tx.keep_newest(&EVENTS, usize::try_from(EVENTS_KEPT).expect("small"));
        Ok(n)
    })
}

/// Compares everything in the store with what it must be. Returns the newest transaction found.
pub(crate) fn verify(store: &Store, acknowledged: u64) -> u64 {
    let newest = newest_in(store.get(&NEWEST, &"all".to_owned()));
    assert!(
        newest >= acknowledged,
        "transaction {acknowledged} was acknowledged, and {newest} is the newest found"
    );
    let events: Vec<_> =
        store.scan(&EVENTS, &Page::all()).into_iter().map(|(n, row)| (n, *row.value)).collect();
    let first = newest.saturating_sub(EVENTS_KEPT) + 1;
    assert_eq!(events, (first..=newest).map(|n| (n, n)).collect::<Vec<_>>());
    let found: Vec<_> = store.scan(&ACCOUNTS, &Page::all());
    let found: Vec<_> = found.into_iter().map(|(key, row)| (key.1, Account::clone(&row.value))).collect();
    let last_of = |slot: u64| (1..=newest).rev().take(61).find(|n| n % ACCOUNT_COUNT == slot);
    let alive = (0..ACCOUNT_COUNT).filter_map(|slot| Some((slot, last_of(slot)?)));
    let expected: Vec<_> = alive.filter(|(_, n)| !removes(*n)).map(|(slot, n)| (slot, account(n))).collect();
    assert!(found == expected, "the accounts are not those after transaction {newest}");
    newest
}

/// What a writer's process does until it is stopped: three threads that write, wait and print what is durable.
pub(crate) fn write_until_stopped() {
    let folder = std::env::var_os(FOLDER).expect("run by the tests only");
    let store = open(Path::new(&folder)).expect("the store opens");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Ok((n, commit)) = write(&store) else { return };
                    if n.is_multiple_of(4) {
                        commit.lazily();
                    } else if commit.wait_durable().is_err() || acknowledge(n).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn acknowledge(n: u64) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nACK {n}")?;
    out.flush()
}

/// A writer in a process of its own, killed at the end if it is still there.
pub(crate) struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    acknowledged: u64,
}

impl Writer {
    /// Starts this test programme again, as the ignored test `test` in it.
    #[expect(clippy::disallowed_methods, reason = "a test kills a process of its own")]
    pub(crate) fn start(folder: &Path, test: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test programme has a path"))
            .args(["--ignored", "--exact", test, "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the test programme starts again");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, acknowledged: 0 }
    }

    /// Returns when so many more transactions were acknowledged.
    pub(crate) fn wait_for(&mut self, more: usize) {
        for _ in 0..more {
            assert!(self.next(), "the writer ended by itself");
        }
    }

    /// Kills it, and returns the newest transaction that it acknowledged.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().expect("it is ours");
        while self.next() {}
        self.acknowledged
    }

    fn next(&mut self) -> bool {
        for line in self.lines.by_ref() {
            let Ok(line) = line else { return false };
            if let Some(n) = line.strip_prefix("ACK ").and_then(|n| n.parse().ok()) {
                self.acknowledged = self.acknowledged.max(n);
                return true;
            }
        }
        false
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn newest_in(row: Option<gantry_store::Row<u64>>) -> u64 {
    row.map_or(0, |row| *row.value)
}

fn removes(n: u64) -> bool {
    n.is_multiple_of(5)
}

fn account_key(n: u64) -> (String, u64) {
    ("default".to_owned(), n % ACCOUNT_COUNT)
}

fn account(n: u64) -> Account {
    let length = usize::try_from(n * 7919 % 9_000).expect("small");
    Account { written_by: n, filler: n.to_string().repeat(length / 5 + 1) }
}
