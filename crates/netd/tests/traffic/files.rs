//! The life of the process: who serves, from what, and when it ends.

use std::io::Write as _;
use std::net::UdpSocket;

use gantry_linux::Pid;
use gantry_linux::signal::{Signal, send};
use gantry_network::netd::running;

use crate::world::{
    BRIDGE, GATEWAY, Netns, Running, World, addresses, endpoint, network, own_memory_kib, until,
};

fn pid(running: &Running) -> Pid {
    Pid::from_raw(i32::try_from(running.0.id()).expect("a pid")).expect("a pid")
}

/// A network with one name.
fn serve(world: &World) {
    world.put_network(&network("one", BRIDGE, GATEWAY));
    world.folder.write_endpoint(&endpoint("web", "one", "10.88.1.2", &["web"])).expect("written");
}

fn answers(container: &Netns) -> bool {
    container.run(|| addresses(GATEWAY, "web.")) == ["10.88.1.2"]
}

#[test]
fn a_killed_one_serves_from_its_files_when_it_is_started_again() {
    let Some(world) = World::new() else { return };
    serve(&world);
    let container = world.container(BRIDGE, "10.88.1.3");
    for _ in 0..3 {
        let netd = world.netd();
        assert_eq!(running(world.state.path()).expect("asked"), Some(netd.0.id()));
        assert!(answers(&container));
        send(pid(&netd), Signal::KILL).expect("killed");
        until("it is gone", || running(world.state.path()).expect("asked").is_none());
    }
}

#[test]
fn a_second_one_ends_well_at_once_and_a_standby_takes_over() {
    let Some(world) = World::new() else { return };
    serve(&world);
    let container = world.container(BRIDGE, "10.88.1.3");
    let first = world.netd();
    let mut second = world.start_netd("");
    assert!(second.0.wait().expect("it ends").success());
    let standby = world.start_netd("--standby");
    assert!(answers(&container));
    send(pid(&first), Signal::KILL).expect("killed");
    let serves = || running(world.state.path()).expect("asked") == Some(standby.0.id());
    until("the standby serves", || serves() && answers(&container));
}

#[test]
fn it_ends_well_when_told_and_when_its_folder_is_gone_and_by_nothing_else() {
    let Some(world) = World::new() else { return };
    serve(&world);
    let container = world.container(BRIDGE, "10.88.1.3");
    let mut netd = world.netd();
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1] {
        send(pid(&netd), signal).expect("sent");
    }
    assert!(answers(&container));
    send(pid(&netd), Signal::TERM).expect("sent");
    assert!(netd.0.wait().expect("it ends").success());
    let mut netd = world.netd();
    std::fs::remove_dir_all(world.folder.path()).expect("removed");
    assert!(netd.0.wait().expect("it ends").success());
}

#[test]
fn it_keeps_no_more_rights_than_it_needs() {
    let Some(world) = World::new() else { return };
    let netd = world.netd();
    let status = std::fs::read_to_string(format!("/proc/{}/status", netd.0.id())).expect("it runs");
    for line in [
        "CapEff:\t0000000000001400",
        "CapPrm:\t0000000000001400",
        "CapBnd:\t0000000000001400",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
}

#[test]
fn a_taken_address_is_told_and_listened_on_when_it_is_free() {
    let Some(world) = World::new() else { return };
    let other = world.host.run(|| UdpSocket::bind("0.0.0.0:53").expect("bound"));
    serve(&world);
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    until("it is told", || {
        let listeners = world.status().map(|status| status.listeners).unwrap_or_default();
        listeners.len() == 1 && listeners[0].failure.contains("is taken") && listeners[0].network == "one"
    });
    drop(other);
    until("it listens", || {
        world.status().is_some_and(|status| status.listeners.iter().all(|one| one.failure.is_empty()))
    });
    assert!(answers(&container));
}

#[test]
fn a_bridge_that_comes_later_or_anew_is_listened_on() {
    let Some(world) = World::new() else { return };
    let mut two = network("two", "gtbr2", "10.88.2.1");
    two.dns = true;
    world.put_network(&two);
    world.folder.write_endpoint(&endpoint("db", "two", "10.88.2.2", &["db"])).expect("written");
    let _netd = world.netd();
    let failure =
        || world.status().and_then(|status| status.listeners.first().map(|one| one.failure.clone()));
    until("it says what is missing", || failure().is_some_and(|text| text.contains("no interface gtbr2")));
    for _ in 0..2 {
        world.bridge("gtbr2", "10.88.2.1");
        world.put_network(&two);
        let container = world.container("gtbr2", "10.88.2.3");
        until("it answers", || container.run(|| addresses("10.88.2.1", "db.")) == ["10.88.2.2"]);
        drop(container);
        world.host.command("ip link del gtbr2");
    }
    two.dns = false;
    world.put_network(&two);
    until("nothing is listened on", || failure().is_none());
}

#[test]
fn a_damaged_file_costs_only_its_own_names_and_is_told() {
    let Some(world) = World::new() else { return };
    serve(&world);
    let path = world.folder.endpoints_path().join("bad");
    std::fs::File::create(&path).and_then(|mut file| file.write_all(b"\xff\xff")).expect("written");
    let container = world.container(BRIDGE, "10.88.1.3");
    let _netd = world.netd();
    assert!(answers(&container));
    let left_out = world.status().expect("a status").left_out;
    assert!(left_out.len() == 1 && left_out[0].starts_with("endpoints/bad: "), "{left_out:?}");
    world.folder.write_endpoint(&endpoint("bad", "one", "10.88.1.4", &["good"])).expect("written");
    until("it is well", || world.status().is_some_and(|status| status.left_out.is_empty()));
}

#[test]
fn a_thousand_endpoints_resolve_within_three_mebibytes() {
    let Some(world) = World::new() else { return };
    let mut wide = network("one", BRIDGE, GATEWAY);
    wide.subnets = vec!["10.88.0.0/16".parse().expect("a subnet")];
    world.put_network(&wide);
    for number in 0..1000u32 {
        let id = format!("{number:064x}");
        let (name, service) = (format!("container-{number}"), format!("service-{}", number % 10));
        let address = format!("10.88.{}.{}", 2 + number / 250, 1 + number % 250);
        let short = format!("{number:012x}");
        let mut one = endpoint(&id, "one", &address, &[&name, &short, &id, &service]);
        one.container.clone_from(&id);
        world.folder.write_endpoint(&one).expect("written");
    }
    let container = world.container(BRIDGE, "10.88.1.3");
    let netd = world.netd();
    container.run(|| {
        for number in (0..1000u32).step_by(37) {
            let expected = format!("10.88.{}.{}", 2 + number / 250, 1 + number % 250);
            assert_eq!(addresses(GATEWAY, &format!("container-{number}.net-one.")), [expected]);
        }
    });
    assert_eq!(container.command(&format!("dig +short @{GATEWAY} service-7")).lines().count(), 100);
    let resident = own_memory_kib(netd.0.id());
    assert!(resident <= 3072, "{resident} KiB");
}
