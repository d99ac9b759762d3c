//! `catbird why` about what is not there: who had it last, and why it went.

use std::time::Duration;

use catbird::wire::{Capability, GracefulRestart};
use proto_tests::dsl::upd;
use proto_tests::lab::Lab;

/// A router that learned a prefix from x, which restarts gracefully within 60 s.
fn learned(prefix: &str) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    let graceful = GracefulRestart { restarting: false, notification: false, time: 60, families: vec![(1, 1, true)] };
    lab.script("x").open.capabilities.push(Capability::GracefulRestart(graceful));
    lab.until_established("a", "x");
    lab.raw("x", &upd().reach(prefix).next_hop("10.255.0.2").as_path(&[64513]).octets());
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", prefix).is_some() && departed(&mut lab, prefix).is_none());
    lab
}

fn departed(lab: &mut Lab, prefix: &str) -> Option<(String, String)> {
    lab.explain("a", prefix)?.departed.map(|gone| (gone.peer, gone.why))
}

fn from_x(why: &str) -> Option<(String, String)> {
    Some(("x".to_owned(), why.to_owned()))
}

#[test]
fn each_way_for_a_prefix_to_go_has_its_cause() {
    const NET: &str = "10.1.0.0/26";
    let mut lab = learned(NET);
    lab.raw("x", &upd().withdraw(NET).octets());
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("withdrawn"));

    let mut lab = learned(NET);
    lab.raw("x", &upd().reach(NET).next_hop("10.255.0.2").as_path(&[64513]).attr(4, 0x80, &[0, 0, 1]).octets());
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("malformed attribute 4"));

    let mut lab = learned(NET);
    lab.hang_up_script("x");
    lab.listen("x", false);
    lab.run(Duration::from_secs(59));
    assert_eq!(departed(&mut lab, NET), None, "it is kept over the restart");
    lab.run(Duration::from_secs(3));
    assert_eq!(departed(&mut lab, NET), from_x("stale and not announced again"));

    let mut lab = learned(NET);
    let mark = |subtype: u8| [&[0xff; 16][..], &[0, 23, 5, 0, 1, subtype, 1]].concat();
    lab.raw("x", &[0xff; 16].iter().copied().chain([0, 23, 2, 0, 0, 0, 0]).collect::<Vec<u8>>());
    lab.raw("x", &mark(1));
    lab.raw("x", &mark(2));
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), from_x("not announced again in a refresh"));

    let mut lab = Lab::seeded(7).speaker("a", 64512).speaker("b", 64512).linked("a", "b");
    lab.until_established("a", "b");
    lab.blocks("a", &[NET]);
    lab.run(Duration::from_secs(1));
    lab.blocks("a", &[]);
    lab.run(Duration::from_secs(1));
    assert_eq!(departed(&mut lab, NET), Some(("local".to_owned(), "withdrawn".to_owned())));
}
