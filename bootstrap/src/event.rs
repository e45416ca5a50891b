//! What happens and how the parts are: a bounded history that anybody can follow from any point.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use proto::lifecycle as api;
use proto::lifecycle::State;
use tokio::sync::watch;

use crate::error::Error;

/// How many events are remembered: a day of a machine on which nothing goes wrong, minutes of one where all does.
const HISTORY: usize = 256;

/// The parts of an instance, in the order in which they are brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The machine's programs and what its kernel can do.
    Machine,
    /// Namespaces, mounts, network, names.
    Box,
    /// The daemon that serves images, outside the box.
    Shimd,
    /// The engine, inside the box.
    Containerd,
    /// Programs and images of Kubernetes.
    Components,
    /// The node's agent, inside the box.
    Kubelet,
    /// The control plane, and what runs in the cluster from the start.
    Kubernetes,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::Machine,
        Self::Box,
        Self::Shimd,
        Self::Containerd,
        Self::Components,
        Self::Kubelet,
        Self::Kubernetes,
    ];
    /// How many of them an instance without Kubernetes has: the first ones.
    pub(crate) const LIGHT: usize = 4;

    /// Returns the name that users see, which is also its log's.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Box => "box",
            Self::Shimd => "shimd",
            Self::Containerd => "containerd",
            Self::Components => "components",
            Self::Kubelet => "kubelet",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// How one part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) message: String,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) restarts: u32,
    pub(crate) since: SystemTime,
}

#[derive(Debug)]
struct Inner {
    history: VecDeque<api::Event>,
    next: u64,
    parts: [Status; Part::ALL.len()],
    /// Which of them this instance has: the first ones, see [`Part::LIGHT`].
    scope: usize,
    is_closed: bool,
}

/// The history and the states.
#[derive(Debug)]
pub(crate) struct Events {
    inner: Mutex<Inner>,
    /// The sequence number of the next event.
    changed: watch::Sender<u64>,
}

impl Events {
    pub(crate) fn new(with_kubernetes: bool) -> Self {
        let idle = || Status {
            state: State::Idle,
            message: String::new(),
            version: String::new(),
            pid: 0,
            restarts: 0,
            since: SystemTime::now(),
        };
        let inner = Inner {
            history: VecDeque::new(),
            next: 1,
            parts: Part::ALL.map(|_| idle()),
            scope: scope(with_kubernetes),
            is_closed: false,
        };
        Self { inner: Mutex::new(inner), changed: watch::Sender::new(1) }
    }

    fn with<T>(&self, action: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let result = action(&mut inner);
        let next = inner.next;
        drop(inner);
        self.changed.send_if_modified(|known| std::mem::replace(known, next) != next);
        result
    }

    /// Sets the state of a part and says why. The same again is no event.
    pub(crate) fn set(&self, part: Part, state: State, message: impl Into<String>) {
        self.record(part, state, message.into(), "");
    }

    /// Says that a part failed for good, and what the user can do.
    pub(crate) fn fail(&self, part: Part, message: impl Into<String>, hint: &str) {
        self.record(part, State::Failed, message.into(), hint);
    }

    fn record(&self, part: Part, state: State, message: String, hint: &str) {
        self.with(|inner| {
            let status = &mut inner.parts[part as usize];
            if (status.state, &status.message) == (state, &message) {
                return;
            }
            match state {
                State::Failed => tracing::error!(part = part.name(), hint, "{message}"),
                State::BackingOff => tracing::warn!(part = part.name(), "{message}"),
                _ => tracing::info!(part = part.name(), state = state.as_str_name(), "{message}"),
            }
            if status.state != state {
                status.since = SystemTime::now();
            }
            status.restarts += u32::from(state == State::BackingOff && status.state != State::BackingOff);
            status.state = state;
            status.message.clone_from(&message);
            if state == State::Stopped {
                (status.pid, status.version) = (0, String::new());
            }
            let event = event(part.name(), state, message);
            push(inner, api::Event { hint: hint.to_owned(), ..event });
        });
    }

    /// Says that the whole is ready, or down.
    pub(crate) fn complete(&self, state: State, message: &str) {
        tracing::info!(state = state.as_str_name(), "{message}");
        self.with(|inner| push(inner, api::Event { complete: true, ..event("", state, message.to_owned()) }));
    }

    /// Says that not everything could be taken down; the parts have said why.
    pub(crate) fn incomplete(&self, message: &str, hint: &str) {
        let event = event("", State::Failed, message.to_owned());
        self.with(|inner| push(inner, api::Event { hint: hint.to_owned(), ..event }));
    }

    /// Remembers which process a part is; 0 for none.
    pub(crate) fn set_pid(&self, part: Part, pid: u32) {
        self.with(|inner| inner.parts[part as usize].pid = pid);
    }

    pub(crate) fn set_version(&self, part: Part, version: &str) {
        self.with(|inner| version.clone_into(&mut inner.parts[part as usize].version));
    }

    pub(crate) fn status(&self, part: Part) -> Status {
        self.with(|inner| inner.parts[part as usize].clone())
    }

