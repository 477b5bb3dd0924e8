//! What holds for every spec: compiling never panics, a plan is the same after its journey as bytes, and no
//! path of it is relative or climbs.

use gantry_runtime::plan::{ExecPlan, Op, Plan};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use crate::{extraordinary, legacy, ordinary, plan, unified};

fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(String::new()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just("proc".to_owned()),
        Just("dev".to_owned()),
        Just("a\0b".to_owned()),
        "[a-zß ]{1,8}",
    ];
    (any::<bool>(), prop::collection::vec(part, 0..6))
        .prop_map(|(absolute, parts)| format!("{}{}", if absolute { "/" } else { "" }, parts.join("/")))
}

fn option() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "ro",
            "rw",
            "bind",
            "rbind",
            "rro",
            "rprivate",
            "slave",
            "rshared",
            "noatime",
            "relatime",
            "strictatime",
            "nosuid",
            "dev",
            "noexec",
            "nosymfollow",
            "size=1k",
            "mode=0755",
            "idmap",
            "tmpcopyup",
            "remount",
            "",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ]
}

fn mount() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "tmpfs", "proc", "sysfs", "bind", "cgroup", "mqueue", "devpts", "", "ext4",
    ]);
    (path(), kind, path(), prop::collection::vec(option(), 0..6)).prop_map(|(destination, kind, source, options)| {
        json!({"destination": destination, "type": kind, "source": source, "options": options})
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let mounts = prop::collection::vec(mount(), 0..5);
    let paths = prop::collection::vec(path(), 0..4);
    let sysctls = prop::collection::btree_map("[a-z./_:]{0,20}", "\\PC{0,8}", 0..3);
    let args = prop::collection::vec("\\PC{0,8}", 0..3);
    (mounts, paths, sysctls, args, path(), path(), any::<(u32, u32, bool, bool)>()).prop_map(
        |(mounts, paths, sysctls, args, cwd, cgroup, (uid, umask, terminal, readonly))| {
            let mut spec = ordinary();
            spec["mounts"].as_array_mut().expect("a list").extend(mounts);
            spec["linux"]["maskedPaths"] = json!(paths);
            spec["linux"]["sysctl"] = json!(sysctls);
            spec["linux"]["cgroupsPath"] = json!(cgroup);
            spec["process"]["args"] = json!(args);
            spec["process"]["cwd"] = json!(cwd);
            spec["process"]["user"]["uid"] = json!(uid);
            spec["process"]["user"]["umask"] = json!(umask);
            spec["process"]["terminal"] = json!(terminal);
            spec["root"]["readonly"] = json!(readonly);
            spec
        },
    )
}

proptest! {
    #[test]
    fn any_spec_compiles_or_is_refused_and_a_plan_survives_its_journey(spec in spec(), old: bool) {
        let Ok(plan) = plan(&spec, if old { legacy() } else { unified() }) else { return Ok(()) };
        prop_assert_eq!(Plan::decode(plan.encode_to_vec().as_slice()).expect("its own bytes"), plan.clone());
        for step in &plan.steps {
            for path in paths(step.op.as_ref().expect("an operation")) {
                prop_assert!(path.starts_with('/') && !path.contains('\0'), "{path:?}");
                prop_assert!(!path.split('/').any(|part| part == ".."), "{path:?}");
            }
        }
    }

    /// What the kernel would refuse late is refused here, and what is left is within bounds.
    #[test]
    fn any_mappings_hooks_and_clocks_compile_or_are_refused(
        ranges in prop::collection::vec((any::<u32>(), any::<u32>(), 0_u32..70_000), 0..4),
        hook in path(), timeout in -2_i64..5_000_000_000, clock in "monotonic|boottime|[a-z]{1,6}",
        offset in any::<(i64, u32)>(), cpus in "[0-9]{1,4}(-[0-9]{1,4})?", nice in -25_i32..25,
    ) {
        let mut spec = extraordinary();
        let map: Vec<_> = ranges.iter().map(|(a, b, c)| json!({"containerID": a, "hostID": b, "size": c})).collect();
        spec["linux"]["uidMappings"] = json!(map);
        spec["linux"]["timeOffsets"] = json!({clock: {"secs": offset.0, "nanosecs": offset.1}});
        spec["hooks"] = json!({"poststop": [{"path": hook, "timeout": timeout}]});
        spec["process"]["execCPUAffinity"] = json!({"initial": cpus});
        spec["process"]["scheduler"]["nice"] = json!(nice);
        let Ok(plan) = plan(&spec, unified()) else { return Ok(()) };
        prop_assert_eq!(plan.version, 2);
        let ids = plan.ids.clone().expect("a user namespace has mappings");
        for range in ids.users {
            prop_assert!(range.count > 0 && range.inside.checked_add(range.count).is_some());
        }
        for hook in plan.hooks.clone().expect("a hook").poststop {
            prop_assert!(hook.path.starts_with('/'));
        }
        prop_assert_eq!(Plan::decode(plan.encode_to_vec().as_slice()).expect("its own bytes"), plan);
    }

    /// Bytes of a spec's file, changed anywhere: an error, or a spec that compiles or is refused.
    #[test]
    fn a_specs_bytes_changed_anywhere_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = serde_json::to_vec(&extraordinary()).expect("JSON");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(spec) = serde_json::from_slice(&bytes) {
            let _ = gantry_runtime::plan::compile(&spec, &gantry_runtime::plan::PlanInput::default());
        }
    }

    #[test]
    fn any_bytes_are_a_plan_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Plan::decode(bytes.as_slice());
        let _ = ExecPlan::decode(bytes.as_slice());
    }
}

/// The container paths of an operation.
fn paths(op: &Op) -> Vec<&str> {
    match op {
        Op::Mount(mount) => vec![&mount.target],
        Op::Bind(bind) => vec![&bind.target],
        Op::Remount(remount) => vec![&remount.target],
        Op::Device(device) => vec![&device.path],
        Op::Symlink(link) => vec![&link.path],
        Op::Mask(mask) => mask.paths.iter().map(String::as_str).collect(),
        Op::Readonly(readonly) => readonly.paths.iter().map(String::as_str).collect(),
        Op::Folder(folder) => vec![&folder.path],
        Op::Console(_)
        | Op::RootAttributes(_)
        | Op::Hostname(_)
        | Op::Domainname(_)
        | Op::Sysctl(_)
        | Op::Loopback(_)
        | Op::EnterCgroupNamespace(_) => Vec::new(),
    }
}
