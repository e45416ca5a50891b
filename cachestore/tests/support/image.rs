//! Images of layers that are there.

use std::sync::Arc;

use cachestore::images::{Name, NewImage, Origin};
use cachestore::layer::LayerId;
use cachestore::oci::config::{ImageConfig, RootFs};
use cachestore::oci::manifest::{BlobRef, Compression, LayerRef, Manifest};
use cachestore::{Digest, Image, Lease, Store};

/// Records an image of these layers, bottom first, under these names.
pub(crate) fn put_image(
    store: &Store,
    lease: &Lease,
    layers: &[(LayerId, Digest)],
    names: &[&str],
) -> Arc<Image> {
    let diff_ids: Vec<Digest> = layers.iter().map(|(_, diff_id)| *diff_id).collect();
    let layer = |digest: &Digest| LayerRef {
        blob: BlobRef { digest: *digest, size_bytes: 1 },
        compression: Compression::None,
    };
    let layer_refs = diff_ids.iter().map(layer).collect();
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let config =
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), rootfs, ..Default::default() };
    let config = config.to_json().expect("a configuration");
    let blob = BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 };
    let manifest = Manifest { config: blob, layers: layer_refs }.to_json().expect("a manifest");
    let repository = format!("registry.test/image@{}", Digest::of(&manifest));
    let new = NewImage {
        config: &config,
        manifest: &manifest,
        layers: &layers.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        origin: Origin::Pulled,
        names: &names
            .iter()
            .map(|name| Name { reference: name.parse().expect("a name"), local: false })
            .collect::<Vec<_>>(),
        repo_digests: &[repository.parse().expect("a name with a digest")],
    };
    store.put_image(&new, lease).expect("the image is recorded")
}
