//! critest: nothing fails through shimd that passes on the same containerd alone, measured in the same run.

use anyhow::Result;
use tests::containerd::Engine;
use tests::critest;
use tests::host::Host;
use tests::images::{base_set, critest_set};
use tests::instance::Instance;
use tests::registry::Registry;

fn is_no_worse(engine: &Engine) -> Result<()> {
    let host = Host::new()?;
    let registry = Registry::start(&host)?;
    registry.serve(&base_set()?)?;
    registry.serve(&critest_set()?)?;
    registry.mirror(&host.etc("shim/certs.d"))?;
    let instance = Instance::up(&host, engine)?;
    let report = critest::run(&host, instance.in_box(critest::program()?)?, &instance.socket(), None)?;
    instance.shimctl(&["verify"])?.run()?;
    instance.down()?;
    assert_eq!(report.regressions(&critest::baseline(engine, None)?), [""; 0]);
    Ok(())
}

#[test]
fn of_debians_containerd() -> Result<()> {
    is_no_worse(&Engine::debian()?)
}

#[test]
fn of_containerd_2() -> Result<()> {
    is_no_worse(&Engine::two()?)
}
