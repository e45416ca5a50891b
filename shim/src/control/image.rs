//! Images by name: list, inspect, tag, remove, pull, save.

use std::pin::Pin;
use std::sync::Arc;

use cachestore::archive::Saved;
use cachestore::oci::config::ImageConfig;
use cachestore::{Reference, Store};
use proto::control as api;
use proto::control::images_server::Images as Service;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transfer::{LayerEvent, Phase};

use super::convert;
use super::file;
use super::load;
use super::question::Questions;
use super::writer::ChunkWriter;
use crate::blocking;
use crate::images::remove::Force;
use crate::images::{Answering, Images};
use crate::policy;
use crate::status::from_store;

/// Events that may wait for a slow terminal; progress beyond half of them is dropped. What became of a layer is not: there
/// is room for as many as an image can have.
const EVENTS: usize = 1024;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct ImagesService {
    images: Arc<Images>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ImagesService {
    pub(crate) fn new(images: Arc<Images>) -> Self {
        Self { images }
    }

    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> cachestore::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.images.store);
        blocking::run(move || work(&store)).await
    }

    async fn run_pull(
        self,
        start: api::PullStart,
        questions: Questions,
        events: Events,
    ) -> Result<(), Status> {
        let reference: Reference = start.name.parse().map_err(from_store)?;
        let asking = events.clone();
        let credentials = questions.credentials(move |needed| {
            let asking = asking.clone();
            async move { asking.send(api::pull_event::Event::CredentialNeeded(needed)).await }
        });
        let progress = events.clone();
        let observer = Arc::new(move |event| progress.offer(event));
        let answering = if start.from_registry { Answering::Registry } else { Answering::Policy };
        let pulled = self.images.pull(&reference, answering, credentials, observer).await?;
        let finished = api::PullFinished {
            image_id: pulled.image.id.to_string(),
            name: reference.to_string(),
            digest: pulled.digest.to_string(),
            up_to_date: pulled.up_to_date,
        };
        events.send(api::pull_event::Event::Finished(finished)).await;
        Ok(())
    }
}

/// The way back to the caller of a pull.
#[derive(Clone)]
struct Events(mpsc::Sender<Result<api::PullEvent, Status>>);

impl Events {
    /// Sends what must arrive; tells whether the caller is still there.
    async fn send(&self, event: api::pull_event::Event) -> bool {
        self.0.send(Ok(api::PullEvent { event: Some(event) })).await.is_ok()
    }

    /// Sends what happened to a layer. Progress must leave half of the room to results.
    fn offer(&self, event: LayerEvent) {
        let is_result = matches!(event.phase, Phase::Done | Phase::Exists);
        if is_result || self.0.capacity() > EVENTS / 2 {
            drop(self.0.try_send(Ok(api::PullEvent { event: Some(layer_event(event)) })));
        }
    }
}

fn layer_event(event: LayerEvent) -> api::pull_event::Event {
    use api::layer_progress::Phase as Shown;
    let phase = match event.phase {
        Phase::Waiting => Shown::Waiting,
        Phase::Downloading => Shown::Downloading,
        Phase::Unpacking => Shown::Unpacking,
        Phase::Done => Shown::Done,
        Phase::Exists => Shown::Exists,
    };
    api::pull_event::Event::Layer(api::LayerProgress {
        digest: event.digest.to_string(),
        phase: phase.into(),
        current_bytes: event.current_bytes,
        total_bytes: event.total_bytes,
    })
}

#[tonic::async_trait]
impl Service for ImagesService {
    type PullStream = Answers<api::PullEvent>;
    type SaveStream = Answers<api::SaveChunk>;
    type LoadStream = Answers<api::LoadEvent>;
    type ReadFileStream = Answers<api::FileChunk>;

    async fn pull(
        &self,
        request: Request<Streaming<api::PullRequest>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let mut requests = request.into_inner();
        let start = match requests.message().await?.and_then(|request| request.request) {
            Some(api::pull_request::Request::Start(start)) => start,
            _ => return Err(Status::invalid_argument("the first request of a pull says what to pull")),
        };
        let (sender, events) = mpsc::channel(EVENTS);
        let (service, questions) = (self.clone(), Questions::default());
        let answers =
            questions.clone().take_answers(requests, |request: api::PullRequest| match request.request {
                Some(api::pull_request::Request::Credential(answer)) => Some(answer),
                _ => None,
            });
        let call = async move {
            tokio::select! {
                result = service.run_pull(start, questions, Events(sender.clone())) => {
                    if let Err(status) = result {
                        drop(sender.send(Err(status)).await);
                    }
                }
                () = answers => {}
            }
        };
        Ok(Response::new(Box::pin(super::drive(call, ReceiverStream::new(events)))))
    }

