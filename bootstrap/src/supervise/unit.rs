//! One part's life: its steps, its health, its end, its next start.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use proto::lifecycle::State;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::{health, log};
use crate::error::{Error, Result};
use crate::event::{Part, explain};
use crate::fault;
use crate::node::Node;
use crate::process::Process;
use crate::sequence::{self, Step};

/// How often a part may end while it is started for the first time, before that is a failure.
const FIRST_ATTEMPTS: usize = 3;
/// How often a daemon that runs is looked at, and how often the box, for which programs have to be run.
const LOOK_PERIOD: Duration = Duration::from_secs(10);
const BOX_LOOK_PERIOD: Duration = Duration::from_secs(30);
/// How many looks in a row must find it ill before that is said.
const ILL_LOOKS: u32 = 3;
/// How long a process that was killed may take to be seen to have ended.
const DYING: Duration = Duration::from_millis(200);

/// Brings a part up and keeps it up, for ever or until it fails before it was ever ready. It can be dropped at any moment.
pub(crate) async fn supervise(node: Arc<Node>, part: Part) {
    or_fail(&node, part, keep(&node, part)).await;
}

/// Says that a part has failed when what keeps it panics: nobody would hear of it otherwise, and `up` would wait for ever.
async fn or_fail(node: &Node, part: Part, keep: impl Future<Output = ()>) {
    // Nothing of a part outlives its supervisor but files and `node`, whose locks are released by a panic.
    if AssertUnwindSafe(keep).catch_unwind().await.is_err() {
        let hint = format!("see {}, and report it", node.paths.log("lifecycle").display());
        node.events.fail(part, "what keeps it running panicked, which is a defect of shim", &hint);
    }
}

async fn keep(node: &Arc<Node>, part: Part) {
    let mut backoff = Backoff::default();
    let mut attempts = 0;
    let mut was_ready = false;
    loop {
        attempts += 1;
        let log_end = log::end(&node.paths.log(part.name()));
        let (why, well_for) = match bring_up(node, part).await {
            Ok(process) => {
                was_ready = true;
                let since = Instant::now();
                (watch(node, part, process).await, since.elapsed())
            }
            Err(error) if was_ready || (error.is_transient() && attempts < FIRST_ATTEMPTS) => {
                (error.to_string(), Duration::ZERO)
            }
            Err(error) => return fail(node, part, &error, log_end),
        };
        node.events.set_pid(part, 0);
        let pause = backoff.pause(well_for);
        node.events.set(part, State::BackingOff, format!("{why}; starts again in {pause:?}"));
        sleep(pause).await;
    }
}

/// Says what failed, what the part printed meanwhile, and what helps.
fn fail(node: &Node, part: Part, error: &Error, log_end: u64) {
    let path = node.paths.log(part.name());
    let hint = match part {
        Part::Machine => String::new(),
        Part::Box => format!("see {}", node.paths.log("lifecycle").display()),
        Part::Shimd | Part::Containerd | Part::Components | Part::Kubelet | Part::Kubernetes => {
            format!("see {}", node.paths.command(&format!("logs {}", part.name())))
        }
    };
    let (mut message, hint) = explain(error, &hint);
    // A log that cannot be read has nothing to add to the failure.
    let tail = log::tail(&path, log_end).unwrap_or_default();
    if !tail.is_empty() {
        message = format!("{message}\n{tail}");
    }
    node.events.fail(part, message, &hint);
}

/// Does every step that is not done, then waits until the part is healthy. Returns its process, if it is one.
async fn bring_up(node: &Arc<Node>, part: Part) -> Result<Option<Process>> {
    for step in sequence::of(part) {
        if let Err(error) = do_step(node, part, step).await {
            return Err(blame(node, part, error).await);
        }
    }
    let process = node.process(part)?;
    let is_process = !matches!(part, Part::Machine | Part::Components | Part::Kubernetes);
    let ended = |outcome: String| Error::Ended { program: part.name().into(), outcome };
    if is_process && process.is_none() {
        return Err(ended("at once".into()));
    }
    let version = match &process {
        None => healthy(node, part).await?,
        Some(process) => {
            node.events.set_pid(part, process.pid());
            tokio::select! {
                outcome = process.ended(&node.children) => return Err(ended(outcome)),
                version = healthy(node, part) => version?,
            }
        }
    };
    node.events.set_version(part, &version);
    node.ready(part);
    Ok(process)
}

