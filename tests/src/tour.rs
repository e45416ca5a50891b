//! The front door: what blocks of the README show is typed, in one shell, and must come out as shown.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::files;
use crate::host::Host;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Stands for any number of lines where it is alone, and for any text in a line.
const ANY: char = '…';
/// The whole tour, with a build of everything where there is none yet.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A command of the README, and what it prints.
#[derive(Debug, PartialEq)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// Reads the blocks of this kind: `$ ` begins a command, what follows is its output.
fn transcript(readme: &str, wanted: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("```") {
            Some(kind) => inside = kind == wanted,
            None if !inside => {}
            None => match (line.strip_prefix("$ "), shown.last_mut()) {
                (Some(command), _) => shown.push(Shown { command: command.to_owned(), output: Vec::new() }),
                (None, Some(last)) => last.output.push(line.to_owned()),
                (None, None) => {}
            },
        }
    }
    shown
}

fn line_matches(shown: &str, line: &str) -> bool {
    let Some((head, rest)) = shown.split_once(ANY) else { return shown == line };
    let Some(line) = line.strip_prefix(head) else { return false };
    line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| line_matches(rest, &line[at..]))
}

fn matches(shown: &[String], lines: &[&str]) -> bool {
    let Some((first, rest)) = shown.split_first() else { return lines.is_empty() };
    if *first == ANY.to_string() {
        return (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]));
    }
    lines.split_first().is_some_and(|(line, more)| line_matches(first, line) && matches(rest, more))
}

/// Writes the script: one shell, in which the output of each command goes to a file of its own.
fn script(shown: &[Shown], directory: &std::path::Path) -> String {
    let mut script = String::from("if [ \"$(id -u)\" = 0 ]; then sudo() { \"$@\"; }; fi\n");
    for (number, Shown { command, .. }) in shown.iter().enumerate() {
        let file = directory.join(number.to_string());
        script.push_str(&format!("{{ {command}\n}} >{0} 2>&1; echo $? >{0}.status\n", file.display()));
    }
    script
}

/// Types every command of the README's blocks of this kind in a host, and compares what comes out; returns what is left behind.
///
/// # Errors
/// Something does not come out as shown.
pub fn take(host: &Host, kind: &str) -> Result<Vec<String>> {
    let shown = transcript(&files::text(format!("{REPOSITORY}/README.md"))?, kind);
    ensure!(shown.len() > 10, "{shown:?}");
    let before = host.traces()?;
    let outputs = host.dir().join("tour");
    files::dir(&outputs)?;

    let mut shell = host.command_in(REPOSITORY, "bash").args(["-c", &script(&shown, &outputs)]).limit(LIMIT);
    for name in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "SHIM_TEST_CACHE"] {
        if let Some(value) = std::env::var_os(name) {
            shell = shell.env(name, value);
        }
    }
    for (name, below) in
        [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"), ("SHIM_TEST_CACHE", ".cache/shim-tests")]
    {
        if std::env::var_os(name).is_none() {
            let home = std::env::var_os("HOME").context("no HOME")?;
            shell = shell.env(name, std::path::Path::new(&home).join(below));
        }
    }
    shell.env("CARGO_NET_OFFLINE", "true").run()?;

    let mut problems = Vec::new();
    for (number, Shown { command, output }) in shown.iter().enumerate() {
        let printed = files::text(outputs.join(number.to_string()))?;
        let status = files::text(outputs.join(format!("{number}.status")))?;
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        let fails = output.iter().any(|line| line.starts_with("ERROR"));
        if !matches(output, &lines) || (status.trim() != "0") != fails {
            problems.push(format!("$ {command}\n{printed}exit status {}", status.trim()));
        }
    }
    ensure!(problems.is_empty(), "not as the README shows:\n{}", problems.join("\n"));
    let mut left = host.traces()?.since(&before);
    left.retain(|trace| !trace.contains("/home/.config"));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_read_and_compared() {
        let readme = "text\n```sh\n$ no\n```\n```console\n$ one\na\n…\n$ two\n```\n";
        let one = Shown { command: "one".to_owned(), output: vec!["a".to_owned(), "…".to_owned()] };
        let two = Shown { command: "two".to_owned(), output: Vec::new() };
        assert_eq!(transcript(readme, "console"), [one, two]);
        let shown: Vec<String> = ["a", "…", "b … c", "d"].map(str::to_owned).to_vec();
        for (lines, same) in [
            (&["a", "b x c", "d"][..], true),
            (&["a", "x", "y", "b  c", "d"], true),
            (&["a", "x", "b c", "d"], false),
            (&["x", "b x c", "d"], false),
            (&["a", "b x c", "d", "e"], false),
            (&["a", "b x c"], false),
        ] {
            assert_eq!(matches(&shown, lines), same, "{lines:?}");
        }
    }
}
