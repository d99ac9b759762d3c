//! UPDATEs as octets, with their meaning beside.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::num::{FamilySet, Nlri};
use crate::wire::error::{DecodeError, Fault, NlriField, Severity};
use crate::wire::{AttrCode, Context, Message, NextHop, Notification, Origin};

fn modern() -> Context {
    Context { four_octet_as: true, families: FamilySet::ALL, ..Context::INITIAL }
}

/// An UPDATE of three fields.
fn message(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Bytes {
    let len = 23 + withdrawn.len() + attributes.len() + nlri.len();
    let lengths = [withdrawn.len() as u16, attributes.len() as u16].map(u16::to_be_bytes);
    [&[0xff; 16][..], &(len as u16).to_be_bytes(), &[2], &lengths[0], withdrawn, &lengths[1], attributes, nlri].concat().into()
}

fn decode_in(ctx: &Context, octets: Bytes) -> Result<Update, DecodeError> {
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    decoder.decode(octets).map(|m| match m {
        Message::Update(update) => update,
        other => panic!("{other}"),
    })
}

fn decode(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Result<Update, DecodeError> {
    decode_in(&modern(), message(withdrawn, attributes, nlri))
}

const ORIGIN: [u8; 4] = [0x40, 1, 1, 0]; // ORIGIN igp
const AS_PATH: [u8; 9] = [0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0]; // AS_PATH 64512
const NEXT_HOP: [u8; 7] = [0x40, 3, 4, 192, 0, 2, 1]; // NEXT_HOP 192.0.2.1
const NLRI: [u8; 5] = [26, 10, 1, 0, 0]; // 10.1.0.0/26

fn plain() -> Vec<u8> {
    [&ORIGIN[..], &AS_PATH, &NEXT_HOP].concat()
}

fn with(more: &[u8]) -> Vec<u8> {
    [&plain()[..], more].concat()
}

fn announced(update: &Update) -> Vec<String> {
    update.announced.iter().filter(|a| a.attrs.is_some()).flat_map(|a| a.nlri.iter()).map(|n| n.to_string()).collect()
}

fn attrs(update: &Update) -> &PathAttributes {
    update.announced[0].attrs.as_ref().expect("accepted")
}

/// The single error of an UPDATE that was treated as withdrawn.
fn withdrawn_for(update: &Update) -> &DecodeError {
    assert!(announced(update).is_empty() && !update.announced.is_empty(), "{update}");
    update.strongest_error().expect("a reason")
}

#[test]
fn a_plain_update_is_read() {
    let update = decode(&[8, 10], &plain(), &NLRI).unwrap();
    assert_eq!(format!("{:?}", update.withdrawn[0]), r#"["10.0.0.0/8"]"#);
    assert_eq!(announced(&update), ["10.1.0.0/26"]);
    assert_eq!(attrs(&update).to_string(), "origin igp as-path 64512 next-hop 192.0.2.1");
    assert_eq!(attrs(&update).octets(), plain(), "canonical octets are kept as they are");
    assert_eq!((update.errors, update.end_of_rib), (None, None));
}

#[test]
fn a_repeated_block_is_the_same_allocation() {
    let mut decoder = Decoder::new();
    decoder.set_context(modern());
    let mut next = |nlri: &[u8]| match decoder.decode(message(&[], &plain(), nlri)) {
        Ok(Message::Update(update)) => update,
        other => panic!("{other:?}"),
    };
    let (one, two) = (next(&NLRI), next(&[8, 11]));
    assert!(one.announced[0].attrs.as_ref().unwrap().is_same(two.announced[0].attrs.as_ref().unwrap()));
    assert_eq!(announced(&two), ["11.0.0.0/8"]);
}

/// MP_REACH_NLRI of 2001:db8::/32 or another prefix, next hop 2001:db8::1.
fn reach(nlri: &[u8]) -> Vec<u8> {
    let head = [&[0, 2, 1, 16, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0]].concat();
    [&[0x80, 14, (head.len() + nlri.len()) as u8][..], &head, nlri].concat()
}

#[test]
fn a_repeated_block_around_other_ipv6_prefixes_is_the_same_allocation() {
    let mut decoder = Decoder::new();
    decoder.set_context(modern());
    let mut next = |nlri: &[u8]| match decoder.decode(message(&[], &[&reach(nlri)[..], &ORIGIN, &AS_PATH].concat(), &[])) {
        Ok(Message::Update(update)) => update,
        other => panic!("{other:?}"),
    };
    let (one, two) = (next(&[32, 0x20, 1, 0xd, 0xb8]), next(&[16, 0x20, 1, 8, 0x20]));
    assert_eq!((announced(&one), announced(&two)), (vec!["2001:db8::/32".into()], vec!["2001::/16".into(), "2000::/8".into()]));
    assert!(one.announced[0].attrs.as_ref().unwrap().is_same(two.announced[0].attrs.as_ref().unwrap()));
    assert_eq!(attrs(&two).next_hop().to_string(), "2001:db8::1");
    assert_eq!(attrs(&two).octets(), [&ORIGIN[..], &AS_PATH].concat());
}

#[test]
fn memory_of_the_last_block_ends_with_the_context() {
    let mut decoder = Decoder::new();
    decoder.set_context(modern());
    let local_pref = with(&[0x40, 5, 4, 0, 0, 0, 200]);
    let get = |decoder: &mut Decoder| match decoder.decode(message(&[], &local_pref, &NLRI)) {
        Ok(Message::Update(update)) => attrs(&update).local_pref(),
        other => panic!("{other:?}"),
    };
    assert_eq!(get(&mut decoder), None, "LOCAL_PREF of an external peer");
    decoder.set_context(Context { external: false, ..modern() });
    assert_eq!(get(&mut decoder), Some(200));
}

#[test]
fn attributes_in_any_order_are_the_same_set() {
    let one = decode(&[], &plain(), &NLRI).unwrap();
    let other = decode(&[], &[&NEXT_HOP[..], &AS_PATH, &ORIGIN].concat(), &NLRI).unwrap();
    assert_eq!(attrs(&one), attrs(&other));
    assert_eq!(attrs(&other).octets(), plain());
}

#[test]
fn lengths_that_exceed_the_message_reset() {
    let mut octets = message(&[8, 10], &plain(), &NLRI).to_vec();
    octets[20] = 200;
    let error = decode_in(&modern(), octets.into()).unwrap_err();
    assert_eq!(error.severity(), Severity::Reset);
    assert_eq!(Notification::from(&error), Notification::new(3, 1, Bytes::new()));
    let mut octets = message(&[], &plain(), &[]).to_vec();
    octets[22] += 1;
    assert!(matches!(decode_in(&modern(), octets.into()), Err(DecodeError::UpdateLengths { withdrawn: 0, attributes: 21 })));
    // Withdrawn Routes Length leaves one octet for the second length field.
    let mut octets = message(&[8, 10], &[], &[]).to_vec();
    octets[20] = 3;
    assert!(matches!(decode_in(&modern(), octets.into()), Err(DecodeError::UpdateLengths { withdrawn: 3, .. })));
}

#[test]
fn an_attribute_that_runs_over_the_end_withdraws_what_the_total_length_finds() {
    let mut block = plain();
    let last = block.len() - 5;
    block[last] = 77; // length of NEXT_HOP
    let update = decode(&[], &block, &NLRI).unwrap();
    assert_eq!(withdrawn_for(&update), &DecodeError::AttributeOverrun { code: Some(AttrCode::NEXT_HOP), offset: 36 });
    assert_eq!(update.announced[0].nlri.iter().next().unwrap().to_string(), "10.1.0.0/26");
}

#[test]
fn prefixes_that_cannot_be_read_reset() {
    let error = decode(&[], &plain(), &[8, 10, 33, 1, 2, 3, 4, 5]).unwrap_err();
    assert!(matches!(error, DecodeError::Nlri { field: NlriField::Announced, offset: 45, .. }), "{error}");
    assert_eq!(Notification::from(&error), Notification::new(3, 10, Bytes::new()));
    let error = decode(&[24, 10, 1], &[], &[]).unwrap_err();
    assert!(matches!(error, DecodeError::Nlri { field: NlriField::Withdrawn, offset: 21, .. }), "{error}");
    let error = decode(&[], &[&reach(&[129])[..], &ORIGIN, &AS_PATH].concat(), &[]).unwrap_err();
    assert_eq!(Notification::from(&error).subcode, 9);
}

#[test]
fn malformed_values_are_treated_as_withdrawn_or_left_out_as_each_attribute_wants() {
    let cases: [(&[u8], Fault, Severity); 14] = [
        (&[0x80, 4, 3, 0, 0, 1], Fault::Length { len: 3 }, Severity::Withdraw), // MULTI_EXIT_DISC
        (&[0x40, 6, 1, 0], Fault::Length { len: 1 }, Severity::Discard),        // ATOMIC_AGGREGATE
        (&[0xc0, 7, 6, 0, 1, 1, 1, 1, 1], Fault::Length { len: 6 }, Severity::Discard), // AGGREGATOR in the new world
        (&[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1], Fault::AsZero, Severity::Discard),
        (&[0xc0, 8, 0], Fault::Length { len: 0 }, Severity::Withdraw), // COMMUNITIES
        (&[0xc0, 8, 5, 1, 2, 3, 4, 5], Fault::Length { len: 5 }, Severity::Withdraw),
        (&[0xc0, 16, 4, 0, 0, 0, 0], Fault::Length { len: 4 }, Severity::Withdraw), // EXTENDED_COMMUNITIES
        (&[0xc0, 32, 4, 0, 0, 0, 0], Fault::Length { len: 4 }, Severity::Withdraw), // LARGE_COMMUNITIES
        (&[0xc0, 35, 3, 0, 0, 0], Fault::Length { len: 3 }, Severity::Withdraw),    // ONLY_TO_CUSTOMER
        (&[0x40, 5, 4, 0, 0, 0, 1], Fault::External, Severity::Discard),            // LOCAL_PREF
        (&[0x80, 9, 4, 1, 1, 1, 1], Fault::External, Severity::Discard),            // ORIGINATOR_ID
        (&[0x80, 10, 4, 1, 1, 1, 1], Fault::External, Severity::Discard),           // CLUSTER_LIST
        (&[0xc0, 17, 6, 2, 1, 0, 0, 0, 7], Fault::FourOctetSpeaker, Severity::Discard), // AS4_PATH
        (&[0x40, 4, 4, 0, 0, 0, 1], Fault::Flags { flags: 0x40, wanted: 0x80 }, Severity::Withdraw),
    ];
    for (attribute, fault, severity) in cases {
        let update = decode(&[], &with(attribute), &NLRI).unwrap();
        let errors = update.errors.as_ref().unwrap();
        let [DecodeError::Attribute(error)] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!((error.fault, error.severity, &error.octets[..]), (fault, severity, attribute));
        assert_eq!(error.offset, 43);
        if severity == Severity::Discard {
            assert_eq!(attrs(&update).octets(), plain(), "the route lives without it");
        } else {
            assert_eq!(withdrawn_for(&update), &errors[0]);
        }
    }
}

#[test]
fn an_internal_peer_may_say_what_an_external_one_may_not() {
    let ctx = Context { external: false, ..modern() };
    let block = with(&[0x40, 5, 4, 0, 0, 0, 200, 0x80, 9, 4, 1, 1, 1, 1, 0x80, 10, 8, 2, 2, 2, 2, 3, 3, 3, 3]);
    let update = decode_in(&ctx, message(&[], &block, &NLRI)).unwrap();
    let attrs = attrs(&update);
    assert_eq!((attrs.local_pref(), attrs.originator_id().unwrap().to_string()), (Some(200), "1.1.1.1".into()));
    assert_eq!(attrs.cluster_list().map(|c| c.to_string()).collect::<Vec<_>>(), ["2.2.2.2", "3.3.3.3"]);
    assert_eq!(attrs.cluster_list_len(), 2);
    let short = with(&[0x40, 5, 3, 0, 0, 200]);
    assert_eq!(withdrawn_for(&decode_in(&ctx, message(&[], &short, &NLRI)).unwrap()).severity(), Severity::Withdraw);
}

#[test]
fn the_strongest_error_decides() {
    // ATOMIC_AGGREGATE of one octet is discarded, MULTI_EXIT_DISC of three octets withdraws.
    let update = decode(&[], &with(&[0x40, 6, 1, 0, 0x80, 4, 3, 0, 0, 1]), &NLRI).unwrap();
    assert_eq!(update.errors.as_ref().unwrap().len(), 2);
    assert_eq!(withdrawn_for(&update).attribute(), Some(AttrCode::MULTI_EXIT_DISC));
    // A second MP_REACH_NLRI resets, whatever else there is.
    let twice = [&reach(&[0])[..], &reach(&[0]), &with(&[0x80, 4, 3, 0, 0, 1])].concat();
    let error = decode(&[], &twice, &NLRI).unwrap_err();
    assert_eq!(Notification::from(&error), Notification::new(3, 1, Bytes::new()));
}

#[test]
fn of_two_equal_attributes_the_first_counts() {
    let update = decode(&[], &with(&[0x80, 4, 4, 0, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 2]), &NLRI).unwrap();
    assert_eq!(attrs(&update).med(), Some(1));
    assert_eq!(update.strongest_error().unwrap().severity(), Severity::Discard);
}

#[test]
fn a_missing_mandatory_attribute_withdraws() {
    for (code, block) in [
        (AttrCode::ORIGIN, [&AS_PATH[..], &NEXT_HOP].concat()),
        (AttrCode::AS_PATH, [&ORIGIN[..], &NEXT_HOP].concat()),
        (AttrCode::NEXT_HOP, [&ORIGIN[..], &AS_PATH].concat()),
    ] {
        let update = decode(&[], &block, &NLRI).unwrap();
        assert_eq!(withdrawn_for(&update), &DecodeError::MissingAttribute(code));
        assert_eq!(Notification::from(withdrawn_for(&update)), Notification::new(3, 3, Bytes::copy_from_slice(&[code.0])));
    }
}

#[test]
fn an_error_with_nothing_to_withdraw_resets() {
    let error = decode(&[], &[0x80, 4, 3, 0, 0, 1], &[]).unwrap_err();
    assert!(matches!(error, DecodeError::NothingToWithdraw(_)), "{error}");
    assert_eq!(Notification::from(&error), Notification::new(3, 5, Bytes::from_static(&[0x80, 4, 3, 0, 0, 1])));
    // One that is only discarded does not.
    assert!(decode(&[], &[0x40, 6, 1, 0], &[]).unwrap().errors.is_some());
}

/// What it is, withdrawn routes, attributes, and the subcode of the reset if there is one.
type Unreachable<'a> = (&'a str, &'a [u8], &'a [u8], Option<u8>);

/// RFC 7606 section 5.2, in all its corners.
#[test]
fn where_no_reachable_prefix_is_named_only_a_discarded_attribute_keeps_the_session() {
    let unreach = [0x80, 15, 6, 0, 2, 1, 16, 0x20, 1]; // MP_UNREACH_NLRI of 2001::/16
    let after_unreach = |more: &[u8]| [&unreach[..], more].concat();
    let cases: [Unreachable<'_>; 18] = [
        ("the first attribute runs over the end", &[], &[0x40, 1, 32, 0], Some(1)),
        ("a header without a length", &[], &[0x40, 1], Some(1)),
        ("a header without a type", &[], &[0x40], Some(1)),
        ("an extended length cut in half", &[], &[0x50, 1, 0], Some(1)),
        ("a good attribute before it", &[], &[0x40, 1, 1, 0, 0x40, 2, 9, 2], Some(1)),
        ("withdrawn routes beside it", &[8, 10], &[0x40, 1, 32, 0], Some(1)),
        ("MP_UNREACH_NLRI before it", &[], &after_unreach(&[0x40, 1, 32, 0]), Some(1)),
        ("MP_UNREACH_NLRI before an ORIGIN of two octets", &[], &after_unreach(&[0x40, 1, 2, 0, 0]), Some(5)),
        ("MP_UNREACH_NLRI that runs over the end", &[], &[0x80, 15, 9, 0, 2, 1, 16, 0x20, 1], Some(1)),
        ("MP_REACH_NLRI that runs over the end", &[], &[0x80, 14, 9, 0, 2, 1], Some(1)),
        ("MP_REACH_NLRI that cannot be read", &[], &[0x80, 14, 2, 0, 2], Some(9)),
        ("MP_REACH_NLRI without a prefix and a bad MED", &[], &[&reach(&[])[..], &[0x80, 4, 1, 0]].concat(), Some(5)),
        ("an attribute that is discarded", &[], &[0x40, 6, 1, 0], None),
        ("the same beside withdrawn routes", &[8, 10], &[0x40, 6, 1, 0], None),
        ("a second ORIGIN, which is discarded", &[], &[0x40, 1, 1, 0, 0x40, 1, 1, 0], None),
        ("attributes and nothing else", &[], &plain(), None),
        ("MP_UNREACH_NLRI with wrong flags: nothing else could be withdrawn", &[], &[0xc0, 15, 6, 0, 2, 1, 16, 0x20, 1], None),
        ("MP_UNREACH_NLRI of a family that is not read", &[], &[0x80, 15, 4, 0, 1, 128, 0], None),
    ];
    for (what, withdrawn, attributes, reset) in cases {
        let got = decode(withdrawn, attributes, &[]);
        match (got, reset) {
            (Err(error), Some(subcode)) => {
                let told = Notification::from(&error);
                assert_eq!((error.severity(), told.code, told.subcode), (Severity::Reset, 3, subcode), "{what}: {error}");
            }
            (Ok(update), None) => assert_eq!(update.end_of_rib, None, "{what} is no End-of-RIB"),
            (got, _) => panic!("{what}: {got:?}"),
        }
    }
}

#[test]
fn an_mp_attribute_that_is_cut_off_resets_whatever_the_body_names() {
    for code in [14, 15] {
        let error = decode(&[], &with(&[0x80, code, 200, 0, 2, 1]), &NLRI).unwrap_err();
        assert_eq!(error, DecodeError::AttributeOverrun { code: Some(AttrCode(code)), offset: 43 }, "its prefixes would stay for ever");
        assert_eq!(Notification::from(&error), Notification::new(3, 1, Bytes::new()));
    }
    let cut = decode(&[], &with(&[0x80, 4, 200, 0]), &NLRI).unwrap();
    assert_eq!(withdrawn_for(&cut).attribute(), Some(AttrCode::MULTI_EXIT_DISC));
    let [DecodeError::AttributeOverrun { .. }] = &cut.errors.as_ref().unwrap()[..] else { panic!("what is cut off is not missing: {cut}") };
}

#[test]
fn a_malformed_update_is_kept_whole_for_the_log() {
    let octets = message(&[], &with(&[0x80, 4, 3, 0, 0, 1]), &NLRI);
    let update = decode_in(&modern(), octets.clone()).unwrap();
    assert_eq!(update.errors.as_ref().unwrap().message(), &octets);
    let mut decoder = Decoder::new();
    decoder.set_context(modern());
    assert!(decoder.decode(message(&[], &plain(), &NLRI)).is_ok() && decoder.refused().is_empty());
    for refused in [message(&[], &[0x40, 1, 32, 0], &[]), message(&[], &plain(), &[33, 1, 2, 3, 4, 5]), message(&[], &reach(&[129]), &[])] {
        assert!(decoder.decode(refused.clone()).is_err());
        assert_eq!(decoder.refused(), &refused);
    }
}

#[test]
fn unknown_attributes_are_kept_forgotten_or_refused_by_their_flags() {
    let update = decode(&[], &with(&[0xc0, 99, 2, 0xab, 0xcd]), &NLRI).unwrap();
    let unknown: Vec<_> = attrs(&update).unknown().map(|u| (u.code.0, u.flags, u.value.to_vec())).collect();
    assert_eq!(unknown, [(99, 0xe0, vec![0xab, 0xcd])], "with the Partial bit");
    let update = decode(&[], &with(&[0x80, 99, 2, 0xab, 0xcd]), &NLRI).unwrap();
    assert_eq!(attrs(&update).octets(), plain());
    assert_eq!(update.errors, None);
    let error = decode(&[], &with(&[0x40, 99, 2, 0xab, 0xcd]), &NLRI).unwrap_err();
    assert_eq!(Notification::from(&error), Notification::new(3, 2, Bytes::from_static(&[0x40, 99, 2, 0xab, 0xcd])));
}

#[test]
fn a_family_that_was_not_negotiated_is_skipped() {
    let ctx = Context { families: Family::Ipv4Unicast.into(), ..modern() };
    let update = decode_in(&ctx, message(&[], &[&reach(&[200, 1, 2])[..], &plain()].concat(), &NLRI)).unwrap();
    assert_eq!(announced(&update), ["10.1.0.0/26"]);
    assert_eq!(update.announced.len(), 1);
    let v6_only = Context { families: Family::Ipv6Unicast.into(), ..modern() };
    let update = decode_in(&v6_only, message(&[99], &[&reach(&[8, 0x20])[..], &plain()].concat(), &[99])).unwrap();
    assert_eq!(announced(&update), ["2000::/8"]);
}

#[test]
fn which_host_next_hop_names_does_not_matter_beside_mp_reach_alone() {
    let reach: Vec<u8> = [&[0x80, 14, 26, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 32, 0x20, 1, 0xd, 0xb8]].concat();
    for next_hop in [[0x40, 3, 4, 0, 0, 0, 0], [0x40, 3, 4, 224, 0, 0, 1]] {
        let block = [&reach[..], &ORIGIN, &AS_PATH, &next_hop].concat();
        let update = decode(&[], &block, &[]).unwrap();
        assert_eq!(announced(&update), ["2001:db8::/32"]);
        assert_eq!(update.strongest_error().map(DecodeError::severity), Some(Severity::Discard));
        assert_eq!(attrs(&update).next_hop().to_string(), "2001:db8::1");
        assert!(!attrs(&update).has(AttrCode::NEXT_HOP));
        let both = decode(&[], &block, &NLRI).unwrap();
        assert!(announced(&both).is_empty() && both.announced.len() == 2, "prefixes in the body need it: {both}");
        let unreach = [&[0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8][..], &ORIGIN, &AS_PATH, &next_hop].concat();
        assert!(decode(&[], &unreach, &[]).is_ok(), "and to withdraw needs none");
    }
    let short = [&reach[..], &ORIGIN, &AS_PATH, &[0x40, 3, 3, 0, 0, 0]].concat();
    assert_eq!(withdrawn_for(&decode(&[], &short, &[]).unwrap()).severity(), Severity::Withdraw, "RFC 7606 section 7.3");
}

#[test]
fn both_families_in_one_update_have_their_own_next_hops() {
    let update = decode(&[], &[&reach(&[8, 0x20])[..], &plain()].concat(), &NLRI).unwrap();
    let hops: Vec<NextHop> = update.announced.iter().map(|a| a.attrs.as_ref().unwrap().next_hop()).collect();
    assert_eq!(hops.iter().map(|h| h.to_string()).collect::<Vec<_>>(), ["2001:db8::1", "192.0.2.1"]);
    assert!(!update.announced[0].attrs.as_ref().unwrap().has(AttrCode::NEXT_HOP));
}

#[test]
fn end_of_rib_is_an_empty_update_of_its_family() {
    assert_eq!(decode(&[], &[], &[]).unwrap().end_of_rib, Some(Family::Ipv4Unicast));
    assert_eq!(decode(&[], &[0x80, 15, 3, 0, 2, 1], &[]).unwrap().end_of_rib, Some(Family::Ipv6Unicast));
    assert_eq!(decode(&[8, 10], &[], &[]).unwrap().end_of_rib, None);
    assert_eq!(decode(&[], &[0x80, 15, 5, 0, 2, 1, 8, 0x20], &[]).unwrap().end_of_rib, None);
    assert_eq!(decode(&[], &[0x80, 15, 3, 0, 25, 70], &[]).unwrap(), Update::default(), "of a family that was not negotiated");
    for family in Family::ALL {
        let mut out = BytesMut::new();
        encode_end_of_rib(family, &mut out);
        assert_eq!(decode_in(&modern(), out.freeze()).unwrap().end_of_rib, Some(family));
    }
}

#[test]
fn old_speakers_are_read_and_written_with_two_octets() {
    let old = Context { four_octet_as: false, ..modern() };
    let block = [
        &ORIGIN[..],
        &[0x40, 2, 6, 2, 2, 0xfc, 0, 0x5b, 0xa0], // AS_PATH 64512 AS_TRANS
        &NEXT_HOP,
        &[0xc0, 7, 6, 0x5b, 0xa0, 1, 1, 1, 1],  // AGGREGATOR AS_TRANS 1.1.1.1
        &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0],       // AS4_PATH 65536
        &[0xc0, 18, 8, 0, 1, 0, 0, 2, 2, 2, 2], // AS4_AGGREGATOR 65536 2.2.2.2
    ]
    .concat();
    let octets = message(&[], &block, &NLRI);
    let update = decode_in(&old, octets.clone()).unwrap();
    assert_eq!(attrs(&update).as_path().to_string(), "64512 65536");
    assert_eq!((attrs(&update).as_path_len(), attrs(&update).neighbor_as().unwrap().0), (2, 64512));
    assert_eq!(attrs(&update).aggregator().unwrap().to_string(), "65536 2.2.2.2");
    assert!(!attrs(&update).has(AttrCode::AS4_PATH));
    // Written for an old speaker again it differs in the address of the aggregator alone, which AGGREGATOR now has right.
    let again = decode_in(&old, Message::Update(update.clone()).to_bytes(&old)).unwrap();
    assert_eq!(again, update);
}

#[test]
fn an_aggregator_that_is_not_as_trans_makes_as4_path_void() {
    let old = Context { four_octet_as: false, ..modern() };
    let block = [
        &ORIGIN[..],
        &[0x40, 2, 4, 2, 1, 0x5b, 0xa0],
        &NEXT_HOP,
        &[0xc0, 7, 6, 0xfc, 0, 1, 1, 1, 1],
        &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0],
        &[0xc0, 18, 8, 0, 1, 0, 0, 2, 2, 2, 2],
    ]
    .concat();
    let update = decode_in(&old, message(&[], &block, &NLRI)).unwrap();
    assert_eq!(attrs(&update).as_path().to_string(), "23456");
    assert_eq!(attrs(&update).aggregator().unwrap().to_string(), "64512 1.1.1.1");
}

