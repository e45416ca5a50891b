//! A host is a machine of its own, and leaves nothing on the real one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::command::Command;
use tests::daemon::Signal;
use tests::eventually;
use tests::host::{Host, Options};

const SOON: Duration = Duration::from_secs(20);

/// What of a host is on the machine: cgroups and a directory.
fn remains(name: &str) -> Result<String> {
    let script =
        "find /sys/fs/cgroup -name \"$1\"; find \"${SHIM_TEST_TMP:-/var/tmp}\" -maxdepth 1 -name \"$1\"";
    Command::new("sh").args(["-euc", script, "sh", name]).stdout()
}

#[test]
fn a_host_has_loopback_and_nothing_else() -> Result<()> {
    let host = Host::new()?;
    assert_eq!(host.sh("ip -o link show | cut -d: -f2")?, "lo");
    assert_eq!(host.sh("ip -o addr show dev lo | awk '{ print $4 }'")?, "127.0.0.1/8\n::1/128");
    assert_eq!(host.sh("ip route show")?, "");
    assert_eq!(host.sh("nft list ruleset")?, "");
    assert_eq!(host.sh("cat /proc/sys/net/ipv4/ip_forward")?, "0");
    let failure = host.command("curl").args(["-sS", "http://192.0.2.1/"]).fails_with(7)?;
    ensure!(failure.elapsed < SOON, "there is no way out, and that took long: {failure}");
    Ok(())
}

