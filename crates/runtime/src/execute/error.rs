//! Why a plan could not be carried out: which operation, on what, and the kernel's errno. It is plain data,
//! because it happens in the container's child, is told to the shim over a socket, and is told by the shim
//! to the daemon as a [`Failure`]; at each edge it is still the same three facts.

use std::fmt;

use gantry_linux::Errno;
use gantry_types::{Class, Classified};

/// What was being done. The numbers are the wire form: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Operation {
    /// Nothing known; only from a newer peer.
    Unspecified = 0,
    /// Reading the plan: its version or a field that must be there.
    Plan = 1,
    /// Making the cgroup or setting its limits.
    Cgroup = 2,
    /// Mounting the overlay, or cloning the folder, that becomes the root.
    Rootfs = 3,
    /// Opening the host side of a bind mount.
    BindSource = 4,
    /// Opening or joining a namespace.
    Namespace = 5,
    /// Making the process.
    Clone = 6,
    /// Talking with the process while it sets itself up.
    Handshake = 7,
    /// The process ended while it set itself up.
    Ended = 8,
    /// Changing mount propagation.
    Propagation = 9,
    /// Attaching the root.
    AttachRoot = 10,
    /// Mounting a fresh filesystem.
    Mount = 11,
    /// Bind-mounting.
    Bind = 12,
    /// Making a device node.
    Device = 13,
    /// Making a symbolic link.
    Symlink = 14,
    /// Making a folder.
    Folder = 15,
    /// Setting up the pseudo terminal.
    Terminal = 16,
    /// Masking a path.
    Mask = 17,
    /// Making a path read-only.
    Readonly = 18,
    /// Making the root read-only.
    RootAttributes = 19,
    /// Setting the host name.
    Hostname = 20,
    /// Setting the domain name.
    Domainname = 21,
    /// Setting a kernel parameter.
    Sysctl = 22,
    /// Setting the loopback link up.
    Loopback = 23,
    /// Making the cgroup namespace.
    CgroupNamespace = 24,
    /// Changing the root.
    Pivot = 25,
    /// Setting standard input, output and error.
    Stdio = 26,
    /// Setting a resource limit.
    Rlimit = 27,
    /// Setting the out-of-memory score.
    OomScore = 28,
    /// Setting user, group or supplementary groups.
    User = 29,
    /// Setting capabilities.
    Capabilities = 30,
    /// Forbidding new privileges.
    NoNewPrivileges = 31,
    /// Installing the system call filter.
    Seccomp = 32,
    /// Entering the working folder.
    WorkingDir = 33,
    /// Starting a session, its terminal or its keyring.
    Session = 34,
    /// Making the payload of the tiny init.
    Init = 35,
    /// Running the command.
    Exec = 36,
    /// Running a hook on the host.
    Hook = 37,
    /// Running a createContainer hook.
    CreateHook = 38,
    /// Running a startContainer hook.
    StartHook = 39,
    /// Mapping ids, of a user namespace or of a mount.
    IdMap = 40,
    /// Setting the clocks of a time namespace off.
    Clocks = 41,
    /// Setting scheduling, disk priority or processors.
    Scheduling = 42,
    /// Handing the filter's listener over.
    Listener = 43,
    /// Setting the security label.
    Label = 44,
    /// Setting the personality.
    Personality = 45,
    /// Setting the memory policy.
    MemoryPolicy = 46,
    /// Moving a network link into the container.
    NetDevice = 47,
    /// Changing a mount that is there.
    Remount = 48,
}

/// A plan that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}{}", Quoted(object))]
pub struct ExecuteError {
    /// What was being done.
    pub operation: Operation,
    /// On what: a path, a name, a number; empty when there is nothing more to say.
    pub object: String,
    /// Why the kernel refused, or what the executor found wrong.
    #[source]
    pub errno: Errno,
}

/// The wire form of an [`ExecuteError`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Failure {
    /// What was being done.
    #[prost(enumeration = "Operation", tag = "1")]
    pub operation: i32,
    /// On what.
    #[prost(string, tag = "2")]
    pub object: String,
    /// The kernel's errno.
    #[prost(int32, tag = "3")]
    pub errno: i32,
}

impl ExecuteError {
    pub(crate) fn new(operation: Operation, object: impl Into<String>, errno: Errno) -> Self {
        Self { operation, object: object.into(), errno }
    }

    /// What a command line exits with: 127 for a command that is not there, 126 for one that cannot be run,
    /// 125 for everything before it (the convention of docker and of POSIX shells).
    pub fn exit_code(&self) -> u8 {
        match (self.operation, self.errno) {
            (Operation::Exec, Errno::NOENT) => 127,
            (Operation::Exec, _) => 126,
            _ => 125,
        }
    }

    /// The wire form.
    pub fn to_failure(&self) -> Failure {
        Failure {
            operation: self.operation.into(),
            object: self.object.clone(),
            errno: self.errno.raw_os_error(),
        }
    }
}

