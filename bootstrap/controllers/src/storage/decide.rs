//! What becomes of a claim and of a volume: decisions only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use super::record::{Policy, Record};
use super::size::{self, BadSize};
use crate::name::Name;

/// Our name, as storage classes give it.
pub(crate) const PROVISIONER: &str = "docker.io/hostpath";
/// The annotation of a volume that says who made it.
pub(crate) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The annotations by which the controller-manager says who is to provision a claim; the second is the older one.
const AWAITED_OF: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// The annotation that was there before `storageClassName`, and still comes before it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// The longest name of an object, and the longest part between dots in it.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// A claim for which a volume is awaited of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) uid: String,
    pub(crate) resource_version: Option<String>,
    pub(crate) class: String,
    pub(crate) requested: Option<String>,
    pub(crate) access_modes: Vec<String>,
    pub(crate) wants_block: bool,
    pub(crate) has_selector: bool,
    pub(crate) has_source: bool,
}

impl Claim {
    /// Returns what is of interest in a claim, or `None` if nobody awaits anything of us.
    pub(crate) fn view(claim: &PersistentVolumeClaim) -> Option<Self> {
        let annotations = claim.annotations();
        let is_awaited = AWAITED_OF
            .iter()
            .find_map(|key| annotations.get(*key))
            .is_some_and(|provisioner| provisioner == PROVISIONER);
        let spec = claim.spec.as_ref()?;
        let is_bound = spec.volume_name.as_deref().is_some_and(|name| !name.is_empty());
        if !is_awaited || is_bound || claim.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        Some(Self {
            uid: claim.uid()?,
            resource_version: claim.resource_version(),
            class: annotations.get(CLASS_ANNOTATION).or(spec.storage_class_name.as_ref())?.clone(),
            requested: requests.and_then(|requests| requests.get("storage")).map(|size| size.0.clone()),
            access_modes: spec.access_modes.clone().unwrap_or_default(),
            wants_block: spec.volume_mode.as_deref() == Some("Block"),
            has_selector: spec.selector.is_some(),
            has_source: spec.data_source.is_some() || spec.data_source_ref.is_some(),
        })
    }
}

/// A storage class whose volumes we make: what becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) policy: Policy,
}

impl Class {
    /// Returns what is of interest in a class, or `None` if it is not ours.
    pub(crate) fn view(class: &StorageClass) -> Option<Self> {
        (class.provisioner == PROVISIONER)
            .then(|| Self { policy: Policy::of(class.reclaim_policy.as_deref()) })
    }
}

/// A volume that we made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) uid: String,
    /// The claim that it is for, and the claim's uid, if it is for any.
    pub(crate) claim: Option<(Name, Option<String>)>,
    pub(crate) policy: Policy,
    /// Its claim is gone.
    pub(crate) is_released: bool,
}

impl Volume {
    /// Returns what is of interest in a volume, or `None` if it is not ours.
    pub(crate) fn view(volume: &PersistentVolume) -> Option<Self> {
        if volume.annotations().get(PROVISIONED_BY).map(String::as_str) != Some(PROVISIONER) {
            return None;
        }
        let spec = volume.spec.as_ref()?;
        let claim = spec.claim_ref.as_ref().and_then(|claim| {
            let name = Name { namespace: claim.namespace.clone()?, name: claim.name.clone()? };
            Some((name, claim.uid.clone()))
        });
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        Some(Self {
            uid: volume.uid()?,
            claim,
            policy: Policy::of(spec.persistent_volume_reclaim_policy.as_deref()),
            is_released: matches!(phase, Some("Released" | "Failed")),
        })
    }
}

/// What is to be made for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) claim: Name,
    pub(crate) claim_uid: String,
    pub(crate) claim_version: Option<String>,
    pub(crate) volume: String,
    pub(crate) class: String,
    pub(crate) policy: Policy,
    /// As the claim writes it, and in bytes.
    pub(crate) requested: String,
    pub(crate) bytes: u64,
    pub(crate) access_modes: Vec<String>,
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForClaim {
    /// Its class is not ours, or it has its volume already.
    Nothing,
    /// The volume of this name, of an earlier claim of the same name, has to be gone first.
    Wait(String),
    /// It cannot be served as it is; the text says why.
    Refuse(String),
    Provision(Plan),
}

