//! `shimctl logs`.

mod tail;

use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;

use self::tail::Tail;
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;

/// Lines of each part that are shown where several are.
const SEVERAL_LINES: u64 = 20;
/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(250);
/// What the names of logs end with.
const SUFFIX: &str = ".log";
/// Parts beyond this number are not shown.
const MAX_PARTS: usize = 128;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  shimctl logs\n  shimctl logs containerd -f -n 100")]
pub(crate) struct Args {
    /// The part; without it, the last lines of all parts are shown
    #[arg(value_name = "PART")]
    part: Option<String>,
    /// Show new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines to show, or all; by default all of one part, or 20 of each
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N")]
    lines: Option<Lines>,
}

/// How many lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    All,
    Last(u64),
}

impl FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Last).map_err(|_| "this is neither a number nor 'all'".into()),
        }
    }
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let dir = layout.log_dir();
    let known = parts(&dir)?;
    let chosen = match &args.part {
        Some(part) if known.contains(part) => vec![part.clone()],
        Some(part) => {
            return Err(Failure::failed(format!("there is no log of {part:?}, but of {}", known.join(", "))));
        }
        None => known,
    };
    let lines =
        args.lines.unwrap_or(if args.part.is_some() { Lines::All } else { Lines::Last(SEVERAL_LINES) });
    let widest = chosen.iter().map(String::len).max().unwrap_or_default();
    let mut tails = Vec::new();
    for part in chosen {
        let path = dir.join(format!("{part}{SUFFIX}"));
        let prefix = if args.part.is_some() { String::new() } else { format!("{part:widest$} | ") };
        let tail = match lines {
            Lines::All => Tail::whole(path, prefix),
            Lines::Last(count) => Tail::last(path, prefix, count),
        };
        tails.push(tail?);
    }
    show(&mut tails, args.follow).await
}

async fn show(tails: &mut [Tail], follow: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let mut polls = tokio::time::interval(POLL);
    loop {
        for tail in tails.iter_mut() {
            tail.copy(&mut out)?;
            if !follow {
                tail.finish(&mut out)?;
            }
        }
        out.flush().context("write to standard output")?;
        if !follow {
            return Ok(());
        }
        polls.tick().await;
    }
}

/// Lists the parts that have a log, sorted.
fn parts(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("list the logs in {}", dir.display()))?;
    let mut parts = Vec::new();
    for entry in entries.take(MAX_PARTS) {
        let name = entry.with_context(|| format!("list the logs in {}", dir.display()))?.file_name();
        let part = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        parts.extend(part.filter(|part| !part.is_empty() && !part.starts_with('.')).map(str::to_owned));
    }
    if parts.is_empty() {
        output::note(&format!("there are no logs in {}", dir.display()));
    }
    parts.sort_unstable();
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_counts() {
        for (text, expected) in [
            ("all", Some(Lines::All)),
            ("0", Some(Lines::Last(0))),
            ("12", Some(Lines::Last(12))),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(text.parse::<Lines>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn logs_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["shimd.log", "containerd.log", "containerd.log.1", ".log", "..log", "notes"] {
            std::fs::File::create(dir.path().join(name)).unwrap();
        }
        assert_eq!(parts(dir.path()).unwrap(), ["containerd", "shimd"]);
        let missing = parts(&dir.path().join("none")).unwrap_err().message().unwrap();
        assert!(missing.starts_with("list the logs in /"), "{missing}");
    }
}
