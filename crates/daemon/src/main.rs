//! `gantryd`: reads the command line, and hands over to the composition root. Every error ends here and is
//! printed once, with its whole chain and what to do.

mod ask;
mod assemble;
mod blocking;
mod cgroups;
mod clock;
mod config;
mod containers;
mod control;
mod durable;
mod error;
mod events;
mod files;
mod filters;
mod heap;
mod host;
mod images;
mod layout;
mod logging;
mod logs;
mod metrics;
mod names;
mod networks;
mod pulls;
mod reconcile;
mod recover;
mod requests;
mod rpc;
mod runtimes;
mod serve;
mod supervisor;
mod sweep;
mod tables;
mod tasks;
mod user_namespaces;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use config::{Config, Overrides};

/// The Gantry daemon: images, containers and everything they need, over gRPC.
#[derive(Debug, Parser)]
#[command(name = "gantryd", version, about)]
struct Arguments {
    /// Configuration file; config.d/*.toml beside it is read too [default: /etc/gantry/config.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Folder of everything that outlives a reboot [default: /var/lib/gantry]
    #[arg(long, value_name = "FOLDER", global = true)]
    root: Option<PathBuf>,
    /// Folder of what is true only while the machine is up [default: /run/gantry]
    #[arg(long, value_name = "FOLDER", global = true)]
    state: Option<PathBuf>,
    /// Path of the unix socket [default: gantry.sock in the state folder]
    #[arg(long, value_name = "PATH", global = true)]
    address: Option<PathBuf>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks at the configuration without starting anything
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Works on the metadata store while no daemon runs
    #[command(subcommand)]
    Store(StoreCommand),
    /// Works on the kernel's part of the networks while no daemon and no container runs
    #[command(subcommand)]
    Networks(NetworksCommand),
}

#[derive(Debug, Subcommand)]
enum NetworksCommand {
    /// Removes the bridges, the nftables table and gantry-netd; the next use of a network makes them again
    Reset,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints every key with its default
    Default,
    /// Reads the configuration, and prints what the daemon would run with
    Check,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Writes every row to a checksummed file
    Export {
        /// The file to write; it must not exist
        file: PathBuf,
    },
    /// Makes the store anew from an exported file; the damaged one is kept beside it
    Rebuild {
        /// The exported file; without it, the newest one that the daemon kept by itself
        file: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::print_failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Config(ConfigCommand::Default)) = &arguments.command {
        return logging::print(&Config::default().to_toml());
    }
    let overrides = Overrides {
        root: arguments.root,
        state: arguments.state,
        address: arguments.address,
        log_level: arguments.log_level,
    };
    let config = config::load(arguments.config.as_deref(), &overrides)
        .context("the configuration cannot be used; `gantryd config default` prints every key")?;
    match arguments.command {
        Some(Command::Config(_)) => {
            cgroups::check(&config)?;
            logging::print(&config.to_toml())
        }
        Some(Command::Store(StoreCommand::Export { file })) => assemble::export_store(&config, &file),
        Some(Command::Store(StoreCommand::Rebuild { file })) => {
            assemble::rebuild_store(&config, file.as_deref())
        }
        Some(Command::Networks(NetworksCommand::Reset)) => assemble::reset_networks(&config),
        None => {
            logging::start(&config.log)?;
            cgroups::check(&config)?;
            serve::run(config)
        }
    }
}
