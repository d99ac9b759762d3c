//! What is known of a cluster: its objects, whether all of them were seen, and how the watches are doing.
//!
//! In: objects, from the watches or from the file of an earlier run. Out: a configuration, merged with the file's; words for who has changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::config::Config;
use crate::config::model::Kubernetes;
use crate::source::{self, Store, Watched, watched};

/// What is known of the cluster.
#[derive(Default)]
pub struct Objects {
    pub(super) known: Mutex<Known>,
    /// They say something else than before, or are complete now.
    pub changed: Notify,
    /// The same, and how watches are doing; for the service that looks after them.
    pub(super) stirred: Notify,
}

/// See [`Objects`].
#[derive(Default)]
pub(super) struct Known {
    pub(super) store: Store,
    /// Every kind was listed once, in this run or in the one that wrote the file.
    pub(super) complete: bool,
    pub(super) watches: BTreeMap<String, Standing>,
}

/// How a watch is doing.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// `None`: it was not listed yet.
    pub(super) since: Option<SystemTime>,
    pub(super) error: Option<String>,
}

impl Objects {
    /// With what an earlier run knew, if there is something.
    pub fn starting_with(store: Option<Store>) -> Objects {
        let complete = store.is_some();
        let known = Known { store: store.unwrap_or_default(), complete, watches: BTreeMap::new() };
        Objects { known: Mutex::new(known), ..Objects::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `use_it` makes of the objects; `None` as long as they are not complete.
    pub fn with<T>(&self, use_it: impl FnOnce(&Store) -> T) -> Option<T> {
        let known = self.lock();
        known.complete.then(|| use_it(&known.store))
    }

    /// Other objects are asked for: what is known is not all of them until each kind was listed.
    pub fn begin_anew(&self) {
        let mut known = self.lock();
        known.complete = false;
        known.watches.clear();
    }

    pub(super) fn wanted(&self, kubernetes: &Kubernetes, node: &str) -> Vec<Watched> {
        watched(kubernetes, node, &self.lock().store)
    }

    /// All that are wanted were listed: from now on their absence says something.
    pub(super) fn look_whether_complete(&self, wanted: &[Watched]) {
        let mut known = self.lock();
        let listed = |w: &Watched| known.watches.get(&w.to_string()).is_some_and(|standing| standing.since.is_some());
        if !known.complete && wanted.iter().all(listed) {
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
