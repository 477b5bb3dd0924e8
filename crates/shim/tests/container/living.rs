//! A container's ordinary life, from Launch to Release.

use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::v1::{HelloRequest, Phase, ReleaseRequest, StartRequest, Stdio};
use gantry_api::shim::{PID_FILE, VERSION};
use gantry_linux::Pid;
use gantry_linux::signal::{self, Signal};
use gantry_linux::wait::open_pidfd;
use std::os::fd::AsFd;

use crate::bench::{Bench, launch_request, until};

#[test]
fn output_is_logged_and_reaches_who_attached_before_the_start() {
    let (bench, mut daemon) = Bench::new();
    daemon
        .launch(&bench, &["sh", "-c", "echo out; echo err >&2; exit 3"], Stdio::default())
        .expect("launched");
    assert_eq!(daemon.state().phase(), Phase::Launched);
    let mut client = daemon.attach("");
    daemon.start().expect("started");
    assert_eq!(client.rest(), ("out\n".to_owned(), "err\n".to_owned()));
    assert!(client.frame().is_none(), "the socket closes behind the end");
    let exited = daemon.exited();
    assert_eq!((exited.exit_code, exited.exec_id.as_str(), exited.oom_killed), (3, "", false));
    assert_eq!((bench.logged("stdout"), bench.logged("stderr")), ("out\n".to_owned(), "err\n".to_owned()));
    let state = daemon.state();
    assert_eq!(state.phase(), Phase::Exited);
    let init = state.init.expect("there was one");
    assert!(init.started_at_unix_ns > 0 && exited.at_unix_ns >= init.started_at_unix_ns);
    assert_eq!(init.exit, Some(exited));
    daemon.release(&bench);
}

#[test]
fn requests_can_be_sent_without_waiting_for_answers() {
    let (bench, mut daemon) = Bench::new();
    let hello = HelloRequest { version: VERSION, version_min: 1, daemon_release: String::new() };
    let launch = launch_request(&bench, &bench.plan(&["true"], false), Stdio::default());
    let ids = [
        daemon.send(Action::Hello(hello), None),
        daemon.send(Action::Launch(launch), None),
        daemon.send(Action::Start(StartRequest {}), None),
    ];
    for id in ids {
        daemon.answer(id).expect("done");
    }
    assert_eq!(daemon.exited().exit_code, 0);
    daemon.release(&bench);
}

#[test]
fn a_polite_signal_to_the_shim_does_nothing() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    for polite in [Signal::TERM, Signal::INT, Signal::HUP] {
        signal::send_to_pidfd(bench.shim.pidfd.as_fd(), polite).expect("sent");
    }
    assert_eq!(daemon.state().phase(), Phase::Running);
    let pid = std::fs::read_to_string(bench.bundle.join(PID_FILE)).expect("there");
    assert_eq!(pid, bench.shim.pid.to_string());
    daemon.kill("", 9).expect("sent");
    assert_eq!(daemon.exited().exit_code, 137);
    daemon.release(&bench);
}

#[test]
fn a_running_container_is_not_released() {
    let (bench, mut daemon) = Bench::running(&["sleep", "1000"], Stdio::default());
    let refused = daemon.ask(Action::Release(ReleaseRequest {})).expect_err("it runs");
    assert_eq!(refused.kind(), gantry_api::shim::v1::FailureKind::WrongPhase);
    daemon.kill("", 9).expect("sent");
    daemon.exited();
    daemon.release(&bench);
}

#[test]
fn the_process_inherits_nothing_of_the_shim() {
    let script = "cat /proc/self/oom_score_adj; umask; grep -E '^(SigIgn|SigBlk)' /proc/self/status; echo /proc/self/fd/*";
    let (bench, mut daemon) = Bench::running(
        &["sh", "-c", &format!("busybox true; {}", script.replace("grep", "busybox grep"))],
        Stdio::default(),
    );
    daemon.exited();
    let text = bench.logged("stdout");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["0", "0022"]);
    assert_eq!(lines[2..4], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
    assert!(lines[4].split(' ').count() <= 4, "descriptors leak: {}", lines[4]);
    daemon.release(&bench);
}

#[test]
fn an_init_that_dies_before_its_start_keeps_its_number_until_the_shim_says_that_it_is_over() {
    let (bench, mut daemon) = Bench::new();
    let launched = daemon.launch(&bench, &["true"], Stdio::default()).expect("launched");
    let Answer::Launch(launched) = launched else { panic!("not launched: {launched:?}") };
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", launched.pid)).unwrap_or_default();
    let init = Pid::from_raw(i32::try_from(launched.pid).expect("a number")).expect("not zero");
    signal::send_to_pidfd(open_pidfd(init).expect("init").as_fd(), Signal::KILL).expect("sent");
    until("init is dead", || state().contains(") Z "));
    // The daemon opens what is init's by its number, and believes it if the phase is this one afterwards.
    assert_eq!(daemon.state().phase(), Phase::Launched);
    assert!(state().contains(") Z "), "it is reaped");
    // It is as if it had been killed a moment later.
    daemon.start().expect("started");
    assert_eq!(daemon.exited().exit_code, 137);
    daemon.release(&bench);
}
