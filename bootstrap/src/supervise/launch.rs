//! Starts processes that outlive the lifecycle service.
//!
//! A process begins only after it has been recorded: until then it waits for a word on its standard input, and ends if the service
//! does. So there is never a daemon that nobody knows.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::command::{PROXY_VARIABLES, enter_words, own_program, search_path};
use crate::enter::GO;
use crate::error::{Error, IoContext, Result};
use crate::event::Part;
use crate::fault;
use crate::node::Node;
use crate::ports;
use crate::process::Identity;
use crate::state::Daemon;
use crate::supervise::log;

/// How a daemon is started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [String],
    /// The group of the instance that it runs in.
    pub(crate) group: &'a str,
    /// How readily the kernel ends it when memory runs out.
    pub(crate) oom_score_adj: i32,
    /// Whose namespaces it runs in; without it the machine's.
    pub(crate) holder: Option<Identity>,
}

/// A process that waits for the word.
pub(crate) struct Waiting {
    pub(crate) identity: Identity,
    stdin: ChildStdin,
    pub(crate) stdout: Option<ChildStdout>,
}

/// Starts a daemon, and records it.
pub(crate) fn daemon(node: &Node, part: Part, launch: &Launch) -> Result<()> {
    let mut words = vec![OsString::from("enter")];
    if let Some(holder) = launch.holder {
        words = enter_words(holder);
    }
    words.extend(daemon_words(node, launch.group, launch.oom_score_adj));
    words.extend(["--".into(), launch.program.into()]);
    words.extend(launch.arguments.iter().map(OsString::from));
    let waiting = spawn(node, part, &words, false)?;
    let (identity, arguments) = (waiting.identity, launch.arguments.to_vec());
    fault::point("a daemon waits and is not recorded");
    node.record_daemon(part, Some(Daemon { identity, arguments }))?;
    node.events.set_pid(part, identity.pid);
    fault::point("a daemon is recorded and waits");
    waiting.go()?;
    fault::point("a daemon begins");
    Ok(())
}

/// Returns the arguments that make a process of this program a daemon.
pub(crate) fn daemon_words(node: &Node, group: &str, oom_score_adj: i32) -> Vec<OsString> {
    let cgroup = format!("{}/{group}", node.name());
    let score = format!("--oom-score-adj={oom_score_adj}");
    let files = ports::usual_files().map(|files| format!("--open-files={files}"));
    let words = ["--wait".to_owned(), "--cgroup".into(), cgroup, score];
    words.into_iter().chain(files).map(OsString::from).collect()
}

/// Starts this program with these arguments; it waits for the word.
pub(crate) fn spawn(node: &Node, part: Part, words: &[OsString], is_answering: bool) -> Result<Waiting> {
    let path = node.paths.log(part.name());
    let output = log::open(&path)?;
    let errors = output.try_clone().at("share", &path)?;
    let program = own_program()?;
    let mut command = Command::new(&program);
    if part == Part::Kubelet {
        for name in PROXY_VARIABLES {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args(words)
        .env("PATH", search_path())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(if is_answering { Stdio::piped() } else { output.into() })
        .stderr(errors)
        .spawn()
        .at("start", &program)?;
    let (pid, stdin, stdout) = (child.id(), child.stdin.take(), child.stdout.take());
    node.children.add(child);
    let ended = || Error::Ended { program: part.name().into(), outcome: "before it began".into() };
    let identity = Identity::of(pid)?.ok_or_else(ended)?;
    Ok(Waiting { identity, stdin: stdin.ok_or_else(ended)?, stdout })
}

impl Waiting {
    /// Says the word: the process has been recorded.
    pub(crate) fn go(mut self) -> Result<()> {
        // Should it have ended already, then whoever watches it will see that.
        self.stdin
            .write_all(GO)
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })
            .at("write to process", self.identity.pid.to_string())
    }
}
