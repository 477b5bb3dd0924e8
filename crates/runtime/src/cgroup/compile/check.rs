//! Texts that become paths or kernel values: the group's path, lists of processors, names of files. Each is
//! checked by its form alone, never expanded.

use super::CgroupPlanError;

/// No processor or memory node has a higher number (the kernel's largest NR_CPUS).
const NUMBER_MAX: u32 = 8191;
/// Bytes of a list.
const LIST_BYTES_MAX: usize = 4096;
/// Bytes of a group's path.
const PATH_BYTES_MAX: usize = 1024;

/// The path without slashes at its ends.
pub(in crate::cgroup) fn group_path(path: &str) -> Result<String, CgroupPlanError> {
    let plain = |component: &str| {
        !component.is_empty()
            && component.len() <= 255
            && component != "."
            && component != ".."
            && component.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    let fail = || CgroupPlanError::Path { path: path.chars().take(80).collect() };
    let inside = path.strip_prefix('/').ok_or_else(fail)?;
    let fits = path.len() <= PATH_BYTES_MAX && inside.split('/').all(plain);
    if fits { Ok(inside.to_owned()) } else { Err(fail()) }
}

/// A list in the form of cpuset(7), `0-2,4`. The kernel checks that the machine has the numbers.
pub(super) fn list<'a>(field: &'static str, text: &'a str) -> Result<&'a str, CgroupPlanError> {
    let fail = |rule| CgroupPlanError::value(field, text, rule);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten().filter(|number| *number <= NUMBER_MAX)
    };
    if text.len() > LIST_BYTES_MAX {
        return Err(fail("the list is too long"));
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => {}
            (Some(_), Some(_)) => return Err(fail("a range goes upwards")),
            (None, _) | (_, None) => return Err(fail("it is a list such as 0-2,4 of numbers up to 8191")),
        }
    }
    Ok(text)
}

/// A size of huge pages as the kernel names its files: `2MB`, `1GB`.
pub(super) fn page_size(text: &str) -> Result<&str, CgroupPlanError> {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    let plain = number.is_some_and(|number| {
        (1..=6).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    if plain {
        Ok(text)
    } else {
        Err(CgroupPlanError::value("hugepageLimits.pageSize", text, "it is a size such as 2MB"))
    }
}

/// A file's name, of a controller and not of the group itself.
pub(super) fn unified_file(name: &str) -> Result<&str, CgroupPlanError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'));
    let of_controller = name
        .split_once('.')
        .is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty() && first != "cgroup");
    if plain && of_controller && name.len() <= 64 {
        Ok(name)
    } else {
        Err(CgroupPlanError::value("unified", name, "it is a controller's file such as memory.high"))
    }
}

/// A name that stands first in a line of values.
pub(super) fn word<'a>(field: &'static str, text: &'a str) -> Result<&'a str, CgroupPlanError> {
    let plain = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { Ok(text) } else { Err(CgroupPlanError::value(field, text, "it is one short word")) }
}

/// -1 for no limit, or an amount.
pub(super) fn amount(field: &'static str, value: i64, unlimited: &str) -> Result<String, CgroupPlanError> {
    match value {
        -1 => Ok(unlimited.to_owned()),
        0.. => Ok(value.to_string()),
        _ => Err(CgroupPlanError::value(field, value, "it is -1 or an amount")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_lead_nowhere_else() {
        assert_eq!(group_path("/gantry/default/1f").expect("good"), "gantry/default/1f");
        for path in [
            "",
            "/",
            "gantry/x",
            "/gantry/../x",
            "/gantry//x",
            "/gantry/x/",
            "/a b",
            "/a\nb",
            "/.",
            "system.slice:a:b",
        ] {
            assert!(group_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn absurd_lists_are_refused_at_once() {
        let long = "0,".repeat(1 << 20);
        let check = || {
            let begin = std::time::Instant::now();
            for good in ["0", "0-2,4", "0-8191"] {
                assert!(list("cpu.cpus", good).is_ok(), "{good}");
            }
            for bad in ["", "0-99999999999", "3-1", "0--1", "-1", "0,", "a", "0-1-2", " 0", &long] {
                assert!(list("cpu.cpus", bad).is_err(), "{bad:.20}");
            }
            begin.elapsed()
        };
        // The fastest of some: the machine may be busy with something else meanwhile.
        let fastest = (0..10).map(|_| check()).min().expect("ten");
        assert!(fastest < std::time::Duration::from_millis(10), "{fastest:?}");
    }

    #[test]
    fn unified_keys_are_files_of_controllers() {
        assert!(unified_file("memory.high").is_ok());
        for bad in ["cgroup.procs", "../x", "memory/high", "memory", ".x", "memory.", "a b.c"] {
            assert!(unified_file(bad).is_err(), "{bad}");
        }
    }
}
