//! One request and its redirects, over the right connection: what is sent to whom is decided here.

mod clients;
mod reply;

#[cfg(test)]
mod tests;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use clients::Clients;
pub(crate) use reply::{Reply, network};

use crate::error::Cause;
use crate::hosts::{Endpoint, authority, is_loopback, origin};
use crate::limits::Limits;

/// How often a request may be sent elsewhere.
const MAX_REDIRECTS: usize = 10;

/// The value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    Basic { username: String, password: String },
    Bearer(String),
}

/// A request. Its headers go to every host that it is sent on to, so they hold no secret.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// The body of a POST.
    pub(crate) form: Option<String>,
    /// Whether a redirect may lead from TLS to plain HTTP: only where the answer is checked against a digest.
    pub(crate) may_leave_tls: bool,
}

/// Sends requests.
pub(crate) struct Http {
    clients: Clients,
    limits: Limits,
}

impl Http {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { clients: Clients::default(), limits }
    }

    /// Sends a request on behalf of an endpoint and follows its redirects.
    ///
    /// The authorization is for the origin of the call's URL and is sent to no other.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        authorization: Option<&Authorization>,
    ) -> Result<Reply, Cause> {
        let audience = origin(&call.url);
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let elsewhere = (origin(&url) != audience).then(|| authority(&url));
            // T3
            let shown = authorization.filter(|_| elsewhere.is_none());
            let response = self
                .hop(endpoint, call, &url, shown)
                .await
                .map_err(|cause| cause.at(elsewhere.as_deref()))?;
            match next(call, &url, &response)? {
                Some(target) => url = target,
                None => return Ok(Reply::new(response, elsewhere, &self.limits)),
            }
        }
        Err(Cause::invalid(format!("it redirected more than {MAX_REDIRECTS} times")))
    }

    async fn hop(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        url: &Url,
        authorization: Option<&Authorization>,
    ) -> Result<Response, Cause> {
        let at_home = origin(url) == origin(&endpoint.root);
        let transport = clients::Transport {
            tls: (url.scheme() == "https")
                .then(|| if at_home { endpoint.tls.clone() } else { endpoint.tls.for_another_host() }),
            direct: is_loopback(url),
            connect_timeout: endpoint.connect_timeout.unwrap_or(self.limits.connect_timeout),
        };
        let client = self.clients.get(transport).await?;
        let mut request = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if at_home {
            request = request.headers(endpoint.headers.clone());
        }
        request = match authorization {
            Some(Authorization::Basic { username, password }) => request.basic_auth(username, Some(password)),
            Some(Authorization::Bearer(token)) => request.bearer_auth(token),
            None => request,
        };
        if let Some(form) = &call.form {
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(CONTENT_TYPE, form_type).body(form.clone());
        }
        let limit = self.limits.response_timeout;
        tracing::debug!(method = %call.method, origin = %origin(url), path = url.path(), "request");
        match tokio::time::timeout(limit, request.send()).await {
            Ok(answer) => answer.map_err(network),
            Err(_) => Err(Cause::Timeout { host: None, awaited: "answer", limit }),
        }
    }
}

/// Returns where a response sends the request on to. A request with a body is not sent on.
fn next(call: &Call, from: &Url, response: &Response) -> Result<Option<Url>, Cause> {
    let moved = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    match response.headers().get(LOCATION) {
        Some(location) if moved && call.form.is_none() => {
            target(from, location.as_bytes(), call.may_leave_tls).map(Some).map_err(Cause::invalid)
        }
        _ => Ok(None),
    }
}

fn target(from: &Url, location: &[u8], may_leave_tls: bool) -> Result<Url, &'static str> {
    let text = std::str::from_utf8(location).map_err(|_| "it redirected to something that is not a URL")?;
    let url = from.join(text).map_err(|_| "it redirected to something that is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it redirected to a URL that is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it redirected to a URL with a user name in it");
    }
    if from.scheme() == "https" && url.scheme() == "http" && !may_leave_tls {
        return Err("it redirected from https to http, where the answer could not be trusted");
    }
    Ok(url)
}
