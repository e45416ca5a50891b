//! Programs come into the instance's directory of programs from files.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ring::digest;

use crate::component::install;
use crate::component::installed::Program;
use crate::component::manifest::hex;
use crate::error::{Error, IoContext, Result};
use crate::files;

/// How much is copied at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// Copies a program from a file that is nothing else, unless it is in place.
pub(super) async fn copy(from: PathBuf, to: PathBuf, program: Program) -> Result<()> {
    blocking(move || {
        let source = File::open(&from).at("open", &from)?;
        write(source, &from.display().to_string(), &to, &program)
    })
    .await
}

/// Runs work that blocks beside other work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::invalid("a copy", error.to_string()))?
}

/// Writes a program, unless it is in place: under another name, and it gets its own when it is whole, right and on disk.
pub(super) fn write(source: impl Read, what: &str, to: &Path, program: &Program) -> Result<()> {
    if install::is_in_place(to, program)? {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        files::ensure_directory(directory, 0o755)?;
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    let temporary = to.with_file_name(format!(".{name}.new"));
    let mut file = install::create(&temporary)?;
    let (mut hash, mut size_bytes) = (digest::Context::new(&digest::SHA256), 0);
    // One byte more than it has shows that it is another.
    let mut source = source.take(program.size_bytes.saturating_add(1));
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut chunk).at("read", what)?;
        if count == 0 {
            break;
        }
        size_bytes += count as u64;
        hash.update(&chunk[..count]);
        file.write_all(&chunk[..count]).at("write", &temporary)?;
    }
    let sha256 = hex(hash.finish().as_ref());
    if size_bytes != program.size_bytes || sha256 != program.sha256 {
        files::remove(&temporary)?;
        return Err(Error::invalid(what, format!("has the SHA-256 {sha256}, and not {}", program.sha256)));
    }
    install::finish(&file, &temporary, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_is_right_gets_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("bin/tool");
        let sha256 = hex(digest::digest(&digest::SHA256, b"tool").as_ref());
        let program = Program { size_bytes: 4, sha256 };
        for wrong in [&b"tooL"[..], b"too", b"tools", b""] {
            let error = write(wrong, "the test's file", &to, &program).unwrap_err().to_string();
            assert!(
                error.starts_with("the test's file: has the SHA-256 ") && error.contains(&program.sha256),
                "{error}"
            );
            assert_eq!(std::fs::read_dir(directory.path().join("bin")).unwrap().count(), 0);
        }
        write(&b"tool"[..], "it", &to, &program).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"tool");
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
        // It is not even read again.
        write(&b""[..], "it", &to, &program).unwrap();
        files::put(&to, b"tooL", 0o755).unwrap();
        write(&b"tool"[..], "it", &to, &program).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"tool");
    }
}
