//! How the limits of a group change while processes are in it: the writes of a [`CgroupUpdate`], in its order. What
//! was written before a refusal stays; whoever wants it back updates back.

use std::os::fd::{AsFd, BorrowedFd};

use gantry_linux::{SyscallError, bpf};

use super::directory::{Cgroup, apply, instructions, is_same_file};
use super::{CgroupError, CgroupPlanError, CgroupUpdate, Host};

impl Cgroup {
    /// The group at `path` below every hierarchy of the machine. It need not be there.
    pub fn at(path: &str, host: &Host) -> Result<Self, CgroupAtError> {
        let plan = super::plan(None, path, host)?;
        Ok(Self::open(&plan)?)
    }

    /// Writes an update of this group.
    pub fn update(&self, update: &CgroupUpdate) -> Result<(), CgroupError> {
        for folder in &update.folders {
            for writes in folder.writes.chunk_by(is_same_file) {
                apply(folder, &update.path, writes)?;
            }
        }
        if let (Some(filter), Some(folder)) = (&update.device_filter, self.clone_target()) {
            replace_filter(folder, filter)
                .map_err(|source| CgroupError::DeviceFilter { path: self.path.to_string(), source })?;
        }
        Ok(())
    }
}

/// Why a group cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupAtError {
    /// Its path, or the machine.
    #[error(transparent)]
    Plan(#[from] CgroupPlanError),
    /// The host.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

impl gantry_types::Classified for CgroupAtError {
    fn class(&self) -> gantry_types::Class {
        match self {
            Self::Plan(error) => error.class(),
            Self::Cgroup(error) => error.class(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Plan(error) => error.reason(),
            Self::Cgroup(error) => error.reason(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::Cgroup(error) => error.hint(),
        }
    }
}

/// Attaches the new filter before the old ones go: all that are attached must allow, so that meanwhile nothing is
/// open that neither wants open.
fn replace_filter(folder: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), SyscallError> {
    let old = bpf::attached_device_filters(folder)?;
    if !bytes.is_empty() {
        let programme = bpf::load_device_filter(&instructions(bytes))?;
        bpf::attach_device_filter(folder, programme.as_fd())?;
    }
    old.iter().try_for_each(|programme| bpf::detach_device_filter(folder, programme.as_fd()))
}
