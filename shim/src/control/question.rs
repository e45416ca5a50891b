//! Questions for credentials, back to the caller: only it can read its user's docker configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::control as api;
use tokio::sync::oneshot;
use tonic::Streaming;
use transfer::{Asked, Credential, Credentials};

/// How long the caller may take to answer: it may have to run a credential helper that asks its user.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

type Waiting = HashMap<String, Vec<oneshot::Sender<Option<Credential>>>>;

/// The questions of one call that wait for their answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions(Arc<Mutex<Waiting>>);

impl Questions {
    /// Returns credentials that are asked for, one host at a time, with `ask`.
    pub(super) fn credentials<F, Sent>(&self, ask: F) -> Arc<dyn Credentials>
    where
        F: Fn(api::CredentialNeeded) -> Sent + Clone + Send + Sync + 'static,
        Sent: Future<Output = bool> + Send,
    {
        let questions = self.clone();
        Arc::new(Asked::new(move |host: String| {
            let (questions, ask) = (questions.clone(), ask.clone());
            async move {
                let (sender, answer) = oneshot::channel();
                questions.lock().entry(host.clone()).or_default().push(sender);
                if !ask(api::CredentialNeeded { host: host.clone() }).await {
                    return Err("the caller went away".into());
                }
                match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
                    Ok(Ok(credential)) => Ok(credential),
                    Ok(Err(_)) => Err("the caller went away".into()),
                    Err(_) => Err(format!("the caller did not answer within {ANSWER_TIMEOUT:?}").into()),
                }
            }
        }))
    }

    /// Passes an answer on to whoever waits for it.
    fn answer(&self, answer: api::Credential) {
        let waiting = self.lock().remove(&answer.host).unwrap_or_default();
        let credential = credential(answer);
        for sender in waiting {
            // Whoever asked may have given up.
            drop(sender.send(credential.clone()));
        }
    }

    /// Takes the caller's answers until it closes its side.
    pub(super) async fn take_answers<T>(
        self,
        mut requests: Streaming<T>,
        read: impl Fn(T) -> Option<api::Credential>,
    ) {
        while let Ok(Some(request)) = requests.message().await {
            if let Some(answer) = read(request) {
                self.answer(answer);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credential(answer: api::Credential) -> Option<Credential> {
    if !answer.registry_token.is_empty() {
        Some(Credential::RegistryToken(answer.registry_token))
    } else if !answer.identity_token.is_empty() {
        Some(Credential::IdentityToken(answer.identity_token))
    } else if !answer.username.is_empty() || !answer.password.is_empty() {
        Some(Credential::from_login(answer.username, answer.password))
    } else {
        None
    }
}
