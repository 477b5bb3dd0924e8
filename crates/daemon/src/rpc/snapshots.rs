//! `gantry.snapshots.v1.SnapshotService`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gantry_api::convert::{self, timestamp};
use gantry_api::filter::Filter;
use gantry_api::snapshots::v1::snapshot_service_server::SnapshotService;
use gantry_api::snapshots::v1::{
    GetSnapshotRequest, GetSnapshotResponse, GetSnapshotUsageRequest, GetSnapshotUsageResponse,
    ListSnapshotsRequest, ListSnapshotsResponse, Snapshot, SnapshotKind,
};
use gantry_snapshot::SnapshotKind as Kind;
use gantry_store::Page;
use gantry_types::{Namespace, SnapshotKey};
use tonic::{Request, Response, Status};

use super::{Service, list};
use crate::error::Error;
use crate::tables::{CONTAINERS, IMAGES};

const FIELDS: [&str; 4] = ["key", "parent_key", "kind", "labels."];

/// What the store knows of snapshots: what each stands on, and when it came to be.
#[derive(Debug, Default)]
struct Known {
    parents: BTreeMap<String, String>,
    created_unix_ns: BTreeMap<String, i64>,
}

impl Service {
    fn known(&self) -> Known {
        let mut known = Known::default();
        self.daemon.store.view(|tx| {
            for (_, row) in tx.scan(&IMAGES, &Page::all()) {
                for pair in row.value.image.chain().windows(2) {
                    known.parents.insert(pair[1].to_string(), pair[0].to_string());
                }
            }
            for ((_, id), row) in tx.scan(&CONTAINERS, &Page::all()) {
                if let Some(top) = row.value.layers.last() {
                    known.parents.insert(id.to_string(), top.to_string());
                }
                known.created_unix_ns.insert(id.to_string(), row.value.created_unix_ns);
            }
        });
        known
    }

    fn snapshot(&self, namespace: &Namespace, key: &SnapshotKey, kind: Kind, known: &Known) -> Snapshot {
        let kind = match kind {
            Kind::Layer => SnapshotKind::Committed,
            Kind::Active | Kind::Incomplete => SnapshotKind::Active,
        };
        Snapshot {
            namespace: namespace.to_string(),
            key: key.to_string(),
            parent_key: known.parents.get(key.as_str()).cloned().unwrap_or_default(),
            kind: kind.into(),
            driver: self.daemon.snapshotter.name().to_owned(),
            create_time: known.created_unix_ns.get(key.as_str()).map(|ns| timestamp(*ns)),
            ..Snapshot::default()
        }
    }
}

fn values_of<'a>(snapshot: &'a Snapshot, field: &str) -> Vec<Cow<'a, str>> {
    match field {
        "key" => vec![Cow::Borrowed(&*snapshot.key)],
        "parent_key" => vec![Cow::Borrowed(&*snapshot.parent_key)],
        "kind" => match snapshot.kind() {
            SnapshotKind::Unspecified => Vec::new(),
            SnapshotKind::Committed => vec![Cow::Borrowed("committed")],
            SnapshotKind::Active => vec![Cow::Borrowed("active")],
        },
        _ => list::label(&snapshot.labels, field),
    }
}

#[tonic::async_trait]
impl SnapshotService for Service {
    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let filter = Filter::parse(&request.filter, &FIELDS)?;
        let snapshotter = self.daemon.snapshotter.clone();
        let mut listed = self.daemon.blocking.run(move || snapshotter.list()).await.map_err(Error::from)?;
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        let known = self.known();
        let snapshots = listed.iter().map(|listed| {
            (listed.key.to_string(), self.snapshot(&namespace, &listed.key, listed.kind, &known))
        });
        let (snapshots, next_page_token) =
            list::page(snapshots, &filter, values_of, request.page_size, &request.page_token)?;
        Ok(Response::new(ListSnapshotsResponse { snapshots, next_page_token }))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let request = request.into_inner();
        let namespace = convert::namespace(&request.namespace)?;
        let key: SnapshotKey = convert::id("key", &request.key)?;
        let (snapshotter, wanted) = (self.daemon.snapshotter.clone(), key.clone());
        let kind = self.daemon.blocking.run(move || snapshotter.kind(&wanted)).await.map_err(Error::from)?;
        let kind = kind.ok_or_else(|| Error::NotFound { kind: "snapshot", name: key.to_string() })?;
        let snapshot = self.snapshot(&namespace, &key, kind, &self.known());
        Ok(Response::new(GetSnapshotResponse { snapshot: Some(snapshot) }))
    }

    async fn get_snapshot_usage(
        &self,
        request: Request<GetSnapshotUsageRequest>,
    ) -> Result<Response<GetSnapshotUsageResponse>, Status> {
        let request = request.into_inner();
        convert::namespace(&request.namespace)?;
        let key: SnapshotKey = convert::id("key", &request.key)?;
        let snapshotter = self.daemon.snapshotter.clone();
        let usage = self.daemon.blocking.run(move || snapshotter.usage(&key)).await.map_err(Error::from)?;
        Ok(Response::new(GetSnapshotUsageResponse { size_bytes: usage.bytes, inodes: usage.inodes }))
    }
}
