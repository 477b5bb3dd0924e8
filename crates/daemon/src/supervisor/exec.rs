//! Further processes in a running container. Each is known from its start until the container ends, so that
//! a client can ask how it ended after the stream that started it is gone.

use std::collections::HashMap;

use gantry_api::shim::v1::{ExecRequest, Exited, ProcessState, Stdio};
use gantry_types::{ExecId, Exit, ProcessOptions};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::spec::Compiled;
use super::{Streams, Supervisor, TerminalSize, stream_pair};
use crate::error::Error;
use crate::tables::EventKind;

/// One exec as it is now.
#[derive(Debug, Clone)]
pub(crate) struct ExecState {
    pub id: ExecId,
    pub pid: u32,
    pub started_unix_ns: i64,
    pub terminal: bool,
    /// Empty for one that was found after the daemon was started again.
    pub args: Vec<String>,
    pub exit: Option<Exit>,
}

/// A started exec: what it is, its streams when they were asked for, and its end.
#[derive(Debug)]
pub(crate) struct StartedExec {
    pub state: ExecState,
    pub stream: Option<UnixStream>,
    pub ended: watch::Receiver<ExecState>,
}

/// By id.
pub(super) type Execs = HashMap<ExecId, watch::Sender<ExecState>>;

impl Supervisor {
    pub(super) async fn exec(
        &mut self,
        process: ProcessOptions,
        streams: Option<Streams>,
        size: Option<TerminalSize>,
    ) -> Result<StartedExec, Error> {
        let client = self.running_client()?;
        let alive = self.execs.values().filter(|exec| exec.borrow().exit.is_none()).count();
        if alive >= gantry_types::EXECS_MAX {
            return Err(Error::TooManyExecs { name: self.record.name.clone() });
        }
        let id = ExecId::from_random(&rand::random());
        let (plan, foreign_process) = match self.daemon.compile_exec(&self.record, &process).await? {
            Compiled::Plan(plan) => (plan, Vec::new()),
            Compiled::Foreign(process) => (Vec::new(), process),
        };
        let stdio = Stdio {
            terminal: process.terminal,
            stdin_open: process.stdin_open,
            console: size.map(Into::into),
        };
        let (stream, descriptor) = match streams {
            Some(_) => stream_pair().map(|(ours, theirs)| (Some(ours), Some(theirs)))?,
            None => (None, None),
        };
        let request = ExecRequest {
            exec_id: id.to_string(),
            plan,
            stdio: Some(stdio),
            attach: streams.map(|streams| streams.request(Some(&id))),
            foreign_process,
        };
        let started = client.exec(request, descriptor).await?;
        let state = ExecState {
            id: id.clone(),
            pid: started.pid,
            started_unix_ns: started.started_at_unix_ns,
            terminal: process.terminal,
            args: process.args,
            exit: None,
        };
        self.tell_event(EventKind::ContainerExecStart, [("exec_id".to_owned(), id.to_string())].into());
        let (sender, ended) = watch::channel(state.clone());
        self.forget_old_execs();
        self.execs.insert(id, sender);
        Ok(StartedExec { state, stream, ended })
    }

    pub(super) fn list_execs(&self) -> Vec<ExecState> {
        let mut execs: Vec<ExecState> = self.execs.values().map(|exec| exec.borrow().clone()).collect();
        execs.sort_by_key(|exec| exec.started_unix_ns);
        execs
    }

    pub(super) fn exec_ended(&mut self, exited: &Exited) {
        let Some(exec) = exited.exec_id.parse().ok().and_then(|id: ExecId| self.execs.get(&id)) else {
            return;
        };
        let exit = Exit { code: exited.exit_code, at_unix_ns: exited.at_unix_ns, oom_killed: false };
        exec.send_modify(|state| state.exit = Some(exit));
        let more =
            [("exec_id".to_owned(), exited.exec_id.clone()), ("exit_code".to_owned(), exit.code.to_string())];
        self.tell_event(EventKind::ContainerExecExit, more.into());
    }

    /// The container ended, and every exec with it.
    pub(super) fn execs_lost(&mut self) {
        self.execs.clear();
    }

    /// Takes what a shim from before the daemon's start tells of its execs.
    pub(super) fn take_execs(&mut self, states: Vec<ProcessState>) {
        for state in states {
            let Ok(id) = state.exec_id.parse::<ExecId>() else { continue };
            let exit = state.exit.map(|exited| Exit {
                code: exited.exit_code,
                at_unix_ns: exited.at_unix_ns,
                oom_killed: exited.oom_killed,
            });
            let state = ExecState {
                id: id.clone(),
                pid: state.pid,
                started_unix_ns: state.started_at_unix_ns,
                terminal: state.terminal,
                args: Vec::new(),
                exit,
            };
            self.execs.entry(id).or_insert_with(|| watch::channel(state.clone()).0).send_replace(state);
        }
    }

    /// Keeps the table bounded: of the ended ones, the oldest go first.
    fn forget_old_execs(&mut self) {
        if self.execs.len() < gantry_types::EXECS_MAX * 2 {
            return;
        }
        let oldest = self.list_execs().into_iter().find(|exec| exec.exit.is_some());
        if let Some(oldest) = oldest {
            self.execs.remove(&oldest.id);
        }
    }
}
