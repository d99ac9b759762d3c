//! BFD beside the session with somebody else's daemon: how each of them is asked for it, and what must come of it.
//!
//! In: which daemon. Out: findings, as panics. FRR's bfdd knows no authentication; BIRD knows the same as we.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Arena, OUR_ROUTE, Other, Setup, THEIR_ROUTE, US};
use crate::netlab::patiently;

/// How it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Milliseconds between packets, ours and theirs.
    pub ours_ms: u32,
    pub theirs_ms: u32,
    /// Over routers.
    pub multihop: bool,
    pub we_are_passive: bool,
    pub they_are_passive: bool,
    /// Both have it.
    pub key: Option<&'static str>,
    pub graceful: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { ours_ms: 100, theirs_ms: 100, multihop: false, we_are_passive: false, they_are_passive: false, key: None, graceful: false }
    }
}

impl Wish {
    pub(super) fn ours(&self, scratch: &Path) -> String {
        let Wish { ours_ms: ms, multihop, we_are_passive, graceful, .. } = self;
        let key = self.key.map_or_else(String::new, |key| {
            let path = scratch.join("bfd.key");
            fs::write(&path, key).expect("the scratch folder is ours");
            format!("auth = \"meticulous-sha1\"\nkey_file = \"{}\"\n", path.display())
        });
        format!(
            "bfd = \"fast\"\n[bfd.fast]\nmin_tx = \"{ms}ms\"\nmin_rx = \"{ms}ms\"\nmultihop = {multihop}\npassive = {we_are_passive}\n\
             graceful = {graceful}\nwithout_realtime = \"keep\"\n{key}"
        )
    }

    pub(super) fn bfdd(&self) -> String {
        let passive = if self.they_are_passive { "  passive-mode\n" } else { "" };
        let ttl = if self.multihop { "  minimum-ttl 200\n" } else { "" };
        format!(
            "bfd\n profile fast\n  receive-interval {0}\n  transmit-interval {0}\n  detect-multiplier 3\n{passive}{ttl} exit\nexit\n",
            self.theirs_ms
        )
    }

    pub(super) fn birds(&self) -> String {
        let passive = if self.they_are_passive { "passive on;" } else { "" };
        let key = self.key.map_or_else(String::new, |key| format!("authentication meticulous keyed sha1; password \"{key}\" {{ id 1; }};"));
        let options = format!("{{ interval {} ms; multiplier 3; {passive} {key} }};", self.theirs_ms);
        format!("protocol bfd {{ interface \"*\" {options} multihop {options} }}\n")
    }
}

impl Arena {
    /// `catbird bfd them`, to be read by a program.
    pub fn our_bfd(&self) -> Value {
        let said: Value = serde_json::from_str(&self.ask_us(&["bfd", "--json"])).unwrap_or_default();
        said["sessions"][0].clone()
    }

    /// What they say of it.
    pub fn their_bfd(&self) -> String {
        match self.other {
            Other::Frr => self.ask_them(&["vtysh", "-c", "show bfd peers"]),
            _ => self.ask_them(&["birdc", "show", "bfd", "sessions"]),
        }
    }

    /// Both say that it is up.
    pub fn until_bfd_up(&self) {
        let theirs = |text: &str| text.contains("Status: up") || text.contains(" Up ");
        let up = patiently(super::PATIENCE, || self.our_bfd()["state"] == "up" && theirs(&self.their_bfd()));
        assert!(up.is_some(), "BFD is not up:\n{:#}\n{}", self.our_bfd(), self.their_bfd());
    }
}

fn arena(test: &str, other: Other, wish: Wish, setup: Setup) -> Option<Arena> {
    let arena = Arena::new(test, other, Setup { bfd: Some(wish), hold: 90, ..setup })?;
    arena.until_up();
    arena.until_bfd_up();
    arena.until("our kernel has their route", |a| a.in_our_kernel(THEIR_ROUTE));
    Some(arena)
}

/// How long until their route has left our kernel.
fn removed_after(arena: &Arena) -> Duration {
    let from = Instant::now();
    while arena.in_our_kernel(THEIR_ROUTE) {
        assert!(from.elapsed() < Duration::from_secs(20), "{}\n{:#}", arena.our_view(), arena.our_bfd());
        std::thread::sleep(Duration::from_millis(2));
    }
    from.elapsed()
}

