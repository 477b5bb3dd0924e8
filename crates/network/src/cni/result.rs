//! What do plugins answer? The addresses, gateways and resolvers that the container has now, and its link's hardware
//! address (specification, section 5). It is kept as it came, because the removal gets it back.

use std::net::IpAddr;

use gantry_types::{InterfaceName, MacAddress};
use ipnet::IpNet;
use serde_json::Value;

/// What the last plugin answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniResult(pub(super) Value);

impl CniResult {
    /// From what was kept.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self)
    }

    /// To be kept.
    pub fn to_json(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    /// The addresses that the container has now.
    pub fn addresses(&self) -> Vec<IpNet> {
        self.each("ips").filter_map(|ip| text(ip, "address")?.parse().ok()).collect()
    }

    /// The neighbours that lead further.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.each("ips").filter_map(|ip| text(ip, "gateway")?.parse().ok()).collect()
    }

    /// The hardware address of a link inside.
    pub fn mac(&self, interface: &InterfaceName) -> Option<MacAddress> {
        let is_it = |link: &&Value| {
            text(link, "name") == Some(interface.as_str())
                && text(link, "sandbox").is_some_and(|path| !path.is_empty())
        };
        self.each("interfaces").find(is_it).and_then(|link| text(link, "mac")?.parse().ok())
    }

    /// Whom the container is to ask for names.
    pub fn nameservers(&self) -> Vec<IpAddr> {
        let servers = self.0.pointer("/dns/nameservers").and_then(Value::as_array).into_iter().flatten();
        servers.filter_map(|server| server.as_str()?.parse().ok()).collect()
    }

    fn each(&self, list: &str) -> impl Iterator<Item = &Value> {
        self.0.get(list).and_then(Value::as_array).into_iter().flatten()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_addresses_gateways_a_station_and_resolvers() {
        let result = CniResult::from_json(
            br#"{"cniVersion": "1.0.0", "interfaces": [
                  {"name": "eth0", "mac": "0a:00:00:00:00:01"},
                  {"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": "/run/x"}],
                "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
                        {"address": "fd00::2/64"}, {"address": "nonsense"}],
                "dns": {"nameservers": ["10.1.0.53"]}}"#,
        )
        .expect("JSON");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let name: InterfaceName = "eth0".parse().expect("a name");
        let addresses: Vec<String> = result.addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.0.2/24", "fd00::2/64"]);
        assert_eq!(result.gateways(), [ip("10.1.0.1")]);
        assert_eq!(result.mac(&name).map(|mac| mac.to_string()).as_deref(), Some("0a:00:00:00:00:02"));
        assert_eq!(result.nameservers(), [ip("10.1.0.53")]);
    }

    #[test]
    fn an_answer_of_another_shape_has_nothing() {
        for text in ["null", "[]", "3", r#"{"ips": 3, "interfaces": {}, "dns": []}"#] {
            let result = CniResult::from_json(text.as_bytes()).expect("JSON");
            assert!(result.addresses().is_empty() && result.nameservers().is_empty(), "{text}");
        }
    }
}
