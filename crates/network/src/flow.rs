//! When does a connection end that the kernel still tracks? When its container is gone, or its port leads elsewhere:
//! a client that goes on sending UDP keeps its flow alive, and would never reach whoever has the address or
//! the port next. The kernel walks its
//! table and drops what matches, but for flows of IPv6 addresses, which are listed and named one by one.

use std::net::{IpAddr, Ipv6Addr};

use gantry_linux::Errno;
use gantry_types::Protocol;

use crate::error::{Attempt, Result};
use crate::host::Host;
use crate::netlink::Attributes;
use crate::netlink::socket::{ACK, DUMP, Family};
use crate::nftables::{FAMILY_HEADER, Writer};

/// Which parts of a tuple count (`CTA_FILTER_F_*` of the kernel).
const SOURCE: u32 = 1 << 0;
const PROTOCOL: u32 = 1 << 3;
const DESTINATION_PORT: u32 = 1 << 5;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ADDRESSES: u16 = 1;
const SOURCE4: u16 = 1;
const SOURCE6: u16 = 3;

impl Host {
    /// Forgets every flow that an address answers, translated or not: of a container that has ended or has
    /// left the network.
    pub fn forget_flows_of(&self, container: IpAddr) -> Result<()> {
        let attempt = Attempt::ForgetFlowsOf(container);
        match container {
            IpAddr::V4(address) => self.forget(false, attempt, |w| {
                filter(w, 0, SOURCE);
                w.nest(TUPLE_REPLY, |w| w.nest(ADDRESSES, |w| w.raw(SOURCE4, &address.octets())));
            }),
            // The kernel's filter takes equal IPv6 addresses for different ones and the other way round (6.18),
            // and would drop everybody else's flows.
            IpAddr::V6(address) => {
                for flow in self.flows6_of(address, &attempt)? {
                    let forgotten = self.forget(true, attempt.clone(), |w| w.bytes.extend_from_slice(&flow));
                    crate::bridge::tolerate(forgotten, Errno::NOENT)?;
                }
                Ok(())
            }
        }
    }

    /// What names each flow that an address answers: its first tuple, as an attribute.
    fn flows6_of(&self, container: Ipv6Addr, attempt: &Attempt) -> Result<Vec<Vec<u8>>> {
        // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET.
        const GET: u16 = 1 << 8 | 1;
        let mut question = Writer::default();
        question.framed(GET, DUMP, [10, 0, 0, 0], |_| {});
        let mut found = Vec::new();
        let mut visit = |_: u16, body: &[u8]| {
            let flow = || Attributes(body.get(FAMILY_HEADER..).unwrap_or_default());
            let addresses = flow().value(TUPLE_REPLY).and_then(|tuple| Attributes(tuple).value(ADDRESSES));
            let source = addresses.and_then(|addresses| Attributes(addresses).value(SOURCE6));
            if let (true, Some(tuple)) = (source == Some(&container.octets()), flow().value(TUPLE_ORIGINAL)) {
                let mut name = Writer::default();
                name.nest(TUPLE_ORIGINAL, |w| w.bytes.extend_from_slice(tuple));
                found.push(name.bytes);
            }
        };
        self.with(Family::Netfilter, |connection| {
            connection.list(&mut question.bytes, &mut visit).map_err(|refusal| refusal.of(attempt.clone()))
        })?;
        Ok(found)
    }

    /// Forgets every flow to a port, whoever's it was: of a port that is published now or no more.
    pub fn forget_flows_to(&self, ipv6: bool, protocol: Protocol, port: u16) -> Result<()> {
        self.forget(ipv6, Attempt::ForgetFlowsTo { port, protocol }, |w| {
            filter(w, PROTOCOL | DESTINATION_PORT, 0);
            w.nest(TUPLE_ORIGINAL, |w| {
                w.nest(2, |w| {
                    w.raw(1, &[protocol.number()]);
                    w.raw(3, &port.to_be_bytes());
                });
            });
        })
    }

    fn forget(&self, ipv6: bool, attempt: Attempt, body: impl FnOnce(&mut Writer)) -> Result<()> {
        // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE.
        const DELETE: u16 = 1 << 8 | 2;
        let family = if ipv6 { 10 } else { 2 };
        let mut message = Writer::default();
        message.framed(DELETE, ACK, [family, 0, 0, 0], body);
        self.with(Family::Netfilter, |connection| {
            connection.talk(&mut message.bytes).map_err(|refusal| refusal.of(attempt))
        })
    }
}

/// CTA_FILTER, with its two halves in the machine's order.
fn filter(writer: &mut Writer, original: u32, reply: u32) {
    writer.nest(25, |w| {
        w.raw(1, &original.to_ne_bytes());
        w.raw(2, &reply.to_ne_bytes());
    });
}
