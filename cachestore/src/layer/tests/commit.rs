//! Layers are committed, found again, and made from what lies below.

use std::os::unix::fs::PermissionsExt;

use super::super::{IfKeyed, Layer, Step};
use super::archive::Tar;
use crate::digest::Digest;
use crate::oci::manifest::Compression;
use crate::testing::store;
use crate::verify::Depth;
use crate::{Lease, Store};

fn build(store: &Store, key: &str, content: &str, if_keyed: IfKeyed, lease: &Lease) -> Layer {
    let workspace = store.workspace().unwrap();
    std::io::Write::write_all(
        &mut std::fs::File::create(workspace.tree().join("file")).unwrap(),
        content.as_bytes(),
    )
    .unwrap();
    let step = Step { key, description: "RUN test", if_keyed, below: &[] };
    store.commit_built(workspace, &step, lease).unwrap()
}

fn findings(store: &Store) -> Vec<crate::verify::Finding> {
    let mut findings = Vec::new();
    store.verify(Depth::Content, &mut |finding| findings.push(finding)).unwrap();
    findings
}

#[test]
fn a_key_finds_its_layer() {
    let (_directory, store) = store();
    let lease = store.lease();
    let first = build(&store, "step:1", "one", IfKeyed::Keep, &lease);
    assert_eq!(store.layer_by_key("step:1", &lease).unwrap().unwrap().id, first.id);
    assert!(store.layer_by_key("step:2", &lease).unwrap().is_none());
    assert_eq!(build(&store, "step:1", "two", IfKeyed::Keep, &lease).id, first.id, "the first one won");
    let replaced = build(&store, "step:1", "three", IfKeyed::Replace, &lease);
    assert_ne!(replaced.id, first.id);
    assert_eq!(store.layer_by_key("step:1", &lease).unwrap().unwrap().id, replaced.id);
    assert_eq!(store.layer_by_diff_id(first.diff_id, None, &lease).unwrap().unwrap().id, first.id);
    assert_eq!(findings(&store), []);
}

fn unpack(store: &Store, tar: &[u8], below: &[super::super::LayerId], lease: &Lease) -> Layer {
    let unpacked = store.unpack(tar, Compression::None, Digest::of(tar)).unwrap();
    store.commit_unpacked(unpacked, below, lease).unwrap()
}

#[test]
fn directories_that_a_tar_leaves_out_look_like_those_below() {
    let (_directory, store) = store();
    let lease = store.lease();
    let mut sticky = tar::Header::new_gnu();
    sticky.set_entry_type(tar::EntryType::Directory);
    sticky.set_path("tmp/").unwrap();
    sticky.set_mode(0o1777);
    sticky.set_uid(super::archive::current_uid());
    sticky.set_gid(super::archive::current_gid());
    sticky.set_mtime(5);
    sticky.set_size(0);
    let base = unpack(&store, &Tar::new().push(sticky, b"").end(), &[], &lease);
    let tar = Tar::new().file("tmp/new/file", b"x").end();
    let top = unpack(&store, &tar, &[base.id], &lease);
    let mode = |path: &str| {
        std::fs::metadata(store.layer_tree(top.id).join(path)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode("tmp"), mode("tmp/new")), (0o1777, 0o755));
    let found = |below: Option<&[_]>| {
        store.layer_by_diff_id(top.diff_id, below, &lease).unwrap().map(|layer| layer.id)
    };
    assert_eq!(found(Some(&[base.id])), Some(top.id));
    assert_eq!(found(Some(&[])), None, "on another base the same tar is another tree");
    assert_eq!(found(None), None, "without a base nobody can tell");
    assert_eq!(findings(&store), []);
}

#[test]
fn a_damaged_tree_is_found() {
    let (_directory, store) = store();
    let lease = store.lease();
    let layer = build(&store, "step:1", "content", IfKeyed::Keep, &lease);
    let path = store.layer_tree(layer.id).join("file");
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), b"changed").unwrap();
    let found = findings(&store);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].invariant, "I2");
    std::fs::remove_dir_all(store.layer_tree(layer.id)).unwrap();
    assert_eq!(findings(&store).iter().map(|finding| finding.invariant).collect::<Vec<_>>(), ["I1", "I2"]);
}
