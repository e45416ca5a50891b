//! Ends the store's process at every failpoint of every operation, and looks at what is left.
//!
//! Each test is two programs. Started by cargo it is the *driver* (`driver.rs`); it starts this binary again, as the
//! *victim*, which does one operation and dies at one failpoint of it.

mod archive;
mod driver;
mod fixture;
mod operations;
mod picture;
mod processes;
mod recovery;
mod victim;

use driver::{Operation, drive};

/// Makes a test of each operation: its name, the least number of its failpoints, what must be there before, itself, and
/// whether it is done at once.
macro_rules! operations {
    ($($name:ident: $least:literal, $before:path, $run:path, $atomic:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let operation = Operation { least: $least, before: $before, run: $run, is_atomic: $atomic };
                drive(stringify!($name), &operation);
            }
        )*
    };
}

operations! {
    download: 2, operations::nothing, operations::download, true;
    restart_download: 2, operations::a_download, operations::restart_download, true;
    forget_download: 2, operations::a_download, operations::forget_download, true;
    // Between rename and record the download is lost, and fetched again.
    keep_download: 6, operations::a_whole_download, operations::keep_download, false;
    ingest: 18, operations::nothing, operations::ingest, true;
    ingest_what_is_there: 30, operations::an_ingested_layer, operations::ingest, true;
    build: 11, operations::nothing, operations::build, true;
    build_again: 11, operations::a_built_layer, operations::build_again, true;
    record_image: 2, operations::an_ingested_layer, operations::record_image, true;
    pull: 31, operations::nothing, operations::pull, false;
    // Between its layers and itself, an image is not there.
    load: 38, operations::nothing, operations::load, false;
    tag: 2, operations::nothing, operations::tag, true;
    move_tag: 2, operations::nothing, operations::move_tag, true;
    untag: 2, operations::nothing, operations::untag, true;
    remove_image: 2, operations::nothing, operations::remove_image, true;
    collect: 33, operations::garbage, operations::collect, true;
    settle: 3, operations::nothing, operations::settle, true;
    tree_digest: 2, operations::nothing, operations::tree_digest, true;
    prepare_snapshot: 7, operations::nothing, operations::prepare_snapshot, true;
    prepare_view: 7, operations::nothing, operations::prepare_view, true;
    prepare_what_is_there: 7, operations::prepare_snapshot, operations::prepare_snapshot, true;
    expire_lease: 18, operations::a_broken_pull, operations::expire, true;
    commit_snapshot: 5, operations::an_active_snapshot, operations::commit_snapshot, true;
    relabel_snapshot: 2, operations::nothing, operations::relabel_snapshot, true;
    remove_snapshot: 11, operations::an_active_snapshot, operations::remove_snapshot, true;
}
