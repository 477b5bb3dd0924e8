//! The whole spec of one container, as people would read it, and the rules that cross its parts.

use super::*;
use crate::{cgroup, plan};
use gantry_types::NetworkMode;

pub(crate) fn host() -> HostFacts {
    let node = |kind, major, minor| DeviceNode { kind, major, minor, mode: 0o20_666, uid: 0, gid: 6 };
    HostFacts {
        capabilities: CapabilitySet::ALL,
        seccomp: true,
        architecture: Architecture::X86_64,
        kernel: (6, 1),
        cpus: 4,
        thermal_throttle: false,
        hostname: "the-host".to_owned(),
        devices: BTreeMap::from([
            ("/dev/fuse".to_owned(), node(DeviceKind::Character, 10, 229)),
            ("/dev/sda".to_owned(), node(DeviceKind::Block, 8, 0)),
        ]),
    }
}

pub(crate) fn files() -> GeneratedFiles {
    GeneratedFiles {
        hostname: PathBuf::from("/state/hostname"),
        hosts: PathBuf::from("/state/hosts"),
        resolv_conf: PathBuf::from("/state/resolv.conf"),
    }
}

pub(crate) fn root() -> ResolvedUser {
    ResolvedUser { uid: 0, gid: 0, groups: vec![0], home: "/root".to_owned() }
}

pub(crate) fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/entry".to_owned()],
        command: vec!["serve".to_owned()],
        env: ["LANG=C", "broken", "=empty", "PATH=/bin", "ZERO=\0"].map(str::to_owned).to_vec(),
        working_dir: "srv/../app".to_owned(),
        ..ImageConfig::default()
    }
}

pub(crate) fn spec_of(
    options: &ContainerOptions,
    image: &ImageConfig,
    user: &ResolvedUser,
    host: &HostFacts,
) -> Result<Spec, SpecError> {
    build(&SpecInput {
        default_filter_is_kept: false,
        id: &ContainerId::from_random(&[7; 32]),
        options,
        image,
        user,
        host,
        rootfs: Path::new("/snapshots/root"),
        files: &files(),
        cgroup_path: Path::new("/gantry/default/one"),
    })
}

fn built(change: impl Fn(&mut ContainerOptions)) -> Result<Linux, SpecError> {
    let mut options = ContainerOptions::default();
    change(&mut options);
    spec_of(&options, &image(), &root(), &host()).map(|spec| spec.linux().clone().expect("has linux"))
}

/// JSON with every map and set in one order; the filter has its own tests.
fn readable(spec: &Spec) -> String {
    let mut value = serde_json::to_value(spec).expect("is JSON");
    value["linux"]["seccomp"] = serde_json::Value::from("(elided)");
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        if let Some(names) = value["process"]["capabilities"][set].as_array_mut() {
            names.sort_by_key(ToString::to_string);
        }
    }
    serde_json::to_string_pretty(&value).expect("is JSON")
}

#[test]
fn a_container_with_some_of_everything_has_this_spec() {
    let mut options = ContainerOptions { hostname: Some("web".to_owned()), ..ContainerOptions::default() };
    options.process.terminal = true;
    options.process.env = vec!["LANG=C.UTF-8".to_owned()];
    options.resources.memory_bytes = Some(64 << 20);
    options.resources.nano_cpus = Some(500_000_000);
    options.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    options.ulimits.insert("nofile".to_owned(), gantry_types::Ulimit { soft: 1024, hard: 4096 });
    options.devices.push(gantry_types::Device {
        host_path: "/dev/fuse".to_owned(),
        container_path: "/dev/fuse".to_owned(),
        permissions: "rw".to_owned(),
    });
    let user = ResolvedUser { uid: 33, gid: 34, groups: vec![34, 44], home: "/var/www".to_owned() };
    let spec = spec_of(&options, &image(), &user, &host()).expect("is valid");
    insta::assert_snapshot!(readable(&spec));
}

#[test]
fn a_privileged_container_is_not_hidden_from_anything() {
    let linux = built(|options| options.security.privileged = true).expect("is valid");
    assert!(linux.seccomp().is_none());
    assert_eq!(linux.masked_paths(), &Some(Vec::new()));
    assert_eq!(linux.readonly_paths(), &Some(Vec::new()));
    assert_eq!(linux.devices().as_ref().map(Vec::len), Some(2));
}

