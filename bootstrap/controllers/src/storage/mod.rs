//! The storage provisioner: makes a directory and a volume for each claim of our classes, and removes both when the claim is gone.

mod decide;
mod directory;
mod record;
mod size;
mod tree;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Client;
use kube::api::Api;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::decide::{Claim, Class, ForClaim, ForVolume, Plan, Volume};
use self::directory::Volumes;
use self::volume::{Effects, Provisioned};
use crate::mirror::Mirror;
use crate::name::{Name, Subject};
use crate::notice::{Notice, Publisher, Severity};
use crate::retry::Retries;

const COMPONENT: &str = "storage-provisioner";
/// Volumes that are made at the same time.
const MAX_MAKING: usize = 8;
/// Volumes that are removed at the same time.
const MAX_REMOVING: usize = 4;
/// How often everything is looked at although nothing seems to have changed.
const PERIOD: Duration = Duration::from_secs(30);
/// For how long what was done may be missing in what the API server tells. Then it is done again.
const GRACE: Duration = Duration::from_secs(10);

/// Reasons of events, as other provisioners name them.
const FAILED: &str = "ProvisioningFailed";
const SUCCEEDED: &str = "ProvisioningSucceeded";
const WAITS: &str = "WaitingForDeletion";
const NOT_DELETED: &str = "VolumeFailedDelete";

/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
struct Mirrors {
    claims: Mirror<Claim>,
    volumes: Mirror<Volume>,
    classes: Mirror<Class>,
}

impl Mirrors {
    /// Decisions are made of all three: with one of them missing they would be wrong.
    fn is_complete(&self) -> bool {
        self.claims.is_complete() && self.volumes.is_complete() && self.classes.is_complete()
    }
}

/// Runs for ever. `health` listens for probes.
///
/// # Errors
/// The directory cannot be opened.
pub(crate) async fn run(client: Client, directory: &Path, health: tokio::net::TcpListener) -> Result<()> {
    let effects = Arc::new(Effects::new(client.clone(), Volumes::open(directory)?));
    let mirrors = Mirrors::default();
    let changed = Arc::new(Notify::new());
    let mut provisioner = Provisioner {
        mirrors: mirrors.clone(),
        effects,
        publisher: Publisher::new(client.clone(), COMPONENT),
        settled: BTreeMap::new(),
        removing: BTreeSet::new(),
        removals: JoinSet::new(),
        retries: Retries::default(),
        has_swept: false,
    };
    info!(directory = %directory.display(), "storage-provisioner starts");
    let check = mirrors.clone();
    tokio::select! {
        () = mirrors.claims.follow(Api::<PersistentVolumeClaim>::all(client.clone()), Arc::clone(&changed), Claim::view) => {}
        () = mirrors.volumes.follow(Api::<PersistentVolume>::all(client.clone()), Arc::clone(&changed), Volume::view) => {}
        () = mirrors.classes.follow(Api::<StorageClass>::all(client), Arc::clone(&changed), Class::view) => {}
        () = crate::health::serve(health, || match check.is_complete() {
            true => Ok(()),
            false => Err("the API server has not told yet what there is".into()),
        }) => {}
        () = provisioner.work(&changed) => {}
    }
    anyhow::bail!("a task that runs for ever has ended")
}

struct Provisioner {
    mirrors: Mirrors,
    effects: Arc<Effects>,
    publisher: Publisher,
    /// The uids of claims whose volume was made and of volumes that were deleted, while the mirrors may not know it yet.
    settled: BTreeMap<String, Instant>,
    /// The volumes that are being removed.
    removing: BTreeSet<String>,
    removals: JoinSet<Removal>,
    /// Claims and volumes, by uid.
    retries: Retries,
    has_swept: bool,
}

/// The end of one removal: which volume, its uid if it is still there, and how it went.
type Removal = (Name, Option<String>, Result<()>);

