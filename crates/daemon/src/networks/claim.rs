//! One daemon for each network namespace: the table `inet gantry` and `gantry0` have one name, and two daemons would take
//! each other's rules and links for leftovers. Who runs owns a table that ends with it ([`NamespaceClaim`]); who has stopped,
//! and whose containers go on, is named by the mark of `inet gantry`: a number kept in its state folder, and that folder's path. A mark whose folder is gone, or has another number, is nobody's any more.

use std::io::{self, Read};
use std::path::Path;
use std::sync::PoisonError;

use gantry_network::nftables::{NamespaceClaim, OWNER_BYTES_MAX};

use super::Networks;
use super::problem::NetworkProblem;
use crate::error::Error;

/// The file with the number, in the state folder.
const FILE: &str = "networks-owner";
/// Digits of a number.
const DIGITS: usize = 16;

/// The right to a network namespace's networks.
#[derive(Debug)]
pub(super) struct Claim {
    _namespace: NamespaceClaim,
    mark: String,
}

impl Networks {
    /// Takes the right, if nobody else has it; answers the table's mark.
    pub(super) fn claim(&self) -> Result<String, Error> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = &*claimed {
            return Ok(claim.mark.clone());
        }
        let failed = |source| Error::Io { action: "claim the network namespace", source };
        let holder = self.host.rules_owner()?;
        let taken = |holder: Option<&String>| NetworkProblem::NamespaceTaken { holder: holder.cloned() };
        let Some(namespace) = NamespaceClaim::take()? else {
            return Err(taken(holder.as_ref().filter(|holder| !self.is_own(holder))).into());
        };
        if let Some(holder) = &holder
            && !self.is_own(holder)
        {
            if is_there(holder) {
                return Err(taken(Some(holder)).into());
            }
            tracing::warn!(holder, "a daemon that is no more left its networks here; they are taken over");
        }
        let mark = self.mark().map_err(failed)?;
        *claimed = Some(Claim { _namespace: namespace, mark: mark.clone() });
        Ok(mark)
    }

    fn is_own(&self, mark: &str) -> bool {
        number_at(&self.state).is_some_and(|number| mark == written(&number, &self.state))
    }

    /// This daemon's mark, with a number made when there is none.
    fn mark(&self) -> io::Result<String> {
        if let Some(number) = number_at(&self.state) {
            return Ok(written(&number, &self.state));
        }
        let number = format!("{:0DIGITS$x}", rand::random::<u64>());
        std::fs::write(self.state.join(FILE), &number)?;
        Ok(written(&number, &self.state))
    }
}

/// Cut as the table would cut it, so that reading gives what was written.
fn written(number: &str, state: &Path) -> String {
    let mut text = format!("{number} {}", state.display());
    while text.len() > OWNER_BYTES_MAX {
        text.pop();
    }
    text
}

/// Forgets the mark: whoever comes next has a number of its own.
pub(super) fn forget(state: &Path) -> io::Result<()> {
    match std::fs::remove_file(state.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn number_at(state: &Path) -> Option<String> {
    let mut number = String::new();
    let limit = u64::try_from(DIGITS).expect("a small constant");
    std::fs::File::open(state.join(FILE)).ok()?.take(limit).read_to_string(&mut number).ok()?;
    (number.len() == DIGITS).then_some(number)
}

/// Whether the mark's folder still has its number. A path that may have been cut, within a letter of up to four bytes, is
/// taken for one that is there.
fn is_there(mark: &str) -> bool {
    let Some((number, path)) = mark.split_once(' ') else { return false };
    mark.len() + 4 > OWNER_BYTES_MAX || number_at(Path::new(path)).is_some_and(|found| found == number)
}
