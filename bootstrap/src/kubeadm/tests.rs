use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::*;

fn cluster() -> Cluster {
    Cluster {
        version: Version::parse("v1.36.3").unwrap(),
        node_address: Ipv4Addr::new(192, 168, 65, 3),
        cri_socket: "/run/shim/cri.sock".into(),
        cgroup_root: "/shim/pods".into(),
        is_cgroup_v1: true,
        restrict_oom_score: true,
        pod_subnet: "10.1.0.0/16".into(),
        api_port: 6443,
        token: Token::fixed(),
    }
}

/// Reads what kubeadm is told as another reader does, by kind.
fn document(cluster: &Cluster, kind: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&config::init(cluster)).unwrap();
    assert_eq!(documents.len(), 4);
    documents.into_iter().find(|document| document["kind"] == kind).unwrap()
}

#[test]
fn kubeadm_is_told_everything() {
    let argument = |name: &str, value: &str| json!({"name": name, "value": value});
    let expected = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "bootstrapTokens": [{
            "token": "abcdef.0123456789abcdef",
            "ttl": "15m0s",
            "usages": ["signing", "authentication"],
            "groups": ["system:bootstrappers:kubeadm:default-node-token"],
        }],
        "localAPIEndpoint": {"advertiseAddress": "192.168.65.3", "bindPort": 6443},
        "nodeRegistration": {
            "name": "docker-desktop",
            "criSocket": "unix:///run/shim/cri.sock",
            "imagePullPolicy": "IfNotPresent",
            "taints": [],
            "kubeletExtraArgs": [argument("node-ip", "192.168.65.3")],
            "ignorePreflightErrors": ["SystemVerification"],
        },
        "patches": {"directory": "/etc/kubernetes/patches"},
    });
    assert_eq!(document(&cluster(), "InitConfiguration"), expected);
    let alone = argument("leader-elect", "false");
    let plug_ins = argument("flex-volume-plugin-dir", "/var/lib/kubelet/volumeplugins");
    let expected = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "docker-desktop",
        "kubernetesVersion": "v1.36.3",
        "controlPlaneEndpoint": "kubernetes.docker.internal:6443",
        "certificatesDir": "/etc/kubernetes/pki",
        "encryptionAlgorithm": "ECDSA-P256",
        "imageRepository": "registry.k8s.io",
        "networking": {"dnsDomain": "cluster.local", "podSubnet": "10.1.0.0/16", "serviceSubnet": "10.96.0.0/12"},
        "apiServer": {
            "certSANs": ["kubernetes.docker.internal", "localhost", "127.0.0.1"],
            "extraArgs": [
                argument("bind-address", "192.168.65.3"),
                argument("kubelet-certificate-authority", "/etc/kubernetes/pki/ca.crt"),
                argument("permit-port-sharing", "true"),
            ],
        },
        "controllerManager": {"extraArgs": [alone, plug_ins]},
        "scheduler": {"extraArgs": [alone]},
        "etcd": {"local": {"dataDir": "/var/lib/etcd", "extraArgs": [
            argument("heartbeat-interval", "25"),
            argument("election-timeout", "125"),
            argument("socket-reuse-port", "true"),
        ]}},
    });
    assert_eq!(document(&cluster(), "ClusterConfiguration"), expected);
    let expected = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": "10.1.0.0/16",
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        "oomScoreAdj": 0,
    });
    assert_eq!(document(&cluster(), "KubeProxyConfiguration"), expected);
}

#[test]
fn the_kubelet_is_told_everything_twice_the_same() {
    let expected = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "192.168.65.3",
        "healthzBindAddress": "192.168.65.3",
        "healthzPort": 10248,
        "readOnlyPort": 0,
        "enableSystemLogHandler": false,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/pki/kubelet.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/pki/kubelet.key",
        "rotateCertificates": false,
        "serverTLSBootstrap": false,
        "staticPodPath": "/etc/kubernetes/manifests",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "containerRuntimeEndpoint": "unix:///run/shim/cri.sock",
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/shim/pods",
        "failSwapOn": false,
        "failCgroupV1": false,
        "oomScoreAdj": 0,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        "syncFrequency": "10s",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "30s"},
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
    });
    let alone: Value = serde_saphyr::from_str(&config::kubelet(&cluster())).unwrap();
    assert_eq!(alone, expected);
    assert_eq!(document(&cluster(), "KubeletConfiguration"), expected);
}

