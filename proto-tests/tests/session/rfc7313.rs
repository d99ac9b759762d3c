//! RFC 2918 and RFC 7313: everything again, and what was not said again is gone.

use std::time::Duration;

use catbird::num::Family;
use catbird::wire::{Capability, GracefulRestart, Message, RefreshSubtype, RouteRefresh};
use proto_tests::lab::{Lab, session, update};

fn pair(enhanced: bool) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    if !enhanced {
        lab.script("x").open.capabilities.retain(|c| *c != Capability::EnhancedRouteRefresh);
    }
    lab.blocks("a", &["10.9.0.0/26", "10.9.1.0/26"]);
    lab.until_established("a", "x");
    lab.run(Duration::from_secs(15));
    lab.heard("x");
    lab
}

fn refresh(subtype: RefreshSubtype) -> Message {
    Message::RouteRefresh(RouteRefresh::new(Family::Ipv4Unicast, subtype))
}

/// What came: `B` for the beginning, `E` for the end, `u` for an UPDATE with routes.
fn shape(lab: &mut Lab) -> String {
    let letter = |m: Message| match m {
        Message::RouteRefresh(r) if r.subtype == RefreshSubtype::BoRR => Some('B'),
        Message::RouteRefresh(r) if r.subtype == RefreshSubtype::EoRR => Some('E'),
        Message::Update(u) if !u.announced.is_empty() => Some('u'),
        _ => None,
    };
    let mut shape: String = lab.heard("x").into_iter().filter_map(letter).collect();
    while shape.contains("uu") {
        shape = shape.replace("uu", "u");
    }
    shape
}

#[test]
fn a_request_is_answered_with_everything() {
    let mut lab = pair(false);
    lab.say("x", &refresh(RefreshSubtype::Normal));
    lab.run(Duration::from_secs(1));
    assert_eq!(shape(&mut lab), "u");
    assert!(lab.established("a", "x"));
}

#[test]
fn with_the_capability_the_answer_has_a_beginning_and_an_end() {
    let mut lab = pair(true);
    lab.say("x", &refresh(RefreshSubtype::Normal));
    lab.run(Duration::from_secs(1));
    assert_eq!(shape(&mut lab), "BuE");
}

#[test]
fn what_is_not_said_again_between_the_marks_is_gone() {
    let mut lab = pair(true);
    let say = |lab: &mut Lab, prefixes: &[&str]| lab.raw("x", &update([10, 255, 0, 2], &[64513], prefixes));
    say(&mut lab, &["10.1.0.0/26", "10.1.1.0/26"]);
    lab.run(Duration::from_secs(1));
    lab.say("x", &refresh(RefreshSubtype::BoRR));
    say(&mut lab, &["10.1.0.0/26"]);
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.1.0/26").is_some(), "not before the end");
    lab.say("x", &refresh(RefreshSubtype::EoRR));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.0.0/26").is_some() && lab.best("a", "10.1.1.0/26").is_none());
    assert!(!lab.best("a", "10.1.0.0/26").unwrap().stale);
}

#[test]
fn unknown_subtypes_and_marks_that_we_did_not_offer_change_nothing() {
    for (offered, subtype) in [(true, RefreshSubtype::Other(9)), (false, RefreshSubtype::BoRR), (false, RefreshSubtype::EoRR)] {
        let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513);
        lab = lab.linked_as("a", "x", |_, config| session(config, |p| p.offer.enhanced_refresh = offered));
        lab.blocks("a", &["10.9.0.0/26", "10.9.1.0/26"]);
        lab.until_established("a", "x");
        lab.run(Duration::from_secs(15));
        lab.heard("x");
        lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]));
        lab.say("x", &refresh(subtype));
        lab.run(Duration::from_secs(1));
        assert!(lab.established("a", "x") && lab.best("a", "10.1.0.0/26").is_some());
        assert_eq!(shape(&mut lab), "", "no answer to {subtype:?}");
    }
}

/// A ROUTE-REFRESH for IPv4 with this octet between AFI and SAFI, and these behind.
fn octets(reserved: u8, more: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &[0, 23 + more.len() as u8, 5, 0, 1, reserved, 1], more].concat()
}

#[test]
fn from_a_peer_without_the_capability_every_route_refresh_is_a_request() {
    for (reserved, more) in [(0, &[][..]), (1, &[]), (1, &[0]), (2, &[]), (2, &[0, 0]), (7, &[]), (255, &[1, 2, 3])] {
        let mut lab = pair(false);
        lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]));
        lab.raw("x", &octets(reserved, more));
        lab.run(Duration::from_secs(1));
        assert!(lab.established("a", "x"), "{reserved} {more:?}: {}", lab.why_down("a", "x"));
        assert_eq!(shape(&mut lab), "u", "{reserved} {more:?}: the reserved octet and the rest mean nothing (RFC 2918 section 3)");
        assert!(lab.best("a", "10.1.0.0/26").is_some_and(|best| !best.stale), "{reserved} {more:?} is no mark");
    }
}

/// How many UPDATEs and ROUTE-REFRESHes `a` says that it sent.
fn sent(lab: &mut Lab) -> [u64; 2] {
    let messages = lab.peer("a", "x").messages;
    ["update", "route_refresh"].map(|kind| messages.iter().find(|m| m.kind == kind).map_or(0, |m| m.sent))
}

