//! A private dockerd on a private containerd, with `gantry-runtime` as its default runtime.

use std::fs;

use anyhow::{Context as _, Result};
use gantry_tests::cli::run;
use gantry_tests::outcome::Outcome;
use gantry_tests::programs::program;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};
use nix::errno::Errno;
use nix::mount::umount;

use super::containerd::Containerd;
use super::{Service, debian};

/// dockerd with busybox in it.
pub(super) struct Docker {
    pub(super) image: String,
    // Stopped in this order.
    service: Service,
    containerd: Containerd,
}

impl Docker {
    pub(super) fn start(world: &World) -> Result<Self> {
        let containerd = Containerd::start_empty(world)?;
        let place = &containerd.place;
        // Without a file of its own it reads the machine's.
        fs::write(place.path("docker.json"), "{}")?;
        let mut command = debian("dockerd");
        let options = [
            ("--data-root", "docker"),
            ("--exec-root", "docker-run"),
            ("--pidfile", "docker.pid"),
            ("--containerd", "containerd.sock"),
            ("--config-file", "docker.json"),
        ];
        for (option, name) in options {
            command.arg(option).arg(place.path(name));
        }
        command.arg("--host").arg(format!("unix://{}", place.text("docker.sock")));
        command.arg("--cgroup-parent").arg(format!("/{}", place.name));
        command.arg("--add-runtime").arg(format!("gantry={}", program("gantry-runtime").display()));
        command.args([
            "--default-runtime",
            "gantry",
            "--bridge",
            "none",
            "--iptables=false",
            "--ip6tables=false",
        ]);
        command.args(["--storage-driver", "overlay2"]);
        let service = place.background(&mut command, "dockerd.log")?;
        let image = world.shared.busybox.reference.clone();
        let docker = Self { image, service, containerd };
        until_true("dockerd to answer", seconds(30), || Ok(docker.cli(&["version"])?.code == 0))
            .with_context(|| docker.service.words())?;
        docker.cli(&["pull", "-q", &docker.image])?.ok()?;
        Ok(docker)
    }

    /// The `docker` command line.
    pub(super) fn cli(&self, args: &[&str]) -> Result<Outcome> {
        let host = format!("unix://{}", self.containerd.place.text("docker.sock"));
        run(debian("docker").args(["--host", &host]).args(args))
    }

    /// Stops it, and removes what containers leave in it by design.
    pub(super) fn finish(mut self) -> Result<()> {
        self.service.stop()?;
        // It mounts this folder on itself, and does not know the mount again where the root is a folder of a file system,
        // as in a chroot.
        match umount(&self.containerd.place.path("docker")) {
            Ok(()) | Err(Errno::EINVAL) => self.containerd.finish(),
            Err(error) => Err(error).context("unmounting dockerd's folder"),
        }
    }
}