    /// Sets whether the instance has all parts, or those without Kubernetes.
    pub(crate) fn set_scope(&self, with_kubernetes: bool) {
        self.with(|inner| inner.scope = scope(with_kubernetes));
    }

    /// Returns the parts that the instance has, in their order.
    pub(crate) fn parts(&self) -> &'static [Part] {
        const ALL: &[Part] = &Part::ALL;
        &ALL[..self.with(|inner| inner.scope)]
    }

    /// Tells whether every part is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.with(|inner| inner.parts[..inner.scope].iter().all(|part| part.state == State::Ready))
    }

    /// Returns the sequence number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.with(|inner| inner.next)
    }

    /// Ends every stream of events as soon as it has seen all.
    pub(crate) fn close(&self) {
        self.with(|inner| inner.is_closed = true);
        self.changed.send_modify(|_| ());
    }

    /// Waits for events from this sequence number on, as far as they are remembered; `None` when there will be no more.
    pub(crate) async fn follow(&self, from: u64) -> Option<Vec<api::Event>> {
        let mut changed = self.changed.subscribe();
        loop {
            let (events, is_closed) = self.with(|inner| {
                let new = inner.history.iter().filter(|event| event.sequence >= from);
                (new.cloned().collect::<Vec<_>>(), inner.is_closed)
            });
            if !events.is_empty() {
                return Some(events);
            }
            if is_closed || changed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Waits until a part is in one of some states, and returns how it is then.
    pub(crate) async fn wait(&self, part: Part, states: &[State]) -> Status {
        let mut changed = self.changed.subscribe();
        loop {
            let status = self.status(part);
            // The sender lives as long as `self`.
            if states.contains(&status.state) || changed.changed().await.is_err() {
                return status;
            }
        }
    }
}

const fn scope(with_kubernetes: bool) -> usize {
    if with_kubernetes { Part::ALL.len() } else { Part::LIGHT }
}

fn event(part: &str, state: State, message: String) -> api::Event {
    api::Event {
        sequence: 0,
        time: Some(SystemTime::now().into()),
        part: part.to_owned(),
        state: state.into(),
        message,
        hint: String::new(),
        complete: false,
    }
}

fn push(inner: &mut Inner, event: api::Event) {
    inner.history.push_back(api::Event { sequence: inner.next, ..event });
    inner.next += 1;
    if inner.history.len() > HISTORY {
        inner.history.pop_front();
    }
}

/// Returns what is said of an error: what happened, and what helps.
pub(crate) fn explain(error: &Error, general_hint: &str) -> (String, String) {
    (error.to_string(), error.hint().unwrap_or(general_hint).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sequences(events: &Events, from: u64) -> Option<Vec<u64>> {
        Some(events.follow(from).await?.iter().map(|event| event.sequence).collect())
    }

    #[tokio::test]
    async fn followers_get_the_past_then_the_future_then_the_end() {
        let events = Events::new(false);
        events.set(Part::Box, State::Starting, "making it");
        events.set(Part::Box, State::Starting, "making it");
        events.set(Part::Box, State::Ready, "");
        assert_eq!(sequences(&events, 1).await.unwrap(), [1, 2]);
        let (found, ()) =
            tokio::join!(sequences(&events, 3), async { events.complete(State::Ready, "all is ready") });
        assert_eq!(found.unwrap(), [3]);
        events.close();
        assert_eq!(sequences(&events, 2).await.unwrap(), [2, 3]);
        assert_eq!(sequences(&events, 4).await, None);
    }

    #[tokio::test]
    async fn the_history_is_bounded() {
        let events = Events::new(false);
        for number in 0..HISTORY + 10 {
            events.set(Part::Shimd, State::Starting, number.to_string());
        }
        let found = sequences(&events, 1).await.unwrap();
        assert_eq!((found.len(), found[0]), (HISTORY, 11));
    }

    #[tokio::test]
    async fn states() {
        let events = Events::new(false);
        assert!(!events.is_ready());
        events.set_pid(Part::Shimd, 7);
        for &part in events.parts() {
            events.set(part, State::Ready, "");
        }
        assert!(events.is_ready());
        events.set(Part::Shimd, State::BackingOff, "ended");
        events.set(Part::Shimd, State::BackingOff, "ended again");
        assert_eq!(events.wait(Part::Shimd, &[State::BackingOff]).await.restarts, 1);
        let (status, ()) = tokio::join!(events.wait(Part::Shimd, &[State::Ready, State::Failed]), async {
            events.fail(Part::Shimd, "no", "try")
        });
        assert_eq!((status.state, status.message.as_str(), status.pid), (State::Failed, "no", 7));
        assert_eq!(events.follow(events.next() - 1).await.unwrap()[0].hint, "try");
        events.set(Part::Shimd, State::Stopped, "");
        assert_eq!(events.status(Part::Shimd).pid, 0);
        assert_eq!(events.parts().last(), Some(&Part::Containerd));
        events.set_scope(true);
        assert_eq!(events.parts(), Part::ALL);
    }
}
