//! `[kubernetes]`: the cluster's own objects instead of a list.
//!
//! In: the section as typed, and `[cluster]`, whose settings hold for the sessions between nodes. Out: [`Kubernetes`]. What the objects say is
//! `source`'s matter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cluster::with_policy;
use super::model::{DrainRules, Flavour, Kubernetes, Mode, Node, ServiceRanges, Typed};
use super::raw::Raw;
use super::report::{Problem, Span};
use super::validate::{Validator, list, or, value};
use super::values::Time;
use crate::num::Asn;
use crate::peer::RemoteAs;

/// Of nodes that say none of their own where the file says none for all; Calico's, too.
pub(super) const DEFAULT_ASN: Asn = Asn(64512);

impl Validator<'_> {
    pub(super) fn kubernetes(&self, whole: &Raw, node: &Node) -> Option<Kubernetes> {
        let raw = whole.kubernetes.as_ref()?;
        let cluster = whole.cluster.as_ref();
        if raw.flavour.is_none() {
            let why = "whose objects say who the nodes are: \"nodes\", \"cilium\" or \"calico\"";
            self.diagnostics.report(raw.span.clone(), Problem::Missing { key: "flavour", section: "[kubernetes]".into(), why });
        }
        if let Some(first) = cluster.and_then(|cluster| cluster.nodes.first()) {
            let what = "a list of nodes beside [kubernetes], which knows the nodes itself".to_owned();
            let help = "take out one of both".to_owned();
            self.diagnostics.report_with(first.span.clone(), Problem::Conflict { what, help }, raw.span.clone(), "and this");
        }
        let settings = with_policy(&cluster.map(|cluster| cluster.settings.clone()).unwrap_or_default(), false);
        let asn = cluster.and_then(|cluster| value(&cluster.asn)).or_else(|| value(&whole.node.asn)).unwrap_or(DEFAULT_ASN);
        if let Some(cni) = raw.cni.as_ref().filter(|_| or(&raw.flavour, Flavour::Nodes) != Flavour::Nodes) {
            let what = "`cni` beside a flavour whose network plugin writes its own CNI configuration".to_owned();
            let help = "it belongs to flavour \"nodes\"".to_owned();
            self.diagnostics.report_with(cni.span.clone(), Problem::Conflict { what, help }, raw.span.clone(), "here");
        }
        Some(Kubernetes {
            flavour: or(&raw.flavour, Flavour::Nodes),
            mode: cluster.map_or(Mode::FullMesh, |cluster| or(&cluster.mode, Mode::FullMesh)),
            asn,
            reflectors: value(&raw.reflectors),
            namespace: or(&raw.namespace, "kube-system".to_owned()),
            services: ServiceRanges {
                cluster: list(&raw.cluster_ips),
                external: list(&raw.external_ips),
                load_balancer: list(&raw.load_balancer_ips),
                aggregate: or(&raw.aggregate_services, true),
            },
            drain: DrainRules {
                on_cordon: or(&raw.drain_on_cordon, true),
                taints: list(&raw.drain_taints),
                deadline: value(&raw.drain_deadline).map(|time: Time| time.0),
            },
            cni: value(&raw.cni),
            kubeconfig: value(&raw.kubeconfig),
            state_file: Some(or(&raw.state_file, PathBuf::from(super::DEFAULT_STATE))),
            session: Box::new(self.peer_options(&settings, RemoteAs::Internal, node, &raw.span, "a node of the cluster")),
            typed: Typed::default(),
        })
    }
}

/// What stands in the file of all that objects may say, too, and in which line.
pub(super) fn typed(raw: &Raw, text: &str) -> Typed {
    let mut lines = BTreeMap::new();
    let mut note = |setting: String, span: &Span| {
        let before = text.get(..span.start).unwrap_or(text);
        lines.insert(setting, before.matches('\n').count().saturating_add(1));
    };
    macro_rules! settings {
        ($($name:literal: $at:expr),* $(,)?) => {$( if let Some(at) = &$at { note($name.to_owned(), &at.span); } )*};
    }
    settings!("asn": raw.node.asn, "router_id": raw.node.router_id, "addresses": raw.node.addresses, "port": raw.listen.port,
        "listen": raw.listen.addresses, "protocol": raw.fib.protocol, "metric": raw.fib.metric, "block_metric": raw.fib.block_metric,
        "overlay": raw.fib.overlay.mode, "log": raw.outside.log_level);
    if let Some(cluster) = &raw.cluster {
        settings!("export": cluster.settings.export, "import": cluster.settings.import, "add_path": cluster.settings.add_path);
    }
    for peer in &raw.peers {
        peer.address.iter().for_each(|at| note(format!("peer {}", at.value), &at.span));
        peer.name.iter().for_each(|at| note(format!("peer name {}", at.value), &at.span));
    }
    raw.pods.blocks.iter().flat_map(|list| &list.value).for_each(|at| note(format!("block {}", at.value), &at.span));
    raw.policies.iter().for_each(|policy| note(format!("policy {}", policy.name.value), &policy.name.span));
    Typed { lines }
}
