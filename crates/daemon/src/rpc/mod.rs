//! The gRPC edge. Each method converts its request, calls one use case and converts the answer; nothing is
//! decided here, and no message of protobuf goes further in.

mod container;
mod containers;
mod content;
mod events;
mod execs;
mod images;
mod leases;
mod list;
mod logs;
mod network;
mod networks;
mod snapshots;
mod stats;
mod streams;
mod system;
mod trace;

use std::sync::Arc;

use anyhow::Context;
use gantry_api::convert;
use gantry_types::{MESSAGE_BYTES_MAX, Namespace};
use tonic::Status;
use tonic::service::Routes;

pub(crate) use trace::TraceLayer;

use crate::assemble::Daemon;
use crate::error::Error;
use crate::requests::Turn;

/// The daemon, as the services see it.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    daemon: Arc<Daemon>,
}

impl Service {
    /// Whether the request of this id is to be carried out, or was already; an empty id is always new.
    async fn turn(
        &self,
        namespace: &Namespace,
        request_id: &str,
        method: &'static str,
    ) -> Result<Turn<'_>, Status> {
        let id = convert::request_id(request_id)?;
        Ok(self.daemon.requests.turn(&self.daemon.store, namespace, id, method).await?)
    }

    /// Carries `work` of several steps out to its end, whether the caller waits for it or not.
    async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        self.daemon.tasks.spawn(name, work).await.map_err(|_| Error::ShuttingDown)?
    }
}

/// Declares each service with its limits, and its health.
macro_rules! add {
    ($routes:ident, $health:ident, $service:ident, $($resource:ident :: $module:ident :: $server:ident),* $(,)?) => {
        $(
            let server = gantry_api::$resource::v1::$module::$server::new($service.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            $routes = $routes.add_service(server);
            $health.set_serving::<gantry_api::$resource::v1::$module::$server<Service>>().await;
        )*
    };
}

/// Every service, with health and reflection.
pub(crate) async fn routes(daemon: &Arc<Daemon>) -> anyhow::Result<Routes> {
    let service = Service { daemon: Arc::clone(daemon) };
    let (health, health_server) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(gantry_api::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::new(health_server)
        .add_service(reflection().build_v1().context("the API's own descriptors do not load")?)
        .add_service(reflection().build_v1alpha().context("the API's own descriptors do not load")?);
    add!(
        routes,
        health,
        service,
        containers::container_service_server::ContainerServiceServer,
        images::image_service_server::ImageServiceServer,
        content::content_service_server::ContentServiceServer,
        snapshots::snapshot_service_server::SnapshotServiceServer,
        events::event_service_server::EventServiceServer,
        leases::lease_service_server::LeaseServiceServer,
        networks::network_service_server::NetworkServiceServer,
        system::system_service_server::SystemServiceServer,
    );
    Ok(routes)
}
