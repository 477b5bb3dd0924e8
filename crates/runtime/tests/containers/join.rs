//! Processes that join a running container.

use std::os::fd::AsFd;

use gantry_runtime::execute::{self, ExecuteError, Process, Stdio};
use gantry_runtime::plan::{self, ExecPlan};
use serde_json::{Value, json};

use crate::support::{Bundle, Outcome, Started, pipes};
use crate::terminal::talk;

#[test]
fn a_joined_process_shares_the_containers_world_and_has_its_own_identity() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let running = running(&bundle);
    let spec = json!({
        "user": {"uid": 1000, "gid": 1000}, "args": ["sh", "-c", "hostname; id -u; pwd; cat /marker; exit 4"],
        "env": ["PATH=/bin"], "cwd": "/tmp", "capabilities": {}
    });
    let outcome = join(&bundle, &running, &spec).expect("joined");
    assert_eq!(
        outcome,
        Outcome { code: 4, stdout: "gantry-test\n1000\n/tmp\nmarked\n".into(), stderr: String::new() }
    );
    running.kill();
}

#[test]
fn a_joined_process_sees_no_descriptor_of_the_host_and_inherits_no_capability_cve_2016_9962() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let running = running(&bundle);
    let spec = process(&["sh", "-c", "ls /proc/$$/fd; grep -e CapInh -e CapEff /proc/self/status"]);
    let outcome = join(&bundle, &running, &spec).expect("joined");
    let none = "0000000000000000";
    assert_eq!(outcome.stdout, format!("0\n1\n2\nCapInh:\t{none}\nCapEff:\t{none}\n"));
    running.kill();
}

#[test]
fn a_joined_process_that_cannot_run_is_told_like_the_containers_own() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let running = running(&bundle);
    assert_eq!(join(&bundle, &running, &process(&["nothing"])).expect_err("missing").exit_code(), 127);
    assert_eq!(join(&bundle, &running, &process(&["/etc"])).expect_err("a folder").exit_code(), 126);
    let mut outside = process(&["true"]);
    outside["cwd"] = json!("/proc/self/fd/3");
    assert_eq!(join(&bundle, &running, &outside).expect_err("no such folder").exit_code(), 125);
    running.kill();
}

#[test]
fn a_joined_process_can_have_a_terminal() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let running = running(&bundle);
    let mut spec = process(&["sh", "-c", "tty; read line; echo got $line > /dev/tty"]);
    spec["terminal"] = json!(true);
    let plan = exec_plan(&bundle, &spec);
    let joined = execute::exec(&plan, running.process.pidfd.as_fd(), None, Stdio::Terminal).expect("joined");
    assert_eq!(talk(joined, "x\n"), "/dev/pts/0\r\ngot x\r\n");
    running.kill();
}

#[test]
fn joining_leaves_the_callers_own_namespaces_alone() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let running = running(&bundle);
    let own = || std::fs::read_link("/proc/thread-self/ns/pid_for_children").expect("readlink");
    let before = own();
    join(&bundle, &running, &process(&["true"])).expect("joined");
    assert_eq!(own(), before);
    running.kill();
}

/// Whoever makes a time namespace is not in it, on some kernels not even after its exec.
#[test]
fn a_process_that_joins_before_the_command_has_the_containers_clocks() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.spec["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({"type": "time"}));
    bundle.spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1337, "nanosecs": 0}});
    let (stdio, _stdout, _stderr) = pipes();
    let created = execute::create(&bundle.plan(&["sleep", "60"]), stdio).expect("created");
    let (stdio, stdout, stderr) = pipes();
    let plan = exec_plan(&bundle, &process(&["cat", "/proc/self/timens_offsets"]));
    let joined = execute::exec(&plan, created.pidfd(), None, stdio).expect("joined");
    let outcome = Started::new(joined, stdout, stderr).outcome();
    assert!(outcome.stdout.contains("boottime         1337"), "{outcome:?}");
}

fn running(bundle: &Bundle) -> Started {
    let mut started =
        bundle.start(&["sh", "-c", "echo marked > /marker; echo up; sleep 60"]).expect("started");
    started.read_line();
    started
}

fn process(args: &[&str]) -> Value {
    json!({"user": {"uid": 0, "gid": 0}, "args": args, "env": ["PATH=/bin"], "cwd": "/"})
}

fn exec_plan(bundle: &Bundle, spec: &Value) -> ExecPlan {
    let spec = serde_json::from_value(spec.clone()).expect("a process");
    plan::compile_exec(&bundle.plan(&["true"]), &spec, None).expect("a process that compiles")
}

fn join(bundle: &Bundle, running: &Started, spec: &Value) -> Result<Outcome, ExecuteError> {
    let (stdio, stdout, stderr) = pipes();
    let process: Process = execute::exec(
        &exec_plan(bundle, spec),
        running.process.pidfd.as_fd(),
        running.cgroup.as_ref(),
        stdio,
    )?;
    Ok(Started::new(process, stdout, stderr).outcome())
}
