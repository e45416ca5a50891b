//! One pull's view of a repository: its endpoints in order, and what was learnt about them on the way.

mod exchange;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use cachestore::oci::manifest::BlobRef;
use cachestore::reference::Reference;
use tokio::sync::Semaphore;

use crate::auth::{Asker, Authenticator, Credentials};
use crate::error::{Attempts, Cause};
use crate::hosts::Endpoint;
use crate::http::Http;
use crate::limits::Limits;
use crate::retry;
pub(crate) use exchange::Request;

/// The largest number of endpoints whose transfers are counted; beyond it, those that are idle are forgotten.
const MAX_COUNTED_ENDPOINTS: usize = 256;

/// What all pulls of a client share.
pub(crate) struct Common {
    pub(crate) limits: Limits,
    http: Http,
    pub(crate) authenticator: Authenticator,
    transfers: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Common {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            http: Http::new(limits.clone()),
            limits,
            authenticator: Authenticator::default(),
            transfers: Mutex::default(),
        }
    }

    /// Returns the places for transfers from one origin.
    pub(crate) fn transfers(&self, origin: &str) -> Arc<Semaphore> {
        let mut transfers = self.transfers.lock().unwrap_or_else(PoisonError::into_inner);
        if transfers.len() >= MAX_COUNTED_ENDPOINTS {
            transfers.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let places = || Arc::new(Semaphore::new(self.limits.parallel_blobs.max(1)));
        transfers.entry(origin.to_owned()).or_insert_with(places).clone()
    }
}

/// One pull's view of a repository.
pub(crate) struct Session {
    pub(crate) common: Arc<Common>,
    pub(crate) reference: Reference,
    endpoints: Vec<Endpoint>,
    asker: Asker,
    /// Endpoints that failed or delivered wrong bytes; they are asked last.
    discredited: Mutex<BTreeSet<usize>>,
}

impl Session {
    pub(crate) fn new(
        common: Arc<Common>,
        reference: Reference,
        endpoints: Vec<Endpoint>,
        credentials: Arc<dyn Credentials>,
    ) -> Self {
        let asker = Asker::new(credentials, common.limits.credential_timeout);
        Self { common, reference, endpoints, asker, discredited: Mutex::default() }
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Names a blob in errors.
    pub(crate) fn blob_subject(&self, blob: &BlobRef) -> String {
        format!("blob {} of {}", blob.digest, self.reference.repository())
    }

    /// Repeats a request to one endpoint while it is out of order for the moment.
    pub(crate) async fn persistently<T, F, Answer>(&self, tries: u32, ask: F) -> Result<T, Cause>
    where
        F: Fn() -> Answer,
        Answer: Future<Output = Result<T, Cause>>,
    {
        let limits = &self.common.limits;
        let mut number = 1;
        loop {
            let cause = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            match retry::worthwhile(&cause, limits.retry_after) {
                Some(wait) if number < tries => {
                    tracing::debug!(%cause, number, "asking again");
                    let pause = retry::pause(limits.backoff, number, retry::random());
                    tokio::time::sleep(pause.max(wait)).await;
                    number += 1;
                }
                _ => return Err(cause),
            }
        }
    }

    /// Returns the endpoints that may be asked, best first, each with how often: the last of those that nothing is held
    /// against is worth waiting for, the others are asked once.
    pub(crate) fn order(&self, needs_resolve: bool) -> Vec<(usize, u32)> {
        let able = |index: &usize| {
            let capabilities = self.endpoints[*index].capabilities;
            capabilities.pull && (capabilities.resolve || !needs_resolve)
        };
        let discredited = self.last_resorts().clone();
        let (doubtful, good): (Vec<_>, Vec<_>) =
            (0..self.endpoints.len()).filter(able).partition(|index| discredited.contains(index));
        let patient = good.last().or(doubtful.last()).copied();
        let tries = |index| if Some(index) == patient { self.common.limits.tries } else { 1 };
        good.into_iter().chain(doubtful).map(|index| (index, tries(index))).collect()
    }

    /// Records why an endpoint did not deliver.
    pub(crate) fn note(&self, index: usize, cause: Cause, attempts: &mut Attempts) {
        let endpoint = self.endpoints[index].to_string();
        tracing::debug!(%endpoint, %cause, reference = %self.reference, "endpoint failed");
        if cause.discredits() {
            self.discredit(index);
        }
        attempts.record(&endpoint, cause);
    }

    /// Lets an endpoint be asked last from now on.
    pub(crate) fn discredit(&self, index: usize) {
        self.last_resorts().insert(index);
    }

    fn last_resorts(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        self.discredited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
