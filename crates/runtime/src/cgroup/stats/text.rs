//! The forms of the kernel's statistics files (kernel documentation, admin-guide/cgroup-v2, "Format"). What does
//! not parse is left out: a newer kernel may say more.

use std::collections::BTreeMap;

use super::{Pressure, Stall};

/// `name number` in every line.
pub(super) fn table(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// `head key=number key=number` in every line.
pub(super) fn nested(text: &str) -> impl Iterator<Item = (&str, BTreeMap<&str, u64>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let head = words.next()?;
        Some((head, words.filter_map(pair).collect()))
    })
}

/// `key=number`.
fn pair(word: &str) -> Option<(&str, u64)> {
    let (key, value) = word.split_once('=')?;
    Some((key, value.parse().ok()?))
}

/// `major:minor`.
pub(super) fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A pressure file.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
        let value =
            |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let per_cent = |name: &str| value(name)?.parse().ok();
        Some(Stall {
            avg10: per_cent("avg10")?,
            avg60: per_cent("avg60")?,
            avg300: per_cent("avg300")?,
            total_us: value("total")?.parse().ok()?,
        })
    };
    Some(Pressure { some: stall("some")?, full: stall("full") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_has_one_line_or_two() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=42\n";
        let pressure = pressure(text).expect("pressure");
        assert_eq!(pressure.some, Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total_us: 12345 });
        assert_eq!(pressure.full.expect("a second line").total_us, 42);
        assert_eq!(super::pressure("some avg10=1.50"), None);
    }

    #[test]
    fn lines_of_another_form_are_left_out() {
        let table = table("usage_usec 17\nnonsense\nuser_usec x\n");
        assert_eq!(table.into_iter().collect::<Vec<_>>(), [("usage_usec".to_owned(), 17)]);
        let found: Vec<_> = nested("8:0 rbytes=5 wbytes=6 x\n\n").collect();
        assert_eq!(found, [("8:0", [("rbytes", 5), ("wbytes", 6)].into())]);
    }
}
