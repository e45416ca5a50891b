//! The programs under test.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Returns the path of a program of this workspace (`shimctl`, `shimd`, `bootstrap`), built in the profile of the
/// running test.
///
/// # Errors
/// It was not built; `tests/run` builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("where this test is")?;
    // target/PROFILE/deps/root-HASH
    let profile = test.ancestors().nth(2).context("this test is not in a target directory")?;
    let path = profile.join(name);
    ensure!(path.is_file(), "{} is not built: cargo build --release --bins", path.display());
    Ok(path)
}
