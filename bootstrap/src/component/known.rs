//! The versions that can be built, with what they consist of. Pure.

use crate::error::{Error, Result};
use crate::step::shimd::PAUSE;

/// Where the image of each component is looked for by kubeadm.
const REGISTRY: &str = "registry.k8s.io";
/// The image with the programs that run on the node itself. The top-level domain `internal` belongs to nobody.
const NODE_REPOSITORY: &str = "docker.internal/shim/node";
/// The variables of Kubernetes that say which version it is.
const STAMPS: &str = "k8s.io/component-base/version";
/// What images look for programs in: some are started by name alone.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One version of Kubernetes and of what belongs to it.
#[derive(Debug)]
pub(crate) struct Known {
    /// As users write it: `v1.36.3`.
    pub(crate) version: &'static str,
    etcd_tag: &'static str,
    coredns_tag: &'static str,
    pause_tag: &'static str,
    modules: [Module; 4],
}

/// A Go module that has nothing but requirements, and the programs that are built in it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Its files by name.
    pub(crate) files: [(&'static str, &'static str); 3],
    stamp: Stamp,
    pub(crate) programs: &'static [Program],
}

/// How a program is told its own version.
#[derive(Debug, Clone, Copy)]
enum Stamp {
    /// It has it in its source.
    None,
    /// By the variables that all programs of Kubernetes share.
    Kubernetes,
    /// By one variable.
    Variable { name: &'static str, value: &'static str },
}

/// A program, by the name of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The Go package that it is built from.
    pub(crate) package: &'static str,
    pub(crate) place: Place,
}

/// Where a program belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `/usr/bin` of the node.
    Node,
    /// In the image of this directory.
    Image(&'static str),
}

/// An image and what it is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The directory below `images` that its Dockerfile is in.
    pub(crate) directory: &'static str,
    /// The directory that its files are copied from, relative to the entry of the cache.
    pub(crate) context: String,
    pub(crate) name: String,
    pub(crate) dockerfile: String,
}

const fn program(name: &'static str, package: &'static str, place: Place) -> Program {
    Program { name, package, place }
}

/// The order is that of a quick build: what the others share is compiled first.
const KUBERNETES: [Program; 7] = [
    program("kubeadm", "k8s.io/kubernetes/cmd/kubeadm", Place::Node),
    program("kubelet", "k8s.io/kubernetes/cmd/kubelet", Place::Node),
    program("kubectl", "k8s.io/kubernetes/cmd/kubectl", Place::Node),
    program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", Place::Image("kube-apiserver")),
    program(
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        Place::Image("kube-controller-manager"),
    ),
    program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", Place::Image("kube-scheduler")),
    program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", Place::Image("kube-proxy")),
];

const ETCD: [Program; 3] = [
    program("etcd", "go.etcd.io/etcd/server/v3", Place::Image("etcd")),
    program("etcdctl", "go.etcd.io/etcd/etcdctl/v3", Place::Image("etcd")),
    program("etcdutl", "go.etcd.io/etcd/etcdutl/v3", Place::Image("etcd")),
];

const COREDNS: [Program; 1] = [program("coredns", "github.com/coredns/coredns", Place::Image("coredns"))];

const CRICTL: [Program; 1] = [program("crictl", "sigs.k8s.io/cri-tools/cmd/crictl", Place::Node)];

/// Embeds the files of a module: its directory, and where its list of commands is.
macro_rules! module {
    ($name:literal, $directory:literal, $tools:literal, $stamp:expr, $programs:expr) => {
        Module {
            name: $name,
            files: [
                ("go.mod", include_str!(concat!("../../components/", $directory, "/go.mod"))),
                ("go.sum", include_str!(concat!("../../components/", $directory, "/go.sum"))),
                ("tools.go", include_str!(concat!("../../components/", $tools, "/tools.go"))),
            ],
            stamp: $stamp,
            programs: $programs,
        }
    };
}

const ETCD_MODULE: Module = module!("etcd", "etcd", "etcd", Stamp::None, &ETCD);
const COREDNS_MODULE: Module = module!("coredns", "coredns", "coredns", Stamp::None, &COREDNS);
const CRICTL_MODULE: Module = module!(
    "crictl",
    "crictl",
    "crictl",
    Stamp::Variable { name: "sigs.k8s.io/cri-tools/pkg/version.Version", value: "v1.36.0" },
    &CRICTL
);

