//! An API server of a few lines, for tests: a function answers, and what was asked is kept.

use std::sync::{Arc, Mutex};

use kube::client::{Body, Client};
use serde_json::{Value, json};

/// A call as it came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    /// `null` if there was none.
    pub(crate) body: Value,
}

type Answer = Box<dyn FnMut(&Call) -> (u16, Value) + Send>;

/// The server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<(Answer, Vec<Call>)>>,
}

impl Server {
    pub(crate) fn new(answer: impl FnMut(&Call) -> (u16, Value) + Send + 'static) -> Self {
        Self { state: Arc::new(Mutex::new((Box::new(answer), Vec::new()))) }
    }

    /// The answer to a call that is refused.
    pub(crate) fn refusal(code: u16) -> (u16, Value) {
        let message = format!("refused with {code}");
        let reason = match code {
            404 => "NotFound",
            409 => "AlreadyExists",
            _ => "InternalError",
        };
        (
            code,
            json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": reason}),
        )
    }

    /// Everything that was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().1.clone()
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let call = Call {
                    method: parts.method.to_string(),
                    path: parts.uri.path().to_owned(),
                    body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                };
                let (code, answer) = {
                    let mut state = server.state.lock().unwrap();
                    let answered = (state.0)(&call);
                    state.1.push(call);
                    answered
                };
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                Ok::<_, kube::Error>(http::Response::builder().status(code).body(answer).unwrap())
            }
        });
        Client::new(service, "default")
    }
}
