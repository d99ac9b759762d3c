//! The planner by itself, one rule a test. (`proto-tests/tests/rib/fib_model.rs` puts it beside a model of the kernel.)

use super::*;
use crate::kernel::{Hop, IfIndex, KernelEvent, KernelRoute, RouteKind, Weight};
use crate::num::{Family, Instant};
use std::time::Duration;

const ETH0: IfIndex = IfIndex(2);

fn net(s: &str) -> IpNet {
    s.parse().unwrap()
}

fn via(to: &str, gateway: &str) -> FibRoute {
    let hop = Hop { gateway: Some(gateway.parse().unwrap()), ifindex: ETH0, onlink: false, weight: Weight::ONE };
    FibRoute { net: net(to), metric: 0, kind: FibKind::Unicast([hop].into_iter().collect()), source: None, former: None }
}

fn stands(route: &FibRoute, protocol: u8) -> KernelRoute {
    let kind = match &route.kind {
        FibKind::Blackhole => RouteKind::Blackhole,
        FibKind::Unicast(hops) => RouteKind::Unicast(hops.clone()),
    };
    KernelRoute { net: route.net, table: 254, metric: route.metric, protocol, kind, source: route.source }
}

struct Bench {
    fib: Fib,
    now: Instant,
}

impl Bench {
    fn new(params: Params, left: &[FibRoute]) -> Bench {
        let mut bench = Bench { fib: Fib::new(params), now: Instant::ZERO + Duration::from_secs(1000) };
        bench.dump(&left.iter().map(|r| stands(r, 186)).collect::<Vec<_>>());
        bench
    }

    fn hear(&mut self, event: KernelEvent) {
        self.fib.on_kernel(self.now, &event);
        self.fib.check_invariants();
    }

    fn dump(&mut self, routes: &[KernelRoute]) {
        self.hear(KernelEvent::DumpStart);
        routes.iter().for_each(|r| self.hear(KernelEvent::Route(r.clone())));
        self.hear(KernelEvent::DumpEnd);
    }

    fn want(&mut self, route: &FibRoute) {
        self.fib.set_desired(route.net, Some(route.clone()));
        self.fib.check_invariants();
    }

    /// Everything that is asked for now, granted.
    fn grant(&mut self) -> Vec<FibChange> {
        let mut all = Vec::new();
        while let Some((seq, change)) = self.fib.poll() {
            all.push(change);
            self.fib.on_done(self.now, seq, Ok(()));
            self.fib.check_invariants();
        }
        all
    }

    fn wait(&mut self, how_long: Duration) {
        self.now = self.now + how_long;
        self.fib.on_deadline(self.now);
        self.fib.check_invariants();
    }

    fn state(&self, to: &str) -> Option<State> {
        self.fib.row(&net(to)).map(|r| r.state)
    }
}

const BLOCK: &str = "10.244.2.0/26";

#[test]
fn nothing_is_written_before_the_first_dump_has_ended() {
    let mut fib = Fib::new(Params::default());
    fib.set_desired(net(BLOCK), Some(via(BLOCK, "192.0.2.2")));
    assert_eq!(fib.poll(), None);
    fib.on_kernel(Instant::ZERO, &KernelEvent::DumpStart);
    assert_eq!(fib.poll(), None);
    fib.on_kernel(Instant::ZERO, &KernelEvent::DumpEnd);
    assert_eq!(fib.poll(), Some((1, FibChange::Add(via(BLOCK, "192.0.2.2")))));
}

#[test]
fn a_restart_with_equal_routes_writes_nothing_and_reaps_only_the_rest() {
    let (kept, old) = (via(BLOCK, "192.0.2.2"), via("10.244.3.0/26", "192.0.2.3"));
    let mut b = Bench::new(Params::default(), &[kept.clone(), old.clone()]);
    b.want(&kept);
    assert_eq!(b.grant(), []);
    assert_eq!(b.state("10.244.3.0/26"), Some(State::Stale));
    assert_eq!(b.fib.reap(), 1);
    assert_eq!(b.grant(), [FibChange::Remove(old)]);
    assert_eq!(b.state(BLOCK), Some(State::Installed));
}

