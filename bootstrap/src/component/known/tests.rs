use super::*;

/// What `kubeadm config images list` prints for these versions.
const IMAGES: [(&str, [&str; 7]); 2] = [
    (
        "v1.36.3",
        [
            "registry.k8s.io/kube-apiserver:v1.36.3",
            "registry.k8s.io/kube-controller-manager:v1.36.3",
            "registry.k8s.io/kube-scheduler:v1.36.3",
            "registry.k8s.io/kube-proxy:v1.36.3",
            "registry.k8s.io/coredns/coredns:v1.14.2",
            "registry.k8s.io/pause:3.10.2",
            "registry.k8s.io/etcd:3.6.8-0",
        ],
    ),
    (
        "v1.36.1",
        [
            "registry.k8s.io/kube-apiserver:v1.36.1",
            "registry.k8s.io/kube-controller-manager:v1.36.1",
            "registry.k8s.io/kube-scheduler:v1.36.1",
            "registry.k8s.io/kube-proxy:v1.36.1",
            "registry.k8s.io/coredns/coredns:v1.14.2",
            "registry.k8s.io/pause:3.10.2",
            "registry.k8s.io/etcd:3.6.8-0",
        ],
    ),
];

#[test]
fn the_images_are_those_that_kubeadm_asks_for() {
    for (version, images) in IMAGES {
        let known = find(version).unwrap();
        let mut names: Vec<String> = known.recipes().into_iter().map(|recipe| recipe.name).collect();
        assert_eq!(names.remove(0), format!("docker.internal/shim/node:{version}"));
        names.extend(known.aliases().map(|(_, name)| name));
        names.sort();
        let mut expected = images.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}

#[test]
fn versions() {
    assert_eq!(default_version(), "v1.36.3");
    for version in ["v1.35.0", "1.36.3", "", "v1.36.3 "] {
        let error = find(version).unwrap_err().to_string();
        assert_eq!(error, format!("Kubernetes {version}: cannot be built; known are v1.36.3 and v1.36.1"));
    }
}

#[test]
fn modules_name_their_version_and_their_programs() {
    for known in &KNOWN {
        let [kubernetes, ..] = known.modules();
        let [(_, requirements), ..] = kubernetes.files;
        assert!(requirements.contains(&format!("\nrequire k8s.io/kubernetes {}\n", known.version)));
        // Kubernetes names its own parts by replacements, which count in the main module only.
        let staging = known.version.replacen("v1.", "v0.", 1);
        assert!(requirements.contains(&format!("k8s.io/api => k8s.io/api {staging}\n")), "{staging}");
        for module in known.modules() {
            let [_, _, (_, tools)] = module.files;
            for program in module.programs {
                assert!(tools.contains(&format!("\"{}\"", program.package)), "{}", program.package);
            }
        }
    }
}

#[test]
fn programs_are_told_their_version() {
    let known = find("v1.36.1").unwrap();
    let [kubernetes, crictl, etcd, _] = known.modules();
    let flags = known.linker_flags(kubernetes);
    for (name, value) in [("gitVersion", "v1.36.1"), ("gitMajor", "1"), ("gitMinor", "36")] {
        assert!(flags.contains(&format!(" -X k8s.io/component-base/version.{name}={value} ")), "{flags}");
    }
    assert_eq!(known.linker_flags(crictl), "-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=v1.36.0");
    assert_eq!(known.linker_flags(etcd), "-s -w");
}

#[test]
fn dockerfiles() {
    let recipes = find("v1.36.3").unwrap().recipes();
    let text = |directory: &str| {
        recipes.iter().find(|recipe| recipe.directory == directory).unwrap().dockerfile.clone()
    };
    assert_eq!(text("node"), "FROM scratch\nCOPY kubeadm kubelet kubectl crictl /usr/bin/\n");
    assert_eq!(
        text("etcd"),
        format!(
            "FROM scratch\nCOPY etcd etcdctl etcdutl /usr/local/bin/\nENV PATH={PATH}\nENTRYPOINT [\"/usr/local/bin/etcd\"]\n"
        )
    );
    assert!(text("coredns").ends_with("ENTRYPOINT [\"/coredns\"]\n"));
    assert!(text("kube-proxy").starts_with("FROM scratch\nCOPY root/ /\nCOPY kube-proxy /usr/local/bin/\n"));
}
