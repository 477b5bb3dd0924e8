//! Which images do tests use? Busybox, made in a moment and enough for most; and Debian trees made by debootstrap, which
//! take a minute and are kept in cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::image::{Image, Layer, Pushed};
use crate::programs::target;
use crate::registry::Registry;

/// The layer of the busybox image: the static binary, a link per applet, and the files every image has.
pub fn busybox_layer() -> Result<Layer> {
    let busybox = Path::new("/bin/busybox");
    let applets =
        Command::new(busybox).arg("--list").output().context("running busybox (package busybox-static)")?;
    let mut layer = Layer::new();
    for (folder, mode) in
        [("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("root", 0o700), ("tmp", 0o1777), ("var", 0o755)]
    {
        layer = layer.folder(folder, mode);
    }
    layer = layer.copy(busybox, "bin/busybox")?;
    for applet in String::from_utf8(applets.stdout)?.lines().filter(|applet| *applet != "busybox") {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox");
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home:/bin/sh\n1234:x:0:0::/root:/bin/sh\n";
    let group = "root:x:0:\nalice:x:1000:\nfriends:x:2000:alice\n";
    Ok(layer.file("etc/passwd", 0o644, passwd.as_bytes()).file("etc/group", 0o644, group.as_bytes()))
}

/// The busybox image, with `config` in place of the usual one where given.
pub fn busybox(config: Option<Value>) -> Result<Image> {
    let usual = json!({"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"]});
    Image::new(config.unwrap_or(usual)).layer(&busybox_layer()?)
}

/// An image of a minimal Debian with these packages, made once and kept.
///
/// The tar has no `/dev`: it comes from the engine, and an unprivileged reader could not make device nodes.
pub fn debian(packages: &[&str], config: Value) -> Result<Image> {
    let tar = debian_tar(packages)?;
    Ok(Image::new(config).tar(fs::read(&tar).with_context(|| format!("reading {}", tar.display()))?))
}

fn debian_tar(packages: &[&str]) -> Result<PathBuf> {
    let folder = target().join("fixtures");
    fs::create_dir_all(&folder)?;
    let name = std::iter::once("debian").chain(packages.iter().copied()).collect::<Vec<_>>().join("-");
    let tar = folder.join(format!("{name}.tar"));
    if tar.exists() {
        return Ok(tar);
    }
    let tree = tempfile::Builder::new().prefix("gantry-test-debian-").tempdir()?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase"]);
    if !packages.is_empty() {
        debootstrap.arg(format!("--include={}", packages.join(",")));
    }
    debootstrap.arg("bookworm").arg(tree.path());
    run(&mut debootstrap)?;
    let part = tar.with_extension("part");
    run(Command::new("tar")
        .arg("--numeric-owner")
        .args(["--exclude=./dev/*", "--exclude=./var/cache/apt/*"])
        .args(["--exclude=./var/lib/apt/lists/*", "--exclude=./proc/*", "--exclude=./sys/*"])
        .arg("-C")
        .arg(tree.path())
        .arg("-cf")
        .arg(&part)
        .arg("."))?;
    fs::rename(&part, &tar)?;
    Ok(tar)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(())
}

/// Pushes the busybox image as `busybox:latest`.
pub fn push_busybox(registry: &Registry) -> Result<Pushed> {
    busybox(None)?.push(registry, "busybox", "latest")
}
