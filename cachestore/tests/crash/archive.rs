//! Archives of images, as any program may write them.

use cachestore::Digest;
use cachestore::oci::config::{ImageConfig, RootFs};
use cachestore::oci::manifest::{BlobRef, Compression, LayerRef, Manifest};

use crate::fixture::{Tar, upper_tar};

/// Returns an image layout in a tar: an image of two layers, the second of which leaves directories out.
pub(crate) fn archive(names: &[&str]) -> Vec<u8> {
    let layers = [Tar::default().file("lower", b"of the archive").end(), upper_tar()];
    let blob = |bytes: &[u8]| BlobRef { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 };
    let rootfs = RootFs { diff_ids: layers.iter().map(|tar| Digest::of(tar)).collect(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().expect("a configuration");
    let layer_refs = layers.iter().map(|tar| LayerRef { blob: blob(tar), compression: Compression::None });
    let manifest = Manifest { config: blob(&config), layers: layer_refs.collect() };
    let manifest = manifest.to_json().expect("a manifest");
    let descriptors: Vec<_> = names
        .iter()
        .map(|name| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"annotations":{{"io.containerd.image.name":"{name}"}}}}"#,
                Digest::of(&manifest),
                manifest.len(),
            )
        })
        .collect();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptors.join(","));
    let mut tar = Tar::default().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for blob in layers.iter().chain([&config, &manifest]) {
        tar = tar.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    tar.file("index.json", index.as_bytes()).end()
}
