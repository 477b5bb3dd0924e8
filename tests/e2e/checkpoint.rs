//! Do a container's processes go on from where they were, after `gantry-runtime` had CRIU write them to a folder and
//! make them again? With the real CRIU, wherever it can work: on a machine whose kernel is too new for it, or where it
//! is not installed, these tests are skipped and say which. The virtual machine of the suite is one where it works.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use gantry_runtime::cgroup::{self, Host};
use gantry_tests::cgroup::hierarchies;
use gantry_tests::cli::run;
use gantry_tests::outcome::Outcome;
use gantry_tests::programs::program;
use gantry_tests::terminal::Terminal;
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until_true};
use serde_json::{Value, json};
use tempfile::TempDir;

tests![
    a_counter_goes_on_under_another_id,
    a_container_left_running_goes_on_and_its_next_images_build_on_the_first,
    a_terminal_is_given_back,
    a_restore_that_fails_leaves_nothing,
    a_checkpoint_that_fails_leaves_the_container_as_it_was,
];

/// Counts in a volume, a line a number, and says every number.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >>/data/log; echo $i; sleep 0.1; done";
/// Where CRIU and the programs that it runs are looked for: the whole `tar` and `ip` before busybox's.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Why CRIU cannot work here; asked once, for it looks at everything that the kernel has.
static OBSTACLE: LazyLock<Option<String>> = LazyLock::new(obstacle);

fn a_counter_goes_on_under_another_id(_: &World) -> Result<()> {
    let Some(stage) = Stage::set()? else { return refused() };
    stage.spec(COUNTER, |spec| {
        spec["root"]["readonly"] = json!(true);
        spec["hooks"] =
            json!({"poststart": [{"path": "/bin/busybox", "args": ["touch", stage.text("poststart")]}]});
    })?;
    stage.start("before", "out")?;
    stage.await_count(3)?;
    stage.runtime(&["checkpoint", "--image-path", &stage.text("images"), "before"])?.ok()?;
    stage.runtime(&["state", "before"])?.exits(1)?.complains("does not exist")?;
    ensure!(!stage.has_cgroup("before")?, "the control group of the checkpointed container is there");
    let reached = stage.count();
    fs::remove_file(stage.path("poststart"))?;
    stage.restore("after", "out2")?;
    stage.await_count(reached + 3)?;
    // A counter that began anew would have said 1 again.
    let log = fs::read_to_string(stage.path("data/log"))?;
    let numbers: Vec<usize> =
        log.lines().map(|line| line.parse().context(line.to_owned())).collect::<Result<_>>()?;
    ensure!(numbers.iter().copied().eq(1..=numbers.len()), "it counted {numbers:?}");
    let said = fs::read_to_string(stage.path("out2"))?;
    ensure!(said.lines().next() == Some(&(reached + 1).to_string()), "its new output begins with {said:?}");
    ensure!(stage.path("poststart").exists(), "the poststart hook did not run");
    let restored: Value = serde_json::from_str(&stage.runtime(&["state", "after"])?.ok()?)?;
    let pid = restored["pid"].as_u64().context("a pid")?;
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    ensure!(group.contains(&format!("/{}/after", stage.name)), "it is in {group}");
    let inside = "cat /proc/kcore; cat /proc/self/cgroup; touch /x";
    let seen = stage.runtime(&["exec", "after", "/bin/sh", "-c", inside])?;
    ensure!(seen.stderr.contains("Read-only") && seen.stdout.contains(":/\n"), "inside: {seen}");
    stage.runtime(&["delete", "--force", "after"])?.ok()?;
    stage.finish()
}

fn a_container_left_running_goes_on_and_its_next_images_build_on_the_first(_: &World) -> Result<()> {
    let Some(stage) = Stage::set()? else { return refused() };
    stage.spec(COUNTER, |_| {})?;
    stage.start("c", "out")?;
    stage.await_count(2)?;
    stage.runtime(&["checkpoint", "--leave-running", "--image-path", &stage.text("left"), "c"])?.ok()?;
    stage.await_count(stage.count() + 2)?;
    stage.runtime(&["checkpoint", "--pre-dump", "--image-path", &stage.text("first"), "c"])?.ok()?;
    stage.await_count(stage.count() + 2)?;
    let next = stage.text("images");
    stage.runtime(&["checkpoint", "--parent-path", "../first", "--image-path", &next, "c"])?.ok()?;
    ensure!(stage.path("images/parent").exists(), "the images do not build on the first");
    let reached = stage.count();
    stage.restore("c", "out2")?;
    stage.await_count(reached + 2)?;
    stage.runtime(&["delete", "--force", "c"])?.ok()?;
    stage.finish()
}

