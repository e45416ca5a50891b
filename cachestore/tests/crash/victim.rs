//! The other side of the driver: this same binary, started again to do one thing and die.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cachestore::Store;
use cachestore::disk::fault;
use rustix::process::{Resource, Rlimit, setrlimit};

const STORE: &str = "CRASH_STORE";
const TASK: &str = "CRASH_TASK";
const FAILPOINT: &str = "CRASH_FAILPOINT";
const TRAIL: &str = "CRASH_TRAIL";

/// Held while a process is started, and while a store is opened here.
///
/// Between fork and exec a new process has copies of all our descriptors, locks among them: a store that another thread
/// has closed meanwhile would still be locked.
static STARTING: Mutex<()> = Mutex::new(());

fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process.
pub(crate) fn start(command: &mut Command) -> Child {
    let _alone = starting();
    command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Opens a store in the driver.
pub(crate) fn open(directory: &Path) -> Store {
    let _alone = starting();
    Store::open(directory, "the driver").expect("the store opens")
}

/// What a victim is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Open the store, then die in the operation.
    Run,
    /// Die while the store is opened.
    Open,
    /// Whatever else the test has for it, without failpoints.
    Help,
}

/// What this process was started for; `None` for the driver.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) store: PathBuf,
    failpoint: u64,
    trail: Option<PathBuf>,
}

impl Order {
    pub(crate) fn of_this_process() -> Option<Self> {
        let task = match std::env::var(TASK).ok()?.as_str() {
            "run" => Task::Run,
            "open" => Task::Open,
            _ => Task::Help,
        };
        let limit = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, limit).expect("no core dumps");
        Some(Self {
            task,
            store: std::env::var_os(STORE).expect("a store").into(),
            failpoint: std::env::var(FAILPOINT).map_or(0, |number| number.parse().expect("a number")),
            trail: std::env::var_os(TRAIL).map(PathBuf::from),
        })
    }

    /// Does it, and dies on the way if the failpoint is reached.
    pub(crate) fn carry_out(&self, operation: fn(&Store)) {
        if self.task == Task::Open {
            fault::arm(self.failpoint);
        }
        let store = Store::open(&self.store, "the victim").expect("the store opens");
        if self.task == Task::Run {
            fault::arm(self.failpoint);
            operation(&store);
        }
        if let Some(trail) = &self.trail {
            crate::fixture::write(trail, fault::passed().join("\n").as_bytes());
        }
    }
}

/// Prepares a victim of the test of this name.
pub(crate) fn command(test: &str, task: Task, store: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this binary"));
    let task = match task {
        Task::Run => "run",
        Task::Open => "open",
        Task::Help => "help",
    };
    command.args([test, "--exact", "--nocapture"]).env(TASK, task).env(STORE, store);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Lets a victim die at a failpoint; returns how it ended.
pub(crate) fn end_at(test: &str, task: Task, store: &Path, failpoint: u64) -> Output {
    let mut command = command(test, task, store);
    start(command.env(FAILPOINT, failpoint.to_string())).wait_with_output().expect("its output")
}

/// Lets a victim live, and returns the names of the failpoints that it passed.
pub(crate) fn failpoints(test: &str, task: Task, store: &Path) -> Vec<String> {
    let trail = store.with_extension("trail");
    let mut command = command(test, task, store);
    command.env(FAILPOINT, u64::MAX.to_string()).env(TRAIL, &trail);
    let output = start(&mut command).wait_with_output().expect("its output");
    assert!(output.status.success(), "{test}: without a crash it fails\n{}", said(&output));
    let text = std::fs::read_to_string(&trail).expect("the victim's trail");
    text.lines().map(str::to_owned).collect()
}

/// Returns what a process said, to explain why it should have ended in another way.
pub(crate) fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    format!("{}\n{}", output.status, String::from_utf8_lossy(&text))
}
