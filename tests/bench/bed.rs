//! What every row is measured on: a host with a registry, an instance of the product and a plain containerd.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use tests::command::Command;
use tests::containerd::{Containerd, Engine};
use tests::crictl::Crictl;
use tests::files;
use tests::host::Host;
use tests::images::{Set, base_set};
use tests::instance::Instance;
use tests::registry::Registry;

/// No measurement takes longer.
const LIMIT: Duration = Duration::from_secs(900);

/// Programs that would unpack for containerd; a machine may have them or not.
const UNPACKERS: [&str; 2] = ["unpigz", "igzip"];

/// A host and what runs in it.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) instance: Instance,
    pub(crate) containerd: Containerd,
    pub(crate) registry: Registry,
    engine: Engine,
    root: PathBuf,
    // The last to go.
    pub(crate) host: Host,
}

impl Bed {
    /// Makes a host in which both have this engine and the base images' registry.
    pub(crate) fn make(engine: &Engine) -> Result<Self> {
        let host = Host::new()?;
        let path = engine.path();
        for program in UNPACKERS {
            let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
            ensure!(found.is_none(), "containerd would unpack with {found:?}: remove it for this comparison");
        }
        let registry = Registry::start(&host)?;
        registry.serve(&base_set()?)?;
        let root = host.dir().join("shim");
        // An instance with another root has its configuration there.
        for certs in [root.join("etc/certs.d"), host.etc("containerd/certs.d")] {
            registry.mirror(&certs)?;
        }
        let containerd = Containerd::start(&host, "plain", engine, &host.etc("containerd/certs.d"))?;
        let instance = Instance::new(&host, engine, &root);
        instance.start()?;
        Ok(Self { instance, containerd, registry, engine: engine.clone(), root, host })
    }

    /// Serves further images.
    pub(crate) fn serve(&self, set: &Set) -> Result<()> {
        self.registry.serve(set)
    }

    /// Returns the root directory of the instance.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a directory for what a row needs.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.host.dir().join("bench").join(name);
        files::dir(&dir)?;
        Ok(dir)
    }

    /// Returns the words of a call of shimctl.
    pub(crate) fn shimctl(&self, args: &[&str]) -> Result<String> {
        Ok(self.instance.shimctl(args)?.line())
    }

    /// Returns the words with which a call of ctr to the instance's containerd begins.
    pub(crate) fn our_ctr(&self) -> String {
        let ctr = self.engine.program("ctr");
        format!(
            "'{}' --address '{}' --namespace k8s.io",
            ctr.display(),
            self.instance.containerd_socket().display()
        )
    }

    /// Returns crictl of our side and of the other.
    pub(crate) fn crictls(&self) -> Result<[Crictl; 2]> {
        Ok([self.instance.crictl()?, self.containerd.crictl()?])
    }

    /// Prepares a shell in which the engine's programs come first.
    pub(crate) fn shell(&self, script: impl AsRef<OsStr>) -> Command {
        let shell = self.host.command("bash").args(["-euo", "pipefail", "-c"]).arg(script);
        shell.env("PATH", self.engine.path()).limit(LIMIT)
    }

    /// Runs a script that need not be fast.
    pub(crate) fn run(&self, script: &str) -> Result<String> {
        self.shell(script).stdout()
    }

    /// Runs a script in a shell of the host and tells how long it took, without the start of that shell. Before that, everything
    /// that is still to be written is written.
    pub(crate) fn time(&self, script: &str) -> Result<Duration> {
        between(&self.shell(timed(script) + TIMED_END).stdout()?)
    }

    /// Runs a script and then asks until the answer is yes; tells how long both took together.
    pub(crate) fn time_until(
        &self,
        script: &str,
        mut is_done: impl FnMut() -> Result<bool>,
    ) -> Result<Duration> {
        let start = clock(&self.shell(timed(script)).stdout()?)?;
        let asked = Instant::now();
        while !is_done()? {
            ensure!(asked.elapsed() < LIMIT, "nothing came of this in {LIMIT:?}: {script}");
        }
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?;
        end.checked_sub(start).context("the clock was set back")
    }

    /// Returns the process ID of the plain containerd as the host knows it.
    pub(crate) fn plain_pid(&mut self) -> Result<u32> {
        self.containerd.daemon().pid_inside()
    }

    /// Takes the instance down and removes what it and the row have written. The end of a host waits a minute at most for
    /// that, which is too short for a hundred thousand files.
    pub(crate) fn clear(&self) -> Result<()> {
        self.instance.down()?;
        self.run(&format!("rm -rf '{}' '{}'", self.root.display(), self.host.dir().join("bench").display()))?;
        Ok(())
    }

    /// Returns what a directory takes on the disk, in bytes.
    pub(crate) fn disk_bytes(&self, dir: &Path) -> Result<u64> {
        let line = self.run(&format!("sync; du -sx --block-size=1 '{}'", dir.display()))?;
        let bytes = line.split_whitespace().next().context("du says nothing")?;
        Ok(bytes.parse()?)
    }
}

/// Makes a script that prints the time before the first step of another, and nothing of what that prints.
fn timed(script: &str) -> String {
    format!("sync\necho $EPOCHREALTIME\n{{\n{script}\n}} >&2")
}

/// What prints the time after the last step.
const TIMED_END: &str = "\necho $EPOCHREALTIME";

/// Returns how long a script takes in a shell that runs elsewhere than in a host.
pub(crate) fn time(shell: Command, script: &str) -> Result<Duration> {
    between(&shell.arg(timed(script) + TIMED_END).limit(LIMIT).stdout()?)
}

/// Reads the two times that a script has printed.
fn between(said: &str) -> Result<Duration> {
    let (start, end) = said.split_once('\n').with_context(|| format!("not two times: {said:?}"))?;
    clock(end)?.checked_sub(clock(start)?).context("the clock was set back")
}

/// Reads a time as bash prints it: seconds since 1970, with six decimals.
fn clock(text: &str) -> Result<Duration> {
    let microseconds = text.replace('.', "").parse();
    Ok(Duration::from_micros(microseconds.with_context(|| format!("not a time: {text:?}"))?))
}
