//! The output of one step: bytes in, lines out, of which the last are kept.

use std::collections::VecDeque;
use std::time::Duration;

/// The longest line, in bytes; a longer one is shown as several.
const MAX_LINE_BYTES: usize = 64 << 10;
/// How much of a step's output is kept for the report of its failure.
const KEPT_LINES: usize = 500;
const KEPT_BYTES: usize = 1 << 20;

/// A line, with the time since its step began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub at: Duration,
    pub text: String,
}

impl Line {
    /// Writes the line as docker does in plain progress: `0.123 text`, with as many decimals as fit into five characters.
    pub(crate) fn stamped(&self) -> String {
        let seconds = self.at.as_secs_f64();
        let decimals = if seconds < 10.0 { 3 } else { 1 + usize::from(seconds < 100.0) };
        format!("{seconds:.decimals$} {}", self.text)
    }
}

/// The output of one step.
#[derive(Debug, Default)]
pub(crate) struct Output {
    kept: VecDeque<Line>,
    kept_bytes: usize,
    dropped: u64,
    /// A line that has not ended yet.
    partial: Vec<u8>,
    partial_at: Duration,
    bytes: u64,
}

impl Output {
    /// Takes bytes in and returns the lines that they complete.
    pub(crate) fn push(&mut self, data: &[u8], at: Duration) -> Vec<Line> {
        self.bytes += data.len() as u64;
        let mut lines = Vec::new();
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            for part in text.chunks(MAX_LINE_BYTES) {
                if self.partial.is_empty() {
                    self.partial_at = at;
                } else if self.partial.len() + part.len() > MAX_LINE_BYTES {
                    lines.push(self.complete());
                    self.partial_at = at;
                }
                self.partial.extend_from_slice(part);
            }
            if ended {
                if self.partial.is_empty() {
                    self.partial_at = at;
                }
                lines.push(self.complete());
            }
        }
        lines
    }

    /// Ends the last line, if there is one that has not ended.
    pub(crate) fn finish(&mut self) -> Option<Line> {
        (!self.partial.is_empty()).then(|| self.complete())
    }

    /// Returns how much there was in all, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the last lines, and how many there were before them.
    pub(crate) fn tail(&self, lines: usize) -> (impl Iterator<Item = &Line>, u64) {
        let skipped = self.kept.len().saturating_sub(lines);
        (self.kept.range(skipped..), self.dropped + skipped as u64)
    }

    /// Returns the last lines as a terminal would show them, the unfinished one too.
    pub(crate) fn visible(&self, lines: usize) -> Vec<String> {
        let partial = String::from_utf8_lossy(&self.partial);
        let texts = self.kept.iter().map(|line| line.text.as_str()).chain(std::iter::once(&*partial));
        let mut last: Vec<_> =
            texts.rev().map(shown).filter(|text| !text.trim().is_empty()).take(lines).collect();
        last.reverse();
        last
    }

    fn complete(&mut self) -> Line {
        let mut text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        if text.ends_with('\r') {
            text.pop();
        }
        let line = Line { at: self.partial_at, text };
        self.kept_bytes += line.text.len();
        self.kept.push_back(line.clone());
        while self.kept.len() > KEPT_LINES || self.kept_bytes > KEPT_BYTES {
            let Some(first) = self.kept.pop_front() else { break };
            self.kept_bytes -= first.text.len();
            self.dropped += 1;
        }
        line
    }
}

/// Returns what a terminal shows of a line: what was written last over it, without colours and the like.
fn shown(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit_once('\r').map_or(line, |(_, last)| last);
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\x1b' => skip_sequence(&mut characters),
            '\t' => text.push_str("    "),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// Skips the rest of an escape sequence of ECMA-48: of a control sequence up to its final byte, of a string up to its end.
fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => while characters.next_if(|c| !('\x40'..='\x7e').contains(c)).is_some() {},
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while characters.next_if(|c| !matches!(c, '\x07' | '\x1b')).is_some() {}
            if characters.peek() != Some(&'\x1b') {
                characters.next();
            }
            return;
        }
        _ => return,
    }
    characters.next();
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_come_when_they_end() {
        let mut output = Output::default();
        assert_eq!(texts(&output.push(b"one\ntw", ms(5))), ["one"]);
        assert_eq!(texts(&output.push("o \u{e9}".as_bytes().split_last().unwrap().1, ms(6))), [""; 0]);
        let lines = output.push(b"\xa9\r\n\nthree", ms(7));
        assert_eq!(texts(&lines), ["two é", ""]);
        assert_eq!((lines[0].at, lines[1].at), (ms(5), ms(7)));
        assert_eq!(output.finish().unwrap().text, "three");
        assert_eq!(output.finish(), None);
        assert_eq!(output.bytes(), 18);
    }

    #[test]
    fn stamps() {
        let rows = [(0, "0.000 x"), (123, "0.123 x"), (12_345, "12.35 x"), (123_456, "123.5 x")];
        for (at, expected) in rows {
            assert_eq!(Line { at: ms(at), text: "x".into() }.stamped(), expected);
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let mut output = Output::default();
        assert_eq!(output.push(&vec![b'x'; MAX_LINE_BYTES], ms(0)), []);
        let lines = output.push(b"y\n", ms(1));
        assert_eq!((lines[0].text.len(), lines[1].text.as_str()), (MAX_LINE_BYTES, "y"));
        let lines = output.push(&vec![b'x'; 2 * MAX_LINE_BYTES + 1], ms(1));
        assert_eq!(lines.len(), 2);
        assert_eq!(output.finish().unwrap().text, "x");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut output = Output::default();
        for number in 0..KEPT_LINES + 2 {
            output.push(format!("{number}\n").as_bytes(), ms(0));
        }
        let (lines, before) = output.tail(2);
        assert_eq!(lines.map(|line| line.text.clone()).collect::<Vec<_>>(), ["500", "501"]);
        assert_eq!(before, 500);
        assert_eq!(output.tail(usize::MAX).1, 2);
        output.push(&vec![b'x'; 2 * KEPT_BYTES], ms(0));
        output.push(b"\n", ms(0));
        assert!(output.kept_bytes <= KEPT_BYTES);
        assert_eq!(output.tail(usize::MAX).0.map(|line| line.text.len()).sum::<usize>(), output.kept_bytes);
    }

    #[test]
    fn what_a_terminal_shows() {
        let rows = [
            ("plain", "plain"),
            ("a\tb", "a    b"),
            (" 10%\r 50%\r100%", "100%"),
            ("100%\r", "100%"),
            ("\x1b[1;31mred\x1b[0m text", "red text"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Btext\x08", "Btext"),
            ("\x1b[", ""),
            ("\x1b", ""),
        ];
        for (line, expected) in rows {
            assert_eq!(shown(line), expected, "{line:?}");
        }
        let mut output = Output::default();
        output.push(b"one\n\n \ntwo\nthr", ms(0));
        assert_eq!(output.visible(2), ["two", "thr"]);
        assert_eq!(output.visible(9), ["one", "two", "thr"]);
    }
}
