//! Whose ids a container's ids are: mappings of user namespaces, and of mounts.

/// A run of ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct IdRange {
    /// The first id inside, or in the filesystem of an id-mapped mount.
    #[prost(uint32, tag = "1")]
    pub inside: u32,
    /// The first id outside.
    #[prost(uint32, tag = "2")]
    pub outside: u32,
    /// How many; at least 1.
    #[prost(uint32, tag = "3")]
    pub count: u32,
}

/// The mappings of users and groups (user_namespaces(7)).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IdMap {
    /// Users.
    #[prost(message, repeated, tag = "1")]
    pub users: Vec<IdRange>,
    /// Groups.
    #[prost(message, repeated, tag = "2")]
    pub groups: Vec<IdRange>,
}

/// How a bind mount shows other ids than its files have.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MountIdMap {
    /// The mapping; absent is the container's own.
    #[prost(message, optional, tag = "1")]
    pub map: Option<IdMap>,
    /// Whether the mounts below the source are mapped too.
    #[prost(bool, tag = "2")]
    pub recursive: bool,
}

impl IdMap {
    /// The users as `/proc/<pid>/uid_map` takes them.
    pub(crate) fn users_text(&self) -> String {
        text(&self.users)
    }

    /// The groups as `/proc/<pid>/gid_map` takes them.
    pub(crate) fn groups_text(&self) -> String {
        text(&self.groups)
    }

    /// The user outside that `inside` is.
    pub(crate) fn outside_user(&self, inside: u32) -> Option<u32> {
        outside(&self.users, inside)
    }

    /// The group outside that `inside` is.
    pub(crate) fn outside_group(&self, inside: u32) -> Option<u32> {
        outside(&self.groups, inside)
    }
}

fn text(ranges: &[IdRange]) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
    ranges.iter().map(line).collect::<Vec<_>>().concat()
}

fn outside(ranges: &[IdRange], inside: u32) -> Option<u32> {
    ranges.iter().find_map(|range| {
        let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
        range.outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_its_range_or_nowhere() {
        let range = |inside, outside, count| IdRange { inside, outside, count };
        let users = vec![range(0, 100_000, 10), range(10, 5, 1), range(u32::MAX, u32::MAX, 1)];
        let map = IdMap { users, groups: Vec::new() };
        let found = [0, 9, 10, 11, u32::MAX].map(|inside| map.outside_user(inside));
        assert_eq!(found, [Some(100_000), Some(100_009), Some(5), None, Some(u32::MAX)]);
        assert_eq!(map.outside_group(0), None);
        assert_eq!(map.users_text(), "0 100000 10\n10 5 1\n4294967295 4294967295 1\n");
    }
}
