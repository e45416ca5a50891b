//! A file of an image, as messages of a stream.

use std::fs::File;
use std::io::Read;

use cachestore::Error;
use cachestore::layer::ImageFile;
use proto::control as api;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::blocking;

/// What one message carries: well below the limit of a gRPC message.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may wait for a slow caller.
const CHUNKS: usize = 8;

type Sender = mpsc::Sender<Result<api::FileChunk, Status>>;

/// Streams a file; the first chunk says what it is.
pub(super) fn chunks(opened: ImageFile) -> impl Stream<Item = Result<api::FileChunk, Status>> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    let work = async move {
        let reading = sender.clone();
        if let Err(status) = blocking::run(move || read(opened, &reading)).await {
            drop(sender.send(Err(status)).await);
        }
    };
    super::drive(work, ReceiverStream::new(chunks))
}

fn read(opened: ImageFile, sender: &Sender) -> cachestore::Result<()> {
    let ImageFile { mut file, mode, size_bytes } = opened;
    let data = piece(&mut file)?;
    let mut next = api::FileChunk { data, mode: Some(mode), size_bytes: Some(size_bytes) };
    loop {
        let is_last = next.data.len() < CHUNK_BYTES;
        let is_gone = sender.blocking_send(Ok(next)).is_err();
        if is_last || is_gone {
            return Ok(());
        }
        next = api::FileChunk { data: piece(&mut file)?, ..api::FileChunk::default() };
    }
}

/// Reads up to a chunk's size; less is the end.
fn piece(file: &mut File) -> cachestore::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(CHUNK_BYTES);
    let read = file.take(CHUNK_BYTES as u64).read_to_end(&mut data);
    read.map_err(|error| Error::io("read", "a file of an image", error))?;
    Ok(data)
}
