//! Loading: what [`Store::save`](crate::Store::save) and others wrote comes back into a store.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use oci_spec::image::Descriptor;

use super::spool::{Spool, invalid};
use crate::Store;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::images::{Image, Name, NewImage, Origin};
use crate::layer::LayerId;
use crate::leases::Lease;
use crate::oci::chain;
use crate::oci::config::ImageConfig;
use crate::oci::manifest::{BlobRef, Document, LayerRef};
use crate::oci::platform::Target;
use crate::reference::Reference;

/// So many images may an index name.
const MAX_IMAGES: usize = 1000;
/// The annotations of names: containerd's has the whole name, OCI's a whole one or only a tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
const OCI_NAME: &str = "org.opencontainers.image.ref.name";

/// Receives what happens to each blob. Must be quick.
pub type Observer<'a> = dyn Fn(Progress) + 'a;

/// What is happening to a blob of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is read, and checked.
    Reading,
    /// It is a layer, and is unpacked.
    Unpacking,
    /// It is a layer, and is in the store.
    Done,
    /// It is a layer that the store had.
    Exists,
}

/// An event in the life of a blob of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its digest.
    pub digest: Digest,
    /// What is happening.
    pub phase: Phase,
    /// Bytes of it that have been read.
    pub current_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
}

/// An image of an archive, all of whose blobs are there.
struct Plan {
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: Vec<(LayerRef, Digest)>,
    names: Vec<Reference>,
}

impl Store {
    /// Loads every image of an OCI image layout in a tar stream. Nothing is changed before the whole archive has been read
    /// and checked; then each image is recorded as a whole, one after the other. Their names count as given here.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an archive that is cut off, changed, too large in its parts, or cannot be unpacked safely,
    /// naming the part. Images before it stay.
    ///
    /// # Durability
    /// As for [`Store::put_image`]. A load that was killed can be repeated.
    pub fn load(&self, archive: impl Read, observer: &Observer<'_>) -> Result<Vec<Arc<Image>>> {
        let spool = Spool::read(self, archive, observer)?;
        let plans = plans(&spool)?;
        plans.iter().map(|plan| self.load_image(plan, &spool, observer)).collect()
    }

    fn load_image(&self, plan: &Plan, spool: &Spool, observer: &Observer<'_>) -> Result<Arc<Image>> {
        let lease = self.lease();
        let diff_ids: Vec<Digest> = plan.layers.iter().map(|(_, diff_id)| *diff_id).collect();
        let mut layers = self.longest_present(&diff_ids, &lease)?;
        let observe = |layer: &LayerRef, phase, current_bytes| {
            let BlobRef { digest, size_bytes: total_bytes } = layer.blob;
            observer(Progress { digest, phase, current_bytes, total_bytes });
        };
        for (number, (layer, diff_id)) in plan.layers.iter().enumerate() {
            let size = layer.blob.size_bytes;
            if number < layers.len() {
                observe(layer, Phase::Exists, size);
                continue;
            }
            if let Some(found) = self.layer_by_diff_id(*diff_id, Some(&layers), &lease)? {
                observe(layer, Phase::Exists, size);
                layers.push(found.id);
                continue;
            }
            observe(layer, Phase::Unpacking, size);
            let blob = spool.open(&layer.blob.digest)?;
            let unpacked = self.unpack(blob, layer.compression, *diff_id).map_err(|error| match error {
                // The store is well: it is the archive whose parts do not fit together.
                Error::Corrupt { problem, .. } => invalid(layer.blob.digest, problem),
                error => error,
            })?;
            layers.push(self.commit_unpacked(unpacked, &layers, &lease)?.id);
            observe(layer, Phase::Done, size);
        }
        let names: Vec<Name> =
            plan.names.iter().map(|reference| Name { reference: reference.clone(), local: true }).collect();
        let new = NewImage {
            config: &plan.config,
            manifest: &plan.manifest,
            layers: &layers,
            origin: Origin::Loaded,
            names: &names,
            repo_digests: &[],
        };
        self.put_image(&new, &lease)
    }

