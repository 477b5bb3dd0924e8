//! Networks of CNI plugins: Debian's own, with traffic, and small ones of this file's for what those do not show.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_network::Netns;
use gantry_network::cni::{CniList, CniResult, CniTarget, CniWishes};
use gantry_types::{Class, Classified, InterfaceName, PortRange, Protocol, PublishedPort};

use crate::stage::{PATIENCE, Server, at, ip, name, net, on_stage, tcp};

/// Debian's containernetworking-plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Everything that a target borrows.
struct Link {
    folders: Vec<PathBuf>,
    netns: PathBuf,
    interface: InterfaceName,
    input: PathBuf,
    wishes: CniWishes,
}

impl Link {
    fn new(folders: &[&Path], netns: &Netns, folder: &Path) -> Self {
        Self {
            folders: folders.iter().map(|path| (*path).to_owned()).collect(),
            netns: format!("/proc/{}/fd/{}", std::process::id(), netns.descriptor().as_raw_fd()).into(),
            interface: name("eth0"),
            input: folder.join("input"),
            wishes: CniWishes::default(),
        }
    }

    fn target(&self) -> CniTarget<'_> {
        CniTarget {
            folders: &self.folders,
            container: "c1",
            netns: Some(&self.netns),
            interface: &self.interface,
            input: &self.input,
            wishes: &self.wishes,
        }
    }
}

fn list(text: &str) -> CniList {
    CniList::parse(text.as_bytes()).expect("valid")
}

fn debian() -> &'static Path {
    let folder = Path::new(PLUGINS);
    assert!(folder.join("bridge").is_file(), "install Debian's containernetworking-plugins");
    folder
}

#[test]
fn a_list_of_plugins_gives_a_container_a_link_and_takes_it_back() {
    let folder = tempfile::tempdir().expect("folder");
    let list = list(&format!(
        r#"{{"cniVersion": "1.0.0", "name": "mine", "plugins": [
            {{"type": "bridge", "bridge": "cni0", "isGateway": true,
              "ipam": {{"type": "host-local", "dataDir": {:?}, "ranges": [[{{"subnet": "10.77.0.0/24"}}]]}}}},
            {{"type": "tuning", "sysctl": {{"net.ipv4.conf.eth0.arp_filter": "1"}}}}]}}"#,
        folder.path().join("leases")
    ));
    on_stage(|stage| {
        let mut netns = Netns::make().expect("namespace");
        let link = Link::new(&[debian()], &netns, folder.path());
        let result = list.add(&link.target()).expect("added");
        assert_eq!(result.addresses(), [net("10.77.0.2/24")]);
        assert_eq!(result.gateways(), [ip("10.77.0.1")]);
        assert!(result.mac(&link.interface).is_some(), "{result:?}");
        let _server = Server::tcp(&netns, at("10.77.0.2", 80));
        assert_eq!(tcp(&stage.here, at("10.77.0.2", 80), PATIENCE).expect("reached"), ip("10.77.0.1"));
        let kept = CniResult::from_json(&result.to_json()).expect("kept");
        list.check(&link.target(), &kept).expect("as it was made");
        netns.remove_link(&link.interface).expect("taken away behind the plugins' backs");
        let error = list.check(&link.target(), &kept).expect_err("the link is gone");
        assert!(error.to_string().contains("refuses CHECK"), "{error}");
        list.delete(&link.target(), Some(&kept)).expect("deleted");
        list.delete(&link.target(), Some(&kept)).expect("deleted again");
        assert_eq!(netns.links().expect("links").len(), 1);
    });
}

#[test]
fn a_removal_without_a_namespace_gives_the_address_back() {
    let folder = tempfile::tempdir().expect("folder");
    let leases = folder.path().join("leases");
    let list = list(&format!(
        r#"{{"cniVersion": "1.0.0", "name": "mine", "type": "bridge", "bridge": "cni0",
            "ipam": {{"type": "host-local", "dataDir": {leases:?}, "ranges": [[{{"subnet": "10.77.0.0/24"}}]]}}}}"#,
    ));
    on_stage(|_| {
        let netns = Netns::make().expect("namespace");
        let link = Link::new(&[debian()], &netns, folder.path());
        list.add(&link.target()).expect("added");
        let lease = leases.join("mine/10.77.0.2");
        assert!(lease.is_file(), "no {}", lease.display());
        drop(netns);
        list.delete(&CniTarget { netns: None, ..link.target() }, None).expect("deleted");
        assert!(!lease.exists(), "{} is left", lease.display());
    });
}

