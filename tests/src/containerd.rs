//! A plain containerd with its own overlayfs: what our system is compared with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command::{Command, find};
use crate::crictl::Crictl;
use crate::daemon::Daemon;
use crate::host::Host;
use crate::instance::Instance;
use crate::{cache, files};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The bit of `CAP_SYS_RESOURCE` in a capability mask.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// The image of sandboxes.
pub const SANDBOX_IMAGE: &str = "registry.k8s.io/pause:3.9";

/// The pods' network: an address range that neither Docker nor the product uses by itself.
const POD_SUBNET: &str = "10.88.0.0/16";

/// A directory with `containerd`, its shim and `ctr`, and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    dir: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Engine {
    /// Debian's containerd: 1.6 in Debian 12.
    ///
    /// # Errors
    /// It is not installed.
    pub fn debian() -> Result<Self> {
        let program = find("containerd")?;
        Self::in_dir(program.parent().context("containerd is in no directory")?)
    }

    /// containerd 1.7, built from Go modules.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn one_seven() -> Result<Self> {
        Self::in_dir(&cache::tools()?.join("containerd-1.7"))
    }

    /// containerd 2.x, built from Go modules.
    ///
    /// # Errors
    /// It cannot be built.
    pub fn two() -> Result<Self> {
        Self::in_dir(&cache::tools()?.join("containerd-2"))
    }

    /// The containerd in this directory.
    ///
    /// # Errors
    /// There is none, or it does not say its version.
    pub fn in_dir(dir: &Path) -> Result<Self> {
        let said = Command::new(dir.join("containerd")).arg("--version").stdout()?;
        let version = version(&said).with_context(|| format!("no version in {said:?}"))?;
        Ok(Self { dir: dir.to_path_buf(), version })
    }

    /// Returns the path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns a PATH in which its programs come first; containerd finds its shim there.
    pub fn path(&self) -> String {
        format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.dir.display())
    }
}

/// Reads `containerd github.com/containerd/containerd 1.6.20~ds1 …`, or `… v2.3.7 …`.
fn version(said: &str) -> Option<(u32, u32)> {
    let number = said.split_whitespace().nth(2)?.trim_start_matches('v');
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A running containerd with root, state, socket and pod network of its own.
#[derive(Debug)]
pub struct Containerd {
    host: Host,
    engine: Engine,
    dir: PathBuf,
    /// In whose box it runs, if it does in one.
    instance: Option<Instance>,
    daemon: Daemon,
}

impl Containerd {
    /// Starts a containerd that pulls through this `certs.d` directory, and waits until its CRI is ready. Pods need the
    /// pause image of [`base_set`](crate::images::base_set).
    ///
    /// `name` tells several in one host apart: at most ten letters, digits and dashes.
    ///
    /// # Errors
    /// It does not become ready; with its log.
    pub fn start(host: &Host, name: &str, engine: &Engine, certs_dir: &Path) -> Result<Self> {
        Self::configured(host, None, name, engine, (certs_dir, &network(name)))
    }

    /// Starts a containerd in the box of an instance, with the network that the instance gives to pods. It pulls nothing: whoever
    /// wants pods imports their images, and that of the sandbox, [`SANDBOX_IMAGE`].
    ///
    /// # Errors
    /// The instance does not run, or as for [`Containerd::start`].
    pub fn start_in_box(host: &Host, instance: &Instance, name: &str, engine: &Engine) -> Result<Self> {
        let network = host.command("cat").arg(instance.root().join("box/cni/10-shim.conflist")).stdout()?;
        let certs_dir = host.dir().join(name).join("certs.d");
        Self::configured(host, Some(instance), name, engine, (&certs_dir, &network))
    }

    fn configured(
        host: &Host,
        instance: Option<&Instance>,
        name: &str,
        engine: &Engine,
        (certs_dir, network): (&Path, &str),
    ) -> Result<Self> {
        let dir = host.dir().join(name);
        files::put(dir.join("config.toml"), configuration(engine.version, &dir, certs_dir)?)?;
        files::put(dir.join("cni/10-pods.conflist"), network)?;
        let daemon = launch(host, instance, engine, &dir)?;
        let instance = instance.cloned();
        let mut containerd = Self { host: host.clone(), engine: engine.clone(), dir, instance, daemon };
        containerd.wait_until_ready()?;
        Ok(containerd)
    }

    /// Returns the path of its socket, which serves the CRI too.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// Returns its directory: `root`, `state`, `config.toml`, `cni`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns its process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// Returns crictl for it.
    ///
    /// # Errors
    /// crictl cannot be built.
    pub fn crictl(&self) -> Result<Crictl> {
        Crictl::new(&self.host, &self.socket())
    }

    /// Prepares a call of `ctr` in the namespace of the CRI.
    pub fn ctr(&self, args: &[&str]) -> Command {
        let command = self.host.command(self.engine.program("ctr"));
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]).args(args)
    }

    /// Kills containerd, and starts it again; its containers go on.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.kill()?;
        self.daemon = launch(&self.host, self.instance.as_ref(), &self.engine, &self.dir)?;
        self.wait_until_ready()
    }

    /// Removes every pod, ends containerd, and checks that neither shim nor mount of it is left.
    ///
    /// # Errors
    /// Something is left, or it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.crictl()?.remove_all()?;
        self.daemon.stop(STOP_LIMIT)?;
        let traces = self.host.traces()?;
        let dir = self.dir.to_string_lossy();
        let ours = |kind| traces.of_kind(kind).iter().filter(|line| line.contains(&*dir)).collect::<Vec<_>>();
        let (processes, mounts) = (ours("process"), ours("mount"));
        ensure!(processes.is_empty() && mounts.is_empty(), "left behind: {processes:?} {mounts:?}");
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let crictl = self.crictl()?;
        self.daemon.ready(START_LIMIT, "the CRI of containerd", || {
            let info = crictl.command(&["info"]).json()?;
            let conditions = info["status"]["conditions"].as_array().context("no conditions")?;
            for wanted in ["RuntimeReady", "NetworkReady"] {
                let ready = |condition: &&Value| condition["type"] == wanted && condition["status"] == true;
                ensure!(
                    conditions.iter().any(|condition| ready(&condition)),
                    "{wanted} is not true: {conditions:?}"
                );
            }
            Ok(())
        })
    }
}

