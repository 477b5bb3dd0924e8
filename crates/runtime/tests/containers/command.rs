//! How the command runs: its output, its end, its environment.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use gantry_linux::Errno;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_runtime::execute::{self, Operation};
use serde_json::json;

use crate::support::{Bundle, Outcome, pipes};

#[test]
fn a_command_prints_and_its_exit_code_is_its_own() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let outcome = bundle.run(&["sh", "-c", "echo hello; echo bad >&2; exit 7"]);
    assert_eq!(outcome, Outcome { code: 7, stdout: "hello\n".into(), stderr: "bad\n".into() });
}

#[test]
fn a_missing_command_is_told_as_127_with_its_name() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let error = bundle.refuse(&["no-such-command"]);
    assert_eq!((error.operation, error.exit_code()), (Operation::Exec, 127));
    assert_eq!(error.object, "no-such-command");
    assert_eq!(bundle.refuse(&["/bin/no-such-command"]).exit_code(), 127);
}

#[test]
fn a_command_that_cannot_be_run_is_told_as_126() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    fs::write(bundle.lower("bin/plain"), "not a programme").expect("write");
    let error = bundle.refuse(&["plain"]);
    assert_eq!((error.exit_code(), error.errno), (126, Errno::ACCESS));
    fs::set_permissions(bundle.lower("bin/plain"), fs::Permissions::from_mode(0o755)).expect("chmod");
    let error = bundle.refuse(&["plain"]);
    assert_eq!((error.exit_code(), error.errno), (126, Errno::NOEXEC));
    assert_eq!(bundle.refuse(&["/etc"]).exit_code(), 126);
}

#[test]
fn nothing_runs_before_the_start_and_a_dropped_container_never_does() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let marker = bundle.host("upper/marker");
    let (stdio, ..) = pipes();
    let created = execute::create(&bundle.plan(&["touch", "/marker"]), stdio).expect("created");
    assert!(!marker.exists());
    let pid = created.pid();
    drop(created);
    assert!(!marker.exists() && !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn the_environment_is_the_plans_and_the_names_are_its_own() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["env"] = json!(["PATH=/bin", "A=1"]);
    bundle.spec["process"]["cwd"] = json!("/made/for/it");
    let outcome = bundle.run(&["sh", "-c", "hostname; pwd; umask"]);
    assert_eq!(outcome.stdout, "gantry-test\n/made/for/it\n0022\n");
    assert_eq!(bundle.run(&["env"]).stdout, "PATH=/bin\nA=1\n");
}

#[test]
fn a_signal_ends_the_command() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let started = bundle.start(&["sleep", "60"]).expect("started");
    send_to_pidfd(started.process.pidfd.as_fd(), Signal::KILL).expect("pidfd_send_signal");
    assert_eq!(started.outcome().code, 137);
}

#[test]
fn the_tiny_init_is_pid_1_reaps_orphans_and_passes_the_exit_code_on() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.init = true;
    let outcome = bundle.run(&["sh", "-c", "echo $$; (sleep 0 & exec sleep 0); exit 9"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (9, "2\n"));
    assert_eq!(bundle.refuse(&["no-such-command"]).exit_code(), 127);
}

#[test]
fn the_tiny_init_passes_signals_on() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.init = true;
    let mut started = bundle
        .start(&["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"])
        .expect("started");
    started.read_line();
    send_to_pidfd(started.process.pidfd.as_fd(), Signal::TERM).expect("pidfd_send_signal");
    assert_eq!(started.outcome().code, 3);
}

#[test]
fn limits_and_the_oom_score_are_the_plans() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    bundle.spec["process"]["oomScoreAdj"] = json!(500);
    let outcome = bundle.run(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    assert_eq!(outcome.stdout, "100\n200\n500\n");
}
