//! RFC 4486: a Cease says why.

use std::sync::Arc;
use std::time::Duration;

use catbird::api::{Answer, Command};
use catbird::num::RouterId;
use catbird::speaker::{Burden, MaxPrefix, MaxPrefixAction, PeerConfig};
use proto_tests::lab::{Lab, session, update};

fn pair() -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab
}

#[test]
fn administrative_shutdown_is_two_and_lasts() {
    let mut lab = pair();
    let answer = lab.order("a", Command::PeerDown { peer: "x".into(), text: None });
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    assert_eq!(lab.until_told("x"), (6, 2));
    lab.run(Duration::from_secs(1000));
    assert_eq!(lab.state("a", "x"), "idle");
    lab.order("a", Command::PeerUp { peer: "x".into() });
    lab.until_established("a", "x");
}

#[test]
fn a_peer_that_is_removed_is_told_three() {
    let mut lab = pair();
    lab.reload("a", |p| p.peers.clear());
    assert_eq!(lab.until_told("x"), (6, 3));
}

#[test]
fn a_reset_is_four_and_comes_back() {
    let mut lab = pair();
    lab.order("a", Command::PeerClear { peer: "x".into(), hard: false });
    assert_eq!(lab.until_told("x"), (6, 4));
    lab.until_established("a", "x");
}

#[test]
fn a_changed_configuration_is_six_and_comes_back_with_it() {
    let mut lab = pair();
    lab.reload("a", |p| {
        let mut config = PeerConfig::clone(&p.peers[0]);
        session(&mut config, |s| s.router_id = RouterId::new([10, 9, 9, 9].into()).unwrap());
        p.peers[0] = Arc::new(config);
    });
    assert_eq!(lab.until_told("x"), (6, 6));
    lab.until_established("a", "x");
    assert_eq!(lab.script("x").their_open.as_ref().map(|o| o.router_id.addr()), Some([10, 9, 9, 9].into()));
}

#[test]
fn an_equal_configuration_says_no_word() {
    let mut lab = pair();
    lab.heard("x");
    let before = lab.journal().len();
    lab.reload("a", |_| ());
    lab.run(Duration::from_secs(1));
    assert_eq!(lab.journal().len(), before, "no octet in either direction");
    assert!(lab.established("a", "x"));
}

#[test]
fn too_many_prefixes_are_one_with_family_and_bound() {
    let limit = MaxPrefix { limit: 3, warn_percent: 80, action: MaxPrefixAction::Close { restart: Some(Duration::from_secs(200)) } };
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513);
    lab = lab.linked_as("a", "x", |_, c| c.max_prefix = [Some(limit), None]);
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.0.0/26", "10.1.1.0/26", "10.1.2.0/26"]));
    lab.run(Duration::from_secs(1));
    assert!(lab.established("a", "x") && lab.best("a", "10.1.2.0/26").is_some(), "the bound itself is allowed");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.3.0/26"]));
    lab.until("the close", Duration::from_secs(5), |lab| lab.script("x").told.is_some());
    let told = lab.told("x").unwrap();
    assert_eq!((told.code, told.subcode, &told.data[..]), (6, 1, &[0, 1, 1, 0, 0, 0, 3][..]));
    assert!(lab.best("a", "10.1.2.0/26").is_none(), "its routes are gone");
    let from = lab.seconds();
    lab.until("the peer to come back", Duration::from_secs(220), |lab| lab.established("a", "x"));
    assert!(lab.seconds() - from >= 199.0, "it stayed away for the restart time");
}

#[test]
fn a_stranger_is_told_five() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x").scripted("stranger", 64514);
    lab.connect("stranger", "a");
    assert_eq!(lab.until_told("stranger"), (6, 5));
    lab.until_established("a", "x");
}

/// Announces `n` prefixes, one an UPDATE, each under a path of `hops` AS numbers.
fn flood(lab: &mut Lab, n: u32, hops: usize) {
    for i in 0..n {
        let path: Vec<u32> = std::iter::once(64513).chain((1..hops as u32).map(|hop| 70_000 + hop)).collect();
        lab.raw("x", &update([10, 255, 0, 2], &path, &[&format!("10.{}.{}.0/26", 64 + i / 256, i % 256)]));
    }
    lab.run(Duration::from_secs(2));
}

#[test]
fn who_fills_our_memory_is_told_eight_and_stays_away() {
    let by_number = Burden { paths: 1000, ..Burden::default() };
    let by_size = Burden { attribute_octets: 100_000, ..Burden::default() };
    for (burden, hops) in [(by_number, 1), (by_size, 40)] {
        let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| c.burden = burden);
        lab.until_established("a", "x");
        flood(&mut lab, 500, 1);
        assert!(lab.established("a", "x") && lab.prefixes("a") == 500, "within the bounds");
        lab.script("x").greets = false;
        flood(&mut lab, 2000, hops);
        assert_eq!(lab.until_told("x"), (6, 8));
        assert_eq!(lab.prefixes("a"), 0, "and its routes are gone");
        lab.heard("x");
        lab.run(Duration::from_secs(30));
        assert!(!lab.heard("x").iter().any(|m| matches!(m, catbird::wire::Message::Open(_))), "not even greeted for a while");
        lab.script("x").greets = true;
        lab.until("the peer to come back", Duration::from_secs(120), |lab| lab.established("a", "x"));
    }
}

#[test]
fn beyond_the_budget_of_the_process_who_holds_most_is_let_go_and_the_others_stay() {
    let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).scripted("y", 64514).linked("a", "x").linked("a", "y");
    lab = lab.configured("a", |p| p.limits.memory = Some(1 << 20)).audit_every(1000);
    lab.until_all_established();
    let table =
        |first: u32, n: u32| (first..first + n).map(|i| format!("10.{}.{}.{}/32", i >> 16, i >> 8 & 255, i & 255)).collect::<Vec<_>>();
    let announce = |lab: &mut Lab, peer: &str, next_hop: u8, asn: u32, prefixes: &[String]| {
        for some in prefixes.chunks(200) {
            let some: Vec<&str> = some.iter().map(String::as_str).collect();
            lab.raw(peer, &update([10, 255, 0, next_hop], &[asn], &some));
        }
        lab.run(Duration::from_secs(1));
    };
    announce(&mut lab, "y", 3, 64514, &table(0, 1000));
    announce(&mut lab, "x", 2, 64513, &table(1 << 16, 2000));
    assert!(lab.established("a", "x") && lab.established("a", "y") && lab.prefixes("a") == 3000);
    announce(&mut lab, "x", 2, 64513, &table(2 << 16, 30_000));
    assert_eq!(lab.told("x").map(|n| (n.code, n.subcode)), Some((6, 8)));
    assert!(lab.established("a", "y") && lab.told("y").is_none());
    assert_eq!(lab.prefixes("a"), 1000);
}
