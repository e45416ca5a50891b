//! Compares the tree of an unpacked layer with its tar: what [`super::unpack`] makes of an archive is worked out in memory,
//! and then looked for.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use super::entry::{Entry, EntryPath, Kind};
use super::found::{Found, Tree};
use super::stream::Members;
use super::whiteout::{self, Meaning};
use crate::error::Result;

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// What is expected under a name.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) what: What,
    /// Names of one file have one number.
    file: u64,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// A directory; no entry, if the archive does not contain it.
    Directory {
        entry: Option<Entry>,
        opaque: bool,
    },
    Whiteout,
    /// Anything else.
    Other(Entry),
}

/// What an archive says, up to some entry.
#[derive(Debug, Default)]
struct Expected {
    nodes: BTreeMap<EntryPath, Node>,
    files: u64,
}

/// Passes on in what a layer's tree differs from a tar from which it was unpacked.
pub(super) fn compare(layer: &Path, tar: impl Read, differs: &mut dyn FnMut(String)) -> Result<()> {
    let mut expected = Expected::default();
    expected.put(EntryPath::parse(b"")?, What::Directory { entry: None, opaque: false });
    let mut members = Members::new(tar, None);
    while let Some(entry) = members.next()? {
        if !whiteout::is_ignored(entry.path.as_bytes()) {
            expected.add(entry)?;
        }
    }
    members.finish()?;
    expected.find(layer, differs)
}

impl Expected {
    fn put(&mut self, path: EntryPath, what: What) {
        self.files += 1;
        self.nodes.insert(path, Node { what, file: self.files });
    }

    /// Follows the links of a directory's path. Archives that lead out were refused.
    fn real(&self, directory: &EntryPath) -> Result<EntryPath> {
        let mut left: Vec<Vec<u8>> = components(directory.as_bytes());
        let mut real = EntryPath::parse(b"")?;
        let mut links = 0;
        while let Some(name) = left.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    real = real.split().0;
                    continue;
                }
                _ => {}
            }
            let next = real.join(&name);
            match self.nodes.get(&next).map(|node| &node.what) {
                Some(What::Other(Entry { kind: Kind::Symlink(target), .. })) if links < MAX_LINKS => {
                    links += 1;
                    left.extend(components(target));
                }
                _ => real = next,
            }
        }
        Ok(real)
    }

    /// Returns the real path of an entry, whose directories are there from now on.
    fn locate(&mut self, path: &EntryPath) -> Result<EntryPath> {
        let (directory, name) = path.split();
        let directory = self.real(&directory)?;
        let mut above = EntryPath::parse(b"")?;
        for name in components(directory.as_bytes()).iter().rev() {
            above = above.join(name);
            let opaque = match self.nodes.get(&above).map(|node| &node.what) {
                None => false,
                Some(What::Whiteout) => true,
                Some(_) => continue,
            };
            self.put(above.clone(), What::Directory { entry: None, opaque });
        }
        Ok(directory.join(name))
    }

    fn add(&mut self, mut entry: Entry) -> Result<()> {
        entry.path = self.locate(&entry.path)?;
        let path = entry.path.clone();
        let (directory, name) = path.split();
        match whiteout::meaning(name) {
            Meaning::Plain => {}
            Meaning::Opaque => {
                self.make_opaque(&directory);
                return Ok(());
            }
            Meaning::Removed(name) => {
                self.remove_lower(directory.join(name));
                return Ok(());
            }
        }
        match &entry.kind {
            Kind::Directory => self.directory(path, entry),
            Kind::Hardlink(target) => {
                let (directory, name) = target.split();
                let target = self.real(&directory)?.join(name);
                if let Some(node) = self.nodes.get(&target).filter(|_| target != path).cloned() {
                    self.forget(&path);
                    self.nodes.insert(path, node);
                }
            }
            _ => {
                self.forget(&path);
                self.put(path, What::Other(entry));
            }
        }
        Ok(())
    }

    fn make_opaque(&mut self, directory: &EntryPath) {
        if let Some(Node { what: What::Directory { opaque, .. }, .. }) = self.nodes.get_mut(directory) {
            *opaque = true;
        }
    }

    fn remove_lower(&mut self, path: EntryPath) {
        match self.nodes.contains_key(&path) {
            true => self.make_opaque(&path),
            false => self.put(path, What::Whiteout),
        }
    }

    /// An entry changes a directory that is there; attributes that it does not name stay.
    fn directory(&mut self, path: EntryPath, mut entry: Entry) {
        let opaque = match self.nodes.get(&path).map(|node| &node.what) {
            Some(What::Directory { entry: before, opaque }) => {
                for (name, value) in before.iter().flat_map(|before| &before.xattrs) {
                    entry.xattrs.entry(name.clone()).or_insert_with(|| value.clone());
                }
                *opaque
            }
            Some(What::Whiteout) => true,
            _ => false,
        };
        self.put(path, What::Directory { entry: Some(entry), opaque });
    }

    fn forget(&mut self, path: &EntryPath) {
        self.nodes.remove(path);
        let inside = path.join(b"");
        while let Some((found, _)) = self.nodes.range(&inside..).next()
            && found.below(path.as_bytes()).is_some()
        {
            let found = found.clone();
            self.nodes.remove(&found);
        }
    }

    fn find(&self, layer: &Path, differs: &mut dyn FnMut(String)) -> Result<()> {
        let tree = Tree::open(layer)?;
        let mut inodes = HashMap::new();
        for (path, node) in &self.nodes {
            let found = tree.find(path)?;
            let inode = found.as_ref().map(Found::inode);
            let problems = match inodes.get(&node.file) {
                // Another name of a file that was looked at.
                Some(_) if inode.is_none() => vec!["is missing"],
                Some(first) if *first == inode => Vec::new(),
                Some(_) => vec!["is not linked to its other names"],
                None => Found::problems(found, &node.what)?,
            };
            inodes.entry(node.file).or_insert(inode);
            for problem in problems {
                differs(format!("{} {problem}", shown(path)));
            }
            if matches!(node.what, What::Directory { .. }) {
                for name in tree.names(path)? {
                    let child = path.join(&name);
                    if !self.nodes.contains_key(&child) {
                        differs(format!("{} is not in the tar", shown(&child)));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the components of a path, the last one first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').rev().filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

fn shown(path: &EntryPath) -> String {
    if path.is_root() { "/".to_owned() } else { path.display() }
}