#[test]
fn another_next_hop_is_one_replace_and_another_metric_adds_before_it_removes() {
    let mut b = Bench::new(Params::default(), &[]);
    let (one, two) = (via(BLOCK, "192.0.2.2"), via(BLOCK, "192.0.2.3"));
    b.want(&one);
    assert_eq!(b.grant(), [FibChange::Add(one)]);
    b.want(&two);
    assert_eq!(b.grant(), [FibChange::Replace(two.clone())]);
    let better = FibRoute { metric: 50, ..two.clone() };
    b.want(&better);
    assert_eq!(b.grant(), [FibChange::Add(better.clone()), FibChange::Remove(two.clone())]);
    b.fib.set_desired(net(BLOCK), None);
    assert_eq!(b.grant(), [FibChange::Remove(better)]);
    assert_eq!((b.state(BLOCK), b.fib.is_settled()), (None, true));
}

#[test]
fn changes_during_a_flight_are_written_once_when_it_landed() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    let (seq, _) = b.fib.poll().unwrap();
    (3..9).for_each(|i| b.want(&via(BLOCK, &format!("192.0.2.{i}"))));
    assert_eq!(b.fib.poll(), None, "one change at a time for a prefix");
    b.fib.on_done(b.now, seq, Ok(()));
    assert_eq!(b.grant(), [FibChange::Replace(via(BLOCK, "192.0.2.8"))]);
}

#[test]
fn a_window_bounds_what_is_on_its_way() {
    let mut b = Bench::new(Params { window: 3, ..Params::default() }, &[]);
    (0..10).for_each(|i| b.want(&via(&format!("10.0.{i}.0/24"), "192.0.2.2")));
    let flying: Vec<u64> = std::iter::from_fn(|| b.fib.poll()).map(|(seq, _)| seq).collect();
    assert_eq!((flying.len(), b.fib.backlog()), (3, (3, 7)));
    b.fib.on_done(b.now, flying[1], Ok(()));
    assert!(b.fib.poll().is_some() && b.fib.poll().is_none());
}

#[test]
fn a_refused_route_is_shown_with_its_errno_and_tried_again_ever_more_rarely() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    let mut waits = Vec::new();
    for _ in 0..6 {
        let (seq, _) = b.fib.poll().unwrap();
        b.fib.on_done(b.now, seq, Err(Errno::ENETUNREACH));
        b.fib.check_invariants();
        assert_eq!(b.fib.poll(), None);
        let row = b.fib.row(&net(BLOCK)).unwrap();
        assert_eq!((row.state, row.errno), (State::Failed, Some(Errno::ENETUNREACH)));
        assert_eq!(b.fib.counts(Family::Ipv4Unicast).failed, 1);
        let at = b.fib.next_deadline().unwrap();
        waits.push(at.since(b.now).as_millis());
        b.wait(at.since(b.now));
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200]);
    assert_eq!(b.fib.take_events(), [FibEvent::Refused { net: net(BLOCK), errno: Errno::ENETUNREACH }], "said once");
    b.grant();
    assert_eq!((b.state(BLOCK), b.fib.counts(Family::Ipv4Unicast).failed), (Some(State::Installed), 0));
}

#[test]
fn what_waits_for_a_link_is_tried_when_that_link_comes_up_and_no_other() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    let (seq, _) = b.fib.poll().unwrap();
    b.fib.on_done(b.now, seq, Err(Errno::ENETUNREACH));
    let link = |ifindex, up| KernelEvent::Link { ifindex, name: "x".into(), up };
    b.hear(link(IfIndex(9), true));
    assert_eq!(b.fib.poll(), None);
    b.hear(link(ETH0, true));
    let (seq, _) = b.fib.poll().unwrap();
    b.fib.on_done(b.now, seq, Err(Errno::ENETUNREACH));
    let on_link = RouteKind::Unicast([Hop { gateway: None, ifindex: ETH0, onlink: false, weight: Weight::ONE }].into_iter().collect());
    b.hear(KernelEvent::Route(KernelRoute { kind: on_link, ..stands(&via("192.0.2.0/24", "192.0.2.1"), 2) }));
    assert_eq!(b.grant().len(), 1, "the gateway's prefix is on the link now");
}

