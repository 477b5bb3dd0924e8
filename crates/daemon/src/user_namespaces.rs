//! Which ids of the host does a container in a user namespace of its own get? A range of the pool, which is a row from
//! the transaction that records the container to the one that removes it, so that no two containers ever have the same;
//! or the caller's mappings, which keep off the pool. Nothing of the image decides: its user database is not read here.

use gantry_store::{Page, Transaction};
use gantry_types::{Class, Classified, IdMapping, UserNamespace};

use crate::config::{Containers, DefaultUserNamespace, IdPool};
use crate::error::Error;
use crate::tables::{ContainerRecord, ID_RANGES, IdRangeRow};

/// Why a container cannot have the user namespace that it asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserNamespaceProblem {
    #[error("the pool of user ids {pool} has no {count} free ones side by side")]
    Exhausted { pool: IdPool, count: u32 },
    #[error("mapping {mapping} has ids of the daemon's own pool {pool}")]
    OfPool { mapping: IdMapping, pool: IdPool },
}

impl Classified for UserNamespaceProblem {
    fn class(&self) -> Class {
        match self {
            Self::Exhausted { .. } => Class::ResourceExhausted,
            Self::OfPool { .. } => Class::InvalidArgument,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "USER_IDS_EXHAUSTED",
            Self::OfPool { .. } => "USER_IDS_RESERVED",
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Exhausted { .. } => {
                "remove containers, ask for fewer ids (--userns auto:size=N), or enlarge containers.userns_pool of the \
                 daemon's configuration"
                    .into()
            }
            Self::OfPool { pool, .. } => format!(
                "choose ids outside of {} to {}, or --userns auto",
                pool.first,
                u64::from(pool.first) + u64::from(pool.size) - 1
            ),
        })
    }
}

/// What a container that asks for nothing has, and whether it may have what it asks for.
pub(crate) fn resolve(
    config: &Containers,
    asked: &mut Option<UserNamespace>,
) -> Result<(), UserNamespaceProblem> {
    let default = || match config.default_userns {
        DefaultUserNamespace::Host => UserNamespace::Host,
        DefaultUserNamespace::Auto => UserNamespace::auto(),
    };
    let pool = config.userns_pool;
    match asked.get_or_insert_with(default) {
        UserNamespace::Host | UserNamespace::Auto { .. } => Ok(()),
        UserNamespace::Mapped { users, groups } => {
            let of_pool = |mapping: &&IdMapping| mapping.overlaps_outside(pool.first, pool.size);
            match users.iter().chain(groups.iter()).find(of_pool) {
                Some(mapping) => Err(UserNamespaceProblem::OfPool { mapping: *mapping, pool }),
                None => Ok(()),
            }
        }
    }
}

/// Gives a new container its range, if it is to have one.
pub(crate) fn take(
    tx: &mut Transaction<'_>,
    pool: IdPool,
    container: &mut ContainerRecord,
) -> Result<(), Error> {
    let Some(UserNamespace::Auto { count, first }) = &mut container.options.user_namespace else {
        return Ok(());
    };
    let rows = tx.scan(&ID_RANGES, &Page::all());
    let taken = rows.iter().map(|(first, row)| (*first, u64::from(row.value.count)));
    let free =
        first_free(pool, taken, *count).ok_or(UserNamespaceProblem::Exhausted { pool, count: *count })?;
    let row =
        IdRangeRow { count: *count, namespace: container.namespace.clone(), container: container.id.clone() };
    tx.insert(&ID_RANGES, &u64::from(free), row)?;
    *first = Some(free);
    Ok(())
}

/// Gives the range of a container that is removed back.
pub(crate) fn give_back(tx: &mut Transaction<'_>, container: &ContainerRecord) {
    if let Some(UserNamespace::Auto { first: Some(first), .. }) = container.options.user_namespace {
        tx.remove(&ID_RANGES, &u64::from(first));
    }
}

/// The beginning of the lowest gap that is large enough. `taken` is in order, and may reach beyond a pool that the
/// configuration made smaller.
fn first_free(pool: IdPool, taken: impl Iterator<Item = (u64, u64)>, count: u32) -> Option<u32> {
    let (first, end) = (u64::from(pool.first), u64::from(pool.first) + u64::from(pool.size));
    let mut free = first;
    for (begin, length) in taken {
        if begin >= free + u64::from(count) {
            break;
        }
        free = free.max(begin + length);
    }
    (free + u64::from(count) <= end).then(|| u32::try_from(free).expect("within the pool"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: IdPool = IdPool { first: 100_000, size: 100 };

    #[test]
    fn the_lowest_gap_that_is_large_enough_is_taken() {
        let free = |taken: &[(u64, u64)], count| first_free(POOL, taken.iter().copied(), count);
        assert_eq!(free(&[], 100), Some(100_000));
        assert_eq!(free(&[], 101), None);
        assert_eq!(free(&[(100_000, 10), (100_020, 10)], 10), Some(100_010));
        assert_eq!(free(&[(100_000, 10), (100_020, 10)], 11), Some(100_030));
        assert_eq!(free(&[(100_000, 10), (100_020, 80)], 11), None);
        assert_eq!(free(&[(100_000, 10), (100_020, 80)], 10), Some(100_010));
    }

    #[test]
    fn ranges_of_a_pool_that_was_another_stay_whose_they_are() {
        let free = |taken: &[(u64, u64)], count| first_free(POOL, taken.iter().copied(), count);
        assert_eq!(free(&[(70_000, 30_010)], 10), Some(100_010), "it reaches into the pool");
        assert_eq!(free(&[(70_000, 10), (100_050, 65_536)], 50), Some(100_000));
        assert_eq!(free(&[(70_000, 10), (100_050, 65_536)], 51), None);
        assert_eq!(free(&[(4_000_000_000, 10)], 100), Some(100_000));
    }

    #[test]
    fn what_is_asked_wins_over_the_default_and_keeps_off_the_pool() {
        let config = Containers {
            default_userns: DefaultUserNamespace::Auto,
            userns_pool: POOL,
            ..Containers::default()
        };
        let mut asked = None;
        resolve(&config, &mut asked).expect("allowed");
        assert_eq!(asked, Some(UserNamespace::auto()));
        let mut asked = Some(UserNamespace::Host);
        resolve(&config, &mut asked).expect("allowed");
        assert_eq!(asked, Some(UserNamespace::Host));
        let mapped = |outside| {
            let mapping = vec![IdMapping { inside: 0, outside, count: 10 }];
            Some(UserNamespace::Mapped { users: mapping.clone(), groups: mapping })
        };
        assert!(resolve(&config, &mut mapped(99_990)).is_ok());
        let problem = resolve(&config, &mut mapped(99_991)).expect_err("an id of the pool");
        assert_eq!((problem.class(), problem.reason()), (Class::InvalidArgument, "USER_IDS_RESERVED"));
        assert!(problem.hint().expect("a hint").contains("100000 to 100099"));
    }
}
