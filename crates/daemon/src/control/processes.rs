//! Who runs in a container: the processes of its control group, as `/proc` of the host tells them (proc_pid_stat(5),
//! proc_pid_status(5)). A process may end at any moment of this, and is then left out.

use gantry_runtime::cgroup::Cgroup;
use gantry_types::{ContainerId, Namespace};

use crate::assemble::Daemon;
use crate::error::Error;

/// Processes that are told of.
const PROCESSES_MAX: usize = 4096;
/// Bytes of a command line.
const COMMAND_BYTES_MAX: u64 = 4096;
/// Nanoseconds in a clock tick of user space (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;

/// One process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerProcess {
    pub(crate) pid: u32,
    pub(crate) container_pid: u32,
    pub(crate) parent_pid: u32,
    pub(crate) uid: u32,
    pub(crate) state: String,
    pub(crate) started_unix_ns: i64,
    pub(crate) cpu_ns: u64,
    pub(crate) resident_bytes: u64,
    /// `pts/0`; empty for none.
    pub(crate) terminal: String,
    pub(crate) command: Vec<String>,
}

impl Daemon {
    /// The processes of a container that is alive, oldest first.
    pub(crate) async fn container_processes(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Result<Vec<ContainerProcess>, Error> {
        self.alive_pid(namespace, id)?;
        let (path, host) = (self.cgroup_path(namespace, id), self.cgroups.clone());
        let mut processes = self
            .blocking
            .run(move || {
                let pids = Cgroup::at(&path, &host)?.processes()?;
                let booted_unix_ns = booted_unix_ns();
                let pids = pids.into_iter().take(PROCESSES_MAX);
                let read = |pid: gantry_linux::Pid| read(pid.as_raw().unsigned_abs(), booted_unix_ns);
                Ok::<_, Error>(pids.filter_map(read).collect::<Vec<_>>())
            })
            .await?;
        processes.sort_by_key(|process| (process.started_unix_ns, process.pid));
        Ok(processes)
    }
}

fn read(pid: u32, booted_unix_ns: i64) -> Option<ContainerProcess> {
    let text = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let mut process = ContainerProcess { pid, ..stat(&text("stat")?, booted_unix_ns)? };
    let status = text("status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    process.uid = field("Uid")?.split_whitespace().nth(1)?.parse().ok()?;
    process.container_pid = field("NSpid")?.split_whitespace().last()?.parse().ok()?;
    let resident_kib: u64 =
        field("VmRSS").and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    process.resident_bytes = resident_kib * 1024;
    let command = command(pid)?;
    if !command.is_empty() {
        process.command = command;
    }
    Some(process)
}

/// What `stat` tells; the command is the name in brackets until something better is known.
fn stat(text: &str, booted_unix_ns: i64) -> Option<ContainerProcess> {
    // The name may have blanks and parentheses itself.
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Counted from the third field of the manual page, the state.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let started_ns = number(22)?.checked_mul(TICK_NS)?;
    let device = u32::try_from(number(7)?).ok()?;
    Some(ContainerProcess {
        state: fields.first()?.to_string(),
        parent_pid: u32::try_from(number(4)?).ok()?,
        terminal: terminal(device),
        cpu_ns: (number(14)? + number(15)?).checked_mul(TICK_NS)?,
        started_unix_ns: booted_unix_ns.checked_add_unsigned(started_ns)?,
        command: vec![format!("[{name}]")],
        ..ContainerProcess::default()
    })
}

/// The name of a terminal by its device number, the major one in bits 15 to 8, the minor one around it.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match major {
        0 => String::new(),
        4 => format!("tty{minor}"),
        // Eight majors of 256 each, and then minors alone.
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => "?".to_owned(),
    }
}

fn command(pid: u32) -> Option<Vec<String>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(COMMAND_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0');
    Some(if text.is_empty() { Vec::new() } else { text.split('\0').map(str::to_owned).collect() })
}

/// When the machine was started.
fn booted_unix_ns() -> i64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok());
    seconds.unwrap_or_default().saturating_mul(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text =
            "77 (a) (b) S 1 77 77 34816 77 4194560 1 0 0 0 5 7 0 0 20 0 1 0 300 1 1 18446744073709551615";
        let process = stat(text, 1_000_000_000).expect("it parses");
        assert_eq!(
            (process.state.as_str(), process.parent_pid, process.terminal.as_str()),
            ("S", 1, "pts/0")
        );
        assert_eq!((process.cpu_ns, process.started_unix_ns), (120_000_000, 4_000_000_000));
        assert_eq!(process.command, ["[a) (b]"]);
        assert_eq!(stat("77 (x) S 1", 0), None);
    }

    #[test]
    fn the_test_itself_is_a_process() {
        let own = read(std::process::id(), booted_unix_ns()).expect("it is alive");
        assert!(own.resident_bytes > 0 && !own.command[0].is_empty() && own.started_unix_ns > 0, "{own:?}");
    }
}
