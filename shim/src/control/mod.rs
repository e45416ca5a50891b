//! The control API: what shimctl and bootstrap ask for. Convert in, one call, convert out.

pub(crate) mod build;
mod convert;
pub(crate) mod daemon;
mod file;
pub(crate) mod image;
mod load;
pub(crate) mod peer;
mod question;
pub(crate) mod storage;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::Stream;

/// Runs work for as long as somebody reads the stream that it fills.
fn drive<S: Stream + Unpin>(
    work: impl Future<Output = ()> + Send + 'static,
    stream: S,
) -> impl Stream<Item = S::Item> {
    Driven { work: Some(Box::pin(work)), stream }
}

/// A stream and the work behind it. Dropping it, when the caller goes away, ends the work.
struct Driven<S> {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    stream: S,
}

impl<S: Stream + Unpin> Stream for Driven<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if let Some(work) = &mut self.work
            && work.as_mut().poll(context).is_ready()
        {
            self.work = None;
        }
        Pin::new(&mut self.stream).poll_next(context)
    }
}
