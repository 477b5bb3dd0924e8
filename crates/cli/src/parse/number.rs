//! Numbers with units as docker's flags have them: sizes, processors, limits.

use gantry_api::containers::v1::Ulimit;

/// Bytes: a number with an optional fraction and an optional unit `b k m g t`, powers of 1024, in any of the
/// spellings `k`, `kb`, `KiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a size such as 512m or 2g");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refused()),
    };
    scaled(number, 1 << shift).ok_or_else(refused)
}

/// Bytes, or -1 for no limit.
pub(crate) fn size_or_unlimited(text: &str) -> Result<u64, String> {
    if text == "-1" { Ok(u64::MAX) } else { size(text) }
}

/// Processors, in the form `1.5`, as billionths.
pub(crate) fn processors(text: &str) -> Result<u64, String> {
    scaled(text, 1_000_000_000)
        .filter(|cpus| *cpus > 0)
        .ok_or_else(|| format!("{text:?} is not a number of processors such as 1.5"))
}

/// Processes and threads; 0 and -1 are no limit.
pub(crate) fn pids(text: &str) -> Result<Option<u64>, String> {
    match text {
        "0" | "-1" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| format!("{text:?} is not a number of processes, or -1")),
    }
}

/// `name=soft[:hard]`, -1 for no limit.
pub(crate) fn ulimit(text: &str) -> Result<(String, Ulimit), String> {
    let refused = || format!("{text:?} is not of the form name=soft[:hard], such as nofile=1024:2048");
    let (name, limits) = text.split_once('=').ok_or_else(refused)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| refused()),
    };
    Ok((name.to_owned(), Ulimit { soft: limit(soft)?, hard: limit(hard)? }))
}

/// A decimal number times a whole one, exactly: no floating point, no rounding but of what is below one.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let digits = |text: &str| match text {
        "" => Some(0),
        text if text.bytes().all(|b| b.is_ascii_digit()) => text.parse::<u64>().ok(),
        _ => None,
    };
    let places = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(digits(fraction)?) * u128::from(scale) / places;
    digits(whole)?.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("512m", 512 << 20),
            ("2G", 2 << 30),
            ("1.5k", 1536),
            ("1kb", 1024),
            ("1KiB", 1024),
            (".5m", 512 << 10),
            ("10b", 10),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "lots", "-1", "1x", "1..2", "99999999999999999999", "20000000t", "1 2"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size_or_unlimited("-1"), Ok(u64::MAX));
    }

    #[test]
    fn processors_may_be_fractions() {
        assert_eq!(processors("1.5"), Ok(1_500_000_000));
        assert_eq!(processors("0.01"), Ok(10_000_000));
        assert!(processors("0").is_err() && processors("many").is_err());
    }

    #[test]
    fn an_rlimit_has_a_soft_and_perhaps_a_hard_side() {
        assert_eq!(ulimit("core=0"), Ok(("core".into(), Ulimit { soft: 0, hard: 0 })));
        assert_eq!(ulimit("nofile=1:-1"), Ok(("nofile".into(), Ulimit { soft: 1, hard: u64::MAX })));
        assert!(ulimit("nofile").is_err() && ulimit("nofile=x").is_err());
    }

    #[test]
    fn no_limit_of_processes_is_written_0_or_minus_1() {
        assert_eq!((pids("0"), pids("-1"), pids("7")), (Ok(None), Ok(None), Ok(Some(7))));
    }
}
