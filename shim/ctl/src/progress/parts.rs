//! The parts of an instance that start or stop.

use std::time::Duration;

use proto::lifecycle as api;
use proto::lifecycle::State;

use super::{Look, Row, Size, seconds, spread};
use crate::output::text::{fit, single_line, width};

/// Parts beyond this number are not shown.
const MAX_PARTS: usize = 128;
/// What a part that is busy shows, one after the other.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// How long each of them is shown, in milliseconds.
const SPIN_MS: u128 = 100;

/// The parts, in the order in which they were first mentioned.
#[derive(Debug)]
pub(crate) struct Parts {
    /// What is done to them: `Starting`, `Stopping`.
    what: &'static str,
    /// The state that they shall reach.
    goal: State,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    state: State,
    message: String,
    /// When it was first seen busy, and when that ended.
    began: Duration,
    ended: Option<Duration>,
}

impl Parts {
    /// Follows parts on their way up.
    pub(crate) const fn starting() -> Self {
        Self { what: "Starting", goal: State::Ready, parts: Vec::new() }
    }

    /// Follows parts on their way down.
    pub(crate) const fn stopping() -> Self {
        Self { what: "Stopping", goal: State::Stopped, parts: Vec::new() }
    }

    /// Takes an event in; returns the line that a log has for it, if it is news.
    pub(crate) fn update(&mut self, event: &api::Event, now: Duration) -> Option<String> {
        if event.part.is_empty() {
            return None;
        }
        let state = event.state();
        let (name, message) =
            (single_line(&event.part).into_owned(), single_line(&event.message).into_owned());
        let at = self.parts.iter().position(|part| part.name == name);
        if at.is_none() && self.parts.len() >= MAX_PARTS {
            return None;
        }
        let is_news = at.is_none_or(|at| self.parts[at].state != state || self.parts[at].message != message);
        let line = is_news.then(|| {
            let colon = if message.is_empty() { "" } else { ": " };
            format!("{name}: {}{colon}{message}", words(state))
        });
        let rests = state == self.goal || is_rest(state);
        let index = at.unwrap_or_else(|| {
            self.parts.push(Part { name, state, message: String::new(), began: now, ended: None });
            self.parts.len() - 1
        });
        let part = &mut self.parts[index];
        if is_rest(part.state) && !rests {
            part.began = now;
        }
        part.ended = rests.then(|| part.ended.unwrap_or(now));
        (part.state, part.message) = (state, message);
        line
    }

    /// Returns what is waited for, for a message: the parts that have not arrived, with what they say.
    pub(crate) fn missing(&self) -> String {
        let open = self.parts.iter().filter(|part| part.state != self.goal);
        let described = open.map(|part| match part.message.as_str() {
            "" => format!("{} is {}", part.name, words(part.state)),
            message => format!("{} is {} ({message})", part.name, words(part.state)),
        });
        described.collect::<Vec<_>>().join(", ")
    }

    /// Draws the parts.
    pub(crate) fn frame(&self, now: Duration, size: Size) -> Vec<Row> {
        let columns = size.columns.saturating_sub(1);
        let arrived = self.parts.iter().filter(|part| part.state == self.goal).count();
        let header = format!("[+] {} {} ({arrived}/{})", self.what, seconds(now), self.parts.len());
        let names = self.parts.iter().map(|part| width(&part.name)).max().unwrap_or_default();
        let mut rows = vec![Row::plain(fit(&header, columns))];
        rows.extend(self.parts.iter().map(|part| part.row(self.goal, names, now, columns)));
        rows.truncate(size.rows.saturating_sub(1));
        rows
    }
}

