//! What a container uses, read from its control group and its network namespace at the moment of the call. Past
//! the container's task: reading changes nothing and waits for nobody.

use std::time::Duration;

use gantry_runtime::cgroup::stats::Stats;
use gantry_types::{ContainerId, ContainerState, Namespace};

use crate::assemble::Daemon;
use crate::clock;
use crate::error::Error;

/// How long after its control group a container's end is told at the latest.
const END_TOLD_MAX: Duration = Duration::from_secs(5);
/// Bytes of a file of `/proc/<pid>/net`.
const TABLE_BYTES_MAX: u64 = 1 << 20;

/// Everything at one moment.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) unix_ns: i64,
    pub(crate) stats: Stats,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) online_cpus: u32,
}

/// One line of `/proc/<pid>/net/dev` (proc_pid_net(5)).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
}

/// One direction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) dropped: u64,
}

impl Daemon {
    /// Reads everything of a container that is alive.
    pub(crate) async fn container_usage(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Result<Usage, Error> {
        let mut watched = self.containers.handle(namespace, id)?.status();
        let pid = self.alive_pid(namespace, id)?;
        let (path, host) = (self.cgroup_path(namespace, id), self.cgroups.clone());
        let own_network = rustix::fs::stat(format!("/proc/{pid}/ns/net")).map(|file| file.st_ino).ok()
            != rustix::fs::stat("/proc/self/ns/net").map(|file| file.st_ino).ok();
        let read = move || {
            let stats = Stats::read(&host, &path)?;
            let table = if own_network { interfaces(pid) } else { Vec::new() };
            let online = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
            Ok(Usage {
                unix_ns: clock::unix_ns(),
                stats,
                interfaces: table,
                online_cpus: u32::try_from(online).unwrap_or(u32::MAX),
            })
        };
        let result = self.blocking.run(read).await;
        if result.is_err() {
            // It ended under the reader's hands: its group goes before the daemon is told.
            let ended = watched.wait_for(|status| !status.state.is_alive());
            if tokio::time::timeout(END_TOLD_MAX, ended).await.is_ok() {
                return Err(self.not_running(namespace, id)?);
            }
        }
        result
    }

    /// The pid of a container's init, if it is alive.
    pub(super) fn alive_pid(&self, namespace: &Namespace, id: &ContainerId) -> Result<u32, Error> {
        let status = self.containers.handle(namespace, id)?.status().borrow().clone();
        match status.state {
            ContainerState::Running | ContainerState::Paused => Ok(status.pid),
            ContainerState::Creating
            | ContainerState::Created
            | ContainerState::Starting
            | ContainerState::Exited
            | ContainerState::Removing => Err(self.not_running(namespace, id)?),
        }
    }

    /// The error that says so.
    pub(super) fn not_running(&self, namespace: &Namespace, id: &ContainerId) -> Result<Error, Error> {
        let name = self.container_record(namespace, id)?.name.clone();
        let state = self.containers.handle(namespace, id)?.status().borrow().state;
        Ok(Error::NotRunning { name, state })
    }
}

/// The interfaces of the process's network namespace but for loopback; none when it has just ended.
fn interfaces(pid: u32) -> Vec<Interface> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(format!("/proc/{pid}/net/dev"))
        .and_then(|file| file.take(TABLE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    text.lines().filter_map(interface).filter(|interface| interface.name != "lo").collect()
}

fn interface(line: &str) -> Option<Interface> {
    let (name, counters) = line.split_once(':')?;
    let numbers: Vec<u64> = counters.split_whitespace().map_while(|number| number.parse().ok()).collect();
    // Eight for each direction: bytes, packets, errors, dropped…
    let direction = |first: usize| {
        let of = |offset: usize| numbers.get(first + offset).copied();
        Some(Traffic { bytes: of(0)?, packets: of(1)?, dropped: of(3)? })
    };
    Some(Interface { name: name.trim().to_owned(), received: direction(0)?, sent: direction(8)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_interface_table_is_read_and_its_head_is_not() {
        let line = "  eth0:    1500      12    0    3    0     0          0         0     2500      21    0    1    0     0       0          0";
        let eth0 = interface(line).expect("a line");
        assert_eq!(eth0.name, "eth0");
        assert_eq!(eth0.received, Traffic { bytes: 1500, packets: 12, dropped: 3 });
        assert_eq!(eth0.sent, Traffic { bytes: 2500, packets: 21, dropped: 1 });
        let head = "Inter-|   Receive                                                |  Transmit";
        assert_eq!(interface(head), None);
    }
}
