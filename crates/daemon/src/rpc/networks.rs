//! `gantry.networks.v1.NetworkService`.

use gantry_api::convert::{self, SandboxRequest};
use gantry_api::filter::Filter;
use gantry_api::networks::v1::network_service_server::NetworkService;
use gantry_api::networks::v1::{
    AddPortsRequest, AddPortsResponse, ConnectContainerRequest, ConnectContainerResponse,
    CreateNetworkRequest, CreateNetworkResponse, CreateSandboxRequest, CreateSandboxResponse,
    DisconnectContainerRequest, DisconnectContainerResponse, GetNetworkRequest, GetNetworkResponse,
    GetSandboxRequest, GetSandboxResponse, ListNetworksRequest, ListNetworksResponse, ListSandboxesRequest,
    ListSandboxesResponse, PruneNetworksRequest, PruneNetworksResponse, RemoveNetworkRequest,
    RemoveNetworkResponse, RemovePortsRequest, RemovePortsResponse, RemoveSandboxRequest,
    RemoveSandboxResponse, Sandbox, UpdateNetworkRequest, UpdateNetworkResponse,
};
use gantry_store::Page;
use gantry_types::{ContainerId, Namespace, NetworkId, PublishedPort};
use tonic::{Request, Response, Status};

use super::containers::Named;
use super::network::{FIELDS, all, place_on, values_of};
use super::{Service, list};
use crate::control::attach_network::{find_sandbox, needs_default};
use crate::error::Error;
use crate::networks::NetworkProblem;
use crate::networks::facts::owner_of;
use crate::networks::tables::SANDBOXES;
use crate::requests::Turn;
use crate::supervisor::Command;

impl Service {
    /// Carries a change of a container's ports out, once per request id.
    async fn change_ports(
        &self,
        named: &Named,
        request_id: &str,
        method: &'static str,
        add: Vec<PublishedPort>,
        remove: Vec<PublishedPort>,
    ) -> Result<(), Status> {
        let turn = self.turn(&named.namespace, request_id, method).await?;
        if let Turn::Work(guard) = turn {
            self.handle(named)?.ask(|reply| Command::Ports { add, remove, reply }).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon, named.id.as_str()).await?;
            }
        }
        Ok(())
    }

    fn ports_after(&self, named: &Named) -> Vec<gantry_api::networks::v1::PublishedPort> {
        self.ports_of(&owner_of(&named.namespace, &named.id))
    }

    fn place(
        &self,
        namespace: &Namespace,
        container: &ContainerId,
        network: &NetworkId,
    ) -> Result<gantry_api::networks::v1::Endpoint, Error> {
        let owner = owner_of(namespace, container);
        let found = self.daemon.store.view(|tx| place_on(tx, &owner, network));
        let record = crate::networks::record::get(&self.daemon.store, network)?;
        let endpoint =
            found.ok_or_else(|| NetworkProblem::EndpointNotFound { name: record.name.to_string() })?;
        Ok(self.endpoint_message(&endpoint, &record))
    }
}

fn network_id(text: &str) -> Result<NetworkId, Error> {
    Ok(text.parse()?)
}

fn sandbox_values<'a>(sandbox: &'a Sandbox, field: &str) -> Vec<std::borrow::Cow<'a, str>> {
    match field {
        "id" => vec![std::borrow::Cow::Borrowed(&*sandbox.id)],
        _ => list::label(&sandbox.labels, field),
    }
}

