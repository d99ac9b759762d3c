//! RFC 7606: which error costs an attribute, which one a route, which one the session.

use bytes::Bytes;
use catbird::num::{Family, FamilySet};
use catbird::wire::{AttrCode, Context, DecodeError, Decoder, Message, Notification, PathAttributes, Severity, Update};
use proto_tests::dsl::{Upd, upd};

fn context(external: bool) -> Context {
    Context { four_octet_as: true, families: FamilySet::ALL, external, ..Context::INITIAL }
}

fn decode(octets: impl Into<Bytes>, external: bool) -> Result<Update, DecodeError> {
    let mut decoder = Decoder::new();
    decoder.set_context(context(external));
    decoder.decode(octets.into()).map(|message| match message {
        Message::Update(update) => update,
        other => panic!("{other}"),
    })
}

fn base() -> Upd {
    upd().reach("10.1.0.0/26").as_path(&[64512])
}

/// The prefixes are known and withdrawn, because of `code`.
fn withdraws(update: Upd, external: bool, code: AttrCode) {
    let got = decode(update.clone(), external).unwrap_or_else(|e| panic!("{update:?} reset: {e}"));
    let error = got.strongest_error().expect("an error");
    assert_eq!((error.severity(), error.attribute()), (Severity::Withdraw, Some(code)), "{error}");
    assert!(!got.announced.is_empty());
    assert!(got.announced.iter().all(|a| a.attrs.is_none() && !a.nlri.is_empty()), "{got}");
}

/// The route lives, without the attribute.
fn discards(update: Upd, external: bool, code: AttrCode) -> PathAttributes {
    let got = decode(update.clone(), external).unwrap_or_else(|e| panic!("{update:?} reset: {e}"));
    let error = got.strongest_error().expect("an error");
    assert_eq!((error.severity(), error.attribute()), (Severity::Discard, Some(code)), "{error}");
    got.announced[0].attrs.as_ref().expect("the route lives").clone()
}

/// The session ends with this subcode of UPDATE Message Error.
fn resets(update: impl Into<Bytes>, subcode: u8) -> DecodeError {
    let error = decode(update, true).expect_err("a reset");
    assert_eq!(error.severity(), Severity::Reset);
    let told = Notification::from(&error);
    assert_eq!((told.code, told.subcode), (3, subcode), "{error}");
    error
}

#[test]
fn wrong_optional_or_transitive_bits_withdraw() {
    for (code, flags, value) in [
        (1u8, 0xc0, &[0][..]),
        (2, 0x80, &[]),
        (3, 0x00, &[192, 0, 2, 1]),
        (4, 0xc0, &[0, 0, 0, 1]),
        (6, 0xc0, &[]),
        (7, 0x40, &[0, 0, 0, 1, 1, 1, 1, 1]),
        (8, 0x80, &[0, 1, 0, 1]),
        (16, 0x40, &[0; 8]),
        (32, 0x80, &[0; 12]),
    ] {
        withdraws(base().attr(code, flags, value), true, AttrCode(code));
    }
    withdraws(base().attr(5, 0xc0, &[0, 0, 0, 1]), false, AttrCode::LOCAL_PREF);
    withdraws(base().attr(9, 0xc0, &[1, 1, 1, 1]), false, AttrCode::ORIGINATOR_ID);
    withdraws(base().attr(10, 0xc0, &[1, 1, 1, 1]), false, AttrCode::CLUSTER_LIST);
}

#[test]
fn a_missing_well_known_mandatory_attribute_withdraws() {
    for code in [1, 2, 3] {
        withdraws(base().without(code), true, AttrCode(code));
    }
    let v6 = upd().reach("2001:db8::/32");
    for code in [1, 2] {
        withdraws(v6.clone().without(code), true, AttrCode(code));
    }
    assert!(decode(v6, true).unwrap().announced[0].attrs.is_some(), "MP_REACH_NLRI brings its own next hop");
}

#[test]
fn mp_attributes_twice_reset_and_others_twice_count_once() {
    let v6 = upd().reach("2001:db8::/32");
    let (reach, unreach) = ([&[0, 2, 1, 16][..], &[0x20; 16], &[0, 8, 0x20]].concat(), [0, 2, 1, 8, 0x20]);
    resets(v6.clone().attr(14, 0x80, &reach).attr(14, 0x80, &reach), 1);
    resets(v6.attr(15, 0x80, &unreach).attr(15, 0x80, &unreach), 1);
    let med = discards(base().med(1).med(2), true, AttrCode::MULTI_EXIT_DISC);
    assert_eq!(med.med(), Some(1));
    let unknown = discards(base().attr(99, 0xc0, &[1]).attr(99, 0xc0, &[2]), true, AttrCode(99));
    assert_eq!(unknown.unknown().map(|u| u.value.to_vec()).collect::<Vec<_>>(), [[1]]);
}

