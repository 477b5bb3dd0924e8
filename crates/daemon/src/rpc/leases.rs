//! `gantry.leases.v1.LeaseService`.

use std::borrow::Cow;

use gantry_api::convert::{self, timestamp};
use gantry_api::filter::Filter;
use gantry_api::leases::v1::lease_service_server::LeaseService;
use gantry_api::leases::v1::{
    AddLeaseResourceRequest, AddLeaseResourceResponse, CreateLeaseRequest, CreateLeaseResponse,
    DeleteLeaseRequest, DeleteLeaseResponse, GetLeaseRequest, GetLeaseResponse, Lease, LeaseResource,
    LeaseResourceKind, ListLeaseResourcesRequest, ListLeaseResourcesResponse, ListLeasesRequest,
    ListLeasesResponse,
};
use gantry_store::{Page, Row};
use gantry_types::{ContainerId, Digest, LeaseId, Namespace, SnapshotKey};
use tonic::{Request, Response, Status};

use super::{Service, list};
use crate::clock;
use crate::error::Error;
use crate::requests::Turn;
use crate::tables::{LEASES, LeaseRow};

const FIELDS: [&str; 2] = ["id", "labels."];

impl Service {
    fn lease(&self, namespace: &Namespace, id: &LeaseId) -> Result<Row<LeaseRow>, Error> {
        let row = self.daemon.store.get(&LEASES, &(namespace.clone(), id.clone()));
        row.filter(|row| row.value.is_alive(clock::unix_ns()))
            .ok_or_else(|| Error::LeaseNotFound { id: id.clone() })
    }
}

fn to_message(namespace: &Namespace, id: &LeaseId, row: &Row<LeaseRow>) -> Lease {
    let lease = &row.value;
    Lease {
        namespace: namespace.to_string(),
        id: id.to_string(),
        labels: lease.labels.clone(),
        create_time: Some(timestamp(lease.created_unix_ns)),
        expire_time: (lease.expires_unix_ns != 0).then(|| timestamp(lease.expires_unix_ns)),
        revision: row.revision.0,
    }
}

fn values_of<'a>(lease: &'a Lease, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "id" => vec![Cow::Borrowed(&*lease.id)],
        _ => list::label(&lease.labels, field),
    }
}

/// How a resource is written in a lease's row.
fn to_text(resource: &LeaseResource) -> Result<String, Status> {
    let name = convert::identifier("resource.name", &resource.name)?;
    Ok(match resource.kind() {
        LeaseResourceKind::Unspecified => {
            return Err(Error::Protocol { rule: "resource.kind is needed" }.into());
        }
        LeaseResourceKind::Image => format!("image:{}", name.parse::<Digest>().map_err(Error::from)?),
        LeaseResourceKind::Blob => format!("blob:{}", name.parse::<Digest>().map_err(Error::from)?),
        LeaseResourceKind::Snapshot => {
            format!("snapshot:{}", convert::id::<SnapshotKey>("resource.name", name)?)
        }
    })
}

fn from_text(text: &str) -> Option<LeaseResource> {
    let (kind, name) = text.split_once(':')?;
    let kind = match kind {
        "image" => LeaseResourceKind::Image,
        "blob" => LeaseResourceKind::Blob,
        "snapshot" => LeaseResourceKind::Snapshot,
        _ => return None,
    };
    Some(LeaseResource { kind: kind.into(), name: name.to_owned() })
}

#[tonic::async_trait]
impl LeaseService for Service {
    async fn create_lease(
        &self,
        request: Request<CreateLeaseRequest>,
    ) -> Result<Response<CreateLeaseResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let labels = convert::labels(request.labels)?;
        let turn = self.turn(&namespace, &request.request_id, "CreateLease").await?;
        let id: LeaseId = match turn {
            Turn::Done(id) => id.parse().map_err(Error::from)?,
            Turn::Work(guard) => {
                let id = match request.id.as_str() {
                    "" => ContainerId::from_random(&rand::random()).short().parse().map_err(Error::from)?,
                    id => convert::id("id", id)?,
                };
                self.daemon
                    .create_lease(&namespace, LeaseId::clone(&id), labels, request.ttl_ms, guard.as_ref())
                    .await?;
                id
            }
        };
        let lease = to_message(&namespace, &id, &self.lease(&namespace, &id)?);
        Ok(Response::new(CreateLeaseResponse { lease: Some(lease) }))
    }

    async fn get_lease(
        &self,
        request: Request<GetLeaseRequest>,
    ) -> Result<Response<GetLeaseResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let id = convert::id("id", &request.id)?;
        let lease = to_message(&namespace, &id, &self.lease(&namespace, &id)?);
        Ok(Response::new(GetLeaseResponse { lease: Some(lease) }))
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let now = clock::unix_ns();
        let rows = self.daemon.store.scan(&LEASES, &Page::prefix(&namespace));
        let leases = rows
            .iter()
            .filter(|(_, row)| row.value.is_alive(now))
            .map(|((_, id), row)| (id.to_string(), to_message(&namespace, id, row)));
        let (leases, next_page_token) =
            list::page(leases, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListLeasesResponse { leases, next_page_token }))
    }

    async fn delete_lease(
        &self,
        request: Request<DeleteLeaseRequest>,
    ) -> Result<Response<DeleteLeaseResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let id: LeaseId = convert::id("id", &request.id)?;
        let turn = self.turn(&namespace, &request.request_id, "DeleteLease").await?;
        if let Turn::Work(guard) = turn {
            self.daemon.delete_lease(&namespace, &id).await?;
            if let Some(guard) = guard {
                guard.note_alone(&self.daemon, id.as_str()).await?;
            }
        }
        Ok(Response::new(DeleteLeaseResponse {}))
    }

    async fn add_lease_resource(
        &self,
        request: Request<AddLeaseResourceRequest>,
    ) -> Result<Response<AddLeaseResourceResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let id: LeaseId = convert::id("id", &request.id)?;
        let resource = to_text(&request.resource.unwrap_or_default())?;
        self.daemon.add_lease_resource(&namespace, &id, resource).await?;
        Ok(Response::new(AddLeaseResourceResponse {}))
    }

    async fn list_lease_resources(
        &self,
        request: Request<ListLeaseResourcesRequest>,
    ) -> Result<Response<ListLeaseResourcesResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let lease = self.lease(&namespace, &convert::id("id", &request.id)?)?;
        let resources = lease.value.resources.iter().filter_map(|text| from_text(text)).collect();
        Ok(Response::new(ListLeaseResourcesResponse { resources }))
    }
}
