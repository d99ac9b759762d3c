//! RFC 4724: routes outlive the restart of who announced them, in both roles, and never longer than they should.

use std::time::Duration;

use catbird::api::Command;
use catbird::num::Family;
use catbird::rib::Multipath;
use catbird::speaker::{BlockSource, ListenRange, StopMode};
use catbird::wire::{Capability, GracefulRestart, Message};
use proto_tests::lab::{Lab, raw_update, session, update};

const ROUTE: &str = "10.1.0.0/26";
const OTHER: &str = "10.1.1.0/26";

fn graceful(restarting: bool, forwarding: bool, time: u16) -> Capability {
    Capability::GracefulRestart(GracefulRestart { restarting, notification: false, time, families: vec![(1, 1, forwarding)] })
}

fn offer(lab: &mut Lab, capability: Option<Capability>) {
    let open = &mut lab.script("x").open;
    open.capabilities.retain(|c| !matches!(c, Capability::GracefulRestart(_)));
    open.capabilities.extend(capability);
}

fn end_of_rib() -> Vec<u8> {
    raw_update(&[], &[], &[])
}

/// A router with two routes of a graceful peer; the router waits to be connected to, so that the test says when.
fn learned() -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    offer(&mut lab, Some(graceful(false, false, 60)));
    lab.connect("x", "a");
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE, OTHER]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", ROUTE).is_some() && lab.in_kernel("a", OTHER));
    lab
}

fn both_there(lab: &mut Lab) -> (bool, bool) {
    (lab.best("a", ROUTE).is_some(), lab.best("a", OTHER).is_some())
}

fn back(lab: &mut Lab, capability: Option<Capability>) {
    offer(lab, capability);
    lab.connect("x", "a");
    lab.until_established("a", "x");
}

#[test]
fn routes_stay_in_table_and_kernel_while_the_peer_is_away_and_are_marked_stale() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(50));
    assert_eq!(both_there(&mut lab), (true, true));
    assert!(lab.best("a", ROUTE).unwrap().stale);
    assert_eq!(lab.kernel_removals("a"), 0);
}

#[test]
fn without_the_capability_they_go_with_the_connection() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", ROUTE).is_some());
    lab.hang_up_script("x");
    lab.run(Duration::from_millis(500));
    assert!(lab.best("a", ROUTE).is_none() && !lab.in_kernel("a", ROUTE));
}

#[test]
fn of_several_instances_of_the_capability_the_last_counts() {
    for (last, kept) in [(true, true), (false, false)] {
        let mut lab = learned();
        lab.hang_up_script("x");
        lab.run(Duration::from_secs(1));
        offer(&mut lab, Some(graceful(false, !last, 60)));
        lab.script("x").open.capabilities.push(graceful(false, last, 60));
        lab.connect("x", "a");
        lab.until_established("a", "x");
        lab.run(Duration::from_secs(1));
        assert_eq!(both_there(&mut lab), (kept, kept), "forwarding was kept, says the last: {last}");
    }
}

#[test]
fn they_go_when_the_restart_time_is_over() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(59));
    assert_eq!(both_there(&mut lab), (true, true));
    lab.run(Duration::from_secs(2));
    assert_eq!(both_there(&mut lab), (false, false));
    assert!(!lab.in_kernel("a", ROUTE));
}

#[test]
fn what_is_announced_again_stays_and_the_rest_goes_at_end_of_rib() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(10));
    back(&mut lab, Some(graceful(true, true, 60)));
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    assert_eq!(both_there(&mut lab), (true, true));
    assert!(!lab.best("a", ROUTE).unwrap().stale && lab.best("a", OTHER).unwrap().stale);
    let removals = lab.kernel_removals("a");
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(1));
    assert_eq!(both_there(&mut lab), (true, false));
    assert_eq!(lab.kernel_removals("a"), removals + 1, "the route that was announced again was never touched");
}

