//! Carries a blob from the network, which is asynchronous, to the unpacking thread, which blocks.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use cachestore::partial::Partial;
use tokio::sync::mpsc;

/// How many pieces may wait between the two; more would only fill the memory.
const PIECES: usize = 16;

/// The sending end.
pub(super) type Sender = mpsc::Sender<Piece>;

/// A part of a blob.
pub(super) enum Piece {
    /// The next bytes.
    Bytes(Bytes),
    /// The end: everything was received and the digest was right.
    End,
}

/// Reads first what an earlier attempt had received, then what comes from the network, and keeps that for the next
/// attempt in case this one breaks.
pub(super) struct Feed {
    earlier: io::Take<std::fs::File>,
    pieces: mpsc::Receiver<Piece>,
    current: Bytes,
    partial: Partial,
    ended: bool,
}

impl Feed {
    /// Makes a feed that begins with what the partial download has.
    pub(super) fn new(partial: Partial) -> cachestore::Result<(Sender, Self)> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let earlier = partial.reader()?.take(partial.length_bytes());
        Ok((sender, Self { earlier, pieces, current: Bytes::new(), partial, ended: false }))
    }

    /// Returns the partial download, once everything has been read.
    pub(super) fn into_partial(self) -> Partial {
        self.partial
    }

    /// Waits for the next bytes; an empty piece is the end.
    fn receive(&mut self) -> io::Result<()> {
        match self.pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                self.partial.append(&bytes).map_err(io::Error::other)?;
                self.current = bytes;
            }
            Some(Piece::End) => self.ended = true,
            None => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the download broke off")),
        }
        Ok(())
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.earlier.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        while self.current.is_empty() && !self.ended {
            self.receive()?;
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
