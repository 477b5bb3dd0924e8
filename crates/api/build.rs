//! Generates the protobuf code. The shim's protocol is compiled always and without any gRPC; the public
//! services only with the `grpc` feature. protox parses the files, so no protoc is needed on the machine.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    compile_shim()?;
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
