//! What a container uses, in docker's words: one row of `stats`, of two readings of which the difference is a rate.

use gantry_api::containers::v1::ContainerStats;
use gantry_api::convert::duration_since_epoch_ns;
use serde_json::{Value, json};

use super::bytes::{binary, decimal};

/// One row. Without a reading before there is no rate yet; `machine_bytes` stands for a limit that is not there.
pub(crate) fn row(
    name: &str,
    id: &str,
    before: Option<&ContainerStats>,
    now: &ContainerStats,
    machine_bytes: u64,
) -> Value {
    let memory = now.memory.clone().unwrap_or_default();
    let limit = memory.limit_bytes.unwrap_or(machine_bytes).min(machine_bytes);
    let used = memory.working_set_bytes;
    let interfaces = &now.network_interfaces;
    let received = interfaces.iter().map(|interface| interface.received_bytes).sum();
    let sent = interfaces.iter().map(|interface| interface.sent_bytes).sum();
    let read = now.block_devices.iter().map(|device| device.read_bytes).sum();
    let written = now.block_devices.iter().map(|device| device.write_bytes).sum();
    json!({
        "Container": id, "ID": id, "Name": name,
        "CPUPerc": per_cent(processor_share(before, now)),
        "MemUsage": format!("{} / {}", binary(used), binary(limit)),
        "MemPerc": per_cent(share(used.into(), limit.into())),
        "NetIO": format!("{} / {}", decimal(received), decimal(sent)),
        "BlockIO": format!("{} / {}", decimal(read), decimal(written)),
        "PIDs": now.pids.unwrap_or_default().current.to_string(),
    })
}

/// A row for a container that nothing is known of.
pub(crate) fn unknown(name: &str, id: &str) -> Value {
    json!({
        "Container": id, "ID": id, "Name": name, "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--",
        "NetIO": "-- / --", "BlockIO": "-- / --", "PIDs": "--",
    })
}

/// The header above a field.
pub(crate) fn header(field: &str) -> String {
    match field {
        "ID" => "CONTAINER ID".into(),
        "CPUPerc" => "CPU %".into(),
        "MemUsage" => "MEM USAGE / LIMIT".into(),
        "MemPerc" => "MEM %".into(),
        "NetIO" => "NET I/O".into(),
        "BlockIO" => "BLOCK I/O".into(),
        other => other.to_uppercase(),
    }
}

/// Processor time by the time that went by, in hundredths of a per cent of one processor.
fn processor_share(before: Option<&ContainerStats>, now: &ContainerStats) -> u128 {
    let Some(before) = before else { return 0 };
    let time = |stats: &ContainerStats| stats.time.as_ref().map_or(0, duration_since_epoch_ns);
    let usage = |stats: &ContainerStats| stats.cpu.as_ref().map_or(0, |cpu| cpu.usage_ns);
    let elapsed = u128::try_from(time(now).saturating_sub(time(before))).unwrap_or_default();
    share(usage(now).saturating_sub(usage(before)).into(), elapsed)
}

fn share(part: u128, whole: u128) -> u128 {
    (part * 10_000).checked_div(whole).unwrap_or_default()
}

fn per_cent(hundredths: u128) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_api::containers::v1::{CpuStats, MemoryStats};

    fn stats(seconds: i64, usage_ns: u64) -> ContainerStats {
        ContainerStats {
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            cpu: Some(CpuStats { usage_ns, ..CpuStats::default() }),
            memory: Some(MemoryStats { working_set_bytes: 1 << 20, ..MemoryStats::default() }),
            ..ContainerStats::default()
        }
    }

    #[test]
    fn a_rate_is_the_difference_of_two_readings() {
        let (before, now) = (stats(10, 1_000_000_000), stats(12, 4_000_000_000));
        let shown = row("web", "1f", Some(&before), &now, 4 << 20);
        assert_eq!((&shown["CPUPerc"], &shown["MemPerc"]), (&json!("150.00%"), &json!("25.00%")));
        assert_eq!(shown["MemUsage"], "1.00MiB / 4.00MiB");
        assert_eq!(row("web", "1f", None, &now, 0)["CPUPerc"], "0.00%");
    }
}
