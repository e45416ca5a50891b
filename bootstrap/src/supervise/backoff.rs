//! How long to wait before something is started again (pure).

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
/// What ran well for this long starts from the beginning.
const FORGIVEN: Duration = Duration::from_secs(60);

/// Pauses that double, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Returns the pause after something that had been well for this long ended.
    pub(crate) fn pause(&mut self, well_for: Duration) -> Duration {
        if well_for >= FORGIVEN {
            *self = Self::default();
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_forgiven() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.pause(Duration::from_secs(59)).as_millis(), 10_000);
        assert_eq!(backoff.pause(Duration::from_secs(60)).as_millis(), 100);
        assert_eq!(backoff.pause(Duration::ZERO).as_millis(), 200);
    }
}
