//! One machine's components come to another that has no network.

use std::path::Path;

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::files;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};

use super::{PROGRAMS, VERSION, World, has_all, up};

#[test]
fn a_machine_without_a_network_comes_up_from_an_archive() -> Result<()> {
    let world = World::new()?;
    let archive = world.host.dir().join("kubernetes.tar");
    let bundle = || Ok::<_, anyhow::Error>(world.instance.shimctl(&["bundle", "-o"])?.arg(&archive));
    let early = bundle()?.fails_with(1)?;
    ensure!(early.stderr.contains("has no Kubernetes") && early.stderr.contains("shimctl up"), "{early}");
    world.up("release", "ready")?;
    // What was left by one that was killed does not stand in the way.
    files::put(archive.with_extension("tar.partial"), vec![b'x'; 1 << 20])?;
    let said = bundle()?.run()?;
    ensure!(said.stdout.starts_with(&archive.display().to_string()), "{said}");
    ensure!(said.stderr.contains("copying kubelet") && said.stderr.contains("saving the images"), "{said}");
    assert!(!archive.with_extension("tar.partial").exists());
    let listed = world.host.sh(&format!("tar -tf {}", archive.display()))?;
    let programs = PROGRAMS.map(|name| format!("bin/{name}"));
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [&programs.each_ref().map(String::as_str)[..], &["images.tar", "manifest.json"]].concat()
    );
    let unwritable = world.instance.shimctl(&["bundle", "-o", "/proc/x.tar"])?.fails_with(1)?;
    ensure!(unwritable.stderr.contains("/proc/x.tar"), "{unwritable}");
    world.instance.down()?;

    let other = Host::new()?;
    let engine = Engine::debian()?;
    let instance = Instance::new(&other, &engine, Path::new(DEFAULT_ROOT));
    refuse_damaged(&other, &instance, &engine, &archive)?;
    refuse_another_version(&engine, &archive)?;
    let source = format!("bundle={}", archive.display());
    up(&instance, &engine.path(), &["--components", &source], "ready")?;
    has_all(&other, &instance)?;
    instance.down()?;
    // What is installed does not need the archive any more.
    let moved = archive.with_extension("moved");
    other.sh(&format!("mv {} {}", archive.display(), moved.display()))?;
    up(&instance, &engine.path(), &["--components", &source], "ready")?;
    instance.down()?;
    other.sh(&format!("mv {} {}", moved.display(), archive.display()))?;
    other.sh(&format!("rm {DEFAULT_ROOT}/bin/kubectl"))?;
    up(&instance, &engine.path(), &["--components", &source], "ready")?;
    has_all(&other, &instance)?;
    instance.down()
}

/// Tries archives that are not what they should be; none of them leaves anything.
fn refuse_damaged(host: &Host, instance: &Instance, engine: &Engine, archive: &Path) -> Result<()> {
    let whole = files::get(archive)?;
    let damaged = host.dir().join("damaged.tar");
    let source = format!("bundle={}", damaged.display());
    let mut changed = whole.clone();
    // Within the images.
    changed[whole.len() * 2 / 3] ^= 1;
    for (bytes, reason) in
        [(changed, "images.tar has the SHA-256"), (whole[..whole.len() / 2].to_vec(), "is cut off")]
    {
        files::put(&damaged, &bytes)?;
        let message = up(instance, &engine.path(), &["--components", &source], "failed")?;
        ensure!(message.contains("damaged.tar") && message.contains(reason), "{reason}: {message}");
        let images = instance.shimctl(&["images", "-q"])?.stdout()?;
        ensure!(images.lines().count() <= 1, "more than shimd's own image: {images}");
        assert_eq!(host.sh(&format!("ls {DEFAULT_ROOT}/bin || true"))?, "");
        instance.down()?;
    }
    let missing = up(instance, &engine.path(), &["--components", "bundle=/nowhere.tar"], "failed")?;
    ensure!(missing.contains("/nowhere.tar"), "{missing}");
    instance.down()
}

/// An archive of one version does not make a cluster of another.
fn refuse_another_version(engine: &Engine, archive: &Path) -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::new(&host, engine, Path::new(DEFAULT_ROOT));
    let source = format!("bundle={}", archive.display());
    let flags = ["--components", &source, "--kubernetes-version", "v1.36.1"];
    let message = up(&instance, &engine.path(), &flags, "failed")?;
    ensure!(message.contains(&format!("has Kubernetes {VERSION}, and v1.36.1 was asked for")), "{message}");
    instance.down()
}
