//! The objects, as data.

use std::path::Path;

use serde_json::{Value, json};

use super::{image, rules};
use crate::cluster;

pub(super) const NAMESPACE: &str = "kube-system";
pub(super) const STORAGE_PROVISIONER: &str = "storage-provisioner";
pub(super) const VPNKIT_CONTROLLER: &str = "vpnkit-controller";
/// The bare pods in `kube-system`, by name. Nothing in the cluster makes them again.
pub(crate) const PODS: [&str; 2] = [STORAGE_PROVISIONER, VPNKIT_CONTROLLER];
/// The default storage class, and who makes its volumes.
const STORAGE_CLASS: &str = "hostpath";
const PROVISIONER: &str = "docker.io/hostpath";
/// Where the controllers answer probes.
const HEALTH_PORT: u16 = 8080;
/// Where the port service's directory is in the pod, and the socket in it.
const PORTS_DIRECTORY: &str = "/run/shim/ports";
const PORTS_SOCKET: &str = "ports.sock";

/// What the objects depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addons<'a> {
    /// The tag of the controllers' image.
    pub(crate) tag: &'a str,
    /// The node that the pods are for.
    pub(crate) node: &'a str,
    /// The API server's port at the node's address.
    pub(crate) api_port: u16,
    /// The directory of all volumes, on the node. It must be there.
    pub(crate) volumes: &'a Path,
    /// The directory of the port service's socket, on the node. It must be there.
    pub(crate) ports: &'a Path,
}

