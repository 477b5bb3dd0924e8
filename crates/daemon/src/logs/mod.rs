//! Reading what a container wrote. The shim writes segments `log.<n>` in the CRI text format; this module
//! finds a starting place in them, reads on from segment to segment, and waits for more. It never writes,
//! so a reader can neither slow nor break a container.

mod entry;
mod follow;
mod reader;

pub(crate) use entry::{Entry, LogStream};
pub(crate) use follow::Follower;
pub(crate) use reader::{End, LogReader, Start};
