//! What may be a name in a container's DNS. The grammar of host names (RFC 1123 section 2.1) with the underscore that
//! container names may have, so that nothing that is served could be mistaken for anything but a name.

/// Bytes of a label at the most (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;
/// Bytes of a name in text at the most, without a dot at its end.
pub const NAME_BYTES_MAX: usize = 253;

/// Whether `name` may be served: labels of 1 to 63 letters, digits, `-` and `_`, that neither begin nor end with `-`,
/// joined by dots. A record's name that is not is never answered for, and harms nothing.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_containers_services_and_hosts_are_names() {
        for name in ["web", "Web_1", "my-db", "a.b.c", "0123456789ab", "_x", &"a".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
    }

    #[test]
    fn what_could_be_mistaken_for_something_else_is_no_name() {
        let long = "a".repeat(64);
        let many = "a.".repeat(126) + "ab";
        for name in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a*", "ä", "a\0b", "a/b", &long, &many]
        {
            assert!(!is_name(name), "{name}");
        }
    }
}