#[test]
fn messages_are_filled_to_the_brim_and_no_further() {
    let set = PathAttributes::builder(Origin::Igp, NextHop::V4([192, 0, 2, 1].into())).finish();
    let v6 = set.edit().set_next_hop(NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None }).finish();
    let many_v4: Vec<Nlri> = (0..3000u32).map(|i| Nlri::new(format!("10.{}.{}.0/24", i / 256, i % 256).parse().unwrap())).collect();
    let many_v6: Vec<Nlri> = (0..3000u32).map(|i| Nlri::new(format!("2001:db8:{i:x}::/48").parse().unwrap())).collect();
    for max_len in [4096, 65535] {
        let ctx = Context { max_len, ..modern() };
        for (set, nlri, size) in [(&set, &many_v4, 4), (&v6, &many_v6, 7)] {
            let mut out = BytesMut::new();
            let count = encode_reach(set, nlri, &ctx, &mut out);
            let mut out = out.freeze();
            let mut got = Vec::new();
            for n in 0..count {
                let len = crate::wire::frame_len(&out, max_len).unwrap().unwrap();
                assert!(n + 1 == count || len + size > usize::from(max_len), "message {n} of {count} has {len} octets");
                let update = decode_in(&ctx, out.split_to(len)).unwrap();
                assert_eq!(attrs(&update), set);
                got.extend(update.announced[0].nlri.iter());
            }
            assert!(out.is_empty());
            assert_eq!(&got, nlri);
            let mut out = BytesMut::new();
            encode_unreach(nlri, &ctx, &mut out);
            assert!(out.len() > nlri.len() * size);
        }
    }
}

