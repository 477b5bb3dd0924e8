//! What the command line can ask for, as data: the global options and those of each command. Reading them from
//! words is `arguments`'s work.

use std::path::PathBuf;
use std::time::Duration;

use crate::report::Format;

/// Options that every command has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Globals {
    /// Where the containers' state is.
    pub(crate) root: PathBuf,
    /// Where failures are logged, beside standard error.
    pub(crate) log: Option<PathBuf>,
    /// How they are.
    pub(crate) log_format: Format,
    /// Whether decisions are logged too.
    pub(crate) debug: bool,
    /// Whether systemd makes the control groups.
    pub(crate) systemd_cgroup: bool,
    /// Whether control groups that may not be made are done without.
    pub(crate) rootless: bool,
    /// The CRIU program; the one in `PATH` if absent.
    pub(crate) criu: Option<PathBuf>,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/run/gantry-runtime"),
            log: None,
            log_format: Format::Text,
            debug: false,
            systemd_cgroup: false,
            rootless: false,
            criu: None,
        }
    }
}

/// `create` and `run`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Create {
    pub(crate) id: String,
    /// The bundle's folder; the current one if absent.
    pub(crate) bundle: Option<PathBuf>,
    /// The spec's file, instead of the bundle's `config.json`.
    pub(crate) config: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// The root is moved to `/` instead of pivoted to: for a host whose root is the initial ramdisk.
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
    /// Descriptors after standard error that the container keeps.
    pub(crate) preserve_fds: u32,
    /// `run`: it does not wait for the end.
    pub(crate) detach: bool,
    /// `run`: the container's state stays after its end.
    pub(crate) keep: bool,
}

/// `exec`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Exec {
    pub(crate) id: String,
    /// A file with the process in the spec's form.
    pub(crate) process: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) tty: bool,
    /// `uid[:gid]`.
    pub(crate) user: Option<String>,
    pub(crate) cwd: Option<String>,
    pub(crate) env: Vec<String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) apparmor: Option<String>,
    pub(crate) process_label: Option<String>,
    pub(crate) no_new_privileges: Option<bool>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) cgroup: Option<String>,
    pub(crate) detach: bool,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    /// Whether a paused container is joined all the same.
    pub(crate) ignore_paused: bool,
}

/// `kill`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kill {
    pub(crate) id: String,
    pub(crate) signal: Option<String>,
    /// Every process of the container, not its first alone.
    pub(crate) all: bool,
    /// `id` is a pattern of ids.
    pub(crate) regex: bool,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Delete {
    pub(crate) id: String,
    /// A running one is killed first, and an unknown one is no failure.
    pub(crate) force: bool,
}

/// `ps` and `list`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    /// `ps`: the container.
    pub(crate) id: String,
    pub(crate) json: bool,
    /// `list`: ids alone.
    pub(crate) quiet: bool,
    /// `ps`: options for ps(1).
    pub(crate) args: Vec<String>,
}

/// `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) id: String,
    /// One sample, then the end.
    pub(crate) stats: bool,
    pub(crate) interval: Duration,
}

/// `update`: each limit that is given replaces the container's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Update {
    pub(crate) id: String,
    /// A file with the spec's `linux.resources`; `-` is standard input.
    pub(crate) resources: Option<PathBuf>,
    /// Single limits: the option's name and its value.
    pub(crate) limits: Vec<(&'static str, String)>,
}

/// `spec`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) rootless: bool,
}

/// What `checkpoint` and `restore` have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Images {
    /// Where the images are; `checkpoint` in the current folder if absent.
    pub(crate) path: Option<PathBuf>,
    /// Where CRIU works and logs; beside the images if absent.
    pub(crate) work: Option<PathBuf>,
    pub(crate) tcp_established: bool,
    pub(crate) ext_unix_sk: bool,
    pub(crate) shell_job: bool,
    pub(crate) file_locks: bool,
    /// Pages that the images of a parent have too are removed from those.
    pub(crate) auto_dedup: bool,
    pub(crate) cgroup_mode: CgroupMode,
    /// The network namespace's contents are left out.
    pub(crate) empty_network: bool,
}

/// What becomes of the control groups that are made inside the container, and of their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CgroupMode {
    /// Nothing.
    Ignore,
    /// Limits of those that are missing are restored.
    #[default]
    Soft,
    /// Limits of all are.
    Full,
    /// None may be there already.
    Strict,
}

/// `checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Checkpoint {
    pub(crate) id: String,
    pub(crate) images: Images,
    /// The images of an earlier checkpoint, seen from the folder of these.
    pub(crate) parent: Option<PathBuf>,
    /// The container goes on.
    pub(crate) leave_running: bool,
    /// Memory alone, while the container goes on.
    pub(crate) pre_dump: bool,
    pub(crate) tcp_skip_in_flight: bool,
    pub(crate) link_remap: bool,
}

/// `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Restore {
    /// What a restored container has as any other.
    pub(crate) create: Create,
    pub(crate) images: Images,
    pub(crate) lsm_profile: Option<String>,
    pub(crate) lsm_mount_context: Option<String>,
}