#[test]
fn a_deleted_route_is_back_at_once_and_a_fight_has_a_pace() {
    let route = via(BLOCK, "192.0.2.2");
    let mut b = Bench::new(Params::default(), std::slice::from_ref(&route));
    b.want(&route);
    let mut written = 0;
    for _ in 0..10_000 {
        b.hear(KernelEvent::RouteGone(stands(&route, 186)));
        written += b.grant().len();
        if written == 1 {
            assert_eq!(b.state(BLOCK), Some(State::Installed));
        }
        b.wait(Duration::from_millis(10));
        written += b.grant().len();
    }
    assert!((380..=410).contains(&written), "{written} writes in 100 s, four a second");
    assert_eq!(b.fib.totals().repaired, written as u64);
    assert_eq!(b.fib.take_events(), [FibEvent::Contested { net: net(BLOCK) }], "one line for all of it");
    b.wait(Duration::from_millis(300));
    b.grant();
    assert_eq!(b.state(BLOCK), Some(State::Installed), "who stops fighting finds it there");
    b.wait(Duration::from_secs(180));
    b.hear(KernelEvent::RouteGone(stands(&route, 186)));
    assert_eq!(b.grant(), [FibChange::Add(route)]);
}

#[test]
fn a_route_that_is_deleted_each_second_is_back_each_time_at_once() {
    let route = via(BLOCK, "192.0.2.2");
    let mut b = Bench::new(Params::default(), std::slice::from_ref(&route));
    b.want(&route);
    for round in 0..3000 {
        b.hear(KernelEvent::RouteGone(stands(&route, 186)));
        assert_eq!(b.grant(), [FibChange::Add(route.clone())], "round {round}");
        b.wait(Duration::from_secs(1));
    }
}

#[test]
fn a_contested_route_that_another_puts_back_as_it_was_waits_for_nothing() {
    let route = via(BLOCK, "192.0.2.2");
    let mut b = Bench::new(Params::default(), std::slice::from_ref(&route));
    b.want(&route);
    for _ in 0..10 {
        b.hear(KernelEvent::RouteGone(stands(&route, 186)));
        b.grant();
    }
    assert_eq!(b.state(BLOCK), Some(State::Contested));
    b.hear(KernelEvent::Route(stands(&route, 186)));
    assert_eq!((b.state(BLOCK), b.fib.is_settled()), (Some(State::Installed), true));
}

/// Under another protocol, as after a change of `[fib] protocol` or in the place of another router.
#[test]
fn what_stands_under_a_former_name_is_taken_over_or_removed() {
    let former = Owner { table: 254, protocol: 12 };
    let params = Params { protocol: 200, former: vec![former], ..Params::default() };
    let mut b = Bench::new(params, &[]);
    assert!(!b.fib.preserved(Family::Ipv4Unicast));
    let mut b2 = Bench { fib: Fib::new(b.fib.params().clone()), ..b };
    let (kept, gone, other) = (via(BLOCK, "192.0.2.2"), via("10.244.3.0/26", "192.0.2.3"), via("10.244.4.0/26", "192.0.2.4"));
    let same_key = FibRoute { metric: 1024, ..other.clone() };
    let left: Vec<KernelRoute> = [&kept, &gone, &same_key].map(|r| stands(r, 12)).into();
    b2.dump(&left);
    b = b2;
    assert!(b.fib.preserved(Family::Ipv4Unicast) && !b.fib.preserved(Family::Ipv6Unicast));
    let ours = |r: &FibRoute| FibRoute { metric: 1024, ..r.clone() };
    let as_left = |r: &FibRoute| FibRoute { former: Some(former), ..r.clone() };
    b.want(&ours(&kept));
    b.want(&ours(&other));
    let written = b.grant();
    assert!(written.contains(&FibChange::Replace(same_key)), "{written:?}");
    let [add, remove] = [FibChange::Add(ours(&kept)), FibChange::Remove(as_left(&kept))].map(|c| written.iter().position(|w| *w == c));
    assert!(add.is_some() && add < remove, "{written:?}");
    assert_eq!((written.len(), b.state("10.244.3.0/26")), (3, Some(State::Stale)));
    assert_eq!(b.fib.reap(), 1);
    assert_eq!(b.grant(), [FibChange::Remove(as_left(&gone))]);
    b.hear(KernelEvent::Route(stands(&gone, 12)));
    assert_eq!((b.grant(), b.fib.foreign(&gone.net)), (vec![], vec![(0, 12)]), "after the start it is another's");
}

