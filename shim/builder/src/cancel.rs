//! Cancellation, which every part of a build asks for at its slow places.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the parts of a build whether it is still wanted. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the build: what runs is stopped, what waits gives up.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Tells whether the build has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
