//! The whole way of an ordinary container: what was asked becomes a spec, the spec a plan with its filter, and
//! the plan a process. Every way of sharing something with the host is walked once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gantry_runtime::spec::{self, CapabilitySet, GeneratedFiles, HostFacts, SpecInput};
use gantry_runtime::user::ResolvedUser;
use gantry_runtime::{cgroup, plan, seccomp};
use gantry_types::{ContainerId, ContainerOptions, ImageConfig, Mount, NamespaceMode, NetworkMode, Seccomp};

use crate::support::{Bundle, Outcome, run_plan};

#[test]
fn a_container_with_defaults_is_confined_as_people_expect() {
    let script = "grep -e CapEff -e CapInh -e Seccomp: /proc/self/status; id -u; mount -t tmpfs x /tmp; \
                  cat /etc/hosts; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/hostname";
    let Some(outcome) = run(script, |_| {}) else { return };
    let expected =
        "CapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n0\n127.0.0.1 localhost\n0\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("mount: permission denied") || outcome.stderr.contains("not permitted"));
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
}

#[test]
fn a_privileged_container_may_mount_and_has_no_filter() {
    let script = "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp && echo mounted; ls /dev/null";
    let Some(outcome) = run(script, |options| options.security.privileged = true) else { return };
    assert_eq!(outcome.stdout, "Seccomp:\t0\nmounted\n/dev/null\n", "{}", outcome.stderr);
}

#[test]
fn every_namespace_can_be_the_hosts() {
    let changes: [fn(&mut ContainerOptions); 5] = [
        |options| options.network = NetworkMode::Host,
        |options| options.pid_mode = NamespaceMode::Host,
        |options| options.ipc_mode = NamespaceMode::Host,
        |options| options.uts_mode = NamespaceMode::Host,
        |options| {
            options.network = NetworkMode::Host;
            options.pid_mode = NamespaceMode::Host;
            options.ipc_mode = NamespaceMode::Host;
            options.uts_mode = NamespaceMode::Host;
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let Some(outcome) = run("echo up", change) else { return };
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, "up\n"), "{index}: {}", outcome.stderr);
    }
}

#[test]
fn a_container_with_many_options_still_runs() {
    let script = "id -u; pwd; touch /data/x; echo > /x; grep -e NoNew /proc/self/status; cat /proc/sys/net/ipv4/ip_forward";
    let Some(outcome) = run(script, |options| {
        options.init = true;
        options.read_only_rootfs = true;
        options.process.working_dir = Some("/made".to_owned());
        options.security.no_new_privileges = true;
        options.security.seccomp = Seccomp::Default;
        options.resources.memory_bytes = Some(64 << 20);
        options.resources.nano_cpus = Some(500_000_000);
        options.resources.pids_max = Some(50);
        options.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
        let target = "/data".to_owned();
        options.mounts.push(Mount::Tmpfs {
            target,
            size_bytes: Some(1 << 20),
            mode: None,
            read_only: false,
            options: Vec::new(),
        });
    }) else {
        return;
    };
    assert_eq!(outcome.stdout, "0\n/made\nNoNewPrivs:\t1\n1\n", "{}", outcome.stderr);
    assert!(outcome.stderr.contains("/x: Read-only file system"), "{}", outcome.stderr);
}

/// Runs a shell script in a container with these options; `None` where containers cannot be run.
fn run(script: &str, change: impl FnOnce(&mut ContainerOptions)) -> Option<Outcome> {
    let bundle = Bundle::new_or_skip()?;
    let mut options = ContainerOptions::default();
    options.process.args = ["sh", "-c", script].map(str::to_owned).to_vec();
    change(&mut options);
    let file = |name: &str, text: &str| {
        fs::write(bundle.host(name), text).expect("write");
        bundle.host(name)
    };
    let files = GeneratedFiles {
        hostname: file("hostname", "box\n"),
        hosts: file("hosts", "127.0.0.1 localhost\n"),
        resolv_conf: file("resolv.conf", ""),
    };
    let name =
        bundle.host("").file_name().expect("a name").to_string_lossy().trim_start_matches('.').to_owned();
    let spec = spec::build(&SpecInput {
        default_filter_is_kept: false,
        id: &ContainerId::from_random(&[7; 32]),
        options: &options,
        image: &ImageConfig { env: vec!["PATH=/bin".to_owned()], ..ImageConfig::default() },
        user: &ResolvedUser { uid: 0, gid: 0, groups: vec![0], home: "/root".to_owned() },
        host: &host(),
        rootfs: Path::new("/"),
        files: &files,
        cgroup_path: Path::new(&format!("/gantry-test-{name}")),
    })
    .expect("a spec");
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let input = plan::PlanInput {
        rootfs: bundle.rootfs(),
        cgroups: cgroup::Host::read().expect("control groups"),
        init: options.init,
        filter: filter.map(|profile| seccomp::compile(profile).expect("a filter")),
        ..plan::PlanInput::default()
    };
    Some(run_plan(&plan::compile(&spec, &input).expect("a plan")))
}

fn host() -> HostFacts {
    let own = gantry_linux::process::capabilities().expect("capget").permitted;
    HostFacts {
        capabilities: CapabilitySet::from_bits(own),
        seccomp: true,
        architecture: seccomp::Architecture::host().expect("a known architecture"),
        kernel: (6, 1),
        cpus: 1,
        thermal_throttle: false,
        hostname: "the-host".to_owned(),
        devices: BTreeMap::new(),
    }
}
