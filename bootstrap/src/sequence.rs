//! What brings an instance up, in order; the other way round it takes it down. Only the order is here.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::event::Part;
use crate::node::Node;
use crate::step;

/// One step, done or undone as a whole, any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Machine,
    Cgroups,
    Directories,
    Link,
    Holder,
    Plug,
    Forwarding,
    Resolver,
    Filter,
    Loopback,
    Ports,
    Shimd,
    Containerd,
    Workloads,
    Components,
    Controllers,
    Credentials,
    Configuration,
    Kubelet,
    ControlPlane,
    Api,
    Hosts,
    Addons,
    Access,
}

/// Every step in its order, with the part that it belongs to.
const SEQUENCE: [(Part, Step); 24] = [
    (Part::Machine, Step::Machine),
    (Part::Box, Step::Cgroups),
    (Part::Box, Step::Directories),
    (Part::Box, Step::Link),
    (Part::Box, Step::Holder),
    (Part::Box, Step::Plug),
    (Part::Box, Step::Forwarding),
    (Part::Box, Step::Resolver),
    (Part::Box, Step::Filter),
    (Part::Box, Step::Loopback),
    (Part::Box, Step::Ports),
    (Part::Shimd, Step::Shimd),
    (Part::Containerd, Step::Containerd),
    (Part::Containerd, Step::Workloads),
    (Part::Components, Step::Components),
    (Part::Components, Step::Controllers),
    (Part::Kubelet, Step::Credentials),
    (Part::Kubelet, Step::Configuration),
    (Part::Kubelet, Step::Kubelet),
    (Part::Kubernetes, Step::ControlPlane),
    (Part::Kubernetes, Step::Api),
    (Part::Kubernetes, Step::Hosts),
    (Part::Kubernetes, Step::Addons),
    (Part::Kubernetes, Step::Access),
];

/// Returns the steps of one part.
pub(crate) fn of(part: Part) -> impl Iterator<Item = Step> {
    SEQUENCE.into_iter().filter(move |(owner, _)| *owner == part).map(|(_, step)| step)
}

/// Returns all steps, the last one first.
pub(crate) fn backwards() -> impl Iterator<Item = (Part, Step)> {
    SEQUENCE.into_iter().rev()
}

