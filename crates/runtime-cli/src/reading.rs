//! Reads what callers write in the specification's form: a `config.json`, or the process of an `exec`. The types that it
//! becomes know less than the specification allows, so what they refuse is looked at once more. That second reading is
//! slower, and nobody else pays for it.

use std::fs;
use std::path::Path;

use oci_spec::runtime::{Capability, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;
use crate::report::Report;

/// The flags of `process.scheduler` that the types have under another name than config.md ("Linux process").
const FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// Reads a spec.
pub(crate) fn spec(path: &Path, report: &Report) -> Result<Spec, Failure> {
    read(path, "/process", report)
}

/// Reads a process, which is what a spec has as its `process`.
pub(crate) fn process(path: &Path, report: &Report) -> Result<Process, Failure> {
    read(path, "", report)
}

fn read<T: DeserializeOwned>(path: &Path, process: &str, report: &Report) -> Result<T, Failure> {
    let bytes = fs::read(path).map_err(|error| Failure::file("open", path, error))?;
    serde_json::from_slice(&bytes).or_else(|error| {
        let (value, unknown) = in_known_words(&bytes, process).unwrap_or_default();
        let read = serde_json::from_value(value).map_err(|_| Failure::json(path, error))?;
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            report.warning(&format!("ignoring unknown or unavailable capabilities: [{unknown}]"));
        }
        Ok(read)
    })
}

/// The same with the process in words that the types know, and the capabilities that were left out.
fn in_known_words(bytes: &[u8], process: &str) -> Option<(Value, Vec<String>)> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let process = value.pointer_mut(process)?;
    let mut unknown = Vec::new();
    for set in process.pointer_mut("/capabilities").and_then(Value::as_object_mut).into_iter().flatten() {
        leave_out_unknown(set.1, &mut unknown);
    }
    for flag in process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((_, known)) = FLAGS.iter().find(|(specified, _)| flag == specified) {
            *flag = Value::from(*known);
        }
    }
    Some((value, unknown))
}

/// Leaves out the capabilities that nobody here knows, those of another kernel: they cannot be given, and a runtime goes on
/// without them (config.md "Linux process").
fn leave_out_unknown(set: &mut Value, unknown: &mut Vec<String>) {
    let Some(set) = set.as_array_mut() else { return };
    set.retain(|name| {
        let known = serde_json::from_value::<Capability>(name.clone()).is_ok();
        let text = name.as_str().unwrap_or_default();
        if !known && !unknown.iter().any(|other| other == text) {
            unknown.push(text.to_owned());
        }
        known
    });
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxSchedulerFlag;
    use serde_json::json;

    use super::*;

    fn read_process(process: &Value) -> Result<Process, Failure> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), process.to_string()).expect("written");
        super::process(file.path(), &Report::default())
    }

    #[test]
    fn a_capability_of_another_kernel_is_left_out() {
        let spec = br#"{"process": {"capabilities": {"bounding": ["CAP_KILL", "CAP_FUTURE"]}}}"#;
        let (value, unknown) = in_known_words(spec, "/process").expect("a spec");
        assert_eq!(unknown, ["CAP_FUTURE"]);
        assert_eq!(value["process"]["capabilities"]["bounding"], json!(["CAP_KILL"]));
        assert!(in_known_words(b"{", "/process").is_none());
    }

    #[test]
    fn a_schedulers_flags_have_the_specifications_names() {
        let flags = json!(["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]);
        let process = |flags: &Value| {
            let scheduler = json!({"policy": "SCHED_OTHER", "flags": flags});
            json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "scheduler": scheduler})
        };
        let read = read_process(&process(&flags)).expect("a process");
        let scheduler = read.scheduler().clone().expect("a scheduler");
        let known = [
            LinuxSchedulerFlag::SchedResetOnFork,
            LinuxSchedulerFlag::SchedFlagDLOverrun,
            LinuxSchedulerFlag::SchedFlagReclaim,
        ];
        assert_eq!(scheduler.flags().clone().expect("flags"), known);
        read_process(&process(&json!(["SCHED_FLAG_FUTURE"]))).expect_err("nobody knows it");
    }
}
