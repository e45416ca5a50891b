//! The port forwarder: asks the lifecycle service for a port of localhost for each port of a Service of type `LoadBalancer`, each node
//! port and each host port, and says in the Services' status that they are there.

mod service;
mod trouble;
mod wanted;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use proto::ports::{Port, Problem};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use self::wanted::{Ingress, LOCALHOST, Owners, Pod, Service, Wanted};
use crate::cluster::{self, timely};
use crate::mirror::Mirror;
use crate::name::Name;
use crate::notice::{Notice, Publisher};

const COMPONENT: &str = "vpnkit-controller";
/// How often the ports are asked for although nothing changed: those that were taken may be free, and the service may be a new one.
const PERIOD: Duration = Duration::from_secs(2);
/// How long more changes are waited for after one.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
struct Mirrors {
    services: Mirror<Service>,
    pods: Mirror<Pod>,
}

impl Mirrors {
    fn is_complete(&self) -> bool {
        self.services.is_complete() && self.pods.is_complete()
    }
}

/// Runs for ever. `node` is the node's address, `health` listens for probes.
///
/// # Errors
/// The path is none of a socket. One that is not there, or does not answer, is tried again and again.
pub(crate) async fn run(
    client: Client,
    socket: &Path,
    node: Option<IpAddr>,
    health: tokio::net::TcpListener,
) -> Result<()> {
    let ports = service::Service::new(socket)?;
    let contact = ports.contact();
    let mirrors = Mirrors::default();
    let changed = Arc::new(Notify::new());
    let mut forwarder = Forwarder {
        mirrors: mirrors.clone(),
        node,
        services: client.clone(),
        ports,
        publisher: Publisher::new(client.clone(), COMPONENT),
        granted: None,
        owners: Owners::new(),
        refused: Vec::new(),
    };
    info!(socket = %socket.display(), ?node, "vpnkit-controller starts");
    let check = mirrors.clone();
    tokio::select! {
        () = mirrors.services.follow(Api::<core::Service>::all(client.clone()), Arc::clone(&changed), Service::view) => {}
        () = mirrors.pods.follow(Api::<core::Pod>::all(client), Arc::clone(&changed), Pod::view) => {}
        () = crate::health::serve(health, || match check.is_complete() {
            true => contact.check(),
            false => Err("the API server has not told yet what there is".into()),
        }) => {}
        () = forwarder.work(&changed) => {}
    }
    anyhow::bail!("a task that runs for ever has ended")
}

struct Forwarder {
    mirrors: Mirrors,
    node: Option<IpAddr>,
    services: Client,
    ports: service::Service,
    publisher: Publisher,
    /// The set that the port service took last; `None` if it is not certain that it has it still.
    granted: Option<Vec<Port>>,
    /// Who got each port of it.
    owners: Owners,
    refused: Vec<Problem>,
}

impl Forwarder {
    async fn work(&mut self, changed: &Notify) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                _ = ticks.tick() => true,
                () = changed.notified() => {
                    tokio::time::sleep(DEBOUNCE).await;
                    false
                }
            };
            // What is wanted is only known when everything was listed: less would close ports that are in use.
            if self.mirrors.is_complete() {
                self.pass(is_tick).await;
            }
        }
    }

    async fn pass(&mut self, is_tick: bool) {
        let (services, pods) = (self.mirrors.services.all(), self.mirrors.pods.all());
        let wanted = wanted::wanted(&services, &pods, self.node, &self.owners);
        if is_tick || self.granted.as_ref() != Some(&wanted.ports) {
            self.sync(&wanted).await;
        }
        // The address is there when the port is.
        self.publish(&services).await;
        let notices = trouble::notices(&wanted, &self.refused);
        let holds = |uid: &str, reason: &str| {
            notices.iter().any(|notice: &Notice| notice.subject.uid == uid && notice.reason == reason)
        };
        self.publisher.withdraw(|subject, reason| holds(&subject.uid, reason)).await;
        for notice in notices {
            self.publisher.say(notice).await;
        }
    }

    async fn sync(&mut self, wanted: &Wanted) {
        match self.ports.sync(wanted.ports.clone()).await {
            Some(refused) => {
                self.refused = refused;
                self.granted = Some(wanted.ports.clone());
                self.owners.clone_from(&wanted.owners);
            }
            // What it said last about ports may be true still.
            None => self.granted = None,
        }
    }

    /// Writes the address into the status of every Service that should have it, and takes it out of those that should not.
    async fn publish(&self, services: &BTreeMap<Name, Service>) {
        for (name, service) in services {
            let Some(ingress) = service.wanted_ingress() else { continue };
            let status = match ingress {
                Ingress::Localhost => {
                    json!({"status": {"loadBalancer": {"ingress": [{"hostname": LOCALHOST}]}}})
                }
                Ingress::None | Ingress::Other => json!({"status": {"loadBalancer": {"ingress": null}}}),
            };
            let api: Api<core::Service> = Api::namespaced(self.services.clone(), &name.namespace);
            match timely(api.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(status))).await {
                Ok(_) => info!(service = %name, ?ingress, "status written"),
                Err(error) if cluster::is_missing(&error) => {}
                // The others would take as long, and ports come first.
                Err(cluster::Failure::Late) => return warn!("the API server does not answer"),
                Err(error) => warn!(service = %name, %error, "cannot write the status"),
            }
        }
    }
}
