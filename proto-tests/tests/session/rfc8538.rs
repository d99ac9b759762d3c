//! RFC 8538: with the N bit on both sides a NOTIFICATION does not end the routes, and a hard reset does.

use std::time::Duration;

use catbird::api::Command;
use catbird::wire::{Capability, CeaseSubcode, GracefulRestart, Message, Notification};
use proto_tests::lab::{Lab, update};

const ROUTE: &str = "10.1.0.0/26";

fn pair(n_bit: bool) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    let graceful = GracefulRestart { restarting: false, notification: n_bit, time: 60, families: vec![(1, 1, true)] };
    lab.script("x").open.capabilities.push(Capability::GracefulRestart(graceful));
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &[ROUTE]));
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", ROUTE).is_some());
    lab
}

fn after(mut lab: Lab, said: Notification) -> bool {
    lab.listen("x", false);
    lab.say("x", &Message::Notification(said));
    lab.run(Duration::from_secs(1));
    assert_ne!(lab.state("a", "x"), "established");
    lab.best("a", ROUTE).is_some()
}

#[test]
fn the_n_bit_is_offered() {
    let mut lab = pair(false);
    let open = lab.script("x").their_open.clone().unwrap();
    assert!(open.capabilities.iter().any(|c| matches!(c, Capability::GracefulRestart(g) if g.notification)));
}

#[test]
fn a_notification_keeps_the_routes_only_with_the_n_bit_on_both_sides() {
    let reset = || Notification::cease(CeaseSubcode::AdministrativeReset, None);
    assert!(after(pair(true), reset()));
    assert!(!after(pair(false), reset()));
    assert!(after(pair(true), Notification::hold_timer_expired()));
}

#[test]
fn a_hard_reset_ends_the_routes() {
    assert!(!after(pair(true), Notification::cease(CeaseSubcode::AdministrativeShutdown, None).into_hard_reset()));
}

#[test]
fn an_operator_clears_a_session_and_the_routes_stay_unless_it_is_hard() {
    for (n_bit, hard, told, stay) in [(true, false, (6, 4), true), (true, true, (6, 9), false), (false, false, (6, 4), false)] {
        let mut lab = pair(n_bit);
        lab.listen("x", false);
        lab.order("a", Command::PeerClear { peer: "x".into(), hard });
        assert_eq!(lab.until_told("x"), told);
        lab.run(Duration::from_millis(10));
        assert_eq!(lab.best("a", ROUTE).is_some(), stay, "N bit {n_bit}, hard {hard}");
    }
}

#[test]
fn our_own_expired_hold_timer_keeps_the_routes_with_the_n_bit() {
    for n_bit in [true, false] {
        let mut lab = pair(n_bit);
        lab.script("x").beats = false;
        lab.listen("x", false);
        assert_eq!(lab.until_told("x"), (4, 0));
        lab.run(Duration::from_millis(10));
        assert_eq!(lab.best("a", ROUTE).is_some(), n_bit);
    }
}

#[test]
fn a_shutdown_is_sent_as_a_hard_reset_with_the_shutdown_inside() {
    let mut lab = pair(true);
    lab.order("a", Command::PeerDown { peer: "x".into(), text: Some("bye".into()) });
    lab.until("the NOTIFICATION", Duration::from_secs(5), |lab| lab.script("x").told.is_some());
    let told = lab.told("x").unwrap();
    assert!(told.is_hard_reset());
    let inner = told.inner().unwrap();
    assert_eq!((inner.code, inner.subcode, inner.shutdown_text().as_deref()), (6, 2, Some("bye")));
    assert!(lab.best("a", ROUTE).is_none());
}

#[test]
fn no_hard_reset_goes_to_a_peer_that_did_not_offer_the_n_bit() {
    let mut lab = pair(false);
    lab.order("a", Command::PeerDown { peer: "x".into(), text: None });
    assert_eq!(lab.until_told("x"), (6, 2));
}