#[test]
fn a_reload_while_the_peer_is_away_neither_drops_its_routes_nor_makes_them_young() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(5));
    lab.reload("a", |params| std::sync::Arc::make_mut(&mut params.peers[0]).graceful_shutdown ^= true);
    lab.run(Duration::from_secs(5));
    assert_eq!(both_there(&mut lab), (true, true));
    assert!(lab.best("a", ROUTE).unwrap().stale && lab.kernel_removals("a") == 0);
    back(&mut lab, Some(graceful(true, true, 60)));
    lab.order("a", Command::RefreshIn { peer: "x".into() });
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", ROUTE).unwrap().stale && lab.best("a", OTHER).unwrap().stale, "judged again is not said again");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(1));
    assert_eq!(both_there(&mut lab), (true, false));
}

#[test]
fn a_peer_that_did_not_keep_its_forwarding_state_loses_them_at_once() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(5));
    back(&mut lab, Some(graceful(true, false, 60)));
    lab.run(Duration::from_millis(100));
    assert_eq!(both_there(&mut lab), (false, false));
}

#[test]
fn a_peer_that_comes_back_without_the_capability_loses_them_at_once() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(5));
    back(&mut lab, None);
    lab.run(Duration::from_millis(100));
    assert_eq!(both_there(&mut lab), (false, false));
}

#[test]
fn an_end_of_rib_that_never_comes_is_waited_for_only_so_long() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(5));
    back(&mut lab, Some(graceful(true, true, 60)));
    lab.run(Duration::from_secs(110));
    assert_eq!(both_there(&mut lab), (true, true));
    lab.run(Duration::from_secs(15));
    assert_eq!(both_there(&mut lab), (false, false));
    assert!(lab.established("a", "x"));
}

#[test]
fn a_second_restart_inside_the_window_drops_what_was_still_stale() {
    let mut lab = learned();
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(5));
    back(&mut lab, Some(graceful(true, true, 60)));
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(1));
    assert_eq!(both_there(&mut lab), (true, false), "RFC 4724 §4.2: deleted on consecutive restarts");
    assert!(lab.best("a", ROUTE).unwrap().stale);
}

#[test]
fn a_peer_that_restarts_unseen_replaces_its_old_connection() {
    let mut lab = learned();
    lab.run(Duration::from_secs(30));
    lab.freeze("a", "x");
    let old = lab.script("x").current().unwrap();
    let from = lab.seconds();
    lab.script("x").told = None;
    offer(&mut lab, Some(graceful(true, true, 60)));
    let new = lab.connect("x", "a");
    lab.run(Duration::from_secs(1));
    assert!(lab.state("a", "x") == "established" && lab.seconds() - from < 2.0, "long before the hold timer");
    assert!(old != new && lab.script("x").told.is_none(), "no NOTIFICATION");
    assert_eq!(both_there(&mut lab), (true, true));
}

#[test]
fn end_of_rib_comes_after_the_initial_routes_for_each_family_and_without_the_capability_too() {
    for blocks in [&["10.9.0.0/26", "10.9.1.0/26"][..], &[]] {
        let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
        lab.script("x").open.capabilities.push(Capability::multiprotocol(Family::Ipv6Unicast));
        lab.blocks("a", blocks);
        lab.until_established("a", "x");
        lab.run(Duration::from_secs(15));
        let updates: Vec<_> = lab.heard("x").into_iter().filter_map(|m| if let Message::Update(u) = m { Some(u) } else { None }).collect();
        let ends: Vec<_> = updates.iter().enumerate().filter_map(|(n, u)| Some((n, u.end_of_rib?))).collect();
        let mut families: Vec<_> = ends.iter().map(|(_, f)| *f).collect();
        families.sort();
        assert_eq!(families, [Family::Ipv4Unicast, Family::Ipv6Unicast]);
        let announced = updates.iter().position(|u| !u.announced.is_empty());
        assert_eq!(announced.is_some(), !blocks.is_empty());
        let end_v4 = ends.iter().find(|(_, f)| *f == Family::Ipv4Unicast).unwrap().0;
        assert!(announced.is_none_or(|n| n < end_v4));
    }
}