/// A neighbour that stops is noticed by BFD, and comes back; with single hop and multihop, IPv4 and link-local IPv6.
pub fn a_dead_neighbour_is_noticed(other: Other) {
    let setups = [
        (Wish::default(), Setup::default()),
        (Wish { multihop: true, ..Wish::default() }, Setup { routed: Some(255), ..Setup::default() }),
        (Wish::default(), Setup { link_local: true, ..Setup::default() }),
    ];
    for (wish, setup) in setups {
        let kind = if wish.multihop { "multihop" } else { "single-hop" };
        let Some(arena) = arena("BFD", other, wish, setup) else { return };
        assert_eq!(arena.our_bfd()["path"], kind);
        arena.freeze_them();
        let took = removed_after(&arena);
        assert!(took < Duration::from_secs(2), "{kind}: {took:?}, and 300 ms are agreed on");
        assert!(arena.our_view().contains("BFD says that the path to it is dead"), "{}", arena.our_view());
        arena.thaw_them();
        arena.until_up();
        arena.until_bfd_up();
    }
}

/// We stop, and they notice.
pub fn they_notice_that_we_are_dead(other: Other) {
    let Some(arena) = arena("BFD, theirs", other, Wish::default(), Setup::default()) else { return };
    arena.freeze_us();
    let down = |text: &str| text.contains("Status: down") || text.contains(" Down ");
    let noticed = patiently(Duration::from_secs(5), || down(&arena.their_bfd()));
    arena.thaw_us();
    assert!(noticed.is_some(), "{}", arena.their_bfd());
    arena.until_up();
    arena.until_bfd_up();
    let last = &arena.our_bfd()["last_down"];
    assert!(last.is_object(), "we know why: {:#}", arena.our_bfd());
}

/// Whoever waits to be spoken to is spoken to.
pub fn either_end_may_be_passive(other: Other) {
    for we_are_passive in [true, false] {
        let wish = Wish { we_are_passive, they_are_passive: !we_are_passive, ..Wish::default() };
        let Some(_arena) = arena("BFD, passive", other, wish, Setup::default()) else { return };
    }
}

/// Other times by a reload: agreed on by Poll and Final, and nothing flaps.
pub fn other_times_are_agreed_on_without_a_flap(other: Other) {
    let Some(mut arena) = arena("BFD, other times", other, Wish::default(), Setup::default()) else { return };
    for ours_ms in [400, 60, 100] {
        let said = arena.reload_us(Some(Wish { ours_ms, ..Wish::default() }));
        assert!(said.contains("bfd min_tx") && !said.contains("restart"), "{said}");
        let want = f64::from(ours_ms.max(100));
        arena.until("the new interval", |a| a.our_bfd()["interval_ms"].as_f64() == Some(want) && a.our_bfd()["polling"] == false);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(arena.our_bfd()["downs"], 0, "{:#}\n{}", arena.our_bfd(), arena.their_bfd());
    }
    assert!(arena.is_up());
    assert_eq!(arena.our_detail()["flaps"], 0);
}

/// An operator's word at their end is no failure to us; ours is one to them, for FRR 8.4 and BIRD 2.0 end a session by AdminDown although RFC 5882
/// §4.2 would not have them: it comes back by itself, and stays.
pub fn administratively_down_is_no_failure(other: Other) {
    let Some(mut arena) = arena("BFD, admin down", other, Wish::default(), Setup::default()) else { return };
    // Ours goes, and their session stays.
    let said = arena.reload_us(None);
    assert!(said.contains("bfd true -> false"), "{said}");
    std::thread::sleep(Duration::from_secs(5));
    arena.until_up();
    assert!(arena.our_detail()["flaps"].as_u64() <= Some(1), "{}", arena.our_view());
    assert!(arena.ask_us(&["bfd"]).contains("no BFD session is wanted"), "{}", arena.ask_us(&["bfd"]));
    arena.reload_us(Some(Wish::default()));
    arena.until_bfd_up();
    // Theirs goes.
    match other {
        Other::Frr => drop(arena.ask_them(&["vtysh", "-c", "conf t", "-c", "bfd", "-c", "profile fast", "-c", "shutdown"])),
        _ => drop(arena.ask_them(&["birdc", "disable", "bfd1"])),
    }
    arena.until("they say so", |a| a.our_bfd()["remote_state"] == "admin down" || a.our_bfd()["state"] == "down");
    let told = arena.our_bfd();
    if told["remote_state"] == "admin down" {
        std::thread::sleep(Duration::from_secs(2));
        assert!(arena.is_up(), "{}", arena.our_view());
        assert_eq!(arena.our_detail()["bfd"], "peer admin down");
    }
}

