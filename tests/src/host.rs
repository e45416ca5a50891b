//! A developer's machine, played by namespaces.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use self::traces::Traces;
use crate::command::{Command, wait_for_end};
use crate::daemon::Daemon;
use crate::network::Network;

mod traces;

const OUTSIDE: &str = include_str!("host/outside.sh");
const INSIDE: &str = include_str!("host/inside.sh");

/// How long a host may take to end: its processes are killed, its cgroups and its directory removed.
const END_LIMIT: Duration = Duration::from_secs(60);

/// PATH inside: a login shell's of root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that pass from the tests into a host. The first marks processes for `tests/run`.
const PASSED: [&str; 3] = ["SHIM_TEST_RUN", "SHIM_TEST_CACHE", "RUST_BACKTRACE"];

/// What a host is like. The default: `ip_forward` is 0, nothing is filtered, `/etc/resolv.conf` is a file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Forwarding of IPv4 packets is on already.
    pub ip_forward: bool,
    /// A forward chain with policy drop stands there, as Docker and ufw leave it.
    pub forward_drop: bool,
    /// `/etc/resolv.conf` is a symbolic link into `/run`, to a stub on loopback, as systemd-resolved leaves it.
    pub resolv_conf_symlink: bool,
    /// Further lines of `/etc/hosts`.
    pub hosts: Vec<String>,
}

/// A machine of its own for one test: namespaces of network, mounts, processes, IPC and cgroups.
///
/// It has loopback and no other link, its own `/etc` (a copy), `/run`, `/var/lib`, `/var/log`, home directory and
/// cgroup tree; the rest of the filesystem, `/tmp` and [`Host::dir`] among it, is the machine's. Mounts are shared among the
/// namespaces inside, as on a machine with systemd, and never reach the machine. The end of the last clone, or of the test's
/// process in whatever way, ends every process inside and removes cgroups and files.
#[derive(Debug, Clone)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    dir: PathBuf,
    first: u32,
    holder: Option<Child>,
}

impl Host {
    /// Makes a host of the default kind.
    ///
    /// # Errors
    /// As [`Host::with`].
    pub fn new() -> Result<Self> {
        Self::with(&Options::default())
    }

    /// Makes a host.
    ///
    /// # Errors
    /// The caller is not root, a program is missing, or the kernel refuses; with what the scripts said.
    pub fn with(options: &Options) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shim-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = temporary().join(&name);
        let flag = |on: bool| if on { "1" } else { "0" };
        let mut holder = std::process::Command::new("bash");
        holder
            .args([OsStr::new("-c"), OUTSIDE.as_ref(), "outside".as_ref()])
            .args([name.as_ref(), dir.as_os_str(), INSIDE.as_ref()])
            .env("PATH", PATH)
            .env("IP_FORWARD", flag(options.ip_forward))
            .env("FORWARD_DROP", flag(options.forward_drop))
            .env("RESOLV_SYMLINK", flag(options.resolv_conf_symlink))
            .env("HOSTS", options.hosts.join("\n"))
            .env("LOGS", logs(&name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut holder = holder.spawn().context("start bash")?;
        let stdout = holder.stdout.take().context("the holder's output")?;
        let mut inner = Inner { name, dir, first: 0, holder: Some(holder) };
        // An early end of the script ends its output; what it had to say is on standard error.
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("read the holder's output")?;
        match line.trim().strip_prefix("ready ").map(str::parse) {
            Some(Ok(pid)) => inner.first = pid,
            _ => bail!("no host: {line:?} (root? programs of util-linux, iproute2 and nftables?)"),
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Returns the name, which is that of its cgroups on the machine.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the directory of the host: on a disk, at the same path inside and outside, gone with the host.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Returns the home directory of the host's root.
    pub fn home(&self) -> PathBuf {
        self.0.dir.join("home")
    }

    /// Returns a path inside `/etc` of the host as it is called outside.
    pub fn etc(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.dir.join("etc").join(path)
    }

    /// Prepares a program that runs in the host, with the environment of a login there and nothing of the tests'.
    ///
    /// What it starts goes on when it ends, until the host ends. When it runs into its limit, it alone is killed.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_at(None, program.as_ref())
    }

    /// Prepares a program that runs in the host, in this directory.
    pub fn command_in(&self, dir: impl AsRef<Path>, program: impl AsRef<OsStr>) -> Command {
        self.command_at(Some(dir.as_ref()), program.as_ref())
    }

    /// Runs a script of the shell in the host; returns its standard output without white space at the ends.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.command("sh").args(["-euc", script]).stdout()
    }

    /// Starts a daemon in the host.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn daemon(&self, name: &str, command: Command) -> Result<Daemon> {
        Daemon::start(name, command, &self.dir().join("logs").join(format!("{name}.log")), true)
    }

