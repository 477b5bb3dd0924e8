//! Tables of how a request and an image merge into one process.

use gantry_types::ContainerId;

use super::*;
use crate::spec::tests::{host, image, root, spec_of};

fn own(change: impl Fn(&mut ContainerOptions, &mut ImageConfig)) -> Result<Process, SpecError> {
    let (mut options, mut image) = (ContainerOptions::default(), image());
    change(&mut options, &mut image);
    spec_of(&options, &image, &root(), &host()).map(|spec| spec.process().clone().expect("has a process"))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn entrypoint_and_command_merge_like_dockers() {
    let args = |entrypoint: Option<&[&str]>, args: &[&str]| {
        own(|options, _| {
            options.process.entrypoint = entrypoint.map(words);
            options.process.args = words(args);
        })
        .map(|process| process.args().clone().expect("has args"))
    };
    assert_eq!(args(None, &[]), Ok(words(&["/entry", "serve"])));
    assert_eq!(args(None, &["x", "y"]), Ok(words(&["/entry", "x", "y"])));
    assert_eq!(args(Some(&["/sh"]), &[]), Ok(words(&["/sh"])));
    assert_eq!(args(Some(&["/sh"]), &["-c"]), Ok(words(&["/sh", "-c"])));
    assert_eq!(args(Some(&[]), &["ls"]), Ok(words(&["ls"])));
    assert_eq!(args(Some(&[]), &[]), Err(SpecError::NoCommand));
    assert_eq!(args(Some(&[""]), &[]), Err(SpecError::NoCommand));
    let bare = own(|_, image| *image = ImageConfig::default());
    assert_eq!(bare, Err(SpecError::NoCommand));
}

#[test]
fn environments_merge_and_malformed_image_entries_vanish() {
    let process = own(|options, _| {
        options.process.terminal = true;
        options.process.env = words(&["LANG=de", "A=1", "A=2", "EMPTY="]);
    })
    .expect("is valid");
    let short = ContainerId::from_random(&[7; 32]).short().to_owned();
    let hostname = format!("HOSTNAME={short}");
    let expected = ["PATH=/bin", &hostname, "TERM=xterm", "LANG=de", "A=2", "EMPTY=", "HOME=/root"];
    assert_eq!(process.env(), &Some(words(&expected)));
    let process = own(|options, image| {
        image.env.clear();
        options.process.env = words(&["HOME=/mine", "HOSTNAME=other"]);
    })
    .expect("is valid");
    let path = format!("PATH={PATH_DEFAULT}");
    assert_eq!(process.env(), &Some(words(&[&path, "HOSTNAME=other", "HOME=/mine"])));
}

#[test]
fn malformed_requests_are_refused() {
    for env in ["PATH", "=x", "", "A=\0"] {
        assert!(own(|options, _| options.process.env = words(&[env])).is_err(), "{env:?}");
    }
    assert!(own(|options, _| options.process.args = words(&["a\0b"])).is_err());
    assert!(own(|options, _| options.process.args = vec!["x".to_owned(); ARGS_MAX + 1]).is_err());
    assert!(own(|options, _| options.process.args = vec!["x".repeat(ARGS_ENV_BYTES_MAX)]).is_err());
    for folder in ["app", "", "/a/../b", "/a\n"] {
        let answer = own(|options, _| options.process.working_dir = Some(folder.to_owned()));
        assert!(answer.is_err(), "{folder:?}");
    }
}

#[test]
fn working_folders_come_from_the_request_then_the_image() {
    let cwd = |change: fn(&mut ContainerOptions, &mut ImageConfig)| {
        own(change).map(|process| process.cwd().clone())
    };
    assert_eq!(cwd(|_, _| {}), Ok(PathBuf::from("/app")));
    assert_eq!(cwd(|_, image| image.working_dir.clear()), Ok(PathBuf::from("/")));
    assert_eq!(cwd(|_, image| image.working_dir = "/../../etc".to_owned()), Ok(PathBuf::from("/etc")));
    let asked = |options: &mut ContainerOptions, _: &mut ImageConfig| {
        options.process.working_dir = Some("/x//y".to_owned());
    };
    assert_eq!(cwd(asked), Ok(PathBuf::from("/x/y")));
}

#[test]
fn only_root_holds_capabilities_and_nothing_is_inheritable() {
    for (uid, held) in [(0, CapabilitySet::container_default()), (1000, CapabilitySet::EMPTY)] {
        let user = ResolvedUser { uid, ..root() };
        let spec = spec_of(&ContainerOptions::default(), &image(), &user, &host()).expect("is valid");
        let sets =
            spec.process().clone().and_then(|process| process.capabilities().clone()).expect("has sets");
        let of = |set: &Option<_>| CapabilitySet::from_oci(set.as_ref().expect("is set"));
        assert_eq!(of(sets.bounding()), CapabilitySet::container_default());
        assert_eq!((of(sets.effective()), of(sets.permitted())), (held, held));
        assert_eq!(
            (of(sets.inheritable()), of(sets.ambient())),
            (CapabilitySet::EMPTY, CapabilitySet::EMPTY)
        );
    }
}

#[test]
fn an_exec_inherits_the_containers_world_and_its_own_users_home() {
    let mut container = ContainerOptions::default();
    container.process.env = words(&["A=1"]);
    container.security.no_new_privileges = true;
    container.ulimits.insert("core".to_owned(), gantry_types::Ulimit { soft: 0, hard: 0 });
    let (image, host) = (image(), host());
    let spec = spec_of(&container, &image, &root(), &host).expect("is valid");
    let user = ResolvedUser { uid: 5, gid: 5, groups: vec![5], home: "/home/five".to_owned() };
    let exec = |options: &ProcessOptions, user: &ResolvedUser| {
        process_for_exec(&ExecInput {
            spec: &spec,
            container: &container,
            image: &image,
            hostname: "web",
            options,
            user,
            host: &host,
        })
    };
    let mut options =
        ProcessOptions { args: words(&["ls"]), env: words(&["B=2"]), ..ProcessOptions::default() };
    let process = exec(&options, &user).expect("is valid");
    let expected = ["PATH=/bin", "HOSTNAME=web", "LANG=C", "A=1", "B=2", "HOME=/home/five"];
    assert_eq!(process.env(), &Some(words(&expected)));
    assert_eq!(process.cwd(), &PathBuf::from("/app"));
    assert_eq!(process.no_new_privileges(), Some(true));
    assert_eq!(process.rlimits().as_ref().map(Vec::len), Some(1));
    let bounding = |process: &Process| {
        let sets = process.capabilities().clone().expect("has sets");
        CapabilitySet::from_oci(sets.bounding().as_ref().expect("is set"))
    };
    assert_eq!(bounding(&process), CapabilitySet::container_default());

    options.privileged = true;
    let process = exec(&options, &root()).expect("is valid");
    assert_eq!(bounding(&process), CapabilitySet::ALL);
    assert_eq!(process.no_new_privileges(), Some(false));
    options.args.clear();
    assert_eq!(exec(&options, &root()), Err(SpecError::NoCommand));
}
