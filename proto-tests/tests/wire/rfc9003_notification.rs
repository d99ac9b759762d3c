//! NOTIFICATION and ROUTE-REFRESH: RFC 4486, 6608, 7313, 8538, 9003, 9384, 9687.

use bytes::Bytes;
use catbird::num::Family;
use catbird::wire::{CeaseSubcode, Context, Decoder, FsmSubcode, Message, Notification, RefreshSubtype, RouteRefresh};
use proto_tests::dsl::{message, notification, route_refresh};

fn octets(message: &Message) -> Vec<u8> {
    message.to_bytes(&Context::INITIAL).to_vec()
}

fn decode(octets: impl Into<Bytes>) -> Notification {
    match Decoder::new().decode(octets.into()) {
        Ok(Message::Notification(n)) => n,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_operators_words_travel_with_a_shutdown() {
    let n = Notification::cease(CeaseSubcode::AdministrativeShutdown, Some("nächtliche Wartung"));
    assert_eq!(n.data[0], 19, "octets, not characters");
    assert_eq!(decode(octets(&Message::Notification(n.clone()))), n);
    assert_eq!(n.shutdown_text().as_deref(), Some("nächtliche Wartung"));
    assert_eq!(n.to_string(), "Cease/Administrative Shutdown (6/2): \"nächtliche Wartung\"");
}

#[test]
fn words_are_cut_at_a_character_to_the_128_octets_that_every_peer_reads() {
    let n = Notification::cease(CeaseSubcode::AdministrativeReset, Some(&"é".repeat(200)));
    assert_eq!((n.data.len(), n.data[0]), (129, 128));
    assert_eq!(n.shutdown_text().unwrap(), "é".repeat(64));
    assert_eq!(Notification::cease(CeaseSubcode::AdministrativeShutdown, Some(&"€".repeat(80))).data[0], 126);
}

#[test]
fn words_of_255_octets_are_read() {
    let long = [&[255][..], &[b'x'; 255]].concat();
    assert_eq!(decode(notification(6, 2, &long)).shutdown_text().unwrap(), "x".repeat(255));
}

#[test]
fn words_go_with_shutdown_and_reset_only() {
    assert!(Notification::cease(CeaseSubcode::ConnectionCollision, Some("x")).data.is_empty());
    assert_eq!(decode(notification(6, 3, &[1, b'x'])).shutdown_text(), None);
    assert_eq!(Notification::cease(CeaseSubcode::AdministrativeShutdown, None).data.len(), 0);
}

#[test]
fn a_length_that_lies_and_octets_that_are_no_text_do_no_harm() {
    assert_eq!(decode(notification(6, 2, &[200, b'x'])).shutdown_text(), None);
    assert_eq!(decode(notification(6, 2, &[2, 0xff, b'x'])).shutdown_text().unwrap(), "\u{fffd}x");
    assert_eq!(decode(notification(6, 2, &[0])).shutdown_text(), None);
}

#[test]
fn a_hard_reset_carries_the_reason_inside() {
    let inner = Notification::cease(CeaseSubcode::AdministrativeShutdown, Some("gone"));
    let hard = inner.clone().into_hard_reset();
    assert!(hard.is_hard_reset() && !inner.is_hard_reset());
    assert_eq!((hard.code, hard.subcode, &hard.data[..2]), (6, 9, &[6, 2][..]));
    assert_eq!(hard.inner(), Some(inner));
    assert_eq!(decode(notification(6, 9, &[6])).inner(), None);
}

#[test]
fn codes_and_subcodes_have_the_numbers_of_their_rfcs() {
    let cases = [
        (Notification::hold_timer_expired(), (4, 0), "Hold Timer Expired (4/0)"),
        (Notification::send_hold_timer_expired(), (8, 0), "Send Hold Timer Expired (8/0)"),
        (
            Notification::fsm_error(FsmSubcode::OpenConfirm, Some(2)),
            (5, 2),
            "Finite State Machine Error/Unexpected Message in OpenConfirm (5/2), data 02",
        ),
        (Notification::cease(CeaseSubcode::BfdDown, None), (6, 10), "Cease/BFD Down (6/10)"),
        (Notification::maximum_prefixes(2, 1, 1000), (6, 1), "Cease/Maximum Number of Prefixes Reached (6/1), data 000201000003e8"),
        (Notification::role_mismatch(), (2, 11), "OPEN Message Error/Role Mismatch (2/11)"),
        (Notification::bad_peer_as(), (2, 2), "OPEN Message Error/Bad Peer AS (2/2)"),
    ];
    for (n, code, words) in cases {
        assert_eq!(((n.code, n.subcode), n.to_string().as_str()), (code, words));
        assert_eq!(decode(octets(&Message::Notification(n.clone()))), n);
    }
}

#[test]
fn an_unsupported_capability_names_what_we_need() {
    let n = Notification::unsupported_capability(&[catbird::wire::Capability::multiprotocol(Family::Ipv6Unicast)]);
    assert_eq!((n.code, n.subcode, &n.data[..]), (2, 7, &[1, 4, 0, 2, 0, 1][..]));
}

#[test]
fn a_notification_never_exceeds_4096_octets() {
    let n = Notification::new(3, 5, vec![7; 60_000].into());
    assert_eq!(octets(&Message::Notification(n.clone())).len(), 4096);
    assert_eq!(octets(&Message::Notification(n.into_hard_reset())).len(), 4096);
}

/// From a peer that offered capability 70.
fn refresh(octets: Vec<u8>) -> Result<RouteRefresh, Notification> {
    let mut decoder = Decoder::new();
    decoder.set_context(Context { refresh_subtypes: true, ..Context::INITIAL });
    match decoder.decode(octets.into()) {
        Ok(Message::RouteRefresh(r)) => Ok(r),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(Notification::from(&e)),
    }
}

#[test]
fn route_refresh_has_three_subtypes_and_others_are_kept_to_be_ignored() {
    for (code, subtype) in
        [(0, RefreshSubtype::Normal), (1, RefreshSubtype::BoRR), (2, RefreshSubtype::EoRR), (9, RefreshSubtype::Other(9))]
    {
        let r = refresh(route_refresh(1, code, 1)).unwrap();
        assert_eq!(r, RouteRefresh::new(Family::Ipv4Unicast, subtype));
        assert_eq!(octets(&Message::RouteRefresh(r)), route_refresh(1, code, 1));
    }
    assert_eq!(refresh(route_refresh(25, 0, 70)).unwrap().family(), None, "a family that we do not route is no error");
}

#[test]
fn begin_and_end_of_refresh_of_another_length_are_answered_with_the_whole_message() {
    for subtype in [1, 2] {
        let octets = message(5, &[0, 1, subtype, 1, 9]);
        let told = refresh(octets.clone()).unwrap_err();
        assert_eq!((told.code, told.subcode, told.data.to_vec()), (7, 1, octets));
    }
    assert!(refresh(message(5, &[0, 1, 0, 1, 1, 64, 0, 0])).is_ok(), "a request may carry filters (RFC 5291), which we never offered");
}
