//! Manifests and indexes, parsed from hostile bytes into values that hold what the store needs.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

use super::{MAX_DOCUMENT_BYTES, MAX_LAYERS};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Media types of manifests that a registry is asked for, in the order of preference.
pub const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const OCI_INDEX: &str = ACCEPTED[0];
const DOCKER_LIST: &str = ACCEPTED[1];
/// The media type of manifests that this crate writes.
pub const OCI_MANIFEST: &str = ACCEPTED[2];
const DOCKER_MANIFEST: &str = ACCEPTED[3];
/// The media type of configurations that this crate refers to.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a name in a registry stands for.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One image per platform.
    Index(Box<ImageIndex>),
}

/// One image: a configuration and its layers, bottom first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The configuration; its digest is the image ID.
    pub config: BlobRef,
    /// The layers, each in the form in which the registry has it.
    pub layers: Vec<LayerRef>,
}

/// A blob by digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// The digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// A layer blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerRef {
    /// Digest and size of the blob as it is transferred.
    pub blob: BlobRef,
    /// How the tar is packed in it.
    pub compression: Compression,
}

/// How a layer's tar is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, several members allowed.
    Gzip,
    /// RFC 8878, several frames allowed.
    Zstd,
}

/// What both schemas of manifests have, to tell them apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<serde_json::Value>,
}

impl Document {
    /// Parses a document; `media_type` is what the registry or the descriptor called it, if they did.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is neither; [`Error::Unsupported`] for schema 1, artifacts and unknown layer types.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self> {
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(invalid(format!("it is larger than {MAX_DOCUMENT_BYTES} bytes")));
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(invalid)?;
        if probe.schema_version != 2 {
            return Err(Error::Unsupported {
                subject: "image manifest".into(),
                problem: format!("schema version {}, only version 2 is in use today", probe.schema_version),
            });
        }
        // A document that is both would mean different images to different readers (CVE-2021-41190).
        if probe.manifests.is_some() && probe.layers.is_some() {
            return Err(invalid("it has both manifests and layers"));
        }
        let kind = probe.media_type.as_deref().or(media_type);
        match (kind, probe.manifests.is_some()) {
            (Some(OCI_INDEX | DOCKER_LIST), true) | (None, true) => {
                Ok(Self::Index(Box::new(serde_json::from_slice(bytes).map_err(invalid)?)))
            }
            (Some(OCI_MANIFEST | DOCKER_MANIFEST) | None, false) => {
                Ok(Self::Manifest(Manifest::from_oci(&serde_json::from_slice(bytes).map_err(invalid)?)?))
            }
            (Some(other), _) => Err(invalid(format!("its media type {other} does not fit its content"))),
        }
    }
}

/// Returns the media type by which a manifest calls itself; OCI's, which may be left out, if it says nothing.
pub fn media_type(manifest: &[u8]) -> String {
    let probe = serde_json::from_slice::<Probe>(manifest).ok();
    probe.and_then(|probe| probe.media_type).unwrap_or_else(|| OCI_MANIFEST.to_owned())
}

impl Manifest {
    fn from_oci(manifest: &ImageManifest) -> Result<Self> {
        let config_type = manifest.config().media_type().to_string();
        if config_type != OCI_CONFIG && config_type != DOCKER_CONFIG {
            return Err(Error::Unsupported {
                subject: "image manifest".into(),
                problem: format!("it is an artifact ({config_type}), not a container image"),
            });
        }
        if manifest.layers().len() > MAX_LAYERS {
            return Err(invalid(format!("it has more than {MAX_LAYERS} layers")));
        }
        let layers = manifest.layers().iter().map(LayerRef::from_oci).collect::<Result<_>>()?;
        Ok(Self { config: BlobRef::from_oci(manifest.config())?, layers })
    }

    /// Returns the document for a local image whose layers are uncompressed tars.
    ///
    /// # Errors
    /// None in practice; serialisation of these types cannot fail.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let descriptor = |media_type: &str, blob: &BlobRef| serde_json::json!({ "mediaType": media_type, "digest": blob.digest, "size": blob.size_bytes });
        let layers: Vec<_> =
            self.layers.iter().map(|layer| descriptor(layer.compression.media_type(), &layer.blob)).collect();
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &self.config),
            "layers": layers,
        });
        serde_json::to_vec(&document).map_err(invalid)
    }
}