async fn do_step(node: &Arc<Node>, part: Part, step: Step) -> Result<()> {
    if !step.check(node).await? {
        node.events.set(part, State::Starting, step.title());
        fault::point(step.title());
        step.apply(node).boxed().await?;
    }
    Ok(())
}

/// Says that a step of the box failed because its holder ended, if that is why: then it is worth another attempt.
async fn blame(node: &Node, part: Part, error: Error) -> Error {
    let Some(holder) = node.holder_record().filter(|_| part == Part::Box) else { return error };
    let outcome = match Process::open(holder.identity, &node.children) {
        // Its namespaces go a moment before it is seen to have ended.
        Ok(Some(holder)) => timeout(DYING, holder.ended(&node.children)).await.ok(),
        Ok(None) => Some("it ended".into()),
        Err(_) => None,
    };
    match outcome {
        Some(outcome) => Error::Ended {
            program: "the holder of the box".into(),
            outcome: format!("{outcome}, therefore {error}"),
        },
        None => error,
    }
}

/// Waits until a part is healthy and returns its version.
async fn healthy(node: &Node, part: Part) -> Result<String> {
    let health::Start { limit, awaited, poll, looks } = health::start(part);
    let started = Instant::now();
    let mut good_looks = 0;
    loop {
        match health::check(node, part).boxed().await {
            Ok(version) if good_looks + 1 >= looks => return Ok(version),
            Ok(_) => good_looks += 1,
            Err(seen) if started.elapsed() >= limit => {
                return Err(Error::Timeout { awaited: awaited.into(), seen, limit });
            }
            Err(seen) => {
                good_looks = 0;
                let waiting = if part == Part::Kubernetes { seen } else { awaited.to_owned() };
                node.events.set(part, State::Starting, format!("waiting for {waiting}"));
            }
        }
        sleep(poll).await;
    }
}

/// Watches a part that is ready until it ends, and says how it did.
async fn watch(node: &Arc<Node>, part: Part, process: Option<Process>) -> String {
    let Some(process) = process else { match look_after(node, part).await {} };
    tokio::select! {
        outcome = process.ended(&node.children) => outcome,
        never = look_after(node, part) => match never {},
    }
}

/// Looks at a part now and then: says when it is ill, and does again what others undid.
async fn look_after(node: &Arc<Node>, part: Part) -> std::convert::Infallible {
    let mut ill_looks = 0;
    loop {
        sleep(if part == Part::Box { BOX_LOOK_PERIOD } else { LOOK_PERIOD }).await;
        let looked = match part {
            // What the machine has is not looked at again while everything runs, nor is what was fetched.
            Part::Machine | Part::Components => Ok(()),
            Part::Box => mend(node, part).await.map_err(|error| error.to_string()),
            Part::Shimd | Part::Containerd => health::check(node, part).await.map(drop),
            Part::Kubelet | Part::Kubernetes => mend_and_check(node, part).boxed().await,
        };
        match looked {
            Ok(()) => {
                ill_looks = 0;
                node.ready(part);
            }
            Err(seen) => {
                ill_looks += 1;
                if ill_looks >= ILL_LOOKS {
                    node.events.set(part, State::Starting, format!("runs, but is not well: {seen}"));
                }
            }
        }
    }
}

/// Makes again what is missing of a part, certificates that are near their end among it, and asks how it is.
async fn mend_and_check(node: &Arc<Node>, part: Part) -> Result<(), String> {
    mend(node, part).await.map_err(|error| error.to_string())?;
    health::check(node, part).await.map(drop)
}

/// Does the steps of a part that are not done any more: another program flushed our rules, or came with rules of its own.
async fn mend(node: &Arc<Node>, part: Part) -> Result<()> {
    for step in sequence::of(part) {
        if !step.check(node).await? {
            tracing::warn!(
                part = part.name(),
                step = step.title(),
                "was undone by somebody, and is done again"
            );
            step.apply(node).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Paths;

    #[tokio::test]
    async fn a_panic_is_a_failure_of_the_part() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(Paths::new(root.path()).unwrap()).unwrap();
        or_fail(&node, Part::Shimd, async {}).await;
        assert_eq!(node.events.status(Part::Shimd).state, State::Idle);
        or_fail(&node, Part::Shimd, async { panic!("a defect") }).await;
        let status = node.events.status(Part::Shimd);
        assert_eq!(status.state, State::Failed);
        assert!(status.message.contains("panicked"), "{}", status.message);
    }
}
