//! The pods' network (pure).

use std::path::Path;

use serde_json::json;

/// The network that pods have their addresses from. It exists in the box only.
pub(crate) const POD_SUBNET: &str = "10.1.0.0/16";
/// The bridge that pods are joined to.
pub(crate) const BRIDGE: &str = "cni0";
/// The plug-ins that are needed; containerd itself asks for the last.
pub(crate) const PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];
/// Where distributions and Kubernetes put plug-ins.
pub(crate) const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// The file in the directory of networks.
pub(crate) const FILE: &str = "10-shim.conflist";
/// Which addresses are given away: inside the box, `/var/lib/cni` is its own and ends with it.
const DATA_DIR: &str = "/var/lib/cni/networks";

/// Returns the list of plug-ins, in CNI's format.
pub(crate) fn network() -> String {
    let list = json!({
        // The newest version that the plug-ins of Debian 11 know.
        "cniVersion": "0.4.0",
        "name": "shim",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": true,
                "hairpinMode": true,
                // The box's table does it once for all pods.
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": DATA_DIR,
                    "ranges": [[{"subnet": POD_SUBNET}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{list:#}\n")
}

/// Finds the directory that has all plug-ins; `has` tells whether a file is there.
pub(crate) fn plugin_dir(has: impl Fn(&Path) -> bool) -> Option<&'static Path> {
    PLUGIN_DIRS.into_iter().map(Path::new).find(|dir| PLUGINS.iter().all(|plugin| has(&dir.join(plugin))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_what_cni_reads() {
        let list: serde_json::Value = serde_json::from_str(&network()).unwrap();
        let bridge = &list["plugins"][0];
        assert_eq!(
            (&bridge["type"], &bridge["ipMasq"], &bridge["hairpinMode"]),
            (&json!("bridge"), &json!(false), &json!(true))
        );
        assert_eq!(bridge["ipam"]["ranges"][0][0]["subnet"], json!("10.1.0.0/16"));
        assert_eq!(list["plugins"][1]["type"], json!("portmap"));
    }

    #[test]
    fn plug_ins_are_taken_from_one_place() {
        assert_eq!(plugin_dir(|path| path.starts_with("/opt/cni/bin")), Some(Path::new("/opt/cni/bin")));
        assert_eq!(plugin_dir(|path| !path.ends_with("loopback")), None);
        assert_eq!(plugin_dir(|_| true), Some(Path::new("/usr/lib/cni")));
    }
}
