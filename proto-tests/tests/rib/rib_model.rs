//! The tables against the plainest model of them, under random churn; and what must be left when everything goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use catbird::kernel::IfIndex;
use catbird::num::{Asn, Family, Nlri, PathId, PeerId, RouterId};
use catbird::rib::{
    Best, BestChange, Candidate, Cause, Multipath, NextHops, NhId, Rib, Route, RouteChange, RouteCounts, Rules, SourceFacts, SourceKind,
    select,
};
use catbird::wire::{NextHop, Origin, PathAttributes};
use ipnet::IpNet;
use proptest::prelude::*;

/// Next hops that are up or down by word of the test; metric by the last octet. Counts users.
#[derive(Default)]
struct Ways {
    users: BTreeMap<(IpAddr, Option<IfIndex>), u32>,
    down: Vec<IpAddr>,
}

impl Ways {
    fn octet(addr: IpAddr) -> u32 {
        let IpAddr::V4(a) = addr else { panic!("these tests use IPv4 next hops") };
        u32::from(a.octets()[3])
    }

    fn up(&self, n: u32) -> bool {
        !self.down.iter().any(|a| Ways::octet(*a) == n)
    }
}

impl NextHops for Ways {
    fn track(&mut self, addr: IpAddr, interface: Option<IfIndex>) -> NhId {
        *self.users.entry((addr, interface)).or_default() += 1;
        NhId(Ways::octet(addr))
    }

    fn untrack(&mut self, id: NhId) {
        let key = *self.users.keys().find(|(a, _)| Ways::octet(*a) == id.0).expect("untracked only what was tracked");
        let users = self.users.get_mut(&key).expect("just found");
        *users -= 1;
        if *users == 0 {
            self.users.remove(&key);
        }
    }

    fn metric(&self, id: NhId) -> Option<u32> {
        self.up(id.0).then_some(id.0 % 2)
    }
}

fn facts(n: u32) -> SourceFacts {
    let addr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, n as u8));
    let kind = if n.is_multiple_of(2) { SourceKind::External } else { SourceKind::Internal };
    let router_id = RouterId::new(Ipv4Addr::from(n)).expect("not zero");
    SourceFacts { id: PeerId(n), kind, asn: Asn(65000 + n), router_id, addr, rr_client: false, local_addr: addr, interface: None }
}

/// One of a few sets: next hop, preference and MED follow from the number.
fn set(n: u32) -> PathAttributes {
    let next_hop = NextHop::V4(Ipv4Addr::new(10, 0, 0, (n % 4) as u8));
    let mut editor = PathAttributes::builder(Origin::Igp, next_hop);
    editor.set_local_pref(Some(100 + n % 3));
    editor.set_med(Some(n % 5));
    editor.prepend(Asn(65001 + n % 2), 1);
    editor.finish()
}

fn net(n: u32) -> IpNet {
    if n % 3 == 2 { format!("2001:db8:{n:x}::/48").parse() } else { format!("10.{n}.0.0/16").parse() }.expect("a prefix")
}

#[derive(Clone, Debug)]
enum Deed {
    Say {
        peer: u32,
        net: u32,
        path: u32,
        set: u32,
        changed: Option<u32>,
        refused: bool,
    },
    Unsay {
        peer: u32,
        net: u32,
        path: u32,
    },
    Down(u32),
    Stale(u32),
    Sweep(u32),
    Begin(u32),
    End(u32),
    /// Some of what was beyond the limit is let in.
    Room(u32),
    Flip(u32),
    Settle(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let (peer, net, path) = (1u32..5, 0u32..12, 0u32..2);
    let verdict = prop_oneof![4 => Just((None, false)), 2 => (0u32..20).prop_map(|n| (Some(n), false)), 1 => Just((None, true))];
    prop_oneof![
        20 => (peer.clone(), net.clone(), path.clone(), 0u32..20, verdict)
            .prop_map(|(peer, net, path, set, (changed, refused))| Deed::Say { peer, net, path, set, changed, refused }),
        10 => (peer.clone(), net, path).prop_map(|(peer, net, path)| Deed::Unsay { peer, net, path }),
        1 => peer.clone().prop_map(Deed::Down),
        1 => peer.clone().prop_map(Deed::Stale),
        1 => peer.clone().prop_map(Deed::Sweep),
        1 => peer.clone().prop_map(Deed::Begin),
        1 => peer.clone().prop_map(Deed::End),
        2 => peer.prop_map(Deed::Room),
        1 => (0u32..4).prop_map(Deed::Flip),
        4 => (1usize..20).prop_map(Deed::Settle),
    ]
}

#[derive(Clone, Debug)]
struct Said {
    set: PathAttributes,
    refused: bool,
    stale: bool,
    unrefreshed: bool,
}

/// Every path in one map; the best recomputed from scratch.
#[derive(Default)]
struct Model {
    paths: BTreeMap<(IpNet, u32, u32), Said>,
    told: BTreeMap<IpNet, Best>,
}

impl Model {
    fn drop_if(&mut self, peer: u32, gone: impl Fn(&Said) -> bool) {
        self.paths.retain(|(_, p, _), said| *p != peer || !gone(said));
    }

