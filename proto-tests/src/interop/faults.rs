//! Faults of the wire, and ways to meet, tried with every daemon that has a part in them.

use super::wire::Connection;
use super::{Arena, OUR_ROUTE, OUR_V6_ROUTE, Other, Setup, THEIR_ROUTE};

/// RFC 5082 over a router: by one hop it is too far, by two it is right.
pub fn ttl_security_counts_the_router(other: Other) {
    // OpenBGPD's own ttl-security is for one hop; it sends with 255 all the same when told that we are as far away.
    let far = Setup { routed: Some(2), gtsm_ours: true, gtsm_theirs: other != Other::OpenBgpd, ..Setup::default() };
    if let Some(arena) = Arena::new("GTSM, two hops", other, far.clone()) {
        arena.until_up();
    }
    // They still send with 255; we take nothing below 255.
    let Some(mut arena) = Arena::prepared("GTSM, one hop too far", other, far) else { return };
    arena.start_them();
    arena.setup.routed = Some(1);
    arena.start_us();
    arena.until("the reason names the distance", |a| a.our_view().contains("ttl security"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(!arena.is_up(), "{}", arena.our_view());
}

/// Only a next-door neighbour gets through to a peer whose TTL security knows no hops. We read at our end that it does not confirm our OPEN; or,
/// when that slipped in before it had told its socket, that it falls silent.
pub fn ttl_security_of_one_hop_shuts_us_out_over_a_router(other: Other) {
    let far = Setup { routed: Some(2), gtsm_ours: true, gtsm_theirs: true, ..Setup::default() };
    let Some(arena) = Arena::new("GTSM of one hop", other, far) else { return };
    arena.until("the reason says so", |a| {
        let view = a.our_view();
        view.contains("did not confirm ours") || view.contains("hold timer expired: nothing was heard from the peer")
    });
    assert!(!arena.is_up() && !arena.in_our_kernel(THEIR_ROUTE), "{}", arena.our_view());
}

/// RFC 4271 §6.8, forced: both have dialled, both connections stand, and each side finds both OPENs of the other at once. (Both are stopped
/// while the kernels deliver them; otherwise the connection whose OPENs are sent again first would be up before there is a choice.)
pub fn a_collision_is_won_by_the_higher_identifier(other: Other) {
    for (our_id, ours_is_higher) in [(None, false), (Some("10.99.99.99"), true)] {
        let setup = Setup { our_id, hold: 30, ..Setup::default() };
        let Some(mut arena) = Arena::prepared("collision", other, setup) else { return };
        arena.swallow_words();
        arena.start_them();
        arena.start_us();
        arena.until("both have said OPEN over both connections", |a| {
            a.connections().iter().all(|side| side.len() == 2 && side.iter().all(|c| c.unacknowledged > 0))
        });
        arena.freeze_us();
        arena.freeze_them();
        arena.mend_the_wire();
        arena.until("all OPENs lie there unread", |a| {
            a.connections().iter().all(|side| side.len() == 2 && side.iter().all(|c| c.unacknowledged == 0 && c.unread > 0))
        });
        arena.thaw_us();
        arena.until("we have chosen", |a| a.our_view().contains("Connection Collision Resolution"));
        let [ours, _] = arena.connections();
        let dialled: Vec<bool> = ours.iter().map(|c| c.dialled).collect();
        assert_eq!(dialled, [ours_is_higher], "whose connection is it?\n{}", arena.our_view());
        // FRR 8.4 at times takes down what it has kept when it clears away what it has not; then there is one more beginning.
        arena.thaw_them();
        arena.until_up();
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
    }
}

/// RFC 4271 §6.8 with those that never let it come to a collision: GoBGP and OpenBGPD close, unread, whatever connection comes second by
/// their own clock, and compare no identifiers. Forced: both have dialled, both connections stand, and we have said OPEN over both before they
/// wake. Whichever they keep, we stay with it, and the other costs no session.
pub fn a_collision_that_they_avoid_leaves_one_session(other: Other) {
    for our_id in [None, Some("10.99.99.99")] {
        let setup = Setup { our_id, hold: 30, connect_retry: 60, ..Setup::default() };
        let Some(mut arena) = Arena::prepared("collision", other, setup) else { return };
        arena.cut_the_wire();
        arena.start_them();
        arena.start_us();
        arena.until("both are stopped while they dial", |a| {
            if !a.both_dial() {
                return false;
            }
            a.freeze_us();
            a.freeze_them();
            let caught = a.both_dial();
            if !caught {
                a.thaw_us();
                a.thaw_them();
            }
            caught
        });
        arena.mend_the_wire();
        let two = |side: &[Connection]| side.len() == 2 && side.iter().any(|c| c.dialled) && side.iter().any(|c| !c.dialled);
        arena.until("both connections stand", |a| a.connections().iter().all(|side| two(side)));
        arena.thaw_us();
        arena.until("two OPENs of ours lie there unread", |a| a.connections()[1].iter().filter(|c| c.unread > 0).count() == 2);
        arena.thaw_them();
        arena.until_up();
        // GoBGP at times forgets to close the other; then we do, when no OPEN came for `open_timeout`.
        arena.until("one connection is left", |a| a.connections().iter().all(|side| side.len() == 1));
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
        assert_eq!(arena.our_detail()["flaps"], 0, "{}", arena.our_view());
    }
}

/// Half-open: the wire is cut without a word, both hold timers expire, the wire is mended, and the session is back.
pub fn a_wire_that_is_cut_and_mended_brings_the_session_back(other: Other) {
    let Some(arena) = Arena::new("half-open", other, Setup { hold: 9, ..Setup::default() }) else { return };
    arena.until_up();
    arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
    arena.cut_the_wire();
    arena.until("our hold timer expires", |a| a.our_state() != "established" && a.our_view().contains("HoldTimer expired"));
    arena.until("their route is gone", |a| !a.in_our_kernel(THEIR_ROUTE));
    arena.mend_the_wire();
    arena.until_up();
    arena.until("our kernel has their route again", |a| a.in_our_kernel(THEIR_ROUTE));
}

/// They dial, and are a member of a peer group by their address alone; when they have gone there is no trace of them.
pub fn they_come_out_of_a_listen_range(other: Other) {
    let Some(mut arena) = Arena::new("listen range", other, Setup { ranged: true, ..Setup::default() }) else { return };
    arena.until_up();
    arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
    arena.until("they know our route", |a| a.they_know(OUR_ROUTE));
    arena.kill_them();
    arena.until("they are forgotten", |a| a.ask_us(&["peer", "10.77.0.2"]).contains("no peer"));
    arena.until("and their route", |a| !a.in_our_kernel(THEIR_ROUTE));
}

/// RFC 8950 over a session between link-local addresses: IPv4 routes through an IPv6 next hop, and packets follow them.
pub fn a_link_local_session_carries_ipv4(other: Other) {
    for they_are_passive in [false, true] {
        let setup = Setup { link_local: true, they_are_passive, we_are_passive: !they_are_passive, ..Setup::default() };
        let Some(arena) = Arena::new("link-local", other, setup) else { return };
        arena.until_up();
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
        let pings = arena.ping_theirs();
        let (answered, sent) = pings.end();
        // The first may wait in vain for the neighbour's address.
        assert!(sent - answered <= 1, "{answered} of {sent} answered");
    }
}

/// A node that has no address on the link but a link-local one calls that one the next hop, of both families (RFC 2545 §3, RFC 8950); whether it
/// has other addresses elsewhere or none.
pub fn a_node_without_addresses_on_the_link_is_reached_by_its_link_local_one(other: Other) {
    for own in [&[][..], &["10.255.0.1", "fd00::1"]] {
        let setup =
            Setup { link_local: true, unnumbered: Some(own), our_id: Some("10.77.0.1"), they_are_passive: true, ..Setup::default() };
        let Some(arena) = Arena::new("unnumbered", other, setup) else { return };
        arena.until_up();
        for (family, net) in [("-4", OUR_ROUTE), ("-6", OUR_V6_ROUTE)] {
            let by_us = |a: &Arena| {
                let route = a.ask_them(&["ip", family, "route", "show", net]);
                route.contains("fe80::1") && route.contains("dev eth0")
            };
            arena.until(&format!("their kernel has {net} by our link-local address ({own:?})"), by_us);
        }
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
        let (answered, sent) = arena.ping_theirs().end();
        assert!(sent - answered <= 1, "{own:?}: {answered} of {sent} answered");
    }
}

/// OpenBGPD 7.7 knows nothing of RFC 8950 and, between link-local addresses, calls 127.0.0.1 the next hop of its IPv4 routes. They are refused,
/// ours arrive with our IPv4 address, and the session stays.
pub fn a_loopback_as_next_hop_between_link_local_addresses_is_refused(other: Other) {
    let setup = Setup { link_local: true, they_are_passive: true, ..Setup::default() };
    let Some(arena) = Arena::new("link-local", other, setup) else { return };
    arena.until_up();
    arena.until("they know our route", |a| a.they_know(OUR_ROUTE));
    arena.until("their route is refused for its next hop", |a| {
        let why = a.ask_us(&["why", THEIR_ROUTE]);
        why.contains("refused: next hop refused") && why.contains("127.0.0.1")
    });
    assert!(!arena.in_our_kernel(THEIR_ROUTE) && arena.our_detail()["flaps"] == 0, "{}", arena.our_view());
}

/// draft-ietf-idr-link-bandwidth: two equal paths, the second with thrice the bandwidth, are 1 to 3 in our kernel.
pub fn link_bandwidth_becomes_weights(other: Other) {
    let Some(arena) = Arena::new("link bandwidth", other, Setup { bandwidths: Some([5_000, 15_000]), ..Setup::default() }) else { return };
    arena.until_up();
    let shown = |a: &Arena| a.ask_our_machine(&["ip", "route", "show", THEIR_ROUTE]);
    arena.until("our kernel has weights", |a| {
        let route = shown(a);
        route.contains("via 10.77.0.2 dev eth0 weight 1") && route.contains("via 10.77.0.3 dev eth0 weight 3")
    });
    let why = arena.ask_us(&["why", THEIR_ROUTE]);
    assert!(why.contains("its part by link bandwidth 15G of 20G"), "{why}");
    assert!(arena.ask_us(&["fib"]).contains("weight 3"), "{}", arena.ask_us(&["fib"]));
}
