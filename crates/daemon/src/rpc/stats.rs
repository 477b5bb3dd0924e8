//! `ContainerService.GetContainerStats` and `ListContainerProcesses`: what is read becomes messages, once or at
//! an interval.

use std::time::Duration;

use futures_util::Stream;
use gantry_api::containers::v1::{
    BlockDeviceStats, ContainerProcess, ContainerStats, CpuStats, GetContainerStatsRequest,
    GetContainerStatsResponse, HugePageStats, ListContainerProcessesRequest, ListContainerProcessesResponse,
    MemoryStats, NetworkInterfaceStats, PidsStats, Pressure, Stall,
};
use gantry_api::convert::{self, FieldProblem, InvalidField, timestamp};
use gantry_runtime::cgroup::stats;
use gantry_types::ContainerId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Service;
use super::containers::Named;
use crate::control::{processes, stats as usage};
use crate::error::Error;

/// Milliseconds between two messages.
const INTERVAL_MS: u64 = 1000;
/// The range that a client may ask for.
const INTERVAL_MS_MIN: u64 = 100;
const INTERVAL_MS_MAX: u64 = 3_600_000;
/// Messages that wait for the client; one that is slow gets fewer.
const MESSAGES_QUEUED: usize = 1;

pub(super) async fn stream(
    service: &Service,
    named: Named,
    request: &GetContainerStatsRequest,
) -> Result<impl Stream<Item = Result<GetContainerStatsResponse, Status>> + use<>, Status> {
    let interval_ms = match u64::from(request.interval_ms) {
        0 => INTERVAL_MS,
        number @ INTERVAL_MS_MIN..=INTERVAL_MS_MAX => number,
        number => {
            let problem = FieldProblem::OutOfRange { number, min: INTERVAL_MS_MIN, max: INTERVAL_MS_MAX };
            return Err(InvalidField::new("interval_ms", problem).into());
        }
    };
    let daemon = service.daemon.clone();
    let mut status = service.handle(&named)?.status();
    // The first before the answer, so that an error of it is the call's.
    let first = message(&named.id, daemon.container_usage(&named.namespace, &named.id).await?);
    let (sender, receiver) = mpsc::channel(MESSAGES_QUEUED);
    let (follow, tasks) = (request.follow, daemon.tasks.clone());
    let cancelled = tasks.clone();
    tasks.spawn("stats stream", async move {
        let sending = async {
            let mut next = Ok(first);
            loop {
                let failed = next.is_err();
                if sender.send(next).await.is_err() || failed || !follow {
                    return;
                }
                let ended = status.wait_for(|status| !status.state.is_alive());
                // Ended and removed end the stream alike; only the time going by keeps it up.
                if tokio::time::timeout(Duration::from_millis(interval_ms), ended).await.is_ok() {
                    return;
                }
                next = match daemon.container_usage(&named.namespace, &named.id).await {
                    Ok(usage) => Ok(message(&named.id, usage)),
                    Err(
                        Error::NotRunning { .. } | Error::ContainerGone | Error::ContainerNotFound { .. },
                    ) => {
                        return;
                    }
                    Err(error) => Err(error.into()),
                };
            }
        };
        tokio::select! {
            () = sending => {}
            () = sender.closed() => {}
            () = cancelled.cancelled() => {
                let _full = sender.try_send(Err(Error::ShuttingDown.into()));
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

pub(super) async fn processes(
    service: &Service,
    request: &ListContainerProcessesRequest,
) -> Result<ListContainerProcessesResponse, Status> {
    let named = service.named(&request.namespace, &request.container)?;
    let found = service.daemon.container_processes(&named.namespace, &named.id).await?;
    Ok(ListContainerProcessesResponse { processes: found.into_iter().map(process).collect() })
}

fn process(process: processes::ContainerProcess) -> ContainerProcess {
    ContainerProcess {
        pid: process.pid,
        container_pid: process.container_pid,
        parent_pid: process.parent_pid,
        uid: process.uid,
        state: process.state,
        start_time: Some(timestamp(process.started_unix_ns)),
        cpu_ns: process.cpu_ns,
        resident_bytes: process.resident_bytes,
        terminal: process.terminal,
        command: process.command,
    }
}

fn message(id: &ContainerId, usage: usage::Usage) -> GetContainerStatsResponse {
    let stats::Stats { cpu, memory, pids, io, io_pressure, hugetlb, rdma: _ } = usage.stats;
    let working_set_bytes = memory.working_set_bytes();
    let stats = ContainerStats {
        container_id: id.to_string(),
        time: Some(convert::timestamp(usage.unix_ns)),
        cpu: Some(CpuStats {
            usage_ns: cpu.usage_ns,
            user_ns: cpu.user_ns,
            system_ns: cpu.system_ns,
            per_cpu_ns: cpu.per_cpu_ns,
            online_cpus: usage.online_cpus,
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_ns: cpu.throttled_ns,
            pressure: cpu.pressure.map(pressure),
        }),
        memory: Some(MemoryStats {
            usage_bytes: memory.usage_bytes,
            working_set_bytes,
            peak_bytes: memory.peak_bytes,
            limit_bytes: memory.limit_bytes,
            limit_hits: memory.limit_hits,
            swap_bytes: memory.swap_bytes,
            swap_limit_bytes: memory.swap_limit_bytes,
            anonymous_bytes: memory.anonymous_bytes,
            file_bytes: memory.file_bytes,
            kernel_bytes: memory.kernel_bytes,
            oom_kills: memory.oom_kills,
            kernel_stat: memory.all,
            pressure: memory.pressure.map(pressure),
        }),
        pids: Some(PidsStats { current: pids.current, max: pids.max }),
        block_devices: io.into_iter().map(block_device).collect(),
        block_pressure: io_pressure.map(pressure),
        network_interfaces: usage.interfaces.into_iter().map(network_interface).collect(),
        huge_pages: hugetlb
            .into_iter()
            .map(|(size, page)| {
                (size, HugePageStats { usage_bytes: page.usage_bytes, limit_hits: page.limit_hits })
            })
            .collect(),
    };
    GetContainerStatsResponse { stats: Some(stats) }
}

fn block_device(device: stats::IoStats) -> BlockDeviceStats {
    let stats::IoStats { major, minor, read_bytes, write_bytes, reads, writes } = device;
    BlockDeviceStats { major, minor, read_bytes, write_bytes, reads, writes }
}

fn network_interface(interface: usage::Interface) -> NetworkInterfaceStats {
    let usage::Interface { name, received, sent } = interface;
    NetworkInterfaceStats {
        name,
        received_bytes: received.bytes,
        received_packets: received.packets,
        received_dropped: received.dropped,
        sent_bytes: sent.bytes,
        sent_packets: sent.packets,
        sent_dropped: sent.dropped,
    }
}

fn pressure(pressure: stats::Pressure) -> Pressure {
    let stall = |stall: stats::Stall| {
        let stats::Stall { avg10, avg60, avg300, total_us } = stall;
        Stall { avg10, avg60, avg300, total_us }
    };
    Pressure { some: Some(stall(pressure.some)), full: pressure.full.map(stall) }
}
