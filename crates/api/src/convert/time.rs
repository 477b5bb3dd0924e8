//! Points in time: nanoseconds since the epoch here, `google.protobuf.Timestamp` on the wire.

use prost_types::Timestamp;

const NS: i64 = 1_000_000_000;

/// A timestamp from nanoseconds since the epoch.
pub fn timestamp(unix_ns: i64) -> Timestamp {
    // Always less than a billion, so it fits.
    let nanos = i32::try_from(unix_ns.rem_euclid(NS)).unwrap_or_default();
    Timestamp { seconds: unix_ns.div_euclid(NS), nanos }
}

/// Nanoseconds since the epoch; what does not fit becomes the nearest that does.
pub fn duration_since_epoch_ns(timestamp: &Timestamp) -> i64 {
    timestamp.seconds.saturating_mul(NS).saturating_add(i64::from(timestamp.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_reads_back_before_and_after_the_epoch() {
        for ns in [0, 1, -1, NS, -NS - 1, i64::MAX, i64::MIN + NS] {
            assert_eq!(duration_since_epoch_ns(&timestamp(ns)), ns);
        }
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_999 });
    }
}
