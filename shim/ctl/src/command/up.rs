//! `shimctl up`.

use std::time::{Duration, Instant};

use proto::lifecycle as api;
use proto::lifecycle::State;
use proto::lifecycle::lifecycle_client::LifecycleClient;
use tonic::transport::Channel;

use super::follow::{End, Follower};
use crate::cli::duration;
use crate::connect::{self, Cause};
use crate::exit::Failure;
use crate::layout::Layout;
use crate::output;
use crate::program;
use crate::progress::parts::Parts;

/// Returns whose kubeconfig gets the context, and where that user lives: whoever became root by sudo, else this user.
fn reader(sudo_user: Option<String>, home: Option<String>) -> (String, String) {
    match sudo_user.filter(|user| !user.is_empty()) {
        Some(user) => (user, String::new()),
        None => {
            let user = rustix::process::geteuid().as_raw().to_string();
            (user, home.filter(|home| home.starts_with('/')).unwrap_or_default())
        }
    }
}

/// The sources of components, as they are written.
const SOURCES: [&str; 3] = ["auto", "release", "build"];
/// The one that names a file.
const BUNDLE: &str = "bundle=";

/// Checks a source of components; the path of a bundle is made absolute, since the service is elsewhere.
fn source(text: &str) -> Result<String, String> {
    if SOURCES.contains(&text) {
        return Ok(text.to_owned());
    }
    match text.strip_prefix(BUNDLE) {
        Some(file) if !file.is_empty() => {
            let path = std::path::absolute(file).map_err(|error| format!("{file}: {error}"))?;
            let path = path.to_str().ok_or_else(|| format!("{file:?} is not UTF-8"))?;
            Ok(format!("{BUNDLE}{path}"))
        }
        _ => Err(format!("it is one of {} or {BUNDLE}FILE", SOURCES.join(", "))),
    }
}

/// How long the lifecycle service may take to open its socket after `bootstrap start` has returned.
const SOCKET_WAIT: Duration = Duration::from_secs(10);
/// How often it is tried.
const SOCKET_RETRY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sudo shimctl up --install\n  sudo shimctl up --no-kubernetes\n  sudo shimctl --root /srv/two up --components bundle=/srv/kubernetes.tar"
)]
pub(crate) struct Args {
    /// Start the container runtime only: for crictl, and for another kubelet
    #[arg(long)]
    no_kubernetes: bool,
    /// Version of Kubernetes, such as v1.36.3; by default that of the cluster that is there, else the newest known
    #[arg(long, value_name = "VERSION", conflicts_with = "no_kubernetes")]
    kubernetes_version: Option<String>,
    /// Where the components of Kubernetes come from: auto, release, build or bundle=FILE
    #[arg(long, value_name = "SOURCE", conflicts_with = "no_kubernetes", value_parser = source)]
    components: Option<String>,
    /// Install the packages of the distribution that are missing
    #[arg(long)]
    install: bool,
    /// How long to wait until everything is ready
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    wait: Duration,
}

pub(crate) async fn run(args: Args, layout: &Layout) -> Result<(), Failure> {
    let mut flags = Vec::new();
    flags.extend(args.no_kubernetes.then_some("--no-kubernetes"));
    flags.extend(args.install.then_some("--install"));
    let asked = [("--kubernetes-version", &args.kubernetes_version), ("--components", &args.components)];
    flags.extend(asked.iter().filter_map(|(flag, value)| Some([flag, value.as_deref()?])).flatten());
    program::bootstrap(layout, "start", &flags)?;
    let reader = reader(std::env::var("SUDO_USER").ok(), std::env::var("HOME").ok());
    let request = api::UpRequest {
        no_kubernetes: args.no_kubernetes,
        kubernetes_version: args.kubernetes_version.unwrap_or_default(),
        components: args.components.unwrap_or_default(),
        user: reader.0,
        home: reader.1,
    };
    let mut interrupts = super::interrupts()?;
    let mut follower = Follower::new(Parts::starting());
    let end = tokio::select! {
        end = start(layout, request, &mut follower) => Some(end?),
        () = tokio::time::sleep(args.wait) => None,
        _ = interrupts.recv() => {
            follower.paint();
            let [up, status, down] = ["up", "status", "down"].map(|word| layout.root_command(word));
            output::error(&format!(
                "interrupted; the work goes on: {up} follows it again, {status} shows it, {down} ends it"
            ));
            return Err(Failure::Interrupted);
        }
    };
    follower.paint();
    match end {
        Some(End::Complete) => {
            output::line(&format!("Ready. To use it: eval \"$({})\"", layout.command("env")))
        }
        Some(End::Failed(event)) => Err(failed(&event)),
        Some(End::Early) => Err(Failure::failed(format!(
            "the lifecycle service ended before everything was ready; see: {}",
            layout.root_command("logs")
        ))),
        None => Err(Failure::failed(format!(
            "not ready after {:?}: {}; the work goes on: {} shows it",
            args.wait,
            follower.missing(),
            layout.root_command("status")
        ))),
    }
}

async fn start(layout: &Layout, request: api::UpRequest, follower: &mut Follower) -> Result<End, Failure> {
    let mut client = connect_soon(layout).await.map_err(|cause| connect::no_lifecycle(&cause, layout))?;
    let events = client.up(request).await?.into_inner();
    follower.follow(events, |event| event.state() == State::Failed).await
}

async fn connect_soon(layout: &Layout) -> Result<LifecycleClient<Channel>, Cause> {
    let deadline = Instant::now() + SOCKET_WAIT;
    loop {
        match connect::lifecycle(layout).await {
            Err(Cause::Absent) if Instant::now() < deadline => tokio::time::sleep(SOCKET_RETRY).await,
            result => return result,
        }
    }
}

fn failed(event: &api::Event) -> Failure {
    let hint = if event.hint.is_empty() { String::new() } else { format!("\nhint: {}", event.hint) };
    Failure::failed(format!("{}: {}{hint}", event.part, event.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers() {
        let own = rustix::process::geteuid().as_raw().to_string();
        let of = |sudo: Option<&str>, home: &str| reader(sudo.map(Into::into), Some(home.into()));
        assert_eq!(of(Some("ann"), "/root"), ("ann".into(), String::new()));
        assert_eq!(of(None, "/root"), (own.clone(), "/root".into()));
        assert_eq!(of(Some(""), "root"), (own, String::new()));
    }

    #[test]
    fn sources() {
        for known in SOURCES {
            assert_eq!(source(known).as_deref(), Ok(known));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(source("bundle=x.tar"), Ok(format!("bundle={}/x.tar", here.display())));
        assert_eq!(source("bundle=/a/b"), Ok("bundle=/a/b".into()));
        for wrong in ["", "bundle", "bundle=", "Release"] {
            assert!(source(wrong).unwrap_err().contains("auto, release, build or bundle=FILE"), "{wrong}");
        }
    }
}
