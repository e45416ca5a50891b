//! The components of Kubernetes: built, kept, installed, and made again where they are not what they were. Go and Debian's
//! packages are stand-ins that make scripts; what builds the real ones is the cluster tier.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::command::Command;
use tests::containerd::Engine;
use tests::host::Host;
use tests::instance::{DEFAULT_ROOT, Instance};
use tests::{eventually, files, images, product};

/// Notes what it is asked to build and makes a script of that name, unless a file says that it shall fail.
const GO: &str = r#"#!/bin/sh
set -eu
here=$(dirname "$0")
if [ "$1" = env ]; then
    echo go1.26.8
    exit 0
fi
while [ "$1" != -o ]; do shift; done
echo "go: downloading example.test/module v1.0.0" >&2
if [ -e "$here/fail" ] && [ "$(cat "$here/fail")" = "$3" ]; then
    echo "it does not compile" >&2
    exit 1
fi
echo "$3" >>"$here/built"
printf '#!/bin/sh\necho %s\nexit 1\n' "$3" >"$2"
chmod 755 "$2"
"#;

/// Makes a root with scripts instead of iptables and its like.
const MMDEBSTRAP: &str = r#"#!/bin/sh
set -eu
while [ $# -gt 1 ]; do shift; done
mkdir -p "$1/usr/sbin" "$1/dev"
cp "$(dirname "$0")/busybox" "$1/usr/sbin/busybox"
for name in xtables-nft-multi nft conntrack; do
    printf '#!/usr/sbin/busybox sh\necho %s\n' "$name" >"$1/usr/sbin/$name"
    chmod 755 "$1/usr/sbin/$name"
done
"#;

/// How long scripts may take to be in the store, on a busy machine.
const UP_LIMIT: Duration = Duration::from_secs(60);
/// How many programs there are to be built.
const PROGRAMS: usize = 12;

/// A host with the stand-ins.
struct Workshop {
    host: Host,
    tools: PathBuf,
    instance: Instance,
    path: String,
}

impl Workshop {
    fn new() -> Result<Self> {
        let host = Host::new()?;
        let engine = Engine::debian()?;
        let tools = host.dir().join("tools");
        files::put_program(tools.join("go"), GO)?;
        files::put_program(tools.join("mmdebstrap"), MMDEBSTRAP)?;
        files::put_program(tools.join("busybox"), images::busybox()?)?;
        let path = format!("{}:{}", tools.display(), engine.path());
        let instance = Instance::new(&host, &engine, Path::new(DEFAULT_ROOT));
        Ok(Self { host, tools, instance, path })
    }

    fn built(&self) -> Result<Vec<String>> {
        let text = files::text(self.tools.join("built")).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn fill(&self) -> Result<Command> {
        let command = self.host.command(product::program("bootstrap")?).env("PATH", &self.path);
        Ok(command.args(["components", "--cache"]).arg(self.cache()))
    }

    fn cache(&self) -> PathBuf {
        self.host.dir().join("cache")
    }

    /// Types `shimctl up` and waits for the components. What comes after them does not come up: scripts are no kubelet.
    fn up(&self) -> Result<()> {
        let up = self.instance.shimctl(&["up", "--components", "build", "--wait", "1s"])?;
        up.env("PATH", &self.path).fails_with(1)?;
        eventually(UP_LIMIT, "the components to be ready", || {
            let part = self.instance.part("components")?;
            ensure!(part["state"] == "ready", "{part}");
            Ok(())
        })
        .with_context(|| self.instance.logs())
    }

    fn program(&self, name: &str) -> PathBuf {
        Path::new(DEFAULT_ROOT).join("bin").join(name)
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.host.sh(script)
    }
}

#[test]
fn what_was_built_before_something_failed_is_kept() -> Result<()> {
    let workshop = Workshop::new()?;
    let apiserver = "k8s.io/kubernetes/cmd/kube-apiserver";
    files::put(workshop.tools.join("fail"), apiserver)?;
    let failed = workshop.fill()?.fails_with(1)?;
    ensure!(failed.stderr.contains("building kube-apiserver, 4 of 13"), "{failed}");
    ensure!(failed.stderr.contains("4 of 13: downloading example.test/module v1.0.0"), "{failed}");
    ensure!(failed.stderr.contains("it does not compile"), "{failed}");
    let before = workshop.built()?;
    assert_eq!(before.len(), 3);

    files::put(workshop.tools.join("fail"), "")?;
    let entry = PathBuf::from(workshop.fill()?.stdout()?);
    let after = workshop.built()?;
    assert_eq!((after.len(), after[3].as_str()), (PROGRAMS, apiserver));
    // A directory is there if it is whole, and then there is nothing to do.
    assert_eq!(entry.parent(), Some(workshop.cache().as_path()));
    assert_eq!(PathBuf::from(workshop.fill()?.stdout()?), entry);
    assert_eq!(workshop.built()?.len(), PROGRAMS);

    // What has another size is noticed, and nothing else made again.
    files::put_program(entry.join("images/etcd/etcdctl"), "another")?;
    workshop.fill()?.run()?;
    assert_eq!(workshop.built()?[PROGRAMS..], ["go.etcd.io/etcd/etcdctl/v3"]);
    std::fs::remove_file(entry.join("images/kube-proxy/root/usr/sbin/nft"))?;
    workshop.fill()?.run()?;
    assert_eq!(workshop.built()?.len(), PROGRAMS + 1);
    ensure!(entry.join("images/kube-proxy/root/usr/sbin/nft").exists(), "no nft");
    Ok(())
}

#[test]
fn without_go_it_is_said_what_helps() -> Result<()> {
    let workshop = Workshop::new()?;
    files::put_program(workshop.tools.join("go"), "#!/bin/sh\necho go1.20\n")?;
    let failed = workshop.fill()?.fails_with(1)?;
    ensure!(failed.stderr.contains("lacks Go 1.26.2") && failed.stderr.contains("is go1.20"), "{failed}");
    let unknown = workshop.fill()?.args(["--version", "v1.30.0"]).fails_with(1)?;
    ensure!(unknown.stderr.contains("known are v1.36.3 and v1.36.1"), "{unknown}");
    Ok(())
}

#[test]
fn components_are_installed_once_and_mended() -> Result<()> {
    let workshop = Workshop::new()?;
    let Workshop { host, instance, .. } = &workshop;
    let config = format!("[components]\ncache = \"{}\"\n", workshop.cache().display());
    files::put(host.etc("shim/bootstrap.toml"), config)?;
    workshop.up()?;
    assert_eq!(workshop.built()?.len(), PROGRAMS);

    let images = instance.shimctl(&["images", "--format", "json"])?.output()?;
    for name in ["registry.k8s.io/kube-proxy", "registry.k8s.io/pause", "docker.internal/shim/node"] {
        ensure!(images.stdout.contains(name), "{name}: {images}");
    }
    let kubelet = workshop.program("kubelet");
    let listing = workshop.sh(&format!("stat -c %a {0}; tail -n +2 {0}", kubelet.display()))?;
    assert_eq!(listing.trim(), "755\necho k8s.io/kubernetes/cmd/kubelet\nexit 1");

    // What was lost comes from the cache; what the cache has lost is built again.
    let kubectl = workshop.program("kubectl");
    workshop.sh(&format!("rm {}; printf x >>{}", kubectl.display(), kubelet.display()))?;
    instance.shimctl(&["rmi", "registry.k8s.io/etcd:3.6.8-0"])?.run()?;
    instance.down()?;
    let entry = PathBuf::from(workshop.fill()?.stdout()?);
    let cached = entry.join("bin/kubectl");
    let changed = files::text(&cached)?.replace("exit 1", "exit 2");
    files::put(&cached, changed)?;
    std::fs::set_permissions(&cached, std::fs::Permissions::from_mode(0o755))?;
    workshop.up()?;
    assert_eq!(workshop.built()?[PROGRAMS..], ["k8s.io/kubernetes/cmd/kubectl"]);
    let text = workshop.sh(&format!("cat {} {}", kubectl.display(), kubelet.display()))?;
    assert_eq!(text.matches("exit 1").count(), 2, "{text}");
    instance.shimctl(&["inspect", "registry.k8s.io/etcd:3.6.8-0"])?.run().context("etcd's image")?;

    // With nothing to do, neither cache nor Go is asked.
    instance.down()?;
    workshop.sh(&format!("rm -r {}", workshop.cache().display()))?;
    workshop.up()?;
    assert_eq!(workshop.built()?.len(), PROGRAMS + 1);
    instance.down()
}
