//! The store as a whole: usage, pruning, verification.

mod prune;
mod usage;

use std::pin::Pin;
use std::sync::Arc;

use cachestore::verify::Depth;
use proto::control as api;
use proto::control::storage_server::Storage;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::blocking;
use crate::images::Images;

/// Findings that may wait for a slow terminal.
const EVENTS: usize = 64;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct StorageService {
    images: Arc<Images>,
}

impl StorageService {
    pub(crate) fn new(images: Arc<Images>) -> Self {
        Self { images }
    }
}

#[tonic::async_trait]
impl Storage for StorageService {
    type VerifyStream = Pin<Box<dyn Stream<Item = Result<api::VerifyEvent, Status>> + Send>>;

    async fn disk_usage(
        &self,
        request: Request<api::DiskUsageRequest>,
    ) -> Result<Response<api::DiskUsageResponse>, Status> {
        let verbose = request.into_inner().verbose;
        let store = Arc::clone(&self.images.store);
        Ok(Response::new(blocking::run(move || usage::report(&store, verbose)).await?))
    }

    async fn prune(
        &self,
        request: Request<api::PruneRequest>,
    ) -> Result<Response<api::PruneResponse>, Status> {
        Ok(Response::new(prune::run(&self.images, request.into_inner()).await?))
    }

    async fn verify(
        &self,
        request: Request<api::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        let depth = if request.into_inner().content { Depth::Content } else { Depth::Records };
        let (sender, events) = mpsc::channel(EVENTS);
        let store = Arc::clone(&self.images.store);
        let work = async move {
            let findings = sender.clone();
            let verified = blocking::run(move || {
                store.verify(depth, &mut |finding| {
                    let finding = api::Finding {
                        invariant: finding.invariant.to_owned(),
                        subject: finding.subject,
                        problem: finding.problem,
                    };
                    // The check goes on to its end even if nobody listens any more.
                    drop(findings.blocking_send(Ok(event(api::verify_event::Event::Finding(finding)))));
                })
            });
            let last = verified.await.map(|checked| {
                event(api::verify_event::Event::Done(api::VerifyDone {
                    images: checked.images,
                    layers: checked.layers,
                    blobs: checked.blobs,
                    findings: checked.findings,
                }))
            });
            drop(sender.send(last).await);
        };
        Ok(Response::new(Box::pin(super::drive(work, ReceiverStream::new(events)))))
    }
}

fn event(event: api::verify_event::Event) -> api::VerifyEvent {
    api::VerifyEvent { event: Some(event) }
}
