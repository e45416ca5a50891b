//! The pause image: our own, made from the binary inside this program, kept in the store and never collected.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cachestore::error::IoContext;
use cachestore::images::{Image, Name, NewImage, Origin};
use cachestore::layer::{IfKeyed, Layer, Step};
use cachestore::oci::config::{ImageConfig, RootFs, RunConfig};
use cachestore::oci::manifest::{BlobRef, Compression, LayerRef, Manifest};
use cachestore::oci::platform::Target;
use cachestore::{Digest, Lease, Reference, Store};

/// What the image is called, unless the command line says otherwise. The top-level domain `internal` is reserved for private use, so that no registry on the internet has it.
pub(crate) const NAME: &str = concat!("shim.internal/pause:", env!("CARGO_PKG_VERSION"));

static BINARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// Returns the pause image, making it if the store does not have it.
pub(crate) fn ensure(store: &Store, name: &Reference) -> cachestore::Result<Arc<Image>> {
    let lease = store.lease();
    let layer = layer(store, &lease)?;
    let Target { os, architecture, variant } = Target::host();
    let config = ImageConfig {
        architecture,
        os,
        variant,
        created: Some("1970-01-01T00:00:00Z".into()),
        config: RunConfig {
            entrypoint: vec!["/pause".into()],
            user: "65535:65535".into(),
            ..RunConfig::default()
        },
        rootfs: RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() },
        ..ImageConfig::default()
    }
    .to_json()?;
    let blob = BlobRef { digest: layer.diff_id, size_bytes: layer.tar_size_bytes };
    let manifest = Manifest {
        config: BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 },
        layers: vec![LayerRef { blob, compression: Compression::None }],
    };
    if let Some(image) = store.resolve(&name.to_string())?.filter(|image| image.id == Digest::of(&config)) {
        return Ok(image);
    }
    let new = NewImage {
        config: &config,
        manifest: &manifest.to_json()?,
        layers: &[layer.id],
        origin: Origin::Built,
        names: &[Name { reference: name.clone(), local: true }],
        repo_digests: &[],
    };
    store.put_image(&new, &lease)
}

fn layer(store: &Store, lease: &Lease) -> cachestore::Result<Layer> {
    let key = format!("pause:{}", Digest::of(BINARY));
    if let Some(layer) = store.layer_by_key(&key, lease)? {
        return Ok(layer);
    }
    let workspace = store.workspace()?;
    let path = workspace.tree().join("pause");
    write_program(&path).at("write", &path)?;
    let step = Step { key: &key, description: "pause", if_keyed: IfKeyed::Keep, below: &[] };
    store.commit_built(workspace, &step, lease)
}

fn write_program(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(BINARY)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    file.set_modified(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_answers_with_its_version() {
        let directory = std::env::temp_dir().join(format!("pause-test-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("pause");
        write_program(&path).unwrap();
        let output = std::process::Command::new(&path).arg("-v").output();
        std::fs::remove_dir_all(&directory).unwrap();
        let output = output.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            concat!("pause ", env!("CARGO_PKG_VERSION"), "\n")
        );
        assert!(output.status.success());
        assert!(NAME.parse::<Reference>().is_ok());
    }
}
