//! Surroundings that stand in for shimd's: a mount is a copy of what is below it, a process a few words of a script.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use builder::{
    BuildError, BuildRequest, Builder, Built, Cancel, Event, Exit, Host, HostError, Mounted, Outcome, Output,
    Process, Stack, StepNumber, Transfer,
};
use cachestore::{Image, Reference, Store};

/// No test waits longer for another thread.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) builder: Builder,
    pub(crate) host: Surroundings,
}

/// What builds ask for, and what they did ask for.
#[derive(Default)]
pub(crate) struct Surroundings {
    store: Mutex<Option<Arc<Store>>>,
    /// The scripts that were run, in order.
    pub(crate) ran: Mutex<Vec<String>>,
    /// The images that were asked for, with `!` if the newest was wanted.
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) last_process: Mutex<Option<Process>>,
    meetings: Mutex<BTreeMap<String, usize>>,
    met: Condvar,
    running: AtomicUsize,
    /// The most processes that ran at once.
    pub(crate) most_running: AtomicUsize,
}

/// What a build said and made.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) result: Result<Built, BuildError>,
    /// The steps with their ends, in the order in which they began, without those of the builder itself.
    pub(crate) steps: Vec<(String, String)>,
    pub(crate) warnings: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_parallel(4)
    }

    pub(crate) fn with_parallel(parallel: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("store"), "a test").unwrap());
        let builder = Builder::new(Arc::clone(&store), directory.path().join("contexts"), parallel);
        let host = Surroundings { store: Mutex::new(Some(Arc::clone(&store))), ..Surroundings::default() };
        fs::create_dir(directory.path().join("context")).unwrap();
        Self { directory, store, builder, host }
    }

    /// Returns a path in the context.
    pub(crate) fn context(&self, path: &str) -> PathBuf {
        self.directory.path().join("context").join(path)
    }

    /// Writes files of the context, and the directories above them; `a/` is a directory, `a -> b` a link.
    pub(crate) fn put(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            if let Some((link, target)) = path.split_once(" -> ") {
                std::os::unix::fs::symlink(target, self.context(link)).unwrap();
                continue;
            }
            let full = self.context(path);
            if path.ends_with('/') {
                fs::create_dir_all(&full).unwrap();
                continue;
            }
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::File::create(&full).unwrap().write_all(content.as_bytes()).unwrap();
        }
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        BuildRequest {
            context_dir: self.context(""),
            dockerfile: dockerfile.as_bytes().to_vec(),
            dockerfile_name: "Dockerfile".into(),
            ..BuildRequest::default()
        }
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Done {
        self.run(&self.request(dockerfile), &Cancel::default())
    }

    pub(crate) fn run(&self, request: &BuildRequest, cancel: &Cancel) -> Done {
        let events = Mutex::new(Vec::new());
        let observer = |event: Event| events.lock().unwrap().push(event);
        let result = self.builder.build(request, &self.host, &observer, cancel);
        Done::new(result, events.into_inner().unwrap())
    }

    /// Lists what is in an image: `path 644 content`, `path/ 755`, `path -> target`.
    pub(crate) fn tree(&self, image: &Image) -> Vec<String> {
        let Some(chain) = &image.chain else { return Vec::new() };
        let layers = self.store.chain_layers(chain).unwrap();
        let mut found = BTreeMap::new();
        for layer in self.store.lower_dirs(&layers).iter().rev() {
            list(layer, "", &mut found);
        }
        found.into_iter().map(|(path, text)| format!("{path}{text}")).collect()
    }
}

fn list(directory: &Path, above: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{above}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata().unwrap();
        let mode = metadata.mode() & 0o7777;
        if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            found.insert(path, format!(" -> {}", target.display()));
        } else if metadata.is_dir() {
            found.insert(path.clone(), format!("/ {mode:o}"));
            list(&entry.path(), &format!("{path}/"), found);
        } else {
            let content = fs::read_to_string(entry.path()).unwrap();
            found.insert(path, format!(" {mode:o} {content}").trim_end().to_owned());
        }
    }
}

