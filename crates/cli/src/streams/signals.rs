//! Signals while a container is in the foreground. Without a terminal they are passed on to it, as if it were a
//! child of the shell. With one, keys reach it as bytes, and a signal to this process ends only this process,
//! after the terminal is restored. Changes of the terminal's size are passed on.
//!
//! Once listened to, a signal never again ends the process by itself (tokio keeps its handlers): whoever waits for
//! something afterwards waits [`until_signalled`].

use gantry_api::containers::v1::container_service_client::ContainerServiceClient;
use gantry_api::containers::v1::{KillContainerRequest, TerminalSize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tonic::transport::Channel;

use super::terminal;
use crate::failure::Failure;

/// Which container gets this process's signals.
#[derive(Debug, Clone)]
pub(crate) struct SignalTarget {
    pub(crate) client: ContainerServiceClient<Channel>,
    pub(crate) namespace: String,
    pub(crate) container: String,
}

/// Signals that are passed on: every one that asks a programme for something.
const PASSED_ON: [SignalKind; 6] = [
    SignalKind::interrupt(),
    SignalKind::terminate(),
    SignalKind::hangup(),
    SignalKind::quit(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
];

/// Signals that end this process when its terminal is raw, or nobody is left to pass them on to.
const ENDING: [SignalKind; 4] =
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];

/// Waits for `work` after [`super::join`]; a signal that asks the process to end gives it up, with a shell's code for that.
pub(crate) async fn until_signalled(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut signals = Signals::listen_to(&ENDING, None)?;
    tokio::select! {
        done = work => done,
        ended = signals.next() => Err(Failure::silent(ended)),
    }
}

/// The signals listened to.
#[derive(Debug)]
pub(super) struct Signals {
    target: Option<SignalTarget>,
    listened: Vec<(SignalKind, Signal)>,
}

impl Signals {
    /// Listens. With a raw terminal nothing is passed on, and the ending ones end us in an orderly way.
    pub(super) fn listen(target: Option<SignalTarget>, raw: bool) -> Result<Self, Failure> {
        let kinds: &[SignalKind] = match (&target, raw) {
            (_, true) => &ENDING,
            (Some(_), false) => &PASSED_ON,
            (None, false) => &[],
        };
        Self::listen_to(kinds, target.filter(|_| !raw))
    }

    fn listen_to(kinds: &[SignalKind], target: Option<SignalTarget>) -> Result<Self, Failure> {
        let listened = kinds
            .iter()
            .map(|kind| Ok((*kind, signal(*kind)?)))
            .collect::<std::io::Result<_>>()
            .map_err(|error| Failure::io("cannot listen to signals", &error))?;
        Ok(Self { target, listened })
    }

    /// Passes signals on; completes with an exit code when one ends this process.
    pub(super) async fn next(&mut self) -> u8 {
        loop {
            let number = self.received().await;
            let Some(target) = &self.target else {
                return u8::try_from(128 + number).unwrap_or(u8::MAX);
            };
            let mut client = target.client.clone();
            let request = KillContainerRequest {
                namespace: target.namespace.clone(),
                container: target.container.clone(),
                signal: number.to_string(),
                ..KillContainerRequest::default()
            };
            // A container that ended meanwhile needs no signal; anything else shows in its stream.
            tokio::spawn(async move { client.kill_container(request).await });
        }
    }

    async fn received(&mut self) -> i32 {
        std::future::poll_fn(|cx| {
            for (kind, signal) in &mut self.listened {
                if signal.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(kind.as_raw_value());
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Changes of the terminal's size.
#[derive(Debug)]
pub(super) struct Resized(Option<Signal>);

impl Resized {
    pub(super) fn listen(terminal: bool) -> Result<Self, Failure> {
        if !terminal {
            return Ok(Self(None));
        }
        let signal = signal(SignalKind::window_change())
            .map_err(|error| Failure::io("cannot listen to signals", &error))?;
        Ok(Self(Some(signal)))
    }

    /// The next size that differs from none.
    pub(super) async fn next(&mut self) -> TerminalSize {
        loop {
            match &mut self.0 {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            };
            if let Some(size) = terminal::size() {
                return size;
            }
        }
    }
}