#[test]
fn a_plugin_that_is_missing_or_refuses_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    on_stage(|_| {
        let netns = Netns::make().expect("namespace");
        let link = Link::new(&[debian()], &netns, folder.path());
        let nobody = list(r#"{"cniVersion": "1.0.0", "name": "n", "type": "no-such-plugin"}"#);
        assert_eq!(nobody.missing(&link.folders).expect("missing").as_str(), "no-such-plugin");
        let error = nobody.add(&link.target()).expect_err("missing");
        assert_eq!((error.class(), error.reason()), (Class::FailedPrecondition, "CNI_PLUGIN_MISSING"));
        let text = r#"{"cniVersion": "1.0.0", "name": "n", "type": "macvlan", "master": "nothere"}"#;
        let error = list(text).add(&link.target()).expect_err("no master");
        assert_eq!(error.reason(), "CNI_PLUGIN_REFUSED");
        assert!(error.to_string().starts_with("plugin macvlan refuses ADD: "), "{error}");
    });
}

/// Writes a plugin that is a shell's.
fn plugin(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

#[test]
fn only_what_a_plugin_says_it_can_is_asked_of_it() {
    let folder = tempfile::tempdir().expect("folder");
    let netns = Netns::make().expect("namespace");
    let mut link = Link::new(&[folder.path()], &netns, folder.path());
    link.wishes = CniWishes {
        ports: vec![PublishedPort {
            host_address: None,
            host_ports: PortRange::new(8080, 8081),
            container_ports: PortRange::new(80, 81).expect("a range"),
            protocol: Protocol::Tcp,
        }],
        addresses: vec!["10.0.0.9".to_owned()],
        mac: Some("02:00:00:00:00:09".parse().expect("a station")),
        aliases: vec!["db".to_owned()],
    };
    for name in ["one", "two"] {
        plugin(folder.path(), name, &format!("cat >{:?}", folder.path().join(format!("{name}.asked"))));
    }
    list(
        r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [
            {"type": "one", "capabilities": {"portMappings": true, "ips": true, "mac": false}},
            {"type": "two", "capabilities": {"mac": true, "aliases": true}}]}"#,
    )
    .add(&link.target())
    .expect("added");
    let asked = |name: &str| -> serde_json::Value {
        let text = std::fs::read(folder.path().join(format!("{name}.asked"))).expect("asked");
        serde_json::from_slice(&text).expect("JSON")
    };
    let one = asked("one");
    let mapping = |host: u16, container: u16| serde_json::json!({"hostPort": host, "containerPort": container, "protocol": "tcp"});
    assert_eq!(
        one["runtimeConfig"],
        serde_json::json!({"portMappings": [mapping(8080, 80), mapping(8081, 81)], "ips": ["10.0.0.9"]})
    );
    assert!(one.get("capabilities").is_none(), "{one}");
    let two = serde_json::json!({"mac": "02:00:00:00:00:09", "aliases": {"n": ["db"]}});
    assert_eq!(asked("two")["runtimeConfig"], two);
}

#[test]
fn a_plugin_that_is_still_at_work_is_waited_for() {
    let folder = tempfile::tempdir().expect("folder");
    let (log, go) = (folder.path().join("log"), folder.path().join("go"));
    let script = format!(
        "echo \"$CNI_COMMAND\" >>{log:?}\n[ $CNI_COMMAND = ADD ] || exit 0\n\
         until [ -e {go:?} ]; do sleep 0.01; done\necho added >>{log:?}"
    );
    plugin(folder.path(), "slow", &script);
    let slow = list(r#"{"cniVersion": "1.0.0", "name": "n", "type": "slow"}"#);
    let netns = Netns::make().expect("namespace");
    let link = Link::new(&[folder.path()], &netns, folder.path());
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    std::thread::scope(|scope| {
        let adding = scope.spawn(|| slow.add(&link.target()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while said().is_empty() {
            assert!(Instant::now() < deadline, "the plugin was not started");
            std::thread::yield_now();
        }
        let deleting = scope.spawn(|| slow.delete(&link.target(), None));
        std::fs::write(&go, "").expect("written");
        adding.join().expect("no panic").expect("added");
        deleting.join().expect("no panic").expect("deleted");
    });
    assert_eq!(said().lines().collect::<Vec<_>>(), ["ADD", "added", "DEL"]);
}
