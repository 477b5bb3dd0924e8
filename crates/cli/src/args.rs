//! The shape of the command line: global flags and one variant per command; each command's own flags are in
//! its file.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::commands;
use crate::failure::Failure;
use crate::session::{Connection, Session};

/// Run and look after containers.
#[derive(Debug, Parser)]
#[command(name = "gantry", version, disable_help_flag = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,
    /// Print help
    #[arg(long, global = true, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a container of an image and run it
    Run(Box<commands::run::Args>),
    /// Make a container of an image without starting it
    Create(Box<commands::create::Args>),
    /// Start containers that do not run
    Start(commands::start::Args),
    /// Stop running containers: a signal first, SIGKILL after a time
    Stop(commands::stop::Args),
    /// Send a signal to running containers
    Kill(commands::kill::Args),
    /// Stop and start containers
    Restart(commands::stop::Args),
    /// Hold the processes of containers still
    Pause(commands::pause::Args),
    /// Let the processes of paused containers go on
    Unpause(commands::unpause::Args),
    /// Change the resources of containers, also while they run
    Update(commands::update::Args),
    /// Remove containers
    Rm(commands::rm::Args),
    /// List containers
    Ps(commands::ps::Args),
    /// Show everything about containers and images
    Inspect(commands::inspect::Args),
    /// Show what containers use, again and again
    Stats(commands::stats::Args),
    /// Show the processes of a container
    Top(commands::top::Args),
    /// Show what a container wrote
    Logs(commands::logs::Args),
    /// Run one more process in a running container
    Exec(commands::exec::Args),
    /// Join the standard streams of a running container
    Attach(commands::attach::Args),
    /// Wait for containers to exit, and print their exit codes
    Wait(commands::wait::Args),
    /// Give a container another name
    Rename(commands::rename::Args),
    /// Make and look after networks
    Network(commands::network::Args),
    /// List, add and take back published ports of a container
    Port(commands::port::Args),
    /// Fetch an image from its registry
    Pull(commands::pull::Args),
    /// List images
    Images(commands::images::Args),
    /// Take names of images away, and with the last one the image
    Rmi(commands::rmi::Args),
    /// Give an image another name
    Tag(commands::tag::Args),
    /// Make images of a tar archive
    Import(commands::import::Args),
    /// Show the versions of client and daemon
    Version(commands::version::Args),
    /// Show how the daemon and its machine are
    Info(commands::info::Args),
    /// Follow what happens
    Events(commands::events::Args),
    /// Print a script that completes commands in a shell
    Completion(commands::completion::Args),
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let session = Session::new(self.connection);
        match self.command {
            Command::Run(args) => Box::pin(commands::run::run(*args, &session)).await,
            Command::Create(args) => commands::create::run(*args, &session).await,
            Command::Start(args) => commands::start::run(args, &session).await,
            Command::Stop(args) => commands::stop::run(args, &session).await,
            Command::Kill(args) => commands::kill::run(args, &session).await,
            Command::Restart(args) => commands::restart::run(args, &session).await,
            Command::Pause(args) => commands::pause::run(args, &session).await,
            Command::Unpause(args) => commands::unpause::run(args, &session).await,
            Command::Update(args) => commands::update::run(args, &session).await,
            Command::Stats(args) => commands::stats::run(args, &session).await,
            Command::Top(args) => commands::top::run(args, &session).await,
            Command::Rm(args) => commands::rm::run(args, &session).await,
            Command::Ps(args) => commands::ps::run(args, &session).await,
            Command::Inspect(args) => commands::inspect::run(args, &session).await,
            Command::Logs(args) => commands::logs::run(args, &session).await,
            Command::Exec(args) => commands::exec::run(args, &session).await,
            Command::Attach(args) => commands::attach::run(args, &session).await,
            Command::Wait(args) => commands::wait::run(args, &session).await,
            Command::Rename(args) => commands::rename::run(args, &session).await,
            Command::Network(args) => commands::network::run(args, &session).await,
            Command::Port(args) => commands::port::run(args, &session).await,
            Command::Pull(args) => commands::pull::run(args, &session).await,
            Command::Images(args) => commands::images::run(args, &session).await,
            Command::Rmi(args) => commands::rmi::run(args, &session).await,
            Command::Tag(args) => commands::tag::run(args, &session).await,
            Command::Import(args) => commands::import::run(args, &session).await,
            Command::Version(args) => commands::version::run(args, &session).await,
            Command::Info(args) => commands::info::run(args, &session).await,
            Command::Events(args) => commands::events::run(args, &session).await,
            Command::Completion(args) => commands::completion::run(&args),
        }
    }
}

/// What clap says to arguments it does not take: help where it was asked for, else one sentence and 125.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    let kind = error.kind();
    if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(125);
    }
    let text = error.to_string();
    let words: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let failure = Failure::new(message).hint("see 'gantry <command> --help'");
    Failure { code: 125, ..failure }.report()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_flags_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_image_is_the_containers() {
        for line in
            ["gantry run --rm redis ls -la --help", "gantry exec web -it sh", "gantry create redis -x -- y"]
        {
            Cli::try_parse_from(line.split(' ')).expect(line);
        }
        assert!(Cli::try_parse_from(["gantry", "run", "--no-such-flag", "redis"]).is_err());
    }

    /// Words of command lines, well formed and not.
    fn word() -> impl Strategy<Value = String> {
        const KNOWN: &[&str] = &[
            "run",
            "create",
            "exec",
            "logs",
            "ps",
            "events",
            "-it",
            "-d",
            "--rm",
            "-v",
            "--mount",
            "--tmpfs",
            "-e",
            "-m",
            "-p",
            "--cpus",
            "--ulimit",
            "--device",
            "--label",
            "--filter",
            "--since",
            "--until",
            "--tail",
            "--format",
            "--user",
            "--detach-keys",
            "--pids-limit",
            "--add-host",
            "--sysctl",
            "--stop-timeout",
            "--security-opt",
            "--network",
            "--restart",
            "--",
            "-",
            "redis",
            "/a:/b:ro",
            "type=bind,source=/a,target=/b,readonly",
            "type=tmpfs,target=/t,tmpfs-size=1k",
            "/t:size=64m,mode=1777",
            "A=b",
            "512m",
            "1.5",
            "nofile=1024:4096",
            "/dev/null:/dev/x:rwm",
            "status=running",
            "10m",
            "2024-01-01T00:00:00Z",
            "1700000000.5",
            "{{.ID}}",
            "table {{json .}}",
            "1000:1000",
            "ctrl-p,ctrl-q",
            "-1",
            "seccomp=x",
            "18446744073709551616",
            "0x10",
            "8080:80/tcp",
            "[::1]:1-3:1-3",
            "host:127.0.0.1",
            "",
        ];
        prop_oneof![4 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => "\\PC{0,12}", 1 => "[-a-z0-9:=,./{}|]{0,24}"]
    }

    proptest! {
        #[test]
        fn any_words_are_taken_or_refused_in_a_sentence(words in prop::collection::vec(word(), 0..8)) {
            if let Err(error) = Cli::try_parse_from([vec!["gantry".to_owned()], words].concat()) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
