//! Images as tests make them, right or wrong: tars, layers, documents.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use cachestore::Digest;
use cachestore::oci::manifest::{Compression, OCI_CONFIG, OCI_MANIFEST};
use serde_json::{Value, json};

/// A tar that is put together member by member, right or wrong.
#[derive(Clone, Default)]
pub(super) struct Tar(pub(super) Vec<u8>);

impl Tar {
    pub(super) fn member(mut self, kind: u8, name: &str, link: &str, content: &[u8]) -> Self {
        // Without privileges only one's own files can be made.
        let me = std::fs::metadata("/proc/self").unwrap();
        let mut header = [0; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, name.as_bytes());
        put(100, if kind == b'5' { b"0000755\0" } else { b"0000644\0" });
        put(108, format!("{:07o}\0", me.uid()).as_bytes());
        put(116, format!("{:07o}\0", me.gid()).as_bytes());
        put(124, format!("{:011o}\0", content.len()).as_bytes());
        put(136, b"14524677040\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(b'0', name, "", content)
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.member(b'5', name, "", b"")
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Returns bytes that no compressor makes smaller; another seed gives others.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Returns a tar with one file of this many bytes, whose name is `name`, or in it if that is a path.
pub(super) fn tar_of(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    Tar::default().file(name, &noise(seed, length)).end()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer: what its descriptor says, and what it is.
#[derive(Clone)]
pub(super) struct Layer {
    pub(super) media_type: String,
    pub(super) diff_id: Digest,
    pub(super) blob: Vec<u8>,
}

impl Layer {
    /// Makes a layer in the form that most have.
    pub(super) fn gzip(tar: &[u8]) -> Self {
        Self::new(Compression::Gzip.media_type(), tar, gzip(tar))
    }

    /// Makes a layer whose blob is its tar.
    pub(super) fn plain(tar: &[u8]) -> Self {
        Self::new(Compression::None.media_type(), tar, tar)
    }

    pub(super) fn new(media_type: &str, tar: &[u8], blob: impl Into<Vec<u8>>) -> Self {
        Self { media_type: media_type.to_owned(), diff_id: Digest::of(tar), blob: blob.into() }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }
}

/// An image: JSON until it is put on a shelf, so that a test can spoil any part of it.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) config: Value,
    pub(super) manifest: Value,
    pub(super) layers: Vec<Layer>,
}

impl Image {
    pub(super) fn new(layers: &[Layer]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let descriptors: Vec<_> =
            layers.iter().map(|layer| descriptor(&layer.media_type, &layer.blob)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &bytes(&config)), "layers": descriptors,
        });
        Self { config, manifest, layers: layers.to_vec() }
    }

    /// Makes an image of plain layers, each with one file of this name and length.
    pub(super) fn of(files: &[(&str, usize)]) -> Self {
        let layers: Vec<_> =
            files.iter().map(|(name, length)| Layer::plain(&tar_of(name, *length))).collect();
        Self::new(&layers)
    }

    /// Returns the image ID.
    pub(super) fn id(&self) -> Digest {
        Digest::of(&bytes(&self.config))
    }

    /// Returns the manifest's digest.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&bytes(&self.manifest))
    }

    /// Describes the manifest as an index does; without a platform if that is empty.
    pub(super) fn in_index(&self, platform: &str) -> Value {
        let mut entry = descriptor(self.manifest["mediaType"].as_str().unwrap(), &bytes(&self.manifest));
        let mut parts = platform.split('/');
        for name in ["os", "architecture", "variant"] {
            if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
                entry["platform"][name] = part.into();
            }
        }
        entry
    }
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len() })
}

pub(super) fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap()
}
