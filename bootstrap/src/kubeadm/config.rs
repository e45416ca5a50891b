//! Configuration of kubeadm, the kubelet and kube-proxy, each a text that follows from the model (pure). JSON is YAML.

use serde_json::{Value, json};

use super::model::{CLUSTER_DNS, Cluster, SERVICES};
use crate::cluster::{ENDPOINT, NAME, direct};

/// Where kubeadm looks for certificates, in the box.
const PKI: &str = "/etc/kubernetes/pki";
/// Where kubeadm looks for [`patches`], in the box.
pub(crate) const PATCHES: &str = "/etc/kubernetes/patches";
/// Where kubeadm gets [`init`], in the box.
pub(crate) const INIT: &str = "/etc/kubernetes/kubeadm.yaml";
/// Where the kubelet gets [`kubelet`], in the box.
pub(crate) const KUBELET: &str = "/var/lib/kubelet/config.yaml";
/// Where volume plug-ins would be: Kubernetes' own place is the machine's.
const VOLUME_PLUGINS: &str = "/var/lib/kubelet/volumeplugins";
/// How long a bootstrap token is good for, should nobody come to remove it.
const TOKEN_LIFE: &str = "15m0s";
/// How long a container that fails waits at most until it is started again: with 5 minutes, as else, what failed while the
/// cluster came up would be missing long after. It can be said since this minor version.
const LONGEST_BACK_OFF: (u32, &str) = (35, "30s");

/// How long etcd waits for others before it elects itself, and how often it looks; as else, it would be up to a second at each start.
/// The one is at least five times the other.
const ETCD_ELECTION_MS: u32 = 5 * ETCD_TICK_MS;
const ETCD_TICK_MS: u32 = 25;

/// What lets somebody listen on the port of the API server, and of etcd, before it does.
const SHARES_PORT: [&str; 2] = ["permit-port-sharing", "socket-reuse-port"];

/// Phases of `kubeadm init` that are not run: what they do is done, or is not wanted.
///
/// `preflight` would refuse a kubelet that runs already and what an interrupted attempt has left, and asks for images one by one;
/// `kubelet-start` and `kubelet-finalize` are for a kubelet that systemd starts, with certificates that it renews itself;
/// nobody joins. `certs` and `kubeconfig` stay: they find every file, check it and write none.
const SKIPPED: [&str; 5] =
    ["preflight", "kubelet-start", "upload-certs", "kubelet-finalize", "show-join-command"];

/// Returns the arguments of kubeadm that make the control plane.
pub(crate) fn init_arguments() -> Vec<String> {
    vec!["init".into(), format!("--config={INIT}"), format!("--skip-phases={}", SKIPPED.join(","))]
}

/// Returns the arguments of the kubelet.
pub(crate) fn kubelet_arguments(cluster: &Cluster) -> Vec<String> {
    vec![
        format!("--config={KUBELET}"),
        "--kubeconfig=/etc/kubernetes/kubelet.conf".into(),
        format!("--hostname-override={}", NAME),
        format!("--node-ip={}", cluster.node_address),
    ]
}

/// Returns what kubeadm is told: four documents. There is a token in it.
pub(crate) fn init(cluster: &Cluster) -> String {
    let documents =
        [init_configuration(cluster), cluster_configuration(cluster), kubelet_value(cluster), proxy(cluster)];
    documents.iter().map(|document| format!("---\n{document:#}\n")).collect()
}

/// Returns what the kubelet is told.
pub(crate) fn kubelet(cluster: &Cluster) -> String {
    format!("{:#}\n", kubelet_value(cluster))
}

fn init_configuration(cluster: &Cluster) -> Value {
    // For phases that somebody runs by hand: kubeadm refuses machines with cgroup v1.
    let ignored: &[&str] = if cluster.is_cgroup_v1 { &["SystemVerification"] } else { &[] };
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "bootstrapTokens": [{
            "token": cluster.token.reveal(),
            "ttl": TOKEN_LIFE,
            "usages": ["signing", "authentication"],
            "groups": ["system:bootstrappers:kubeadm:default-node-token"],
        }],
        "localAPIEndpoint": {"advertiseAddress": cluster.node_address, "bindPort": cluster.api_port},
        "nodeRegistration": {
            "name": NAME,
            "criSocket": cri_endpoint(cluster),
            "imagePullPolicy": "IfNotPresent",
            "taints": [],
            "kubeletExtraArgs": [argument("node-ip", cluster.node_address)],
            "ignorePreflightErrors": ignored,
        },
        "patches": {"directory": PATCHES},
    })
}

