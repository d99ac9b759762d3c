//! Whether a node leaves, by what the cluster says of it, and who still needs its routes.
//!
//! In: a Node, and the file's word on what counts. Out: why it leaves, in words; which pods are still there. What follows is done in two steps: the
//! addresses of services go first ([`services`](super::services)), and the blocks when no pod needs them (`speaker::leaving`).
//!
//! | what says so | setting |
//! |---|---|
//! | annotation `catbird.dev/drain: "true"` | always |
//! | `spec.unschedulable` (`kubectl cordon`, `kubectl drain`) | `drain_on_cordon` |
//! | a taint with one of these keys | `drain_taints` |
//! | the kubelet: the machine shuts down | always |

use std::collections::BTreeSet;

use super::Setting;
use super::object::{Node, NodeCondition, Words};
use super::services::are_excluded;
use super::store::Store;

/// The annotation by which somebody sends a node away.
fn is_annotated(annotations: &Words) -> bool {
    annotations.get("catbird.dev/drain").is_some_and(|value| value == "true")
}

/// The machine ends.
pub(super) fn shuts_down(node: &Node) -> bool {
    node.status.conditions.iter().any(NodeCondition::is_of_an_end)
}

/// Why a node leaves, if it does.
pub(super) fn why(node: &Node, setting: &Setting<'_>) -> Option<String> {
    let taint = || node.spec.taints.iter().find(|taint| setting.drain_taints.contains(&taint.key));
    if shuts_down(node) {
        Some("it shuts down".to_owned())
    } else if is_annotated(&node.metadata.annotations) {
        Some("it is annotated catbird.dev/drain".to_owned())
    } else if setting.drain_on_cordon && node.spec.unschedulable {
        Some("it is cordoned".to_owned())
    } else {
        taint().map(|taint| format!("it has the taint {}", taint.key))
    }
}

/// Who is there beside a node that leaves.
pub(super) struct Others<'a> {
    /// Another node that stays is known.
    pub any: bool,
    /// Nodes that leave or are kept from announcing services: these take over nothing.
    pub idle: BTreeSet<&'a str>,
}

impl<'a> Others<'a> {
    pub fn of(store: &'a Store, name: &str, setting: &Setting<'_>) -> Others<'a> {
        let idle = |node: &Node| why(node, setting).is_some() || are_excluded(&node.metadata.labels);
        let (mut any, mut all_idle) = (false, BTreeSet::new());
        for (key, node) in store.nodes().filter(|(key, _)| key.name != name) {
            if idle(node) {
                all_idle.insert(key.name.as_str());
            } else {
                any = true;
            }
        }
        Others { any, idle: all_idle }
    }
}

/// Pods that need the node's blocks: all with an address of their own that have not ended, those of DaemonSets too. `None`: nobody has said.
pub(super) fn pods(store: &Store, name: &str) -> Option<usize> {
    let ended = |phase: &str| matches!(phase, "Succeeded" | "Failed");
    let needs = store.pods().filter(|(_, pod)| pod.spec.node_name == name && !pod.spec.host_network && !ended(&pod.status.phase));
    store.knows_pods().then(|| needs.count())
}
