//! What the objects of a cluster mean for one node: the configuration that nobody has to type.
//!
//! In: objects of the API ([`Store`]), the node's name, and the file's configuration. Out: a [`Meaning`], in which each value has the object that says
//! it, and one merged [`Config`](crate::config::Config) ([`merge()`]). A reload plan between two of those says what a change of the API does.
//!
//! Nothing is watched here, read from disk or decided by time: a client, or `catbird check --objects`, hands objects in. What a flavour is asked for
//! stands in its file: [`nodes`] (Kubernetes' own nodes, and Cilium's), [`calico`], and for all of them [`services`] and [`leaving`].

mod calico;
mod leaving;
mod meaning;
mod merge;
mod nodes;
mod object;
mod policies;
mod secrets;
mod selector;
mod services;
mod store;
mod watched;

pub use meaning::{
    Action, Announce, Block, Encapsulation, Families, Filter, KeptOut, Listen, Matches, Meaning, NextHopMode, NodeMeaning, Note, Operation,
    PasswordSource, Pool, PrefixCommunities, PrefixMatch, Priorities, Rule, ServiceAddress, Services, Session, SessionKind, Sourced,
    StaticRoute,
};
pub use merge::{Conflict, Merged, Unusable, merge};
pub use object::{Key, Kind, NodeCondition, Object};
pub use secrets::base64;
pub use selector::Selector;
pub use store::{Inserted, Store};
pub use watched::{Watched, watched};

use crate::config::model::{Flavour, Kubernetes, Mode, ServiceRanges};
use crate::num::Asn;

/// What the file says that a flavour asks for.
pub(crate) struct Setting<'a> {
    flavour: Flavour,
    /// Of nodes that say none of their own.
    asn: Asn,
    mode: Mode,
    /// A label selector.
    reflectors: Option<&'a str>,
    services: &'a ServiceRanges,
    drain_on_cordon: bool,
    /// Keys.
    drain_taints: &'a [String],
    /// Where Secrets are.
    namespace: &'a str,
}

impl<'a> Setting<'a> {
    fn new(kubernetes: &'a Kubernetes) -> Setting<'a> {
        Setting {
            flavour: kubernetes.flavour,
            asn: kubernetes.asn,
            mode: kubernetes.mode,
            reflectors: kubernetes.reflectors.as_deref(),
            services: &kubernetes.services,
            drain_on_cordon: kubernetes.drain.on_cordon,
            drain_taints: &kubernetes.drain.taints,
            namespace: &kubernetes.namespace,
        }
    }
}

/// What the objects mean for the node of this name, before the file has its say.
///
/// # Errors
/// There is no such node, or the file's own part makes no sense.
fn meaning_of(store: &Store, node: &str, setting: &Setting<'_>) -> Result<Meaning, String> {
    let mut meaning = match setting.flavour {
        Flavour::Calico => calico::meaning(store, node, setting)?,
        Flavour::Nodes | Flavour::Cilium => nodes::meaning(store, node, setting)?,
    };
    meaning.node.pods = meaning.node.drain.is_some().then(|| leaving::pods(store, node)).flatten();
    meaning.notes.extend(store.unreadable().map(|(key, why)| Note { from: key.clone(), text: format!("it cannot be read: {why}") }));
    Ok(meaning)
}

#[cfg(test)]
mod tests;
