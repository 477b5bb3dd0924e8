//! The mappings of user namespaces and of id-mapped mounts, checked: ranges that overlap or run over the end
//! would be refused by the kernel only when half of the container stands.

use oci_spec::runtime::LinuxIdMapping;

use crate::plan::{IdMap, IdRange, PlanError};

/// Lines that the kernel takes in a mapping.
const RANGES_MAX: usize = 340;

/// Both mappings of one place in the spec; `None` when neither is there.
pub(super) fn map(
    field: &str,
    users: Option<&[LinuxIdMapping]>,
    groups: Option<&[LinuxIdMapping]>,
) -> Result<Option<IdMap>, PlanError> {
    let users = ranges(&format!("{field}uidMappings"), users.unwrap_or_default())?;
    let groups = ranges(&format!("{field}gidMappings"), groups.unwrap_or_default())?;
    match (users.is_empty(), groups.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(IdMap { users, groups })),
        (true, false) => Err(PlanError::invalid(format!("{field}uidMappings"), "none beside gidMappings")),
        (false, true) => Err(PlanError::invalid(format!("{field}gidMappings"), "none beside uidMappings")),
    }
}

/// The ranges of a mount's option: `uids=0-1000-10#10-2000-1;gids=0-1000-10`, each the first id in the filesystem, the
/// first on the host, and how many. Ranges that are relative to the container's own (`@`) are refused.
pub(super) fn inline(field: &str, text: &str) -> Result<IdMap, PlanError> {
    let malformed = || PlanError::invalid(field, text.chars().take(80).collect::<String>());
    let list = |text: &str| {
        let one = |text: &str| {
            let mut numbers = text.split('-').map(|number| number.parse::<u32>().ok());
            match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
                (Some(Some(inside)), Some(Some(outside)), Some(Some(count)), None) => {
                    Ok(IdRange { inside, outside, count })
                }
                _ => Err(malformed()),
            }
        };
        text.split('#').map(one).collect::<Result<Vec<_>, _>>().and_then(|ranges| checked(field, ranges))
    };
    let (users, groups) = text.split_once(';').ok_or_else(malformed)?;
    let (Some(users), Some(groups)) = (users.strip_prefix("uids="), groups.strip_prefix("gids=")) else {
        return Err(malformed());
    };
    if text.contains('@') {
        return Err(PlanError::unsupported(format!("{field} with ranges relative to the container's")));
    }
    Ok(IdMap { users: list(users)?, groups: list(groups)? })
}

fn ranges(field: &str, list: &[LinuxIdMapping]) -> Result<Vec<IdRange>, PlanError> {
    let to_range = |one: &LinuxIdMapping| IdRange {
        inside: one.container_id(),
        outside: one.host_id(),
        count: one.size(),
    };
    checked(field, list.iter().map(to_range).collect())
}

fn checked(field: &str, ranges: Vec<IdRange>) -> Result<Vec<IdRange>, PlanError> {
    if ranges.len() > RANGES_MAX {
        return Err(PlanError::invalid(field, format!("{} of them", ranges.len())));
    }
    for side in [|range: &IdRange| range.inside, |range: &IdRange| range.outside] {
        let mut ends: Vec<_> = ranges.iter().map(|range| (side(range), range.count)).collect();
        ends.sort_unstable();
        let mut free_from = 0_u64;
        for (first, count) in ends {
            let end = u64::from(first) + u64::from(count);
            if count == 0 || u64::from(first) < free_from || end > u64::from(u32::MAX) {
                return Err(PlanError::invalid(field, format!("{count} from {first}")));
            }
            free_from = end;
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    fn one(inside: u32, outside: u32, count: u32) -> LinuxIdMapping {
        let builder = LinuxIdMappingBuilder::default();
        builder.container_id(inside).host_id(outside).size(count).build().expect("a mapping")
    }

    #[test]
    fn ranges_that_overlap_are_empty_or_run_over_are_refused() {
        let whole = [one(0, 1000, 10), one(10, 5000, 10)];
        assert!(map("", Some(&whole), Some(&whole)).expect("valid").is_some());
        assert_eq!(map("", None, None), Ok(None));
        for bad in [
            vec![one(0, 0, 0)],
            vec![one(0, 1000, 10), one(9, 5000, 1)],
            vec![one(0, 1000, 10), one(10, 1009, 1)],
            vec![one(1, 0, u32::MAX)],
        ] {
            assert!(map("", Some(&bad), Some(&whole)).is_err(), "{bad:?}");
        }
        assert!(map("", Some(&whole), None).is_err(), "one without the other");
    }

    #[test]
    fn ranges_of_an_option_are_read_and_checked_like_the_others() {
        let map = inline("", "uids=0-1000-10#10-5000-1;gids=0-7-1").expect("valid");
        assert_eq!(map.users_text(), "0 1000 10\n10 5000 1\n");
        assert_eq!(map.groups_text(), "0 7 1\n");
        for bad in [
            "",
            "uids=0-1-1",
            "gids=0-1-1;uids=0-1-1",
            "uids=0-1;gids=0-1-1",
            "uids=0-1-1-1;gids=0-1-1",
            "uids=a-1-1;gids=0-1-1",
            "uids=0-1-0;gids=0-1-1",
            "uids=0-1-10#5-100-1;gids=0-1-1",
        ] {
            assert!(matches!(inline("", bad), Err(PlanError::Invalid { .. })), "{bad}");
        }
        let relative = inline("", "uids=@0-1-1;gids=0-1-1");
        assert!(matches!(relative, Err(PlanError::Unsupported { .. })));
    }
}
