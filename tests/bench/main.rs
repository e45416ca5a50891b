//! How fast the product is, beside what does the same work elsewhere, measured in the same run. `tests/README.md` says
//! how it is called. Goals are shown, and decide nothing.

mod apply;
mod bed;
mod cluster;
mod images;
mod pod;
mod pull;
mod rebuild;
mod steps;
mod table;
mod usable;
mod work;

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use tests::containerd::Engine;

use crate::table::Row;

const USAGE: &str = "usage: bench [--row P3]… [--format table|json] [--containerd debian|1.7|2] [--runs N]";

/// What is measured, and on what.
#[derive(Debug)]
pub(crate) struct Options {
    engine: Engine,
    rows: Vec<String>,
    runs: Option<usize>,
    is_json: bool,
}

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { engine: Engine::two()?, rows: Vec::new(), runs: None, is_json: false };
        let mut args = args.peekable();
        while let Some(option) = args.next() {
            let value = args.next().context(USAGE)?;
            match (option.as_str(), value.as_str()) {
                ("--row", row) => options.rows.extend(row.split(',').map(str::to_uppercase)),
                ("--format", "json") => options.is_json = true,
                ("--format", "table") => options.is_json = false,
                ("--containerd", "debian") => options.engine = Engine::debian()?,
                ("--containerd", "1.7") => options.engine = Engine::one_seven()?,
                ("--containerd", "2") => options.engine = Engine::two()?,
                ("--runs", number) => options.runs = Some(number.parse().context(USAGE)?),
                _ => bail!(USAGE),
            }
        }
        ensure!(options.runs != Some(0), USAGE);
        let known: Vec<&str> = SUBJECTS.iter().flat_map(|subject| subject.rows.iter().copied()).collect();
        let unknown = options.rows.iter().find(|row| !known.contains(&row.as_str()));
        ensure!(
            unknown.is_none(),
            "no row is called {}; there are {}",
            unknown.map_or("", String::as_str),
            known.join(", ")
        );
        Ok(options)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }

    /// Returns how often something is measured that usually is this often.
    pub(crate) fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(usual)
    }
}

/// Rows that are measured on one bed.
struct Subject {
    rows: &'static [&'static str],
    measure: fn(&Options) -> Result<Vec<Row>>,
}

const SUBJECTS: [Subject; 9] = [
    Subject { rows: &["P1"], measure: pod::measure },
    Subject { rows: &["P2"], measure: rebuild::measure_small },
    Subject { rows: &["P3", "P13"], measure: rebuild::measure_large },
    Subject { rows: &["P8"], measure: steps::measure },
    Subject { rows: &["P9", "P13"], measure: pull::measure },
    Subject { rows: &["P10"], measure: usable::measure },
    Subject { rows: &["P11", "P14"], measure: images::measure },
    Subject { rows: &["P12", "P12A", "P12B"], measure: cluster::measure },
    Subject { rows: &["P12C"], measure: apply::measure },
];

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]
fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut rows = Vec::new();
    for subject in &SUBJECTS {
        if !subject.rows.iter().any(|row| options.wants(row)) {
            continue;
        }
        let start = Instant::now();
        eprint!("{} … ", subject.rows.join(", "));
        let measured =
            (subject.measure)(&options).with_context(|| format!("measure {}", subject.rows.join(", ")))?;
        eprintln!("{:.0} s", start.elapsed().as_secs_f64());
        rows.extend(measured.into_iter().filter(|row| options.wants(&row.id.to_uppercase())));
    }
    let number = |row: &Row| row.id.trim_matches(char::is_alphabetic).parse::<u32>().unwrap_or_default();
    rows.sort_by_key(|row| (number(row), row.id));
    if options.is_json {
        println!("{:#}", table::json(&rows));
    } else {
        println!("{}", table::markdown(&rows));
    }
    Ok(())
}
