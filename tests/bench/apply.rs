//! P12c: from `kubectl apply` of an image that was built a moment ago to the first answer on localhost, beside the same Deployment
//! in a plain cluster, whose kubelet speaks to a containerd that has unpacked the image with its own overlayfs.
//!
//! Both clusters are made by the same programs in the same box, one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::cluster::Cluster;
use tests::command::Command;
use tests::containerd::{Containerd, SANDBOX_IMAGE};
use tests::files;
use tests::host::Host;
use tests::images::golang_set;
use tests::instance::DEFAULT_ROOT;
use tests::registry::Registry;

use crate::Options;
use crate::bed;
use crate::cluster::plain;
use crate::table::{Figure, Goal, Row, Unit};

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hellodocker");
const IMAGE: &str = "hellodocker";
/// How often either cluster is made.
const ROUNDS: usize = 2;
/// The address of the Service of the plain cluster: one that kubeadm's range has and nobody else is given.
const ADDRESS: &str = "10.96.100.100";
/// How long the other containerd may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a cluster may take for something that is not measured.
const SETTLE: &str = "--timeout=100s";

/// One of the two clusters: how a shell is started that has its kubectl, and what is asked for.
struct Side<'a> {
    shell: &'a dyn Fn() -> Result<Command>,
    manifest: PathBuf,
    url: String,
}

impl Side<'_> {
    fn run(&self, script: &str) -> Result<String> {
        (self.shell)()?.arg(script).stdout()
    }

    /// Times `apply` until the first answer; everything is deleted again, and gone, before this returns.
    fn time(&self, expected: &str) -> Result<Duration> {
        let (manifest, url) = (self.manifest.display(), &self.url);
        // A curl that is refused takes some ten milliseconds, and there are twenty until the next: the same on both sides.
        let script = format!(
            "kubectl apply -f '{manifest}'\nuntil curl --silent --fail --max-time 2 '{url}'; do sleep 0.02; done"
        );
        let time = bed::time((self.shell)()?, &script)?;
        let page = self.run(&format!("curl --silent --fail --max-time 2 '{url}'"))?;
        ensure!(page.contains(expected), "not {expected:?}: {page}");
        self.run(&format!(
            "kubectl delete -f '{manifest}' >&2; kubectl wait --for=delete pod -l app=tutorial {SETTLE} >&2\n\
             while curl --silent --max-time 2 '{url}' >&2; do sleep 0.1; done"
        ))?;
        Ok(time)
    }
}

/// What is measured on.
struct Bench<'a> {
    host: &'a Host,
    cluster: &'a Cluster,
    options: &'a Options,
    context: PathBuf,
    builds: usize,
}

