//! A whole cluster, as `shimctl up` makes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::command::Command;
use crate::containerd::Engine;
use crate::host::Host;
use crate::instance::{DEFAULT_ROOT, Instance};
use crate::{cache, eventually, files};

/// How long `shimctl up` may take on a busy machine, with all components there.
const UP_LIMIT: Duration = Duration::from_secs(300);
/// How long what is applied may take to be as it is wanted.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// A cluster in a host. Nothing ends it but `down`, `reset` and the end of the host.
#[derive(Debug, Clone)]
pub struct Cluster {
    host: Host,
    instance: Instance,
    root: PathBuf,
}

impl Cluster {
    /// Brings up the default instance with Kubernetes.
    ///
    /// # Errors
    /// It does not come up; with its logs.
    pub fn up(host: &Host, engine: &Engine) -> Result<Self> {
        let cluster = Self::new(host, engine, Path::new(DEFAULT_ROOT))?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Describes a cluster that is not up yet; it takes components from the tests' cache.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub fn new(host: &Host, engine: &Engine, root: &Path) -> Result<Self> {
        let is_default = root == Path::new(DEFAULT_ROOT);
        let etc = if is_default { host.etc("shim") } else { root.join("etc") };
        let config = format!("[components]\ncache = \"{}\"\n", cache::components()?.display());
        files::put(etc.join("bootstrap.toml"), config)?;
        let instance = Instance::new(host, engine, root);
        Ok(Self { host: host.clone(), instance, root: root.to_path_buf() })
    }

    /// Types `shimctl up --components build`.
    ///
    /// # Errors
    /// It does not come up; with its logs.
    pub fn start(&self) -> Result<()> {
        self.up_command()?.run().with_context(|| self.instance.logs())?;
        Ok(())
    }

    /// Prepares `shimctl up --components build`.
    ///
    /// # Errors
    /// shimctl is not built.
    pub fn up_command(&self) -> Result<Command> {
        self.up_from("build")
    }

    /// Prepares `shimctl up --components SOURCE`.
    ///
    /// # Errors
    /// shimctl is not built.
    pub fn up_from(&self, source: &str) -> Result<Command> {
        Ok(self.instance.shimctl(&["up", "--components", source])?.limit(UP_LIMIT))
    }

    /// Returns the root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the instance that it runs on.
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Prepares a call of the instance's kubectl, with the kubeconfig that the user has.
    pub fn kubectl(&self, args: &[&str]) -> Command {
        let kubectl = self.host.command(self.root.join("bin/kubectl")).args(args);
        if self.root == Path::new(DEFAULT_ROOT) {
            return kubectl;
        }
        kubectl.env("KUBECONFIG", self.root.join("kubeconfig"))
    }

    /// Types `kubectl apply -f -` with these documents.
    ///
    /// # Errors
    /// The API server refuses them.
    pub fn apply(&self, documents: &str) -> Result<()> {
        let path = self.host.dir().join("tmp/applied.yaml");
        files::put(&path, documents)?;
        self.kubectl(&["apply", "-f"]).arg(&path).run().map(drop)
    }

    /// Returns what `kubectl get ARGS -o json` prints.
    ///
    /// # Errors
    /// It fails.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        self.kubectl(&["get"]).args(args).args(["-o", "json"]).json()
    }

    /// Waits until `kubectl get ARGS` prints something that suits.
    ///
    /// # Errors
    /// It does not; with what it printed last.
    pub fn until(&self, args: &[&str], what: &str, suits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        eventually(SETTLE_LIMIT, what, || {
            last = self.get(args)?;
            ensure!(suits(&last), "{last:#}");
            Ok(())
        })?;
        Ok(last)
    }

    /// Waits for a condition with `kubectl wait`.
    ///
    /// # Errors
    /// It does not come true.
    pub fn wait(&self, condition: &str, of: &[&str]) -> Result<()> {
        let limit = format!("--timeout={}s", SETTLE_LIMIT.as_secs());
        let wait = self.kubectl(&["wait", condition, &limit]).args(of).limit(SETTLE_LIMIT * 2);
        wait.run().map(drop).with_context(|| self.describe())
    }

    /// Returns what there is in the cluster, for messages.
    pub fn describe(&self) -> String {
        let said = |args: &[&str]| {
            let output = self.kubectl(args).output();
            output.map_or_else(|error| format!("{error:#}"), |output| output.stdout)
        };
        let pods = said(&["get", "pods,svc,pvc,pv,nodes", "-A", "-o", "wide"]);
        let events = said(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
        let tail: Vec<&str> = events.lines().rev().take(30).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        format!("{pods}\n{}", tail.join("\n"))
    }
}
