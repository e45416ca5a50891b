//! Archives of images: an OCI image layout in a tar stream (OCI image specification, image-layout.md), with the
//! `manifest.json` that makes `docker load` read it too.

mod load;
mod spool;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use serde_json::json;
use tar::{EntryType, Header};

use crate::Store;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::images::Image;
use crate::kept::{self, KeptBlob};
use crate::layer::Layer;
use crate::layer::record::by_id;
use crate::oci::config::ImageConfig;
use crate::oci::manifest::{self, BlobRef, Compression, Document, LayerRef, Manifest};
use crate::oci::platform::Target;
use crate::reference::Reference;

pub use load::{Observer, Phase, Progress};

/// An image to be saved, and the names that it gets in the archive.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The image.
    pub image: Arc<Image>,
    /// Its names; none for an image that is saved by its ID.
    pub names: Vec<Reference>,
}

/// What an archive says of one image.
struct Member {
    saved: Saved,
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: Vec<Part>,
    platform: Target,
}

/// A layer, in the form in which it goes into an archive.
enum Part {
    /// Its uncompressed tar, made again.
    Tar(Layer),
    /// The blob that a registry gave.
    Kept(KeptBlob),
}

impl Part {
    fn blob(&self) -> BlobRef {
        match self {
            Self::Tar(layer) => BlobRef { digest: layer.diff_id, size_bytes: layer.tar_size_bytes },
            Self::Kept(kept) => kept.blob,
        }
    }
}

impl Store {
    /// Writes an archive of images. Layers are uncompressed, so that the archive is written as fast as they are read. An
    /// image of which every blob was kept goes out with the manifest and the blobs that the registry gave.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a layer is not what its digest says; the archive is worthless then.
    pub fn save(&self, images: &[Saved], output: impl Write) -> Result<()> {
        let lease = self.lease();
        let members = images.iter().map(|saved| self.member(saved, &lease)).collect::<Result<Vec<_>>>()?;
        let mut archive = Archive { output, written: BTreeSet::new() };
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.directory("blobs/")?;
        archive.directory("blobs/sha256/")?;
        for member in &members {
            archive.blob(&Digest::of(&member.config), &member.config)?;
            archive.blob(&Digest::of(&member.manifest), &member.manifest)?;
            for layer in &member.layers {
                self.save_layer(layer, &mut archive)?;
            }
        }
        archive.file("index.json", index(&members).to_string().as_bytes())?;
        archive.file("manifest.json", docker_manifest(&members).to_string().as_bytes())?;
        archive.finish()
    }

    fn member(&self, saved: &Saved, lease: &crate::Lease) -> Result<Member> {
        let image = &saved.image;
        let config = self.blob(&image.id)?.ok_or_else(|| Error::not_found("blob", image.id))?;
        let ids = image.chain.map_or_else(|| Ok(Vec::new()), |chain| self.chain_layers(&chain))?;
        let layers: Vec<Layer> = self.meta.read("read layers", |connection| {
            ids.iter().map(|id| by_id(connection, id.0).inspect(|layer| lease.hold(layer.id.0))).collect()
        })?;
        let (manifest, layers) = match self.original(image, &layers, lease)? {
            Some(original) => original,
            None => {
                let config = BlobRef { digest: image.id, size_bytes: config.len() as u64 };
                let parts: Vec<Part> = layers.into_iter().map(Part::Tar).collect();
                (Manifest { config, layers: parts.iter().map(uncompressed).collect() }.to_json()?, parts)
            }
        };
        let parsed = ImageConfig::parse(&config)?;
        let platform = Target { os: parsed.os, architecture: parsed.architecture, variant: parsed.variant };
        Ok(Member { saved: saved.clone(), manifest, config, layers, platform })
    }