    fn each(&mut self, peer: u32, then: impl Fn(&mut Said)) {
        self.paths.iter_mut().filter(|((_, p, _), _)| *p == peer).for_each(|(_, said)| then(said));
    }

    fn counts(&self, peer: u32, family: Family) -> RouteCounts {
        let mut counts = RouteCounts::default();
        let (mut seen, mut accepted) = (BTreeSet::new(), BTreeSet::new());
        for ((net, ..), said) in self.paths.iter().filter(|((net, p, _), _)| *p == peer && Family::of(net) == family) {
            counts.repeats += u64::from(!seen.insert(*net));
            counts.accepted_repeats += u64::from(!said.refused && !accepted.insert(*net));
            counts.received += 1;
            counts.attribute_octets += said.set.octets().len() as u64;
            *if said.refused { &mut counts.rejected } else { &mut counts.accepted } += 1;
            counts.rejected_octets += if said.refused { said.set.octets().len() as u64 } else { 0 };
            counts.stale += u64::from(said.stale);
        }
        counts
    }

    /// Peer and path identifier of the best by a fresh selection, and its set; and the next hops of those that carry the load.
    fn best(&self, net: IpNet, rules: &Rules, ways: &Ways, rib: &mut Rib) -> (Option<(u32, u32, PathAttributes)>, BTreeSet<u32>) {
        let usable = |said: &Said| !said.refused && ways.up(Ways::octet(said.set.next_hop().addr()));
        let here: Vec<_> = self.paths.iter().filter(|((n, _, _), said)| *n == net && usable(said)).collect();
        let sources: Vec<SourceFacts> = here.iter().map(|((_, peer, _), _)| facts(*peer)).collect();
        let told = self.told.get(&net).map(|b| (b.peer.0, b.path_id.0));
        let all: Vec<Candidate<'_>> = here
            .iter()
            .zip(&sources)
            .map(|(((_, peer, path), said), source)| Candidate {
                pref: rib.intern(&said.set).preference(),
                source,
                as_path: said.set.as_path().octets(),
                path_id: PathId(*path),
                metric: Ways::octet(said.set.next_hop().addr()) % 2,
                current: told == Some((*peer, *path)),
                stale: said.stale,
            })
            .collect();
        let selection = select(&all, rules);
        let octet = |i: &usize| Ways::octet(here[*i].1.set.next_hop().addr());
        let best = selection.best.map(|i| (here[i].0.1, here[i].0.2, here[i].1.set.clone()));
        (best, selection.multipath.iter().map(octet).collect())
    }
}

fn route(rib: &mut Rib, said: u32, changed: Option<u32>, refused: bool) -> Route {
    let received = rib.intern(&set(said));
    let attrs = changed.map(|n| rib.intern_new(PathAttributes::clone(&set(n)))).or_else(|| Some(received.clone())).filter(|_| !refused);
    Route { received, attrs }
}

fn act(deed: &Deed, rib: &mut Rib, model: &mut Model, ways: &mut Ways) {
    match deed.clone() {
        Deed::Say { peer, net: n, path, set: said, changed, refused } => {
            let route = route(rib, said, changed, refused);
            let cause = match (refused, n % 4) {
                (false, _) => Cause::Announced,
                (true, 2) => Cause::MaxPrefix,
                (true, rule) => Cause::RefusedByPolicy(format!("rule {rule}").into()),
            };
            rib.apply(RouteChange { peer: PeerId(peer), nlri: Nlri { net: net(n), path_id: PathId(path) }, route: Some(route), cause });
            let made = Said { set: set(changed.unwrap_or(said)), refused, stale: false, unrefreshed: false };
            model.paths.insert((net(n), peer, path), made);
        }
        Deed::Unsay { peer, net: n, path } => {
            rib.withdraw(PeerId(peer), [Nlri { net: net(n), path_id: PathId(path) }]);
            model.paths.remove(&(net(n), peer, path));
        }
        Deed::Down(peer) => {
            rib.peer_down(PeerId(peer));
            rib.peer_up(facts(peer));
            model.drop_if(peer, |_| true);
        }
        Deed::Stale(peer) => {
            Family::ALL.into_iter().for_each(|f| rib.retain_stale(PeerId(peer), f, false));
            model.drop_if(peer, |s| s.stale);
            // What the session before had begun to say again means nothing now.
            model.each(peer, |s| (s.stale, s.unrefreshed) = (true, false));
        }
        Deed::Sweep(peer) => {
            let gone: usize = Family::ALL.into_iter().map(|f| rib.sweep_stale(PeerId(peer), f)).sum();
            let before = model.paths.len();
            model.drop_if(peer, |s| s.stale);
            assert_eq!(gone, before - model.paths.len());
        }
        Deed::Begin(peer) => {
            Family::ALL.into_iter().for_each(|f| rib.refresh_begins(PeerId(peer), f));
            model.each(peer, |s| s.unrefreshed = true);
        }
        Deed::End(peer) => {
            let gone: usize = Family::ALL.into_iter().map(|f| rib.refresh_ends(PeerId(peer), f)).sum();
            let before = model.paths.len();
            model.drop_if(peer, |s| s.unrefreshed);
            assert_eq!(gone, before - model.paths.len());
        }
        Deed::Room(peer) => {
            let waiting: Vec<_> = Family::ALL.into_iter().flat_map(|f| rib.over_limit(PeerId(peer), f, 2, 2)).collect();
            for (nlri, received) in waiting {
                rib.judge_again(PeerId(peer), &nlri, &Route::as_received(received), &Cause::Announced);
                let said = model.paths.get_mut(&(nlri.net, peer, nlri.path_id.0)).expect("what waits was said");
                assert!(std::mem::take(&mut said.refused), "only what was refused waits");
            }
        }
        Deed::Flip(n) => {
            let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, n as u8));
            match ways.down.iter().position(|a| *a == addr) {
                Some(at) => drop(ways.down.remove(at)),
                None => ways.down.push(addr),
            }
            rib.nexthop_changed(&[NhId(n)]);
        }
        Deed::Settle(budget) => {
            let mut out = Vec::new();
            rib.settle(budget, ways, &mut out);
            told(model, rib, out);
        }
    }
}

