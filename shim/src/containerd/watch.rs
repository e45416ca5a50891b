//! Watches containerd: what is remembered of it holds only while somebody listens to its events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cachestore::{Digest, Store};
use containerd_client::services::v1::snapshots::ListSnapshotsRequest;
use containerd_client::services::v1::{ImageDelete, SubscribeRequest};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::register::Registrar;
use super::{Containerd, SNAPSHOTTER, request};

/// How long to wait before containerd is looked for again.
const RETRY: Duration = Duration::from_millis(500);

/// Listens until cancelled, and connects again whenever containerd comes back.
pub(crate) async fn run(
    containerd: Containerd,
    registrar: Arc<Registrar>,
    store: Arc<Store>,
    cancelled: CancellationToken,
) {
    let mut epoch = 0;
    while !cancelled.is_cancelled() {
        epoch += 1;
        tokio::select! {
            () = cancelled.cancelled() => break,
            result = listen(&containerd, &registrar, &store, epoch) => {
                registrar.end_epoch();
                tracing::debug!(?result, "the connection to containerd ended");
            }
        }
        tokio::select! {
            () = cancelled.cancelled() => break,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    registrar.end_epoch();
}

/// A new epoch begins only behind the subscription: a deletion in between would be missed.
async fn listen(
    containerd: &Containerd,
    registrar: &Registrar,
    store: &Arc<Store>,
    epoch: u64,
) -> Result<(), Status> {
    let filters = vec!["topic==\"/images/delete\"".to_owned()];
    let mut events =
        containerd.events().subscribe(request(SubscribeRequest { filters }, None)).await?.into_inner();
    adopt_chains(containerd, store).await?;
    registrar.begin_epoch(epoch);
    let version = containerd.version().await?;
    tracing::info!(version, "connected to containerd");
    registrar.reconcile().await?;
    while let Some(event) = events.message().await? {
        let deleted = event.event.map(|event| ImageDelete::decode(&*event.value));
        match deleted {
            Some(Ok(deleted)) => registrar.record_deleted(&deleted.name),
            _ => return Err(Status::internal("containerd sent an event that is none")),
        }
    }
    Ok(())
}

/// Chains that containerd has registered must not be collected, though we may have forgotten about them.
async fn adopt_chains(containerd: &Containerd, store: &Store) -> Result<(), Status> {
    let list =
        ListSnapshotsRequest { snapshotter: SNAPSHOTTER.to_owned(), ..ListSnapshotsRequest::default() };
    let mut answers = containerd.snapshots().list(request(list, None)).await?.into_inner();
    let mut chains = BTreeSet::new();
    while let Some(answer) = answers.message().await? {
        chains.extend(answer.info.iter().filter_map(|info| info.name.parse::<Digest>().ok()));
    }
    store.set_registered(chains);
    Ok(())
}
