//! What a build asks of its surroundings: images from registries, mounts, and processes. The builder itself has none
//! of them, so that its tests can stand in for all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cachestore::{Image, Reference};

use crate::cancel::Cancel;

/// An error of the surroundings.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The surroundings of a build.
pub trait Host: Send + Sync {
    /// Returns an image from the store, pulling it where it is not there, or where `pull` asks for the newest.
    ///
    /// # Errors
    /// Whatever the registry or the store says.
    fn image(
        &self,
        reference: &Reference,
        pull: bool,
        observer: &dyn Fn(Transfer),
        cancel: &Cancel,
    ) -> Result<Arc<Image>, HostError>;

    /// Mounts a stack of directories where only this process sees it.
    ///
    /// # Errors
    /// Those of mount(2).
    fn mount(&self, stack: &Stack) -> Result<Box<dyn Mounted>, HostError>;

    /// Runs a process in a container and waits for its end.
    ///
    /// # Errors
    /// If it could not be run; an exit code other than 0 is no error here.
    fn run(
        &self,
        process: &Process,
        output: &(dyn Fn(Output, &[u8]) + Sync),
        cancel: &Cancel,
    ) -> Result<Exit, HostError>;
}

/// Bytes of an image that are coming in.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// What is transferred: a layer's digest.
    pub item: String,
    /// How much of it is there.
    pub current_bytes: u64,
    /// How much it is.
    pub total_bytes: u64,
}

/// Directories to be seen as one.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Top first; at least one, and at least two if there is no upper directory.
    pub lower: Vec<PathBuf>,
    /// Where changes go; without it the mount is read-only.
    pub upper: Option<Upper>,
}

/// Where the changes of a mount go.
#[derive(Clone, Debug)]
pub struct Upper {
    /// The directory that will hold the changes.
    pub directory: PathBuf,
    /// Overlayfs's work directory, on the same filesystem; exists and is empty.
    pub work: PathBuf,
}

/// A mount, for as long as the value lives.
pub trait Mounted: Send {
    /// Returns where it is mounted.
    fn path(&self) -> &Path;

    /// Ends it; after that nothing uses its directories.
    ///
    /// # Errors
    /// Those of umount(2).
    fn unmount(self: Box<Self>) -> Result<(), HostError>;
}

/// A process of a `RUN` step.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its root filesystem.
    pub root: PathBuf,
    /// The command line.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// The directory in which it starts; exists.
    pub cwd: String,
    /// Its user.
    pub user: UserIds,
}

/// Numeric users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserIds {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Further groups.
    pub additional_gids: Vec<u32>,
}

/// The stream on which a process wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code; 128 and the signal's number if a signal ended it.
    Code(i32),
    /// It was ended because the build was cancelled.
    Cancelled,
}
