//! Networks of CNI plugins: Debian's own, with traffic.

use std::path::PathBuf;

use gantry_network::Netns;
use gantry_network::cni::{CniList, CniResult, CniTarget};
use gantry_types::{Class, Classified};

use crate::stage::{PATIENCE, Server, at, ip, name, net, on_stage, tcp};

/// Debian's containernetworking-plugins.
const PLUGINS: &str = "/usr/lib/cni";

#[test]
#[expect(clippy::print_stdout, reason = "a skip is said aloud")]
fn a_list_of_plugins_gives_a_container_a_link_and_takes_it_back() {
    if !PathBuf::from(PLUGINS).join("bridge").is_file() {
        println!("SKIP: {PLUGINS} has no plugins (package containernetworking-plugins)");
        return;
    }
    let leases = tempfile::tempdir().expect("folder");
    let text = format!(
        r#"{{"cniVersion": "1.0.0", "name": "mine", "plugins": [
            {{"type": "bridge", "bridge": "cni0", "isGateway": true,
              "ipam": {{"type": "host-local", "dataDir": {:?}, "ranges": [[{{"subnet": "10.77.0.0/24"}}]]}}}},
            {{"type": "tuning", "sysctl": {{"net.ipv4.conf.IFNAME.arp_filter": "1"}}}}]}}"#,
        leases.path()
    );
    let list = CniList::parse(text.as_bytes()).expect("valid");
    on_stage(|stage| {
        let mut netns = Netns::make().expect("namespace");
        let folders = [PathBuf::from(PLUGINS)];
        let eth0 = name("eth0");
        let result = {
            let target = CniTarget { folders: &folders, container: "c1", netns: &netns, interface: &eth0 };
            list.add(&target).expect("added")
        };
        assert_eq!(result.addresses(), [net("10.77.0.2/24")]);
        let _server = Server::tcp(&netns, at("10.77.0.2", 80));
        assert_eq!(tcp(&stage.here, at("10.77.0.2", 80), PATIENCE).expect("reached"), ip("10.77.0.1"));
        let kept = CniResult::from_json(&result.to_json()).expect("kept");
        let target = CniTarget { folders: &folders, container: "c1", netns: &netns, interface: &eth0 };
        list.delete(&target, Some(&kept)).expect("deleted");
        list.delete(&target, Some(&kept)).expect("deleted again");
        assert_eq!(netns.links().expect("links").len(), 1);
    });
}

#[test]
fn a_plugin_that_is_missing_or_refuses_is_named() {
    on_stage(|_| {
        let netns = Netns::make().expect("namespace");
        let folders = [PathBuf::from(PLUGINS)];
        let eth0 = name("eth0");
        let target = CniTarget { folders: &folders, container: "c1", netns: &netns, interface: &eth0 };
        let list = |text: &str| CniList::parse(text.as_bytes()).expect("valid");
        let error = list(r#"{"name": "n", "type": "no-such-plugin"}"#).add(&target).expect_err("missing");
        assert_eq!((error.class(), error.reason()), (Class::FailedPrecondition, "CNI_PLUGIN_MISSING"));
        if PathBuf::from(PLUGINS).join("macvlan").is_file() {
            let text = r#"{"cniVersion": "1.0.0", "name": "n", "type": "macvlan", "master": "nothere"}"#;
            let error = list(text).add(&target).expect_err("no master");
            assert_eq!(error.reason(), "CNI_PLUGIN_REFUSED");
            assert!(error.to_string().starts_with("plugin macvlan refuses ADD: "), "{error}");
        }
    });
}
