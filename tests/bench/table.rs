//! The rows, and how they are printed.

use std::time::Duration;

use serde_json::{Value, json};

/// What was measured: the median of some runs, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    median: f64,
    least: f64,
    most: f64,
    runs: usize,
}

impl Figure {
    /// Sums up durations, in milliseconds.
    pub(crate) fn of_times(times: &[Duration]) -> Self {
        Self::of(times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    /// Takes a size, in bytes.
    #[expect(clippy::cast_precision_loss, reason = "53 bits hold nine petabytes")]
    pub(crate) fn of_bytes(bytes: u64) -> Self {
        Self::of(vec![bytes as f64])
    }

    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        // Of an even number, the mean of the two in the middle.
        let median = f64::midpoint(at(last / 2), at(values.len() / 2));
        Self { median, least: at(0), most: at(last), runs: values.len() }
    }

    /// Returns the same for one of `parts` equal parts.
    pub(crate) fn per(self, parts: u32) -> Self {
        let parts = f64::from(parts);
        Self { median: self.median / parts, least: self.least / parts, most: self.most / parts, ..self }
    }

    fn json(self) -> Value {
        json!({"median": self.median, "least": self.least, "most": self.most, "runs": self.runs})
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Time,
    /// Bytes.
    Size,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Time if value >= 10_000.0 => format!("{:.2} s", value / 1e3),
            Self::Time if value >= 100.0 => format!("{value:.0} ms"),
            Self::Time if value >= 10.0 => format!("{value:.1} ms"),
            Self::Time => format!("{value:.2} ms"),
            Self::Size => format!("{:.2} MB", value / 1e6),
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Our figure over the reference's is at most this.
    Ratio(f64),
    /// Our figure is at most this, whatever the reference's.
    AtMost(f64),
    /// Our figure is at most this more than the reference's.
    More(f64),
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// `P1` …
    pub(crate) id: &'static str,
    /// What is done.
    pub(crate) work: &'static str,
    /// What it is compared with.
    pub(crate) against: &'static str,
    /// What the figures count.
    pub(crate) unit: Unit,
    /// What we take.
    pub(crate) ours: Figure,
    /// What the reference takes.
    pub(crate) reference: Option<Figure>,
    /// What is wanted.
    pub(crate) goal: Goal,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.reference.map(|reference| self.ours.median / reference.median)
    }

    fn difference(&self) -> Option<f64> {
        self.reference.map(|reference| self.ours.median - reference.median)
    }

    fn is_met(&self) -> bool {
        match self.goal {
            Goal::Ratio(most) => self.ratio().is_some_and(|ratio| ratio <= most),
            Goal::AtMost(most) => self.ours.median <= most,
            Goal::More(most) => self.difference().is_some_and(|more| more <= most),
        }
    }

    fn cells(&self) -> [String; 8] {
        let none = || "–".to_owned();
        let ratio = match self.goal {
            Goal::More(_) => self.difference().map(|more| format!("{more:+.3} ms")),
            // Goals of sizes are a few hundredths from 1, and some of times a few hundredths from 0.
            _ => self.ratio().map(|ratio| {
                let is_fine = self.unit == Unit::Size || ratio < 0.1;
                if is_fine { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
            }),
        };
        let goal = match self.goal {
            Goal::Ratio(most) => format!("≤ {most}×"),
            Goal::AtMost(most) => format!("≤ {}", self.unit.show(most)),
            Goal::More(most) => format!("≤ +{most} ms"),
        };
        [
            self.id.to_owned(),
            self.work.to_owned(),
            self.unit.show(self.ours.median),
            self.against.to_owned(),
            self.reference.map_or_else(none, |reference| self.unit.show(reference.median)),
            ratio.unwrap_or_else(none),
            goal,
            if self.is_met() { "met" } else { "missed" }.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let unit = match self.unit {
            Unit::Time => "ms",
            Unit::Size => "bytes",
        };
        let goal = match self.goal {
            Goal::Ratio(most) => json!({"ratio": most}),
            Goal::AtMost(most) => json!({"at_most": most}),
            Goal::More(most) => json!({"more": most}),
        };
        json!({
            "row": self.id,
            "work": self.work,
            "against": self.against,
            "unit": unit,
            "ours": self.ours.json(),
            "reference": self.reference.map(Figure::json),
            "ratio": self.ratio(),
            "goal": goal,
            "met": self.is_met(),
        })
    }
}

const HEAD: [&str; 8] = ["row", "work", "ours", "against", "theirs", "ratio", "goal", ""];

/// Writes the rows as a table that is Markdown, too.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text: Vec<String> = Vec::new();
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        text.push(format!("|{}", cells.collect::<String>()));
        if text.len() == 1 {
            text.push(format!("|{}", widths.map(|width| format!("{}|", "-".repeat(width + 2))).concat()));
        }
    }
    text.join("\n")
}

/// Returns the rows as JSON.
pub(crate) fn json(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}
