//! One watch: a kind of object, as the API has it, for as long as the daemon runs.
//!
//! In: events of the API. Out: the store changed. Lists come as a stream, so that one object at a time is in memory; where the API has no such lists, in pages.
//!
//! The watcher resumes by itself, and begins anew where its place is lost (410). After some failures in a row the connection is made anew, too: from its
//! files ([`access`](super::access)), so that another authority is taken. A watch that fails rests, each time longer.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
// Chooses which version of Kubernetes' types `kube` is built with.
use k8s_openapi as _;
use kube::api::{Api, ApiResource};
use kube::client::Client;
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Shared, Way};
use super::objects::Objects;
use super::thin::Thin;
use crate::source::{Inserted, Key, Kind, Watched};

/// Failures in a row before the client is made anew.
const PATIENCE: u32 = 3;

/// The first rest after a failure, and the longest.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How long the word that an object of a custom kind is gone is not believed.
const DOUBT: Duration = Duration::from_secs(2);

/// Why a watch rests.
enum Broken {
    /// The API has no lists that come as a stream.
    NoStreams,
    /// Nor need it have this kind.
    Absent,
    Failed(String),
}

/// Watches until it is dropped.
pub(super) async fn run(watched: Watched, objects: Arc<Objects>, shared: Arc<Shared>, kubeconfig: Option<PathBuf>) {
    let (mut streams, mut rest, mut said) = (true, REST.0, String::new());
    loop {
        let began = Instant::now();
        let way = shared.way(kubeconfig.as_deref());
        let broken = match &way {
            Ok(way) => follow(&watched, &objects, way, streams).await,
            Err(why) => Broken::Failed(why.clone()),
        };
        match broken {
            Broken::NoStreams => streams = false,
            Broken::Absent => tokio::time::sleep(REST.1 + jitter(REST.1)).await,
            Broken::Failed(why) => {
                // Once; `status` has it as long as it lasts.
                if why != said || began.elapsed() > REST.1 {
                    tracing::warn!(objects = %watched, "{why}");
                    said.clone_from(&why);
                }
                objects.failed(&watched, why);
                way.iter().for_each(|way| shared.forget(way));
                // One that lasted was no failure of this kind.
                rest = if began.elapsed() > REST.1 { REST.0 } else { (rest * 2).min(REST.1) };
                tokio::time::sleep(rest + jitter(rest)).await;
            }
        }
    }
}

/// Up to a quarter, so that a cluster's nodes do not come all at once.
fn jitter(rest: Duration) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
    rest / 4 * (now % 100) / 100
}

/// A watch while it runs.
struct Following<'a> {
    watched: &'a Watched,
    objects: &'a Objects,
    client: Client,
    resource: ApiResource,
    /// What a list had so far.
    listing: BTreeSet<Key>,
    /// What each object said last, by [`digests`]: a sign of life of a node says the same, and is looked at no further.
    said: HashMap<u64, u64>,
    leaving: Leaving,
    /// In a row.
    failures: u32,
}

/// Objects of a custom kind that the API says are deleted. With a definition all its objects are deleted, one by one and before it is gone
/// itself: so they are believed a moment later, and only if the definition still stands.
#[derive(Default)]
struct Leaving {
    keys: BTreeSet<Key>,
    /// When the definition is looked at.
    at: Option<Instant>,
}

impl Leaving {
    fn insert(&mut self, key: Key) {
        self.keys.insert(key);
        self.at.get_or_insert_with(|| Instant::now() + DOUBT);
    }
}

/// Until it fails for good.
async fn follow(watched: &Watched, objects: &Arc<Objects>, way: &Arc<Way>, streams: bool) -> Broken {
    objects.in_pages(watched, !streams);
    let client = way.client(&watched.to_string(), objects);
    let resource = ApiResource {
        group: watched.group.to_owned(),
        version: watched.version.to_owned(),
        api_version: watched.api_version(),
        kind: watched.kind_name.to_owned(),
        plural: watched.plural.to_owned(),
    };
    let api: Api<Thin> = match &watched.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut config = watcher::Config::default();
    if let Some(name) = &watched.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    if let Some(node) = &watched.on_node {
        config = config.fields(&format!("spec.nodeName={node}"));
    }
    if let Some((labels, _)) = &watched.labels {
        config = config.labels(labels);
    }
    if streams {
        config = config.streaming_lists();
    }
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    let mut following = Following {
        watched,
        objects,
        client,
        resource,
        listing: BTreeSet::new(),
        said: HashMap::new(),
        leaving: Leaving::default(),
        failures: 0,
    };
    loop {
        let doubt = following.leaving.at;
        let taken = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => {
                    following.take(event);
                    Ok(())
                }
                Some(Err(error)) if streams && has_no_streams(&error) => Err(Broken::NoStreams),
                Some(Err(error)) => following.on_error(error).await,
                None => Err(Broken::Failed("the stream has ended".to_owned())),
            },
            () = tokio::time::sleep_until(doubt.unwrap_or_else(Instant::now)), if doubt.is_some() => following.let_go().await,
        };
        if let Err(broken) = taken {
            return broken;
        }
    }
}

