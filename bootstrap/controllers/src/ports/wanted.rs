//! Which ports are wanted on localhost: decisions only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use proto::ports::{Port, Protocol, Reason};

use crate::name::{Name, Subject};

/// The most ports that one call may name.
pub(crate) const MAX_PORTS: usize = 4096;
/// What a Service of type `LoadBalancer` has as its address.
pub(crate) const LOCALHOST: &str = "localhost";

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) protocol: Transport,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
}

/// What a port is for. Protocols that cannot be passed on keep their name for the message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Other(String),
}

impl Transport {
    fn of(text: Option<&str>) -> Self {
        match text {
            None | Some("TCP") => Self::Tcp,
            Some("UDP") => Self::Udp,
            Some(other) => Self::Other(other.to_owned()),
        }
    }
}

/// What the status of a Service says about its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingress {
    None,
    /// Exactly what we write.
    Localhost,
    Other,
}

/// A Service that wants ports, or whose status says that it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) uid: String,
    pub(crate) created: Option<Timestamp>,
    /// It is of type `LoadBalancer`, and none but the default implementation, which we are, is to serve it.
    pub(crate) is_balanced: bool,
    pub(crate) cluster_address: Option<IpAddr>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) ingress: Ingress,
}

impl Service {
    /// Returns what is of interest in a Service, or `None` if nothing is.
    pub(crate) fn view(service: &core::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        let is_balanced = kind == "LoadBalancer"
            && spec.load_balancer_class.is_none()
            && service.metadata.deletion_timestamp.is_none();
        let number = |number: Option<i32>| {
            number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
        };
        let ports = spec.ports.iter().flatten().filter_map(|port| {
            Some(ServicePort {
                protocol: Transport::of(port.protocol.as_deref()),
                port: number(Some(port.port))?,
                node_port: number(port.node_port),
            })
        });
        let ports: Vec<ServicePort> = match kind {
            "LoadBalancer" | "NodePort" => ports.collect(),
            _ => Vec::new(),
        };
        let ingress = ingress(service);
        if ports.is_empty() && ingress == Ingress::None {
            return None;
        }
        Some(Self {
            uid: service.uid()?,
            created: service.creation_timestamp().map(|time| time.0),
            is_balanced,
            cluster_address: spec.cluster_ip.as_deref().and_then(|address| address.parse().ok()),
            ports,
            ingress,
        })
    }

    /// Tells what the status should say instead, or `None` if it is as it should be, or is somebody else's business.
    pub(crate) fn wanted_ingress(&self) -> Option<Ingress> {
        match (self.is_balanced, self.ingress) {
            (true, Ingress::None | Ingress::Other) => Some(Ingress::Localhost),
            (false, Ingress::Localhost) => Some(Ingress::None),
            (true, Ingress::Localhost) | (false, Ingress::None | Ingress::Other) => None,
        }
    }
}

fn ingress(service: &core::Service) -> Ingress {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    match entries {
        [] => Ingress::None,
        [one] if one.hostname.as_deref() == Some(LOCALHOST) && one.ip.is_none() => Ingress::Localhost,
        _ => Ingress::Other,
    }
}

/// A port of the node that a pod has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) protocol: Transport,
    pub(crate) port: u16,
    /// Where the container itself listens.
    pub(crate) container_port: u16,
    /// Where it is, if not at every address of the node.
    pub(crate) address: Option<IpAddr>,
}

/// A pod that has ports of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) node_address: Option<IpAddr>,
    /// Missing as long as it has no network.
    pub(crate) address: Option<IpAddr>,
    pub(crate) ports: Vec<HostPort>,
}

impl Pod {
    /// Returns what is of interest in a pod, or `None` if nothing is: most pods have no ports of the node, those that have ended have
    /// none any more, and what the cluster itself has is its own.
    pub(crate) fn view(pod: &core::Pod) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let is_system = spec.host_network == Some(true) && pod.namespace().as_deref() == Some("kube-system");
        if is_system || matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let containers = spec.containers.iter().chain(sidecars);
        let number = |number: i32| u16::try_from(number).ok().filter(|port| *port > 0);
        let ports: Vec<HostPort> = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| {
                Some(HostPort {
                    protocol: Transport::of(port.protocol.as_deref()),
                    port: number(port.host_port?)?,
                    container_port: number(port.container_port)?,
                    address: port.host_ip.as_deref().and_then(specific),
                })
            })
            .collect();
        if ports.is_empty() {
            return None;
        }
        Some(Self {
            uid: pod.uid()?,
            created: pod.creation_timestamp().map(|time| time.0),
            // It is on no node as long as this is missing.
            node_address: Some(status.host_ip.as_deref()?.parse().ok()?),
            address: status.pod_ip.as_deref().and_then(|address| address.parse().ok()),
            ports,
        })
    }

    /// Returns where connections to one of its ports go. What is to be had at the node's loopback only is for localhost, which is
    /// that of the machine to whoever wrote it; nothing from here reaches the node's, so the pod itself is asked.
    fn target(&self, port: &HostPort, node: Option<IpAddr>) -> Option<(IpAddr, u16)> {
        match port.address {
            Some(address) if address.is_loopback() => Some((self.address?, port.container_port)),
            address => Some((address.or(self.node_address).or(node)?, port.port)),
        }
    }
}

