//! Ends that no daemon sees, and ends of the shim itself.

use std::fs;

use gantry_api::shim::EXIT_FILE;
use gantry_api::shim::stdio::Tag;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::v1::{Exited, Phase, Stdio};
use prost::Message;

use crate::bench::{Bench, open_stdin, until};

#[test]
fn a_container_outlives_its_daemon_and_the_next_one_finds_it() {
    let (bench, mut first) = Bench::running(&["cat"], open_stdin());
    let mut client = first.attach("");
    drop(first);
    client.send(Tag::Stdin, b"still here\n");
    client.expect_output("still here\n");
    let mut second = bench.connect();
    let mut third = bench.connect();
    assert_eq!(second.state().phase(), Phase::Running);
    client.send(Tag::CloseStdin, b"");
    assert_eq!(second.exited(), third.exited());
    assert_eq!(bench.logged("stdout"), "still here\n");
    second.release(&bench);
}

#[test]
fn an_exit_that_no_daemon_saw_is_kept_in_the_bundle_and_by_the_shim() {
    let (bench, mut first) = Bench::running(&["sh", "-c", "read line; exit 9"], open_stdin());
    let client = first.attach("");
    drop(first);
    drop(client);
    let mut closing = bench.connect();
    let mut client = closing.attach("");
    drop(closing);
    client.send(Tag::Stdin, b"\n");
    client.rest();
    until("the exit is kept", || bench.bundle.join(EXIT_FILE).exists());
    let kept = Exited::decode(&*fs::read(bench.bundle.join(EXIT_FILE)).expect("there")).expect("decodes");
    assert_eq!(kept.exit_code, 9);
    let mut second = bench.connect();
    let state = second.state();
    assert_eq!(state.phase(), Phase::Exited);
    assert_eq!(state.init.expect("there was one").exit, Some(kept));
    second.release(&bench);
}

#[test]
fn a_killed_shim_takes_its_container_along() {
    let (bench, mut daemon) = Bench::new();
    let launched = daemon.launch(&bench, &["sleep", "1000"], Stdio::default()).expect("launched");
    daemon.start().expect("started");
    let Answer::Launch(launched) = launched else { panic!("not launched: {launched:?}") };
    let process = format!("/proc/{}", launched.pid);
    assert!(std::path::Path::new(&process).exists());
    drop(bench);
    until("init is gone", || !std::path::Path::new(&process).exists());
}