#[test]
fn what_stands_in_a_former_table_goes_when_ours_stands() {
    let former = Owner { table: 100, protocol: 186 };
    let params = Params { former: vec![former], ..Params::default() };
    let mut b = Bench::new(params, &[]);
    b.fib = Fib::new(b.fib.params().clone());
    let (kept, gone) = (via(BLOCK, "192.0.2.2"), via("10.244.3.0/26", "192.0.2.3"));
    b.dump(&[&kept, &gone].map(|r| KernelRoute { table: 100, ..stands(r, 186) }));
    b.want(&kept);
    let old = |r: &FibRoute| FibRoute { former: Some(former), ..r.clone() };
    assert_eq!(b.grant(), [FibChange::Add(kept.clone()), FibChange::Remove(old(&kept))]);
    b.fib.reap();
    assert_eq!(b.grant(), [FibChange::Remove(old(&gone))]);
}

/// From metric 0, as our first release wrote, to 1024.
#[test]
fn routes_of_the_first_release_are_replaced_before_they_go() {
    let (old, new) = (via(BLOCK, "192.0.2.2"), FibRoute { metric: DEFAULT_METRIC, ..via(BLOCK, "192.0.2.2") });
    let mut b = Bench::new(Params::default(), std::slice::from_ref(&old));
    b.want(&new);
    assert_eq!(b.grant(), [FibChange::Add(new), FibChange::Remove(old)]);
}

#[test]
fn a_foreign_route_that_was_there_first_stays_and_ours_comes_when_it_goes() {
    let (ours, theirs) = (via(BLOCK, "192.0.2.2"), stands(&via(BLOCK, "192.0.2.9"), 80));
    let mut b = Bench::new(Params::default(), &[]);
    b.hear(KernelEvent::Route(theirs.clone()));
    b.want(&ours);
    assert_eq!((b.grant().len(), b.state(BLOCK)), (0, Some(State::Foreign)));
    assert_eq!(b.fib.row(&net(BLOCK)).unwrap().foreign, [(0, 80)]);
    b.hear(KernelEvent::RouteGone(theirs));
    assert_eq!(b.grant(), [FibChange::Add(ours)]);
}

#[test]
fn a_foreign_route_that_took_our_place_gives_it_back_unless_we_yield() {
    let (ours, theirs) = (via(BLOCK, "192.0.2.2"), stands(&via(BLOCK, "192.0.2.9"), 3));
    for (conflict, writes, state) in [(Conflict::Heal, 1, State::Installed), (Conflict::Yield, 0, State::Foreign)] {
        let mut b = Bench::new(Params { conflict, ..Params::default() }, std::slice::from_ref(&ours));
        b.want(&ours);
        b.hear(KernelEvent::Route(theirs.clone()));
        assert_eq!((b.grant().len(), b.state(BLOCK)), (writes, Some(state)), "{conflict:?}");
        assert_eq!(b.fib.take_events(), [FibEvent::Foreign { net: net(BLOCK), protocol: 3 }]);
        assert_eq!(b.fib.take_displaced_foreign(), writes == 1, "nobody else hears that it gave way");
    }
}

#[test]
fn a_better_metric_of_another_shadows_ours_and_both_stand() {
    let ours = FibRoute { metric: 100, ..via(BLOCK, "192.0.2.2") };
    let mut b = Bench::new(Params { metric: Metric::Fixed(100), ..Params::default() }, &[]);
    b.want(&ours);
    b.grant();
    let theirs = stands(&via(BLOCK, "192.0.2.9"), 3);
    b.hear(KernelEvent::Route(theirs.clone()));
    assert_eq!((b.grant().len(), b.state(BLOCK)), (0, Some(State::Shadowed)));
    let counts = b.fib.counts(Family::Ipv4Unicast);
    assert_eq!((counts.installed, counts.foreign, counts.shadowed), (1, 1, 1));
    b.hear(KernelEvent::RouteGone(theirs));
    assert_eq!(b.state(BLOCK), Some(State::Installed));
}

