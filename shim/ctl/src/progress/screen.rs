//! A part of the terminal that is painted over and over.

use std::io::{IsTerminal as _, Write as _};

use super::{Look, Row, Size};

/// The size that is assumed where a terminal does not tell.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// A block of lines on standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    colours: bool,
    /// Lines that the block has now; the cursor is below them.
    painted: usize,
}

impl Screen {
    /// Begins a block where the cursor is, if standard error is a terminal that can be painted on.
    pub(crate) fn on_terminal() -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        (std::io::stderr().is_terminal() && !dumb).then(Self::new)
    }

    /// Begins a block where the cursor is.
    pub(crate) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: !refused, painted: 0 }
    }

    /// Returns the size of the terminal.
    #[expect(clippy::unused_self, reason = "only who has a screen may ask for its size")]
    pub(crate) fn size(&self) -> Size {
        match console::Term::stderr().size_checked() {
            Some((rows, columns)) if rows > 0 && columns > 0 => {
                Size { columns: columns.into(), rows: rows.into() }
            }
            _ => DEFAULT_SIZE,
        }
    }

    /// Paints the block anew.
    pub(crate) fn paint(&mut self, rows: &[Row]) {
        let bytes = self.render(rows);
        let mut terminal = std::io::stderr().lock();
        // A terminal that went away needs no progress; the work itself goes on or ends by its own rules.
        terminal.write_all(bytes.as_bytes()).and_then(|()| terminal.flush()).ok();
    }

    /// Returns the bytes that turn the block that was painted last into this one.
    fn render(&mut self, rows: &[Row]) -> String {
        let mut bytes = String::new();
        if self.painted > 0 {
            bytes.push_str(&format!("\x1b[{}A\r", self.painted));
        }
        for row in rows {
            let colour = if self.colours { colour(row.look) } else { "" };
            let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
            bytes.push_str(&format!("{colour}{}{reset}\x1b[K\n", row.text));
        }
        // Lines of a higher block before it.
        if self.painted > rows.len() {
            bytes.push_str("\x1b[J");
        }
        self.painted = rows.len();
        bytes
    }
}

const fn colour(look: Look) -> &'static str {
    match look {
        Look::Plain => "",
        Look::Done => "\x1b[34m",
        Look::Failed => "\x1b[31m",
        Look::Cancelled => "\x1b[33m",
        Look::Faint => "\x1b[2m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str, look: Look) -> Row {
        Row { text: text.into(), look }
    }

    #[test]
    fn frames_replace_one_another() {
        let mut screen = Screen { colours: true, painted: 0 };
        let first = [Row::plain("a"), row("b", Look::Done), row("c", Look::Faint)];
        assert_eq!(screen.render(&first), "a\x1b[K\n\x1b[34mb\x1b[0m\x1b[K\n\x1b[2mc\x1b[0m\x1b[K\n");
        assert_eq!(screen.render(&first[..1]), "\x1b[3A\ra\x1b[K\n\x1b[J");
        assert_eq!(screen.render(&[]), "\x1b[1A\r\x1b[J");
        assert_eq!(screen.render(&first[..1]), "a\x1b[K\n");
    }

    #[test]
    fn colours_can_be_refused() {
        let mut screen = Screen { colours: false, painted: 0 };
        assert_eq!(screen.render(&[row("b", Look::Failed)]), "b\x1b[K\n");
    }
}
