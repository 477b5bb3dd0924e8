//! The daemon's life: make the parts, take over what runs, answer, and end without touching a container.

mod connection;
mod socket;
mod tls;

pub(crate) use connection::Peer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use crate::assemble::{self, Daemon};
use crate::config::{CgroupDriver, Config};
use crate::{heap, metrics, networks, recover, rpc};
use connection::Connections;

/// How long open calls may go on after the daemon was told to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 limits against floods of streams, resets and headers (RUSTSEC-2024-0003, -0332).
const STREAMS_MAX: u32 = 1024;
const HEADER_BYTES_MAX: u32 = 64 << 10;
const RESETS_MAX: usize = 256;
/// A peer that is gone without a word is noticed after both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Threads that run tasks; everything that blocks has threads of its own.
const WORKERS_MAX: usize = 4;
/// Stack of a blocking thread, which walks layer folders at the deepest.
const STACK_BYTES: usize = 1 << 20;

/// Runs the daemon until it is told to end.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).min(WORKERS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(gantry_types::BLOCKING_MAX + networks::PLUGINS_MAX + 2)
        .thread_stack_size(STACK_BYTES)
        .thread_name("gantryd")
        .enable_all()
        .build()
        .context("cannot start the daemon's threads")?;
    let outcome = runtime.block_on(live(config));
    // Blocking calls that still run belong to tasks that were told to end; nothing waits for them any more.
    runtime.shutdown_timeout(DRAIN_TIMEOUT);
    outcome
}

async fn live(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // The socket first: it tells whether another daemon lives here before anything is touched.
    let listener = socket::listen(&config)?;
    let daemon = assemble::assemble(config)?;
    if !daemon.config.metrics.address.is_empty() {
        metrics::serve(Arc::clone(&daemon), daemon.config.metrics.address.clone()).await?;
    }
    recover::recover(&daemon).await?;
    networks::keeper::keep(&daemon);
    heap::keep_small(&daemon);
    daemon.fill_namespaces();
    let server = serve(&daemon, listener).await?;
    ready(&daemon);
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = server => ended.context("the server's task ended").and_then(|served| served),
    };
    tracing::info!("ending; containers go on");
    // Nobody listens where there is no service manager.
    let _unsupervised = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if !daemon.tasks.drain().await {
        tracing::warn!("some tasks did not end in time");
    }
    // Folders that containers share are left behind by each; those that are empty now go.
    if let CgroupDriver::Cgroupfs = daemon.config.containers.cgroup_manager
        && let Err(error) =
            gantry_runtime::cgroup::prune(&daemon.cgroups, &daemon.config.containers.cgroup_parent)
    {
        tracing::warn!(error = %error, "empty control groups were not all taken away");
    }
    let store = daemon.store.clone();
    daemon.blocking.run(move || store.close()).await.map_err(assemble::with_hint)?;
    ended
}

/// Starts answering; the task ends when the daemon does, or when a server fails.
async fn serve(
    daemon: &Arc<Daemon>,
    listener: UnixListener,
) -> anyhow::Result<tokio::task::JoinHandle<anyhow::Result<()>>> {
    // Counted apart: strangers who may knock at the TCP port must not use up what the local socket may have.
    let [local, remote] = [(); 2].map(|()| Connections::new(daemon.config.grpc.connections_max));
    let routes = rpc::routes(daemon).await?;
    let unix = server(daemon)
        .add_routes(routes.clone())
        .serve_with_incoming_shutdown(local.accept(listener, daemon.tasks.clone()), ended(daemon));
    let tcp = match tls::listen(&daemon.config.grpc).await? {
        Some((listener, identity)) => server(daemon)
            .tls_config(identity)
            .context("the TLS files cannot be used")?
            .add_routes(routes)
            .serve_with_incoming_shutdown(remote.accept(listener, daemon.tasks.clone()), ended(daemon))
            .boxed(),
        None => std::future::pending().boxed(),
    };
    let token = daemon.tasks.token().clone();
    Ok(daemon.tasks.spawn("server", async move {
        tokio::select! {
            served = unix => served.context("the server failed"),
            served = tcp => served.context("the TCP server failed"),
            () = async { token.cancelled().await; tokio::time::sleep(DRAIN_TIMEOUT).await } => Ok(()),
        }
    }))
}

fn server(
    daemon: &Arc<Daemon>,
) -> Server<tower::layer::util::Stack<rpc::TraceLayer, tower::layer::util::Identity>> {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(rpc::TraceLayer::new(Arc::clone(daemon)))
}

fn ended(daemon: &Daemon) -> impl Future<Output = ()> + Send + use<> {
    daemon.tasks.token().clone().cancelled_owned()
}

fn ready(daemon: &Daemon) {
    let socket = daemon.config.socket_path();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %socket.display(),
        containers = daemon.containers.len(),
        "ready"
    );
    let _unsupervised = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
