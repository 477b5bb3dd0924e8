//! `ps`: a container's processes, by their numbers on the host, or as ps(1) shows them.

use std::process::Command;

use super::{Outcome, cgroup_of};
use crate::containers::Containers;
use crate::failure::Failure;
use crate::options::Listing;
use crate::output;

pub(super) fn ps(options: &Listing, containers: &Containers) -> Outcome {
    let (folder, record) = containers.find(&options.id)?;
    let pids: Vec<i32> = match cgroup_of(&folder)? {
        Some(cgroup) => cgroup.processes()?.into_iter().map(gantry_linux::Pid::as_raw).collect(),
        None => {
            record.pid().filter(|_| record.is_alive()).map(gantry_linux::Pid::as_raw).into_iter().collect()
        }
    };
    if options.json {
        output::compact(&pids)?;
    } else {
        output::text(&shown(&table(&options.args)?, &pids)?)?;
    }
    Ok(None)
}

/// What ps(1) says of every process.
fn table(args: &[String]) -> Result<String, Failure> {
    #[expect(clippy::disallowed_methods, reason = "the table is ps(1)'s own, by runc's custom")]
    let mut ps = Command::new("ps");
    if args.is_empty() {
        ps.arg("-ef")
    } else {
        ps.args(args)
    };
    let output = ps.output().map_err(|error| Failure::file("run", "ps", error))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::Program { program: "ps", status: output.status.to_string() })
    }
}

/// The header, and the lines of these processes.
fn shown(table: &str, pids: &[i32]) -> Result<String, Failure> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let missing = || Failure::usage("ps shows no PID column");
    let column = header.split_whitespace().position(|name| name == "PID").ok_or_else(missing)?;
    let of_container = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(header).chain(lines.filter(of_container)).map(|line| line.to_owned() + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn only_the_containers_own_lines_are_shown() {
        let table = "UID   PID  CMD\nroot    1  init\nroot   42  sh\n";
        assert_eq!(shown(table, &[42]).expect("a table"), "UID   PID  CMD\nroot   42  sh\n");
        assert!(shown("CMD\nsh\n", &[42]).is_err());
    }
}
