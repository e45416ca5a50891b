//! How many files this process may have open: two for each connection.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::enter::{OPEN_FILES, may_lower_oom_score};

/// How many connections there may be, where the limit of files allows it.
const MAX_CONNECTIONS: usize = 16_384;
/// How many files are for everything else: listeners, flows of datagrams, programs that are started.
const RESERVED_FILES: u64 = 4096;
/// The least that is said to be possible; what then fails fails one by one.
const MIN_CONNECTIONS: usize = 256;

/// The limit as it was before it was raised.
static USUAL: OnceLock<Option<u64>> = OnceLock::new();

/// Returns how many files programs may open that are started from here, unless they ask for more.
pub(crate) fn usual_files() -> Option<u64> {
    *USUAL.get_or_init(|| getrlimit(Resource::Nofile).current)
}

/// Raises the limit as far as possible; returns how many connections that allows.
pub(super) fn raise() -> io::Result<usize> {
    usual_files();
    let mut files = getrlimit(Resource::Nofile);
    if may_lower_oom_score().unwrap_or(false) {
        files.maximum = files.maximum.map(|maximum| maximum.max(OPEN_FILES));
    }
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    Ok(connections(files.current))
}

fn connections(files: Option<u64>) -> usize {
    let allowed = files.map_or(u64::MAX, |files| files.saturating_sub(RESERVED_FILES) / 2);
    usize::try_from(allowed).unwrap_or(usize::MAX).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_make_connections() {
        for (files, expected) in
            [(Some(0), 256), (Some(1024), 256), (Some(20_000), 7952), (Some(1 << 20), 16_384), (None, 16_384)]
        {
            assert_eq!(connections(files), expected, "{files:?}");
        }
    }
}
