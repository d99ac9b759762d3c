//! Routes of others in the kernel that we announce as our own: addresses of pods that a CNI plugin wrote, blocks that an IPAM holds as
//! blackholes, networks behind an interface.
//!
//! In: the rules, and what the kernel says of routes and links. Out: prefixes that are ours to announce, with what they stand for; each
//! comes and goes with its kernel route. What is announced to whom is policy's; such a route is never written to the kernel, where it
//! stands already.
//!
//! Kept is every route that a rule could mean but for its interface: links are renamed, and a route may be told of before its link.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use smallvec::SmallVec;

use super::origination::{Attributes, originate_with};
use super::params::{Params, RedistributeParams, RedistributeRule, Shape};
use crate::fib;
use crate::kernel::{IfIndex, KernelEvent, KernelRoute, RouteKind};
use crate::policy::LocalKind;
use crate::rib::Rib;

impl RedistributeRule {
    /// But for the interface.
    fn may_mean(&self, route: &KernelRoute) -> bool {
        let shape = match &route.kind {
            RouteKind::Unicast(_) => Shape::Unicast,
            RouteKind::Blackhole => Shape::Blackhole,
            RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Local => return false,
        };
        let protocol = self.protocols.is_empty() || self.protocols.contains(&route.protocol);
        protocol && self.shape.is_none_or(|s| s == shape) && self.prefixes.contains(&route.net)
    }

    /// Of a route of this metric.
    fn makes(&self, metric: u32) -> Own {
        (self.kind, Some(MOST_METRIC.saturating_sub(metric)).filter(|_| self.by_metric && metric != 0))
    }

    fn over(&self, name: &str) -> bool {
        self.interfaces.is_empty() || self.interfaces.iter().any(|p| p.matches(name))
    }
}

/// Kernel routes that rules may mean, and what came of them.
#[derive(Debug, Default)]
pub(super) struct Redistribution {
    candidates: BTreeMap<(IpNet, u32), Candidate>,
    names: BTreeMap<IfIndex, String>,
    redistributed: BTreeMap<IpNet, Own>,
    generation: u32,
}

#[derive(Debug)]
struct Candidate {
    route: KernelRoute,
    links: SmallVec<[IfIndex; 1]>,
    generation: u32,
}

/// What the kernel's routes make of a prefix: what it stands for, and its LOCAL_PREF if it carries one.
type Own = (LocalKind, Option<u32>);

/// What a prefix is from now on; `None`: no longer ours.
type Redistributed = BTreeMap<IpNet, Option<Own>>;

/// The largest metric that LOCAL_PREF stands for.
const MOST_METRIC: u32 = 0x7fff_ffff;

impl Redistribution {
    /// Takes in what the kernel says; which prefixes to look at again.
    fn on_event(&mut self, event: &KernelEvent, rules: &RedistributeParams, own: impl Fn(&KernelRoute) -> bool) -> BTreeSet<IpNet> {
        let generation = self.generation;
        match event {
            KernelEvent::Route(route) => {
                let key = (route.net, route.metric);
                if own(route) || !rules.rules.iter().any(|r| r.may_mean(route)) {
                    // What stood under this key was replaced.
                    return self.candidates.remove(&key).map(|_| route.net).into_iter().collect();
                }
                let links = links(&route.kind);
                self.candidates.insert(key, Candidate { route: route.clone(), links, generation });
                [route.net].into()
            }
            KernelEvent::RouteGone(route) if !own(route) => self.gone(route),
            KernelEvent::Link { ifindex, name, .. } => {
                let old = self.names.insert(*ifindex, name.clone());
                if old.as_ref() == Some(name) { BTreeSet::new() } else { self.over(*ifindex) }
            }
            KernelEvent::LinkGone { ifindex } => {
                self.names.remove(ifindex);
                self.over(*ifindex)
            }
            KernelEvent::DumpStart => {
                self.generation = generation.wrapping_add(1);
                BTreeSet::new()
            }
            KernelEvent::DumpEnd => {
                let old = |c: &Candidate| c.generation != generation;
                let nets = self.candidates.iter().filter(|(_, c)| old(c)).map(|((net, _), _)| *net).collect();
                self.candidates.retain(|_, c| !old(c));
                nets
            }
            _ => BTreeSet::new(),
        }
    }