/// What is different where the machine, the instance or the version is another one: kind, path, value.
#[test]
fn differences_are_where_they_should_be() {
    let v2 = Cluster { is_cgroup_v1: false, ..cluster() };
    let free = Cluster { restrict_oom_score: false, ..cluster() };
    let old = Cluster { version: Version::parse("v1.34.4").unwrap(), ..cluster() };
    let other = Cluster {
        node_address: Ipv4Addr::new(192, 168, 66, 3),
        cri_socket: "/srv/two/run/cri.sock".into(),
        cgroup_root: "/shim-e13ca086/pods".into(),
        pod_subnet: "10.2.0.0/16".into(),
        api_port: 7443,
        ..cluster()
    };
    let rows: [(&Cluster, &str, &str, Value); 16] = [
        (&v2, "InitConfiguration", "/nodeRegistration/ignorePreflightErrors", json!([])),
        (&v2, "KubeletConfiguration", "/failCgroupV1", Value::Null),
        (&v2, "KubeletConfiguration", "/cgroupDriver", json!("cgroupfs")),
        (&free, "KubeletConfiguration", "/oomScoreAdj", Value::Null),
        (&free, "KubeProxyConfiguration", "/oomScoreAdj", Value::Null),
        (&old, "ClusterConfiguration", "/kubernetesVersion", json!("v1.34.4")),
        (&old, "KubeletConfiguration", "/crashLoopBackOff", Value::Null),
        (&other, "InitConfiguration", "/localAPIEndpoint/advertiseAddress", json!("192.168.66.3")),
        (&other, "InitConfiguration", "/localAPIEndpoint/bindPort", json!(7443)),
        (&other, "InitConfiguration", "/nodeRegistration/criSocket", json!("unix:///srv/two/run/cri.sock")),
        (&other, "ClusterConfiguration", "/controlPlaneEndpoint", json!("kubernetes.docker.internal:7443")),
        (&other, "ClusterConfiguration", "/apiServer/extraArgs/0/value", json!("192.168.66.3")),
        (&other, "ClusterConfiguration", "/networking/podSubnet", json!("10.2.0.0/16")),
        (&other, "KubeletConfiguration", "/address", json!("192.168.66.3")),
        (&other, "KubeletConfiguration", "/cgroupRoot", json!("/shim-e13ca086/pods")),
        (&other, "KubeProxyConfiguration", "/clusterCIDR", json!("10.2.0.0/16")),
    ];
    for (cluster, kind, path, value) in rows {
        let found = document(cluster, kind).pointer(path).cloned().unwrap_or_default();
        assert_eq!(found, value, "{kind} {path}");
    }
}

#[test]
fn programs_get_their_arguments() {
    let skipped = "--skip-phases=preflight,kubelet-start,upload-certs,kubelet-finalize,show-join-command";
    assert_eq!(config::init_arguments(), ["init", "--config=/etc/kubernetes/kubeadm.yaml", skipped]);
    assert_eq!(
        config::kubelet_arguments(&cluster()),
        [
            "--config=/var/lib/kubelet/config.yaml",
            "--kubeconfig=/etc/kubernetes/kubelet.conf",
            "--hostname-override=docker-desktop",
            "--node-ip=192.168.65.3",
        ]
    );
}

#[test]
fn ports_are_shared_by_who_says_so() {
    for (manifest, expected) in [
        (
            "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --permit-port-sharing=true\n",
            true,
        ),
        ("    - --socket-reuse-port=true\n", true),
        ("    - --permit-port-sharing=false\n", false),
        ("    - --no-permit-port-sharing=true\n", false),
        ("", false),
    ] {
        assert_eq!(config::shares_port(manifest), expected, "{manifest}");
    }
}

#[test]
fn patches_are_for_what_kubeadm_makes() {
    let patches = config::patches(&cluster());
    let names: Vec<&str> = patches.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "etcd+strategic.json",
            "kube-apiserver+strategic.json",
            "kube-controller-manager+strategic.json",
            "kube-scheduler+strategic.json",
            "corednsdeployment+strategic.json",
        ]
    );
    for (name, text) in &patches[..4] {
        let patch: Value = serde_json::from_str(text).unwrap();
        let probe = json!({"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 240});
        let container = json!({"name": name.strip_suffix("+strategic.json"), "startupProbe": probe});
        assert_eq!(patch, json!({"spec": {"containers": [container]}}));
    }
    let dns: Value = serde_json::from_str(&patches[4].1).unwrap();
    let container = json!({
        "name": "coredns", "readinessProbe": {"periodSeconds": 1},
        "env": [
            {"name": "KUBERNETES_SERVICE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
        ],
    });
    assert_eq!(dns, json!({"spec": {"template": {"spec": {"containers": [container]}}}}));
}
