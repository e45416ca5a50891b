//! What a person types to see and to mend: `doctor`, `status`, `logs`, `env`, `up` once more, and the exit codes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};

use super::is_as_before;

/// How long `up` may take where everything is up. It looks at everything, so this is not nothing on a busy machine.
const NOTHING_TO_DO: Duration = Duration::from_secs(5);

fn instance(host: &Host) -> Result<Instance> {
    Ok(Instance::new(host, &Engine::debian()?, DEFAULT_ROOT.as_ref()))
}

#[test]
fn what_is_missing_is_named_with_what_mends_it() -> Result<()> {
    let host = Host::new()?;
    let instance = instance(&host)?;
    let well = instance.shimctl(&["doctor"])?.run()?;
    for thing in ["containerd", "runc", "nft", "iptables", "CNI plug-ins", "overlayfs", "bridges", "shimd"] {
        ensure!(
            well.stdout.lines().any(|line| line.starts_with("ok") && line.contains(thing)),
            "{thing}: {well}"
        );
    }
    let before = host.traces()?;
    let programs = "/usr/bin/containerd /usr/sbin/nft";
    host.sh(&format!("for program in {programs}; do mount --bind /dev/null $program; done"))?;
    let install = "apt-get update && apt-get install --no-install-recommends containerd nftables";
    let ill = instance.shimctl(&["doctor"])?.fails_with(1)?;
    for said in ["missing  containerd", "missing  nft", "→ apt-get update && apt-get install", install] {
        ensure!(ill.stdout.contains(said), "{said:?} is missing in {ill}");
    }
    // `up` says the same, and changes nothing.
    let refused = instance.shimctl(&["up", "--no-kubernetes"])?.fails_with(1)?;
    for said in ["containerd: not in PATH", "nft: not in PATH", install, "--install"] {
        ensure!(refused.stderr.contains(said), "{said:?} is missing in {refused}");
    }
    host.sh(&format!("umount {programs}"))?;
    is_as_before(&host, &before)?;
    instance.shimctl(&["up", "--components", "nowhere"])?.fails_with(2)?;
    instance.shimctl(&["up", "--no-kubernetes", "--wait", "soon"])?.fails_with(2)?;
    // Nothing runs: that is said, with what to type.
    for words in [&["status"][..], &["status", "-o", "json"], &["images"]] {
        let nothing = instance.shimctl(words)?.fails_with(3)?;
        ensure!(nothing.stderr.contains("start it with: shimctl up"), "{nothing}");
    }
    let nothing = instance.shimctl(&["down"])?.run()?;
    ensure!(nothing.stdout.contains("Nothing runs."), "{nothing}");
    is_as_before(&host, &before)
}

#[test]
fn what_runs_is_shown() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    let instance = instance(&host)?;
    instance.start()?;
    let status = instance.shimctl(&["status", "-o", "json"])?.json()?;
    assert_eq!((&status["ready"], &status["root"]), (&true.into(), &DEFAULT_ROOT.into()));
    let parts: Vec<&str> =
        status["parts"].as_array().into_iter().flatten().filter_map(|part| part["name"].as_str()).collect();
    assert_eq!(parts, ["machine", "box", "shimd", "containerd"]);
    for part in parts {
        let part = instance.part(part)?;
        assert_eq!((&part["state"], &part["restarts"]), (&"ready".into(), &0.into()), "{part}");
        ensure!(part["name"] == "machine" || part["pid"].as_u64().is_some_and(|pid| pid > 1), "{part}");
        ensure!(part["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{part}");
    }
    assert_eq!(instance.part("containerd")?["version"], host.sh("containerd --version | cut -d' ' -f3")?);
    let table = instance.shimctl(&["status"])?.run()?;
    assert_eq!(table.stdout.lines().filter(|line| line.contains(" ready ")).count(), 4, "{table}");

    let logs = instance.shimctl(&["logs"])?.run()?;
    for part in ["containerd", "shimd", "lifecycle"] {
        ensure!(logs.stdout.contains(part), "no line of {part} in {logs}");
    }
    let log = instance.shimctl(&["logs", "containerd"])?.run()?;
    ensure!(log.stdout.contains("containerd successfully booted"), "{log}");
    instance.shimctl(&["logs", "nobody"])?.fails_with(1)?;

    // Whoever evaluates `env` has crictl work without arguments.
    let shimctl = instance.shimctl(&["env"])?.stdout()?;
    let version =
        host.sh(&format!("{shimctl}\necho \"$CONTAINER_RUNTIME_ENDPOINT $IMAGE_SERVICE_ENDPOINT\""))?;
    assert_eq!(version, "unix:///run/shim/cri.sock unix:///run/shim/cri.sock");

    up_again_does_nothing(&host, &instance)?;
    install_with_everything_there(&host, &instance)?;
    instance.down()?;
    is_as_before(&host, &before)?;
    // What the parts said can still be read.
    ensure!(instance.shimctl(&["logs", "shimd"])?.run()?.stdout.contains("shimd"));
    Ok(())
}

fn up_again_does_nothing(host: &Host, instance: &Instance) -> Result<()> {
    let (traces, status) = (host.traces()?, instance.shimctl(&["status", "-o", "json"])?.stdout()?);
    let again = instance.shimctl(&["up", "--no-kubernetes"])?.run()?;
    ensure!(again.elapsed < NOTHING_TO_DO, "{again}");
    assert_eq!(instance.shimctl(&["status", "-o", "json"])?.stdout()?, status);
    assert_eq!(host.traces()?.since(&traces), Vec::<String>::new());
    Ok(())
}

/// Where everything is there, `--install` calls nobody: the packages of this host are the machine's.
fn install_with_everything_there(host: &Host, instance: &Instance) -> Result<()> {
    let packages = "dpkg-query --show | cksum; find /var/lib/dpkg /var/lib/apt -newer /run/mark -type f; ls /usr/sbin/policy-rc.d 2>&1";
    host.sh(
        "touch /run/mark; for program in apt-get dpkg; do mount --bind /bin/false /usr/bin/$program; done",
    )?;
    let before = host.command("sh").args(["-c", packages]).output()?.stdout;
    instance.shimctl(&["up", "--no-kubernetes", "--install"])?.run()?;
    instance.down()?;
    instance.shimctl(&["up", "--no-kubernetes", "--install"])?.run()?;
    assert_eq!(host.command("sh").args(["-c", packages]).output()?.stdout, before);
    host.sh("umount /usr/bin/apt-get /usr/bin/dpkg; rm /run/mark")?;
    Ok(())
}
