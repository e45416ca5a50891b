//! What is sent to convince an endpoint: challenges are remembered, tokens are kept until they expire.

mod challenge;
mod credential;
mod token;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachestore::digest::Digest;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use tokio::time::Instant;

use challenge::{Bearer, Challenge};
pub use credential::{Asked, Credential, Credentials, Fixed};

use crate::error::{Cause, Shown};
use crate::hosts::{Endpoint, is_loopback, origin};
use crate::http::{Authorization, Call, Http};

/// The largest number of challenges, and of tokens, that are remembered; then they are forgotten and learnt anew.
const MAX_REMEMBERED: usize = 512;
/// A token is renewed this long before it expires, so that it is still good when it arrives.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// Whose request it is: one repository at one endpoint, with the credentials of one pull.
pub(crate) struct Access<'a> {
    pub(crate) http: &'a Http,
    pub(crate) endpoint: &'a Endpoint,
    /// The repository's path, for a challenge that does not name a scope.
    pub(crate) path: &'a str,
    pub(crate) asker: &'a Asker,
    /// The host under whose name the endpoint's credentials are kept.
    pub(crate) credential_host: &'a str,
}

/// Knows how to convince endpoints. Shared by all pulls of a client.
#[derive(Default)]
pub(crate) struct Authenticator {
    /// The last challenge of each repository at each endpoint.
    challenges: Mutex<HashMap<(String, String), Challenge>>,
    /// By what they are for and who asked. Each has a lock of its own, so that one request serves all who wait.
    tokens: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<Option<Token>>>>>,
}

struct Token {
    value: String,
    expires: Instant,
}

impl Authenticator {
    /// Returns what convinced the endpoint the last time, so that it need not ask again.
    pub(crate) async fn foreseen(&self, access: &Access<'_>) -> Result<Option<Authorization>, Cause> {
        let key = (origin(&access.endpoint.root), access.path.to_owned());
        let challenge = lock(&self.challenges).get(&key).cloned();
        match challenge {
            Some(challenge) => self.meet(access, &challenge, None).await,
            None => Ok(None),
        }
    }

    /// Returns what answers the challenge of a status 401, or nothing if there is nothing better than what was refused.
    pub(crate) async fn answer(
        &self,
        access: &Access<'_>,
        headers: &HeaderMap,
        refused: Option<&Authorization>,
    ) -> Result<Option<Authorization>, Cause> {
        let Some(challenge) = challenge::choose(headers) else {
            return Ok(None);
        };
        let key = (origin(&access.endpoint.root), access.path.to_owned());
        {
            let mut challenges = lock(&self.challenges);
            if challenges.len() >= MAX_REMEMBERED {
                challenges.clear();
            }
            challenges.insert(key, challenge.clone());
        }
        let answer = self.meet(access, &challenge, refused).await?;
        Ok(answer.filter(|answer| Some(answer) != refused))
    }

    async fn meet(
        &self,
        access: &Access<'_>,
        challenge: &Challenge,
        refused: Option<&Authorization>,
    ) -> Result<Option<Authorization>, Cause> {
        let credential = access.asker.ask(access.credential_host).await?;
        match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => Ok(Some(Authorization::Bearer(token))),
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                Ok(Some(Authorization::Basic { username, password }))
            }
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer(bearer), credential) => {
                let mut bearer = bearer.clone();
                if bearer.scope.is_empty() {
                    bearer.scope = format!("repository:{}:pull", access.path);
                }
                self.token(access, &bearer, credential.as_ref(), refused).await.map(Some)
            }
        }
    }

    async fn token(
        &self,
        access: &Access<'_>,
        bearer: &Bearer,
        credential: Option<&Credential>,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, Cause> {
        let place = {
            let mut tokens = lock(&self.tokens);
            if tokens.len() >= MAX_REMEMBERED {
                tokens.clear();
            }
            tokens.entry(token_key(bearer, credential)).or_default().clone()
        };
        let mut kept = place.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| Instant::now() < token.expires) {
            let authorization = Authorization::Bearer(token.value.clone());
            if Some(&authorization) != refused {
                return Ok(authorization);
            }
        }
        *kept = None;
        let asked = Instant::now();
        let answer = fetch(access, bearer, credential).await?;
        let expires = asked + answer.lifetime.saturating_sub(EXPIRY_MARGIN);
        *kept = Some(Token { value: answer.token.clone(), expires });
        Ok(Authorization::Bearer(answer.token))
    }
}

