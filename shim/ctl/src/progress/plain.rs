//! The progress of a build as a log, as `docker build --progress=plain` prints it.
//!
//! Steps that run at the same time do not interleave line by line: one of them is shown, and the others wait until it
//! ends or has been shown for a while. A step that ends is shown at once.

use std::collections::HashMap;
use std::time::Duration;

use super::build::{Build, Change, Item, Outcome, Step};
use super::output::Line;
use super::seconds;

/// How long a step is shown before another one that runs gets its turn.
const TURN: Duration = Duration::from_secs(5);
/// Lines that may wait for their turn; more give their step its turn at once.
const MAX_WAITING_LINES: usize = 1000;
/// How far a transfer comes before it is mentioned again: this part of the whole, or this time.
const MIN_PROGRESS_FRACTION: u64 = 20;
const MIN_PROGRESS_TIME: Duration = Duration::from_secs(5);
/// How long a piece of work whose size is not known takes before it is mentioned while it goes on.
const LONG_WORK: Duration = Duration::from_secs(1);
/// An item that took less time is printed without it.
const SHORT_WORK: Duration = Duration::from_millis(10);

/// The log of one build.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The step that is shown, and since when.
    current: Option<(usize, Duration)>,
    /// Whether nothing was printed yet.
    begun: bool,
    /// What steps that are not shown have to say, the one that waits longest first. A step that was never shown is here
    /// even without lines.
    waiting: Vec<(usize, Vec<String>)>,
    /// What was last said of an item, by step and position.
    mentioned: HashMap<(usize, usize), Mention>,
}

#[derive(Debug, Clone, Copy)]
struct Mention {
    at: Duration,
    bytes: u64,
    finished: bool,
}

impl Plain {
    /// Returns the lines that tell of a change.
    pub(crate) fn tell(&mut self, build: &Build, change: Change, now: Duration) -> Vec<String> {
        match change {
            Change::Started(step) => self.say(build, step, Vec::new(), now),
            Change::Lines(step, lines) => {
                let lines = stamped(&build.steps()[step], &lines);
                if lines.is_empty() { Vec::new() } else { self.say(build, step, lines, now) }
            }
            Change::Items(step) => {
                let lines = self.items(&build.steps()[step], step, now);
                if lines.is_empty() { Vec::new() } else { self.say(build, step, lines, now) }
            }
            Change::Finished(step, lines) => self.finish(build, step, &lines, now),
        }
    }

    /// Returns the lines that are due because time has passed.
    pub(crate) fn tick(&mut self, build: &Build, now: Duration) -> Vec<String> {
        let mut out = Vec::new();
        for (index, step) in build.steps().iter().enumerate().filter(|(_, step)| step.end.is_none()) {
            let lines = self.items(step, index, now);
            if !lines.is_empty() {
                out.extend(self.say(build, index, lines, now));
            }
        }
        if self.turn_is_over(now) {
            out.extend(self.next_turn(build, now));
        }
        out
    }

    /// Prints lines of a running step, or lets them wait.
    fn say(&mut self, build: &Build, step: usize, lines: Vec<String>, now: Duration) -> Vec<String> {
        let may = match self.current {
            Some((current, _)) => current == step,
            None => true,
        };
        if may {
            let mut out = self.open(build, step, now);
            out.extend(lines);
            return out;
        }
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == step).unwrap_or_else(|| {
            self.waiting.push((step, Vec::new()));
            self.waiting.len() - 1
        });
        let waiting = &mut self.waiting[at].1;
        waiting.extend(lines);
        if waiting.len() > MAX_WAITING_LINES {
            return self.open(build, step, now);
        }
        if self.turn_is_over(now) { self.next_turn(build, now) } else { Vec::new() }
    }

    fn finish(&mut self, build: &Build, index: usize, last: &[Line], now: Duration) -> Vec<String> {
        let step = &build.steps()[index];
        let mut out = self.open(build, index, now);
        out.extend(stamped(step, last));
        out.extend(self.items(step, index, now));
        out.push(format!("#{} {}", step.number, result(step)));
        self.current = None;
        self.mentioned.retain(|(step, _), _| *step != index);
        out.extend(self.next_turn(build, now));
        out
    }

    fn turn_is_over(&self, now: Duration) -> bool {
        self.current.is_none_or(|(_, since)| now.saturating_sub(since) >= TURN)
    }

    /// Shows the step that has waited longest.
    fn next_turn(&mut self, build: &Build, now: Duration) -> Vec<String> {
        let next = self.waiting.first().map(|(step, _)| *step);
        next.map(|step| self.open(build, step, now)).unwrap_or_default()
    }

    /// Makes a step the one that is shown, and prints what it had to say meanwhile.
    fn open(&mut self, build: &Build, step: usize, now: Duration) -> Vec<String> {
        let mut out = Vec::new();
        if self.current.is_none_or(|(current, _)| current != step) {
            if let Some((current, _)) = self.current {
                out.push(format!("#{} ...", build.steps()[current].number));
            }
            if self.begun {
                out.push(String::new());
            }
            self.begun = true;
            self.current = Some((step, now));
            out.push(format!("#{} {}", build.steps()[step].number, build.steps()[step].name));
        }
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == step) {
            out.extend(self.waiting.remove(at).1);
        }
        out
    }

    /// Returns a line for each item of which there is enough news.
    fn items(&mut self, step: &Step, index: usize, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for (position, item) in step.items.iter().enumerate() {
            let mentioned = self.mentioned.get(&(index, position)).copied();
            if is_news(item, mentioned, now) {
                let mention =
                    Mention { at: now, bytes: item.current_bytes, finished: item.finished.is_some() };
                self.mentioned.insert((index, position), mention);
                lines.push(format!("#{} {}", step.number, describe(item, now)));
            }
        }
        lines
    }
}

fn is_news(item: &Item, mentioned: Option<Mention>, now: Duration) -> bool {
    match mentioned {
        Some(last) if last.finished => false,
        _ if item.finished.is_some() => true,
        None => item.total_bytes > 0 || now.saturating_sub(item.started) >= LONG_WORK,
        Some(last) => {
            let progress = item.current_bytes.saturating_sub(last.bytes);
            let enough = item.total_bytes > 0 && progress >= item.total_bytes.div_ceil(MIN_PROGRESS_FRACTION);
            enough || progress > 0 && now.saturating_sub(last.at) >= MIN_PROGRESS_TIME
        }
    }
}

fn describe(item: &Item, now: Duration) -> String {
    let mut line = item.name.clone();
    if let Some(bytes) = item.bytes() {
        line = format!("{line} {bytes}");
    }
    let took = item.finished.unwrap_or(now).saturating_sub(item.started);
    if took > SHORT_WORK {
        line = format!("{line} {:.1}s", took.as_secs_f64());
    }
    if item.finished.is_some() {
        line.push_str(" done");
    }
    line
}

fn stamped(step: &Step, lines: &[Line]) -> Vec<String> {
    lines.iter().map(|line| format!("#{} {}", step.number, line.stamped())).collect()
}

fn result(step: &Step) -> String {
    let Some(end) = &step.end else { return String::new() };
    match &end.outcome {
        Outcome::Done => format!("DONE {}", seconds(end.took)),
        Outcome::Cached => "CACHED".to_owned(),
        Outcome::Cancelled => "CANCELED".to_owned(),
        Outcome::Failed(error) => format!("ERROR: {}", error.trim_end()),
    }
}

#[cfg(test)]
#[path = "plain/tests.rs"]
mod tests;
