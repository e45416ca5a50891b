//! Where the files of an instance are.

use std::path::{Path, PathBuf};

use crate::output::text;

/// The root directory of the default instance.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/shim";
/// The longest path that a socket can be bound to, in bytes.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The paths of one instance. All of them are absolute and UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    /// Derives the paths of the instance that lives in `root`.
    ///
    /// # Errors
    /// In words, if there cannot be an instance there.
    pub(crate) fn new(root: &Path) -> Result<Self, String> {
        let absolute =
            std::path::absolute(root).map_err(|error| format!("root directory {root:?}: {error}"))?;
        // Drops a trailing slash, so that one directory has one name.
        let absolute: PathBuf = absolute.components().collect();
        let root =
            absolute.to_str().ok_or_else(|| format!("root directory {root:?} is not UTF-8"))?.to_owned();
        let layout = Self { root };
        let longest = layout.lifecycle_socket();
        if longest.len() > MAX_SOCKET_PATH_BYTES {
            return Err(format!(
                "root directory {:?} is too long: the path of a socket below it would have {} bytes, and {MAX_SOCKET_PATH_BYTES} are possible",
                layout.root,
                longest.len()
            ));
        }
        Ok(layout)
    }

    /// Returns the root directory.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Tells whether this is the instance that gets the well-known names.
    pub(crate) fn is_default(&self) -> bool {
        self.root == DEFAULT_ROOT
    }

    /// Returns shimd's control socket.
    pub(crate) fn control_socket(&self) -> String {
        format!("{}/control.sock", self.run_dir())
    }

    /// Returns the socket of the lifecycle service.
    pub(crate) fn lifecycle_socket(&self) -> String {
        format!("{}/lifecycle.sock", self.run_dir())
    }

    /// Returns the socket that kubelet and crictl use.
    pub(crate) fn cri_socket(&self) -> String {
        format!("{}/cri.sock", self.run_dir())
    }

    /// Returns the directory that holds a log for each part.
    pub(crate) fn log_dir(&self) -> PathBuf {
        Path::new(&self.root).join("log")
    }

    /// Returns the directory of the instance's own programs.
    pub(crate) fn bin_dir(&self) -> String {
        format!("{}/bin", self.root)
    }

    /// Returns the kubeconfig of an instance that does not publish its context in the user's own.
    pub(crate) fn kubeconfig(&self) -> Option<String> {
        (!self.is_default()).then(|| format!("{}/kubeconfig", self.root))
    }

    /// Writes a command line of shimctl for this instance, as the user would type it.
    pub(crate) fn command(&self, words: &str) -> String {
        if self.is_default() {
            format!("shimctl {words}")
        } else {
            format!("shimctl --root {} {words}", text::shell_word(&self.root))
        }
    }

    /// Writes a command line for this instance that has to be run as root.
    pub(crate) fn root_command(&self, words: &str) -> String {
        let command = self.command(words);
        if rustix::process::geteuid().is_root() { command } else { format!("sudo {command}") }
    }

    fn run_dir(&self) -> String {
        if self.is_default() { "/run/shim".to_owned() } else { format!("{}/run", self.root) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let rows = [
            ("/var/lib/shim", "/run/shim/control.sock", None),
            ("/var/lib/shim/", "/run/shim/control.sock", None),
            ("/srv/two", "/srv/two/run/control.sock", Some("/srv/two/kubeconfig")),
            ("/srv//two/.", "/srv/two/run/control.sock", Some("/srv/two/kubeconfig")),
        ];
        for (root, control, kubeconfig) in rows {
            let layout = Layout::new(Path::new(root)).unwrap();
            assert_eq!(layout.control_socket(), control, "{root}");
            assert_eq!(layout.kubeconfig().as_deref(), kubeconfig, "{root}");
        }
        let layout = Layout::new(Path::new("/srv/two")).unwrap();
        assert_eq!(layout.lifecycle_socket(), "/srv/two/run/lifecycle.sock");
        assert_eq!(layout.cri_socket(), "/srv/two/run/cri.sock");
        assert_eq!(layout.log_dir(), Path::new("/srv/two/log"));
        assert_eq!(layout.bin_dir(), "/srv/two/bin");
    }

    #[test]
    fn relative_roots_are_made_absolute() {
        let layout = Layout::new(Path::new("here")).unwrap();
        assert_eq!(Path::new(layout.root()), std::env::current_dir().unwrap().join("here"));
    }

    #[test]
    fn impossible_roots() {
        use std::os::unix::ffi::OsStrExt as _;
        let not_text = Path::new(std::ffi::OsStr::from_bytes(b"/srv/\xff"));
        assert!(Layout::new(not_text).unwrap_err().contains("is not UTF-8"));
        assert!(Layout::new(Path::new("")).unwrap_err().contains("root directory"));
        let rest = "/run/lifecycle.sock".len();
        let fits = format!("/{}", "x".repeat(MAX_SOCKET_PATH_BYTES - rest - 1));
        assert_eq!(Layout::new(Path::new(&fits)).unwrap().lifecycle_socket().len(), MAX_SOCKET_PATH_BYTES);
        let long = format!("{fits}x");
        assert!(Layout::new(Path::new(&long)).unwrap_err().contains("108 bytes, and 107 are possible"));
    }

    #[test]
    fn commands_name_the_instance() {
        let command = |root: &str| Layout::new(Path::new(root)).unwrap().command("up");
        assert_eq!(command("/var/lib/shim"), "shimctl up");
        assert_eq!(command("/srv/two"), "shimctl --root /srv/two up");
        assert_eq!(command("/srv/my shim"), "shimctl --root '/srv/my shim' up");
    }
}
