//! What is known about a build that runs: its steps, their transfers and their output.

use std::time::Duration;

use super::output::{Line, Output};
use crate::output::size;
use crate::output::text::single_line;

/// Steps beyond this number are not shown; a Dockerfile has fewer instructions.
const MAX_STEPS: usize = 10_000;
/// Transfers of one step beyond this number are not shown.
const MAX_ITEMS: usize = 256;
/// The longest name that is shown, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// A build.
#[derive(Debug, Default)]
pub(crate) struct Build {
    /// In the order in which they began.
    steps: Vec<Step>,
}

/// A step: an instruction, or something that the builder does around them.
#[derive(Debug)]
pub(crate) struct Step {
    pub number: u32,
    pub name: String,
    pub started: Duration,
    pub end: Option<End>,
    pub items: Vec<Item>,
    pub output: Output,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub took: Duration,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Cached,
    Cancelled,
    Failed(String),
}

/// Something within a step: a transfer, or a part of the work if it counts no bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub name: String,
    pub started: Duration,
    pub finished: Option<Duration>,
    pub current_bytes: u64,
    pub total_bytes: u64,
}

/// What changed in a build, with the index of its step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Started(usize),
    Lines(usize, Vec<Line>),
    /// An item of a step began, went on or ended.
    Items(usize),
    /// The step ended, after these last lines.
    Finished(usize, Vec<Line>),
}

impl Build {
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn step_started(&mut self, number: u32, name: &str, now: Duration) -> Option<Change> {
        if self.steps.len() >= MAX_STEPS || self.find(number).is_some() {
            return None;
        }
        let step = Step {
            number,
            name: clean(name),
            started: now,
            end: None,
            items: Vec::new(),
            output: Output::default(),
        };
        self.steps.push(step);
        Some(Change::Started(self.steps.len() - 1))
    }

    pub(crate) fn step_output(&mut self, number: u32, data: &[u8], now: Duration) -> Option<Change> {
        let index = self.find_running(number)?;
        let step = &mut self.steps[index];
        let lines = step.output.push(data, now.saturating_sub(step.started));
        Some(Change::Lines(index, lines))
    }

    /// Takes in how far an item is. Items without bytes follow one another: the next one ends the one before.
    pub(crate) fn step_progress(
        &mut self,
        number: u32,
        item: &str,
        bytes: (u64, u64),
        now: Duration,
    ) -> Option<Change> {
        let index = self.find_running(number)?;
        let items = &mut self.steps[index].items;
        let name = clean(item);
        let at = match items.iter().position(|known| known.name == name) {
            Some(at) => at,
            None if items.len() >= MAX_ITEMS => return None,
            None => {
                items.iter_mut().filter(|item| item.is_plain()).for_each(|item| item.finish(now));
                items.push(Item { name, started: now, finished: None, current_bytes: 0, total_bytes: 0 });
                items.len() - 1
            }
        };
        let item = &mut items[at];
        (item.current_bytes, item.total_bytes) = bytes;
        if item.total_bytes > 0 && item.current_bytes >= item.total_bytes {
            item.finish(now);
        }
        Some(Change::Items(index))
    }

    pub(crate) fn step_finished(&mut self, number: u32, end: End, now: Duration) -> Option<Change> {
        let index = self.find_running(number)?;
        let step = &mut self.steps[index];
        if matches!(end.outcome, Outcome::Done | Outcome::Cached) {
            step.items.iter_mut().for_each(|item| item.finish(now));
        }
        step.end = Some(end);
        let lines = step.output.finish();
        Some(Change::Finished(index, lines.into_iter().collect()))
    }

    fn find(&self, number: u32) -> Option<usize> {
        // The last steps are those that things happen to.
        self.steps.iter().rposition(|step| step.number == number)
    }

    fn find_running(&self, number: u32) -> Option<usize> {
        self.find(number).filter(|&index| self.steps[index].end.is_none())
    }
}

impl Item {
    /// Writes how far it is: `1.05MB / 2.10MB`, `32B`, or nothing if it counts no bytes.
    pub(crate) fn bytes(&self) -> Option<String> {
        match (self.current_bytes, self.total_bytes) {
            (0, 0) => None,
            (current, 0) => Some(size::decimals(current)),
            (current, total) => Some(format!("{} / {}", size::decimals(current), size::decimals(total))),
        }
    }

    /// Tells whether it counts no bytes.
    pub(crate) const fn is_plain(&self) -> bool {
        self.current_bytes == 0 && self.total_bytes == 0
    }

    fn finish(&mut self, now: Duration) {
        self.finished.get_or_insert(now);
    }
}

fn clean(name: &str) -> String {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    single_line(&name[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    const DONE: End = End { took: Duration::ZERO, outcome: Outcome::Done };

    #[test]
    fn steps_are_found_by_their_numbers() {
        let mut build = Build::default();
        assert_eq!(build.step_started(1, "a\tb\nc", ms(0)), Some(Change::Started(0)));
        assert_eq!(build.step_started(1, "again", ms(0)), None);
        assert_eq!(build.step_started(3, "x", ms(10)), Some(Change::Started(1)));
        assert_eq!(build.step_output(2, b"x\n", ms(1)), None);
        let line = Line { at: ms(5), text: "x".into() };
        assert_eq!(build.step_output(3, b"x\ny", ms(15)), Some(Change::Lines(1, vec![line])));
        let last = Line { at: ms(5), text: "y".into() };
        assert_eq!(build.step_finished(3, DONE, ms(20)), Some(Change::Finished(1, vec![last])));
        assert_eq!(build.step_finished(3, DONE, ms(20)), None);
        assert_eq!(build.step_output(3, b"x\n", ms(21)), None);
        assert_eq!(build.steps()[0].name, "a b c");
    }

    #[test]
    fn items_end() {
        let mut build = Build::default();
        build.step_started(1, "export", ms(0));
        let mut see = |item, bytes, now| build.step_progress(1, item, bytes, ms(now)).map(|_| ());
        see("writing", (0, 0), 1).unwrap();
        see("layer", (5, 10), 2).unwrap();
        see("layer", (10, 10), 3).unwrap();
        see("layer", (10, 10), 4).unwrap();
        see("context:", (32, 0), 5).unwrap();
        see("naming", (0, 0), 6).unwrap();
        build.step_finished(1, DONE, ms(9));
        let ends: Vec<_> =
            build.steps()[0].items.iter().map(|item| (item.name.as_str(), item.finished.unwrap())).collect();
        assert_eq!(ends, [("writing", ms(2)), ("layer", ms(3)), ("context:", ms(9)), ("naming", ms(9))]);
    }

    #[test]
    fn items_of_failed_steps_do_not_end() {
        let mut build = Build::default();
        build.step_started(1, "x", ms(0));
        build.step_progress(1, "layer", (5, 10), ms(2));
        let end = End { took: ms(3), outcome: Outcome::Failed("no space".into()) };
        build.step_finished(1, end, ms(3));
        assert_eq!(build.steps()[0].items[0].finished, None);
        assert_eq!(build.steps()[0].items[0].bytes().unwrap(), "5B / 10B");
    }

    #[test]
    fn there_are_limits() {
        let mut build = Build::default();
        build.step_started(1, &"é".repeat(4000), ms(0));
        assert_eq!(build.steps()[0].name.len(), MAX_NAME_BYTES);
        for number in 0..MAX_ITEMS + 5 {
            build.step_progress(1, &number.to_string(), (1, 2), ms(0));
        }
        assert_eq!(build.steps()[0].items.len(), MAX_ITEMS);
    }
}
