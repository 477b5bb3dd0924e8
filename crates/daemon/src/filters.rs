//! Compiled system call filters, kept: compiling one costs more than the rest of a plan together, and
//! nearly every container has the same. Bounded; when it is full it starts anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gantry_runtime::plan::Seccomp as CompiledFilter;
use gantry_runtime::seccomp;
use gantry_types::{Seccomp, SecurityOptions};
use oci_spec::runtime::LinuxSeccomp;

use crate::error::Error;

/// Filters kept; each has a few KiB.
const FILTERS_MAX: usize = 64;

/// The kept filters, by the options that decide about them on this machine.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    kept: Mutex<HashMap<SecurityOptions, CompiledFilter>>,
}

impl Filters {
    /// The compiled form of `profile`, which follows from `security` alone.
    pub(crate) fn compiled(
        &self,
        profile: &LinuxSeccomp,
        security: &SecurityOptions,
    ) -> Result<CompiledFilter, Error> {
        if let Some(filter) = self.lock().get(security) {
            return Ok(filter.clone());
        }
        let filter = seccomp::compile(profile)?;
        let mut kept = self.lock();
        if kept.len() >= FILTERS_MAX {
            kept.clear();
        }
        kept.insert(security.clone(), filter.clone());
        Ok(filter)
    }

    /// Whether [`Self::compiled`] has the filter of the default profile for these options, and so needs no profile.
    pub(crate) fn has_default(&self, security: &SecurityOptions) -> bool {
        security.seccomp == Seccomp::Default && self.lock().contains_key(security)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SecurityOptions, CompiledFilter>> {
        // A map operation does not panic half-way, so a poisoned map is still whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
