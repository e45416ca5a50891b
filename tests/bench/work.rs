//! Files to work on.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use tests::files;

/// Writes so many files of so many bytes each, a hundred to a directory; each has its own content.
pub(crate) fn fill(dir: &Path, count: usize, bytes: usize) -> Result<()> {
    for number in 0..count {
        let path = dir.join(format!("{:04}/{number:06}", number / 100));
        files::put(path, text(number, bytes))?;
    }
    Ok(())
}

/// Returns a text of exactly so many bytes; another seed gives another.
pub(crate) fn text(seed: usize, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 32);
    let mut line = 0_usize;
    while text.len() < bytes {
        // Writing to a string cannot fail.
        writeln!(text, "{seed:x} {:x}", line.wrapping_mul(0x9e37_79b9) ^ seed).ok();
        line += 1;
    }
    text.truncate(bytes);
    text
}
