//! The cluster as the lifecycle service sees it: through its API server.

pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod pods;

/// The name of the node, the cluster, the user and the context.
pub(crate) const NAME: &str = "docker-desktop";
/// The name of the control plane's endpoint.
pub(crate) const ENDPOINT: &str = "kubernetes.docker.internal";
/// The port of the API server.
pub(crate) const API_PORT: u16 = 6443;
/// The namespace of what belongs to the cluster itself.
pub(crate) const SYSTEM: &str = "kube-system";
