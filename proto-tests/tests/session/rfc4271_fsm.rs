//! RFC 4271 §8 seen from the other end of the wire: one router, one scripted peer. (The table itself is walked in `catbird::peer::fsm`.)

use std::time::Duration;

use catbird::num::HoldTime;
use catbird::wire::{Message, Notification};
use proto_tests::lab::{Lab, session};

const A_WHILE: Duration = Duration::from_secs(30);

fn pair(seed: u64) -> Lab {
    Lab::seeded(seed).speaker("a", 64512).scripted("x", 64513).linked("a", "x")
}

fn passive(seed: u64) -> Lab {
    Lab::seeded(seed).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.passive = true))
}

fn opens(lab: &mut Lab) -> usize {
    lab.script("x").heard().iter().filter(|(_, m)| matches!(m, Message::Open(_))).count()
}

fn keepalives(lab: &mut Lab) -> usize {
    lab.heard("x").iter().filter(|m| matches!(m, Message::KeepAlive)).count()
}

#[test]
fn a_router_dials_greets_and_establishes() {
    let mut lab = pair(1);
    lab.until_established("a", "x");
    assert_eq!(opens(&mut lab), 1);
    let open = lab.script("x").their_open.clone().unwrap();
    assert_eq!((open.asn.0, open.hold_time.seconds(), open.router_id.addr().octets()), (64512, 90, [10, 255, 0, 1]));
    assert!(open.has_four_octet_as());
}

#[test]
fn a_passive_router_waits_to_be_connected_to() {
    let mut lab = passive(2);
    lab.run(Duration::from_secs(300));
    assert_eq!(lab.state("a", "x"), "active");
    assert!(lab.script("x").conns().is_empty(), "it must not dial");
    lab.connect("x", "a");
    lab.until_established("a", "x");
}

#[test]
fn an_administratively_stopped_peer_refuses_connections() {
    let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).linked_as("a", "x", |_, c| session(c, |p| p.enabled = false));
    lab.run(A_WHILE);
    assert_eq!(lab.state("a", "x"), "idle");
    lab.connect("x", "a");
    assert_eq!(lab.until_told("x"), (6, 5));
    assert_eq!(opens(&mut lab), 0);
}

#[test]
fn a_refused_dial_is_tried_again_without_spinning_and_the_peer_may_come_by_itself() {
    let mut lab = pair(4);
    lab.listen("x", false);
    lab.run(Duration::from_secs(600));
    assert_eq!(lab.script("x").conns().len(), 0);
    assert!(lab.why_down("a", "x").contains("refused"), "{}", lab.why_down("a", "x"));
    assert!((40..=90).contains(&lab.dials("a")), "{} attempts in ten minutes of refusals", lab.dials("a"));
    assert!(lab.steps() < lab.dials("a") * 20, "{} steps", lab.steps());
    lab.connect("x", "a");
    lab.until_established("a", "x");
}

#[test]
fn no_answer_is_said_to_be_none() {
    let mut lab = pair(5);
    lab.part("a", "x");
    lab.run(Duration::from_secs(60));
    assert!(lab.why_down("a", "x").contains("no answer"), "{}", lab.why_down("a", "x"));
    lab.heal("a", "x");
    lab.until_established("a", "x");
}

#[test]
fn different_md5_keys_look_like_no_answer_and_the_reason_names_them() {
    let mut lab = Lab::seeded(6).speaker("a", 64512).scripted("x", 64513);
    lab = lab.linked_as("a", "x", |_, c| session(c, |p| p.md5 = Some(catbird::peer::Secret::new(b"right"))));
    lab.script("x").md5 = Some(b"wrong".to_vec());
    lab.run(Duration::from_secs(60));
    assert!(lab.why_down("a", "x").contains("MD5"), "{}", lab.why_down("a", "x"));
    lab.script("x").md5 = Some(b"right".to_vec());
    lab.until_established("a", "x");
}