impl Addons<'_> {
    /// Returns every object, in an order in which they can be made one by one.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects = vec![storage_class()];
        objects.extend(PODS.iter().flat_map(|controller| rules::of(controller)));
        objects.extend(PODS.iter().filter_map(|controller| self.pod(controller)));
        objects
    }

    /// Returns one of the [`PODS`]; `None` if it is none of them.
    pub(crate) fn pod(&self, name: &str) -> Option<Value> {
        match name {
            STORAGE_PROVISIONER => Some(self.storage_provisioner()),
            VPNKIT_CONTROLLER => Some(self.vpnkit_controller()),
            _ => None,
        }
    }

    fn storage_provisioner(&self) -> Value {
        // The path is the same inside: volumes bear it.
        let arguments = json!([STORAGE_PROVISIONER, "--volumes", self.volumes]);
        let mount = json!({"name": "volumes", "mountPath": self.volumes});
        let volume = json!({"name": "volumes", "hostPath": {"path": self.volumes, "type": "Directory"}});
        // Data is anybody's, with any mode; directories may be sticky.
        self.bare_pod(STORAGE_PROVISIONER, &arguments, &json!(["DAC_OVERRIDE", "FOWNER"]), (&mount, &volume))
    }

    fn vpnkit_controller(&self) -> Value {
        let socket = Path::new(PORTS_DIRECTORY).join(PORTS_SOCKET);
        let arguments = json!([VPNKIT_CONTROLLER, "--socket", socket]);
        let mount = json!({"name": "ports", "mountPath": PORTS_DIRECTORY, "readOnly": true});
        // The directory and not the socket: a new service makes a new socket.
        let volume = json!({"name": "ports", "hostPath": {"path": self.ports, "type": "Directory"}});
        self.bare_pod(VPNKIT_CONTROLLER, &arguments, &json!([]), (&mount, &volume))
    }

    fn bare_pod(&self, name: &str, arguments: &Value, capabilities: &Value, disk: (&Value, &Value)) -> Value {
        let (mount, volume) = disk;
        let node = json!({"name": "NODE_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}});
        let variables: Vec<Value> = cluster::direct(self.api_port).into_iter().chain([node]).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
            "spec": {
                "serviceAccountName": name,
                // There is one node, and the scheduler may not be there yet.
                "nodeName": self.node,
                "priorityClassName": "system-node-critical",
                "tolerations": [{"operator": "Exists"}],
                "restartPolicy": "Always",
                "enableServiceLinks": false,
                "dnsPolicy": "Default",
                "terminationGracePeriodSeconds": 2,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": name,
                    "image": image(self.tag),
                    "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    "env": variables,
                    "ports": [{"name": "health", "containerPort": HEALTH_PORT}],
                    // A kubelet that was just started waits for up to a whole period before it probes for the first time.
                    "readinessProbe": {
                        "httpGet": {"path": "/healthz", "port": HEALTH_PORT},
                        "periodSeconds": 1, "failureThreshold": 20, "timeoutSeconds": 2,
                    },
                    "resources": {
                        "requests": {"cpu": "5m", "memory": "16Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "securityContext": {
                        // The files and the socket are root's.
                        "runAsUser": 0,
                        "readOnlyRootFilesystem": true,
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"], "add": capabilities},
                    },
                    "volumeMounts": [mount],
                }],
                "volumes": [volume],
            },
        })
    }
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
    use k8s_openapi::api::storage::v1::StorageClass;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;

    fn addons() -> Addons<'static> {
        Addons {
            tag: "abc123",
            node: "docker-desktop",
            api_port: 6443,
            volumes: Path::new("/var/lib/shim/volumes"),
            ports: Path::new("/srv/other/run/ports"),
        }
    }

    fn kinds_and_names(objects: &[Value]) -> Vec<(&str, &str)> {
        let text = |value: &'_ Value| value.as_str().map(str::to_owned);
        assert!(objects.iter().all(|object| text(&object["apiVersion"]).is_some()));
        objects
            .iter()
            .map(|object| (object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap()))
            .collect()
    }

    #[test]
    fn objects_come_in_an_order_that_works() {
        let objects = addons().objects();
        assert_eq!(
            kinds_and_names(&objects),
            [
                ("StorageClass", "hostpath"),
                ("ServiceAccount", "storage-provisioner"),
                ("ClusterRole", "shim:storage-provisioner"),
                ("ClusterRoleBinding", "shim:storage-provisioner"),
                ("ServiceAccount", "vpnkit-controller"),
                ("ClusterRole", "shim:vpnkit-controller"),
                ("ClusterRoleBinding", "shim:vpnkit-controller"),
                ("Pod", "storage-provisioner"),
                ("Pod", "vpnkit-controller"),
            ]
        );
    }

    /// Reads an object as its type and writes it again: a field that the type has not is lost.
    fn round_trip<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        serde_json::to_value(typed).unwrap()
    }

    #[test]
    fn no_field_is_misspelt() {
        for object in addons().objects() {
            let again = match object["kind"].as_str().unwrap() {
                "StorageClass" => round_trip::<StorageClass>(&object),
                "ServiceAccount" => round_trip::<ServiceAccount>(&object),
                "ClusterRole" => round_trip::<ClusterRole>(&object),
                "ClusterRoleBinding" => round_trip::<ClusterRoleBinding>(&object),
                "Pod" => round_trip::<Pod>(&object),
                other => unreachable!("{other} is not known here"),
            };
            assert_eq!(again, object);
        }
    }

    #[test]
    fn pods_have_what_they_need_and_no_more() {
        let pod = |name| -> Pod { serde_json::from_value(addons().pod(name).unwrap()).unwrap() };
        for (name, arguments, capabilities, path, inside, is_read_only) in [
            (
                "storage-provisioner",
                "storage-provisioner --volumes /var/lib/shim/volumes",
                vec!["DAC_OVERRIDE", "FOWNER"],
                "/var/lib/shim/volumes",
                "/var/lib/shim/volumes",
                None,
            ),
            (
                "vpnkit-controller",
                "vpnkit-controller --socket /run/shim/ports/ports.sock",
                vec![],
                "/srv/other/run/ports",
                "/run/shim/ports",
                Some(true),
            ),
        ] {
            let spec = pod(name).spec.unwrap();
            assert_eq!((spec.host_network, spec.host_pid, spec.host_ipc), (None, None, None));
            assert_eq!(spec.node_name.as_deref(), Some("docker-desktop"));
            assert_eq!(spec.service_account_name.as_deref(), Some(name));
            let volume = spec.volumes.unwrap().remove(0).host_path.unwrap();
            assert_eq!(volume.path, path);
            let [container] = &spec.containers[..] else { panic!("one container") };
            assert_eq!(container.image.as_deref(), Some("docker.internal/shim/controllers:abc123"));
            assert_eq!(container.args.as_ref().unwrap().join(" "), arguments);
            let mount = &container.volume_mounts.as_ref().unwrap()[0];
            assert_eq!((mount.mount_path.as_str(), mount.read_only), (inside, is_read_only));
            let context = container.security_context.as_ref().unwrap();
            assert_eq!((context.privileged, context.read_only_root_filesystem), (None, Some(true)));
            let allowed = context.capabilities.as_ref().unwrap();
            assert_eq!(allowed.drop.as_ref().unwrap(), &["ALL"]);
            assert_eq!(allowed.add.as_ref().unwrap(), &capabilities);
        }
        assert_eq!(addons().pod("coredns"), None);
    }

    #[test]
    fn roles_name_every_verb() {
        for object in addons().objects().iter().filter(|object| object["kind"] == "ClusterRole") {
            let role: ClusterRole = serde_json::from_value(object.clone()).unwrap();
            let rules = role.rules.unwrap();
            assert_eq!(rules.len(), 4);
            for rule in rules {
                let resources = rule.resources.unwrap();
                assert!(!rule.verbs.iter().chain(&resources).any(|word| word.contains('*')));
                assert!(!resources.iter().any(|resource| resource == "secrets"));
            }
        }
    }
}
