//! What one store saved, another one loads.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tests::daemon::Daemon;
use tests::files;
use tests::host::Host;
use tests::images::{base_set, bench_set, layers_set};
use tests::registry::Registry;
use tests::shimd::Shimd;
use tonic::Code;

use crate::control::Control;

/// Two images of a registry, in an archive.
struct World {
    host: Host,
    archive: PathBuf,
    /// `ID NAME`, as the first store listed them.
    listed: String,
}

impl World {
    fn new(sets: &[tests::images::Set], names: &[&str]) -> Result<Self> {
        let host = Host::new()?;
        let _registry = Registry::stocked(&host, sets)?;
        let mut shimd = Shimd::start(&host)?;
        for name in names {
            shimd.shimctl(&["pull", "-q", name])?.run()?;
        }
        let archive = host.dir().join("images.tar");
        shimd.shimctl(&["save", "-o"])?.arg(&archive).args(names).run()?;
        let listed = listed(&shimd)?;
        shimd.stop()?;
        // The next shimd has another store.
        host.sh(&format!("mv {0} {0}-first", shimd.root().display()))?;
        Ok(Self { host, archive, listed })
    }
}

/// Lists the images, but for shimd's own.
fn listed(shimd: &Shimd) -> Result<String> {
    let format = "{{.ID}} {{.Repository}}:{{.Tag}}";
    let all = shimd.shimctl(&["images", "--no-trunc", "--format", format])?.stdout()?;
    Ok(all.lines().filter(|line| !line.contains("shim.internal/")).collect::<Vec<_>>().join("\n"))
}

fn verify(shimd: &Shimd) -> Result<()> {
    shimd.shimctl(&["verify", "--content"])?.run().map(drop)
}

/// Returns what lies in the store's directory for work in progress.
fn unfinished(shimd: &Shimd) -> Result<Vec<String>> {
    let found = files::tree(&shimd.root().join("store/t"))?;
    Ok(found.iter().map(|path| path.display().to_string()).collect())
}

#[test]
fn images_come_back_with_their_ids() -> Result<()> {
    let world = World::new(&[base_set()?, layers_set()?], &["busybox", "test/layers:2"])?;
    let mut shimd = Shimd::start(&world.host)?;
    let said = shimd.shimctl(&["load", "-i"])?.arg(&world.archive).stdout()?;
    assert_eq!(said, "Loaded image: busybox:latest\nLoaded image: test/layers:2");
    assert_eq!(listed(&shimd)?, world.listed);
    verify(&shimd)?;
    let image = shimd.shimctl(&["inspect", "busybox"])?.json()?[0].take();
    assert_eq!(image["Shim"]["Origin"], "loaded");
    assert_eq!(image["Shim"]["Names"][0]["Local"], true);
    // No registry answers any more: the policy does.
    shimd.shimctl(&["pull", "-q", "busybox"])?.run()?;

    let again = shimd.shimctl(&["load"])?.input(files::get(&world.archive)?).stdout()?;
    assert_eq!(again, said);
    // What it saves is what it loaded.
    let saved = world.host.dir().join("again.tar");
    shimd.shimctl(&["save", "-o"])?.arg(&saved).args(["busybox", "test/layers:2"]).run()?;
    ensure!(files::get(&saved)? == files::get(&world.archive)?, "the archives differ");
    shimd.kill_and_restart()?;
    assert_eq!(listed(&shimd)?, world.listed);
    verify(&shimd)?;
    shimd.stop()
}

#[test]
fn an_archive_that_is_damaged_is_refused_with_the_reason() -> Result<()> {
    let world = World::new(&[base_set()?], &["busybox"])?;
    let mut shimd = Shimd::start(&world.host)?;
    let whole = files::get(&world.archive)?;
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let file = world.host.dir().join("damaged.tar");
    for (bytes, reason) in [
        (whole[..whole.len() / 2].to_vec(), "it ends in the middle of a member"),
        (whole[..512 * 3].to_vec(), "it is missing, or the archive is cut off"),
        (Vec::new(), "this is no OCI image layout"),
        (b"no archive at all".repeat(100), "this is not a tar archive"),
        (flip(whole.len() / 2), "its bytes have the digest"),
        (flip(150), "a header's checksum is wrong"),
    ] {
        files::put(&file, &bytes)?;
        let said = shimd.shimctl(&["load", "-i"])?.arg(&file).fails_with(1)?.stderr;
        ensure!(said.contains(reason), "{reason}: {said}");
        // It is said at once, though nobody said that this was all.
        if reason.contains("digest") || reason.contains("checksum") {
            let status = Control::connect(&shimd.root().join("run/control.sock"))?.load_without_end(bytes);
            ensure!(status.code() == Code::InvalidArgument && status.message().contains(reason), "{status}");
        }
        assert_eq!(listed(&shimd)?, "");
        assert_eq!(unfinished(&shimd)?, [""; 0]);
    }
    let said = shimd.shimctl(&["load", "-i", "/nowhere.tar"])?.fails_with(1)?.stderr;
    ensure!(said.contains("open /nowhere.tar"), "{said}");
    verify(&shimd)?;
    shimd.shimctl(&["load", "-q", "-i"])?.arg(&world.archive).run()?;
    shimd.stop()
}

#[test]
fn a_load_that_is_killed_can_be_repeated() -> Result<()> {
    let world = World::new(&[base_set()?, bench_set()?], &["busybox", "test/bench"])?;
    let mut shimd = Shimd::start(&world.host)?;
    let store = shimd.root().join("store");
    // While the archive is read, while layers are unpacked, and when the first of two images is there.
    let layers = |store: &Path| Ok::<_, anyhow::Error>(std::fs::read_dir(store.join("l"))?.count());
    let own = layers(&store)?;
    type Moment<'a> = (&'a str, &'a dyn Fn(&Path) -> Result<bool>);
    let moments: [Moment<'_>; 3] = [
        ("spool", &|store| Ok(!files::tree(&store.join("t"))?.is_empty())),
        ("layers", &|store| Ok(layers(store)? > own)),
        ("more layers", &|store| Ok(layers(store)? > own + 2)),
    ];
    for (name, has_come) in moments {
        let load = shimd.shimctl(&["load", "-i"])?.arg(&world.archive);
        let mut load = world.host.daemon(name, load)?;
        wait_for(&mut load, || has_come(&store))?;
        shimd.kill_and_restart()?;
        let status = load.wait(std::time::Duration::from_secs(20))?;
        ensure!(!status.success(), "{name}: {status}");
        assert_eq!(unfinished(&shimd)?, [""; 0]);
        verify(&shimd)?;
        let there = listed(&shimd)?;
        ensure!(world.listed.lines().any(|line| there.is_empty() || line == there), "{name}: {there}");
    }
    shimd.shimctl(&["load", "-i"])?.arg(&world.archive).run()?;
    assert_eq!(listed(&shimd)?, world.listed);
    verify(&shimd)?;
    shimd.stop()
}

/// Waits until a load has come so far; it must not end before.
fn wait_for(load: &mut Daemon, mut has_come: impl FnMut() -> Result<bool>) -> Result<()> {
    load.ready(std::time::Duration::from_secs(60), "the load", || {
        // What is removed while it is looked at is not there yet.
        has_come().ok().filter(|come| *come).map(drop).context("it has not come so far")
    })
}
