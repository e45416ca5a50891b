//! GNU tar reads what we write, and we read what it writes, as it does.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;

use cachestore::Digest;
use cachestore::oci::manifest::Compression;

use crate::outside::{copy, gnu_create, gnu_extract, run};
use crate::store::{Place, assert_same_bytes};
use crate::tree::{Maker, archived, assert_same, describe, portable};

/// A sparse file of 8 MB with six pieces of 4 KB takes no more than this.
const SPARSE_DISK_BYTES: u64 = 512 << 10;

fn everything(maker: Maker) -> Maker {
    maker.oldest().ustar().gnu().pax().attributes()
}

#[test]
fn a_layer_goes_through_gnu_tar_and_through_us() {
    let place = Place::new();
    let built = place.build("a", &[], |maker| drop(everything(maker).overlay()));
    let original = describe(&place.tree(&built));
    let tar = place.tar_of(&built, "layer.tar");
    assert_eq!(std::fs::metadata(&tar).expect("the tar").len(), built.tar_size_bytes);
    assert_eq!(Digest::of(&std::fs::read(&tar).expect("the tar")), built.diff_id);

    let extracted = place.directory("extracted");
    gnu_extract(&tar, &extracted);
    assert_same("GNU tar's extraction", &archived(describe(&extracted)), &archived(original.clone()));

    // Somebody else pulls it.
    let other = Place::new();
    let pulled = other.pull(&tar, Compression::None, built.diff_id, &[]);
    assert_same("our extraction", &portable(describe(&other.tree(&pulled))), &portable(original));
    assert_same_bytes("the tar of the pulled layer", &other.tar_of(&pulled, "again.tar"), &tar);
    let sparse = std::fs::metadata(other.tree(&pulled).join("sparse")).expect("the file");
    assert!(sparse.blocks() * 512 < SPARSE_DISK_BYTES, "{} blocks", sparse.blocks());

    other.assert_clean();

    // And somebody else builds exactly the same.
    let rebuilt = other.build("b", &[], |maker| copy(&other.tree(&pulled), &maker.0));
    assert_eq!(rebuilt.diff_id, built.diff_id, "the tree alone decides what its tar is");
    assert_same_bytes("the tar of the rebuilt layer", &other.tar_of(&rebuilt, "rebuilt.tar"), &tar);
}

/// An archive that GNU tar makes of a tree is unpacked as GNU tar does it, and comes back byte for byte.
fn reads_as_gnu_tar(what: &str, make: fn(Maker) -> Maker, options: &[&str]) {
    let place = Place::new();
    let source = place.directory("source");
    make(Maker(source.clone()));
    let tar = place.path("source.tar");
    gnu_create(&tar, &source, options);
    let extracted = place.directory("extracted");
    gnu_extract(&tar, &extracted);
    let diff_id = Digest::of(&std::fs::read(&tar).expect("the tar"));
    let layer = place.pull(&tar, Compression::None, diff_id, &[]);
    let (ours, theirs) = (describe(&place.tree(&layer)), describe(&extracted));
    assert_same(what, &archived(ours), &archived(theirs));
    assert_same_bytes(what, &place.tar_of(&layer, "again.tar"), &tar);
    if options.contains(&"--sparse") {
        let sparse = std::fs::metadata(place.tree(&layer).join("sparse")).expect("the file");
        assert!(sparse.blocks() * 512 < SPARSE_DISK_BYTES, "{what}: {} blocks", sparse.blocks());
        assert!(
            std::fs::metadata(&tar).expect("the tar").len() < 4 * SPARSE_DISK_BYTES,
            "{what}: not sparse"
        );
    }
    place.assert_clean();
    // The same, compressed: the same layer.
    run("gzip", ["--fast", "--keep", tar.to_str().expect("our own path")]);
    let again = place.pull(&place.path("source.tar.gz"), Compression::Gzip, diff_id, &[]);
    assert_eq!(again.id, layer.id, "{what}: it is there already");
}

#[test]
fn old_archives() {
    reads_as_gnu_tar("v7", Maker::oldest, &["--format=v7"]);
    reads_as_gnu_tar("ustar", |maker| maker.oldest().ustar().whiteouts(), &["--format=ustar"]);
}

#[test]
fn archives_in_gnu_formats() {
    let tree = |maker: Maker| maker.oldest().ustar().gnu().whiteouts();
    for (what, options) in [
        ("oldgnu", &["--format=oldgnu"][..]),
        ("gnu", &["--format=gnu"]),
        ("gnu, sparse", &["--format=gnu", "--sparse"]),
        ("gnu, from the last to the first", &["--format=gnu", "--sparse", "--sort=inode"]),
    ] {
        reads_as_gnu_tar(what, tree, options);
    }
}

#[test]
fn archives_in_pax_formats() {
    let tree = |maker: Maker| everything(maker).whiteouts();
    let attributes = "--xattrs-include=*";
    for (what, options) in [
        ("pax", &["--format=pax"][..]),
        ("pax, attributes", &["--format=pax", "--xattrs", attributes]),
        ("pax, sparse 0.0", &["--format=pax", "--sparse", "--sparse-version=0.0", "--xattrs", attributes]),
        ("pax, sparse 0.1", &["--format=pax", "--sparse", "--sparse-version=0.1", "--xattrs", attributes]),
        ("pax, sparse 1.0", &["--format=pax", "--sparse", "--sparse-version=1.0", "--xattrs", attributes]),
        ("pax, a global header", &["--format=pax", "--pax-option=globexthdr.name=g,comment=c"]),
    ] {
        reads_as_gnu_tar(what, tree, options);
    }
}

/// A directory that is removed below and made again hides what is below, whichever of the two the archive says first.
#[test]
fn a_whiteout_and_a_directory_of_one_name() {
    let orders = [
        &["./.wh.again", "./again/file"][..],
        &["./again/file", "./.wh.again"],
        &["./.wh.again", "./again"],
        &["./again", "./.wh.again"],
        &["./again/file", "./again/.wh..wh..opq"],
        &["./again/.wh..wh..opq", "./again"],
    ];
    for order in orders {
        let place = Place::new();
        let source = place.directory("source/again");
        for name in ["file", ".wh..wh..opq", "../.wh.again"] {
            std::fs::File::create(source.join(name)).expect("a file");
        }
        let (tar, source) = (place.path("source.tar"), place.path("source"));
        let arguments =
            ["--create".as_ref(), "--file".as_ref(), tar.as_os_str(), "-C".as_ref(), source.as_os_str()];
        run("tar", arguments.into_iter().chain(order.iter().map(AsRef::as_ref)));
        let diff_id = Digest::of(&std::fs::read(&tar).expect("the tar"));
        let layer = place.pull(&tar, Compression::None, diff_id, &[]);
        let tree = describe(&place.tree(&layer));
        let names: Vec<_> = tree.keys().filter(|name| !name.is_empty()).collect();
        assert_eq!(names, ["again", "again/file"], "{order:?}");
        let opaque = &tree[OsStr::new("again")].attributes;
        assert_eq!(opaque.get(OsStr::new("trusted.overlay.opaque")), Some(&b"y".to_vec()), "{order:?}");
        place.assert_clean();
    }
}
