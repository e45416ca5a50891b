//! Failpoints: the crash tests end the process at each of them in turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many failpoints may still be passed; 0 means that none is armed.
static REMAINING: AtomicU64 = AtomicU64::new(0);

/// The failpoints that were passed since they were armed.
static PASSED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Arms the failpoints: the process ends, as if killed, when it reaches the `nth` one from now (1 is the next).
pub fn arm(nth: u64) {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).clear();
    REMAINING.store(nth, Ordering::SeqCst);
}

/// Returns the names of the failpoints that were passed since [`arm`], in order.
pub fn passed() -> Vec<&'static str> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Marks a place between two effects of an operation at which the process may die.
///
/// The name tells a reader of the test's output where; it has no other meaning.
pub(crate) fn point(name: &'static str) {
    if REMAINING.load(Ordering::Relaxed) == 0 {
        return;
    }
    PASSED.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    if REMAINING.fetch_sub(1, Ordering::SeqCst) == 1 {
        tracing::error!(failpoint = name, "ending the process at a failpoint");
        std::process::abort();
    }
}
