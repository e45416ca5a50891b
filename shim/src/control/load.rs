//! Loading an archive: messages become a reader, what happens to its blobs becomes messages.

use std::io::{self, Read};
use std::sync::Arc;

use cachestore::archive::{Phase, Progress};
use proto::control as api;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::convert;
use crate::blocking;
use crate::images::Images;

/// Pieces of the archive that may wait for the disk.
const PIECES: usize = 16;
/// Events that may wait for a slow terminal; progress beyond half of them is dropped.
const EVENTS: usize = 1024;

type Events = mpsc::Sender<Result<api::LoadEvent, Status>>;

/// What is passed to the thread that reads; the end of the channel without an end of the archive is a broken connection.
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Loads what the requests carry, and streams what happens. When the caller goes away, an archive that is not whole yet
/// is forgotten; one that is whole is loaded to its end.
pub(super) fn run(
    images: Arc<Images>,
    requests: Streaming<api::LoadRequest>,
) -> impl Stream<Item = Result<api::LoadEvent, Status>> {
    let (events, answers) = mpsc::channel(EVENTS);
    let (pieces, received) = mpsc::channel(PIECES);
    let work = async move {
        let archive = Archive { pieces: received, current: Vec::new(), at: 0, ended: false };
        let mut load = std::pin::pin!(load(images, archive, &events));
        // What is wrong with an archive is said at once, whether or not more of it is coming.
        let result = tokio::select! {
            result = &mut load => result,
            () = receive(requests, pieces) => load.await,
        };
        let last = result.map(|loaded| event(api::load_event::Event::Finished(loaded)));
        drop(events.send(last).await);
    };
    super::drive(work, ReceiverStream::new(answers))
}

/// Passes the archive on. What the connection says when it breaks, nobody is left to hear.
async fn receive(mut requests: Streaming<api::LoadRequest>, pieces: mpsc::Sender<Piece>) {
    loop {
        let piece = match requests.message().await {
            Ok(Some(request)) => Piece::Bytes(request.data),
            Ok(None) => Piece::End,
            Err(_) => return,
        };
        let is_end = matches!(piece, Piece::End);
        if pieces.send(piece).await.is_err() || is_end {
            return;
        }
    }
}

async fn load(images: Arc<Images>, archive: Archive, events: &Events) -> Result<api::LoadFinished, Status> {
    let (store, progress) = (Arc::clone(&images.store), events.clone());
    let observer = move |seen| offer(&progress, seen);
    let loaded = blocking::run(move || store.load(archive, &observer)).await?;
    for image in &loaded {
        let names: Vec<_> = image.names.iter().map(|name| name.reference.to_string()).collect();
        tracing::info!(image = %image.id, ?names, "loaded");
        images.register_soon(Arc::clone(image));
    }
    Ok(api::LoadFinished { images: loaded.iter().map(|image| convert::image(image)).collect() })
}

/// Sends what happened to a blob. Progress must leave half of the room to results.
fn offer(events: &Events, seen: Progress) {
    use api::layer_progress::Phase as Shown;
    let phase = match seen.phase {
        Phase::Reading => Shown::Downloading,
        Phase::Unpacking => Shown::Unpacking,
        Phase::Done => Shown::Done,
        Phase::Exists => Shown::Exists,
    };
    let is_result = matches!(seen.phase, Phase::Done | Phase::Exists);
    if is_result || events.capacity() > EVENTS / 2 {
        let layer = api::LayerProgress {
            digest: seen.digest.to_string(),
            phase: phase.into(),
            current_bytes: seen.current_bytes,
            total_bytes: seen.total_bytes,
        };
        drop(events.try_send(Ok(event(api::load_event::Event::Layer(layer)))));
    }
}

fn event(event: api::load_event::Event) -> api::LoadEvent {
    api::LoadEvent { event: Some(event) }
}

/// The archive, as it comes in.
struct Archive {
    pieces: mpsc::Receiver<Piece>,
    current: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => (self.current, self.at) = (bytes, 0),
                Some(Piece::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the caller went away")),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