impl Part {
    fn row(&self, goal: State, names: usize, now: Duration, columns: usize) -> Row {
        let (mark, look) = match self.state {
            state if state == goal => ('✔', Look::Done),
            State::Failed => ('✘', Look::Failed),
            state if is_rest(state) => ('·', Look::Faint),
            _ => (SPINNER[(now.as_millis() / SPIN_MS) as usize % SPINNER.len()], Look::Plain),
        };
        let gap = " ".repeat(names - width(&self.name));
        let left = format!(" {mark} {}{gap}  {:11}  {}", self.name, words(self.state), self.message);
        let timer = if is_rest(self.state) && self.state != goal && self.state != State::Failed {
            String::new()
        } else {
            seconds(self.ended.unwrap_or(now).saturating_sub(self.began))
        };
        Row { text: spread(left.trim_end(), &timer, columns).trim_end().to_owned(), look }
    }
}

/// Tells whether nothing goes on in a state.
const fn is_rest(state: State) -> bool {
    match state {
        State::Idle | State::Waiting | State::Ready | State::Stopped | State::Failed => true,
        State::Starting | State::BackingOff | State::Stopping => false,
    }
}

/// Returns a state in words.
pub(crate) const fn words(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Ready => "ready",
        State::BackingOff => "backing off",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
        State::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn event(part: &str, state: State, message: &str) -> api::Event {
        api::Event { part: part.into(), state: state.into(), message: message.into(), ..Default::default() }
    }

    fn sample() -> (Parts, Vec<String>) {
        let mut parts = Parts::starting();
        let mut log = Vec::new();
        for (at, part, state, message) in [
            (0, "box", State::Starting, "network namespace"),
            (0, "containerd", State::Waiting, ""),
            (0, "shimd", State::Waiting, ""),
            (400, "box", State::Ready, ""),
            (400, "box", State::Ready, ""),
            (500, "containerd", State::Starting, ""),
            (700, "containerd", State::Starting, "waits for\nits socket"),
        ] {
            log.extend(parts.update(&event(part, state, message), ms(at)));
        }
        (parts, log)
    }

    #[test]
    fn the_log() {
        let expected = [
            "box: starting: network namespace",
            "containerd: waiting",
            "shimd: waiting",
            "box: ready",
            "containerd: starting",
            "containerd: starting: waits for its socket",
        ];
        assert_eq!(sample().1, expected);
    }

    #[test]
    fn the_screen() {
        let (mut parts, _) = sample();
        let size = Size { columns: 60, rows: 24 };
        let texts =
            |parts: &Parts| parts.frame(ms(1500), size).into_iter().map(|row| row.text).collect::<Vec<_>>();
        let expected = [
            "[+] Starting 1.5s (1/3)",
            " ✔ box         ready                                   0.4s",
            " ⠴ containerd  starting     waits for its socket       1.0s",
            " · shimd       waiting",
        ];
        assert_eq!(texts(&parts), expected);
        parts.update(&event("containerd", State::Failed, "it ended"), ms(2000));
        assert_eq!(texts(&parts)[2], " ✘ containerd  failed       it ended                   1.5s");
        assert_eq!(parts.missing(), "containerd is failed (it ended), shimd is waiting");
        assert_eq!(parts.frame(ms(0), Size { columns: 0, rows: 3 }).len(), 2);
    }

    #[test]
    fn stopping() {
        let mut parts = Parts::stopping();
        parts.update(&event("shimd", State::Stopping, ""), ms(0));
        parts.update(&event("shimd", State::Stopped, ""), ms(1000));
        let frame = parts.frame(ms(3000), Size { columns: 40, rows: 24 });
        assert_eq!(frame[0].text, "[+] Stopping 3.0s (1/1)");
        assert_eq!(frame[1].text, " ✔ shimd  stopped                  1.0s");
        assert_eq!(parts.missing(), "");
    }

    #[test]
    fn events_of_no_part_are_not_shown() {
        let mut parts = Parts::starting();
        assert_eq!(parts.update(&event("", State::Ready, "all"), ms(0)), None);
        let many = (0..MAX_PARTS + 9)
            .filter_map(|part| parts.update(&event(&part.to_string(), State::Idle, ""), ms(0)));
        assert_eq!(many.count(), MAX_PARTS);
    }
}