/// Reads an address; that of all addresses is none in particular.
fn specific(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
}

/// Why a port is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) subject: Subject,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Who has each port, by protocol and number.
pub(crate) type Owners = BTreeMap<(i32, u32), Subject>;

/// The ports that are wanted, who wants them, and why some are not even asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) ports: Vec<Port>,
    pub(crate) owners: Owners,
    pub(crate) troubles: Vec<Trouble>,
}

/// One port that somebody wants.
struct Wish<'a> {
    subject: Subject,
    transport: &'a Transport,
    port: u16,
    /// Missing as long as it has no address.
    target: Option<(IpAddr, u16)>,
}

impl Wish<'_> {
    /// Tells whether it has its port already: then nobody takes it away.
    fn is_granted(&self, before: &Owners) -> bool {
        let protocol = match self.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::Other(_) => return false,
        };
        before.get(&(i32::from(protocol), u32::from(self.port))) == Some(&self.subject)
    }
}

/// Computes the whole set. Of two that want the same port, who had it `before` keeps it; else Services of type `LoadBalancer` come
/// first, then host ports of pods, then node ports, and of each the older one.
pub(crate) fn wanted(
    services: &BTreeMap<Name, Service>,
    pods: &BTreeMap<Name, Pod>,
    node: Option<IpAddr>,
    before: &Owners,
) -> Wanted {
    let mut wishes = wishes(services, pods, node);
    wishes.sort_by_key(|wish| !wish.is_granted(before));
    let mut wanted = Wanted::default();
    for wish in wishes {
        wanted.add(wish);
    }
    wanted
}

fn wishes<'a>(
    services: &'a BTreeMap<Name, Service>,
    pods: &'a BTreeMap<Name, Pod>,
    node: Option<IpAddr>,
) -> Vec<Wish<'a>> {
    let mut services: Vec<(&Name, &Service)> = services.iter().collect();
    services.sort_by_key(|(name, service)| (service.created, *name));
    let mut pods: Vec<(&Name, &Pod)> = pods.iter().collect();
    pods.sort_by_key(|(name, pod)| (pod.created, *name));
    let of = |name: &Name, uid: &str| Subject { kind: "Service", name: name.clone(), uid: uid.to_owned() };
    let mut wishes = Vec::new();
    for (name, service) in services.iter().filter(|(_, service)| service.is_balanced) {
        let address = service.cluster_address;
        wishes.extend(service.ports.iter().map(|port| Wish {
            subject: of(name, &service.uid),
            transport: &port.protocol,
            port: port.port,
            target: address.map(|address| (address, port.port)),
        }));
    }
    for (name, pod) in pods {
        wishes.extend(pod.ports.iter().map(|port| Wish {
            subject: Subject { kind: "Pod", ..of(name, &pod.uid) },
            transport: &port.protocol,
            port: port.port,
            target: pod.target(port, node),
        }));
    }
    for (name, service) in services {
        let on_node = service.ports.iter().filter_map(|port| Some((&port.protocol, port.node_port?)));
        wishes.extend(on_node.map(|(transport, port)| Wish {
            subject: of(name, &service.uid),
            transport,
            port,
            target: node.map(|address| (address, port)),
        }));
    }
    wishes
}

impl Wanted {
    fn add(&mut self, wish: Wish<'_>) {
        let Wish { subject, transport, port, target } = wish;
        let protocol = match transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
            Transport::Other(other) => {
                let message = format!("port {port} ({other}) is not passed on; TCP and UDP are");
                return self.trouble(subject, "UnsupportedProtocol", message);
            }
        };
        let key = (i32::from(protocol), u32::from(port));
        let shown = format!("port {port} ({})", protocol.as_str_name());
        if let Some(owner) = self.owners.get(&key) {
            // Its own are host ports of several addresses, or a node port that is a port as well.
            if *owner != subject {
                let message = format!("{shown} is taken by {} {}", owner.kind, owner.name);
                self.trouble(subject, reason(Reason::PortTaken), message);
            }
            return;
        }
        // Without an address it is not wanted yet, and will be seen again.
        let Some((address, target_port)) = target else { return };
        if self.ports.len() == MAX_PORTS {
            let message = format!("{shown} is one too many: {MAX_PORTS} are passed on");
            return self.trouble(subject, "TooManyPorts", message);
        }
        self.ports.push(Port {
            owner: subject.name.to_string(),
            protocol: i32::from(protocol),
            port: u32::from(port),
            target_address: address.to_string(),
            target_port: u32::from(target_port),
        });
        self.owners.insert(key, subject);
    }

    fn trouble(&mut self, subject: Subject, reason: &'static str, message: String) {
        self.troubles.push(Trouble { subject, reason, message });
    }
}

/// The reason of an event for a reason of the port service.
pub(crate) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::PortTaken => "PortTaken",
        Reason::PortInvalid => "PortInvalid",
        Reason::Unspecified | Reason::PortFailed => "PortFailed",
    }
}

#[cfg(test)]
mod tests;