/// Every version that can be built; the first is what users get who name none.
static KNOWN: [Known; 2] = [
    Known {
        version: "v1.36.3",
        etcd_tag: "3.6.8-0",
        coredns_tag: "v1.14.2",
        pause_tag: "3.10.2",
        modules: [
            module!("kubernetes", "kubernetes/v1.36.3", "kubernetes", Stamp::Kubernetes, &KUBERNETES),
            CRICTL_MODULE,
            ETCD_MODULE,
            COREDNS_MODULE,
        ],
    },
    Known {
        version: "v1.36.1",
        etcd_tag: "3.6.8-0",
        coredns_tag: "v1.14.2",
        pause_tag: "3.10.2",
        modules: [
            module!("kubernetes", "kubernetes/v1.36.1", "kubernetes", Stamp::Kubernetes, &KUBERNETES),
            CRICTL_MODULE,
            ETCD_MODULE,
            COREDNS_MODULE,
        ],
    },
];

/// Returns the version that users get who name none.
pub(crate) const fn default_version() -> &'static str {
    KNOWN[0].version
}

/// Finds a version.
///
/// # Errors
/// It is not among those that can be built; with those that are.
pub(crate) fn find(version: &str) -> Result<&'static Known> {
    KNOWN.iter().find(|known| known.version == version).ok_or_else(|| {
        let known: Vec<&str> = KNOWN.iter().map(|known| known.version).collect();
        let problem = format!("cannot be built; known are {}", known.join(" and "));
        Error::invalid(format!("Kubernetes {version}"), problem)
    })
}

/// Returns the name of the image that has the node's programs.
pub(crate) fn node_image(version: &str) -> String {
    format!("{NODE_REPOSITORY}:{version}")
}

impl Known {
    /// Returns the modules in the order in which they are built.
    pub(crate) const fn modules(&self) -> &[Module; 4] {
        &self.modules
    }

    /// Returns what the linker is told for the programs of a module.
    pub(crate) fn linker_flags(&self, module: &Module) -> String {
        let stamps = match module.stamp {
            Stamp::None => String::new(),
            Stamp::Kubernetes => self.kubernetes_stamps(),
            Stamp::Variable { name, value } => format!(" -X {name}={value}"),
        };
        format!("-s -w{stamps}")
    }

    /// The same source shall make the same program, so commit and date are none.
    fn kubernetes_stamps(&self) -> String {
        let mut numbers = self.version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let commit = "0".repeat(40);
        [
            ("gitVersion", self.version),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
            ("gitCommit", &commit),
            ("buildDate", "1970-01-01T00:00:00Z"),
        ]
        .map(|(name, value)| format!(" -X {STAMPS}.{name}={value}"))
        .concat()
    }

    /// Returns every image that is built, that of the node's programs first.
    pub(crate) fn recipes(&self) -> Vec<Recipe> {
        let node = Recipe {
            directory: "node",
            context: "bin".into(),
            name: node_image(self.version),
            dockerfile: format!(
                "FROM scratch\nCOPY {} /usr/bin/\n",
                self.programs_of(|place| place == Place::Node).join(" ")
            ),
        };
        let images = [
            ("kube-apiserver", "kube-apiserver", self.version),
            ("kube-controller-manager", "kube-controller-manager", self.version),
            ("kube-scheduler", "kube-scheduler", self.version),
            ("kube-proxy", "kube-proxy", self.version),
            ("etcd", "etcd", self.etcd_tag),
            ("coredns", "coredns/coredns", self.coredns_tag),
        ];
        let images = images.map(|(directory, repository, tag)| Recipe {
            directory,
            context: format!("images/{directory}"),
            name: format!("{REGISTRY}/{repository}:{tag}"),
            dockerfile: self.dockerfile(directory),
        });
        std::iter::once(node).chain(images).collect()
    }

    fn dockerfile(&self, image: &str) -> String {
        let programs = self.programs_of(|place| matches!(place, Place::Image(name) if name == image));
        let (root, directory) = match image {
            // What changes least comes first, so that versions share it.
            "kube-proxy" => ("COPY root/ /\n", "/usr/local/bin/"),
            // Where kubeadm's Deployment and everybody else's expect it.
            "coredns" => ("", "/"),
            _ => ("", "/usr/local/bin/"),
        };
        format!(
            "FROM scratch\n{root}COPY {} {directory}\nENV PATH={PATH}\nENTRYPOINT [\"{directory}{image}\"]\n",
            programs.join(" ")
        )
    }

    fn programs_of(&self, wanted: impl Fn(Place) -> bool) -> Vec<&'static str> {
        let programs = self.modules.iter().flat_map(|module| module.programs);
        programs.filter(|program| wanted(program.place)).map(|program| program.name).collect()
    }

    /// Returns names that images of the store get besides their own: kubeadm asks for its pause image by name, and shimd has one.
    pub(crate) fn aliases(&self) -> [(&'static str, String); 1] {
        [(PAUSE, format!("{REGISTRY}/pause:{}", self.pause_tag))]
    }
}

#[cfg(test)]
#[path = "known/tests.rs"]
mod tests;
