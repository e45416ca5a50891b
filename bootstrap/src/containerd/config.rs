//! containerd's configuration, for its version 1.6, 1.7 and 2.x (pure).

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::version::Version;
use crate::network::ruleset::STREAM_PORT;

/// How often containerd asks how large every container's layer is, in seconds; it costs a walk of each, and a call for each layer.
const STATS_SECONDS: u32 = 20;

/// What the configuration depends on. Paths are of characters that TOML does not have to escape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) version: Version,
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    /// Where our snapshotter answers, and where the layers are that it hands out.
    pub(crate) snapshots_socket: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) networks: PathBuf,
    pub(crate) plugin_dir: PathBuf,
    /// The image of sandboxes.
    pub(crate) pause: String,
    /// The box's address.
    pub(crate) address: Ipv4Addr,
    /// The group of the shims.
    pub(crate) shim_cgroup: String,
    /// Whether scores below containerd's own are refused by the kernel.
    pub(crate) restrict_oom_score: bool,
}

/// Plug-ins that are never used here, and that complain or poll if they are there. Unknown ones are no mistake.
const UNUSED_1: [&str; 6] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.restart",
];
const UNUSED_2: [&str; 8] = [
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.erofs",
    "io.containerd.snapshotter.v1.native",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.differ.v1.erofs",
    "io.containerd.monitor.container.v1.restart",
];

/// Writes the configuration.
pub(crate) fn render(settings: &Settings) -> String {
    let is_one = settings.version.major == 1;
    let (format, unused): (u32, &[&str]) = if is_one { (2, &UNUSED_1) } else { (3, &UNUSED_2) };
    let mut text = head(settings, format, unused);
    text.push_str(&proxy(settings));
    text.push_str(&if is_one { cri_1(settings) } else { cri_2(settings) });
    text
}

