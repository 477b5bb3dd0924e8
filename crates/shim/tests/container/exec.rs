//! Further processes in a running container.

use gantry_api::shim::stdio::Tag;
use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::{ConsoleSize, FailureKind, ReleaseExecRequest, Stdio};

use crate::bench::{Bench, open_stdin, until};

#[test]
fn an_exec_joins_the_container_and_leaves_a_record_until_it_is_taken() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let mut client =
        daemon.exec("one", &["sh", "-c", "cat /proc/1/cmdline; exit 7"], Stdio::default()).expect("runs");
    assert_eq!(client.rest().0, "sleep\x001000\0");
    let exited = daemon.exited();
    assert_eq!((exited.exec_id.as_str(), exited.exit_code), ("one", 7));
    assert_eq!(bench.log_text(), "", "execs are not logged");
    let state = daemon.state();
    assert_eq!(state.execs.len(), 1);
    assert_eq!(state.execs[0].exit, Some(exited));
    let again = daemon.exec("one", &["true"], Stdio::default()).err().expect("the id is taken");
    assert_eq!(again.kind(), FailureKind::AlreadyExists);
    daemon.ask(Action::ReleaseExec(ReleaseExecRequest { exec_id: "one".into() })).expect("forgotten");
    assert!(daemon.state().execs.is_empty());
    daemon.kill("", 9).expect("sent");
    daemon.exited();
    daemon.release(&bench);
}

#[test]
fn an_exec_has_input_a_terminal_of_its_own_and_can_be_killed() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let mut cat = daemon.exec("cat", &["cat"], open_stdin()).expect("runs");
    cat.send(Tag::Stdin, b"x\n");
    cat.expect_output("x\n");
    daemon.kill("cat", 9).expect("sent");
    assert_eq!(daemon.exited().exit_code, 137);
    let refused = daemon.kill("cat", 9).expect_err("it has ended");
    assert_eq!(refused.kind(), FailureKind::NoSuchProcess);
    daemon.kill("", 9).expect("sent");
    daemon.exited();
    daemon.release(&bench);
}

#[test]
fn an_exec_has_a_terminal_where_the_container_has_one() {
    let stdio = Stdio { terminal: true, ..Stdio::default() };
    let (bench, mut daemon) = Bench::running(&["cat"], stdio);
    let console = Some(ConsoleSize { columns: 90, rows: 30 });
    let mut client = daemon.exec("tty", &["stty", "size"], Stdio { console, ..stdio }).expect("runs");
    assert_eq!(client.rest().0, "30 90\r\n");
    assert_eq!(daemon.exited().exec_id, "tty");
    daemon.kill("", 9).expect("sent");
    daemon.exited();
    daemon.release(&bench);
}

#[test]
fn what_an_exec_leaves_behind_does_not_keep_it() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let script = "sleep 1000 & echo started";
    let mut client = daemon.exec("daemon", &["sh", "-c", script], Stdio::default()).expect("runs");
    assert_eq!(client.rest().0, "started\n");
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.kill("", 9).expect("sent");
    assert_eq!(daemon.exited().exec_id, "");
    daemon.release(&bench);
}

#[test]
fn what_an_exec_leaves_behind_can_go_on_writing_even_when_its_record_was_taken() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let mut client =
        daemon.exec("noisy", &["sh", "-c", "yes & echo started"], Stdio::default()).expect("runs");
    assert_eq!(daemon.exited().exit_code, 0);
    client.rest();
    daemon.ask(Action::ReleaseExec(ReleaseExecRequest { exec_id: "noisy".into() })).expect("forgotten");
    assert!(daemon.state().execs.is_empty());
    let mut asked = 0;
    let mut writes = || {
        asked += 1;
        let asking = daemon.exec(&asked.to_string(), &["busybox", "pidof", "yes"], Stdio::default());
        !asking.expect("runs").rest().0.is_empty()
    };
    until("the writer runs", &mut writes);
    assert!(writes() && writes() && writes(), "the writer was killed");
    daemon.kill("", 9).expect("sent");
    while !daemon.exited().exec_id.is_empty() {}
    daemon.release(&bench);
}

#[test]
fn the_end_of_the_container_is_the_end_of_its_execs_and_told_after_theirs() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let mut client = daemon.exec("long", &["sleep", "1000"], Stdio::default()).expect("runs");
    daemon.kill("", 9).expect("sent");
    let (first, second) = (daemon.exited(), daemon.exited());
    assert_eq!((first.exec_id.as_str(), first.exit_code), ("long", 137));
    assert_eq!((second.exec_id.as_str(), second.exit_code), ("", 137));
    client.rest();
    daemon.release(&bench);
}

#[test]
fn a_missing_command_is_told_apart_and_harms_nothing() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let failure = daemon.exec("gone", &["no-such-command"], Stdio::default()).err().expect("missing");
    assert_eq!(failure.kind(), FailureKind::CommandNotFound);
    let failure = daemon.exec("folder", &["/bin"], Stdio::default()).err().expect("a folder");
    assert_eq!(failure.kind(), FailureKind::CommandNotExecutable);
    assert!(daemon.state().execs.is_empty());
    daemon.kill("", 9).expect("sent");
    daemon.exited();
    daemon.release(&bench);
}
