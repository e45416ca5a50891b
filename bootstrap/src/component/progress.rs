//! How far something is, said a few times a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::component::Report;

/// How long users look at one number.
const PAUSE: Duration = Duration::from_millis(250);

/// Says how far one thing is.
pub(crate) struct Meter<'a> {
    label: String,
    report: Report<'a>,
    said: Mutex<Option<Instant>>,
}

impl<'a> Meter<'a> {
    /// Says what begins.
    pub(crate) fn new(label: String, report: Report<'a>) -> Self {
        report(label.clone());
        Self { label, report, said: Mutex::new(None) }
    }

    /// Says how many bytes are there, unless it has just said so.
    pub(crate) fn at(&self, now: u64, all: Option<u64>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= PAUSE) {
            *said = Some(Instant::now());
            (self.report)(text(&self.label, now, all));
        }
    }
}

fn text(label: &str, now: u64, all: Option<u64>) -> String {
    match all {
        Some(all) => format!("{label}: {} of {} MB", megabytes(now), megabytes(all)),
        None => format!("{label}: {} MB", megabytes(now)),
    }
}

/// Writes a number of bytes as `12.3`.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_while() {
        let said = Mutex::new(Vec::new());
        let report = |line: String| said.lock().unwrap().push(line);
        let meter = Meter::new("downloading x".into(), &report);
        (0..100).for_each(|now| meter.at(now * 1_000_000, Some(99_990_000)));
        let begun = ["downloading x".to_owned(), "downloading x: 0.0 of 99.9 MB".to_owned()];
        assert_eq!(said.lock().unwrap()[..2], begun);
        assert!(said.lock().unwrap().len() < 10);
        assert_eq!(text("a", 12_345_678, None), "a: 12.3 MB");
    }
}