#[tonic::async_trait]
impl NetworkService for Service {
    async fn create_network(
        &self,
        request: Request<CreateNetworkRequest>,
    ) -> Result<Response<CreateNetworkResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let name = convert::id("name", &request.name)?;
        let options = convert::network_options(request.options, request.labels)?;
        let turn = self.turn(&namespace, &request.request_id, "CreateNetwork").await?;
        let id = match turn {
            Turn::Done(id) => network_id(&id)?,
            Turn::Work(guard) => {
                self.daemon.create_network(&namespace, name, options, guard.as_ref()).await?
            }
        };
        let network = self.network_message(&id, false)?;
        Ok(Response::new(CreateNetworkResponse { network: Some(network) }))
    }

    async fn get_network(
        &self,
        request: Request<GetNetworkRequest>,
    ) -> Result<Response<GetNetworkResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let found = self.network(&namespace, convert::identifier("network", &request.network)?)?;
        let (service, id) = (self.clone(), found.id.clone());
        let mut network = self.daemon.blocking.run(move || service.network_message(&id, true)).await?;
        if found.is_foreign() {
            self.check_links(&found, &mut network).await;
        }
        Ok(Response::new(GetNetworkResponse { network: Some(network) }))
    }

    async fn list_networks(
        &self,
        request: Request<ListNetworksRequest>,
    ) -> Result<Response<ListNetworksResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let networks = self.daemon.store.view(|tx| all(tx, &namespace));
        let (networks, next_page_token) =
            list::page(networks, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListNetworksResponse { networks, next_page_token }))
    }

    async fn update_network(
        &self,
        request: Request<UpdateNetworkRequest>,
    ) -> Result<Response<UpdateNetworkResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let labels = convert::labels(request.labels)?;
        let found = self.network(&namespace, convert::identifier("network", &request.network)?)?;
        self.daemon.update_network(&found.id, labels).await?;
        let network = self.network_message(&found.id, false)?;
        Ok(Response::new(UpdateNetworkResponse { network: Some(network) }))
    }

    async fn remove_network(
        &self,
        request: Request<RemoveNetworkRequest>,
    ) -> Result<Response<RemoveNetworkResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let turn = self.turn(&namespace, &request.request_id, "RemoveNetwork").await?;
        let id = match turn {
            Turn::Done(id) => id,
            Turn::Work(guard) => {
                let found = self.network(&namespace, convert::identifier("network", &request.network)?)?;
                self.daemon.remove_network(&found).await?;
                if let Some(guard) = guard {
                    guard.note_alone(&self.daemon, found.id.as_str()).await?;
                }
                found.id.to_string()
            }
        };
        Ok(Response::new(RemoveNetworkResponse { id }))
    }

    async fn prune_networks(
        &self,
        request: Request<PruneNetworksRequest>,
    ) -> Result<Response<PruneNetworksResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let chosen: std::collections::HashSet<String> = self
            .daemon
            .store
            .view(|tx| all(tx, &namespace))
            .into_iter()
            .filter(|(_, network)| filter.matches(|field| values_of(network, field)))
            .map(|(_, network)| network.id)
            .collect();
        let removed =
            self.daemon.prune_networks(&namespace, |network| chosen.contains(network.id.as_str())).await?;
        Ok(Response::new(PruneNetworksResponse { removed }))
    }

    async fn connect_container(
        &self,
        request: Request<ConnectContainerRequest>,
    ) -> Result<Response<ConnectContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let attachment = convert::attachment(request.attachment)?;
        if needs_default(std::slice::from_ref(&attachment)) {
            self.daemon.default_network().await?;
        }
        let found = self.network(&named.namespace, &attachment.network)?;
        let turn = self.turn(&named.namespace, &request.request_id, "ConnectContainer").await?;
        if let Turn::Work(guard) = turn {
            let (network, options) = (Box::new(found.clone()), Box::new(attachment.options));
            self.handle(&named)?.ask(|reply| Command::Connect { network, options, reply }).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon, named.id.as_str()).await?;
            }
        }
        let endpoint = self.place(&named.namespace, &named.id, &found.id)?;
        Ok(Response::new(ConnectContainerResponse { endpoint: Some(endpoint) }))
    }

    async fn disconnect_container(
        &self,
        request: Request<DisconnectContainerRequest>,
    ) -> Result<Response<DisconnectContainerResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let turn = self.turn(&named.namespace, &request.request_id, "DisconnectContainer").await?;
        if let Turn::Work(guard) = turn {
            let found = self.network(&named.namespace, convert::identifier("network", &request.network)?)?;
            let network = Box::new(found);
            self.handle(&named)?.ask(|reply| Command::Disconnect { network, reply }).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon, named.id.as_str()).await?;
            }
        }
        Ok(Response::new(DisconnectContainerResponse {}))
    }

    async fn add_ports(
        &self,
        request: Request<AddPortsRequest>,
    ) -> Result<Response<AddPortsResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let add = convert::ports(request.ports)?;
        self.change_ports(&named, &request.request_id, "AddPorts", add, Vec::new()).await?;
        Ok(Response::new(AddPortsResponse { ports: self.ports_after(&named) }))
    }

    async fn remove_ports(
        &self,
        request: Request<RemovePortsRequest>,
    ) -> Result<Response<RemovePortsResponse>, Status> {
        let request = request.into_inner();
        let named = self.named(&request.namespace, &request.container)?;
        let remove = convert::ports(request.ports)?;
        self.change_ports(&named, &request.request_id, "RemovePorts", Vec::new(), remove).await?;
        Ok(Response::new(RemovePortsResponse { ports: self.ports_after(&named) }))
    }

    async fn create_sandbox(
        &self,
        request: Request<CreateSandboxRequest>,
    ) -> Result<Response<CreateSandboxResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let request_id = request.request_id.clone();
        let asked = SandboxRequest::try_from(request)?;
        let turn = self.turn(&namespace, &request_id, "CreateSandbox").await?;
        let id = match turn {
            Turn::Done(id) => id.parse().map_err(Error::from)?,
            Turn::Work(guard) => self.daemon.create_sandbox(&namespace, asked, guard.as_ref()).await?,
        };
        let sandbox = self.sandbox_message(&namespace, &id)?;
        Ok(Response::new(CreateSandboxResponse { sandbox: Some(sandbox) }))
    }

    async fn get_sandbox(
        &self,
        request: Request<GetSandboxRequest>,
    ) -> Result<Response<GetSandboxResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let text = convert::identifier("sandbox", &request.sandbox)?;
        let found = find_sandbox(&self.daemon.store, &namespace, text).map_err(Error::from)?;
        let sandbox = self.sandbox_message(&namespace, &found.id)?;
        Ok(Response::new(GetSandboxResponse { sandbox: Some(sandbox) }))
    }

    async fn list_sandboxes(
        &self,
        request: Request<ListSandboxesRequest>,
    ) -> Result<Response<ListSandboxesResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &["id", "labels."])?;
        let rows = self.daemon.store.scan(&SANDBOXES, &Page::prefix(&namespace));
        let sandboxes = rows.iter().map(|((_, id), row)| (id.to_string(), self.to_sandbox(row)));
        let (sandboxes, next_page_token) =
            list::page(sandboxes, &filter, sandbox_values, request.page_size, &request.page_token)?;
        Ok(Response::new(ListSandboxesResponse { sandboxes, next_page_token }))
    }

    async fn remove_sandbox(
        &self,
        request: Request<RemoveSandboxRequest>,
    ) -> Result<Response<RemoveSandboxResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let turn = self.turn(&namespace, &request.request_id, "RemoveSandbox").await?;
        let id = match turn {
            Turn::Done(id) => id,
            Turn::Work(guard) => {
                let text = convert::identifier("sandbox", &request.sandbox)?;
                let found = find_sandbox(&self.daemon.store, &namespace, text).map_err(Error::from)?;
                self.daemon.remove_sandbox(&found).await?;
                if let Some(guard) = guard {
                    guard.note_alone(&self.daemon, found.id.as_str()).await?;
                }
                found.id.to_string()
            }
        };
        Ok(Response::new(RemoveSandboxResponse { id }))
    }
}
