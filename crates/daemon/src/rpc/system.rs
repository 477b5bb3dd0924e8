//! `gantry.system.v1.SystemService`.

use std::sync::Arc;

use gantry_api::convert::{self, timestamp};
use gantry_api::system::v1::system_service_server::SystemService;
use gantry_api::system::v1::{
    CgroupDriver, CgroupMode, ContainerCounts, DiskUsage, GetDiskUsageRequest, GetDiskUsageResponse,
    GetInfoRequest, GetInfoResponse, GetVersionRequest, GetVersionResponse, Info, Version,
};
use gantry_linux::host::CgroupMode as Mode;
use gantry_snapshot::SnapshotKind;
use gantry_store::Page;
use gantry_types::{ContainerState, Platform};
use tonic::{Request, Response, Status};

use super::Service;
use crate::config::CgroupDriver as Driver;
use crate::error::Error;
use crate::images;
use crate::tables::CONTAINER_STATUS;

#[tonic::async_trait]
impl SystemService for Service {
    async fn get_version(
        &self,
        _: Request<GetVersionRequest>,
    ) -> Result<Response<GetVersionResponse>, Status> {
        let version = Version {
            version: env!("CARGO_PKG_VERSION").into(),
            api_version: "v1".into(),
            commit: option_env!("GANTRY_COMMIT").unwrap_or_default().into(),
            platform: Platform::host().to_string(),
            kernel: kernel(),
        };
        Ok(Response::new(GetVersionResponse { version: Some(version) }))
    }

    async fn get_info(&self, request: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let namespace = convert::namespace(&request.into_inner().namespace)?;
        let daemon = &self.daemon;
        let mut containers = ContainerCounts::default();
        for (_, row) in daemon.store.scan(&CONTAINER_STATUS, &Page::prefix(&namespace)) {
            containers.total += 1;
            match row.value.state {
                ContainerState::Starting | ContainerState::Running => containers.running += 1,
                ContainerState::Paused => containers.paused += 1,
                ContainerState::Creating | ContainerState::Created => containers.created += 1,
                ContainerState::Exited | ContainerState::Removing => containers.exited += 1,
            }
        }
        let cgroup_mode = match daemon.cgroup_mode {
            Some(Mode::Unified) => CgroupMode::Unified,
            Some(Mode::Hybrid) => CgroupMode::Hybrid,
            Some(Mode::Legacy) => CgroupMode::Legacy,
            None => CgroupMode::Unspecified,
        };
        let cgroup_driver = match daemon.config.containers.cgroup_manager {
            Driver::Cgroupfs => CgroupDriver::Cgroupfs,
            Driver::Systemd => CgroupDriver::Systemd,
        };
        let mut warnings = Vec::new();
        if cgroup_mode == CgroupMode::Unspecified {
            warnings.push("no cgroup hierarchy is mounted: containers have no limits".to_owned());
        }
        if !daemon.host.seccomp {
            warnings.push("the kernel has no seccomp filters: containers need seccomp=unconfined".to_owned());
        }
        let info = Info {
            hostname: daemon.host.hostname.clone(),
            operating_system: operating_system(),
            kernel: kernel(),
            architecture: Platform::host().architecture,
            cpus: std::thread::available_parallelism()
                .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            memory_bytes: memory_bytes(),
            cgroup_mode: cgroup_mode.into(),
            snapshot_drivers: vec![daemon.snapshotter.name().to_owned()],
            root: daemon.layout.root().to_string_lossy().into_owned(),
            state: daemon.layout.state().to_string_lossy().into_owned(),
            address: format!("unix://{}", daemon.config.socket_path().display()),
            start_time: Some(timestamp(daemon.started_unix_ns)),
            pid: std::process::id(),
            containers: Some(containers),
            images: images::list(&daemon.store, &namespace).len() as u64,
            revision: daemon.events.latest(),
            warnings,
            cgroup_driver: cgroup_driver.into(),
            default_runtime: daemon.config.containers.default_runtime.to_string(),
        };
        Ok(Response::new(GetInfoResponse { info: Some(info) }))
    }

    async fn get_disk_usage(
        &self,
        _: Request<GetDiskUsageRequest>,
    ) -> Result<Response<GetDiskUsageResponse>, Status> {
        let daemon = Arc::clone(&self.daemon);
        let usages = self
            .daemon
            .blocking
            .run(move || {
                let blobs = daemon.pulls.content.list()?;
                let mut layers = usage("snapshots");
                let mut containers = usage("containers");
                for listed in daemon.snapshotter.list()? {
                    // What vanishes meanwhile takes nothing.
                    let bytes = daemon.snapshotter.usage(&listed.key).map_or(0, |usage| usage.bytes);
                    let kind = match listed.kind {
                        SnapshotKind::Layer => &mut layers,
                        SnapshotKind::Active | SnapshotKind::Incomplete => &mut containers,
                    };
                    kind.count += 1;
                    kind.size_bytes += bytes;
                }
                let mut content = usage("content");
                content.count = blobs.len() as u64;
                content.size_bytes = blobs.iter().map(|blob| blob.size).sum();
                Ok::<_, Error>(vec![content, layers, containers])
            })
            .await?;
        Ok(Response::new(GetDiskUsageResponse { usages }))
    }
}

fn usage(kind: &str) -> DiskUsage {
    DiskUsage { kind: kind.to_owned(), ..DiskUsage::default() }
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

/// os-release(5), `PRETTY_NAME`.
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}
