//! What runs in the cluster beside Kubernetes: its objects are there, and its pods.

use serde_json::Value;

use crate::addon::Addons;
use crate::cluster::api::client;
use crate::cluster::apply::{apply as apply_object, delete, get};
use crate::cluster::{API_PORT, NAME};
use crate::error::Result;
use crate::fault;
use crate::files;
use crate::node::Node;
use crate::step::controllers;

/// The phases of a pod that nothing starts again: it was evicted, or the node lost it.
const ENDED: [&str; 2] = ["Failed", "Succeeded"];

pub(crate) async fn check(node: &Node) -> Result<bool> {
    let client = client(node).await?;
    for object in objects(node)? {
        let there = get(&client, &object).await?;
        let is_good = match &there {
            None => false,
            Some(there) if object["kind"] == "Pod" => is_well(&object, &there.data),
            Some(_) => true,
        };
        if !is_good {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(crate) async fn apply(node: &Node) -> Result<()> {
    // A pod mounts them: they must be there.
    files::ensure_directory(&node.paths.volumes(), 0o711)?;
    files::ensure_directory(&node.paths.ports(), 0o700)?;
    let client = client(node).await?;
    for object in objects(node)? {
        if object["kind"] == "Pod"
            && let Some(there) = get(&client, &object).await?
            && !is_well(&object, &there.data)
        {
            delete(&client, &object).await?;
        }
        apply_object(&client, &object).await?;
        fault::point("an object of ours is in the cluster and others are not");
    }
    Ok(())
}

fn objects(node: &Node) -> Result<Vec<Value>> {
    let tag = controllers::tag()?;
    let (volumes, ports) = (node.paths.volumes(), node.paths.ports());
    let addons = Addons { tag: &tag, node: NAME, api_port: API_PORT, volumes: &volumes, ports: &ports };
    Ok(addons.objects())
}

/// Tells whether a pod is one that lives, or will, and is of our image (pure).
fn is_well(wanted: &Value, there: &Value) -> bool {
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].clone();
    let phase = there["status"]["phase"].as_str().unwrap_or_default();
    image(wanted) == image(there) && !ENDED.contains(&phase)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_that_are_made_again() {
        let pod = |image: &str, phase: &str| json!({"spec": {"containers": [{"image": image}]}, "status": {"phase": phase}});
        let wanted = pod("a:2", "");
        for (there, expected) in [
            (pod("a:2", "Running"), true),
            (pod("a:2", "Pending"), true),
            (pod("a:2", "Failed"), false),
            (pod("a:2", "Succeeded"), false),
            (pod("a:1", "Running"), false),
        ] {
            assert_eq!(is_well(&wanted, &there), expected, "{there}");
        }
    }
}
