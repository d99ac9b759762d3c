//! What is asked of every daemon alike; `tests/interop_*.rs` call these by name.

use std::time::Duration;

use super::wire::Pings;
use super::{Arena, OUR_ROUTE, Other, Setup, THEIR_ROUTE};
use crate::netlab::{skip, user};

/// Both learn the other's route, whoever dials.
pub fn establishes_in_both_roles(other: Other) {
    for they_are_passive in [true, false] {
        let setup = Setup { they_are_passive, we_are_passive: !they_are_passive, ..Setup::default() };
        let Some(arena) = Arena::new("both roles", other, setup) else { return };
        arena.until_up();
        arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
        arena.until("they know our route", |a| a.they_know(OUR_ROUTE));
    }
}

/// Both dial at once and one session is left.
pub fn both_dial_and_one_session_is_left(other: Other) {
    let Some(arena) = Arena::new("collision", other, Setup::default()) else { return };
    arena.until_up();
    std::thread::sleep(Duration::from_secs(12));
    assert!(arena.is_up(), "longer than the hold time:\n{}", arena.our_view());
    arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
}

pub fn keys_must_be_equal(other: Other) {
    let same = Setup { their_key: Some("s3cret"), our_key: Some("s3cret"), ..Setup::default() };
    if let Some(arena) = Arena::new("MD5, equal keys", other, same) {
        arena.until_up();
    }
    let different = Setup { their_key: Some("s3cret"), our_key: Some("other"), ..Setup::default() };
    let Some(arena) = Arena::new("MD5, different keys", other, different) else { return };
    arena.until("the reason names MD5", |a| a.our_view().contains("MD5"));
    assert!(!arena.is_up());
    let ours_only = Setup { our_key: Some("s3cret"), ..Setup::default() };
    let Some(arena) = Arena::new("MD5, ours alone", other, ours_only) else { return };
    arena.until("the reason names MD5", |a| a.our_view().contains("MD5"));
    assert!(!arena.is_up());
}

/// RFC 5082: with it on both sides, a session; with it on ours alone, what they send with TTL 1 is dropped.
pub fn ttl_security_is_kept_by_both(other: Other) {
    let both = Setup { gtsm_ours: true, gtsm_theirs: true, ..Setup::default() };
    if let Some(arena) = Arena::new("GTSM, both", other, both) {
        arena.until_up();
    }
    let Some(arena) = Arena::new("GTSM, ours alone", other, Setup { gtsm_ours: true, ..Setup::default() }) else { return };
    std::thread::sleep(Duration::from_secs(10));
    assert!(!arena.is_up(), "{}", arena.our_view());
}

/// They are stopped for longer than the hold time, and read afterwards why they were let go.
pub fn silence_ends_the_session_with_hold_timer_expired(other: Other, their_words: &str) {
    let Some(arena) = Arena::new("silence", other, Setup::default()) else { return };
    arena.until_up();
    arena.freeze_them();
    arena.until("our hold timer expires", |a| a.our_view().contains("HoldTimer expired"));
    arena.thaw_them();
    let heard = |a: &Arena| a.their_log().contains(their_words) || a.their_view().contains(their_words);
    arena.until(&format!("they say {their_words:?}"), heard);
    arena.until_up();
}

/// Our operator's shutdown, in their output.
pub fn a_shutdown_is_read_by_the_other_side(other: Other, their_words: &str, with_text: bool) {
    let Some(arena) = Arena::new("shutdown", other, Setup::default()) else { return };
    arena.until_up();
    let _ = arena.ask_us(&["peer", "them", "down", "-m", "moving rack 12"]);
    // Both in one look: the next attempt of an impatient daemon overwrites what it shows.
    arena.until("they read the subcode and the text", |a| {
        let read = a.their_view() + &a.their_log();
        read.contains(their_words) && (!with_text || read.contains("moving rack 12"))
    });
    let _ = arena.ask_us(&["peer", "them", "up"]);
    arena.until_up();
}

/// Their operator's shutdown, in our output.
pub fn their_shutdown_is_read_by_us(other: Other, order: &[&str], our_words: &[&str]) {
    let Some(arena) = Arena::new("their shutdown", other, Setup::default()) else { return };
    arena.until_up();
    let _ = arena.ask_them(order);
    arena.until(&format!("we say {our_words:?}"), |a| {
        let view = a.our_view();
        our_words.iter().all(|word| view.contains(word))
    });
}

