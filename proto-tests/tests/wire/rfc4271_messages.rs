//! RFC 4271 §4 and §6.1 to §6.3: what the peer is told, code, subcode and data, for each way of being wrong. The octets are made by hand.

use bytes::Bytes;
use catbird::num::{Asn, Family, FamilySet};
use catbird::wire::{Capability, Context, DecodeError, Decoder, Message, Notification, Severity, Update, frame_len};
use proto_tests::dsl::{keepalive, message, notification, open, route_refresh, upd};

fn modern() -> Context {
    Context { four_octet_as: true, families: FamilySet::ALL, ..Context::INITIAL }
}

fn decode(octets: impl Into<Bytes>) -> Result<Message, DecodeError> {
    let mut decoder = Decoder::new();
    decoder.set_context(modern());
    decoder.decode(octets.into())
}

/// What the peer is told about octets that reset the session.
fn told(octets: impl Into<Bytes>) -> (u8, u8, Vec<u8>) {
    let error = decode(octets).expect_err("this is malformed");
    assert_eq!(error.severity(), Severity::Reset);
    let Notification { code, subcode, data } = Notification::from(&error);
    (code, subcode, data.to_vec())
}

fn update(octets: impl Into<Bytes>) -> Update {
    match decode(octets) {
        Ok(Message::Update(update)) => update,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_message_type_is_read() {
    assert_eq!(decode(keepalive()), Ok(Message::KeepAlive));
    assert!(matches!(decode(open(64512)), Ok(Message::Open(o)) if o.asn == Asn(64512) && o.router_id.to_string() == "192.0.2.9"));
    assert!(matches!(decode(notification(6, 2, &[])), Ok(Message::Notification(n)) if (n.code, n.subcode) == (6, 2)));
    assert!(matches!(decode(route_refresh(2, 0, 1)), Ok(Message::RouteRefresh(r)) if r.family() == Some(Family::Ipv6Unicast)));
    assert_eq!(update(upd().reach("10.1.0.0/26")).announced[0].nlri.iter().next().unwrap().to_string(), "10.1.0.0/26");
}

#[test]
fn a_marker_that_is_not_all_ones_is_not_synchronized() {
    let mut octets = keepalive();
    octets[7] = 0;
    assert_eq!(told(octets), (1, 1, vec![]));
}

#[test]
fn a_bad_length_comes_back_in_the_data() {
    for (kind, body) in [(1, 9), (2, 3), (3, 1), (4, 1), (5, 3)] {
        let len = (19 + body) as u16;
        assert_eq!(told(message(kind, &vec![0; body])), (1, 2, len.to_be_bytes().to_vec()), "type {kind}");
    }
    assert_eq!(told(message(2, &[0; 4078])), (1, 2, 4097u16.to_be_bytes().to_vec()));
    let mut short = keepalive();
    short[17] = 18;
    assert_eq!(frame_len(&short, 4096).map_err(|e| Notification::from(&e).data), Err(Bytes::from_static(&[0, 18])));
}

#[test]
fn an_unknown_type_comes_back_in_the_data() {
    assert_eq!(told(message(6, &[])), (1, 3, vec![6]));
    assert_eq!(told(message(0, &[])), (1, 3, vec![0]));
}

#[test]
fn another_version_is_answered_with_ours() {
    assert_eq!(told(open(64512).version(3)), (2, 1, vec![0, 4]));
    assert_eq!(told(open(64512).version(5)), (2, 1, vec![0, 4]));
}

#[test]
fn as_number_zero_is_a_bad_peer_as() {
    assert_eq!(told(open(0)), (2, 2, vec![]));
    assert_eq!(told(open(64512).capability(65, &[0; 4])), (2, 2, vec![]));
}

#[test]
fn identifier_zero_is_a_bad_identifier() {
    assert_eq!(told(open(64512).id([0; 4])), (2, 3, vec![]));
}

#[test]
fn a_hold_time_of_one_or_two_seconds_is_unacceptable() {
    assert_eq!(told(open(64512).hold(1)), (2, 6, vec![]));
    assert_eq!(told(open(64512).hold(2)), (2, 6, vec![]));
    for fine in [0, 3, 65535] {
        assert!(decode(open(64512).hold(fine)).is_ok(), "{fine}");
    }
}

#[test]
fn an_optional_parameter_that_is_not_known_is_unsupported() {
    assert_eq!(told(open(64512).parameters(&[4, 1, 2, 0, 0])), (2, 4, vec![]), "type 1 was authentication");
    assert_eq!(told(open(64512).parameters(&[2, 77, 0])), (2, 4, vec![]));
}

#[test]
fn parameters_that_do_not_fill_their_length_are_unspecific() {
    for parameters in [
        &[5, 2, 2, 2, 0][..], // Opt Parm Len says five, there are four
        &[3, 2, 2, 2, 0],     // and the other way
        &[4, 2, 3, 2, 0],     // the parameter is longer than what is left
        &[4, 2, 2, 1, 4],     // the capability is longer than its parameter
        &[1, 2],              // a parameter without a length
        &[5, 2, 3, 65, 1, 0], // a four-octet AS number of one octet
    ] {
        assert_eq!(told(open(64512).parameters(parameters)), (2, 0, vec![]), "{parameters:?}");
    }
}

#[test]
fn a_four_octet_as_number_takes_the_place_of_as_trans() {
    let Ok(Message::Open(open)) = decode(open(4_200_000_000)) else { panic!() };
    assert_eq!((open.my_as, open.asn), (23456, Asn(4_200_000_000)));
    assert_eq!(open.capabilities, [Capability::FourOctetAs(Asn(4_200_000_000))]);
}

#[test]
fn update_lengths_beyond_the_message_are_a_malformed_attribute_list() {
    for body in [&[0, 1, 0, 0][..], &[0, 0, 0, 1], &[255, 255, 255, 255], &[0, 3, 8, 10, 0, 0], &[0, 2, 8, 10, 0]] {
        assert_eq!(told(message(2, body)), (3, 1, vec![]), "{body:?}");
    }
}

#[test]
fn an_unrecognized_well_known_attribute_comes_back_whole() {
    assert_eq!(told(upd().reach("10.0.0.0/8").attr(100, 0x40, &[1, 2])), (3, 2, vec![0x40, 100, 2, 1, 2]));
}

#[test]
fn prefixes_that_cannot_be_read_are_an_invalid_network_field() {
    assert_eq!(told(upd().reach("10.0.0.0/8").tail(&[33, 1, 2, 3, 4, 5])), (3, 10, vec![]));
    assert_eq!(told(upd().reach("10.0.0.0/8").tail(&[24, 10])), (3, 10, vec![]));
    assert_eq!(told(message(2, &[0, 2, 24, 10, 0, 0])), (3, 10, vec![]));
}

#[test]
fn a_prefix_in_both_fields_is_withdrawn_first_and_announced_then() {
    let update = update(upd().withdraw("10.0.0.0/8").reach("10.0.0.0/8"));
    assert_eq!(update.withdrawn[0].iter().next(), update.announced[0].nlri.iter().next());
    assert!(update.announced[0].attrs.is_some());
}

#[test]
fn the_longest_message_is_4096_octets() {
    let mut long = upd().attr(99, 0xc0, &[0; 4000]);
    while long.octets().len() <= 4096 - 5 {
        long = long.reach("10.1.0.0/26");
    }
    let octets = long.octets();
    assert!((4092..=4096).contains(&octets.len()), "{}", octets.len());
    assert!(update(octets).announced[0].attrs.is_some());
}

#[test]
fn partial_stays_on_optional_transitive_attributes_and_unused_flag_bits_go() {
    let update = update(upd().reach("10.0.0.0/8").attr(8, 0xe7, &[0xfc, 0, 0, 1]).attr(4, 0x8f, &[0, 0, 0, 1]));
    let attrs = update.announced[0].attrs.as_ref().unwrap();
    let flags: Vec<(u8, u8)> = attrs.attributes().map(|a| (a.code.0, a.flags)).collect();
    assert_eq!(flags, [(1, 0x40), (2, 0x40), (3, 0x40), (4, 0x80), (8, 0xe0)]);
}
