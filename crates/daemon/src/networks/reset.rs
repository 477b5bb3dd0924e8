//! `gantryd networks reset`: takes what outlives the daemon and its containers out of the kernel: gantry-netd, the bridges and
//! the table `inet gantry`. What is recorded stays, so that the next daemon makes everything anew when it is used. For
//! who takes Gantry off a machine, or moves its daemon to another network namespace.

use std::os::fd::AsFd;
use std::time::Duration;

use gantry_linux::event::wait_readable;
use gantry_linux::signal::{Signal, send_to_pidfd};
use gantry_linux::wait::open_pidfd;
use gantry_linux::{Errno, Pid};
use gantry_network::netd;
use gantry_store::{Page, Store};

use super::Networks;
use super::claim;
use super::problem::NetworkProblem;
use super::tables::NETWORKS;
use crate::error::Error;

/// How long netd may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

impl Networks {
    /// Takes everything away. No daemon runs on the folders, which the open store proves, and no container: the caller
    /// has looked.
    pub(crate) fn reset(&self, store: &Store) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "remove netd's files", source };
        // Another daemon's table and bridges have the same names.
        self.claim()?;
        // Before the table, which it would put back.
        self.end_netd()?;
        for (_, row) in store.scan(&NETWORKS, &Page::all()) {
            self.bring_down(&row.value)?;
        }
        self.host().remove_rules()?;
        std::fs::remove_dir_all(self.folder().path()).map_err(failed)?;
        claim::forget(&self.state).map_err(failed)
    }

    fn end_netd(&self) -> Result<(), Error> {
        let Some(pid) = netd::running(&self.state)? else { return Ok(()) };
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = match number.map(open_pidfd) {
            Some(Err(error)) if error.errno != Errno::SRCH => return Err(error.into()),
            Some(Ok(pidfd)) => pidfd,
            Some(Err(_)) | None => return Ok(()),
        };
        // It holds the lock still, so what was opened is no other process.
        if netd::running(&self.state)? == Some(pid) {
            send_to_pidfd(pidfd.as_fd(), Signal::TERM)?;
            wait_readable(pidfd.as_fd(), Some(END_TIMEOUT))?;
        }
        match netd::running(&self.state)? {
            Some(pid) => Err(NetworkProblem::NetdStays { pid }.into()),
            None => Ok(()),
        }
    }
}
