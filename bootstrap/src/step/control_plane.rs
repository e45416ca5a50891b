//! `kubeadm init` has made the control plane, which answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use proto::lifecycle::State;

use crate::cgroup::KUBELET;
use crate::cluster::api::{self, failed};
use crate::cluster::{API_PORT, SYSTEM, pods};
use crate::command::Place;
use crate::command::kubeadm::kubeadm;
use crate::cri;
use crate::error::{Error, IoContext, Result};
use crate::event::Part;
use crate::fault;
use crate::files;
use crate::kubeadm::config;
use crate::node::Node;
use crate::step::configuration;
use crate::step::kubelet;

/// How long the API server may take after the kubelet was started.
const API_LIMIT: Duration = Duration::from_secs(240);
/// Where the API server finds etcd.
const ETCD_PORT: u16 = 2379;
/// The type of the secrets that let nodes join.
const TOKEN_TYPE: &str = "bootstrap.kubernetes.io/token";

pub(crate) fn check(node: &Node) -> Result<bool> {
    Ok(node.cluster()?.is_initialized)
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let cluster = configuration::model(node)?;
    files::put(&node.paths.kubernetes().join("kubeadm.yaml"), config::init(&cluster).as_bytes(), 0o600)?;
    fault::point("kubeadm has its configuration");
    let Place::Box(holder) = node.inside()? else { return Err(Error::invalid("the box", "is not there")) };
    let group = format!("{}/{KUBELET}", node.name());
    let words = config::init_arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let log = node.paths.log(Part::Kubernetes.name());
    kubeadm(holder, &group, &node.paths.bin().join("kubeadm"), &words, &log).await?;
    fault::point("kubeadm is done and nobody knows");
    remove_tokens(node).await?;
    files::remove(&node.paths.kubernetes().join("kubeadm.yaml"))?;
    fault::point("no node can join any more");
    node.state.change(|state| {
        if let Some(cluster) = &mut state.cluster {
            cluster.is_initialized = true;
        }
    })?;
    // Its static pods were made before there was anybody to tell of them: it tells when it starts.
    kubelet::end(node).await
}

/// Nobody shall join: kubeadm makes a token all the same.
async fn remove_tokens(node: &Node) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(api::client(node).await?, SYSTEM);
    let tokens = ListParams::default().fields(&format!("type={TOKEN_TYPE}"));
    let removed = secrets.delete_collection(&DeleteParams::default(), &tokens).await;
    removed.map(drop).map_err(|error| failed("to delete tokens", &error))
}

/// Tells whether the API server answers.
pub(crate) async fn check_api(node: &Node) -> Result<bool> {
    Ok(api::ready(node).await.is_ok())
}

/// Waits until the API server answers.
pub(crate) async fn answers(node: &Node) -> Result<()> {
    let answer = Node::eventually(API_LIMIT, "the API server to answer", || async {
        let seen = api::ready(node).await;
        if let Err(said) = &seen {
            let message = format!("waiting for the API server: {said}");
            node.events.set(Part::Kubernetes, State::Starting, message);
        }
        seen
    });
    let let_wait = async {
        if let Err(error) = let_wait(node).await {
            // It takes longer, then.
            tracing::warn!(%error, "cannot listen before the control plane does");
        }
        std::future::pending().await
    };
    tokio::select! {
        answered = answer => answered,
        never = let_wait => never,
    }
}

/// Lets whoever asks the API server wait for it, and that for etcd. A kubelet that is refused comes back seconds later, and may meet pods before
/// services, for which it lets their containers wait ten seconds. But as long as it is making the pods of the control plane it must be refused: it
/// asks for its node meanwhile, and goes on only when it has an answer.
async fn let_wait(node: &Node) -> Result<()> {
    let socket = node.paths.cri_socket();
    Node::eventually(API_LIMIT, "the pods of the control plane", || async {
        let pods = cri::system_pods(&socket).await.map_err(|error| error.to_string())?;
        pods::control_plane().find(|name| !pods.contains(name)).map_or(Ok(()), Err)
    })
    .await?;
    let api = listen_early(node, "kube-apiserver", (node.subnet()?.node(), API_PORT).into());
    let etcd = listen_early(node, "etcd", (Ipv4Addr::LOCALHOST, ETCD_PORT).into());
    futures::future::try_join(api, etcd).await.map(drop)
}

/// Listens on the port of a part of the control plane until it does itself, if it shares it.
async fn listen_early(node: &Node, part: &str, at: SocketAddr) -> Result<()> {
    let manifest = node.paths.kubernetes().join(format!("manifests/{part}.yaml"));
    let shares = files::read_if_there(&manifest)?.is_some_and(|manifest| config::shares_port(&manifest));
    let Some(ports) = node.ports().filter(|_| shares) else { return Ok(()) };
    ports.listen_early(at).await.at("listen on", at.to_string())
}