/// The router's own restart: killed with routes in the kernel, back five seconds later.
fn restarted() -> Lab {
    let mut lab = learned();
    lab.kill("a");
    lab.run(Duration::from_secs(5));
    lab.start("a");
    lab
}

#[test]
fn after_our_own_restart_the_open_says_so_and_the_kernel_keeps_its_routes() {
    let mut lab = restarted();
    lab.run(Duration::from_secs(1));
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER));
    offer(&mut lab, Some(graceful(false, true, 60)));
    lab.connect("x", "a");
    lab.until_established("a", "x");
    let open = lab.script("x").their_open.clone().unwrap();
    let said = open.capabilities.iter().find_map(|c| if let Capability::GracefulRestart(g) = c { Some(g.clone()) } else { None });
    let said = said.expect("graceful restart is offered");
    assert!(said.restarting, "the R bit");
    assert!(said.families.contains(&(1, 1, true)), "IPv4 forwarding was kept: {said:?}");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", ROUTE) && !lab.in_kernel("a", OTHER), "what was not learned again is removed");
    assert_eq!(lab.kernel_removals("a"), 1, "the other was never touched");
}

/// The routes lie behind a next hop that a route leads to which comes last: that one is chosen in the very round in which End-of-RIB comes.
#[test]
fn after_our_own_restart_routes_go_only_when_all_that_was_said_is_chosen_by_next_hops_as_they_are() {
    let tell = |lab: &mut Lab| {
        lab.connect("x", "a");
        lab.until_established("a", "x");
        lab.raw("x", &update([10, 9, 0, 5], &[64513], &[ROUTE, OTHER]));
        lab.run(Duration::from_millis(200));
        let mut last = update([10, 255, 0, 2], &[64513], &["10.9.0.0/16"]);
        last.extend(end_of_rib());
        lab.raw("x", &last);
        lab.run(Duration::from_secs(1));
        assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER) && lab.in_kernel("a", "10.9.0.0/16"));
    };
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    offer(&mut lab, Some(graceful(false, true, 60)));
    tell(&mut lab);
    lab.kill("a");
    lab.run(Duration::from_secs(5));
    lab.start("a");
    tell(&mut lab);
    assert_eq!(lab.kernel_removals("a"), 0);
    let said = lab.notices("a");
    assert!(said.last().is_some_and(|s| s.contains("3 kernel routes adopted, 0 not learned again")), "{said:?}");
}

/// The next hop is a node that is reached through a tunnel, which the keeper of tunnels has first to look after.
#[test]
fn after_our_own_restart_routes_wait_for_the_tunnels_that_carry_them() {
    let tell = |lab: &mut Lab| {
        lab.connect("x", "a");
        lab.until_established("a", "x");
        let mut all = update([10, 255, 0, 2], &[64513], &["10.9.0.0/16"]);
        all.extend(update([10, 9, 0, 5], &[64513], &[ROUTE, OTHER]));
        all.extend(end_of_rib());
        lab.raw("x", &all);
    };
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    lab = lab.configured("a", |params| {
        params.fib.overlay.mode = catbird::fib::overlay::Mode::CrossSubnet;
        params.fib.overlay.nodes = vec!["10.9.0.0/24".parse().unwrap()];
    });
    offer(&mut lab, Some(graceful(false, true, 60)));
    tell(&mut lab);
    lab.run(Duration::from_millis(50));
    assert!(!lab.in_kernel("a", ROUTE) && lab.in_kernel("a", "10.9.0.0/16"), "it has no tunnel yet");
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER));
    lab.kill("a");
    lab.run(Duration::from_secs(5));
    lab.start("a");
    lab.script("x").take_heard();
    tell(&mut lab);
    lab.run(Duration::from_millis(50));
    let ends = |lab: &mut Lab| lab.heard("x").iter().any(|m| matches!(m, Message::Update(u) if u.end_of_rib.is_some()));
    assert!(!ends(&mut lab), "nor is our table told whole before");
    lab.run(Duration::from_secs(2));
    assert!(ends(&mut lab));
    let said = lab.notices("a");
    assert!(said.last().is_some_and(|s| s.contains("3 kernel routes adopted, 0 not learned again")), "{said:?}");
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER));
    assert_eq!(lab.kernel_removals("a"), 0);
}

