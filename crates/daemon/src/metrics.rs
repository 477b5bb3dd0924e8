//! What the daemon counts, in Prometheus's text format, on an address that the configuration opts in to.
//! Each number is here for a question an operator asks: is it used, is it slow, does it fail, does it leak.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::assemble::Daemon;
use crate::tables::{CONTAINERS, IMAGES};

/// Readers served at once, and how long each may take.
const READERS_MAX: usize = 8;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request that are looked at.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// The counters that code outside this file adds to.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub requests: Family<RequestLabels, Counter>,
    pub request_seconds: Family<MethodLabels, Histogram>,
    pub container_starts: Counter,
    pub container_start_failures: Counter,
    pub container_start_seconds: Histogram,
}

/// One RPC and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// `gantry.containers.v1.ContainerService/StartContainer`
    pub method: String,
    /// gRPC code, a number.
    pub code: i32,
}

/// One RPC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct MethodLabels {
    pub method: String,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.25 ms to 4 s.
        let seconds = || Histogram::new(exponential_buckets(0.000_25, 2.0, 15));
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            container_starts: Counter::default(),
            container_start_failures: Counter::default(),
            container_start_seconds: seconds(),
        }
    }
}

/// Answers on `address` until the daemon ends.
pub(crate) async fn serve(daemon: Arc<Daemon>, address: String) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(&address).await.with_context(|| format!("cannot serve metrics on {address}"))?;
    let readers = Arc::new(Semaphore::new(READERS_MAX));
    let tasks = daemon.tasks.clone();
    tasks.clone().spawn("metrics", async move {
        loop {
            let accepted = tokio::select! {
                () = tasks.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&readers).try_acquire_owned() else { continue };
            let daemon = Arc::clone(&daemon);
            tasks.spawn("metrics reader", async move {
                let _permit = permit;
                // A reader that goes away or stalls is no concern of the daemon's.
                let _unread = tokio::time::timeout(READ_TIMEOUT, answer(&daemon, stream)).await;
            });
        }
    });
    Ok(())
}

async fn answer(daemon: &Daemon, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", text(daemon))
    } else {
        ("404 Not Found", String::from("metrics are at /metrics\n"))
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

fn text(daemon: &Daemon) -> String {
    let metrics = &daemon.metrics;
    let store = daemon.store.metrics();
    let number = |value: usize| {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value as u64);
        gauge
    };
    let mut registry = Registry::with_prefix("gantry");
    registry.register("requests", "RPCs by method and gRPC code", metrics.requests.clone());
    registry.register_with_unit(
        "request",
        "time to an RPC's answer",
        Unit::Seconds,
        metrics.request_seconds.clone(),
    );
    registry.register("container_starts", "containers started", metrics.container_starts.clone());
    registry.register(
        "container_start_failures",
        "starts that failed",
        metrics.container_start_failures.clone(),
    );
    registry.register_with_unit(
        "container_start",
        "time from the request to the running programme",
        Unit::Seconds,
        metrics.container_start_seconds.clone(),
    );
    registry.register("containers", "containers of all namespaces", number(daemon.store.count(&CONTAINERS)));
    registry.register("images", "image names of all namespaces", number(daemon.store.count(&IMAGES)));
    registry.register("supervisors", "tasks that own a container", number(daemon.containers.len()));
    let counter = |value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        counter
    };
    registry.register("store_fsyncs", "times the store waited for the disk", counter(store.fsyncs));
    registry.register("store_commits", "transactions of the store", counter(store.commits));
    let mut out = String::new();
    encode(&mut out, &registry).expect("a String takes everything");
    out
}
