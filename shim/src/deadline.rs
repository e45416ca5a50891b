//! The deadlines of callers (gRPC over HTTP/2, "Requests": `grpc-timeout`), answered with DEADLINE_EXCEEDED.
//!
//! tonic keeps them by itself, but answers CANCELLED, which a caller whose own clock is a little behind then sees.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

const HEADER: &str = "grpc-timeout";
/// More digits are no timeout.
const MAX_DIGITS: usize = 8;
/// How much of the time is given to the call, in tenths: tonic's own clock has started earlier and must not end first.
const TENTHS: u32 = 9;

/// Puts a [`Deadline`] around a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline(inner)
    }
}

/// A service whose calls end at the deadline of the caller.
#[derive(Clone, Debug)]
pub(crate) struct Deadline<S>(S);

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = limit(request.headers());
        let answer = self.0.call(request);
        Box::pin(async move {
            let Some(limit) = limit else { return answer.await };
            match tokio::time::timeout(limit * TENTHS / 10, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    let problem = format!("the caller's deadline of {limit:?} has passed");
                    Ok(Status::deadline_exceeded(problem).into_http())
                }
            }
        })
    }
}

/// Reads how long the caller waits; what cannot be read is no limit, as for tonic.
fn limit(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= MAX_DIGITS)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderValue;
    use tower::ServiceExt;

    use super::*;

    #[test]
    fn timeouts_are_read() {
        for (text, limit_expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("10", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1ä", None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::header::HeaderName::from_static(HEADER),
                HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            )]);
            assert_eq!(limit(&headers), limit_expected, "{text}");
        }
        assert_eq!(limit(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn a_call_ends_at_its_deadline_and_not_before() {
        let service = |answers: bool| {
            DeadlineLayer.layer(tower::service_fn(move |_: Request<()>| async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }))
        };
        let request = || Request::builder().header(HEADER, "20m").body(()).unwrap();
        let late = service(false).oneshot(request()).await.unwrap();
        assert_eq!(Status::from_header_map(late.headers()).unwrap().code(), tonic::Code::DeadlineExceeded);
        let early = service(true).oneshot(request()).await.unwrap();
        assert!(Status::from_header_map(early.headers()).is_none());
    }
}
