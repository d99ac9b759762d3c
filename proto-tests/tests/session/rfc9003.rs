//! RFC 9003: what one operator tells the other.

use std::time::Duration;

use catbird::api::Command;
use catbird::wire::{CeaseSubcode, Message, Notification};
use proto_tests::lab::Lab;

fn pair() -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab
}

fn shut_down_with(text: &str) -> Notification {
    let mut lab = pair();
    lab.order("a", Command::PeerDown { peer: "x".into(), text: Some(text.to_owned()) });
    lab.until("the NOTIFICATION", Duration::from_secs(5), |lab| lab.script("x").told.is_some());
    lab.told("x").unwrap()
}

#[test]
fn our_operators_words_are_sent() {
    let told = shut_down_with("Wartung bis 09:00, siehe Änderung 1234 🐱");
    assert_eq!((told.code, told.subcode), (6, 2));
    assert_eq!(told.shutdown_text().as_deref(), Some("Wartung bis 09:00, siehe Änderung 1234 🐱"));
}

#[test]
fn long_words_are_cut_at_a_character() {
    let told = shut_down_with(&"ü".repeat(200));
    let text = told.shutdown_text().unwrap();
    assert_eq!((text.len(), told.data.len()), (128, 129), "64 characters of two octets: what a speaker of RFC 8203 reads");
    let told = shut_down_with(&"€".repeat(80));
    assert_eq!(told.shutdown_text().unwrap().len(), 126, "42 characters of three octets");
}

#[test]
fn their_operators_words_are_shown() {
    let mut lab = pair();
    let said = Notification::cease(CeaseSubcode::AdministrativeShutdown, Some("core-1 wird getauscht"));
    lab.say("x", &Message::Notification(said));
    lab.run(Duration::from_millis(200));
    assert!(lab.why_down("a", "x").contains("core-1 wird getauscht"), "{}", lab.why_down("a", "x"));
    assert!(lab.peer("a", "x").events.iter().any(|e| e.what.contains("core-1 wird getauscht")));
}

#[test]
fn words_that_are_no_utf_8_or_longer_than_their_octets_do_no_harm() {
    for data in [vec![3, 0xff, 0xfe, 0x41], vec![200, b'x'], vec![0], vec![]] {
        let mut lab = pair();
        lab.say("x", &Message::Notification(Notification::new(6, 2, data.into())));
        lab.run(Duration::from_millis(200));
        let down = lab.peer("a", "x").last_down.unwrap();
        assert_eq!((down.code, down.subcode), (Some(6), Some(2)));
    }
}
