//! Failpoints: the crash tests end the process at each of them in turn.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many failpoints may still be passed; 0 means that none is armed.
static REMAINING: AtomicU64 = AtomicU64::new(0);

/// Arms the failpoints: the process ends, as if killed, when it reaches the `nth` one from now (1 is the next).
pub fn arm(nth: u64) {
    REMAINING.store(nth, Ordering::SeqCst);
}

/// Marks a place between two steps of an operation at which the process may die.
///
/// The name tells a reader of the test's output where; it has no other meaning.
pub(crate) fn point(name: &str) {
    if REMAINING.load(Ordering::Relaxed) == 0 {
        return;
    }
    if REMAINING.fetch_sub(1, Ordering::SeqCst) == 1 {
        tracing::error!(failpoint = name, "ending the process at a failpoint");
        std::process::abort();
    }
}
