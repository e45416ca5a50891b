//! The directories that are others inside the box than on the machine: data, and how they are mounted.

use std::path::{Path, PathBuf};

use rustix::fd::AsFd;
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_bind, mount_change, move_mount,
};

use crate::error::{IoContext, Result};
use crate::files;
use crate::paths::Paths;

/// What stands at a path inside the box.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The machine's directory as it is at this moment, under what the box writes.
    Overlay(&'static str),
    /// The same, with links to the instance's own programs.
    Programs(&'static str),
    /// A directory of the instance that outlives the box.
    Private(&'static str),
    /// The directory of containerd's sockets, for programs that know only the usual place.
    ContainerdRun,
    /// An empty directory that ends with the box.
    Empty,
    /// A directory that outlives the box, of an instance with Kubernetes.
    Cluster(fn(&Paths) -> PathBuf),
}

impl Kind {
    /// Tells whether only an instance with Kubernetes has it.
    const fn is_for_kubernetes(self) -> bool {
        matches!(self, Self::Programs(_) | Self::Cluster(_))
    }
}

/// What is covered, in the order in which it is mounted.
const MOUNTS: [(&str, Kind); 10] = [
    ("/etc", Kind::Overlay("etc")),
    // What holds the pods' network namespaces, and which addresses they have, is nothing without the box.
    ("/run/netns", Kind::Empty),
    ("/var/lib/cni", Kind::Empty),
    ("/run/containerd", Kind::ContainerdRun),
    ("/var/log/pods", Kind::Private("log-pods")),
    ("/var/log/containers", Kind::Private("log-containers")),
    ("/etc/kubernetes", Kind::Cluster(Paths::kubernetes)),
    ("/usr/bin", Kind::Programs("programs")),
    ("/var/lib/kubelet", Kind::Cluster(Paths::kubelet)),
    ("/var/lib/etcd", Kind::Cluster(Paths::etcd)),
];

/// The instance's own programs, which are found in the box's `/usr/bin`.
pub(crate) const PROGRAMS: [&str; 4] = ["kubelet", "kubeadm", "kubectl", "crictl"];

/// What a kubelet sets in the kernel, which is the machine's: in the box it finds files that say what it wants.
const SETTINGS: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// The mode of directories that are made on the machine to be mounted upon.
pub(crate) const MOUNT_POINT_MODE: u32 = 0o755;

/// Returns what an instance covers.
fn mounts(with_kubernetes: bool) -> impl DoubleEndedIterator<Item = (&'static str, Kind)> {
    MOUNTS.into_iter().filter(move |(_, kind)| with_kubernetes || !kind.is_for_kubernetes())
}

/// Returns the directories that are covered and must exist on the machine: all but those that lie in another one.
pub(crate) fn mount_points(with_kubernetes: bool) -> impl DoubleEndedIterator<Item = &'static Path> {
    mounts(with_kubernetes).map(|(target, _)| Path::new(target)).filter(|path| is_outermost(path))
}

fn is_outermost(path: &Path) -> bool {
    !MOUNTS.iter().any(|(other, _)| Path::new(other) != path && path.starts_with(other))
}

/// Returns the covered directory that this path lies in.
pub(crate) fn covering(path: &Path) -> Option<&'static str> {
    MOUNTS.iter().map(|(target, _)| *target).find(|target| path.starts_with(target))
}

