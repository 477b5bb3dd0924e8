//! How long does a test wait, and for what? For a condition with a deadline, never for a time to pass: a slow machine
//! makes a test slower, not wrong.
//!
//! Deadlines are written for the machine of a developer; an emulated one (the cgroup v2 machine) multiplies them by
//! `GANTRY_TEST_SLOWNESS`.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// By how much deadlines are stretched: 1 on real hardware.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    std::env::var("GANTRY_TEST_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
});

/// A deadline of so many seconds, stretched on slow machines.
#[must_use]
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count) * *SLOWNESS
}

/// Whether deadlines are stretched, which also means that speed cannot be judged here.
#[must_use]
pub fn machine_is_slow() -> bool {
    *SLOWNESS > 1
}

/// Asks `probe` until it has an answer; fails when `limit` is over, naming `what` was waited for.
pub fn until<T>(
    what: impl Display,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `holds` is true.
pub fn until_true(
    what: impl Display,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(holds()?.then_some(())))
}
