//! The bug classes of FAILURES.md that concern sessions, each by its number.
//!
//! Where the others of its two lists are, as far as peers are concerned:
//!
//! | class or fault | tests |
//! |---|---|
//! | 1, 2 lengths | `wire::properties`, `blackbox::updates`, `blackbox::sessions::opens_that_are_not_acceptable_are_told_why` |
//! | 3 presence, End-of-RIB | `blackbox::updates::well_known_attributes_from_an_external_peer`, `session::rfc4724` |
//! | 4, 5 error ladder | `wire::rfc7606_errors`, `blackbox::updates`, `rib::rfc4271_attributes_out` |
//! | 7 families that were not negotiated | `blackbox::updates::bodies_that_are_odd_but_legal_do_nothing_to_the_session` |
//! | 9, 10, 16, 17, 18, 19 | here |
//! | 11, 12 interning, memory | `rib::rib_model`, `session::rfc4486::who_fills_our_memory_is_told_eight_and_stays_away`, `session::rfc9687` |
//! | 13 endless loops, late keepalives | `blackbox::faults::keepalives_are_in_time_while_another_peer_floods` |
//! | 20 one prefix in both fields | `blackbox::updates::bodies_that_are_odd_but_legal_do_nothing_to_the_session` |
//! | silence | `interop::*::*_reads_that_our_hold_timer_expired` (SIGSTOP for longer than the hold time) |
//! | half-open TCP | `interop::*::*_is_back_after_the_wire_was_cut`, `session::peers` |
//! | slow reader, zero window | `blackbox::faults::a_peer_that_reads_nothing_is_let_go_and_costs_nobody_else`; `session::rfc9687`, `rib::export_groups` in virtual time |
//! | strangers, garbage, 10,000 connections | `blackbox::faults::a_crowd_of_bogus_connections_costs_nobody_else` and its large sister |
//! | MD5 mismatch | `interop::*::*_wants_the_same_key`, `blackbox::faults::a_rotated_password_reconnects_only_its_own_session` |
//! | descriptors | `blackbox::faults::without_descriptors_the_daemon_keeps_what_it_has_and_recovers` |
//! | SIGKILL of either side | `interop` (`keeps_our_route_while_we_are_away`, `our_kernel_keeps_*s_route_while_it_is_away`), with pings |
//! | two daemons with one identifier | `session::rfc6286` |

use std::time::Duration;

use catbird::num::Asn;
use catbird::wire::{Capability, GracefulRestart, Message, Notification, RefreshSubtype, RouteRefresh};
use proto_tests::lab::{Lab, keepalive, open_of, raw_update, update};

fn pair(seed: u64) -> Lab {
    Lab::seeded(seed).speaker("a", 64512).scripted("x", 64513).linked("a", "x")
}

/// Class 9: any message in any state is answered or tolerated, and the router goes on.
#[test]
fn class_9_every_message_in_every_state_leaves_a_router_that_works() {
    let refresh = Message::RouteRefresh(RouteRefresh::new(catbird::num::Family::Ipv4Unicast, RefreshSubtype::BoRR));
    let initial = catbird::wire::Context::INITIAL;
    let dynamic_capability = [&[0xff; 16][..], &[0, 20, 6, 0]].concat();
    for state in ["opensent", "openconfirm", "established"] {
        for kind in 0..7 {
            let mut lab = pair(kind);
            lab.script("x").be_silent();
            lab.until("an OPEN", Duration::from_secs(30), |lab| !lab.script("x").heard().is_empty());
            let open = Message::Open(Box::new(lab.script("x").open.clone())).to_bytes(&initial).to_vec();
            if state != "opensent" {
                lab.raw("x", &open);
            }
            if state == "established" {
                lab.raw("x", &keepalive());
            }
            lab.run(Duration::from_millis(100));
            assert_eq!(lab.state("a", "x"), state);
            let octets = match kind {
                0 => open,
                1 => update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]),
                2 => Message::Notification(Notification::hold_timer_expired()).to_bytes(&initial).to_vec(),
                3 => keepalive(),
                4 => refresh.to_bytes(&initial).to_vec(),
                5 => dynamic_capability.clone(),
                _ => raw_update(&[], &[], &[]),
            };
            lab.raw("x", &octets);
            lab.run(Duration::from_millis(100));
            let script = lab.script("x");
            (script.greets, script.confirms, script.beats) = (true, true, true);
            lab.until_established("a", "x");
        }
    }
}

/// Class 10: connect, close and notify in random order while routes are on their way out.
#[test]
fn class_10_teardown_in_the_middle_of_an_export_leaves_nothing_half() {
    for seed in 0..15 {
        let mut lab = Lab::seeded(seed).speaker("a", 64512).speaker("b", 64512).speaker("c", 64512);
        lab = lab.linked("a", "b").linked("b", "c").linked("a", "c");
        let blocks: Vec<ipnet::IpNet> = (0..600).map(|i| format!("10.{}.{}.0/26", 64 + i / 256, i % 256).parse().unwrap()).collect();
        lab.many_blocks("a", blocks);
        for round in 0..6 {
            lab.run(Duration::from_micros(1500 + (seed * 977 + round * 3571) % 9000));
            match (seed + round) % 3 {
                0 => lab.reset("a", "b"),
                1 => drop(lab.order("a", catbird::api::Command::PeerClear { peer: "b".into(), hard: false })),
                _ => lab.freeze("a", "b"),
            }
        }
        lab.run(Duration::from_secs(300));
        for name in ["b", "c"] {
            assert_eq!(lab.prefixes(name), 600, "seed {seed}: {name}");
        }
    }
}