fn head(settings: &Settings, format: u32, unused: &[&str]) -> String {
    let Settings { root, state, socket, .. } = settings;
    let (root, state, socket) = (root.display(), state.display(), socket.display());
    let unused = unused.iter().map(|plugin| format!("  \"{plugin}\",\n")).collect::<String>();
    format!(
        "# Written by the lifecycle service at every start of containerd.
version = {format}
root = \"{root}\"
state = \"{state}\"
imports = []
required_plugins = [\"io.containerd.grpc.v1.cri\"]
disabled_plugins = [
{unused}]

[grpc]
  address = \"{socket}\"

[debug]
  level = \"info\"

[plugins.\"io.containerd.internal.v1.opt\"]
  path = \"{root}/opt\"
"
    )
}

fn proxy(settings: &Settings) -> String {
    let Settings { snapshots_socket, store, version, .. } = settings;
    let mut text = format!(
        "
[proxy_plugins.cachestore]
  type = \"snapshot\"
  address = \"{}\"
",
        snapshots_socket.display()
    );
    if version.knows_proxy_capabilities() {
        text.push_str(&format!(
            "  capabilities = [\"remap-ids\"]
  [proxy_plugins.cachestore.exports]
    root = \"{}\"
",
            store.display()
        ));
    }
    text
}

fn cri_1(settings: &Settings) -> String {
    let Settings { pause, address, shim_cgroup, restrict_oom_score, .. } = settings;
    let (plugins, networks) = (settings.plugin_dir.display(), settings.networks.display());
    format!(
        "
[plugins.\"io.containerd.grpc.v1.cri\"]
  sandbox_image = \"{pause}\"
  stream_server_address = \"{address}\"
  stream_server_port = \"{STREAM_PORT}\"
  stats_collect_period = {STATS_SECONDS}
  restrict_oom_score_adj = {restrict_oom_score}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.\"io.containerd.grpc.v1.cri\".cni]
    bin_dir = \"{plugins}\"
    conf_dir = \"{networks}\"
  [plugins.\"io.containerd.grpc.v1.cri\".containerd]
    snapshotter = \"cachestore\"
    default_runtime_name = \"runc\"
    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]
      runtime_type = \"io.containerd.runc.v2\"
      [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]
        SystemdCgroup = false
        ShimCgroup = \"{shim_cgroup}\"
"
    )
}

fn cri_2(settings: &Settings) -> String {
    let Settings { pause, address, shim_cgroup, restrict_oom_score, .. } = settings;
    let (plugins, networks) = (settings.plugin_dir.display(), settings.networks.display());
    let plugins = match settings.version.minor {
        0 => format!("bin_dir = \"{plugins}\""),
        _ => format!("bin_dirs = [\"{plugins}\"]"),
    };
    format!(
        "
[plugins.\"io.containerd.grpc.v1.cri\"]
  stream_server_address = \"{address}\"
  stream_server_port = \"{STREAM_PORT}\"

[plugins.\"io.containerd.cri.v1.images\"]
  snapshotter = \"cachestore\"
  stats_collect_period = {STATS_SECONDS}
  [plugins.\"io.containerd.cri.v1.images\".pinned_images]
    sandbox = \"{pause}\"

[plugins.\"io.containerd.cri.v1.runtime\"]
  restrict_oom_score_adj = {restrict_oom_score}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.\"io.containerd.cri.v1.runtime\".cni]
    {plugins}
    conf_dir = \"{networks}\"
  [plugins.\"io.containerd.cri.v1.runtime\".containerd]
    default_runtime_name = \"runc\"
    [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]
      runtime_type = \"io.containerd.runc.v2\"
      [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc.options]
        SystemdCgroup = false
        ShimCgroup = \"{shim_cgroup}\"

[plugins.\"io.containerd.nri.v1.nri\"]
  disable = true
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(major: u32, minor: u32, patch: u32) -> Settings {
        Settings {
            version: Version::new(major, minor, patch),
            root: "/var/lib/shim/containerd".into(),
            state: "/run/shim/containerd/state".into(),
            socket: "/run/shim/containerd/containerd.sock".into(),
            snapshots_socket: "/run/shim/snapshots.sock".into(),
            store: "/var/lib/shim/store".into(),
            networks: "/var/lib/shim/box/cni".into(),
            plugin_dir: "/usr/lib/cni".into(),
            pause: "shim.internal/pause:0.1.0".into(),
            address: Ipv4Addr::new(192, 168, 65, 3),
            shim_cgroup: "/shim/shims".into(),
            restrict_oom_score: true,
        }
    }

    #[test]
    fn golden() {
        for (version, golden) in [
            ((1, 6, 20), include_str!("../../testdata/containerd/1.6.toml")),
            ((1, 7, 35), include_str!("../../testdata/containerd/1.7.toml")),
            ((2, 3, 7), include_str!("../../testdata/containerd/2.3.toml")),
        ] {
            let text = render(&settings(version.0, version.1, version.2));
            assert_eq!(text, golden, "{version:?}");
            text.parse::<toml::Table>().unwrap();
        }
    }

    #[test]
    fn what_older_versions_do_not_know_is_left_out() {
        for (version, capabilities, plugins) in [
            ((1, 7, 22), false, "bin_dir = \"/usr/lib/cni\""),
            ((1, 7, 23), true, "bin_dir = \"/usr/lib/cni\""),
            ((2, 0, 5), true, "bin_dir = \"/usr/lib/cni\""),
            ((2, 1, 0), true, "bin_dirs = [\"/usr/lib/cni\"]"),
        ] {
            let text = render(&settings(version.0, version.1, version.2));
            assert_eq!(text.contains("remap-ids"), capabilities, "{version:?}");
            assert!(text.contains(plugins), "{version:?}");
        }
        let free = render(&Settings { restrict_oom_score: false, ..settings(2, 3, 7) });
        assert!(free.contains("restrict_oom_score_adj = false"));
    }
}
