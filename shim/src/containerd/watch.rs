//! Watches containerd: what is remembered of it holds only while somebody listens to its events.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cachestore::{Digest, Store};
use containerd_client::services::v1::snapshots::ListSnapshotsRequest;
use containerd_client::services::v1::{ImageDelete, PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, Streaming};

use super::register::Registrar;
use super::{Containerd, SNAPSHOTTER, request};

/// How long to wait before containerd is looked for again.
const RETRY: Duration = Duration::from_millis(100);
/// What containerd says when an image record has gone.
const DELETED: &str = "/images/delete";
/// What we say ourselves, to be told when the subscription has begun.
const MARKER: &str = "/shim/watching";
/// How often, and for how long.
const MARKER_INTERVAL: Duration = Duration::from_millis(20);
const MARKER_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A new epoch begins only behind the subscription: a deletion in between would be missed. And it begins only when
/// containerd has reached our snapshotter, which it asks for the list.
async fn listen(
    containerd: &Containerd,
    registrar: &Registrar,
    store: &Arc<Store>,
    epoch: u64,
) -> Result<(), Status> {
    let mut events = subscribe(containerd).await?;
    adopt_chains(containerd, store).await?;
    registrar.begin_epoch(epoch);
    let version = containerd.version().await?;
    tracing::info!(version, "connected to containerd");
    registrar.reconcile().await?;
    while let Some(event) = events.message().await? {
        if event.topic != DELETED {
            continue;
        }
        let deleted = event.event.map(|event| ImageDelete::decode(&*event.value));
        match deleted {
            Some(Ok(deleted)) => registrar.record_deleted(&deleted.name),
            _ => return Err(Status::internal("containerd sent an event that is none")),
        }
    }
    Ok(())
}

/// Subscribes to deletions. containerd does not answer before there is something to tell, so it is given something until
/// it does: that it tells proves that the subscription holds.
async fn subscribe(containerd: &Containerd) -> Result<Streaming<Envelope>, Status> {
    let filters = [DELETED, MARKER].map(|topic| format!("topic==\"{topic}\"")).to_vec();
    let mut client = containerd.events();
    let mut subscribed = pin!(client.subscribe(request(SubscribeRequest { filters }, None)));
    let mut publisher = containerd.events();
    let deadline = tokio::time::Instant::now() + MARKER_TIMEOUT;
    loop {
        tokio::select! {
            answer = &mut subscribed => return answer.map(Response::into_inner),
            () = tokio::time::sleep_until(deadline) => {
                return Err(Status::deadline_exceeded("containerd does not send events"));
            }
            () = tokio::time::sleep(MARKER_INTERVAL) => {
                let marker = PublishRequest { topic: MARKER.to_owned(), event: Some(Default::default()) };
                publisher.publish(request(marker, None)).await?;
            }
        }
    }
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
