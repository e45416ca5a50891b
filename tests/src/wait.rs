//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is `Ok`, and returns what it held.
///
/// The pauses between two questions grow from 2 to 100 ms.
///
/// # Errors
/// After the limit: what was waited for, and the last answer.
pub fn eventually<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut wait = FIRST_PAUSE;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= limit => {
                return Err(anyhow!("waited {limit:?} for {what}; last seen: {last:#}"));
            }
            Err(_) => pause(wait),
        }
        wait = (wait * 2).min(LONGEST_PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that sleeps: between two looks at a condition")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn returns_the_first_good_answer() {
        let mut asked = 0;
        let answer = eventually(Duration::from_secs(5), "the third question", || {
            asked += 1;
            ensure!(asked == 3, "asked {asked} times");
            Ok(asked * 10)
        });
        assert_eq!(answer.unwrap(), 30);
        assert_eq!(asked, 3);
    }

    #[test]
    fn reports_what_it_saw_last() {
        let mut asked = 0;
        let failure = eventually(Duration::from_millis(20), "a door to open", || -> Result<()> {
            asked += 1;
            Err(anyhow!("closed, look {asked}"))
        })
        .unwrap_err();
        assert!(asked > 1, "asked once only");
        assert_eq!(
            failure.to_string(),
            format!("waited 20ms for a door to open; last seen: closed, look {asked}")
        );
    }
}
