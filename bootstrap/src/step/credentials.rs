//! Certificates, keys, and the credentials that are made of them are there and not near their end.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::cri;
use crate::error::Result;
use crate::event::Part;
use crate::node::Node;
use crate::pki::{self, Names, Reader};
use crate::step::kubelet;

pub(crate) fn check(node: &Node) -> Result<bool> {
    pki::is_current(&node.paths.kubernetes(), &Names::new(node.subnet()?.node()), SystemTime::now())
}

/// Makes what is missing or about to end. Who runs with something else is started again.
pub(crate) async fn apply(node: &Node) -> Result<()> {
    let names = Names::new(node.subnet()?.node());
    let change = pki::ensure(&node.paths.kubernetes(), &names, SystemTime::now())?;
    for line in change.lines() {
        tracing::info!("{line}");
    }
    let readers = change.readers();
    let stale: BTreeSet<&str> = readers.iter().filter_map(|reader| container(*reader)).collect();
    if !stale.is_empty() && node.process(Part::Containerd)?.is_some() {
        cri::stop_system(&node.paths.cri_socket(), &stale).await?;
    }
    // Last: whoever watches it goes on with the part from its beginning.
    if readers.contains(&Reader::Kubelet) {
        kubelet::end(node).await?;
    }
    pki::settle(&node.paths.kubernetes())
}

/// Returns the name of the container that reads them; the kubelet starts it again when it ends.
const fn container(reader: Reader) -> Option<&'static str> {
    match reader {
        Reader::Etcd => Some("etcd"),
        Reader::ApiServer => Some("kube-apiserver"),
        Reader::ControllerManager => Some("kube-controller-manager"),
        Reader::Scheduler => Some("kube-scheduler"),
        Reader::Kubelet | Reader::Administrator => None,
    }
}