fn cluster_configuration(cluster: &Cluster) -> Value {
    // There is one of each: nobody to agree with.
    let alone = [argument("leader-elect", false)];
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": NAME,
        "kubernetesVersion": cluster.version.to_string(),
        "controlPlaneEndpoint": cluster.endpoint(),
        "certificatesDir": PKI,
        "encryptionAlgorithm": "ECDSA-P256",
        "imageRepository": "registry.k8s.io",
        "networking": {
            "dnsDomain": "cluster.local",
            "podSubnet": cluster.pod_subnet,
            "serviceSubnet": SERVICES,
        },
        "apiServer": {
            "certSANs": [ENDPOINT, "localhost", "127.0.0.1"],
            "extraArgs": [
                argument("bind-address", cluster.node_address),
                argument("kubelet-certificate-authority", format!("{PKI}/ca.crt")),
                argument(SHARES_PORT[0], true),
            ],
        },
        "controllerManager": {"extraArgs": [alone[0], argument("flex-volume-plugin-dir", VOLUME_PLUGINS)]},
        "scheduler": {"extraArgs": alone},
        "etcd": {"local": {"dataDir": "/var/lib/etcd", "extraArgs": [
            argument("heartbeat-interval", ETCD_TICK_MS),
            argument("election-timeout", ETCD_ELECTION_MS),
            argument(SHARES_PORT[1], true),
        ]}},
    })
}

fn kubelet_value(cluster: &Cluster) -> Value {
    let mut value = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Who may ask it, and how it shows who it is.
        "address": cluster.node_address,
        "healthzBindAddress": cluster.node_address,
        "healthzPort": 10248,
        "readOnlyPort": 0,
        "enableSystemLogHandler": false,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{PKI}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": format!("{PKI}/kubelet.crt"),
        "tlsPrivateKeyFile": format!("{PKI}/kubelet.key"),
        "rotateCertificates": false,
        "serverTLSBootstrap": false,
        // The box.
        "staticPodPath": "/etc/kubernetes/manifests",
        "volumePluginDir": VOLUME_PLUGINS,
        "containerRuntimeEndpoint": cri_endpoint(cluster),
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        // The machine.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cluster.cgroup_root,
        "failSwapOn": false,
    });
    tune(&mut value, cluster);
    value
}

/// Adds to the kubelet's configuration what makes it fit for a developer's machine.
fn tune(value: &mut Value, cluster: &Cluster) {
    let mut add = |key: &str, setting: Value| value[key] = setting;
    if cluster.is_cgroup_v1 {
        add("failCgroupV1", false.into());
    }
    if cluster.restrict_oom_score {
        add("oomScoreAdj", 0.into());
    }
    // A laptop's disk is nearly always nearly full: no image is collected, no pod evicted because of it.
    add("imageGCHighThresholdPercent", 100.into());
    add("imageGCLowThresholdPercent", 99.into());
    add(
        "evictionHard",
        json!({
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        }),
    );
    // Images come from a store on this disk.
    add("serializeImagePulls", false.into());
    add("registryPullQPS", 0.into());
    // A mirror pod that could not be made before the API server answered, and the content of a changed ConfigMap, wait for this.
    add("syncFrequency", "10s".into());
    if cluster.version.minor >= LONGEST_BACK_OFF.0 {
        add("crashLoopBackOff", json!({"maxContainerRestartPeriod": LONGEST_BACK_OFF.1}));
    }
    // It is the lifecycle service that shuts down.
    add("shutdownGracePeriod", "0s".into());
    add("shutdownGracePeriodCriticalPods", "0s".into());
}

fn proxy(cluster: &Cluster) -> Value {
    let mut value = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": cluster.pod_subnet,
        // These belong to the machine, and cannot be set from its other network namespaces.
        "conntrack": {"maxPerCore": 0, "min": 0},
        // A service answers that much sooner; with 1 s, as else, it is a developer who waits.
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    });
    if cluster.restrict_oom_score {
        value["oomScoreAdj"] = 0.into();
    }
    value
}

/// Returns what kubeadm changes in the manifests it makes, each with the name of its file in [`PATCHES`].
///
/// Pods of the control plane count as ready when their start-up probe has succeeded: kubeadm's looks after 10 s, then every 10 s.
/// CoreDNS is ready when it has all from the API server.
pub(crate) fn patches(cluster: &Cluster) -> Vec<(String, String)> {
    let probe = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 240});
    let started = |name: &str| {
        let patch = json!({"spec": {"containers": [{"name": name, "startupProbe": probe}]}});
        (format!("{name}+strategic.json"), format!("{patch:#}\n"))
    };
    let pods = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    let dns =
        json!({"name": "coredns", "readinessProbe": {"periodSeconds": 1}, "env": direct(cluster.api_port)});
    let dns = json!({"spec": {"template": {"spec": {"containers": [dns]}}}});
    let dns = ("corednsdeployment+strategic.json".to_owned(), format!("{dns:#}\n"));
    pods.into_iter().map(started).chain([dns]).collect()
}

/// Tells whether what a manifest starts shares its port. It could not have it otherwise while somebody listens early.
pub(crate) fn shares_port(manifest: &str) -> bool {
    let says = |line: &str| SHARES_PORT.iter().any(|flag| line.trim() == format!("- --{flag}=true"));
    manifest.lines().any(says)
}

fn cri_endpoint(cluster: &Cluster) -> String {
    format!("unix://{}", cluster.cri_socket)
}

fn argument(name: &str, value: impl ToString) -> Value {
    json!({"name": name, "value": value.to_string()})
}
