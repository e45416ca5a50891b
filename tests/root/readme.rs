//! The part of the README that needs no cluster.

use anyhow::Result;
use tests::host::Host;
use tests::images::golang_set;
use tests::registry::Registry;
use tests::tour;

#[test]
fn the_tour_without_kubernetes_is_true() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[golang_set()?])?;
    assert_eq!(tour::take(&host, "console light")?, [""; 0]);
    Ok(())
}
