//! When something that failed is tried again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);

/// What failed, by name, how often, and when its turn is.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failed: BTreeMap<String, (u32, Instant)>,
}

impl Retries {
    /// Tells whether something may be tried now: it never failed, or long enough ago.
    pub(crate) fn is_due(&self, name: &str, now: Instant) -> bool {
        self.failed.get(name).is_none_or(|(_, at)| *at <= now)
    }

    pub(crate) fn failed(&mut self, name: &str, now: Instant) {
        let (times, at) = self.failed.entry(name.to_owned()).or_insert((0, now));
        *at = now + FIRST.saturating_mul(2_u32.saturating_pow(*times)).min(LONGEST);
        *times = times.saturating_add(1);
    }

    pub(crate) fn succeeded(&mut self, name: &str) {
        self.failed.remove(name);
    }

    /// Forgets what is of no interest any more.
    pub(crate) fn retain(&mut self, is_known: impl Fn(&str) -> bool) {
        self.failed.retain(|name, _| is_known(name));
    }

    /// Returns how long it is until something is due that is not now.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        self.failed.values().filter(|(_, at)| *at > now).map(|(_, at)| *at - now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_success() {
        let (mut retries, start) = (Retries::default(), Instant::now());
        assert!(retries.is_due("a", start));
        assert_eq!(retries.next(start), None);
        for milliseconds in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            retries.failed("a", start);
            let pause = Duration::from_millis(milliseconds);
            assert_eq!(retries.next(start), Some(pause));
            assert!(!retries.is_due("a", start + pause - Duration::from_millis(1)));
            assert!(retries.is_due("a", start + pause));
        }
        assert!(retries.is_due("b", start));
        retries.succeeded("a");
        assert!(retries.is_due("a", start));
        retries.failed("a", start);
        retries.retain(|name| name != "a");
        assert!(retries.is_due("a", start));
    }
}
