//! Text for people and programs: columns, sizes, times, and docker's `--format`.

pub(crate) mod format;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod time;

use std::io::Write as _;

use anyhow::Context as _;

use crate::exit::Failure;

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")?;
    Ok(())
}

/// Prints one line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Prints lines to standard error. Where it is closed, there is nobody to tell.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Prints an error that is not the end of the command.
pub(crate) fn error(message: &str) {
    note(&format!("Error: {}", text::printable(message)));
}
