//! Tables of mounts that are taken and refused.

use super::*;
use crate::spec::tests::files;

fn bind(source: &str, target: &str) -> gantry_types::Mount {
    gantry_types::Mount::Bind {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: false,
        recursive: true,
        propagation: None,
        create_source: false,
        id_mapped: false,
    }
}

fn tmpfs(options: &[&str]) -> gantry_types::Mount {
    gantry_types::Mount::Tmpfs {
        target: "/scratch".to_owned(),
        size_bytes: Some(1024),
        mode: None,
        read_only: false,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

fn built(mounts: &[gantry_types::Mount]) -> Result<Vec<Mount>, SpecError> {
    let options = ContainerOptions { mounts: mounts.to_vec(), ..ContainerOptions::default() };
    build(&options, &files())
}

fn at<'a>(mounts: &'a [Mount], target: &str) -> Vec<&'a Mount> {
    mounts.iter().filter(|mount| mount.destination() == Path::new(target)).collect()
}

#[test]
fn parents_come_before_children_whatever_the_order_of_the_request() {
    let mounts = built(&[bind("/a", "/data/deep/er"), bind("/b", "/data")]).expect("is valid");
    let place = |target: &str| mounts.iter().position(|mount| mount.destination() == Path::new(target));
    assert!(place("/data") < place("/data/deep/er"));
    assert!(place("/dev") < place("/dev/pts"));
    assert!(place("/sys") < place("/sys/fs/cgroup"));
}

#[test]
fn a_requests_mount_replaces_the_default_one() {
    let mounts =
        built(&[bind("/host/shm", "/dev/shm"), bind("/host/hosts", "/etc/hosts")]).expect("is valid");
    assert_eq!(at(&mounts, "/dev/shm").len(), 1);
    assert_eq!(at(&mounts, "/dev/shm")[0].typ().as_deref(), Some("bind"));
    assert_eq!(at(&mounts, "/etc/hosts").len(), 1);
    let mounts = built(&[bind("/dev", "/dev")]).expect("is valid");
    assert!(at(&mounts, "/dev/pts").is_empty());
}

#[test]
fn read_only_binds_reach_their_submounts() {
    let read_only = gantry_types::Mount::Bind {
        source: "/a".to_owned(),
        target: "/b".to_owned(),
        read_only: true,
        recursive: true,
        propagation: Some("rslave".to_owned()),
        create_source: false,
        id_mapped: false,
    };
    let mounts = built(&[read_only]).expect("is valid");
    let options = at(&mounts, "/b")[0].options().clone().expect("has options");
    assert_eq!(options, ["rbind", "rslave", "ro", "rro"]);
}

#[test]
fn tmpfs_options_override_the_defaults_and_unknown_ones_are_refused() {
    let options = |asked: &[&str]| {
        built(&[tmpfs(asked)])
            .map(|mounts| at(&mounts, "/scratch")[0].options().clone().expect("has options"))
    };
    assert_eq!(options(&[]).expect("is valid"), ["noexec", "nosuid", "nodev", "mode=1777", "size=1024"]);
    assert_eq!(
        options(&["exec", "size=10%", "uid=5"]).expect("is valid"),
        ["nosuid", "nodev", "mode=1777", "exec", "size=10%", "uid=5"]
    );
    for bad in
        ["bind", "remount", "size=", "size=x", "mode=9", "uid=-1", "context=x", "lowerdir=/", "uid=1k", ""]
    {
        assert!(options(&[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn bad_mounts_are_refused() {
    for mounts in [
        vec![bind("/a", "/proc/self")],
        vec![bind("relative", "/a")],
        vec![bind("/a", "/b"), bind("/c", "/b/")],
        vec![bind("/a\0", "/b")],
        vec![bind("/a", "/b"); MOUNTS_MAX + 1],
        vec![gantry_types::Mount::Bind {
            source: "/a".to_owned(),
            target: "/b".to_owned(),
            read_only: false,
            recursive: false,
            propagation: Some("unbindable".to_owned()),
            create_source: false,
            id_mapped: false,
        }],
    ] {
        assert!(built(&mounts).is_err(), "{:?}", mounts.first());
    }
}

#[test]
fn image_volumes_below_proc_or_with_dots_are_refused() {
    let volumes = |path: &str| {
        image_volumes(&gantry_types::ImageConfig {
            volumes: [path.to_owned()].into(),
            ..gantry_types::ImageConfig::default()
        })
    };
    assert_eq!(volumes("/var/lib/x/"), Ok(vec![PathBuf::from("/var/lib/x")]));
    for path in ["/proc", "/proc/self", "/../../etc", "/", "etc"] {
        assert!(volumes(path).is_err(), "{path:?}");
    }
}
