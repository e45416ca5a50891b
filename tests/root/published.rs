//! Components as the Kubernetes project publishes them: a web server and a registry on loopback stand in for its own, scripts
//! and small files for programs and images.

mod bundle;
mod killed;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachestore::Digest;
use tests::containerd::Engine;
use tests::daemon::Daemon;
use tests::host::Host;
use tests::image::{Compression, Entry, Layer, Recipe};
use tests::images::{Set, busybox};
use tests::instance::{DEFAULT_ROOT, Instance};
use tests::registry::Registry;
use tests::{eventually, files};

const VERSION: &str = "v1.36.3";
const UP_LIMIT: Duration = Duration::from_secs(60);
/// The images that the stand-in for kubeadm lists: repository and tag.
const IMAGES: [(&str, &str); 3] =
    [("kube-apiserver", VERSION), ("coredns/coredns", "v1.14.2"), ("pause", "3.10.2")];
const PROGRAMS: [&str; 4] = ["crictl", "kubeadm", "kubectl", "kubelet"];
const PORT: u16 = 8080;

/// A host with the servers.
struct World {
    host: Host,
    instance: Instance,
    registry: Registry,
    server: Daemon,
    web: PathBuf,
    /// The programs' search path, with a Go that is too old.
    path: String,
}

impl World {
    fn new() -> Result<Self> {
        Self::with("")
    }

    /// Makes one with more lines in `[components]`.
    fn with(lines: &str) -> Result<Self> {
        let host = Host::new()?;
        let engine = Engine::debian()?;
        let registry = Registry::stocked(&host, &[images(&host, "first")?])?;
        let (web, tools) = (host.dir().join("web"), host.dir().join("tools"));
        files::put_program(tools.join("busybox"), busybox()?)?;
        files::put_program(tools.join("go"), "#!/bin/sh\necho go1.20\n")?;
        let world = Self {
            server: serve(&host, &tools, &web)?,
            path: format!("{}:{}", tools.display(), engine.path()),
            instance: Instance::new(&host, &engine, Path::new(DEFAULT_ROOT)),
            registry,
            web,
            host,
        };
        PROGRAMS.iter().try_for_each(|name| world.publish(name, &program(name)))?;
        let address = format!("http://127.0.0.1:{PORT}");
        let config = format!(
            "[components]\ncache = \"{}\"\ndownload = \"{address}/k8s/\"\ncrictl_download = \"{address}/crictl\"\n{lines}",
            world.cache().display()
        );
        files::put(world.host.etc("shim/bootstrap.toml"), config)?;
        Ok(world)
    }

    /// Publishes a program, and what it is.
    fn publish(&self, name: &str, content: &str) -> Result<()> {
        if name != "crictl" {
            let path = self.web.join(format!("k8s/release/{VERSION}/bin/linux/{}/{name}", architecture()));
            files::put(path.with_extension("sha256"), Digest::of(content.as_bytes()).hex())?;
            return files::put(path, content);
        }
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [("README.md", "text"), ("crictl", content)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, name, content.as_bytes())?;
        }
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        archive.write_all(&tar.into_inner()?)?;
        let archive = archive.finish()?;
        let file = format!("crictl-v1.36.0-linux-{}.tar.gz", architecture());
        let path = self.web.join("crictl/v1.36.0").join(&file);
        files::put(
            path.with_file_name(format!("{file}.sha256")),
            format!("{}  {file}\n", Digest::of(&archive).hex()),
        )?;
        files::put(path, archive)
    }

    fn cache(&self) -> PathBuf {
        self.host.dir().join("cache")
    }

    /// Types `shimctl up` and waits for what becomes of the components. What comes after them does not come up.
    fn up(&self, source: &str, state: &str) -> Result<String> {
        up(&self.instance, &self.path, &["--components", source], state)
    }

    fn has_all(&self) -> Result<()> {
        has_all(&self.host, &self.instance)
    }
}

fn up(instance: &Instance, path: &str, flags: &[&str], state: &str) -> Result<String> {
    let typed = instance.shimctl(&["up", "--wait", "1s"])?.args(flags).env("PATH", path).fails_with(1)?;
    let part = eventually(UP_LIMIT, &format!("the components to be {state}"), || {
        let part = instance.part("components")?;
        ensure!(part["state"] == state, "{part}");
        Ok(part)
    });
    let part = part.with_context(|| format!("{typed}\n{}", instance.logs()))?;
    Ok(part["message"].as_str().unwrap_or_default().to_owned())
}

/// Checks that images and programs are there, and are those that were published first.
fn has_all(host: &Host, instance: &Instance) -> Result<()> {
    for (repository, tag) in IMAGES {
        let name = format!("registry.k8s.io/{repository}:{tag}");
        let image = instance.shimctl(&["inspect", &name])?.json()?[0].take();
        assert_eq!(image["RepoTags"], serde_json::json!([name]));
        ensure!(image["Shim"]["Names"][0]["Local"] == true, "{name}: {image}");
        let layer = image["Shim"]["Layers"][0]["Directory"].as_str().context("no layer")?;
        assert_eq!(host.sh(&format!("cat {layer}/content"))?, format!("first {repository}"));
    }
    for name in PROGRAMS {
        let path = Path::new(DEFAULT_ROOT).join("bin").join(name);
        let found = host.sh(&format!("stat -c %a {0}; cat {0}", path.display()))?;
        assert_eq!(found, format!("755\n{}", program(name)).trim_end());
    }
    instance.shimctl(&["verify", "--content"])?.run().map(drop)
}