#[test]
fn a_peer_that_connects_and_says_nothing_is_let_go() {
    let mut lab = passive(7);
    lab.script("x").be_silent();
    lab.connect("x", "a");
    lab.run(Duration::from_secs(239));
    assert_eq!(lab.state("a", "x"), "opensent");
    assert_eq!(lab.until_told("x"), (4, 0));
    assert!(lab.seconds() < 245.0, "let go at {}", lab.seconds());
}

#[test]
fn the_hold_timer_runs_in_open_confirm() {
    let mut lab = pair(8);
    lab.script("x").confirms = false;
    lab.script("x").beats = false;
    assert_eq!(lab.until_told("x"), (4, 0));
    assert!((80.0..100.0).contains(&lab.seconds()), "expired at {}", lab.seconds());
}

#[test]
fn silence_in_established_ends_with_hold_timer_expired() {
    let mut lab = pair(9);
    lab.until_established("a", "x");
    lab.script("x").beats = false;
    let from = lab.seconds();
    assert_eq!(lab.until_told("x"), (4, 0));
    assert!((85.0..=125.0).contains(&(lab.seconds() - from)), "after {} s", lab.seconds() - from);
    assert!(lab.why_down("a", "x").contains("hold timer"), "{}", lab.why_down("a", "x"));
}

#[test]
fn the_smaller_hold_time_counts_and_keepalives_come_three_times_in_it() {
    let mut lab = pair(10);
    lab.script("x").open.hold_time = HoldTime::new(9).unwrap();
    lab.until_established("a", "x");
    lab.heard("x");
    lab.run(Duration::from_secs(90));
    let n = keepalives(&mut lab);
    assert!((29..=46).contains(&n), "{n} KEEPALIVEs in 90 s at a hold time of 9 s");
    lab.script("x").beats = false;
    let from = lab.seconds();
    assert_eq!(lab.until_told("x"), (4, 0));
    assert!(lab.seconds() - from < 13.0);
}

#[test]
fn keepalives_are_never_more_frequent_than_one_a_second() {
    let mut lab = pair(11);
    lab.script("x").open.hold_time = HoldTime::new(3).unwrap();
    lab.until_established("a", "x");
    lab.heard("x");
    lab.run(Duration::from_secs(100));
    let n = keepalives(&mut lab);
    assert!((70..=101).contains(&n), "{n} KEEPALIVEs in 100 s at a hold time of 3 s");
}

#[test]
fn a_hold_time_of_zero_needs_no_keepalives() {
    let mut lab = pair(12);
    lab.script("x").open.hold_time = HoldTime::ZERO;
    lab.script("x").beats = false;
    lab.until_established("a", "x");
    lab.heard("x");
    lab.run(Duration::from_secs(100_000));
    assert_eq!(keepalives(&mut lab), 0);
    assert!(lab.established("a", "x"));
}

#[test]
fn a_delayed_open_lets_the_peer_speak_first() {
    let mut lab = Lab::seeded(13).speaker("a", 64512).scripted("x", 64513);
    lab = lab.linked_as("a", "x", |_, c| session(c, |p| p.delay_open = Some(Duration::from_secs(20))));
    lab.script("x").greets = false;
    lab.run(Duration::from_secs(15));
    assert_eq!((opens(&mut lab), lab.script("x").conns().len()), (0, 1));
    let open = lab.script("x").open.clone();
    lab.say("x", &Message::Open(Box::new(open)));
    lab.run(Duration::from_secs(1));
    assert_eq!(opens(&mut lab), 1, "an OPEN is answered at once");
    assert!(lab.established("a", "x"));

    let mut lab = Lab::seeded(14).speaker("a", 64512).scripted("x", 64513);
    lab = lab.linked_as("a", "x", |_, c| session(c, |p| p.delay_open = Some(Duration::from_secs(20))));
    lab.script("x").greets = false;
    lab.run(Duration::from_secs(22));
    assert_eq!(opens(&mut lab), 1, "and silence is waited for so long only");
}

