//! Fields that are valid and not carried out yet. A spec that sets one is refused: running a container with
//! less confinement than its spec says would be worse than not running it.

use oci_spec::runtime::{Linux, Process, Spec};

use crate::plan::PlanError;

pub(super) fn what_is_not_there_yet(spec: &Spec) -> Result<(), PlanError> {
    refuse(&[
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ])?;
    if let Some(field) = spec.linux().as_ref() {
        linux(field)?;
    }
    spec.process().as_ref().map_or(Ok(()), process)
}

pub(super) fn process(process: &Process) -> Result<(), PlanError> {
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    refuse(&[
        ("process.commandLine", set(process.command_line())),
        ("process.user.username", set(process.user().username())),
    ])
}

fn linux(linux: &Linux) -> Result<(), PlanError> {
    refuse(&[("linux.intelRdt", linux.intel_rdt().is_some())])
}

fn refuse(fields: &[(&str, bool)]) -> Result<(), PlanError> {
    match fields.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(PlanError::unsupported(*field)),
        None => Ok(()),
    }
}
