//! Networks: the files that gantry-netd reads.

pub mod netd;
