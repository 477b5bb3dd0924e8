//! What a user namespace of the container's own changes in a spec: its mappings, who the process may be, and what cannot
//! go with it. A new namespace of another kind belongs to the user namespace that it is made in, and its owner alone may
//! mount the filesystems that show it.

use gantry_types::{ContainerOptions, IdMapping, NamespaceMode, NetworkMode, outside};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::{SpecError, SpecInput};
use crate::user::ResolvedUser;

/// The first kernel that stacks an overlay on id-mapped layers.
const KERNEL_MIN: (u32, u32) = (5, 19);

/// Refuses what does not go with a user namespace.
pub(super) fn check(input: &SpecInput<'_>) -> Result<(), SpecError> {
    if input.options.own_user_namespace().is_none() {
        return Ok(());
    }
    let conflict = |what| Err(SpecError::UserNamespaceConflict { what });
    if input.options.security.privileged {
        return conflict("every privilege of the host (--privileged)");
    }
    if input.options.pid_mode == NamespaceMode::Host {
        return conflict("the host's pid namespace (--pid host)");
    }
    let (major, minor) = input.host.kernel;
    if (major, minor) < KERNEL_MIN {
        return Err(SpecError::IdMappedMountsUnsupported { major, minor });
    }
    check_user(input.options, input.user)
}

/// Refuses a process of somebody who is nobody on the host.
pub(super) fn check_user(options: &ContainerOptions, user: &ResolvedUser) -> Result<(), SpecError> {
    let Some(namespace) = options.own_user_namespace() else { return Ok(()) };
    mapped("user", &namespace.users(), &[user.uid])?;
    mapped("group", &namespace.groups(), &[user.gid])?;
    mapped("group", &namespace.groups(), &user.groups)
}

/// A range that is still to be given is checked when it has been.
fn mapped(kind: &'static str, mappings: &[IdMapping], ids: &[u32]) -> Result<(), SpecError> {
    match ids.iter().find(|id| !mappings.is_empty() && outside(mappings, **id).is_none()) {
        Some(id) => Err(SpecError::IdUnmapped { kind, id: *id }),
        None => Ok(()),
    }
}

/// The users' mappings in the spec's words.
pub(super) fn users(options: &ContainerOptions) -> Option<Vec<LinuxIdMapping>> {
    options.own_user_namespace().map(|namespace| to_spec(&namespace.users()))
}

/// The groups'.
pub(super) fn groups(options: &ContainerOptions) -> Option<Vec<LinuxIdMapping>> {
    options.own_user_namespace().map(|namespace| to_spec(&namespace.groups()))
}

fn to_spec(mappings: &[IdMapping]) -> Vec<LinuxIdMapping> {
    let one = |mapping: &IdMapping| {
        let one = LinuxIdMappingBuilder::default().container_id(mapping.inside).host_id(mapping.outside);
        one.size(mapping.count).build().expect("every field is set")
    };
    mappings.iter().map(one).collect()
}

/// Whether the container has a group of this number.
pub(super) fn has_group(options: &ContainerOptions, group: u32) -> bool {
    options.own_user_namespace().is_none_or(|namespace| outside(&namespace.groups(), group).is_some())
}

