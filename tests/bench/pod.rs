//! P1: from the edit of a file to the running container.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tests::crictl::Crictl;
use tests::{files, images};

use crate::Options;
use crate::bed::Bed;
use crate::table::{Figure, Goal, Row, Unit};
use crate::work;

const IMAGE: &str = "hello";
const DOCKERFILE: &str = "FROM scratch\nCOPY . /\nCMD [\"/bin/busybox\", \"sleep\", \"1000\"]\n";

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let context = bed.dir("context")?;
    files::put(context.join("Dockerfile"), DOCKERFILE)?;
    files::put(context.join(".dockerignore"), "Dockerfile\n.dockerignore\n")?;
    files::put_program(context.join("bin/busybox"), images::busybox()?)?;
    work::fill(&context.join("etc/app"), 20, 5_000)?;
    let build = bed.shimctl(&["build", "-t", IMAGE, &context.to_string_lossy()])?;
    bed.run(&build)?;
    let archive = bed.dir("archive")?.join("image.tar");
    bed.run(&bed.shimctl(&["save", "-o", &archive.to_string_lossy(), IMAGE])?)?;
    let reference = format!("docker.io/library/{IMAGE}:latest");
    bed.containerd.ctr(&["image", "import", &archive.to_string_lossy()]).run()?;

    let [ours, theirs] = bed.crictls()?;
    let (mut with_build, mut without) = (Vec::new(), Vec::new());
    for run in 0..=options.runs(9) {
        let edit = context.join("etc/app/0000/000000");
        let build = format!("echo {run} >'{}'\n{build}", edit.display());
        let first = pod(&bed, &ours, IMAGE, &build)?;
        let second = pod(&bed, &theirs, &reference, "")?;
        // The first pod of each pays for what is loaded once.
        if run > 0 {
            with_build.push(first);
            without.push(second);
        }
    }
    Ok(vec![Row {
        id: "P1",
        work: "edit a file of a COPY-only image, build, new pod and container running",
        against: "new pod and container of an image that containerd has, no build",
        unit: Unit::Time,
        ours: Figure::of_times(&with_build),
        reference: Some(Figure::of_times(&without)),
        goal: Goal::Ratio(1.3),
    }])
}

/// Times a script and then the three calls that lead to a running container, which is removed afterwards.
fn pod(bed: &Bed, crictl: &Crictl, image: &str, before: &str) -> Result<Duration> {
    let dir = bed.dir("pod")?;
    let config = json!({
        "metadata": {"name": "bench", "namespace": "default", "uid": "bench", "attempt": 1},
        "log_directory": dir.join("log"),
        "linux": {},
    });
    let (pod, container) = (dir.join("pod.json"), dir.join("container.json"));
    files::put(&pod, config.to_string())?;
    let config = json!({
        "metadata": {"name": "bench", "attempt": 1},
        "image": {"image": image},
        "log_path": "bench.log",
        "linux": {},
    });
    files::put(&container, config.to_string())?;
    let call = |args: &[&str]| crictl.command(args).line();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let run = call(&["runp", &path(&pod)]);
    let create = call(&["create"]);
    let start = call(&["start"]);
    let script = format!(
        "{before}\npod=$({run})\ncontainer=$({create} $pod {} {})\n{start} $container",
        container.display(),
        pod.display()
    );
    let time = bed.time(&script)?;
    crictl.remove_all()?;
    Ok(time)
}