impl Bench<'_> {
    fn dir(&self) -> PathBuf {
        self.host.dir().join("bench")
    }

    fn put_manifest(&self, name: &str, service: &str) -> Result<PathBuf> {
        let tutorial = files::text(Path::new(HELLO).join("tutorial.yaml"))?;
        let text = tutorial.replace("docker/getting-started", IMAGE).replace("type: LoadBalancer", service);
        ensure!(text.contains(IMAGE) && text.contains(service), "the story's manifest is another one");
        let path = self.dir().join(name);
        files::put(&path, text)?;
        Ok(path)
    }

    /// Changes the program, and builds it; returns what it says now.
    fn build(&mut self) -> Result<String> {
        self.builds += 1;
        let greeting = format!("Hello number {}!", self.builds);
        let program = files::text(Path::new(HELLO).join("main.go"))?;
        files::put(self.context.join("main.go"), program.replace("Hello from Docker!", &greeting))?;
        let build = ["build", "-t", IMAGE, "."];
        self.cluster.instance().shimctl_in(&self.context, &build)?.run()?;
        Ok(greeting)
    }

    /// Every image that the other cluster needs, in one archive.
    fn save(&self) -> Result<PathBuf> {
        let instance = self.cluster.instance();
        let listed = instance.shimctl(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?.stdout()?;
        let components = listed.lines().filter(|name| name.starts_with("registry.k8s.io/"));
        let archive = self.dir().join("images.tar");
        let save = instance.shimctl(&["save", "-o", &archive.to_string_lossy(), IMAGE])?;
        save.args(components).run()?;
        Ok(archive)
    }

    /// Measures our cluster. The first time pays for what is loaded once, and does not count.
    fn ours(&mut self) -> Result<Vec<Duration>> {
        let host = self.host;
        let path = format!("{DEFAULT_ROOT}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let shell = || Ok(host.command("bash").env("PATH", &path).args(["-euo", "pipefail", "-c"]));
        let manifest = self.put_manifest("ours.yaml", "type: LoadBalancer")?;
        let side = Side { shell: &shell, manifest, url: "http://localhost:80".into() };
        let times = (0..=self.options.runs(5)).map(|_| side.time(&self.build()?));
        Ok(times.collect::<Result<Vec<_>>>()?.split_off(1))
    }

    /// Measures the plain cluster, of which there is the containerd.
    fn theirs(&self) -> Result<Vec<Duration>> {
        let instance = self.cluster.instance();
        let prelude = "export PATH=$0/bin:$PATH KUBECONFIG=/etc/kubernetes/admin.conf; eval \"$1\"";
        let shell = || {
            let bash = instance.in_box("bash")?.args(["-euo", "pipefail", "-c", prelude, DEFAULT_ROOT]);
            Ok(bash)
        };
        let manifest = self.put_manifest("theirs.yaml", &format!("clusterIP: {ADDRESS}"))?;
        let side = Side { shell: &shell, manifest, url: format!("http://{ADDRESS}:80") };
        let times = (0..=self.options.runs(5)).map(|_| side.time("Hello number "));
        Ok(times.collect::<Result<Vec<_>>>()?.split_off(1))
    }
}

/// Imports the images into the containerd, unless an earlier round has.
fn import(containerd: &Containerd, archive: &Path) -> Result<()> {
    let names = containerd.ctr(&["images", "ls", "-q"]).stdout()?;
    if names.lines().any(|name| name == SANDBOX_IMAGE) {
        return Ok(());
    }
    containerd.ctr(&["images", "import", &archive.to_string_lossy()]).run()?;
    let names = containerd.ctr(&["images", "ls", "-q"]).stdout()?;
    let pause = names.lines().find(|name| name.starts_with("registry.k8s.io/pause:"));
    containerd.ctr(&["images", "tag", pause.context("no image of a sandbox")?, SANDBOX_IMAGE]).run()?;
    Ok(())
}

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[golang_set()?])?;
    let cluster = Cluster::new(&host, &options.engine, Path::new(DEFAULT_ROOT))?;
    let instance = cluster.instance();
    let context = host.dir().join("hello");
    host.command("cp").args(["-r", HELLO]).arg(&context).run()?;
    let mut bench = Bench { host: &host, cluster: &cluster, options, context, builds: 0 };
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        cluster.start()?;
        ours.extend(bench.ours().with_context(|| cluster.describe())?);
        let archive = bench.save()?;
        instance.shimctl(&["reset"])?.run()?;
        instance.start()?;
        let mut containerd = Containerd::start_in_box(&host, instance, "overlayfs", &options.engine)?;
        import(&containerd, &archive)?;
        plain(&cluster, "up", &containerd.socket())?.run()?;
        theirs.extend(bench.theirs()?);
        plain(&cluster, "down", &containerd.socket())?.run()?;
        containerd.daemon().stop(STOP_LIMIT)?;
        instance.down()?;
    }
    Ok(vec![Row {
        id: "P12c",
        work: "kubectl apply of what was just built, until curl localhost answers",
        against: "apply, until the ClusterIP answers: plain kubeadm, containerd's overlayfs has the image",
        unit: Unit::Time,
        ours: Figure::of_times(&ours),
        reference: Some(Figure::of_times(&theirs)),
        goal: Goal::Ratio(1.3),
    }])
}
