//! Where the Kubernetes project publishes what. Pure.

use crate::config::Components;
use crate::error::{Error, Result};
use crate::kubeadm::Version;

/// The server of programs.
const DOWNLOAD: &str = "https://dl.k8s.io";
/// Where crictl is published.
const CRICTL_DOWNLOAD: &str = "https://github.com/kubernetes-sigs/cri-tools/releases/download";
/// The registry of images, which is the first part of their names whatever registry has them.
const REGISTRY: &str = "registry.k8s.io";
/// A cluster needs seven images; more than this is no list of kubeadm's.
const MAX_IMAGES: usize = 32;

/// The servers that are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) download: String,
    crictl_download: String,
    registry: String,
}

/// A file that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Where it is fetched from.
    pub(super) url: String,
    /// Where the project itself has it: its name in lists of digests.
    pub(super) official: String,
    /// Whether it is a compressed tar with the program in it.
    pub(super) is_archive: bool,
}

impl Servers {
    /// Returns the servers of a configuration: the project's own, unless it names others.
    pub(super) fn of(config: &Components) -> Self {
        let base = |configured: &Option<String>, default: &str| {
            configured.as_deref().unwrap_or(default).trim_end_matches('/').to_owned()
        };
        Self {
            download: base(&config.download, DOWNLOAD),
            crictl_download: base(&config.crictl_download, CRICTL_DOWNLOAD),
            registry: base(&config.registry, REGISTRY),
        }
    }

    /// Returns where a program of the node is.
    pub(super) fn program(&self, name: &str, version: &Version) -> File {
        let architecture = architecture();
        if name == "crictl" {
            // Its releases have the minor versions of Kubernetes, and seldom a patch.
            let release = format!("v{}.{}.0", version.major, version.minor);
            let path = format!("{release}/crictl-{release}-linux-{architecture}.tar.gz");
            return File {
                url: format!("{}/{path}", self.crictl_download),
                official: format!("{CRICTL_DOWNLOAD}/{path}"),
                is_archive: true,
            };
        }
        let path = format!("release/{version}/bin/linux/{architecture}/{name}");
        File {
            url: format!("{}/{path}", self.download),
            official: format!("{DOWNLOAD}/{path}"),
            is_archive: false,
        }
    }

    /// Returns the name under which an image is pulled.
    pub(super) fn image(&self, name: &str) -> String {
        match name.strip_prefix(REGISTRY) {
            Some(rest) => format!("{}{rest}", self.registry),
            None => name.to_owned(),
        }
    }
}

/// Returns what Go calls this machine's architecture.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Reads the names that `kubeadm config images list` prints.
///
/// # Errors
/// One is not that of an image of Kubernetes.
pub(super) fn image_names(text: &str) -> Result<Vec<String>> {
    let invalid = |problem: String| Error::invalid("kubeadm's list of images", problem);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.is_empty() || names.len() > MAX_IMAGES {
        return Err(invalid(format!("has {} names", names.len())));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
    let tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = |name: &str| {
        let rest = name.strip_prefix(REGISTRY).and_then(|rest| rest.strip_prefix('/'));
        let parts = rest.and_then(|rest| rest.split_once(':'));
        parts.is_some_and(|(path, word)| {
            !path.is_empty() && path.chars().all(plain) && !word.is_empty() && word.chars().all(tag)
        })
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(odd) => Err(invalid(format!("has {:?} in it", odd.chars().take(200).collect::<String>()))),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files() {
        let version = Version::parse("v1.36.3").unwrap();
        let architecture = architecture();
        let official = Servers::of(&Components::default());
        let kubelet = format!("https://dl.k8s.io/release/v1.36.3/bin/linux/{architecture}/kubelet");
        let file = official.program("kubelet", &version);
        assert_eq!(file, File { url: kubelet.clone(), official: kubelet.clone(), is_archive: false });
        let crictl = official.program("crictl", &version);
        assert_eq!(
            crictl.url,
            format!(
                "https://github.com/kubernetes-sigs/cri-tools/releases/download/v1.36.0/crictl-v1.36.0-linux-{architecture}.tar.gz"
            )
        );
        assert!(crictl.is_archive);
        let mirror = Servers::of(&Components {
            download: Some("http://127.0.0.1:81/k8s/".into()),
            crictl_download: Some("http://127.0.0.1:81/crictl".into()),
            registry: Some("localhost:5000/mirror".into()),
            ..Components::default()
        });
        let file = mirror.program("kubelet", &version);
        assert_eq!(
            file.url,
            format!("http://127.0.0.1:81/k8s/release/v1.36.3/bin/linux/{architecture}/kubelet")
        );
        assert_eq!(file.official, kubelet, "what it has to be does not depend on who has it");
        assert!(
            mirror.program("crictl", &version).url.starts_with("http://127.0.0.1:81/crictl/v1.36.0/crictl-")
        );
        let name = "registry.k8s.io/coredns/coredns:v1.14.2";
        assert_eq!(official.image(name), name);
        assert_eq!(mirror.image(name), "localhost:5000/mirror/coredns/coredns:v1.14.2");
    }

    #[test]
    fn lists_of_images() {
        let text = "registry.k8s.io/kube-apiserver:v1.36.3\n\n  registry.k8s.io/coredns/coredns:v1.14.2\n";
        let names = ["registry.k8s.io/kube-apiserver:v1.36.3", "registry.k8s.io/coredns/coredns:v1.14.2"];
        assert_eq!(image_names(text).unwrap(), names);
        for odd in [
            "",
            "\n",
            "registry.k8s.io/a",
            "registry.k8s.io/:a",
            "registry.k8s.io/a:",
            "registry.k8s.io.example/a:b",
            "docker.io/library/a:b",
            "registry.k8s.io/a:b@sha256:aa",
            "registry.k8s.io/A:b",
            &"registry.k8s.io/a:b\n".repeat(33),
        ] {
            assert!(image_names(odd).unwrap_err().to_string().contains("kubeadm's list"), "{odd}");
        }
    }
}
