//! What people are told: events on objects, said once for as long as they are true.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tracing::{info, warn};

use crate::cluster;
use crate::name::{Name, Subject};

/// After how long what is still true is said again. The API server keeps events for an hour.
const REPEAT: Duration = Duration::from_secs(15 * 60);
/// How many events are remembered; of more, the oldest are said again.
const MAX_REMEMBERED: usize = 4096;
/// The longest message that the API server takes is 1024 bytes.
const MAX_MESSAGE_BYTES: usize = 1000;
/// The longest part of an object's name that becomes part of its event's.
const MAX_NAME_BYTES: usize = 200;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It is well.
    Normal,
    /// Somebody should look at it.
    Warning,
}

/// Something to say about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) subject: Subject,
    pub(crate) severity: Severity,
    /// In one word, as in `PortTaken`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The identity of what was said: there is one event for each reason on each object.
type Key = (Subject, &'static str);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    message: String,
    severity: Severity,
    at: Instant,
    count: i32,
}

/// Says things, as events of the core API.
pub(crate) struct Publisher {
    client: Client,
    component: &'static str,
    said: BTreeMap<Key, Said>,
}

impl Publisher {
    pub(crate) fn new(client: Client, component: &'static str) -> Self {
        Self { client, component, said: BTreeMap::new() }
    }

    /// Says something, unless it was said just now in the same words. What cannot be said is logged, and said the next time.
    pub(crate) async fn say(&mut self, notice: Notice) {
        let key = (notice.subject.clone(), notice.reason);
        let now = Instant::now();
        let Some(count) = repetition(self.said.get(&key), &notice.message, now) else { return };
        info!(about = %notice.subject.name, kind = notice.subject.kind, reason = notice.reason, "{}", notice.message);
        if let Err(error) = self.publish(&notice, count).await {
            warn!(about = %notice.subject.name, reason = notice.reason, %error, "cannot write the event");
            return;
        }
        let Notice { message, severity, .. } = notice;
        self.said.insert(key, Said { message, severity, at: now, count });
        if self.said.len() > MAX_REMEMBERED {
            let oldest = self.said.iter().min_by_key(|(_, said)| said.at).map(|(key, _)| key.clone());
            self.said.retain(|key, _| Some(key) != oldest.as_ref());
        }
    }