/// TERM closes connections first and says AdminDown then, so that whoever helps with a restart keeps our route (RFC 5882 §4.3).
pub fn our_end_is_a_restart_and_no_failure(other: Other) {
    let Some(mut arena) = arena("BFD, TERM", other, Wish::default(), Setup { graceful: true, ..Setup::default() }) else { return };
    arena.until("they know our route", |a| a.in_their_kernel(OUR_ROUTE));
    arena.end_us();
    std::thread::sleep(Duration::from_secs(4));
    assert!(arena.in_their_kernel(OUR_ROUTE), "longer than the detection time:\n{}\n{}", arena.their_bfd(), arena.their_view());
    arena.start_us();
    arena.until_up();
    arena.until_bfd_up();
}

/// RFC 5880 §6.7: with the same key up, with another one never.
pub fn keys_are_kept(other: Other) {
    let wish = Wish { key: Some("between us"), ..Wish::default() };
    let Some(mut arena) = arena("BFD, a key", other, wish.clone(), Setup::default()) else { return };
    assert_eq!(arena.our_bfd()["auth"], "meticulous-sha1");
    arena.reload_us(Some(Wish { key: Some("somebody else's"), ..wish.clone() }));
    arena.until("it goes down", |a| a.our_bfd()["state"] != "up");
    arena.until("and the reason is said", |a| a.ask_us(&["bfd", "them"]).contains("a wrong digest: the keys differ"));
    arena.reload_us(Some(wish));
    arena.until_up();
    arena.until_bfd_up();
}

/// 100,000 packets a second that nobody should believe leave the session up, are counted by reason, and answered by nobody.
pub fn a_flood_of_bad_packets_ends_nothing(other: Other) {
    let Some(arena) = arena("BFD, a flood", other, Wish::default(), Setup::default()) else { return };
    let before = arena.our_ticks();
    let (seconds, sent) = flood(&arena, Duration::from_secs(5));
    let cpu = (arena.our_ticks() - before) as f64 / 100.0 / seconds;
    std::thread::sleep(Duration::from_millis(500));
    let rate = sent as f64 / seconds;
    eprintln!("flooded with {rate:.0} packets a second; it cost us {:.0} % of a core", cpu * 100.0);
    let after = arena.our_bfd();
    assert_eq!((&after["state"], &after["downs"]), (&Value::from("up"), &Value::from(0)), "{after:#}\n{}", arena.our_log());
    assert!(arena.is_up());
    let report = arena.ask_us(&["bfd"]);
    for why in [
        "came over too many routers (TTL)",
        "another version than 1",
        "for a session that does not exist",
        "a length that cannot be",
        "of no session, faster than such are read",
    ] {
        assert!(report.contains(why), "{why}:\n{report}");
    }
    assert!(arena.our_log().len() < 1 << 20, "the log is not flooded");
}

/// From their machine to ours, as fast as a thread can.
fn flood(arena: &Arena, time: Duration) -> (f64, u64) {
    let work = move || {
        let to = SocketAddr::new(US.into(), 3784);
        let near = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        near.set_ttl(255).expect("a TTL");
        let far = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let good = |your: [u8; 4]| {
            let mut octets = vec![0x20, 0xc0, 3, 24, 1, 2, 3, 4];
            octets.extend(your);
            octets.extend([0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0]);
            octets
        };
        let version = [&[0x40][..], &good([9; 4])[1..]].concat();
        let length = [&good([9; 4])[..3], &[99], &good([9; 4])[4..]].concat();
        let packets = [(&near, good([9, 9, 9, 9])), (&near, version), (&near, length), (&far, good([7, 7, 7, 7]))];
        let (begun, mut sent) = (Instant::now(), 0_u64);
        while begun.elapsed() < time {
            for (socket, octets) in &packets {
                for _ in 0..16 {
                    sent += u64::from(socket.send_to(octets, to).is_ok());
                }
            }
        }
        (begun.elapsed().as_secs_f64(), sent)
    };
    arena.their_machine().run(work)
}
