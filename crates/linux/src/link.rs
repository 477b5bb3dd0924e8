//! How one network link moves into another network namespace and keeps its addresses (rtnetlink(7)): a few
//! messages laid out by hand, because the runtime has no netlink library. Everything else about networks is
//! the network engine's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Errno, Result, SyscallError};
use crate::namespace::{Namespaces, enter, open_own};
use crate::sys;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
const IFA_CACHEINFO: u16 = 6;
/// The kernel makes these by itself.
const RT_SCOPE_LINK: u8 = 253;
const IFF_UP: u32 = 1;
const HEADER_BYTES: usize = 16;
const BUFFER_BYTES: usize = 32 * 1024;

/// A link of the calling thread's network namespace.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    index: u32,
}

/// An address of a link, as it is told back to the kernel: the message without its header, from after the
/// link's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family_prefix_flags_scope: [u8; 4],
    attributes: Vec<u8>,
}

impl Link {
    /// Finds a link by its name.
    pub fn open(name: &str) -> Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is zero, the default.
            None,
        )
        .map_err(SyscallError::caller("socket"))?;
        let index = rustix::net::netdevice::name_to_index(&socket, name)
            .map_err(SyscallError::path("ioctl", name))?;
        Ok(Self { socket, index })
    }

    /// Its addresses but those that the kernel gives every link.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.request(RTM_GETADDR, NLM_F_DUMP, &[0; 8])?;
        self.answers(|kind, body| {
            // struct ifaddrmsg: family, prefix length, flags, scope, index.
            let index = body.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
            if kind == RTM_NEWADDR && index == Some(self.index) && body[3] != RT_SCOPE_LINK {
                addresses.push(Address {
                    family_prefix_flags_scope: [body[0], body[1], body[2], body[3]],
                    attributes: kept_attributes(&body[8..]),
                });
            }
        })?;
        Ok(addresses)
    }

    /// Moves it into the network namespace of a process, a pidfd, under a name. It is down afterwards and has
    /// no address.
    pub fn move_to(&self, process: BorrowedFd<'_>, name: &str) -> Result<()> {
        let own = open_own(Namespaces::NETWORK)?;
        enter(process, Namespaces::NETWORK)?;
        let target = open_own(Namespaces::NETWORK);
        enter(own.as_fd(), Namespaces::NETWORK)?;
        let target = target?;
        let mut body = self.link_message(0);
        attribute(&mut body, IFLA_NET_NS_FD, &sys::number(target.as_fd()).to_ne_bytes());
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        attribute(&mut body, IFLA_IFNAME, &text);
        self.request(RTM_NEWLINK, NLM_F_ACK, &body)?;
        self.answers(|_, _| {})
    }

    /// Sets it up, with these addresses.
    pub fn set_up(&self, addresses: &[Address]) -> Result<()> {
        for address in addresses {
            let mut body = address.family_prefix_flags_scope.to_vec();
            body.extend(self.index.to_ne_bytes());
            body.extend(&address.attributes);
            self.request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_EXCL, &body)?;
            self.answers(|_, _| {})?;
        }
        self.request(RTM_NEWLINK, NLM_F_ACK, &self.link_message(IFF_UP))?;
        self.answers(|_, _| {})
    }

    /// `struct ifinfomsg`: family, type, index, flags, and which of them change.
    fn link_message(&self, flags: u32) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(self.index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(|_| self.fail(Errno::MSGSIZE))?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(&self.socket, &message, rustix::net::SendFlags::empty())
            .map(drop)
            .map_err(|errno| self.fail(errno))
    }

    /// Hands every message of the answer to `each`, until its end or its error.
    fn answers(&self, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let length = rustix::io::read(&self.socket, &mut buffer[..]).map_err(|errno| self.fail(errno))?;
            let mut left = &buffer[..length];
            while let Some((kind, body, rest)) = message(left) {
                left = rest;
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = body.get(..4).and_then(|bytes| bytes.try_into().ok());
                        return match code.map(i32::from_ne_bytes) {
                            Some(0) => Ok(()),
                            Some(code) => {
                                Err(self.fail(Errno::from_raw_os_error(code.wrapping_neg().clamp(1, 4095))))
                            }
                            None => Err(self.fail(Errno::PROTO)),
                        };
                    }
                    kind => each(kind, body),
                }
            }
        }
    }

    fn fail(&self, errno: Errno) -> SyscallError {
        SyscallError::new("rtnetlink", crate::Object::Descriptor(self.socket.as_raw_fd()), errno)
    }
}

/// The first message: its type, its body, and what follows.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER_BYTES..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Without what the kernel works out anew: lifetimes, the flags in their long form, and the label, which is the
/// link's name.
fn kept_attributes(mut bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    while let (Some(&[a, b]), Some(&[c, d])) =
        (bytes.first_chunk(), bytes.get(2..4).and_then(<[u8]>::first_chunk))
    {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let kind = u16::from_ne_bytes([c, d]);
        let Some(value) = bytes.get(4..length) else { break };
        if !matches!(kind, IFA_LABEL | IFA_FLAGS | IFA_CACHEINFO) {
            attribute(&mut kept, kind, value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    kept
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("attributes are short");
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_that_end_too_early_are_no_messages() {
        assert!(message(&[]).is_none() && message(&[20, 0, 0, 0, 2, 0]).is_none());
        let mut bytes = Vec::new();
        attribute(&mut bytes, 1, &[10, 0, 0, 1]);
        attribute(&mut bytes, IFA_CACHEINFO, &[0; 16]);
        attribute(&mut bytes, 4, &[10, 0, 0, 255]);
        attribute(&mut bytes, IFA_LABEL, b"eth0\0");
        let kept = kept_attributes(&bytes);
        assert_eq!(kept.len(), 8 + 8, "without the lifetimes and the label");
        assert_eq!(kept_attributes(&bytes[..6]), Vec::<u8>::new());
    }

    #[test]
    fn the_loopback_link_is_found_with_its_address_and_a_missing_one_is_not() {
        let link = Link::open("lo").expect("every namespace has it");
        // Its scope is the host's, which is kept.
        let loopback = link.addresses().expect("a dump");
        assert!(loopback.iter().any(|address| address.family_prefix_flags_scope[1] == 8), "{loopback:?}");
        assert_eq!(Link::open("no-such-link").expect_err("it is not there").errno, Errno::NODEV);
    }
}
