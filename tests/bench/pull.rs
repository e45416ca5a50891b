//! P9: a pull, until the image is ready to run. P13: what it leaves on the disk.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::crictl::Crictl;
use tests::images::{Set, bench_set};

use crate::Options;
use crate::bed::Bed;
use crate::images::Client;
use crate::table::{Figure, Goal, Row, Unit};

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let set = bench_set()?;
    bed.serve(&set)?;
    let image = set.images().iter().map(tests::images::Named::reference).collect::<String>();
    let tree = tree_bytes(&bed, &set)?;

    let before = bed.disk_bytes(bed.root())?;
    let [ours, theirs] = bed.crictls()?;
    let mut ours = Side { crictl: ours, engine: Client::connect(&bed.instance.containerd_socket())? };
    let mut theirs = Side { crictl: theirs, engine: Client::connect(&bed.containerd.socket())? };
    let mut times = [vec![pull(&bed, &mut ours, &image)?], Vec::new()];
    let grown = bed.disk_bytes(bed.root())?.saturating_sub(before);
    remove(&bed, &ours, &image)?;
    for run in 0..options.runs(5) {
        for (side, times) in [&mut ours, &mut theirs].into_iter().zip(&mut times) {
            if run > 0 || times.is_empty() {
                times.push(pull(&bed, side, &image)?);
                remove(&bed, side, &image)?;
            }
        }
    }
    let [ours, theirs] = times.map(|times| Figure::of_times(&times));
    let speed = Row {
        id: "P9",
        work: "pull six layers, 300 MB, gzip 0.4, from loopback, ready to run",
        against: "containerd's pull, without pigz and igzip",
        unit: Unit::Time,
        ours,
        reference: Some(theirs),
        goal: Goal::Ratio(0.6),
    };
    let disk = Row {
        id: "P13",
        work: "bytes on disk of that pulled image",
        against: "its tree",
        unit: Unit::Size,
        ours: Figure::of_bytes(grown),
        reference: Some(Figure::of_bytes(tree)),
        goal: Goal::Ratio(1.02),
    };
    Ok(vec![speed, disk])
}

/// Who pulls.
struct Side {
    crictl: Crictl,
    /// The containerd that will run the image.
    engine: Client,
}

/// Times a pull, which has to fetch every layer, until containerd can run the image.
fn pull(bed: &Bed, side: &mut Side, image: &str) -> Result<Duration> {
    let fetched =
        || -> Result<u64> { Ok(bed.registry.requests()?.iter().map(|request| request.bytes).sum()) };
    let before = fetched()?;
    let command = side.crictl.command(&["pull", image]).line();
    let time = bed.time_until(&command, || side.engine.has_image(image))?;
    let bytes = fetched()? - before;
    ensure!(bytes > 100_000_000, "the pull of {image} fetched {bytes} bytes only");
    Ok(time)
}

/// Removes an image and what was unpacked for it. A collection of our containerd goes first: layers stay as long as it
/// knows them.
fn remove(bed: &Bed, side: &Side, image: &str) -> Result<()> {
    side.crictl.run(&["rmi", image])?;
    let ctr = bed.our_ctr();
    bed.run(&format!("{ctr} leases create --id collect\n{ctr} leases delete --sync collect"))?;
    bed.run(&bed.shimctl(&["prune", "--force"])?)?;
    Ok(())
}

/// Returns what the files of a set's layers take on the disk when tar has extracted them one over the other.
fn tree_bytes(bed: &Bed, set: &Set) -> Result<u64> {
    let dir = bed.dir("tree")?;
    let blobs = set.blobs()?;
    for image in set.images() {
        let manifest = blobs.json(&image.digest.parse()?)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let digest = layer["digest"].as_str().unwrap_or_default().parse()?;
            bed.run(&format!("tar -xzf '{}' -C '{}'", blobs.path(&digest).display(), dir.display()))?;
        }
    }
    let bytes = bed.disk_bytes(&dir)?;
    bed.run(&format!("rm -rf '{}'", dir.display()))?;
    Ok(bytes)
}
