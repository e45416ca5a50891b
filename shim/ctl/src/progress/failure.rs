//! What is printed when a build failed or has warnings, as `docker build` prints it.

use proto::control as api;

use super::build::{Build, Outcome, Step};
use crate::output::text::printable;

/// The line around the output of a step that failed.
const STEP_RULE: &str = "------";
/// The line around the excerpt of a Dockerfile.
const EXCERPT_RULE: &str = "--------------------";
/// The most lines of an excerpt that are printed.
const MAX_EXCERPT_LINES: usize = 200;

/// Returns the last lines of output of each step that failed, with their times.
pub(crate) fn failed_steps(build: &Build, lines: usize) -> Vec<String> {
    let failed = |step: &&Step| matches!(&step.end, Some(end) if matches!(end.outcome, Outcome::Failed(_)));
    build.steps().iter().filter(failed).flat_map(|step| failed_step(step, lines)).collect()
}

fn failed_step(step: &Step, lines: usize) -> Vec<String> {
    let (tail, before) = step.output.tail(lines);
    let mut out = vec![STEP_RULE.to_owned(), format!(" > {}:", step.name)];
    if before > 0 {
        out.push(format!("... {before} earlier lines"));
    }
    out.extend(tail.map(super::output::Line::stamped));
    out.push(STEP_RULE.to_owned());
    out
}

/// Returns the part of the Dockerfile that is to blame, if one is, and the reason.
pub(crate) fn explain(failed: &api::BuildFailed) -> Vec<String> {
    let mut out = excerpt(failed);
    out.push(format!("ERROR: failed to solve: {}", printable(&failed.message)));
    if !failed.hint.is_empty() {
        out.push(format!("hint: {}", printable(&failed.hint)));
    }
    out
}

fn excerpt(failed: &api::BuildFailed) -> Vec<String> {
    if failed.first_line == 0 || failed.excerpt.is_empty() {
        return Vec::new();
    }
    let mut out = vec![format!("{}:{}", printable(&failed.file), failed.first_line), EXCERPT_RULE.to_owned()];
    let blamed = u64::from(failed.first_line)..=u64::from(failed.last_line.max(failed.first_line));
    for (number, line) in (u64::from(failed.excerpt_line)..).zip(&failed.excerpt).take(MAX_EXCERPT_LINES) {
        let mark = if blamed.contains(&number) { ">>>" } else { "   " };
        out.push(format!(" {number:3} | {mark} {}", printable(line)));
    }
    out.push(EXCERPT_RULE.to_owned());
    out
}

/// Returns the warnings of a build.
pub(crate) fn warnings(warnings: &[api::BuildWarning]) -> Vec<String> {
    let count = match warnings.len() {
        0 => return Vec::new(),
        1 => " 1 warning found:".to_owned(),
        count => format!(" {count} warnings found:"),
    };
    let mut out = vec![String::new(), count];
    out.extend(warnings.iter().map(|warning| {
        let message = printable(&warning.message);
        match warning.line {
            0 => format!(" - {message}"),
            line => format!(" - {message} (line {line})"),
        }
    }));
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::build::End;
    use super::*;

    fn failed() -> api::BuildFailed {
        api::BuildFailed {
            message: "process \"/bin/sh -c false\" did not complete successfully: exit code: 1".into(),
            file: "Dockerfile".into(),
            first_line: 5,
            last_line: 5,
            excerpt_line: 3,
            excerpt: ["WORKDIR /x", "COPY . .", "RUN false", "CMD [\"x\"]"].map(str::to_owned).to_vec(),
            exit_code: 1,
            ..Default::default()
        }
    }

    #[test]
    fn the_dockerfile_around_it() {
        let expected = "Dockerfile:5\n\
                        --------------------\n   \
                          3 |     WORKDIR /x\n   \
                          4 |     COPY . .\n   \
                          5 | >>> RUN false\n   \
                          6 |     CMD [\"x\"]\n\
                        --------------------\n\
                        ERROR: failed to solve: process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
        assert_eq!(explain(&failed()).join("\n"), expected);
    }

    #[test]
    fn several_lines_and_none() {
        let several = api::BuildFailed { first_line: 99, last_line: 100, excerpt_line: 98, ..failed() };
        assert_eq!(
            explain(&several)[2..6],
            [
                "  98 |     WORKDIR /x",
                "  99 | >>> COPY . .",
                " 100 | >>> RUN false",
                " 101 |     CMD [\"x\"]"
            ]
        );
        let none = api::BuildFailed {
            first_line: 0,
            message: "no such file\x1b".into(),
            hint: "look".into(),
            ..failed()
        };
        assert_eq!(explain(&none), ["ERROR: failed to solve: no such file\u{fffd}", "hint: look"]);
    }

    #[test]
    fn long_excerpts_are_cut() {
        let long = api::BuildFailed { excerpt: vec!["x".into(); 5000], ..failed() };
        assert_eq!(explain(&long).len(), MAX_EXCERPT_LINES + 4);
        let last = api::BuildFailed { excerpt_line: u32::MAX, ..failed() };
        assert_eq!(explain(&last)[3], " 4294967296 |     COPY . .");
    }

    #[test]
    fn the_output_of_what_failed() {
        let mut build = Build::default();
        for (number, name) in [(1, "[1/2] RUN true"), (2, "[2/2] RUN false")] {
            build.step_started(number, name, Duration::ZERO);
            build.step_output(number, b"one\ntwo\nthree", Duration::from_millis(70));
        }
        let end = |outcome| End { took: Duration::ZERO, outcome };
        build.step_finished(1, end(Outcome::Done), Duration::ZERO);
        build.step_finished(2, end(Outcome::Failed("exit code: 1".into())), Duration::ZERO);
        let expected =
            ["------", " > [2/2] RUN false:", "... 1 earlier lines", "0.070 two", "0.070 three", "------"];
        assert_eq!(failed_steps(&build, 2), expected);
        assert_eq!(failed_steps(&build, 10)[2], "0.070 one");
    }

    #[test]
    fn all_warnings() {
        let warning = |message: &str, line| api::BuildWarning {
            message: message.into(),
            file: "Dockerfile".into(),
            line,
        };
        assert_eq!(warnings(&[]), [""; 0]);
        assert_eq!(warnings(&[warning("a", 3)]), ["", " 1 warning found:", " - a (line 3)"]);
        assert_eq!(
            warnings(&[warning("a", 3), warning("b", 0)])[1..],
            [" 2 warnings found:", " - a (line 3)", " - b"]
        );
    }
}
