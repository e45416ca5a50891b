//! A writer whose bytes become messages of a stream.

use std::io::{self, Write};

use proto::control as api;
use tokio::sync::mpsc;
use tonic::Status;

/// A chunk is sent when it has this size: well below the limit of a gRPC message.
const CHUNK_BYTES: usize = 256 << 10;

/// Sends what is written; blocks while the caller does not take it.
pub(super) struct ChunkWriter {
    sender: mpsc::Sender<Result<api::SaveChunk, Status>>,
    buffer: Vec<u8>,
}

impl ChunkWriter {
    pub(super) fn new(sender: mpsc::Sender<Result<api::SaveChunk, Status>>) -> Self {
        Self { sender, buffer: Vec::with_capacity(CHUNK_BYTES) }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.buffer.len();
        let count = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the caller went away");
        self.sender.blocking_send(Ok(api::SaveChunk { data })).map_err(gone)
    }
}
