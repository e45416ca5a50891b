//! What the lifecycle service must know after it died: one small file, replaced whole.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::files;
use crate::network::subnet::Subnet;
use crate::process::Identity;

/// The format of the file.
const VERSION: u32 = 1;

/// What the user asked for last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wanted {
    #[default]
    Nothing,
    Up,
    Down,
    /// The cluster shall be deleted; with `all` its volumes and certificates too.
    Reset {
        all: bool,
    },
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    version: u32,
    pub(crate) wanted: Wanted,
    /// The network between machine and box, kept for good once it was chosen.
    pub(crate) subnet: Option<Subnet>,
    /// Whether Kubernetes is wanted, or the light form.
    #[serde(default)]
    pub(crate) kubernetes: bool,
    /// The cluster whose files are there, whether or not it is wanted now.
    #[serde(default)]
    pub(crate) cluster: Option<Cluster>,
    /// Whose kubeconfig has the cluster's context.
    #[serde(default)]
    pub(crate) readers: Vec<Reader>,
    /// The port of the machine's loopback that leads to the API server, once it was chosen.
    #[serde(default)]
    pub(crate) api_port: Option<u16>,
    /// The port of the resolver on the machine's end of it.
    pub(crate) dns_port: Option<u16>,
    /// What this was written in: see [`epoch`].
    epoch: String,
    pub(crate) life: Life,
}

/// A user who reads a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reader {
    /// Name or number.
    pub(crate) user: String,
    /// The home directory; without it the one that the system's users say.
    pub(crate) home: Option<PathBuf>,
}

/// A cluster, from the moment at which its first file may exist until its last one is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// The version of Kubernetes, such as `v1.36.3`.
    pub(crate) version: String,
    /// Where its components come from, as on the command line.
    pub(crate) source: String,
    /// `kubeadm init` has ended well.
    pub(crate) is_initialized: bool,
}

/// What ends with the machine's run: processes, and what was changed in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Life {
    pub(crate) holder: Option<Holder>,
    /// The box that was made last, with or without a holder.
    pub(crate) namespaces: Option<Namespaces>,
    pub(crate) shimd: Option<Daemon>,
    pub(crate) containerd: Option<Daemon>,
    #[serde(default)]
    pub(crate) kubelet: Option<Daemon>,
    /// What was last written into kubeconfigs, see `step/access.rs`.
    #[serde(default)]
    pub(crate) access: String,
    /// The machine did not forward packets before an instance asked it to.
    #[serde(default)]
    pub(crate) forwarding_was_0: bool,
}

/// The process that keeps the namespaces of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holder {
    pub(crate) identity: Identity,
    /// Everything is mounted.
    pub(crate) is_ready: bool,
}

/// The inode numbers of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Namespaces {
    pub(crate) network: u64,
    pub(crate) mount: u64,
}

/// A daemon and how it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Daemon {
    pub(crate) identity: Identity,
    /// Its arguments, without the program itself.
    pub(crate) arguments: Vec<String>,
}

/// The state in memory and on disk, always the same.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    state: Mutex<State>,
}

impl StateFile {
    /// Reads the file. Without one nothing was ever asked for. What was written before the machine's last start, or in another
    /// container, says nothing of processes.
    ///
    /// # Errors
    /// It cannot be read, or another version wrote it.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let epoch = epoch()?;
        let state = match files::read_if_there(&path)? {
            None => State { version: VERSION, ..State::default() },
            Some(text) => parse(&text, &path)?,
        };
        let state = settle(state, epoch);
        Ok(Self { path, state: Mutex::new(state) })
    }

    /// Returns a copy.
    pub(crate) fn get(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state; it is on disk when this returns.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = state.clone();
        change(&mut changed);
        if changed != *state {
            let text = serde_json::to_string_pretty(&changed)
                .map_err(|error| Error::invalid(self.path.display().to_string(), error.to_string()))?;
            // A daemon that ended is started again, and everything is taken down, on a disk that is full too.
            files::put_over(&self.path, &text, 0o600)?;
            *state = changed;
        }
        Ok(())
    }
}

fn parse(text: &str, path: &Path) -> Result<State> {
    let state: State = serde_json::from_str(text).map_err(|error| {
        Error::invalid(
            path.display().to_string(),
            format!("{error}; if no process of it runs, remove the file"),
        )
    })?;
    if state.version != VERSION {
        let problem =
            format!("was written by another version (format {}, known is {VERSION})", state.version);
        return Err(Error::invalid(path.display().to_string(), problem));
    }
    Ok(state)
}

fn settle(state: State, epoch: String) -> State {
    if state.epoch == epoch {
        return state;
    }
    // A cluster that is half deleted is of no use: that goes on.
    let wanted = match state.wanted {
        Wanted::Reset { all } => Wanted::Reset { all },
        _ => Wanted::Nothing,
    };
    State { epoch, wanted, life: Life::default(), ..state }
}

/// Returns what process numbers and times are relative to: the machine's run and the namespace of processes.
fn epoch() -> Result<String> {
    let boot = files::read("/proc/sys/kernel/random/boot_id")?;
    let link = "/proc/self/ns/pid";
    let namespace = std::fs::read_link(link).at("read", link)?;
    Ok(format!("{} {}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_there_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        let file = StateFile::open(path.clone()).unwrap();
        assert_eq!(file.get().wanted, Wanted::Nothing);
        file.change(|state| {
            state.wanted = Wanted::Up;
            state.dns_port = Some(5353);
            let identity = Identity { pid: 7, start_ticks: 8 };
            state.life.shimd = Some(Daemon { identity, arguments: vec!["--run".into()] });
        })
        .unwrap();
        assert_eq!(StateFile::open(path).unwrap().get(), file.get());
    }

    #[test]
    fn another_run_of_the_machine_knows_no_processes() {
        let before = State {
            version: VERSION,
            wanted: Wanted::Up,
            subnet: Some(Subnet::DEFAULT),
            epoch: "one".into(),
            life: Life {
                shimd: Some(Daemon { identity: Identity { pid: 7, start_ticks: 8 }, arguments: vec![] }),
                ..Life::default()
            },
            ..State::default()
        };
        assert_eq!(settle(before.clone(), "one".into()), before);
        let after = settle(before.clone(), "two".into());
        assert_eq!(
            (after.wanted, after.subnet, after.life),
            (Wanted::Nothing, before.subnet, Life::default())
        );
    }

    #[test]
    fn foreign_files_are_refused() {
        let good = serde_json::to_string(&State { version: VERSION, ..State::default() }).unwrap();
        let path = Path::new("/x/state.json");
        assert!(parse(&good, path).is_ok());
        for (text, named) in [
            (good.replace("\"version\":1", "\"version\":2"), "another version (format 2"),
            (good.replace("\"wanted\"", "\"wnated\""), "wnated"),
            (String::new(), "/x/state.json"),
        ] {
            let error = parse(&text, path).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
