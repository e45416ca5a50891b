//! What every step works on: one instance.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::lifecycle::State;
use tokio::time::{Instant, sleep};

use crate::cgroup::{self, Tree};
use crate::command::Place;
use crate::config::Config;
use crate::dns::Resolver;
use crate::error::{Error, Result};
use crate::event::{Events, Part};
use crate::network::subnet::Subnet;
use crate::paths::Paths;
use crate::ports::Ports;
use crate::process::{Children, Process};
use crate::state::{Cluster, Daemon, Holder, StateFile};

/// How often a condition that nothing announces is looked at.
const POLL: Duration = Duration::from_millis(20);

/// One instance, as its lifecycle service knows it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) paths: Paths,
    pub(crate) events: Events,
    pub(crate) state: StateFile,
    pub(crate) children: Children,
    pub(crate) cgroup: Tree,
    /// The resolver, while it runs.
    pub(crate) resolver: Mutex<Option<Resolver>>,
    /// The listeners on localhost, while there are any.
    pub(crate) ports: Mutex<Option<Arc<Ports>>>,
    /// What the user should know of the box though it is ready.
    pub(crate) remark: Mutex<String>,
    /// The groups that this service was started in, and goes back to before its own are removed.
    origin: Vec<PathBuf>,
}

impl Node {
    /// Reads what an earlier service of the instance left behind.
    pub(crate) fn open(paths: Paths) -> Result<Arc<Self>> {
        let cgroup = Tree::new(&paths.name())?;
        let state = StateFile::open(paths.state())?;
        Ok(Arc::new(Self {
            events: Events::new(state.get().kubernetes),
            state,
            children: Children::default(),
            resolver: Mutex::new(None),
            ports: Mutex::new(None),
            remark: Mutex::default(),
            origin: cgroup::own_groups()?,
            cgroup,
            paths,
        }))
    }

    /// Reads the configuration, which may change while the service runs.
    pub(crate) fn config(&self) -> Result<Config> {
        Config::read(&self.paths.bootstrap_config())
    }

    /// Returns the name of the cgroup, the link and the tables.
    pub(crate) fn name(&self) -> String {
        self.paths.name()
    }

    /// Returns the network between machine and box, which a step has chosen.
    pub(crate) fn subnet(&self) -> Result<Subnet> {
        self.state.get().subnet.ok_or_else(|| Error::invalid("the box's network", "was not chosen yet"))
    }

    /// Returns the cluster that is wanted.
    ///
    /// # Errors
    /// The instance is of the light form.
    pub(crate) fn cluster(&self) -> Result<Cluster> {
        self.state.get().cluster.ok_or_else(|| Error::invalid("the cluster", "is not wanted"))
    }

    /// Returns what was recorded of the holder, whether it runs or not.
    pub(crate) fn holder_record(&self) -> Option<Holder> {
        self.state.get().life.holder
    }

    /// Returns what was recorded of a daemon, whether it runs or not.
    pub(crate) fn daemon_record(&self, part: Part) -> Option<Daemon> {
        let life = self.state.get().life;
        match part {
            Part::Shimd => life.shimd,
            Part::Containerd => life.containerd,
            Part::Kubelet => life.kubelet,
            Part::Machine | Part::Box | Part::Components | Part::Kubernetes => None,
        }
    }

    /// Records a daemon, or that there is none.
    pub(crate) fn record_daemon(&self, part: Part, daemon: Option<Daemon>) -> Result<()> {
        self.state.change(|state| match part {
            Part::Shimd => state.life.shimd = daemon,
            Part::Containerd => state.life.containerd = daemon,
            Part::Kubelet => state.life.kubelet = daemon,
            Part::Machine | Part::Box | Part::Components | Part::Kubernetes => {}
        })
    }

    /// Opens the process of a part, if it has one and it runs.
    pub(crate) fn process(&self, part: Part) -> Result<Option<Process>> {
        let identity = match part {
            Part::Machine | Part::Components | Part::Kubernetes => None,
            Part::Box => self.holder_record().filter(|holder| holder.is_ready).map(|holder| holder.identity),
            Part::Shimd | Part::Containerd | Part::Kubelet => {
                self.daemon_record(part).map(|daemon| daemon.identity)
            }
        };
        identity.map_or(Ok(None), |identity| Process::open(identity, &self.children))
    }

    /// Returns the box as a place to run programs in.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn inside(&self) -> Result<Place> {
        match self.holder_record() {
            Some(Holder { identity, is_ready: true }) => Ok(Place::Box(identity)),
            _ => Err(Error::invalid("the box", "is not there")),
        }
    }

    /// Says that a part is ready, and what the user should know all the same.
    pub(crate) fn ready(&self, part: Part) {
        let remark = self.remark.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.events.set(part, State::Ready, if part == Part::Box { remark } else { String::new() });
    }

    /// Ends a recorded process and waits until it is gone.
    pub(crate) async fn stop(&self, process: Option<Process>, grace: Duration) -> Result<()> {
        match process {
            Some(process) => process.stop(grace, &self.children).await,
            None => Ok(()),
        }
    }

    /// Moves this service out of the instance's cgroups.
    pub(crate) fn leave_cgroup(&self) -> Result<()> {
        self.cgroup.leave(&self.origin)
    }

    /// Takes the resolver out, which ends it when it is dropped.
    pub(crate) fn take_resolver(&self) -> Option<Resolver> {
        self.resolver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the listeners on localhost, while there are any.
    pub(crate) fn ports(&self) -> Option<Arc<Ports>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a condition that nothing announces; `look` says what it saw.
    ///
    /// # Errors
    /// It does not become true in time; with what was seen last.
    pub(crate) async fn eventually<F: Future<Output = std::result::Result<(), String>>>(
        limit: Duration,
        awaited: &str,
        mut look: impl FnMut() -> F,
    ) -> Result<()> {
        let started = Instant::now();
        loop {
            match look().await {
                Ok(()) => return Ok(()),
                Err(seen) if started.elapsed() >= limit => {
                    return Err(Error::Timeout { awaited: awaited.to_owned(), seen, limit });
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }
}
