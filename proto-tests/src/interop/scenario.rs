//! What is asked of every daemon alike; `tests/interop/` call these by name.

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
    let says = |what: &'static str| move |a: &Arena| a.our_view().contains("MD5") && a.our_view().contains(what);
    arena.until("the reason names MD5", says("TCP segments signed with another key"));
    assert!(!arena.is_up());
    drop(arena);
    let ours_only = Setup { our_key: Some("s3cret"), ..Setup::default() };
    let Some(arena) = Arena::new("MD5, ours alone", other, ours_only) else { return };
    arena.until("the reason names MD5", says("TCP segments without a signature"));
    assert!(!arena.is_up());
    drop(arena);
    let theirs_only = Setup { their_key: Some("s3cret"), ..Setup::default() };
    let Some(arena) = Arena::new("MD5, theirs alone", other, theirs_only) else { return };
    arena.until("the reason names MD5", says("and no password is configured here"));
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

/// They tell us more than they like of us: the end is theirs, and is read by us with its subcode and its number.
pub fn their_limit_of_prefixes_is_read_by_us(other: Other) {
    let Some(arena) = Arena::new("their max-prefix", other, Setup { their_max_prefix: Some(1), ..Setup::default() }) else { return };
    arena.until("we read why", |a| a.our_view().contains("received NOTIFICATION Cease/Maximum Number of Prefixes Reached (6/1)"));
    arena.until("it is not tried again and again", |a| a.our_state() != "established");
}

/// We are killed and come back: they keep our route, and our kernel theirs. All the while packets go through to a machine of theirs; and to
/// one of ours, if their daemon writes into their kernel.
pub fn routes_outlive_our_kill(other: Other) {
    let Some(mut arena) = with_graceful_restart(other) else { return };
    let their_pings = forwards(other).then(|| arena.ping_ours());
    let our_pings = arena.ping_theirs();
    arena.kill_us();
    stays("while we are away", || arena.they_know(OUR_ROUTE) && arena.in_our_kernel(THEIR_ROUTE), &arena);
    arena.start_us();
    arena.until_up();
    stays("after our restart", || arena.they_know(OUR_ROUTE) && arena.in_our_kernel(THEIR_ROUTE), &arena);
    their_pings.into_iter().for_each(|pings| whole(pings, "to us"));
    whole(our_pings, "to them");
}

/// They are killed and come back with their forwarding state (RFC 4724 §4.2): our kernel keeps their route, and no packet is lost. (What their
/// kernel does meanwhile is theirs to answer for; the machine that answers is on their loopback.)
pub fn routes_outlive_their_kill(other: Other) {
    let Some(mut arena) = with_graceful_restart(other) else { return };
    let pings = arena.ping_theirs();
    arena.kill_them();
    arena.until("we know that they have gone", |a| a.our_state() != "established");
    stays("while they are away", || arena.in_our_kernel(THEIR_ROUTE), &arena);
    // Some need orders before they have anything to tell; nobody is to hear an End-of-RIB before that.
    arena.cut_the_wire();
    arena.start_them();
    arena.mend_the_wire();
    arena.until_up();
    stays("after their restart", || arena.in_our_kernel(THEIR_ROUTE), &arena);
    arena.until("nothing is stale any more", |a| a.our_detail()["families"][0]["stale"] == 0);
    whole(pings, "to them");
}

/// They offer graceful restart for no family, so their routes go with the session, and come back with it.
pub fn routes_go_with_their_kill(other: Other) {
    let Some(mut arena) = with_graceful_restart(other) else { return };
    arena.kill_them();
    arena.until("their route is gone", |a| !a.in_our_kernel(THEIR_ROUTE));
    assert!(!arena.our_view().contains("keeping routes"), "{}", arena.our_view());
    arena.start_them();
    arena.until_up();
    arena.until("their route is back", |a| a.in_our_kernel(THEIR_ROUTE));
}

/// A session with graceful restart; both have learned, and are through with their beginning.
fn with_graceful_restart(other: Other) -> Option<Arena> {
    let arena = Arena::new("graceful restart", other, Setup { graceful: true, hold: 30, ..Setup::default() })?;
    arena.until_up();
    arena.until("both have learned", |a| a.in_our_kernel(THEIR_ROUTE) && a.they_know(OUR_ROUTE));
    arena.until("their kernel has our route", |a| !forwards(other) || a.in_their_kernel(OUR_ROUTE));
    std::thread::sleep(Duration::from_secs(2));
    Some(arena)
}

/// Its daemon writes routes into the kernel.
fn forwards(other: Other) -> bool {
    matches!(other, Other::Bird | Other::Frr)
}

/// For two seconds.
fn stays(when: &str, test: impl Fn() -> bool, arena: &Arena) {
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        assert!(test(), "a route was lost {when}:\n{}\n{}", arena.our_view(), arena.their_view());
    }
}

fn whole(pings: Pings, way: &str) {
    let (answered, sent) = pings.end();
    assert_eq!(answered, sent, "pings {way} were lost");
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
