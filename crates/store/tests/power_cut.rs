//! A machine that loses power loses nothing that was acknowledged. The power cut is a real one to the file
//! system: FS_IOC_SHUTDOWN with NOLOGFLUSH on a loop-mounted ext4 drops everything that was not synced, data
//! and journal alike, while the store is writing. Needs root, a loop device and python3 for the ioctl.

mod ledger;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ledger::Writer;
use nix::sched::CloneFlags;

const SHUTDOWN: &str = "import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))";

#[test]
fn acknowledged_transactions_survive_power_cuts() {
    let disk = match LoopDisk::make() {
        Ok(disk) => disk,
        Err(reason) => {
            // Past the harness's capture, so that the skip is seen and counted.
            let _ = writeln!(std::io::stderr(), "SKIP: power cut: {reason}");
            return;
        }
    };
    let meta = disk.mount_point().join("meta");
    let mut newest = 0;
    for acknowledgements in [1, 2, 5, 40, 3, 150, 400, 10, 2000, 25] {
        let mut writer = Writer::start(&meta, "the_writer");
        writer.wait_for(acknowledgements);
        disk.cut_power();
        let acknowledged = writer.kill();
        assert!(acknowledged > newest);
        disk.restart();
        let store = ledger::open(&meta).expect("it opens after a power cut");
        newest = ledger::verify(&store, acknowledged);
        // Every third time the power goes again right after the recovery.
        if acknowledgements % 3 == 0 {
            disk.cut_power();
            drop(store);
            disk.restart();
            let store = ledger::open(&meta).expect("it opens after a power cut during recovery");
            newest = ledger::verify(&store, newest);
        }
    }
}

#[test]
#[ignore = "the tests above run it in a process of its own"]
fn the_writer() {
    ledger::write_until_stopped();
}

/// An ext4 in a file, mounted over a loop device that goes with the mount.
struct LoopDisk {
    folder: tempfile::TempDir,
}

impl LoopDisk {
    fn make() -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("gantry-store-power-").tempdir().map_err(|e| e.to_string())?;
        let disk = Self { folder };
        let image = disk.image();
        std::fs::create_dir(disk.mount_point()).map_err(|reason| reason.to_string())?;
        let file = std::fs::File::create(&image).map_err(|reason| reason.to_string())?;
        file.set_len(128 * 1024 * 1024).map_err(|reason| reason.to_string())?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        run("python3", &["-c".as_ref(), "import fcntl".as_ref()])?;
        // A program elsewhere that starts in a mount namespace of its own would have a copy of this mount, and hold the
        // dead file system after its unmounting.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).map_err(|reason| reason.to_string())?;
        run("mount", &["--make-rprivate".as_ref(), "/".as_ref()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk.ext4")
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image(), &self.mount_point()])
    }

    fn cut_power(&self) {
        run("python3", &["-c".as_ref(), SHUTDOWN.as_ref(), &self.mount_point()]).expect("the power goes");
    }

    fn restart(&self) {
        run("umount", &[&self.mount_point()]).expect("nothing uses the dead file system");
        self.mount().expect("the journal is replayed");
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, in case a failed test left something open: the loop device goes when that does.
        let _ = run("umount", &["-l".as_ref(), &self.mount_point()]);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test mounts with the programs of the host")]
fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|reason| format!("{program}: {reason}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