/// Class 16: whatever the reason, a refused announcement removes what it replaces.
#[test]
fn class_16_a_refused_announcement_removes_the_route_it_replaces() {
    let nh = [10, 255, 0, 2];
    let med_too_short = [&[0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfc, 1, 0x40, 3, 4][..], &nh, &[0x80, 4, 3, 0, 0, 1]].concat();
    for (reason, octets) in [
        ("malformed attribute", raw_update(&[], &med_too_short, &["10.1.0.0/26"])),
        ("our AS in the path", update(nh, &[64513, 64512], &["10.1.0.0/26"])),
        ("another first AS", update(nh, &[64999], &["10.1.0.0/26"])),
    ] {
        let mut lab = pair(7);
        lab.until_established("a", "x");
        lab.raw("x", &update(nh, &[64513], &["10.1.0.0/26", "10.1.1.0/26"]));
        lab.run(Duration::from_secs(1));
        assert!(lab.best("a", "10.1.0.0/26").is_some() && lab.in_kernel("a", "10.1.0.0/26"));
        lab.raw("x", &octets);
        lab.run(Duration::from_secs(1));
        assert!(lab.best("a", "10.1.0.0/26").is_none() && !lab.in_kernel("a", "10.1.0.0/26"), "{reason}");
        assert!(lab.best("a", "10.1.1.0/26").is_some(), "{reason}: the other route is none of its business");
        assert!(lab.established("a", "x"), "{reason}: and the session stays up");
    }
}

/// Class 17: the loser of a collision ends after the winner has brought routes.
#[test]
fn class_17_the_losers_last_words_do_not_touch_the_winners_routes() {
    for seed in 0..60 {
        let mut lab = pair(seed);
        lab.script("x").be_silent();
        lab.until("the router's dial", Duration::from_secs(30), |lab| lab.script("x").current().is_some());
        let loser = lab.script("x").current().unwrap();
        let winner = lab.connect("x", "a");
        lab.until("two connections", Duration::from_secs(5), |lab| lab.script("x").conns().len() == 2);
        lab.run(Duration::from_millis(20));
        let open = Message::Open(Box::new(lab.script("x").open.clone())).to_bytes(&catbird::wire::Context::INITIAL).to_vec();
        // The loser has said its OPEN too, and its close, a KEEPALIVE and an UPDATE are still on the way when the winner is up.
        lab.raw_on("x", loser, &open);
        lab.raw_on("x", winner, &open);
        lab.raw_on("x", winner, &keepalive());
        lab.script("x").their_open = None;
        let route = update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]);
        lab.raw_on("x", winner, &route);
        lab.raw_on("x", loser, &keepalive());
        lab.raw_on("x", loser, &Message::Notification(Notification::hold_timer_expired()).to_bytes(&catbird::wire::Context::INITIAL));
        lab.script("x").beats = true;
        lab.run(Duration::from_secs(2));
        if lab.state("a", "x") == "established" {
            assert!(lab.best("a", "10.1.0.0/26").is_some(), "seed {seed}");
        } else {
            // The other order: the loser's NOTIFICATION came while it was still the only one. Then nothing may be left either.
            assert!(lab.best("a", "10.1.0.0/26").is_none(), "seed {seed}");
        }
    }
}

/// Class 18: a rejected OPEN is no reason to spin.
#[test]
fn class_18_a_rejected_open_costs_few_attempts_a_minute() {
    let mut lab = pair(7);
    lab.script("x").open = open_of(Asn(64999), catbird::num::RouterId::new([10, 255, 0, 2].into()).unwrap());
    lab.run(Duration::from_secs(60));
    let first = lab.dials("a");
    assert!((4..=10).contains(&first), "{first} attempts in the first minute");
    lab.run(Duration::from_secs(600));
    let more = lab.dials("a") - first;
    assert!((9..=16).contains(&more), "{more} attempts in the ten minutes after it");
    assert!(lab.why_down("a", "x").contains("AS mismatch"), "{}", lab.why_down("a", "x"));
}

/// Class 18, the other way round: a peer that connects, is rejected and connects again at once.
#[test]
fn class_18_a_peer_that_knocks_all_the_time_is_not_listened_to_all_the_time() {
    let mut lab = pair(7);
    lab.listen("x", false);
    lab.script("x").open = open_of(Asn(64999), catbird::num::RouterId::new([10, 255, 0, 2].into()).unwrap());
    for _ in 0..2000 {
        lab.connect("x", "a");
        lab.run(Duration::from_millis(10));
    }
    let opens = lab.heard("x").iter().filter(|m| matches!(m, Message::Open(_))).count();
    assert!((150..=250).contains(&opens), "{opens} OPENs for 2,000 connections in 20 seconds");
}

/// Class 19: an End-of-RIB that cannot come is not waited for.
#[test]
fn class_19_an_end_of_rib_of_a_family_that_was_not_negotiated_is_not_waited_for() {
    let mut lab = pair(7);
    let graceful =
        GracefulRestart { restarting: false, notification: false, time: 60, families: vec![(1, 1, true), (2, 1, true), (25, 70, true)] };
    lab.script("x").open.capabilities.push(Capability::GracefulRestart(graceful));
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]));
    lab.raw("x", &raw_update(&[], &[], &[]));
    lab.run(Duration::from_secs(1));
    lab.kill("a");
    lab.start("a");
    lab.until_established("a", "x");
    lab.raw("x", &raw_update(&[], &[], &[]));
    lab.run(Duration::from_secs(15));
    assert!(!lab.in_kernel("a", "10.1.0.0/26"), "IPv4 is complete, IPv6 cannot come: what was not said again is removed");
    assert!(lab.established("a", "x"));
}
