//! Reading `WWW-Authenticate` (RFC 9110, section 11.6.1) and deciding whether credentials may go where it points.
//!
//! A registry chooses the realm, so a hostile or taken-over one could name any host (CVE-2020-15157 and its kin).
//! Credentials go to a realm only on the registry's own host and port, on a host of the same domain over HTTPS
//! (`auth.docker.io` for `registry-1.docker.io`, `gitlab.com` for `registry.gitlab.com`), or where the operator says so.
//! To any other realm we ask without credentials.

use std::collections::BTreeSet;

use reqwest::Url;

use super::endpoint::{authority, is_same_origin};

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
    },
}

/// The first challenge of the header that we know, Bearer before Basic.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let lower = header.to_ascii_lowercase();
    if let Some(at) = find_scheme(&lower, "bearer") {
        let parameters = parameters(&header[at + "bearer".len()..]);
        let get = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        return Some(Challenge::Bearer { realm: get("realm")?, service: get("service") });
    }
    find_scheme(&lower, "basic").map(|_| Challenge::Basic)
}

/// Whether the credentials for the registry at `base` may be sent to `realm`.
pub(super) fn is_trusted(realm: &Url, base: &Url, trusted: &BTreeSet<String>) -> bool {
    if is_same_origin(realm, base) || trusted.contains(&authority(realm)) {
        return true;
    }
    let (Some(realm_host), Some(base_host)) = (realm.host_str(), base.host_str()) else { return false };
    realm.scheme() == "https"
        && base.scheme() == "https"
        && realm.port_or_known_default() == Some(443)
        && domain(realm_host).is_some_and(|own| domain(base_host) == Some(own))
}

/// The last two labels of a host name; `None` for addresses and single labels. That is too wide below `co.uk`, but
/// there the registry that chose the realm is itself the one that holds these credentials.
fn domain(host: &str) -> Option<&str> {
    if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let last_dot = host.rfind('.')?;
    Some(host[..last_dot].rfind('.').map_or(host, |dot| &host[dot + 1..]))
}

fn find_scheme(lower: &str, scheme: &str) -> Option<usize> {
    lower.match_indices(scheme).map(|(at, _)| at).find(|at| {
        let before = lower[..*at].trim_end();
        let after = lower[at + scheme.len()..].chars().next();
        (before.is_empty() || before.ends_with(',')) && after.is_none_or(char::is_whitespace)
    })
}

/// `key="value", key=value` up to the end or the next scheme.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim().trim_start_matches(',').trim().to_ascii_lowercase();
        if key.contains(char::is_whitespace) || found.len() == 16 {
            break;
        }
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((value, next)) => (value, next),
                None => break,
            },
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key, value.trim().to_owned()));
        rest = next.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_in_the_forms_that_registries_send() {
        let hub =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull""#;
        assert_eq!(
            parse(hub),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into())
            })
        );
        assert_eq!(parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        let both = r#"Basic realm="x", Bearer realm="https://a/t""#;
        assert_eq!(parse(both), Some(Challenge::Bearer { realm: "https://a/t".into(), service: None }));
        for broken in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"unclosed"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn credentials_stay_with_the_registrys_own_domain() {
        let trusted = BTreeSet::from(["sso.corp.example:8443".to_owned()]);
        let is = |realm: &str, base: &str| {
            is_trusted(&Url::parse(realm).expect(realm), &Url::parse(base).expect(base), &trusted)
        };
        assert!(is("https://auth.docker.io/token", "https://registry-1.docker.io/v2/"));
        assert!(is("https://gitlab.com/jwt/auth", "https://registry.gitlab.com/v2/"));
        assert!(is("http://127.0.0.1:5000/token", "http://127.0.0.1:5000/v2/"));
        assert!(is("https://sso.corp.example:8443/t", "https://registry.other.example/v2/"));
        assert!(!is("https://evil.io/token", "https://registry-1.docker.io/v2/"));
        assert!(!is("https://docker.io.evil.io/token", "https://registry-1.docker.io/v2/"));
        assert!(!is("http://auth.docker.io/token", "https://registry-1.docker.io/v2/"));
        assert!(!is("https://auth.docker.io:444/token", "https://registry-1.docker.io/v2/"));
        assert!(!is("http://127.0.0.1:5001/token", "http://127.0.0.1:5000/v2/"));
        assert!(!is("https://10.1.0.1/token", "https://10.2.0.1/v2/"));
    }
}