/// The router's own restart, with a neighbour that knows nothing of graceful restart.
fn restarted_beside_a_plain_peer() -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    lab.connect("x", "a");
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE, OTHER]));
    lab.run(Duration::from_secs(5));
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER));
    lab.kill("a");
    lab.run(Duration::from_secs(5));
    lab.start("a");
    lab.connect("x", "a");
    lab.until_established("a", "x");
    lab
}

#[test]
fn a_peer_without_the_capability_is_done_when_it_has_been_quiet_and_not_while_it_talks() {
    let mut lab = restarted_beside_a_plain_peer();
    for n in 0..6 {
        lab.run(Duration::from_secs(2));
        lab.raw("x", &update([10, 255, 0, 2], &[64513], &[&format!("10.2.{n}.0/24")]));
    }
    lab.run(Duration::from_millis(100));
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER), "it may yet come to them");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_millis(2800));
    assert!(lab.in_kernel("a", OTHER));
    lab.run(Duration::from_millis(400));
    assert!(lab.in_kernel("a", ROUTE) && !lab.in_kernel("a", OTHER));
    assert_eq!(lab.kernel_removals("a"), 1);
}

#[test]
fn a_peer_without_the_capability_that_says_nothing_at_all_is_done_as_soon() {
    let mut lab = restarted_beside_a_plain_peer();
    lab.run(Duration::from_millis(2800));
    assert_eq!(lab.kernel_removals("a"), 0);
    lab.run(Duration::from_millis(400));
    assert_eq!(lab.kernel_removals("a"), 2);
}

/// A router with one route of a peer that nobody configured: it came out of a listen range. Then the router is killed and starts again.
fn restarted_with_a_listen_range(remembers: bool) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    lab = lab.configured("a", |params| {
        let template = params.peers.pop().expect("one is linked");
        let net = "10.255.0.0/16".parse().unwrap();
        params.ranges = vec![ListenRange { net, limit: 10, template: (*template).clone() }.into()];
    });
    offer(&mut lab, Some(graceful(false, true, 60)));
    lab.run(Duration::from_secs(1));
    come(&mut lab);
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE, OTHER]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(15));
    assert!(lab.in_kernel("a", ROUTE) && lab.in_kernel("a", OTHER));
    lab.kill("a");
    if !remembers {
        lab.forget("a");
    }
    lab.run(Duration::from_secs(5));
    lab.start("a");
    lab
}

fn come(lab: &mut Lab) {
    lab.connect("x", "a");
    lab.until("a session", Duration::from_secs(10), |lab| lab.script("x").is_up());
}

fn told_the_end(lab: &mut Lab, before: usize) -> bool {
    lab.script("x").heard()[before..].iter().any(|(_, m)| matches!(m, Message::Update(u) if u.end_of_rib.is_some()))
}

#[test]
fn clients_of_a_listen_range_that_were_here_before_are_waited_for_and_strangers_are_not() {
    let mut lab = restarted_with_a_listen_range(true);
    lab.run(Duration::from_secs(60));
    assert_eq!(lab.kernel_removals("a"), 0, "it dials when its own timer says so");
    let before = lab.script("x").heard().len();
    come(&mut lab);
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(1));
    assert!(told_the_end(&mut lab, before), "nobody else is to come");
    assert!(lab.in_kernel("a", ROUTE) && !lab.in_kernel("a", OTHER), "nor has anybody else a way to it");
    // It has no route any more and goes: nobody waits for it after the next start.
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(200));
    lab.kill("a");
    lab.start("a");
    let before = lab.script("x").heard().len();
    come(&mut lab);
    lab.run(Duration::from_secs(1));
    assert!(told_the_end(&mut lab, before));
}