impl From<Failure> for ExecuteError {
    fn from(failure: Failure) -> Self {
        Self {
            operation: failure.operation(),
            errno: Errno::from_raw_os_error(failure.errno.clamp(1, 4095)),
            object: failure.object,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "cannot run the container",
            Self::Plan => "the plan cannot be carried out by this version",
            Self::Cgroup => "cannot set up the cgroup",
            Self::Rootfs => "cannot mount the root filesystem",
            Self::BindSource => "cannot open the host side of a mount",
            Self::Namespace => "cannot join the namespace",
            Self::Clone => "cannot make the container's process",
            Self::Handshake => "cannot talk with the container's process",
            Self::Ended => "the container's process ended while it was set up",
            Self::Propagation => "cannot change mount propagation",
            Self::AttachRoot => "cannot attach the root filesystem",
            Self::Mount => "cannot mount",
            Self::Bind => "cannot bind-mount",
            Self::Device => "cannot make the device",
            Self::Symlink => "cannot make the symbolic link",
            Self::Folder => "cannot make the folder",
            Self::Terminal => "cannot set up the terminal",
            Self::Mask => "cannot mask",
            Self::Readonly => "cannot make read-only",
            Self::RootAttributes => "cannot make the root filesystem read-only",
            Self::Hostname => "cannot set the host name",
            Self::Domainname => "cannot set the domain name",
            Self::Sysctl => "cannot set the kernel parameter",
            Self::Loopback => "cannot set the loopback link up",
            Self::CgroupNamespace => "cannot make the cgroup namespace",
            Self::Pivot => "cannot change the root",
            Self::Stdio => "cannot set up standard input, output and error",
            Self::Rlimit => "cannot set the resource limit",
            Self::OomScore => "cannot set the out-of-memory score",
            Self::User => "cannot become the user",
            Self::Capabilities => "cannot set capabilities",
            Self::NoNewPrivileges => "cannot forbid new privileges",
            Self::Seccomp => "cannot install the system call filter",
            Self::WorkingDir => "cannot enter the working folder",
            Self::Session => "cannot start a session",
            Self::Init => "cannot start the command below init",
            Self::Exec => "cannot run the command",
            Self::Hook => "the hook failed",
            Self::CreateHook => "the createContainer hook failed",
            Self::StartHook => "the startContainer hook failed",
            Self::IdMap => "cannot map ids",
            Self::Clocks => "cannot set clocks off",
            Self::Scheduling => "cannot set",
            Self::Listener => "cannot hand the listener of the system call filter to",
            Self::Label => "cannot set the security label, perhaps because the kernel has no such module",
            Self::Personality => "cannot set the personality",
            Self::MemoryPolicy => "cannot set the memory policy",
            Self::NetDevice => "cannot move the network device",
            Self::Remount => "cannot change the mount",
        })
    }
}

/// A space and the object in quotes, or nothing when there is no object.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " {:?}", self.0) }
    }
}

impl Classified for ExecuteError {
    fn class(&self) -> Class {
        match (self.operation, self.errno) {
            (Operation::Plan, _) => Class::Unimplemented,
            (_, Errno::NOMEM | Errno::NOSPC | Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::DQUOT) => {
                Class::ResourceExhausted
            }
            (
                Operation::Exec
                | Operation::WorkingDir
                | Operation::BindSource
                | Operation::Bind
                | Operation::Mount
                | Operation::Mask
                | Operation::Readonly
                | Operation::Folder
                | Operation::Sysctl
                | Operation::Rlimit
                | Operation::Hook
                | Operation::CreateHook
                | Operation::StartHook
                | Operation::IdMap
                | Operation::Clocks
                | Operation::Scheduling
                | Operation::Listener
                | Operation::Label
                | Operation::Personality
                | Operation::MemoryPolicy
                | Operation::NetDevice
                | Operation::Remount
                | Operation::Namespace,
                _,
            ) => Class::FailedPrecondition,
            (_, Errno::NOSYS) => Class::Unimplemented,
            _ => Class::Internal,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.operation, self.exit_code()) {
            (_, 127) => "COMMAND_NOT_FOUND",
            (_, 126) => "COMMAND_NOT_EXECUTABLE",
            (Operation::BindSource, _) => "MOUNT_SOURCE_UNUSABLE",
            (Operation::WorkingDir, _) => "WORKING_DIR_UNUSABLE",
            _ => "CONTAINER_NOT_STARTED",
        }
    }

    fn hint(&self) -> Option<String> {
        match (self.operation, self.exit_code()) {
            (_, 127) => Some("check the command's name, and that the image has it in its PATH".into()),
            (_, 126) => Some("check that it is an executable file for this machine's architecture".into()),
            (Operation::BindSource, _) => Some("check that the host path exists".into()),
            (Operation::IdMap, _) => Some(
                "the file system must have id-mapped mounts: tmpfs has them from Linux 6.3 on, network file systems have none"
                    .into(),
            ),
            (Operation::Propagation, _) if self.errno == Errno::INVAL => Some(
                "the root of the mount namespace must be a mount point: 'mount --bind DIR DIR' before the chroot into DIR makes it one"
                    .into(),
            ),
            (Operation::WorkingDir, _) => {
                Some("check the working folder and the user's right to enter it".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_keeps_every_fact() {
        for number in 0..=48 {
            let operation = Operation::try_from(number).expect("operations are numbered without holes");
            let error = ExecuteError::new(operation, "/x", Errno::PERM);
            assert_eq!(ExecuteError::from(error.to_failure()), error);
        }
    }

    #[test]
    fn a_missing_command_is_127_and_an_unusable_one_126() {
        let error = |operation, errno| ExecuteError::new(operation, "sh", errno);
        assert_eq!(error(Operation::Exec, Errno::NOENT).exit_code(), 127);
        assert_eq!(error(Operation::Exec, Errno::ACCESS).exit_code(), 126);
        assert_eq!(error(Operation::Exec, Errno::NOEXEC).exit_code(), 126);
        assert_eq!(error(Operation::Mount, Errno::NOENT).exit_code(), 125);
        assert_eq!(error(Operation::Exec, Errno::NOENT).to_string(), "cannot run the command \"sh\"");
    }
}
