//! The API of the service: orders in, events out.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use proto::lifecycle as api;
use proto::lifecycle::State;
use proto::lifecycle::lifecycle_server::Lifecycle;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Request, Response, Status};

use crate::event::Part;
use crate::node::Node;
use crate::operator::Order;
use crate::room;
use crate::state::Wanted;

use super::wanted;

/// How long containers may be given to end.
const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

/// The service. Only root can connect to its socket.
#[derive(Debug)]
pub(crate) struct Service {
    node: Arc<Node>,
    orders: mpsc::Sender<Order>,
    /// Counts the streams that have not been read to their end.
    streams: TaskTracker,
}

impl Service {
    pub(crate) const fn new(node: Arc<Node>, orders: mpsc::Sender<Order>, streams: TaskTracker) -> Self {
        Self { node, orders, streams }
    }

    /// Streams events from a sequence number on.
    fn stream(&self, from: u64, is_settled: fn(&api::Event) -> Settled) -> Response<Events> {
        let (node, unread) = (Arc::clone(&self.node), self.streams.token());
        Response::new(Box::pin(follow(node, from, is_settled, unread)))
    }

    /// Gives an order, and returns what happens from then on, up to the event that ends it.
    fn order(&self, order: Order) -> Result<Response<Events>, Status> {
        let from = self.node.events.next();
        self.orders
            .try_send(order.clone())
            .map_err(|_| Status::resource_exhausted("too many orders wait"))?;
        let is_settled = match order {
            Order::Up { .. } => settles_up,
            Order::Down { .. } | Order::Reset { .. } => settles_down,
        };
        Ok(self.stream(from, is_settled))
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<api::Event, Status>> + Send>>;

#[tonic::async_trait]
impl Lifecycle for Service {
    type UpStream = Events;
    type DownStream = Events;
    type ResetStream = Events;
    type WatchStream = Events;

    async fn up(&self, request: Request<api::UpRequest>) -> Result<Response<Events>, Status> {
        let state = self.node.state.get();
        if matches!(state.wanted, Wanted::Down | Wanted::Reset { .. }) && is_stopping(&self.node) {
            return Err(Status::failed_precondition(
                "the instance is being taken down; try again when it is down",
            ));
        }
        let request = request.into_inner();
        let is_under_way = state.wanted == Wanted::Up && !has_failed(&self.node);
        let cluster = wanted::cluster(&request, &state, is_under_way, &self.node.paths)?;
        self.order(Order::Up { cluster, reader: wanted::reader(request)? })
    }

    async fn down(&self, request: Request<api::DownRequest>) -> Result<Response<Events>, Status> {
        let grace = Duration::from_secs(request.into_inner().grace_seconds.into()).min(MAX_GRACE);
        self.order(Order::Down { grace })
    }

    async fn reset(&self, request: Request<api::ResetRequest>) -> Result<Response<Events>, Status> {
        let request = request.into_inner();
        let grace = Duration::from_secs(request.grace_seconds.into()).min(MAX_GRACE);
        self.order(Order::Reset { all: request.all, grace })
    }

    async fn status(&self, _: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        // Whatever else is wrong with a part, this is why.
        let full = room::remark(&self.node.paths);
        let part = |part: Part| {
            let status = self.node.events.status(part);
            api::Part {
                name: part.name().to_owned(),
                state: status.state.into(),
                message: match &full {
                    Some(full) if part == Part::Machine && status.message.is_empty() => full.clone(),
                    _ => status.message,
                },
                version: status.version,
                pid: status.pid,
                restarts: status.restarts,
                since: Some(status.since.into()),
            }
        };
        let ports = match self.node.ports() {
            Some(ports) => ports.list().await,
            None => Vec::new(),
        };
        Ok(Response::new(api::StatusResponse {
            ports,
            root_dir: self.node.paths.root().display().to_string(),
            pid: std::process::id(),
            parts: self.node.events.parts().iter().copied().map(part).collect(),
            ready: self.node.events.is_ready(),
        }))
    }

    async fn watch(&self, _: Request<api::WatchRequest>) -> Result<Response<Events>, Status> {
        Ok(self.stream(0, |_| None))
    }
}

fn is_stopping(node: &Node) -> bool {
    Part::ALL.into_iter().any(|part| node.events.status(part).state == State::Stopping)
}

/// Tells whether bringing it up has ended with a failure.
fn has_failed(node: &Node) -> bool {
    Part::ALL.into_iter().any(|part| node.events.status(part).state == State::Failed)
}

/// How a stream ends with an event: well, or with a status in its place.
type Settled = Option<Result<(), Status>>;

/// Streams events from a sequence number on, until one settles what is waited for or there will be no more. `unread` goes with the
/// stream.
fn follow(
    node: Arc<Node>,
    from: u64,
    is_settled: fn(&api::Event) -> Settled,
    unread: TaskTrackerToken,
) -> impl Stream<Item = Result<api::Event, Status>> + Send {
    let batches = stream::unfold((Some(from), unread), move |(from, unread)| {
        let node = Arc::clone(&node);
        async move {
            let events = node.events.follow(from?).await?;
            let (events, next) = cut(events, is_settled);
            Some((stream::iter(events), (next, unread)))
        }
    });
    batches.flatten()
}

/// Cuts events off behind the one that settles; returns where the stream goes on, if it does.
fn cut(
    events: Vec<api::Event>,
    is_settled: fn(&api::Event) -> Settled,
) -> (Vec<Result<api::Event, Status>>, Option<u64>) {
    let mut kept = Vec::new();
    let mut next = 0;
    for event in events {
        next = event.sequence + 1;
        match is_settled(&event) {
            None => kept.push(Ok(event)),
            Some(Ok(())) => {
                kept.push(Ok(event));
                return (kept, None);
            }
            Some(Err(status)) => {
                kept.push(Err(status));
                return (kept, None);
            }
        }
    }
    (kept, Some(next))
}

fn settles_up(event: &api::Event) -> Settled {
    match event.state() {
        State::Stopping | State::Stopped => Some(Err(Status::aborted("the instance is being taken down"))),
        State::Failed => Some(Ok(())),
        _ => event.complete.then_some(Ok(())),
    }
}

/// Every part that fails is reported; the event without a part comes last.
fn settles_down(event: &api::Event) -> Settled {
    (event.part.is_empty() && (event.state() == State::Failed || event.state() == State::Stopped))
        .then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, part: &str, state: State, complete: bool) -> api::Event {
        api::Event { sequence, part: part.into(), state: state.into(), complete, ..api::Event::default() }
    }

    fn sequences(
        events: Vec<api::Event>,
        is_settled: fn(&api::Event) -> Settled,
    ) -> (Vec<Result<u64, tonic::Code>>, Option<u64>) {
        let (kept, next) = cut(events, is_settled);
        (
            kept.into_iter()
                .map(|event| event.map(|event| event.sequence).map_err(|status| status.code()))
                .collect(),
            next,
        )
    }

    #[test]
    fn streams_end_with_their_order() {
        let (starting, box_failed) =
            (event(1, "box", State::Starting, false), event(2, "box", State::Failed, false));
        let (ready, stopping) = (event(3, "", State::Ready, true), event(4, "shimd", State::Stopping, false));
        let (down, not_down) = (event(5, "", State::Stopped, true), event(6, "", State::Failed, false));
        let all = || vec![starting.clone(), ready.clone(), stopping.clone()];
        assert_eq!(sequences(all(), settles_up), (vec![Ok(1), Ok(3)], None));
        assert_eq!(sequences(all(), |_| None), (vec![Ok(1), Ok(3), Ok(4)], Some(5)));
        assert_eq!(
            sequences(vec![starting.clone(), box_failed.clone(), ready], settles_up),
            (vec![Ok(1), Ok(2)], None)
        );
        assert_eq!(
            sequences(vec![stopping.clone(), down.clone()], settles_up),
            (vec![Err(tonic::Code::Aborted)], None)
        );
        assert_eq!(
            sequences(vec![stopping, box_failed.clone(), down], settles_down),
            (vec![Ok(4), Ok(2), Ok(5)], None)
        );
        assert_eq!(sequences(vec![box_failed, not_down, starting], settles_down), (vec![Ok(2), Ok(6)], None));
    }
}