#[test]
fn options_make_the_host_harder() -> Result<()> {
    let options = Options {
        ip_forward: true,
        forward_drop: true,
        resolv_conf_symlink: true,
        hosts: vec!["192.0.2.7 somewhere.example".to_owned()],
    };
    let host = Host::with(&options)?;
    assert_eq!(host.sh("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    ensure!(host.sh("nft list chain ip filter FORWARD")?.contains("policy drop"));
    assert_eq!(host.sh("readlink /etc/resolv.conf")?, "../run/systemd/resolve/stub-resolv.conf");
    ensure!(host.sh("cat /etc/resolv.conf")?.contains("nameserver 127.0.0.53"));
    assert_eq!(host.sh("getent hosts somewhere.example | cut -d' ' -f1")?, "192.0.2.7");
    Ok(())
}

#[test]
fn what_a_host_changes_stays_inside() -> Result<()> {
    let host = Host::new()?;
    let script = "mount -t tmpfs none /mnt; mkdir -p /var/lib/shim /run/shim; touch /etc/shim-test-mark /var/log/mark; \
                  ip link add shim-test-br type bridge; echo 1 >/proc/sys/net/ipv4/ip_forward";
    let machine = |script: &str| Command::new("sh").args(["-euc", script]).stdout();
    let forward = machine("cat /proc/sys/net/ipv4/ip_forward")?;
    let mounts = machine("cat /proc/self/mounts")?;
    host.sh(script)?;
    assert_eq!(
        host.sh("stat -f -c %T /mnt; ls /var/lib/shim /run/shim; ls /var/log")?,
        "tmpfs\n/run/shim:\n\n/var/lib/shim:\nmark"
    );
    assert_eq!(machine("cat /proc/self/mounts")?, mounts);
    assert_eq!(machine("cat /proc/sys/net/ipv4/ip_forward")?, forward);
    for path in
        ["/var/lib/shim", "/run/shim", "/etc/shim-test-mark", "/var/log/mark", "/sys/class/net/shim-test-br"]
    {
        ensure!(!Path::new(path).exists(), "{path} is on the machine");
    }
    Ok(())
}

#[test]
fn mounts_are_shared_among_namespaces_inside() -> Result<()> {
    // As on a machine with systemd: a slave namespace sees what is mounted later.
    let host = Host::new()?;
    let script = "unshare --mount --propagation slave sh -c 'echo ready; read x; stat -f -c %T /mnt' <\"$0\" & \
                  exec 3>\"$0\"; mount -t tmpfs none /mnt; echo go >&3; wait";
    let pipe = host.dir().join("tmp/pipe");
    host.command("mkfifo").arg(&pipe).run()?;
    let said = host.command("sh").args(["-euc", script]).arg(&pipe).stdout()?;
    assert_eq!(said, "ready\ntmpfs");
    Ok(())
}

#[test]
fn processes_are_in_cgroups_of_the_host() -> Result<()> {
    let host = Host::new()?;
    let inside = host.sh("cut -d: -f3 /proc/self/cgroup | sort -u")?;
    ensure!(inside == "/" || inside == "/init", "inside: {inside}");
    let daemon = host.daemon("sleeper", host.command("sleep").arg("1000"))?;
    let outside = Command::new("cat").arg(format!("/proc/{}/cgroup", daemon.pid()?)).stdout()?;
    for line in outside.lines() {
        ensure!(line.contains(host.name()), "outside of the host's cgroups: {line}");
    }
    // A cgroup made inside is one of the host's.
    host.sh(
        "for h in $(awk '/ - cgroup/ { print $5 }' /proc/self/mountinfo); do mkdir $h/made-inside; done",
    )?;
    let found = Command::new("find").args(["/sys/fs/cgroup", "-name", "made-inside"]).stdout()?;
    ensure!(found.lines().count() > 0 && found.lines().all(|path| path.contains(host.name())), "{found}");
    Ok(())
}

#[test]
fn the_end_of_a_host_ends_everything_in_it() -> Result<()> {
    let host = Host::new()?;
    let name = host.name().to_owned();
    ensure!(!remains(&name)?.is_empty(), "no cgroup, no directory");
    // A daemon as shims are: in a session of its own, parent gone, in a cgroup and with mounts and a network namespace.
    let script = "d=$(ls -d /sys/fs/cgroup/*/ | head -n1)pods/one; mkdir -p $d; mkdir -p /run/netns; touch /run/netns/n; \
                  setsid unshare --net --mount sh -c \"echo \\$\\$ >$d/cgroup.procs; echo \\$\\$; exec sleep 1000\" </dev/null &";
    let daemon = host.daemon("daemons", host.command("sh").args(["-euc", script]))?;
    let orphan = eventually(SOON, "the orphan", || host.sh("pgrep -x sleep"))?;
    drop(daemon);
    assert_eq!(host.sh("pgrep -x sleep")?, orphan, "it should outlive the command that started it");
    drop(host);
    assert_eq!(remains(&name)?, "");
    Ok(())
}

#[test]
fn a_killed_test_takes_its_host_along() -> Result<()> {
    // This very test binary, run a second time for the test below, is killed while its host is up.
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "host::stays_until_killed", "--nocapture"])
        .env("SHIM_TEST_STAY", "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no output")?;
    let lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let name = lines.map_while(Result::ok).find_map(|line| line.split("HOST ").nth(1).map(str::to_owned));
    let name = name.context("the other test named no host")?;
    ensure!(!remains(&name)?.is_empty(), "no cgroup, no directory");
    child.kill()?;
    child.wait()?;
    eventually(SOON, "the end of the host", || {
        let left = remains(&name)?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The other half of the test above; alone it has nothing to do.
#[test]
fn stays_until_killed() -> Result<()> {
    if std::env::var_os("SHIM_TEST_STAY").is_none() {
        return Ok(());
    }
    let host = Host::new()?;
    println!("HOST {}", host.name());
    host.command("sleep").arg("1000").limit(Duration::from_secs(1000)).run()?;
    Ok(())
}

#[test]
fn orphans_are_reaped() -> Result<()> {
    let host = Host::new()?;
    host.sh("sh -c 'sleep 0.01 & sleep 0.02 &' ")?;
    eventually(SOON, "no zombie", || {
        let left = host.sh("ps -eo stat=,comm= | grep -E 'sleep|^Z' || true")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn daemons_can_be_signalled_and_killed() -> Result<()> {
    let host = Host::new()?;
    let script = "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    let mut daemon = host.daemon("trap", host.command("bash").args(["-c", script]))?;
    let up = |daemon: &tests::daemon::Daemon| {
        ensure!(daemon.log()?.contains("up"), "not up");
        Ok(())
    };
    eventually(SOON, "the daemon", || up(&daemon))?;
    assert_eq!(host.sh(&format!("cat /proc/{}/comm", daemon.pid_inside()?))?, "bash");
    daemon.signal(Signal::TERM)?;
    assert_eq!(daemon.wait(SOON)?.code(), Some(5));
    ensure!(daemon.log()?.ends_with("asked\n"), "{}", daemon.log()?);

    let mut daemon = host.daemon("second", host.command("sleep").arg("1000"))?;
    let inside = daemon.pid_inside()?;
    daemon.kill()?;
    ensure!(!daemon.is_running()?);
    host.command("test").args(["-e", &format!("/proc/{inside}")]).fails_with(1)?;
    Ok(())
}

#[test]
fn commands_over_their_limit_die_inside_too() -> Result<()> {
    let host = Host::new()?;
    let limit = Duration::from_millis(300);
    host.command("sleep").arg("1000").limit(limit).run().expect_err("killed");
    eventually(SOON, "the end of sleep", || {
        let left = host.sh("pgrep -x sleep || true")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn traces_tell_what_was_left() -> Result<()> {
    let host = Host::new()?;
    let before = host.traces()?;
    assert_eq!(host.traces()?.since(&before), Vec::<String>::new());
    host.sh(
        "mount -t tmpfs none /mnt; ip link add br0 type bridge; nft add table ip t; echo x >>/etc/hosts; rm /etc/issue; \
         for h in $(awk '/ - cgroup/ { print $5 }' /proc/self/mountinfo | head -n1); do mkdir $h/left; done; \
         echo 1 >/proc/sys/net/ipv4/ip_forward; sleep 1000 &",
    )?;
    let changes = host.traces()?.since(&before).join("\n");
    let expected = [
        "process: ",
        "sleep 1000",
        "mount: /mnt tmpfs",
        "link: br0",
        "rule: table ip t",
        "-file: /etc/issue",
        "/left",
        "setting: /proc/sys/net/ipv4/ip_forward:1",
        " /etc/hosts",
    ];
    for part in expected {
        ensure!(changes.contains(part), "{part:?} is missing in\n{changes}");
    }
    Ok(())
}