pub fn another_as_is_said_to_be_one(other: Other) {
    let Some(mut arena) = Arena::build(other, Setup { their_as: 65099, ..Setup::default() }).ok().filter(|_| user::is_root()) else {
        return skip("AS mismatch", "daemons in namespaces need root");
    };
    if let Some(missing) = other.missing() {
        return skip("AS mismatch", missing);
    }
    arena.start_them();
    arena.setup.their_as = 65002;
    arena.start_us();
    arena.until("the reason", |a| a.our_view().contains("AS mismatch: the peer says AS 65099, configured is 65002"));
}

pub fn too_many_prefixes_close_the_session(other: Other, their_words: &str) {
    let Some(arena) = Arena::new("max-prefix", other, Setup { max_prefix: Some(1), ..Setup::default() }) else { return };
    arena.until("we close", |a| a.our_view().contains("more than 1 prefixes"));
    arena.until("they read why", |a| a.their_log().contains(their_words) || a.their_view().contains(their_words));
    assert!(!arena.in_our_kernel(THEIR_ROUTE));
}

/// We are killed and come back: they keep our route; then they are killed and come back: our kernel keeps theirs. All the while packets go
/// through to a machine of theirs; and to one of ours while we are away, if their daemon writes into their kernel.
pub fn routes_outlive_a_kill_on_either_side(other: Other, they_restart_gracefully: bool) {
    let Some(mut arena) = Arena::new("graceful restart", other, Setup { graceful: true, hold: 30, ..Setup::default() }) else { return };
    arena.until_up();
    arena.until("both have learned", |a| a.in_our_kernel(THEIR_ROUTE) && a.they_know(OUR_ROUTE));
    let they_forward = matches!(other, Other::Bird | Other::Frr);
    arena.until("their kernel has our route", |a| !they_forward || a.in_their_kernel(OUR_ROUTE));
    std::thread::sleep(Duration::from_secs(2));
    let our_pings = arena.ping_theirs();
    let their_pings = they_forward.then(|| arena.ping_ours());
    arena.kill_us();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        assert!(arena.they_know(OUR_ROUTE), "they dropped our route while we were away:\n{}", arena.their_view());
        assert!(arena.in_our_kernel(THEIR_ROUTE), "our kernel lost the route with the process");
    }
    arena.start_us();
    arena.until_up();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        assert!(arena.they_know(OUR_ROUTE) && arena.in_our_kernel(THEIR_ROUTE), "a route was lost after the restart");
    }
    // What their kernel does while they restart is theirs to answer for.
    their_pings.into_iter().for_each(|pings| whole(pings, "to us"));
    if they_restart_gracefully {
        arena.kill_them();
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(200));
            assert!(arena.in_our_kernel(THEIR_ROUTE), "we dropped their route while they were away");
        }
        arena.start_them();
        arena.until_up();
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(200));
            assert!(arena.in_our_kernel(THEIR_ROUTE), "their route was lost after their restart:\n{}", arena.our_view());
        }
    }
    whole(our_pings, "to them");
}

fn whole(pings: Pings, way: &str) {
    let (sent, lost) = pings.end();
    assert!(sent >= 20 && lost <= 1, "{lost} of {sent} pings {way} were lost");
}

/// A refresh asked for by them is answered, and one asked for by us is answered by them; the session stays.
pub fn refreshes_go_both_ways(other: Other, order: &[&str]) {
    let Some(arena) = Arena::new("refresh", other, Setup::default()) else { return };
    arena.until_up();
    arena.until("both have learned", |a| a.in_our_kernel(THEIR_ROUTE) && a.they_know(OUR_ROUTE));
    let _ = arena.ask_them(order);
    let _ = arena.ask_us(&["peer", "them", "refresh", "in"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(arena.is_up() && arena.in_our_kernel(THEIR_ROUTE) && arena.they_know(OUR_ROUTE));
    let ours: serde_json::Value = serde_json::from_str(&arena.ask_us(&["peer", "them", "--json"])).unwrap_or_default();
    let detail = ours.get("data").unwrap_or(&ours);
    let flaps = detail.get("flaps").and_then(serde_json::Value::as_u64);
    assert_eq!(flaps, Some(0), "no session was lost for it");
}
