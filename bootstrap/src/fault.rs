//! Failpoints: the crash tests end the lifecycle service at each of them in turn.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// What is being done when the service shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Up,
    Down,
}

/// One place: the `nth` that is passed in this phase, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failpoint {
    phase: Phase,
    nth: u64,
}

impl FromStr for Failpoint {
    type Err = Error;

    /// Reads `up 3` or `down 12`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid(format!("failpoint {text:?}"), "is not a phase and a number");
        let (phase, nth) = text.split_once(' ').ok_or_else(invalid)?;
        let phase = match phase {
            "up" => Phase::Up,
            "down" => Phase::Down,
            _ => return Err(invalid()),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(invalid)?;
        Ok(Self { phase, nth })
    }
}

/// Where to end; without it, nowhere.
static ARMED: Mutex<Option<Failpoint>> = Mutex::new(None);

/// How many failpoints may still be passed in this phase; 0 means that none is armed.
static REMAINING: AtomicU64 = AtomicU64::new(0);

/// Arms one failpoint for the next time that its phase begins.
pub(crate) fn arm(failpoint: Failpoint) {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner).replace(failpoint);
}

/// Begins to count.
pub(crate) fn begin(phase: Phase) {
    let armed = *ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    REMAINING
        .store(armed.filter(|armed| armed.phase == phase).map_or(0, |armed| armed.nth), Ordering::SeqCst);
}

/// Ends the phase: what is done later to keep things as they are is not counted.
pub(crate) fn end() {
    REMAINING.store(0, Ordering::SeqCst);
}

/// Marks a place between two effects at which the service may die.
///
/// The name tells a reader of the log where; it has no other meaning.
pub(crate) fn point(name: &'static str) {
    if REMAINING.load(Ordering::Relaxed) == 0 {
        return;
    }
    if REMAINING.fetch_sub(1, Ordering::SeqCst) == 1 {
        tracing::error!(failpoint = name, "ending the process at a failpoint");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_a_phase_and_a_number() {
        assert_eq!("up 3".parse::<Failpoint>().unwrap(), Failpoint { phase: Phase::Up, nth: 3 });
        assert_eq!("down 12".parse::<Failpoint>().unwrap(), Failpoint { phase: Phase::Down, nth: 12 });
        for bad in ["", "up", "up 0", "up x", "side 1", "up  1", "up -1"] {
            assert!(bad.parse::<Failpoint>().unwrap_err().to_string().contains("failpoint"), "{bad}");
        }
    }
}
