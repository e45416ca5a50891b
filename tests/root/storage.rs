//! Images of a shimd by itself.

mod files;
mod loaded;

use anyhow::{Result, ensure};
use tests::host::Host;
use tests::images::base_set;
use tests::registry::Registry;
use tests::shimd::Shimd;

#[test]
fn what_was_pulled_outlives_the_daemon() -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[base_set()?])?;
    let mut shimd = Shimd::start(&host)?;
    shimd.shimctl(&["pull", "busybox"])?.run()?;
    let images = shimd.shimctl(&["images", "--format", "json"])?.stdout()?;
    ensure!(images.contains("\"Repository\":\"busybox\""), "{images}");
    shimd.kill_and_restart()?;
    assert_eq!(shimd.shimctl(&["images", "--format", "json"])?.stdout()?, images);
    shimd.shimctl(&["verify"])?.run()?;
    shimd.shimctl(&["rmi", "busybox"])?.run()?;
    assert_eq!(shimd.shimctl(&["images", "-q", "busybox"])?.stdout()?, "");
    shimd.stop()
}
