//! Whose ids a container's users and groups are on the host (user_namespaces(7)): the same, a range that the daemon
//! gives it, or mappings of the caller's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ID_MAPPINGS_MAX, USER_NAMESPACE_IDS};

/// The user namespace of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum UserNamespace {
    /// The host's: root inside is root outside.
    #[default]
    Host,
    /// One of its own, over a range of ids that no other container has.
    Auto {
        /// How many ids, counted from 0 inside.
        count: u32,
        /// The first one on the host; `None` until the daemon has given the range.
        first: Option<u32>,
    },
    /// One of its own, with these mappings.
    Mapped {
        /// The users'.
        users: Vec<IdMapping>,
        /// The groups'.
        groups: Vec<IdMapping>,
    },
}

impl UserNamespace {
    /// A range that is still to be given, of the usual size.
    pub fn auto() -> Self {
        Self::Auto { count: USER_NAMESPACE_IDS, first: None }
    }

    /// Whether it is the container's own.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Host => false,
            Self::Auto { .. } | Self::Mapped { .. } => true,
        }
    }

    /// The users' mappings; empty for the host's, and for a range that is still to be given.
    pub fn users(&self) -> Vec<IdMapping> {
        match self {
            Self::Host | Self::Auto { first: None, .. } => Vec::new(),
            Self::Auto { count, first: Some(first) } => {
                vec![IdMapping { inside: 0, outside: *first, count: *count }]
            }
            Self::Mapped { users, .. } => users.clone(),
        }
    }

    /// The groups' mappings.
    pub fn groups(&self) -> Vec<IdMapping> {
        match self {
            Self::Host | Self::Auto { .. } => self.users(),
            Self::Mapped { groups, .. } => groups.clone(),
        }
    }

    /// The user and the group on the host that root inside is; the host's root without mappings.
    pub fn root(&self) -> Option<(u32, u32)> {
        if self.is_private() {
            Some((outside(&self.users(), 0)?, outside(&self.groups(), 0)?))
        } else {
            Some((0, 0))
        }
    }
}

/// A run of ids inside and the run of as many outside that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdMapping {
    /// The first id in the container.
    pub inside: u32,
    /// The first id on the host.
    pub outside: u32,
    /// How many; at least 1.
    pub count: u32,
}

/// The id on the host that `inside` is, if it is mapped.
pub fn outside(mappings: &[IdMapping], inside: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = inside.checked_sub(mapping.inside).filter(|offset| *offset < mapping.count)?;
        mapping.outside.checked_add(offset)
    })
}

impl IdMapping {
    /// Whether some id on the host is of both this mapping and the `count` ids from `first` on.
    pub fn overlaps_outside(&self, first: u32, count: u32) -> bool {
        overlap((self.outside, self.count), (first, count))
    }
}

fn overlap(one: (u32, u32), other: (u32, u32)) -> bool {
    let end = |(first, count): (u32, u32)| u64::from(first) + u64::from(count);
    u64::from(one.0) < end(other) && u64::from(other.0) < end(one)
}

/// Checks the mappings of one kind of id: the kernel takes them as a whole or not at all, and does not say why.
pub fn check_mappings(mappings: &[IdMapping]) -> Result<(), IdMappingError> {
    if mappings.len() > ID_MAPPINGS_MAX {
        return Err(IdMappingError::TooMany);
    }
    for (index, mapping) in mappings.iter().enumerate() {
        // 4294967295 stands for no id at all (setresuid(2)).
        let fits = |first: u32| first.checked_add(mapping.count).is_some();
        if mapping.count == 0 || !fits(mapping.inside) || !fits(mapping.outside) {
            return Err(IdMappingError::Range { mapping: *mapping });
        }
        for other in &mappings[..index] {
            if overlap((mapping.inside, mapping.count), (other.inside, other.count))
                || mapping.overlaps_outside(other.outside, other.count)
            {
                return Err(IdMappingError::Overlap { mapping: *mapping, other: *other });
            }
        }
    }
    if outside(mappings, 0).is_none() {
        return Err(IdMappingError::NoRoot);
    }
    Ok(())
}

