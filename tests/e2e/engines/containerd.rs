//! A private containerd, and `ctr` with `gantry-runtime` as its runc.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use gantry_tests::cli::run;
use gantry_tests::outcome::Outcome;
use gantry_tests::programs::program;
use gantry_tests::trial::World;
use gantry_tests::wait::{seconds, until_true};

use super::{Place, Service, debian};

/// containerd with busybox in it.
pub(super) struct Containerd {
    pub(super) place: Place,
    pub(super) image: String,
    service: Service,
}

impl Containerd {
    pub(super) fn start(world: &World) -> Result<Self> {
        let containerd = Self::start_empty(world)?;
        containerd.ctr(&["images", "pull", "--plain-http", &containerd.image])?.ok()?;
        Ok(containerd)
    }

    /// containerd without an image.
    pub(super) fn start_empty(world: &World) -> Result<Self> {
        let place = Place::new()?;
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(place.path("containerd.toml"), config)?;
        let mut command = debian("containerd");
        let options = [
            ("--config", "containerd.toml"),
            ("--root", "containerd"),
            ("--state", "containerd-run"),
            ("--address", "containerd.sock"),
        ];
        for (option, name) in options {
            command.arg(option).arg(place.path(name));
        }
        let service = place.background(&mut command, "containerd.log")?;
        let image = world.shared.busybox.reference.clone();
        let containerd = Self { place, image, service };
        until_true("containerd to answer", seconds(30), || Ok(containerd.ctr(&["version"])?.code == 0))
            .with_context(|| containerd.service.words())?;
        Ok(containerd)
    }

    /// `ctr`, in a namespace that names the containers' cgroups.
    pub(super) fn ctr(&self, args: &[&str]) -> Result<Outcome> {
        run(&mut self.command(args))
    }

    /// `ctr run` with our runtime.
    pub(super) fn run(&self, args: &[&str]) -> Result<Outcome> {
        run(&mut self.command(&self.run_args(args).iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// The same with a terminal under it, which script(1) makes.
    pub(super) fn run_on_terminal(&self, args: &[&str]) -> Result<Outcome> {
        let ctr = self.command(&self.run_args(args).iter().map(String::as_str).collect::<Vec<_>>());
        let words = std::iter::once(ctr.get_program()).chain(ctr.get_args());
        let line = words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        run(debian("script").args(["-q", "-e", "-c", &line, "/dev/null"]))
    }

    /// Stops it, and removes what containers leave in it by design.
    pub(super) fn finish(mut self) -> Result<()> {
        // A containerd that ends while a shim shuts down leaves it behind.
        let socket = self.place.text("containerd.sock");
        until_true("the shims to end", seconds(10), || Ok(!shim_of(&socket)?))?;
        self.service.stop()?;
        self.place.remove_cgroups()
    }

    fn run_args(&self, args: &[&str]) -> Vec<String> {
        let runtime = program("gantry-runtime").display().to_string();
        let root = self.place.text("runtime-root");
        let own = ["run", "--runc-binary", &runtime, "--runc-root", &root];
        own.iter().chain(args).map(|word| (*word).to_owned()).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = debian("ctr");
        command.args(["--address", &self.place.text("containerd.sock"), "--namespace", &self.place.name]);
        command.args(args);
        command
    }
}

/// Whether a shim of the containerd at this socket runs.
fn shim_of(socket: &str) -> Result<bool> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        if command.contains("containerd-shim") && command.contains(socket) {
            return Ok(true);
        }
    }
    Ok(false)
}