fn serve(host: &Host, tools: &Path, web: &Path) -> Result<Daemon> {
    files::dir(web)?;
    let command =
        host.command(tools.join("busybox")).args(["httpd", "-f", "-p", &format!("127.0.0.1:{PORT}"), "-h"]);
    let mut server = host.daemon("httpd", command.arg(web))?;
    let url = format!("http://127.0.0.1:{PORT}/");
    server.ready(UP_LIMIT, "the web server", || {
        // It has no page, and says so.
        host.command("curl").args(["-s", "-o", "/dev/null", &url]).run().map(drop)
    })?;
    Ok(server)
}

/// Returns what Go calls this machine's architecture.
fn architecture() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

/// Returns a program: a script, which does what kubeadm is asked for, and no more.
fn program(name: &str) -> String {
    let names: Vec<String> =
        IMAGES.iter().map(|(repository, tag)| format!("registry.k8s.io/{repository}:{tag}")).collect();
    format!(
        "#!/bin/sh\n# {name}\n[ \"$*\" = \"config images list --kubernetes-version {VERSION}\" ] || exit 1\nprintf '%s\\n' {}\n",
        names.join(" ")
    )
}

/// Makes the images; each has one file that says which it is.
fn images(host: &Host, what: &str) -> Result<Set> {
    Set::make(host.dir().join(format!("images-{what}")), |maker| {
        for (repository, tag) in IMAGES {
            let content = Entry::file("content", format!("{what} {repository}"));
            let layer = Layer::write(maker.blobs(), Compression::Gzip, [content])?;
            let image = Recipe::default().layer(&layer).write(maker.blobs())?;
            maker.add(&format!("registry.k8s.io/{repository}"), &[tag], &image);
        }
        Ok(())
    })
}

#[test]
fn what_is_published_is_installed_and_held_to() -> Result<()> {
    let world = World::new()?;
    world.up("release", "ready")?;
    world.has_all()?;
    let lock = files::text(world.cache().join("recorded.lock"))?;
    let official = format!("\"https://dl.k8s.io/release/{VERSION}/bin/linux/{}/kubelet\"", architecture());
    ensure!(
        lock.contains(&official) && lock.contains("\"registry.k8s.io/coredns/coredns:v1.14.2\""),
        "{lock}"
    );
    assert_eq!(lock.matches("sha256:").count(), IMAGES.len());
    let names = files::tree(&world.cache())?.into_iter().map(|path| path.display().to_string());
    let left = names.filter(|name| name.contains("partial") || name.contains("crictl.tar"));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
    world.instance.down()?;

    // With what is in the cache, the web server is not asked; what was lost comes back.
    world.publish("kubelet", "another")?;
    world.host.sh(&format!("rm {DEFAULT_ROOT}/bin/kubelet"))?;
    world.up("release", "ready")?;
    world.has_all()?;
    world.instance.down()?;

    // A name that was given here is the registry's again.
    let (repository, tag) = IMAGES[0];
    let name = format!("registry.k8s.io/{repository}:{tag}");
    world.up("release", "ready")?;
    world.instance.shimctl(&["tag", "registry.k8s.io/pause:3.10.2", &name])?.run()?;
    world.instance.down()?;
    world.host.sh(&format!("sed -i /registry.k8s.io/d {}/recorded.lock", world.cache().display()))?;
    world.up("release", "ready")?;
    world.has_all()?;

    // The tag has moved in the registry; what was used first is what is pulled.
    world.registry.serve(&images(&world.host, "second")?)?;
    world.instance.shimctl(&["rmi", "-f", &name])?.run()?;
    world.instance.down()?;
    world.up("release", "ready")?;
    world.has_all()?;
    world.instance.down()?;

    // Without a cache, what is downloaded has to be what it was.
    world
        .host
        .sh(&format!("rm -r {}/release-{VERSION} {DEFAULT_ROOT}/bin/kubelet", world.cache().display()))?;
    let message = world.up("release", "failed")?;
    let (was, is) = (Digest::of(program("kubelet").as_bytes()), Digest::of(b"another"));
    for part in ["/kubelet", &was.hex(), &is.hex(), "recorded.lock"] {
        ensure!(message.contains(part), "{part}: {message}");
    }
    world.instance.down()?;
    world.publish("kubelet", &program("kubelet"))?;
    world.up("release", "ready")?;
    world.has_all()?;
    world.instance.down()
}

#[test]
fn auto_takes_what_works_and_says_why() -> Result<()> {
    // Another registry than the project's own, which nothing is mirrored for.
    let mut world = World::with("registry = \"127.0.0.1:5000\"\n")?;
    world.host.sh("rm -r /etc/shim/certs.d")?;
    world.server.kill()?;
    let message = world.up("auto", "failed")?;
    for part in
        ["for `release`", "127.0.0.1:8080/k8s does not answer", "for `build`", "lacks Go 1.26.2", "go1.20"]
    {
        ensure!(message.contains(part), "{part}: {message}");
    }
    world.instance.down()?;
    world.server = serve(&world.host, &world.host.dir().join("tools"), &world.web)?;
    world.up("auto", "ready")?;
    world.has_all()?;
    let log = world.host.sh(&format!("cat {DEFAULT_ROOT}/log/*.log"))?;
    ensure!(log.contains("chose the source of the components") && log.contains("8080/k8s answers"), "{log}");
    world.instance.down()?;
    // What it once was it is again, whoever answers now.
    world.server.kill()?;
    world.host.sh(&format!("rm {DEFAULT_ROOT}/bin/kubelet"))?;
    world.up("auto", "ready")?;
    world.has_all()?;
    world.instance.down()
}