impl BlobRef {
    /// Reads digest and size of a descriptor.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that is not SHA-256.
    pub fn from_oci(descriptor: &Descriptor) -> Result<Self> {
        Ok(Self { digest: descriptor.digest().to_string().parse()?, size_bytes: descriptor.size() })
    }
}

impl LayerRef {
    fn from_oci(descriptor: &Descriptor) -> Result<Self> {
        let compression = Compression::of(descriptor.media_type())?;
        Ok(Self { blob: BlobRef::from_oci(descriptor)?, compression })
    }
}

impl Compression {
    fn of(media_type: &MediaType) -> Result<Self> {
        match media_type {
            MediaType::ImageLayer | MediaType::ImageLayerNonDistributable => Ok(Self::None),
            MediaType::ImageLayerGzip | MediaType::ImageLayerNonDistributableGzip => Ok(Self::Gzip),
            MediaType::ImageLayerZstd | MediaType::ImageLayerNonDistributableZstd => Ok(Self::Zstd),
            other => match other.to_string().as_str() {
                "application/vnd.docker.image.rootfs.diff.tar" => Ok(Self::None),
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
                | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => Ok(Self::Gzip),
                "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Self::Zstd),
                unknown => Err(Error::Unsupported {
                    subject: "image layer".into(),
                    problem: format!("its media type {unknown} is not a tar archive that can be unpacked"),
                }),
            },
        }
    }

    /// Returns the OCI media type of a layer in this form.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

fn invalid(problem: impl ToString) -> Error {
    Error::invalid("image manifest", "", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(compression: Compression) -> Manifest {
        let blob = |bytes: &[u8]| BlobRef { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 };
        Manifest { config: blob(b"{}"), layers: vec![LayerRef { blob: blob(b"tar"), compression }] }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let manifest = sample(compression);
            let bytes = manifest.to_json().unwrap();
            match Document::parse(&bytes, None).unwrap() {
                Document::Manifest(read) => assert_eq!(read, manifest),
                Document::Index(_) => panic!("an index"),
            }
        }
    }

    #[test]
    fn dockers_own_media_types_are_understood() {
        let text = String::from_utf8(sample(Compression::Gzip).to_json().unwrap()).unwrap();
        let docker = text
            .replace("vnd.oci.image.manifest.v1+json", "vnd.docker.distribution.manifest.v2+json")
            .replace("vnd.oci.image.config.v1+json", "vnd.docker.container.image.v1+json")
            .replace("vnd.oci.image.layer.v1.tar+gzip", "vnd.docker.image.rootfs.diff.tar.gzip");
        assert!(
            matches!(Document::parse(docker.as_bytes(), None), Ok(Document::Manifest(m)) if m == sample(Compression::Gzip))
        );
    }

    #[test]
    fn hostile_documents_are_refused() {
        let digest = Digest::of(b"");
        let config = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":2}}"#);
        let layer = format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":2}}"#);
        let many =
            vec![layer.replace(OCI_MANIFEST, Compression::None.media_type()); MAX_LAYERS + 1].join(",");
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"schemaVersion":1,"name":"x"}"#,
            &format!(r#"{{"schemaVersion":2,"manifests":[],"layers":[],"config":{config}}}"#),
            &format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","layers":[],"config":{config}}}"#),
            &format!(r#"{{"schemaVersion":2,"layers":[{layer}],"config":{config}}}"#),
            &format!(r#"{{"schemaVersion":2,"layers":[],"config":{layer}}}"#),
            &format!(r#"{{"schemaVersion":2,"layers":[{many}],"config":{config}}}"#),
            &format!(
                r#"{{"schemaVersion":2,"layers":[],"config":{}}}"#,
                config.replace("\"size\":2", "\"size\":-2")
            ),
            &format!(
                r#"{{"schemaVersion":2,"layers":[],"config":{}}}"#,
                config.replace("sha256:e3", "sha256:../")
            ),
            &" ".repeat(usize::try_from(MAX_DOCUMENT_BYTES).unwrap() + 1),
        ] {
            assert!(Document::parse(bad.as_bytes(), None).is_err(), "{}", &bad[..bad.len().min(100)]);
        }
    }
}
