//! RFC 5492 and RFC 9072: capabilities in an OPEN, each in its own shape (4760, 2918, 8950, 8654, 9234, 4724, 8538, 6793, 7911, 7313, 9494).

use bytes::Bytes;
use catbird::num::{Asn, HoldTime, RouterId};
use catbird::wire::{AddPathMode, Capability, Context, Decoder, GracefulRestart, LongLivedFamily, Message, Open};
use proto_tests::dsl::open;

fn decode(octets: impl Into<Bytes>) -> Open {
    match Decoder::new().decode(octets.into()) {
        Ok(Message::Open(open)) => *open,
        other => panic!("{other:?}"),
    }
}

fn one(code: u8, value: &[u8]) -> Capability {
    let open = decode(open(64512).capability(code, value));
    let [capability] = &open.capabilities[..] else { panic!("{open}") };
    capability.clone()
}

/// Code, octets, meaning: every capability that has a type of its own.
fn known() -> Vec<(u8, Vec<u8>, Capability)> {
    let graceful = GracefulRestart { restarting: true, notification: true, time: 120, families: vec![(1, 1, true), (2, 1, false)] };
    let stale = LongLivedFamily { afi: 1, safi: 1, forwarding: true, stale_time: 0x01_0203 };
    vec![
        (1, vec![0, 2, 0, 1], Capability::Multiprotocol { afi: 2, safi: 1 }),
        (2, vec![], Capability::RouteRefresh),
        (5, vec![0, 1, 0, 1, 0, 2], Capability::ExtendedNextHop(vec![(1, 1, 2)])),
        (6, vec![], Capability::ExtendedMessage),
        (9, vec![3], Capability::Role(3)),
        (64, vec![0xc0, 120, 0, 1, 1, 0x80, 0, 2, 1, 0], Capability::GracefulRestart(graceful)),
        (65, vec![0, 1, 0, 0], Capability::FourOctetAs(Asn(65536))),
        (69, vec![0, 1, 1, 3, 0, 2, 1, 1], Capability::AddPath(vec![(1, 1, AddPathMode::Both), (2, 1, AddPathMode::Receive)])),
        (70, vec![], Capability::EnhancedRouteRefresh),
        (71, vec![0, 1, 1, 0x80, 1, 2, 3], Capability::LongLivedGracefulRestart(vec![stale])),
        (73, vec![2, b'n', b'1', 3, b'l', b'a', b'b'], Capability::Hostname { host: "n1".into(), domain: "lab".into() }),
        (75, vec![3, b'c', b'/', b'1'], Capability::SoftwareVersion("c/1".into())),
    ]
}

#[test]
fn each_known_capability_has_its_type() {
    for (code, octets, meaning) in known() {
        assert_eq!(one(code, &octets), meaning);
        assert_eq!(meaning.code(), code);
    }
}

#[test]
fn unknown_capabilities_are_kept_as_they_came() {
    assert_eq!(one(200, &[1, 2, 3]), Capability::Other { code: 200, value: Bytes::from_static(&[1, 2, 3]) });
}

#[test]
fn a_known_code_with_another_shape_is_as_if_it_were_unknown() {
    for (code, value) in [
        (1u8, &[0u8, 1, 0][..]),
        (2, &[1]),
        (9, &[]),
        (64, &[0]),
        (64, &[0, 1, 0, 1, 1]),
        (69, &[0, 1, 1, 4]),
        (69, &[0, 1, 1]),
        (73, &[9, 1]),
    ] {
        assert!(matches!(one(code, value), Capability::Other { code: c, .. } if c == code), "{code} {value:?}");
    }
}

#[test]
fn capabilities_may_come_in_one_parameter_or_in_many() {
    let each = decode(open(64512).capability(2, &[]).capability(70, &[]));
    let together = decode(open(64512).parameters(&[6, 2, 4, 2, 0, 70, 0]));
    assert_eq!(each, together);
    assert_eq!(each.capabilities.len(), 2);
}

fn ours(capabilities: Vec<Capability>) -> Open {
    Open::new(Asn(70000), HoldTime::new(90).unwrap(), RouterId::new([192, 0, 2, 9].into()).unwrap(), capabilities)
}

#[test]
fn what_we_send_is_read_again_capability_by_capability() {
    let capabilities: Vec<Capability> = known().into_iter().map(|(.., c)| c).filter(|c| c.code() != 65).collect();
    let open = ours([capabilities, vec![Capability::FourOctetAs(Asn(70000))]].concat());
    assert_eq!(decode(Message::Open(Box::new(open.clone())).to_bytes(&Context::INITIAL)), open);
}

#[test]
fn more_than_255_octets_of_parameters_take_the_extended_form() {
    let many: Vec<Capability> = (0..40).map(|i| Capability::Other { code: 200, value: vec![i; 10].into() }).collect();
    let open = ours([many, vec![Capability::FourOctetAs(Asn(70000))]].concat());
    let octets = Message::Open(Box::new(open.clone())).to_bytes(&Context::INITIAL);
    assert_eq!(octets[28..30], [255, 255], "Non-Ext OP Len and Type");
    assert_eq!(usize::from(u16::from_be_bytes([octets[30], octets[31]])), octets.len() - 32);
    assert_eq!(decode(octets), open);
}

#[test]
fn the_extended_form_is_understood_even_when_the_short_one_would_do() {
    // Non-Ext OP Len 255, type 255, length 7; parameter 2 of 4 octets in two-octet length.
    let open = decode(open(64512).parameters(&[255, 255, 0, 7, 2, 0, 4, 2, 0, 70, 0]));
    assert_eq!(open.capabilities, [Capability::RouteRefresh, Capability::EnhancedRouteRefresh]);
    // RFC 9072 §2: any length but zero before it.
    let open = decode(proto_tests::dsl::open(64512).parameters(&[9, 255, 0, 5, 2, 0, 2, 2, 0]));
    assert_eq!(open.capabilities, [Capability::RouteRefresh]);
}

#[test]
fn capability_values_that_are_too_long_for_their_length_octet_are_cut_whole() {
    let long = ours(vec![Capability::SoftwareVersion("é".repeat(200)), Capability::AddPath(vec![(1, 1, AddPathMode::Both); 100])]);
    let again = decode(Message::Open(Box::new(long)).to_bytes(&Context::INITIAL));
    assert_eq!(again.capabilities[0], Capability::SoftwareVersion("é".repeat(127)));
    assert_eq!(again.capabilities[1], Capability::AddPath(vec![(1, 1, AddPathMode::Both); 63]));
}

#[test]
fn every_capability_is_shown_in_words() {
    let shown: Vec<String> = known().iter().map(|(.., c)| c.to_string()).collect();
    assert_eq!(shown[0], "multiprotocol ipv6-unicast");
    assert_eq!(shown[4], "role customer");
    assert_eq!(shown[5], "graceful-restart 120 s restarting notification ipv4-unicast (forwarding) ipv6-unicast");
    assert_eq!(shown[7], "add-path ipv4-unicast both ipv6-unicast receive");
    assert!(shown.iter().all(|s| !s.is_empty()));
}
