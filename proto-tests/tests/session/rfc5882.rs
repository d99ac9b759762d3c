//! RFC 5882: what the state of a BFD session means to the BGP session beside it, and what it does not.

use std::sync::Arc;
use std::time::Duration;

use catbird::api::Command;
use catbird::bfd::{Path, Profile, State};
use catbird::kernel::{IfIndex, KernelEvent};
use catbird::num::Asn;
use catbird::peer::{self, RemoteAs};
use catbird::speaker::{Input, ListenRange, PeerConfig, StopMode};
use catbird::wire::Capability;
use proto_tests::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: &str = "10.9.0.0/26";

fn fast() -> Profile {
    Profile { min_tx: 50_000, min_rx: 50_000, ..Profile::default() }
}

fn with(config: &mut PeerConfig, profile: Profile) {
    Arc::make_mut(&mut config.session).offer.bfd_strict = profile.strict;
    config.bfd = Some(Arc::new(profile));
}

/// Two routers with BFD beside their session, and a route from the second.
fn pair(seed: u64, profile: impl Fn(&str) -> Profile) -> Lab {
    let mut lab = Lab::seeded(seed).speaker("a", 64512).speaker("b", 64513).linked_as("a", "b", |me, config| with(config, profile(me)));
    lab.until_established("a", "b");
    lab.until_bfd_up("a");
    lab.until_bfd_up("b");
    lab.blocks("b", &[BLOCK]);
    lab.until("the route", 10 * SECOND, |lab| lab.in_kernel("a", BLOCK));
    // The quick intervals are agreed on a moment after it is up.
    lab.run(2 * SECOND);
    lab
}

fn said(lab: &Lab, name: &str, words: &str) -> bool {
    lab.notices(name).iter().any(|line| line.contains(words))
}

#[test]
fn a_dead_path_ends_the_session_at_once_and_takes_its_routes() {
    let mut lab = pair(1, |_| fast());
    lab.part("a", "b");
    let from = lab.seconds();
    lab.until("the end", 2 * SECOND, |lab| !lab.in_kernel("a", BLOCK));
    assert!((0.1..0.2).contains(&(lab.seconds() - from)), "3 x 50 ms, and it took {} s", lab.seconds() - from);
    assert!(lab.why_down("a", "b").contains("BFD says that the path to it is dead"), "{}", lab.why_down("a", "b"));
    assert!(lab.why_down("a", "b").contains("control detection time expired"), "{}", lab.why_down("a", "b"));
    assert!(said(&lab, "a", "BFD up -> down: the path is taken for dead"), "{:?}", lab.notices("a"));
    assert_eq!(lab.peer("a", "b").row.bfd.as_deref(), Some("down"));
    lab.heal("a", "b");
    lab.until_established("a", "b");
    lab.until_bfd_up("a");
    lab.until("the route again", 30 * SECOND, |lab| lab.in_kernel("a", BLOCK));
}

#[test]
fn a_path_that_carries_tcp_and_not_bfd_is_dead_too_and_the_peer_is_told_why() {
    let mut lab = pair(2, |_| fast());
    lab.silence_bfd("b", true);
    lab.until("the end", SECOND, |lab| lab.state("a", "b") != "established");
    lab.run(Duration::from_millis(20));
    let down = lab.peer("b", "a").last_down.expect("it was told");
    assert_eq!((down.code, down.subcode), (Some(6), Some(9)), "as a hard reset, so that routes go (RFC 8538): {}", down.reason);
    assert!(down.reason.contains("BFD"), "{}", down.reason);
    assert!(!lab.in_kernel("a", BLOCK));
    // The session comes back, BFD does not, and that is no failure: it was not up (RFC 5882 3.3).
    lab.until_established("a", "b");
    lab.run(30 * SECOND);
    assert!(lab.established("a", "b"));
    assert!(lab.peer("a", "b").row.warnings.join(" ").contains("BFD is down"), "{:?}", lab.peer("a", "b").row.warnings);
}

#[test]
fn a_peer_without_bfd_has_its_session_all_the_same_and_a_note() {
    let mut lab = Lab::seeded(3).speaker("a", 64512).speaker("b", 64513);
    lab = lab.linked_as("a", "b", |me, config| {
        if me == "a" {
            with(config, fast())
        }
    });
    lab.until_established("a", "b");
    lab.run(60 * SECOND);
    assert!(lab.established("a", "b"));
    let row = lab.peer("a", "b").row;
    assert_eq!(row.bfd.as_deref(), Some("down"));
    assert!(row.warnings.join(" ").contains("BFD has not come up"), "{:?}", row.warnings);
    assert_eq!(lab.peer("b", "a").row.bfd, None);
    assert!(!said(&lab, "a", "taken for dead"));
}