/// Makes what is mounted: fresh overlays with these files of `/etc`, and the directories that are kept.
pub(crate) fn prepare(paths: &Paths, with_kubernetes: bool, etc: &[(&str, String)]) -> Result<()> {
    for (target, kind) in mounts(with_kubernetes) {
        match kind {
            Kind::Overlay(name) => prepare_overlay(&paths.overlay(name))?,
            Kind::Programs(name) => {
                prepare_overlay(&paths.overlay(name))?;
                for program in PROGRAMS {
                    let link = paths.overlay(name).join("upper").join(program);
                    std::os::unix::fs::symlink(paths.bin().join(program), &link).at("create", &link)?;
                }
            }
            Kind::Private(name) => files::ensure_directory(&paths.private(name), 0o755)?,
            Kind::ContainerdRun => files::ensure_directory(&paths.containerd_run(), 0o711)?,
            Kind::Cluster(directory) => {
                files::ensure_directory(&directory(paths), 0o700)?;
                // What lies in the box's /etc needs a directory there to be mounted upon.
                if let Ok(inner) = Path::new(target).strip_prefix("/etc") {
                    files::ensure_directory(
                        &paths.overlay("etc").join("upper").join(inner),
                        MOUNT_POINT_MODE,
                    )?;
                }
            }
            Kind::Empty => {}
        }
    }
    if with_kubernetes {
        let directory = paths.overlay("settings");
        files::ensure_directory(&directory, 0o700)?;
        for (path, value) in SETTINGS {
            files::put(&setting(&directory, path), format!("{value}\n").as_bytes(), 0o644)?;
        }
    }
    // Written into the upper directory, so that nothing is written through a link of the machine's /etc.
    for (name, content) in etc {
        files::put(&paths.overlay("etc").join("upper").join(name), content.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Returns the file that stands for a setting of the kernel.
fn setting(directory: &Path, path: &str) -> PathBuf {
    directory.join(path.trim_start_matches('/').replace('/', "."))
}

fn prepare_overlay(directory: &Path) -> Result<()> {
    files::remove_tree(directory)?;
    files::ensure_directory(directory, 0o700)?;
    files::ensure_directory(&directory.join("upper"), 0o755)?;
    files::ensure_directory(&directory.join("work"), 0o700)
}

/// Mounts everything, in the mount namespace of the caller.
pub(crate) fn apply(paths: &Paths, with_kubernetes: bool) -> Result<()> {
    for (target, kind) in mounts(with_kubernetes) {
        match kind {
            Kind::Overlay(name) | Kind::Programs(name) => mount_overlay(target, &paths.overlay(name))?,
            Kind::Private(name) => bind(&paths.private(name), target)?,
            Kind::ContainerdRun => bind(&paths.containerd_run(), target)?,
            Kind::Cluster(directory) => bind(&directory(paths), target)?,
            Kind::Empty => {
                mount("tmpfs", target, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755"))
                    .at("mount a tmpfs on", target)?
            }
        }
        // A peer group of its own: what is mounted below one name of a directory is not mounted below the other too.
        mount_change(target, MountPropagationFlags::PRIVATE).at("make private", target)?;
        mount_change(target, MountPropagationFlags::SHARED).at("make shared", target)?;
    }
    if with_kubernetes {
        let directory = paths.overlay("settings");
        for (path, _) in SETTINGS.iter().filter(|(path, _)| Path::new(path).exists()) {
            bind(&setting(&directory, path), path)?;
        }
    }
    Ok(())
}

fn bind(source: &Path, target: &str) -> Result<()> {
    mount_bind(source, target).at("bind a directory to", target)
}

fn mount_overlay(target: &str, directory: &Path) -> Result<()> {
    let option = |name: &'static str, value: PathBuf| (name, value);
    let options = [
        option("lowerdir", target.into()),
        option("upperdir", directory.join("upper")),
        option("workdir", directory.join("work")),
    ];
    let mounted = || -> rustix::io::Result<()> {
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in &options {
            fsconfig_set_string(overlay.as_fd(), *name, value)?;
        }
        fsconfig_create(overlay.as_fd())?;
        let tree = fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(tree.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    mounted().at("mount an overlay on", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered() {
        for (path, target) in [
            ("/etc/shim", Some("/etc")),
            ("/run/netns", Some("/run/netns")),
            ("/run/containerd/s/1", Some("/run/containerd")),
            ("/run/shim/containerd", None),
            ("/etcetera", None),
            ("/var/lib/shim", None),
        ] {
            assert_eq!(covering(Path::new(path)), target, "{path}");
        }
    }

    #[test]
    fn a_new_box_has_none_of_the_old_one_s_files() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path()).unwrap();
        prepare(&paths, false, &[("hosts", "old".into()), ("resolv.conf", "x".into())]).unwrap();
        let kept = paths.private("log-pods").join("a.log");
        std::fs::File::create(&kept).unwrap();
        prepare(&paths, false, &[("hosts", "new".into())]).unwrap();
        let upper = paths.overlay("etc").join("upper");
        assert_eq!(files::read(upper.join("hosts")).unwrap(), "new");
        assert!(!upper.join("resolv.conf").exists());
        assert!(kept.exists());
    }
}
