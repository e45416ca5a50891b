//! Damages a store in every way that an invariant forbids, one at a time, and sees that `verify` finds that and nothing
//! else.

use std::fs;
use std::path::{Path, PathBuf};

use cachestore::verify::{Depth, Finding};
use cachestore::{Digest, Store};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

mod kept;
#[path = "../support/mod.rs"]
mod support;

use support::{edit, fill, ingest, named, own_directory, put_image, temporary, write};

/// A store in which everything is right, and where its parts are.
struct House {
    store: Store,
    /// A layer that a build made, one that was pulled, and one whose tar wrote a path twice.
    built: PathBuf,
    pulled: PathBuf,
    twice: PathBuf,
    /// The blob of the layer that was pulled.
    kept: PathBuf,
    _directory: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let directory = temporary();
        let store = Store::open(&directory.path().join("store"), "a test").expect("a new store");
        fill(&store);
        let lease = store.lease();
        let twice = ingest(&store, &support::tar::upper_tar(), &[], &lease);
        put_image(&store, &lease, &[named(&twice)], &["twice:1"]);
        let uses = store.layer_uses().expect("the layers");
        let tree = |is_it: &dyn Fn(&cachestore::layer::Layer) -> bool| {
            let found = uses.iter().find(|used| is_it(&used.layer)).expect("the layer");
            store.layer_tree(found.layer.id).parent().expect("its directory").to_owned()
        };
        let built = tree(&|layer| !layer.description.is_empty());
        let pulled = tree(&|layer| layer.description.is_empty() && layer.id != twice.id);
        let twice = tree(&|layer| layer.id == twice.id);
        let kept = store.dir().join("b/1");
        Self { built, pulled, twice, kept, store, _directory: directory }
    }

    fn image(&self, name: &str) -> String {
        self.store.expect_image(name).expect("the image").id.to_string()
    }

    fn chain(&self, name: &str) -> String {
        self.store.expect_image(name).expect("the image").chain.expect("it has layers").to_string()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.store.dir().join(path)
    }

    fn set_format(&self, text: &str) {
        write(&self.path("format"), text.as_bytes());
    }

    /// Changes records, whatever the database says to it.
    fn edit(&self, change: &str) {
        edit(self.store.dir(), &format!("PRAGMA foreign_keys = OFF; {change}"));
    }

    fn findings(&self, depth: Depth) -> Vec<Finding> {
        let mut findings = Vec::new();
        let checked =
            self.store.verify(depth, &mut |finding| findings.push(finding)).expect("it can be done");
        assert_eq!(checked.findings, findings.len() as u64);
        findings
    }
}

/// One way to break a store.
struct Damage {
    what: &'static str,
    /// The least depth of a check that sees it.
    depth: Depth,
    /// What is found: the invariant, and a part of what is said of it.
    found: (&'static str, &'static str),
    inflict: fn(&House),
}

const fn records(what: &'static str, found: (&'static str, &'static str), inflict: fn(&House)) -> Damage {
    Damage { what, depth: Depth::Records, found, inflict }
}

const fn content(what: &'static str, found: (&'static str, &'static str), inflict: fn(&House)) -> Damage {
    Damage { what, depth: Depth::Content, found, inflict }
}

/// Inflicts each of these on a store of its own.
fn each_is_found(damages: &[Damage]) {
    for Damage { what, depth, found: (invariant, problem), inflict } in damages {
        let house = House::new();
        inflict(&house);
        if *depth == Depth::Content {
            assert_eq!(house.findings(Depth::Records), [], "{what}: a check of the records has not looked");
        }
        let findings = house.findings(*depth);
        let [finding] = &findings[..] else { panic!("{what}: {findings:#?}") };
        assert_eq!(finding.invariant, *invariant, "{what}: {finding:?}");
        let said = format!("{}: {}", finding.subject, finding.problem);
        assert!(said.contains(problem), "{what}: {said}");
        assert_eq!(house.findings(*depth), findings, "{what}: looking has changed something");
    }
}

fn remove(path: &Path) {
    fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).expect("it is removed");
}