#[test]
fn without_memory_routes_of_peers_that_a_listen_range_lets_in_wait_for_these_until_the_deadline() {
    let mut lab = restarted_with_a_listen_range(false);
    lab.run(Duration::from_secs(60));
    assert_eq!(lab.kernel_removals("a"), 0, "it dials when its own timer says so");
    come(&mut lab);
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(40));
    assert_eq!(lab.kernel_removals("a"), 0, "another may come with the other");
    lab.run(Duration::from_secs(20));
    assert!(lab.in_kernel("a", ROUTE) && !lab.in_kernel("a", OTHER), "two minutes after the start");
}

#[test]
fn without_memory_the_wait_for_a_listen_range_is_over_when_every_old_route_was_told_again() {
    let mut lab = restarted_with_a_listen_range(false);
    let before = lab.script("x").heard().len();
    come(&mut lab);
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE, OTHER]));
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(8));
    assert!(!told_the_end(&mut lab, before), "a client of a reflector would drop what the others have not told again yet");
    lab.run(Duration::from_secs(4));
    assert!(told_the_end(&mut lab, before));
    let notices = lab.notices("a");
    assert!(notices.last().is_some_and(|s| s.contains("2 kernel routes adopted, 0 not learned again")), "{notices:?}");
    assert_eq!(lab.kernel_removals("a"), 0);
}

/// The file of blocks is late, and then it does not come at all.
#[test]
fn end_of_rib_and_old_routes_wait_for_a_source_of_blocks_until_the_deadline_that_status_shows() {
    let status = |lab: &mut Lab| match lab.ask("a", catbird::api::Question::Status) {
        catbird::api::Answer::Status(status) => status,
        other => panic!("{other:?}"),
    };
    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab = lab.configured("a", |p| p.sources = [BlockSource::File].into());
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.blocks("b", &["10.9.1.0/26"]);
    lab.until("both tables", Duration::from_secs(60), |lab| lab.in_kernel("a", "10.9.1.0/26") && lab.in_kernel("b", "10.9.0.0/26"));
    assert!(status(&mut lab).waiting.is_none());
    let again = |lab: &mut Lab| {
        lab.kill("a");
        lab.run(Duration::from_secs(2));
        lab.start("a");
        lab.until_established("a", "b");
    };
    again(&mut lab);
    lab.run(Duration::from_secs(60));
    let waiting = status(&mut lab).waiting.expect("it waits");
    assert!(waiting.sources == ["file"] && (50.0..65.0).contains(&waiting.seconds_left), "{waiting:?}");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.run(Duration::from_secs(1));
    assert!(status(&mut lab).waiting.is_none());
    assert_eq!((lab.kernel_removals("a"), lab.kernel_removals("b")), (0, 0));
    assert!(lab.in_kernel("b", "10.9.0.0/26") && !lab.best("b", "10.9.0.0/26").unwrap().stale);
    // This time it does not come.
    again(&mut lab);
    lab.run(Duration::from_secs(110));
    assert!(lab.in_kernel("b", "10.9.0.0/26"));
    lab.run(Duration::from_secs(15));
    assert!(!lab.in_kernel("b", "10.9.0.0/26") && !lab.in_kernel("a", "10.9.0.0/26"), "the deadline");
    assert!(status(&mut lab).waiting.is_none());
    // A source that is not configured any more takes its blocks along; one that is new withdraws nothing.
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.run(Duration::from_secs(1));
    lab.reload("a", |p| p.sources.clear());
    lab.run(Duration::from_secs(1));
    assert!(!lab.in_kernel("b", "10.9.0.0/26") && lab.in_kernel("b", "10.9.1.0/26"));
}

