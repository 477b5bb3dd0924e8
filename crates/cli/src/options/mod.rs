//! The flags that `run` and `create` share, with docker's names, and the request that they make.

mod confinement;
mod network;
pub(crate) mod resources;
mod user_namespace;

use clap::Args;
use gantry_api::containers::v1::{
    ContainerOptions, CreateContainerRequest, Device, Entrypoint, HostEntry, Mount, ProcessOptions, Ulimit,
};

use crate::failure::Failure;
use crate::parse::number::{size, ulimit};
use crate::parse::pair::{host, loose, strict};
use crate::parse::time::seconds_ms;
use crate::parse::{device::device, environment, mount, pair};
use crate::session::Session;

/// Flags of a container's process.
#[derive(Debug, Args)]
pub(crate) struct ProcessFlags {
    /// Set an environment variable, or pass the client's own on
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<String>,
    /// Folder inside the container
    #[arg(short, long, value_name = "FOLDER")]
    workdir: Option<String>,
    /// User, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]", allow_hyphen_values = true)]
    user: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
}

impl ProcessFlags {
    /// The process with `args`.
    pub(crate) fn process(&self, args: Vec<String>) -> Result<ProcessOptions, Failure> {
        Ok(ProcessOptions {
            args,
            env: environment::entries(&self.env_file, &self.env)?,
            working_dir: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.tty,
            stdin_open: self.interactive,
            ..ProcessOptions::default()
        })
    }
}

/// Flags of a container.
#[derive(Debug, Args)]
pub(crate) struct ContainerFlags {
    #[command(flatten)]
    pub(crate) process: ProcessFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    confinement: confinement::ConfinementFlags,
    #[command(flatten)]
    network: network::NetworkFlags,
    #[command(flatten)]
    user_namespace: user_namespace::UserNamespaceFlags,
    /// Name of the container; made up when left out
    #[arg(long)]
    name: Option<String>,
    /// Host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long)]
    domainname: Option<String>,
    /// Replace the image's entrypoint; empty clears it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Make the root filesystem read-only
    #[arg(long)]
    read_only: bool,
    /// Mount a host folder or file
    #[arg(short, long, value_name = "SOURCE:TARGET[:OPTIONS]", value_parser = mount::volume)]
    volume: Vec<Mount>,
    /// Mount, written out: type=bind,source=…,target=… or type=tmpfs,target=…
    #[arg(long, value_name = "FIELDS", value_parser = mount::mount)]
    mount: Vec<Mount>,
    /// Mount a fresh tmpfs
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = mount::tmpfs)]
    tmpfs: Vec<Mount>,
    /// Give the container a host device
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]", value_parser = device)]
    device: Vec<Device>,
    /// OCI runtime that makes it: gantry, a name the daemon knows, or a path
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Run a tiny init that passes signals on and reaps
    #[arg(long)]
    init: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]", value_parser = loose)]
    label: Vec<(String, String)>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    label_file: Vec<String>,
    /// Set an annotation of the runtime's
    #[arg(long, value_name = "KEY=VALUE", value_parser = strict)]
    annotation: Vec<(String, String)>,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL
    #[arg(long, value_name = "SECONDS", value_parser = seconds_ms, allow_hyphen_values = true)]
    stop_timeout: Option<u64>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS", value_parser = host)]
    add_host: Vec<HostEntry>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// DNS option
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Supplementary group, by name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<String>,
    /// When to pull the image
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing)]
    pub(crate) pull: PullPolicy,
    /// Platform of the image, os/architecture[/variant]
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Do not show the progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// When an image is pulled before a container is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// Every time.
    Always,
    /// When it is not there.
    Missing,
    /// Never.
    Never,
}

/// Flags of resource limits.
#[derive(Debug, Args)]
struct LimitFlags {
    #[command(flatten)]
    resources: resources::ResourceFlags,
    /// Set an rlimit
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<(String, Ulimit)>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = size)]
    shm_size: Option<u64>,
}

impl ContainerFlags {
    /// The request for a container of the first word, whose command is the others.
    pub(crate) fn request(
        self,
        image_and_command: Vec<String>,
        session: &Session,
    ) -> Result<CreateContainerRequest, Failure> {
        let mut words = image_and_command.into_iter();
        let image = words.next().unwrap_or_default();
        let mut process = self.process.process(words.collect())?;
        process.additional_groups = self.group_add;
        process.entrypoint = self
            .entrypoint
            .map(|word| Entrypoint { args: if word.is_empty() { Vec::new() } else { vec![word] } });
        let resources = self.limits.resources.resources()?;
        let options = ContainerOptions {
            process: Some(process),
            hostname: self.hostname,
            domainname: self.domainname,
            mounts: self.volume.into_iter().chain(self.mount).chain(self.tmpfs).collect(),
            read_only_rootfs: self.read_only,
            shm_size_bytes: self.limits.shm_size,
            resources: Some(resources),
            ulimits: self.limits.ulimit.into_iter().collect(),
            devices: self.device,
            init: self.init,
            runtime: self.runtime.unwrap_or_default(),
            auto_remove: self.rm,
            stop_signal: self.stop_signal,
            stop_timeout_ms: self.stop_timeout,
            annotations: self.annotation.into_iter().collect(),
            extra_hosts: self.add_host,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            ..self.confinement.options()?
        };
        Ok(CreateContainerRequest {
            namespace: session.namespace(),
            name: self.name.unwrap_or_default(),
            image,
            options: Some(self.user_namespace.apply(self.network.apply(options)?)?),
            labels: pair::labels(&self.label_file, self.label)?,
            platform: self.platform.unwrap_or_default(),
            request_id: String::new(),
        })
    }
}
