//! Hooks run at their places, with the state on standard input, and a failing one undoes the container. A
//! container at a gate outlives its creator's interest and is started from the folder alone.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gantry_linux::wait::wait_pidfd;
use gantry_runtime::execute::{self, Gate, Input, Operation};
use gantry_runtime::plan::NamespaceKind;
use serde_json::{Value, json};

use crate::support::{Bundle, pipes, remove};

/// A hook that appends a word and its state to a file of the host.
fn note(file: &Path, word: &str) -> Value {
    let script = format!("printf '{word} '; cat; echo");
    json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("({script}) >>{}", file.display())]}])
}

fn lines(file: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let (word, state) = line.split_once(' ').expect("a word and a state");
        (word.to_owned(), serde_json::from_str(state).expect("JSON"))
    };
    text.lines().map(line).collect()
}

#[test]
fn every_kind_of_hook_runs_once_at_its_place_with_the_state() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    let file = bundle.host("notes");
    let inside = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat >/inside; readlink /proc/self/ns/uts >>/inside"],
                         "env": ["PATH=/bin"]}]);
    bundle.spec["annotations"] = json!({"org.example": "quoted \" here"});
    bundle.spec["hooks"] = json!({
        "prestart": note(&file, "prestart"), "createRuntime": note(&file, "createRuntime"),
        "createContainer": note(&file, "createContainer"), "startContainer": inside,
        "poststart": note(&file, "poststart"), "poststop": note(&file, "poststop"),
    });
    let plan = bundle.plan(&["cat", "/inside"]);
    let started = bundle.start(&["cat", "/inside"]).expect("it starts");
    let pid = started.process.pid;
    let hooks = plan.hooks.expect("hooks");
    assert_eq!(execute::poststart(&hooks, pid), Ok(()));
    let outcome = started.outcome();
    assert_eq!(execute::poststop(&hooks), []);
    let all = lines(&file);
    let words: Vec<_> = all.iter().map(|(word, state)| (word.as_str(), state["status"].as_str())).collect();
    assert_eq!(
        words,
        [
            ("prestart", Some("creating")),
            ("createRuntime", Some("creating")),
            ("createContainer", Some("creating")),
            ("poststart", Some("running")),
            ("poststop", Some("stopped")),
        ]
    );
    assert_eq!(all[0].1["pid"], json!(pid.as_raw()));
    assert_eq!(all[0].1["annotations"]["org.example"], "quoted \" here");
    let (state, namespace) = outcome.stdout.trim().split_once('}').map_or(("", ""), |_| {
        let end = outcome.stdout.rfind('}').expect("the state's end");
        outcome.stdout.trim().split_at(end + 1)
    });
    let state: Value = serde_json::from_str(state).expect("JSON");
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(pid.as_raw())));
    assert!(namespace.starts_with("uts:"), "{}", outcome.stdout);
}

#[test]
fn a_failing_hook_undoes_the_container_and_poststop_still_runs() {
    for (kind, operation) in [
        ("createRuntime", Operation::Hook),
        ("createContainer", Operation::CreateHook),
        ("startContainer", Operation::StartHook),
    ] {
        let Some(mut bundle) = Bundle::new_or_skip() else { return };
        let file = bundle.host("notes");
        let failing = json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 7"]}]);
        bundle.spec["hooks"] = json!({kind: failing, "poststop": note(&file, "poststop")});
        let error = bundle.refuse(&["touch", "/ran"]);
        assert_eq!(error.operation, operation, "{error}");
        assert!(error.object.contains("/bin/sh"), "{error}");
        assert!(!bundle.host("upper/ran").exists());
        assert_eq!(lines(&file).len(), 1, "poststop ran once");
    }
}

#[test]
fn a_container_at_a_gate_is_started_from_its_folder_alone() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let folder = bundle.host("gate");
    // A file that is there but is no programme is found out by the exec alone.
    fs::write(bundle.lower("bin/text"), "words").expect("write");
    fs::set_permissions(bundle.lower("bin/text"), fs::Permissions::from_mode(0o755)).expect("chmod");
    for (args, code) in [(["sh", "-c", "exit 9"], Some(9)), (["text", "of", "it"], None)] {
        fs::create_dir(&folder).expect("create_dir");
        let folder_fd = OwnedFd::from(fs::File::open(&folder).expect("open"));
        let plan = bundle.plan(&args);
        let (stdio, ..) = pipes();
        let gate = Some(Gate::make(folder_fd.as_fd()).expect("FIFOs"));
        let input = Input { gate, ..Input::from(stdio) };
        let left = execute::create(&plan, input).expect("created").leave().expect("left");
        let opened = execute::open_gate(folder_fd.as_fd(), &plan);
        let exit = wait_pidfd(left.process.pidfd.as_fd()).expect("waitid").shell_code();
        match code {
            Some(code) => assert_eq!((opened, exit), (Ok(()), code)),
            None => assert_eq!((opened.map_err(|error| error.exit_code()), exit), (Err(126), 125)),
        }
        // A child of another test may hold copies of the FIFOs until it has closed what is not its own.
        let again = std::iter::repeat_with(|| execute::open_gate(folder_fd.as_fd(), &plan));
        let again = again.take(1000).find_map(Result::err).expect("nobody is there");
        assert_eq!(again.operation, Operation::Ended);
        remove(left.cgroup);
        fs::remove_dir_all(&folder).expect("remove_dir_all");
    }
}

#[test]
fn a_command_that_cannot_run_is_told_before_the_container_waits_at_its_gate() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    for (command, code) in [("nothing", 127), ("/bin", 126)] {
        let folder = bundle.host("gate");
        fs::create_dir(&folder).expect("create_dir");
        let folder_fd = OwnedFd::from(fs::File::open(&folder).expect("open"));
        let gate = Some(Gate::make(folder_fd.as_fd()).expect("FIFOs"));
        let input = Input { gate, ..Input::from(pipes().0) };
        let error =
            execute::create(&bundle.plan(&[command, "of", "it"]), input).map(drop).expect_err(command);
        assert_eq!((error.exit_code(), error.object.as_str()), (code, command));
        fs::remove_dir_all(&folder).expect("remove_dir_all");
    }
}

#[test]
fn a_passed_namespace_is_joined_and_must_be_there() {
    let Some(mut bundle) = Bundle::new_or_skip() else { return };
    bundle.passed = vec![NamespaceKind::Network];
    let plan = bundle.plan(&["readlink", "/proc/self/ns/net"]);
    assert_eq!(plan.version, 2);
    let made = std::thread::spawn(|| {
        gantry_linux::namespace::unshare(gantry_linux::clone::Namespaces::NETWORK).expect("unshare");
        gantry_linux::namespace::open_own(gantry_linux::clone::Namespaces::NETWORK).expect("open")
    });
    let made = made.join().expect("the thread ends well");
    let inode = rustix::fs::fstat(&made).expect("fstat").st_ino;
    let input = |namespaces| Input { namespaces, ..Input::from(pipes().0) };
    let missing = execute::create(&plan, input(Vec::new())).map(drop).expect_err("nothing was passed");
    assert_eq!(missing.operation, Operation::Plan);
    let (stdio, stdout, stderr) = pipes();
    let input = Input { namespaces: vec![(NamespaceKind::Network, made)], ..Input::from(stdio) };
    let running = execute::create(&plan, input).expect("created").start().expect("started");
    let mut started = crate::support::Started::new(running.process, stdout, stderr);
    started.cgroup = running.cgroup;
    assert_eq!(started.outcome().stdout, format!("net:[{inode}]\n"));
}