/// Two ways, one of which dies.
#[test]
fn stale_paths_leave_a_group_where_a_fresh_one_exists_and_come_back_unless_they_may_stay() {
    for stay in [false, true] {
        let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).scripted("y", 64513).linked("a", "x").linked("a", "y");
        lab = lab
            .configured("a", |p| p.rules.multipath = Multipath { ebgp: true, ibgp: true, width: 4, stale: stay, ..Multipath::default() });
        for peer in ["x", "y"] {
            lab.script(peer).open.capabilities.push(graceful(false, true, 60));
        }
        lab.until_all_established();
        let tell = |lab: &mut Lab, peer: &str, net: &str| {
            let last = if peer == "x" { 2 } else { 3 };
            lab.raw(peer, &update([10, 255, 0, last], &[64513], &[net]));
            lab.run(Duration::from_secs(1));
        };
        for (peer, net) in [("x", ROUTE), ("y", ROUTE), ("x", OTHER)] {
            tell(&mut lab, peer, net);
        }
        let ways = |lab: &mut Lab, net: &str| lab.ways("a", net);
        assert_eq!((ways(&mut lab, ROUTE), ways(&mut lab, OTHER)), (2, 1));
        // The best of them, x, is the one that goes.
        lab.hang_up_script("x");
        lab.run(Duration::from_millis(100));
        assert_eq!(
            (ways(&mut lab, ROUTE), ways(&mut lab, OTHER)),
            (if stay { 2 } else { 1 }, 1),
            "where nothing is fresh, what is stale stays"
        );
        assert!(stay || lab.way("a", ROUTE) == Some("10.255.0.3".parse().unwrap()));
        assert!(lab.best("a", ROUTE).is_some_and(|best| best.stale), "the best is the same as before, and peers hear nothing of it");
        lab.until_established("a", "x");
        tell(&mut lab, "x", ROUTE);
        assert_eq!(ways(&mut lab, ROUTE), 2, "it is announced again, as it was");
        // Both are gone: they share it as before.
        lab.hang_up_script("x");
        lab.hang_up_script("y");
        lab.run(Duration::from_millis(100));
        assert_eq!(ways(&mut lab, ROUTE), 2);
    }
}

#[test]
fn two_restarted_routers_do_not_wait_for_each_other() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.blocks("b", &["10.9.1.0/26"]);
    lab.until("both tables", Duration::from_secs(60), |lab| lab.in_kernel("a", "10.9.1.0/26") && lab.in_kernel("b", "10.9.0.0/26"));
    lab.kill("a");
    lab.kill("b");
    lab.run(Duration::from_secs(3));
    lab.start("a");
    lab.start("b");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.blocks("b", &["10.9.1.0/26"]);
    let from = lab.seconds();
    lab.until_established("a", "b");
    lab.until("both tables again", Duration::from_secs(30), |lab| {
        lab.best("a", "10.9.1.0/26").is_some() && lab.best("b", "10.9.0.0/26").is_some()
    });
    assert!(lab.seconds() - from < 20.0, "took {} s", lab.seconds() - from);
    assert_eq!((lab.kernel_removals("a"), lab.kernel_removals("b")), (0, 0));
}

#[test]
fn a_router_that_is_told_to_end_and_keep_says_no_word_and_its_peer_keeps_the_routes() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab.blocks("b", &["10.9.1.0/26"]);
    lab.until("the route", Duration::from_secs(60), |lab| lab.in_kernel("a", "10.9.1.0/26"));
    lab.stop("b", StopMode::Keep);
    lab.until("the end", Duration::from_secs(5), |lab| lab.stopped("b"));
    lab.kill("b");
    lab.run(Duration::from_secs(30));
    assert!(lab.in_kernel("a", "10.9.1.0/26") && lab.best("a", "10.9.1.0/26").is_some());
    assert_eq!(lab.kernel_removals("a"), 0);
}