fn a_terminal_is_given_back(_: &World) -> Result<()> {
    let Some(stage) = Stage::set()? else { return refused() };
    let script = "i=0; echo begin; while read line; do i=$((i+1)); echo \"got $line $i\"; done";
    stage.spec(script, |spec| spec["process"]["terminal"] = json!(true))?;
    let mut before = Terminal::run(&stage.command(&["run", "-b", &stage.text("bundle"), "c"]), 80, 24)?;
    before.see("begin")?;
    before.press("one\r")?;
    before.see("got one 1")?;
    stage.runtime(&["checkpoint", "--image-path", &stage.text("images"), "c"])?.ok()?;
    before.await_end()?;
    let words = ["restore", "-b", &stage.text("bundle"), "--image-path", &stage.text("images"), "c"];
    let mut after = Terminal::run(&stage.command(&words), 80, 24)?;
    until_true("the container to run", seconds(30), || Ok(stage.runtime(&["state", "c"])?.code == 0))?;
    after.press("two\r")?;
    after.see("got two 2")?;
    stage.runtime(&["kill", "c", "KILL"])?;
    ensure!(after.await_end()? == 137, "the restored container did not end as it was told");
    stage.finish()
}

fn a_restore_that_fails_leaves_nothing(_: &World) -> Result<()> {
    let Some(stage) = Stage::set()? else { return refused() };
    stage.spec(COUNTER, |_| {})?;
    stage.start("c", "out")?;
    stage.await_count(2)?;
    let images = stage.text("images");
    stage.runtime(&["checkpoint", "--image-path", &images, "c"])?.ok()?;
    let restore = ["restore", "-d", "-b", &stage.text("bundle"), "--image-path", &images, "c"];
    fs::rename(stage.path("data"), stage.path("elsewhere"))?;
    stage.runtime(&restore)?.exits(1)?.complains(&stage.text("data"))?;
    stage.is_empty()?;
    fs::rename(stage.path("elsewhere"), stage.path("data"))?;
    for entry in fs::read_dir(&images)? {
        let path = entry?.path();
        if path.to_string_lossy().contains("/mm-") {
            fs::remove_file(path)?;
        }
    }
    stage.runtime(&restore)?.exits(1)?.complains(&format!("{images}/restore.log"))?;
    stage.is_empty()?;
    stage.finish()
}

/// Needs no CRIU that works: what is named instead of it ends without a word.
fn a_checkpoint_that_fails_leaves_the_container_as_it_was(_: &World) -> Result<()> {
    let stage = Stage::new()?;
    stage.spec(COUNTER, |_| {})?;
    stage.start("c", "out")?;
    stage.await_count(2)?;
    let images = stage.text("images");
    let criu = |path| stage.runtime(&["--criu", path, "checkpoint", "--image-path", &images, "c"]);
    criu("/nonexistent/criu")?.exits(1)?.complains("/nonexistent/criu: no such file")?;
    criu("/bin/false")?.exits(1)?.complains(&format!("why in {images}/dump.log"))?;
    stage.await_count(stage.count() + 2)?;
    stage.runtime(&["delete", "--force", "c"])?.ok()?;
    stage.finish()
}

/// A bundle with a counter's volume, and a name for its control groups that nothing else has.
struct Stage {
    folder: TempDir,
    name: String,
}

impl Stage {
    /// A stage for CRIU; none where it cannot work.
    fn set() -> Result<Option<Self>> {
        if OBSTACLE.is_some() { Ok(None) } else { Self::new().map(Some) }
    }