/// Whether the network namespace belongs to the container's user namespace. Others' was made without it.
pub(super) fn owns_network(options: &ContainerOptions) -> bool {
    match options.network {
        NetworkMode::None | NetworkMode::Networks(_) => true,
        NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Sandbox(_) => {
            options.own_user_namespace().is_none()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gantry_types::{Mount, UserNamespace};
    use oci_spec::runtime::{LinuxNamespaceType, Spec};

    use super::super::tests::{host, image, root, spec_of};
    use super::*;
    use crate::{cgroup, plan, seccomp};

    fn given(first: Option<u32>) -> ContainerOptions {
        let user_namespace = Some(UserNamespace::Auto { count: 1000, first });
        ContainerOptions { user_namespace, ..ContainerOptions::default() }
    }

    fn spec(options: &ContainerOptions) -> Result<Spec, SpecError> {
        spec_of(options, &image(), &root(), &host())
    }

    fn mount(spec: &Spec, target: &str) -> Option<(String, Vec<String>)> {
        let mounts = spec.mounts().as_ref().expect("has mounts");
        let mount = mounts.iter().find(|mount| mount.destination() == Path::new(target))?;
        Some((mount.typ().clone().unwrap_or_default(), mount.options().clone().unwrap_or_default()))
    }

    #[test]
    fn the_spec_has_the_namespace_and_its_mappings() {
        let spec = spec(&given(Some(5000))).expect("is valid");
        let linux = spec.linux().as_ref().expect("has linux");
        let kinds = linux.namespaces().iter().flatten().map(oci_spec::runtime::LinuxNamespace::typ);
        assert!(kinds.into_iter().any(|kind| kind == LinuxNamespaceType::User));
        for mappings in [linux.uid_mappings(), linux.gid_mappings()] {
            let one = mappings.as_ref().expect("mapped")[0];
            assert_eq!((one.container_id(), one.host_id(), one.size()), (0, 5000, 1000));
        }
        let without = super::super::tests::spec_of(&ContainerOptions::default(), &image(), &root(), &host());
        assert_eq!(without.expect("is valid").linux().as_ref().expect("has linux").uid_mappings(), &None);
    }

    #[test]
    fn system_files_of_a_network_that_is_anothers_are_the_hosts_read_only() {
        let of = |network| {
            mount(&spec(&ContainerOptions { network, ..given(Some(5000)) }).expect("is valid"), "/sys")
                .expect("there")
        };
        assert_eq!(of(NetworkMode::None).0, "sysfs");
        let (kind, options) = of(NetworkMode::Host);
        assert_eq!(kind, "bind");
        assert!(options.contains(&"bind".to_owned()) && options.contains(&"ro".to_owned()), "{options:?}");
        assert_eq!(of(NetworkMode::Container("x".to_owned())).0, "bind");
        let hosts = ContainerOptions { network: NetworkMode::Host, ..ContainerOptions::default() };
        assert_eq!(mount(&spec(&hosts).expect("is valid"), "/sys").expect("there").0, "sysfs");
    }

    #[test]
    fn what_belongs_to_a_group_or_namespace_that_is_not_there_is_left_out() {
        let mut options = given(Some(5000));
        let terminals = |options: &ContainerOptions| {
            mount(&spec(options).expect("is valid"), "/dev/pts").expect("there").1
        };
        assert!(terminals(&options).contains(&"gid=5".to_owned()));
        options.user_namespace = Some(UserNamespace::Auto { count: 5, first: Some(5000) });
        assert!(!terminals(&options).contains(&"gid=5".to_owned()));
        assert!(mount(&spec(&options).expect("is valid"), "/dev/mqueue").is_some());
        options.ipc_mode = NamespaceMode::Host;
        assert_eq!(mount(&spec(&options).expect("is valid"), "/dev/mqueue"), None);
    }

    #[test]
    fn what_does_not_go_with_it_is_refused() {
        let mut privileged = given(None);
        privileged.security.privileged = true;
        let pids = ContainerOptions { pid_mode: NamespaceMode::Host, ..given(None) };
        for options in [privileged, pids] {
            assert!(matches!(spec(&options), Err(SpecError::UserNamespaceConflict { .. })));
        }
        let old = super::super::HostFacts { kernel: (5, 18), ..host() };
        let refused = spec_of(&given(None), &image(), &root(), &old);
        assert_eq!(
            refused.expect_err("too old"),
            SpecError::IdMappedMountsUnsupported { major: 5, minor: 18 }
        );
        let bind = |options: ContainerOptions| ContainerOptions {
            mounts: vec![Mount::Bind {
                source: "/a".to_owned(),
                target: "/b".to_owned(),
                read_only: false,
                recursive: true,
                propagation: None,
                create_source: false,
                id_mapped: true,
            }],
            ..options
        };
        let refused = spec(&bind(ContainerOptions::default())).expect_err("in the host's");
        assert_eq!(refused, SpecError::MountIdMapped { target: "/b".to_owned() });
        let (_, options) = mount(&spec(&bind(given(Some(5000)))).expect("is valid"), "/b").expect("there");
        assert!(options.contains(&"ridmap".to_owned()), "{options:?}");
    }

    #[test]
    fn a_process_must_be_somebody_on_the_host() {
        let user = |uid, gid, groups: &[u32]| ResolvedUser { uid, gid, groups: groups.to_vec(), ..root() };
        let of = |user: ResolvedUser| spec_of(&given(Some(5000)), &image(), &user, &host()).map(drop);
        assert_eq!(of(user(999, 999, &[999])), Ok(()));
        assert_eq!(of(user(1000, 0, &[])), Err(SpecError::IdUnmapped { kind: "user", id: 1000 }));
        assert_eq!(of(user(0, 1000, &[])), Err(SpecError::IdUnmapped { kind: "group", id: 1000 }));
        assert_eq!(of(user(0, 0, &[1000])), Err(SpecError::IdUnmapped { kind: "group", id: 1000 }));
        // Before the range is given, nobody knows.
        assert!(spec_of(&given(None), &image(), &user(1000, 0, &[]), &host()).is_ok());
    }

    #[test]
    fn the_plan_compiler_takes_it() {
        for network in [NetworkMode::None, NetworkMode::Host] {
            let spec = spec(&ContainerOptions { network, ..given(Some(5000)) }).expect("is valid");
            let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
            let input = plan::PlanInput {
                rootfs: plan::Rootfs { root: Some(plan::Root::Folder("/root".to_owned())), id_mapped: true },
                cgroups: cgroup::Host {
                    legacy: Vec::new(),
                    unified: Some(cgroup::UnifiedHierarchy {
                        mountpoint: "/sys/fs/cgroup".to_owned(),
                        controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
                    }),
                },
                filter: profile.map(|profile| seccomp::compile(profile).expect("compiles")),
                ..plan::PlanInput::default()
            };
            let plan = plan::compile(&spec, &input).expect("the plan compiler takes it");
            assert!(plan.ids.is_some() && plan.version == 2);
        }
    }
}
