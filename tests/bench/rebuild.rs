//! P2 and P3: a build of which nothing has changed. P13: what a build leaves on the disk.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tests::files;

use crate::Options;
use crate::bed::Bed;
use crate::table::{Figure, Goal, Row, Unit};
use crate::work;

const LARGE: usize = 50_000;
const DOCKERFILE: &str = "FROM scratch\nCOPY tree /\nCMD [\"/none\"]\n";

pub(crate) fn measure_small(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let context = context(&bed, 20, 5_000)?;
    let build = bed.shimctl(&["build", "-t", "small", &context])?;
    let (ours, reference) =
        rebuilds(&bed, &build, &format!("/bin/true\n{}", walk(&context)), options.runs(31))?;
    Ok(vec![Row {
        id: "P2",
        work: "build again, nothing changed, 20 files",
        against: "/bin/true, find with stat",
        unit: Unit::Time,
        ours,
        reference: Some(reference),
        goal: Goal::AtMost(50.0),
    }])
}

pub(crate) fn measure_large(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let context = context(&bed, LARGE, 4096)?;
    let tree = bed.disk_bytes(&Path::new(&context).join("tree"))?;
    let build = bed.shimctl(&["build", "-t", "large", &context])?;
    let before = bed.disk_bytes(bed.root())?;
    bed.run(&build)?;
    let grown = bed.disk_bytes(bed.root())?.saturating_sub(before);
    let (ours, reference) = rebuilds(&bed, &build, &walk(&context), options.runs(11))?;
    bed.clear()?;
    let large = Row {
        id: "P3",
        work: "build again, nothing changed, 50,000 files of 4 KB",
        against: "find with stat",
        unit: Unit::Time,
        ours,
        reference: Some(reference),
        goal: Goal::Ratio(2.0),
    };
    let disk = Row {
        id: "P13",
        work: "bytes on disk of a built image, 50,000 files of 4 KB, with the index of its context",
        against: "its tree",
        unit: Unit::Size,
        ours: Figure::of_bytes(grown),
        reference: Some(Figure::of_bytes(tree)),
        goal: Goal::Ratio(1.02),
    };
    Ok(vec![large, disk])
}

fn context(bed: &Bed, count: usize, bytes: usize) -> Result<String> {
    let context = bed.dir("context")?;
    files::put(context.join("Dockerfile"), DOCKERFILE)?;
    work::fill(&context.join("tree"), count, bytes)?;
    Ok(context.to_string_lossy().into_owned())
}

/// Returns the words of one walk that looks at every file's status.
fn walk(dir: &str) -> String {
    format!("find '{dir}' -printf '%i %m %s %T@ %C@ %p\\n' >/dev/null")
}

/// Times both, in turn; the first of each is not counted.
fn rebuilds(bed: &Bed, build: &str, reference: &str, runs: usize) -> Result<(Figure, Figure)> {
    let (mut ours, mut theirs): (Vec<Duration>, Vec<Duration>) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let (first, second) = (bed.time(build)?, bed.time(reference)?);
        if run > 0 {
            ours.push(first);
            theirs.push(second);
        }
    }
    Ok((Figure::of_times(&ours), Figure::of_times(&theirs)))
}
