//! What the tests of this crate share: the one way to skip a test that needs root, said aloud.

/// Whether the test may go on; prints the reason when not.
pub(crate) fn is_root_or_skipped() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Says why a test proves nothing on this machine.
#[expect(clippy::print_stdout, reason = "the test harness shows it")]
pub(crate) fn skip(reason: &str) {
    println!("SKIP: {reason}");
}
