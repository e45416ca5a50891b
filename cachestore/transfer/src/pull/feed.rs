//! Carries a blob from the network, which is asynchronous, to the unpacking thread, which blocks.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::kept::Kept;

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
    kept: Kept,
    failure: Option<cachestore::Error>,
    ended: bool,
}

impl Feed {
    /// Makes a feed that begins with what is kept already.
    pub(super) fn new(kept: Kept) -> cachestore::Result<(Sender, Self)> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let earlier = kept.reader()?.take(kept.length_bytes());
        Ok((sender, Self { earlier, pieces, current: Bytes::new(), kept, failure: None, ended: false }))
    }

    /// Returns what is kept, and why no more of it is, if that failed.
    pub(super) fn finish(self) -> (Kept, Option<cachestore::Error>) {
        (self.kept, self.failure)
    }

    /// Waits for the next bytes; an empty piece is the end.
    fn receive(&mut self) -> io::Result<()> {
        match self.pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                if let Err(error) = self.kept.append(&bytes) {
                    self.failure = Some(error);
                    return Err(io::Error::other("the download cannot be kept"));
                }
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
