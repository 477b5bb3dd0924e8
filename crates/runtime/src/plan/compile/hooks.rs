//! The spec's `hooks`, and the state that they read.

use oci_spec::runtime::{Hook as SpecHook, Spec};
use serde_json::json;

use super::{PlanInput, path};
use crate::plan::{Hook, Hooks, PlanError};

/// The hooks; `None` when there are none.
pub(super) fn compile(spec: &Spec, input: &PlanInput) -> Result<Option<Hooks>, PlanError> {
    let Some(hooks) = spec.hooks() else { return Ok(None) };
    // The deprecated kind has no other name in the specification's types.
    let prestart = hooks.prestart();
    let compiled = Hooks {
        state: state(spec, input),
        bundle: input.bundle.clone(),
        prestart: list("hooks.prestart", prestart.as_deref())?,
        create_runtime: list("hooks.createRuntime", hooks.create_runtime().as_deref())?,
        create_container: list("hooks.createContainer", hooks.create_container().as_deref())?,
        start_container: list("hooks.startContainer", hooks.start_container().as_deref())?,
        poststart: list("hooks.poststart", hooks.poststart().as_deref())?,
        poststop: list("hooks.poststop", hooks.poststop().as_deref())?,
    };
    let named = Hooks { state: String::new(), bundle: String::new(), ..compiled.clone() };
    let any = named != Hooks::default();
    Ok(any.then_some(compiled))
}

/// The container's state (runtime.md "State") without its last members, and so without its closing brace.
pub(super) fn state(spec: &Spec, input: &PlanInput) -> String {
    let mut state = json!({"ociVersion": spec.version(), "id": input.id, "bundle": input.bundle});
    if let Some(annotations) = spec.annotations().as_ref().filter(|map| !map.is_empty()) {
        let sorted: std::collections::BTreeMap<_, _> = annotations.iter().collect();
        state["annotations"] = json!(sorted);
    }
    let mut text = state.to_string();
    text.pop();
    text
}

fn list(field: &'static str, hooks: Option<&[SpecHook]>) -> Result<Vec<Hook>, PlanError> {
    hooks.unwrap_or_default().iter().map(|hook| one(field, hook)).collect()
}

fn one(field: &'static str, hook: &SpecHook) -> Result<Hook, PlanError> {
    let texts = |list: &Option<Vec<String>>| -> Result<Vec<String>, PlanError> {
        let list = list.clone().unwrap_or_default();
        match list.iter().find(|text| text.contains('\0')) {
            Some(text) => Err(PlanError::invalid(field, text)),
            None => Ok(list),
        }
    };
    let timeout_seconds = match hook.timeout() {
        None => 0,
        Some(seconds) => u32::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| PlanError::invalid(field, format!("timeout {seconds}")))?,
    };
    Ok(Hook {
        path: path::host(field, &hook.path().to_string_lossy())?,
        args: texts(hook.args())?,
        env: texts(hook.env())?,
        timeout_seconds,
        inherits_env: hook.env().is_none(),
    })
}
