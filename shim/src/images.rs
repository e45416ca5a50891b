//! What can be done to images, for the CRI and the control API alike: the store changes, then containerd is told.

pub(crate) mod remove;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cachestore::images::Image;
use cachestore::{Digest, Reference, Store};
use tonic::Status;
use transfer::{Credentials, Observer, PullError, Puller};

use crate::blocking;
use crate::containerd::register::Registrar;
use crate::janitor::Bell;
use crate::policy::Policies;
use crate::status;

/// The images of the store, and everybody who must know of a change.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) store: Arc<Store>,
    pub(crate) puller: Puller,
    pub(crate) policies: Policies,
    pub(crate) registrar: Arc<Registrar>,
    pub(crate) bell: Bell,
    answered: Mutex<HashMap<String, Answered>>,
}

/// How often pulls of a name were answered with the image that is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) count: u64,
    pub(crate) last: SystemTime,
}

/// What a pull brought.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    pub(crate) image: Arc<Image>,
    /// The digest that the registry gave; for an image that was here, its manifest's.
    pub(crate) digest: Digest,
    pub(crate) up_to_date: bool,
}

/// Who may answer a pull of a name that was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    /// The store, where the policy says so.
    Policy,
    /// Only the registry.
    Registry,
}

/// Names beyond this number are not counted: the list is for people to read.
const MAX_ANSWERED: usize = 10_000;

impl Images {
    pub(crate) fn new(
        store: Arc<Store>,
        puller: Puller,
        policies: Policies,
        registrar: Arc<Registrar>,
        bell: Bell,
    ) -> Self {
        Self { store, puller, policies, registrar, bell, answered: Mutex::default() }
    }

    /// Pulls an image, or answers with the local one where the policy says so.
    pub(crate) async fn pull(
        self: &Arc<Self>,
        reference: &Reference,
        answering: Answering,
        credentials: Arc<dyn Credentials>,
        observer: Observer,
    ) -> Result<Pulled, Status> {
        if answering == Answering::Policy
            && let Some(image) = self.local_answer(reference).map_err(status::from_store)?
        {
            let digest = image.manifest;
            return Ok(Pulled { image, digest, up_to_date: true });
        }
        let started = std::time::Instant::now();
        let pulled = self.puller.pull(reference, credentials, observer).await.map_err(pull_status)?;
        tracing::info!(
            name = %reference, image = %pulled.image.id, digest = %pulled.digest, elapsed = ?started.elapsed(), "pulled"
        );
        self.register_soon(Arc::clone(&pulled.image));
        Ok(Pulled { image: pulled.image, digest: pulled.digest, up_to_date: pulled.up_to_date })
    }

    /// The image that a pull of this name is answered with: made here, under this very name.
    fn local_answer(&self, reference: &Reference) -> cachestore::Result<Option<Arc<Image>>> {
        let image = self.store.resolve(&reference.to_string())?;
        let Some(image) = image.filter(|image| self.policies.answers(reference, image)) else {
            return Ok(None);
        };
        tracing::info!(
            name = %reference, image = %image.id, policy = "local",
            "answered a pull with the image that was made here"
        );
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() < MAX_ANSWERED {
            let entry = answered
                .entry(reference.record_name().to_string())
                .or_insert(Answered { count: 0, last: SystemTime::UNIX_EPOCH });
            *entry = Answered { count: entry.count + 1, last: SystemTime::now() };
        }
        Ok(Some(image))
    }

    /// Returns how often pulls of a name were answered here.
    pub(crate) fn answered(&self, name: &Reference) -> Option<Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(&name.to_string()).copied()
    }

    /// Registers an image in the background, so that the first pod need not wait for it.
    pub(crate) fn register_soon(self: &Arc<Self>, image: Arc<Image>) {
        let registrar = Arc::clone(&self.registrar);
        #[expect(
            clippy::disallowed_methods,
            reason = "whoever needs the image ensures it again and reports failures"
        )]
        tokio::spawn(async move {
            if let Err(status) = registrar.ensure(&image).await {
                tracing::debug!(image = %image.id, error = status.message(), "not registered yet");
            }
        });
    }

    /// Gives an image another name.
    pub(crate) async fn tag(self: &Arc<Self>, source: String, name: Reference) -> Result<Arc<Image>, Status> {
        let store = Arc::clone(&self.store);
        let image = blocking::run(move || {
            let image = store.expect_image(&source)?;
            store.tag(&image.id, &name)?;
            store.image(&image.id).ok_or_else(|| cachestore::Error::not_found("image", source))
        })
        .await?;
        self.register_soon(Arc::clone(&image));
        Ok(image)
    }
}

/// Turns a failed pull into a status.
pub(crate) fn pull_status(error: PullError) -> Status {
    use transfer::Error as Registry;
    let message = cachestore::error::chain(&error);
    match error {
        PullError::Registry(Registry::NotFound { .. }) => Status::not_found(message),
        PullError::Registry(Registry::Unauthorized { .. }) => Status::permission_denied(message),
        PullError::Registry(Registry::Unavailable { .. }) => Status::unavailable(message),
        PullError::Registry(Registry::Hosts { .. } | Registry::Refused { .. }) => {
            Status::failed_precondition(message)
        }
        PullError::Registry(Registry::Invalid { .. }) => Status::data_loss(message),
        PullError::Platform { .. } => Status::not_found(message),
        PullError::Store { source, .. } | PullError::Layer { source, .. } => {
            Status::new(status::from_store(*source).code(), message)
        }
        PullError::Registry(Registry::Setup { .. }) | PullError::Task { .. } => Status::internal(message),
    }
}
