//! An image factory: layers from lists of entries, configs, manifests and indexes, as blobs in a directory.
//!
//! The same input gives the same bytes, as long as the compression libraries stay the same.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cachestore::digest::{Digest, Digester};
use serde_json::{Value, json};

pub use self::entry::{Content, Entry, Kind, raw_path};
use crate::files;

mod entry;
mod tar;

/// 2023-11-14T22:13:20Z: when everything was made that does not say otherwise.
pub const CREATED: u64 = 1_700_000_000;
const CREATED_TEXT: &str = "2023-11-14T22:13:20Z";

/// A directory of blobs, each a file whose name is its digest's hexadecimal digits.
#[derive(Debug, Clone)]
pub struct Blobs(PathBuf);

impl Blobs {
    /// Uses a directory, and makes it if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        files::dir(&dir)?;
        Ok(Self(dir))
    }

    /// Returns where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.hex())
    }

    /// Stores bytes.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        files::put(self.path(&digest), bytes)?;
        Ok(digest)
    }

    /// Reads a blob as JSON.
    ///
    /// # Errors
    /// It is absent, or something else.
    pub fn json(&self, digest: &Digest) -> Result<Value> {
        serde_json::from_slice(&files::get(self.path(digest))?).with_context(|| format!("blob {digest}"))
    }
}

/// How a layer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As the plain tar.
    None,
    /// As gzip, level 6.
    #[default]
    Gzip,
    /// As zstd, level 3.
    Zstd,
}

/// Whose media types an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// The OCI image specification's.
    #[default]
    Oci,
    /// Docker's, schema 2.
    Docker,
}

impl Dialect {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

/// A layer among the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// The length of the plain tar in bytes.
    pub tar_bytes: u64,
    /// The digest of the blob.
    pub digest: Digest,
    /// The length of the blob in bytes.
    pub blob_bytes: u64,
    /// How the blob came from the tar.
    pub compression: Compression,
}

impl Layer {
    /// Writes a layer with these entries, in this order.
    ///
    /// # Errors
    /// A file that an entry names cannot be read, or the blob cannot be written.
    pub fn write(
        blobs: &Blobs,
        compression: Compression,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self> {
        let blob = tempfile::NamedTempFile::new_in(&blobs.0).context("make a blob")?;
        let file = Summed::new(BufWriter::new(blob.reopen().context("open a blob")?));
        let mut plain = Summed::new(match compression {
            Compression::None => Encoder::None(file),
            Compression::Gzip => {
                Encoder::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::new(6)))
            }
            Compression::Zstd => Encoder::Zstd(zstd::Encoder::new(file, 3).context("zstd")?),
        });
        tar::write(&mut plain, entries)?;
        let (encoder, diff_id, tar_bytes) = plain.finish();
        let file = match encoder {
            Encoder::None(file) => Ok(file),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        let (mut file, digest, blob_bytes) = file.context("end a compressed stream")?.finish();
        file.flush().context("write a blob")?;
        blob.persist(blobs.path(&digest)).context("name a blob")?;
        Ok(Self { diff_id, tar_bytes, digest, blob_bytes, compression })
    }
}

type BlobFile = Summed<BufWriter<File>>;

enum Encoder {
    None(BlobFile),
    Gzip(flate2::write::GzEncoder<BlobFile>),
    Zstd(zstd::Encoder<'static, BlobFile>),
}

impl Write for Encoder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that knows the digest and the length of what passed.
struct Summed<W> {
    inner: W,
    digester: Digester,
    length: u64,
}

impl<W: Write> Summed<W> {
    fn new(inner: W) -> Self {
        Self { inner, digester: Digester::new(), length: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, self.digester.finish(), self.length)
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digester.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A manifest or an index among the blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of the manifest or index.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// The digest of the config, which is the image ID; an index has none.
    pub id: Option<Digest>,
    platform: Value,
}

/// An image to be made.
#[derive(Debug, Clone)]
pub struct Recipe {
    dialect: Dialect,
    platform: Value,
    config: Value,
    layers: Vec<Layer>,
    history: Option<Value>,
}

impl Default for Recipe {
    /// An OCI image for linux/amd64 with no layer and an empty configuration.
    fn default() -> Self {
        Self {
            dialect: Dialect::Oci,
            platform: json!({"architecture": "amd64", "os": "linux"}),
            config: json!({}),
            layers: Vec::new(),
            history: None,
        }
    }
}

impl Recipe {
    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: &Layer) -> Self {
        self.layers.push(layer.clone());
        self
    }

    /// Sets the configuration of containers: `Env`, `Cmd`, `User` …
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Sets whose media types the image has.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Sets the platform, with a variant unless that is empty.
    #[must_use]
    pub fn platform(mut self, os: &str, architecture: &str, variant: &str) -> Self {
        self.platform = json!({"architecture": architecture, "os": os});
        if !variant.is_empty() {
            self.platform["variant"] = variant.into();
        }
        self
    }

    /// Sets the history instead of one line for each layer.
    #[must_use]
    pub fn history(mut self, history: Value) -> Self {
        self.history = Some(history);
        self
    }

    /// Writes config and manifest.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(self, blobs: &Blobs) -> Result<Image> {
        let history = self.history.unwrap_or_else(|| {
            let line = |number| json!({"created": CREATED_TEXT, "created_by": format!("layer {number}")});
            (1..=self.layers.len()).map(line).collect()
        });
        let mut config = self.platform.clone();
        config["created"] = CREATED_TEXT.into();
        config["config"] = self.config;
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config["history"] = history;
        let config = serde_json::to_vec(&config)?;
        let id = blobs.put(&config)?;
        let dialect = self.dialect;
        let descriptor = |layer: &Layer| {
            let media_type = dialect.layer(layer.compression);
            json!({"mediaType": media_type, "digest": layer.digest.to_string(), "size": layer.blob_bytes})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": dialect.manifest(),
            "config": {"mediaType": dialect.config(), "digest": id.to_string(), "size": config.len()},
            "layers": self.layers.iter().map(descriptor).collect::<Vec<_>>(),
        });
        let manifest = serde_json::to_vec(&manifest)?;
        Ok(Image {
            digest: blobs.put(&manifest)?,
            media_type: dialect.manifest().to_owned(),
            size: manifest.len() as u64,
            id: Some(id),
            platform: self.platform,
        })
    }
}

/// Writes an index of images for several platforms.
///
/// # Errors
/// It cannot be written.
pub fn index(blobs: &Blobs, dialect: Dialect, images: &[Image]) -> Result<Image> {
    let descriptor = |image: &Image| {
        json!({
            "mediaType": image.media_type,
            "digest": image.digest.to_string(),
            "size": image.size,
            "platform": image.platform,
        })
    };
    let manifests: Vec<Value> = images.iter().map(descriptor).collect();
    let index = json!({"schemaVersion": 2, "mediaType": dialect.index(), "manifests": manifests});
    let index = serde_json::to_vec(&index)?;
    Ok(Image {
        digest: blobs.put(&index)?,
        media_type: dialect.index().to_owned(),
        size: index.len() as u64,
        id: None,
        platform: Value::Null,
    })
}

/// Opens a file of this machine for an entry.
fn open(path: &Path) -> Result<(u64, BufReader<File>)> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let size = file.metadata().map(|metadata| metadata.len());
    Ok((size.with_context(|| format!("stat {}", path.display()))?, BufReader::new(file)))
}

#[cfg(test)]
mod tests;
