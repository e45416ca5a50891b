//! One program out of a compressed tar that anybody may have made.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::component::install;
use crate::error::{Error, IoContext, Result};

/// The largest program, uncompressed.
const MAX_PROGRAM_BYTES: u64 = 512 << 20;
/// What may lie around it: a licence, a page of a manual.
const MAX_MEMBERS: usize = 64;

/// Extracts the regular file of this name, and nothing else. It has its name when it is whole and on disk.
pub(super) fn extract(archive: &Path, name: &str, to: &Path) -> Result<()> {
    let invalid = |problem: &str| Error::invalid(archive.display().to_string(), problem);
    let file = File::open(archive).at("open", archive)?;
    let limit = MAX_PROGRAM_BYTES * 2;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)).take(limit));
    // Extended headers are members of their own here: nothing of them is taken into memory.
    let entries = tar.entries().at("read", archive)?.raw(true);
    for (number, entry) in entries.enumerate() {
        if number >= MAX_MEMBERS {
            return Err(invalid("has too many members"));
        }
        let mut entry = entry.at("read", archive)?;
        let path = entry.path_bytes();
        if path.strip_prefix(b"./").unwrap_or(&path) != name.as_bytes() {
            continue;
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(invalid("has something else than a file by the name of the program"));
        }
        if entry.header().entry_size().at("read", archive)? > MAX_PROGRAM_BYTES {
            return Err(invalid("has a program that is too large"));
        }
        return write(&mut entry, archive, to);
    }
    Err(invalid(&format!("has no {name} in it")))
}

fn write(source: &mut impl Read, archive: &Path, to: &Path) -> Result<()> {
    let temporary = to.with_extension("new");
    let mut file = install::create(&temporary)?;
    std::io::copy(source, &mut file).at("extract", archive)?;
    install::finish(&file, &temporary, to)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::files;

    /// Puts members into a compressed tar: kind, name, content.
    fn archive(path: &Path, members: &[(tar::EntryType, &str, &[u8])]) {
        let mut bytes = Vec::new();
        for (kind, name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o777);
            header.set_link_name("/etc/shadow").unwrap();
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        files::put(path, &encoder.finish().unwrap(), 0o644).unwrap();
    }

    #[test]
    fn one_file_is_taken_out_and_nothing_else() {
        use tar::EntryType as Kind;
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a.tar.gz"), directory.path().join("crictl"));
        let many = vec![(Kind::Regular, "x", &b""[..]); MAX_MEMBERS + 1];
        for (members, expected) in [
            (&[(Kind::Regular, "crictl", &b"tool"[..])][..], Ok(())),
            (&[(Kind::Regular, "LICENSE", b"text"), (Kind::Regular, "./crictl", b"tool")], Ok(())),
            (&[(Kind::Regular, "../crictl", b"tool")], Err("has no crictl")),
            (&[(Kind::Regular, "bin/crictl", b"tool")], Err("has no crictl")),
            (&[(Kind::Symlink, "crictl", b"")], Err("something else than a file")),
            (&[(Kind::Link, "crictl", b"")], Err("something else than a file")),
            (&[], Err("has no crictl")),
            (&many, Err("too many members")),
        ] {
            archive(&from, members);
            let found = extract(&from, "crictl", &to);
            match expected {
                Ok(()) => {
                    found.unwrap();
                    assert_eq!(std::fs::read(&to).unwrap(), b"tool");
                    files::remove(&to).unwrap();
                }
                Err(problem) => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(problem) && error.contains("a.tar.gz"), "{problem}: {error}");
                }
            }
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        for garbage in [&b""[..], b"not compressed", &[0x1f, 0x8b, 8, 0]] {
            files::put(&from, garbage, 0o644).unwrap();
            assert!(extract(&from, "crictl", &to).is_err());
        }
    }
}