/// Asks the token service that the endpoint named.
async fn fetch(
    access: &Access<'_>,
    bearer: &Bearer,
    credential: Option<&Credential>,
) -> Result<token::Answer, Cause> {
    let token::TokenRequest { method, url, form, basic } = token::request(bearer, credential);
    // T3
    let is_safe =
        url.scheme() == "https" || is_loopback(&url) || origin(&url) == origin(&access.endpoint.root);
    if credential.is_some() && !is_safe {
        let problem = format!("it wants the credentials to be sent to {}, without encryption", origin(&url));
        return Err(Cause::invalid(problem));
    }
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let authorization = basic.map(|(username, password)| Authorization::Basic { username, password });
    let host = crate::hosts::authority(&url);
    let call = Call { method, url, headers, form, may_leave_tls: false };
    let reply = access
        .http
        .send(access.endpoint, &call, authorization.as_ref())
        .await
        .map_err(|cause| cause.at(Some(&host)))?;
    let reply = match reply.into_success().await {
        Ok(reply) => reply,
        Err(Cause::Status { status: status @ (400 | 401 | 403), message, .. }) if credential.is_some() => {
            let credentials = Shown::Credentials { host: access.credential_host.to_owned() };
            return Err(Cause::Denied { status, message, credentials });
        }
        Err(Cause::Status { status: status @ (401 | 403), message, .. }) => {
            let credentials = Shown::Nothing { host: access.credential_host.to_owned() };
            return Err(Cause::Denied { status, message, credentials });
        }
        // It is the token service that is not there, and not the image.
        Err(Cause::NotFound { message }) => {
            return Err(Cause::Status { host: Some(host), status: 404, message, retry_after: None });
        }
        Err(cause) => return Err(cause.at(Some(&host))),
    };
    let bytes = reply.read(token::MAX_TOKEN_ANSWER_BYTES).await.map_err(|cause| cause.at(Some(&host)))?;
    token::parse(&bytes)
}

/// A digest, so that secrets are not kept longer than the caller keeps them.
fn token_key(bearer: &Bearer, credential: Option<&Credential>) -> Digest {
    let who = match credential {
        None => ["anonymous", "", ""],
        Some(Credential::Password { username, password }) => ["password", username, password],
        Some(Credential::IdentityToken(token)) => ["identity", token, ""],
        Some(Credential::RegistryToken(token)) => ["registry", token, ""],
    };
    let parts = [bearer.realm.as_str(), &bearer.service, &bearer.scope].into_iter().chain(who);
    let text: String = parts.map(|part| format!("{}:{part}", part.len())).collect();
    Digest::of(text.as_bytes())
}

/// Asks the caller for credentials, once for each host.
pub(crate) struct Asker {
    credentials: Arc<dyn Credentials>,
    limit: Duration,
    answers: tokio::sync::Mutex<HashMap<String, Option<Credential>>>,
}

impl Asker {
    pub(crate) fn new(credentials: Arc<dyn Credentials>, limit: Duration) -> Self {
        Self { credentials, limit, answers: tokio::sync::Mutex::default() }
    }

    async fn ask(&self, host: &str) -> Result<Option<Credential>, Cause> {
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.get(host) {
            return Ok(answer.clone());
        }
        let failed = |source| Cause::Credentials { host: host.to_owned(), source };
        let answer = tokio::time::timeout(self.limit, self.credentials.credential(host))
            .await
            .map_err(|_| failed(format!("no answer within {:?}", self.limit).into()))?
            .map_err(failed)?;
        answers.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }

    /// Tells what an endpoint that refused has been shown.
    pub(crate) async fn shown(&self, host: &str) -> Shown {
        let host = host.to_owned();
        match self.answers.lock().await.get(&host) {
            Some(Some(_)) => Shown::Credentials { host },
            _ => Shown::Nothing { host },
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept is a cache: whatever a thread that panicked left in it is still true.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
