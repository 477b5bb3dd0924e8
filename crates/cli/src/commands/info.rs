//! `gantry info`: how the daemon and its machine are.

use std::process::ExitCode;

use gantry_api::system::v1::{CgroupDriver, CgroupMode, GetInfoRequest, Info};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::session::Session;
use crate::show::template::Template;
use crate::show::{bytes, moment};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format: json or a template
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<ExitCode, Failure> {
    let template = args.format.as_deref().map(Template::parse).transpose()?;
    let request = GetInfoRequest { namespace: session.namespace() };
    let info = session.system().await?.get_info(request).await?.into_inner().info.unwrap_or_default();
    match template {
        Some(template) => output::line(template.render(&value(&info))?)?,
        None => output::line(text(&info))?,
    }
    for warning in &info.warnings {
        output::note(format_args!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn cgroup(info: &Info) -> &'static str {
    match info.cgroup_mode() {
        CgroupMode::Unspecified => "unknown",
        CgroupMode::Unified => "v2",
        CgroupMode::Hybrid => "v1 with v2 beside it",
        CgroupMode::Legacy => "v1",
    }
}

fn driver(info: &Info) -> &'static str {
    match info.cgroup_driver() {
        CgroupDriver::Unspecified => "unknown",
        CgroupDriver::Cgroupfs => "cgroupfs",
        CgroupDriver::Systemd => "systemd",
    }
}

fn value(info: &Info) -> Value {
    let counts = info.containers.unwrap_or_default();
    json!({
        "Name": info.hostname, "OperatingSystem": info.operating_system, "KernelVersion": info.kernel,
        "Architecture": info.architecture, "NCPU": info.cpus, "MemTotal": info.memory_bytes,
        "CgroupVersion": cgroup(info), "CgroupDriver": driver(info),
        "DefaultRuntime": info.default_runtime, "SnapshotDrivers": info.snapshot_drivers, "Root": info.root,
        "State": info.state, "Address": info.address, "Pid": info.pid,
        "StartedAt": info.start_time.as_ref().map(moment::rfc3339),
        "Containers": counts.total, "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused, "ContainersCreated": counts.created, "ContainersExited": counts.exited,
        "Images": info.images, "Revision": info.revision, "Warnings": info.warnings,
    })
}

fn text(info: &Info) -> String {
    let counts = info.containers.unwrap_or_default();
    let rows = [
        (
            "Containers",
            format!(
                "{} ({} running, {} paused, {} created, {} exited)",
                counts.total, counts.running, counts.paused, counts.created, counts.exited
            ),
        ),
        ("Images", info.images.to_string()),
        ("Snapshot drivers", info.snapshot_drivers.join(", ")),
        ("Default runtime", info.default_runtime.clone()),
        ("Control groups", format!("{}, driver {}", cgroup(info), driver(info))),
        ("Host", info.hostname.clone()),
        ("Operating system", info.operating_system.clone()),
        ("Kernel", info.kernel.clone()),
        ("Architecture", info.architecture.clone()),
        ("Processors", info.cpus.to_string()),
        ("Memory", bytes::binary(info.memory_bytes)),
        ("Persistent folder", info.root.clone()),
        ("Run-time folder", info.state.clone()),
        ("Address", info.address.clone()),
        ("Process", info.pid.to_string()),
    ];
    rows.iter()
        .map(|(name, value)| format!("{:<18} {value}", format!("{name}:")))
        .collect::<Vec<_>>()
        .join("\n")
}
