//! How much memory an idle shim keeps. The budgets are those of the static build, which a test run names with
//! `GANTRY_TEST_SHIM`; the debug build, which links dynamically, has a bound of its own.

use std::fs;

use gantry_api::shim::v1::Stdio;

use crate::bench::{Bench, until};

/// Containers that are idle at the same time, and share the shim's text.
const CONTAINERS: u64 = 20;

/// Private dirty and proportional KiB of a process.
fn memory_kib(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the shim runs");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect("a field of smaps_rollup");
        line.split_whitespace().nth(1).expect("a value").parse::<u64>().expect("a number")
    };
    (field("Private_Dirty:"), field("Pss:"))
}

#[test]
fn twenty_idle_shims_are_within_the_budget() {
    let (dirty_max, proportional_max) =
        if std::env::var_os("GANTRY_TEST_SHIM").is_some() { (150, 400) } else { (1024, 4096) };
    let running: Vec<_> = (0..CONTAINERS)
        .map(|_| {
            let (bench, mut daemon) =
                Bench::running(&["sh", "-c", "busybox seq 1 2000; sleep 1000"], Stdio::default());
            let mut client = daemon.exec("probe", &["echo", "hi"], Stdio::default()).expect("runs");
            client.rest();
            until("the output is logged", || bench.logged("stdout").ends_with("\n2000\n"));
            (bench, daemon)
        })
        .collect();
    let mut measured = (0, 0);
    until("the shims give back what their work took", || {
        let sum = running.iter().map(|(bench, _)| memory_kib(bench.shim.pid.as_raw()));
        let (dirty, proportional) = sum.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        measured = (dirty / CONTAINERS, proportional / CONTAINERS);
        measured.0 <= dirty_max && measured.1 <= proportional_max
    });
    #[expect(clippy::print_stderr, reason = "what was measured is for people")]
    {
        eprintln!("each of {CONTAINERS}: {} KiB private dirty, {} KiB PSS", measured.0, measured.1);
    }
    for (bench, mut daemon) in running {
        daemon.kill("", 9).expect("sent");
        while !daemon.exited().exec_id.is_empty() {}
        daemon.release(&bench);
    }
}
