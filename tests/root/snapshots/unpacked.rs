//! What containerd unpacks, and what has very many layers.

use anyhow::{Context as _, Result, ensure};
use tests::containerd::Engine;
use tests::{eventually, files};

use super::{SOON, World};

/// What containerd unpacks by itself, upon a base that the store has, and runs.
fn unpacks(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    let base = world.chain("busybox")?;
    world.build("top")?;
    let top = world.chain("top")?;
    let first = world.inspect("top")?["Id"].as_str().context("no ID")?.to_owned();
    let archive = world.host.dir().join("top.tar");
    world.shimctl(&["save", "-o", &archive.to_string_lossy(), "top"])?;
    // The store forgets the image, its layer included; of the base only the record in containerd is left.
    world.shimctl(&["rmi", "top"])?;
    world.shimctl(&["prune", "--force"])?;
    world.collect()?;
    let failed = world.snapshots_command(&["info", &top])?.fails_with(1)?;
    ensure!(failed.stderr.contains("not found"), "{failed}");

    let mut import = world.instance.ctr(&["images", "import", "--snapshotter", "cachestore"])?;
    if engine.version.0 > 1 {
        // containerd 2 imports through a service that has to be told of each snapshotter.
        import = import.arg("--local");
    }
    import.arg(&archive).run()?;
    let info = world.info(&top)?;
    ensure!(info["Kind"] == "Committed" && info["Parent"] == *base, "{info}");
    // The base is the store's own, the layer upon it is containerd's.
    let own = world.host.sh("ls /var/lib/shim/store/s")?;
    assert_eq!(own.lines().count(), 1, "{own}");
    let run = ["run", "--rm", "--snapshotter", "cachestore", "docker.io/library/top:latest", "one"];
    assert_eq!(world.instance.ctr(&run)?.args(["/bin/busybox", "cat", "/said"]).stdout()?, "said by top");
    world.verify()?;

    // Neither collection takes what containerd unpacked, nor what is below.
    world.shimctl(&["prune", "--all", "--force"])?;
    world.collect()?;
    for part in ["containerd", "shimd"] {
        world.instance.kill(part)?;
        eventually(SOON, "containerd to reach the snapshotter", || world.info(&top))?;
        assert_eq!(world.instance.ctr(&run)?.args(["/bin/busybox", "cat", "/said"]).stdout()?, "said by top");
    }
    world.verify()?;

    // Built again, the image is ours, and is registered on top of what containerd has.
    world.build("top")?;
    assert_eq!(world.chain("top")?, top);
    let pod = world.crictl.run_pod("pod")?;
    let container = pod.start("top", "top", &["sleep", "1000"])?;
    assert_eq!(world.crictl.run(&["exec", &container, "cat", "/said"])?, "said by top");
    pod.remove()?;
    world.verify()?;

    world.shimctl(&["rmi", "top"])?;
    // The first build has another ID. containerd's own CRI made a record for it when it was imported.
    world.ctr(&["images", "rm", &first])?;
    world.collect()?;
    let failed = world.snapshots_command(&["info", &top])?.fails_with(1)?;
    ensure!(failed.stderr.contains("not found"), "{failed}");
    world.nothing_is_left()?;
    world.verify()?;
    world.instance.down()
}

#[test]
fn containerd_unpacks_with_debians_containerd() -> Result<()> {
    unpacks(&Engine::debian()?)
}

#[test]
fn containerd_unpacks_with_containerd_2() -> Result<()> {
    unpacks(&Engine::two()?)
}

/// Images with more layers than fit into a page of mount options by containerd's own names.
fn deep(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    let pod = world.crictl.run_pod("deep")?;
    for count in [61, 127] {
        let name = format!("test/layers:{count}");
        world.crictl.run(&["pull", &name])?;
        let container = pod.start(&format!("c{count}"), &name, &["sleep", "1000"])?;
        let run = |script: &str| world.crictl.run(&["exec", &container, "sh", "-c", script]);
        assert_eq!(
            run("cat /top; echo; ls /layers | wc -l; echo mine >/top; cat /top")?,
            format!("{count}\n{}\nmine", count - 1)
        );
        let view = format!("view-{count}");
        world.kept_view(&view, &world.chain(&name)?)?;
        assert_eq!(world.mounted(&view, "cat top layers/61")?, format!("{count}61"));
    }
    // A build goes on upon them.
    let context = world.host.dir().join("deeper");
    files::put(context.join("Dockerfile"), "FROM test/layers:127\nRUN cat /top >/seen\n")?;
    world.instance.shimctl_in(&context, &["build", "-q", "-t", "deeper", "."])?.run()?;
    let container = pod.start("deeper", "deeper", &["sleep", "1000"])?;
    assert_eq!(world.crictl.run(&["exec", &container, "cat", "/seen"])?, "127");
    pod.remove()?;
    world.verify()?;
    world.instance.down()
}

#[test]
fn many_layers_with_debians_containerd() -> Result<()> {
    deep(&Engine::debian()?)
}

#[test]
fn many_layers_with_containerd_2() -> Result<()> {
    deep(&Engine::two()?)
}
