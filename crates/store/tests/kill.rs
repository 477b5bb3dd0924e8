//! A daemon that is killed at any moment loses nothing that it acknowledged.

mod ledger;

use ledger::Writer;

#[test]
fn acknowledged_transactions_survive_kill_9() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("meta");
    let mut newest = 0;
    for acknowledgements in [1, 2, 30, 3, 200, 75, 500, 1] {
        let mut writer = Writer::start(&path, "the_writer");
        writer.wait_for(acknowledgements);
        let acknowledged = writer.kill();
        assert!(acknowledged > newest);
        let store = ledger::open(&path).expect("it opens after a kill");
        newest = ledger::verify(&store, acknowledged);
        // Every other time the next writer comes after an orderly stop.
        if acknowledgements % 2 == 0 {
            store.close().expect("it closes");
        }
    }
}

#[test]
#[ignore = "the tests above run it in a process of its own"]
fn the_writer() {
    ledger::write_until_stopped();
}
