//! Where everything lies on disk. One drawing, one place that joins paths; every part is a checked type.
//!
//! ```text
//! <root>                          0700, outlives a reboot
//! ├── meta/                       the store
//! ├── content/                    blobs and ingests, the image crate's
//! ├── snapshots/<driver>/         the snapshot crate's
//! └── containers/<ns>/<id>/       log.<n>
//! <state>                         0711, true only while the machine is up, never fsynced
//! ├── gantry.sock                 0660 root:gantry
//! └── shims/<ns>/<id>/            the bundle, 0700: shim.sock, exit record, etc/{hostname,hosts,resolv.conf}
//! ```

use std::io;
use std::path::{Path, PathBuf};

use gantry_types::{ContainerId, Namespace};

/// The two folders of one daemon.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    state: PathBuf,
}

impl Layout {
    /// Makes both folders with their modes; they may exist.
    pub(crate) fn create(root: &Path, state: &Path) -> io::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let make = |path: &Path, mode: u32| {
            std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        };
        let layout = Self { root: root.to_owned(), state: state.to_owned() };
        make(root, 0o700)?;
        make(state, 0o711)?;
        make(&layout.shims(), 0o700)?;
        make(&layout.root.join("containers"), 0o700)?;
        Ok(layout)
    }

    /// The folder that outlives a reboot.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of what is true only while the machine is up.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    /// Bundles of all namespaces.
    pub(crate) fn shims(&self) -> PathBuf {
        self.state.join("shims")
    }

    pub(crate) fn bundle(&self, namespace: &Namespace, id: &ContainerId) -> PathBuf {
        self.shims().join(namespace.as_str()).join(id.as_str())
    }

    /// A container's folder that outlives a reboot.
    pub(crate) fn container(&self, namespace: &Namespace, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(namespace.as_str()).join(id.as_str())
    }
}
