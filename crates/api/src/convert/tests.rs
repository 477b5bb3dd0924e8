//! The conversions of a container's options: nothing is lost either way, and every refusal names its field.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::{
    Class, Classified, ContainerOptions, Device, EndpointOptions, IdMapping, Mount, NamespaceMode,
    NetworkAttachment, NetworkMode, PortRange, ProcessOptions, Protocol, PublishedPort, Resources, Seccomp,
    SecurityOptions, Ulimit, UserNamespace,
};

use super::{ContainerRequest, InvalidField};
use crate::containers::v1;

fn everything_asked() -> ContainerOptions {
    let text = |text: &str| text.to_owned();
    ContainerOptions {
        process: ProcessOptions {
            entrypoint: Some(vec![]),
            args: vec![text("sh"), text("")],
            env: vec![text("A=b=c")],
            working_dir: Some(text("/srv")),
            user: Some(text("app:staff")),
            additional_groups: vec![text("27")],
            terminal: true,
            stdin_open: true,
            privileged: false,
        },
        hostname: Some(text("box")),
        domainname: Some(text("lan")),
        mounts: vec![
            Mount::Bind {
                source: text("/a"),
                target: text("/b"),
                read_only: true,
                recursive: false,
                propagation: Some(text("rslave")),
                create_source: true,
                id_mapped: true,
            },
            Mount::Tmpfs {
                target: text("/t"),
                size_bytes: Some(4096),
                mode: Some(0o700),
                read_only: true,
                options: vec![text("exec")],
            },
        ],
        read_only_rootfs: true,
        shm_size_bytes: Some(1),
        network: NetworkMode::Networks(vec![NetworkAttachment {
            network: text("front"),
            options: EndpointOptions {
                aliases: vec![text("db")],
                ipv4: Some([10, 0, 0, 9].into()),
                ipv6: Some("fd00::9".parse().expect("valid")),
                mac: Some("02:00:00:00:00:09".parse().expect("valid")),
                interface: Some("net0".parse().expect("valid")),
                gateway_priority: -3,
            },
        }]),
        ports: vec![PublishedPort {
            host_address: Some([127, 0, 0, 1].into()),
            host_ports: PortRange::new(8000, 8001),
            container_ports: PortRange::new(80, 81).expect("valid"),
            protocol: Protocol::Udp,
        }],
        exposed_ports: vec!["443/sctp".parse().expect("valid")],
        publish_all_ports: true,
        pid_mode: NamespaceMode::Host,
        ipc_mode: NamespaceMode::Host,
        uts_mode: NamespaceMode::Host,
        user_namespace: Some(UserNamespace::Mapped {
            users: vec![IdMapping { inside: 0, outside: 5000, count: 10 }],
            groups: vec![IdMapping { inside: 0, outside: 6000, count: 9 }],
        }),
        resources: Resources {
            memory_bytes: Some(1 << 20),
            memory_swap_bytes: Some(u64::MAX),
            memory_reservation_bytes: Some(5),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(2),
            cpuset_cpus: Some(text("0-2,4")),
            cpuset_mems: Some(text("0")),
            pids_max: Some(9),
            blkio_weight: Some(1000),
        },
        security: SecurityOptions {
            privileged: true,
            cap_add: BTreeSet::from([text("NET_ADMIN")]),
            cap_drop: BTreeSet::from([text("ALL")]),
            seccomp: Seccomp::Profile { json: text("{}") },
            no_new_privileges: true,
            unmasked_system_paths: true,
        },
        ulimits: BTreeMap::from([(text("nofile"), Ulimit { soft: 1, hard: u64::MAX })]),
        sysctls: BTreeMap::from([(text("net.ipv4.ip_forward"), text("1"))]),
        devices: vec![Device {
            host_path: text("/dev/fuse"),
            container_path: text("/dev/fuse"),
            permissions: text("rw"),
        }],
        init: true,
        auto_remove: true,
        stop_signal: Some(text("SIGRTMIN+3")),
        stop_timeout_ms: Some(0),
        labels: BTreeMap::new(),
        annotations: BTreeMap::from([(text("a"), text("b"))]),
        extra_hosts: vec![(text("db"), text("::1"))],
        dns: vec![text("1.1.1.1")],
        dns_search: vec![text("lan")],
        dns_options: vec![text("ndots:2")],
        volatile_rootfs: true,
        runtime: Some("/opt/crun".parse().expect("valid")),
    }
}

#[test]
fn options_come_back_whole_from_a_message() {
    for options in [everything_asked(), ContainerOptions::default()] {
        let message = v1::ContainerOptions::from(&options);
        assert_eq!(ContainerOptions::try_from(message), Ok(options));
    }
}

#[test]
fn a_message_comes_back_whole_from_options() {
    let message = v1::ContainerOptions::from(&everything_asked());
    let options = ContainerOptions::try_from(message.clone()).expect("valid");
    assert_eq!(v1::ContainerOptions::from(&options), message);
}

#[test]
fn an_empty_message_means_the_defaults() {
    let options = ContainerOptions::try_from(v1::ContainerOptions::default());
    assert_eq!(options, Ok(ContainerOptions::default()));
}