#[test]
fn attributes_too_long_for_one_prefix_make_no_message() {
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4([192, 0, 2, 1].into()));
    editor.set_unknown(AttrCode(99), &[7; 4080]);
    let mut out = BytesMut::new();
    assert_eq!(encode_reach(&editor.finish(), &[Nlri::new("10.0.0.0/8".parse().unwrap())], &modern(), &mut out), 0);
    assert!(out.is_empty());
    let long = Context { max_len: 65535, ..modern() };
    assert_eq!(encode_reach(&editor.finish(), &[Nlri::new("10.0.0.0/8".parse().unwrap())], &long, &mut out), 1);
}

/// Attributes of so many octets, and one prefix: how long the one message is, or `None` if there is none.
fn alone(next_hop: NextHop, filler: usize, nlri: Nlri, ctx: &Context) -> Option<usize> {
    let mut editor = PathAttributes::builder(Origin::Igp, next_hop);
    editor.set_unknown(AttrCode(98), &vec![7; filler / 2]).set_unknown(AttrCode(99), &vec![7; filler - filler / 2]);
    let set = editor.finish();
    let mut out = BytesMut::new();
    let count = encode_reach(&set, &[nlri], ctx, &mut out);
    let out = out.freeze();
    assert_eq!(count, usize::from(!out.is_empty()));
    let update = (count == 1).then(|| decode_in(ctx, out.clone()).unwrap())?;
    assert_eq!((attrs(&update), update.announced[0].nlri.iter().collect::<Vec<_>>()), (&set, vec![nlri]));
    Some(out.len())
}

