//! What a container's resources are after an update: those that the mask names are replaced or, when unset, taken
//! away; without a mask those that are set are replaced (AIP-134).

use gantry_types::Resources;
use prost_types::FieldMask;

use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;

/// Replaces a field when the condition on its name holds.
macro_rules! replace {
    ($target:ident, $change:ident, $is_named:ident, $($field:ident),* $(,)?) => {{
        /// The fields of `resources`.
        const FIELDS: &[&str] = &[$(stringify!($field)),*];
        $(
            if $is_named(stringify!($field), $change.$field.is_some()) {
                $target.$field.clone_from(&$change.$field);
            }
        )*
        FIELDS
    }};
}

/// The resources after `change` of those fields that `mask` names.
pub fn changed_resources(
    current: &Resources,
    change: Option<&v1::Resources>,
    mask: Option<&FieldMask>,
) -> Result<Resources, InvalidField> {
    let unset = v1::Resources::default();
    let change = change.unwrap_or(&unset);
    let named: &[String] = mask.map_or(&[], |mask| &mask.paths);
    let is_named = |name: &str, is_set: bool| {
        if named.is_empty() { is_set } else { named.iter().any(|path| path == name) }
    };
    let mut merged = v1::Resources::from(current);
    let fields = replace!(
        merged,
        change,
        is_named,
        memory_bytes,
        memory_swap_bytes,
        memory_reservation_bytes,
        nano_cpus,
        cpu_shares,
        cpuset_cpus,
        cpuset_mems,
        pids_max,
        blkio_weight,
    );
    if let Some(index) = named.iter().position(|path| !fields.contains(&path.as_str())) {
        let text = named[index].chars().take(160).collect();
        let problem = FieldProblem::Malformed { text, rule: "a field of resources" };
        return Err(InvalidField::new("", problem).at("update_mask.paths", index));
    }
    if merged.memory_bytes.is_none() && change.memory_swap_bytes.is_none() {
        merged.memory_swap_bytes = None;
    }
    Resources::try_from(merged).map_err(|error| error.inside("resources"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn without_a_mask_what_is_set_changes_and_the_rest_stays() {
        let current = Resources { memory_bytes: Some(64 << 20), pids_max: Some(5), ..Resources::default() };
        let change = v1::Resources { pids_max: Some(7), cpu_shares: Some(512), ..v1::Resources::default() };
        let changed = changed_resources(&current, Some(&change), None).expect("valid");
        assert_eq!(
            changed,
            Resources {
                memory_bytes: Some(64 << 20),
                pids_max: Some(7),
                cpu_shares: Some(512),
                ..Resources::default()
            }
        );
        assert_eq!(changed_resources(&changed, None, None).expect("valid"), changed);
    }

    #[test]
    fn what_the_mask_names_and_is_unset_is_taken_away() {
        let current = Resources {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(128 << 20),
            pids_max: Some(5),
            ..Resources::default()
        };
        let change = v1::Resources { pids_max: Some(9), ..v1::Resources::default() };
        let changed =
            changed_resources(&current, Some(&change), Some(&mask(&["memory_bytes"]))).expect("valid");
        assert_eq!(changed, Resources { pids_max: Some(5), ..Resources::default() });
    }

    #[test]
    fn an_unknown_field_and_a_contradiction_are_refused_by_their_paths() {
        let current = Resources { memory_bytes: Some(64 << 20), ..Resources::default() };
        let error = changed_resources(&current, None, Some(&mask(&["pids_max", "nonsense"]))).expect_err("?");
        assert_eq!(error.path, "update_mask.paths[1]");
        let change = v1::Resources { memory_swap_bytes: Some(1 << 20), ..v1::Resources::default() };
        let error = changed_resources(&current, Some(&change), None).expect_err("swap below memory");
        assert_eq!(error.path, "resources.memory_swap_bytes");
    }
}
