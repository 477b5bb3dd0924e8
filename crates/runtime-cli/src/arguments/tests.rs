use std::path::PathBuf;

use super::*;

fn parsed(line: &str) -> Invocation {
    parse(line.split_whitespace().map(OsString::from)).expect("it parses")
}

fn refused(line: &str) -> String {
    parse(line.split_whitespace().map(OsString::from)).expect_err("it is refused").line()
}

#[test]
fn containerd_s_create_is_read_as_it_writes_it() {
    let line = "--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p \
                --console-socket /s --no-pivot --no-new-keyring --preserve-fds 2 c1";
    let Invocation { globals, command } = parsed(line);
    assert_eq!((globals.root, globals.log), (PathBuf::from("/r"), Some(PathBuf::from("/l"))));
    assert!(globals.systemd_cgroup && globals.log_format == Format::Json);
    let Command::Create(create) = command else { panic!("{command:?}") };
    assert_eq!((create.id.as_str(), create.preserve_fds), ("c1", 2));
    assert!(create.no_pivot && create.no_new_keyring);
    assert_eq!(create.pid_file, Some(PathBuf::from("/p")));
}

#[test]
fn options_stand_before_or_after_the_id() {
    let Command::Kill(kill) = parsed("kill c1 --all 9").command else { panic!("not a kill") };
    assert_eq!((kill.id.as_str(), kill.signal.as_deref(), kill.all), ("c1", Some("9"), true));
    assert_eq!(parsed("kill --all c1 KILL").command, parsed("kill c1 KILL -a").command);
    let Invocation { globals, command } = parsed("create c1 --bundle=/b --root=/r");
    assert_eq!(globals.root, PathBuf::from("/r"));
    assert!(matches!(command, Command::Create(create) if create.bundle == Some("/b".into())));
}

#[test]
fn the_command_of_an_exec_keeps_its_own_options() {
    let Command::Exec(exec) = parsed("exec -t -e A=1 --env B=2 c1 ls -la --root /x").command else {
        panic!("not an exec")
    };
    assert_eq!(exec.args, ["ls", "-la", "--root", "/x"]);
    assert_eq!(exec.env, ["A=1", "B=2"]);
    assert!(exec.tty && !exec.detach);
    let Command::Exec(exec) = parsed("exec --process /p.json --detach c1").command else {
        panic!("not an exec")
    };
    assert!(exec.args.is_empty() && exec.detach);
    assert!(refused("exec c1").contains("command"));
}

#[test]
fn rootless_is_a_value_globally_and_a_flag_of_spec() {
    assert!(parsed("--rootless true state c1").globals.rootless);
    assert!(!parsed("--rootless=auto state c1").globals.rootless);
    assert_eq!(parsed("spec --rootless").command, Command::Spec(Template { bundle: None, rootless: true }));
}

#[test]
fn ps_passes_what_follows_the_id_on() {
    let Command::Ps(ps) = parsed("ps --format json c1").command else { panic!("not a ps") };
    assert!(ps.json && ps.args.is_empty());
    let Command::Ps(ps) = parsed("ps c1 --format=json").command else { panic!("not a ps") };
    assert!(ps.json && ps.args.is_empty());
    let Command::Ps(ps) = parsed("ps c1 -o pid,cmd").command else { panic!("not a ps") };
    assert_eq!(ps.args, ["-o", "pid,cmd"]);
}

#[test]
fn limits_are_kept_by_their_names() {
    let Command::Update(update) = parsed("update --memory 100 c1 --pids-limit=-1").command else {
        panic!("not an update")
    };
    assert_eq!(update.limits, [("memory", "100".to_owned()), ("pids-limit", "-1".to_owned())]);
}

#[test]
fn durations_have_units() {
    let Command::Events(events) = parsed("events --interval 250ms c1").command else { panic!("not events") };
    assert_eq!(events.interval, Duration::from_millis(250));
    assert!(refused("events --interval 0s c1").contains("duration"));
}

#[test]
fn what_means_nothing_is_refused() {
    assert_eq!(parsed("create --help").command, Command::Help);
    assert!(refused("frobnicate").contains("unknown command"));
    assert!(refused("create --nope c1").contains("nope"));
    assert!(refused("start").contains("id"));
    assert!(refused("start a b").contains("unexpected"));
    assert!(refused("list a").contains("unexpected"));
    assert!(refused("create --preserve-fds x c1").contains("number"));
}

#[test]
fn a_checkpoint_and_a_restore_are_read_as_containerd_writes_them() {
    let line = "checkpoint --image-path /i --work-path=/w --tcp-established --leave-running \
                --manage-cgroups-mode ignore --empty-ns network --parent-path ../before c1";
    let Command::Checkpoint(checkpoint) = parsed(line).command else { panic!("not a checkpoint") };
    assert_eq!((checkpoint.id.as_str(), checkpoint.parent), ("c1", Some(PathBuf::from("../before"))));
    assert!(checkpoint.leave_running && !checkpoint.pre_dump);
    let images = checkpoint.images;
    assert_eq!((images.path, images.work), (Some("/i".into()), Some("/w".into())));
    assert!(images.tcp_established && images.empty_network);
    assert_eq!(images.cgroup_mode, crate::options::CgroupMode::Ignore);
    let line = "restore --bundle /b --image-path /i --no-subreaper --detach --pid-file /p c2 --no-pivot";
    let Command::Restore(restore) = parsed(line).command else { panic!("not a restore") };
    assert_eq!((restore.create.id.as_str(), restore.create.detach), ("c2", true));
    assert_eq!(restore.create.bundle, Some("/b".into()));
    assert_eq!(restore.images.path, Some("/i".into()));
}

#[test]
fn what_needs_a_server_of_pages_is_refused() {
    for option in ["--lazy-pages", "--page-server 127.0.0.1:1", "--status-fd 3"] {
        assert!(refused(&format!("checkpoint {option} c1")).contains("not available"), "{option}");
    }
    assert!(parsed("checkpoint --lazy-pages=false c1").command.code_of_failure() == 1);
    assert!(refused("checkpoint --parent-path /absolute c1").contains("--parent-path"));
    assert!(refused("restore --empty-ns pid c1").contains("--empty-ns"));
}
