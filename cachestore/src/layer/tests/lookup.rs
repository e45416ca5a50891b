//! Files are found in images as a container would see them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::LayerId;
use super::archive::Tar;
use crate::digest::Digest;
use crate::error::Error;
use crate::gc::{CachePolicy, Mode};
use crate::images::{Image, NewImage, Origin};
use crate::oci::config::{ImageConfig, RootFs};
use crate::oci::manifest::{BlobRef, Compression, Manifest};
use crate::testing::store;
use crate::{Result, Store};

fn image(store: &Store, tars: &[Vec<u8>]) -> Arc<Image> {
    let lease = store.lease();
    let mut layers: Vec<LayerId> = Vec::new();
    for tar in tars {
        let unpacked = store.unpack(&tar[..], Compression::None, Digest::of(tar)).unwrap();
        layers.push(store.commit_unpacked(unpacked, &layers, &lease).unwrap().id);
    }
    let rootfs = RootFs { diff_ids: tars.iter().map(|tar| Digest::of(tar)).collect(), ..RootFs::default() };
    let config = ImageConfig { rootfs, ..ImageConfig::default() }.to_json().unwrap();
    let blob = BlobRef { digest: Digest::of(&config), size_bytes: config.len() as u64 };
    let manifest = Manifest { config: blob, layers: Vec::new() }.to_json().unwrap();
    let new = NewImage {
        config: &config,
        manifest: &manifest,
        layers: &layers,
        origin: Origin::Loaded,
        names: &[],
        repo_digests: &[],
    };
    store.put_image(&new, &lease).unwrap()
}

fn content(store: &Store, image: &Image, path: &str) -> Result<String> {
    let mut found = store.open_file(image, path)?;
    let mut text = String::new();
    found.file.read_to_string(&mut text).unwrap();
    assert_eq!(found.size_bytes, text.len() as u64);
    Ok(text)
}

#[test]
fn a_file_shows_through_whiteouts_and_links() {
    let (outside, store) = store();
    fs::File::create(outside.path().join("secret")).unwrap();
    let climbing = "../".repeat(20);
    let below = Tar::new()
        .directory("usr/")
        .directory("usr/bin/")
        .file("usr/bin/kubelet", b"old")
        .file("usr/bin/kubectl", b"kubectl")
        .file("usr/bin/gone", b"gone")
        .directory("kept/")
        .file("kept/a", b"a")
        .file("was-file", b"file")
        .directory("was-directory/")
        .file("was-directory/x", b"x");
    let above = Tar::new()
        .directory("usr/")
        .directory("usr/bin/")
        .file("usr/bin/kubelet", b"new")
        .file("usr/bin/.wh.gone", b"")
        .file(".wh.kept", b"")
        .symlink("bin", "usr/bin")
        .symlink("usr/sbin", "/bin")
        .symlink("etc-secret", &format!("{climbing}secret"))
        .symlink("absolute", &outside.path().join("secret").display().to_string())
        .symlink("loop", "loop")
        .symlink("relative", "./usr/../usr/bin/./kubectl")
        .symlink("dangling", "nowhere")
        .member(b'6', b"fifo", b"", b"")
        .directory("was-file/")
        .file("was-file/y", b"y")
        .file("was-directory", b"now a file")
        .file("secret", b"of the image");
    let image = image(&store, &[below.end(), above.end()]);
    for (path, expected) in [
        ("/usr/bin/kubelet", Ok("new")),
        ("usr/bin/kubelet", Ok("new")),
        ("//usr/./bin//kubectl", Ok("kubectl")),
        ("/bin/kubectl", Ok("kubectl")),
        ("/usr/sbin/kubectl", Ok("kubectl")),
        ("/usr/bin/../sbin/../bin/kubelet", Ok("new")),
        ("/relative", Ok("kubectl")),
        ("/../../secret", Ok("of the image")),
        ("/etc-secret", Ok("of the image")),
        ("/was-file/y", Ok("y")),
        ("/was-directory", Ok("now a file")),
        ("/absolute", Err("not found")),
        ("/usr/bin/gone", Err("not found")),
        ("/kept/a", Err("not found")),
        ("/was-directory/x", Err("not found")),
        ("/dangling", Err("not found")),
        ("/nothing", Err("not found")),
        ("/secret/..", Err("not found")),
        ("/loop", Err("too many links")),
        ("/usr/bin", Err("not a regular file")),
        ("/usr/bin/kubelet/", Err("not a regular file")),
        ("/fifo", Err("not a regular file")),
        ("/", Err("not a regular file")),
        ("", Err("not a regular file")),
        ("/a\0b", Err("NUL")),
        (&"/usr/..".repeat(200), Err("too many directories")),
        (&"x".repeat(5000), Err("longer than a path")),
    ] {
        let found = content(&store, &image, path).map_err(|error| error.to_string());
        match expected {
            Ok(text) => assert_eq!(found.as_deref(), Ok(text), "{path}"),
            Err(problem) => {
                assert!(found.as_ref().is_err_and(|error| error.contains(problem)), "{path}: {found:?}")
            }
        }
    }
}

#[test]
fn a_file_keeps_its_mode_and_outlives_its_image() {
    let (_directory, store) = store();
    let image = image(&store, &[Tar::new().file("tool", b"#!").end()]);
    let layer = store.chain_layers(&image.chain.unwrap()).unwrap()[0];
    let path: PathBuf = store.layer_tree(layer).join("tool");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
    let mut found = store.open_file(&image, "tool").unwrap();
    assert_eq!((found.mode, found.size_bytes), (0o4750, 2));
    store.remove_image(&image.id).unwrap();
    let collected = store.collect(CachePolicy::DROP_ALL, Mode::Remove).unwrap();
    assert_eq!((collected.layers.len(), path.exists()), (1, false));
    let mut text = String::new();
    found.file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "#!");
    let error = store.open_file(&image, "tool").unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn an_image_without_layers_has_no_files() {
    let (_directory, store) = store();
    let image = image(&store, &[]);
    assert!(store.open_file(&image, "/etc/passwd").unwrap_err().is_not_found());
}