#[test]
fn the_strongest_of_several_errors_decides() {
    withdraws(base().attr(6, 0x40, &[1]).attr(4, 0x80, &[1]), true, AttrCode::MULTI_EXIT_DISC);
    resets(base().attr(4, 0x80, &[1]).attr(100, 0x40, &[]), 2);
    discards(base().attr(6, 0x40, &[1]).attr(7, 0xc0, &[1]), true, AttrCode::ATOMIC_AGGREGATE);
}

#[test]
fn withdrawn_routes_are_checked_like_nlri() {
    let mut octets = upd().withdraw("10.0.0.0/8").octets();
    octets[21] = 33;
    resets(octets, 10);
}

#[test]
fn nlri_are_found_by_the_total_length_however_the_attributes_end() {
    let good = base().med(7).octets();
    // Each length octet of an attribute in turn says too much: the last one then runs over the end.
    let (mut at, end) = (23, 23 + usize::from(u16::from_be_bytes([good[21], good[22]])));
    let mut tried = 0;
    while at < end {
        let mut bad = good.clone();
        bad[at + 2] = 200;
        let got = decode(bad, true).unwrap();
        assert_eq!(got.announced[0].nlri.iter().map(|n| n.to_string()).collect::<Vec<_>>(), ["10.1.0.0/26"]);
        assert!(got.announced[0].attrs.is_none());
        at += 3 + usize::from(good[at + 2]);
        tried += 1;
    }
    assert_eq!(tried, 4);
}

#[test]
fn attribute_headers_that_are_cut_off_withdraw() {
    for rest in [&[0x40][..], &[0x40, 6], &[0x50, 6, 0]] {
        let mut octets = base().octets();
        let end = 23 + usize::from(octets[22]);
        octets.splice(end..end, rest.iter().copied());
        octets[17] += rest.len() as u8;
        octets[22] += rest.len() as u8;
        let got = decode(octets, true).unwrap();
        assert!(matches!(got.strongest_error(), Some(DecodeError::AttributeOverrun { .. })));
        assert!(got.announced[0].attrs.is_none());
    }
}

#[test]
fn an_error_in_an_update_without_reachable_prefixes_resets() {
    let error = resets(upd().withdraw("10.0.0.0/8").attr(4, 0x80, &[1]), 5);
    assert!(matches!(error, DecodeError::NothingToWithdraw(_)));
    assert!(decode(upd().withdraw("10.0.0.0/8").attr(6, 0x40, &[1]), true).is_ok(), "unless it is only discarded");
    assert!(decode(upd().withdraw("2001:db8::/32"), true).is_ok(), "MP_UNREACH_NLRI alone is no error");
}

#[test]
fn malformed_origin_as_path_next_hop_and_med_withdraw() {
    for value in [&[][..], &[0, 0], &[3]] {
        withdraws(base().attr(1, 0x40, value), true, AttrCode::ORIGIN);
    }
    for value in
        [&[9, 1, 0, 0, 0, 1][..], &[2, 0], &[2, 2, 0, 0, 0, 1], &[2], &[2, 1, 0, 0, 0, 1, 0], &[3, 1, 0, 0, 0, 1], &[2, 1, 0, 0, 0, 0]]
    {
        withdraws(base().attr(2, 0x40, value), true, AttrCode::AS_PATH);
    }
    for value in [&[][..], &[192, 0, 2], &[192, 0, 2, 1, 0], &[0; 4], &[224, 0, 0, 5]] {
        withdraws(base().attr(3, 0x40, value), true, AttrCode::NEXT_HOP);
    }
    for value in [&[][..], &[0, 0, 1], &[0; 5]] {
        withdraws(base().attr(4, 0x80, value), true, AttrCode::MULTI_EXIT_DISC);
    }
}

#[test]
fn local_pref_and_reflection_attributes_of_an_external_peer_are_left_out_even_if_malformed() {
    for (code, flags, value) in
        [(5u8, 0x40, &[0, 0, 0, 1][..]), (5, 0x40, &[1]), (9, 0x80, &[1, 1, 1, 1]), (10, 0x80, &[1]), (10, 0xc0, &[1, 1, 1, 1])]
    {
        let attrs = discards(base().attr(code, flags, value), true, AttrCode(code));
        assert!(!attrs.has(AttrCode(code)));
    }
}

