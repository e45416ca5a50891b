//! An entry of the cache becomes images of the store, and the node's programs come out of the store again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ring::digest;

use crate::component::Report;
use crate::component::cache::Entry;
use crate::component::installed::{Installed, PROGRAM_MODE, Program};
use crate::component::known::{Known, node_image};
use crate::component::manifest::{self, Context, hex};
use crate::component::source::Source;
use crate::component::store::{Store, refused};
use crate::error::{Error, IoContext, Result};
use crate::node::Node;
use crate::{fault, files};

/// Where the node's programs are in their image.
const PROGRAMS: &str = "usr/bin";
/// The programs that run on the node itself.
pub(crate) const NODE_PROGRAMS: [&str; 4] = ["crictl", "kubeadm", "kubectl", "kubelet"];

/// Builds the images of an entry, and places the node's programs.
pub(crate) async fn entry(
    node: &Node,
    entry: &Entry,
    known: &Known,
    report: Report<'_>,
) -> Result<Installed> {
    let store = Store::connect(node).await?;
    let mut installed = Installed::new(Source::Build, known.version, entry.key());
    installed.programs = programs(entry)?;
    let name = node_image(known.version);
    let (own, others): (Vec<&Context>, Vec<&Context>) =
        entry.manifest.images.iter().partition(|image| image.name == name);
    let work =
        Work { store: &store, entry, images: [own, others].concat(), next: AtomicUsize::new(0), report };
    // Two at a time: it is mostly copying. What has the node's programs comes first, as there is more to do with it.
    let node_first = async {
        let first = work.build_next().await?;
        fault::point("the image of the node's programs is built");
        place(node, &store, &name, &installed.programs, report).await?;
        let mut built = work.build_rest().await?;
        built.extend(first);
        Ok(built)
    };
    let (one, other) = futures::try_join!(node_first, work.build_rest())?;
    installed.images = one.into_iter().chain(other).collect();
    fault::point("images of components are built");
    for (source, name) in known.aliases() {
        let id = store.tag(source, &name).await?;
        installed.images.insert(name, id);
    }
    Ok(installed)
}

fn programs(entry: &Entry) -> Result<BTreeMap<String, Program>> {
    let mut programs = BTreeMap::new();
    for name in NODE_PROGRAMS {
        let (size_bytes, sha256) = entry.manifest.sha256(&format!("bin/{name}")).ok_or_else(|| {
            Error::invalid(entry.directory.display().to_string(), format!("has no program {name}"))
        })?;
        programs.insert(name.to_owned(), Program { size_bytes, sha256: sha256.to_owned() });
    }
    Ok(programs)
}

/// Images that are to be built, each by the first who is free.
struct Work<'a> {
    store: &'a Store,
    entry: &'a Entry,
    images: Vec<&'a Context>,
    next: AtomicUsize,
    report: Report<'a>,
}

impl Work<'_> {
    /// Builds the next image that nobody builds yet, and returns its name and ID.
    async fn build_next(&self) -> Result<Option<(String, String)>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(image) = self.images.get(number) else { return Ok(None) };
        (self.report)(format!(
            "copying {} into the store, {} of {}",
            image.name,
            number + 1,
            self.images.len()
        ));
        let directory = &self.entry.directory;
        let (context, dockerfile) = (directory.join(&image.context), directory.join(&image.dockerfile));
        let id = self.store.build(&image.name, &context, &dockerfile).await?;
        Ok(Some((image.name.clone(), id)))
    }

    async fn build_rest(&self) -> Result<Vec<(String, String)>> {
        let mut built = Vec::new();
        while let Some(image) = self.build_next().await? {
            built.push(image);
        }
        Ok(built)
    }
}

/// Extracts the node's programs from their image into the instance's directory of programs, which the box shows in `/usr/bin`.
pub(crate) async fn place(
    node: &Node,
    store: &Store,
    image: &str,
    programs: &BTreeMap<String, Program>,
    report: Report<'_>,
) -> Result<()> {
    let directory = node.paths.bin();
    files::ensure_directory(&directory, 0o755)?;
    for (name, program) in programs {
        let path = directory.join(name);
        if is_in_place(&path, program)? {
            continue;
        }
        report(format!("extracting {name} from {image}"));
        extract(store, image, &path, program).await?;
        fault::point("a program of the node is in place");
    }
    Ok(())
}

pub(super) fn is_in_place(path: &Path, program: &Program) -> Result<bool> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(false) };
    let mode = metadata.permissions().mode() & 0o7777;
    let is_alike = metadata.is_file() && metadata.len() == program.size_bytes && mode == PROGRAM_MODE;
    Ok(is_alike && manifest::hash(path)? == program.sha256)
}

/// Creates the file of a program under the name that it has until it is whole; what an earlier attempt left goes.
pub(super) fn create(temporary: &Path) -> Result<File> {
    files::remove(temporary)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PROGRAM_MODE).open(temporary).at("create", temporary)
}

/// Writes a program under another name, and gives it its own when it is whole, right and on disk.
async fn extract(store: &Store, image: &str, path: &Path, program: &Program) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let mut file = create(&temporary)?;
    let asked = format!("read {PROGRAMS}/{name} of {image}");
    let mut chunks = store.open(image, &format!("{PROGRAMS}/{name}")).await?;
    let (mut hash, mut size_bytes) = (digest::Context::new(&digest::SHA256), 0);
    while let Some(chunk) = chunks.message().await.map_err(|status| refused(&asked, &status))? {
        size_bytes += chunk.data.len() as u64;
        if size_bytes > program.size_bytes {
            break;
        }
        hash.update(&chunk.data);
        file.write_all(&chunk.data).at("write", &temporary)?;
    }
    let sha256 = hex(hash.finish().as_ref());
    if size_bytes != program.size_bytes || sha256 != program.sha256 {
        files::remove(&temporary)?;
        let problem = format!("is {sha256}, not {}, as it should be", program.sha256);
        return Err(Error::invalid(format!("{name} of {image}"), problem));
    }
    finish(&file, &temporary, path)
}

/// Gives a program its name, with the permissions of programs, once it is on disk.
pub(super) fn finish(file: &File, temporary: &Path, path: &Path) -> Result<()> {
    // Whatever the umask says.
    let permissions = std::fs::Permissions::from_mode(PROGRAM_MODE);
    file.set_permissions(permissions).and_then(|()| file.sync_all()).at("write", temporary)?;
    fault::point("a program of the node is written and not named");
    files::rename(temporary, path)
}
