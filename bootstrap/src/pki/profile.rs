//! Which certificates there are: for whom, by whom, for which names, as kubeadm's own list has them (pure).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::cluster::{API_PORT, ENDPOINT, NAME};

/// What the cluster's certificates are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The name of the node.
    pub(crate) node: String,
    pub(crate) node_address: Ipv4Addr,
    /// The name under which the API server is reached.
    pub(crate) endpoint: String,
    pub(crate) api_port: u16,
    /// The first address of the range of services, which is the API server's there.
    pub(crate) service_address: Ipv4Addr,
    pub(crate) dns_domain: String,
}

impl Names {
    /// Returns the names of a cluster, of which only the node's address is not the same everywhere.
    pub(crate) fn new(node_address: Ipv4Addr) -> Self {
        Self {
            node: NAME.into(),
            node_address,
            endpoint: ENDPOINT.into(),
            api_port: API_PORT,
            service_address: Ipv4Addr::new(10, 96, 0, 1),
            dns_domain: "cluster.local".into(),
        }
    }

    fn endpoint_url(&self) -> String {
        format!("https://{}:{}", self.endpoint, self.api_port)
    }

    fn local_url(&self) -> String {
        format!("https://{}:{}", self.node_address, self.api_port)
    }
}

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authority {
    Cluster,
    FrontProxy,
    Etcd,
}

impl Authority {
    pub(crate) const ALL: [Self; 3] = [Self::Cluster, Self::FrontProxy, Self::Etcd];

    /// Returns its file, without the extension.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Cluster => "pki/ca",
            Self::FrontProxy => "pki/front-proxy-ca",
            Self::Etcd => "pki/etcd/ca",
        }
    }

    pub(crate) const fn common_name(self) -> &'static str {
        match self {
            Self::Cluster => "kubernetes",
            Self::FrontProxy => "front-proxy-ca",
            Self::Etcd => "etcd-ca",
        }
    }
}

/// What reads a file, and goes on with the old content until it is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reader {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubelet,
    /// kubeadm and whoever administers the cluster: `admin.conf`, and what was copied from it.
    Administrator,
}

impl Reader {
    pub(crate) const ALL: [Self; 6] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Administrator,
    ];
}

/// The file of the keys of service accounts, without the extension.
pub(crate) const SERVICE_ACCOUNTS: &str = "pki/sa";

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) common_name: String,
    pub(crate) organization: Option<&'static str>,
    pub(crate) is_server: bool,
    pub(crate) is_client: bool,
    pub(crate) names: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Profile {
    fn client(common_name: impl Into<String>, organization: Option<&'static str>) -> Self {
        Self {
            common_name: common_name.into(),
            organization,
            is_server: false,
            is_client: true,
            names: BTreeSet::new(),
            addresses: BTreeSet::new(),
        }
    }

    fn server(common_name: &str, names: &[&str], addresses: &[IpAddr]) -> Self {
        Self {
            is_server: true,
            is_client: false,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().copied().collect(),
            ..Self::client(common_name, None)
        }
    }
}

/// How a certificate and its key are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// In `FILE.crt` and `FILE.key`.
    Pair,
    /// Both in the file itself, with its authority and the server that it is for.
    Kubeconfig { server: String },
}

/// One certificate that an authority signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Its path below the directory, without the extension if it is a pair.
    pub(crate) file: &'static str,
    pub(crate) authority: Authority,
    pub(crate) profile: Profile,
    pub(crate) form: Form,
}

