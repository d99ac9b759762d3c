//! RFC 9494 with somebody else's daemon: each keeps the other's routes long after the restart time, marked, and no longer than was agreed.
//!
//! In: which daemon. Out: findings, as panics.

use std::time::{Duration, Instant};

use super::{Arena, OUR_ROUTE, Other, Setup, THEIR_ROUTE};

/// Seconds that both ask for: to restart, and beyond.
pub const RESTART: u16 = 4;
pub const LONG: u32 = 14;

/// The daemon of one end is killed, and later that of the other.
pub fn routes_live_long(other: Other) {
    let setup = || Setup { graceful: true, long_lived: true, ..Setup::default() };
    let Some(mut arena) = Arena::new("long-lived", other, setup()) else { return };
    arena.until_up();
    arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
    let from = Instant::now();
    arena.kill_them();
    arena.until("it stays on, marked", |a| a.ask_us(&["why", THEIR_ROUTE]).contains("llgr-stale"));
    assert!(from.elapsed() >= Duration::from_secs(u64::from(RESTART) - 1), "{:?}", from.elapsed());
    assert!(arena.in_our_kernel(THEIR_ROUTE), "it is all there is");
    arena.until("and goes in the end", |a| !a.in_our_kernel(THEIR_ROUTE));
    let (took, least) = (from.elapsed(), u64::from(RESTART) + u64::from(LONG) - 2);
    assert!(took >= Duration::from_secs(least), "{took:?}");
    drop(arena);
    let Some(mut arena) = Arena::new("long-lived, theirs", other, setup()) else { return };
    arena.until_up();
    arena.until("they know our route", |a| a.they_know(OUR_ROUTE));
    arena.kill_us();
    std::thread::sleep(Duration::from_secs(u64::from(RESTART) + 4));
    let theirs = match other {
        Other::Frr => arena.ask_them(&["vtysh", "-c", &format!("show bgp ipv4 unicast {OUR_ROUTE}")]),
        _ => arena.ask_them(&["birdc", "show", "route", "all", "for", OUR_ROUTE]),
    };
    let marked = ["llgr-stale", "llgr_stale", "65535,6)", "65535:6"].iter().any(|words| theirs.to_lowercase().contains(words));
    assert!(marked, "{theirs}\n{}", arena.their_view());
}
