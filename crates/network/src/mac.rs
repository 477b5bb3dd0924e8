//! Which hardware address does a link get? One made of its address, so that neighbours who remember the pair stay
//! right when the address is given to the next container.

use std::net::IpAddr;

use gantry_types::MacAddress;

/// The hardware address of the link that has this address: locally administered, different for every IPv4
/// address; of IPv6 the last 40 bits are told apart.
pub fn mac_of(address: IpAddr) -> MacAddress {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            MacAddress::local([0x02, 0x47, a, b, c, d])
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            MacAddress::local([0x06, octets[11], octets[12], octets[13], octets[14], octets[15]])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_stations_of_their_own() {
        let of = |text: &str| mac_of(text.parse().expect("an address")).to_string();
        assert_eq!(of("10.1.2.3"), "02:47:0a:01:02:03");
        assert_eq!(of("fd00::1:2"), "06:00:00:01:00:02");
        assert_ne!(of("10.1.2.3"), of("10.1.2.4"));
    }
}