/// §4.1: the restarter waits for End-of-RIB of those that come, not for a machine that is switched off.
#[test]
fn a_dark_peer_does_not_hold_up_our_end_of_rib_and_is_met_with_the_forwarding_bit_later() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).scripted("dark", 64514).linked("a", "x").linked("a", "dark");
    lab = lab.configured("a", |p| p.recovery.end_of_rib_wait = Duration::from_secs(60));
    for peer in ["x", "dark"] {
        lab.script(peer).open.capabilities.push(graceful(false, true, 60));
    }
    lab.part("a", "dark");
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    lab.kill("a");
    lab.start("a");
    lab.until_established("a", "x");
    lab.heard("x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.raw("x", &end_of_rib());
    let from = lab.seconds();
    lab.until("our End-of-RIB", Duration::from_secs(70), |lab| {
        lab.script("x").heard().iter().any(|(_, m)| matches!(m, Message::Update(u) if u.end_of_rib.is_some()))
    });
    // After a ConnectRetryTimer it is known that nobody answers.
    assert!(lab.seconds() - from < 12.0, "it came after {} s", lab.seconds() - from);
    lab.run(Duration::from_secs(20));
    lab.heal("a", "dark");
    lab.until_established("a", "dark");
    let open = lab.script("dark").their_open.clone().expect("an OPEN");
    let said = open.capabilities.iter().find_map(|c| if let Capability::GracefulRestart(g) = c { Some(g.clone()) } else { None });
    let said = said.expect("graceful restart is offered");
    assert!(!said.restarting && said.families.contains(&(1, 1, true)), "{said:?}");
}

/// §4.1: the F bit says what was preserved, and after a first start that is nothing.
#[test]
fn the_forwarding_bit_says_what_an_earlier_run_left_in_the_kernel() {
    let forwards = |lab: &mut Lab| {
        let open = lab.script("x").their_open.clone().expect("an OPEN");
        let said = open.capabilities.iter().find_map(|c| if let Capability::GracefulRestart(g) = c { Some(g.clone()) } else { None });
        said.expect("graceful restart is offered").families
    };
    let again = |lab: &mut Lab| {
        lab.kill("a");
        lab.start("a");
        lab.until_established("a", "x");
    };
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    assert_eq!(forwards(&mut lab), [(1, 1, false), (2, 1, false)], "a first start");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    again(&mut lab);
    assert_eq!(forwards(&mut lab), [(1, 1, true), (2, 1, false)]);

    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x").configured("a", |p| p.fib.enabled = false);
    lab.until_established("a", "x");
    again(&mut lab);
    assert_eq!(forwards(&mut lab), [(1, 1, false), (2, 1, false)], "nothing of ours forwards");
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x").configured("a", |p| {
        p.fib.enabled = false;
        p.recovery.forwarding = catbird::speaker::Forwarding::Preserved;
    });
    lab.until_established("a", "x");
    assert_eq!(forwards(&mut lab), [(1, 1, true), (2, 1, true)], "others forward");
}