#[test]
fn a_message_may_be_exactly_as_long_as_was_agreed() {
    let v6: NextHop = "2001:db8::1".parse::<std::net::IpAddr>().unwrap().into();
    let both = NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: Some("fe80::1".parse().unwrap()) };
    let cases = [
        (NextHop::V4([192, 0, 2, 1].into()), "10.1.2.0/24"),
        (NextHop::V4([192, 0, 2, 1].into()), "0.0.0.0/0"),
        (v6, "10.1.2.0/24"),
        (v6, "2001:db8::/32"),
        (both, "2001:db8::1/128"),
    ];
    for max_len in [4096u16, 65535] {
        for ((next_hop, nlri), add_path) in cases.into_iter().flat_map(|case| [(case, false), (case, true)]) {
            let add_path = if add_path { FamilySet::ALL } else { FamilySet::NONE };
            let ctx = Context { max_len, add_path, extended_next_hop: FamilySet::ALL, ..modern() };
            let nlri = Nlri::new(nlri.parse().unwrap());
            let lengths: Vec<usize> =
                (usize::from(max_len) - 150..usize::from(max_len)).map_while(|filler| alone(next_hop, filler, nlri, &ctx)).collect();
            assert_eq!(lengths.last(), Some(&usize::from(max_len)), "{nlri} by {next_hop}, {add_path:?}");
            assert!(lengths.windows(2).all(|w| w[1] == w[0] + 1), "and every length before");
        }
    }
}