#[test]
fn an_overrun_is_healed_by_one_dump_and_only_the_difference_is_written() {
    let routes: Vec<FibRoute> = (0..100).map(|i| via(&format!("10.0.{i}.0/24"), "192.0.2.2")).collect();
    let mut b = Bench::new(Params::default(), &[]);
    routes.iter().for_each(|r| b.want(r));
    b.grant();
    let mut left: Vec<KernelRoute> = routes.iter().skip(3).map(|r| stands(r, 186)).collect();
    left[0].kind = RouteKind::Blackhole;
    b.dump(&left);
    let mut written: Vec<IpNet> = b.grant().iter().map(|c| c.route().net).collect();
    written.sort();
    assert_eq!(written, ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"].map(net));
    assert_eq!((b.fib.totals().repaired, b.fib.counts(Family::Ipv4Unicast).installed), (4, 100));
}

#[test]
fn what_we_wrote_while_a_dump_ran_is_not_missing_from_it() {
    let mut b = Bench::new(Params::default(), &[]);
    b.hear(KernelEvent::DumpStart);
    b.want(&via(BLOCK, "192.0.2.2"));
    b.grant();
    b.hear(KernelEvent::DumpEnd);
    assert_eq!(b.grant(), []);
    assert_eq!(b.fib.totals().disturbed, 0);
}

#[test]
fn a_link_that_flaps_before_we_look_has_its_routes_written_again() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    b.grant();
    let link = |up| KernelEvent::Link { ifindex: ETH0, name: "eth0".into(), up };
    b.hear(link(false));
    assert_eq!((b.grant().len(), b.state(BLOCK)), (0, Some(State::LinkDown)), "no use in writing over a dead link");
    b.hear(link(true));
    assert_eq!(b.grant(), [FibChange::Replace(via(BLOCK, "192.0.2.2"))]);
    b.hear(link(false));
    b.hear(link(true));
    assert_eq!(b.grant().len(), 1);
}

#[test]
fn a_link_under_many_routes_is_gone_through_in_steps() {
    const MANY: u32 = 100_000;
    let mut b = Bench::new(Params::default(), &[]);
    let many: Vec<FibRoute> = (0..MANY).map(|i| via(&format!("10.{}.{}.{}/32", i >> 16, i >> 8 & 255, i & 255), "192.0.2.2")).collect();
    many.iter().for_each(|r| b.fib.set_desired(r.net, Some(r.clone())));
    while let Some((seq, _)) = b.fib.poll() {
        b.fib.on_done(b.now, seq, Ok(()));
    }
    let link = |up| KernelEvent::Link { ifindex: ETH0, name: "eth0".into(), up };
    for up in [false, true, false, true] {
        b.fib.on_kernel(b.now, &link(up));
        assert_eq!(b.fib.backlog(), (0, 0), "an event touches no route by itself");
    }
    assert!(b.fib.next_deadline() == Some(b.now) && !b.fib.is_settled());
    let (mut written, mut most) = (0, 0);
    while !b.fib.is_settled() {
        let before = b.fib.backlog().1;
        if let Some((seq, _)) = b.fib.poll() {
            written += 1;
            b.fib.on_done(b.now, seq, Ok(()));
        }
        most = most.max(b.fib.backlog().1.saturating_sub(before));
    }
    assert_eq!(written, MANY, "four flaps, each route once");
    assert!(most <= 64 * 1024, "{most} routes in one step");
    b.fib.check_invariants();
}

