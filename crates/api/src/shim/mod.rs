//! The protocol between daemon and shim: its messages, and how they and the standard streams are framed.
//! Pure functions over bytes, so that the daemon's async sockets and the shim's epoll loop use the same
//! ones. Sockets and passed descriptors are the callers' business. The protocol itself is described in
//! `proto/gantry/shim/v1/shim.proto`.

mod frame;
pub mod stdio;

pub use frame::{FrameError, FrameReader, encode};

/// The messages of `gantry.shim.v1`.
#[expect(clippy::pedantic, reason = "generated; documented where it is written")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/gantry.shim.v1.rs"));
}

/// The newest version of the protocol that this build speaks.
pub const VERSION: u32 = 1;
/// The oldest version that it still speaks.
pub const VERSION_MIN: u32 = 1;
/// The first argument of the shim that makes the others; then come [`SHIM_NAME_BYTES_MAX`] bytes of room for their names.
pub const NURSERY_ARGUMENT: &str = "nursery";
/// How long a shim's name, as `ps` shows it, may be. It goes to the nursery in one packet, the control connection beside it.
pub const SHIM_NAME_BYTES_MAX: usize = 128;
/// The control socket's name in the bundle folder.
pub const SOCKET_FILE: &str = "shim.sock";
/// The name of the file with the shim's process id in the bundle folder.
pub const PID_FILE: &str = "pid";
/// The name of the file with the encoded [`v1::Exited`] of init in the bundle folder.
pub const EXIT_FILE: &str = "exit";
/// The folder in the bundle folder of the files that are mounted over the container's own; the shim takes it away.
pub const FILES_FOLDER: &str = "etc";
/// What becomes `/etc/hostname`, in the bundle folder.
pub const HOSTNAME_FILE: &str = "etc/hostname";
/// What becomes `/etc/hosts`, in the bundle folder.
pub const HOSTS_FILE: &str = "etc/hosts";
/// What becomes `/etc/resolv.conf`, in the bundle folder.
pub const RESOLV_CONF_FILE: &str = "etc/resolv.conf";
/// The root filesystem's mount point in the bundle folder, where another runtime makes the container.
pub const ROOTFS_FOLDER: &str = "rootfs";
/// The network namespace's mount point in the bundle folder, for another runtime's create.
pub const NETWORK_FILE: &str = "netns";
/// The file in the bundle folder to which another runtime logs.
pub const RUNTIME_LOG_FILE: &str = "runtime.log";
/// The OCI spec in the bundle folder, for another runtime.
pub const SPEC_FILE: &str = "config.json";
/// The first part of a log segment's name; its number follows, counting from 1.
pub const LOG_SEGMENT_PREFIX: &str = "log.";

/// The version that two peers speak: the newest in common. `None` if there is none.
pub fn negotiate(peer_min: u32, peer: u32) -> Option<u32> {
    let version = peer.min(VERSION);
    (version >= VERSION_MIN && version >= peer_min && version > 0).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_agree_on_the_newest_version_in_common() {
        assert_eq!(negotiate(1, 1), Some(1));
        assert_eq!(negotiate(1, VERSION + 5), Some(VERSION));
        assert_eq!(negotiate(VERSION + 1, VERSION + 5), None);
        assert_eq!(negotiate(0, 0), None);
    }
}
