//! Who does a process run as? Turns `user[:group]`, as a request or an image writes it, into numbers,
//! with the text of the container's own `/etc/passwd` and `/etc/group` (passwd(5), group(5)) as data.
//!
//! Both sides are hostile, and twelve years of engines say where it hurts: a number that is looked up as
//! a name, a number that wraps to 0, a supplementary list without the primary group. So a word is a
//! number, a name, or refused, by its own shape alone; a number is exact or refused; and nothing falls
//! back to root. Reading the files (beneath the container's root, bounded) is deliberately not done here.

use gantry_types::{Class, Classified, USER_DATABASE_BYTES_MAX};

/// The largest user or group id; 4294967295 means "unchanged" to the kernel (setresuid(2)).
const ID_MAX: u32 = u32::MAX - 1;
/// Bytes of one user or group name (`LOGIN_NAME_MAX`).
const NAME_BYTES_MAX: usize = 256;

/// The container's user databases as bytes; empty where a file is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct UserDatabases<'a> {
    /// `/etc/passwd`.
    pub passwd: &'a [u8],
    /// `/etc/group`.
    pub group: &'a [u8],
}

/// Who a process runs as, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Every group of the process, the primary one first, none twice (setgroups(2)).
    pub groups: Vec<u32>,
    /// Absolute path of the home folder; `/` when the database has none.
    pub home: String,
}

/// Why a user string names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The text is neither a number nor a possible name.
    #[error("{text:?} is not a user or group: {rule}")]
    Malformed {
        /// The word that was refused.
        text: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// The container's database has no user of that name.
    #[error("user {name:?} is not in the container's /etc/passwd")]
    UnknownUser {
        /// The name.
        name: String,
    },
    /// The container's database has no group of that name.
    #[error("group {name:?} is not in the container's /etc/group")]
    UnknownGroup {
        /// The name.
        name: String,
    },
    /// A database is larger than is read.
    #[error("the container's {file} has more than {bytes_max} bytes")]
    DatabaseTooLarge {
        /// Which file.
        file: &'static str,
        /// The limit.
        bytes_max: u64,
    },
}

impl Classified for UserError {
    fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::InvalidArgument,
            Self::UnknownUser { .. } | Self::UnknownGroup { .. } => Class::FailedPrecondition,
            Self::DatabaseTooLarge { .. } => Class::ResourceExhausted,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "USER_MALFORMED",
            Self::UnknownUser { .. } => "USER_UNKNOWN",
            Self::UnknownGroup { .. } => "GROUP_UNKNOWN",
            Self::DatabaseTooLarge { .. } => "USER_DATABASE_TOO_LARGE",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { .. } => {
                Some(format!("give a name, or a number from 0 to {ID_MAX}, as user[:group]"))
            }
            Self::UnknownUser { .. } | Self::UnknownGroup { .. } => {
                Some("give a number, or a name that the image has".to_owned())
            }
            Self::DatabaseTooLarge { .. } => None,
        }
    }
}

/// Resolves `text` (`user[:group]`; empty means root) and the `additional` groups.
///
/// With an explicit group the process is in that group alone; without one, in the user's own and in all
/// that list the user as a member. The primary group is always among [`ResolvedUser::groups`], so that a
/// group that is denied access cannot be shaken off.
pub fn resolve(
    text: &str,
    additional: &[String],
    databases: UserDatabases<'_>,
) -> Result<ResolvedUser, UserError> {
    bounded("/etc/passwd", databases.passwd)?;
    bounded("/etc/group", databases.group)?;
    let text = if text.is_empty() { "0" } else { text };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (Word::parse(user)?, Some(Word::parse(group)?)),
        None => (Word::parse(text)?, None),
    };

    let account = match user {
        Word::Id(uid) => accounts(databases.passwd).find(|account| account.uid == uid),
        Word::Name(name) => Some(
            accounts(databases.passwd)
                .find(|account| account.name == name)
                .ok_or_else(|| UserError::UnknownUser { name: name.to_owned() })?,
        ),
    };
    let uid = match user {
        Word::Id(uid) => uid,
        Word::Name(_) => account.as_ref().map_or(ID_MAX, |account| account.uid),
    };
    let gid = match group {
        Some(word) => group_id(word, databases.group)?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };

    let mut groups = vec![gid];
    if let (None, Some(account)) = (group, &account) {
        groups.extend(
            group_lines(databases.group)
                .filter(|line| line.members.split(',').any(|member| member == account.name))
                .map(|line| line.gid),
        );
    }
    for word in additional {
        groups.push(group_id(Word::parse(word)?, databases.group)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|gid| seen.insert(*gid));

    let home = account
        .map(|account| account.home)
        .filter(|home| home.starts_with('/') && !home.chars().any(char::is_control))
        .unwrap_or("/")
        .to_owned();
    Ok(ResolvedUser { uid, gid, groups, home })
}

