//! User namespaces, both ways.

use gantry_types::{ID_MAPPINGS_MAX, IdMapping, USER_NAMESPACE_IDS, UserNamespace, check_mappings};

use super::check;
use super::field::{FieldProblem, InvalidField};
use crate::containers::v1;
use v1::UserNamespaceMode as Mode;

/// What the four fields ask for; `None` leaves it to the daemon. The mappings of a range that the daemon gives are
/// output only, and passed over.
pub(super) fn read(given: &v1::ContainerOptions) -> Result<Option<UserNamespace>, InvalidField> {
    let name = "user_namespace_mode";
    let mode = check::known::<Mode>(name, "UserNamespaceMode", given.user_namespace_mode)?;
    let conflict = |other| Err(InvalidField::new(name, FieldProblem::Conflict { other }));
    let has_mappings = !given.uid_mappings.is_empty() || !given.gid_mappings.is_empty();
    if given.user_namespace_ids != 0 && mode != Mode::Auto {
        return conflict("user_namespace_ids, which is for USER_NAMESPACE_MODE_AUTO");
    }
    match mode {
        Mode::Unspecified if !has_mappings => Ok(None),
        Mode::Unspecified | Mode::Mapped => mapped(given).map(Some),
        Mode::Host if has_mappings => conflict("uid_mappings and gid_mappings"),
        Mode::Host => Ok(Some(UserNamespace::Host)),
        Mode::Auto => {
            let count = match given.user_namespace_ids {
                0 => USER_NAMESPACE_IDS,
                count => count,
            };
            Ok(Some(UserNamespace::Auto { count, first: None }))
        }
    }
}

fn mapped(given: &v1::ContainerOptions) -> Result<UserNamespace, InvalidField> {
    let read = |name: &str, list: &[v1::IdMapping]| {
        let list = check::list(name, list.to_vec(), ID_MAPPINGS_MAX, |one| Ok(one.into()))?;
        check_mappings(&list).map_err(|error| InvalidField::new(name, FieldProblem::IdMapping(error)))?;
        Ok::<_, InvalidField>(list)
    };
    if given.uid_mappings.is_empty() {
        return Err(InvalidField::new("uid_mappings", FieldProblem::Missing));
    }
    let users = read("uid_mappings", &given.uid_mappings)?;
    let groups = if given.gid_mappings.is_empty() {
        users.clone()
    } else {
        read("gid_mappings", &given.gid_mappings)?
    };
    Ok(UserNamespace::Mapped { users, groups })
}

/// Writes the four fields.
pub(super) fn write(namespace: Option<&UserNamespace>, options: &mut v1::ContainerOptions) {
    let mode = match namespace {
        None => Mode::Unspecified,
        Some(UserNamespace::Host) => Mode::Host,
        Some(UserNamespace::Auto { count, .. }) => {
            options.user_namespace_ids = *count;
            Mode::Auto
        }
        Some(UserNamespace::Mapped { .. }) => Mode::Mapped,
    };
    options.user_namespace_mode = mode.into();
    let list = |mappings: Vec<IdMapping>| mappings.into_iter().map(Into::into).collect();
    if let Some(namespace) = namespace {
        options.uid_mappings = list(namespace.users());
        options.gid_mappings = list(namespace.groups());
    }
}

impl From<v1::IdMapping> for IdMapping {
    fn from(given: v1::IdMapping) -> Self {
        Self { inside: given.inside, outside: given.outside, count: given.count }
    }
}

impl From<IdMapping> for v1::IdMapping {
    fn from(mapping: IdMapping) -> Self {
        Self { inside: mapping.inside, outside: mapping.outside, count: mapping.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mode: Mode, ids: u32, users: &[(u32, u32, u32)]) -> v1::ContainerOptions {
        let mapping = |&(inside, outside, count): &(u32, u32, u32)| v1::IdMapping { inside, outside, count };
        v1::ContainerOptions {
            user_namespace_mode: mode.into(),
            user_namespace_ids: ids,
            uid_mappings: users.iter().map(mapping).collect(),
            ..v1::ContainerOptions::default()
        }
    }

    #[test]
    fn what_is_asked_is_what_is_answered() {
        let mapping = IdMapping { inside: 0, outside: 5000, count: 10 };
        let namespaces = [
            None,
            Some(UserNamespace::Host),
            Some(UserNamespace::auto()),
            Some(UserNamespace::Auto { count: 7, first: None }),
            Some(UserNamespace::Mapped { users: vec![mapping], groups: vec![mapping] }),
        ];
        for namespace in namespaces {
            let mut options = v1::ContainerOptions::default();
            write(namespace.as_ref(), &mut options);
            assert_eq!(read(&options), Ok(namespace));
        }
        let mut answer = v1::ContainerOptions::default();
        write(Some(&UserNamespace::Auto { count: 7, first: Some(900) }), &mut answer);
        assert_eq!(answer.gid_mappings, [v1::IdMapping { inside: 0, outside: 900, count: 7 }]);
        assert_eq!(read(&answer), Ok(Some(UserNamespace::Auto { count: 7, first: None })), "output only");
    }

    #[test]
    fn mappings_alone_mean_mapped_and_groups_follow_the_users() {
        let read = read(&asked(Mode::Unspecified, 0, &[(0, 5000, 10)])).expect("allowed").expect("asked");
        assert_eq!(read.users(), read.groups());
        assert_eq!(read.root(), Some((5000, 5000)));
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_its_field() {
        let refused = |options: &v1::ContainerOptions| read(options).expect_err("refused").path;
        assert_eq!(refused(&asked(Mode::Mapped, 0, &[])), "uid_mappings");
        assert_eq!(refused(&asked(Mode::Host, 0, &[(0, 5000, 10)])), "user_namespace_mode");
        assert_eq!(refused(&asked(Mode::Host, 5, &[])), "user_namespace_mode");
        assert_eq!(refused(&asked(Mode::Mapped, 0, &[(0, 5000, 10), (5, 9000, 1)])), "uid_mappings");
        assert_eq!(refused(&asked(Mode::Mapped, 0, &[(1, 5000, 10)])), "uid_mappings");
        let one = |outside| v1::IdMapping { inside: 0, outside, count: 0 };
        let groups =
            v1::ContainerOptions { gid_mappings: vec![one(1)], ..asked(Mode::Mapped, 0, &[(0, 5000, 1)]) };
        assert_eq!(refused(&groups), "gid_mappings");
        let alone = v1::ContainerOptions { gid_mappings: vec![one(1)], ..v1::ContainerOptions::default() };
        assert_eq!(refused(&alone), "uid_mappings");
    }
}
