//! How does an end-to-end test run? As a function of a [`World`], which holds what all tests share (a registry with the
//! busybox image) and starts what each has for itself (its daemons). When the function is done the world is taken down,
//! and what that finds left behind fails the test as much as the function itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use libtest_mimic::{Completion, Failed, Trial};

use crate::daemon::{Daemon, kept_logs};
use crate::fixture::push_busybox;
use crate::image::Pushed;
use crate::registry::Registry;

/// What the tests of one run share.
#[derive(Debug)]
pub struct Shared {
    /// The registry; tests push to repositories of their own.
    pub registry: Registry,
    /// `busybox:latest` in it.
    pub busybox: Pushed,
}

impl Shared {
    /// Starts the registry and fills it.
    pub fn start() -> Result<Arc<Self>> {
        let registry = Registry::start()?;
        let busybox = push_busybox(&registry)?;
        Ok(Arc::new(Self { registry, busybox }))
    }
}

/// What one test sees.
#[derive(Debug)]
pub struct World {
    /// The parts that are shared with other tests.
    pub shared: Arc<Shared>,
    daemons: Mutex<Vec<Daemon>>,
}

/// The reason why a test cannot say anything on this machine; counted and printed, never silent.
#[derive(Debug)]
struct Skip(String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// Ends a test as skipped.
pub fn skip(reason: impl Into<String>) -> Result<()> {
    Err(Skip(reason.into()).into())
}

impl World {
    /// Starts a daemon and pulls busybox into it; answers the daemon and the image's reference.
    pub fn daemon_with_busybox(&self) -> Result<(Daemon, String)> {
        let daemon = Daemon::start()?;
        let image = self.shared.busybox.reference.clone();
        daemon.ok(&["pull", "-q", &image])?;
        Ok((daemon, image))
    }

    /// Hands a daemon back, to be finished and looked at when the test is done.
    pub fn done(&self, daemon: Daemon) {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
    }
}

/// Makes a trial of a test function.
pub fn trial(module: &str, name: &str, shared: &Arc<Shared>, test: fn(&World) -> Result<()>) -> Trial {
    let shared = Arc::clone(shared);
    let module = module.rsplit("::").next().unwrap_or(module);
    Trial::ignorable_test(format!("{module}::{name}"), move || {
        run(World { shared, daemons: Mutex::default() }, test)
    })
}

fn run(world: World, test: fn(&World) -> Result<()>) -> Result<Completion, Failed> {
    let verdict = test(&world).and_then(|()| {
        let daemons = world.daemons.into_inner().unwrap_or_else(PoisonError::into_inner);
        daemons.into_iter().try_for_each(|daemon| daemon.finish().context("taking the daemon down"))
    });
    match verdict {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(Skip(reason)) => Ok(Completion::ignored_with(reason)),
            None => Err(format!("{error:?}\n{}", kept_logs()).into()),
        },
    }
}
