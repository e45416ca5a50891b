//! What is going on, as lines of text.
//!
//! Everything here is pure: what happened, the time and the size of the terminal go in, lines come out. [`screen`] turns
//! the lines into bytes for a terminal.

pub(crate) mod build;
pub(crate) mod failure;
pub(crate) mod output;
pub(crate) mod parts;
pub(crate) mod plain;
pub(crate) mod pull;
pub(crate) mod screen;
pub(crate) mod tty;

use std::time::Duration;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// One line of a frame. It has no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub text: String,
    pub look: Look,
}

/// How a line looks where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Plain,
    Done,
    Failed,
    Cancelled,
    Faint,
}

impl Row {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), look: Look::Plain }
    }
}

/// Writes seconds with one decimal: `1.2s`. What takes next to no time takes none, so that the eye finds the rest.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!("{:.1}s", if seconds < 0.05 { 0.0 } else { seconds })
}

/// Puts a text at the left and one at the right of a line of so many columns; the left one is cut where they would meet.
pub(crate) fn spread(left: &str, right: &str, columns: usize) -> String {
    use crate::output::text::{fit, width};
    let left = fit(left, columns.saturating_sub(width(right) + 1));
    let gap = columns.saturating_sub(width(left) + width(right));
    format!("{left}{}{right}", " ".repeat(gap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let rows = [(0, "0.0s"), (49, "0.0s"), (51, "0.1s"), (1234, "1.2s"), (75_000, "75.0s")];
        for (milliseconds, expected) in rows {
            assert_eq!(seconds(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn both_ends_of_a_line() {
        let rows = [
            ("ab", "1s", 8, "ab    1s"),
            ("abcdef", "1s", 8, "abcde 1s"),
            ("日本日本", "1s", 8, "日本  1s"),
            ("ab", "1s", 2, "1s"),
        ];
        for (left, right, columns, expected) in rows {
            assert_eq!(spread(left, right, columns), expected);
        }
    }
}
