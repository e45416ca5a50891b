//! critest: nothing fails through shimd that passes on the same containerd alone, measured in the same run.

use anyhow::Result;
use tests::containerd::Engine;
use tests::critest::{self, Report};
use tests::host::Host;
use tests::images::{base_set, critest_set};
use tests::instance::Instance;
use tests::registry::Registry;

/// The suite has races of its own, on plain containerds too: so many specs may be tried a second time.
const SECOND_TRIES: usize = 2;

/// Returns the specs of the baseline that these complaints are about.
fn concerned(baseline: &Report, complaints: &[String]) -> Report {
    let is_concerned = |name: &str| complaints.iter().any(|said| said.starts_with(&format!("{name}: ")));
    let specs = baseline.0.iter().filter(|(name, _)| is_concerned(name));
    Report(specs.map(|(name, outcome)| (name.clone(), outcome.clone())).collect())
}

/// Returns an expression that matches the names of these specs and no others.
fn focus(specs: &Report) -> String {
    let escaped = |name: &String| {
        let escape = |c: char| if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() };
        name.chars().map(escape).collect::<String>()
    };
    specs.0.keys().map(escaped).collect::<Vec<_>>().join("|")
}

fn is_no_worse(engine: &Engine) -> Result<()> {
    let host = Host::new()?;
    let _registry = Registry::stocked(&host, &[base_set()?, critest_set()?])?;
    let instance = Instance::up(&host, engine)?;
    let run = |focus: Option<&str>| {
        critest::run(&host, instance.in_box(critest::program()?)?, &instance.socket(), focus)
    };
    let report = run(None)?;
    let baseline = critest::baseline(engine, None)?;
    let mut worse = report.regressions(&baseline);
    if (1..=SECOND_TRIES).contains(&worse.len()) {
        let concerned = concerned(&baseline, &worse);
        worse = run(Some(&focus(&concerned)))?.regressions(&concerned);
    }
    instance.shimctl(&["verify"])?.run()?;
    instance.down()?;
    assert_eq!(worse, [""; 0]);
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
