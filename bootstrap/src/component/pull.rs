//! Pulls by shimd, which does the work.

use std::collections::BTreeMap;

use proto::control as api;
use proto::control::pull_event::Event;
use proto::control::pull_request::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::component::progress::Meter;
use crate::component::store::{Store, refused};
use crate::error::{Error, Result};

/// Answers that may wait to be sent.
const REQUESTS: usize = 4;
/// Images have fewer layers.
const MAX_LAYERS: usize = 1024;

/// Pulls an image from its registry, without credentials. It is cancelled when this is dropped.
pub(super) async fn pull(store: &Store, name: &str, meter: &Meter<'_>) -> Result<api::PullFinished> {
    let asked = format!("pull {name}");
    let (requests, stream) = mpsc::channel(REQUESTS);
    let start = api::PullStart { name: name.to_owned(), from_registry: true };
    // The receiver is there, and has room for it.
    requests.send(api::PullRequest { request: Some(Request::Start(start)) }).await.ok();
    let answer = store.images().pull(ReceiverStream::new(stream)).await;
    let mut events = answer.map_err(|status| refused(&asked, &status))?.into_inner();
    let mut layers = BTreeMap::new();
    while let Some(event) = events.message().await.map_err(|status| refused(&asked, &status))? {
        match event.event {
            Some(Event::Finished(finished)) => return Ok(finished),
            Some(Event::Layer(layer)) if layers.len() < MAX_LAYERS => {
                layers.insert(layer.digest, (layer.current_bytes, layer.total_bytes));
                let sum = |of: fn(&(u64, u64)) -> u64| layers.values().map(of).fold(0, u64::saturating_add);
                meter.at(sum(|layer| layer.0), Some(sum(|layer| layer.1)));
            }
            Some(Event::CredentialNeeded(needed)) => {
                let credential = api::Credential { host: needed.host, ..api::Credential::default() };
                let request = api::PullRequest { request: Some(Request::Credential(credential)) };
                // Where nobody takes it, the events have ended, and say why.
                requests.send(request).await.ok();
            }
            // Nothing of interest, or an event of a newer daemon.
            Some(Event::Layer(_)) | None => {}
        }
    }
    Err(Error::Refused { asked, answer: "shimd ended it without a result".into(), may_pass: true })
}

/// Finds the image that a registry gave for a repository and a digest.
pub(super) async fn held(store: &Store, reference: &str) -> Result<Option<String>> {
    let answer = store.images().list(api::ListRequest { pattern: String::new() }).await;
    let images = answer.map_err(|status| refused("list images", &status))?.into_inner().images;
    let found = images.into_iter().find(|image| image.digests.iter().any(|digest| digest == reference));
    Ok(found.map(|image| image.id))
}

/// Takes a name away from an image that has others.
pub(super) async fn forget(store: &Store, name: &str) -> Result<()> {
    let request = api::RemoveRequest { name: name.to_owned(), force: false };
    let answer = store.images().remove(request).await;
    answer.map(drop).map_err(|status| refused(&format!("forget the name {name}"), &status))
}