    /// Takes back every warning for which `holds` says no, given its object and its reason.
    pub(crate) async fn withdraw(&mut self, holds: impl Fn(&Subject, &str) -> bool) {
        let stale: Vec<Key> = self
            .said
            .iter()
            .filter(|((subject, reason), said)| said.severity == Severity::Warning && !holds(subject, reason))
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            let name = event_name(&key.0, key.1);
            let api: Api<Event> = self.api(&key.0);
            match cluster::timely(api.delete(&name, &DeleteParams::default())).await {
                Err(error) if !cluster::is_missing(&error) => {
                    warn!(about = %key.0.name, reason = key.1, %error, "cannot withdraw the event");
                }
                _ => {
                    info!(about = %key.0.name, kind = key.0.kind, reason = key.1, "no longer so");
                    self.said.remove(&key);
                }
            }
        }
    }

    /// Events on objects without a namespace are in `default`.
    fn api(&self, subject: &Subject) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace(&subject.name))
    }

    async fn publish(&self, notice: &Notice, count: i32) -> Result<(), cluster::Failure> {
        let api = self.api(&notice.subject);
        let event = event(notice, self.component, count);
        let name = event.metadata.name.clone().unwrap_or_default();
        if count == 1 {
            match cluster::timely(api.create(&PostParams::default(), &event)).await {
                // It is of an earlier life of this program.
                Err(error) if cluster::is_conflict(&error) => {}
                other => return other.map(drop),
            }
        }
        let change = json!({
            "message": event.message, "type": event.type_, "count": count, "lastTimestamp": event.last_timestamp
        });
        match cluster::timely(api.patch(&name, &PatchParams::default(), &Patch::Merge(change))).await {
            // The API server has forgotten it meanwhile.
            Err(error) if cluster::is_missing(&error) => {
                cluster::timely(api.create(&PostParams::default(), &event)).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}

/// Tells how often something will have been said, or `None` if it need not be said now.
fn repetition(before: Option<&Said>, message: &str, now: Instant) -> Option<i32> {
    match before {
        None => Some(1),
        Some(said) if said.message == message && now.saturating_duration_since(said.at) < REPEAT => None,
        Some(said) => Some(said.count.saturating_add(1)),
    }
}

fn namespace(name: &Name) -> &str {
    if name.namespace.is_empty() { "default" } else { &name.namespace }
}

/// The name of the one event for a reason on an object. It is the same in each life of this program, if it is the same program.
fn event_name(subject: &Subject, reason: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (&subject.uid, subject.kind, reason).hash(&mut hasher);
    // A name's parts must not end with punctuation.
    let start = beginning(&subject.name.name, MAX_NAME_BYTES).trim_end_matches(['.', '-']);
    format!("{start}.{:016x}", hasher.finish())
}

/// The longest beginning of a text that has at most so many bytes.
fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

fn event(notice: &Notice, component: &str, count: i32) -> Event {
    let now = Time(Timestamp::now());
    let subject = &notice.subject;
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(subject, notice.reason)),
            namespace: Some(namespace(&subject.name).to_owned()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(subject.kind.into()),
            name: Some(subject.name.name.clone()),
            namespace: Some(subject.name.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(subject.uid.clone()),
            ..Default::default()
        },
        reason: Some(notice.reason.into()),
        message: Some(beginning(&notice.message, MAX_MESSAGE_BYTES).to_owned()),
        type_: Some(format!("{:?}", notice.severity)),
        source: Some(EventSource { component: Some(component.into()), host: None }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(count),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Server;

    fn notice(name: &str, message: &str) -> Notice {
        let subject = Subject { kind: "Service", name: Name::new("shop", name), uid: "u-1".into() };
        Notice { subject, severity: Severity::Warning, reason: "PortTaken", message: message.into() }
    }

    #[test]
    fn the_same_words_are_not_repeated_at_once() {
        let start = Instant::now();
        let said = Said { message: "port 80".into(), severity: Severity::Warning, at: start, count: 3 };
        let soon = start + Duration::from_secs(2);
        for (before, message, now, expected) in [
            (None, "port 80", soon, Some(1)),
            (Some(&said), "port 80", soon, None),
            (Some(&said), "port 81", soon, Some(4)),
            (Some(&said), "port 80", start + REPEAT, Some(4)),
        ] {
            assert_eq!(repetition(before, message, now), expected, "{message}");
        }
    }

    #[test]
    fn events_have_names_and_sizes_that_are_taken() {
        let long = format!("{}.{}", "a".repeat(MAX_NAME_BYTES - 1), "b".repeat(50));
        for name in ["web", &long] {
            let event = event(&notice(name, &"ä".repeat(MAX_MESSAGE_BYTES)), "vpnkit-controller", 1);
            let given = event.metadata.name.unwrap();
            assert!(given.len() <= 253 && !given.contains(".."), "{given}");
            assert!(event.message.unwrap().len() <= MAX_MESSAGE_BYTES);
            assert_eq!(event.type_.as_deref(), Some("Warning"));
            assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        }
        let web = notice("web", "");
        assert_eq!(event_name(&web.subject, "PortTaken"), event_name(&web.subject, "PortTaken"));
        assert_ne!(event_name(&web.subject, "PortTaken"), event_name(&web.subject, "PortFailed"));
    }

    #[test]
    fn objects_without_a_namespace_have_their_events_in_the_default_one() {
        let mut notice = notice("pvc-1", "");
        notice.subject.name.namespace.clear();
        let event = event(&notice, "storage-provisioner", 2);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!((event.involved_object.namespace, event.count), (None, Some(2)));
    }
    /// Answers as if events were kept: those that are there already, and whether new ones are kept at all.
    fn server(there: bool, keeps: bool) -> Server {
        let mut is_there = there;
        Server::new(move |call| match call.method.as_str() {
            "POST" if is_there => Server::refusal(409),
            "POST" => {
                is_there = keeps;
                (201, call.body.clone())
            }
            _ if is_there => (200, call.body.clone()),
            _ => Server::refusal(404),
        })
    }

    #[tokio::test]
    async fn one_event_is_made_changed_and_taken_back() {
        for (there, keeps, expected) in [
            (false, true, &["POST", "PATCH", "DELETE"][..]),
            // Of an earlier life.
            (true, true, &["POST", "PATCH", "PATCH", "DELETE"]),
            // Forgotten by the API server each time.
            (false, false, &["POST", "PATCH", "POST", "DELETE"]),
        ] {
            let server = server(there, keeps);
            let mut publisher = Publisher::new(server.client(), "vpnkit-controller");
            for message in ["port 80", "port 80", "port 81"] {
                publisher.say(notice("web", message)).await;
            }
            publisher.withdraw(|subject, reason| subject.uid == "u-1" && reason == "PortTaken").await;
            for _ in 0..2 {
                publisher.withdraw(|_, _| false).await;
            }
            let calls = server.calls();
            assert_eq!(calls.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), expected);
            let path = "/api/v1/namespaces/shop/events";
            assert!(calls.iter().all(|call| call.path.starts_with(path)), "{calls:?}");
            assert_eq!(calls[0].body["involvedObject"]["name"], "web");
            let last = &calls[calls.len() - 2].body;
            assert_eq!((&last["message"], &last["count"]), (&json!("port 81"), &json!(2)));
        }
    }

    #[tokio::test]
    async fn what_could_not_be_said_is_said_the_next_time() {
        let server = Server::new(|_| Server::refusal(500));
        let mut publisher = Publisher::new(server.client(), "vpnkit-controller");
        for _ in 0..2 {
            publisher.say(notice("web", "port 80")).await;
        }
        assert_eq!(server.calls().len(), 2);
    }
}
