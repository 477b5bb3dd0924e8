//! Putting Gantry's rules back. The kernel tells of every change of nf_tables and whose netlink port made it; when
//! somebody else deleted something in our table (`nft flush ruleset`, a firewall's reload), the whole table is made anew from
//! the files, in one batch that the kernel takes whole or not at all.
//!
//! No loop: netd's and gantryd's own ports are known by their prefix. No crossing with gantryd: see
//! [`gantry_network::netd`]. A file whose rules the kernel refuses is left out and named in the status: one bad container must
//! not cost the others their network.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use gantry_network::netd::{Folder, NFT_PORT_PREFIX, NetdError};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::nft::{self, Batch, Notice};

/// Bytes taken from a netlink socket at once; a notice of many elements is that large.
const RECEIVE_BYTES: usize = 64 << 10;
/// Bytes of notices that wait, before the kernel says that it dropped some.
const NOTICES_BYTES: usize = 1 << 20;
/// Time between two healings, at the least: a tool that flushes without end does not take all of netd's time.
const GAP: Duration = Duration::from_millis(10);
/// When a healing that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the kernel's state may change under a healing, or a file be refused, before it is given up for now.
const ATTEMPTS_MAX: usize = 64;
/// How many port ids are tried: others have some, never that many.
const PORTS_TRIED: u32 = 256;

/// Why the rules could not be put back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealError {
    /// A netlink call failed.
    #[error("netlink {call} failed")]
    Netlink {
        /// Which.
        call: &'static str,
        /// Why.
        #[source]
        errno: Errno,
    },
    /// The files could not be read.
    #[error("the rules could not be read")]
    Files(#[from] NetdError),
    /// The kernel refused the batch for a reason that is no file's.
    #[error("the kernel refused the table")]
    Refused {
        /// Why.
        #[source]
        errno: Errno,
    },
    /// Others changed the ruleset each time, or too many files were refused.
    #[error("the ruleset changed too often")]
    Contended,
}

/// What a healing did.
#[derive(Debug)]
pub(crate) struct Healed {
    /// Files that were left out, with their reasons.
    pub(crate) left_out: Vec<String>,
}

/// The watch over the rules.
#[derive(Debug)]
pub(crate) struct Healer {
    notices: OwnedFd,
    work: OwnedFd,
    /// When the next healing is to be, if one is.
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Healer {
    /// Begins to watch. The first healing is due at once: nobody knows what happened before.
    pub(crate) fn new(now: Instant) -> Result<Self, HealError> {
        let notices = open(nft::NOTICES)?;
        let work = open(0)?;
        // Refused without the capability; then the default has to do.
        let _ = sockopt::set_socket_recv_buffer_size_force(&notices, NOTICES_BYTES);
        Ok(Self { notices, work, due: Some(now), last: None })
    }

    /// When it wants to be asked.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Reads the notices that came. Damage makes a healing due.
    pub(crate) fn listen(&mut self, now: Instant) {
        if self.damaged() && self.due.is_none() {
            self.due = Some(self.last.map_or(now, |last| now.max(last + GAP)));
        }
    }

    fn damaged(&self) -> bool {
        let mut damaged = false;
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            match receive(&self.notices, &mut buffer) {
                Ok(true) => {
                    let notices = nft::messages(&buffer);
                    // What is cut off could have been anything.
                    damaged |= notices
                        .map(|message| message.map_or(Notice::Damage, |message| message.notice()))
                        .any(|notice| notice == Notice::Damage);
                }
                Ok(false) => return damaged,
                // Some were dropped, and could have been anything.
                Err(_) => damaged = true,
            }
        }
    }