#[test]
fn an_operator_who_holds_a_peer_down_is_no_failure() {
    let mut lab = pair(4, |_| fast());
    lab.order("b", Command::PeerDown { peer: "a".into(), text: None });
    lab.run(5 * SECOND);
    let down = lab.peer("a", "b").last_down.expect("a shutdown");
    assert!(down.reason.contains("Administrative Shutdown") || down.reason.contains("administrative shutdown"), "{}", down.reason);
    assert!(!said(&lab, "a", "taken for dead"), "{:?}", lab.notices("a"));
    assert_eq!(lab.peer("a", "b").row.bfd.as_deref(), Some("peer admin down"));
    assert_eq!(lab.peer("b", "a").row.bfd.as_deref(), Some("admin down"));
    lab.order("b", Command::PeerUp { peer: "a".into() });
    lab.until_established("a", "b");
    lab.until_bfd_up("a");
}

#[test]
fn a_daemon_that_stops_in_order_says_so_and_its_routes_are_kept_over_its_restart() {
    let mut lab = pair(5, |_| fast());
    lab.stop("b", StopMode::Keep);
    lab.run(SECOND);
    assert!(lab.in_kernel("a", BLOCK), "kept as stale (RFC 5882 4.3.2)");
    assert!(!said(&lab, "a", "taken for dead"), "{:?}", lab.notices("a"));
    lab.kill("b");
    lab.run(5 * SECOND);
    assert!(lab.in_kernel("a", BLOCK), "a BFD session that is gone does not end a restart that is under way");
    lab.start("b");
    lab.blocks("b", &[BLOCK]);
    lab.until_established("a", "b");
    lab.until_bfd_up("a");
    lab.run(20 * SECOND);
    assert!(lab.in_kernel("a", BLOCK));
}

#[test]
fn a_daemon_that_dies_is_a_dead_path_unless_the_profile_is_graceful() {
    for graceful in [false, true] {
        let mut lab = pair(6, |_| Profile { graceful, ..fast() });
        // Its packets stop, and TCP stands for a while.
        lab.silence_bfd("b", true);
        lab.run(SECOND / 2);
        assert_eq!(lab.in_kernel("a", BLOCK), graceful, "graceful: {graceful}");
        lab.silence_bfd("b", false);
        lab.until_established("a", "b");
        lab.until("the route", 30 * SECOND, |lab| lab.in_kernel("a", BLOCK));
    }
}

#[test]
fn strict_sessions_wait_for_bfd_where_both_ends_want_that() {
    let strict = |_: &str| Profile { strict: true, ..fast() };
    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64513).linked_as("a", "b", |me, config| with(config, strict(me)));
    lab.silence_bfd("b", true);
    lab.run(60 * SECOND);
    assert!(!lab.established("a", "b"));
    assert_eq!(lab.state("a", "b"), "opensent");
    assert!(lab.peer("a", "b").row.warnings.join(" ").contains("waits for BFD"), "{:?}", lab.peer("a", "b").row.warnings);
    lab.silence_bfd("b", false);
    let from = lab.seconds();
    lab.until_established("a", "b");
    assert!(lab.seconds() - from < 5.0, "as soon as BFD is up: {} s", lab.seconds() - from);
    assert!(lab.peer("a", "b").capabilities.theirs.iter().any(|c| c == "bfd-strict"));
}

#[test]
fn strict_does_not_keep_out_who_does_not_know_of_it() {
    let mut lab = Lab::seeded(8).speaker("a", 64512).scripted("x", 64513);
    lab = lab.linked_as("a", "x", |_, config| with(config, Profile { strict: true, ..fast() }));
    lab.until_established("a", "x");
    let open = lab.heard("x").into_iter().find_map(|message| match message {
        catbird::wire::Message::Open(open) => Some(open),
        _ => None,
    });
    assert!(open.expect("an OPEN").capabilities.contains(&Capability::BfdStrict));
}

#[test]
fn strict_lets_pass_where_an_operator_has_switched_bfd_off() {
    // RFC 5882 4.1: MUST be allowed.
    let strict = |_: &str| Profile { strict: true, ..fast() };
    let mut lab = pair(9, strict);
    lab.order("b", Command::PeerDown { peer: "a".into(), text: None });
    lab.run(3 * SECOND);
    lab.order("b", Command::PeerUp { peer: "a".into() });
    lab.until_established("a", "b");
}

