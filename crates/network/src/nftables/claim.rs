//! Which daemon works in this network namespace? The one that owns the table `inet gantry-daemon`: the kernel takes it away
//! when the owner's netlink socket is closed, so it cannot be left behind, and only who may change the firewall can make
//! it (NFT_TABLE_F_OWNER, Linux 5.12). An abstract unix socket would end as surely, but anybody may bind its name first.

use gantry_linux::Errno;

use super::apply::{BEGIN, send};
use super::attribute::{Verb, Writer};
use crate::error::{Attempt, Result};
use crate::netlink::socket::{CREATE, Connection, EXCL, Family};

/// The table's name.
const TABLE: &str = "gantry-daemon";
/// NFTA_TABLE_NAME, NFTA_TABLE_FLAGS.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// NFT_TABLE_F_OWNER.
const OWNER: u32 = 0x2;

/// The right to the calling thread's network namespace, until it is dropped or the process ends.
#[derive(Debug)]
pub struct NamespaceClaim {
    _owner: Connection,
}

impl NamespaceClaim {
    /// Takes it; `None` when another process has it.
    pub fn take() -> Result<Option<Self>> {
        let mut owner = Connection::open(Family::Netfilter)?;
        let mut batch = Writer::default();
        batch.batch_mark(BEGIN);
        batch.message(Verb::NewTable, CREATE | EXCL, |w| {
            w.text(TABLE_NAME, TABLE);
            w.number(TABLE_FLAGS, OWNER);
        });
        match send(&mut owner, batch) {
            Ok(()) => Ok(Some(Self { _owner: owner })),
            // Somebody else's table is told by the same errno as a missing capability.
            Err(error) if error.errno() == Some(Errno::PERM) && is_taken(&mut owner)? => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_taken(connection: &mut Connection) -> Result<bool> {
    let mut question = Writer::default();
    question.message(Verb::GetTable, 0, |w| w.text(TABLE_NAME, TABLE));
    let mut found = false;
    let asked = connection.list(&mut question.bytes, &mut |_, _| found = true).map_err(|refusal| {
        refusal.of(Attempt::Rules { what: "reading table", object: TABLE.to_owned(), place: 0 })
    });
    crate::bridge::tolerate(asked, Errno::NOENT)?;
    Ok(found)
}