#[test]
fn withdrawals_fill_a_message_to_the_last_octet() {
    let v4: Vec<Nlri> = (0..1500u32).map(|i| Nlri::new(format!("10.{}.{}.0/24", i / 256, i % 256).parse().unwrap())).collect();
    let v6: Vec<Nlri> = (0..600u32).map(|i| Nlri::new(format!("2001:db8:{i:x}::/48").parse().unwrap())).collect();
    // 23 octets, and 7 more around the prefixes of MP_UNREACH_NLRI; the sum is what 4,096 leaves: 1018 x 4 + 1, 580 x 7 + 5 + 1.
    for (mut nlri, least) in [(v4, "0.0.0.0/0"), (v6, "2000::/3")] {
        nlri.insert(0, Nlri::new(least.parse().unwrap()));
        let sizes: Vec<usize> = nlri.iter().map(|n| crate::wire::nlri::encoded_len(n, false)).collect();
        let mut out = BytesMut::new();
        encode_unreach(&nlri, &modern(), &mut out);
        let first = crate::wire::frame_len(&out, 4096).unwrap().unwrap();
        let count = decode_in(&modern(), out.split_to(first).freeze()).unwrap().withdrawn[0].iter().count();
        assert!(first + sizes[count] > 4096, "the next prefix of {} octets has no room beside {first}", sizes[count]);
    }
}

