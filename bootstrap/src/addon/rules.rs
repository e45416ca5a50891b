//! Who the controllers are, and what each may do: just what it does.

use serde_json::{Value, json};

use super::manifest::{NAMESPACE, STORAGE_PROVISIONER, VPNKIT_CONTROLLER};

/// Returns the service account of a controller, its role and their binding, in the order in which they are made.
pub(super) fn of(controller: &str) -> Vec<Value> {
    let rules = match controller {
        STORAGE_PROVISIONER => storage(),
        VPNKIT_CONTROLLER => ports(),
        _ => json!([]),
    };
    // Names of roles are the cluster's: those of Kubernetes' own begin with `system:`, these with where they are from.
    let role = format!("shim:{controller}");
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": controller, "namespace": NAMESPACE},
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": controller, "namespace": NAMESPACE}],
        }),
    ]
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
}

/// Of events it writes those that it names; it reads none.
fn events() -> Value {
    rule("", "events", &["create", "patch", "delete"])
}

fn storage() -> Value {
    json!([
        rule("", "persistentvolumeclaims", &["list", "watch"]),
        rule("", "persistentvolumes", &["list", "watch", "get", "create", "delete"]),
        rule("storage.k8s.io", "storageclasses", &["list", "watch"]),
        events(),
    ])
}

fn ports() -> Value {
    json!([
        rule("", "services", &["list", "watch"]),
        rule("", "services/status", &["patch"]),
        rule("", "pods", &["list", "watch"]),
        events(),
    ])
}