    async fn list(&self, request: Request<api::ListRequest>) -> Result<Response<api::ListResponse>, Status> {
        let pattern = request.into_inner().pattern;
        let images = self.images.store.images();
        let shown = images.iter().filter(|image| {
            let matches = |name: &Reference| {
                policy::matches(&pattern, &name.to_string()) || policy::matches(&pattern, &name.familiar())
            };
            pattern.is_empty() || image.names.iter().any(|name| matches(&name.reference))
        });
        Ok(Response::new(api::ListResponse { images: shown.map(|image| convert::image(image)).collect() }))
    }

    async fn inspect(
        &self,
        request: Request<api::InspectRequest>,
    ) -> Result<Response<api::InspectResponse>, Status> {
        let names = request.into_inner().names;
        let images = Arc::clone(&self.images);
        let describe = move |store: &Store| {
            let mut json = Vec::new();
            for name in &names {
                let image = store.expect_image(name)?;
                let config = store.blob(&image.id)?.unwrap_or_default();
                let layers = match &image.chain {
                    Some(chain) => store.chain_layers(chain)?,
                    None => Vec::new(),
                };
                let trees = layers.iter().map(|layer| store.layer_tree(*layer).display().to_string());
                let layers: Vec<_> = image.diff_ids.iter().copied().zip(trees).collect();
                json.push(convert::inspect(&images, &image, &config, &layers).to_string());
            }
            Ok(json)
        };
        Ok(Response::new(api::InspectResponse { json: self.with_store(describe).await? }))
    }

    async fn history(
        &self,
        request: Request<api::HistoryRequest>,
    ) -> Result<Response<api::HistoryResponse>, Status> {
        let name = request.into_inner().name;
        let entries = self
            .with_store(move |store| {
                let image = store.expect_image(&name)?;
                let config = ImageConfig::parse(&store.blob(&image.id)?.unwrap_or_default())?;
                let sizes = store.layer_sizes(&image)?;
                Ok(convert::history(image.id, &config, &sizes))
            })
            .await?;
        Ok(Response::new(api::HistoryResponse { entries }))
    }

    async fn tag(&self, request: Request<api::TagRequest>) -> Result<Response<api::TagResponse>, Status> {
        let api::TagRequest { source, name } = request.into_inner();
        let name: Reference = name.parse().map_err(from_store)?;
        let image = self.images.tag(source, name.clone()).await?;
        Ok(Response::new(api::TagResponse { image_id: image.id.to_string(), name: name.to_string() }))
    }

    async fn remove(
        &self,
        request: Request<api::RemoveRequest>,
    ) -> Result<Response<api::RemoveResponse>, Status> {
        let api::RemoveRequest { name, force } = request.into_inner();
        let removed = self.images.remove(name, Force(force)).await?;
        Ok(Response::new(api::RemoveResponse {
            untagged: removed.untagged.iter().map(ToString::to_string).collect(),
            deleted: removed.deleted.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn save(&self, request: Request<api::SaveRequest>) -> Result<Response<Self::SaveStream>, Status> {
        let names = request.into_inner().names;
        if names.is_empty() {
            return Err(Status::invalid_argument("no image is named"));
        }
        let images = self.with_store(move |store| to_save(store, &names)).await?;
        let (sender, chunks) = mpsc::channel(EVENTS);
        let store = Arc::clone(&self.images.store);
        let work = async move {
            let writer = ChunkWriter::new(sender.clone());
            let saved = blocking::run(move || store.save(&images, writer)).await;
            if let Err(status) = saved {
                drop(sender.send(Err(status)).await);
            }
        };
        Ok(Response::new(Box::pin(super::drive(work, ReceiverStream::new(chunks)))))
    }

    async fn load(
        &self,
        request: Request<Streaming<api::LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let images = Arc::clone(&self.images);
        Ok(Response::new(Box::pin(load::run(images, request.into_inner()))))
    }

    async fn read_file(
        &self,
        request: Request<api::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let api::ReadFileRequest { name, path } = request.into_inner();
        let open = move |store: &Store| store.open_file(&*store.expect_image(&name)?, &path);
        let opened = self.with_store(open).await?;
        Ok(Response::new(Box::pin(file::chunks(opened))))
    }
}

/// Finds the images to save; the same image under several names is saved once, with all of these names.
fn to_save(store: &Store, words: &[String]) -> cachestore::Result<Vec<Saved>> {
    let mut images: Vec<Saved> = Vec::new();
    for word in words {
        let image = store.expect_image(word)?;
        let name = word.parse::<Reference>().ok().map(|name| name.record_name());
        let name = name.filter(|name| image.names.iter().any(|known| known.reference == *name));
        match images.iter_mut().find(|saved| saved.image.id == image.id) {
            Some(saved) => saved.names.extend(name),
            None => images.push(Saved { image, names: name.into_iter().collect() }),
        }
    }
    Ok(images)
}
