//! A container as the API tells it, alone and in lists: its record and its status in one message.

use std::borrow::Cow;

use gantry_api::containers::v1::{Container, ContainerState, ListContainersRequest, ListContainersResponse};
use gantry_api::convert::{self, timestamp};
use gantry_api::filter::Filter;
use gantry_store::{Page, Row};
use tonic::Status;

use super::containers::Named;
use super::{Service, list};
use crate::control::folders::snapshot_key;
use crate::error::Error;
use crate::networks::tables::Owner;
use crate::tables::{CONTAINER_STATUS, CONTAINERS, ContainerRecord, ContainerStatus};

/// What lists of containers can be filtered by.
const FIELDS: [&str; 6] = ["id", "name", "image", "state", "exit_code", "labels."];

/// `ContainerService.ListContainers`
pub(super) fn list_containers(
    service: &Service,
    request: &ListContainersRequest,
) -> Result<ListContainersResponse, Status> {
    let namespace = convert::namespace(&request.namespace)?;
    let filter = Filter::parse(&request.filter, &FIELDS)?;
    let (revision, rows) = (
        service.daemon.events.latest(),
        service.daemon.store.view(|tx| {
            let records = tx.scan(&CONTAINERS, &Page::prefix(&namespace));
            let statuses = tx.scan(&CONTAINER_STATUS, &Page::prefix(&namespace));
            records.into_iter().zip(statuses).collect::<Vec<_>>()
        }),
    );
    let mut containers: Vec<(String, Container)> = rows
        .into_iter()
        .map(|((_, record), (_, status))| (newest_first(&record.value), service.to_message(&record, &status)))
        .collect();
    containers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (containers, next_page_token) =
        list::page(containers, &filter, values_of, request.page_size, &request.page_token)?;
    Ok(ListContainersResponse { containers, next_page_token, revision })
}

impl Service {
    /// The container as it is now.
    pub(super) fn container(&self, named: &Named) -> Result<Container, Error> {
        let key = (named.namespace.clone(), named.id.clone());
        let (record, status) =
            self.daemon.store.view(|tx| (tx.get(&CONTAINERS, &key), tx.get(&CONTAINER_STATUS, &key)));
        match (record, status) {
            (Some(record), Some(status)) => Ok(self.to_message(&record, &status)),
            _ => Err(Error::ContainerGone),
        }
    }

    fn to_message(&self, record: &Row<ContainerRecord>, status: &Row<ContainerStatus>) -> Container {
        let revision = record.revision.max(status.revision).0;
        let (record, status) = (&record.value, &status.value);
        Container {
            namespace: record.namespace.to_string(),
            id: record.id.to_string(),
            name: record.name.to_string(),
            labels: record.options.labels.clone(),
            create_time: Some(timestamp(record.created_unix_ns)),
            revision,
            image: record.image.familiar(),
            image_digest: record.image_digest.to_string(),
            image_id: record.image_id.to_string(),
            options: Some((&record.options).into()),
            command: gantry_runtime::spec::command(&record.options.process, &record.image_config),
            state: ContainerState::from(status.state).into(),
            pid: status.pid,
            start_time: (status.started_unix_ns != 0).then(|| timestamp(status.started_unix_ns)),
            exit: status.exit.map(Into::into),
            restart_count: 0,
            error: status.error.clone(),
            hostname: self.daemon.hostname(record),
            snapshot_key: snapshot_key(record).to_string(),
            endpoints: self.endpoints_of(record),
            ports: self.ports_of(&Owner::Container(record.namespace.clone(), record.id.clone())),
        }
    }
}

fn values_of<'a>(container: &'a Container, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "id" => vec![Cow::Borrowed(&*container.id)],
        "name" => vec![Cow::Borrowed(&*container.name)],
        "image" => vec![Cow::Borrowed(&*container.image), Cow::Borrowed(&*container.image_id)],
        "state" => {
            container.state().to_state().map(|state| Cow::Borrowed(state.as_str())).into_iter().collect()
        }
        "exit_code" => container.exit.iter().map(|exit| Cow::Owned(exit.code.to_string())).collect(),
        _ => list::label(&container.labels, field),
    }
}

/// Newest first, and by id among those of one instant.
fn newest_first(record: &ContainerRecord) -> String {
    format!("{:020}{}", i64::MAX - record.created_unix_ns, record.id)
}
