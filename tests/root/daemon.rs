//! shimd as a daemon: how it starts, ends, logs, and whom it answers.

mod drain;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::command::Command;
use tests::crictl::Crictl;
use tests::daemon::Daemon;
use tests::host::Host;
use tests::images::base_set;
use tests::registry::Registry;
use tests::shimd::Shimd;
use tests::{eventually, files, product};

const SOON: Duration = Duration::from_secs(20);
/// Far more than it takes: a machine that is busy must not make a test fail.
const START_LIMIT: Duration = Duration::from_secs(5);
/// shimd waits ten seconds for calls that do not end.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// The user `nobody`.
const NOBODY: &str = "65534";
/// The most that shimd may grow by, once it is warm.
const GROWTH_KIB: u64 = 4 << 10;

/// Prepares a shimd of its own, with further arguments.
fn shimd(host: &Host, args: &[&str]) -> Result<Command> {
    let dir = host.dir().join("own");
    files::dir(&dir)?;
    let command = host.command(product::program("shimd")?).arg("--store").arg(dir.join("store"));
    let command = command.arg("--run").arg(dir.join("run"));
    Ok(command.arg("--containerd").arg(dir.join("run/none.sock")).args(args))
}

/// Prepares a call of shimctl to that one.
fn shimctl(host: &Host, args: &[&str]) -> Result<Command> {
    let command = host.command(product::program("shimctl")?);
    Ok(command.arg("--root").arg(host.dir().join("own")).args(args))
}

/// Starts a shimd of its own and waits until it serves.
fn start(host: &Host, name: &str, args: &[&str]) -> Result<Daemon> {
    let mut daemon = host.daemon(name, shimd(host, args)?)?;
    daemon.ready(SOON, "shimd", || shimctl(host, &["images", "-q"])?.run().map(drop))?;
    Ok(daemon)
}

fn end(daemon: &mut Daemon) -> Result<()> {
    let status = daemon.stop(DRAIN_LIMIT)?;
    ensure!(status.success(), "shimd ended with {status}:\n{}", daemon.log()?);
    Ok(())
}

/// Waits until a log has this.
fn logged(daemon: &Daemon, words: &str) -> Result<()> {
    eventually(SOON, &format!("{words:?} in the log"), || {
        ensure!(daemon.log()?.contains(words), "{}", daemon.log()?);
        Ok(())
    })
}

fn sockets(host: &Host) -> [PathBuf; 3] {
    ["cri.sock", "control.sock", "snapshots.sock"].map(|name| host.dir().join("own/run").join(name))
}

#[test]
fn it_serves_at_once_and_one_at_a_time() -> Result<()> {
    let host = Host::new()?;
    let [cri, ..] = sockets(&host);
    let begin = Instant::now();
    let mut first = host.daemon("first", shimd(&host, &[])?)?;
    first.ready(SOON, "its sockets", || {
        ensure!(sockets(&host).iter().all(|socket| socket.exists()), "not all of them");
        Ok(())
    })?;
    let bound = begin.elapsed();
    // A socket that is there has somebody behind it.
    shimctl(&host, &["images", "-q"])?.run()?;
    let crictl = Crictl::new(&host, &cri)?;
    let images = crictl.json(&["images"])?;
    println!("bound after {bound:?}, answered after {:?}", begin.elapsed());
    ensure!(bound < START_LIMIT, "bound after {bound:?}");
    ensure!(images["images"][0]["pinned"] == true, "the pause image is there: {images}");

    // What does not need containerd works without it, and the rest says what is missing.
    let failed = crictl.command(&["pods"]).fails_with(1)?;
    ensure!(failed.stderr.contains("Unavailable") && failed.stderr.contains("none.sock"), "{failed}");

    let holder = format!("is in use by shimd, process {}", first.pid_inside()?);
    for _ in 0..2 {
        let second = shimd(&host, &[])?.fails_with(1)?;
        ensure!(second.stderr.contains(&holder), "{holder:?} is missing: {second}");
        ensure!(second.elapsed < START_LIMIT, "{second}");
    }
    // The first has not been disturbed, and after its end there is room.
    shimctl(&host, &["images", "-q"])?.run()?;
    end(&mut first)?;
    ensure!(sockets(&host).iter().all(|socket| !socket.exists() || nobody_listens(&host, socket)));
    shimctl(&host, &["images"])?.fails_with(3)?;
    let mut third = start(&host, "third", &[])?;

    // Neither a socket nor a lock that was left behind is in the way.
    third.kill()?;
    ensure!(sockets(&host).iter().all(|socket| socket.exists()), "kill -9 leaves them");
    let failed = shimctl(&host, &["images"])?.fails_with(3)?;
    ensure!(failed.elapsed < START_LIMIT && !failed.stderr.is_empty(), "{failed}");
    let mut fourth = start(&host, "fourth", &[])?;
    assert_eq!(crictl.json(&["images"])?, images);
    let run = cri.parent().context("a directory")?.display();
    assert_eq!(host.sh(&format!("find {run} -name '.*.sock*'"))?, "", "temporary names");
    end(&mut fourth)
}