#[test]
fn the_last_address_of_a_link_takes_the_routes_along() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    b.grant();
    let (one, two) = (net("192.0.2.1/24"), net("198.51.100.1/24"));
    for net in [one, two] {
        b.hear(KernelEvent::Address { ifindex: ETH0, net });
    }
    b.hear(KernelEvent::AddressGone { ifindex: ETH0, net: two });
    assert_eq!(b.grant(), []);
    b.hear(KernelEvent::AddressGone { ifindex: ETH0, net: one });
    assert_eq!(b.grant().len(), 1);
}

#[test]
fn an_add_that_meets_an_unknown_route_waits_for_news_and_then_replaces_it() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    let (seq, _) = b.fib.poll().unwrap();
    b.fib.on_done(b.now, seq, Err(Errno::EEXIST));
    b.wait(Duration::from_millis(100));
    assert_eq!(b.grant(), [FibChange::Replace(via(BLOCK, "192.0.2.2"))]);
}

#[test]
fn removing_what_is_gone_is_no_failure() {
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&via(BLOCK, "192.0.2.2"));
    b.grant();
    b.fib.set_desired(net(BLOCK), None);
    let (seq, _) = b.fib.poll().unwrap();
    b.fib.on_done(b.now, seq, Err(Errno::ESRCH));
    b.fib.check_invariants();
    assert_eq!((b.state(BLOCK), b.fib.is_settled()), (None, true));
}

#[test]
fn routes_that_merely_bear_our_protocol_number_are_left_alone() {
    let mut b = Bench::new(Params::default(), &[]);
    b.hear(KernelEvent::Route(stands(&via("203.0.113.0/24", "192.0.2.9"), 186)));
    let odd = KernelRoute { metric: 20, ..stands(&via("203.0.114.0/24", "192.0.2.9"), 186) };
    b.hear(KernelEvent::Route(odd));
    b.fib.reap();
    assert_eq!(b.grant(), [], "after the start, what we did not write is not ours");
    let frr = FibRoute { metric: 20, ..via(BLOCK, "192.0.2.9") };
    let mut b = Bench::new(Params::default(), &[frr]);
    b.fib.reap();
    assert_eq!(b.grant(), [], "at the start, a metric that we would not write is not ours");
}

#[test]
fn a_missing_way_of_an_ipv6_multipath_route_is_put_back() {
    let hop = |s: &str| Hop { gateway: Some(s.parse().unwrap()), ifindex: ETH0, onlink: false, weight: Weight::ONE };
    let hops = [hop("2001:db8::2"), hop("2001:db8::3")];
    let kind = FibKind::Unicast(hops.into_iter().collect());
    let both = FibRoute { net: net("2001:db8:1::/64"), metric: 1024, kind, source: None, former: None };
    let mut b = Bench::new(Params::default(), &[]);
    b.want(&FibRoute { metric: 0, ..both.clone() });
    assert_eq!(b.grant(), [FibChange::Add(both.clone())], "IPv6 has no metric 0");
    let one = FibRoute { kind: FibKind::Unicast(hops.into_iter().take(1).collect()), ..both.clone() };
    b.hear(KernelEvent::RouteGone(stands(&one, 186)));
    assert_eq!(b.grant(), [FibChange::Replace(both)]);
}

/// All that is ours goes, whatever is asked for afterwards; the call itself looks at nothing.
#[test]
fn an_end_is_a_walk_over_all_routes_and_wants_nothing_more() {
    let old = via("10.244.3.0/26", "192.0.2.3");
    let mut b = Bench::new(Params::default(), std::slice::from_ref(&old));
    let routes: Vec<FibRoute> = (0..250).map(|n| via(&format!("10.245.{n}.0/26"), "192.0.2.2")).collect();
    routes.iter().for_each(|route| b.want(route));
    b.grant();
    b.fib.remove_all();
    assert!(!b.fib.is_settled() && b.fib.wanted(&routes[0].net).is_some(), "nothing was looked at yet");
    b.fib.set_desired(net(BLOCK), Some(via(BLOCK, "192.0.2.2")));
    let removed = b.grant();
    assert_eq!(removed.len(), 251);
    assert!(removed.contains(&FibChange::Remove(old)) && removed.iter().all(|change| matches!(change, FibChange::Remove(_))));
    assert!(b.fib.is_settled() && b.fib.is_empty());
}
