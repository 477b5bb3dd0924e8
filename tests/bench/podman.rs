//! podman, which has no daemon: with its own runtime and folders in the bench's own folder, and with netavark and
//! aardvark-dns for its networks, where Debian's packages of those are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use gantry_runtime::cgroup::{self, Host};
use gantry_tests::programs::installed;
use gantry_tests::wait::{seconds, until_true};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::Bench;
use crate::gantry::{BRIDGE, Network};
use crate::peers::{RUN, peer, run, unique_name};

/// podman 4.3 asks for the largest limits of open files and processes that it knows, and fails where the machine's root may
/// not raise its own: the config names smaller ones.
const CONFIG: &str = "\
[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
[network]
network_backend = \"netavark\"
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"none\"
";
/// Where Debian has netavark.
const NETAVARK: &str = "/usr/lib/podman/netavark";

/// podman with the image in its storage and a network of the bench's name.
pub(crate) struct Podman {
    folder: PathBuf,
    run: PathBuf,
    image: String,
    /// The parent of its containers' control groups.
    cgroup: String,
}

impl Podman {
    /// `None` where it, or what makes its networks, is not installed.
    pub(crate) fn prepare(bench: &Bench) -> Result<Option<Self>> {
        if installed("podman").is_none() || !Path::new(NETAVARK).exists() {
            return Ok(None);
        }
        let folder = bench.path("podman");
        fs::create_dir(&folder)?;
        fs::write(folder.join("containers.conf"), CONFIG)?;
        let (run_folder, image) = (bench.path(RUN).join("podman"), bench.image.clone());
        let podman = Self { folder, run: run_folder, image, cgroup: format!("/{}", unique_name()) };
        run(podman.command().args(["pull", "-q", "--tls-verify=false", &podman.image]))?;
        run(podman.command().args(["network", "create", BRIDGE]))?;
        Ok(Some(podman))
    }

    /// One container from nothing to nothing.
    pub(crate) fn cycle(&self, network: Network) -> Result<()> {
        let flags: &[&str] = match network {
            Network::None => &["--network", "none"],
            Network::Bridge => &["--network", BRIDGE, "--publish", "80"],
        };
        let mut command = self.command();
        command.args(["run", "--rm", "--cgroup-parent", &self.cgroup]).args(flags);
        run(command.args([&self.image, "/bin/true"]))
    }

    /// Takes away its network, its storage, which its driver keeps mounted on itself, and its control groups.
    pub(crate) fn finish(self) -> Result<()> {
        // Its monitors may take a moment to be gone from them.
        until_true("podman's control groups to be removed", seconds(10), || {
            cgroup::prune(&Host::read()?, &self.cgroup)?;
            let name = self.cgroup.trim_start_matches('/');
            Ok(!gantry_tests::cgroup::hierarchies()?.iter().any(|top| top.join(name).exists()))
        })?;
        let removed = run(self.command().args(["network", "rm", "--force", BRIDGE]));
        for name in ["root/overlay", "root"] {
            match umount2(&self.folder.join(name), MntFlags::MNT_DETACH) {
                Err(Errno::EINVAL | Errno::ENOENT) => {}
                unmounted => unmounted?,
            }
        }
        removed
    }

    fn command(&self) -> Command {
        let mut command = peer("podman");
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.run.join("root"));
        command.arg("--tmpdir").arg(self.run.join("tmp"));
        command.arg("--network-config-dir").arg(self.folder.join("networks"));
        command
    }
}
