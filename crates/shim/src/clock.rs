//! What time it is: the only place that asks. Wall time stamps logs and exits; the steady clock is for
//! deadlines. The RFC 3339 text is made here by hand, because a log line needs nothing else of a calendar.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a stamp: `2026-01-02T03:04:05.678901234Z`.
pub(crate) const STAMP_BYTES: usize = 30;

/// Nanoseconds since the epoch. A clock set before 1970 reads as the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the lint points to")]
pub(crate) fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The steady clock.
pub(crate) fn steady() -> Instant {
    Instant::now()
}

/// `unix_ns` as RFC 3339 in UTC with nine digits of a second. Years 1970 to 2262.
pub(crate) fn stamp(unix_ns: i64) -> [u8; STAMP_BYTES] {
    let ns = unix_ns.max(0).unsigned_abs();
    let seconds = ns / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], seconds / 3600 % 24);
    digits(&mut text[14..16], seconds / 60 % 60);
    digits(&mut text[17..19], seconds % 60);
    digits(&mut text[20..29], ns % 1_000_000_000);
    text
}

fn digits(into: &mut [u8], mut value: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a digit");
        value /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01. Days are counted from 0000-03-01, so that the leap
/// day is the last of its year; an era is the 400 years after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    let shifted = days + DAYS_TO_1970;
    let of_era = shifted % ERA;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + shifted / ERA * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_ns: i64) -> String {
        String::from_utf8(stamp(unix_ns).to_vec()).expect("ascii")
    }

    #[test]
    fn stamps_are_what_date_prints() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400_000_000_001), "2000-02-29T00:00:00.000000001Z");
        assert_eq!(text(1_709_251_199_999_999_999), "2024-02-29T23:59:59.999999999Z");
        assert_eq!(text(4_107_542_400_000_000_000), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(text(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(text(-5), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = civil(0);
        for day in 1..=146_097 {
            let (y, m, d) = civil(day);
            let next_day = (y, m) == (before.0, before.1) && d == before.2 + 1;
            let next_month = d == 1
                && before.2 >= 28
                && ((y, m) == (before.0, before.1 + 1) || (m == 1 && y == before.0 + 1));
            assert!(next_day || next_month, "day {day}: {before:?} then {:?}", (y, m, d));
            before = (y, m, d);
        }
        assert_eq!(before, (2370, 1, 1));
    }
}
