//! A place on a network as it is written: `name`, `name:ip=…,alias=…`, or docker's longer `name=…,ip=…,alias=…`.

use gantry_api::networks::v1::{EndpointOptions, NetworkAttachment};

/// One `--network` that names a network.
pub(crate) fn attachment(text: &str) -> Result<NetworkAttachment, String> {
    let (network, fields) = match text.split_once(':') {
        Some((network, fields)) => (network.to_owned(), fields),
        None if text.contains('=') => (String::new(), text),
        None => (text.to_owned(), ""),
    };
    let mut attachment = NetworkAttachment { network, options: Some(EndpointOptions::default()) };
    for field in fields.split(',').filter(|field| !field.is_empty()) {
        let (key, value) =
            field.split_once('=').ok_or_else(|| format!("{field:?} is not of the form key=value"))?;
        let options = attachment.options.get_or_insert_default();
        match key {
            "name" => value.clone_into(&mut attachment.network),
            "alias" => options.aliases.push(value.to_owned()),
            "ip" => value.clone_into(&mut options.ipv4),
            "ip6" => value.clone_into(&mut options.ipv6),
            "mac" | "mac-address" | "mac_address" => value.clone_into(&mut options.mac),
            "interface" | "interface-name" | "interface_name" => value.clone_into(&mut options.interface),
            "gw-priority" | "gateway-priority" => {
                options.gateway_priority =
                    value.parse().map_err(|_| format!("{value:?} is no priority; it is a whole number"))?;
            }
            _ => {
                return Err(format!(
                    "a place on a network has no {key:?}; there are alias, ip, ip6, mac, interface and gw-priority"
                ));
            }
        }
    }
    if attachment.network.is_empty() {
        return Err(format!("{text:?} names no network"));
    }
    Ok(attachment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_mean_the_same() {
        let short = attachment("front:ip=10.0.0.9,alias=a,alias=b,gw-priority=-1").expect("well formed");
        let long = attachment("name=front,ip=10.0.0.9,alias=a,alias=b,gw-priority=-1").expect("well formed");
        assert_eq!(short, long);
        let options = short.options.expect("always there");
        assert_eq!(
            (options.aliases.len(), options.ipv4.as_str(), options.gateway_priority),
            (2, "10.0.0.9", -1)
        );
    }

    #[test]
    fn a_place_without_a_network_or_with_an_unknown_field_is_refused() {
        for text in ["", ":", "ip=1.2.3.4", "a:b", "a:colour=red", "a:gw-priority=x"] {
            assert!(attachment(text).is_err(), "{text:?}");
        }
    }
}