impl Following<'_> {
    fn take(&mut self, event: Event<Thin>) {
        self.failures = 0;
        if matches!(event, Event::Apply(_) | Event::Delete(_)) {
            self.objects.has_event(self.watched);
        }
        match event {
            Event::Init => {
                self.listing.clear();
                self.said.clear();
            }
            Event::InitApply(object) => {
                let key = self.key_of(&object);
                self.listing.insert(key);
                self.learn(object);
            }
            Event::Apply(object) => {
                if !self.leaving.keys.is_empty() {
                    let key = self.key_of(&object);
                    self.leaving.keys.remove(&key);
                }
                self.learn(object);
            }
            Event::Delete(object) => {
                self.said.remove(&digests(&object).0);
                self.gone(self.key_of(&object));
            }
            Event::InitDone => {
                self.leaving = Leaving::default();
                // What a whole list does not have is gone.
                let gone = self.objects.others(self.watched, &self.listing);
                gone.into_iter().for_each(|key| self.gone(key));
                self.objects.listed(self.watched);
            }
        }
    }

    fn key_of(&self, object: &Thin) -> Key {
        let metadata = &object.metadata;
        Key::new(self.watched.kind, metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
    }

    /// Takes in an object, unless it says what it said the last time.
    fn learn(&mut self, object: Thin) {
        let (name, says) = digests(&object);
        // Another watch of the same object may have let it go.
        let known = |key: &Key| self.objects.lock().store.contains(key);
        if self.said.insert(name, says) != Some(says) || !known(&self.key_of(&object)) {
            self.objects.insert(as_value(object, &self.resource));
        }
    }

    fn gone(&mut self, key: Key) {
        if !self.watched.covers(&key) {
            return;
        }
        if self.watched.is_custom() {
            self.leaving.insert(key);
        } else {
            self.objects.remove(&key);
        }
    }

    /// Lets go of what is gone, unless its definition goes with it.
    async fn let_go(&mut self) -> Result<(), Broken> {
        let leaving = std::mem::take(&mut self.leaving).keys;
        match self.client.list_api_group_resources(&self.resource.api_version).await {
            // One that is about to go takes no new objects.
            Ok(known) if known.resources.iter().any(|r| r.name == self.resource.plural && r.verbs.iter().any(|verb| verb == "create")) => {
                leaving.iter().for_each(|key| self.objects.remove(key));
                Ok(())
            }
            Ok(_) => Err(Broken::Failed("its definition is being deleted".to_owned())),
            Err(error) => Err(Broken::Failed(format!("whether its definition still stands cannot be known: {}", chain(&error)))),
        }
    }

    async fn on_error(&mut self, error: watcher::Error) -> Result<(), Broken> {
        if is_absent(&error) {
            return Err(self.objects.absent(self.watched, &chain(&error)));
        }
        self.failures += 1;
        if self.failures >= PATIENCE {
            return Err(Broken::Failed(chain(&error)));
        }
        self.objects.failed(self.watched, chain(&error));
        tokio::time::sleep(REST.0 * self.failures).await;
        Ok(())
    }
}

/// With the reasons behind it, each once: "failed to start watching" alone tells nobody that a certificate is not trusted.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// An etcd that is too old answers 500 inside the stream, a switched-off feature 422.
fn has_no_streams(error: &watcher::Error) -> bool {
    matches!(code(error), Some(422 | 500))
}