    /// Returns the manifest that a registry gave, and the blobs that it names, if all of them are kept.
    fn original(
        &self,
        image: &Image,
        layers: &[Layer],
        lease: &crate::Lease,
    ) -> Result<Option<(Vec<u8>, Vec<Part>)>> {
        let Some(bytes) = self.blob(&image.manifest)? else { return Ok(None) };
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else { return Ok(None) };
        if manifest.config.digest != image.id || manifest.layers.len() != layers.len() {
            return Ok(None);
        }
        let found = self.meta.read("find kept blobs", |connection| {
            let pairs = manifest.layers.iter().zip(layers);
            pairs
                .map(|(wanted, layer)| {
                    let found = kept::by_digest(connection, &wanted.blob.digest)?;
                    let Some(found) = found.filter(|found| found.blob == wanted.blob) else {
                        return Ok(None);
                    };
                    lease.hold(found.layer.0);
                    let is_it = by_id(connection, found.layer.0)?.diff_id == layer.diff_id;
                    Ok(is_it.then_some(found))
                })
                .collect::<rusqlite::Result<Option<Vec<_>>>>()
        })?;
        let whole = found.filter(|found| found.iter().all(|kept| self.is_kept_whole(kept)));
        Ok(whole.map(|kept| (bytes, kept.into_iter().map(Part::Kept).collect())))
    }

    fn save_layer(&self, layer: &Part, archive: &mut Archive<impl Write>) -> Result<()> {
        let BlobRef { digest, size_bytes } = layer.blob();
        if !archive.start_blob(&digest, size_bytes)? {
            return Ok(());
        }
        match layer {
            Part::Tar(layer) => self.write_tar(layer, &mut archive.output)?,
            Part::Kept(kept) => self.write_kept(kept, &mut archive.output)?,
        }
        archive.pad(size_bytes)
    }
}

fn uncompressed(layer: &Part) -> LayerRef {
    LayerRef { blob: layer.blob(), compression: Compression::None }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn index(members: &[Member]) -> serde_json::Value {
    let descriptor = |member: &Member, annotations: BTreeMap<&str, String>| {
        let mut platform = json!({ "architecture": member.platform.architecture, "os": member.platform.os });
        if !member.platform.variant.is_empty() {
            platform["variant"] = json!(member.platform.variant);
        }
        let mut descriptor = json!({
            "mediaType": manifest::media_type(&member.manifest),
            "digest": Digest::of(&member.manifest),
            "size": member.manifest.len(),
            "platform": platform,
        });
        if !annotations.is_empty() {
            descriptor["annotations"] = json!(annotations);
        }
        descriptor
    };
    let mut manifests = Vec::new();
    for member in members {
        for name in &member.saved.names {
            let annotations = BTreeMap::from([
                ("io.containerd.image.name", name.to_string()),
                ("org.opencontainers.image.ref.name", name.tag().unwrap_or_default().to_owned()),
            ]);
            manifests.push(descriptor(member, annotations));
        }
        if member.saved.names.is_empty() {
            manifests.push(descriptor(member, BTreeMap::new()));
        }
    }
    json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests })
}

fn docker_manifest(members: &[Member]) -> serde_json::Value {
    let entry = |member: &Member| {
        json!({
            "Config": blob_path(&member.saved.image.id),
            "RepoTags": member.saved.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": member.layers.iter().map(|layer| blob_path(&layer.blob().digest)).collect::<Vec<_>>(),
        })
    };
    members.iter().map(entry).collect()
}

/// A tar that is written member by member.
struct Archive<W> {
    output: W,
    /// Blobs that are in it: images share layers.
    written: BTreeSet<Digest>,
}

impl<W: Write> Archive<W> {
    fn header(&mut self, path: &str, kind: EntryType, size: u64) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(path).at("name a member", path)?;
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        self.output.write_all(header.as_bytes()).at("write", "archive")
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        self.header(path, EntryType::Directory, 0)
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.header(path, EntryType::Regular, bytes.len() as u64)?;
        self.output.write_all(bytes).at("write", "archive")?;
        self.pad(bytes.len() as u64)
    }

    fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        if self.written.insert(*digest) { self.file(&blob_path(digest), bytes) } else { Ok(()) }
    }

    /// Writes a blob's header; tells whether its bytes must follow, or are there already.
    fn start_blob(&mut self, digest: &Digest, size: u64) -> Result<bool> {
        if !self.written.insert(*digest) {
            return Ok(false);
        }
        self.header(&blob_path(digest), EntryType::Regular, size)?;
        Ok(true)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or(0);
        self.output.write_all(&[0; 512][..padding]).at("write", "archive")
    }

    fn finish(mut self) -> Result<()> {
        self.output.write_all(&[0; 1024]).at("write", "archive")?;
        self.output.flush().at("write", "archive")
    }
}

#[cfg(test)]
mod tests;
