//! Which of systemd's properties say what a plan's writes say (systemd.resource-control(5))? Told both ways, a limit stays
//! when systemd writes its unit's files anew. What has no property is not systemd's to write. Pure.

use super::SystemdError;
use super::wire::Value;
use crate::cgroup::{Folder, Version, Write};

/// A property's name and value.
pub(super) type Property = (&'static str, Value);

/// What systemd keeps a quota in: a hundredth of a processor. Others are rounded up, as by runc, so that nobody gets less.
const QUOTA_STEP_US: u64 = 10_000;
const SECOND_US: u64 = 1_000_000;
/// The kernel's period where none is said.
const PERIOD_US: u64 = 100_000;

/// The properties of the version 2 folder's writes, the last of each name.
pub(super) fn of(folders: &[Folder]) -> Result<Vec<Property>, SystemdError> {
    let mut properties: Vec<Property> = Vec::new();
    let writes = folders
        .iter()
        .filter(|folder| folder.version() == Version::Unified)
        .flat_map(|folder| &folder.writes);
    for write in writes {
        for property in of_write(write).ok_or_else(|| SystemdError::value(write))? {
            properties.retain(|(name, _)| *name != property.0);
            properties.push(property);
        }
    }
    Ok(properties)
}

fn of_write(write: &Write) -> Option<Vec<Property>> {
    let value = write.value.trim();
    let amount = |name| Some(vec![(name, Value::Number(amount(value)?))]);
    match write.file.as_str() {
        "memory.max" => amount("MemoryMax"),
        "memory.high" => amount("MemoryHigh"),
        "memory.low" => amount("MemoryLow"),
        "memory.min" => amount("MemoryMin"),
        "memory.swap.max" => amount("MemorySwapMax"),
        "pids.max" => amount("TasksMax"),
        "cpu.weight" => amount("CPUWeight"),
        // 0 is systemd's way to say idle; back from it is a weight.
        "cpu.idle" => Some(vec![("CPUWeight", Value::Number(if value == "1" { 0 } else { 100 }))]),
        "cpu.max" => quota(value),
        "cpuset.cpus" => Some(vec![("AllowedCPUs", Value::Bytes(bits(value)?))]),
        "cpuset.mems" => Some(vec![("AllowedMemoryNodes", Value::Bytes(bits(value)?))]),
        // Those of single devices are not systemd's unless it was told of them.
        "io.weight" => match value.strip_prefix("default ").unwrap_or(value).parse() {
            Ok(weight) => Some(vec![("IOWeight", Value::Number(weight))]),
            Err(_) => Some(Vec::new()),
        },
        _ => Some(Vec::new()),
    }
}

/// A number, or no limit.
fn amount(value: &str) -> Option<u64> {
    if value == "max" { Some(u64::MAX) } else { value.parse().ok() }
}

fn quota(value: &str) -> Option<Vec<Property>> {
    let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
    let period_us = if period.is_empty() { PERIOD_US } else { period.parse().ok().filter(|us| *us > 0)? };
    let per_second_us = match amount(quota)? {
        u64::MAX => u64::MAX,
        quota_us => {
            let exact = u128::from(quota_us) * u128::from(SECOND_US) / u128::from(period_us);
            u64::try_from(exact).ok()?.checked_next_multiple_of(QUOTA_STEP_US)?
        }
    };
    Some(vec![
        ("CPUQuotaPeriodUSec", Value::Number(period_us)),
        ("CPUQuotaPerSecUSec", Value::Number(per_second_us)),
    ])
}

/// A list like `0-2,4` as bits, the lowest first; an empty one takes the limit away. Its numbers were bounded when it
/// was compiled.
fn bits(list: &str) -> Option<Vec<u8>> {
    const NUMBER_MAX: usize = 8191;
    let mut bytes: Vec<u8> = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        let (first, end): (usize, usize) = (first.parse().ok()?, end.parse().ok()?);
        if end > NUMBER_MAX {
            return None;
        }
        for number in first..=end {
            if bytes.len() <= number / 8 {
                bytes.resize(number / 8 + 1, 0);
            }
            bytes[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(writes: &[(&str, &str)]) -> Vec<Folder> {
        let write = |(file, value): &(&str, &str)| Write {
            file: (*file).to_owned(),
            value: (*value).to_owned(),
            ..Write::default()
        };
        let writes = writes.iter().map(write).collect();
        vec![Folder { version: Version::Unified.into(), writes, ..Folder::default() }]
    }

    #[test]
    fn limits_are_properties_and_what_has_none_is_left_out() {
        let properties = of(&folders(&[
            ("memory.max", "1048576"),
            ("memory.swap.max", "max"),
            ("pids.max", "7"),
            ("cpu.weight", "100"),
            ("io.weight", "default 50"),
            ("io.max", "8:0 rbps=1"),
            ("cpuset.cpus", "0-1,9"),
            ("memory.oom.group", "1"),
        ]));
        let expected = [
            ("MemoryMax", Value::Number(1_048_576)),
            ("MemorySwapMax", Value::Number(u64::MAX)),
            ("TasksMax", Value::Number(7)),
            ("CPUWeight", Value::Number(100)),
            ("IOWeight", Value::Number(50)),
            ("AllowedCPUs", Value::Bytes(vec![3, 2])),
        ];
        assert_eq!(properties, Ok(expected.to_vec()));
    }

    #[test]
    fn a_quota_is_rounded_up_to_what_systemd_keeps() {
        for (value, period, per_second) in [
            ("50000 100000", 100_000, 500_000),
            ("50000", 100_000, 500_000),
            ("1001 100000", 100_000, 20_000),
            ("max 100000", 100_000, u64::MAX),
            ("30000 20000", 20_000, 1_500_000),
        ] {
            let expected = vec![
                ("CPUQuotaPeriodUSec", Value::Number(period)),
                ("CPUQuotaPerSecUSec", Value::Number(per_second)),
            ];
            assert_eq!(of(&folders(&[("cpu.max", value)])), Ok(expected), "{value}");
        }
        assert!(of(&folders(&[("cpu.max", "1 0")])).is_err());
    }

    #[test]
    fn the_last_word_of_a_property_counts() {
        let properties = of(&folders(&[("memory.max", "1"), ("memory.max", "2"), ("cpuset.cpus", "\n")]));
        let expected = vec![("MemoryMax", Value::Number(2)), ("AllowedCPUs", Value::Bytes(Vec::new()))];
        assert_eq!(properties, Ok(expected));
    }
}
