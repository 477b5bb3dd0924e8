//! The hostile-rootfs harness: a root folder on the host that an attacker has written, a canary beside it
//! that must not change, and the question that is asked of every container that starts all the same: is it
//! confined? The tests are in `replacements` (every object replaced by every kind of thing) and `swaps` (a
//! racer exchanges objects while containers start).

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use gantry_runtime::execute::{self, ExecuteError, Stdio};
use gantry_runtime::plan::{self, PlanInput, Root, Rootfs};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::support::{Bundle, Outcome, Started, pipes, remove};

/// What is put in an object's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evil {
    /// A link to the canary by its host path.
    AbsoluteLink,
    /// A link to the canary by dots.
    RelativeLink,
    /// A link to a name in the canary folder that is not there.
    DanglingLink,
    /// A link to a link.
    ChainedLink,
    /// A link through procfs to where a process is.
    MagicLink,
    /// A link to the container's procfs.
    ProcLink,
    /// A pipe, which blocks who opens it.
    Fifo,
    /// A socket.
    Socket,
    /// A device that is not what it should be: the kernel's log.
    Device,
    /// A file.
    File,
}

/// All of them.
pub(crate) const EVILS: [Evil; 10] = [
    Evil::AbsoluteLink,
    Evil::RelativeLink,
    Evil::DanglingLink,
    Evil::ChainedLink,
    Evil::MagicLink,
    Evil::ProcLink,
    Evil::Fifo,
    Evil::Socket,
    Evil::Device,
    Evil::File,
];

/// What of a root filesystem the runtime touches: mountpoints, masked and read-only paths, links it makes,
/// nodes it makes, the working folder, the target of a bound file and of a bound folder, and what is above
/// such a target.
pub(crate) const OBJECTS: [&str; 17] = [
    "proc",
    "sys",
    "dev",
    "dev/null",
    "dev/pts",
    "dev/ptmx",
    "dev/console",
    "dev/shm",
    "dev/mqueue",
    "dev/fd",
    "etc",
    "etc/hosts",
    "volume",
    "volume/inner",
    "work",
    "secret",
    "plain",
];

/// Prints nothing and succeeds only in a container that is confined.
pub(crate) const CONFINED: &str = "test ! -s /proc/keys && test -z \"$(cat /secret 2>/dev/null)\" \
    && ! (echo x >/proc/sys/kernel/domainname) 2>/dev/null && ! touch /plain/x 2>/dev/null \
    && grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q ' /proc proc ' /proc/mounts";

/// Prints a word where something of the kernel's is open that must not be, however the names are swapped
/// meanwhile: a mount moves with the folder it is on.
pub(crate) const NOT_OPEN: &str = "for proc in /proc /tmp/racer; do \
    (echo x >$proc/sys/kernel/domainname) 2>/dev/null && echo OPEN sys; \
    test -s $proc/keys && test -d $proc/self && echo OPEN keys; done; true";

/// A root folder with a canary beside it.
pub(crate) struct HostileRoot {
    bundle: Bundle,
    before: String,
    /// Whether `/dev` is the image's and no tmpfs lies over it.
    bare_dev: bool,
}

