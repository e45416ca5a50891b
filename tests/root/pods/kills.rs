//! Daemons that die while containerd is being told of an image: the next pod starts all the same.

use anyhow::Result;
use tests::containerd::Engine;
use tests::files;

use super::World;

/// How long after the build, in seconds. A registration takes about a tenth of one.
const MOMENTS: [&str; 4] = ["0", "0.01", "0.03", "0.06"];

fn the_next_pod_starts(engine: &Engine) -> Result<()> {
    let world = World::new(engine)?;
    let context = world.host.dir().join("context");
    let shimctl = world.instance.shimctl_in(&context, &[])?.line();
    for (number, moment) in MOMENTS.iter().enumerate() {
        for part in ["shimd", "containerd"] {
            let name = format!("{part}-{number}");
            let dockerfile = format!(
                "FROM busybox\nRUN echo {name} > /made\nRUN echo more >> /made\nCMD [\"sleep\", \"1000\"]\n"
            );
            files::put(context.join("Dockerfile"), dockerfile)?;
            let pid = world.instance.pid(part)?;
            let script = format!("{shimctl} build -q -t {name} . && sleep {moment} && kill -9 {pid}");
            world.host.command_in(&context, "sh").args(["-euc", &script]).run()?;
            world.instance.until_back(part, pid)?;
            let pod = world.crictl.run_pod(&name)?;
            let container = pod.start("made", &name, &[])?;
            assert_eq!(world.crictl.run(&["exec", &container, "cat", "/made"])?, format!("{name}\nmore"));
            pod.remove()?;
        }
    }
    world.instance.shimctl(&["verify"])?.run()?;
    Ok(())
}

#[test]
fn on_debians_containerd() -> Result<()> {
    the_next_pod_starts(&Engine::debian()?)
}

#[test]
fn on_containerd_2() -> Result<()> {
    the_next_pod_starts(&Engine::two()?)
}
