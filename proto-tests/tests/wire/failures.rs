//! Classes of bugs that hit BGP daemons, as far as octets are concerned: each tried in all its corners.

use bytes::{Bytes, BytesMut};
use catbird::num::{Asn, Family, FamilySet, Nlri};
use catbird::wire::attr::ATTRIBUTES;
use catbird::wire::{AttrCode, Context, DecodeError, Decoder, MAX_EXTENDED_LEN, Message, Severity, Update, encode_reach};
use proto_tests::dsl::{Upd, upd};

fn context(external: bool) -> Context {
    Context { four_octet_as: true, families: FamilySet::ALL, max_len: MAX_EXTENDED_LEN, external, ..Context::INITIAL }
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

/// A value of every attribute that is well formed; of those that hold prefixes too.
fn good(code: AttrCode) -> Vec<u8> {
    match code {
        AttrCode::ORIGIN => vec![0],
        AttrCode::AS_PATH => vec![2, 1, 0, 0, 0xfc, 0],
        AttrCode::NEXT_HOP => vec![192, 0, 2, 1],
        AttrCode::ATOMIC_AGGREGATE => vec![],
        AttrCode::AGGREGATOR | AttrCode::AS4_AGGREGATOR => vec![0, 0, 0xfc, 0, 192, 0, 2, 1],
        AttrCode::MP_REACH_NLRI => [&[0, 2, 1, 16, 0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1, 0, 16, 0x20, 1]].concat(),
        AttrCode::MP_UNREACH_NLRI => vec![0, 2, 1, 16, 0x20, 1],
        AttrCode::EXTENDED_COMMUNITIES => vec![0, 2, 0xfc, 0, 0, 0, 0, 1],
        AttrCode::AS4_PATH => vec![2, 1, 0, 0, 0xfc, 0],
        AttrCode::AIGP => vec![1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 7],
        AttrCode::LARGE_COMMUNITIES => vec![0, 0, 0xfc, 0, 0, 0, 0, 1, 0, 0, 0, 2],
        _ => vec![0, 0, 0xfc, 0],
    }
}

/// One enum for what becomes of an UPDATE: accepted, withdrawn or refused, and never something between.
fn nothing_partial(got: &Result<Update, DecodeError>, what: &str) {
    match got {
        Ok(update) => {
            let withdrawn = update.strongest_error().is_some_and(|e| e.severity() == Severity::Withdraw);
            assert!(update.errors.iter().flat_map(|e| e.iter()).all(|e| e.severity() < Severity::Reset), "{what}");
            assert!(update.announced.iter().all(|a| a.attrs.is_none() == withdrawn && !a.nlri.is_empty()), "{what}: {update}");
            assert!(!update.announced.is_empty() && update.end_of_rib.is_none(), "{what}: the prefix is known");
        }
        Err(error) => assert_eq!(error.severity(), Severity::Reset, "{what}"),
    }
}

#[test]
fn class_2_every_attribute_of_every_length_is_read_left_out_withdrawn_or_refused() {
    let (mut tried, mut refused) = (0, 0);
    for (row, external) in ATTRIBUTES.iter().flat_map(|row| [(row, true), (row, false)]) {
        let value = good(row.code);
        let n = value.len();
        for len in [0, 1, n.saturating_sub(1), n, n + 1, 255, 300] {
            let what = format!("{} of {len} octets, external: {external}", row.name);
            let value: Vec<u8> = value.iter().copied().chain(std::iter::repeat(0)).take(len).collect();
            let got = decode(base().attr(row.code.0, row.flags, &value).octets(), external);
            nothing_partial(&got, &what);
            assert!(len != n || got.is_ok(), "{what}");
            if got.is_err() {
                assert!(
                    matches!(row.code, AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI),
                    "{what}: only prefixes that are lost reset"
                );
                refused += 1;
            }
            tried += 1;
        }
    }
    assert_eq!(tried, ATTRIBUTES.len() * 14);
    assert!(refused >= 8, "{refused}");
}

#[test]
fn class_3_mandatory_attributes_are_missed_in_every_combination_and_nothing_is_taken_for_end_of_rib() {
    const PARTS: [AttrCode; 6] =
        [AttrCode::ORIGIN, AttrCode::AS_PATH, AttrCode::NEXT_HOP, AttrCode::MP_REACH_NLRI, AttrCode::MP_UNREACH_NLRI, AttrCode(99)];
    let mut ends = 0;
    for (set, body) in (0..64u8).flat_map(|set| [(set, false), (set, true)]) {
        let has = |code: AttrCode| PARTS.iter().position(|c| *c == code).is_some_and(|at| set & (1 << at) != 0);
        let mut update = if body { upd().reach("10.1.0.0/26").without(1).without(2).without(3) } else { upd() };
        for code in PARTS.into_iter().filter(|code| has(*code)) {
            let flags = ATTRIBUTES.iter().find(|row| row.code == code).map_or(0xc0, |row| row.flags);
            update = update.attr(code.0, flags, &good(code));
        }
        let got = decode(update.octets(), true).unwrap_or_else(|error| panic!("{update:?}: {error}"));
        let missing = !has(AttrCode::ORIGIN) || !has(AttrCode::AS_PATH) || (body && !has(AttrCode::NEXT_HOP));
        let reach = usize::from(body) + usize::from(has(AttrCode::MP_REACH_NLRI));
        assert_eq!(got.announced.len(), reach, "{update:?}");
        assert!(got.announced.iter().all(|a| a.attrs.is_none() == missing), "{update:?}: {got}");
        assert_eq!(got.withdrawn.len(), usize::from(has(AttrCode::MP_UNREACH_NLRI)), "{update:?}");
        assert_eq!(got.end_of_rib.is_some(), set == 0 && !body, "{update:?}");
        ends += usize::from(got.end_of_rib.is_some());
    }
    assert_eq!(ends, 1);
    let end = upd().attr(15, 0x80, &[0, 2, 1]);
    assert_eq!(decode(end.octets(), true).unwrap().end_of_rib, Some(Family::Ipv6Unicast));
    for (code, flags) in [(1, 0x40), (2, 0x40), (3, 0x40), (99, 0xc0)] {
        let got = decode(end.clone().attr(code, flags, &good(AttrCode(code))).octets(), true).unwrap();
        assert_eq!(got.end_of_rib, None, "beside attribute {code}");
    }
}

#[test]
fn class_6_a_path_that_fills_the_longest_message_is_read_and_written_and_never_told_in_part() {
    // 23 octets, ORIGIN 4, AS_PATH 4 + path, NEXT_HOP 7, a /24 4: 65,493 are left. 64 segments of 255 numbers, one of 20, and an attribute of 3 octets.
    let full: Vec<u32> = (0..255).map(|n| 64_512 + n).collect();
    let update = (0..64).fold(upd().reach("10.1.0.0/24"), |update, _| update.as_path(&full)).as_path(&full[..20]).attr(99, 0xe0, &[]);
    let octets = update.octets();
    assert_eq!(octets.len(), 65_535);
    let read = decode(octets.clone(), true).unwrap();
    let attrs = read.announced[0].attrs.as_ref().expect("accepted").clone();
    assert_eq!(attrs.as_path_len(), 64 * 255 + 20);
    let nlri: Vec<Nlri> = read.announced[0].nlri.iter().collect();
    let mut out = BytesMut::new();
    assert_eq!(encode_reach(&attrs, &nlri, &context(true), &mut out), 1);
    assert_eq!(out.len(), 65_535);
    for times in [1, 255] {
        let longer = attrs.edit().prepend(Asn(1), times).finish();
        assert!(longer.as_path_len() > attrs.as_path_len() || times == 255, "the tail is still there");
        assert_eq!(encode_reach(&longer, &nlri, &context(true), &mut BytesMut::new()), 0, "no room for {times} more: not advertised");
    }
}

#[test]
fn class_6_a_full_segment_is_followed_by_another() {
    let full: Vec<u32> = (0..255).map(|n| 64_512 + n).collect();
    let one = decode(upd().reach("10.1.0.0/24").as_path(&full).octets(), true).unwrap();
    let one = one.announced[0].attrs.as_ref().expect("accepted");
    let prepended = one.to_external(one.next_hop(), None, Asn(1));
    assert_eq!(prepended.as_path().segments().map(|s| s.asns().count()).collect::<Vec<_>>(), [1, 255]);
}

#[test]
fn class_6_a_path_of_two_octet_numbers_that_four_octets_make_too_long_is_withdrawn() {
    let old = Context { four_octet_as: false, ..context(true) };
    let read = |update: Upd| {
        let mut decoder = Decoder::new();
        decoder.set_context(old.clone());
        match decoder.decode(update.octets().into()) {
            Ok(Message::Update(update)) => update,
            other => panic!("{other:?}"),
        }
    };
    // Segments of 255 numbers have 512 octets here and 1,022 in the tables.
    let path = |segments: usize| (0..segments).fold(upd().reach("10.1.0.0/24").two_octets(), |update, _| update.as_path(&[7; 255]));
    let long = read(path(63));
    assert_eq!(long.announced[0].attrs.as_ref().expect("accepted").as_path_len(), 63 * 255);
    for segments in [64, 127] {
        let got = read(path(segments));
        assert!(got.announced[0].attrs.is_none(), "{segments} segments");
        assert_eq!(got.strongest_error().and_then(DecodeError::attribute), Some(AttrCode::AS_PATH));
    }
    // AS4_PATH of sets, each counted as one number: the two together are too long, so it is left out.
    let sets: Vec<u8> = (0..32).flat_map(|_| [1u8, 255].into_iter().chain([0, 1, 0, 0].repeat(255))).collect();
    let got = read(path(62).attr(17, 0xc0, &sets));
    let attrs = got.announced[0].attrs.as_ref().expect("accepted");
    assert_eq!((attrs.as_path_len(), attrs.as_path().asns().any(|asn| asn == Asn(65_536))), (62 * 255, false));
    let kept: usize = attrs.attributes().map(|a| a.octets.len()).sum();
    assert_eq!(kept, attrs.octets().len(), "what is kept can be walked to its end");
    let got = read(path(2).attr(17, 0xc0, &sets));
    assert!(got.announced[0].attrs.as_ref().expect("accepted").as_path().asns().any(|asn| asn == Asn(65_536)), "where it fits it counts");
}