/// Decides about a claim.
pub(crate) fn claim(
    name: &Name,
    claim: &Claim,
    classes: &BTreeMap<Name, Class>,
    volumes: &BTreeMap<Name, Volume>,
) -> ForClaim {
    let Some(class) = classes.get(&Name::new("", claim.class.as_str())) else { return ForClaim::Nothing };
    if !is_label(&name.namespace) || !is_subdomain(&name.name) || !is_uid(&claim.uid) {
        return ForClaim::Refuse("its name cannot be that of a directory".into());
    }
    let volume = format!("pvc-{}", claim.uid);
    if volumes.contains_key(&Name::new("", volume.as_str())) {
        return ForClaim::Nothing;
    }
    let bytes = match bytes(claim) {
        Ok(bytes) => bytes,
        Err(problem) => return ForClaim::Refuse(problem),
    };
    if let Some(problem) = unsupported(claim) {
        return ForClaim::Refuse(problem);
    }
    let in_the_way = volumes.iter().find(|(_, volume)| {
        volume.policy == Policy::Delete
            && volume.claim.as_ref().is_some_and(|(of, uid)| of == name && uid.as_deref() != Some(&claim.uid))
    });
    if let Some((other, _)) = in_the_way {
        return ForClaim::Wait(other.name.clone());
    }
    ForClaim::Provision(Plan {
        claim: name.clone(),
        claim_uid: claim.uid.clone(),
        claim_version: claim.resource_version.clone(),
        volume,
        class: claim.class.clone(),
        policy: class.policy,
        requested: claim.requested.clone().unwrap_or_default(),
        bytes,
        access_modes: claim.access_modes.clone(),
    })
}

fn bytes(claim: &Claim) -> Result<u64, String> {
    let Some(requested) = &claim.requested else {
        return Err("it does not say how much storage it requests".into());
    };
    // What is quoted is what somebody wrote: it is not repeated at any length.
    let shown: String = requested.chars().take(40).collect();
    size::bytes(requested).map_err(|problem| match problem {
        BadSize::Unreadable => format!("its requested storage {shown:?} is not a size"),
        BadSize::Zero => format!("it requests {shown:?} of storage; there must be some"),
        BadSize::TooLarge => format!("it requests {shown:?} of storage; it must be less than 8Ei"),
    })
}

/// Says what a claim wants that a directory cannot give.
fn unsupported(claim: &Claim) -> Option<String> {
    let odd =
        claim.access_modes.iter().find(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteMany"));
    if let Some(mode) = odd {
        return Some(format!("its access mode {mode} is not offered; ReadWriteOnce and ReadWriteMany are"));
    }
    let problem = if claim.wants_block {
        "it wants a block device; the volumes of this class are directories"
    } else if claim.has_selector {
        "it has a selector, which no volume that is made for it could match"
    } else if claim.has_source {
        "it has a data source; volumes of this class begin empty"
    } else {
        return None;
    };
    Some(problem.into())
}

/// What becomes of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForVolume {
    Nothing,
    /// It and its data go. `None` if it is for no claim whose name could be that of a directory: it has no data.
    Delete(Option<Name>),
}

/// Decides about a volume.
pub(crate) fn volume(volume: &Volume) -> ForVolume {
    if volume.policy != Policy::Delete || !volume.is_released {
        return ForVolume::Nothing;
    }
    let claim = volume.claim.as_ref().map(|(name, _)| name);
    let named = claim.filter(|name| is_label(&name.namespace) && is_subdomain(&name.name));
    ForVolume::Delete(named.cloned())
}

/// Returns the volume, of an earlier claim of the same name, whose data the directory holds according to the record. If there is such
/// a volume still, and it is to be deleted, that comes first; else the data has been left to whoever claims it by that name.
pub(crate) fn earlier_owner<'a>(record: Option<&'a Record>, volume: &str) -> Option<&'a str> {
    record.map(|record| record.volume.as_str()).filter(|owner| *owner != volume)
}

/// Tells whether a text is a DNS label, as names of namespaces are.
pub(crate) fn is_label(text: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    text.len() <= MAX_LABEL_BYTES
        && !text.is_empty()
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Tells whether a text is a DNS subdomain, as names of claims and volumes are. Its parts may be of any length here, as they are there.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && part.starts_with(|c: char| c != '-')
            && !part.ends_with('-')
    };
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_part)
}

fn is_uid(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && is_label(text)
}

#[cfg(test)]
mod tests;
