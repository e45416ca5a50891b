//! The expensive images of the catalogue are what they claim to be.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tests::containerd::{Containerd, Engine};
use tests::eventually;
use tests::host::Host;
use tests::images::{base_set, bench_set, golang_set};
use tests::registry::Registry;

/// `net/http` and everything below it is compiled from nothing.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

const PROGRAM: &str = r#"package main

import (
	"fmt"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "built inside") })
	if err := http.ListenAndServe(":8080", nil); err != nil {
		panic(err)
	}
}
"#;

#[test]
fn the_golang_image_builds_programs() -> Result<()> {
    let host = Host::new()?;
    let registry = Registry::start(&host)?;
    registry.serve(&base_set()?)?;
    registry.serve(&golang_set()?)?;
    let certs = host.dir().join("certs.d");
    registry.mirror(&certs)?;
    let containerd = Containerd::start(&host, "plain", &Engine::debian()?, &certs)?;
    let crictl = containerd.crictl()?;
    crictl.run(&["pull", "golang:1.16"])?;
    let pod = crictl.run_pod("build")?;
    let script =
        format!("cat >main.go <<'E'\n{PROGRAM}E\nCGO_ENABLED=0 go build -o hello main.go && exec ./hello");
    pod.start("go", "golang:1.16", &["sh", "-c", &script])?;
    let url = format!("http://{}:8080/", pod.address()?);
    let answer = eventually(BUILD_LIMIT, "the program", || host.command("curl").args(["-sf", &url]).stdout());
    assert_eq!(answer.with_context(|| pod.log("go").unwrap_or_default())?, "built inside");
    containerd.stop()
}

#[test]
fn the_bench_image_has_its_size() -> Result<()> {
    let set = bench_set()?;
    let image = set.images().first().context("no image")?;
    let manifest = set.blobs()?.json(&image.digest.parse()?)?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    let bytes: u64 = layers.iter().filter_map(|layer| layer["size"].as_u64()).sum();
    assert_eq!(layers.len(), 6);
    ensure!((110_000_000..=130_000_000).contains(&bytes), "{bytes} compressed bytes of 300 MB");
    Ok(())
}