impl HostileRoot {
    /// `None`, said aloud, where containers cannot be.
    pub(crate) fn new_or_skip(bare_dev: bool) -> Option<Self> {
        let mut bundle = Bundle::new_or_skip()?;
        let canary = bundle.host("canary");
        fs::create_dir_all(canary.join("folder")).expect("create_dir_all");
        for name in ["ptmx", "null", "hosts", "folder/file"] {
            fs::write(canary.join(name), "kept").expect("write");
        }
        fs::write(bundle.host("bound"), "bound").expect("write");
        fs::create_dir(bundle.host("shared")).expect("create_dir");
        let folder = bundle.folder().to_owned();
        let mounts = bundle.spec["mounts"].as_array_mut().expect("a list");
        if bare_dev {
            mounts.retain(|mount| mount["destination"] != "/dev");
        }
        let bind = |source: PathBuf, destination: &str| json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "ro"]});
        mounts.push(bind(folder.join("bound"), "/etc/hosts"));
        mounts.push(bind(folder.join("shared"), "/volume/inner"));
        let linux = &mut bundle.spec["linux"];
        linux["maskedPaths"].as_array_mut().expect("a list").push(json!("/secret"));
        linux["readonlyPaths"].as_array_mut().expect("a list").push(json!("/plain"));
        bundle.spec["process"]["cwd"] = json!("/work");
        let mut root = Self { bundle, before: String::new(), bare_dev };
        root.fill();
        root.before = root.canary();
        Some(root)
    }

    /// Makes every object what an honest image has there.
    fn fill(&self) {
        for folder in ["dev", "etc", "volume/inner", "work", "plain", "proc", "sys", "tmp"] {
            fs::create_dir_all(self.bundle.lower(folder)).expect("create_dir_all");
        }
        for file in ["secret", "etc/hosts"] {
            fs::write(self.bundle.lower(file), "hidden").expect("write");
        }
    }

    /// The path of an object on the host.
    pub(crate) fn path(&self, object: &str) -> PathBuf {
        self.bundle.lower(object)
    }

    /// Puts something in the place of nothing at a path of the root.
    pub(crate) fn plant(&self, at: &Path, evil: Evil) {
        let canary = self.bundle.host("canary");
        match evil {
            Evil::AbsoluteLink => symlink(&canary, at).expect("symlink"),
            Evil::RelativeLink => {
                symlink("../../../../../../../../..".to_owned() + canary.to_str().expect("utf-8"), at)
                    .expect("symlink");
            }
            Evil::DanglingLink => symlink(canary.join("made"), at).expect("symlink"),
            Evil::ChainedLink => {
                let first = self.bundle.lower("tmp/chain");
                let _ = fs::remove_file(&first);
                symlink(&canary, first).expect("symlink");
                symlink("/tmp/chain", at).expect("symlink");
            }
            Evil::MagicLink => symlink("/proc/self/cwd", at).expect("symlink"),
            Evil::ProcLink => symlink("/proc/self/attr", at).expect("symlink"),
            Evil::Fifo => {
                rustix::fs::mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("mknod");
            }
            Evil::Socket => drop(UnixListener::bind(at).expect("bind")),
            Evil::Device => {
                let log = rustix::fs::makedev(1, 11);
                let mode = Mode::from_raw_mode(0o666);
                rustix::fs::mknodat(CWD, at, FileType::CharacterDevice, mode, log).expect("mknod");
            }
            Evil::File => fs::write(at, "hostile").expect("write"),
        }
    }

    /// Replaces an object.
    pub(crate) fn replace(&self, object: &str, evil: Evil) {
        let path = self.path(object);
        take_away(&path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("create_dir_all");
        self.plant(&path, evil);
    }

    /// Makes an object honest again.
    pub(crate) fn restore(&self, object: &str) {
        let top = object.split('/').next().expect("a name");
        take_away(&self.bundle.lower(top));
        self.fill();
    }

    /// Runs a container that says what it finds. An error is a container that did not start.
    pub(crate) fn run(&self, terminal: bool, script: &str) -> Result<Outcome, ExecuteError> {
        let mut spec: Value = self.bundle.spec.clone();
        spec["process"]["args"] = json!(["sh", "-c", script]);
        spec["process"]["terminal"] = json!(terminal);
        let spec = serde_json::from_value(spec).expect("a valid spec");
        let root = Root::Folder(self.bundle.lower("").to_str().expect("utf-8").to_owned());
        let rootfs = Rootfs { root: Some(root), id_mapped: false };
        let cgroups = gantry_runtime::cgroup::Host::read().expect("control groups");
        let input = PlanInput { rootfs, cgroups, ..PlanInput::default() };
        let plan = plan::compile(&spec, &input).expect("a spec that compiles");
        let (given, stdout, stderr) = pipes();
        let stdio = if terminal { Stdio::Terminal } else { given };
        let mut running = execute::create(&plan, stdio)?.start()?;
        if terminal {
            // Nobody reads what it prints, which is nothing.
            let exit = gantry_linux::wait::wait_pidfd(std::os::fd::AsFd::as_fd(&running.process.pidfd));
            let code = exit.expect("waitid").shell_code();
            running.process.terminal = None;
            remove(running.cgroup);
            return Ok(Outcome { code, stdout: String::new(), stderr: String::new() });
        }
        let mut started = Started::new(running.process, stdout, stderr);
        started.cgroup = running.cgroup;
        Ok(started.outcome())
    }

    /// Nothing outside the root was changed, and nothing is mounted on the host.
    pub(crate) fn assert_host_is_untouched(&self, case: &str) {
        assert_eq!(self.canary(), self.before, "{case}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let own = self.bundle.folder().to_str().expect("utf-8");
        assert!(!mounts.contains(own), "{case}: a mount on the host");
    }

    /// Whether `/dev` is the image's own.
    pub(crate) fn has_bare_dev(&self) -> bool {
        self.bare_dev
    }

    /// Everything about the canary that could be changed, as text.
    fn canary(&self) -> String {
        let mut text = String::new();
        describe(&self.bundle.host("canary"), &mut text);
        describe(&self.bundle.host("shared"), &mut text);
        describe(&self.bundle.host("bound"), &mut text);
        text
    }
}

fn describe(path: &Path, text: &mut String) {
    let status = fs::symlink_metadata(path).expect("lstat");
    writeln!(
        text,
        "{} {:o} {}:{} {}",
        path.display(),
        status.mode(),
        status.uid(),
        status.gid(),
        status.nlink()
    )
    .expect("writing to a String");
    if status.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(path).expect("read_dir").map(|entry| entry.expect("entry").path()).collect();
        names.sort();
        for path in &names {
            describe(path, text);
        }
    } else if status.is_file() {
        text.push_str(&fs::read_to_string(path).expect("utf-8"));
    }
}

fn take_away(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(status) if status.is_dir() => fs::remove_dir_all(path).expect("remove_dir_all"),
        Ok(_) => fs::remove_file(path).expect("remove_file"),
        Err(_) => {}
    }
}
