//! How do tests speak to a daemon as people do? Through the `gantry` program with a clean environment: only the search
//! path and the daemon's address are passed on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::outcome::Outcome;
use crate::programs::program;
use crate::wait::{seconds, until, until_true};

/// The command line `gantry --host unix://<socket> <args>`, not yet started; without a network where a container would
/// get one of the machine's.
#[must_use]
pub fn gantry(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("gantry"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GANTRY_HOST", format!("unix://{}", socket.display()));
    command.args(arguments(socket, args));
    command
}

/// The arguments, with `--network none` where the container would get a network of the machine's: a daemon in the
/// machine's own network namespace shall make no bridge there.
pub(crate) fn arguments<'a>(socket: &Path, args: &[&'a str]) -> Vec<&'a str> {
    let mut words = args.to_vec();
    let chosen = args.iter().any(|word| word.starts_with("--net"));
    if matches!(args.first(), Some(&"run" | &"create"))
        && !chosen
        && !socket.with_file_name(NETWORKED).exists()
    {
        words.splice(1..1, ["--network", "none"]);
    }
    words
}

/// A file beside the socket of a daemon that has a network namespace of its own.
pub(crate) const NETWORKED: &str = "networked";

/// Runs a command with nothing on standard input and gathers what it says; fails when it takes longer than a minute.
pub fn run(command: &mut Command) -> Result<Outcome> {
    run_with_input(command, "")
}

/// Runs a command with `input` on standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<Outcome> {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {line}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // The program may have ended before it read everything; what it said about that is the result.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = gather(child.stdout.take().context("stdout is piped")?);
    let stderr = gather(child.stderr.take().context("stderr is piped")?);
    let status = wait_for(&mut child, &line, seconds(60));
    if status.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (stdout.recv().unwrap_or_default(), stderr.recv().unwrap_or_default());
    let status = status.with_context(|| {
        format!("it said: {}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    })?;
    Ok(Outcome::new(line, &std::process::Output { status, stdout, stderr }))
}

fn gather(mut stream: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}

fn wait_for(child: &mut Child, line: &str, limit: Duration) -> Result<std::process::ExitStatus> {
    until(format!("the end of {line}"), limit, || Ok(child.try_wait()?))
}

/// Sends a signal to a process of this test's own.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// Stops a process of this test's own, and waits until none of its threads runs: the kernel stops them one after another.
pub fn stop_all_threads(pid: u32) -> Result<()> {
    send_signal(pid, Signal::SIGSTOP)?;
    until_true(format!("the threads of {pid} to stop"), seconds(10), || {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = std::fs::read_to_string(thread?.path().join("status"))?;
            if !status.contains("State:\tT") {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// A program that runs beside the test, read line by line: `logs -f`, `attach`, `events`.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    lines: Receiver<String>,
    stderr: Receiver<Vec<u8>>,
    seen: String,
}

impl Running {
    /// Starts the command with pipes on all three streams.
    pub fn start(command: &mut Command) -> Result<Self> {
        let line = format!("{command:?}");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stderr = gather(child.stderr.take().context("stderr is piped")?);
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { line, child, lines, stderr, seen: String::new() })
    }

    /// The next line of standard output, waited for.
    pub fn next_line(&mut self) -> Result<String> {
        let Ok(line) = self.lines.recv_timeout(seconds(20)) else {
            let _ = self.child.kill();
            bail!("no further line from {}; so far:\n{}\n{}", self.line, self.seen, self.complaint());
        };
        self.seen.push_str(&line);
        self.seen.push('\n');
        Ok(line)
    }

    /// Reads on until a line has `text` in it.
    pub fn line_with(&mut self, text: &str) -> Result<String> {
        loop {
            let line = self.next_line().with_context(|| format!("waiting for {text:?}"))?;
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Writes to its standard input.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("standard input is still open")?;
        stdin.write_all(text.as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, if it has ended by itself.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.child.try_wait()?.and_then(|status| status.code()))
    }

    /// Waits for its end and answers the rest of what it said.
    pub fn finish(mut self) -> Result<Outcome> {
        drop(self.child.stdin.take());
        let status = wait_for(&mut self.child, &self.line, seconds(20));
        if status.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let rest: Vec<String> = self.lines.iter().collect();
        let status = status?;
        let stdout = rest.join("\n").into_bytes();
        let stderr = self.complaint().into_bytes();
        Ok(Outcome::new(self.line.clone(), &std::process::Output { status, stdout, stderr }))
    }

    fn complaint(&self) -> String {
        let bytes = self.stderr.recv_timeout(seconds(5)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
