//! Which URL a registry's name stands for, and when plain HTTP is allowed: loopback, and hosts that the operator marked
//! insecure. There is no trying of one and then the other (CVE-2014-5277), because whoever can break TLS can then read.

use std::collections::BTreeSet;
use std::net::IpAddr;

use reqwest::Url;

use super::RegistryError;

/// The API's address for a registry's name.
pub(super) fn base_url(registry: &str, insecure: &BTreeSet<String>) -> Result<Url, RegistryError> {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    let scheme = if insecure.contains(registry) || is_loopback(host) { "http" } else { "https" };
    Url::parse(&format!("{scheme}://{host}/v2/"))
        .map_err(|_| RegistryError::Address { registry: registry.to_owned() })
}

/// Whether a request to this URL may go out in the clear.
pub(super) fn is_allowed(url: &Url, insecure: &BTreeSet<String>) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => insecure.contains(&authority(url)) || url.host_str().is_some_and(is_loopback),
        _ => false,
    }
}

/// `host[:port]` as it is written in references.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether two URLs go to the same scheme, host and port.
pub(super) fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_marked_hosts_only() {
        let insecure = BTreeSet::from(["lab:5000".to_owned()]);
        for (registry, url) in [
            ("docker.io", "https://registry-1.docker.io/v2/"),
            ("localhost:5000", "http://localhost:5000/v2/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
            ("[::1]:5000", "http://[::1]:5000/v2/"),
            ("lab:5000", "http://lab:5000/v2/"),
            ("lab:5001", "https://lab:5001/v2/"),
            ("localhost.evil.io", "https://localhost.evil.io/v2/"),
            ("127.0.0.1.evil.io", "https://127.0.0.1.evil.io/v2/"),
        ] {
            assert_eq!(base_url(registry, &insecure).expect(registry).as_str(), url);
        }
        let allowed = |url: &str| is_allowed(&Url::parse(url).expect(url), &insecure);
        assert!(allowed("http://lab:5000/x") && allowed("http://127.0.0.1/x") && allowed("https://any/x"));
        assert!(!allowed("http://lab/x") && !allowed("http://other:5000/x") && !allowed("ftp://lab:5000/x"));
    }
}
