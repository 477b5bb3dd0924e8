//! Does `gantry-runtime` by itself do what its callers, other engines, count on? Where its control groups were changed by
//! somebody else, or go away under the command's hands.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use gantry_tests::cgroup::hierarchies;
use gantry_tests::cli::run;
use gantry_tests::outcome::Outcome;
use gantry_tests::programs::program;
use gantry_tests::trial::{World, skip};
use gantry_tests::wait::{seconds, until, until_true};
use serde_json::{Value, json};

tests![
    exec_joins_a_group_below_where_it_is_and_the_containers_elsewhere,
    delete_by_force_ends_a_process_that_somebody_froze_in_another_group,
    kill_beside_a_run_in_the_foreground_says_what_is_so,
    a_failing_poststop_hook_is_told_as_what_it_is,
];

/// A bundle whose container sleeps, and the folder of the runtime's state. Ends the container when it goes.
struct Bundle {
    folder: tempfile::TempDir,
    id: String,
}

impl Bundle {
    fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gantry-test-bundle-").tempdir()?;
        let bundle = Self { folder, id: format!("gantry-test-{name}-{}", std::process::id()) };
        let root = bundle.folder.path().join("rootfs/bin");
        fs::create_dir_all(&root)?;
        for applet in ["sh", "cat", "sleep"] {
            fs::copy("/bin/busybox", root.join(applet))?;
        }
        bundle.command(&["spec"])?.exits(0)?;
        let file = bundle.folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id));
        fs::write(file, config.to_string())?;
        Ok(bundle)
    }

    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("gantry-runtime"));
        command
            .arg("--root")
            .arg(self.folder.path().join("state"))
            .args(words)
            .current_dir(self.folder.path());
        command
    }

    fn command(&self, words: &[&str]) -> Result<Outcome> {
        run(&mut self.program(words))
    }

    /// Runs the container detached; it keeps the streams, which must not be those that are read to their end.
    fn start(&self) -> Result<String> {
        let mut started = self.program(&["run", "--detach", "--pid-file", "pid", &self.id]);
        let status = started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{status}");
        Ok(fs::read_to_string(self.folder.path().join("pid"))?.trim().to_owned())
    }

    fn is_running(&self) -> Result<bool> {
        Ok(self.command(&["state", &self.id])?.stdout.contains("\"running\""))
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A test that fails has said why already.
        let _ = self.command(&["delete", "--force", &self.id]);
    }
}

/// The container's folders in the hierarchies of this machine.
fn groups(id: &str) -> Result<Vec<PathBuf>> {
    Ok(hierarchies()?.into_iter().map(|top| top.join(id)).filter(|folder| folder.exists()).collect())
}

fn exec_joins_a_group_below_where_it_is_and_the_containers_elsewhere(_: &World) -> Result<()> {
    let bundle = Bundle::new("below")?;
    bundle.start()?;
    let exec =
        |group: &str| bundle.command(&["exec", "--cgroup", group, &bundle.id, "cat", "/proc/self/cgroup"]);
    exec("below")?.exits(255)?.complains("no such file or directory")?;
    exec("../below")?.exits(255)?.complains("leads out of the container's group")?;
    let all = groups(&bundle.id)?;
    ensure!(!all.is_empty());
    fs::create_dir(all[0].join("below"))?;
    let joined = exec("below")?.exits(0)?.stdout;
    // Its namespace's root is the container's group: a process outside of it would see a path that climbs.
    ensure!(joined.lines().filter(|line| line.ends_with(":/below")).count() == 1, "{joined}");
    ensure!(joined.lines().filter(|line| line.ends_with(":/")).count() >= all.len() - 1, "{joined}");
    ensure!(!joined.contains(".."), "{joined}");
    Ok(())
}

fn delete_by_force_ends_a_process_that_somebody_froze_in_another_group(_: &World) -> Result<()> {
    let Some(freezer) =
        hierarchies()?.into_iter().find(|top| top.join("freezer.state").exists() || top.ends_with("freezer"))
    else {
        return skip("there is no freezer of version 1");
    };
    let bundle = Bundle::new("frozen")?;
    let pid = bundle.start()?;
    let others = freezer.join(format!("{}-others", bundle.id));
    fs::create_dir(&others)?;
    let frozen = (|| -> Result<()> {
        fs::write(others.join("cgroup.procs"), &pid)?;
        fs::write(others.join("freezer.state"), "FROZEN")?;
        until_true("the process is frozen", seconds(10), || {
            Ok(fs::read_to_string(others.join("freezer.state"))?.trim() == "FROZEN")
        })?;
        bundle.command(&["delete", "--force", &bundle.id])?.exits(0)?;
        ensure!(
            fs::read_to_string(others.join("freezer.state"))?.trim() == "FROZEN",
            "the group is its owner's"
        );
        ensure!(groups(&bundle.id)?.is_empty());
        Ok(())
    })();
    // Whatever came of it nobody is left frozen.
    fs::write(others.join("freezer.state"), "THAWED")?;
    drop(bundle);
    until("the other group to be empty", seconds(10), || Ok(fs::remove_dir(&others).ok()))?;
    frozen
}

fn kill_beside_a_run_in_the_foreground_says_what_is_so(_: &World) -> Result<()> {
    for round in 0..20 {
        let bundle = Bundle::new(&format!("beside-{round}"))?;
        let mut foreground = bundle.program(&["run", &bundle.id]);
        foreground.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut foreground = foreground.spawn()?;
        let killed = until_true("it runs", seconds(20), || bundle.is_running()).and_then(|()| {
            bundle.command(&["kill", &bundle.id, "KILL"])?.exits(0)?;
            let again = bundle.command(&["kill", &bundle.id, "KILL"])?;
            let gone = ["container not running", "does not exist"];
            ensure!(again.code == 0 || gone.iter().any(|words| again.stderr.contains(words)), "{again}");
            Ok(())
        });
        if killed.is_err() {
            let _ = foreground.kill();
        }
        let status = foreground.wait()?;
        killed?;
        ensure!(status.code() == Some(137), "{status}");
    }
    Ok(())
}

fn a_failing_poststop_hook_is_told_as_what_it_is(_: &World) -> Result<()> {
    let bundle = Bundle::new("poststop")?;
    let file = bundle.folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["args"] = json!(["sleep", "0"]);
    config["hooks"] = json!({"poststop": [{"path": "/bin/false"}]});
    fs::write(file, config.to_string())?;
    let said = bundle.command(&["run", &bundle.id])?.exits(0)?;
    ensure!(said.stderr.contains("its poststop hook failed") && said.stderr.contains("/bin/false"), "{said}");
    ensure!(!said.stderr.contains("unable to start"), "{said}");
    Ok(())
}
