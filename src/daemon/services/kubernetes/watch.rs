//! One watch: a kind of object, as the API has it, for as long as the daemon runs.
//!
//! In: events of the API. Out: the store changed. Lists come as a stream, so that one object at a time is in memory; where the API has no such lists, in pages.
//!
//! The watcher resumes by itself, and begins anew where its place is lost (410). After some failures in a row the client is made anew, too: from its
//! files, so that another token or another CA is taken. A watch that fails rests, each time longer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
// Chooses which version of Kubernetes' types `kube` is built with.
use k8s_openapi as _;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Config};
use serde_json::{Map, Value, json};

use super::objects::{Objects, Standing};
use crate::source::{Inserted, Key, Watched};

/// Failures in a row before the client is made anew.
const PATIENCE: u32 = 3;

/// The first rest after a failure, and the longest.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Why a watch rests.
enum Broken {
    /// The API has no lists that come as a stream.
    NoStreams,
    Failed(String),
}

/// Watches until it is dropped.
pub(super) async fn run(watched: Watched, objects: Arc<Objects>, kubeconfig: Option<PathBuf>) {
    let (mut streams, mut rest) = (true, REST.0);
    loop {
        let began = tokio::time::Instant::now();
        match follow(&watched, &objects, kubeconfig.as_ref(), streams).await {
            Broken::NoStreams => streams = false,
            Broken::Failed(why) => {
                tracing::warn!(objects = %watched, "{why}");
                objects.failed(&watched, why);
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

async fn client(kubeconfig: Option<&PathBuf>) -> Result<Client, String> {
    let config = match kubeconfig {
        Some(path) => {
            let file = kube::config::Kubeconfig::read_from(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.map_err(|error| error.to_string())?
        }
        None => Config::incluster().map_err(|error| error.to_string())?,
    };
    Client::try_from(config).map_err(|error| error.to_string())
}

/// Until it fails for good.
async fn follow(watched: &Watched, objects: &Objects, kubeconfig: Option<&PathBuf>, streams: bool) -> Broken {
    let client = match client(kubeconfig).await {
        Ok(client) => client,
        Err(why) => return Broken::Failed(why),
    };
    let resource = ApiResource {
        group: watched.group.to_owned(),
        version: watched.version.to_owned(),
        api_version: watched.api_version(),
        kind: watched.kind_name.to_owned(),
        plural: watched.plural.to_owned(),
    };
    let api: Api<DynamicObject> = match &watched.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut config = watcher::Config::default();
    if let Some(name) = &watched.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    if streams {
        config = config.streaming_lists();
    }
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    let (mut listing, mut failures) = (BTreeSet::new(), 0);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                failures = 0;
                objects.take(watched, &resource, event, &mut listing);
            }
            Err(error) if streams && has_no_streams(&error) => return Broken::NoStreams,
            Err(error) if is_absent(&error) => return objects.absent(watched, &error.to_string()),
            Err(error) => {
                failures += 1;
                if failures >= PATIENCE {
                    return Broken::Failed(error.to_string());
                }
                objects.failed(watched, error.to_string());
                tokio::time::sleep(REST.0 * failures).await;
            }
        }
    }
    Broken::Failed("the stream has ended".to_owned())
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

/// As the store reads objects.
fn as_value(object: DynamicObject, resource: &ApiResource) -> Value {
    let metadata = object.metadata;
    let mut value = match object.data {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    value.insert("apiVersion".to_owned(), resource.api_version.clone().into());
    value.insert("kind".to_owned(), resource.kind.clone().into());
    let said = json!({
        "name": metadata.name, "namespace": metadata.namespace, "labels": metadata.labels, "annotations": metadata.annotations,
    });
    value.insert("metadata".to_owned(), said);
    Value::Object(value)
}

impl Objects {
    fn take(&self, watched: &Watched, resource: &ApiResource, event: Event<DynamicObject>, listing: &mut BTreeSet<Key>) {
        let key = |object: &DynamicObject| {
            let metadata = &object.metadata;
            Key::new(watched.kind, metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
        };
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(object) => {
                listing.insert(key(&object));
                self.insert(as_value(object, resource));
            }
            Event::Apply(object) => self.insert(as_value(object, resource)),
            Event::Delete(object) => self.remove(&key(&object)),
            Event::InitDone => {
                self.remove_others(watched, listing);
                self.listed(watched);
            }
        }
    }

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

    fn has_changed(&self) {
        self.changed.notify_one();
        self.stirred.notify_one();
    }

    fn remove(&self, key: &Key) {
        if self.lock().store.remove(key) {
            self.has_changed();
        }
    }

    /// What a whole list does not have is gone.
    fn remove_others(&self, watched: &Watched, listed: &BTreeSet<Key>) {
        let gone: Vec<Key> =
            self.lock().store.keys(watched.kind).filter(|key| watched.covers(key) && !listed.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.remove(key));
    }

    fn listed(&self, watched: &Watched) {
        self.stands(watched, Standing { since: Some(SystemTime::now()), error: None });
    }

    fn stands(&self, watched: &Watched, standing: Standing) {
        self.lock().watches.insert(watched.to_string(), standing);
        self.stirred.notify_one();
    }

    fn failed(&self, watched: &Watched, why: String) {
        let since = self.lock().watches.get(&watched.to_string()).and_then(|standing| standing.since);
        self.stands(watched, Standing { since, error: Some(why) });
    }

    /// The API does not know the kind. Where objects of it were known they stay: a definition that was deleted by mistake is no order to forget. Where
    /// none ever was, there are none.
    fn absent(&self, watched: &Watched, why: &str) -> Broken {
        let none_known = self.lock().store.keys(watched.kind).next().is_none();
        if none_known {
            self.stands(watched, Standing { since: Some(SystemTime::now()), error: None });
        }
        Broken::Failed(format!("the API does not have it: {why}"))
    }
}
