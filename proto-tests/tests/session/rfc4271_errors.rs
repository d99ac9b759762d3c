//! RFC 4271 §6: what is wrong, what is told, and that nothing is told to who has no right to it.

use std::time::Duration;

use catbird::wire::{Message, Notification};
use proto_tests::lab::{Lab, keepalive};

fn pair() -> Lab {
    Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x")
}

/// The router has dialled and greeted; x has said nothing yet.
fn open_sent() -> Lab {
    let mut lab = pair();
    lab.script("x").be_silent();
    lab.until("a connection", Duration::from_secs(30), |lab| !lab.script("x").heard().is_empty());
    lab
}

fn established() -> Lab {
    let mut lab = pair();
    lab.until_established("a", "x");
    lab
}

/// Says octets and returns what the router tells: code, subcode, data. The connection must be closed behind it.
fn answer(lab: &mut Lab, octets: &[u8]) -> (u8, u8, Vec<u8>) {
    lab.raw("x", octets);
    lab.until("a NOTIFICATION and the close", Duration::from_secs(5), |lab| {
        lab.script("x").told.is_some() && !lab.script("x").closed.is_empty()
    });
    let told = lab.told("x").unwrap();
    (told.code, told.subcode, told.data.to_vec())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![0xff; 16];
    octets.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    octets.push(kind);
    octets.extend_from_slice(body);
    octets
}

/// An OPEN: version, AS, hold time, identifier, and the optional parameters as octets.
fn open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![version];
    body.extend_from_slice(&asn.to_be_bytes());
    body.extend_from_slice(&hold.to_be_bytes());
    body.extend_from_slice(&id);
    body.push(parameters.len() as u8);
    body.extend_from_slice(parameters);
    message(1, &body)
}

const ID: [u8; 4] = [10, 255, 0, 2];

#[test]
fn a_marker_that_is_not_all_ones_is_connection_not_synchronized() {
    for at in [0, 7, 15] {
        let mut octets = keepalive();
        octets[at] = 0xfe;
        assert_eq!(answer(&mut open_sent(), &octets), (1, 1, vec![]));
        assert_eq!(answer(&mut established(), &octets), (1, 1, vec![]));
    }
}

#[test]
fn impossible_lengths_are_bad_message_length_with_the_length_as_data() {
    for (kind, len) in [(4u8, 18u16), (4, 0), (4, 20), (1, 28), (2, 22), (3, 20), (1, 4097), (4, 65535), (5, 22)] {
        let mut octets = vec![0xff; 16];
        octets.extend_from_slice(&len.to_be_bytes());
        octets.push(kind);
        octets.extend_from_slice(&[0; 32]);
        assert_eq!(answer(&mut established(), &octets), (1, 2, len.to_be_bytes().to_vec()), "type {kind}, length {len}");
    }
}

#[test]
fn unknown_types_are_bad_message_type_with_the_type_as_data() {
    for kind in [0, 6, 99, 255] {
        assert_eq!(answer(&mut established(), &message(kind, &[])), (1, 3, vec![kind]));
        assert_eq!(answer(&mut open_sent(), &message(kind, &[])), (1, 3, vec![kind]));
    }
}

#[test]
fn another_version_is_told_ours() {
    for version in [0, 3, 5, 255] {
        assert_eq!(answer(&mut open_sent(), &open(version, 64513, 90, ID, &[])), (2, 1, vec![0, 4]));
    }
}

#[test]
fn an_as_number_that_is_not_expected_is_bad_peer_as() {
    assert_eq!(answer(&mut open_sent(), &open(4, 64999, 90, ID, &[])).0, 2);
    assert_eq!(answer(&mut open_sent(), &open(4, 64999, 90, ID, &[])).1, 2);
    let four = [2, 6, 65, 4, 0, 0, 0xfd, 0xe8];
    assert_eq!(answer(&mut open_sent(), &open(4, 65000, 90, ID, &four)).1, 2);
    assert_eq!(answer(&mut open_sent(), &open(4, 0, 90, ID, &[])).1, 2, "AS 0 (RFC 7607)");
    assert_eq!(answer(&mut open_sent(), &open(4, 23456, 90, ID, &[])).1, 2, "AS_TRANS without a capability (RFC 6793)");
}

#[test]
fn an_identifier_of_zero_is_bad() {
    let (code, subcode, _) = answer(&mut open_sent(), &open(4, 64513, 90, [0; 4], &[]));
    assert_eq!((code, subcode), (2, 3));
}

#[test]
fn hold_times_of_one_and_two_seconds_are_unacceptable() {
    for hold in [1, 2] {
        let (code, subcode, _) = answer(&mut open_sent(), &open(4, 64513, hold, ID, &[]));
        assert_eq!((code, subcode), (2, 6), "hold time {hold}");
    }
    let mut lab = open_sent();
    lab.raw("x", &open(4, 64513, 3, ID, &[]));
    lab.raw("x", &keepalive());
    lab.run(Duration::from_millis(100));
    assert_eq!(lab.state("a", "x"), "established", "three seconds are acceptable");
}

#[test]
fn an_unknown_optional_parameter_is_unsupported_and_a_malformed_one_is_unspecific() {
    let (code, subcode, _) = answer(&mut open_sent(), &open(4, 64513, 90, ID, &[99, 1, 0]));
    assert_eq!((code, subcode), (2, 4));
    for parameters in [&[2u8, 200][..], &[2], &[2, 2, 1, 9], &[2, 6, 1, 4, 0, 1]] {
        let (code, subcode, _) = answer(&mut open_sent(), &open(4, 64513, 90, ID, parameters));
        assert_eq!((code, subcode), (2, 0), "{parameters:?}");
    }
}

#[test]
fn capabilities_that_nobody_knows_are_ignored() {
    let mut lab = open_sent();
    lab.raw("x", &open(4, 64513, 90, ID, &[2, 4, 200, 2, 1, 2, 2, 2, 201, 0]));
    lab.raw("x", &keepalive());
    lab.run(Duration::from_millis(100));
    assert_eq!(lab.state("a", "x"), "established");
}

#[test]
fn an_open_that_comes_in_pieces_is_one_open() {
    let mut lab = open_sent();
    for octet in open(4, 64513, 90, ID, &[]) {
        lab.raw("x", &[octet]);
        lab.run(Duration::from_millis(10));
    }
    lab.run(Duration::from_millis(10));
    assert_eq!(lab.state("a", "x"), "openconfirm");
}

#[test]
fn a_notification_with_unknown_codes_is_noted_and_not_answered() {
    let mut lab = established();
    lab.heard("x");
    lab.say("x", &Message::Notification(Notification::new(77, 88, vec![1, 2, 3].into())));
    lab.run(Duration::from_millis(300));
    assert!(lab.heard("x").iter().all(|m| !matches!(m, Message::Notification(_))), "RFC 4271 §6.4");
    let down = lab.peer("a", "x").last_down.unwrap();
    assert_eq!((down.code, down.subcode, down.data.as_deref()), (Some(77), Some(88), Some("010203")));
}

#[test]
fn an_update_whose_lengths_overrun_it_is_a_malformed_attribute_list() {
    let body = [0, 0, 0, 200, 0x40, 1, 1, 0];
    let (code, subcode, _) = answer(&mut established(), &message(2, &body));
    assert_eq!((code, subcode), (3, 1));
}
