//! Session cases from the texts of the RFCs, against the real daemon over TCP.

use std::time::{Duration, Instant};

use proto_tests::netlab::patiently;
use proto_tests::outside::{
    Caller, Daemon, Heard, OUR_AS, PATIENCE, THEIR_AS, addr, capabilities, keepalive, message, open, update, usual_attributes, usual_open,
};

/// How far the connection is when the octets come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    OpenSent,
    OpenConfirm,
    Established,
}

use At::{Established, OpenConfirm, OpenSent};

/// NOTIFICATION: code, subcode, data.
type Told = (u8, u8, Vec<u8>);

fn told(code: u8, subcode: u8, data: &[u8]) -> Told {
    (code, subcode, data.to_vec())
}

fn caller(daemon: &Daemon, n: u16, at: At) -> Caller {
    let mut caller = daemon.call(n);
    match at {
        OpenSent => {
            assert!(caller.hear_type(1).is_some(), "no OPEN");
            caller
        }
        OpenConfirm => {
            caller.say(&usual_open(caller.addr));
            assert!(caller.hear_type(4).is_some(), "no KEEPALIVE");
            caller
        }
        Established => caller.established(),
    }
}

/// Every case gets an address of its own; what failed is said together.
fn all(cases: Vec<(String, At, Vec<u8>, Told)>) {
    let daemon = Daemon::start("", "");
    let mut wrong = Vec::new();
    for (n, (name, at, octets, want)) in cases.into_iter().enumerate() {
        let mut caller = caller(&daemon, n as u16 + 1, at);
        caller.say(&octets);
        let got = caller.last_words();
        if got.as_ref() != Some(&want) {
            wrong.push(format!("{name} in {at:?}: {got:?} instead of {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A header alone, and zeros behind it.
fn header(kind: u8, len: u16) -> Vec<u8> {
    [&[0xff; 16][..], &len.to_be_bytes(), &[kind], &[0; 40]].concat()
}

/// RFC 4271 §6.1, in each state that has a connection.
#[test]
fn header_errors_are_told_in_every_state() {
    let mut cases = Vec::new();
    for at in [OpenSent, OpenConfirm, Established] {
        for octet in [0, 8, 15] {
            let mut octets = keepalive();
            octets[octet] = 0;
            cases.push((format!("marker octet {octet}"), at, octets, told(1, 1, &[])));
        }
        cases.push(("marker of zeros".into(), at, vec![0; 19], told(1, 1, &[])));
        for (kind, len) in [
            (4, 0),
            (4, 18),
            (4, 20),
            (4, 4096),
            (1, 28),
            (2, 22),
            (2, 19),
            (3, 20),
            (3, 19),
            (5, 22),
            (1, 4097),
            (1, 65535),
            (4, 4097),
            (99, 18),
        ] {
            cases.push((format!("type {kind} of length {len}"), at, header(kind, len), told(1, 2, &len.to_be_bytes())));
        }
        // RFC 8654 §4: we offer to receive longer messages, and hold to it as soon as the OPENs are exchanged.
        for kind in [2, 99].into_iter().filter(|_| at == OpenSent) {
            cases.push((format!("type {kind} of length 4097"), at, header(kind, 4097), told(1, 2, &[16, 1])));
        }
        for kind in [0, 6, 7, 128, 255] {
            cases.push((format!("type {kind}"), at, header(kind, 23), told(1, 3, &[kind])));
        }
    }
    all(cases);
}

/// RFC 6608 §4, with the type of the message as data (§3).
#[test]
fn messages_out_of_place_are_told_with_the_state() {
    let refresh = message(5, &[0, 1, 0, 1]);
    let end_of_rib = update(&[], &[], &[]);
    let broken_update = message(2, &[0, 9, 0, 0]);
    let any_open = |n: u8| usual_open([10, 99, 0, n].into());
    let version_three = open(3, THEIR_AS, 90, [10, 9, 9, 9], &[]);
    all(vec![
        ("KEEPALIVE".into(), OpenSent, keepalive(), told(5, 1, &[4])),
        ("UPDATE".into(), OpenSent, end_of_rib.clone(), told(5, 1, &[2])),
        ("malformed UPDATE".into(), OpenSent, broken_update.clone(), told(5, 1, &[2])),
        ("ROUTE-REFRESH".into(), OpenSent, refresh.clone(), told(5, 1, &[5])),
        ("OPEN".into(), OpenConfirm, any_open(1), told(5, 2, &[1])),
        ("UPDATE".into(), OpenConfirm, end_of_rib, told(5, 2, &[2])),
        ("malformed UPDATE".into(), OpenConfirm, broken_update, told(5, 2, &[2])),
        ("ROUTE-REFRESH".into(), OpenConfirm, refresh, told(5, 2, &[5])),
        ("OPEN".into(), Established, any_open(2), told(5, 3, &[1])),
        ("OPEN that would be refused".into(), Established, version_three, told(5, 3, &[1])),
    ]);
}

/// RFC 4271 §6.2, RFC 5492, RFC 6286, RFC 6793, RFC 7607, RFC 9072.
#[test]
fn opens_that_are_not_acceptable_are_told_why() {
    let id = [10, 9, 9, 9];
    let four = |asn: u32| capabilities(&[(65, &asn.to_be_bytes())]);
    let bad = |version, asn, hold, id, parameters: &[u8]| open(version, asn, hold, id, parameters);
    let other_len = |len: u8, parameters: &[u8]| {
        let mut octets = open(4, THEIR_AS, 90, id, parameters);
        octets[28] = len;
        octets
    };
    // RFC 9072: 255, 255, two octets of length; parameters with lengths of two octets.
    let extended = |len: u16, parameters: &[u8]| {
        let body = [&[4][..], &THEIR_AS.to_be_bytes(), &[0, 90], &id, &[255, 255], &len.to_be_bytes(), parameters].concat();
        message(1, &body)
    };
    let needs = [&[1, 4, 0, 1, 0, 1][..], &[1, 4, 0, 2, 0, 1]].concat();
    let cases: Vec<(&str, Vec<u8>, Told)> = vec![
        ("version 3", bad(3, THEIR_AS, 90, id, &[]), told(2, 1, &[0, 4])),
        ("version 5", bad(5, THEIR_AS, 90, id, &[]), told(2, 1, &[0, 4])),
        ("version 0", bad(0, THEIR_AS, 90, id, &[]), told(2, 1, &[0, 4])),
        ("AS 0", bad(4, 0, 90, id, &[]), told(2, 2, &[])),
        ("AS 0 in the capability", bad(4, THEIR_AS, 90, id, &four(0)), told(2, 2, &[])),
        ("another AS", bad(4, 65099, 90, id, &[]), told(2, 2, &[])),
        ("our own AS", bad(4, OUR_AS, 90, id, &[]), told(2, 2, &[])),
        ("another AS in the capability", bad(4, THEIR_AS, 90, id, &four(65099)), told(2, 2, &[])),
        ("AS_TRANS without the capability", bad(4, 23456, 90, id, &[]), told(2, 2, &[])),
        ("AS_TRANS in the capability", bad(4, 23456, 90, id, &four(23456)), told(2, 2, &[])),
        ("identifier 0.0.0.0", bad(4, THEIR_AS, 90, [0; 4], &[]), told(2, 3, &[])),
        ("hold time 1", bad(4, THEIR_AS, 1, id, &[]), told(2, 6, &[])),
        ("hold time 2", bad(4, THEIR_AS, 2, id, &[]), told(2, 6, &[])),
        ("parameter 1 (authentication)", bad(4, THEIR_AS, 90, id, &[1, 1, 0]), told(2, 4, &[])),
        ("parameter 99", bad(4, THEIR_AS, 90, id, &[99, 0]), told(2, 4, &[])),
        ("parameter 255 in second place", bad(4, THEIR_AS, 90, id, &[2, 0, 255, 0]), told(2, 4, &[])),
        ("no parameter but a length", other_len(4, &[]), told(2, 0, &[])),
        ("parameters longer than their length", other_len(0, &[2, 0]), told(2, 0, &[])),
        ("half a parameter", bad(4, THEIR_AS, 90, id, &[2]), told(2, 0, &[])),
        ("a parameter longer than all", bad(4, THEIR_AS, 90, id, &[2, 9, 2, 0]), told(2, 0, &[])),
        ("half a capability", bad(4, THEIR_AS, 90, id, &[2, 1, 2]), told(2, 0, &[])),
        ("a capability longer than its parameter", bad(4, THEIR_AS, 90, id, &[2, 3, 2, 9, 0]), told(2, 0, &[])),
        ("capability 65 of three octets", bad(4, THEIR_AS, 90, id, &[2, 5, 65, 3, 0, 0, 1]), told(2, 0, &[])),
        ("extended, too long", extended(9, &[2, 0, 2, 2, 0]), told(2, 0, &[])),
        ("extended, too short", extended(3, &[2, 0, 2, 2, 0]), told(2, 0, &[])),
        ("extended, unknown parameter", extended(3, &[77, 0, 0]), told(2, 4, &[])),
        ("no family of ours", bad(4, THEIR_AS, 90, id, &capabilities(&[(1, &[0, 1, 0, 128])])), told(2, 7, &needs)),
    ];
    all(cases.into_iter().map(|(name, octets, want)| (name.to_owned(), OpenSent, octets, want)).collect());
}

/// What a speaker has to live with.
#[test]
fn opens_that_are_odd_but_legal_lead_to_a_session() {
    let daemon = Daemon::start("", "");
    let v4: &[u8] = &[0, 1, 0, 1];
    let asn = u32::from(THEIR_AS).to_be_bytes();
    let many: Vec<u8> = (0..20).flat_map(|_| capabilities(&[(2, &[])])).collect();
    let extended = {
        let parameters = [&[2, 0, 6, 1, 4][..], v4].concat();
        let fixed = [&[4][..], &THEIR_AS.to_be_bytes(), &[0, 90, 10, 9, 9, 9, 255, 255, 0, parameters.len() as u8]].concat();
        message(1, &[fixed, parameters].concat())
    };
    let plain = |hold, id, parameters: &[u8]| open(4, THEIR_AS, hold, id, parameters);
    let id = [10, 9, 9, 9];
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no parameters at all", plain(90, id, &[])),
        ("an empty parameter", plain(90, id, &[2, 0])),
        ("hold time 0", plain(0, id, &[])),
        ("hold time 3", plain(3, id, &[])),
        ("hold time 65535", plain(65535, id, &[])),
        ("our own identifier, from another AS (RFC 6286)", plain(90, [10, 0, 0, 1], &[])),
        ("an identifier that is no unicast address", plain(90, [240, 0, 0, 1], &[])),
        ("identifier 255.255.255.255", plain(90, [255; 4], &[])),
        ("unknown capabilities", plain(90, id, &capabilities(&[(200, &[1, 2, 3]), (255, &[]), (0, &[0])]))),
        ("a capability said twice", plain(90, id, &capabilities(&[(1, v4), (1, v4), (2, &[]), (2, &[])]))),
        ("each capability in a parameter of its own", plain(90, id, &many)),
        (
            "capabilities of lengths that they do not have",
            plain(90, id, &capabilities(&[(1, v4), (2, &[9]), (69, &[1]), (64, &[0]), (70, &[1, 2])])),
        ),
        ("a family that we do not know beside one that we do", plain(90, id, &capabilities(&[(1, &[0, 25, 0, 70]), (1, v4)]))),
        ("AS_TRANS with the capability", open(4, 23456, 90, id, &capabilities(&[(65, &asn)]))),
        ("graceful restart with an unknown family", plain(90, id, &capabilities(&[(64, &[0x40, 120, 0, 99, 1, 0x80])]))),
        ("graceful restart with nothing but flags", plain(90, id, &capabilities(&[(64, &[0xf0, 0])]))),
        ("RFC 9072 for no reason", extended),
    ];
    for (n, (name, octets)) in cases.into_iter().enumerate() {
        let mut caller = daemon.call(n as u16 + 1);
        caller.say(&[octets, keepalive()].concat());
        assert!(caller.hear_type(4).is_some(), "{name}: no KEEPALIVE");
        assert!(caller.is_established(), "{name}");
    }
}

/// RFC 4271 §4.2, §4.4, §6.5: the smaller hold time counts, in OpenConfirm too; keepalives come three times as often; silence ends it.
#[test]
fn the_hold_time_that_was_agreed_on_is_kept() {
    let daemon = Daemon::start("", "");
    let (mut confirm, mut live) = (daemon.call(1), daemon.call(2));
    for caller in [&mut confirm, &mut live] {
        caller.say(&open(4, THEIR_AS, 3, caller.addr.octets(), &[]));
    }
    live.say(&keepalive());
    let begun = Instant::now();
    let beats = move |caller: &mut Caller| {
        let mut n = 0;
        loop {
            match caller.hear(Duration::from_secs(20)) {
                Heard::Message(4, _) => n += 1,
                Heard::Message(3, body) => return (n, body, begun.elapsed()),
                Heard::Message(..) => {}
                end => panic!("{end:?}"),
            }
        }
    };
    let second = std::thread::spawn(move || beats(&mut live));
    for (n, body, took) in [beats(&mut confirm), second.join().expect("no panic")] {
        assert_eq!(body, [4, 0], "Hold Timer Expired");
        assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
        assert!((3..=5).contains(&n), "{n} KEEPALIVEs in {took:?}, the first for the OPEN");
    }
}

/// RFC 4271 §4.2: with a hold time of zero nobody says anything, and nobody minds.
#[test]
fn a_hold_time_of_zero_is_silence() {
    let daemon = Daemon::start("", "");
    let mut caller = daemon.call(1);
    caller.say(&[open(4, THEIR_AS, 0, caller.addr.octets(), &[]), keepalive()].concat());
    assert!(caller.hear_type(4).is_some());
    assert!(caller.hear_type(2).is_some(), "End-of-RIB");
    assert_eq!(caller.hear(Duration::from_secs(5)), Heard::Silence);
    assert!(caller.is_established());
}

/// RFC 4271 §8.2.2: the "large" hold time of whoever does not say OPEN.
#[test]
fn whoever_says_no_open_is_let_go_with_hold_timer_expired() {
    let daemon = Daemon::start("open_timeout = \"3s\"", "");
    let mut silent = daemon.call(1);
    let mut half = daemon.call(2);
    half.say(&usual_open(half.addr)[..25]);
    assert_eq!(silent.last_words(), Some(told(4, 0, &[])));
    assert_eq!(half.last_words(), Some(told(4, 0, &[])));
}

/// RFC 4271 §6.4: whatever a NOTIFICATION says, it ends the connection and is not answered; and the next one is welcome.
#[test]
fn a_notification_is_not_answered_in_any_state() {
    let daemon = Daemon::start("", "");
    let long = [&[6, 2, 255][..], &[b'x'; 255]].concat();
    let bodies: Vec<Vec<u8>> = vec![
        vec![6, 2],
        vec![6, 2, 4, b'b', b'y', b'e', b'!'],
        // RFC 9003 §2: a length that lies, octets that are not UTF-8, nothing.
        vec![6, 2, 200, b'b', b'y', b'e'],
        vec![6, 2, 2, 0xff, 0xfe],
        vec![6, 2, 0],
        vec![6, 4, 3, b'a', 0, b'b'],
        long,
        vec![6, 1, 0, 1, 1, 0, 0, 0, 9],
        vec![6, 9, 6, 2],
        vec![6, 9],
        vec![4, 0],
        vec![2, 1, 0, 3],
        vec![2, 7],
        vec![0, 0],
        vec![99, 99, 1, 2, 3],
        [&[3, 1][..], &[0; 4000]].concat(),
    ];
    for (i, body) in bodies.iter().enumerate() {
        for (j, at) in [OpenSent, OpenConfirm, Established].into_iter().enumerate() {
            let mut caller = caller(&daemon, (i * 3 + j) as u16 + 1, at);
            caller.say(&message(3, body));
            assert_eq!(caller.last_words(), None, "{body:02x?} in {at:?}");
        }
    }
    assert!(caller(&daemon, 1, Established).is_established());
}

/// RFC 2918, RFC 7313: what is answered, what is passed over, what is an error.
#[test]
fn refreshes_are_answered_passed_over_or_errors() {
    let daemon = Daemon::start("", "[pods]\nblocks = [\"10.99.0.0/26\"]\n");
    let mut caller = caller(&daemon, 1, Established);
    // Marks come after the End-of-RIB of both families (RFC 7313 §4).
    let mut ends = 0;
    while ends < 2 {
        match caller.hear(PATIENCE) {
            Heard::Message(2, body) => ends += usize::from(body == [0; 4] || body.ends_with(&[15, 3, 0, 2, 1])),
            Heard::Message(..) => {}
            other => panic!("{ends} times End-of-RIB, then {other:?}"),
        }
    }
    // Passed over: families that are unknown or were not negotiated, subtypes that have no meaning.
    for body in [&[0, 25, 0, 70][..], &[0, 1, 0, 128], &[0, 1, 3, 1], &[0, 1, 255, 1], &[0, 99, 1, 99]] {
        caller.say(&message(5, body));
    }
    assert_eq!(caller.hear(Duration::from_secs(1)), Heard::Silence);
    // Begin, the table, end.
    caller.say(&message(5, &[0, 1, 0, 1]));
    assert_eq!(caller.hear(Duration::from_secs(10)), Heard::Message(5, vec![0, 1, 1, 1]));
    assert!(matches!(caller.hear(Duration::from_secs(10)), Heard::Message(2, body) if body.ends_with(&[26, 10, 99, 0, 0])));
    assert_eq!(caller.hear(Duration::from_secs(10)), Heard::Message(5, vec![0, 1, 2, 1]));
    // An end without a begin, a begin without an end: nothing to complain of.
    caller.say(&message(5, &[0, 1, 2, 1]));
    caller.say(&message(5, &[0, 1, 1, 1]));
    assert_eq!(caller.hear(Duration::from_secs(1)), Heard::Silence);
    // RFC 7313 §5: the whole message comes back.
    let bad = message(5, &[0, 1, 1, 1, 0]);
    caller.say(&bad);
    assert_eq!(caller.last_words(), Some(told(7, 1, &bad)));
}

/// RFC 4271 §6.8: a second connection does not disturb an established session, and is told so once it has shown who it is.
#[test]
fn a_second_connection_loses_against_a_session() {
    let daemon = Daemon::start("", "");
    let mut first = caller(&daemon, 1, Established);
    let mut second = daemon.call(1);
    assert!(second.hear_type(1).is_some(), "it is greeted, for the first might be dead");
    second.say(&usual_open(second.addr));
    assert_eq!(second.last_words(), Some(told(6, 7, &[])));
    assert!(first.is_established());
}

/// RFC 4271 §6.8, in OpenConfirm: with two of the same direction the identifiers decide by the letter.
#[test]
fn of_two_connections_one_is_closed_with_collision() {
    let daemon = Daemon::start("", "");
    for (n, their_id, first_stays) in [(1, [9, 0, 0, 1], true), (2, [11, 0, 0, 1], false)] {
        let mut first = daemon.call(n);
        let mut second = daemon.call(n);
        assert!(first.hear_type(1).is_some() && second.hear_type(1).is_some());
        first.say(&open(4, THEIR_AS, 90, their_id, &[]));
        assert!(first.hear_type(4).is_some());
        second.say(&open(4, THEIR_AS, 90, their_id, &[]));
        let (mut loser, mut winner) = if first_stays { (second, first) } else { (first, second) };
        assert_eq!(loser.last_words(), Some(told(6, 7, &[])), "identifier {their_id:?}");
        winner.say(&keepalive());
        assert!(winner.is_established());
    }
}

/// RFC 4486 §4: strangers, and more than the listen limit.
#[test]
fn whoever_is_not_expected_is_told_connection_rejected() {
    let daemon = Daemon::start("", "");
    let mut stranger = Caller::from([127, 99, 0, 1].into(), daemon.port).expect("loopback");
    assert_eq!(stranger.last_words(), Some(told(6, 5, &[])));
}

/// RFC 4486 §4, RFC 4271 §6.7.
#[test]
fn one_prefix_too_many_ends_the_session_with_family_and_bound() {
    let daemon = Daemon::start("max_prefix_ipv4 = 2\nmax_prefix_restart = \"1s\"", "");
    let mut caller = caller(&daemon, 1, Established);
    let attributes = proto_tests::outside::usual_attributes(caller.addr);
    caller.say(&update(&[], &attributes, &[24, 10, 1, 0, 24, 10, 1, 1]));
    caller.say(&update(&[], &attributes, &[24, 10, 1, 0]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(daemon.has("10.1.1.0/24"), "two are allowed, and one of them twice");
    caller.say(&update(&[], &attributes, &[24, 10, 1, 2]));
    assert_eq!(caller.last_words(), Some(told(6, 1, &[0, 1, 1, 0, 0, 0, 2])));
    assert!(!daemon.has("10.1.1.0/24"));
}

/// What the OPEN of the daemon says.
#[test]
fn our_open_is_well_formed() {
    let daemon = Daemon::start("", "");
    let body = daemon.call(1).hear_type(1).expect("an OPEN");
    assert_eq!(body[..9], [4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 1]);
    assert_eq!(usize::from(body[9]), body.len() - 10);
    assert_eq!((body[10], usize::from(body[11])), (2, body.len() - 12), "one parameter with all capabilities");
    let mut codes = Vec::new();
    let mut rest = &body[12..];
    while let [code, len, after @ ..] = rest {
        codes.push(*code);
        rest = &after[usize::from(*len)..];
    }
    for wanted in [1, 2, 6, 64, 65, 70] {
        assert!(codes.contains(&wanted), "capability {wanted} in {codes:?}");
    }
}

/// A suite like this one, all from one address: who comes back quickly after each error is served all the same.
#[test]
fn a_hundred_short_connections_from_one_address_are_all_served() {
    let daemon = Daemon::start("", "");
    for n in 0..100 {
        let mut caller = daemon.call(1);
        if n % 2 == 0 {
            assert!(caller.established().is_established(), "connection {n}");
        } else {
            caller.say(&open(4, 65099, 90, [10, 9, 9, 9], &[]));
            assert_eq!(caller.last_words(), Some(told(2, 2, &[])), "connection {n}");
        }
    }
}

/// More than the numbers that rest (`speaker::slots`): whoever gets a number that another had begins with nothing of the other's.
#[test]
fn clients_of_a_range_that_come_and_go_leave_nothing_to_those_who_come_after() {
    let daemon = Daemon::start("", "");
    let announced = |n: u16| update(&[], &usual_attributes(addr(n)), &[24, 20, (n >> 8) as u8, n as u8]);
    let begun = |n: u16| {
        let mut caller = daemon.call(n).established();
        caller.say(&announced(n));
        caller
    };
    let mut stays = begun(1);
    for n in 2..1200 {
        drop(begun(n));
    }
    let mut last = begun(1200);
    let there = |n: u16| daemon.has(&format!("20.{}.{}.0/24", n >> 8, n & 255));
    assert!(patiently(PATIENCE, || there(1200)).is_some(), "the route of the last");
    let names = || daemon.json(&["peers"]).as_array().map_or(0, Vec::len);
    assert!(patiently(PATIENCE, || names() == 2).is_some(), "{}", daemon.ask(&["peers"]));
    assert!(there(1) && !there(2) && !there(1199), "{}", daemon.ask(&["routes"]));
    assert!(stays.is_established() && last.is_established());
}
