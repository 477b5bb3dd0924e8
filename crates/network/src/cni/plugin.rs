//! How is one plugin run? As a child with nothing of the daemon's environment, its configuration on standard input, its
//! answer on standard output (specification, section 2), within a time and a size. Its input is a file that is locked:
//! the child has it open until it ends, so the lock outlives a daemon that is killed meanwhile, and the next daemon
//! does not undo what a plugin of before is still doing.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FlockOperation;
use serde_json::Value;

use super::{CNI_BYTES_MAX, CniError, CniTarget, PLUGIN_TIMEOUT, PluginName};

/// Between two looks whether a plugin of before has ended.
const BUSY_LOOK: Duration = Duration::from_millis(20);

/// What a plugin is asked (CNI_COMMAND).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Delete,
    Check,
}

impl Command {
    fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Delete => "DEL",
            Self::Check => "CHECK",
        }
    }
}

/// The right to run plugins for a link; at most one has it.
#[derive(Debug)]
pub(super) struct Turn {
    file: File,
    path: PathBuf,
}

impl Turn {
    /// Waits for a plugin of before, at most as long as one may run.
    pub(super) fn take(path: &Path) -> Result<Self, CniError> {
        let failed = |source| CniError::Input { path: path.to_owned(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let deadline = Instant::now() + PLUGIN_TIMEOUT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file, path: path.to_owned() }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(BUSY_LOOK);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(CniError::Busy),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// The input of the next plugin.
    fn input(&mut self, configuration: &[u8]) -> Result<Stdio, CniError> {
        let path = &self.path;
        let file = &mut self.file;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(configuration))
            .and_then(|()| file.rewind())
            .and_then(|()| file.try_clone())
            .map(Stdio::from)
            .map_err(|source| CniError::Input { path: path.clone(), source })
    }
}

/// Runs a plugin to its end. `None` when it answers nothing.
pub(super) fn run(
    turn: &mut Turn,
    plugin: &PluginName,
    command: Command,
    configuration: &[u8],
    target: &CniTarget<'_>,
) -> Result<Option<Value>, CniError> {
    let failed = |source| CniError::Run { plugin: plugin.clone(), source };
    let mut child = start(plugin, command, turn.input(configuration)?, target)?;
    let output = child.stdout.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
    let answer = read(output, plugin);
    if answer.is_err() {
        drop(child.kill());
    }
    let status = child.wait().map_err(failed)?;
    let answer = answer?;
    let text = answer.trim_ascii();
    if status.success() {
        if text.is_empty() {
            return Ok(None);
        }
        let what = "the plugin's answer";
        return serde_json::from_slice(text).map(Some).map_err(|source| CniError::Json { what, source });
    }
    let error: Value = serde_json::from_slice(text).unwrap_or_default();
    let field = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let message: String = [field("msg"), field("details")].join(" ").trim().chars().take(1000).collect();
    let code = error.get("code").and_then(Value::as_u64).unwrap_or_default();
    Err(CniError::Refused { plugin: plugin.clone(), command: command.as_str(), code, message })
}

#[expect(
    clippy::disallowed_methods,
    reason = "plugins are somebody else's programs, run to their end as children"
)]
fn start(
    plugin: &PluginName,
    command: Command,
    input: Stdio,
    target: &CniTarget<'_>,
) -> Result<Child, CniError> {
    let programme = target
        .folders
        .iter()
        .map(|folder| folder.join(plugin.as_str()))
        .find(|path| path.is_file())
        .ok_or_else(|| CniError::Missing { plugin: plugin.clone() })?;
    let netns = target.netns.map(Path::as_os_str).unwrap_or_default();
    let path = std::env::join_paths(target.folders.iter().map(PathBuf::as_path)).unwrap_or_default();
    std::process::Command::new(programme)
        .env_clear()
        .env("CNI_COMMAND", command.as_str())
        .env("CNI_CONTAINERID", target.container)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", target.interface.as_str())
        .env("CNI_PATH", path)
        // Plugins call ip, iptables and nft.
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| CniError::Run { plugin: plugin.clone(), source })
}

/// Everything the plugin says, until it closes its output.
fn read(mut output: ChildStdout, plugin: &PluginName) -> Result<Vec<u8>, CniError> {
    let limit = |limit| CniError::Limit { plugin: plugin.clone(), limit };
    let deadline = Instant::now() + PLUGIN_TIMEOUT;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| limit("it may take a minute"))?;
        let ready = rustix::event::poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&left));
        if ready.is_ok_and(|ready| ready == 0) {
            return Err(limit("it may take a minute"));
        }
        match output.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(CniError::Run { plugin: plugin.clone(), source }),
        }
        if answer.len() > CNI_BYTES_MAX {
            return Err(limit("it may answer 1 MiB"));
        }
    }
}
