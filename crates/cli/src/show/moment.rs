//! Points in time for people: exact, or how long ago.

use jiff::Timestamp;
use prost_types::Timestamp as Wire;

/// `2026-01-02T03:04:05.678901234Z`, always with nine digits, so that it sorts as text.
pub(crate) fn rfc3339(time: &Wire) -> String {
    match Timestamp::new(time.seconds, time.nanos) {
        Ok(time) => format!("{time:.9}"),
        // Outside the years that a calendar has.
        Err(_) => format!("{}.{:09}", time.seconds, time.nanos),
    }
}

/// How long ago, without "ago": `5 minutes`.
pub(crate) fn since(time: &Wire, now: Timestamp) -> String {
    length(now.as_second().saturating_sub(time.seconds))
}

/// Seconds in docker's words: one unit, rounded down.
pub(crate) fn length(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        ..1 => "Less than a second".into(),
        1 => "1 second".into(),
        2..MINUTE => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        3600..7200 => "About an hour".into(),
        7200..172_800 => format!("{} hours", seconds / HOUR),
        172_800..1_209_600 => format!("{} days", seconds / DAY),
        1_209_600..5_184_000 => format!("{} weeks", seconds / (7 * DAY)),
        5_184_000..63_072_000 => format!("{} months", seconds / (30 * DAY)),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_always_has_nine_digits() {
        assert_eq!(rfc3339(&Wire { seconds: 0, nanos: 5 }), "1970-01-01T00:00:00.000000005Z");
        assert_eq!(rfc3339(&Wire { seconds: 1, nanos: 0 }), "1970-01-01T00:00:01.000000000Z");
    }

    #[test]
    fn a_length_has_one_unit() {
        for (seconds, text) in [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (600, "10 minutes"),
            (3600, "About an hour"),
            (90_000, "25 hours"),
            (200_000, "2 days"),
            (100_000_000, "3 years"),
        ] {
            assert_eq!(length(seconds), text);
        }
    }
}
