//! The laws of snapshots, as `ctr` sees them.

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::eventually;

use super::{SOON, World};

/// The laws, by hand.
fn laws(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    let base = world.chain("busybox")?;
    let info = world.info(&base)?;
    ensure!(info["Kind"] == "Committed" && info["Labels"]["containerd.io/snapshot.ref"] == *base, "{info}");

    world.snapshots(&["prepare", "work", &base])?;
    let twice = world.snapshots_command(&["prepare", "work", &base])?.fails_with(1)?;
    ensure!(twice.stderr.contains("already exists"), "{twice}");
    for parent in ["absent", "work"] {
        let failed = world.snapshots_command(&["prepare", "other", parent])?.fails_with(1)?;
        ensure!(failed.stderr.contains(if parent == "work" { "not" } else { "not found" }), "{failed}");
    }
    // A file of the layer below can be read, replaced and removed, and the layer does not notice.
    world.mounted(
        "work",
        "test -x bin/busybox; rm bin/busybox; echo mine >etc/mine; mkdir new; ln etc/mine new/linked",
    )?;
    assert_eq!(world.mounted("work", "ls bin/busybox 2>&1 || cat new/linked")?.lines().last(), Some("mine"));
    world.snapshots(&["commit", "done", "work"])?;
    let failed = world.snapshots_command(&["info", "work"])?.fails_with(1)?;
    ensure!(failed.stderr.contains("not found"), "{failed}");
    world.snapshots(&["prepare", "again", "done"])?;
    let failed = world.snapshots_command(&["commit", "done", "again"])?.fails_with(1)?;
    ensure!(failed.stderr.contains("already exists"), "{failed}");

    world.kept_view("look", "done")?;
    let seen = world.mounted("look", "cat etc/mine; ls -A bin; touch x 2>&1 || echo refused")?;
    ensure!(seen.starts_with("mine\n") && seen.ends_with("refused") && !seen.contains("busybox"), "{seen}");
    world.kept_view("base", &base)?;
    let seen =
        world.mounted("base", "test -x bin/busybox; test ! -e etc/mine; touch x 2>&1 || echo refused")?;
    ensure!(seen.ends_with("refused"), "{seen}");

    world.snapshots(&["label", "again", "team=a", "shim.test/x=y"])?;
    let info = world.info("again")?;
    ensure!(info["Labels"]["team"] == "a" && info["Labels"]["shim.test/x"] == "y", "{info}");
    ensure!(info["Parent"] == "done" && info["Kind"] == "Active", "{info}");
    let listed = world.listed()?;
    for line in [format!("done {base} Committed"), "again done Active".into(), "look done View".into()] {
        ensure!(listed.contains(&line), "{line:?} is missing in {listed:?}");
    }
    let tree = world.snapshots(&["tree"])?;
    let depth = |name: &str| tree.lines().find(|line| line.ends_with(name)).map(|line| line.find(name));
    ensure!(depth(&base) < depth("done") && depth("done") < depth("again"), "{tree}");
    let usage = world.snapshots(&["usage", "-b", "done", "again"])?;
    let inodes = |key: &str| {
        let line = usage.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(2)?.parse::<u32>().ok()
    };
    // Root, bin with its whiteout, etc, the file of two names, new.
    assert_eq!((inodes("done"), inodes("again")), (Some(6), Some(1)), "{usage}");

    for key in ["done", &base] {
        let failed = world.snapshots_command(&["rm", key])?.fails_with(1)?;
        ensure!(failed.stderr.contains("with child") || failed.stderr.contains("in use"), "{failed}");
    }
    world.verify()?;
    // Whoever restarts, everything is there that containerd does not collect.
    let before = world.listed()?;
    for part in ["shimd", "containerd"] {
        world.instance.kill(part)?;
        eventually(SOON, "containerd to reach the snapshotter", || world.info("again"))?;
        assert_eq!(world.listed()?, before, "after {part} died");
        assert_eq!(world.mounted("again", "cat etc/mine")?, "mine");
        assert_eq!(world.snapshots(&["usage", "-b", "done", "again"])?, usage);
    }
    for key in ["look", "base", "again", "done"] {
        world.snapshots(&["rm", key])?;
    }
    world.collect()?;
    world.nothing_is_left()?;
    world.verify()?;
    world.instance.down()
}

#[test]
fn laws_with_debians_containerd() -> Result<()> {
    laws(&Engine::debian()?)
}

#[test]
fn laws_with_containerd_2() -> Result<()> {
    laws(&Engine::two()?)
}
