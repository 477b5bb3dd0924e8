//! Are the names that a request gives a container fit to be set and to be written into its files? A line
//! break in one of them would become a second line of `/etc/hosts` or `/etc/resolv.conf` (CVE-2022-4318),
//! so the grammar is checked before any file is written.

use std::net::IpAddr;

use gantry_types::{ContainerOptions, NamespaceMode};

use super::SpecError;

/// Bytes of a host name as the kernel takes it (`__NEW_UTS_LEN`).
const HOST_NAME_BYTES_MAX: usize = 64;
/// Bytes of a name in the DNS (RFC 1035).
const DNS_NAME_BYTES_MAX: usize = 253;
/// Stands for the host's address, which the daemon knows: it writes the file.
const HOST_GATEWAY: &str = "host-gateway";
/// Entries of each list.
const LIST_MAX: usize = 256;

/// Checks the host and domain name, the extra hosts and the DNS settings.
pub(crate) fn check(options: &ContainerOptions) -> Result<(), SpecError> {
    for (what, name) in [("host name", &options.hostname), ("domain name", &options.domainname)] {
        let Some(name) = name else { continue };
        match options.uts_mode {
            NamespaceMode::Private => {}
            NamespaceMode::Host => {
                return Err(refused(what, name, "cannot be set in the host's uts namespace"));
            }
        }
        if !dns_name(name, HOST_NAME_BYTES_MAX) {
            return Err(refused(what, name, "is not at most 64 letters, digits, '-', '_' and '.'"));
        }
    }
    for (what, count) in [
        ("extra hosts", options.extra_hosts.len()),
        ("DNS servers", options.dns.len()),
        ("DNS search domains", options.dns_search.len()),
        ("DNS options", options.dns_options.len()),
    ] {
        if count > LIST_MAX {
            return Err(SpecError::TooMany { what, max: LIST_MAX });
        }
    }
    for (name, address) in &options.extra_hosts {
        if !dns_name(name, DNS_NAME_BYTES_MAX) {
            return Err(refused("extra host", name, "is not a host name"));
        }
        if address != HOST_GATEWAY {
            check_address("address of an extra host", address)?;
        }
    }
    for address in &options.dns {
        check_address("DNS server", address)?;
    }
    for domain in options.dns_search.iter().filter(|domain| *domain != ".") {
        if !dns_name(domain.trim_end_matches('.'), DNS_NAME_BYTES_MAX) {
            return Err(refused("DNS search domain", domain, "is not a domain name"));
        }
    }
    for option in &options.dns_options {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
        if option.is_empty() || option.len() > HOST_NAME_BYTES_MAX || !option.bytes().all(plain) {
            return Err(refused("DNS option", option, "is not an option of resolv.conf(5)"));
        }
    }
    Ok(())
}

fn check_address(what: &'static str, text: &str) -> Result<(), SpecError> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(refused(what, text, "is not an IP address")),
    }
}

fn dns_name(name: &str, bytes_max: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.len() <= bytes_max
        && !name.starts_with('-')
        && name.split('.').all(|label| !label.is_empty() && label.bytes().all(plain))
}

fn refused(what: &'static str, name: &str, rule: &'static str) -> SpecError {
    SpecError::Name { what, name: name.chars().take(DNS_NAME_BYTES_MAX).collect(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl Fn(&mut ContainerOptions)) -> bool {
        let mut options = ContainerOptions::default();
        change(&mut options);
        check(&options).is_ok()
    }

    #[test]
    fn plain_names_and_addresses_are_taken() {
        assert!(with(|options| options.hostname = Some("web-1.example".to_owned())));
        assert!(with(|options| options.extra_hosts = vec![("db".to_owned(), "fd00::1".to_owned())]));
        assert!(with(|options| options.extra_hosts = vec![("up".to_owned(), "host-gateway".to_owned())]));
        assert!(with(|options| options.dns_search = vec![".".to_owned(), "example.org.".to_owned()]));
        assert!(with(|options| options.dns_options = vec!["ndots:5".to_owned()]));
    }

    #[test]
    fn names_that_would_write_a_second_line_are_refused() {
        for name in ["", "a b", "a\nb", "a\0", "-a", "a..b", "é", &"a".repeat(65)] {
            assert!(!with(|options| options.hostname = Some(name.to_owned())), "{name:?}");
        }
        for (name, address) in
            [("db\n1.1.1.1 x", "::1"), ("db", "1.1.1.1\nx"), ("db", "host-gateways"), ("", "::1")]
        {
            assert!(!with(|options| options.extra_hosts = vec![(name.to_owned(), address.to_owned())]));
        }
        assert!(!with(|options| options.dns = vec!["1.1.1.1\noptions x".to_owned()]));
        assert!(!with(|options| options.dns_search = vec!["a b".to_owned()]));
        assert!(!with(|options| options.dns_options = vec!["a\nb".to_owned()]));
    }

    #[test]
    fn the_hosts_own_name_cannot_be_changed() {
        assert!(!with(|options| {
            options.hostname = Some("web".to_owned());
            options.uts_mode = NamespaceMode::Host;
        }));
    }
}