#[test]
fn a_prefix_too_long_for_a_message_costs_no_other_prefix() {
    // Room for three octets beside the attributes.
    let filler = (3900..4096)
        .find(|n| alone(NextHop::V4([192, 0, 2, 1].into()), *n, Nlri::new("10.0.0.0/16".parse().unwrap()), &modern()) == Some(4096));
    let filler = filler.unwrap();
    let mut editor = PathAttributes::builder(Origin::Igp, NextHop::V4([192, 0, 2, 1].into()));
    let set = editor.set_unknown(AttrCode(98), &vec![7; filler / 2]).set_unknown(AttrCode(99), &vec![7; filler - filler / 2]).finish();
    let nlri: Vec<Nlri> =
        ["10.1.2.0/24", "10.1.0.0/16", "10.1.2.3/32", "11.0.0.0/8"].iter().map(|n| Nlri::new(n.parse().unwrap())).collect();
    let mut out = BytesMut::new();
    assert_eq!(encode_reach(&set, &nlri, &modern(), &mut out), 2);
    let mut got = Vec::new();
    while let Some(len) = crate::wire::frame_len(&out, 4096).unwrap() {
        got.extend(announced(&decode_in(&modern(), out.split_to(len).freeze()).unwrap()));
    }
    assert_eq!(got, ["10.1.0.0/16", "11.0.0.0/8"]);
}

