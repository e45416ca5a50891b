//! The front door, typed.

use anyhow::Result;
use tests::host::Host;
use tests::images::{getting_started_set, golang_set};
use tests::registry::Registry;
use tests::{cache, files, tour};

#[test]
fn the_tour_is_true() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[golang_set()?, getting_started_set()?])?;
    let config = format!("[components]\ncache = \"{}\"\n", cache::components()?.display());
    files::put(host.etc("shim").join("bootstrap.toml"), config)?;
    let mut left = tour::take(&host, "console")?;
    let expected = ["/.kube", "/run/xtables.lock"];
    left.retain(|trace| !expected.iter().any(|expected| trace.contains(expected)));
    assert_eq!(left, [""; 0]);
    Ok(())
}
