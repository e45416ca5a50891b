//! The controllers' image: one static program and nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::files;

/// What the program is called in the build context and in the image.
const PROGRAM: &str = "controllers";
const DOCKERFILE: &str = "FROM scratch\nCOPY controllers /controllers\nENTRYPOINT [\"/controllers\"]\n";
/// An ELF file's program header that names the program which loads it: only those that are not static have one.
const PT_INTERP: u32 = 3;
/// Where a 64-bit ELF header says where its program headers are, how long each is, and how many there are.
const PHOFF: usize = 32;
const PHENTSIZE: usize = 54;
const PHNUM: usize = 56;

/// Returns the name of the image with a tag. Nobody serves it anywhere.
pub(crate) fn image(tag: &str) -> String {
    format!("docker.internal/shim/controllers:{tag}")
}

/// Lays out the build context of the image in a directory that is made: `Dockerfile` and `controllers`.
///
/// # Errors
/// The program needs a loader or libraries, which the image has not.
pub(crate) fn context(directory: &Path, program: &Path) -> Result<()> {
    let bytes = std::fs::read(program).at("read", program)?;
    match needs_loader(&bytes) {
        Some(false) => {}
        Some(true) => {
            let problem =
                "is not a static program: the C library's static archives were missing when it was built";
            return Err(Error::invalid(program.display().to_string(), problem));
        }
        None => return Err(Error::invalid(program.display().to_string(), "is not a 64-bit ELF program")),
    }
    files::ensure_directory(directory, 0o700)?;
    files::put(&directory.join("Dockerfile"), DOCKERFILE.as_bytes(), 0o644)?;
    let copy = directory.join(PROGRAM);
    files::put(&copy, &bytes, 0o755)?;
    // The mask of the one who started us is not the image's business.
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).at("change the mode of", &copy)
}

/// Tells whether an ELF program has to be loaded by another one; `None` if it is no such program.
fn needs_loader(program: &[u8]) -> Option<bool> {
    // Magic number, 64 bits, little-endian.
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(program.get(at..at + 2)?.try_into().ok()?)));
    let start = usize::try_from(u64::from_le_bytes(program.get(PHOFF..PHOFF + 8)?.try_into().ok()?)).ok()?;
    let (size, count) = (short(PHENTSIZE)?, short(PHNUM)?);
    for number in 0..count {
        let at = start.checked_add(number * size)?;
        let kind = program.get(at..at.checked_add(4)?)?;
        if u32::from_le_bytes(kind.try_into().ok()?) == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of headers alone, with program headers of these types.
    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[PHOFF] = 64;
        bytes[PHENTSIZE] = 56;
        bytes[PHNUM] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }

    #[test]
    fn static_programs_are_told_from_others() {
        let mut far = program(&[1]);
        far[PHOFF..PHOFF + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        for (bytes, expected) in [
            (program(&[1, 2]), Some(false)),
            (program(&[6, PT_INTERP, 1]), Some(true)),
            (program(&[1, PT_INTERP])[..100].to_vec(), None),
            (program(&[])[..40].to_vec(), None),
            (far, None),
            (b"#!/bin/sh\n".to_vec(), None),
            (Vec::new(), None),
        ] {
            assert_eq!(needs_loader(&bytes), expected);
        }
    }

    #[test]
    fn a_context_holds_the_program_and_how_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        let (binary, target) = (directory.path().join("binary"), directory.path().join("image"));
        files::put(&binary, &program(&[1]), 0o600).unwrap();
        for _ in 0..2 {
            context(&target, &binary).unwrap();
            assert_eq!(files::read(target.join("Dockerfile")).unwrap(), DOCKERFILE);
            let copy = target.join(PROGRAM);
            assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o755);
            assert_eq!(std::fs::read(copy).unwrap(), program(&[1]));
        }
        files::put(&binary, &program(&[PT_INTERP]), 0o755).unwrap();
        let error = context(&target, &binary).unwrap_err().to_string();
        assert!(error.contains("is not a static program"), "{error}");
        assert!(context(&target, &directory.path().join("none")).is_err());
    }
}
