//! How a part is seen to be healthy: it answers, and says that it can do its work.

use std::path::Path;
use std::time::Duration;

use proto::control::InfoRequest;
use proto::control::daemon_client::DaemonClient;
use proto::cri;
use proto::cri::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::cluster;
use crate::event::Part;
use crate::node::Node;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often a daemon is asked while it starts.
const POLL: Duration = Duration::from_millis(25);
/// How often the cluster is asked while it starts, which costs it something.
const CLUSTER_POLL: Duration = Duration::from_millis(100);

/// Where the kubelet says how it is.
const KUBELET_HEALTH_PORT: u16 = 10_248;

/// How it is found out that a part has started.
pub(crate) struct Start {
    /// How long it may take until it is healthy for the first time.
    pub(crate) limit: Duration,
    /// What is waited for.
    pub(crate) awaited: &'static str,
    /// How often it is asked.
    pub(crate) poll: Duration,
    /// How many times in a row it must be healthy.
    pub(crate) looks: u32,
}

/// Says how it is found out that a part has started.
pub(crate) fn start(part: Part) -> Start {
    let daemon =
        |seconds, awaited| Start { limit: Duration::from_secs(seconds), awaited, poll: POLL, looks: 1 };
    match part {
        // Its steps have seen to it.
        Part::Machine | Part::Box | Part::Components => daemon(0, ""),
        // A store that was not closed well is looked through first.
        Part::Shimd => daemon(60, "shimd to answer on control.sock"),
        // It looks at every container that it had.
        Part::Containerd => daemon(120, "containerd's CRI to be ready, by cri.sock"),
        Part::Kubelet => daemon(60, "the kubelet's /healthz"),
        Part::Kubernetes => Start {
            limit: Duration::from_secs(300),
            awaited: "the system pods to be ready",
            poll: CLUSTER_POLL,
            // The kubelet says of a pod whose first probe answers at once that it is ready, not ready, and ready.
            looks: 2,
        },
    }
}

/// Asks a part how it is and returns its version.
///
/// # Errors
/// It is not healthy; in words.
pub(crate) async fn check(node: &Node, part: Part) -> Result<String, String> {
    let asked = async {
        match part {
            Part::Machine | Part::Box | Part::Components => Ok(String::new()),
            Part::Shimd => check_shimd(&node.paths.control_socket()).await,
            Part::Containerd => check_containerd(&node.paths.cri_socket()).await,
            Part::Kubelet => check_kubelet(node).await,
            Part::Kubernetes => cluster::pods::check(node).await,
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {ANSWER_LIMIT:?}")))
}

async fn check_shimd(socket: &Path) -> Result<String, String> {
    let info = DaemonClient::new(connect(socket).await?).info(InfoRequest {}).await.map_err(said)?;
    Ok(info.into_inner().version)
}

/// Asks on the node's address: it serves that the machine can see it, and nobody else.
async fn check_kubelet(node: &Node) -> Result<String, String> {
    let address = node.subnet().map_err(|error| error.to_string())?.node();
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
    let client = client.map_err(|error| innermost(&error))?;
    let asked = client.get(format!("http://{address}:{KUBELET_HEALTH_PORT}/healthz")).send().await;
    let answer = asked.map_err(|error| innermost(&error))?;
    if answer.status().is_success() {
        return Ok(node.state.get().cluster.map_or_else(String::new, |cluster| cluster.version));
    }
    Err(format!("/healthz answers {}", answer.status()))
}

async fn check_containerd(socket: &Path) -> Result<String, String> {
    let mut runtime = RuntimeServiceClient::new(connect(socket).await?);
    let status = runtime.status(cri::StatusRequest { verbose: false }).await.map_err(said)?.into_inner();
    unmet(&status.status.unwrap_or_default()).map_or(Ok(()), Err)?;
    let version = runtime.version(cri::VersionRequest::default()).await.map_err(said)?.into_inner();
    Ok(version.runtime_version.trim_start_matches('v').to_owned())
}

/// Says which of the conditions that a kubelet asks for is not met.
fn unmet(status: &cri::RuntimeStatus) -> Option<String> {
    ["RuntimeReady", "NetworkReady"].into_iter().find_map(|name| {
        match status.conditions.iter().find(|condition| condition.r#type == name) {
            None => Some(format!("it says nothing of {name}")),
            Some(condition) if condition.status => None,
            Some(condition) => Some(format!("{name} is false: {} {}", condition.reason, condition.message)),
        }
    })
}

/// Connects to a socket of the instance.
pub(crate) async fn connect(socket: &Path) -> Result<Channel, String> {
    // The characters of a root's path are such that nothing has to be escaped.
    let endpoint =
        Endpoint::from_shared(format!("unix://{}", socket.display())).map_err(|error| innermost(&error))?;
    endpoint.connect().await.map_err(|error| format!("{}: {}", socket.display(), innermost(&error)))
}

fn said(status: tonic::Status) -> String {
    status.message().to_owned()
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let condition = |name: &str, status| cri::RuntimeCondition {
            r#type: name.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "cni config uninitialized".into(),
        };
        for (conditions, expected) in [
            (
                vec![
                    condition("RuntimeReady", true),
                    condition("NetworkReady", true),
                    condition("Other", false),
                ],
                None,
            ),
            (
                vec![condition("RuntimeReady", true), condition("NetworkReady", false)],
                Some("NetworkReady is false: NetworkPluginNotReady cni config uninitialized"),
            ),
            (vec![condition("NetworkReady", true)], Some("it says nothing of RuntimeReady")),
        ] {
            assert_eq!(unmet(&cri::RuntimeStatus { conditions }).as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        let error = connect(Path::new("/nonexistent/control.sock")).await.unwrap_err();
        assert!(error.contains("/nonexistent/control.sock: No such file"), "{error}");
    }
}
