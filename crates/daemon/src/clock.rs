//! The only place where the daemon reads the time, so that everything that decides by it can be told.

use std::time::{Instant, SystemTime};

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the lint points to")]
pub(crate) fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A moment to measure a duration from.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the lint points to")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