impl Provisioner {
    /// Looks at everything whenever something changed.
    async fn work(&mut self, changed: &Notify) {
        loop {
            let pause = self.retries.next(Instant::now()).map_or(PERIOD, |pause| pause.min(PERIOD));
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = self.removals.join_next() => match ended {
                    Ok(removal) => self.removed(removal).await,
                    Err(error) => warn!(%error, "a removal broke off"),
                },
            }
            if self.mirrors.is_complete() {
                self.pass().await;
            }
        }
    }

    async fn pass(&mut self) {
        let (claims, volumes) = (self.mirrors.claims.all(), self.mirrors.volumes.all());
        self.forget(&claims, &volumes);
        if !self.has_swept {
            self.has_swept = true;
            self.sweep(&volumes).await;
        }
        self.remove(&volumes);
        let plans = self.plans(&claims, &volumes).await;
        let effects = Arc::clone(&self.effects);
        let made: Vec<(Plan, Result<Provisioned>)> = futures::stream::iter(plans)
            .map(|plan| {
                let effects = Arc::clone(&effects);
                async move {
                    let outcome = effects.provision(&plan).await;
                    (plan, outcome)
                }
            })
            .buffer_unordered(MAX_MAKING)
            .collect()
            .await;
        for (plan, outcome) in made {
            self.provisioned(&plan, outcome).await;
        }
    }

    /// Drops what is remembered of objects that are gone or settled.
    fn forget(&mut self, claims: &BTreeMap<Name, Claim>, volumes: &BTreeMap<Name, Volume>) {
        let claimed: BTreeSet<&str> = claims.values().map(|claim| claim.uid.as_str()).collect();
        let known: BTreeSet<&str> = volumes.values().map(|volume| volume.uid.as_str()).collect();
        let is_known = |uid: &str| claimed.contains(uid) || known.contains(uid);
        self.settled.retain(|uid, at| is_known(uid) && at.elapsed() < GRACE);
        self.retries.retain(is_known);
    }

    /// Decides about every claim. Tells people about those that cannot be served.
    async fn plans(&mut self, claims: &BTreeMap<Name, Claim>, volumes: &BTreeMap<Name, Volume>) -> Vec<Plan> {
        let classes = self.mirrors.classes.all();
        let now = Instant::now();
        let mut plans = Vec::new();
        let mut troubled = BTreeSet::new();
        for (name, claim) in claims {
            if self.settled.contains_key(&claim.uid) {
                continue;
            }
            match decide::claim(name, claim, &classes, volumes) {
                ForClaim::Nothing => {}
                ForClaim::Wait(volume) => self.waits(name, &claim.uid, &volume).await,
                ForClaim::Refuse(problem) => {
                    troubled.insert(claim.uid.clone());
                    self.say(name, &claim.uid, Severity::Warning, FAILED, problem).await;
                }
                ForClaim::Provision(plan) => {
                    // Until it succeeds, what was said of its failure is true.
                    troubled.insert(claim.uid.clone());
                    if self.retries.is_due(&claim.uid, now) {
                        plans.push(plan);
                    }
                }
            }
        }
        let known: BTreeSet<&str> = volumes.values().map(|volume| volume.uid.as_str()).collect();
        self.publisher
            .withdraw(|subject, _| troubled.contains(&subject.uid) || known.contains(subject.uid.as_str()))
            .await;
        plans
    }

    async fn waits(&mut self, claim: &Name, uid: &str, volume: &str) {
        let message =
            format!("waits until {volume}, the volume of an earlier claim of this name, has been removed");
        self.say(claim, uid, Severity::Normal, WAITS, message).await;
    }

    async fn say(
        &mut self,
        claim: &Name,
        uid: &str,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let subject = Subject { kind: "PersistentVolumeClaim", name: claim.clone(), uid: uid.to_owned() };
        self.publisher.say(Notice { subject, severity, reason, message }).await;
    }

    async fn provisioned(&mut self, plan: &Plan, outcome: Result<Provisioned>) {
        match outcome {
            Ok(Provisioned::Made(path)) => {
                self.retries.succeeded(&plan.claim_uid);
                self.settled.insert(plan.claim_uid.clone(), Instant::now());
                let message = format!("volume {} is {}", plan.volume, path.display());
                self.say(&plan.claim, &plan.claim_uid, Severity::Normal, SUCCEEDED, message).await;
            }
            Ok(Provisioned::Waits(volume)) => {
                // It is not a failure: the pause does not grow.
                self.retries.succeeded(&plan.claim_uid);
                self.retries.failed(&plan.claim_uid, Instant::now());
                self.waits(&plan.claim, &plan.claim_uid, &volume).await;
            }
            Err(error) => {
                self.retries.failed(&plan.claim_uid, Instant::now());
                self.say(&plan.claim, &plan.claim_uid, Severity::Warning, FAILED, format!("{error:#}")).await;
            }
        }
    }

    /// Begins to remove every volume whose time has come.
    fn remove(&mut self, volumes: &BTreeMap<Name, Volume>) {
        let now = Instant::now();
        for (name, volume) in volumes {
            if self.removals.len() >= MAX_REMOVING {
                return;
            }
            let ForVolume::Delete(claim) = decide::volume(volume) else { continue };
            let is_busy = self.removing.contains(&name.name) || self.settled.contains_key(&volume.uid);
            if is_busy || !self.retries.is_due(&volume.uid, now) {
                continue;
            }
            let effects = Arc::clone(&self.effects);
            let (volume_name, uid) = (name.name.clone(), volume.uid.clone());
            self.begin(name.clone(), Some(volume.uid.clone()), async move {
                effects.delete(&volume_name, &uid, claim.as_ref()).await
            });
        }
    }

    fn begin(
        &mut self,
        name: Name,
        uid: Option<String>,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.removing.insert(name.name.clone());
        self.removals.spawn(async move { (name, uid, work.await) });
    }

    async fn removed(&mut self, (name, uid, outcome): Removal) {
        self.removing.remove(&name.name);
        match (outcome, uid) {
            (Ok(()), uid) => {
                info!(volume = %name, "removed");
                if let Some(uid) = uid {
                    self.retries.succeeded(&uid);
                    self.settled.insert(uid, Instant::now());
                }
            }
            (Err(error), Some(uid)) => {
                self.retries.failed(&uid, Instant::now());
                let subject = Subject { kind: "PersistentVolume", name, uid };
                let (severity, message) = (Severity::Warning, format!("{error:#}"));
                self.publisher.say(Notice { subject, severity, reason: NOT_DELETED, message }).await;
            }
            (Err(error), None) => {
                warn!(volume = %name, error = format!("{error:#}"), "what remains of it stays")
            }
        }
    }

    /// Removes what was moved out of the way for volumes that are no more: the cluster was reset in between.
    async fn sweep(&mut self, volumes: &BTreeMap<Name, Volume>) {
        let remains = self.effects.on_disk(Volumes::remains).await.context("cannot look for remains");
        let remains = remains.unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "what was being removed stays for now");
            Vec::new()
        });
        for remnant in remains.into_iter().filter(|name| !volumes.contains_key(&Name::new("", name.as_str())))
        {
            let effects = Arc::clone(&self.effects);
            let name = Name::new("", remnant.as_str());
            self.begin(
                name,
                None,
                async move { effects.on_disk(move |volumes| volumes.remove(&remnant)).await },
            );
        }
    }
}
