//! Where is what is true only while the machine is up? On a tmpfs, as `/run` is on the machines that people have and on
//! few that are built for a test: for Gantry and for every peer alike. The mounts are in the run's own mount namespace
//! and end with it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Set by `tests/bench/run`, which makes the namespaces: the name of the network namespace that it left.
pub(crate) const PRIVATE: &str = "GANTRY_BENCH_PRIVATE";

/// Refuses to mount anything where the host would see it.
pub(crate) fn check() -> Result<()> {
    ensure!(
        std::env::var_os(PRIVATE).is_some(),
        "start it by tests/bench/run, which gives it mounts of its own"
    );
    Ok(())
}

/// Makes `folder`, on a tmpfs.
pub(crate) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0711"))
        .with_context(|| format!("mounting a tmpfs on {}", folder.display()))
}

/// Takes the tmpfs away from `folder`.
pub(crate) fn end(folder: &Path) -> Result<()> {
    umount2(folder, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", folder.display()))
}
