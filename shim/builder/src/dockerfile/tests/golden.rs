//! The folders below `testdata`: a Dockerfile, and beside it what the parser makes of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::parse;
use super::dump;

pub(super) fn cases(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(kind);
    let entries = fs::read_dir(&folder).expect("testdata is part of the crate");
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder is readable").path()).collect();
    cases.sort();
    assert!(!cases.is_empty(), "{}", folder.display());
    cases
}

pub(super) fn read(case: &Path, file: &str) -> Vec<u8> {
    fs::read(case.join(file)).unwrap_or_else(|error| panic!("{}/{file}: {error}", case.display()))
}

/// Compares all cases of a kind, and names every one that differs.
fn compare(kind: &str, file: &str, actual: impl Fn(&[u8]) -> String) {
    let mut wrong = Vec::new();
    for case in cases(kind) {
        let actual = actual(&read(&case, "Dockerfile"));
        if actual.as_bytes() != read(&case, file) {
            wrong.push(format!("{}:\n{actual}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{file} is not what the parser makes of\n{}", wrong.join("\n"));
}

#[test]
fn good_files_have_their_result() {
    compare("good", "result", |text| match parse(text) {
        Ok(dockerfile) => dump::dockerfile(&dockerfile),
        Err(error) => format!("refused: {error}\n"),
    });
}

#[test]
fn bad_files_have_their_error() {
    compare("bad", "error", |text| match parse(text) {
        Ok(_) => "accepted\n".to_owned(),
        Err(error) => dump::error(&error),
    });
}
