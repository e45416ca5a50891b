//! Registration: containerd learns of an image of the store without a byte of its layers being copied.
//! The crate's page has the steps and what happens when one is interrupted.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cachestore::images::Image;
use cachestore::oci::chain;
use cachestore::oci::manifest::{BlobRef, Compression, LayerRef, Manifest, OCI_MANIFEST};
use cachestore::snapshots::LABEL_REF;
use cachestore::{Digest, Store};
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{AddResourceRequest, CreateRequest, DeleteRequest, Resource};
use containerd_client::types::Descriptor;
use proto::cri;
use proto::cri::image_service_client::ImageServiceClient;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::records::{Collection, Record};
use super::{Containerd, SNAPSHOTTER, request};
use crate::blocking;

/// How long one call may take; containerd's collection can hold its database for a while.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a lease of a registration that broke off keeps containerd from collecting its parts.
const LEASE_TIME: Duration = Duration::from_secs(600);
/// How often containerd's collection may come between the registration of chains and their lease.
const CHAIN_ATTEMPTS: usize = 3;
/// How long containerd's CRI may take to notice a new record. Usual are a few milliseconds.
const VISIBLE_TIMEOUT: Duration = Duration::from_secs(10);
const VISIBLE_POLL: Duration = Duration::from_millis(1);
/// How long a pod or a container waits for a connection to containerd. After a restart of shimd, containerd looks for
/// the snapshotter again within two seconds.
const CONNECTED_TIMEOUT: Duration = Duration::from_secs(5);

/// Registers images, and remembers which are registered.
#[derive(Debug)]
pub(crate) struct Registrar {
    store: Arc<Store>,
    containerd: Containerd,
    /// Numbers the connections to containerd's events; 0 while there is none, or while containerd has none to us.
    epoch: watch::Sender<u64>,
    known: Mutex<Known>,
    /// One registration at a time for each image.
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    pinned: Mutex<BTreeSet<Digest>>,
}

/// What containerd knows, as far as we have told it in this epoch.
#[derive(Debug, Default)]
struct Known {
    epoch: u64,
    images: HashMap<Digest, Vec<String>>,
}

impl Registrar {
    pub(crate) fn new(store: Arc<Store>, containerd: Containerd) -> Self {
        Self {
            store,
            containerd,
            epoch: watch::Sender::new(0),
            known: Mutex::default(),
            turns: Mutex::default(),
            pinned: Mutex::default(),
        }
    }

    /// Makes sure that containerd can run an image.
    pub(crate) async fn ensure(&self, image: &Image) -> Result<(), Status> {
        if self.is_registered(image) {
            return Ok(());
        }
        let turn = self.turn(image.id);
        let _turn = turn.lock().await;
        // It may have been removed, or renamed, while somebody else had the turn.
        let image = &*self.store.image(&image.id).ok_or_else(|| gone(&image.id))?;
        if self.is_registered(image) {
            return Ok(());
        }
        let epoch = self.epoch();
        let started = std::time::Instant::now();
        self.register(image).await.map_err(|status| self.containerd.explain(status))?;
        tracing::debug!(image = %image.id, elapsed = ?started.elapsed(), "registered with containerd");
        self.remember(epoch, |known| drop(known.images.insert(image.id, record_names(image))));
        Ok(())
    }

    /// Says that an image must never be collected by containerd: the pause image.
    pub(crate) fn pin(&self, id: Digest) {
        lock(&self.pinned).insert(id);
    }

    pub(crate) fn is_pinned(&self, id: &Digest) -> bool {
        lock(&self.pinned).contains(id)
    }

    /// Deletes the records of an image that has left the store, or of names that it has lost. What the image leaves behind
    /// can be collected at once.
    pub(crate) async fn forget(&self, id: &Digest, names: &[String]) -> Result<(), Status> {
        let turn = self.turn(*id);
        let _turn = turn.lock().await;
        self.remember(self.epoch(), |known| drop(known.images.remove(id)));
        let Some((last, others)) = names.split_last() else { return Ok(()) };
        for name in others {
            self.containerd.delete_record(name, Collection::Soon).await?;
        }
        let is_gone = self.store.image(id).is_none();
        let collection = if is_gone { Collection::Now } else { Collection::Soon };
        self.containerd.delete_record(last, collection).await
    }

    /// Notes that a record has gone from containerd, by whomever.
    pub(super) fn record_deleted(&self, name: &str) {
        lock(&self.known).images.retain(|_, names| !names.iter().any(|known| known == name));
    }

