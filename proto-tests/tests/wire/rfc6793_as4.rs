//! RFC 6793: AS numbers of four octets in a world where some speakers have two. RFC 7607: the number that nobody has.

use bytes::BytesMut;
use catbird::num::{Asn, FamilySet, Nlri};
use catbird::wire::{AttrCode, Context, Decoder, Message, NextHop, Origin, PathAttributes, SegmentKind, Update, encode_reach};
use proto_tests::dsl::{Upd, upd};

const OLD: Context = Context { families: FamilySet::ALL, ..Context::INITIAL };
const NEW: Context = Context { four_octet_as: true, ..OLD };

fn decode(ctx: &Context, update: Upd) -> Update {
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    match decoder.decode(update.into()) {
        Ok(Message::Update(update)) => update,
        other => panic!("{other:?}"),
    }
}

fn path(update: &Update) -> String {
    update.announced[0].attrs.as_ref().expect("a route").as_path().to_string()
}

fn segment(kind: u8, asns: &[u32]) -> Vec<u8> {
    [&[kind, asns.len() as u8][..], &asns.iter().flat_map(|a| a.to_be_bytes()).collect::<Vec<_>>()].concat()
}

fn old() -> Upd {
    upd().reach("10.0.0.0/8").two_octets()
}

#[test]
fn two_octet_numbers_are_widened() {
    let update = decode(&OLD, old().as_path(&[64512, 7]).segment(1, &[8, 9]));
    assert_eq!(path(&update), "64512 7 {8 9}");
    let attrs = update.announced[0].attrs.as_ref().unwrap();
    assert_eq!((attrs.as_path_len(), attrs.neighbor_as()), (3, Some(Asn(64512))));
}

#[test]
fn as4_path_takes_the_place_of_the_tail() {
    let update = decode(&OLD, old().as_path(&[64512, 23456, 23456]).attr(17, 0xc0, &segment(2, &[65536, 65537])));
    assert_eq!(path(&update), "64512 65536 65537");
    assert_eq!(update.errors, None);
}

#[test]
fn a_longer_as4_path_is_ignored() {
    let update = decode(&OLD, old().as_path(&[64512]).attr(17, 0xc0, &segment(2, &[65536, 65537])));
    assert_eq!(path(&update), "64512");
}

#[test]
fn a_malformed_as4_path_is_left_out_and_the_route_lives() {
    for value in [&[][..], &[2], &[2, 1, 0, 0], &segment(7, &[1]), &[2, 0], &segment(2, &[0])] {
        let update = decode(&OLD, old().as_path(&[64512]).attr(17, 0xc0, value));
        assert_eq!(path(&update), "64512", "{value:?}");
        assert_eq!(update.strongest_error().unwrap().attribute(), Some(AttrCode::AS4_PATH));
    }
}

#[test]
fn confederation_segments_in_as4_path_are_left_out() {
    let value = [segment(3, &[65001]), segment(2, &[65536])].concat();
    let update = decode(&OLD, old().as_path(&[64512, 23456]).attr(17, 0xc0, &value));
    assert_eq!(path(&update), "64512 65536");
}

#[test]
fn as4_aggregator_replaces_as_trans_alone() {
    let with = |asn: u16| {
        let aggregator = [&asn.to_be_bytes()[..], &[1, 1, 1, 1]].concat();
        let as4 = [&65536u32.to_be_bytes()[..], &[2, 2, 2, 2]].concat();
        let update = old().as_path(&[64512, 23456]).attr(7, 0xc0, &aggregator).attr(18, 0xc0, &as4).attr(17, 0xc0, &segment(2, &[65536]));
        let update = decode(&OLD, update);
        (update.announced[0].attrs.as_ref().unwrap().aggregator().unwrap().to_string(), path(&update))
    };
    assert_eq!(with(23456), ("65536 2.2.2.2".into(), "64512 65536".into()));
    assert_eq!(with(64600), ("64600 1.1.1.1".into(), "64512 23456".into()), "and then AS4_PATH is void too");
}

#[test]
fn a_new_speaker_must_not_send_as4_attributes_and_they_are_left_out() {
    let update = upd().reach("10.0.0.0/8").as_path(&[65536]).attr(17, 0xc0, &segment(2, &[9])).attr(18, 0xc0, &[0; 8]);
    let update = decode(&NEW, update);
    assert_eq!(path(&update), "65536");
    assert_eq!(update.errors.as_ref().unwrap().len(), 2);
    assert!(update.announced[0].attrs.as_ref().unwrap().unknown().next().is_none());
}

fn encoded(ctx: &Context, set: &PathAttributes) -> BytesMut {
    let mut out = BytesMut::new();
    assert_eq!(encode_reach(set, &[Nlri::new("10.0.0.0/8".parse().unwrap())], ctx, &mut out), 1);
    out
}

fn set(path: &[(SegmentKind, &[Asn])]) -> PathAttributes {
    PathAttributes::builder(Origin::Igp, NextHop::V4([192, 0, 2, 1].into())).replace_as_path(path.iter().copied()).finish()
}

#[test]
fn an_old_speaker_is_told_as_trans_and_the_truth_beside_it() {
    let octets = encoded(&OLD, &set(&[(SegmentKind::Sequence, &[Asn(64512), Asn(65536)])]));
    let wanted = old().as_path(&[64512, 23456]).attr(17, 0xc0, &segment(2, &[64512, 65536])).octets();
    assert_eq!(octets, wanted[..]);
}

#[test]
fn an_old_speaker_is_told_nothing_more_when_no_number_is_lost() {
    let octets = encoded(&OLD, &set(&[(SegmentKind::Sequence, &[Asn(64512), Asn(65535)])]));
    assert_eq!(octets, old().as_path(&[64512, 65535]).octets()[..]);
}

#[test]
fn confederation_segments_do_not_go_into_as4_path() {
    let octets = encoded(&OLD, &set(&[(SegmentKind::ConfedSequence, &[Asn(70000)]), (SegmentKind::Sequence, &[Asn(65536)])]));
    let wanted = old().segment(3, &[23456]).as_path(&[23456]).attr(17, 0xc0, &segment(2, &[65536])).octets();
    assert_eq!(octets, wanted[..]);
}

#[test]
fn an_aggregator_is_told_in_both_widths() {
    let aggregator = catbird::wire::Aggregator { asn: Asn(65536), addr: [1, 1, 1, 1].into() };
    let set = set(&[]).edit().set_aggregator(Some(aggregator)).finish();
    let wanted = old().attr(7, 0xc0, &[0x5b, 0xa0, 1, 1, 1, 1]).attr(18, 0xc0, &[0, 1, 0, 0, 1, 1, 1, 1]).octets();
    assert_eq!(encoded(&OLD, &set), wanted[..]);
    assert_eq!(encoded(&NEW, &set), upd().reach("10.0.0.0/8").attr(7, 0xc0, &[0, 1, 0, 0, 1, 1, 1, 1]).octets()[..]);
}

#[test]
fn as_zero_makes_as_path_malformed_and_aggregator_worthless() {
    let update = decode(&NEW, upd().reach("10.0.0.0/8").as_path(&[64512, 0]));
    assert!(update.announced[0].attrs.is_none());
    let update = decode(&NEW, upd().reach("10.0.0.0/8").attr(7, 0xc0, &[0, 0, 0, 0, 1, 1, 1, 1]));
    assert_eq!(update.announced[0].attrs.as_ref().unwrap().aggregator(), None);
}
