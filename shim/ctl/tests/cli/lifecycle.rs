//! The lifecycle service. The file `scenario` in the root directory says what happens.

use std::path::PathBuf;

use proto::lifecycle as api;
use proto::lifecycle::State;
use proto::lifecycle::lifecycle_server;
use tonic::{Request, Response, Status};

use crate::fake::{Answers, ago, answers};

pub(crate) struct Lifecycle {
    pub(crate) root: PathBuf,
}

impl Lifecycle {
    fn scenario(&self) -> String {
        std::fs::read_to_string(self.root.join("scenario")).unwrap_or_default().trim().to_owned()
    }
}

fn event(part: &str, state: State, message: &str) -> api::Event {
    api::Event { part: part.into(), state: state.into(), message: message.into(), ..Default::default() }
}

fn complete(part: &str, state: State) -> api::Event {
    api::Event { complete: true, ..event(part, state, "") }
}

#[tonic::async_trait]
impl lifecycle_server::Lifecycle for Lifecycle {
    type UpStream = Answers<api::Event>;
    type DownStream = Answers<api::Event>;
    type ResetStream = Answers<api::Event>;
    type WatchStream = Answers<api::Event>;

    async fn reset(
        &self,
        request: Request<api::ResetRequest>,
    ) -> Result<Response<Self::ResetStream>, Status> {
        let what = if request.into_inner().all { "everything" } else { "the cluster" };
        let events = vec![event("box", State::Stopping, what), complete("", State::Stopped)];
        Ok(Response::new(answers(events.into_iter().map(Ok).collect())))
    }

    async fn up(&self, _: Request<api::UpRequest>) -> Result<Response<Self::UpStream>, Status> {
        let mut events = vec![
            event("box", State::Starting, "network namespace"),
            event("box", State::Ready, ""),
            event("containerd", State::Starting, "waits for its socket"),
            event("containerd", State::Starting, "waits for its socket"),
        ];
        match self.scenario().as_str() {
            "fails" => events.push(api::Event {
                hint: "shimctl doctor".into(),
                ..event("containerd", State::Failed, "it ended with exit code 1")
            }),
            "ends" => {}
            "hangs" => {
                use tokio_stream::StreamExt as _;
                let stream = tokio_stream::iter(events.into_iter().map(Ok)).chain(tokio_stream::pending());
                return Ok(Response::new(Box::pin(stream)));
            }
            _ => events.extend([
                event("containerd", State::Ready, ""),
                event("shimd", State::Starting, ""),
                complete("shimd", State::Ready),
            ]),
        }
        Ok(Response::new(answers(events.into_iter().map(Ok).collect())))
    }

    async fn down(&self, request: Request<api::DownRequest>) -> Result<Response<Self::DownStream>, Status> {
        let grace = format!("{} s for 3 containers", request.into_inner().grace_seconds);
        let mut events = vec![
            event("containerd", State::Stopping, &grace),
            event("containerd", State::Stopped, ""),
            event("box", State::Stopping, ""),
        ];
        if self.scenario() != "ends" {
            events.push(complete("box", State::Stopped));
        }
        Ok(Response::new(answers(events.into_iter().map(Ok).collect())))
    }

    async fn status(&self, _: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        let ready = self.scenario() != "fails";
        let part = |name: &str, state: State, pid, message: &str| api::Part {
            name: name.into(),
            state: state.into(),
            message: message.into(),
            version: if pid > 0 { "1.2.3".into() } else { String::new() },
            pid,
            restarts: u32::from(!ready),
            since: ago(90),
        };
        let containerd = if ready {
            part("containerd", State::Ready, 42, "")
        } else {
            part("containerd", State::BackingOff, 0, "it ended with exit code 1")
        };
        let parts = vec![
            part("box", State::Ready, 0, ""),
            containerd,
            api::Part { since: None, ..part("shimd", State::Ready, 43, "") },
        ];
        Ok(Response::new(api::StatusResponse {
            root_dir: "/var/lib/shim".into(),
            pid: 7,
            parts,
            ready,
            ports: Vec::new(),
        }))
    }

    async fn watch(&self, _: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}
