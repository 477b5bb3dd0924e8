//! Which resource limits (setrlimit(2)) does a process start with? Only those that the request names; the
//! others are what the plan's executor leaves in place.

use std::collections::BTreeMap;

use gantry_types::Ulimit;
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::SpecError;

/// The request's limits in the OCI crate's terms, by name.
pub(crate) fn build(ulimits: &BTreeMap<String, Ulimit>) -> Result<Option<Vec<PosixRlimit>>, SpecError> {
    let limits = ulimits.iter().map(|(name, limit)| one(name, *limit)).collect::<Result<Vec<_>, _>>()?;
    Ok((!limits.is_empty()).then_some(limits))
}

fn one(name: &str, limit: Ulimit) -> Result<PosixRlimit, SpecError> {
    let kind = kind(name).ok_or_else(|| SpecError::UnknownUlimit { name: name.to_owned() })?;
    if limit.soft > limit.hard {
        return Err(SpecError::UlimitOrder { name: name.to_owned(), soft: limit.soft, hard: limit.hard });
    }
    let builder = PosixRlimitBuilder::default().typ(kind).soft(limit.soft).hard(limit.hard);
    Ok(builder.build().expect("every field of a limit has a default"))
}

fn kind(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "as" => PosixRlimitType::RlimitAs,
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_keep_their_numbers_and_bad_ones_are_named() {
        let limits =
            |name: &str, soft, hard| build(&BTreeMap::from([(name.to_owned(), Ulimit { soft, hard })]));
        let built = limits("nofile", 10, u64::MAX).expect("is valid").expect("has one");
        assert_eq!(built[0].typ(), PosixRlimitType::RlimitNofile);
        assert_eq!((built[0].soft(), built[0].hard()), (10, u64::MAX));
        assert_eq!(build(&BTreeMap::new()), Ok(None));
        assert!(matches!(limits("files", 1, 1), Err(SpecError::UnknownUlimit { .. })));
        assert!(matches!(limits("core", 2, 1), Err(SpecError::UlimitOrder { .. })));
    }
}
