//! Files of an image as a container would see them, without a mount: layers, whiteouts and links are followed here.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};

use super::entry::{EntryPath, MAX_PATH_BYTES, shown};
use super::lower::look;
use crate::Store;
use crate::error::{Error, IoContext, Result};
use crate::images::Image;

/// As many links are followed on the way to a file as Linux follows.
const MAX_LINKS: usize = 40;
/// So many components may be walked through, those of links included.
const MAX_STEPS: usize = 256;

const PATH: &str = "path";

/// A regular file of an image, open for reading.
#[derive(Debug)]
pub struct ImageFile {
    /// Its content. It stays readable when the image is removed.
    pub file: File,
    /// Its permissions, with the set-id bits.
    pub mode: u32,
    /// Its length.
    pub size_bytes: u64,
}

impl Store {
    /// Opens a regular file of an image's merged root filesystem. Links lead where they would lead inside a container:
    /// absolute ones begin at the image's root, and `..` stays there.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nothing shows at this path; [`Error::Invalid`] if it is no regular file, or for a path that
    /// is too long, has too many components or leads through too many links.
    pub fn open_file(&self, image: &Image, path: &str) -> Result<ImageFile> {
        let not_found =
            || Error::not_found("file", format!("{} of image {}", shown(path.as_bytes()), image.id));
        let lease = self.lease();
        let Some(chain) = image.chain else { return Err(not_found()) };
        let layers: Vec<_> = self.hold_chain(&chain, &lease)?.iter().map(|layer| layer.id).collect();
        open(&self.lower_dirs(&layers), path)?.ok_or_else(not_found)
    }
}

/// Opens what shows at a path, in trees given top first.
fn open(trees: &[PathBuf], path: &str) -> Result<Option<ImageFile>> {
    let invalid = |problem: &str| Error::invalid(PATH, shown(path.as_bytes()), problem);
    if path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(invalid("it is longer than a path may be, or contains a NUL byte"));
    }
    let mut ahead: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
    // A path that ends in a slash or in `.` means a directory.
    let wants_directory = path.ends_with('/') || path.ends_with("/.");
    let (mut here, mut links, mut steps) = (EntryPath::parse(b"")?, 0, 0);
    while let Some(name) = ahead.pop_front() {
        steps += 1;
        if steps > MAX_STEPS {
            return Err(invalid("it leads through too many directories"));
        }
        if name == b".." {
            here = here.split().0;
            continue;
        }
        let next = here.join(&name);
        let Some(seen) = look(trees, &next)? else { return Ok(None) };
        match FileType::from_raw_mode(seen.stat.st_mode) {
            FileType::Directory => here = next,
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(invalid("it leads through too many links"));
                }
                let target = readlinkat(&seen.parent, &seen.name[..], Vec::new())
                    .at("read the link", next.display())?
                    .into_bytes();
                if target.first() == Some(&b'/') {
                    here = EntryPath::parse(b"")?;
                }
                for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(component);
                }
            }
            FileType::RegularFile if ahead.is_empty() && !wants_directory => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = openat(&seen.parent, &seen.name[..], flags, Mode::empty());
                let file = File::from(file.at("open", next.display())?);
                return checked(file, &next).map(Some);
            }
            _ if ahead.is_empty() => return Err(invalid("it is not a regular file")),
            _ => return Ok(None),
        }
    }
    Err(invalid("it is not a regular file"))
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.map(<[u8]>::to_vec)
}

fn checked(file: File, path: &EntryPath) -> Result<ImageFile> {
    let stat = fstat(&file).at("inspect", path.display())?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::invalid(PATH, path.display(), "it is not a regular file"));
    }
    Ok(ImageFile { file, mode: stat.st_mode & 0o7777, size_bytes: stat.st_size.cast_unsigned() })
}
