//! The cluster as the lifecycle service sees it: through its API server.

pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod pods;

use serde_json::{Value, json};

/// The name of the node, the cluster, the user and the context.
pub(crate) const NAME: &str = "docker-desktop";
/// The name of the control plane's endpoint.
pub(crate) const ENDPOINT: &str = "kubernetes.docker.internal";
/// The port of the API server.
pub(crate) const API_PORT: u16 = 6443;
/// The namespace of what belongs to the cluster itself.
pub(crate) const SYSTEM: &str = "kube-system";

/// Returns the variables of a container with which its client asks the API server itself and not its Service: it need not wait for
/// kube-proxy.
pub(crate) fn direct(port: u16) -> [Value; 2] {
    [
        json!({"name": "KUBERNETES_SERVICE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}),
        json!({"name": "KUBERNETES_SERVICE_PORT", "value": port.to_string()}),
    ]
}
