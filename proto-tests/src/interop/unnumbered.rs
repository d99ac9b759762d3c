//! A peer by interface with somebody else's daemon at the other end of the link: no address of theirs stands in our configuration.
//!
//! In: which daemon. Out: findings, as panics. FRR finds us by our router advertisements (`neighbor eth0 interface`); BIRD knows our address, and
//! we find it by its own advertisements, or by its connection.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::{Arena, OUR_ROUTE, OUR_V6_ROUTE, Other, Setup, THEIR_ROUTE};

fn setup(other: Other) -> Setup {
    Setup {
        link_local: true,
        by_interface: true,
        unnumbered: Some(&[]),
        our_id: Some("10.77.0.1"),
        // BIRD does not look for us.
        they_are_passive: other == Other::Bird,
        hold: 30,
        ..Setup::default()
    }
}

impl Arena {
    /// Kernels agree in both directions, through their link-local address and ours, and packets come and go.
    fn agree(&self, them: &str) {
        self.until_up();
        self.until("our kernel has their route, by the neighbour", |a| {
            let route = a.ask_our_machine(&["ip", "-4", "route", "show", THEIR_ROUTE]);
            route.contains(&format!("via inet6 {them} dev eth0"))
        });
        for (family, net) in [("-4", OUR_ROUTE), ("-6", OUR_V6_ROUTE)] {
            let by_us = |a: &Arena| a.ask_them(&["ip", family, "route", "show", net]).contains("fe80::1");
            self.until(&format!("their kernel has {net} by our link-local address"), by_us);
        }
        let (answered, sent) = self.ping_theirs().end();
        // The first may wait in vain for the neighbour's address.
        assert!(sent - answered <= 1, "{answered} of {sent} answered");
    }

    /// Another machine is at the other end of the cable: another MAC, another link-local address, another process.
    fn swap_them(&mut self, nth: u16) -> Ipv6Addr {
        let addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, nth);
        self.kill_them();
        let (mac, net) = (format!("02:00:00:00:01:{nth:02x}"), format!("{addr}/64"));
        for words in [
            &["ip", "link", "set", "eth0", "down"][..],
            &["ip", "link", "set", "eth0", "address", &mac],
            &["ip", "-6", "addr", "flush", "dev", "eth0"],
            &["ip", "link", "set", "eth0", "up"],
            &["ip", "-6", "addr", "add", &net, "dev", "eth0"],
        ] {
            let said = self.ask_them(words);
            assert!(said.is_empty(), "{words:?}: {said}");
        }
        self.start_them();
        addr
    }
}

/// We and they dial, and whoever is found by the other: with no IPv4 address on the link and none of theirs in our configuration.
pub fn a_peer_by_interface_is_found(other: Other) {
    for we_are_passive in [false, true] {
        let setup = Setup { we_are_passive, they_are_passive: !we_are_passive, ..setup(other) };
        let Some(arena) = Arena::new("by interface", other, setup) else { return };
        arena.agree("fe80::2");
        let view = arena.our_view();
        assert!(view.contains("fe80::2%eth0"), "{view}");
        assert!(!arena.ask_our_machine(&["ip", "-4", "addr", "show", "dev", "eth0"]).contains("inet "), "no address on the link");
    }
}

/// Other machines at the other end of the cable, one after the other; each is found, and the routes lead to it.
pub fn a_swapped_neighbour_is_found(other: Other, times: u16) {
    let Some(mut arena) = Arena::new("swapped cables", other, setup(other)) else { return };
    arena.agree("fe80::2");
    let mut slowest = Duration::ZERO;
    for nth in 1..=times {
        let addr = arena.swap_them(nth);
        let from = Instant::now();
        arena.agree(&addr.to_string());
        slowest = slowest.max(from.elapsed());
        let log = arena.our_log();
        assert!(log.contains(&format!("the neighbour on eth0 is {addr}")), "{log}");
    }
    eprintln!("{times} swapped cables: kernels agreed and packets passed after {:.1} s at most", slowest.as_secs_f64());
}

/// A password is that of the neighbour that was found, and nobody without it has a session. (FRR 8.4 does not sign what it sends to a peer by
/// interface.)
pub fn a_peer_by_interface_has_its_key(other: Other) {
    let keys = Setup { our_key: Some("between us"), their_key: Some("between us"), ..setup(other) };
    let Some(arena) = Arena::new("by interface, with a key", other, keys.clone()) else { return };
    arena.agree("fe80::2");
    drop(arena);
    let Some(arena) = Arena::new("by interface, another key", other, Setup { their_key: Some("another"), ..keys }) else { return };
    arena.until("we know of the neighbour", |a| a.our_view().contains("fe80::2%eth0"));
    std::thread::sleep(Duration::from_secs(10));
    assert!(!arena.is_up());
}