fn launch(host: &Host, instance: Option<&Instance>, engine: &Engine, dir: &Path) -> Result<Daemon> {
    let program = engine.program("containerd");
    let command = match instance {
        Some(instance) => instance.in_box(program)?,
        None => host.command(program),
    };
    let command = command.arg("--config").arg(dir.join("config.toml"));
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    host.daemon(&name, command.env("PATH", engine.path()))
}

/// Tells whether this process may lower an `oom_score_adj`; containerd must not try where it may not.
fn may_lower_oom_score() -> Result<bool> {
    let status = files::text("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff line")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? & CAP_SYS_RESOURCE != 0)
}

fn configuration(version: (u32, u32), dir: &Path, certs_dir: &Path) -> Result<String> {
    let template = if version.0 == 1 { VERSION_2 } else { VERSION_3 };
    Ok(template
        .replace("@dir@", &dir.to_string_lossy())
        .replace("@certs@", &certs_dir.to_string_lossy())
        .replace("@sandbox@", SANDBOX_IMAGE)
        .replace("@restrict@", if may_lower_oom_score()? { "false" } else { "true" }))
}

/// The configuration format of containerd 1.x.
const VERSION_2: &str = r#"version = 2
root = "@dir@/root"
state = "@dir@/state"
[grpc]
  address = "@dir@/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "@dir@/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@sandbox@"
  restrict_oom_score_adj = @restrict@
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "@dir@/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "@certs@"
"#;

/// The configuration format of containerd 2.x.
const VERSION_3: &str = r#"version = 3
root = "@dir@/root"
state = "@dir@/state"
[grpc]
  address = "@dir@/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "@dir@/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "@sandbox@"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "@certs@"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = @restrict@
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "@dir@/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#;

fn network(name: &str) -> String {
    let plugins = serde_json::json!({
        "cniVersion": "0.4.0",
        "name": name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": format!("cni-{name}"),
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_SUBNET}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    plugins.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_containerd_says() {
        let cases = [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", Some((1, 6))),
            ("containerd github.com/containerd/containerd/v2 v2.3.7 ", Some((2, 3))),
            ("containerd github.com/containerd/containerd 1.7.35+unknown", Some((1, 7))),
            ("containerd", None),
        ];
        for (said, expected) in cases {
            assert_eq!(version(said), expected, "{said}");
        }
    }

    #[test]
    fn configurations_are_toml_without_holes() {
        for version in [(1, 6), (2, 3)] {
            let text = configuration(version, Path::new("/d"), Path::new("/c")).unwrap();
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["root"].as_str(), Some("/d/root"));
            assert!(!text.contains('@'), "{text}");
        }
    }
}
