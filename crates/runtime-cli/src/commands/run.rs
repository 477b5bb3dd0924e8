//! `run`: `create` and `start` in one process, and unless it is told to detach the wait for the end and the
//! `delete` after it. The container does not die with this process: a caller that is killed leaves a container
//! that `delete --force` ends.

use super::Outcome;
use super::create::{Made, StartedBy, hand_over, has_terminal, make};
use super::delete::{clean_up, end};
use super::start::after_start;
use crate::bundle;
use crate::containers::Containers;
use crate::failure::Failure;
use crate::foreground;
use crate::options::{Create, Globals};
use crate::report::Report;
use crate::scope;

pub(super) fn run(options: &Create, globals: &Globals, containers: &Containers, report: &Report) -> Outcome {
    let bundle = bundle::load(options, globals, report)?;
    if options.detach && has_terminal(&bundle) && options.console_socket.is_none() {
        return Err(Failure::usage("cannot allocate tty if runc will detach without setting console socket"));
    }
    // Before the container is there, so that no signal for it is lost.
    let signals = if options.detach { None } else { Some(foreground::Signals::take()?) };
    let Made { mut created, folder } = make(options, &bundle, containers, StartedBy::Same)?;
    let started = hand_over(options, &mut created).and_then(|()| {
        let terminal = created.take_terminal();
        Ok((created.start()?, terminal))
    });
    let (running, terminal) = match started {
        Ok(started) => started,
        Err(failure) => {
            // The failure that led here is the one that is told.
            scope::abandon(&folder);
            drop(folder.remove());
            return Err(failure);
        }
    };
    if bundle.plan.hooks.is_some()
        && let Some(record) = folder.record()?
        && let Err(failure) = after_start(&folder, &record)
    {
        // The failure that led here is the one that is told.
        drop(end(&folder, &record).and_then(|()| clean_up(folder, report)));
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(None) };
    let code = foreground::wait(&running.process, terminal, &signals);
    if !options.keep {
        clean_up(folder, report)?;
    }
    code.map(Some)
}