#[test]
fn after_our_own_restart_end_of_rib_follows_the_routes_that_are_chosen_in_the_same_breath() {
    let client = |_: &str, c: &mut catbird::speaker::PeerConfig| {
        c.rr_client = true;
        session(c, |p| p.passive = true);
    };
    let mut lab = Lab::seeded(7).speaker("rr", 64512).scripted("x", 64512).scripted("y", 64512);
    lab = lab.linked_as("rr", "x", client).linked_as("rr", "y", client);
    lab = lab.configured("rr", |p| p.cluster_id = Some(catbird::num::ClusterId([1, 1, 1, 1].into())));
    for peer in ["x", "y"] {
        lab.script(peer).open.capabilities.push(graceful(false, true, 60));
        lab.connect(peer, "rr");
        lab.until_established("rr", peer);
    }
    lab.kill("rr");
    lab.start("rr");
    lab.connect("x", "rr");
    lab.until_established("rr", "x");
    lab.raw("x", &end_of_rib());
    lab.run(Duration::from_secs(3));
    lab.heard("x");
    lab.connect("y", "rr");
    lab.until_established("rr", "y");
    let prefixes: Vec<String> = (0..200).map(|n| format!("10.77.{n}.0/24")).collect();
    let mut burst: Vec<u8> = prefixes.iter().flat_map(|p| update([10, 255, 0, 3], &[], &[p])).collect();
    burst.extend(end_of_rib());
    lab.raw("y", &burst);
    lab.run(Duration::from_secs(1));
    let heard = lab.heard("x");
    let announces = |m: &Message| matches!(m, Message::Update(u) if !u.announced.is_empty());
    let ends = |m: &Message| matches!(m, Message::Update(u) if u.end_of_rib == Some(Family::Ipv4Unicast));
    let (last, end) = (heard.iter().rposition(announces), heard.iter().position(ends));
    assert!(last.is_some() && last < end, "the last route is message {last:?}, End-of-RIB {end:?}");
}

/// Found by chaos, seed 41: reflectors took who refused a connection, or restarted, for one who has nothing, and the others' kernels lost
/// the routes of whoever came a moment later.
#[test]
fn a_cluster_that_starts_at_once_removes_no_route_of_whoever_comes_a_moment_later() {
    let mut lab = Lab::seeded(7).speaker("rr", 64512).speaker("a", 64512).speaker("b", 64512);
    let client = |of: &str, c: &mut catbird::speaker::PeerConfig| c.rr_client = of == "rr";
    lab = lab.linked_as("rr", "a", client).linked_as("rr", "b", client);
    lab = lab.configured("rr", |p| p.cluster_id = Some(catbird::num::ClusterId([1, 1, 1, 1].into())));
    let blocks = |lab: &mut Lab| [("a", "10.9.0.0/26"), ("b", "10.9.1.0/26")].iter().for_each(|(name, block)| lab.blocks(name, &[block]));
    blocks(&mut lab);
    let both = |lab: &mut Lab| lab.in_kernel("a", "10.9.1.0/26") && lab.in_kernel("b", "10.9.0.0/26");
    lab.until("both tables", Duration::from_secs(60), both);
    for name in ["rr", "a", "b"] {
        lab.kill(name);
    }
    lab.start("rr");
    lab.start("a");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.until_established("rr", "a");
    // As long as b's machine takes to start its daemon: what connects to it is refused.
    lab.run(Duration::from_secs(4));
    lab.start("b");
    lab.blocks("b", &["10.9.1.0/26"]);
    lab.until_established("rr", "b");
    lab.run(Duration::from_secs(20));
    assert_eq!((lab.kernel_removals("a"), lab.kernel_removals("b")), (0, 0));
    assert!(both(&mut lab));
}

/// However many steps the first table takes.
#[test]
fn end_of_rib_comes_after_a_first_table_of_many_steps() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true));
    let blocks = (0..30_000_u32).map(|n| ipnet::Ipv4Net::new(std::net::Ipv4Addr::from(0x0a40_0000 + n * 64), 26).unwrap().into());
    lab.many_blocks("a", blocks.collect());
    lab.run(Duration::from_secs(5));
    lab.connect("x", "a");
    lab.until_established("a", "x");
    lab.run(Duration::from_secs(5));
    let heard = lab.heard("x");
    let announces = |m: &Message| matches!(m, Message::Update(u) if !u.announced.is_empty());
    let ends = |m: &Message| matches!(m, Message::Update(u) if u.end_of_rib == Some(Family::Ipv4Unicast));
    let (last, end) = (heard.iter().rposition(announces), heard.iter().position(ends));
    assert!(last.is_some() && last < end, "the last route is message {last:?}, End-of-RIB {end:?} of {}", heard.len());
}
