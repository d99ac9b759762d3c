//! What is known of a cluster: its objects, whether all of them were seen, and how the watches are doing.
//!
//! In: objects, from the watches or from the file of an earlier run. Out: a configuration, merged with the file's; words for who has changed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::config::Config;
use crate::config::model::Kubernetes;
use crate::daemon::protocol::SourceRow;
use crate::source::{self, Kind, Store, Watched, watched};

/// What is known of the cluster.
#[derive(Default)]
pub struct Objects {
    pub(super) known: Mutex<Known>,
    /// They say something else than before, or are complete now.
    pub changed: Notify,
    /// The same, and how watches are doing; for the service that looks after them.
    pub(super) stirred: Notify,
    /// How often an object said something else than before.
    changes: AtomicU64,
    /// The network of this node's pods is ours, and is there.
    network: AtomicBool,
}

/// See [`Objects`].
#[derive(Default)]
pub(super) struct Known {
    pub(super) store: Store,
    /// Every kind was listed once, in this run or in the one that wrote the file.
    pub(super) complete: bool,
    /// What is asked of the API.
    pub(super) wanted: Vec<Watched>,
    pub(super) watches: BTreeMap<String, Standing>,
}

/// How a watch is doing.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Of the last whole list; `None`: it was not listed yet.
    pub(super) since: Option<SystemTime>,
    pub(super) error: Option<String>,
    /// The API said something.
    pub(super) contact: Option<SystemTime>,
    pub(super) events: u64,
    pub(super) octets: u64,
    pub(super) lists: u64,
    pub(super) errors: u64,
    pub(super) pages: bool,
}

impl Objects {
    /// With what an earlier run knew, if there is something.
    pub fn starting_with(store: Option<Store>) -> Objects {
        let complete = store.is_some();
        let known = Known { store: store.unwrap_or_default(), complete, ..Known::default() };
        Objects { known: Mutex::new(known), ..Objects::default() }
    }

    /// Pods of this node can be connected.
    pub fn network_is_there(&self) {
        if !self.network.swap(true, Ordering::Relaxed) {
            self.stirred.notify_one();
        }
    }

    /// It is there, and the Node of this name says otherwise.
    pub(super) fn is_said_to_lack_network(&self, node: &str) -> bool {
        let says = |known: &Known| known.store.nodes().any(|(key, object)| key.name == node && object.lacks_network());
        self.network.load(Ordering::Relaxed) && says(&self.lock())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `use_it` makes of the objects; `None` as long as they are not complete.
    pub fn with<T>(&self, use_it: impl FnOnce(&Store) -> T) -> Option<T> {
        let known = self.lock();
        known.complete.then(|| use_it(&known.store))
    }

    /// How often an object said something else than before, came or went.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// An object says something else than before, came, or is gone.
    pub(super) fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        self.stirred.notify_one();
    }

    /// Other objects are asked for: what is known is not all of them until each kind was listed.
    pub fn begin_anew(&self) {
        let mut known = self.lock();
        known.complete = false;
        known.watches.clear();
        known.wanted.clear();
    }

    /// What the watches of this run have come to, and what is known.
    pub fn rows(&self) -> Vec<SourceRow> {
        let known = self.lock();
        let ago = |at: Option<SystemTime>| Some(at?.elapsed().unwrap_or_default().as_secs_f64());
        let row = |watched: &Watched| {
            let whole = watched.to_string();
            let standing = known.watches.get(&whole).cloned().unwrap_or_default();
            let only = whole.strip_prefix(watched.plural).map(str::trim).filter(|only| !only.is_empty()).map(str::to_owned);
            SourceRow {
                kind: watched.plural.to_owned(),
                only,
                objects: known.store.keys(watched.kind).filter(|key| watched.covers(key)).count(),
                listed_seconds_ago: ago(standing.since),
                contact_seconds_ago: ago(standing.contact),
                events: standing.events,
                octets: standing.octets,
                lists: standing.lists,
                errors: standing.errors,
                pages: standing.pages,
                error: standing.error,
            }
        };
        known.wanted.iter().map(row).collect()
    }

    pub(super) fn wanted(&self, kubernetes: &Kubernetes, node: &str) -> Vec<Watched> {
        let mut known = self.lock();
        known.wanted = watched(kubernetes, node, &known.store);
        let Known { wanted, watches, .. } = &mut *known;
        watches.retain(|name, _| wanted.iter().any(|one| one.to_string() == *name));
        let wanted = wanted.clone();
        if !wanted.iter().any(|one| one.kind == Kind::Pod) {
            known.store.know_pods(false);
        }
        wanted
    }

    /// All that are wanted were listed: from now on their absence says something.
    pub(super) fn look_whether_complete(&self, wanted: &[Watched]) {
        let mut known = self.lock();
        let listed = |w: &Watched| known.watches.get(&w.to_string()).is_some_and(|standing| standing.since.is_some());
        // Pods are asked about by a node that leaves, and what else is known counts without them.
        if !known.complete && wanted.iter().filter(|w| w.kind != Kind::Pod).all(listed) {
            known.complete = true;
            self.changed.notify_one();
        }
    }

    /// A line for each watch that does not do well.
    pub(super) fn warnings(&self) -> Vec<String> {
        let said = |(what, standing): (&String, &Standing)| {
            let error = standing.error.as_ref()?;
            Some(format!("{what} cannot be watched, and what was known last stays: {error}"))
        };
        self.lock().watches.iter().filter_map(said).collect()
    }
}

impl Objects {
    /// The file's configuration with what the objects say. Where they are not known yet it is provisional.
    ///
    /// # Errors
    /// Why none comes of it.
    pub fn merged(&self, file: &Config) -> Result<Config, String> {
        if file.kubernetes.is_none() {
            return Ok(file.clone());
        }
        let provisional = || Ok(Config { provisional: true, ..file.clone() });
        self.with(|store| source::merge(file, store))
            .map_or_else(provisional, |merged| merged.map(|merged| merged.config).map_err(|why| why.to_string()))
    }
}