/// Returns every certificate of a cluster besides the authorities' own.
pub(crate) fn leaves(names: &Names) -> Vec<Leaf> {
    let pair = |file, authority, profile| Leaf { file, authority, profile, form: Form::Pair };
    let mut all = vec![
        pair("pki/apiserver", Authority::Cluster, api_server(names)),
        pair(
            "pki/apiserver-kubelet-client",
            Authority::Cluster,
            Profile::client("kube-apiserver-kubelet-client", None),
        ),
        pair("pki/kubelet", Authority::Cluster, kubelet(names)),
        pair("pki/front-proxy-client", Authority::FrontProxy, Profile::client("front-proxy-client", None)),
        pair(
            "pki/apiserver-etcd-client",
            Authority::Etcd,
            Profile::client("kube-apiserver-etcd-client", None),
        ),
        pair("pki/etcd/server", Authority::Etcd, etcd(names)),
        pair("pki/etcd/peer", Authority::Etcd, etcd(names)),
        pair(
            "pki/etcd/healthcheck-client",
            Authority::Etcd,
            Profile::client("kube-etcd-healthcheck-client", None),
        ),
    ];
    all.extend(kubeconfigs(names));
    all
}

fn kubeconfigs(names: &Names) -> [Leaf; 5] {
    let client = |file, server, profile| Leaf {
        file,
        authority: Authority::Cluster,
        profile,
        form: Form::Kubeconfig { server },
    };
    let (endpoint, local) = (names.endpoint_url(), names.local_url());
    let node = format!("system:node:{}", names.node);
    let admin = Profile::client("kubernetes-admin", Some("kubeadm:cluster-admins"));
    let super_admin = Profile::client("kubernetes-super-admin", Some("system:masters"));
    [
        client("admin.conf", endpoint.clone(), admin),
        client("super-admin.conf", endpoint, super_admin),
        client("kubelet.conf", local.clone(), Profile::client(node, Some("system:nodes"))),
        client(
            "controller-manager.conf",
            local.clone(),
            Profile::client("system:kube-controller-manager", None),
        ),
        client("scheduler.conf", local, Profile::client("system:kube-scheduler", None)),
    ]
}

fn api_server(names: &Names) -> Profile {
    let qualified = format!("kubernetes.default.svc.{}", names.dns_domain);
    let services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", &qualified];
    let others = [names.node.as_str(), &names.endpoint, "localhost"];
    let addresses = [names.service_address, names.node_address, Ipv4Addr::LOCALHOST].map(IpAddr::V4);
    Profile::server("kube-apiserver", &[&services[..], &others[..]].concat(), &addresses)
}

/// The API server asks the kubelet by the node's address.
fn kubelet(names: &Names) -> Profile {
    let addresses = [names.node_address, Ipv4Addr::LOCALHOST].map(IpAddr::V4);
    let common_name = format!("system:node:{}", names.node);
    Profile {
        organization: Some("system:nodes"),
        ..Profile::server(&common_name, &[names.node.as_str()], &addresses)
    }
}

/// etcd is a client of itself by its serving certificate.
fn etcd(names: &Names) -> Profile {
    let local = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses = [IpAddr::V4(names.node_address), local[0], local[1]];
    Profile { is_client: true, ..Profile::server(&names.node, &[&names.node, "localhost"], &addresses) }
}

/// Tells who reads a file that was made or renewed.
pub(crate) fn readers(file: &str) -> &'static [Reader] {
    use Reader::{Administrator, ApiServer, ControllerManager, Etcd, Kubelet, Scheduler};
    match file {
        "pki/ca" => &[ApiServer, ControllerManager, Scheduler, Kubelet, Administrator],
        "pki/front-proxy-ca" => &[ApiServer, ControllerManager, Scheduler],
        "pki/etcd/ca" => &[Etcd, ApiServer],
        SERVICE_ACCOUNTS => &[ApiServer, ControllerManager],
        "pki/kubelet" | "kubelet.conf" => &[Kubelet],
        "pki/etcd/server" | "pki/etcd/peer" | "pki/etcd/healthcheck-client" => &[Etcd],
        "controller-manager.conf" => &[ControllerManager],
        "scheduler.conf" => &[Scheduler],
        "admin.conf" | "super-admin.conf" => &[Administrator],
        _ => &[ApiServer],
    }
}
