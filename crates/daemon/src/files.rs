//! The files that Gantry provides to a container: its host name, its hosts and its resolver configuration.
//! They are in the bundle, true only while the container runs, and written anew at each start. Values of a
//! request go into them only as what they claim to be: an address is parsed, a name has no white space.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use gantry_types::{ContainerOptions, NetworkMode};

/// The files' folder in the bundle.
pub(crate) const FOLDER: &str = "etc";
pub(crate) const HOSTNAME: &str = "etc/hostname";
pub(crate) const HOSTS: &str = "etc/hosts";
pub(crate) const RESOLV_CONF: &str = "etc/resolv.conf";

/// Writes all three.
pub(crate) fn write(bundle: &Path, hostname: &str, options: &ContainerOptions) -> io::Result<()> {
    std::fs::write(bundle.join(HOSTNAME), format!("{hostname}\n"))?;
    std::fs::write(bundle.join(HOSTS), hosts(hostname, options))?;
    std::fs::write(bundle.join(RESOLV_CONF), resolv_conf(options)?)
}

/// hosts(5).
fn hosts(hostname: &str, options: &ContainerOptions) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    match options.network {
        NetworkMode::None
        | NetworkMode::Networks(_)
        | NetworkMode::Container(_)
        | NetworkMode::Sandbox(_) => {
            writeln!(text, "127.0.0.1\t{hostname}").expect("a String takes everything")
        }
        NetworkMode::Host => {
            if let Ok(of_host) = std::fs::read_to_string("/etc/hosts") {
                text = of_host;
            }
        }
    }
    for (name, address) in &options.extra_hosts {
        writeln!(text, "{address}\t{name}").expect("a String takes everything");
    }
    text
}

/// resolv.conf(5): what was asked, else the host's.
fn resolv_conf(options: &ContainerOptions) -> io::Result<String> {
    if options.dns.is_empty() && options.dns_search.is_empty() && options.dns_options.is_empty() {
        return match std::fs::read_to_string("/etc/resolv.conf") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        };
    }
    let mut text = String::new();
    for server in &options.dns {
        writeln!(text, "nameserver {server}").expect("a String takes everything");
    }
    if !options.dns_search.is_empty() {
        writeln!(text, "search {}", options.dns_search.join(" ")).expect("a String takes everything");
    }
    if !options.dns_options.is_empty() {
        writeln!(text, "options {}", options.dns_options.join(" ")).expect("a String takes everything");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_what_the_resolver_reads() {
        let options = ContainerOptions {
            dns: vec!["192.0.2.1".into(), "2001:db8::1".into()],
            dns_search: vec!["a.test".into(), "b.test".into()],
            ..ContainerOptions::default()
        };
        let text = resolv_conf(&options).expect("nothing is read");
        assert_eq!(text, "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.test b.test\n");
    }

    #[test]
    fn a_container_knows_itself_and_its_extra_hosts() {
        let options = ContainerOptions {
            extra_hosts: vec![("db".into(), "192.0.2.7".into())],
            ..ContainerOptions::default()
        };
        let text = hosts("box", &options);
        assert!(text.contains("127.0.0.1\tbox\n") && text.ends_with("192.0.2.7\tdb\n"), "{text}");
    }
}
