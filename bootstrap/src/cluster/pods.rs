//! The pods that every cluster has.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::ListParams;

use super::api::{self, said};
use super::{NAME, SYSTEM};
use crate::cri;
use crate::node::Node;

/// The pods of the control plane, whose names end with the node's.
const STATIC: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// Our own, whose names are these.
pub(crate) const BARE: [&str; 2] = ["storage-provisioner", "vpnkit-controller"];
/// What every pod goes through on its way.
const USUAL: [&str; 5] = ["", "Pending", "Running", "ContainerCreating", "PodInitializing"];
/// How many replicas of others there are, by the beginning of their names.
const REPLICATED: [(&str, usize); 2] = [("coredns-", 2), ("kube-proxy-", 1)];

/// Returns the names of the pods of the control plane.
pub(crate) fn control_plane() -> impl Iterator<Item = String> {
    STATIC.iter().map(|name| format!("{name}-{NAME}"))
}

/// Tells whether the API server answers and all pods are ready, with containers that run now; returns the version of the control plane.
///
/// # Errors
/// What is missing, in words.
pub(crate) async fn check(node: &Node) -> Result<String, String> {
    let client = api::client(node).await.map_err(|error| error.to_string())?;
    let pods: Api<Pod> = Api::namespaced(client, SYSTEM);
    let listed = pods.list(&ListParams::default()).await;
    let pods = listed.map_err(|error| format!("the API server: {}", said(&error)))?.items;
    let running = cri::running_ids(&node.paths.cri_socket()).await.map_err(|error| error.to_string())?;
    match unready(&pods, &running).as_slice() {
        [] => Ok(node.state.get().cluster.map_or_else(String::new, |cluster| cluster.version)),
        unready => Err(format!("{} pods: {}", unready.len(), unready.join(", "))),
    }
}

/// Says which pods are not there or not ready (pure). `running` are the IDs of the containers that run: after a cluster was stopped,
/// its API server says of every pod what was true before, until the kubelet has looked at it.
pub(crate) fn unready(pods: &[Pod], running: &BTreeSet<String>) -> Vec<String> {
    let problem = |pod: &Pod| problem(pod, running);
    let named = |name: &str| {
        let found = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name));
        match found {
            None => Some(name.to_owned()),
            Some(pod) => problem(pod).map(|problem| described(name, &problem)),
        }
    };
    let mut unready: Vec<String> = Vec::new();
    unready.extend(control_plane().filter_map(|name| named(&name)));
    for (prefix, wanted) in REPLICATED {
        let begins = |pod: &&Pod| pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix));
        let problems: Vec<Option<String>> = pods.iter().filter(begins).map(&problem).collect();
        let ready = problems.iter().filter(|problem| problem.is_none()).count();
        if ready < wanted {
            let why = problems.into_iter().flatten().next().unwrap_or_default();
            unready.push(described(prefix.trim_end_matches('-'), &why));
        }
    }
    unready.extend(BARE.iter().filter_map(|name| named(name)));
    unready
}

/// Names a pod, and what is wrong with it if that is more than that it takes its time.
fn described(name: &str, problem: &str) -> String {
    match USUAL.contains(&problem) {
        true => name.to_owned(),
        false => format!("{name} ({problem})"),
    }
}

/// Says why a pod is not ready.
fn problem(pod: &Pod, running: &BTreeSet<String>) -> Option<String> {
    let Some(status) = &pod.status else { return Some("has no status".into()) };
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("is being deleted".into());
    }
    let is_ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if is_ready {
        return (!lives(status, running)).then(String::new);
    }
    let phase = status.phase.clone().unwrap_or_default();
    Some(waiting(status).unwrap_or(phase))
}

/// Tells whether the containers that a status is about run.
fn lives(status: &PodStatus, running: &BTreeSet<String>) -> bool {
    status.container_statuses.iter().flatten().all(|container| {
        // The ID follows the name of the runtime: `containerd://0123…`.
        let id = container.container_id.as_deref().and_then(|id| id.split_once("://"));
        id.is_some_and(|(_, id)| running.contains(id))
    })
}

/// Returns why a container does not run.
fn waiting(status: &PodStatus) -> Option<String> {
    let states = status.container_statuses.iter().flatten().filter_map(|c| c.state.as_ref());
    states.filter_map(|state| state.waiting.as_ref()).find_map(|waiting| {
        match (&waiting.reason, &waiting.message) {
            (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
            (Some(reason), None) => Some(reason.clone()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": name}, "status": status})).unwrap()
    }

    fn container(id: &str) -> serde_json::Value {
        json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "containerID": id})
    }

    fn ready() -> serde_json::Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [container("containerd://abc")]})
    }

    fn unready(pods: &[Pod]) -> Vec<String> {
        super::unready(pods, &["abc".to_owned()].into())
    }

    fn all() -> Vec<Pod> {
        [
            "etcd-docker-desktop",
            "kube-apiserver-docker-desktop",
            "kube-controller-manager-docker-desktop",
            "kube-scheduler-docker-desktop",
            "coredns-1-a",
            "coredns-1-b",
            "kube-proxy-x",
            "storage-provisioner",
            "vpnkit-controller",
        ]
        .map(|name| pod(name, ready()))
        .to_vec()
    }

    #[test]
    fn nine_pods() {
        assert!(unready(&all()).is_empty());
        let mut more = all();
        more.push(pod("somebody-else", json!({"phase": "Failed"})));
        assert!(unready(&more).is_empty());
    }

    #[test]
    fn what_was_ready_before_is_not_ready() {
        let mut pods = all();
        for (id, is_ready) in
            [("containerd://abc", true), ("containerd://old", false), ("abc", false), ("", false)]
        {
            let mut status = ready();
            status["containerStatuses"] = json!([container("containerd://abc"), container(id)]);
            pods[8] = pod("vpnkit-controller", status);
            let expected: &[&str] = if is_ready { &[] } else { &["vpnkit-controller"] };
            assert_eq!(unready(&pods), expected, "{id}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let waits = json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}}]});
        for (change, expected) in [
            (0, "etcd-docker-desktop (ErrImageNeverPull: no image)"),
            (5, "coredns (ErrImageNeverPull: no image)"),
            (8, "vpnkit-controller (ErrImageNeverPull: no image)"),
        ] {
            let mut pods = all();
            let name = pods[change].metadata.name.clone().unwrap();
            pods[change] = pod(&name, waits.clone());
            assert_eq!(unready(&pods), [expected]);
        }
        let mut pods = all();
        pods.remove(7);
        pods[6] = pod("kube-proxy-x", json!({"phase": "Running"}));
        assert_eq!(unready(&pods), ["kube-proxy", "storage-provisioner"]);
        assert_eq!(unready(&[]).len(), 8);
    }
}
