//! What the user's docker configuration knows about a registry host.
//!
//! Nothing is read before a daemon asks, since most commands never need it.

mod base64;
mod config;
mod helper;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use proto::control as api;
use tokio::task::JoinSet;

use self::config::Config;
use crate::output;

/// The host of Docker Hub, as image names have it.
const HUB: &str = "docker.io";
/// How docker's configuration names Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Other hosts of Docker Hub.
const HUB_HOSTS: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];
/// Questions that one call may have open.
const MAX_QUESTIONS: usize = 64;

/// The answers to the questions of one call, looked up while the call goes on.
#[derive(Debug, Default)]
pub(crate) struct Lookups(JoinSet<anyhow::Result<Answer>>);

impl Lookups {
    /// Starts to look up what is known about a host.
    ///
    /// # Errors
    /// If the daemon asks more than any call needs.
    pub(crate) fn start(&mut self, host: String) -> anyhow::Result<()> {
        if self.0.len() >= MAX_QUESTIONS {
            return Err(anyhow!(
                "the daemon asks for the credentials of more than {MAX_QUESTIONS} hosts at once"
            ));
        }
        self.0.spawn(async move { look_up(host, config_path()?).await });
        Ok(())
    }

    /// Waits for the next answer, and forever if there is no question.
    ///
    /// # Errors
    /// If the configuration cannot be read, with the name of the file.
    pub(crate) async fn next(&mut self) -> anyhow::Result<api::Credential> {
        let answer = match self.0.join_next().await {
            Some(answer) => answer.context("look up credentials")??,
            None => std::future::pending().await,
        };
        if let Some(warning) = answer.warning {
            output::note(&format!("warning: {}", output::text::printable(&warning)));
        }
        Ok(answer.credential)
    }
}

/// What is known about a host, and what went wrong on the way if it does not matter enough to fail.
#[derive(Debug, Default)]
struct Answer {
    credential: api::Credential,
    warning: Option<String>,
}

/// Returns where docker's configuration is: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
fn config_path() -> anyhow::Result<Option<PathBuf>> {
    let named = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = named.or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    Ok(dir.map(|dir| dir.join("config.json")))
}

async fn look_up(host: String, path: Option<PathBuf>) -> anyhow::Result<Answer> {
    let mut answer = Answer::default();
    let config = match path {
        Some(path) => Config::read(&path)?,
        None => Config::default(),
    };
    let names = names_of(&host);
    if let Some((program, server)) = config.helper(&names) {
        match helper::get(&program, &server).await {
            Ok(Some(found)) => answer.credential = found,
            Ok(None) => {}
            Err(error) => {
                answer.warning = Some(format!("{error:#}; going on without what it knows about {host}"))
            }
        }
    }
    if answer.credential == api::Credential::default() {
        answer.credential = config.stored(&names)?;
    }
    answer.credential.host = host;
    Ok(answer)
}

/// Returns the names under which a host may be in the configuration, docker's own first.
fn names_of(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    if host == HUB || HUB_HOSTS.contains(&host) {
        names = std::iter::once(HUB_KEY).chain([HUB]).chain(HUB_HOSTS).map(str::to_owned).collect();
    }
    names
}
