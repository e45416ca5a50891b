//! The real registry of Debian (`docker-registry`), on loopback in a host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cachestore::Digest;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::files;
use crate::host::Host;
use crate::image::Blobs;
use crate::images::{Named, Set};

const START_LIMIT: Duration = Duration::from_secs(30);

/// The registries that [`Registry::mirror`] sends here.
pub const MIRRORED: [&str; 6] =
    ["docker.io", "registry.k8s.io", "k8s.gcr.io", "gcr.io", "quay.io", "ghcr.io"];

/// The only user of a registry that asks for one.
pub const USER: &str = "developer";
/// That user's password.
pub const PASSWORD: &str = "letmein";
/// The password as bcrypt, cost 5 so that it costs nothing: `perl -e 'print crypt("letmein", q($2y$05$…))'`.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuKwWV7ESJpzKzf9FQg57dBvMuv92X9HS";

/// What a registry is like. The default: port 5000, open to everybody.
#[derive(Debug, Clone)]
pub struct Options {
    /// The TCP port on 127.0.0.1.
    pub port: u16,
    /// Asks for [`USER`] and [`PASSWORD`] (basic authentication).
    pub password: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 5000, password: false }
    }
}

/// A request that a registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD` …
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The status code.
    pub status: u16,
    /// The length of the answer's body in bytes.
    pub bytes: u64,
}

impl Request {
    /// Returns which blob was fetched, whole or in part.
    pub fn blob(&self) -> Option<Digest> {
        let path = self.path.split('?').next().filter(|_| self.method == "GET")?;
        path.rsplit_once("/blobs/")?.1.parse().ok()
    }
}

/// A running registry. Several in one host need ports of their own.
#[derive(Debug)]
pub struct Registry {
    host: Host,
    dir: PathBuf,
    address: String,
    daemon: Daemon,
}

impl Registry {
    /// Starts a registry without images, open to everybody, on port 5000.
    ///
    /// # Errors
    /// As [`Registry::with`].
    pub fn start(host: &Host) -> Result<Self> {
        Self::with(host, &Options::default())
    }

    /// Starts a registry with the images of these sets, from which the product of this host pulls.
    ///
    /// # Errors
    /// As [`Registry::start`], [`Registry::serve`] and [`Registry::mirror`].
    pub fn stocked(host: &Host, sets: &[Set]) -> Result<Self> {
        let registry = Self::start(host)?;
        sets.iter().try_for_each(|set| registry.serve(set))?;
        registry.mirror(&host.etc("shim/certs.d"))?;
        Ok(registry)
    }

    /// Starts a registry without images.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn with(host: &Host, options: &Options) -> Result<Self> {
        let dir = host.dir().join(format!("registry-{}", options.port));
        let address = format!("127.0.0.1:{}", options.port);
        let htpasswd = dir.join("htpasswd");
        files::put(&htpasswd, format!("{USER}:{PASSWORD_HASH}\n"))?;
        files::put(
            dir.join("config.yml"),
            configuration(&dir, &address, options.password.then_some(&htpasswd)),
        )?;
        let daemon = launch(host, &dir, &address)?;
        Ok(Self { host: host.clone(), dir, address, daemon })
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the registry as a crash does; its images stay. Nothing answers until [`Registry::restart`].
    ///
    /// # Errors
    /// The system's answer.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.kill()
    }

    /// Starts the registry again after [`Registry::kill`].
    ///
    /// # Errors
    /// It does not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.daemon = launch(&self.host, &self.dir, &self.address)?;
        Ok(())
    }

    /// Serves the images of a set, under their names without the registry's host.
    ///
    /// They are linked into the registry's storage, not sent, so the size does not matter. A registry that runs
    /// sees them at once.
    ///
    /// # Errors
    /// A blob is missing, or the storage cannot be written.
    pub fn serve(&self, set: &Set) -> Result<()> {
        let storage = Storage(self.dir.join("data/docker/registry/v2"));
        let blobs = set.blobs()?;
        for image in set.images() {
            storage.add(&blobs, image).with_context(|| format!("serve {}", image.reference()))?;
        }
        Ok(())
    }

    /// Writes a `certs.d` directory that sends pulls from [`MIRRORED`] here.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn mirror(&self, certs_dir: &Path) -> Result<()> {
        let address = &self.address;
        let text = format!(
            "server = \"http://{address}\"\n\n[host.\"http://{address}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        MIRRORED.iter().try_for_each(|name| files::put(certs_dir.join(name).join("hosts.toml"), &text))
    }

    /// Writes the same for skopeo and podman: `registries.conf` and a policy that takes everything, in the host's `/etc`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn mirror_for_skopeo(&self) -> Result<()> {
        let address = &self.address;
        let entry = |name: &&str| {
            format!("[[registry]]\nprefix = \"{name}\"\nlocation = \"{address}\"\ninsecure = true\n")
        };
        let mut entries: Vec<String> = MIRRORED.iter().map(entry).collect();
        entries.push(format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n"));
        files::put(self.host.etc("containers/registries.conf"), entries.join("\n"))?;
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        files::put(self.host.etc("containers/policy.json"), policy)
    }

    /// Returns every request answered so far.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        Ok(self.daemon.log()?.lines().filter_map(request).collect())
    }
}

