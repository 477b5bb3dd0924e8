//! Keeps gantry-netd alive while there are networks. It is started as the shims are, from memory that nothing
//! can change, in a session of its own, and goes on without this daemon; the next one finds it by its lock. When it
//! ends, its pidfd tells at once.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gantry_linux::spawn::Spawn;
use gantry_network::netd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::assemble::Daemon;
use crate::config;
use crate::error::{Chain, Error};

/// Between two starts, so that one that cannot run does not keep the machine busy.
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// Until one that was started holds its lock.
const SETTLE_DELAY: Duration = Duration::from_millis(50);

/// What it needs to know.
#[derive(Debug)]
pub(crate) struct Keeper {
    programme: Option<PathBuf>,
    state: PathBuf,
    wanted: Notify,
}

impl Keeper {
    pub(crate) fn new(config: &config::Networks, state: &Path) -> Self {
        let programme = config.dns.then(|| config.netd.clone());
        Self { programme, state: state.to_owned(), wanted: Notify::new() }
    }

    /// There are networks: netd is needed from now on.
    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }
}

/// Starts netd when it is needed and does not run, until the daemon ends.
pub(crate) fn keep(daemon: &Arc<Daemon>) {
    let Some(programme) = daemon.networks.keeper.programme.clone() else { return };
    let keeping = Arc::clone(daemon);
    daemon.tasks.spawn("netd keeper", async move {
        tokio::select! {
            () = keeping.tasks.cancelled() => {}
            () = keep_alive(&keeping, &programme) => {}
        }
    });
}

async fn keep_alive(daemon: &Arc<Daemon>, programme: &Path) {
    daemon.networks.keeper.wanted.notified().await;
    let mut sealed: Option<OwnedFd> = None;
    loop {
        match netd::running(&daemon.networks.keeper.state) {
            Ok(Some(pid)) => wait_for_end(pid).await,
            Ok(None) => {
                if let Err(error) = start(daemon, programme, &mut sealed).await {
                    tracing::error!(error = %Chain(&error), "gantry-netd cannot be started; names do not resolve");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                tokio::time::sleep(SETTLE_DELAY).await;
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "gantry-netd cannot be looked for");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Resolves when the process has ended. Cancel safe.
async fn wait_for_end(pid: u32) {
    let opened = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok());
    // It has ended already.
    let Some(pidfd) = opened else { return };
    #[expect(
        deprecated,
        reason = "its successor is unsafe, and an OwnedFd stays open while it is registered"
    )]
    match AsyncFd::with_interest(pidfd, Interest::READABLE) {
        Ok(pidfd) => {
            if pidfd.readable().await.is_ok() {
                tracing::info!(pid, "gantry-netd ended");
            }
        }
        Err(error) => {
            tracing::warn!(error = %error, "gantry-netd's end cannot be waited for");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

async fn start(daemon: &Arc<Daemon>, programme: &Path, sealed: &mut Option<OwnedFd>) -> Result<(), Error> {
    let file = if let Some(file) = sealed.take() {
        file
    } else {
        let path = programme.to_owned();
        daemon.blocking.run(move || seal(&path)).await?
    };
    let state = daemon.networks.keeper.state.clone();
    let (started, file) = daemon.blocking.run(move || (spawn(&file, &state), file)).await;
    *sealed = Some(file);
    started?;
    tracing::info!("gantry-netd was started");
    Ok(())
}

fn seal(path: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Io { action: "read gantry-netd's file", source };
    let own = std::env::current_exe().map_err(failed)?;
    let path = if path.as_os_str().is_empty() { own.with_file_name("gantry-netd") } else { path.to_owned() };
    let mut file = File::open(path).map_err(failed)?;
    gantry_linux::memfd::seal("gantry-netd", &mut file).map_err(failed)
}

fn spawn(programme: &OwnedFd, state: &Path) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "start gantry-netd", source };
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    let stderr = io::stderr();
    let state = CString::new(state.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    let args = vec![c"gantry-netd".to_owned(), c"--state".to_owned(), state];
    let descriptors = vec![(null.as_fd(), 0), (null.as_fd(), 1), (stderr.as_fd(), 2)];
    Spawn { programme: programme.as_fd(), args, env: Vec::new(), descriptors }.start()?;
    Ok(())
}