#[test]
fn marks_are_counted_as_what_they_are_and_not_as_updates() {
    for (enhanced, marks) in [(true, 4), (false, 0)] {
        let mut lab = pair(enhanced);
        let before = sent(&mut lab);
        assert!(before[0] > 0 && before[1] == 0, "the table was told: {before:?}");
        (0..2).for_each(|_| lab.say("x", &refresh(RefreshSubtype::Normal)));
        lab.run(Duration::from_secs(1));
        let after = sent(&mut lab);
        let heard = lab.heard("x");
        let updates = heard.iter().filter(|m| matches!(m, Message::Update(_))).count() as u64;
        let refreshes = heard.iter().filter(|m| matches!(m, Message::RouteRefresh(_))).count() as u64;
        assert!(updates > 0 && refreshes == marks, "{updates} and {refreshes}");
        assert_eq!([after[0] - before[0], after[1] - before[1]], [updates, refreshes]);
    }
}

#[test]
fn families_that_were_not_negotiated_are_ignored() {
    let mut lab = pair(true);
    lab.say("x", &Message::RouteRefresh(RouteRefresh::new(Family::Ipv6Unicast, RefreshSubtype::Normal)));
    lab.say("x", &Message::RouteRefresh(RouteRefresh { afi: 25, safi: 70, subtype: RefreshSubtype::Normal }));
    lab.run(Duration::from_secs(1));
    assert!(lab.established("a", "x"));
    assert_eq!(shape(&mut lab), "");
}

#[test]
fn a_mark_of_another_length_is_told_with_the_whole_message() {
    let mut lab = pair(true);
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&[0, 24, 5, 0, 1, 1, 1, 0]);
    lab.raw("x", &octets);
    lab.until("the NOTIFICATION", Duration::from_secs(5), |lab| lab.script("x").told.is_some());
    let told = lab.told("x").unwrap();
    assert_eq!((told.code, told.subcode, &told.data[..]), (7, 1, &octets[..]));
}

/// x offers graceful restart too, and is still telling its table.
fn restarting_pair() -> Lab {
    let mut lab = Lab::seeded(8).speaker("a", 64512).scripted("x", 64513).scripted("y", 64514).linked("a", "x").linked("a", "y");
    lab.script("x").open.capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restarting: false,
        notification: true,
        time: 120,
        families: vec![(1, 1, true)],
    }));
    lab.until_established("a", "x");
    lab.until_established("a", "y");
    lab
}

fn end_of_rib() -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&[0, 23, 2, 0, 0, 0, 0]);
    octets
}

fn say(lab: &mut Lab, prefixes: &[&str]) {
    lab.raw("x", &update([10, 255, 0, 2], &[64513], prefixes));
    lab.run(Duration::from_secs(1));
}

#[test]
fn a_beginning_before_the_end_of_rib_is_ignored_and_one_after_it_is_not() {
    let mut lab = restarting_pair();
    say(&mut lab, &["10.1.0.0/26", "10.1.1.0/26"]);
    lab.say("x", &refresh(RefreshSubtype::BoRR));
    say(&mut lab, &["10.1.0.0/26"]);
    lab.say("x", &refresh(RefreshSubtype::EoRR));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.1.0/26").is_some(), "the table was still being told");
    lab.raw("x", &end_of_rib());
    lab.say("x", &refresh(RefreshSubtype::BoRR));
    say(&mut lab, &["10.1.0.0/26"]);
    lab.say("x", &refresh(RefreshSubtype::EoRR));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.0.0/26").is_some() && lab.best("a", "10.1.1.0/26").is_none());
}

#[test]
fn a_beginning_of_the_session_before_means_nothing_in_the_next() {
    let mut lab = restarting_pair();
    say(&mut lab, &["10.1.0.0/26"]);
    lab.raw("x", &end_of_rib());
    lab.say("x", &refresh(RefreshSubtype::BoRR));
    lab.run(Duration::from_secs(1));
    lab.heard("y");
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.0.0/26").is_some_and(|row| row.stale));
    lab.until_established("a", "x");
    lab.say("x", &refresh(RefreshSubtype::EoRR));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.0.0/26").is_some(), "it waits for End-of-RIB");
    let withdrawn = lab.heard("y").into_iter().filter_map(|m| m.as_update().map(|u| u.withdrawn.len())).sum::<usize>();
    assert_eq!(withdrawn, 0);
}

#[test]
fn a_request_before_our_end_of_rib_is_answered_after_it() {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).scripted("y", 64514).linked("a", "x").linked("a", "y");
    // End-of-RIB waits for y, who never comes.
    lab.listen("y", false);
    lab.part("a", "y");
    lab.blocks("a", &["10.9.0.0/26"]);
    lab.until_established("a", "x");
    lab.say("x", &refresh(RefreshSubtype::Normal));
    lab.run(Duration::from_secs(3));
    assert_eq!(shape(&mut lab), "u", "End-of-RIB is held back, and with it the answer");
    lab.run(Duration::from_secs(20));
    let said: Vec<String> = lab
        .heard("x")
        .into_iter()
        .filter_map(|m| match m {
            Message::Update(u) if u.end_of_rib == Some(Family::Ipv4Unicast) => Some("end-of-rib".to_owned()),
            Message::Update(u) if !u.announced.is_empty() => Some("routes".to_owned()),
            Message::RouteRefresh(r) => Some(format!("{:?}", r.subtype)),
            _ => None,
        })
        .collect();
    assert_eq!(said, ["end-of-rib", "BoRR", "routes", "EoRR"]);
}
