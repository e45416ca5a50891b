//! The image store, by shimd's control API.

use std::collections::BTreeMap;
use std::path::Path;

use proto::control as api;
use proto::control::build_event::Event;
use proto::control::build_request::Request;
use proto::control::builder_client::BuilderClient;
use proto::control::images_client::ImagesClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::error::{Error, Result};
use crate::node::Node;
use crate::supervise::health;

/// Answers that may wait to be sent.
const REQUESTS: usize = 4;

/// The largest message that is taken: the list of thousands of images.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A connection to shimd.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    channel: Channel,
}

impl Store {
    /// Connects to the instance's shimd.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) async fn connect(node: &Node) -> Result<Self> {
        Self::at(&node.paths.control_socket()).await
    }

    /// Connects to the shimd behind a socket.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn at(socket: &Path) -> Result<Self> {
        let channel = health::connect(socket).await.map_err(|answer| Error::Refused {
            asked: "shimd".into(),
            answer,
            may_pass: true,
        })?;
        Ok(Self { channel })
    }

    /// Returns the image store's service for what is not in this file.
    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Returns the ID of the image behind each name.
    pub(crate) async fn names(&self) -> Result<BTreeMap<String, String>> {
        let answer = self.images().list(api::ListRequest { pattern: String::new() }).await;
        let images = answer.map_err(|status| refused("list images", &status))?.into_inner().images;
        let names = images.into_iter().flat_map(|image| {
            let id = image.id;
            image.names.into_iter().map(move |name| (name, id.clone()))
        });
        Ok(names.collect())
    }

    /// Gives an image one more name and returns its ID.
    pub(crate) async fn tag(&self, source: &str, name: &str) -> Result<String> {
        let request = api::TagRequest { source: source.into(), name: name.into() };
        let answer = self.images().tag(request).await;
        let asked = format!("call {source} also {name}");
        Ok(answer.map_err(|status| refused(&asked, &status))?.into_inner().image_id)
    }

    /// Builds an image that needs no other one, and returns its ID. It is cancelled when this is dropped.
    pub(crate) async fn build(&self, name: &str, context: &Path, dockerfile: &Path) -> Result<String> {
        let asked = format!("build the image {name}");
        let start = api::BuildStart {
            context_dir: context.display().to_string(),
            dockerfile_path: dockerfile.display().to_string(),
            names: vec![name.to_owned()],
            ..api::BuildStart::default()
        };
        let (requests, stream) = mpsc::channel(REQUESTS);
        let request = api::BuildRequest { request: Some(Request::Start(start)) };
        // The receiver is there, and has room for it.
        requests.send(request).await.ok();
        let answer = BuilderClient::new(self.channel.clone()).build(ReceiverStream::new(stream)).await;
        let mut events = answer.map_err(|status| refused(&asked, &status))?.into_inner();
        loop {
            match next(&mut events, &asked).await? {
                Event::Finished(finished) => return Ok(finished.image_id),
                Event::Failed(failed) => {
                    let answer = format!("{} {}", failed.message, failed.hint).trim().to_owned();
                    return Err(Error::Refused { asked, answer, may_pass: failed.cancelled });
                }
                Event::CredentialNeeded(needed) => {
                    let credential = api::Credential { host: needed.host, ..api::Credential::default() };
                    let request = api::BuildRequest { request: Some(Request::Credential(credential)) };
                    // Where nobody takes it, the events have ended, and say why.
                    requests.send(request).await.ok();
                }
                Event::StepStarted(_)
                | Event::StepOutput(_)
                | Event::StepProgress(_)
                | Event::StepFinished(_)
                | Event::Warning(_) => {}
            }
        }
    }

    /// Opens a file of an image; its chunks follow each other.
    pub(crate) async fn open(&self, name: &str, path: &str) -> Result<Streaming<api::FileChunk>> {
        let request = api::ReadFileRequest { name: name.into(), path: path.into() };
        let answer = self.images().read_file(request).await;
        Ok(answer.map_err(|status| refused(&format!("read {path} of {name}"), &status))?.into_inner())
    }
}

async fn next(events: &mut Streaming<api::BuildEvent>, asked: &str) -> Result<Event> {
    loop {
        match events.message().await.map_err(|status| refused(asked, &status))? {
            Some(api::BuildEvent { event: Some(event) }) => return Ok(event),
            // An event of a newer daemon.
            Some(api::BuildEvent { event: None }) => {}
            None => {
                let answer = "shimd ended it without a result".to_owned();
                return Err(Error::Refused { asked: asked.to_owned(), answer, may_pass: true });
            }
        }
    }
}

/// Explains why shimd did not do something.
pub(crate) fn refused(asked: &str, status: &Status) -> Error {
    // The daemon ended, or is about to.
    let may_pass =
        matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Aborted | Code::Unknown);
    Error::Refused { asked: format!("cannot {asked}"), answer: status.message().to_owned(), may_pass }
}
