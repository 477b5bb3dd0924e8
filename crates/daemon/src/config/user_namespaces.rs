//! `[containers]`: whether containers are in user namespaces of their own where they do not say, and over which ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The user namespace of a container that asks for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DefaultUserNamespace {
    /// The host's.
    #[default]
    Host,
    /// One of its own, over a range of the pool.
    Auto,
}

/// Ids of the host that the daemon may give to containers, written `1879048192/268304384`: the first, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct IdPool {
    pub first: u32,
    pub size: u32,
}

impl IdPool {
    /// Those below are the host's own users, groups and services.
    const FIRST_MIN: u32 = 65_536;
}

/// What systemd's register of user ids leaves unused: behind its containers, before foreign images. 4094 containers of
/// 65536 ids.
impl Default for IdPool {
    fn default() -> Self {
        Self { first: 1_879_048_192, size: 268_304_384 }
    }
}

impl fmt::Display for IdPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.size)
    }
}

impl From<IdPool> for String {
    fn from(pool: IdPool) -> Self {
        pool.to_string()
    }
}

impl FromStr for IdPool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "a pool of ids is written `first/size`, begins at 65536 or behind it, has at least one id and \
                            ends before 4294967295";
        let (first, size) = text.split_once('/').ok_or(RULE)?;
        let first: u32 = first.trim().parse().map_err(|_| RULE)?;
        let size: u32 = size.trim().parse().map_err(|_| RULE)?;
        let fits = first >= Self::FIRST_MIN && size > 0 && first.checked_add(size).is_some();
        if fits { Ok(Self { first, size }) } else { Err(RULE) }
    }
}

impl TryFrom<String> for IdPool {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_read_as_it_is_written_and_keeps_off_the_hosts_own_ids() {
        let pool = IdPool::default();
        assert_eq!(pool.to_string().parse(), Ok(pool));
        assert_eq!(pool.first + pool.size, 2_147_352_576, "foreign images' begin there");
        assert_eq!("100000/65536".parse(), Ok(IdPool { first: 100_000, size: 65_536 }));
        for text in ["", "100000", "100000/0", "65535/10", "4294967290/6", "a/b", "100000/-1"] {
            assert!(text.parse::<IdPool>().is_err(), "{text}");
        }
    }
}
