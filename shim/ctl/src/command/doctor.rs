//! `shimctl doctor`.

use crate::exit::Failure;
use crate::layout::Layout;
use crate::program;

/// Runs the checks of bootstrap, and ends as they end.
pub(crate) fn run(layout: &Layout) -> Result<(), Failure> {
    program::bootstrap(layout, "doctor", &[])
}
