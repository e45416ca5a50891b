use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use super::*;

fn sample() -> Vec<Entry> {
    vec![
        Entry::dir("d").mode(0o1777),
        Entry::file("d/plain", "content").owner(1, 2).time(1_600_000_000, 5),
        Entry::program("d/set-id", "x").mode(0o4755),
        Entry::file(raw_path(b"d/\xff"), ""),
        Entry::file(format!("d/{}", "n".repeat(150)), "long"),
        Entry::symlink("d/symlink", "t".repeat(120)),
        Entry::hardlink("d/hardlink", "d/plain"),
        Entry::new("d/null", Kind::Character(1, 3)),
        Entry::new("d/fifo", Kind::Fifo),
        Entry::file("d/attributed", "").xattr("user.k", [0, 255]).owner(3_000_000, 0),
        Entry::whiteout("d/gone"),
        Entry::whiteout("gone"),
        Entry::opaque("d"),
    ]
}

fn written(compression: Compression) -> (tempfile::TempDir, Blobs, Layer) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::in_dir(dir.path()).unwrap();
    let layer = Layer::write(&blobs, compression, sample()).unwrap();
    (dir, blobs, layer)
}

#[test]
fn the_tar_says_what_the_entries_say() {
    let (_dir, blobs, layer) = written(Compression::None);
    let tar = files::get(blobs.path(&layer.digest)).unwrap();
    let mut archive = ::tar::Archive::new(&tar[..]);
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let pax: Vec<String> = match entry.pax_extensions().unwrap() {
            Some(records) => {
                let line = |record: ::tar::PaxExtension<'_>| {
                    format!("{}={:?}", record.key().unwrap(), String::from_utf8_lossy(record.value_bytes()))
                };
                records.map(|record| line(record.unwrap())).filter(|line| line.len() < 60).collect()
            }
            None => Vec::new(),
        };
        let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
        let name = entry.path_bytes().escape_ascii().to_string();
        let header = entry.header();
        lines.push(format!(
            "{:?} {name} {:o} {}:{} {} {content:?} {link} {}",
            header.entry_type(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            pax.join(" ")
        ));
    }
    let long = "n".repeat(150);
    let target = "t".repeat(120);
    let expected = [
        "Directory d 1777 0:0 1700000000 \"\"  ",
        "Regular d/plain 644 1:2 1600000000 \"content\"  mtime=\"1600000000.000000005\"",
        "Regular d/set-id 4755 0:0 1700000000 \"x\"  ",
        "Regular d/\\xff 644 0:0 1700000000 \"\"  path=\"d/\u{fffd}\"",
        &format!("Regular d/{long} 644 0:0 1700000000 \"long\"  "),
        &format!("Symlink d/symlink 777 0:0 1700000000 \"\" {target} "),
        "Link d/hardlink 644 0:0 1700000000 \"\" d/plain ",
        "Char d/null 644 0:0 1700000000 \"\"  ",
        "Fifo d/fifo 644 0:0 1700000000 \"\"  ",
        "Regular d/attributed 644 3000000:0 1700000000 \"\"  uid=\"3000000\" SCHILY.xattr.user.k=\"\\0\u{fffd}\"",
        "Regular d/.wh.gone 0 0:0 1700000000 \"\"  ",
        "Regular .wh.gone 0 0:0 1700000000 \"\"  ",
        "Regular d/.wh..wh..opq 0 0:0 1700000000 \"\"  ",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn every_compression_holds_the_same_tar() {
    let (_dir, blobs, plain) = written(Compression::None);
    let tar = files::get(blobs.path(&plain.digest)).unwrap();
    assert_eq!((plain.diff_id, plain.tar_bytes), (plain.digest, plain.blob_bytes));
    assert_eq!(plain.tar_bytes, tar.len() as u64);

    let (_dir, blobs, gzip) = written(Compression::Gzip);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&files::get(blobs.path(&gzip.digest)).unwrap()[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert!(unpacked == tar && gzip.diff_id == plain.diff_id && gzip.blob_bytes < tar.len() as u64);

    let (_dir, blobs, zstd) = written(Compression::Zstd);
    let unpacked = ::zstd::decode_all(&files::get(blobs.path(&zstd.digest)).unwrap()[..]).unwrap();
    assert!(unpacked == tar && zstd.diff_id == plain.diff_id);
}

#[test]
fn the_same_recipe_gives_the_same_image() {
    let (_first, _, one) = written(Compression::Gzip);
    let (_second, _, two) = written(Compression::Gzip);
    assert_eq!(one, two);
}

#[test]
fn a_manifest_describes_its_blobs() {
    let (_dir, blobs, layer) = written(Compression::Gzip);
    let recipe = || Recipe::default().layer(&layer).config(json!({"Cmd": ["sh"]}));
    let image = recipe().dialect(Dialect::Docker).write(&blobs).unwrap();
    let manifest = blobs.json(&image.digest).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert_eq!(manifest["layers"][0]["digest"], layer.digest.to_string());
    assert_eq!(manifest["layers"][0]["size"], layer.blob_bytes);
    assert_eq!(manifest["config"]["digest"], image.id.unwrap().to_string());
    let config = blobs.json(&image.id.unwrap()).unwrap();
    assert_eq!(config["config"]["Cmd"][0], "sh");
    assert_eq!(config["rootfs"]["diff_ids"][0], layer.diff_id.to_string());
    assert_eq!(config["history"].as_array().unwrap().len(), 1);

    let other = recipe().platform("linux", "arm", "v7").write(&blobs).unwrap();
    let both = index(&blobs, Dialect::Oci, &[image.clone(), other.clone()]).unwrap();
    let index = blobs.json(&both.digest).unwrap();
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(index["manifests"][0]["digest"], image.digest.to_string());
    assert_eq!(
        index["manifests"][1]["platform"],
        json!({"architecture": "arm", "os": "linux", "variant": "v7"})
    );
    assert_eq!(raw_path(b"\xff").as_bytes(), b"\xff");
}