/// Gives a file the time that every member of a tar has.
fn restore_time(path: &Path) {
    let time = Timespec { tv_sec: i64::try_from(support::tar::TIME).expect("a time"), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("its time");
}

/// Changes one byte in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(path, &bytes);
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let house = House::new();
    assert_eq!(house.findings(Depth::Content), []);
    let removed = ["look", "unpacked", "box"].map(|name| house.store.remove_snapshot(name));
    assert!(removed.iter().all(Result::is_ok), "{removed:?}");
    assert_eq!(house.findings(Depth::Content), []);
}

#[test]
fn i1_layers_have_their_parts() {
    each_is_found(&[
        records("no tree", ("I1", "its tree is missing"), |house| remove(&house.built.join("d"))),
        records("a file for a tree", ("I1", "its tree is missing"), |house| {
            remove(&house.built.join("d"));
            write(&house.built.join("d"), b"");
        }),
        records("no recipe", ("I1", "its recipe"), |house| remove(&house.pulled.join("r"))),
        records("a recipe too much", ("I1", "its recipe"), |house| write(&house.built.join("r"), b"")),
    ]);
}

#[test]
fn i2_tars_come_back() {
    each_is_found(&[
        content("a changed file of a build", ("I2", "diff ID"), |house| {
            write(&house.built.join("d/etc/new/file"), b"ap!");
        }),
        content("a changed file of a pull", ("I2", "diff ID"), |house| flip(&house.pulled.join("d/usr/big"))),
        content("a file that is too short", ("I2", "too short"), |house| {
            write(&house.pulled.join("d/etc/same"), b"");
        }),
        content("a file that is gone", ("I2", "cannot open"), |house| {
            remove(&house.pulled.join("d/etc/same"));
        }),
        content("another mode", ("I2", "diff ID"), |house| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
            fs::set_permissions(house.built.join("d/etc/new"), mode).expect("its mode");
        }),
        content("a file too much", ("I2", "diff ID"), |house| write(&house.built.join("d/more"), b"")),
        content("a damaged recipe", ("I2", "layer"), |house| flip(&house.pulled.join("r"))),
        content("no overrides", ("I2", "cannot open"), |house| remove(&house.twice.join("o"))),
        content("what was moved aside is gone", ("I2", "cannot open"), |house| {
            remove(&house.twice.join("x"))
        }),
        content("another size on record", ("I2", "recorded are"), |house| {
            house.edit("UPDATE layers SET tar_size = tar_size + 1 WHERE description <> ''");
        }),
    ]);
}

/// What no file's content shows.
#[test]
fn i2_trees_are_what_their_tars_say() {
    each_is_found(&[
        content("an empty file", ("I2", "etc/empty is missing"), |house| {
            remove(&house.pulled.join("d/etc/empty"));
            restore_time(&house.pulled.join("d/etc"));
        }),
        content("a link", ("I2", "bin is missing"), |house| remove(&house.pulled.join("d/bin"))),
        content("where a link leads", ("I2", "bin leads elsewhere"), |house| {
            let link = house.pulled.join("d/bin");
            remove(&link);
            std::os::unix::fs::symlink("usr/nib", &link).expect("a link");
            restore_time(&link);
        }),
        content("what a link is", ("I2", "bin is another kind of file"), |house| {
            remove(&house.pulled.join("d/bin"));
            write(&house.pulled.join("d/bin"), b"");
        }),
        content("a mode", ("I2", "etc/linked has another mode"), |house| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o604);
            fs::set_permissions(house.pulled.join("d/etc/passwd"), mode).expect("its mode");
        }),
        content("a time", ("I2", "usr has another time"), |house| {
            let usr = fs::File::open(house.pulled.join("d/usr"));
            usr.and_then(|usr| usr.set_modified(std::time::UNIX_EPOCH)).expect("its time");
        }),
        content("a hard link", ("I2", "etc/passwd is not linked to its other names"), |house| {
            let (passwd, copy) = (house.pulled.join("d/etc/passwd"), house.pulled.join("d/copy"));
            fs::copy(&passwd, &copy).expect("a copy");
            remove(&passwd);
            #[expect(clippy::disallowed_methods, reason = "nothing of this is to last")]
            fs::rename(&copy, &passwd).expect("it is moved");
            restore_time(&house.pulled.join("d/etc"));
        }),
        content("a file too much", ("I2", "usr/more is not in the tar"), |house| {
            write(&house.pulled.join("d/usr/more"), b"");
            restore_time(&house.pulled.join("d/usr"));
        }),
        content("a whiteout", ("I2", "usr/big is missing"), |house| {
            remove(&house.twice.join("d/usr/big"));
        }),
    ]);
}

