//! The files that Gantry provides to a container: its host name, its hosts and its resolver configuration.
//! They are in the bundle, true only while the container runs, and written anew at each start. Values of a
//! request go into them only as what they claim to be: an address is parsed, a name has no white space.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;

use gantry_types::{ContainerOptions, NetworkMode};

use crate::networks::facts::FileFacts;

/// Stands for the host's address on the container's first network.
const HOST_GATEWAY: &str = "host-gateway";

/// Their names in the bundle, which the shim knows too: it takes them away.
pub(crate) use gantry_api::shim::{
    FILES_FOLDER as FOLDER, HOSTNAME_FILE as HOSTNAME, HOSTS_FILE as HOSTS, RESOLV_CONF_FILE as RESOLV_CONF,
};

/// The host's ids of who may change the files inside, where that is not the host's root.
pub(crate) type Owner = Option<(u32, u32)>;

/// Writes all three, each into the file that is there, if there is one: a running container has it mounted, and
/// sees the new text without anything being mounted again.
pub(crate) fn write(
    bundle: &Path,
    hostname: &str,
    options: &ContainerOptions,
    facts: &FileFacts,
    owner: Owner,
) -> io::Result<()> {
    write_in_place(&bundle.join(HOSTNAME), &format!("{hostname}\n"), owner)?;
    write_in_place(&bundle.join(HOSTS), &hosts(hostname, options, facts), owner)?;
    write_in_place(&bundle.join(RESOLV_CONF), &resolv_conf(options, facts)?, owner)
}

/// Copies what the container says whose network is shared.
pub(crate) fn copy(from: &Path, to: &Path, hostname: &str, owner: Owner) -> io::Result<()> {
    write_in_place(&to.join(HOSTNAME), &format!("{hostname}\n"), owner)?;
    write_in_place(&to.join(HOSTS), &std::fs::read_to_string(from.join(HOSTS))?, owner)?;
    write_in_place(&to.join(RESOLV_CONF), &std::fs::read_to_string(from.join(RESOLV_CONF))?, owner)
}

/// One write and then the new end: a reader in between sees at worst old lines behind the new ones. At a start there is
/// no file yet, and no end to set.
fn write_in_place(path: &Path, text: &str, owner: Owner) -> io::Result<()> {
    let (mut file, is_new) = match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            (File::options().write(true).open(path)?, false)
        }
        made => (made?, true),
    };
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(text.as_bytes())?;
    if is_new { Ok(()) } else { file.set_len(text.len() as u64) }
}

/// hosts(5).
fn hosts(hostname: &str, options: &ContainerOptions, facts: &FileFacts) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    let mut line = |address: &dyn std::fmt::Display, name: &str| {
        writeln!(text, "{address}\t{name}").expect("a String takes everything");
    };
    match options.network {
        NetworkMode::Networks(_) | NetworkMode::Sandbox(_) if !facts.addresses.is_empty() => {
            facts.addresses.iter().for_each(|address| line(address, hostname));
        }
        NetworkMode::None
        | NetworkMode::Networks(_)
        | NetworkMode::Container(_)
        | NetworkMode::Sandbox(_) => {
            line(&"127.0.0.1", hostname);
        }
        NetworkMode::Host => {
            if let Ok(of_host) = std::fs::read_to_string("/etc/hosts") {
                text = of_host;
            }
        }
    }
    for (name, address) in &options.extra_hosts {
        let gateway = facts.host_gateway.map(|address| address.to_string());
        let address = if address == HOST_GATEWAY {
            gateway.unwrap_or_else(|| "127.0.0.1".into())
        } else {
            address.clone()
        };
        writeln!(text, "{address}\t{name}").expect("a String takes everything");
    }
    text
}

/// resolv.conf(5): netd where it serves a network of the container, else what was asked, else the host's.
fn resolv_conf(options: &ContainerOptions, facts: &FileFacts) -> io::Result<String> {
    let of_host = match std::fs::read_to_string("/etc/resolv.conf") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let private = options.network.is_private();
    let asked = !options.dns.is_empty() || !options.dns_search.is_empty() || !options.dns_options.is_empty();
    if facts.nameservers.is_empty() && !asked && !private {
        return Ok(of_host);
    }
    let mut text = String::new();
    let line = |text: &mut String, keyword: &str, words: &str| {
        writeln!(text, "{keyword} {words}").expect("a String takes everything");
    };
    if !facts.nameservers.is_empty() {
        facts.nameservers.iter().for_each(|address| line(&mut text, "nameserver", &address.to_string()));
    } else if !options.dns.is_empty() {
        options.dns.iter().for_each(|address| line(&mut text, "nameserver", address));
    } else {
        for words in lines_of(&of_host, "nameserver") {
            // The host's loopback is not the container's.
            let is_loopback = words.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            if !(private && is_loopback) {
                line(&mut text, "nameserver", words);
            }
        }
    }
    for (keyword, asked) in [("search", &options.dns_search), ("options", &options.dns_options)] {
        if asked.is_empty() {
            lines_of(&of_host, keyword).for_each(|words| line(&mut text, keyword, words));
        } else if asked != &["."] {
            line(&mut text, keyword, &asked.join(" "));
        }
    }
    Ok(text)
}

/// What stands behind a keyword.
fn lines_of<'a>(text: &'a str, keyword: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(keyword)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_what_the_resolver_reads() {
        let options = ContainerOptions {
            dns: vec!["192.0.2.1".into(), "2001:db8::1".into()],
            dns_search: vec!["a.test".into(), "b.test".into()],
            dns_options: vec!["ndots:2".into()],
            ..ContainerOptions::default()
        };
        let text = resolv_conf(&options, &FileFacts::default()).expect("the host's is read");
        let expected =
            "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch a.test b.test\noptions ndots:2\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn on_a_network_the_gateway_answers_whoever_was_asked_for() {
        let facts = FileFacts {
            addresses: vec!["10.0.0.2".parse().expect("an address")],
            nameservers: vec!["10.0.0.1".parse().expect("an address")],
            host_gateway: Some("10.0.0.1".parse().expect("an address")),
        };
        let options = ContainerOptions {
            network: NetworkMode::Networks(Vec::new()),
            dns: vec!["192.0.2.1".into()],
            dns_search: vec!["a.test".into()],
            dns_options: vec!["ndots:2".into()],
            extra_hosts: vec![("up".into(), "host-gateway".into())],
            ..ContainerOptions::default()
        };
        let text = resolv_conf(&options, &facts).expect("the host's is read");
        assert_eq!(text, "nameserver 10.0.0.1\nsearch a.test\noptions ndots:2\n");
        let text = hosts("box", &options, &facts);
        assert!(text.contains("10.0.0.2\tbox\n") && text.ends_with("10.0.0.1\tup\n"), "{text}");
    }

    #[test]
    fn a_container_knows_itself_and_its_extra_hosts() {
        let options = ContainerOptions {
            extra_hosts: vec![("db".into(), "192.0.2.7".into())],
            ..ContainerOptions::default()
        };
        let text = hosts("box", &options, &FileFacts::default());
        assert!(text.contains("127.0.0.1\tbox\n") && text.ends_with("192.0.2.7\tdb\n"), "{text}");
    }

    #[test]
    fn a_file_changes_where_it_is() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("hosts");
        write_in_place(&path, "a longer text\n", None).expect("written");
        let inode = std::fs::metadata(&path).expect("there").ino();
        write_in_place(&path, "short\n", None).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "short\n");
        assert_eq!(std::fs::metadata(&path).expect("there").ino(), inode);
    }
}
