//! `gantry top`: the processes of a container in the columns of `ps -f`, with the host's process ids.

use std::process::ExitCode;

use gantry_api::containers::v1::{ContainerProcess, ListContainerProcessesRequest};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::table::table;

const SECOND_NS: u64 = 1_000_000_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    container: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let request = ListContainerProcessesRequest { namespace: session.namespace(), container: args.container };
    let answer = session.containers().await?.list_container_processes(request).await?.into_inner();
    let now = Timestamp::now();
    let header = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    let rows = answer.processes.iter().map(|process| row(process, now));
    output::text(&table(&std::iter::once(header).chain(rows).collect::<Vec<_>>()))?;
    Ok(ExitCode::SUCCESS)
}

fn row(process: &ContainerProcess, now: Timestamp) -> Vec<String> {
    let started = process.start_time.unwrap_or_default();
    let age_ns =
        u64::try_from(now.as_second().saturating_sub(started.seconds)).unwrap_or_default() * SECOND_NS;
    let seconds = process.cpu_ns / SECOND_NS;
    let terminal = if process.terminal.is_empty() { "?" } else { &process.terminal };
    vec![
        process.uid.to_string(),
        process.pid.to_string(),
        process.parent_pid.to_string(),
        process.cpu_ns.saturating_mul(100).checked_div(age_ns).unwrap_or_default().min(99).to_string(),
        started_at(started.seconds, now),
        terminal.to_owned(),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        process.command.join(" "),
    ]
}

/// The time of day for today, else the day, as `ps` has it.
fn started_at(unix_seconds: i64, now: Timestamp) -> String {
    let zone = TimeZone::system();
    let Ok(time) = Timestamp::from_second(unix_seconds) else { return "?".to_owned() };
    let (started, today) = (time.to_zoned(zone.clone()), now.to_zoned(zone));
    let form = if started.date() == today.date() { "%H:%M" } else { "%b%d" };
    started.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_a_row_of_ps() {
        let process = ContainerProcess {
            pid: 77,
            parent_pid: 1,
            uid: 1000,
            cpu_ns: 3_725 * SECOND_NS,
            start_time: Some(prost_types::Timestamp { seconds: 1_000_000, nanos: 0 }),
            command: vec!["sleep".into(), "5".into()],
            ..ContainerProcess::default()
        };
        let row = row(&process, Timestamp::from_second(1_007_450).expect("a time"));
        assert_eq!(
            (&row[3], &row[5], &row[6], &row[7]),
            (&"50".into(), &"?".into(), &"01:02:05".into(), &"sleep 5".into())
        );
    }
}
