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
use crate::reset;
use crate::room;
use crate::sequence;
use crate::state::{Cluster, Life, Reader, Wanted};
use crate::step;
use crate::supervise::supervise;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// With this cluster, or in the light form; for this user.
    Up {
        cluster: Option<Cluster>,
        reader: Option<Reader>,
    },
    Down {
        grace: Duration,
    },
    Reset {
        all: bool,
        grace: Duration,
    },
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
        let mut next = unfinished(&self.node.state.get());
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => match orders.recv().await {
                    Some(order) => order,
                    None => return Ok(()),
                },
            };
            match order {
                Order::Up { cluster, reader } => {
                    self.record(cluster, reader)?;
                    next = self.up_until_down(&mut orders).await?;
                }
                Order::Down { grace } => {
                    self.node.state.change(|state| state.wanted = Wanted::Down)?;
                    if self.down(grace).await? {
                        return Ok(());
                    }
                }
                Order::Reset { all, grace } => {
                    if self.reset(all, grace).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Records what is wanted.
    fn record(&self, cluster: Option<Cluster>, reader: Option<Reader>) -> Result<()> {
        self.node.events.set_scope(cluster.is_some());
        self.node.state.change(|state| {
            state.wanted = Wanted::Up;
            state.kubernetes = cluster.is_some();
            if let Some(cluster) = cluster {
                let is_initialized = state.cluster.as_ref().is_some_and(|known| known.is_initialized);
                state.cluster = Some(Cluster { is_initialized, ..cluster });
            }
            if let Some(reader) = reader.filter(|reader| !state.readers.contains(reader)) {
                state.readers.push(reader);
            }
        })
    }

    /// Brings everything up. An order to take it down ends that at once, and is returned; further ones to bring it up are met by it.
    async fn up_until_down(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<Option<Order>> {
        fault::begin(Phase::Up);
        let up = self.up();
        tokio::pin!(up);
        loop {
            tokio::select! {
                () = &mut up => return Ok(None),
                order = orders.recv() => match order {
                    Some(Order::Up { .. }) => {}
                    other => return Ok(other),
                },
            }
        }
    }

    async fn up(&mut self) {
        let node = Arc::clone(&self.node);
        if let Err(error) = room::open_reserve(&node.paths).and_then(|()| room::keep_reserve(&node.paths)) {
            tracing::warn!("{error}");
        }
        for &part in node.events.parts() {
            if node.events.status(part).state == State::Ready
                && self.is_supervised(part)
                && !is_done(&node, part).await
            {
                // The configuration has changed, or somebody undid something.
                self.by_part[part as usize].take().inspect(AbortHandle::abort);
            }
            // What the machine has is not looked at again while everything runs.
            // One that was given up, on a full disk, has been tried on all the same.
            let is_tried = self.is_supervised(part) && node.events.status(part).state != State::Failed;
            let is_settled = is_tried || (part == Part::Machine && node.events.is_ready());
            if !is_settled {
                node.events.set(part, State::Waiting, "");
            }
        }
        // A part may have ended again while a later one came up.
        while !node.events.is_ready() {
            for &part in node.events.parts() {
                if !self.is_supervised(part) {
                    let supervisor = self.supervisors.spawn(supervise(Arc::clone(&node), part));
                    self.by_part[part as usize] = Some(supervisor);
                }
                tokio::select! {
                    settled = node.events.wait(part, &[State::Ready, State::Failed]) => {
                        if settled.state == State::Failed {
                            return;
                        }
                    }
                    remark = room::stays_full(&node.paths) => {
                        // It is tried on, for as long as this part is waited for; nobody else has to wait.
                        let hint = format!("then repeat: {}", node.paths.command("up"));
                        return node.events.fail(part, remark, &hint);
                    }
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
        self.supervisors.shutdown().await;
        self.by_part = [const { None }; Part::ALL.len()];
        let mut failed: Vec<(Part, Error)> = Vec::new();
        let parts = node.events.parts();
        for (part, step) in sequence::backwards().filter(|(part, _)| parts.contains(part)) {
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
            && let Err(error) = self.finish().await
        {
            failed.push((Part::Box, error));
        }
        self.report(&failed);
        Ok(failed.is_empty())
    }

    /// Deletes the cluster and takes everything down; tells whether nothing is left.
    async fn reset(&mut self, all: bool, grace: Duration) -> Result<bool> {
        let node = Arc::clone(&self.node);
        node.state.change(|state| state.wanted = Wanted::Reset { all })?;
        self.supervisors.shutdown().await;
        self.by_part = [const { None }; Part::ALL.len()];
        if node.state.get().cluster.is_some() && node.process(Part::Containerd)?.is_none() {
            // What containerd remembers of pods, only it can forget.
            node.events.set_scope(false);
            self.up().await;
            self.supervisors.shutdown().await;
        }
        if let Err(error) = reset::empty(&node).await {
            // What containerd knows of pods, it is told to forget when it runs the next time.
            tracing::warn!("{error}");
        }
        self.down(grace).await
    }

    /// Forgets what is not there any more.
    async fn finish(&self) -> Result<()> {
        fault::point("everything is undone");
        if let Wanted::Reset { all } = self.node.state.get().wanted {
            step::access::remove(&self.node).await?;
            reset::delete(&self.node, all)?;
        }
        self.node.state.change(|state| {
            state.wanted = Wanted::Nothing;
            state.life = Life::default();
        })?;
        fault::point("nothing is wanted any more");
        step::directories::remove_run(&self.node.paths)
    }

    fn report(&self, failed: &[(Part, Error)]) {
        let events = &self.node.events;
        for &part in events.parts() {
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

/// Returns what an earlier service was told and did not finish.
fn unfinished(state: &crate::state::State) -> Option<Order> {
    match state.wanted {
        Wanted::Up => {
            Some(Order::Up { cluster: state.cluster.clone().filter(|_| state.kubernetes), reader: None })
        }
        Wanted::Reset { all } => Some(Order::Reset { all, grace: Duration::ZERO }),
        Wanted::Nothing | Wanted::Down => None,
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