fn is_absent(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

/// Of an object's name, and of all that it says to us.
fn digests(object: &Thin) -> (u64, u64) {
    let metadata = &object.metadata;
    let (mut name, mut says) = (DefaultHasher::new(), DefaultHasher::new());
    (&metadata.namespace, &metadata.name).hash(&mut name);
    (&metadata.labels, &metadata.annotations, &object.rest).hash(&mut says);
    (name.finish(), says.finish())
}

/// As the store reads objects.
fn as_value(object: Thin, resource: &ApiResource) -> Value {
    let (metadata, mut value) = (object.metadata, object.rest);
    value.insert("apiVersion".to_owned(), resource.api_version.clone().into());
    value.insert("kind".to_owned(), resource.kind.clone().into());
    let said = json!({
        "name": metadata.name, "namespace": metadata.namespace, "labels": metadata.labels, "annotations": metadata.annotations,
    });
    value.insert("metadata".to_owned(), said);
    Value::Object(value)
}

impl Objects {
    fn insert(&self, value: Value) {
        let changed = self.lock().store.insert(value);
        for one in &changed {
            if let Inserted::Unreadable(key, why) = one {
                tracing::warn!("{key} cannot be read, and its last good version stays: {why}");
            }
        }
        if changed.iter().any(|one| !matches!(one, Inserted::Same(_))) {
            self.has_changed();
        }
    }

    fn remove(&self, key: &Key) {
        if self.lock().store.remove(key) {
            self.has_changed();
        }
    }

    /// Those that a list does not have.
    fn others(&self, watched: &Watched, listed: &BTreeSet<Key>) -> Vec<Key> {
        self.lock().store.keys(watched.kind).filter(|key| watched.covers(key) && !listed.contains(key)).cloned().collect()
    }

    fn listed(&self, watched: &Watched) {
        let mut known = self.lock();
        let standing = known.watches.entry(watched.to_string()).or_default();
        (standing.since, standing.error) = (Some(SystemTime::now()), None);
        standing.lists += 1;
        if watched.kind == Kind::Pod && known.store.know_pods(true) {
            self.changed.notify_one();
        }
        self.stirred.notify_one();
    }

    fn failed(&self, watched: &Watched, why: String) {
        let mut known = self.lock();
        let standing = known.watches.entry(watched.to_string()).or_default();
        standing.error = Some(why);
        standing.errors += 1;
        self.stirred.notify_one();
    }

    /// The API has answered: a watch that goes on where it was says nothing else.
    pub(super) fn answered(&self, name: &str) {
        let mut known = self.lock();
        let Some(standing) = known.watches.get_mut(name) else { return };
        standing.contact = Some(SystemTime::now());
        if standing.since.is_some() && standing.error.take().is_some() {
            self.stirred.notify_one();
        }
    }

    pub(super) fn received(&self, name: &str, octets: usize) {
        let mut known = self.lock();
        let standing = known.watches.entry(name.to_owned()).or_default();
        standing.contact = Some(SystemTime::now());
        standing.octets += octets as u64;
    }

    fn in_pages(&self, watched: &Watched, pages: bool) {
        self.lock().watches.entry(watched.to_string()).or_default().pages = pages;
    }

    fn has_event(&self, watched: &Watched) {
        self.lock().watches.entry(watched.to_string()).or_default().events += 1;
    }

    /// The API does not know the kind. Objects of it that were known stay: a definition that was deleted by mistake is no order to forget. Where a
    /// cluster can do without the kind, there are none.
    fn absent(&self, watched: &Watched, why: &str) -> Broken {
        if watched.essential || self.lock().store.has(watched.kind) {
            return Broken::Failed(format!("the API does not have it: {why}"));
        }
        self.listed(watched);
        Broken::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_says_what_was_said_before() {
        let node = |name: &str, rack: &str, block: &str, beat: &str| {
            let text = json!({"kind": "Node", "metadata": {"name": name, "resourceVersion": beat, "labels": {"rack": rack}},
                "spec": {"podCIDRs": [block]}, "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]}});
            digests(&serde_json::from_str::<Thin>(&text.to_string()).expect("a node"))
        };
        let first = node("a", "1", "10.244.1.0/24", "12:00");
        assert_eq!(node("a", "1", "10.244.1.0/24", "12:05"), first);
        assert_ne!(node("b", "1", "10.244.1.0/24", "12:00").0, first.0, "another node");
        for other in [node("a", "2", "10.244.1.0/24", "12:05"), node("a", "1", "10.244.2.0/24", "12:05")] {
            assert!(other.0 == first.0 && other.1 != first.1);
        }
    }
}
