//! One request to one endpoint: addressed, authorized, and its refusals understood.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::{Common, Session};
use crate::auth::Access;
use crate::error::Cause;
use crate::hosts::Endpoint;
use crate::http::{Call, Reply};

/// A request within the repository.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the repository: `manifests/latest`.
    pub(crate) path: String,
    pub(crate) accept: Option<HeaderValue>,
    /// Where in the blob the answer should start.
    pub(crate) offset: u64,
    /// Whether the answer is checked against a digest that we know.
    pub(crate) is_checked: bool,
}

impl Session {
    /// Asks an endpoint, once, or a second time with what it demanded to be shown.
    pub(crate) async fn exchange(&self, index: usize, request: &Request) -> Result<Reply, Cause> {
        let endpoint = &self.endpoints[index];
        let host = self.reference.host();
        let credential_host = endpoint.credential_host(host);
        let Common { http, authenticator, .. } = &*self.common;
        let access = Access {
            http,
            endpoint,
            path: self.reference.path(),
            asker: &self.asker,
            credential_host: &credential_host,
        };
        let call = Call {
            method: request.method.clone(),
            url: address(endpoint, host, self.reference.path(), &request.path)?,
            headers: headers(request),
            form: None,
            may_leave_tls: request.is_checked,
        };
        let mut authorization = authenticator.foreseen(&access).await?;
        let mut reply = http.send(endpoint, &call, authorization.as_ref()).await?;
        if reply.status() == StatusCode::UNAUTHORIZED && !reply.is_from_elsewhere() {
            let answer = authenticator.answer(&access, reply.headers(), authorization.as_ref()).await?;
            if answer.is_some() {
                authorization = answer;
                reply = http.send(endpoint, &call, authorization.as_ref()).await?;
            }
        }
        let from_elsewhere = reply.is_from_elsewhere();
        match reply.into_success().await {
            // A storage host that redirects led to was shown nothing, so its refusal is not about credentials.
            Err(Cause::Status { status: status @ (401 | 403), message, .. }) if !from_elsewhere => {
                let credentials = self.asker.shown(&credential_host).await;
                Err(Cause::Denied { status, message, credentials })
            }
            other => other,
        }
    }
}

/// Returns the URL of a request. A mirror is told whose content it is asked for, as containerd does.
fn address(endpoint: &Endpoint, host: &str, repository: &str, path: &str) -> Result<Url, Cause> {
    let root = endpoint.root.as_str().trim_end_matches('/');
    let mut url = Url::parse(&format!("{root}/{repository}/{path}")).map_err(Cause::invalid)?;
    if !endpoint.is_registry_of(host) {
        url.query_pairs_mut().append_pair("ns", host);
    }
    Ok(url)
}

fn headers(request: &Request) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // Digests are of the bytes as they are stored: nobody on the way may pack them.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(accept) = &request.accept {
        headers.insert(ACCEPT, accept.clone());
    }
    if request.offset > 0 {
        let range =
            HeaderValue::from_str(&format!("bytes={}-", request.offset)).expect("digits are a header value");
        headers.insert(RANGE, range);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_told_whose_content_is_wanted() {
        let at = |root: &str| {
            let mut endpoint = Endpoint::default_for("docker.io").unwrap();
            endpoint.root = Url::parse(root).unwrap();
            endpoint
        };
        for (root, host, expected) in [
            ("https://registry-1.docker.io/v2", "docker.io", "https://registry-1.docker.io/v2/a/b/blobs/x"),
            ("https://m.example:5000/v2", "docker.io", "https://m.example:5000/v2/a/b/blobs/x?ns=docker.io"),
            ("https://m.example/", "r.example:81", "https://m.example/a/b/blobs/x?ns=r.example%3A81"),
            ("https://r.example/v2", "r.example", "https://r.example/v2/a/b/blobs/x"),
            ("https://r.example/v2", "r.example:443", "https://r.example/v2/a/b/blobs/x"),
            ("http://r.example/v2", "r.example", "http://r.example/v2/a/b/blobs/x"),
            ("http://r.example/v2", "r.example:443", "http://r.example/v2/a/b/blobs/x?ns=r.example%3A443"),
            ("https://r.example:5000/v2", "r.example", "https://r.example:5000/v2/a/b/blobs/x?ns=r.example"),
            ("https://R.example/proxy/v2", "r.EXAMPLE", "https://r.example/proxy/v2/a/b/blobs/x"),
        ] {
            assert_eq!(
                address(&at(root), host, "a/b", "blobs/x").unwrap().as_str(),
                expected,
                "{root} {host}"
            );
        }
    }
}
