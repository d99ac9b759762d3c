//! RFC 6608: which state a message came into that has no business there.

use std::time::Duration;

use catbird::wire::{Message, RefreshSubtype, RouteRefresh};
use proto_tests::lab::{Lab, keepalive, update};

fn pair() -> Lab {
    Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x")
}

fn unexpected() -> Vec<(&'static str, u8, Vec<u8>)> {
    let refresh = Message::RouteRefresh(RouteRefresh::new(catbird::num::Family::Ipv4Unicast, RefreshSubtype::Normal));
    vec![
        ("UPDATE", 2, update([10, 255, 0, 2], &[64513], &["10.1.0.0/26"])),
        ("KEEPALIVE", 4, keepalive()),
        ("ROUTE-REFRESH", 5, refresh.to_bytes(&catbird::wire::Context::INITIAL).to_vec()),
    ]
}

#[test]
fn unexpected_messages_in_open_sent_are_subcode_one_with_their_type() {
    for (name, kind, octets) in unexpected() {
        let mut lab = pair();
        lab.script("x").be_silent();
        lab.until("an OPEN", Duration::from_secs(30), |lab| !lab.script("x").heard().is_empty());
        lab.raw("x", &octets);
        assert_eq!(lab.until_told("x"), (5, 1), "{name}");
        let sent = lab.peer("a", "x").events.iter().any(|e| e.what.contains("Unexpected Message in OpenSent"));
        assert!(sent, "{name} of type {kind} is in the event ring");
    }
}

#[test]
fn unexpected_messages_in_open_confirm_are_subcode_two() {
    let open = |lab: &mut Lab| Message::Open(Box::new(lab.script("x").open.clone())).to_bytes(&catbird::wire::Context::INITIAL).to_vec();
    for which in 0..3 {
        let mut lab = pair();
        lab.script("x").confirms = false;
        lab.until("OpenConfirm", Duration::from_secs(30), |lab| lab.state("a", "x") == "openconfirm");
        let octets = match which {
            0 => open(&mut lab),
            1 => unexpected().remove(0).2,
            _ => unexpected().remove(2).2,
        };
        lab.raw("x", &octets);
        assert_eq!(lab.until_told("x"), (5, 2));
    }
}

#[test]
fn an_open_in_established_is_subcode_three() {
    let mut lab = pair();
    lab.until_established("a", "x");
    let open = lab.script("x").open.clone();
    lab.say("x", &Message::Open(Box::new(open)));
    assert_eq!(lab.until_told("x"), (5, 3));
    assert_eq!(lab.peer("a", "x").last_down.and_then(|d| d.data), Some("01".to_owned()), "the data is the message's type");
}