#[test]
fn a_notification_is_not_answered_and_the_session_comes_back() {
    let mut lab = pair(15);
    lab.until_established("a", "x");
    lab.heard("x");
    lab.say("x", &Message::Notification(Notification::hold_timer_expired()));
    lab.run(Duration::from_millis(200));
    assert!(lab.heard("x").iter().all(|m| !matches!(m, Message::Notification(_))));
    assert_eq!(lab.script("x").closed.len(), 1);
    let shown = lab.peer("a", "x");
    let down = shown.last_down.unwrap();
    assert_eq!((down.direction.as_str(), down.code, down.subcode), ("received", Some(4), Some(0)));
    lab.until_established("a", "x");
}

#[test]
fn the_other_end_that_closes_before_any_open_may_not_know_us() {
    let mut lab = pair(16);
    lab.script("x").be_silent();
    lab.until("a connection", A_WHILE, |lab| lab.script("x").current().is_some());
    lab.hang_up_script("x");
    lab.run(Duration::from_secs(1));
    assert!(lab.why_down("a", "x").contains("before any OPEN"), "{}", lab.why_down("a", "x"));
}

/// Both connections stand, both OPENs are said: whose identifier is higher decides (§6.8).
fn collide(seed: u64, x_is_higher: bool) -> (Lab, catbird::num::ConnId, catbird::num::ConnId) {
    let mut lab = pair(seed);
    lab.script("x").be_silent();
    if !x_is_higher {
        lab.script("x").open.router_id = catbird::num::RouterId::new([10, 0, 0, 1].into()).unwrap();
    }
    lab.until("the router's dial", A_WHILE, |lab| lab.script("x").current().is_some());
    let theirs = lab.script("x").current().unwrap();
    let ours = lab.connect("x", "a");
    lab.until("our own dial", A_WHILE, |lab| lab.script("x").conns().len() == 2);
    lab.run(Duration::from_millis(50));
    (lab, theirs, ours)
}

fn say_open(lab: &mut Lab, conn: catbird::num::ConnId) {
    let open = Message::Open(Box::new(lab.script("x").open.clone())).to_bytes(&catbird::wire::Context::INITIAL);
    lab.raw_on("x", conn, &open);
    lab.run(Duration::from_millis(50));
}

#[test]
fn of_two_connections_the_one_of_the_higher_identifier_stays() {
    for (seed, x_is_higher) in [(20, true), (21, false)] {
        for theirs_first in [true, false] {
            let (mut lab, theirs, ours) = collide(seed, x_is_higher);
            let order = if theirs_first { [theirs, ours] } else { [ours, theirs] };
            order.into_iter().for_each(|conn| say_open(&mut lab, conn));
            let (kept, closed) = if x_is_higher { (ours, theirs) } else { (theirs, ours) };
            assert_eq!(lab.script("x").conns(), [kept], "x higher: {x_is_higher}, the router's first: {theirs_first}");
            assert_eq!(lab.script("x").closed, [closed]);
            let told = lab.told("x").unwrap();
            assert_eq!((told.code, told.subcode), (6, 7));
            lab.raw_on("x", kept, &proto_tests::lab::keepalive());
            lab.run(Duration::from_millis(50));
            assert_eq!(lab.state("a", "x"), "established");
        }
    }
}

#[test]
fn a_collision_with_an_established_session_closes_the_newcomer() {
    let mut lab = pair(22);
    lab.until_established("a", "x");
    lab.run(Duration::from_secs(60));
    let old = lab.script("x").current().unwrap();
    lab.script("x").be_silent();
    let new = lab.connect("x", "a");
    lab.run(Duration::from_millis(100));
    say_open(&mut lab, new);
    assert_eq!(lab.script("x").closed, [new]);
    assert_eq!(lab.script("x").conns(), [old]);
    assert_eq!(lab.told("x").map(|n| (n.code, n.subcode)), Some((6, 7)));
    assert_eq!(lab.state("a", "x"), "established");
}
