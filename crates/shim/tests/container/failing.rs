//! Starts that fail, and requests that make no sense.

use gantry_api::shim::v1::request::Action;
use gantry_api::shim::v1::response::Result as Answer;
use gantry_api::shim::v1::{FailureKind, Phase, StartRequest, StateRequest, Stdio};

use crate::bench::{Bench, launch_request};

#[test]
fn a_missing_command_fails_the_start_with_its_own_kind() {
    for (command, kind) in [
        ("no-such-command", FailureKind::CommandNotFound),
        ("/bin/no-such-command", FailureKind::CommandNotFound),
        ("/bin", FailureKind::CommandNotExecutable),
    ] {
        let (bench, mut daemon) = Bench::new();
        let launched = daemon.launch(&bench, &[command], Stdio::default());
        let failure = launched.and_then(|_| daemon.start()).expect_err("cannot run");
        assert_eq!(failure.kind(), kind, "{failure:?}");
        assert!(failure.message.contains(command), "{failure:?}");
        assert_eq!(daemon.state().failure, Some(failure));
        daemon.release(&bench);
    }
}

#[test]
fn a_launch_that_fails_leaves_nothing_and_fails_the_start_behind_it() {
    let (bench, mut daemon) = Bench::new();
    daemon.hello();
    let mut plan = bench.plan(&["true"], false);
    plan.rootfs = None;
    let launch = launch_request(&bench, &plan, Stdio::default());
    let ids = [daemon.send(Action::Launch(launch), None), daemon.send(Action::Start(StartRequest {}), None)];
    let failures = ids.map(|id| daemon.answer(id).expect_err("no root filesystem").kind());
    assert_eq!(failures, [FailureKind::Unsupported, FailureKind::WrongPhase]);
    assert_eq!(daemon.state().phase(), Phase::Failed);
    assert!(!bench.bundle.exists());
    drop(daemon);
    bench.expect_nothing_left();
}

#[test]
fn a_shim_that_its_daemon_forgets_before_the_start_takes_itself_down() {
    let (bench, mut daemon) = Bench::new();
    let launched = daemon.launch(&bench, &["sleep", "1000"], Stdio::default()).expect("launched");
    let Answer::Launch(launched) = launched else { panic!("not launched: {launched:?}") };
    drop(daemon);
    bench.expect_nothing_left();
    let process = format!("/proc/{}", launched.pid);
    assert!(!std::path::Path::new(&process).exists(), "init is left");

    let (bench, daemon) = Bench::new();
    drop(daemon);
    bench.wait_for_end();
}

#[test]
fn requests_before_hello_and_plans_that_do_not_decode_are_refused() {
    let (bench, mut daemon) = Bench::new();
    let refused = daemon.ask(Action::State(StateRequest {})).expect_err("no hello");
    assert_eq!(refused.kind(), FailureKind::InvalidRequest);
    daemon.hello();
    let mut launch = launch_request(&bench, &bench.plan(&["true"], false), Stdio::default());
    launch.plan = vec![0xff; 9];
    let refused = daemon.ask(Action::Launch(launch)).expect_err("no plan");
    assert_eq!(refused.kind(), FailureKind::InvalidRequest);
}
