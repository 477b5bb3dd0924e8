//! How do changes reach the kernel? All messages of a change in one datagram between the begin and the end of a
//! batch: the kernel takes all of them or none. gantry-netd knows our changes from a stranger's by the sender's
//! netlink address, which is why the connection has one of ours.

use gantry_linux::Errno;

use super::TABLE;
use super::attribute::{FAMILY_HEADER, Verb, Writer};
use crate::error::{Attempt, NetworkError, Result};
use crate::host::Host;
use crate::netlink::Attributes;
use crate::netlink::socket::{ACK, CREATE, Connection, Family, HEADER, Messages};

impl Host {
    /// Makes the table anew from all its parts (`base`, networks, endpoints), whether or not there is one.
    /// Packets find either the old one or the new one.
    pub fn load_rules<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Result<()> {
        let mut batch = Writer::default();
        batch.batch_mark(BEGIN);
        for verb in [Verb::NewTable, Verb::DeleteTable, Verb::NewTable] {
            let flags = if verb == Verb::NewTable { CREATE } else { 0 };
            batch.message(verb, flags, |w| w.text(1, TABLE));
        }
        for part in parts {
            batch.bytes.extend_from_slice(part);
        }
        self.with(Family::Netfilter, |connection| send(connection, batch))
    }

    /// Removes and adds in one batch. What is to be removed may be gone already; what is to be added may be there.
    pub fn change_rules(&self, remove: &[u8], add: &[u8]) -> Result<()> {
        let mut batch = Writer::default();
        batch.batch_mark(BEGIN);
        batch.bytes.extend_from_slice(remove);
        batch.bytes.extend_from_slice(add);
        self.with(Family::Netfilter, |connection| match send(connection, batch) {
            Err(error) if error.errno() == Some(Errno::NOENT) && !remove.is_empty() => {
                for message in Messages(remove).whole() {
                    let mut batch = Writer::default();
                    batch.batch_mark(BEGIN);
                    batch.bytes.extend_from_slice(message);
                    crate::bridge::tolerate(send(connection, batch), Errno::NOENT)?;
                }
                let mut batch = Writer::default();
                batch.batch_mark(BEGIN);
                batch.bytes.extend_from_slice(add);
                send(connection, batch)
            }
            other => other,
        })
    }

    /// Removes the table; nothing to do when there is none.
    pub fn remove_rules(&self) -> Result<()> {
        let mut batch = Writer::default();
        batch.batch_mark(BEGIN);
        batch.message(Verb::DeleteTable, 0, |w| w.text(1, TABLE));
        let sent = self.with(Family::Netfilter, |connection| send(connection, batch));
        crate::bridge::tolerate(sent, Errno::NOENT)
    }
}

/// NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END.
pub(super) const BEGIN: u16 = 16;
const END: u16 = 17;

/// Ends the batch and sends it.
pub(super) fn send(connection: &mut Connection, mut batch: Writer) -> Result<()> {
    let Some(last) = Messages(&batch.bytes).starts().last().filter(|start| *start > 0) else { return Ok(()) };
    // Whether everything was taken is known by the last message's acknowledgement.
    batch.bytes[last + 6] |= ACK.to_ne_bytes()[0];
    batch.batch_mark(END);
    // A socket takes about 200 KiB in one datagram unless it is told otherwise.
    if batch.bytes.len() > 64 * 1024 {
        connection.make_room(batch.bytes.len() * 2)?;
    }
    connection.talk(&mut batch.bytes).map_err(|refusal| {
        let place = usize::try_from(refusal.place).unwrap_or(usize::MAX);
        let message = Messages(&batch.bytes).whole().nth(place).unwrap_or_default();
        NetworkError::Refused {
            attempt: describe(message, refusal.place),
            explanation: refusal.explanation,
            errno: refusal.errno,
        }
    })
}

/// What a message was for.
fn describe(message: &[u8], place: u32) -> Attempt {
    let kind = message.get(4).copied().unwrap_or(u8::MAX);
    let what = [
        (Verb::NewTable, "making the table"),
        (Verb::DeleteTable, "removing the table"),
        (Verb::NewChain, "making a chain"),
        (Verb::NewRule, "adding a rule to chain"),
        (Verb::NewSet, "making set"),
        (Verb::NewElements, "adding elements to set"),
        (Verb::DeleteElements, "removing elements from set"),
    ]
    .into_iter()
    .find_map(|(verb, what)| (verb as u8 == kind).then_some(what))
    .unwrap_or("sending a batch");
    Attempt::Rules { what, object: second_text(message), place }
}

/// The name behind the table's: of a set, of a rule's chain.
fn second_text(message: &[u8]) -> String {
    let attributes = Attributes(message.get(HEADER + FAMILY_HEADER..).unwrap_or_default());
    let text = attributes.value(2).unwrap_or_default();
    String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
}
