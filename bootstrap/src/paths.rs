//! Every path and every name that an instance owns.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::error::{Error, IoContext, Result};
use crate::mounts;

/// The root of the default instance, which gets the well-known names.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/shim";
const DEFAULT_RUN: &str = "/run/shim";
const DEFAULT_ETC: &str = "/etc/shim";
/// The name of the default instance's cgroup, network link and table; those of others begin with it.
pub(crate) const NAME: &str = "shim";
/// The longest path that a socket can be bound to, in bytes: `sun_path` and its terminator.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// What overlayfs calls itself in statfs(2).
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// The paths and names of one instance. All paths are absolute, and of characters that mean nothing to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Derives the paths of the instance that lives in `root`, which need not exist.
    ///
    /// # Errors
    /// Its name cannot be that of a root: see [`Paths::check_place`] for where it may lie.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let invalid = |problem: String| Error::invalid(format!("root directory {}", root.display()), problem);
        let absolute: PathBuf = std::path::absolute(root).at("resolve", root)?.components().collect();
        let text = absolute.to_str().unwrap_or("\u{fffd}");
        // The path goes into mount options, URLs and configuration files, each with its own special characters.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@~=".contains(c);
        if let Some(odd) = text.chars().find(|c| !plain(*c)) {
            return Err(invalid(format!("the character {odd:?} cannot be in it")));
        }
        if absolute.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(invalid("`..` cannot be in it".into()));
        }
        if absolute == Path::new("/") {
            return Err(invalid("an instance needs a directory of its own".into()));
        }
        let paths = Self { root: absolute };
        let longest = paths.containerd_socket().as_os_str().len() + ".ttrpc".len();
        if longest > MAX_SOCKET_PATH_BYTES {
            let (excess, limit) = (longest - MAX_SOCKET_PATH_BYTES, MAX_SOCKET_PATH_BYTES);
            return Err(invalid(format!(
                "is {excess} bytes too long: paths of sockets have at most {limit} bytes"
            )));
        }
        Ok(paths)
    }

    /// Checks that the root lies where an instance can live.
    ///
    /// # Errors
    /// It is on overlayfs, or under a path that is another one inside the box.
    pub(crate) fn check_place(&self) -> Result<()> {
        let invalid =
            |problem: String| Error::invalid(format!("root directory {}", self.root.display()), problem);
        let (there, rest) = nearest(&self.root)?;
        let real = there.canonicalize().at("resolve", &there)?.join(rest);
        if let Some(covered) = mounts::covering(&real) {
            return Err(invalid(format!("lies in {covered}, which is another directory inside the box")));
        }
        // The type is a different integer on each architecture.
        #[allow(clippy::unnecessary_cast, reason = "it is i64 only here")]
        let kind = statfs(&there).at("examine", &there)?.f_type as i64;
        if kind == OVERLAYFS_MAGIC {
            return Err(invalid("lies on overlayfs, where containers cannot have their layers".into()));
        }
        Ok(())
    }

    /// Tells whether this is the instance that gets the well-known names.
    pub(crate) fn is_default(&self) -> bool {
        self.root == Path::new(DEFAULT_ROOT)
    }

    /// Returns the name of its cgroup, its network link on the host and its tables: at most 13 bytes.
    pub(crate) fn name(&self) -> String {
        if self.is_default() {
            return NAME.to_owned();
        }
        // FNV-1a: a name, not a secret, and the same one in every version.
        let hash = self.root.as_os_str().as_encoded_bytes().iter();
        let hash =
            hash.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("{NAME}-{hash:08x}")
    }

    /// Writes a command line of shimctl for this instance.
    pub(crate) fn command(&self, words: &str) -> String {
        if self.is_default() {
            format!("shimctl {words}")
        } else {
            format!("shimctl --root {} {words}", self.root.display())
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn run(&self) -> PathBuf {
        if self.is_default() { DEFAULT_RUN.into() } else { self.root.join("run") }
    }

    pub(crate) fn etc(&self) -> PathBuf {
        if self.is_default() { DEFAULT_ETC.into() } else { self.root.join("etc") }
    }

    pub(crate) fn bootstrap_config(&self) -> PathBuf {
        self.etc().join("bootstrap.toml")
    }

    pub(crate) fn shimd_config(&self) -> PathBuf {
        self.etc().join("shimd.toml")
    }

    pub(crate) fn registry_hosts(&self) -> PathBuf {
        self.etc().join("certs.d")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn lifecycle_socket(&self) -> PathBuf {
        self.run().join("lifecycle.sock")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    pub(crate) fn cri_socket(&self) -> PathBuf {
        self.run().join("cri.sock")
    }

    pub(crate) fn snapshots_socket(&self) -> PathBuf {
        self.run().join("snapshots.sock")
    }

    /// Returns the directory that is `/run/containerd` inside the box.
    pub(crate) fn containerd_run(&self) -> PathBuf {
        self.run().join("containerd")
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.containerd_run().join("containerd.sock")
    }

    pub(crate) fn containerd_state(&self) -> PathBuf {
        self.containerd_run().join("state")
    }

    pub(crate) fn containerd_root(&self) -> PathBuf {
        self.root.join("containerd")
    }

    /// Returns the directory of everything that the lifecycle service makes for itself.
    pub(crate) fn box_dir(&self) -> PathBuf {
        self.root.join("box")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.box_dir().join("state.json")
    }

    /// Returns the file that is removed when the disk is full.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.box_dir().join("reserve")
    }

    /// Returns the file that the one lifecycle service of the instance has locked.
    pub(crate) fn lock(&self) -> PathBuf {
        self.box_dir().join("lock")
    }

    pub(crate) fn containerd_config(&self) -> PathBuf {
        self.box_dir().join("containerd.toml")
    }

    pub(crate) fn networks(&self) -> PathBuf {
        self.box_dir().join("cni")
    }

    /// Returns the directory that an overlay of the box writes into: `upper` and `work` are in it.
    pub(crate) fn overlay(&self, name: &str) -> PathBuf {
        self.box_dir().join("overlay").join(name)
    }

    /// Returns the source of a directory of the box that outlives it.
    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.box_dir().join("private").join(name)
    }

    /// Returns the directory that is `/etc/kubernetes` inside the box. Keys and certificates in it outlive the cluster.
    pub(crate) fn kubernetes(&self) -> PathBuf {
        self.root.join("kubernetes")
    }

    /// Returns the directory of what ends with the cluster.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// Returns the cache of components, unless the configuration names another.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    /// Returns the record of what was installed of them.
    pub(crate) fn installed_components(&self) -> PathBuf {
        self.box_dir().join("components.json")
    }

    /// Returns the directory of the kubelet's state, `/var/lib/kubelet` inside the box.
    pub(crate) fn kubelet(&self) -> PathBuf {
        self.cluster().join("kubelet")
    }

    /// Returns the directory of etcd's data, `/var/lib/etcd` inside the box.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.cluster().join("etcd")
    }

    /// Returns the directory of the programs that the instance has of its own: `kubectl`, `kubelet` and so on.
    pub(crate) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Returns the kubeconfig of an instance that is not the default one.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Returns the directory of the volumes that claims were given.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Returns the directory that the controller of ports sees.
    pub(crate) fn ports(&self) -> PathBuf {
        self.run().join("ports")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn log(&self, part: &str) -> PathBuf {
        self.log_dir().join(format!("{part}.log"))
    }
}

/// Splits a path into its deepest ancestor that exists and the rest.
fn nearest(path: &Path) -> Result<(PathBuf, PathBuf)> {
    for there in path.ancestors() {
        if there.try_exists().at("examine", there)? {
            let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
            return Ok((there.to_path_buf(), rest.to_path_buf()));
        }
    }
    Err(Error::invalid(path.display().to_string(), "has no ancestor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &str) -> Paths {
        Paths::new(Path::new(root)).unwrap()
    }

    #[test]
    fn the_default_instance_has_the_well_known_places() {
        for root in ["/var/lib/shim", "/var/lib/shim/", "/var//lib/./shim"] {
            let paths = paths(root);
            assert!(paths.is_default(), "{root}");
            assert_eq!(paths.name(), "shim");
            assert_eq!(paths.cri_socket(), Path::new("/run/shim/cri.sock"));
            assert_eq!(paths.containerd_socket(), Path::new("/run/shim/containerd/containerd.sock"));
            assert_eq!(paths.bootstrap_config(), Path::new("/etc/shim/bootstrap.toml"));
            assert_eq!(paths.log("shimd"), Path::new("/var/lib/shim/log/shimd.log"));
            assert_eq!(paths.command("down"), "shimctl down");
        }
    }

    #[test]
    fn another_root_keeps_everything_to_itself() {
        let paths = paths("/srv/two");
        assert_eq!(paths.run(), Path::new("/srv/two/run"));
        assert_eq!(paths.etc(), Path::new("/srv/two/etc"));
        assert_eq!(paths.command("down"), "shimctl --root /srv/two down");
        assert_eq!(paths.name(), "shim-e13ca086");
        assert_ne!(paths.name(), super::tests::paths("/srv/three").name());
        // The name of the link's other end has one letter more.
        assert!(paths.name().len() < 15);
    }

    #[test]
    fn impossible_names_are_refused() {
        for (root, named) in [
            ("/", "of its own"),
            ("/srv/a b", "' '"),
            ("/srv/a,b", "','"),
            ("/srv/a:b", "':'"),
            ("/srv/a\\b", "'\\\\'"),
            ("/srv/j\u{f6}rg", "'\u{f6}'"),
            ("/srv/a\nb", "'\\n'"),
            ("/srv/../etc", "`..`"),
        ] {
            let error = Paths::new(Path::new(root)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn socket_paths_have_a_limit() {
        let rest = "/run/containerd/containerd.sock.ttrpc".len();
        let fits = format!("/{}", "x".repeat(MAX_SOCKET_PATH_BYTES - rest - 1));
        assert!(Paths::new(Path::new(&fits)).is_ok());
        let error = Paths::new(Path::new(&format!("{fits}x"))).unwrap_err().to_string();
        assert!(error.contains("is 1 bytes too long"), "{error}");
    }

    #[test]
    fn places_inside_the_box_are_refused() {
        for root in ["/etc/instance", "/run/containerd/x", "/var/log/pods"] {
            let error = paths(root).check_place().unwrap_err().to_string();
            assert!(error.contains("inside the box"), "{error}");
        }
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(paths(link.join("new/deeper").to_str().unwrap()).check_place().is_err());
    }
}