#[test]
fn shared_namespaces_are_left_out() {
    let linux = built(|options| {
        options.network = NetworkMode::Host;
        options.pid_mode = NamespaceMode::Host;
        options.ipc_mode = NamespaceMode::Host;
        options.uts_mode = NamespaceMode::Host;
    })
    .expect("is valid");
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(LinuxNamespace::typ).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup]);
}

#[test]
fn a_kernel_without_filters_is_an_error_unless_none_is_wanted() {
    let host = HostFacts { seccomp: false, ..host() };
    let mut options = ContainerOptions::default();
    let refused = spec_of(&options, &image(), &root(), &host);
    assert_eq!(refused, Err(SpecError::SeccompUnsupported));
    options.security.seccomp = Seccomp::Unconfined;
    assert!(spec_of(&options, &image(), &root(), &host).is_ok());
}

#[test]
fn thermal_files_of_every_processor_are_masked() {
    let host = HostFacts { thermal_throttle: true, ..host() };
    let spec = spec_of(&ContainerOptions::default(), &image(), &root(), &host).expect("is valid");
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().clone()).expect("has some");
    assert!(masked.contains(&"/sys/devices/system/cpu/cpu3/thermal_throttle".to_owned()));
    assert!(masked.contains(&"/proc/interrupts".to_owned()));
}

#[test]
fn an_image_with_a_hostile_volume_or_signal_is_refused() {
    let hostile = |change: fn(&mut ImageConfig)| {
        let mut image = image();
        change(&mut image);
        spec_of(&ContainerOptions::default(), &image, &root(), &host())
    };
    assert!(hostile(|image| _ = image.volumes.insert("/proc".to_owned())).is_err());
    assert!(hostile(|image| image.stop_signal = "SIGNOPE".to_owned()).is_err());
}

#[test]
fn the_plan_compiler_takes_every_kind_of_spec_that_is_built_here() {
    let bind = |target: &str, read_only, propagation: Option<&str>| gantry_types::Mount::Bind {
        source: "/srv".to_owned(),
        target: target.to_owned(),
        read_only,
        recursive: true,
        propagation: propagation.map(str::to_owned),
        create_source: false,
        id_mapped: false,
    };
    let tmpfs = gantry_types::Mount::Tmpfs {
        target: "/scratch".to_owned(),
        size_bytes: Some(4096),
        mode: Some(0o700),
        read_only: true,
        options: ["exec", "suid", "dev", "noatime", "uid=5", "size=10%", "nr_inodes=1k"]
            .map(str::to_owned)
            .to_vec(),
    };
    let changes: [fn(&mut ContainerOptions); 5] = [
        |_| {},
        |options| options.security.privileged = true,
        |options| (options.ipc_mode, options.pid_mode) = (NamespaceMode::Host, NamespaceMode::Host),
        |options| (options.uts_mode, options.network) = (NamespaceMode::Host, NetworkMode::Host),
        |options| {
            options.read_only_rootfs = true;
            options.security.no_new_privileges = true;
            options.security.unmasked_system_paths = true;
            options.resources.memory_bytes = Some(64 << 20);
            options.resources.cpuset_cpus = Some("0".to_owned());
            options.resources.blkio_weight = Some(100);
            options.domainname = Some("example.org".to_owned());
            options.process.terminal = true;
        },
    ];
    for change in changes {
        let mounts = vec![tmpfs.clone(), bind("/a", true, None), bind("/a/b", false, Some("rshared"))];
        let mut options = ContainerOptions { mounts, ..ContainerOptions::default() };
        options.ulimits.insert("nofile".to_owned(), gantry_types::Ulimit { soft: 1, hard: u64::MAX });
        change(&mut options);
        let spec = spec_of(&options, &image(), &root(), &host()).expect("is valid");
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let input = plan::PlanInput {
            rootfs: plan::Rootfs { root: Some(plan::Root::Folder("/root".to_owned())), id_mapped: false },
            cgroups: cgroup::Host {
                legacy: Vec::new(),
                unified: Some(cgroup::UnifiedHierarchy {
                    mountpoint: "/sys/fs/cgroup".to_owned(),
                    controllers: ["cpu", "cpuset", "io", "memory", "pids"].map(str::to_owned).to_vec(),
                }),
            },
            filter: seccomp.map(|profile| seccomp::compile(profile).expect("compiles")),
            ..plan::PlanInput::default()
        };
        plan::compile(&spec, &input).expect("the plan compiler takes it");
    }
}
