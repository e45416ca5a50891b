//! The real program against daemons that are made up: what it prints, and how it ends.
#![allow(clippy::unwrap_used, reason = "all of this is a test: what is not there makes it fail")]

mod builder;
mod fake;
mod golden;
mod images;
mod lifecycle;
mod storage;
mod terminal;
mod world;

use world::World;

/// Runs the commands of one golden file.
fn check(name: &str) {
    golden::check(&World::new(), name);
}

#[test]
fn build() {
    check("build");
}

#[test]
fn build_that_fails() {
    check("build-failures");
}

#[test]
fn credentials() {
    check("credentials");
}

#[test]
fn images() {
    check("images");
}

#[test]
fn pull() {
    check("pull");
}

#[test]
fn tag_rmi_inspect_history() {
    check("one-image");
}

#[test]
fn save() {
    check("save");
}

#[test]
fn store() {
    check("store");
}

#[test]
fn up_and_down() {
    check("lifecycle");
}

#[test]
fn logs() {
    check("logs");
}

#[test]
fn other_commands() {
    check("other");
}

#[test]
fn daemons_that_cannot_be_reached() {
    check("unreachable");
}

/// A daemon that dies while it is talked to is one that cannot be reached.
#[test]
fn connections_that_break() {
    let world = World::new();
    std::fs::create_dir(world.path("empty/run")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(world.path("empty/run/control.sock")).unwrap();
    let accept = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let output = world.shell("shimctl --root $WORLD/empty images").output().unwrap();
    accept.join().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("Error: "), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
}
