//! Generates the protobuf code. The shim's protocol is compiled always and without any gRPC; the public
//! services only with the `grpc` feature. protox parses the files, so no protoc is needed on the machine.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    compile_shim()?;
    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        compile_public()?;
        compile_driver()?;
    }
    Ok(())
}

/// Every service that clients see, with clients and servers, and the descriptors for reflection.
fn compile_public() -> Result<(), Box<dyn Error>> {
    const RESOURCES: [&str; 8] =
        ["containers", "content", "events", "images", "leases", "networks", "snapshots", "system"];
    let include = proto_root();
    let mut files = Vec::new();
    for resource in RESOURCES {
        let folder = include.join("gantry").join(resource).join("v1");
        println!("cargo::rerun-if-changed={}", folder.display());
        for entry in std::fs::read_dir(&folder)? {
            files.push(entry?.path());
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [&include])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut reflected = descriptors.clone();
    // The daemon keeps what it reflects in memory, each of two versions for itself, and comments are most of it.
    reflected.file.iter_mut().for_each(|file| file.source_code_info = None);
    std::fs::write(out.join("public.bin"), reflected.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .boxed(".gantry.images.v1.PullImageResponse.message.result")
        .boxed(".gantry.images.v1.ImportImagesRequest.message.options")
        .compile_fds(descriptors)?;
    Ok(())
}

/// `gantry.networks.driver.v1`, which the daemon calls and others serve: it is none of the services that it reflects.
fn compile_driver() -> Result<(), Box<dyn Error>> {
    let include = proto_root();
    let file = include.join("gantry/networks/driver/v1/driver_service.proto");
    println!("cargo::rerun-if-changed={}", file.display());
    let descriptors = protox::compile([&file], [&include])?;
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    Ok(())
}

/// `gantry.shim.v1`: messages only.
fn compile_shim() -> Result<(), Box<dyn Error>> {
    let include = proto_root();
    let file = include.join("gantry/shim/v1/shim.proto");
    println!("cargo::rerun-if-changed={}", file.display());
    let descriptors = protox::compile([&file], [&include])?;
    let mut config = tonic_prost_build::Config::new();
    // Comments become docs; the frame drawings in them are text, not code.
    config.compile_fds(descriptors)?;
    Ok(())
}

/// The folder that import paths are relative to.
fn proto_root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../proto")
}