impl Done {
    fn new(result: Result<Built, BuildError>, events: Vec<Event>) -> Self {
        let mut steps: Vec<(StepNumber, String, String)> = Vec::new();
        let mut warnings = Vec::new();
        for event in events {
            match event {
                Event::Started { step, name } => steps.push((step, name, "still running".into())),
                Event::Finished { step, outcome, .. } => {
                    let known = steps.iter_mut().find(|(known, ..)| *known == step).unwrap();
                    known.2 = match outcome {
                        Outcome::Done => "done".into(),
                        Outcome::Cached => "cached".into(),
                        Outcome::Failed(problem) => problem,
                    };
                }
                Event::Warning { message, .. } => warnings.push(message),
                Event::Output { .. } | Event::Progress { .. } => {}
            }
        }
        steps.retain(|(_, name, _)| name.starts_with('[') && !name.starts_with("[internal]"));
        let steps = steps.into_iter().map(|(_, name, end)| (name, end)).collect();
        Self { result, steps, warnings }
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.result.as_ref().unwrap().image)
    }

    pub(crate) fn error(&self) -> &BuildError {
        self.result.as_ref().unwrap_err()
    }

    /// Returns how each step ended that makes a layer, as `done cached`.
    pub(crate) fn ends(&self) -> String {
        let made = self.steps.iter().filter(|(name, _)| !name.contains("] FROM "));
        made.map(|(_, end)| end.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl Surroundings {
    /// Waits until this many have come to a meeting; false if the build was cancelled meanwhile.
    pub(crate) fn meet(&self, name: &str, count: usize, cancel: &Cancel) -> bool {
        let mut meetings = self.meetings.lock().unwrap();
        *meetings.entry(name.to_owned()).or_default() += 1;
        self.met.notify_all();
        let deadline = std::time::Instant::now() + LIMIT;
        while meetings[name] < count {
            if cancel.is_cancelled() {
                return false;
            }
            assert!(std::time::Instant::now() < deadline, "nobody else came to {name}");
            meetings = self.met.wait_timeout(meetings, Duration::from_millis(10)).unwrap().0;
        }
        true
    }

    fn interpret(&self, process: &Process, output: &(dyn Fn(Output, &[u8]) + Sync), cancel: &Cancel) -> Exit {
        let script = process.args.last().unwrap();
        for command in script.split(';') {
            let words: Vec<&str> = command.split_whitespace().collect();
            match words[..] {
                ["true"] => {}
                ["say", what] => output(Output::Stdout, what.as_bytes()),
                ["write", path, what] => {
                    let full = process.root.join(path.trim_start_matches('/'));
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    fs::File::create(full).unwrap().write_all(what.as_bytes()).unwrap();
                }
                ["meet", name, count] => {
                    if !self.meet(name, count.parse().unwrap(), cancel) {
                        return Exit::Cancelled;
                    }
                }
                ["hang"] => {
                    self.meet("never", usize::MAX, cancel);
                    return Exit::Cancelled;
                }
                ["fail", code] => return Exit::Code(code.parse().unwrap()),
                _ => panic!("no command: {command}"),
            }
        }
        Exit::Code(0)
    }
}

impl Host for Surroundings {
    fn image(
        &self,
        reference: &Reference,
        pull: bool,
        _observer: &dyn Fn(Transfer),
        _cancel: &Cancel,
    ) -> Result<Arc<Image>, HostError> {
        let mark = if pull { "!" } else { "" };
        self.asked.lock().unwrap().push(format!("{}{mark}", reference.familiar()));
        let store = self.store.lock().unwrap().clone().unwrap();
        store.resolve(&reference.to_string())?.ok_or_else(|| "no registry has it".into())
    }

    fn mount(&self, stack: &Stack) -> Result<Box<dyn Mounted>, HostError> {
        let (keep, path) = match &stack.upper {
            Some(upper) => (None, upper.directory.clone()),
            None => {
                let directory = tempfile::tempdir()?;
                let path = directory.path().to_path_buf();
                (Some(directory), path)
            }
        };
        for lower in stack.lower.iter().rev() {
            copy(lower, &path)?;
        }
        Ok(Box::new(Copied { _keep: keep, path }))
    }

    fn run(
        &self,
        process: &Process,
        output: &(dyn Fn(Output, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<Exit, HostError> {
        self.ran.lock().unwrap().push(process.args.last().unwrap().clone());
        *self.last_process.lock().unwrap() = Some(process.clone());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let exit = self.interpret(process, output, cancel);
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(exit)
    }
}

/// What is below, copied; the store takes out of a new layer what is as it is below.
struct Copied {
    _keep: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Mounted for Copied {
    fn path(&self) -> &Path {
        &self.path
    }

    fn unmount(self: Box<Self>) -> Result<(), HostError> {
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (metadata, to) = (entry.metadata()?, to.join(entry.file_name()));
        if metadata.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&entry.path(), &to)?;
        } else {
            // What an upper layer has replaces what a lower one had.
            if to.symlink_metadata().is_ok() {
                fs::remove_file(&to)?;
            }
            if metadata.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(entry.path())?, &to)?;
                continue;
            }
            fs::copy(entry.path(), &to)?;
        }
        fs::set_permissions(&to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
        let modified = fs::FileTimes::new().set_modified(metadata.modified()?);
        fs::File::open(&to)?.set_times(modified)?;
    }
    Ok(())
}
