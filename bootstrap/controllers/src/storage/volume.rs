//! The effects: directories and volumes come and go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tracing::info;

use super::decide::{self, PROVISIONED_BY, PROVISIONER, Plan, Volume};
use super::directory::{Retired, Volumes};
use super::record::{Policy, Record};
use crate::cluster::{self, timely};
use crate::name::Name;

/// What came of an attempt to make a volume.
#[derive(Debug)]
pub(super) enum Provisioned {
    /// It is there, and this is its directory.
    Made(PathBuf),
    /// This one, of an earlier claim of the same name, has to be gone first.
    Waits(String),
}

/// The hands of the provisioner.
#[derive(Debug)]
pub(super) struct Effects {
    api: Api<PersistentVolume>,
    volumes: Arc<Volumes>,
}

impl Effects {
    pub(super) fn new(client: Client, volumes: Volumes) -> Self {
        Self { api: Api::all(client), volumes: Arc::new(volumes) }
    }

    /// Does something with the directories on a thread that may wait for the disk.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Volumes) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let volumes = Arc::clone(&self.volumes);
        tokio::task::spawn_blocking(move || work(&volumes)).await.context("work on the disk broke off")?
    }

    /// Makes the record, the directory and the volume, in this order. Each is taken as it is if it is there already.
    pub(super) async fn provision(&self, plan: &Plan) -> Result<Provisioned> {
        let claim = plan.claim.clone();
        let before = self.on_disk(move |volumes| volumes.record(&claim)).await?;
        if let Some(owner) = decide::earlier_owner(before.as_ref(), &plan.volume) {
            let found =
                timely(self.api.get_opt(owner)).await.with_context(|| format!("cannot look for {owner}"))?;
            if found.as_ref().and_then(Volume::view).is_some_and(|volume| volume.policy == Policy::Delete) {
                return Ok(Provisioned::Waits(owner.to_owned()));
            }
            info!(claim = %plan.claim, volume = plan.volume, before = owner, "takes over the data");
        }
        let (claim, record) = (plan.claim.clone(), record(plan));
        self.on_disk(move |volumes| volumes.make(&claim, &record)).await?;
        let path = self.volumes.path_of(&plan.claim);
        match timely(self.api.create(&PostParams::default(), &object(plan, &path))).await {
            Ok(_) => {}
            Err(error) if cluster::is_conflict(&error) => self.check_same(plan).await?,
            Err(error) => return Err(error).context("cannot create the volume"),
        }
        Ok(Provisioned::Made(path))
    }

    /// Sees whether the volume that is there already is the one that was to be made.
    async fn check_same(&self, plan: &Plan) -> Result<()> {
        let found = timely(self.api.get_opt(&plan.volume)).await.context("cannot look at the volume")?;
        let claim = found.as_ref().and_then(Volume::view).and_then(|volume| volume.claim);
        if claim.is_some_and(|(name, uid)| name == plan.claim && uid.as_deref() == Some(&plan.claim_uid)) {
            return Ok(());
        }
        bail!("there is a volume {} already, which is not this claim's", plan.volume)
    }

    /// Removes the data, if it is the volume's, and then the volume.
    pub(super) async fn delete(&self, volume: &str, uid: &str, claim: Option<&Name>) -> Result<()> {
        if let Some(claim) = claim.cloned() {
            let name = volume.to_owned();
            let retired = self
                .on_disk(move |volumes| {
                    let retired = volumes.retire(&claim, &name)?;
                    // Also where it owned nothing: an earlier attempt may have been killed right after it had moved it.
                    volumes.remove(&name).map(|()| retired)
                })
                .await?;
            if retired == Retired::NotOwned {
                info!(volume, "owns no data");
            }
        }
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
        match timely(self.api.delete(volume, &parameters)).await {
            Err(error) if !cluster::is_missing(&error) => Err(error).context("cannot delete the volume"),
            _ => Ok(()),
        }
    }
}

fn record(plan: &Plan) -> Record {
    Record {
        volume: plan.volume.clone(),
        claim_uid: plan.claim_uid.clone(),
        requested: plan.requested.clone(),
        bytes: plan.bytes,
        policy: plan.policy,
        time: Timestamp::now().to_string(),
    }
}

fn object(plan: &Plan, path: &Path) -> PersistentVolume {
    let claim = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: Some(plan.claim.namespace.clone()),
        name: Some(plan.claim.name.clone()),
        uid: Some(plan.claim_uid.clone()),
        resource_version: plan.claim_version.clone(),
        ..Default::default()
    };
    // With this type a pod whose directory was taken away says so, and does not begin with an empty one of the wrong mode.
    let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some("Directory".into()) };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(plan.volume.clone()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())])),
            ..Default::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(plan.access_modes.clone()),
            capacity: Some(BTreeMap::from([("storage".to_owned(), Quantity(plan.requested.clone()))])),
            claim_ref: Some(claim),
            host_path: Some(source),
            persistent_volume_reclaim_policy: Some(plan.policy.name().into()),
            storage_class_name: Some(plan.class.clone()),
            volume_mode: Some("Filesystem".into()),
            ..Default::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