    /// IPv6 says goodbye to each way of a multipath route apart.
    fn gone(&mut self, route: &KernelRoute) -> BTreeSet<IpNet> {
        let key = (route.net, route.metric);
        let Some(candidate) = self.candidates.get_mut(&key) else { return BTreeSet::new() };
        let gone = links(&route.kind);
        candidate.links.retain(|l| !gone.contains(l));
        if candidate.links.is_empty() || candidate.route.protocol != route.protocol {
            self.candidates.remove(&key);
        }
        [route.net].into()
    }

    fn over(&self, ifindex: IfIndex) -> BTreeSet<IpNet> {
        self.candidates.iter().filter(|(_, c)| c.links.contains(&ifindex)).map(|((net, _), _)| *net).collect()
    }

    /// What these prefixes are now, where that is something else than before.
    fn judge(&mut self, nets: BTreeSet<IpNet>, rules: &RedistributeParams) -> Redistributed {
        let mut changes = Redistributed::new();
        for net in nets {
            let here = self.candidates.range((net, 0)..=(net, u32::MAX));
            // The lowest metric of those that the first rule means: by that one the kernel forwards.
            let best = here.filter_map(|((_, metric), c)| Some((self.rule_of(c, rules)?, *metric))).min();
            let own = best.and_then(|(rule, metric)| Some(rules.rules.get(rule)?.makes(metric)));
            let was = match own {
                Some(own) => self.redistributed.insert(net, own),
                None => self.redistributed.remove(&net),
            };
            if was != own {
                changes.insert(net, own);
            }
        }
        changes
    }

    /// The first rule that means it.
    fn rule_of(&self, candidate: &Candidate, rules: &RedistributeParams) -> Option<usize> {
        let names = candidate.links.iter().filter_map(|l| self.names.get(l));
        let names: SmallVec<[&str; 1]> = names.map(String::as_str).filter(|n| !rules.ignore.iter().any(|p| p.matches(n))).collect();
        let unicast = matches!(candidate.route.kind, RouteKind::Unicast(_));
        if unicast && names.is_empty() {
            return None;
        }
        let means = |r: &RedistributeRule| {
            let over = if unicast { names.iter().any(|n| r.over(n)) } else { r.interfaces.is_empty() };
            over && r.may_mean(&candidate.route)
        };
        rules.rules.iter().position(means)
    }

    fn of(&self, kind: LocalKind) -> Vec<IpNet> {
        self.redistributed.iter().filter(|(_, (k, _))| *k == kind).map(|(net, _)| *net).collect()
    }
}

fn links(kind: &RouteKind) -> SmallVec<[IfIndex; 1]> {
    match kind {
        RouteKind::Unicast(hops) => hops.iter().map(|h| h.ifindex).collect(),
        _ => SmallVec::new(),
    }
}

impl Redistribution {
    /// Takes in what the kernel says. What may have become a prefix of ours, or ceased to be one, is announced or withdrawn; the blocks among
    /// them are for the caller: `Some` of all that there are, if any changed.
    pub fn on_kernel(&mut self, event: &KernelEvent, params: &Params, fib: &fib::Params, rib: &mut Rib) -> Option<Vec<IpNet>> {
        let rules = &params.redistribute;
        if rules.rules.is_empty() && self.candidates.is_empty() {
            // Names are needed the day that rules come.
            if !matches!(event, KernelEvent::Link { .. } | KernelEvent::LinkGone { .. }) {
                return None;
            }
        }
        if matches!(event, KernelEvent::Route(r) | KernelEvent::RouteGone(r) if r.table != fib.table) {
            return None;
        }
        let nets = self.on_event(event, rules, |route| fib.is_ours(route));
        self.rejudge(nets, params, rib)
    }

    /// Other rules: judges what is known at once. (What no rule meant before comes with the next dump.)
    pub fn on_rules(&mut self, params: &Params, rib: &mut Rib) -> Option<Vec<IpNet>> {
        let nets = self.candidates.keys().map(|(net, _)| *net).collect();
        self.rejudge(nets, params, rib)
    }

