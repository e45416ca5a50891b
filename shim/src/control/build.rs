//! Builds: the request in, events out.

mod convert;

use std::pin::Pin;
use std::sync::Arc;

use builder::{BuildError, BuildRequest, Builder, Built, Cancel, Event};
use cachestore::Store;
use proto::control as api;
use proto::control::build_event::Event as Shown;
use proto::control::builder_server::Builder as Service;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transfer::Credentials;

use super::question::Questions;
use crate::blocking;
use crate::build::host::World;
use crate::images::Images;

/// Events that may wait for a slow terminal. Beyond it the build waits too: nothing is lost, and memory is bounded.
const EVENTS: usize = 256;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct BuildService {
    builder: Arc<Builder>,
    world: World,
    images: Arc<Images>,
}

type Events = mpsc::Sender<Result<api::BuildEvent, Status>>;

impl BuildService {
    pub(crate) fn new(builder: Arc<Builder>, world: World, images: Arc<Images>) -> Self {
        Self { builder, world, images }
    }

    /// Runs a build to its end, and reports it.
    async fn run(self, start: api::BuildStart, questions: Questions, events: Events, cancel: Cancel) {
        let asking = events.clone();
        let credentials = questions.credentials(move |needed| {
            let asking = asking.clone();
            async move { asking.send(Ok(event(Shown::CredentialNeeded(needed)))).await.is_ok() }
        });
        let last = match blocking::run(move || Ok(convert::request(start))).await {
            Err(status) => Err(status),
            Ok(Err(error)) => Ok(Shown::Failed(convert::failure(&error, "", &[]))),
            Ok(Ok(request)) => self.build(Arc::new(request), credentials, events.clone(), cancel).await,
        };
        // The caller may have gone away; then nobody wants to know.
        drop(events.send(last.map(event)).await);
    }

    async fn build(
        &self,
        request: Arc<BuildRequest>,
        credentials: Arc<dyn Credentials>,
        events: Events,
        cancel: Cancel,
    ) -> Result<Shown, Status> {
        let (builder, host, wanted) =
            (Arc::clone(&self.builder), self.world.for_build(credentials), Arc::clone(&request));
        let result: Result<Built, BuildError> = blocking::run(move || {
            let observer = |happened: Event| drop(events.blocking_send(Ok(event(convert::event(happened)))));
            Ok(builder.build(&wanted, &host, &observer, &cancel))
        })
        .await?;
        match result {
            Ok(built) => {
                let names: Vec<String> = request.names.iter().map(ToString::to_string).collect();
                tracing::info!(image = %built.image.id, names = names.join(" "), "built");
                self.images.register_soon(Arc::clone(&built.image));
                note_use(Arc::clone(&self.images.store), &built);
                Ok(Shown::Finished(convert::finished(&built, &request)))
            }
            Err(error) => {
                Ok(Shown::Failed(convert::failure(&error, &request.dockerfile_name, &request.dockerfile)))
            }
        }
    }
}

/// Notes which layers were used, for the order in which a full cache is emptied; nobody waits for it.
fn note_use(store: Arc<Store>, built: &Built) {
    let layers = built.layers.clone();
    drop(tokio::task::spawn_blocking(move || {
        if let Err(error) = store.touch_layers(&layers) {
            tracing::warn!(%error, "cannot note the use of layers");
        }
    }));
}

fn event(event: Shown) -> api::BuildEvent {
    api::BuildEvent { event: Some(event) }
}

/// Cancels a build when whoever reads its events goes away.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[tonic::async_trait]
impl Service for BuildService {
    type BuildStream = Pin<Box<dyn Stream<Item = Result<api::BuildEvent, Status>> + Send>>;

    async fn build(
        &self,
        request: Request<Streaming<api::BuildRequest>>,
    ) -> Result<Response<Self::BuildStream>, Status> {
        let mut requests = request.into_inner();
        let start = match requests.message().await?.and_then(|request| request.request) {
            Some(api::build_request::Request::Start(start)) => start,
            _ => return Err(Status::invalid_argument("the first request of a build says what to build")),
        };
        let (sender, events) = mpsc::channel(EVENTS);
        let (questions, cancel) = (Questions::default(), Cancel::default());
        let build = self.clone().run(start, questions.clone(), sender, cancel.clone());
        let call = async move {
            let cancelled = CancelOnDrop(cancel);
            let answers =
                questions.take_answers(requests, |request: api::BuildRequest| match request.request {
                    Some(api::build_request::Request::Credential(answer)) => Some(answer),
                    _ => None,
                });
            tokio::pin!(build);
            tokio::select! {
                () = &mut build => return,
                () = answers => cancelled.0.cancel(),
            }
            build.await;
        };
        Ok(Response::new(Box::pin(super::drive(call, ReceiverStream::new(events)))))
    }
}
