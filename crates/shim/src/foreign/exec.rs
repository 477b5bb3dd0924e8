//! Exec, where another runtime made the container: its `exec --detach` with the OCI process in a file.

use gantry_api::shim::v1::{ExecRequest, Failure, Stdio};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};

use super::Foreign;
use crate::failure;
use crate::process::Made;

/// The OCI process, as long as the command runs.
const PROCESS_FILE: &str = "runtime.json";

impl Foreign {
    /// Runs one more process in the container.
    pub(crate) fn exec(&self, request: &ExecRequest, wanted: &Stdio) -> Result<Made, Failure> {
        let file = self.file(PROCESS_FILE);
        write(&file, &request.foreign_process)
            .map_err(|error| failure::step("write process", &file, &error))?;
        let options = ["--process", &file, "--detach"];
        let made = self.make_process("exec", &options, &[&self.container_id], wanted);
        // The next exec writes it anew.
        let _ = unlinkat(CWD, &file, AtFlags::empty());
        made
    }
}

fn write(file: &str, json: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(CWD, file, flags, Mode::RUSR | Mode::WUSR)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), json)
}