#[test]
fn labels_and_name_are_fields_of_the_request() {
    let request = v1::CreateContainerRequest {
        name: "web".into(),
        image: "redis".into(),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        ..Default::default()
    };
    let request = ContainerRequest::try_from(request).expect("valid");
    assert_eq!(request.options.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(request.namespace.as_str(), "default");
    assert_eq!(request.name.as_ref().map(gantry_types::ContainerName::as_str), Some("web"));
}

#[test]
fn capabilities_are_taken_in_any_spelling() {
    let security = v1::SecurityOptions { cap_add: vec!["cap_net_raw".into()], ..Default::default() };
    let security = SecurityOptions::try_from(security).expect("valid");
    assert_eq!(security.cap_add, BTreeSet::from(["NET_RAW".to_owned()]));
}

/// The path of the field that is refused after `spoil` changed a good request.
fn refused(spoil: impl Fn(&mut v1::CreateContainerRequest, &mut v1::ContainerOptions)) -> String {
    let mut options = v1::ContainerOptions::from(&everything_asked());
    let mut request = v1::CreateContainerRequest { image: "redis".into(), ..Default::default() };
    spoil(&mut request, &mut options);
    request.options = Some(options);
    let error: InvalidField = ContainerRequest::try_from(request).expect_err("spoilt");
    assert_eq!(error.class(), Class::InvalidArgument);
    error.path
}

fn process(options: &mut v1::ContainerOptions) -> &mut v1::ProcessOptions {
    options.process.as_mut().expect("set")
}

fn resources(options: &mut v1::ContainerOptions) -> &mut v1::Resources {
    options.resources.as_mut().expect("set")
}

fn bind(options: &mut v1::ContainerOptions) -> &mut v1::BindMount {
    match options.mounts[0].kind.as_mut().expect("set") {
        v1::mount::Kind::Bind(bind) => bind,
        v1::mount::Kind::Tmpfs(_) => unreachable!("the first mount is a bind"),
    }
}

#[test]
fn every_refusal_names_its_field() {
    assert_eq!(refused(|r, _| r.image.clear()), "image");
    assert_eq!(refused(|r, _| r.namespace = "../x".into()), "namespace");
    assert_eq!(refused(|r, _| r.name = "-".into()), "name");
    assert_eq!(refused(|r, _| r.platform = "linux".into()), "platform");
    assert_eq!(refused(|r, _| r.request_id = "a b".into()), "request_id");
    assert_eq!(refused(|r, _| r.labels.extend([("k".into(), "v".repeat(4096))])), "labels[\"k\"]");
    assert_eq!(refused(|_, o| process(o).args.push("a\0b".into())), "options.process.args[2]");
    assert_eq!(refused(|_, o| process(o).args.push("a".repeat(1 << 20))), "options.process.args");
    assert_eq!(refused(|_, o| process(o).env.push("NAME".into())), "options.process.env[1]");
    assert_eq!(refused(|_, o| process(o).working_dir = Some("srv".into())), "options.process.working_dir");
    assert_eq!(refused(|_, o| process(o).privileged = true), "options.process.privileged");
    assert_eq!(refused(|_, o| o.hostname = Some("a b".into())), "options.hostname");
    assert_eq!(refused(|_, o| o.mounts[1].kind = None), "options.mounts[1].kind");
    assert_eq!(refused(|_, o| bind(o).source = "a".into()), "options.mounts[0].bind.source");
    assert_eq!(refused(|_, o| bind(o).target = "/.//".into()), "options.mounts[0].bind.target");
    assert_eq!(refused(|_, o| bind(o).propagation = 99), "options.mounts[0].bind.propagation");
    assert_eq!(refused(|_, o| o.network = 99), "options.network");
    assert_eq!(refused(|_, o| resources(o).memory_bytes = None), "options.resources.memory_bytes");
    assert_eq!(
        refused(|_, o| resources(o).cpuset_cpus = Some("3-1".into())),
        "options.resources.cpuset_cpus"
    );
    assert_eq!(refused(|_, o| resources(o).blkio_weight = Some(1001)), "options.resources.blkio_weight");
    let seccomp = v1::Seccomp { mode: 2, profile_json: "{}".into() };
    let path = refused(|_, o| o.security.as_mut().expect("set").seccomp = Some(seccomp.clone()));
    assert_eq!(path, "options.security.seccomp.profile_json");
    let limit = v1::Ulimit { soft: 2, hard: 1 };
    assert_eq!(refused(|_, o| o.ulimits.extend([("core".into(), limit)])), "options.ulimits[\"core\"].hard");
    assert_eq!(refused(|_, o| o.ulimits.extend([("x".into(), limit)])), "options.ulimits[\"x\"]");
    assert_eq!(refused(|_, o| o.sysctls.extend([("a/b".into(), String::new())])), "options.sysctls[\"a/b\"]");
    assert_eq!(refused(|_, o| o.devices[0].permissions = "x".into()), "options.devices[0].permissions");
    assert_eq!(refused(|_, o| o.extra_hosts[0].address = "db".into()), "options.extra_hosts[0].address");
    assert_eq!(refused(|_, o| o.dns.push("x".into())), "options.dns[1]");
    assert_eq!(refused(|_, o| o.stop_signal = Some("TERM;".into())), "options.stop_signal");
}