impl Step {
    /// Says what the step does while it does it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Machine => "looking at what the machine has",
            Self::Cgroups => "making cgroups",
            Self::Directories => "making directories",
            Self::Link => "making the link between machine and box",
            Self::Holder => "making the box",
            Self::Plug => "joining the box to the link",
            Self::Forwarding => "letting the machine forward packets",
            Self::Resolver => "answering the box's questions for names",
            Self::Filter => "making rules for packets",
            Self::Loopback => "letting the box reach the machine's loopback",
            Self::Ports => "listening for ports that are wanted",
            Self::Shimd => "starting shimd",
            Self::Containerd => "starting containerd",
            Self::Workloads => "running containers",
            Self::Components => "getting the components of Kubernetes",
            Self::Credentials => "making certificates and keys",
            Self::Configuration => "writing the kubelet's configuration",
            Self::Kubelet => "starting the kubelet",
            Self::ControlPlane => "making the control plane",
            Self::Api => "waiting for the API server",
            Self::Controllers => "building the image of the controllers",
            Self::Hosts => "writing the API server's name to /etc/hosts",
            Self::Addons => "making what runs in the cluster",
            Self::Access => "making the cluster reachable",
        }
    }

    /// Says what is undone while it is.
    pub(crate) const fn undo_title(self) -> &'static str {
        match self {
            Self::Machine
            | Self::Plug
            | Self::Components
            | Self::Controllers
            | Self::Addons
            | Self::Access
            | Self::Credentials
            | Self::Configuration
            | Self::ControlPlane
            | Self::Api => "",
            Self::Kubelet => "ending the kubelet",
            Self::Hosts => "removing the API server's name from /etc/hosts",
            Self::Cgroups => "ending what is left and removing cgroups",
            Self::Directories => "removing directories",
            Self::Link => "removing the link between machine and box",
            Self::Holder => "ending the box",
            Self::Forwarding => "restoring how the machine forwards packets",
            Self::Resolver => "ending the resolver",
            Self::Filter => "removing rules for packets",
            Self::Loopback => "closing the machine's loopback",
            Self::Ports => "closing ports",
            Self::Shimd => "ending shimd",
            Self::Containerd => "ending containerd",
            Self::Workloads => "ending containers and builds",
        }
    }

    /// Tells whether the step is done, now and really.
    pub(crate) async fn check(self, node: &Arc<Node>) -> Result<bool> {
        match self {
            Self::Machine => Ok(false),
            Self::Cgroups => step::cgroups::check(node),
            Self::Directories => step::directories::check(node),
            Self::Link => step::link::check(node).await,
            Self::Holder => step::holder::check(node),
            Self::Plug => step::plug::check(node).await,
            Self::Forwarding => step::forwarding::check(),
            Self::Resolver => Ok(step::resolver::check(node)),
            Self::Filter => step::filter::check(node).await,
            Self::Loopback => step::loopback::check(node),
            Self::Ports => Ok(step::ports::check(node)),
            Self::Shimd => step::shimd::check(node).await,
            Self::Containerd => step::containerd::check(node).await,
            Self::Workloads => Ok(true),
            Self::Components => step::components::check(node).await,
            Self::Credentials => step::credentials::check(node),
            Self::Configuration => step::configuration::check(node),
            Self::Kubelet => step::kubelet::check(node).await,
            Self::ControlPlane => step::control_plane::check(node),
            Self::Api => step::control_plane::check_api(node).await,
            Self::Controllers => step::controllers::check(node).await,
            Self::Hosts => step::hosts::check(node),
            Self::Addons => step::addons::check(node).await,
            Self::Access => step::access::check(node).await,
        }
    }

    /// Does the step. What is half done is finished.
    pub(crate) async fn apply(self, node: &Arc<Node>) -> Result<()> {
        match self {
            Self::Machine => step::machine::apply(node).await,
            Self::Cgroups => step::cgroups::apply(node),
            Self::Directories => step::directories::apply(node).await,
            Self::Link => step::link::apply(node).await,
            Self::Holder => step::holder::apply(node).await,
            Self::Plug => step::plug::apply(node).await,
            Self::Forwarding => step::forwarding::apply(node).await,
            Self::Resolver => step::resolver::apply(node).await,
            Self::Filter => step::filter::apply(node).await,
            Self::Loopback => step::loopback::apply(node),
            Self::Ports => step::ports::apply(node),
            Self::Shimd => step::shimd::apply(node).await,
            Self::Containerd => step::containerd::apply(node).await,
            Self::Workloads => Ok(()),
            Self::Components => step::components::apply(node).await,
            Self::Credentials => step::credentials::apply(node).await,
            Self::Configuration => step::configuration::apply(node).await,
            Self::Kubelet => step::kubelet::apply(node).await,
            Self::ControlPlane => step::control_plane::apply(node).await,
            Self::Api => step::control_plane::answers(node).await,
            Self::Controllers => step::controllers::apply(node).await,
            Self::Hosts => step::hosts::apply(node),
            Self::Addons => step::addons::apply(node).await,
            Self::Access => step::access::apply(node).await,
        }
    }

    /// Undoes the step, or what there is of it. Containers and daemons have `grace` between SIGTERM and SIGKILL.
    pub(crate) async fn undo(self, node: &Arc<Node>, grace: Duration) -> Result<()> {
        match self {
            // Files stay: the next `up` goes on with them.
            Self::Machine
            | Self::Components
            | Self::Controllers
            | Self::Addons
            | Self::Access
            | Self::Credentials
            | Self::Configuration
            | Self::ControlPlane
            | Self::Api => Ok(()),
            Self::Kubelet => step::kubelet::undo(node, grace).await,
            Self::Hosts => step::hosts::undo(node),
            Self::Cgroups => step::cgroups::undo(node).await,
            Self::Directories => step::directories::undo(node).await,
            Self::Link => step::link::undo(node).await,
            // The kernel removes both ends of a link at once.
            Self::Plug => Ok(()),
            Self::Holder => step::holder::undo(node, grace).await,
            Self::Forwarding => step::forwarding::undo(node).await,
            Self::Resolver => step::resolver::undo(node),
            Self::Filter => step::filter::undo(node).await,
            Self::Loopback => step::loopback::undo(node),
            Self::Ports => step::ports::undo(node).await,
            Self::Shimd => step::shimd::undo(node, grace).await,
            Self::Containerd => step::containerd::undo(node, grace).await,
            Self::Workloads => step::workloads::undo(node, grace).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other() {
        let parts: Vec<Part> = SEQUENCE.iter().map(|(part, _)| *part).collect();
        let mut in_order = parts.clone();
        in_order.dedup();
        assert_eq!(in_order, Part::ALL);
        let steps: Vec<Step> = Part::ALL.into_iter().flat_map(of).collect();
        assert_eq!(steps.len(), SEQUENCE.len());
        assert!(backwards().map(|(_, step)| step).eq(steps.into_iter().rev()));
    }
}
