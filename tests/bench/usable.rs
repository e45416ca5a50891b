//! P10: from the end of a build to an image that containerd can run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::files;

use crate::Options;
use crate::bed::Bed;
use crate::images::Client;
use crate::table::{Figure, Goal, Row, Unit};
use crate::work;

const LAYERS: usize = 4;
const LAYER_FILES: usize = 250;
const FILE_BYTES: usize = 170_000;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let context = bed.dir("context")?;
    let mut dockerfile = String::from("FROM scratch\n");
    for layer in 0..LAYERS {
        work::fill(&context.join(format!("layer-{layer}")), LAYER_FILES, FILE_BYTES)?;
        dockerfile += &format!("COPY layer-{layer} /layer-{layer}\n");
    }
    files::put(context.join("Dockerfile"), dockerfile + "CMD [\"/none\"]\n")?;
    let archive = bed.dir("archive")?.join("image.tar");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..options.runs(5) {
        ours.push(registration(&bed, &context, run)?);
        theirs.push(import(&bed, &archive, run)?);
    }
    Ok(vec![Row {
        id: "P10",
        work: "local image of four layers, 170 MB, made usable by the kubelet",
        against: "ctr image import",
        unit: Unit::Time,
        ours: Figure::of_times(&ours),
        reference: Some(Figure::of_times(&theirs)),
        goal: Goal::Ratio(0.02),
    }])
}

fn name(run: usize) -> String {
    format!("docker.io/library/usable:{run}")
}

/// Builds an image of four new layers while containerd stands still, so that registration waits for it at the door; then
/// takes the time from containerd's next step until its own CRI shows the image.
fn registration(bed: &Bed, context: &Path, run: usize) -> Result<Duration> {
    for layer in 0..LAYERS {
        files::put(context.join(format!("layer-{layer}/new")), run.to_string())?;
    }
    let name = name(run);
    let pid = bed.instance.pid("containerd")?;
    let mut client = Client::connect(&bed.instance.containerd_socket())?;
    ensure!(!client.has_image(&name)?, "{name} is there already");
    let build = bed.shimctl(&["build", "-t", &name, &context.to_string_lossy()])?;
    let built = bed.run(&format!("kill -STOP {pid}\n{build}"));
    let time = bed.time_until(&format!("kill -CONT {pid}"), || client.has_image(&name));
    built?;
    time
}

/// Times the import of the same image into a containerd that has nothing of it.
fn import(bed: &Bed, archive: &Path, run: usize) -> Result<Duration> {
    let (name, archive) = (name(run), archive.to_string_lossy());
    bed.run(&bed.shimctl(&["save", "-o", &archive, &name])?)?;
    let time = bed.time(&bed.containerd.ctr(&["image", "import", &archive]).line())?;
    ensure!(bed.containerd.ctr(&["image", "ls", "-q"]).stdout()?.contains(&name), "{name} was not imported");
    bed.containerd.ctr(&["image", "rm", "--sync", &name]).run()?;
    // Cached steps stay otherwise, and fill the disk.
    bed.run(&bed.shimctl(&["rmi", &name])?)?;
    Ok(time)
}
