//! critest: the validation suite of the CRI.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command::Command;
use crate::containerd::{Containerd, Engine};
use crate::host::Host;
use crate::images::{base_set, critest_set};
use crate::registry::Registry;
use crate::{cache, files};

/// The whole suite takes about five minutes on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Specs that need what the kernels here have not.
const SKIPPED: &str = "AppArmor|SELinux";

/// How a spec ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It skipped itself, for this reason. Specs that were not asked for are in no report.
    Skipped(String),
    /// It failed, panicked or ran out of time, with this message.
    Failed(String),
}

/// The outcome of every spec that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(pub BTreeMap<String, Outcome>);

impl Report {
    /// Lists the specs that went worse than in `baseline`, with what became of them: passed is better than skipped,
    /// and skipped is better than failed.
    pub fn regressions(&self, baseline: &Self) -> Vec<String> {
        let worse = baseline.0.iter().filter_map(|(name, before)| match (before, self.0.get(name)) {
            (Outcome::Failed(_), _) | (_, Some(Outcome::Passed)) => None,
            (Outcome::Skipped(_), Some(Outcome::Skipped(_)) | None) => None,
            (Outcome::Passed, Some(Outcome::Skipped(reason))) => Some(format!("{name}: skipped: {reason}")),
            (_, Some(Outcome::Failed(message))) => Some(format!("{name}: failed: {message}")),
            (Outcome::Passed, None) => Some(format!("{name}: did not run")),
        });
        worse.collect()
    }

    /// Returns how many specs passed, failed and skipped themselves.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Outcome) -> bool| self.0.values().filter(|outcome| wanted(outcome)).count();
        (
            count(|outcome| matches!(outcome, Outcome::Passed)),
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        )
    }
}

/// Returns the path of the program.
///
/// # Errors
/// It cannot be built.
pub fn program() -> Result<PathBuf> {
    Ok(cache::tools()?.join("critest"))
}

/// Runs the suite, a command in this host without arguments, against a CRI socket whose pulls of critest's images
/// succeed. The command has to run on the node: where the runtime's addresses and mounts are.
///
/// `focus`: a regular expression for names of specs, or everything.
///
/// # Errors
/// The suite itself could not run; failing specs are no error.
pub fn run(host: &Host, critest: Command, socket: &Path, focus: Option<&str>) -> Result<Report> {
    let file = host.dir().join("tmp/critest.json");
    let endpoint = format!("unix://{}", socket.display());
    let mut command = critest.limit(LIMIT);
    command = command.args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
    command = command.args(["--ginkgo.no-color", "--ginkgo.skip", SKIPPED]);
    command = command.arg(format!("--ginkgo.json-report={}", file.display()));
    if let Some(focus) = focus {
        command = command.args(["--ginkgo.focus", focus]);
    }
    let output = command.output()?;
    let report = files::get(&file).with_context(|| format!("critest left no report: {output}"))?;
    files::put(host.dir().join("logs/critest.log"), &output.stdout)?;
    let report = read(&report)?;
    anyhow::ensure!(!report.0.is_empty(), "critest ran no spec: {output}");
    Ok(report)
}

/// Runs the suite on a containerd of its own in a host of its own: what the same containerd can do without us.
///
/// # Errors
/// The suite itself could not run.
pub fn baseline(engine: &Engine, focus: Option<&str>) -> Result<Report> {
    let host = Host::new()?;
    let registry = Registry::start(&host)?;
    registry.serve(&base_set()?)?;
    registry.serve(&critest_set()?)?;
    let certs = host.dir().join("certs.d");
    registry.mirror(&certs)?;
    let containerd = Containerd::start(&host, "baseline", engine, &certs)?;
    let report = run(&host, host.command(program()?), &containerd.socket(), focus)?;
    containerd.stop()?;
    Ok(report)
}

/// The part of ginkgo's JSON report that matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Failure,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

fn read(report: &[u8]) -> Result<Report> {
    let suites: Vec<Suite> = serde_json::from_slice(report).context("ginkgo's report")?;
    let specs = suites.into_iter().flat_map(|suite| suite.spec_reports);
    Ok(Report(specs.filter_map(outcome).collect()))
}

/// Names a spec by its containers and its own text; none for what was filtered out and for the suite's own nodes
/// that passed.
fn outcome(spec: Spec) -> Option<(String, Outcome)> {
    let mut name = spec.container_hierarchy_texts.unwrap_or_default();
    if spec.leaf_node_type != "It" {
        name.push(format!("[{}]", spec.leaf_node_type));
    }
    name.push(spec.leaf_node_text);
    let outcome = match spec.state.as_str() {
        "passed" if spec.leaf_node_type != "It" => return None,
        "passed" => Outcome::Passed,
        "pending" => Outcome::Skipped("pending".to_owned()),
        // The filter's skips have no message; a spec that skips itself says why.
        "skipped" if spec.failure.message.is_empty() => return None,
        "skipped" => Outcome::Skipped(spec.failure.message),
        state => Outcome::Failed(format!("{state}: {}", spec.failure.message)),
    };
    Some((name.join(" ").trim().to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"[{"SuiteSucceeded": false, "SpecReports": [
        {"ContainerHierarchyTexts": null, "LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "passed"},
        {"ContainerHierarchyTexts": ["[k8s.io] Pod", "net"], "LeafNodeType": "It", "LeafNodeText": "runs", "State": "passed"},
        {"ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeType": "It", "LeafNodeText": "filtered", "State": "skipped"},
        {"ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeType": "It", "LeafNodeText": "unable", "State": "skipped",
         "Failure": {"Message": "no user namespaces"}},
        {"ContainerHierarchyTexts": ["[k8s.io] Pod"], "LeafNodeType": "It", "LeafNodeText": "breaks", "State": "timedout",
         "Failure": {"Message": "too slow"}}]}]"#;

    #[test]
    fn a_report_is_read() {
        let report = read(REPORT.as_bytes()).unwrap();
        let expected = [
            ("[k8s.io] Pod net runs", Outcome::Passed),
            ("[k8s.io] Pod unable", Outcome::Skipped("no user namespaces".to_owned())),
            ("[k8s.io] Pod breaks", Outcome::Failed("timedout: too slow".to_owned())),
        ];
        assert_eq!(report.0, expected.map(|(name, outcome)| (name.to_owned(), outcome)).into());
        assert_eq!(report.counts(), (1, 1, 1));
    }

    #[test]
    fn regressions_are_what_went_worse() {
        let (failed, skipped) = (Outcome::Failed("no".to_owned()), Outcome::Skipped("cannot".to_owned()));
        let cases = [
            (&Outcome::Passed, Some(&Outcome::Passed), None),
            (&Outcome::Passed, Some(&skipped), Some("spec: skipped: cannot")),
            (&Outcome::Passed, Some(&failed), Some("spec: failed: no")),
            (&Outcome::Passed, None, Some("spec: did not run")),
            (&skipped, Some(&Outcome::Passed), None),
            (&skipped, Some(&skipped), None),
            (&skipped, Some(&failed), Some("spec: failed: no")),
            (&skipped, None, None),
            (&failed, Some(&failed), None),
            (&failed, None, None),
        ];
        for (before, after, expected) in cases {
            let report = |outcome: Option<&Outcome>| {
                Report(outcome.into_iter().map(|outcome| ("spec".to_owned(), outcome.clone())).collect())
            };
            let found = report(after).regressions(&report(Some(before)));
            assert_eq!(found.first().map(String::as_str), expected, "{before:?}, then {after:?}");
        }
    }
}