#[test]
fn i3_documents_have_their_digests() {
    each_is_found(&[records("a blank more", ("I3", "its bytes have the digest"), |house| {
        let id = house.image("app");
        house.edit(&format!("UPDATE blobs SET data = CAST(data || ' ' AS BLOB) WHERE digest = '{id}'"));
    })]);
}

#[test]
fn i4_images_have_their_documents() {
    each_is_found(&[
        records("no configuration", ("I4", "its configuration is missing"), |house| {
            house.edit(&format!("DELETE FROM blobs WHERE digest = '{}'", house.image("app")));
        }),
        records("no manifest", ("I4", "its manifest is missing"), |house| {
            let id = house.image("app");
            house.edit(&format!(
                "DELETE FROM blobs WHERE digest = (SELECT manifest FROM images WHERE id = '{id}')"
            ));
        }),
        records("another image's manifest", ("I4", "its manifest is of another image"), |house| {
            let (app, base) = (house.image("app"), house.image("base:1"));
            house.edit(&format!(
                "UPDATE images SET manifest = (SELECT manifest FROM images WHERE id = '{base}') WHERE id = '{app}'"
            ));
        }),
        records("a manifest that is none", ("I4", "manifest"), |house| {
            let digest = Digest::of(b"[]");
            house.edit(&format!(
                "INSERT INTO blobs VALUES ('{digest}', CAST('[]' AS BLOB));
                 UPDATE images SET manifest = '{digest}' WHERE id = '{}'",
                house.image("app")
            ));
        }),
        records("a configuration that is none", ("I4", "configuration"), |house| {
            let config = Digest::of(b"[]");
            let manifest = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#
            );
            let digest = Digest::of(manifest.as_bytes());
            house.edit(&format!(
                "INSERT INTO blobs VALUES ('{config}', CAST('[]' AS BLOB));
                 INSERT INTO blobs VALUES ('{digest}', CAST('{manifest}' AS BLOB));
                 INSERT INTO images VALUES ('{config}', '{digest}', NULL, 'pulled', 0, 0)"
            ));
        }),
        records("fewer layers", ("I4", "its chain is not that of"), |house| {
            let (app, base) = (house.image("app"), house.chain("base:1"));
            house.edit(&format!("UPDATE images SET chain = '{base}' WHERE id = '{app}'"));
        }),
        records("no layers", ("I4", "its chain is not that of"), |house| {
            house.edit(&format!("UPDATE images SET chain = NULL WHERE id = '{}'", house.image("app")));
        }),
    ]);
}

#[test]
fn i5_chains_are_what_they_say() {
    each_is_found(&[
        records("another name", ("I5", "it is not that of its parent and its layer"), |house| {
            let id = Digest::of(b"no chain");
            house.edit(&format!("INSERT INTO chains SELECT '{id}', NULL, id FROM layers LIMIT 1"));
        }),
        records("another parent", ("I5", "it is not that of its parent and its layer"), |house| {
            let (app, twice) = (house.chain("app"), house.chain("twice:1"));
            house.edit(&format!("UPDATE chains SET parent = '{twice}' WHERE id = '{app}'"));
        }),
        records("no layer", ("I5", "its layer is not recorded"), |house| {
            let id = Digest::of(b"no chain");
            house.edit(&format!("INSERT INTO chains VALUES ('{id}', NULL, 4711)"));
        }),
        records("no parent", ("I5", "its parent is not recorded"), |house| {
            let (parent, diff_id) = (Digest::of(b"no chain"), house.chain("base:1"));
            let diff_id = diff_id.parse().expect("a chain of one layer is called like it");
            let id = cachestore::oci::chain::extend(Some(parent), diff_id);
            house.edit(&format!(
                "INSERT INTO chains SELECT '{id}', '{parent}', id FROM layers WHERE diff_id = '{diff_id}'"
            ));
        }),
        records("an image without its chain", ("I5", "its chain is not recorded"), |house| {
            house.edit(&format!("DELETE FROM chains WHERE id = '{}'", house.chain("twice:1")));
        }),
    ]);
}