    /// The kernel's routes make of this prefix a service of ours.
    pub fn is_service(&self, net: &IpNet) -> bool {
        self.redistributed.get(net).is_some_and(|(kind, _)| *kind == LocalKind::Service)
    }

    fn rejudge(&mut self, nets: BTreeSet<IpNet>, params: &Params, rib: &mut Rib) -> Option<Vec<IpNet>> {
        let changes = self.judge(nets, &params.redistribute);
        for (net, own) in &changes {
            for other in LocalKind::ALL.into_iter().filter(|k| *k != LocalKind::Block) {
                let configured = other == LocalKind::Service && params.services.binary_search(net).is_ok();
                let own = own.filter(|(kind, _)| *kind == other);
                let carried = Attributes { local_pref: own.and_then(|(_, local_pref)| local_pref), ..Attributes::default() };
                originate_with(rib, other, *net, (configured || own.is_some()).then_some(carried));
            }
        }
        (!changes.is_empty()).then(|| self.of(LocalKind::Block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Hop, NamePattern, Weight};
    use crate::policy::{PrefixRange, PrefixSet};

    fn net(s: &str) -> IpNet {
        s.parse().unwrap()
    }

    fn rule(prefix: &str, interfaces: &[&str], kind: LocalKind) -> RedistributeRule {
        let prefixes = PrefixSet::new([PrefixRange::orlonger(net(prefix))]);
        let interfaces = interfaces.iter().map(|i| NamePattern::new(i)).collect();
        RedistributeRule { prefixes, protocols: Vec::new(), interfaces, shape: None, kind, by_metric: false }
    }

    fn rules() -> RedistributeParams {
        let blocks =
            RedistributeRule { shape: Some(Shape::Blackhole), protocols: vec![80], ..rule("10.244.0.0/16", &[], LocalKind::Block) };
        let rules = vec![rule("10.244.0.0/16", &["cali*"], LocalKind::Pod), blocks, rule("10.244.9.0/24", &[], LocalKind::Network)];
        RedistributeParams { rules, ignore: vec![NamePattern::new("calico*")] }
    }

    fn route(prefix: &str, ifindexes: &[u32], protocol: u8, metric: u32) -> KernelRoute {
        let hop = |i: &u32| Hop { gateway: None, ifindex: IfIndex(*i), onlink: false, weight: Weight::ONE };
        let kind = if ifindexes.is_empty() { RouteKind::Blackhole } else { RouteKind::Unicast(ifindexes.iter().map(hop).collect()) };
        KernelRoute { net: net(prefix), table: 254, metric, protocol, kind, source: None }
    }

    struct Harness(Redistribution, RedistributeParams);

    impl Harness {
        fn on_event(&mut self, event: KernelEvent) -> Vec<(String, Option<LocalKind>)> {
            let nets = self.0.on_event(&event, &self.1, |r| r.protocol == 186);
            self.0.judge(nets, &self.1).into_iter().map(|(n, own)| (n.to_string(), own.map(|(kind, _)| kind))).collect()
        }

        fn link(&mut self, ifindex: u32, name: &str) -> Vec<(String, Option<LocalKind>)> {
            self.on_event(KernelEvent::Link { ifindex: IfIndex(ifindex), name: name.into(), up: true })
        }
    }

    #[test]
    fn a_prefix_comes_and_goes_with_the_kernels_route() {
        let mut harness = Harness(Redistribution::default(), rules());
        harness.link(7, "cali1");
        let pod = route("10.244.5.7/32", &[7], 3, 0);
        let told = |kind| vec![("10.244.5.7/32".to_owned(), kind)];
        assert_eq!(harness.on_event(KernelEvent::Route(pod.clone())), told(Some(LocalKind::Pod)));
        assert_eq!(harness.on_event(KernelEvent::Route(pod.clone())), []);
        assert_eq!(harness.on_event(KernelEvent::Route(route("10.244.5.7/32", &[7], 3, 1024))), [], "another at a worse metric");
        assert_eq!(harness.on_event(KernelEvent::RouteGone(pod)), [], "which still stands");
        assert_eq!(harness.on_event(KernelEvent::RouteGone(route("10.244.5.7/32", &[7], 3, 1024))), told(None));
        assert!(harness.0.candidates.is_empty() && harness.0.redistributed.is_empty());
    }

    #[test]
    fn the_lowest_metric_of_a_prefix_becomes_its_local_pref() {
        let by_metric = RedistributeRule { by_metric: true, ..rule("10.244.0.0/16", &["cali*"], LocalKind::Pod) };
        let mut harness = Harness(Redistribution::default(), RedistributeParams { rules: vec![by_metric], ignore: Vec::new() });
        harness.link(7, "cali1");
        let preferred = |harness: &Harness| harness.0.redistributed.get(&net("10.244.5.7/32")).map(|(_, local_pref)| *local_pref);
        harness.on_event(KernelEvent::Route(route("10.244.5.7/32", &[7], 3, 1024)));
        assert_eq!(preferred(&harness), Some(Some(2_147_482_623)), "of a normal route");
        harness.on_event(KernelEvent::Route(route("10.244.5.7/32", &[7], 3, 512)));
        assert_eq!(preferred(&harness), Some(Some(2_147_483_135)), "of one that is moved here");
        harness.on_event(KernelEvent::RouteGone(route("10.244.5.7/32", &[7], 3, 512)));
        assert_eq!(preferred(&harness), Some(Some(2_147_482_623)));
        harness.on_event(KernelEvent::Route(route("10.244.5.7/32", &[7], 3, 0)));
        assert_eq!(preferred(&harness), Some(None), "no metric says nothing");
    }

    #[test]
    fn a_dump_that_does_not_mention_it_takes_it_away() {
        let mut harness = Harness(Redistribution::default(), rules());
        harness.on_event(KernelEvent::Route(route("10.244.3.0/26", &[], 80, 0)));
        harness.on_event(KernelEvent::Route(route("10.244.4.0/26", &[], 80, 0)));
        assert_eq!(harness.0.of(LocalKind::Block), [net("10.244.3.0/26"), net("10.244.4.0/26")]);
        harness.on_event(KernelEvent::DumpStart);
        harness.on_event(KernelEvent::Route(route("10.244.4.0/26", &[], 80, 0)));
        assert_eq!(harness.on_event(KernelEvent::DumpEnd), [("10.244.3.0/26".to_owned(), None)]);
    }

    #[test]
    fn names_decide_whenever_they_come_and_ignored_ones_never_count() {
        let mut harness = Harness(Redistribution::default(), rules());
        assert_eq!(harness.on_event(KernelEvent::Route(route("10.244.5.7/32", &[7], 3, 0))), [], "of a link that nobody told of");
        assert_eq!(harness.link(7, "eth3"), []);
        assert_eq!(harness.link(7, "cali7"), [("10.244.5.7/32".to_owned(), Some(LocalKind::Pod))]);
        assert_eq!(harness.link(7, "calico0"), [("10.244.5.7/32".to_owned(), None)]);
        assert_eq!(harness.on_event(KernelEvent::Route(route("10.244.9.0/26", &[7], 3, 0))), []);
        assert_eq!(harness.link(7, "eth3"), [("10.244.9.0/26".to_owned(), Some(LocalKind::Network))]);
    }

    #[test]
    fn the_first_rule_decides_and_our_own_routes_are_nothing_to_learn() {
        let mut harness = Harness(Redistribution::default(), rules());
        harness.link(7, "cali1");
        assert_eq!(
            harness.on_event(KernelEvent::Route(route("10.244.9.3/32", &[7], 3, 0))),
            [("10.244.9.3/32".to_owned(), Some(LocalKind::Pod))]
        );
        assert_eq!(harness.on_event(KernelEvent::Route(route("10.244.8.0/26", &[], 12, 0))), [], "another protocol than the rule's");
        assert_eq!(harness.on_event(KernelEvent::Route(route("10.244.1.0/26", &[], 186, 0))), [], "ours");
        assert_eq!(harness.on_event(KernelEvent::Route(route("192.0.2.0/24", &[7], 3, 0))), []);
        assert_eq!(
            harness.on_event(KernelEvent::Route(route("10.244.9.3/32", &[7], 186, 0))),
            [("10.244.9.3/32".to_owned(), None)],
            "replaced by ours"
        );
    }
}