    fn new() -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gantry-test-criu-{}-{number}", std::process::id());
        let folder = tempfile::Builder::new().prefix("gantry-test-criu-").tempdir()?;
        let bin = folder.path().join("bundle/rootfs/bin");
        fs::create_dir_all(&bin)?;
        fs::create_dir(folder.path().join("data"))?;
        fs::copy("/bin/busybox", bin.join("busybox"))?;
        for applet in ["sh", "cat", "sleep", "grep", "nc", "touch"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet))?;
        }
        let stage = Self { folder, name };
        stage.runtime(&["spec", "-b", &stage.text("bundle")])?.ok()?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes the bundle's spec for this shell script.
    fn spec(&self, script: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let path = self.path("bundle/config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["process"]["terminal"] = json!(false);
        spec["root"]["readonly"] = json!(false);
        spec["linux"]["cgroupsPath"] = json!(format!("/{}/c", self.name));
        let volume = json!({"destination": "/data", "type": "bind", "source": self.text("data"), "options": ["rbind"]});
        spec["mounts"].as_array_mut().context("mounts")?.push(volume);
        change(&mut spec);
        Ok(fs::write(path, spec.to_string())?)
    }

    /// `gantry-runtime` with a state folder of the stage's own.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("gantry-runtime"));
        command.env_clear().env("PATH", PATH);
        command.arg("--root").arg(self.path("state")).args(words);
        command
    }

    fn runtime(&self, words: &[&str]) -> Result<Outcome> {
        run(&mut self.command(words))
    }

    /// Starts the bundle's container with a pipe for its output, which a file takes.
    fn start(&self, id: &str, output: &str) -> Result<()> {
        self.piped(&["run", "--detach", "--bundle", &self.text("bundle"), id], id, output)
    }

    /// Restores it from the folder `images`.
    fn restore(&self, id: &str, output: &str) -> Result<()> {
        let (bundle, images) = (self.text("bundle"), self.text("images"));
        self.piped(&["restore", "--detach", "--bundle", &bundle, "--image-path", &images, id], id, output)
    }

    fn piped(&self, words: &[&str], id: &str, output: &str) -> Result<()> {
        // Every container's group is below one that bears the stage's name.
        let path = self.path("bundle/config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", self.name));
        fs::write(path, spec.to_string())?;
        let mut command = self.command(words);
        let errors = self.path("errors");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors)?);
        let mut child = command.spawn().context("starting gantry-runtime")?;
        let mut pipe = child.stdout.take().context("a pipe")?;
        let mut file = File::create(self.path(output))?;
        // Ends with the container, which has the other end.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let _ = std::io::Write::write_all(&mut file, &buffer[..count]);
            }
        });
        until_true("gantry-runtime to detach", seconds(60), || Ok(child.try_wait()?.is_some()))?;
        let status = child.wait()?;
        ensure!(status.success(), "{words:?}: {}", fs::read_to_string(errors)?);
        Ok(())
    }

    /// How far the counter is.
    fn count(&self) -> usize {
        fs::read_to_string(self.path("data/log")).unwrap_or_default().lines().count()
    }

    fn await_count(&self, count: usize) -> Result<()> {
        until_true(format!("the counter to reach {count}"), seconds(20), || Ok(self.count() >= count))
    }

    fn has_cgroup(&self, id: &str) -> Result<bool> {
        let folder = Path::new(&self.name).join(id);
        Ok(hierarchies()?.iter().any(|top| top.join(&folder).exists()))
    }

    /// Fails if a container, a control group or a mount of the stage is there.
    fn is_empty(&self) -> Result<()> {
        self.runtime(&["list", "-q"])?.exits(0)?.prints("")?;
        let left = fs::read_dir(self.path("state"))?.count();
        ensure!(left == 0, "{left} folders of containers are there");
        ensure!(!self.has_cgroup("c")?, "a control group is there");
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains(&self.text("bundle")), "the root filesystem is mounted");
        Ok(())
    }

    /// Takes down what containers' groups were made in.
    fn finish(self) -> Result<()> {
        let (host, parent) = (Host::read()?, format!("/{}", self.name));
        until_true("the control groups to be removed", seconds(10), || {
            cgroup::prune(&host, &parent)?;
            Ok(!hierarchies()?.iter().any(|top| top.join(&self.name).exists()))
        })
    }
}

fn refused() -> Result<()> {
    skip(OBSTACLE.clone().unwrap_or_default())
}

/// What CRIU itself says about this machine, when it says that it cannot work.
fn obstacle() -> Option<String> {
    let criu = std::env::split_paths(PATH).map(|folder| folder.join("criu")).find(|path| path.exists());
    let Some(criu) = criu else { return Some("criu is not installed".to_owned()) };
    let checked = Command::new(criu).arg("check").env("PATH", PATH).stdin(Stdio::null()).output();
    match checked {
        Err(error) => Some(format!("criu does not run: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let last = said.lines().rfind(|line| line.contains("Error")).unwrap_or_default();
            Some(format!("criu cannot work with Linux {}: {last}", release.trim()))
        }
    }
}
