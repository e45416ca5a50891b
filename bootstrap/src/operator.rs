//! Does what is asked for, one thing after the other: brings everything up, keeps it up, takes it down.

use std::sync::Arc;
use std::time::Duration;

use proto::lifecycle::State;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::{Error, Result};
use crate::event::{Part, explain};
use crate::fault::{self, Phase};
use crate::node::Node;
use crate::sequence;
use crate::state::{Life, Wanted};
use crate::step;
use crate::supervise::supervise;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Up,
    Down { grace: Duration },
}

/// Runs what is asked for until the instance has been taken down, or until it is dropped.
#[derive(Debug)]
pub(crate) struct Operator {
    node: Arc<Node>,
    supervisors: JoinSet<()>,
    /// The supervisor of each part, once it was started.
    by_part: [Option<AbortHandle>; Part::ALL.len()],
}

impl Operator {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, supervisors: JoinSet::new(), by_part: [const { None }; Part::ALL.len()] }
    }

    /// Works until everything is down. What ran when an earlier service died is taken over first.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Result<()> {
        let mut next = (self.node.state.get().wanted == Wanted::Up).then_some(Order::Up);
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => match orders.recv().await {
                    Some(order) => order,
                    None => return Ok(()),
                },
            };
            match order {
                Order::Up => next = self.up_until_down(&mut orders).await?,
                Order::Down { grace } => {
                    if self.down(grace).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Brings everything up. An order to take it down ends that at once, and is returned; further ones to bring it up are met by it.
    async fn up_until_down(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<Option<Order>> {
        let node = Arc::clone(&self.node);
        fault::begin(Phase::Up);
        node.state.change(|state| state.wanted = Wanted::Up)?;
        let up = self.up();
        tokio::pin!(up);
        loop {
            tokio::select! {
                () = &mut up => return Ok(None),
                order = orders.recv() => match order {
                    Some(Order::Up) => {}
                    other => return Ok(other),
                },
            }
        }
    }

    async fn up(&mut self) {
        let node = Arc::clone(&self.node);
        for part in Part::ALL {
            if node.events.status(part).state == State::Ready
                && self.is_supervised(part)
                && !is_done(&node, part).await
            {
                // The configuration has changed, or somebody undid something.
                self.by_part[part as usize].take().inspect(AbortHandle::abort);
            }
            // What the machine has is not looked at again while everything runs.
            let is_settled = self.is_supervised(part) || (part == Part::Machine && node.events.is_ready());
            if !is_settled {
                node.events.set(part, State::Waiting, "");
            }
        }
        // A part may have ended again while a later one came up.
        while !node.events.is_ready() {
            for part in Part::ALL {
                if !self.is_supervised(part) {
                    let supervisor = self.supervisors.spawn(supervise(Arc::clone(&node), part));
                    self.by_part[part as usize] = Some(supervisor);
                }
                if node.events.wait(part, &[State::Ready, State::Failed]).await.state == State::Failed {
                    return;
                }
            }
        }
        fault::end();
        node.events.complete(State::Ready, "everything is ready");
    }

    fn is_supervised(&self, part: Part) -> bool {
        self.by_part[part as usize].as_ref().is_some_and(|supervisor| !supervisor.is_finished())
    }

    /// Takes everything down; tells whether nothing is left. What cannot be undone does not keep the rest from being undone.
    async fn down(&mut self, grace: Duration) -> Result<bool> {
        let node = Arc::clone(&self.node);
        fault::begin(Phase::Down);
        node.state.change(|state| state.wanted = Wanted::Down)?;
        self.supervisors.shutdown().await;
        self.by_part = [const { None }; Part::ALL.len()];
        let mut failed: Vec<(Part, Error)> = Vec::new();
        for (part, step) in sequence::backwards() {
            let title = step.undo_title();
            if !title.is_empty() {
                node.events.set(part, State::Stopping, title);
            }
            fault::point(title);
            if let Err(error) = step.undo(&node, grace).await {
                tracing::error!(part = part.name(), step = title, "{error}");
                failed.push((part, error));
            }
            let is_last = sequence::of(part).next() == Some(step);
            if is_last && !failed.iter().any(|(owner, _)| *owner == part) {
                node.events.set(part, State::Stopped, "");
            }
        }
        if failed.is_empty()
            && let Err(error) = self.finish()
        {
            failed.push((Part::Box, error));
        }
        self.report(&failed);
        Ok(failed.is_empty())
    }

    /// Forgets what is not there any more.
    fn finish(&self) -> Result<()> {
        fault::point("everything is undone");
        self.node.state.change(|state| {
            state.wanted = Wanted::Nothing;
            state.life = Life::default();
        })?;
        fault::point("nothing is wanted any more");
        step::directories::remove_run(&self.node.paths)
    }

    fn report(&self, failed: &[(Part, Error)]) {
        let events = &self.node.events;
        for part in Part::ALL {
            let problems =
                failed.iter().filter(|(owner, _)| *owner == part).map(|(_, error)| error.to_string());
            let problems: Vec<String> = problems.collect();
            if !problems.is_empty() {
                let (message, hint) = explain(&Error::Remains { problems }, "");
                events.fail(part, message, &hint);
            }
        }
        if failed.is_empty() {
            events.complete(State::Stopped, "everything is down");
        } else {
            events.incomplete("not everything could be taken down", &self.node.paths.command("down"));
        }
    }
}

/// Tells whether every step of a part is done; a step that cannot tell says why when it is done again.
async fn is_done(node: &Arc<Node>, part: Part) -> bool {
    for step in sequence::of(part) {
        if !step.check(node).await.unwrap_or(false) {
            return false;
        }
    }
    true
}
