//! The end of shimd while somebody waits for it.

use anyhow::{Result, ensure};
use tests::daemon::Signal;
use tests::host::Host;
use tests::image::{Compression, Content, Entry, Kind, Layer, Recipe};
use tests::images::{Set, base_set};
use tests::registry::Registry;
use tests::shimd::Shimd;
use tests::{eventually, files, product};

use super::{DRAIN_LIMIT, SOON, logged};

const SLOW: &str = "tc qdisc replace dev lo root tbf rate 24mbit burst 128k latency 1s";
const SLOWEST: &str = "tc qdisc replace dev lo root tbf rate 2mbit burst 128k latency 1s";
const FAST: &str = "tc qdisc del dev lo root";

/// A registry that serves one image, `big`, of 12 MB in three layers, and a shimd.
fn with_big() -> Result<(Host, Registry, Shimd)> {
    let host = Host::new()?;
    let registry = Registry::stocked(&host, &[])?;
    let set = Set::make(host.dir().join("set"), |maker| {
        let mut recipe = Recipe::default();
        for number in 1..=3 {
            let content = Content::Stream(4_000_000, Box::new(std::io::repeat(number)));
            let file = Entry::new(format!("f{number}"), Kind::File(content));
            recipe = recipe.layer(&Layer::write(maker.blobs(), Compression::None, [file])?);
        }
        let image = recipe.write(maker.blobs())?;
        maker.add("docker.io/library/big", &["latest"], &image);
        Ok(())
    })?;
    registry.serve(&set)?;
    let shimd = Shimd::start(&host)?;
    Ok((host, registry, shimd))
}

/// Waits until a part of a layer is on the disk.
fn has_begun(shimd: &Shimd) -> Result<()> {
    let partials = shimd.root().join("store/p");
    eventually(SOON, "a download to begin", || {
        let mut lengths = Vec::new();
        for entry in std::fs::read_dir(&partials)? {
            lengths.push(entry?.metadata()?.len());
        }
        ensure!(lengths.iter().any(|&length| length > 100_000), "{lengths:?}");
        Ok(())
    })
}

#[test]
fn what_is_under_way_ends_before_the_daemon() -> Result<()> {
    let (host, _registry, mut shimd) = with_big()?;
    // 12 MB take four seconds: there is time to ask for an end, and more than enough to come to one.
    host.sh(SLOW)?;
    let mut pull = host.daemon("pull", shimd.shimctl(&["pull", "big"])?)?;
    has_begun(&shimd)?;
    shimd.daemon().signal(Signal::TERM)?;
    logged(shimd.daemon(), "stopping")?;
    let late = shimd.shimctl(&["images"])?.output()?;
    ensure!(late.status.code() == Some(3), "nobody new is served: {late}");
    let status = pull.wait(SOON)?;
    ensure!(status.success() && pull.log()?.contains("Downloaded newer image"), "{status} {}", pull.log()?);
    let status = shimd.daemon().wait(DRAIN_LIMIT)?;
    ensure!(status.success(), "{status}");
    host.sh(FAST)?;

    // A save whose reader takes its time.
    shimd.kill_and_restart()?;
    let (whole, slow, pipe) =
        (host.dir().join("whole.tar"), host.dir().join("slow.tar"), host.dir().join("tmp/pipe"));
    shimd.shimctl(&["save", "-o", &whole.to_string_lossy(), "big"])?.run()?;
    host.command("mkfifo").arg(&pipe).run()?;
    let script = "\"$@\" | { head -c 1000000; read -r go <\"$0\"; cat; }";
    let mut save = host.command("sh").args(["-c", &format!("{script} >{}", slow.display())]).arg(&pipe);
    save = save.arg(product::program("shimctl")?).arg("--root").arg(shimd.root()).args(["save", "big"]);
    let mut save = host.daemon("save", save)?;
    eventually(SOON, "the first megabyte", || {
        ensure!(slow.metadata()?.len() >= 1_000_000);
        Ok(())
    })?;
    shimd.daemon().signal(Signal::TERM)?;
    logged(shimd.daemon(), "stopping")?;
    ensure!(shimd.daemon().is_running()? && save.is_running()?, "there is more to send");
    host.sh(&format!("echo go >{}", pipe.display()))?;
    ensure!(save.wait(SOON)?.success(), "{}", save.log()?);
    ensure!(shimd.daemon().wait(DRAIN_LIMIT)?.success());
    host.command("cmp").arg(&whole).arg(&slow).run()?;

    shimd.kill_and_restart()?;
    shimd.shimctl(&["verify", "--content"])?.run()?;
    shimd.stop()
}

#[test]
fn what_does_not_end_is_answered() -> Result<()> {
    let (host, registry, mut shimd) = with_big()?;
    registry.serve(&base_set()?)?;
    let context = host.dir().join("context");
    files::put(context.join("Dockerfile"), "FROM busybox\nRUN echo begun && sleep 12345\n")?;
    let build = shimd.shimctl_in(&context, &["build", "--progress", "plain", "."])?;
    let mut build = host.daemon("build", build)?;
    let steps = || host.sh("pgrep -fx 'sleep 12345' || true");
    eventually(SOON, "the step", || {
        ensure!(build.log()?.contains("begun") && !steps()?.is_empty(), "{}", build.log()?);
        Ok(())
    })?;
    host.sh(SLOWEST)?;
    let mut pull = host.daemon("pull", shimd.shimctl(&["pull", "big"])?)?;
    has_begun(&shimd)?;
    shimd.daemon().signal(Signal::TERM)?;
    let status = shimd.daemon().wait(DRAIN_LIMIT)?;
    ensure!(status.success(), "{status}");
    ensure!(shimd.daemon().log()?.contains("some calls did not end in time"), "{}", shimd.daemon().log()?);
    let status = pull.wait(SOON)?;
    ensure!(!status.success() && !pull.log()?.contains("Downloaded"), "{status} {}", pull.log()?);
    let status = build.wait(SOON)?;
    ensure!(!status.success(), "{status} {}", build.log()?);
    // A step does not outlive whom it is for, nor do its mounts.
    assert_eq!(steps()?, "");
    let mounts = host.sh("cat /proc/self/mountinfo")?;
    ensure!(!mounts.contains(&*shimd.root().to_string_lossy()), "{mounts}");
    host.sh(FAST)?;
    // Nothing is lost by it.
    shimd.kill_and_restart()?;
    shimd.shimctl(&["pull", "-q", "big"])?.run()?;
    shimd.shimctl(&["verify", "--content"])?.run()?;
    shimd.stop()
}