    /// Returns its network.
    ///
    /// # Errors
    /// The host is gone.
    pub fn network(&self) -> Result<Network> {
        Network::open(Path::new(&format!("/proc/{}/ns/net", self.0.first)))
    }

    /// Returns the network of a process of the host, by the number that it has there.
    ///
    /// # Errors
    /// There is no such process.
    pub fn network_of(&self, pid: u64) -> Result<Network> {
        Network::open(Path::new(&format!("/proc/{}/root/proc/{pid}/ns/net", self.0.first)))
    }

    /// Returns what is there now of what a program can leave behind.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn traces(&self) -> Result<Traces> {
        Traces::of(self)
    }

    fn command_at(&self, dir: Option<&Path>, program: &OsStr) -> Command {
        // Processes join the cgroups outside: from inside, cgroup v2 refuses those that come from elsewhere.
        let join = "while read -r procs; do echo 0 >\"$procs\"; done <\"$1\"; shift; exec \"$@\"";
        let mut inner = std::process::Command::new("sh");
        inner.env_clear().args(["-euc", join, "join"]).arg(self.0.dir.join("join"));
        inner.args(["nsenter", "--target", &self.0.first.to_string()]);
        inner.args(["--mount", "--net", "--ipc", "--cgroup", "--pid"]);
        if let Some(dir) = dir {
            let mut option = OsString::from("--wdns=");
            option.push(dir);
            inner.arg(option);
        }
        // `nsenter` waits outside for the program inside; the death of the one is the death of the other.
        inner.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program);
        inner.env("PATH", PATH).env("HOME", self.home()).env("TMPDIR", self.0.dir.join("tmp"));
        inner.env("USER", "root").env("LANG", "C.UTF-8").env("TERM", "dumb");
        for name in PASSED {
            if let Some(value) = std::env::var_os(name) {
                inner.env(name, value);
            }
        }
        Command::wrapped(inner, program)
    }
}

impl Inner {
    fn end(&mut self) -> Result<()> {
        let Some(mut holder) = self.holder.take() else { return Ok(()) };
        drop(holder.stdin.take());
        if !wait_for_end(&holder, END_LIMIT)? {
            holder.kill()?;
            holder.wait()?;
            bail!("{} did not end in {END_LIMIT:?}", self.name);
        }
        holder.wait()?;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            complain(&error);
        }
    }
}

#[expect(clippy::print_stderr, reason = "a destructor can only tell")]
fn complain(error: &anyhow::Error) {
    eprintln!("{error:#}");
}

/// Returns where the logs of a host go when it ends: below `$SHIM_TEST_LOGS`, by the name of the test; empty for nowhere.
fn logs(host: &str) -> OsString {
    let Some(dir) = std::env::var_os("SHIM_TEST_LOGS") else { return OsString::new() };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default().replace("::", ".");
    Path::new(&dir).join(format!("{test}.{host}")).into_os_string()
}

/// Returns the directory under which hosts live: `$SHIM_TEST_TMP`, or `/var/tmp`, which is on a disk where `/tmp`
/// may not be.
fn temporary() -> PathBuf {
    std::env::var_os("SHIM_TEST_TMP").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}