/// Tells whether a connection to a socket is refused.
fn nobody_listens(host: &Host, socket: &std::path::Path) -> bool {
    let curl = host.command("curl").arg("-s").arg("--unix-socket").arg(socket).arg("http://shimd/");
    curl.fails_with(7).is_ok()
}

#[test]
fn users_are_told_apart_by_the_kernel() -> Result<()> {
    let host = Host::new()?;
    // Somebody else must be able to reach what is asked for.
    let program = PathBuf::from("/var/lib/shimctl");
    host.command("install").args(["-m", "755"]).arg(product::program("shimctl")?).arg(&program).run()?;
    let root = PathBuf::from("/var/lib/own");
    host.command("mkdir").args(["-m", "755"]).arg(&root).run()?;
    let launch = |name: &str, args: &[&str]| -> Result<Daemon> {
        let command = host.command(product::program("shimd")?).arg("--store").arg(root.join("store"));
        let mut daemon = host.daemon(name, command.arg("--run").arg(root.join("run")).args(args))?;
        daemon.ready(SOON, "shimd", || {
            host.command(&program).arg("--root").arg(&root).args(["images", "-q"]).run().map(drop)
        })?;
        Ok(daemon)
    };
    let nobody = |program: &str| {
        let ids = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"];
        host.command("setpriv").args(ids).arg(program)
    };
    let images = |shimctl: Command| shimctl.arg("--root").arg(&root).args(["images"]);
    let mut daemon = launch("root-only", &[])?;
    let refused = images(nobody("/var/lib/shimctl")).fails_with(1)?;
    ensure!(refused.stderr.contains("user 65534 may not use this daemon"), "{refused}");
    for verb in [&["prune", "--force"][..], &["rmi", "x"], &["pull", "x"], &["verify"], &["df"]] {
        let command = nobody("/var/lib/shimctl").arg("--root").arg(&root).args(verb);
        let refused = command.fails_with(1)?;
        ensure!(refused.stderr.contains("user 65534 may not use this daemon"), "{refused}");
    }
    for name in ["cri.sock", "snapshots.sock"] {
        let socket = root.join("run").join(name);
        let curl = nobody("curl").args(["-sS", "--unix-socket"]).arg(&socket).arg("http://shimd/");
        let refused = curl.fails_with(7)?;
        ensure!(!nobody_listens(&host, &socket), "root can connect to {name}: {refused}");
        assert_eq!(host.sh(&format!("stat -c %a {}", socket.display()))?, "600");
    }
    end(&mut daemon)?;

    let mut daemon = launch("others", &["--allow", "1", "--allow", NOBODY])?;
    let allowed = images(nobody("/var/lib/shimctl")).run()?;
    ensure!(allowed.stdout.starts_with("REPOSITORY"), "{allowed}");
    let other = host.command("setpriv").args(["--reuid", "2", "--clear-groups", "--"]).arg(&program);
    images(other).fails_with(1)?;
    // The other sockets are root's all the same.
    let curl = nobody("curl").args(["-s", "--unix-socket"]).arg(root.join("run/cri.sock"));
    curl.arg("http://shimd/").fails_with(7)?;
    let store = nobody("ls").arg(root.join("store")).fails_with(2)?;
    ensure!(store.stderr.contains("Permission denied"), "{store}");
    end(&mut daemon)
}

/// Returns the level and the module of each line.
fn levels(log: &str) -> Vec<(&str, &str)> {
    let word = |line| str::split_whitespace(line);
    let pair = |line| Some((word(line).nth(1)?, word(line).nth(2)?.trim_end_matches(':')));
    log.lines().filter_map(pair).collect()
}

