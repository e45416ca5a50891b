//! What the lifecycle service asks the container runtime for: to end pods in their order, and to forget them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use proto::cri::{
    Container, ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandbox, PodSandboxState,
    RemovePodSandboxRequest, StopContainerRequest, StopPodSandboxRequest,
};
use tonic::transport::Channel;

use crate::cluster::SYSTEM;
use crate::error::{Error, Result};
use crate::supervise::health::connect;

/// What a kubelet writes on containers.
const NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
const POD_LABEL: &str = "io.kubernetes.pod.name";
const COMPONENT_LABEL: &str = "io.kubernetes.container.name";
const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";
/// How long a part of the control plane has to end, in seconds, when it is started again.
const RESTART_GRACE: i64 = 10;
/// How long a container has if nobody said anything.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Who ends before whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Whatever needs the cluster.
    Workload,
    /// What writes to the API server by itself.
    Controller,
    ApiServer,
    Etcd,
}

const TURNS: [Turn; 4] = [Turn::Workload, Turn::Controller, Turn::ApiServer, Turn::Etcd];

fn turn(container: &Container) -> Turn {
    if container.labels.get(NAMESPACE_LABEL).map(String::as_str) != Some(SYSTEM) {
        return Turn::Workload;
    }
    match container.labels.get(COMPONENT_LABEL).map(String::as_str) {
        Some("etcd") => Turn::Etcd,
        Some("kube-apiserver") => Turn::ApiServer,
        Some("kube-controller-manager" | "kube-scheduler") => Turn::Controller,
        _ => Turn::Workload,
    }
}

/// Returns how long a container has between its signal and SIGKILL: what its pod asks for, and no more than `most`.
fn grace(container: &Container, most: Duration) -> Duration {
    let asked = container.annotations.get(GRACE_ANNOTATION).and_then(|text| text.parse().ok());
    asked.map_or(DEFAULT_GRACE, Duration::from_secs).min(most)
}

async fn client(socket: &Path) -> Result<RuntimeServiceClient<Channel>> {
    let channel =
        connect(socket).await.map_err(|problem| Error::invalid("the container runtime", problem))?;
    Ok(RuntimeServiceClient::new(channel))
}

fn refused(what: &str) -> impl Fn(tonic::Status) -> Error {
    move |status| Error::invalid(format!("the container runtime, asked {what}"), status.message())
}

/// Lists the containers that run.
async fn running(client: &mut RuntimeServiceClient<Channel>) -> Result<Vec<Container>> {
    let listed = client.list_containers(ListContainersRequest::default()).await;
    let mut containers = listed.map_err(refused("for containers"))?.into_inner().containers;
    containers.retain(|container| container.state() == ContainerState::ContainerRunning);
    Ok(containers)
}

/// Returns the IDs of the containers that run.
///
/// # Errors
/// The runtime does not answer.
pub(crate) async fn running_ids(socket: &Path) -> Result<BTreeSet<String>> {
    let containers = running(&mut client(socket).await?).await?;
    Ok(containers.into_iter().map(|container| container.id).collect())
}

/// Lists all pods, those that have ended too.
async fn pods(client: &mut RuntimeServiceClient<Channel>) -> Result<Vec<PodSandbox>> {
    let listed = client.list_pod_sandbox(ListPodSandboxRequest {}).await;
    Ok(listed.map_err(refused("for pods"))?.into_inner().items)
}

/// Returns the names of the system's pods that can have containers.
///
/// # Errors
/// The runtime does not answer.
pub(crate) async fn system_pods(socket: &Path) -> Result<BTreeSet<String>> {
    let mut pods = pods(&mut client(socket).await?).await?;
    pods.retain(|pod| {
        pod.state() == PodSandboxState::SandboxReady
            && pod.labels.get(NAMESPACE_LABEL).is_some_and(|namespace| namespace == SYSTEM)
    });
    Ok(pods.into_iter().filter_map(|mut pod| pod.labels.remove(POD_LABEL)).collect())
}

/// Ends the containers of all pods, etcd last; each has at most this long.
///
/// # Errors
/// The runtime does not answer. That one container does not end is no error: its cgroup is ended next.
pub(crate) async fn stop_pods(socket: &Path, most: Duration) -> Result<()> {
    let mut client = client(socket).await?;
    let containers = running(&mut client).await?;
    for now in TURNS {
        let stopped = containers.iter().filter(|container| turn(container) == now).map(|container| {
            let timeout = i64::try_from(grace(container, most).as_secs()).unwrap_or(i64::MAX);
            let request = StopContainerRequest { container_id: container.id.clone(), timeout };
            let mut client = client.clone();
            async move {
                if let Err(status) = client.stop_container(request).await {
                    tracing::warn!(container = container.id, "did not stop: {}", status.message());
                }
            }
        });
        join_all(stopped).await;
    }
    Ok(())
}

/// Ends containers of the control plane; the kubelet starts them again.
///
/// # Errors
/// The runtime does not answer.
pub(crate) async fn stop_system(socket: &Path, names: &BTreeSet<&str>) -> Result<()> {
    let mut client = client(socket).await?;
    let containers = running(&mut client).await?;
    let is_meant = |container: &&Container| {
        container.labels.get(NAMESPACE_LABEL).is_some_and(|namespace| namespace == SYSTEM)
            && container.labels.get(COMPONENT_LABEL).is_some_and(|name| names.contains(name.as_str()))
    };
    for container in containers.iter().filter(is_meant) {
        let request = StopContainerRequest { container_id: container.id.clone(), timeout: RESTART_GRACE };
        client.stop_container(request).await.map_err(refused("to stop a container"))?;
    }
    Ok(())
}

/// Removes every pod with its containers.
///
/// # Errors
/// The runtime does not answer, or keeps one.
pub(crate) async fn remove_pods(socket: &Path) -> Result<()> {
    let mut client = client(socket).await?;
    let pods = pods(&mut client).await?;
    let removed = pods.into_iter().map(|pod| {
        let mut client = client.clone();
        async move {
            let stop = StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() };
            client.stop_pod_sandbox(stop).await.map_err(refused("to stop a pod"))?;
            let remove = RemovePodSandboxRequest { pod_sandbox_id: pod.id };
            client.remove_pod_sandbox(remove).await.map_err(refused("to remove a pod"))?;
            Ok(())
        }
    });
    join_all(removed).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(namespace: &str, name: &str, grace: &str) -> Container {
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Container {
            labels: [label(NAMESPACE_LABEL, namespace), label(COMPONENT_LABEL, name)].into(),
            annotations: [label(GRACE_ANNOTATION, grace)].into(),
            ..Container::default()
        }
    }

    #[test]
    fn etcd_ends_last() {
        for (namespace, name, expected) in [
            ("default", "web", Turn::Workload),
            ("default", "etcd", Turn::Workload),
            ("kube-system", "coredns", Turn::Workload),
            ("kube-system", "kube-scheduler", Turn::Controller),
            ("kube-system", "kube-apiserver", Turn::ApiServer),
            ("kube-system", "etcd", Turn::Etcd),
        ] {
            assert_eq!(turn(&container(namespace, name, "")), expected, "{namespace} {name}");
        }
        assert!(TURNS.is_sorted());
        assert_eq!(turn(&Container::default()), Turn::Workload);
    }

    #[test]
    fn graces() {
        let most = Duration::from_secs(10);
        for (asked, seconds) in [("2", 2), ("30", 10), ("", 10), ("-1", 10), ("x", 10), ("0", 0)] {
            assert_eq!(grace(&container("a", "b", asked), most), Duration::from_secs(seconds), "{asked}");
        }
    }
}
