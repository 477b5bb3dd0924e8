//! Which programs are under test? The three that `deploy/build` put side by side: `gantryd` finds `gantry-shim` beside
//! itself, so they are never picked up from a search path. And which of other people's are there beside them?

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Where the programs lie: `GANTRY_PROGRAMS`, or what `deploy/build --dev` makes.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("GANTRY_PROGRAMS").map_or_else(|| target().join("gantry-dev"), PathBuf::from)
});

/// Cargo's target folder, where fixtures that take long to make are kept between runs.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// The path of `gantryd`, `gantry` or `gantry-shim`.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let path = FOLDER.join(name);
    assert!(path.is_file(), "{} is missing: run `deploy/build --dev` first", path.display());
    path
}

/// Where another's program is installed: Debian's own comes first, because others of the same name may come first in the
/// search path; what Debian has no package of is in `/usr/local/bin` or wherever the search path leads.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let elsewhere = std::env::split_paths(&search_path).filter(|folder| folder.is_absolute());
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .into_iter()
        .map(PathBuf::from)
        .chain(elsewhere)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
