//! One command per file: its flags, and what it does from top to bottom.

pub(crate) mod attach;
pub(crate) mod completion;
pub(crate) mod create;
mod each;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod ps;
pub(crate) mod pull;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod rm;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tag;
pub(crate) mod version;
pub(crate) mod wait;