#[test]
fn i6_names_are_normal_and_point_to_images() {
    each_is_found(&[
        records("a name of nothing", ("I6", "which is not recorded"), |house| {
            let id = Digest::of(b"no image");
            house.edit(&format!("INSERT INTO names VALUES ('docker.io/library/new:1', '{id}', 0, 0)"));
        }),
        records("a digest of nothing", ("I6", "which is not recorded"), |house| {
            let id = Digest::of(b"no image");
            house.edit(&format!("INSERT INTO repo_digests VALUES ('docker.io/library/new@{id}', '{id}')"));
        }),
        records("a short name", ("I6", "its normal form is docker.io/library/new:latest"), |house| {
            house.edit(&format!("INSERT INTO names VALUES ('new', '{}', 0, 0)", house.image("app")));
        }),
        records("no name at all", ("I6", "name A B"), |house| {
            house.edit(&format!("INSERT INTO names VALUES ('A B', '{}', 0, 0)", house.image("app")));
        }),
        records("a digest for a name", ("I6", "recorded as what it is not"), |house| {
            let id = house.image("app");
            house.edit(&format!("INSERT INTO names VALUES ('docker.io/library/a@{id}', '{id}', 0, 0)"));
        }),
        records("a name for a digest", ("I6", "recorded as what it is not"), |house| {
            let id = house.image("app");
            house.edit(&format!("INSERT INTO repo_digests VALUES ('docker.io/library/a:1', '{id}')"));
        }),
    ]);
}

#[test]
fn i7_snapshots_have_directories_and_parents() {
    let parent = "its parent nobody is not there";
    each_is_found(&[
        records("no directory", ("I7", "snapshot box: its directory is missing"), |house| {
            remove(own_directory(&house.store, "box").parent().expect("its directory"));
        }),
        records("no work directory", ("I7", "snapshot box: its work directory is missing"), |house| {
            remove(&own_directory(&house.store, "box").with_file_name("w"));
        }),
        records("no parent", ("I7", parent), |house| {
            house.edit("UPDATE snapshots SET parent = 'nobody' WHERE name = 'box'");
        }),
        records("a parent that is not committed", ("I7", "its parent box is not there"), |house| {
            house.edit("UPDATE snapshots SET parent = 'box' WHERE name = 'look'");
        }),
    ]);
}

#[test]
fn i8_everything_has_a_record() {
    let found = ("I8", "it has no record");
    each_is_found(&[
        records("a layer", found, |house| fs::create_dir(house.path("l/zz")).expect("a directory")),
        records("a file among layers", found, |house| write(&house.path("l/zz"), b"")),
        records("a name that is no number", found, |house| write(&house.path("l/A-B"), b"")),
        records("a snapshot", found, |house| fs::create_dir(house.path("s/zz")).expect("a directory")),
    ]);
}

#[test]
fn i9_leases_hold_what_is_there() {
    each_is_found(&[
        records("no layer", ("I9", "it holds layer 4711"), |house| {
            house.edit("INSERT INTO leases VALUES ('a', 1); INSERT INTO lease_layers VALUES ('a', 4711)");
        }),
        records("no lease", ("I9", "lease a"), |house| {
            house.edit("INSERT INTO lease_layers SELECT 'a', id FROM layers LIMIT 1");
        }),
    ]);
}

#[test]
fn i10_the_version_is_this_one() {
    each_is_found(&[
        records("no format", ("I10", "it is missing"), |house| remove(&house.path("format"))),
        records("a newer format", ("I10", "version 2, this program knows 1"), |house| {
            house.set_format(r#"{"version":2}"#);
        }),
        records("an unknown feature", ("I10", "moon"), |house| {
            house.set_format(r#"{"version":1,"read_only":["moon"]}"#);
        }),
        records("a format that is none", ("I10", "format"), |house| house.set_format("?")),
        records("a newer schema", ("I10", "its schema has version 99"), |house| {
            house.edit("PRAGMA user_version = 99");
        }),
    ]);
}