#[test]
fn malformed_local_pref_and_reflection_attributes_of_an_internal_peer_withdraw() {
    for (code, flags, value) in
        [(5u8, 0x40, &[1][..]), (9, 0x80, &[1, 1, 1]), (9, 0x80, &[]), (10, 0x80, &[]), (10, 0x80, &[1, 1, 1, 1, 1])]
    {
        withdraws(base().attr(code, flags, value), false, AttrCode(code));
    }
    let update = decode(base().local_pref(200).attr(9, 0x80, &[1, 1, 1, 1]), false).unwrap();
    assert_eq!(update.errors, None);
    assert_eq!(update.announced[0].attrs.as_ref().unwrap().local_pref(), Some(200));
}

#[test]
fn malformed_atomic_aggregate_and_aggregator_are_left_out() {
    assert!(!discards(base().attr(6, 0x40, &[0]), true, AttrCode::ATOMIC_AGGREGATE).atomic_aggregate());
    for value in [&[][..], &[0; 6], &[0; 9], &[0, 0, 0, 0, 1, 1, 1, 1]] {
        assert_eq!(discards(base().attr(7, 0xc0, value), true, AttrCode::AGGREGATOR).aggregator(), None);
    }
}

#[test]
fn communities_that_are_not_a_list_of_whole_entries_withdraw() {
    for (code, size) in [(8u8, 4), (16, 8), (32, 12)] {
        for len in [0, 1, size - 1, size + 1] {
            withdraws(base().attr(code, 0xc0, &vec![1; len]), true, AttrCode(code));
        }
        assert!(decode(base().attr(code, 0xc0, &vec![1; size * 3]), true).unwrap().errors.is_none());
    }
}

#[test]
fn mp_attributes_that_hide_their_prefixes_reset() {
    for value in
        [&[][..], &[0, 2], &[0, 2, 1], &[0, 2, 1, 5, 1, 2, 3, 4, 5, 0], &[0, 2, 1, 16, 1, 2, 3], &[0, 2, 1, 4, 1, 2, 3, 4, 0, 8, 0x20]]
    {
        resets(upd().reach("2001:db8::/32").attr(14, 0x80, value), 9);
    }
    for value in [&[][..], &[0, 2], &[0, 2, 1, 129], &[0, 2, 1, 64, 1]] {
        resets(upd().attr(15, 0x80, value), 9);
    }
}

#[test]
fn a_flag_error_on_mp_reach_withdraws_because_the_prefixes_are_known() {
    let value = [&[0, 2, 1, 16][..], &[0x20; 16], &[0, 8, 0x20]].concat();
    let got = decode(upd().reach("2001:db8::/32").attr(14, 0xc0, &value), true).unwrap();
    assert!(got.announced[0].attrs.is_none());
    assert_eq!(got.announced[0].nlri.family(), Family::Ipv6Unicast);
}

#[test]
fn unknown_transitive_attributes_go_on_with_the_partial_bit_octet_for_octet() {
    let value: Vec<u8> = (0..=255).collect();
    let got = decode(base().attr(200, 0xc0, &value), true).unwrap();
    let attrs = got.announced[0].attrs.as_ref().unwrap();
    let unknown = attrs.unknown().next().unwrap();
    assert_eq!((unknown.code.0, unknown.flags, unknown.value), (200, 0xf0, &value[..]));
    assert_eq!(got.errors, None);
}

#[test]
fn what_is_sent_names_prefixes_in_one_place_only() {
    use catbird::wire::{NextHop, Origin, encode_reach, encode_unreach};
    let hop = NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None };
    let set = PathAttributes::builder(Origin::Igp, hop).set_med(Some(3)).finish();
    let nlri = ["2001:db8::/32".parse().map(catbird::num::Nlri::new).unwrap()];
    let mut out = bytes::BytesMut::new();
    encode_reach(&set, &nlri, &context(true), &mut out);
    assert_eq!(out, upd().reach("2001:db8::/32").next_hop("2001:db8::1").med(3).octets()[..]);
    out.clear();
    encode_unreach(&nlri, &context(true), &mut out);
    assert_eq!(out, upd().withdraw("2001:db8::/32").octets()[..]);
}