/// Why mappings cannot be a container's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdMappingError {
    /// It is not three numbers.
    #[error("{text:?} is not of the form INSIDE:OUTSIDE:COUNT, such as 0:100000:65536")]
    Form {
        /// What was given.
        text: String,
    },
    /// The kernel takes no more (user_namespaces(7)).
    #[error("more than {ID_MAPPINGS_MAX} mappings")]
    TooMany,
    /// It is empty, or runs beyond the last id.
    #[error("mapping {mapping} is empty or ends beyond id 4294967294")]
    Range {
        /// Which.
        mapping: IdMapping,
    },
    /// An id would be two, or two ids one.
    #[error("mapping {mapping} overlaps {other}")]
    Overlap {
        /// The later one.
        mapping: IdMapping,
        /// The one before.
        other: IdMapping,
    },
    /// A container's root must be somebody: its mounts and terminals are root's.
    #[error("no mapping has id 0 inside, the container's root")]
    NoRoot,
}

impl fmt::Display for IdMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

impl FromStr for IdMapping {
    type Err = IdMappingError;

    fn from_str(text: &str) -> Result<Self, IdMappingError> {
        let form = || IdMappingError::Form { text: text.chars().take(160).collect() };
        let mut numbers = text.split(':').map(|part| {
            // `+5` is a number for parse.
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|_| digits).ok_or_else(form)
        });
        let mut next = || numbers.next().ok_or_else(form)?;
        let mapping = Self { inside: next()?, outside: next()?, count: next()? };
        if numbers.next().is_some() { Err(form()) } else { Ok(mapping) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(texts: &[&str]) -> Vec<IdMapping> {
        texts.iter().map(|text| text.parse().expect("well formed")).collect()
    }

    #[test]
    fn a_mapping_is_three_numbers_and_nothing_else() {
        assert_eq!(mappings(&["0:100000:65536"]), [IdMapping { inside: 0, outside: 100_000, count: 65536 }]);
        assert_eq!(mappings(&["1:2:3"])[0].to_string(), "1:2:3");
        for text in ["", "0", "0:1", "0:1:2:3", "a:1:2", "0:-1:2", "0:+1:2", "0:1:4294967296", "0: 1:2"] {
            assert!(matches!(text.parse::<IdMapping>(), Err(IdMappingError::Form { .. })), "{text}");
        }
    }

    #[test]
    fn what_the_kernel_would_refuse_without_a_reason_is_refused_with_one() {
        let check = |texts: &[&str]| check_mappings(&mappings(texts));
        assert_eq!(check(&["0:1000:1", "1:100000:65535"]), Ok(()));
        assert!(matches!(check(&["0:1000:0"]), Err(IdMappingError::Range { .. })));
        assert!(matches!(check(&["0:4294967290:6"]), Err(IdMappingError::Range { .. })));
        assert_eq!(check(&["0:4294967290:5"]), Ok(()));
        assert!(matches!(check(&["0:1000:10", "9:5000:1"]), Err(IdMappingError::Overlap { .. })));
        assert!(matches!(check(&["0:1000:10", "10:1009:1"]), Err(IdMappingError::Overlap { .. })));
        assert_eq!(check(&["0:1000:10", "10:1010:1"]), Ok(()));
        assert_eq!(check(&["1:1000:10"]), Err(IdMappingError::NoRoot));
        let many: Vec<_> =
            (0..341).map(|id| IdMapping { inside: id, outside: 1000 + id, count: 1 }).collect();
        assert_eq!(check_mappings(&many), Err(IdMappingError::TooMany));
        assert_eq!(check_mappings(&many[..340]), Ok(()));
    }

    #[test]
    fn a_range_of_its_own_maps_users_and_groups_alike() {
        let given = UserNamespace::Auto { count: 10, first: Some(500) };
        assert_eq!((given.users(), given.groups()), (mappings(&["0:500:10"]), mappings(&["0:500:10"])));
        assert_eq!(
            (given.root(), outside(&given.users(), 9), outside(&given.users(), 10)),
            (Some((500, 500)), Some(509), None)
        );
        assert_eq!((UserNamespace::auto().root(), UserNamespace::Host.root()), (None, Some((0, 0))));
        assert!(UserNamespace::auto().is_private() && !UserNamespace::Host.is_private());
    }
}