#[test]
fn logs_have_levels_by_module_and_two_forms() -> Result<()> {
    let host = Host::new()?;
    // containerd is not there: its module has something to say all the time, for those who want to know.
    let mut daemon = start(&host, "info", &[])?;
    end(&mut daemon)?;
    let log = daemon.log()?;
    ensure!(log.contains(" INFO shimd::daemon: serving") && log.contains("signal=\"SIGTERM\""), "{log}");
    ensure!(levels(&log).iter().all(|(level, _)| *level != "DEBUG") && !log.contains('\u{1b}'), "{log}");

    let mut daemon = start(&host, "module", &["--log", "warn,shimd::containerd=debug"])?;
    logged(&daemon, "the connection to containerd ended")?;
    end(&mut daemon)?;
    let log = daemon.log()?;
    let foreign =
        |(level, module): &(&str, &str)| *level == "DEBUG" && !module.starts_with("shimd::containerd");
    ensure!(!levels(&log).iter().any(foreign) && !log.contains("serving"), "{log}");

    let mut daemon = start(&host, "crate", &["--log", "shimd=debug"])?;
    logged(&daemon, "DEBUG shimd::containerd")?;
    logged(&daemon, "INFO shimd::daemon: serving")?;
    end(&mut daemon)?;
    ensure!(
        levels(&daemon.log()?).iter().all(|(_, module)| module.starts_with("shimd")),
        "{}",
        daemon.log()?
    );

    let mut daemon = start(&host, "json", &["--log-json", "--log", "shimd=debug"])?;
    logged(&daemon, "connection to containerd ended")?;
    end(&mut daemon)?;
    let mut messages = Vec::new();
    for line in daemon.log()?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line:?}"))?;
        for key in ["timestamp", "level", "target"] {
            ensure!(line[key].is_string(), "{key} is missing in {line}");
        }
        messages.push(line["fields"]["message"].as_str().context("no message")?.to_owned());
    }
    ensure!(messages.contains(&"serving".to_owned()) && messages.contains(&"stopping".to_owned()));

    // The file says the same, and the command line wins.
    let config = host.dir().join("shimd.toml");
    files::put(&config, "[log]\nfilter = \"warn\"\njson = true\n")?;
    let config = config.to_string_lossy();
    let mut daemon = start(&host, "file", &["--config", &config])?;
    end(&mut daemon)?;
    assert_eq!(daemon.log()?.trim(), "");
    let mut daemon = start(&host, "both", &["--config", &config, "--log", "info"])?;
    end(&mut daemon)?;
    ensure!(daemon.log()?.lines().all(|line| line.starts_with('{')) && daemon.log()?.contains("serving"));
    Ok(())
}

#[test]
fn mistakes_are_named_before_anything_is_touched() -> Result<()> {
    let host = Host::new()?;
    let file = host.dir().join("shimd.toml");
    let config = file.to_string_lossy();
    for (text, line, word) in [
        ("[images]\npull = \"local\"\n\n[cahce]\nkeep = \"1GiB\"\n", "line 4", "unknown field `cahce`"),
        ("[images]\npull = \"newest\"\n", "line 2", "unknown variant `newest`"),
        ("[cache]\n\nkeep = \"much\"\n", "line 3", "\"much\" is not a size such as \"20GiB\""),
        ("[build]\nparallel = -1\n", "line 2", "-1"),
        ("# nothing\n[log\n", "line 2", "TOML parse error"),
    ] {
        files::put(&file, text)?;
        let failed = shimd(&host, &["--config", &config])?.fails_with(1)?;
        for part in [&*config, line, word] {
            ensure!(failed.stderr.contains(part), "{part:?} is missing: {failed}");
        }
        let lines: Vec<_> = failed.stderr.lines().collect();
        ensure!(lines[0].contains("ERROR shimd: "), "{failed}");
    }
    files::put(&file, "[log]\njson = true\n[images]\npull = 1\n")?;
    ensure!(shimd(&host, &["--config", &config])?.fails_with(1)?.stderr.contains("line 4"));
    let dir = host.dir().to_string_lossy().into_owned();
    for (args, code, words) in [
        (["--config", &*dir], 1, "Is a directory"),
        (["--log", "shimd=loud"], 1, "the log filter \"shimd=loud\" is wrong"),
        (["--pause", "Not A Name"], 1, "--pause is not an image name"),
        (["--allow", "somebody"], 2, "--allow"),
        (["--frobnicate", "x"], 2, "--frobnicate"),
    ] {
        let failed = shimd(&host, &args)?.fails_with(code)?;
        ensure!(failed.stderr.contains(words), "{words:?} is missing: {failed}");
    }
    ensure!(!host.dir().join("own/run").exists(), "a socket, though nothing was started");
    // A file that is empty, or none at all, is no mistake.
    files::put(&file, "")?;
    end(&mut start(&host, "empty", &["--config", &config])?)
}

/// Returns the resident memory of a process in KiB.
fn resident(daemon: &Daemon) -> Result<u64> {
    let status = files::text(format!("/proc/{}/status", daemon.pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn memory_does_not_grow_with_calls() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    let mut shimd = Shimd::start(&host)?;
    shimd.shimctl(&["pull", "-q", "busybox"])?.run()?;
    let socket = shimd.root().join("run/cri.sock");
    let crictl = Crictl::new(&host, &socket)?;
    // One shell for all of them: entering a host takes longer than a call.
    let script = "i=0; while [ $i -lt 50 ]; do \"$0\" --root \"$1\" images >/dev/null; \
                  \"$0\" --root \"$1\" inspect busybox >/dev/null; i=$((i + 1)); done";
    let mut resident_after_calls = || -> Result<u64> {
        let sh = host.command("sh").args(["-euc", script]).arg(product::program("shimctl")?);
        sh.arg(shimd.root()).run()?;
        for args in [&["inspecti", "busybox"][..], &["images"], &["imagefsinfo"]] {
            crictl.run(args)?;
        }
        resident(shimd.daemon())
    };
    // The first round fills caches and pools of threads.
    let samples = [resident_after_calls()?, resident_after_calls()?, resident_after_calls()?];
    println!("resident after 100, 200 and 300 calls: {samples:?} KiB");
    ensure!(samples[2] <= samples[0] + GROWTH_KIB, "{samples:?} KiB");
    shimd.stop()
}
