//! The digest of what a `COPY` copies: names, modes, owners and content; no times.

use cachestore::Digest;
use cachestore::digest::Digester;

use super::{Entry, Selection};
use crate::error::Result;
use crate::key::Fields;

/// Computes the digest of a selection; `content` returns the digest of a file's bytes.
pub(crate) fn digest(
    selection: &Selection,
    mut content: impl FnMut(&Selection, &Entry) -> Result<Digest>,
) -> Result<Digest> {
    let mut digester = Digester::new();
    digester.field(&selection.name);
    for entry in &selection.entries {
        digester.field(&entry.path);
        digester.number(entry.mode.into());
        digester.number(entry.owner.0.into());
        digester.number(entry.owner.1.into());
        digester.number(entry.device);
        digester.field(&entry.link);
        digester.number(entry.xattrs.len() as u64);
        for (name, value) in &entry.xattrs {
            digester.field(name);
            digester.field(value);
        }
        match entry.same_as {
            Some(first) => digester.number(first as u64 + 1),
            None => digester.number(0),
        }
        if entry.is_file() && entry.same_as.is_none() {
            digester.field(content(selection, entry)?.as_bytes());
        }
    }
    Ok(digester.finish())
}
