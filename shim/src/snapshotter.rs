//! containerd's snapshots API over the store: convert in, one call, convert out.
//!
//! containerd calls these while it holds the lock of its own database. Nothing here may call containerd.

mod check;
mod convert;
mod filter;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use cachestore::Store;
use cachestore::snapshots::Kind;
use proto::snapshots as api;
use proto::snapshots::snapshots_server::Snapshots;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};

use crate::blocking;

/// How many snapshots one message of a list holds, as in containerd's own lists.
const LIST_BATCH: usize = 100;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotService {
    store: Arc<Store>,
}

impl SnapshotService {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> cachestore::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        blocking::run(move || work(&store)).await
    }

    async fn make(
        &self,
        key: String,
        kind: Kind,
        parent: String,
        labels: HashMap<String, String>,
    ) -> Result<Vec<proto::containerd::types::Mount>, Status> {
        check::name(&key)?;
        check::labels(&labels)?;
        let labels = labels.into_iter().collect();
        let parent = Some(parent).filter(|parent| !parent.is_empty());
        let mounts = self.call(move |store| store.prepare(&key, kind, parent.as_deref(), &labels)).await?;
        Ok(mounts.into_iter().map(convert::mount).collect())
    }
}

/// To the store a name of a snapshot of the wrong kind is invalid; to containerd a condition has failed.
fn wrong_kind(status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument => Status::failed_precondition(status.message()),
        _ => status,
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotService {
    type ListStream = Pin<Box<dyn Stream<Item = Result<api::ListSnapshotsResponse, Status>> + Send>>;

    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Result<Response<api::PrepareSnapshotResponse>, Status> {
        let request = request.into_inner();
        let mounts = self.make(request.key, Kind::Active, request.parent, request.labels).await?;
        Ok(Response::new(api::PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Result<Response<api::ViewSnapshotResponse>, Status> {
        let request = request.into_inner();
        let mounts = self.make(request.key, Kind::View, request.parent, request.labels).await?;
        Ok(Response::new(api::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(
        &self,
        request: Request<api::MountsRequest>,
    ) -> Result<Response<api::MountsResponse>, Status> {
        let key = request.into_inner().key;
        let mounts = self.call(move |store| store.mounts(&key)).await.map_err(wrong_kind)?;
        Ok(Response::new(api::MountsResponse { mounts: mounts.into_iter().map(convert::mount).collect() }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        check::name(&request.name)?;
        check::labels(&request.labels)?;
        let labels = request.labels.into_iter().collect();
        let commit = self.call(move |store| store.commit_snapshot(&request.name, &request.key, &labels));
        commit.await.map_err(wrong_kind)?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let key = request.into_inner().key;
        self.call(move |store| store.remove_snapshot(&key)).await?;
        Ok(Response::new(()))
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Result<Response<api::StatSnapshotResponse>, Status> {
        let key = request.into_inner().key;
        let info = self.call(move |store| store.snapshot(&key)).await?;
        Ok(Response::new(api::StatSnapshotResponse { info: Some(convert::info(info)) }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Result<Response<api::UpdateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let wanted = request.info.ok_or_else(|| Status::invalid_argument("an update needs a snapshot"))?;
        check::labels(&wanted.labels)?;
        let change = convert::label_change(wanted.labels, request.update_mask)?;
        let info = self.call(move |store| store.update_labels(&wanted.name, change)).await?;
        Ok(Response::new(api::UpdateSnapshotResponse { info: Some(convert::info(info)) }))
    }

    async fn list(
        &self,
        request: Request<api::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let filters = filter::parse(&request.into_inner().filters)?;
        let infos = self.call(Store::snapshots).await?;
        let infos: Vec<_> =
            infos.into_iter().filter(|info| filter::matches(&filters, info)).map(convert::info).collect();
        let batches: Vec<_> = infos
            .chunks(LIST_BATCH)
            .map(|batch| Ok(api::ListSnapshotsResponse { info: batch.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(batches))))
    }

    async fn usage(
        &self,
        request: Request<api::UsageRequest>,
    ) -> Result<Response<api::UsageResponse>, Status> {
        let key = request.into_inner().key;
        let usage = self.call(move |store| store.usage(&key)).await?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok(Response::new(api::UsageResponse { size: number(usage.size_bytes), inodes: number(usage.inodes) }))
    }

    async fn cleanup(&self, _: Request<api::CleanupRequest>) -> Result<Response<()>, Status> {
        self.call(Store::cleanup).await?;
        Ok(Response::new(()))
    }
}

#[cfg(test)]
mod tests;
