//! Sizes for people: powers of 1000 for what is on disk, of 1024 for memory, as docker does.

/// On disk: `12.3MB`.
pub(crate) fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000, ["B", "kB", "MB", "GB", "TB"])
}

/// In memory: `1.95GiB`.
pub(crate) fn binary(bytes: u64) -> String {
    scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Three digits and the unit, in whole numbers so that nothing is lost on the way.
fn scaled(bytes: u64, base: u64, units: [&str; 5]) -> String {
    let mut scale = 1;
    let mut unit = units[0];
    for next in &units[1..] {
        if bytes / scale < base {
            break;
        }
        scale *= base;
        unit = next;
    }
    let whole = bytes / scale;
    let part = |places: u64| u128::from(bytes % scale) * u128::from(places) / u128::from(scale);
    match whole {
        _ if scale == 1 => format!("{bytes}{unit}"),
        0..10 => format!("{whole}.{:02}{unit}", part(100)),
        10..100 => format!("{whole}.{}{unit}", part(10)),
        _ => format!("{whole}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in
            [(0, "0B"), (999, "999B"), (1000, "1.00kB"), (12_345_678, "12.3MB"), (450_000_000, "450MB")]
        {
            assert_eq!(decimal(bytes), text);
        }
        assert_eq!(binary(2 << 30), "2.00GiB");
        assert_eq!(decimal(u64::MAX), "18446744TB");
    }
}
