//! P8: what a step of a build costs that does nothing.

use anyhow::Result;
use serde_json::{Value, json};
use tests::files;

use crate::Options;
use crate::bed::Bed;
use crate::table::{Figure, Goal, Row, Unit};

const STEPS: u32 = 20;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let bed = Bed::make(&options.engine)?;
    let context = bed.dir("context")?;
    let steps = "RUN true\n".repeat(STEPS as usize);
    files::put(context.join("Dockerfile"), format!("FROM busybox\n{steps}"))?;
    let build = bed.shimctl(&["build", "--no-cache", "-t", "steps", &context.to_string_lossy()])?;
    let bundle = bundle(&bed)?;
    let run = format!(
        "for step in $(seq {STEPS}); do runc --root '{bundle}/state' run --bundle '{bundle}' bench-$step </dev/null; done"
    );
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for number in 0..=options.runs(5) {
        // The first build pulls.
        let built = bed.time(&build)?;
        put_spec(&bundle, &captured(&bed, &bundle)?)?;
        let same = bed.time(&run)?;
        put_spec(&bundle, &plain(&bundle)?)?;
        let bare = bed.time(&run)?;
        if number > 0 {
            for (times, time) in times.iter_mut().zip([built, same, bare]) {
                times.push(time);
            }
        }
    }
    let [ours, same, bare] = times.map(|times| Figure::of_times(&times).per(STEPS));
    let row = |against, reference| Row {
        id: "P8",
        work: "20 × RUN true, per step, with the start of shimctl",
        against,
        unit: Unit::Time,
        ours,
        reference: Some(reference),
        goal: Goal::Ratio(1.3),
    };
    Ok(vec![
        row("runc run of the same specification, overlay mounted once", same),
        row("runc run of runc's own specification (no seccomp)", bare),
    ])
}

/// Makes a bundle with the root filesystem of busybox under an overlay.
fn bundle(bed: &Bed) -> Result<String> {
    let bundle = bed.dir("bundle")?.to_string_lossy().into_owned();
    let image = "docker.io/library/busybox:latest";
    bed.containerd.crictl()?.run(&["pull", image])?;
    bed.containerd.ctr(&["image", "export", &format!("{bundle}/busybox.tar"), image]).run()?;
    bed.run(&format!(
        "cd '{bundle}'\nmkdir lower upper work rootfs image\ntar -xf busybox.tar -C image\n\
         for blob in image/blobs/sha256/*; do ! gzip -t $blob 2>/dev/null || tar -xzf $blob -C lower; done\n\
         mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,volatile rootfs\n\
         runc spec\nmv config.json spec.json\ntouch resolv.conf hosts"
    ))?;
    Ok(bundle)
}

/// Returns what `runc spec` writes, with the host's network, as a step of a build has it.
fn plain(bundle: &str) -> Result<Value> {
    let mut spec: Value = serde_json::from_slice(&files::get(format!("{bundle}/spec.json"))?)?;
    spec["process"]["terminal"] = false.into();
    spec["process"]["args"] = json!(["/bin/sh", "-c", "true"]);
    spec["root"]["readonly"] = false.into();
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    Ok(spec)
}

/// Returns the specification of a step of a build, taken while it runs, with the bundle's files in the place of its own.
fn captured(bed: &Bed, bundle: &str) -> Result<Value> {
    let path = format!("{bundle}/captured.json");
    if !std::path::Path::new(&path).exists() {
        let context = bed.dir("long")?;
        files::put(context.join("Dockerfile"), "FROM busybox\nRUN sleep 3\n")?;
        let build = bed.shimctl(&["build", "--no-cache", &context.to_string_lossy()])?;
        let run_dir = bed.instance.run_dir();
        bed.run(&format!(
            "{build} >/dev/null 2>&1 &\n\
             until spec=$(grep -rl --include=config.json sleep '{}') && cp $spec '{path}' && jq -e . '{path}'; do sleep 0.1; done\n\
             wait",
            run_dir.display()
        ))?;
    }
    let mut spec: Value = serde_json::from_slice(&files::get(path)?)?;
    spec["process"]["args"] = json!(["/bin/sh", "-c", "true"]);
    spec["root"]["path"] = "rootfs".into();
    spec["linux"]["cgroupsPath"] = "/bench".into();
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(name) = mount["destination"].as_str().and_then(|path| path.strip_prefix("/etc/")) {
            mount["source"] = format!("{bundle}/{name}").into();
        }
    }
    Ok(spec)
}

fn put_spec(bundle: &str, spec: &Value) -> Result<()> {
    files::put(format!("{bundle}/config.json"), spec.to_string())
}
