//! RFC 2918 and RFC 7313: everything again, and what was not said again is gone.

use std::time::Duration;

use catbird::num::Family;
use catbird::wire::{Capability, Message, RefreshSubtype, RouteRefresh};
use proto_tests::lab::{Lab, update};

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
fn marks_that_were_not_negotiated_and_unknown_subtypes_change_nothing() {
    for (enhanced, subtype) in [(false, RefreshSubtype::EoRR), (true, RefreshSubtype::Other(9)), (false, RefreshSubtype::BoRR)] {
        let mut lab = pair(enhanced);
        lab.raw("x", &update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"]));
        lab.say("x", &refresh(subtype));
        lab.run(Duration::from_secs(1));
        assert!(lab.established("a", "x") && lab.best("a", "10.1.0.0/26").is_some());
        assert_eq!(shape(&mut lab), "", "no answer to {subtype:?}");
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
