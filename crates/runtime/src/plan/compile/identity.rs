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

/// The ranges of a mount's option: `uids=0-1000-10#@10-2000-1;gids=0-1000-10`, each the first id in the filesystem, the
/// first on the host, and how many. After a `@` the second is the container's: `own` says what it is on the host.
pub(super) fn inline(field: &str, text: &str, own: Option<&IdMap>) -> Result<IdMap, PlanError> {
    let malformed = || PlanError::invalid(field, text.chars().take(80).collect::<String>());
    let one = |text: &str, own: &[IdRange]| {
        let (text, relative) = text.strip_prefix('@').map_or((text, false), |rest| (rest, true));
        let mut numbers = text.split('-').map(|number| number.parse::<u32>().ok());
        let range = match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Some(inside)), Some(Some(outside)), Some(Some(count)), None) => {
                IdRange { inside, outside, count }
            }
            _ => return Err(malformed()),
        };
        if relative { absolute(range, own).ok_or_else(malformed) } else { Ok(vec![range]) }
    };
    let list = |text: &str, own: &[IdRange]| {
        let ranges = text.split('#').map(|text| one(text, own)).collect::<Result<Vec<_>, _>>()?;
        checked(field, ranges.concat())
    };
    let (users, groups) = text.split_once(';').ok_or_else(malformed)?;
    let (Some(users), Some(groups)) = (users.strip_prefix("uids="), groups.strip_prefix("gids=")) else {
        return Err(malformed());
    };
    let (own_users, own_groups) = own.map_or((&[][..], &[][..]), |own| (&own.users, &own.groups));
    Ok(IdMap { users: list(users, own_users)?, groups: list(groups, own_groups)? })
}

/// A range of the container's ids as the host's: one for each of the container's ranges that it touches. `None`
/// when there is an id in it that the container has not got.
fn absolute(range: IdRange, own: &[IdRange]) -> Option<Vec<IdRange>> {
    let mut found = Vec::new();
    let mut rest = range;
    while rest.count > 0 {
        let (home, offset) = own.iter().find_map(|home| {
            let offset = rest.outside.checked_sub(home.inside)?;
            (offset < home.count).then_some((home, offset))
        })?;
        let count = rest.count.min(home.count - offset);
        found.push(IdRange { inside: rest.inside, outside: home.outside.checked_add(offset)?, count });
        let (inside, outside) = (rest.inside.checked_add(count)?, rest.outside.checked_add(count)?);
        rest = IdRange { inside, outside, count: rest.count - count };
    }
    (!found.is_empty()).then_some(found)
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
        let map = inline("", "uids=0-1000-10#10-5000-1;gids=0-7-1", None).expect("valid");
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
            assert!(matches!(inline("", bad, None), Err(PlanError::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn ranges_relative_to_the_containers_are_found_in_its_own() {
        let range = |inside, outside, count| IdRange { inside, outside, count };
        let users = vec![range(0, 0, 1), range(1, 2, 1000), range(1001, 9000, 5)];
        let own = IdMap { users, groups: vec![range(0, 100, 10)] };
        let map = |text: &str| inline("", text, Some(&own));
        let read = map("uids=@1-3-10#20-7000-1;gids=@0-2-8").expect("valid");
        assert_eq!(
            (read.users_text(), read.groups_text()),
            ("1 4 10\n20 7000 1\n".into(), "0 102 8\n".into())
        );
        let split = map("uids=@0-0-1006;gids=0-0-1").expect("a range over three of the container's");
        assert_eq!(split.users_text(), "0 0 1\n1 2 1000\n1001 9000 5\n");
        for beyond in ["uids=@0-0-1007;gids=0-0-1", "uids=@0-2000-1;gids=0-0-1", "uids=@0-0-0;gids=0-0-1"] {
            assert!(matches!(map(beyond), Err(PlanError::Invalid { .. })), "{beyond}");
        }
        assert!(inline("", "uids=@0-0-1;gids=0-0-1", None).is_err(), "there are none to be relative to");
    }
}
