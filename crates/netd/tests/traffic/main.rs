//! netd as it runs, with real packets: a network namespace is the host with a bridge, others are containers on it, and
//! another server of ours or Debian's is the host's resolver. Nothing has a name outside: what is made goes with its descriptors.
//!
//! Needs root, `ip`, `nft`, `dig` and `dnsmasq`; without root each test prints that it is skipped.

mod dns;
mod files;
mod forwarding;
mod rules;
mod world;
