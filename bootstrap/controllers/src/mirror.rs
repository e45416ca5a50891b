//! A copy of what the API server holds of one kind, kept up to date by a watch.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::cluster;
use crate::name::Name;

/// After how long a watch is begun anew: bounds how long a connection that died silently goes unnoticed.
const WATCH_SECONDS: u32 = 60;
/// The pause after the first failure of a watch; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of one kind of object, as far as it is of interest here. Clones share it.
#[derive(Debug)]
pub(crate) struct Mirror<T> {
    state: Arc<Mutex<State<T>>>,
}

impl<T> Clone for Mirror<T> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

#[derive(Debug)]
struct State<T> {
    current: BTreeMap<Name, T>,
    /// What a list that has not ended yet named so far: only a whole one replaces what is known.
    incoming: BTreeMap<Name, T>,
    is_complete: bool,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        let state = State { current: BTreeMap::new(), incoming: BTreeMap::new(), is_complete: false };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl<T: Clone + PartialEq> Mirror<T> {
    /// Tells whether everything was listed once. Until then nothing can be concluded from what is not there.
    pub(crate) fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// Returns what is known now.
    pub(crate) fn all(&self) -> BTreeMap<Name, T> {
        self.lock().current.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics while it holds the lock; if it did, every single update is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an event; tells whether what is known changed. `view` takes from an object what is of interest, if it is at all.
    fn apply<K: kube::ResourceExt>(&self, event: Event<K>, view: fn(&K) -> Option<T>) -> bool {
        let mut state = self.lock();
        match event {
            Event::Init => state.incoming.clear(),
            Event::InitApply(object) => {
                if let Some(seen) = view(&object) {
                    state.incoming.insert(Name::of(&object), seen);
                }
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut state.incoming);
                let is_news = !state.is_complete || listed != state.current;
                state.current = listed;
                state.is_complete = true;
                return is_news;
            }
            Event::Apply(object) => {
                let name = Name::of(&object);
                return match view(&object) {
                    Some(seen) => {
                        let is_news = state.current.get(&name) != Some(&seen);
                        state.current.insert(name, seen);
                        is_news
                    }
                    None => state.current.remove(&name).is_some(),
                };
            }
            Event::Delete(object) => return state.current.remove(&Name::of(&object)).is_some(),
        }
        false
    }

    /// Keeps the mirror up to date, for ever. Failures are logged and tried again; meanwhile what was known last is kept.
    pub(crate) async fn follow<K>(self, api: Api<K>, changed: Arc<Notify>, view: fn(&K) -> Option<T>)
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let events = watcher::watcher(api, watcher::Config::default().timeout(WATCH_SECONDS));
        let mut events = pin!(events.backoff(Pauses::default()));
        let (kind, mut last_problem) = (K::kind(&()), None);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    if last_problem.take().is_some() {
                        info!(%kind, "watched again");
                    }
                    if self.apply(event, view) {
                        changed.notify_one();
                    }
                }
                Err(error) => {
                    let problem = explain(error);
                    if last_problem.as_ref() != Some(&problem) {
                        warn!(%kind, problem, "cannot watch");
                    }
                    last_problem = Some(problem);
                }
            }
        }
    }
}

fn explain(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => cluster::explain(&error),
        watcher::Error::WatchError(status) => status.message,
        error @ watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// How long each pause is; anything that succeeds begins anew.
#[derive(Debug, Default)]
struct Pauses {
    failures: u32,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        Some(pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn map(name: &str, value: Option<&str>) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("n".into()),
                ..Default::default()
            },
            data: value.map(|value| BTreeMap::from([("k".to_owned(), value.to_owned())])),
            ..Default::default()
        }
    }

    fn view(map: &ConfigMap) -> Option<String> {
        map.data.as_ref()?.get("k").cloned()
    }

    /// An event, whether it is news, and what is known then.
    type Step = (Event<ConfigMap>, bool, &'static [(&'static str, &'static str)]);

    #[test]
    fn only_news_count_and_only_whole_lists_replace() {
        let mirror = Mirror::default();
        let steps: [Step; 15] = [
            (Event::Init, false, &[]),
            (Event::InitApply(map("a", Some("1"))), false, &[]),
            (Event::InitApply(map("dull", None)), false, &[]),
            (Event::InitDone, true, &[("a", "1")]),
            (Event::Apply(map("a", Some("1"))), false, &[("a", "1")]),
            (Event::Apply(map("a", Some("2"))), true, &[("a", "2")]),
            (Event::Apply(map("dull", None)), false, &[("a", "2")]),
            (Event::Apply(map("b", Some("1"))), true, &[("a", "2"), ("b", "1")]),
            (Event::Apply(map("b", None)), true, &[("a", "2")]),
            // A list that broke off takes nothing away.
            (Event::Init, false, &[("a", "2")]),
            (Event::InitApply(map("c", Some("3"))), false, &[("a", "2")]),
            (Event::Init, false, &[("a", "2")]),
            (Event::InitDone, true, &[]),
            (Event::Delete(map("a", Some("2"))), false, &[]),
            (Event::Apply(map("a", Some("2"))), true, &[("a", "2")]),
        ];
        for (number, (event, is_news, expected)) in steps.into_iter().enumerate() {
            assert_eq!(mirror.apply(event, view), is_news, "step {number}");
            let known: Vec<(Name, String)> = mirror.all().into_iter().collect();
            let expected: Vec<(Name, String)> =
                expected.iter().map(|(name, value)| (Name::new("n", *name), (*value).to_owned())).collect();
            assert_eq!(known, expected, "step {number}");
            assert_eq!(mirror.is_complete(), number >= 3, "step {number}");
        }
    }

    #[test]
    fn the_first_list_is_news_even_if_it_is_empty() {
        let mirror = Mirror::default();
        assert!(!mirror.apply(Event::Init, view));
        assert!(mirror.apply(Event::InitDone, view));
        assert!(!mirror.apply(Event::Init, view));
        assert!(!mirror.apply(Event::InitDone, view));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let mut pauses = Pauses::default();
        let first: Vec<u128> = pauses.by_ref().take(8).map(|pause| pause.as_millis()).collect();
        assert_eq!(first, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pauses.nth(100), Some(LONGEST_PAUSE));
        pauses.reset();
        assert_eq!(pauses.next(), Some(FIRST_PAUSE));
    }
}
