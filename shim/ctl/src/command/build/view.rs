//! What the user sees of a build: a painted screen, a log, or nothing until it fails.

use std::io::Write as _;
use std::time::{Duration, Instant};

use proto::control as api;

use super::Progress;
use crate::exit::Failure;
use crate::output;
use crate::progress::build::{Build, Change, End, Outcome};
use crate::progress::plain::Plain;
use crate::progress::screen::Screen;
use crate::progress::{failure, tty};

/// Lines of a failed step that are repeated below a log that has them already.
const REPEATED_LINES: usize = 10;
/// Warnings beyond this number are not shown.
const MAX_WARNINGS: usize = 1000;
/// The error of a step that another step's failure ended.
const CANCELED: &str = "CANCELED";

/// A build, and how it is shown.
#[derive(Debug)]
pub(super) struct View {
    began: Instant,
    build: Build,
    warnings: Vec<api::BuildWarning>,
    /// Whether the user has cancelled the build.
    cancelled: bool,
    display: Display,
}

#[derive(Debug)]
enum Display {
    Screen(Screen),
    Log(Plain),
    Quiet,
}

impl View {
    /// Begins to show a build.
    pub(super) fn new(progress: Progress) -> Result<Self, Failure> {
        let display =
            match progress {
                Progress::Quiet => Display::Quiet,
                Progress::Plain => Display::Log(Plain::default()),
                Progress::Auto => {
                    Screen::on_terminal().map_or_else(|| Display::Log(Plain::default()), Display::Screen)
                }
                Progress::Tty => {
                    let screen = Screen::on_terminal();
                    Display::Screen(screen.ok_or_else(|| {
                        Failure::failed("--progress=tty needs a terminal for standard error")
                    })?)
                }
            };
        Ok(Self {
            began: Instant::now(),
            build: Build::default(),
            warnings: Vec::new(),
            cancelled: false,
            display,
        })
    }

    pub(super) fn step_started(&mut self, step: &api::StepStarted) {
        let change = self.build.step_started(step.step, &step.name, self.began.elapsed());
        self.show(change);
    }

    pub(super) fn step_output(&mut self, output: &api::StepOutput) {
        let change = self.build.step_output(output.step, &output.data, self.began.elapsed());
        self.show(change);
    }

    pub(super) fn step_progress(&mut self, progress: &api::StepProgress) {
        let bytes = (progress.current_bytes, progress.total_bytes);
        let change = self.build.step_progress(progress.step, &progress.item, bytes, self.began.elapsed());
        self.show(change);
    }

    pub(super) fn step_finished(&mut self, finished: api::StepFinished) {
        let outcome = match finished.error.as_str() {
            "" if finished.cached => Outcome::Cached,
            "" => Outcome::Done,
            CANCELED => Outcome::Cancelled,
            // The step did not fail by itself.
            _ if self.cancelled => Outcome::Cancelled,
            _ => Outcome::Failed(output::text::printable(&finished.error).into_owned()),
        };
        let end = End { took: Duration::from_micros(finished.duration_us), outcome };
        let change = self.build.step_finished(finished.step, end, self.began.elapsed());
        self.show(change);
    }

    pub(super) fn warn(&mut self, warning: api::BuildWarning) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(warning);
        }
    }

    /// Shows from now on that steps end because the user wants it.
    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Shows what is due because time has passed.
    pub(super) fn tick(&mut self) {
        let now = self.began.elapsed();
        match &mut self.display {
            Display::Screen(screen) => screen.paint(&tty::frame(&self.build, now, screen.size())),
            Display::Log(log) => print(&log.tick(&self.build, now)),
            Display::Quiet => {}
        }
    }

    /// Shows the build as it has ended.
    pub(super) fn finish(&mut self) {
        if let Display::Screen(screen) = &mut self.display {
            screen.paint(&tty::last_frame(&self.build, self.began.elapsed(), screen.size()));
        }
    }

    /// Prints all warnings, unless nothing is to be said.
    pub(super) fn print_warnings(&self) {
        if !matches!(self.display, Display::Quiet) {
            print(&failure::warnings(&self.warnings));
        }
    }

    /// Prints what failed and why.
    pub(super) fn print_failure(&self, failed: &api::BuildFailed) {
        let lines = if matches!(self.display, Display::Log(_)) { REPEATED_LINES } else { usize::MAX };
        print(&failure::failed_steps(&self.build, lines));
        self.print_warnings();
        print(&failure::explain(failed));
    }

    fn show(&mut self, change: Option<Change>) {
        if let (Display::Log(log), Some(change)) = (&mut self.display, change) {
            print(&log.tell(&self.build, change, self.began.elapsed()));
        }
    }
}

/// Prints lines to standard error at once. Where it is closed, the build goes on without them.
fn print(lines: &[String]) {
    if !lines.is_empty() {
        std::io::stderr().write_all(format!("{}\n", lines.join("\n")).as_bytes()).ok();
    }
}
