//! The events of the lifecycle service, as they are shown while parts start or stop.

use std::time::{Duration, Instant};

use proto::lifecycle::Event;
use tonic::Streaming;

use crate::exit::Failure;
use crate::output;
use crate::progress::parts::Parts;
use crate::progress::screen::Screen;

/// How often the screen is painted.
const FRAME: Duration = Duration::from_millis(100);

/// How the events ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All parts are where they should be.
    Complete,
    /// The event after which nothing more is waited for.
    Failed(Box<Event>),
    /// The stream ended before anything was decided.
    Early,
}

/// What the user sees of the parts: a screen, or a log.
#[derive(Debug)]
pub(crate) struct Follower {
    began: Instant,
    screen: Option<Screen>,
    parts: Parts,
}

impl Follower {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { began: Instant::now(), screen: Screen::on_terminal(), parts }
    }

    /// Shows events until the last one, or one after which it is over.
    pub(crate) async fn follow(
        &mut self,
        mut events: Streaming<Event>,
        is_over: impl Fn(&Event) -> bool,
    ) -> Result<End, Failure> {
        let mut frames = tokio::time::interval(FRAME);
        loop {
            tokio::select! {
                event = events.message() => {
                    let Some(event) = event? else { return Ok(End::Early) };
                    let line = self.parts.update(&event, self.began.elapsed());
                    if let (Some(line), None) = (line, &self.screen) {
                        output::note(&line);
                    }
                    if event.complete {
                        return Ok(End::Complete);
                    }
                    if is_over(&event) {
                        return Ok(End::Failed(Box::new(event)));
                    }
                }
                _ = frames.tick() => self.paint(),
            }
        }
    }

    /// Paints the parts as they are now.
    pub(crate) fn paint(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.paint(&self.parts.frame(self.began.elapsed(), screen.size()));
        }
    }

    /// Returns what has not arrived.
    pub(crate) fn missing(&self) -> String {
        self.parts.missing()
    }
}