/// One half of `user[:group]`.
#[derive(Debug, Clone, Copy)]
enum Word<'a> {
    /// Digits only: this id and nothing else, whatever the databases say.
    Id(u32),
    /// Something that cannot be mistaken for a number.
    Name(&'a str),
}

impl<'a> Word<'a> {
    fn parse(text: &'a str) -> Result<Self, UserError> {
        let refuse = |rule| UserError::Malformed { text: text.chars().take(NAME_BYTES_MAX).collect(), rule };
        let first = text.chars().next().ok_or_else(|| refuse("it is empty"))?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return id(text).map(Self::Id).ok_or_else(|| refuse("the number is too large"));
        }
        if first.is_numeric() || matches!(first, '+' | '-') {
            return Err(refuse("a name does not begin with a digit or a sign"));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(refuse("a name has at most 256 bytes"));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/')) {
            return Err(refuse("a name has no space, control character, ':', ',' or '/'"));
        }
        Ok(Self::Name(text))
    }
}

/// A line of passwd(5).
#[derive(Debug)]
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of group(5).
#[derive(Debug)]
struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn accounts(bytes: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or("/");
        Some(Account { name, uid, gid, home })
    })
}

fn group_lines(bytes: &[u8]) -> impl Iterator<Item = GroupLine<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        let members = fields.next().unwrap_or("");
        Some(GroupLine { name, gid, members })
    })
}

/// Lines that are text; a damaged line is as if it were not there, as in the C library.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

fn group_id(word: Word<'_>, database: &[u8]) -> Result<u32, UserError> {
    match word {
        Word::Id(gid) => Ok(gid),
        Word::Name(name) => group_lines(database)
            .find(|line| line.name == name)
            .map(|line| line.gid)
            .ok_or_else(|| UserError::UnknownGroup { name: name.to_owned() }),
    }
}

/// Decimal digits only: `str::parse` alone would take a leading `+`.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse::<u32>().ok()).flatten().filter(|id| *id <= ID_MAX)
}

