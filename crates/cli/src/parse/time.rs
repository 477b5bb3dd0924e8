//! Points in time and lengths of time as people write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use prost_types::Timestamp as Wire;

/// A point in time: RFC 3339, a date and time of the local zone, seconds since the epoch with a fraction, or a
/// length of time before `now` such as `10m` or `1h30m`.
pub(crate) fn point(text: &str, now: Timestamp) -> Result<Wire, String> {
    let refused = || format!("{text:?} is not a time such as 2026-01-02T03:04:05Z, 1767323045.5 or 10m");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(wire(time));
    }
    if let Some(length) = length(text) {
        return now.checked_sub(length).map(wire).map_err(|_| refused());
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains('-') {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = fraction.bytes().all(|b| b.is_ascii_digit());
        let nanos = format!("{fraction:0<9.9}").parse::<i32>();
        return match (seconds.parse::<i64>(), nanos) {
            (Ok(seconds), Ok(nanos)) if digits => Ok(Wire { seconds, nanos }),
            _ => Err(refused()),
        };
    }
    let local = text.parse::<DateTime>().map_err(|_| refused())?;
    TimeZone::system().to_timestamp(local).map(wire).map_err(|_| refused())
}

/// A length of time in the form `1h30m`, `90s`, `1.5s`, `250ms`; a bare number is none.
pub(crate) fn length(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let part = SignedDuration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Whole seconds as milliseconds, as docker's `--timeout` has them; -1 is for ever.
pub(crate) fn seconds_ms(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a number of seconds, or -1");
    match text.parse::<i64>().map_err(|_| refused())? {
        -1 => Ok(u64::MAX),
        seconds => u64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)).ok_or_else(refused),
    }
}

fn wire(time: Timestamp) -> Wire {
    // Before the epoch jiff counts both parts backwards; the wire's nanoseconds count forwards.
    gantry_api::convert::timestamp(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_absolute_or_relative() {
        let now = Timestamp::from_second(10_000).expect("in range");
        let at = |text: &str| point(text, now).map(|wire| (wire.seconds, wire.nanos));
        assert_eq!(at("1970-01-01T00:00:05.5Z"), Ok((5, 500_000_000)));
        assert_eq!(at("1970-01-01T01:00:05+01:00"), Ok((5, 0)));
        assert_eq!(at("5"), Ok((5, 0)));
        assert_eq!(at("5.25"), Ok((5, 250_000_000)));
        assert_eq!(at("1h30m"), Ok((10_000 - 5_400, 0)));
        for text in ["", "x", "5x", "1.x", "2026-13-01", "yesterday"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_length_has_units() {
        assert_eq!(length("1.5s"), Some(SignedDuration::from_millis(1500)));
        assert_eq!(length("1m250ms"), Some(SignedDuration::from_millis(60_250)));
        assert_eq!((length("5"), length(""), length("5y")), (None, None, None));
    }

    #[test]
    fn a_timeout_is_in_seconds() {
        assert_eq!((seconds_ms("3"), seconds_ms("-1")), (Ok(3000), Ok(u64::MAX)));
        assert!(seconds_ms("-2").is_err() && seconds_ms("1s").is_err());
    }
}