    /// Puts everything back if it is due; `None` where it is not, or where there are no rules yet.
    pub(crate) fn heal(&mut self, folder: &Folder, now: Instant) -> Option<Result<Healed, HealError>> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        self.last = Some(now);
        let result = self.put_back(folder).transpose()?;
        if result.is_err() {
            self.due = Some(now + RETRY);
        }
        Some(result)
    }

    fn put_back(&self, folder: &Folder) -> Result<Option<Healed>, HealError> {
        let mut refused: Vec<(String, Errno)> = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let generation = self.generation()?;
            let Some(Collected { batch, sources, mut left_out }) = collect(folder, generation, &refused)?
            else {
                return Ok(None);
            };
            match self.send(&batch)? {
                None => {
                    let reasons = refused.iter().map(|(source, errno)| format!("{source}: {errno}"));
                    left_out.extend(reasons);
                    return Ok(Some(Healed { left_out }));
                }
                // Somebody was faster: what was read may be out of date.
                Some((_, Errno::RESTART)) => {}
                Some((sequence, errno)) => {
                    let index = usize::try_from(sequence).ok().and_then(|sequence| sequence.checked_sub(1));
                    let source = index.and_then(|index| sources.get(index));
                    let source = source.ok_or(HealError::Refused { errno })?;
                    refused.push((source.clone(), errno));
                }
            }
        }
        Err(HealError::Contended)
    }

    fn generation(&self) -> Result<u32, HealError> {
        let mut buffer = Vec::with_capacity(4096);
        rustix::net::send(&self.work, &nft::generation_request(), SendFlags::empty())
            .map_err(|errno| HealError::Netlink { call: "send", errno })?;
        while receive(&self.work, &mut buffer)
            .map_err(|errno| HealError::Netlink { call: "receive", errno })?
        {
            for message in nft::messages(&buffer).flatten() {
                if let Notice::Generation(number) = message.notice() {
                    return Ok(number);
                }
            }
        }
        // The kernel answers within the call that asks.
        Err(HealError::Netlink { call: "receive", errno: Errno::NODATA })
    }

    /// Sends a batch; the first refusal, if there was one.
    fn send(&self, batch: &[u8]) -> Result<Option<(u32, Errno)>, HealError> {
        // The batch must be one message for the kernel, whatever its size.
        let _ = sockopt::set_socket_send_buffer_size_force(&self.work, batch.len() + RECEIVE_BYTES);
        rustix::net::send(&self.work, batch, SendFlags::empty())
            .map_err(|errno| HealError::Netlink { call: "send", errno })?;
        let mut first = None;
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            match receive(&self.work, &mut buffer) {
                Ok(true) => {
                    for message in nft::messages(&buffer).flatten() {
                        match message.notice() {
                            Notice::Refusal { sequence, errno } if errno != 0 => {
                                first = first.or_else(|| Some((sequence, Errno::from_raw_os_error(errno))));
                            }
                            Notice::Refusal { .. }
                            | Notice::Damage
                            | Notice::Generation(_)
                            | Notice::Other => {}
                        }
                    }
                }
                Ok(false) => return Ok(first),
                // So many refusals that not all were kept; the first was.
                Err(Errno::NOBUFS) if first.is_some() => {}
                Err(errno) => return Err(HealError::Netlink { call: "receive", errno }),
            }
        }
    }
}

impl AsFd for Healer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

/// A batch, and what it was made of.
struct Collected {
    batch: Vec<u8>,
    /// The file of each sequence number, from 1.
    sources: Vec<String>,
    left_out: Vec<String>,
}

/// Everything in the files, one after the other. `None` where the engine has made no table yet.
fn collect(
    folder: &Folder,
    generation: u32,
    refused: &[(String, Errno)],
) -> Result<Option<Collected>, HealError> {
    let Some(ruleset) = folder.ruleset()? else { return Ok(None) };
    let mut batch = Batch::new(generation);
    let mut sources = Vec::new();
    let mut left_out = Vec::new();
    let mut add = |source: String, rules: Result<Option<Vec<u8>>, NetdError>| {
        if refused.iter().any(|(other, _)| *other == source) {
            return;
        }
        let sequence = u32::try_from(sources.len() + 1).unwrap_or(u32::MAX);
        match rules {
            Ok(Some(rules)) => match batch.add(&rules, sequence) {
                Ok(()) => sources.push(source),
                Err(error) => left_out.push(format!("{source}: {error}")),
            },
            Ok(None) => {}
            Err(error) => left_out.push(format!("{source}: {error}")),
        }
    };
    add("ruleset".to_owned(), Ok(Some(ruleset.rules)));
    for id in folder.network_ids()? {
        let rules = folder.network(&id).map(|network| network.map(|network| network.rules));
        add(format!("networks/{id}"), rules);
    }
    for id in folder.endpoint_ids()? {
        let rules = folder.endpoint(&id).map(|endpoint| endpoint.map(|endpoint| endpoint.rules));
        add(format!("endpoints/{id}"), rules);
    }
    Ok(Some(Collected { batch: batch.finish(), sources, left_out }))
}

/// Takes one datagram; false when there is none.
fn receive(socket: &OwnedFd, buffer: &mut Vec<u8>) -> Result<bool, Errno> {
    loop {
        buffer.clear();
        match rustix::net::recv(socket, rustix::buffer::spare_capacity(buffer), RecvFlags::empty()) {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A netlink socket with a port id of Gantry's.
fn open(groups: u32) -> Result<OwnedFd, HealError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))
        .map_err(|errno| HealError::Netlink { call: "socket", errno })?;
    let start = std::process::id();
    for offset in 0..PORTS_TRIED {
        let port = NFT_PORT_PREFIX | start.wrapping_add(offset) & 0xffff;
        match rustix::net::bind(&socket, &SocketAddrNetlink::new(port, groups)) {
            Ok(()) => return Ok(socket),
            Err(Errno::ADDRINUSE) => {}
            Err(errno) => return Err(HealError::Netlink { call: "bind", errno }),
        }
    }
    Err(HealError::Netlink { call: "bind", errno: Errno::ADDRINUSE })
}