fn bounded(file: &'static str, bytes: &[u8]) -> Result<(), UserError> {
    if bytes.len() as u64 > USER_DATABASE_BYTES_MAX {
        return Err(UserError::DatabaseTooLarge { file, bytes_max: USER_DATABASE_BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        web:x:33:34:web:/var/www:/bin/sh\n\
        app:x:1000:1001::/home/app:/bin/sh\n\
        1000:x:0:0::/root:/bin/sh\n\
        -1:x:0:0::/root:/bin/sh\n\
        0x0:x:0:0::/root:/bin/sh\n\
        +0:x:0:0::/root:/bin/sh\n 0:x:0:0::/root:/bin/sh\n\
        2147483648:x:0:0::/root:/bin/sh\n\
        4294967295:x:0:0::/root:/bin/sh\n\
        4294967296:x:0:0::/root:/bin/sh\n\
        99999999999:x:0:0::/root:/bin/sh\n\
        evil:x:4294967296:0::/root:/bin/sh\n\
        signed:x:+5:0::/root:/bin/sh\n\
        broken\n\xff\xfe:x:7:7::/:/bin/sh\n\
        odd:x:8:8::relative:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:34:\nvideo:x:44:app,web\naudio:x:29:app\n7:x:0:\nbroken:x:+1:\n";
    const DATABASES: UserDatabases<'_> = UserDatabases { passwd: PASSWD, group: GROUP };

    fn ids(text: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        resolve(text, &[], DATABASES).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_and_numbers_resolve_to_what_the_databases_say() {
        assert_eq!(ids(""), Ok((0, 0, vec![0])));
        assert_eq!(ids("root"), Ok((0, 0, vec![0])));
        assert_eq!(ids("web"), Ok((33, 34, vec![34, 44])));
        assert_eq!(ids("app"), Ok((1000, 1001, vec![1001, 44, 29])));
        assert_eq!(ids("33"), Ok((33, 34, vec![34, 44])));
        assert_eq!(ids("app:www"), Ok((1000, 34, vec![34])));
        assert_eq!(ids("app:7"), Ok((1000, 7, vec![7])));
        assert_eq!(ids("5555"), Ok((5555, 0, vec![0])));
        assert_eq!(ids("5555:6666"), Ok((5555, 6666, vec![6666])));
    }

    #[test]
    fn a_number_is_never_looked_up_as_a_name() {
        assert_eq!(ids("1000"), Ok((1000, 1001, vec![1001, 44, 29])));
        assert_eq!(ids("1:7"), Ok((1, 7, vec![7])));
    }

    #[test]
    fn numbers_are_exact_or_refused_and_never_root_by_accident() {
        assert_eq!(ids("2147483648").map(|user| user.0), Ok(2_147_483_648));
        assert_eq!(ids("4294967294").map(|user| user.0), Ok(4_294_967_294));
        for text in [
            "4294967295",
            "4294967296",
            "99999999999",
            "18446744073709551616",
            "-1",
            "0x0",
            "+0",
            " 0",
            "0 ",
            "-0",
            "1e3",
            "١",
            ":",
            ":0",
            "0:",
            "web:",
            "a b",
            "web:-1",
            "web:+0",
            "web:4294967295",
            "evil",
            "signed",
            "broken",
            "nobody:0",
            "root\n",
            "root\0",
        ] {
            let answer = ids(text);
            assert!(answer.is_err(), "{text:?} gave {answer:?}");
        }
    }

    #[test]
    fn additional_groups_join_once_and_the_primary_group_is_first() {
        let additional = ["video".to_owned(), "34".to_owned(), "99".to_owned()];
        let user = resolve("web", &additional, DATABASES).expect("resolves");
        assert_eq!(user.groups, vec![34, 44, 99]);
        let unknown = resolve("web", &["nope".to_owned()], DATABASES);
        assert_eq!(unknown, Err(UserError::UnknownGroup { name: "nope".to_owned() }));
    }

    #[test]
    fn homes_are_absolute_or_the_root_folder() {
        let home = |text| resolve(text, &[], DATABASES).map(|user| user.home);
        assert_eq!(home("app").as_deref(), Ok("/home/app"));
        assert_eq!(home("odd").as_deref(), Ok("/"));
        assert_eq!(home("5555").as_deref(), Ok("/"));
    }

    #[test]
    fn a_container_without_databases_still_has_numbers() {
        let user = resolve("12:13", &[], UserDatabases::default()).expect("resolves");
        assert_eq!((user.uid, user.gid, user.groups), (12, 13, vec![13]));
        assert!(resolve("root", &[], UserDatabases::default()).is_err());
    }

    #[test]
    fn a_database_beyond_the_limit_is_refused() {
        let bytes = vec![b'\n'; usize::try_from(USER_DATABASE_BYTES_MAX).expect("fits") + 1];
        let databases = UserDatabases { passwd: &bytes, group: b"" };
        assert!(matches!(resolve("0", &[], databases), Err(UserError::DatabaseTooLarge { .. })));
    }
}
