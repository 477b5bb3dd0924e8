//! podman with folders of its own and `gantry-runtime` as its runtime. It has no daemon.
//!
//! podman 4.3 asks for the largest limits of open files and processes that it knows, and fails where the machine's
//! root may not raise its own (no CAP_SYS_RESOURCE): the config names smaller ones.

use std::fs;

use anyhow::Result;
use gantry_tests::cli::run;
use gantry_tests::outcome::Outcome;
use gantry_tests::programs::program;
use gantry_tests::trial::World;

use super::{Place, debian};

const CONFIG: &str = "\
[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
netns = \"none\"
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
lock_type = \"file\"
";

/// podman with busybox in its storage.
pub(super) struct Podman {
    place: Place,
    pub(super) image: String,
}

impl Podman {
    pub(super) fn start(world: &World) -> Result<Self> {
        let place = Place::new()?;
        fs::write(place.path("containers.conf"), CONFIG)?;
        let podman = Self { place, image: world.shared.busybox.reference.clone() };
        podman.cli(&["pull", "-q", "--tls-verify=false", &podman.image])?.ok()?;
        Ok(podman)
    }

    /// The `podman` command line; `run` gets a cgroup of ours.
    pub(super) fn cli(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = debian("podman");
        command.env("CONTAINERS_CONF", self.place.path("containers.conf"));
        for (option, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.place.path(name));
        }
        command.arg("--runtime").arg(program("gantry-runtime"));
        // Its state would go to the machine's own folder, and be left there.
        command.arg("--runtime-flag").arg(format!("root={}", self.place.path("state").display()));
        match args.split_first() {
            Some((&"run", rest)) => command.args(["run", "--cgroup-parent", &self.place.name]).args(rest),
            _ => command.args(args),
        };
        run(&mut command)
    }

    /// Unmounts its storage, and removes what containers leave in it by design.
    pub(super) fn finish(self) -> Result<()> {
        self.cli(&["rm", "-a", "-f"])?.ok()?;
        self.cli(&["rmi", "-a", "-f"])?.ok()?;
        self.place.remove_cgroups()?;
        // The graph driver keeps its folder mounted on itself.
        for name in ["root/overlay", "root"] {
            match nix::mount::umount2(&self.place.path(name), nix::mount::MntFlags::MNT_DETACH) {
                Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
                unmounted => unmounted?,
            }
        }
        Ok(())
    }
}