#[test]
fn another_profile_is_taken_over_by_a_reload_and_nothing_flaps() {
    let mut lab = pair(10, |_| fast());
    let downs = |lab: &Lab| lab.bfd_sessions("a").iter().chain(&lab.bfd_sessions("b")).map(|s| s.downs).sum::<u32>();
    for (min_tx, min_rx, multiplier) in [(300_000, 300_000, 3), (20_000, 20_000, 5), (1_000_000, 50_000, 3), (50_000, 50_000, 3)] {
        lab.reload("a", |params| {
            let config = Arc::make_mut(&mut params.peers[0]);
            config.bfd = Some(Arc::new(Profile { min_tx, min_rx, multiplier, ..fast() }));
        });
        lab.run(10 * SECOND);
        assert!(lab.established("a", "b"));
        let session = &lab.bfd_sessions("a")[0];
        assert_eq!((session.state, session.desired_min_tx, session.required_min_rx), (State::Up, min_tx, min_rx));
    }
    assert_eq!(downs(&lab), 0);
    assert!(lab.in_kernel("a", BLOCK));
}

#[test]
fn a_session_without_bfd_gets_one_by_a_reload_and_loses_it_and_nothing_flaps() {
    let mut lab = pair(11, |_| fast());
    lab.reload("a", |params| Arc::make_mut(&mut params.peers[0]).bfd = None);
    lab.run(20 * SECOND);
    assert!(lab.established("a", "b"), "it said AdminDown");
    assert!(lab.bfd_sessions("a").is_empty());
    lab.reload("a", |params| Arc::make_mut(&mut params.peers[0]).bfd = Some(Arc::new(fast())));
    lab.until_bfd_up("a");
    assert!(lab.established("a", "b"));
    assert!(!said(&lab, "a", "taken for dead") && !said(&lab, "b", "taken for dead"));
}

#[test]
fn peers_out_of_a_range_have_a_session_from_their_establishment_on() {
    let mut lab = Lab::seeded(12).speaker("rr", 64512).speaker("x", 64512);
    lab = lab.linked_as("x", "rr", |_, config| with(config, fast())).configured("rr", |params| {
        params.peers.clear();
        let session = peer::Params::new("guests", "0.0.0.0".parse().unwrap(), Asn(64512), RemoteAs::Internal, params.router_id);
        let mut template = PeerConfig::new(Arc::new(session));
        with(&mut template, fast());
        params.ranges = vec![Arc::new(ListenRange { net: "10.255.0.0/16".parse().unwrap(), limit: 10, template })];
    });
    lab.run(SECOND / 1000);
    assert!(lab.bfd_sessions("rr").is_empty(), "nobody is there yet");
    lab.until("a session", 60 * SECOND, |lab| lab.state("x", "rr") == "established" && !lab.bfd_sessions("rr").is_empty());
    lab.until_bfd_up("rr");
    assert_eq!(lab.bfd_sessions("rr")[0].params.path, Path::SingleHop, "it is on our link");
    lab.run(2 * SECOND);
    lab.part("rr", "x");
    lab.run(SECOND);
    assert!(lab.bfd_sessions("rr").is_empty(), "it went with its peer");
}

#[test]
fn carrier_and_address_that_are_lost_end_the_session_before_any_timer() {
    let down = KernelEvent::Link { ifindex: IfIndex(2), name: "eth0".into(), up: false };
    let gone = KernelEvent::AddressGone { ifindex: IfIndex(2), net: "10.255.0.1/16".parse().unwrap() };
    for (event, why) in [(down, "no carrier"), (gone, "no longer our address")] {
        for link_down in [true, false] {
            let slow = Profile { link_down, ..Profile::default() };
            let mut lab = pair(13, |_| slow.clone());
            lab.give_input("a", Input::Kernel(event.clone()));
            assert_eq!(lab.state("a", "b") != "established", link_down, "{why}, link_down: {link_down}");
            if link_down {
                let reason = lab.peer("a", "b").last_down.expect("it ended").reason;
                assert!(reason.contains("the link to it is lost") && reason.contains(why), "{reason}");
            }
        }
    }
}

#[test]
fn who_is_far_away_is_spoken_to_over_routers() {
    let far = |multihop| Profile { multihop, ..fast() };
    for (multihop, path) in [(Some(true), Path::MultiHop), (Some(false), Path::SingleHop), (None, Path::SingleHop)] {
        let lab = pair(14, |_| far(multihop));
        assert_eq!(lab.bfd_sessions("a")[0].params.path, path, "{multihop:?}");
    }
}
