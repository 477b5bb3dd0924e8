//! Build script of gantryd and gantry: how they are linked. Packed, the relative relocations of gantryd are a MiB less to
//! read at every start and to keep in memory. glibc loads the form from 2.36 on; older ones refuse such a program, so
//! it is taken only where the machine that builds has that.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a build script: one thread, and it speaks by printing"
)]

use std::process::Command;

const GLIBC_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=../../deploy/link.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    let is_native = variable("TARGET") == variable("HOST") && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if is_native && glibc().is_some_and(|version| version >= GLIBC_SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The C library's version: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = std::str::from_utf8(&said).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
