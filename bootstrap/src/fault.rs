//! Failpoints: the crash tests end the lifecycle service at each of them in turn.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// What is being done when the service shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Up,
    Down,
}

/// Where to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failpoint {
    phase: Phase,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The `nth` that is passed, from 1.
    Nth(u64),
    /// The first whose name is not in this file, to which it is added.
    New(PathBuf),
}

impl FromStr for Failpoint {
    type Err = Error;

    /// Reads `up 3`, `down 12`, or `up new FILE`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::invalid(
                format!("failpoint {text:?}"),
                "is not a phase and a number, nor a phase, `new` and a file",
            )
        };
        let (phase, place) = text.split_once(' ').ok_or_else(invalid)?;
        let phase = match phase {
            "up" => Phase::Up,
            "down" => Phase::Down,
            _ => return Err(invalid()),
        };
        let place = match place.strip_prefix("new ") {
            Some(file) if !file.is_empty() => Place::New(file.into()),
            Some(_) => return Err(invalid()),
            None => Place::Nth(place.parse().ok().filter(|nth| *nth > 0).ok_or_else(invalid)?),
        };
        Ok(Self { phase, place })
    }
}

/// What was armed, for the next time that its phase begins.
static ARMED: Mutex<Option<Failpoint>> = Mutex::new(None);
/// Where to end in this phase; without it, nowhere.
static ACTIVE: Mutex<Option<Place>> = Mutex::new(None);
/// Whether there is such a place: nearly always there is none.
static IS_ACTIVE: AtomicBool = AtomicBool::new(false);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn activate(place: Option<Place>) {
    IS_ACTIVE.store(place.is_some(), Ordering::SeqCst);
    *locked(&ACTIVE) = place;
}

/// Arms one failpoint for the next time that its phase begins.
pub(crate) fn arm(failpoint: Failpoint) {
    locked(&ARMED).replace(failpoint);
}

/// Begins to count.
pub(crate) fn begin(phase: Phase) {
    let armed = locked(&ARMED).clone();
    activate(armed.filter(|armed| armed.phase == phase).map(|armed| armed.place));
}

/// Ends the phase: what is done later to keep things as they are is not counted.
pub(crate) fn end() {
    activate(None);
}

/// Marks a place between two effects at which the service may die.
///
/// The name tells a reader of the log where; it has no other meaning.
pub(crate) fn point(name: &'static str) {
    if !IS_ACTIVE.load(Ordering::Relaxed) {
        return;
    }
    let is_here = match &mut *locked(&ACTIVE) {
        Some(Place::Nth(remaining)) => {
            *remaining = remaining.saturating_sub(1);
            *remaining == 0
        }
        Some(Place::New(file)) => is_new(file, name),
        None => false,
    };
    if is_here {
        tracing::error!(failpoint = name, "ending the process at a failpoint");
        std::process::abort();
    }
}

/// Tells whether a name is not in a file, and adds it.
fn is_new(file: &Path, name: &str) -> bool {
    let known = std::fs::read_to_string(file).unwrap_or_default();
    if known.lines().any(|line| line == name) {
        return false;
    }
    let added = OpenOptions::new().append(true).create(true).open(file);
    // Where it cannot be added, this would be the place for ever.
    added.and_then(|mut file| writeln!(file, "{name}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_a_phase_and_a_number() {
        for (text, phase, place) in [
            ("up 3", Phase::Up, Place::Nth(3)),
            ("down 12", Phase::Down, Place::Nth(12)),
            ("up new /x y", Phase::Up, Place::New("/x y".into())),
        ] {
            assert_eq!(text.parse::<Failpoint>().unwrap(), Failpoint { phase, place });
        }
        for bad in ["", "up", "up 0", "up x", "side 1", "up  1", "up -1", "up new", "up new "] {
            assert!(bad.parse::<Failpoint>().unwrap_err().to_string().contains("failpoint"), "{bad}");
        }
    }
    #[test]
    fn a_place_is_new_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("places");
        assert!(is_new(&file, "a") && is_new(&file, "b b") && !is_new(&file, "a"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\nb b\n");
        assert!(!is_new(directory.path(), "c"));
    }
}
