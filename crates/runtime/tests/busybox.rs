//! Containers for real: a busybox in a temporary folder, run from a spec through the compiler and the
//! executor. Needs root and a static busybox; says SKIP with the reason otherwise.

mod support;

use std::os::unix::fs::symlink;

use gantry_linux::Errno;
use gantry_runtime::execute::Operation;
use support::{Bundle, Outcome};

#[test]
fn a_command_prints_and_its_exit_code_is_its_own() {
    let Some(bundle) = Bundle::new_or_skip() else { return };
    let outcome = bundle.run(&["sh", "-c", "echo hello; echo bad >&2; exit 7"]);
    assert_eq!(outcome, Outcome { code: 7, stdout: "hello\n".into(), stderr: "bad\n".into() });
}
