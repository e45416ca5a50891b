//! The progress of a build as a frame that is painted over and over, as `docker build` shows it on a terminal.

use std::time::Duration;

use super::build::{Build, Item, Outcome, Step};
use super::{Look, Row, Size, seconds, spread};
use crate::output::text::{fit, width};

/// Lines of output that are shown below a step that runs.
const WINDOW: usize = 6;
/// Rows that have to be free beyond a window, so that steps do not leave the screen for it.
const WINDOW_MARGIN: usize = 3;
/// What the header and the line of the cursor take.
const RESERVED: usize = 2;
/// The narrowest name that is worth a line.
const MIN_NAME: usize = 12;
/// The narrowest line on which bytes are shown beside the name.
const MIN_BYTES_COLUMNS: usize = 20;

/// A line of the frame before it is cut to size.
#[derive(Debug)]
struct Job<'a> {
    name: String,
    bytes: Option<String>,
    took: Duration,
    /// `None` while it runs.
    look: Option<Look>,
    /// The step, on its first line.
    step: Option<&'a Step>,
    window: Vec<String>,
}

/// Draws a build that runs. The frame is never higher than the screen.
pub(crate) fn frame(build: &Build, now: Duration, size: Size) -> Vec<Row> {
    let mut jobs = jobs(build, now);
    let hidden = open_windows(&mut jobs, size);
    let jobs = choose(jobs, size.rows.saturating_sub(RESERVED + hidden));
    draw(build, &jobs, "", now, size)
}

/// Draws a build that has ended: all of it, however long.
pub(crate) fn last_frame(build: &Build, now: Duration, size: Size) -> Vec<Row> {
    let ended = build.steps().iter().all(|step| step.end.is_some());
    let finished = if ended && !build.steps().is_empty() { "FINISHED" } else { "" };
    draw(build, &jobs(build, now), finished, now, size)
}

fn draw(build: &Build, jobs: &[Job<'_>], finished: &str, now: Duration, size: Size) -> Vec<Row> {
    let columns = size.columns.saturating_sub(1);
    let ended = build.steps().iter().filter(|step| step.end.is_some()).count();
    let header = format!("[+] Building {} ({ended}/{}) {finished}", seconds(now), build.steps().len());
    let mut rows = vec![Row::plain(fit(header.trim_end(), columns))];
    for job in jobs {
        rows.extend(line(job, columns));
        rows.extend(job.window.iter().map(|text| Row {
            text: fit(&format!(" => => # {text}"), columns).to_owned(),
            look: Look::Faint,
        }));
    }
    rows
}

fn line(job: &Job<'_>, columns: usize) -> Option<Row> {
    let timer = seconds(job.took);
    let mut name_columns = columns.saturating_sub(width(" => ") + timer.len() + 1);
    let mut left = format!(" => {}", job.name);
    if let Some(bytes) = job.bytes.as_ref().filter(|bytes| name_columns > MIN_BYTES_COLUMNS + bytes.len()) {
        name_columns -= bytes.len() + 1;
        left = format!(" => {} {bytes}", fit(&job.name, name_columns));
    }
    if name_columns < MIN_NAME {
        return None;
    }
    Some(Row { text: spread(&left, &timer, columns), look: job.look.unwrap_or(Look::Plain) })
}

fn jobs(build: &Build, now: Duration) -> Vec<Job<'_>> {
    let mut jobs = Vec::new();
    for step in build.steps() {
        jobs.push(step_job(step, now));
        jobs.extend(step.items.iter().map(|item| item_job(item, step, now)));
    }
    jobs
}

fn step_job(step: &Step, now: Duration) -> Job<'_> {
    let (prefix, took, look) = match &step.end {
        None => ("", now.saturating_sub(step.started), None),
        Some(end) => match end.outcome {
            Outcome::Done => ("", end.took, Some(Look::Done)),
            Outcome::Cached => ("CACHED ", end.took, Some(Look::Done)),
            Outcome::Cancelled => ("CANCELED ", end.took, Some(Look::Cancelled)),
            Outcome::Failed(_) => ("ERROR ", end.took, Some(Look::Failed)),
        },
    };
    Job {
        name: format!("{prefix}{}", step.name),
        bytes: None,
        took,
        look,
        step: Some(step),
        window: Vec::new(),
    }
}

fn item_job<'a>(item: &Item, step: &'a Step, now: Duration) -> Job<'a> {
    let end = item.finished.or_else(|| step.end.as_ref().map(|end| step.started + end.took));
    Job {
        name: format!("=> {}", item.name),
        bytes: item.bytes(),
        took: end.unwrap_or(now).saturating_sub(item.started),
        look: end.map(|_| Look::Done),
        step: None,
        window: Vec::new(),
    }
}

/// Gives the steps that run a window of their output, those with most of it first, while there is room; returns how many
/// rows the windows take.
fn open_windows(jobs: &mut [Job<'_>], size: Size) -> usize {
    let running = jobs.iter().filter(|job| job.look.is_none()).count();
    let mut free = size.rows.saturating_sub(RESERVED + running);
    let bytes = |job: &Job<'_>| job.step.filter(|_| job.look.is_none()).map_or(0, |step| step.output.bytes());
    let mut order: Vec<usize> = (0..jobs.len()).filter(|&at| bytes(&jobs[at]) > 0).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(bytes(&jobs[at])));
    let mut taken = 0;
    for at in order {
        if free <= WINDOW + WINDOW_MARGIN {
            break;
        }
        free -= WINDOW + WINDOW_MARGIN;
        jobs[at].window = jobs[at].step.map(|step| step.output.visible(WINDOW)).unwrap_or_default();
        taken += jobs[at].window.len();
    }
    taken
}

/// Keeps as many lines as there is room for: those of what runs before those of what has ended, late ones before early
/// ones.
fn choose(jobs: Vec<Job<'_>>, room: usize) -> Vec<Job<'_>> {
    let mut order: Vec<usize> = (0..jobs.len()).rev().collect();
    order.sort_by_key(|&at| jobs[at].look.is_some());
    let mut chosen = vec![false; jobs.len()];
    order.into_iter().take(room).for_each(|at| chosen[at] = true);
    jobs.into_iter().zip(chosen).filter_map(|(job, chosen)| chosen.then_some(job)).collect()
}

#[cfg(test)]
#[path = "tty/tests.rs"]
mod tests;
