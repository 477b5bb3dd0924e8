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
        ("process.apparmorProfile", set(process.apparmor_profile())),
        ("process.selinuxLabel", set(process.selinux_label())),
        ("process.commandLine", set(process.command_line())),
        ("process.ioPriority", process.io_priority().is_some()),
        ("process.scheduler", process.scheduler().is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("process.user.username", set(process.user().username())),
    ])
}

fn linux(linux: &Linux) -> Result<(), PlanError> {
    refuse(&[
        ("linux.uidMappings", linux.uid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
        ("linux.gidMappings", linux.gid_mappings().as_ref().is_some_and(|list| !list.is_empty())),
        ("linux.mountLabel", linux.mount_label().as_ref().is_some_and(|text| !text.is_empty())),
        ("linux.intelRdt", linux.intel_rdt().is_some()),
        ("linux.memoryPolicy", linux.memory_policy().is_some()),
        ("linux.personality", linux.personality().is_some()),
        ("linux.timeOffsets", linux.time_offsets().as_ref().is_some_and(|map| !map.is_empty())),
        ("linux.netDevices", linux.net_devices().as_ref().is_some_and(|map| !map.is_empty())),
    ])
}

fn refuse(fields: &[(&str, bool)]) -> Result<(), PlanError> {
    match fields.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(PlanError::unsupported(*field)),
        None => Ok(()),
    }
}
