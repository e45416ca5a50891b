//! The programs and images of Kubernetes are in the instance.

use proto::lifecycle::State;

use crate::component::{self, Source, Wanted};
use crate::error::Result;
use crate::event::Part;
use crate::kubeadm::Version;
use crate::node::Node;

pub(crate) async fn check(node: &Node) -> Result<bool> {
    component::is_done(node, &wanted(node)?).await
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    let say = |message: String| node.events.set(Part::Components, State::Starting, message);
    component::ensure(node, &wanted(node)?, &say).await.map(drop)
}

fn wanted(node: &Node) -> Result<Wanted> {
    let cluster = node.cluster()?;
    Ok(Wanted { source: cluster.source.parse::<Source>()?, version: Version::parse(&cluster.version)? })
}
