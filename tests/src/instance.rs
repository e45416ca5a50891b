//! A whole instance of the product, as `shimctl up --no-kubernetes` makes it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command::Command;
use crate::containerd::Engine;
use crate::crictl::Crictl;
use crate::host::Host;
use crate::network::Network;
use crate::{eventually, product};

/// The root directory of the instance that gets the well-known names.
pub const DEFAULT_ROOT: &str = "/var/lib/shim";

/// How long a part that was ended may take until it is ready again, with its pause.
const BACK_LIMIT: Duration = Duration::from_secs(60);
/// How long containerd may take to be told of an image.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(30);

/// An instance in a host. Nothing ends it but `down` and the end of the host.
#[derive(Debug, Clone)]
pub struct Instance {
    host: Host,
    root: PathBuf,
    engine: Engine,
}

impl Instance {
    /// Brings up the default instance with this containerd.
    ///
    /// # Errors
    /// It is not built, or does not come up; with its logs.
    pub fn up(host: &Host, engine: &Engine) -> Result<Self> {
        let instance = Self::new(host, engine, Path::new(DEFAULT_ROOT));
        instance.start()?;
        Ok(instance)
    }

    /// Describes an instance that is not up yet.
    pub fn new(host: &Host, engine: &Engine, root: &Path) -> Self {
        Self { host: host.clone(), root: root.to_path_buf(), engine: engine.clone() }
    }

    /// Types `shimctl up --no-kubernetes`.
    ///
    /// # Errors
    /// It does not come up; with its logs.
    pub fn start(&self) -> Result<()> {
        self.shimctl(&["up", "--no-kubernetes"])?.run().with_context(|| self.logs())?;
        Ok(())
    }

    /// Prepares a call of shimctl.
    ///
    /// # Errors
    /// It is not built.
    pub fn shimctl(&self, args: &[&str]) -> Result<Command> {
        self.shimctl_in(&self.host.home(), args)
    }

    /// Prepares a call of shimctl in this directory.
    ///
    /// # Errors
    /// It is not built.
    pub fn shimctl_in(&self, dir: &Path, args: &[&str]) -> Result<Command> {
        let command = self.host.command_in(dir, product::program("shimctl")?).env("PATH", self.engine.path());
        Ok(command.arg("--root").arg(&self.root).args(args))
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory with the sockets, as the host calls it.
    pub fn run_dir(&self) -> PathBuf {
        if self.root == Path::new(DEFAULT_ROOT) { "/run/shim".into() } else { self.root.join("run") }
    }

    /// Returns the CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("cri.sock")
    }

    /// Returns crictl for it.
    ///
    /// # Errors
    /// crictl cannot be built.
    pub fn crictl(&self) -> Result<Crictl> {
        Crictl::new(&self.host, &self.socket())
    }

    /// Returns what `shimctl status` says.
    ///
    /// # Errors
    /// The lifecycle service does not answer.
    pub fn status(&self) -> Result<Value> {
        // Exit code 1: a part is not ready.
        let output = self.shimctl(&["status", "-o", "json"])?.output()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("not JSON: {output}"))
    }

    /// Returns the process ID of the lifecycle service as the host knows it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn service_pid(&self) -> Result<u64> {
        let status = self.status()?;
        status["pid"].as_u64().with_context(|| format!("no pid in {status}"))
    }

    /// Returns what `shimctl status` says of a part: its `state`, `pid`, `restarts` and so on.
    ///
    /// # Errors
    /// The lifecycle service does not answer, or has no such part.
    pub fn part(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let parts = status["parts"].as_array().with_context(|| format!("no parts in {status}"))?;
        let part = parts.iter().find(|part| part["name"] == name);
        part.cloned().with_context(|| format!("no part {name} in {status}"))
    }

    /// Prepares a program that runs where containerd does: in the network and with the mounts of the node.
    ///
    /// # Errors
    /// containerd does not run.
    pub fn in_box(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let pid = self.pid("containerd")?.to_string();
        let command = self.host.command("nsenter").args(["--target", &pid, "--mount", "--net", "--"]);
        Ok(command.arg(program))
    }

    /// Returns the network of the box, and of what runs in it without a network of its own.
    ///
    /// # Errors
    /// containerd does not run.
    pub fn network(&self) -> Result<Network> {
        self.host.network_of(self.pid("containerd")?)
    }

    /// Returns the socket of its containerd.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run_dir().join("containerd/containerd.sock")
    }

    /// Prepares a call of `ctr` for its containerd, in the namespace of the CRI and in the box.
    ///
    /// # Errors
    /// containerd does not run.
    pub fn ctr(&self, args: &[&str]) -> Result<Command> {
        let ctr = self.in_box(self.engine.program("ctr"))?.env("PATH", self.engine.path());
        Ok(ctr.arg("-a").arg(self.containerd_socket()).args(["-n", "k8s.io"]).args(args))
    }

    /// Waits until containerd knows the image `docker.io/library/NAME:latest`, and no registration is under way.
    ///
    /// # Errors
    /// It is not told.
    pub fn until_registered(&self, name: &str) -> Result<()> {
        let list = |of: &str| self.ctr(&[of, "ls", "-q"])?.stdout();
        eventually(REGISTRATION_LIMIT, &format!("the registration of {name}"), || {
            let (images, leases) = (list("images")?, list("leases")?);
            let named = images.lines().any(|line| line == format!("docker.io/library/{name}:latest"));
            ensure!(named && !leases.contains("shimd-"), "images {images}, leases {leases}");
            Ok(())
        })
    }

    /// Returns the process ID of a part as the host knows it.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, name: &str) -> Result<u64> {
        let part = self.part(name)?;
        part["pid"].as_u64().filter(|&pid| pid != 0).with_context(|| format!("{name} is no process: {part}"))
    }

    /// Ends a part as `kill -9` does, and waits until the lifecycle service has it ready again.
    ///
    /// # Errors
    /// It does not come back.
    pub fn kill(&self, name: &str) -> Result<()> {
        let pid = self.pid(name)?;
        self.host.command("kill").args(["-9", &pid.to_string()]).run()?;
        self.until_back(name, pid)
    }

    /// Waits until a part whose process had this ID is ready again.
    ///
    /// # Errors
    /// It does not come back; with the instance's logs.
    pub fn until_back(&self, name: &str, pid: u64) -> Result<()> {
        eventually(BACK_LIMIT, &format!("{name} to be ready again"), || {
            let now = self.part(name)?;
            ensure!(now["pid"] != pid && now["state"] == "ready", "{now}");
            Ok(())
        })
        .with_context(|| self.logs())
    }

    /// Types `shimctl down`.
    ///
    /// # Errors
    /// It fails.
    pub fn down(&self) -> Result<()> {
        self.shimctl(&["down"])?.run().with_context(|| self.logs())?;
        Ok(())
    }

    /// Returns the end of the logs of all parts.
    pub fn logs(&self) -> String {
        let tail = "for log in \"$1\"/log/*.log; do echo \"--- $log\"; tail -n 25 \"$log\"; done";
        let output = self.host.command("sh").args(["-c", tail, "sh"]).arg(&self.root).output();
        output.map_or_else(|error| format!("{error:#}"), |output| output.stdout)
    }
}
