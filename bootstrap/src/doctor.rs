//! `bootstrap doctor`: what is missing on this machine, and what mends it.

use std::io::Write;
use std::process::ExitCode;

use crate::cgroup::Tree;
use crate::machine;
use crate::paths::Paths;

/// Prints one line for each thing that is needed. The exit code tells whether something is missing.
pub(crate) async fn run(paths: &Paths) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout();
    let mut problems = Vec::new();
    if let Err(error) = paths.check_place() {
        problems.push((
            "root directory".to_owned(),
            error.to_string(),
            "choose another one with --root".into(),
        ));
    }
    if let Err(error) = Tree::new(&paths.name()) {
        problems.push(("cgroups".into(), error.to_string(), error.hint().unwrap_or_default().into()));
    }
    let findings = machine::survey().await;
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    for finding in &findings {
        match &finding.seen {
            Ok(seen) => writeln!(stdout, "ok       {:width$}  {seen}", finding.what)?,
            Err(problem) => problems.push((finding.what.clone(), problem.clone(), finding.advice())),
        }
    }
    for (what, problem, advice) in &problems {
        writeln!(stdout, "missing  {what:width$}  {problem}\n         {:width$}  → {advice}", "")?;
    }
    if !rustix::process::geteuid().is_root() {
        writeln!(stdout, "Only root can see what the kernel can do; run this with sudo for the rest.")?;
    }
    let packages = machine::packages(&findings);
    if !packages.is_empty() && machine::apt::is_there() {
        writeln!(stdout, "\nInstall everything with:\n  {}", machine::apt::command_line(&packages))?;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
