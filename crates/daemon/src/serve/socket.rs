//! The unix socket: taken over from the service manager, or bound here with its mode and group. A socket
//! that answers is never taken from whoever answers on it.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixListener;

use crate::config::Config;

/// How long a killed daemon's socket may go on taking connections.
const DYING: Duration = Duration::from_secs(1);

/// The socket that clients connect to.
pub(super) fn listen(config: &Config) -> anyhow::Result<UnixListener> {
    let mut activated = listenfd::ListenFd::from_env();
    if let Ok(Some(listener)) = activated.take_unix_listener(0) {
        listener.set_nonblocking(true).context("cannot use the service manager's socket")?;
        return UnixListener::from_std(listener).context("cannot use the service manager's socket");
    }
    let path = config.socket_path();
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if answers_for(&path, DYING) {
        bail!(
            "another daemon answers on {}; stop it, or give this one its own --root, --state and --address",
            path.display()
        );
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the old socket {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    bind(&path, &config.grpc.group)
}

/// Whether the socket takes connections all the time. A daemon that was killed while it started a shim leaves its
/// listening descriptor in the shim's process until that has executed, so one answer proves nothing.
fn answers_for(path: &Path, limit: Duration) -> bool {
    const AGAIN: Duration = Duration::from_millis(10);
    let begun = crate::clock::monotonic();
    while std::os::unix::net::UnixStream::connect(path).is_ok() {
        if begun.elapsed() > limit {
            return true;
        }
        std::thread::sleep(AGAIN);
    }
    false
}

/// Binds with nobody let in before the mode and the group are right.
fn bind(path: &Path, group: &str) -> anyhow::Result<UnixListener> {
    let context = || format!("cannot listen on {}", path.display());
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.with_context(context)?;
    let mode = if let Some(gid) = group_id(group) {
        chown(path, None, Some(gid)).with_context(context)?;
        0o660
    } else {
        tracing::info!(group, "no such group: the socket is root's alone");
        0o600
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).with_context(context)?;
    Ok(listener)
}

/// The id of a group of the host (group(5)); `None` when there is none of that name.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}
