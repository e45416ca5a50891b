//! `up` that is interrupted, or that loses what it just started: what was begun goes on, and `up` once more is enough.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::containerd::Engine;
use tests::daemon::{Daemon, Signal};
use tests::eventually;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};
use tests::product;

use super::{SOON, is_as_before};

const UP_LIMIT: Duration = Duration::from_secs(60);

/// Types `up` at a terminal of its own, so that Ctrl-C reaches whatever it has started.
fn begin(host: &Host, number: usize) -> Result<Daemon> {
    let shimctl = product::program("shimctl")?;
    host.daemon(&format!("up-{number}"), host.command("setsid").arg(shimctl).args(["up", "--no-kubernetes"]))
}

/// Waits until `up` has shown this many lines; false when it was done before.
fn has_shown(up: &mut Daemon, lines: usize) -> Result<bool> {
    eventually(UP_LIMIT, "the next line of `up`", || {
        let shown = up.log()?.lines().count();
        let is_running = up.is_running()?;
        ensure!(shown >= lines || !is_running, "{shown} lines");
        Ok(is_running)
    })
}

#[test]
fn at_any_line_by_ctrl_c_or_kill() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
    let before = host.traces()?;
    let mut number = 0;
    loop {
        let mut up = begin(&host, number)?;
        if !has_shown(&mut up, number)? {
            break;
        }
        if number % 2 == 0 {
            // At the first moment it may not have a terminal of its own yet.
            let kill = "kill -INT -- -PID 2>/dev/null || kill -INT PID || ! [ -e /proc/PID ]";
            host.sh(&kill.replace("PID", &up.pid_inside()?.to_string()))?;
        } else {
            up.signal(Signal::KILL)?;
        }
        up.wait(SOON)?;
        if number > 0 {
            // Who has shown a line has asked for everything: it comes though nobody waits for it any more.
            eventually(UP_LIMIT, "what was asked for", || instance.shimctl(&["status"])?.run().map(drop))?;
        }
        instance.start()?;
        instance.down()?;
        is_as_before(&host, &before)?;
        number += 1;
    }
    ensure!(number > 5, "only {number} lines");
    instance.down()?;
    is_as_before(&host, &before)
}

/// Prints the process that is to die; as soon as there is one, and, where that is something else, as soon as it works.
const VICTIMS: [(&str, &str); 5] = [
    ("box", "pgrep -f 'bootstrap .*[h]old --wait'"),
    ("box", ""),
    ("shimd", "pgrep -x shimd"),
    ("containerd", "pgrep -f '[c]ontainerd --config'"),
    ("containerd", ""),
];

#[test]
fn what_dies_on_the_way_up_is_started_again() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
    let before = host.traces()?;
    for (number, (part, script)) in VICTIMS.into_iter().enumerate() {
        let mut up = begin(&host, number)?;
        let pid = eventually(UP_LIMIT, part, || match script {
            "" => instance.pid(part),
            script => Ok(host.sh(script)?.parse()?),
        })?;
        host.command("kill").args(["-9", &pid.to_string()]).run()?;
        let status = up.wait(UP_LIMIT)?;
        ensure!(status.success(), "{part}: {status}\n{}\n{}", up.log()?, instance.logs());
        eventually(UP_LIMIT, "everything to be ready", || {
            ensure!(instance.pid(part)? != pid, "{part} was not started again");
            instance.shimctl(&["status"])?.run().map(drop)
        })?;
        instance.down()?;
        is_as_before(&host, &before)?;
    }
    Ok(())
}

#[test]
fn down_at_any_line_of_up() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
    let before = host.traces()?;
    let mut number = 1;
    loop {
        let mut up = begin(&host, number)?;
        if !has_shown(&mut up, number)? {
            break;
        }
        instance.down()?;
        let status = up.wait(SOON)?;
        // It may just have been done.
        ensure!(status.success() || up.log()?.contains("taken down"), "{status}\n{}", up.log()?);
        is_as_before(&host, &before)?;
        number += 3;
    }
    ensure!(number > 6, "only {number} lines");
    instance.down()?;
    is_as_before(&host, &before)
}

#[test]
fn by_two_people_at_once() -> Result<()> {
    let host = Host::new()?;
    let instance = Instance::new(&host, &Engine::debian()?, DEFAULT_ROOT.as_ref());
    let before = host.traces()?;
    let mut people = [begin(&host, 0)?, begin(&host, 1)?];
    for person in &mut people {
        let status = person.wait(UP_LIMIT)?;
        ensure!(status.success(), "{status}\n{}", person.log()?);
    }
    assert_eq!(host.sh("pgrep -xc shimd; pgrep -xc containerd; pgrep -fc 'bootstrap .*[s]erve'")?, "1\n1\n1");
    let mut people = [
        host.daemon("first", instance.shimctl(&["down"])?)?,
        host.daemon("second", instance.shimctl(&["down"])?)?,
    ];
    for person in &mut people {
        let status = person.wait(UP_LIMIT)?;
        ensure!(status.success(), "{status}\n{}", person.log()?);
    }
    is_as_before(&host, &before)
}
