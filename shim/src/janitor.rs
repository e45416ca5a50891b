//! Housekeeping: writes of new layers are settled, removed snapshots are cleaned up, and the build cache is kept small.

use std::sync::Arc;
use std::time::Duration;

use cachestore::Store;
use cachestore::gc::{CachePolicy, Mode};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::blocking;

/// How long after a change its bytes are written to the disk: a build must not wait for it, and a power failure should
/// not cost more than this.
const SETTLE_EVERY: Duration = Duration::from_secs(5);
/// How often what nothing needs is collected, when nobody asks for it.
const COLLECT_EVERY: Duration = Duration::from_secs(30 * 60);

/// Asks for a collection soon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    /// Rings: something was removed, and its bytes should go.
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// Works until cancelled; at the end everything is settled once more.
pub(crate) async fn run(store: Arc<Store>, policy: CachePolicy, bell: Bell, cancelled: CancellationToken) {
    let mut settle = tokio::time::interval(SETTLE_EVERY);
    let mut collect = tokio::time::interval(COLLECT_EVERY);
    // The first tick of an interval is immediate; at the start there is something more urgent.
    collect.reset();
    loop {
        tokio::select! {
            () = cancelled.cancelled() => break,
            _ = settle.tick() => settle_and_clean(&store).await,
            _ = collect.tick() => collect_garbage(&store, policy).await,
            () = bell.0.notified() => collect_garbage(&store, policy).await,
        }
    }
    settle_and_clean(&store).await;
}

async fn settle_and_clean(store: &Arc<Store>) {
    let store = Arc::clone(store);
    let done = blocking::run(move || {
        store.cleanup()?;
        store.settle()
    });
    if let Err(status) = done.await {
        tracing::warn!(error = status.message(), "cannot settle the store; trying again later");
    }
}

async fn collect_garbage(store: &Arc<Store>, policy: CachePolicy) {
    let store = Arc::clone(store);
    match blocking::run(move || store.collect(policy, Mode::Remove)).await {
        Ok(collected) if collected.layers.is_empty() => {}
        Ok(collected) => {
            tracing::info!(layers = collected.layers.len(), bytes = collected.freed_bytes, "collected");
        }
        Err(status) => tracing::warn!(error = status.message(), "cannot collect; trying again later"),
    }
}
