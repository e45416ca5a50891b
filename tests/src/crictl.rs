//! crictl: the CRI as a person types it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::command::Command;
use crate::host::Host;
use crate::{cache, files};

/// crictl in a host, for one endpoint.
#[derive(Debug, Clone)]
pub struct Crictl {
    host: Host,
    program: PathBuf,
    config: PathBuf,
    endpoint: String,
}

impl Crictl {
    /// Uses the CRI socket at this path for both services.
    ///
    /// # Errors
    /// crictl cannot be built.
    pub fn new(host: &Host, socket: &Path) -> Result<Self> {
        // Without a configuration file crictl looks for one and complains.
        let config = host.dir().join("crictl.yaml");
        files::put(&config, "{}\n")?;
        let endpoint = format!("unix://{}", socket.display());
        Ok(Self { host: host.clone(), program: cache::tools()?.join("crictl"), config, endpoint })
    }

    /// Prepares a call.
    pub fn command(&self, args: &[&str]) -> Command {
        let command =
            self.host.command(&self.program).args(["--timeout", "100s", "--config"]).arg(&self.config);
        command.args(["--runtime-endpoint", &self.endpoint, "--image-endpoint", &self.endpoint]).args(args)
    }

    /// Makes a call, which must succeed; returns its standard output without white space at the ends.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.command(args).stdout()
    }

    /// Makes a call with `-o json` after its verb, which must succeed.
    ///
    /// # Errors
    /// It fails.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let (verb, rest) = args.split_first().context("no verb")?;
        self.command(&[verb, "-o", "json"]).args(rest).json()
    }

    /// Runs a pod with a network of its own.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn run_pod(&self, name: &str) -> Result<Pod> {
        self.run_pod_with(name, &json!({}))
    }

    /// Runs a pod whose configuration has these fields besides its name, UID and log directory.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn run_pod_with(&self, name: &str, config: &Value) -> Result<Pod> {
        let whole = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": 1},
            "log_directory": self.host.dir().join("log/pods").join(name),
            "linux": {},
        });
        let whole = with(whole, config);
        files::dir(self.host.dir().join("log/pods").join(name))?;
        let file = self.host.dir().join("tmp").join(format!("pod-{name}.json"));
        files::put(&file, whole.to_string())?;
        let id = self.run(&["runp", &file.to_string_lossy()])?;
        Ok(Pod { crictl: self.clone(), name: name.to_owned(), file, id })
    }

    /// Stops and removes every pod.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn remove_all(&self) -> Result<()> {
        let pods = self.run(&["pods", "-q"])?;
        for pod in pods.lines() {
            self.run(&["stopp", pod])?;
            self.run(&["rmp", pod])?;
        }
        Ok(())
    }
}

/// A running pod.
#[derive(Debug, Clone)]
pub struct Pod {
    crictl: Crictl,
    name: String,
    file: PathBuf,
    /// Its ID.
    pub id: String,
}

impl Pod {
    /// Creates and starts a container of an image that the runtime has; an empty command is the image's own.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn start(&self, name: &str, image: &str, command: &[&str]) -> Result<String> {
        let id = self.create(name, image, command)?;
        self.crictl.run(&["start", &id])?;
        Ok(id)
    }

    /// Creates a container and does not start it.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn create(&self, name: &str, image: &str, command: &[&str]) -> Result<String> {
        self.create_with(name, image, &json!({"command": command}))
    }

    /// Creates a container whose configuration has these fields besides its name, image and log file.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn create_with(&self, name: &str, image: &str, config: &Value) -> Result<String> {
        let whole = json!({
            "metadata": {"name": name, "attempt": 1},
            "image": {"image": image, "user_specified_image": image},
            "log_path": format!("{name}.log"),
            "linux": {},
        });
        let config = with(whole, config);
        let file = self.file.with_file_name(format!("container-{}-{name}.json", self.name));
        files::put(&file, config.to_string())?;
        self.crictl.run(&["create", &self.id, &file.to_string_lossy(), &self.file.to_string_lossy()])
    }

    /// Returns the pod's address.
    ///
    /// # Errors
    /// It has none.
    pub fn address(&self) -> Result<String> {
        let status = self.crictl.json(&["inspectp", &self.id])?;
        let address = status["status"]["network"]["ip"].as_str().filter(|address| !address.is_empty());
        Ok(address.with_context(|| format!("no address in {status}"))?.to_owned())
    }

    /// Returns the log of one of its containers, as the runtime writes it.
    ///
    /// # Errors
    /// There is none.
    pub fn log(&self, container: &str) -> Result<String> {
        let dir = self.crictl.host.dir().join("log/pods").join(&self.name);
        files::text(dir.join(format!("{container}.log")))
    }

    /// Stops and removes the pod.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn remove(self) -> Result<()> {
        self.crictl.run(&["stopp", &self.id])?;
        self.crictl.run(&["rmp", &self.id])?;
        Ok(())
    }
}

fn with(mut whole: Value, fields: &Value) -> Value {
    for (key, value) in fields.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    whole
}
