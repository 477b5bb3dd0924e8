//! What happens when the disk is full? The daemon's folder is a small tmpfs of its own mount namespace, so that nothing
//! of the machine's disk is at stake and nothing has to be unmounted.

use anyhow::{Result, ensure};
use gantry_tests::daemon::Daemon;
use gantry_tests::fixture::busybox;
use gantry_tests::image::Layer;
use gantry_tests::trial::World;

tests![
    a_pull_that_does_not_fit_fails_and_leaves_room_for_one_that_does,
    a_full_disk_refuses_new_containers_until_there_is_room,
];

/// A daemon whose persistent folder holds so many MiB.
fn daemon_with_room(mebibytes: u32) -> Result<Daemon> {
    let mut daemon = Daemon::prepare()?;
    let root = daemon.path("root").display().to_string();
    std::fs::create_dir(&root)?;
    let script = format!("mount -t tmpfs -o size={mebibytes}m,mode=700 none {root} && exec \"$0\" \"$@\"");
    daemon.wrap(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]);
    daemon.restart()?;
    Ok(daemon)
}

fn a_pull_that_does_not_fit_fails_and_leaves_room_for_one_that_does(world: &World) -> Result<()> {
    let daemon = daemon_with_room(64)?;
    let layer = Layer::new().file("zeros", 0o644, &vec![0; 100 << 20]);
    let large = busybox(None)?.layer(&layer)?.push(&world.shared.registry, "large", "latest")?;
    let said = daemon.gantry(&["pull", &large.reference])?;
    ensure!(said.code == 1, "{said}");
    said.complains("space")?;
    ensure!(daemon.ok(&["images", "-q"])?.is_empty());
    let small = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", small])?;
    daemon.gantry(&["run", "--rm", small, "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}

fn a_full_disk_refuses_new_containers_until_there_is_room(world: &World) -> Result<()> {
    let daemon = daemon_with_room(64)?;
    let image = &world.shared.busybox.reference;
    daemon.ok(&["pull", "-q", image])?;
    daemon.ok(&["run", "-d", "--name", "greedy", image, "sleep", "1000"])?;
    let fill = "dd if=/dev/zero of=/fill bs=64k 2>/dev/null; for i in $(seq 200); do echo x >/small$i || break; done 2>&1; true";
    daemon.gantry(&["exec", "greedy", "sh", "-c", fill])?;
    let said = daemon.gantry(&["run", "--rm", image, "true"])?;
    ensure!(said.code == 125, "{said}");
    said.complains("space")?;
    ensure!(
        daemon.ok(&["ps", "-aq"])?.lines().count() == 1,
        "a container is left: {}",
        daemon.ok(&["ps", "-a"])?
    );
    daemon.ok(&["exec", "greedy", "sh", "-c", "rm -f /fill /small*"])?;
    daemon.gantry(&["run", "--rm", image, "true"])?.exits(0)?;
    world.done(daemon);
    Ok(())
}