fn launch(host: &Host, dir: &Path, address: &str) -> Result<Daemon> {
    let command = host.command("docker-registry").arg("serve").arg(dir.join("config.yml"));
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut daemon = host.daemon(&name, command)?;
    let url = format!("http://{address}/v2/");
    daemon.ready(START_LIMIT, "the registry to answer", || {
        let ask = host.command("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]);
        let status = ask.output()?.stdout;
        ensure!(status == "200" || status == "401", "HTTP status {status}");
        Ok(())
    })?;
    Ok(daemon)
}

/// No cache of descriptors: blobs appear in the storage without its knowledge.
fn configuration(dir: &Path, address: &str, htpasswd: Option<&PathBuf>) -> String {
    let data = dir.join("data");
    let mut text = format!(
        "version: 0.1\n\
         log: {{level: warn, accesslog: {{disabled: false}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: {address}}}\n",
        data.display()
    );
    if let Some(path) = htpasswd {
        text += &format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", path.display());
    }
    text
}

/// The directory tree of the registry's filesystem driver, version 2.
struct Storage(PathBuf);

impl Storage {
    fn add(&self, blobs: &Blobs, image: &Named) -> Result<()> {
        let repository = self.0.join("repositories").join(image.path());
        let digest: Digest = image.digest.parse()?;
        self.manifest(blobs, &repository, &digest)?;
        for tag in &image.tags {
            let tag = repository.join("_manifests/tags").join(tag);
            files::put(tag.join("current/link"), digest.to_string())?;
            link(&tag.join("index"), &digest)?;
        }
        Ok(())
    }

    /// Adds a manifest or an index with everything below it.
    fn manifest(&self, blobs: &Blobs, repository: &Path, digest: &Digest) -> Result<()> {
        self.blob(blobs, digest)?;
        link(&repository.join("_manifests/revisions"), digest)?;
        let document = blobs.json(digest)?;
        for child in members(&document, "manifests") {
            self.manifest(blobs, repository, &descriptor(child)?)?;
        }
        for part in members(&document, "layers").chain(document.get("config")) {
            let part = descriptor(part)?;
            self.blob(blobs, &part)?;
            link(&repository.join("_layers"), &part)?;
        }
        Ok(())
    }

    fn blob(&self, blobs: &Blobs, digest: &Digest) -> Result<()> {
        let hex = digest.hex();
        let dir = self.0.join("blobs/sha256").join(&hex[..2]).join(&hex);
        files::dir(&dir)?;
        files::link_or_copy(&blobs.path(digest), &dir.join("data"))
    }
}

fn link(dir: &Path, digest: &Digest) -> Result<()> {
    files::put(dir.join("sha256").join(digest.hex()).join("link"), digest.to_string())
}

fn members<'a>(document: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn descriptor(value: &Value) -> Result<Digest> {
    match value.get("digest").and_then(Value::as_str) {
        Some(digest) => Ok(digest.parse()?),
        None => bail!("a descriptor without digest: {value}"),
    }
}

/// Reads a line of the access log, which is in Apache's combined format.
fn request(line: &str) -> Option<Request> {
    let (_, rest) = line.split_once("] \"")?;
    let (asked, rest) = rest.split_once("\" ")?;
    let mut asked = asked.split(' ');
    let mut answer = rest.split(' ');
    Some(Request {
        method: asked.next()?.to_owned(),
        path: asked.next()?.to_owned(),
        status: answer.next()?.parse().ok()?,
        bytes: answer.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_the_log() {
        let line = r#"127.0.0.1 - - [21/Nov/2025:10:00:00 +0000] "GET /v2/a/manifests/b?x=1 HTTP/1.1" 404 19 "" "curl""#;
        let expected = Request {
            method: "GET".to_owned(),
            path: "/v2/a/manifests/b?x=1".to_owned(),
            status: 404,
            bytes: 19,
        };
        assert_eq!(request(line).as_ref(), Some(&expected));
        assert_eq!(expected.blob(), None);
        let digest = Digest::of(b"blob");
        let fetched = Request { path: format!("/v2/a/b/blobs/{digest}?ns=docker.io"), ..expected };
        assert_eq!(fetched.blob(), Some(digest));
        assert_eq!(Request { method: "HEAD".to_owned(), ..fetched }.blob(), None);
        assert_eq!(request(r#"time="2025-11-21" level=warning msg="[x] \"quoted\" y""#), None);
    }
}
