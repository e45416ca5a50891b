//! What happens in a build, as its user sees it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::dockerfile::Location;
use crate::host::{Output, Transfer};

/// Numbers the steps of a build in the order in which they are first shown, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepNumber(pub u32);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A step began.
    Started {
        /// Which.
        step: StepNumber,
        /// Its name, as docker shows it.
        name: String,
    },
    /// A step's process wrote something.
    Output {
        /// Which.
        step: StepNumber,
        /// On which stream.
        stream: Output,
        /// What.
        data: Vec<u8>,
    },
    /// A step received a part of something.
    Progress {
        /// Which.
        step: StepNumber,
        /// Of what.
        transfer: Transfer,
    },
    /// A step ended.
    Finished {
        /// Which.
        step: StepNumber,
        /// How.
        outcome: Outcome,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something should be changed in the Dockerfile.
    Warning {
        /// What.
        message: String,
        /// Where.
        location: Location,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Its result was there already.
    Cached,
    /// It failed.
    Failed(String),
}

/// Receives events, from several threads. Must be quick.
pub trait Observer: Sync {
    /// Notes an event.
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Sync> Observer for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Hands out numbers and passes events on.
pub(crate) struct Progress<'a> {
    observer: &'a dyn Observer,
    next: AtomicU32,
    /// Steps are numbered and shown in one go, so that numbers appear in order.
    order: Mutex<()>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, next: AtomicU32::new(1), order: Mutex::new(()) }
    }

    /// Shows a new step.
    pub(crate) fn begin(&self, name: impl Into<String>) -> ShownStep<'_> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let number = StepNumber(self.next.fetch_add(1, Ordering::Relaxed));
        self.observer.event(Event::Started { step: number, name: name.into() });
        ShownStep { observer: self.observer, number, started: Instant::now(), ended: false }
    }

    pub(crate) fn warn(&self, message: impl Into<String>, location: Location) {
        self.observer.event(Event::Warning { message: message.into(), location });
    }
}

/// A step that is shown. Dropped without an outcome, it counts as cancelled.
pub(crate) struct ShownStep<'a> {
    observer: &'a dyn Observer,
    number: StepNumber,
    started: Instant,
    ended: bool,
}

impl ShownStep<'_> {
    pub(crate) fn output(&self, stream: Output, data: &[u8]) {
        self.observer.event(Event::Output { step: self.number, stream, data: data.to_vec() });
    }

    pub(crate) fn progress(&self, transfer: Transfer) {
        self.observer.event(Event::Progress { step: self.number, transfer });
    }

    pub(crate) fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// Ends the step by a result.
    pub(crate) fn end_with<T>(self, result: Result<T, crate::BuildError>) -> Result<T, crate::BuildError> {
        match result {
            Ok(value) => {
                self.end(Outcome::Done);
                Ok(value)
            }
            Err(error) => {
                self.end(Outcome::Failed(error.message.clone()));
                Err(error)
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        self.ended = true;
        let elapsed = self.started.elapsed();
        self.observer.event(Event::Finished { step: self.number, outcome, elapsed });
    }
}

impl Drop for ShownStep<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.finish(Outcome::Failed("CANCELED".into()));
        }
    }
}