/// Each change begins where the last one ended.
fn told(model: &mut Model, rib: &Rib, changes: Vec<BestChange>) {
    for change in changes {
        assert_eq!(model.told.remove(&change.net), change.old, "{} was told otherwise before", change.net);
        assert_eq!(rib.net(change.dest), Some(change.net));
        if let Some(new) = change.new {
            model.told.insert(change.net, new);
        }
    }
}

fn settle_all(rib: &mut Rib, model: &mut Model, ways: &mut Ways) {
    let mut more = true;
    while more {
        let mut out = Vec::new();
        more = rib.settle(5, ways, &mut out);
        told(model, rib, out);
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<[bool; 5]>(), 1u16..4).prop_map(|([always_compare_med, as_path_relax, ebgp, ibgp, stale], width)| Rules {
        always_compare_med,
        as_path_relax,
        // What was in use when is no matter of the model.
        keep_older_external: false,
        multipath: Multipath { ebgp, ibgp, width, stale, ..Multipath::default() },
    })
}

fn compare(rib: &mut Rib, model: &Model, rules: &Rules, ways: &Ways) {
    for n in 0..12 {
        let net = net(n);
        let (wanted, carry) = model.best(net, rules, ways, rib);
        let hops = rib.find(&net).map(|d| rib.next_hops(d)).unwrap_or_default();
        assert_eq!(hops.iter().map(|id| id.0).collect::<BTreeSet<u32>>(), carry, "who carries the load of {net}");
        let best = rib.find(&net).and_then(|d| rib.best(d));
        assert_eq!(best.as_ref(), model.told.get(&net), "what was told is what is used for {net}");
        assert_eq!(best.map(|b| (b.peer.0, b.path_id.0, b.attrs.set().clone())), wanted, "{net}");
        let paths = model.paths.keys().filter(|(n, _, _)| *n == net).count();
        assert_eq!(rib.find(&net).map_or(0, |d| rib.paths(d).len()), paths);
        assert_eq!(rib.find(&net).map_or(0, |d| rib.why(d, ways).len()), paths);
    }
    for peer in 1..5 {
        for family in Family::ALL {
            assert_eq!(rib.counts(PeerId(peer), family), model.counts(peer, family));
            let listed = rib.received(PeerId(peer), family, 0).count() as u64;
            assert_eq!(listed, model.counts(peer, family).received, "pages hold what was received");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_tables_equal_the_model_and_return_to_empty(rules in rules(), deeds in prop::collection::vec(deed(), 1..200)) {
        let (mut rib, mut model, mut ways) = (Rib::new(rules.clone(), 7), Model::default(), Ways::default());
        (1..5).for_each(|n| rib.peer_up(facts(n)));
        for deed in &deeds {
            act(deed, &mut rib, &mut model, &mut ways);
            rib.check_invariants();
        }
        settle_all(&mut rib, &mut model, &mut ways);
        rib.check_invariants();
        compare(&mut rib, &model, &rules, &ways);

        for peer in 1..5 {
            rib.peer_down(PeerId(peer));
        }
        settle_all(&mut rib, &mut model, &mut ways);
        prop_assert!(model.told.is_empty(), "every route in use was reported gone");
        settle_all(&mut rib, &mut model, &mut ways);
        rib.check_invariants();
        prop_assert_eq!(rib.attribute_sets(), 0, "the attribute table is empty");
        prop_assert!(ways.users.is_empty(), "no next hop is tracked any more: {:?}", ways.users);
        for family in Family::ALL {
            prop_assert_eq!(rib.table_counts(family), Default::default());
            prop_assert_eq!(rib.dest_end(family), 0);
        }
    }
}
