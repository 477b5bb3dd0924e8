//! What people are shown: points in time, sizes, tables, templates, progress, and resources in docker's words.

pub(crate) mod bytes;
pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod moment;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod usage;
