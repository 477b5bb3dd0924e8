//! A file per command, each a use case that reads from top to bottom; here is which one runs, and what several
//! of them ask of a container.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod help;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use gantry_runtime::cgroup::Cgroup;

use crate::arguments::Command;
use crate::containers::{Containers, Folder};
use crate::failure::Failure;
use crate::options::Globals;
use crate::record::{Record, Status};
use crate::report::Report;

/// Runs a command; what it exits with.
pub(crate) fn run(command: Command, globals: &Globals, report: &Report) -> Result<u8, Failure> {
    let containers = Containers::at(&globals.root);
    match command {
        Command::Help => help::help(),
        Command::Version => help::version(),
        Command::Create(options) => create::create(&options, globals, &containers, report),
        Command::Run(options) => run::run(&options, globals, &containers, report),
        Command::Start { id } => start::start(&id, &containers, report),
        Command::State { id } => state::state(&id, &containers),
        Command::Kill(options) => kill::kill(&options, &containers),
        Command::Delete(options) => delete::delete(&options, &containers, report),
        Command::Exec(options) => exec::exec(&options, &containers, report),
        Command::Ps(options) => ps::ps(&options, &containers),
        Command::List(options) => list::list(&options, &containers),
        Command::Pause { id } => pause::pause(&id, &containers),
        Command::Resume { id } => pause::resume(&id, &containers),
        Command::Update(options) => update::update(&options, &containers, report),
        Command::Events(options) => events::events(&options, &containers),
        Command::Spec(options) => spec::spec(&options),
        Command::Checkpoint(options) => checkpoint::checkpoint(&options, globals, &containers, report),
        Command::Restore(options) => restore::restore(&options, globals, &containers, report),
        Command::Features => features::features(globals),
    }
    .map(|code| code.unwrap_or(0))
}

/// What a command ends with: nothing special, or a process's own code.
type Outcome = Result<Option<u8>, Failure>;

/// The container's control group, if it has one that is still there.
fn cgroup_of(folder: &Folder) -> Result<Option<Cgroup>, Failure> {
    let plan = folder.plan()?;
    Ok(plan.cgroup.as_ref().map(Cgroup::open).transpose()?)
}

/// The status, with whether the container is paused.
fn status(folder: &Folder, record: &Record) -> Result<Status, Failure> {
    match folder.status(record) {
        Status::Running => {
            let frozen = || Ok(cgroup_of(folder)?.as_ref().map_or(Ok(false), Cgroup::is_frozen)?);
            let frozen = match of_running(record, frozen()) {
                Err(Failure::NotRunning) => return Ok(Status::Stopped),
                frozen => frozen?,
            };
            Ok(if frozen { Status::Paused } else { Status::Running })
        }
        other @ (Status::Creating | Status::Created | Status::Paused | Status::Stopped) => Ok(other),
    }
}

/// What came of looking at a running container's control group, or changing it. Where its first process ended meanwhile,
/// the group and what tells of it may be gone under the command's hands: then that is what is told.
fn of_running<T>(record: &Record, result: Result<T, Failure>) -> Result<T, Failure> {
    match result {
        Err(_) if !record.is_alive() => Err(Failure::NotRunning),
        result => result,
    }
}