#[test]
fn an_update_that_says_nothing_is_not_written_as_end_of_rib() {
    for attributes in [&[0x80, 15, 4, 0, 1, 128, 0][..], &plain()] {
        let update = decode(&[], attributes, &[]).unwrap();
        assert!(update.is_empty());
        assert_eq!(Message::Update(update).to_bytes(&modern()), Bytes::new());
    }
    let end = decode(&[], &[], &[]).unwrap();
    assert!(!end.is_empty());
    assert_eq!(Message::Update(end).to_bytes(&modern()), message(&[], &[], &[]));
}

#[test]
fn mp_reach_is_the_first_attribute_that_we_send() {
    let set = PathAttributes::builder(Origin::Igp, NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: None }).finish();
    let mut out = BytesMut::new();
    encode_reach(&set, &[Nlri::new("2001:db8::/32".parse().unwrap())], &modern(), &mut out);
    assert_eq!(out[23..25], [0x80, 14]);
    // An IPv4 prefix with that next hop travels in it as well (RFC 8950).
    let mut out = BytesMut::new();
    encode_reach(&set, &[Nlri::new("10.0.0.0/8".parse().unwrap())], &modern(), &mut out);
    assert_eq!(out[23..29], [0x80, 14, 23, 0, 1, 1]);
}
