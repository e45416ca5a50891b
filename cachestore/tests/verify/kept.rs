//! Damages to kept blobs.

use std::fs;
use std::os::unix::fs::symlink;

use cachestore::Digest;

use crate::support::write;
use crate::{content, each_is_found, flip, records, remove};

#[test]
fn i11_kept_blobs_are_what_they_were() {
    each_is_found(&[
        records("no file", ("I11", "b/1 is no file of"), |house| remove(&house.kept)),
        records("another size", ("I11", "b/1 is no file of"), |house| write(&house.kept, b"")),
        records("a directory for a file", ("I11", "b/1 is no file of"), |house| {
            remove(&house.kept);
            fs::create_dir(&house.kept).expect("a directory");
        }),
        records("a link for a file", ("I11", "b/1 is no file of"), |house| {
            let moved = house.path("t/moved");
            fs::copy(&house.kept, &moved).expect("a copy");
            remove(&house.kept);
            symlink(moved, &house.kept).expect("a link");
        }),
        records("another size on record", ("I11", "b/1 is no file of"), |house| {
            house.edit("UPDATE kept_blobs SET size = size + 1");
        }),
        records("no layer", ("I11", "its layer is not recorded"), |house| {
            house.edit("UPDATE kept_blobs SET layer = 4711");
        }),
        records("no record", ("I11", "b/1: it has no record"), |house| house.edit("DELETE FROM kept_blobs")),
        records("a file too much", ("I11", "it has no record"), |house| write(&house.path("b/zz"), b"")),
        content("a changed byte", ("I11", "have the digest"), |house| flip(&house.kept)),
        content("another digest on record", ("I11", "have the digest"), |house| {
            let digest = Digest::of(b"another");
            house.edit(&format!("UPDATE kept_blobs SET digest = '{digest}'"));
        }),
    ]);
}
