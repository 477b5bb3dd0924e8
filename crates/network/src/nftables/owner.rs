//! Whose table is it? A chain that nothing enters says so in its comment, so that people see it (`nft list table inet
//! gantry`) and a second engine in the same network namespace finds out. It is a message like all others, so
//! gantry-netd puts it back with them.

use gantry_linux::Errno;

use super::TABLE;
use super::attribute::{FAMILY_HEADER, Verb, Writer};
use crate::error::{Attempt, Result};
use crate::host::Host;
use crate::netlink::Attributes;
use crate::netlink::socket::{CREATE, Family};

/// The chain's name.
const CHAIN: &str = "owner";
/// NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_USERDATA.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_USERDATA: u16 = 12;
/// A comment within user data, as nft writes it: kind 0, a length that counts the NUL, the text.
const COMMENT: u8 = 0;
/// Bytes of an owner's name at the most, as many as nft prints of a comment.
pub const OWNER_BYTES_MAX: usize = 127;

/// The messages that say whose the table is; they follow those of [`super::base`]. What is longer than nft prints is cut.
pub fn owned_by(owner: &str) -> Vec<u8> {
    let mut end = owner.len().min(OWNER_BYTES_MAX);
    while !owner.is_char_boundary(end) {
        end -= 1;
    }
    let text = &owner.as_bytes()[..end];
    let mut data = vec![COMMENT, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)];
    data.extend_from_slice(text);
    data.push(0);
    let mut writer = Writer::default();
    writer.message(Verb::NewChain, CREATE, |w| {
        w.text(CHAIN_TABLE, TABLE);
        w.text(CHAIN_NAME, CHAIN);
        w.raw(CHAIN_USERDATA, &data);
    });
    writer.bytes
}

impl Host {
    /// Whose the table is; `None` when there is none, or it does not say.
    pub fn rules_owner(&self) -> Result<Option<String>> {
        let mut question = Writer::default();
        question.message(Verb::GetChain, 0, |w| {
            w.text(CHAIN_TABLE, TABLE);
            w.text(CHAIN_NAME, CHAIN);
        });
        let mut owner = None;
        let asked = self.with(Family::Netfilter, |connection| {
            let answer = connection.list(&mut question.bytes, &mut |_, body| owner = comment(body));
            let attempt = || Attempt::Rules { what: "reading chain", object: CHAIN.to_owned(), place: 0 };
            answer.map_err(|refusal| refusal.of(attempt()))
        });
        crate::bridge::tolerate(asked, Errno::NOENT)?;
        Ok(owner)
    }
}

fn comment(body: &[u8]) -> Option<String> {
    let data = Attributes(body.get(FAMILY_HEADER..)?).value(CHAIN_USERDATA)?;
    let [COMMENT, length, text @ ..] = data else { return None };
    let text = text.get(..usize::from(*length))?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}
