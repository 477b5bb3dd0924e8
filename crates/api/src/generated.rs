//! What the build makes of `proto/`: a module for each package, messages with clients and servers. The
//! protobuf files are the place to read; nothing is written by hand here.

/// Every public file's descriptors, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.bin"));

/// Declares the module of one package.
macro_rules! package {
    ($(#[$doc:meta])* $resource:ident, $package:literal) => {
        $(#[$doc])*
        pub mod $resource {
            /// The first version, and the only one.
            #[expect(clippy::pedantic, reason = "generated code")]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package! {
    /// Containers and the processes inside them.
    containers, "gantry.containers.v1"
}
package! {
    /// Blobs by digest.
    content, "gantry.content.v1"
}
package! {
    /// What happened, in order.
    events, "gantry.events.v1"
}
package! {
    /// Images by name.
    images, "gantry.images.v1"
}
package! {
    /// What is kept from collection.
    leases, "gantry.leases.v1"
}
package! {
    /// Networks and the places on them.
    networks, "gantry.networks.v1"
}
package! {
    /// What network drivers of others answer.
    network_driver, "gantry.networks.driver.v1"
}
package! {
    /// Filesystem trees of images and containers.
    snapshots, "gantry.snapshots.v1"
}
package! {
    /// The daemon itself.
    system, "gantry.system.v1"
}