    /// Finds the longest part of an image, from the bottom, that some image of the store has too.
    fn longest_present(&self, diff_ids: &[Digest], lease: &Lease) -> Result<Vec<LayerId>> {
        for chain in chain::ids(diff_ids).iter().rev() {
            match self.hold_chain(chain, lease) {
                Ok(layers) => return Ok(layers.iter().map(|layer| layer.id).collect()),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }
}

/// Finds the images of an archive, each once, with all of its names.
fn plans(spool: &Spool) -> Result<Vec<Plan>> {
    let manifests = match Document::parse(&spool.index, None) {
        Ok(Document::Index(index)) => index.manifests().clone(),
        Ok(Document::Manifest(_)) => return Err(invalid("index.json", "it is no index")),
        Err(error) => return Err(invalid("index.json", error)),
    };
    if manifests.len() > MAX_IMAGES {
        return Err(invalid("index.json", format!("it names more than {MAX_IMAGES} images")));
    }
    let mut found: Vec<(Digest, Plan)> = Vec::new();
    let mut given: BTreeMap<Reference, Digest> = BTreeMap::new();
    for descriptor in &manifests {
        let digest = chosen(descriptor, spool)?;
        let name = name(descriptor)?;
        if let Some(name) = &name
            && given.insert(name.clone(), digest).is_some_and(|before| before != digest)
        {
            return Err(invalid(name, "two images of the archive have this name"));
        }
        match found.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, plan)) => plan.names.extend(name.filter(|name| !plan.names.contains(name))),
            None => found.push((digest, plan(&digest, name, spool)?)),
        }
    }
    if found.is_empty() {
        return Err(invalid("index.json", "it names no image"));
    }
    Ok(found.into_iter().map(|(_, plan)| plan).collect())
}

/// Returns the digest of a descriptor's manifest: this machine's, where it describes an index.
fn chosen(descriptor: &Descriptor, spool: &Spool) -> Result<Digest> {
    let blob = described(descriptor, spool)?;
    let about = |error| invalid(blob.digest, error);
    match Document::parse(&spool.document(&blob.digest)?, None).map_err(|error| about(error.to_string()))? {
        Document::Manifest(_) => Ok(blob.digest),
        Document::Index(index) => {
            let target = Target::host();
            let manifest = target.choose(index.manifests());
            let none = || about(format!("this index has no image for {}", target.name()));
            Ok(described(manifest.ok_or_else(none)?, spool)?.digest)
        }
    }
}

/// Reads a descriptor of a blob that must be in the archive.
fn described(descriptor: &Descriptor, spool: &Spool) -> Result<BlobRef> {
    let blob = BlobRef::from_oci(descriptor).map_err(|error| invalid("index.json", error))?;
    check_size(&blob, spool)?;
    Ok(blob)
}

fn check_size(blob: &BlobRef, spool: &Spool) -> Result<()> {
    let found = spool.size_of(&blob.digest)?;
    if found == blob.size_bytes {
        return Ok(());
    }
    Err(invalid(blob.digest, format!("it has {found} bytes, and what names it says {}", blob.size_bytes)))
}

fn name(descriptor: &Descriptor) -> Result<Option<Reference>> {
    let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
    // A tag alone, which is what OCI's may be, names nothing by itself.
    let whole = |name: &&String| name.contains(['/', ':']);
    let Some(text) = annotation(CONTAINERD_NAME).or_else(|| annotation(OCI_NAME).filter(whole)) else {
        return Ok(None);
    };
    let reference: Reference = text.parse().map_err(|error: Error| invalid("index.json", error))?;
    let recorded = reference.record_name();
    Ok(recorded.digest().is_none().then_some(recorded))
}

fn plan(digest: &Digest, name: Option<Reference>, spool: &Spool) -> Result<Plan> {
    let manifest_bytes = spool.document(digest)?;
    let manifest = match Document::parse(&manifest_bytes, None) {
        Ok(Document::Manifest(manifest)) => manifest,
        Ok(Document::Index(_)) => return Err(invalid(digest, "an index within an index")),
        Err(error) => return Err(invalid(digest, error)),
    };
    check_size(&manifest.config, spool)?;
    let id = manifest.config.digest;
    let config = spool.document(&id)?;
    let diff_ids = ImageConfig::parse(&config).map_err(|error| invalid(id, error))?.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, said) = (manifest.layers.len(), diff_ids.len());
        return Err(invalid(
            id,
            format!("the image's manifest has {layers} layers, its configuration {said}"),
        ));
    }
    manifest.layers.iter().try_for_each(|layer| check_size(&layer.blob, spool))?;
    let layers = manifest.layers.into_iter().zip(diff_ids).collect();
    Ok(Plan { config, manifest: manifest_bytes, layers, names: name.into_iter().collect() })
}
