//! Tars come back byte for byte.

use std::io::Write;

use tar::{EntryType, Header};

use super::archive::{Tar, current_gid, current_uid};
use crate::digest::Digest;
use crate::oci::manifest::Compression;
use crate::testing::store;
use crate::verify::Depth;

/// Unpacks a tar, commits it, and returns the tar that the store writes and the store's idea of a file in it.
fn round_trip(tar: &[u8], file: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let (_directory, store) = store();
    let lease = store.lease();
    let unpacked = store.unpack(tar, Compression::None, Digest::of(tar)).unwrap();
    let layer = store.commit_unpacked(unpacked, &[], &lease).unwrap();
    let mut written = Vec::new();
    store.write_tar(&layer, &mut written).unwrap();
    let content = std::fs::read(store.layer_tree(layer.id).join(file)).ok();
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings, [], "the tree of {file}");
    (written, content)
}

fn gnu_long_name(name: &str) -> Tar {
    let mut content = name.as_bytes().to_vec();
    content.push(0);
    Tar::new().member(b'L', b"././@LongLink", b"", &content).file(&name[..99], b"long")
}

fn old_gnu_sparse() -> Tar {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("sparse").unwrap();
    header.set_mode(0o644);
    header.set_uid(current_uid());
    header.set_gid(current_gid());
    header.set_mtime(0);
    header.set_size(6);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_is_extended(true);
    gnu.set_real_size(1_000_000);
    let octal = |number: u64| format!("{number:011o}\0");
    for (piece, offset) in gnu.sparse.iter_mut().zip([0, 1000, 2000, 3000]) {
        piece.offset.copy_from_slice(octal(offset).as_bytes());
        piece.numbytes.copy_from_slice(octal(1).as_bytes());
    }
    let mut extended = tar::GnuExtSparseHeader::new();
    extended.sparse[0].offset.copy_from_slice(octal(999_998).as_bytes());
    extended.sparse[0].numbytes.copy_from_slice(octal(2).as_bytes());
    let mut tar = Tar::new().push(header, b"");
    tar.0.extend_from_slice(extended.as_bytes());
    tar.0.extend_from_slice(b"abcdef");
    tar.0.resize(tar.0.len().next_multiple_of(512), 0);
    tar
}

fn pax_sparse_1_0() -> Tar {
    let mut content = b"2\n0\n3\n100000\n3\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abcdef");
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"200000"),
    ];
    Tar::new().pax(records).file("GNUSparseFile.0/sparse", &content)
}

fn pax_sparse_0(records: &[(&str, &[u8])]) -> Tar {
    let size: &[(&str, &[u8])] = &[("GNU.sparse.size", b"200000")];
    Tar::new().pax(&[size, records].concat()).file("sparse", b"abcdef")
}

#[test]
fn every_dialect_comes_back_byte_for_byte() {
    let long = "n".repeat(150);
    let mut sparse = vec![0; 200_000];
    sparse[..3].copy_from_slice(b"abc");
    sparse[100_000..100_003].copy_from_slice(b"def");
    let mut old = vec![0; 1_000_000];
    for (offset, byte) in
        [(0, b'a'), (1000, b'b'), (2000, b'c'), (3000, b'd'), (999_998, b'e'), (999_999, b'f')]
    {
        old[offset] = byte;
    }
    let big = vec![b'q'; 300_000];
    let numbers: &[(&str, &[u8])] = &[
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"100000"),
        ("GNU.sparse.numbytes", b"3"),
    ];
    for (what, tar, file, content) in [
        ("plain", Tar::new().directory("d/").file("d/f", &big), "d/f", &big[..]),
        ("gnu long name", gnu_long_name(&long), &long, b"long"),
        ("old sparse", old_gnu_sparse(), "sparse", &old),
        ("sparse 1.0", pax_sparse_1_0(), "sparse", &sparse),
        ("sparse 0.1", pax_sparse_0(&[("GNU.sparse.map", b"0,3,100000,3")]), "sparse", &sparse),
        ("sparse 0.0", pax_sparse_0(numbers), "sparse", &sparse),
        (
            "pax path",
            Tar::new().pax(&[("path", long.as_bytes()), ("comment", b"x")]).file("short", b"p"),
            &long,
            b"p",
        ),
        ("written twice", Tar::new().file("f", b"first").file("f", b"second"), "f", b"second"),
        (
            "replaced tree",
            Tar::new().directory("d").file("d/f", b"lost").file("d", b"now a file"),
            "d",
            b"now a file",
        ),
        (
            "replaced many times",
            Tar::new().file("d/f", b"1").file("d/f", b"2").file("d", b"3").file("e", b"4").file("d", b"5"),
            "d",
            b"5",
        ),
        ("global header", Tar::new().member(b'g', b"pax_global_header", b"", b"").file("f", b"x"), "f", b"x"),
        ("size of a directory", Tar::new().directory("d").file("d/f", b"x").directory("d"), "d/f", b"x"),
        ("link to itself", Tar::new().file("f", b"x").hardlink("f", "f"), "f", b"x"),
    ] {
        let tar = tar.end();
        let (written, found) = round_trip(&tar, file);
        assert!(written == tar, "{what}: the tar differs");
        assert_eq!(found.as_deref(), Some(content), "{what}");
    }
}

#[test]
fn what_stands_behind_the_end_comes_back_too() {
    let mut tar = Tar::new().file("f", b"x").end();
    tar.extend_from_slice(&[0; 8192]);
    tar.extend_from_slice(b"garbage");
    assert!(round_trip(&tar, "f").0 == tar);
    assert!(round_trip(b"", "f").0.is_empty());
}

#[test]
fn every_compression_is_unpacked() {
    let (_directory, store) = store();
    let tar = Tar::new().file("f", &[b'x'; 10_000]).end();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar[..700]).unwrap();
    let mut members = gzip.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar[700..]).unwrap();
    members.extend(gzip.finish().unwrap());
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for (blob, compression) in
        [(&tar, Compression::None), (&members, Compression::Gzip), (&zstd, Compression::Zstd)]
    {
        store.unpack(&blob[..], compression, Digest::of(&tar)).unwrap();
        assert!(
            store.unpack(&blob[..blob.len() - 9], compression, Digest::of(&tar)).is_err(),
            "{compression:?} cut"
        );
    }
}

#[test]
fn a_wrong_digest_leaves_nothing() {
    let (_directory, store) = store();
    let tar = Tar::new().file("f", b"x").end();
    let error = store.unpack(&tar[..], Compression::None, Digest::of(b"other")).unwrap_err();
    assert!(matches!(error, crate::Error::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read_dir(store.paths.temporaries()).unwrap().count(), 0);
}
