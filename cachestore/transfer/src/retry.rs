//! When to try again, and how long to wait before. Pure, but for the source of jitter.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Cause;

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A `Retry-After` from here on is a Unix time, as Docker Hub sends it, and not a number of seconds.
const FIRST_UNIX_TIME: u64 = 1_000_000_000;

/// Returns the pause before attempt `number` (the first repetition is 1): exponential, between half and all of it.
pub(crate) fn pause(base: Duration, number: u32, random: u64) -> Duration {
    let whole = base.saturating_mul(1 << number.saturating_sub(1).min(16)).min(MAX_PAUSE);
    let part = u32::try_from(random % 1000).unwrap_or(0);
    whole / 2 + whole / 2 * part / 1000
}

/// Returns a number that differs between processes and calls; it need not be unpredictable.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Returns how long to wait before the same endpoint is asked once more, or nothing if that would not help.
///
/// A refused or impossible connection is not tried again: it fails as fast the next time. Neither is status 429 without
/// a time: it stands for a quota, which every further request only strains.
pub(crate) fn worthwhile(cause: &Cause, longest: Duration) -> Option<Duration> {
    match cause {
        Cause::Status { status: 408 | 429 | 500 | 502..=504, retry_after: Some(wait), .. } => {
            (*wait <= longest).then_some(*wait)
        }
        Cause::Status { status: 408 | 500 | 502..=504, retry_after: None, .. }
        | Cause::Network { was_connected: true, .. } => Some(Duration::ZERO),
        _ => None,
    }
}

/// Reads a `Retry-After` header: seconds, or the Unix time that Docker Hub sends. HTTP dates are not understood.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    retry_after_at(value, now)
}

fn retry_after_at(value: &str, now: u64) -> Option<Duration> {
    let number: u64 = value.trim().parse().ok()?;
    let seconds = if number >= FIRST_UNIX_TIME { number.saturating_sub(now) } else { number };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        let base = Duration::from_millis(200);
        for (number, random, expected_ms) in [
            (1, 0, 100),
            (1, 500, 150),
            (2, 0, 200),
            (3, 0, 400),
            (6, 0, 3200),
            (7, 0, 5000),
            (u32::MAX, 0, 5000),
        ] {
            assert_eq!(pause(base, number, random), Duration::from_millis(expected_ms), "{number} {random}");
        }
        assert!(pause(base, 1, u64::MAX) <= base);
        assert_ne!(random(), random());
    }

    #[test]
    fn retry_after_is_seconds_or_a_unix_time() {
        for (value, seconds) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("1746136938", Some(38)),
            ("1746136000", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(retry_after_at(value, 1_746_136_900), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let status = |status, seconds: Option<u64>| Cause::Status {
            host: None,
            status,
            message: String::new(),
            retry_after: seconds.map(Duration::from_secs),
        };
        let bound = Duration::from_secs(30);
        for (cause, wait) in [
            (status(503, None), Some(0)),
            (status(503, Some(30)), Some(30)),
            (status(503, Some(31)), None),
            (status(429, Some(2)), Some(2)),
            (status(429, None), None),
            (status(501, None), None),
            (status(400, Some(1)), None),
            (Cause::NotFound { message: String::new() }, None),
            (Cause::invalid("x"), None),
        ] {
            assert_eq!(worthwhile(&cause, bound), wait.map(Duration::from_secs), "{cause}");
        }
    }
}