    /// Deletes every record of ours that no image of the store has any more: shimd may have been away when they went.
    pub(super) async fn reconcile(&self) -> Result<(), Status> {
        for record in self.containerd.our_records(None).await? {
            let image = record.image.parse::<Digest>().ok().and_then(|id| self.store.image(&id));
            if !image.is_some_and(|image| record_names(&image).contains(&record.name)) {
                tracing::debug!(name = record.name, "deleting a stale record from containerd");
                self.containerd.delete_record(&record.name, Collection::Soon).await?;
            }
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// Waits until containerd and we reach each other. Gives up silently: the call that follows says what is wrong.
    pub(crate) async fn until_connected(&self) {
        let mut epoch = self.epoch.subscribe();
        let connected = epoch.wait_for(|epoch| *epoch != 0);
        if tokio::time::timeout(CONNECTED_TIMEOUT, connected).await.is_err() {
            tracing::debug!("containerd and shimd do not reach each other");
        }
    }

    /// Begins a new epoch: from now on, what is registered may be remembered.
    pub(super) fn begin_epoch(&self, number: u64) {
        self.epoch.send_replace(number);
    }

    /// Ends the epoch: nothing is remembered until somebody watches containerd again.
    pub(super) fn end_epoch(&self) {
        self.epoch.send_replace(0);
    }

    fn remember(&self, epoch: u64, change: impl FnOnce(&mut Known)) {
        let mut known = lock(&self.known);
        if known.epoch != epoch {
            *known = Known { epoch, ..Known::default() };
        }
        change(&mut known);
    }

    fn is_registered(&self, image: &Image) -> bool {
        let known = lock(&self.known);
        known.epoch != 0
            && known.epoch == self.epoch()
            && known.images.get(&image.id).is_some_and(|names| *names == record_names(image))
    }

    fn turn(&self, id: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = lock(&self.turns);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(id).or_default())
    }

    async fn register(&self, image: &Image) -> Result<(), Status> {
        let lease = self.create_lease(image).await?;
        let result = self.register_under(image, &lease).await;
        let containerd = self.containerd.clone();
        #[expect(clippy::disallowed_methods, reason = "nobody waits for it; a lease that is left expires")]
        tokio::spawn(async move {
            let delete = DeleteRequest { id: lease, sync: false };
            if let Err(status) = containerd.leases().delete(request(delete, None)).await {
                tracing::debug!(error = status.message(), "a lease was left to expire");
            }
        });
        result
    }

    async fn register_under(&self, image: &Image, lease: &str) -> Result<(), Status> {
        let ((), target) =
            tokio::try_join!(self.register_chains(image, lease), self.put_documents(image, lease))?;
        self.put_records(image, lease, &target).await?;
        self.wait_until_visible(image).await
    }

    /// Each registration has a lease of its own; one that broke off leaves it to expire.
    async fn create_lease(&self, image: &Image) -> Result<String, Status> {
        let now = SystemTime::now();
        let nonce = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let id = format!("shimd-{}-{nonce}", image.id);
        let expires = jiff::Timestamp::try_from(now + LEASE_TIME).unwrap_or_default();
        let labels = HashMap::from([("containerd.io/gc.expire".to_owned(), format!("{expires:.0}"))]);
        self.containerd.leases().create(request(CreateRequest { id: id.clone(), labels }, None)).await?;
        Ok(id)
    }

    /// Registers the chains that containerd does not have, and holds the uppermost by the lease, which holds those below.
    async fn register_chains(&self, image: &Image, lease: &str) -> Result<(), Status> {
        let chains: Vec<String> = chain::ids(&image.diff_ids).iter().map(ToString::to_string).collect();
        let Some(top) = chains.last() else { return Ok(()) };
        for _ in 0..CHAIN_ATTEMPTS {
            if self.try_register_chains(&chains, lease).await? {
                let resource = Resource { id: top.clone(), r#type: format!("snapshots/{SNAPSHOTTER}") };
                let add = AddResourceRequest { id: lease.to_owned(), resource: Some(resource) };
                self.containerd.leases().add_resource(request(add, None)).await?;
                if self.containerd.has_snapshot(top).await? {
                    return Ok(());
                }
            }
        }
        Err(Status::aborted(format!(
            "containerd collects chain {top} again and again while it is registered"
        )))
    }

    /// Registers chains from the bottom up; tells whether none was collected meanwhile.
    async fn try_register_chains(&self, chains: &[String], lease: &str) -> Result<bool, Status> {
        // What containerd has, it has with all below: the first missing one is found by halving.
        let (mut known, mut missing) = (0, chains.len());
        while known < missing {
            let middle = usize::midpoint(known, missing);
            match self.containerd.has_snapshot(&chains[middle]).await? {
                true => known = middle + 1,
                false => missing = middle,
            }
        }
        for number in known..chains.len() {
            let parent = number.checked_sub(1).map_or("", |below| &chains[below]);
            match self.register_chain(&chains[number], parent, lease).await {
                Err(status) if status.code() == Code::NotFound => return Ok(false),
                result => result?,
            }
        }
        Ok(true)
    }

    async fn register_chain(&self, chain: &str, parent: &str, lease: &str) -> Result<(), Status> {
        let key = format!("extract-{}-{chain}", std::process::id());
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.clone(),
            parent: parent.to_owned(),
            labels: HashMap::from([(LABEL_REF.to_owned(), chain.to_owned())]),
        };
        match self.containerd.snapshots().prepare(request(prepare, Some(lease))).await {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status) => Err(status),
            Ok(_) => {
                let remove = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key };
                self.containerd.snapshots().remove(request(remove, None)).await?;
                Err(Status::data_loss(format!(
                    "the store does not have all layers of chain {chain}; run `shimctl verify`"
                )))
            }
        }
    }

    /// containerd gets a manifest whose layers are what is on the disk: uncompressed tars that it never has to read.
    async fn put_documents(&self, image: &Image, lease: &str) -> Result<Descriptor, Status> {
        let (store, id) = (Arc::clone(&self.store), image.id);
        let config = blocking::run(move || store.blob(&id)).await?;
        let config = config.ok_or_else(|| Status::data_loss(format!("image {id} has no configuration")))?;
        let layer = |diff_id: &Digest| LayerRef {
            blob: BlobRef { digest: *diff_id, size_bytes: 0 },
            compression: Compression::None,
        };
        let mut layers: Vec<LayerRef> = image.diff_ids.iter().map(layer).collect();
        // containerd adds up the sizes of a manifest's descriptors; which of them has how much does not matter.
        if let Some(last) = layers.last_mut() {
            last.blob.size_bytes = image.size_bytes.saturating_sub(config.len() as u64);
        }
        let manifest = Manifest { config: BlobRef { digest: id, size_bytes: config.len() as u64 }, layers };
        let manifest = manifest.to_json().map_err(crate::status::from_store)?;
        let top = image
            .chain
            .map(|chain| (format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"), chain.to_string()));
        self.containerd.put_content(lease, &config, top.into_iter().collect()).await?;
        let reference = ("containerd.io/gc.ref.content.config".to_owned(), id.to_string());
        self.containerd.put_content(lease, &manifest, HashMap::from([reference])).await?;
        Ok(Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::of(&manifest).to_string(),
            size: i64::try_from(manifest.len()).unwrap_or(i64::MAX),
            annotations: HashMap::new(),
        })
    }

    async fn put_records(&self, image: &Image, lease: &str, target: &Descriptor) -> Result<(), Status> {
        let id = image.id.to_string();
        let names = record_names(image);
        for name in &names {
            let record = Record { name: name.clone(), image: id.clone() };
            self.containerd.put_record(lease, &record, target, self.is_pinned(&image.id)).await?;
        }
        for stale in self.containerd.our_records(Some(&id)).await? {
            if !names.contains(&stale.name) {
                self.containerd.delete_record(&stale.name, Collection::Soon).await?;
            }
        }
        Ok(())
    }

    /// Waits until containerd's CRI has heard of the records, one after the other. Containers are made by image ID, the first of them;
    /// the pause image alone is looked for by its name.
    async fn wait_until_visible(&self, image: &Image) -> Result<(), Status> {
        let deadline = tokio::time::Instant::now() + VISIBLE_TIMEOUT;
        let mut client = ImageServiceClient::new(self.containerd.channel());
        let awaited = if self.is_pinned(&image.id) { usize::MAX } else { 1 };
        for name in record_names(image).into_iter().take(awaited) {
            let spec = cri::ImageSpec { image: name.clone(), ..cri::ImageSpec::default() };
            let status = cri::ImageStatusRequest { image: Some(spec), verbose: false };
            while client.image_status(status.clone()).await?.into_inner().image.is_none() {
                if tokio::time::Instant::now() > deadline {
                    let problem = "containerd's CRI does not show it, though its record is there";
                    return Err(Status::deadline_exceeded(format!("image {name}: {problem}")));
                }
                tokio::time::sleep(VISIBLE_POLL).await;
            }
        }
        Ok(())
    }
}

fn gone(id: &Digest) -> Status {
    Status::not_found(format!("image {id} was removed meanwhile"))
}

/// The names under which containerd knows an image, its ID first.
fn record_names(image: &Image) -> Vec<String> {
    let mut names = vec![image.id.to_string()];
    names.extend(image.names.iter().map(|name| name.reference.to_string()));
    names.extend(image.repo_digests.iter().map(ToString::to_string));
    names
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
