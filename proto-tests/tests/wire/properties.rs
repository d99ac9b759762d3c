//! Laws of the codec, under every context: what is written is read again, what is canonical is written as it was read, and no octets do harm.

use bytes::{Bytes, BytesMut};
use catbird::num::{Asn, ClusterId, Family, FamilySet, HoldTime, Nlri, PathId, RouterId};
use catbird::wire::*;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn family_set() -> impl Strategy<Value = FamilySet> {
    prop_oneof![Just(FamilySet::NONE), Just(FamilySet::IPV4), Just(FamilySet::IPV6), Just(FamilySet::ALL)]
}

/// Every context that two OPENs can lead to, both families negotiated.
fn context() -> impl Strategy<Value = Context> {
    (any::<bool>(), family_set(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(four_octet_as, add_path, long, external, extended)| Context {
            four_octet_as,
            families: FamilySet::ALL,
            add_path,
            extended_next_hop: if extended { FamilySet::ALL } else { FamilySet::NONE },
            refresh_subtypes: true,
            max_len: if long { MAX_EXTENDED_LEN } else { MAX_LEN },
            external,
            confederation: false,
        },
    )
}

fn prefix(family: Family) -> BoxedStrategy<IpNet> {
    match family {
        Family::Ipv4Unicast => (any::<u32>(), 0..=32u8).prop_map(|(a, l)| IpNet::V4(Ipv4Net::new(a.into(), l).unwrap().trunc())).boxed(),
        Family::Ipv6Unicast => (any::<u128>(), 0..=128u8).prop_map(|(a, l)| IpNet::V6(Ipv6Net::new(a.into(), l).unwrap().trunc())).boxed(),
    }
}

fn nlri(family: Family, add_path: bool, most: usize) -> impl Strategy<Value = Vec<Nlri>> {
    let id = if add_path { any::<u32>().boxed() } else { Just(0).boxed() };
    vec((prefix(family), id).prop_map(|(net, id)| Nlri { net, path_id: PathId(id) }), 1..most)
}

fn next_hop(v6: bool) -> BoxedStrategy<NextHop> {
    let address = |net: u128| (1..u64::MAX).prop_map(move |host| (net | u128::from(host)).into());
    if v6 {
        let global = address(0x2001_0db8 << 96);
        let link_local = option::of(address(0xfe80 << 112));
        (global, link_local).prop_map(|(global, link_local)| NextHop::V6 { global, link_local }).boxed()
    } else {
        (0x0100_0000..0xdfff_ffffu32).prop_map(|a| NextHop::V4(a.into())).boxed()
    }
}

fn path() -> impl Strategy<Value = Vec<(SegmentKind, Vec<Asn>)>> {
    let kind = prop_oneof![4 => Just(SegmentKind::Sequence), 1 => Just(SegmentKind::Set)];
    let asn = prop_oneof![1..65535u32, 1..u32::MAX].prop_map(Asn);
    // Two sequences in a row are one path and are joined when AS4_PATH is merged; so that they compare equal, there is a set between them.
    vec((kind, vec(asn, 1..20)), 0..4).prop_map(|mut path| {
        path.dedup_by_key(|(kind, _)| *kind);
        path
    })
}

/// Any set of attributes that may be sent to anybody in this context.
fn attributes(next_hop: BoxedStrategy<NextHop>, external: bool) -> impl Strategy<Value = PathAttributes> {
    let origin = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let marks = (vec(any::<u32>(), 0..70), vec(any::<[u8; 8]>(), 0..4), vec(any::<[u32; 3]>(), 0..4));
    let reflection = (option::of(1..u32::MAX), vec(any::<u32>(), 0..4));
    let rest = (option::of(any::<u32>()), option::of(any::<u32>()), any::<bool>(), option::of((1..u32::MAX, any::<u32>())));
    let unknown = vec((100..120u8, vec(any::<u8>(), 0..300)), 0..3);
    (origin, next_hop, path(), marks, reflection, rest, unknown).prop_map(move |(origin, hop, path, marks, reflection, rest, unknown)| {
        let mut e = PathAttributes::builder(origin, hop);
        e.replace_as_path(path.iter().map(|(kind, asns)| (*kind, &asns[..])));
        marks.0.into_iter().for_each(|c| drop(e.add_community(Community(c)).finish()));
        marks.1.into_iter().for_each(|c| drop(e.add_extended_community(ExtendedCommunity(c)).finish()));
        marks.2.into_iter().for_each(|[a, b, c]| drop(e.add_large_community(LargeCommunity::new(a, b, c)).finish()));
        e.set_med(rest.0).set_atomic_aggregate(rest.2);
        e.set_aggregator(rest.3.map(|(asn, addr)| Aggregator { asn: Asn(asn), addr: addr.into() }));
        if !external {
            e.set_local_pref(rest.1).set_originator_id(reflection.0.and_then(|id| RouterId::new(id.into())));
            reflection.1.into_iter().for_each(|c| drop(e.prepend_cluster(ClusterId(c.into())).finish()));
        }
        unknown.into_iter().for_each(|(code, value)| drop(e.set_unknown(AttrCode(code), &value).finish()));
        e.finish()
    })
}

/// A context, a set that fits it, and prefixes.
fn reach() -> impl Strategy<Value = (Context, PathAttributes, Vec<Nlri>)> {
    (context(), prop_oneof![Just(Family::Ipv4Unicast), Just(Family::Ipv6Unicast)], any::<bool>()).prop_flat_map(|(ctx, family, v6_hop)| {
        let v6_hop = family == Family::Ipv6Unicast || (v6_hop && ctx.extended_next_hop.contains(family));
        let nlri = nlri(family, ctx.add_path.contains(family), 600);
        (Just(ctx.clone()), attributes(next_hop(v6_hop), ctx.external), nlri)
    })
}

fn decode_all(ctx: &Context, mut octets: Bytes) -> Vec<Update> {
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    let mut updates = Vec::new();
    while !octets.is_empty() {
        let len = frame_len(&octets, ctx.max_len).expect("a good header").expect("a whole message");
        match decoder.decode(octets.split_to(len)) {
            Ok(Message::Update(update)) => updates.push(update),
            other => panic!("{other:?}"),
        }
    }
    updates
}

fn any_capability() -> impl Strategy<Value = Capability> {
    let afi_safi = (any::<u16>(), any::<u8>());
    let text = "[a-zé]{0,60}";
    prop_oneof![
        afi_safi.prop_map(|(afi, safi)| Capability::Multiprotocol { afi, safi }),
        Just(Capability::RouteRefresh),
        Just(Capability::ExtendedMessage),
        Just(Capability::EnhancedRouteRefresh),
        any::<u8>().prop_map(Capability::Role),
        vec(any::<(u16, u16, u16)>(), 0..20).prop_map(Capability::ExtendedNextHop),
        (any::<bool>(), any::<bool>(), 0..4096u16, vec(any::<(u16, u8, bool)>(), 0..20)).prop_map(
            |(restarting, notification, time, families)| {
                Capability::GracefulRestart(GracefulRestart { restarting, notification, time, families })
            }
        ),
        vec((any::<u16>(), any::<u8>(), prop_oneof![Just(AddPathMode::Send), Just(AddPathMode::Both)]), 0..20)
            .prop_map(Capability::AddPath),
        (text, text).prop_map(|(host, domain)| Capability::Hostname { host, domain }),
        text.prop_map(Capability::SoftwareVersion),
        (100..=255u8, vec(any::<u8>(), 0..255)).prop_map(|(code, value)| Capability::Other { code, value: value.into() }),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let open = (1..u32::MAX, 3..=65535u16, 1..u32::MAX, vec(any_capability(), 0..14)).prop_map(|(asn, hold, id, mut capabilities)| {
        capabilities.push(Capability::FourOctetAs(Asn(asn)));
        Message::Open(Box::new(Open::new(Asn(asn), HoldTime::new(hold).unwrap(), RouterId::new(id.into()).unwrap(), capabilities)))
    });
    let subtype = prop_oneof![
        Just(RefreshSubtype::Normal),
        Just(RefreshSubtype::BoRR),
        Just(RefreshSubtype::EoRR),
        (3..=255u8).prop_map(RefreshSubtype::Other)
    ];
    prop_oneof![
        open,
        (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(|(c, s, data)| Message::Notification(Notification::new(
            c,
            s,
            data.into()
        ))),
        Just(Message::KeepAlive),
        (any::<u16>(), any::<u8>(), subtype).prop_map(|(afi, safi, subtype)| Message::RouteRefresh(RouteRefresh { afi, safi, subtype })),
    ]
}

/// The canonical message of a table: the octets that we would send.
fn encoded(ctx: &Context, attrs: &PathAttributes, nlri: &[Nlri]) -> Bytes {
    let mut out = BytesMut::new();
    encode_reach(attrs, nlri, ctx, &mut out);
    out.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn announcements_are_read_as_they_were_written((ctx, attrs, nlri) in reach()) {
        let updates = decode_all(&ctx, encoded(&ctx, &attrs, &nlri));
        prop_assert!(!updates.is_empty());
        let mut got = Vec::new();
        for update in &updates {
            prop_assert_eq!(&update.errors, &None);
            prop_assert_eq!(update.announced[0].attrs.as_ref(), Some(&attrs));
            got.extend(update.announced[0].nlri.iter());
        }
        prop_assert_eq!(got, nlri);
    }

    #[test]
    fn withdrawals_are_read_as_they_were_written((ctx, _, nlri) in reach()) {
        let mut out = BytesMut::new();
        encode_unreach(&nlri, &ctx, &mut out);
        let got: Vec<Nlri> = decode_all(&ctx, out.freeze()).iter().flat_map(|u| u.withdrawn[0].iter().collect::<Vec<_>>()).collect();
        prop_assert_eq!(got, nlri);
    }

    #[test]
    fn canonical_octets_are_written_as_they_were_read((ctx, attrs, nlri) in reach()) {
        let octets = encoded(&ctx, &attrs, &nlri);
        let mut again = BytesMut::new();
        decode_all(&ctx, octets.clone()).iter().for_each(|u| { u.encode(&ctx, &mut again); });
        prop_assert_eq!(octets, again.freeze());
    }

    #[test]
    fn other_messages_are_read_as_they_were_written(message in any_message()) {
        let octets = message.to_bytes(&Context::INITIAL);
        prop_assert_eq!(frame_len(&octets, MAX_LEN), Ok(Some(octets.len())));
        let mut decoder = Decoder::new();
        decoder.set_context(Context { refresh_subtypes: true, ..Context::INITIAL });
        let again = decoder.decode(octets.clone());
        prop_assert_eq!(again.as_ref(), Ok(&message));
        prop_assert_eq!(again.unwrap().to_bytes(&Context::INITIAL), octets);
    }

    #[test]
    fn the_facts_that_are_kept_are_those_that_are_counted((ctx, attrs, nlri) in reach()) {
        for update in decode_all(&ctx, encoded(&ctx, &attrs, &nlri[..1])) {
            let read = update.announced[0].attrs.as_ref().unwrap();
            for set in [read, &attrs] {
                prop_assert_eq!(set.as_path_len(), set.as_path().len());
                prop_assert_eq!(set.neighbor_as(), set.as_path().neighbor_as());
                prop_assert_eq!(set.cluster_list_len(), set.cluster_list().count());
            }
            prop_assert_eq!((read.med(), read.local_pref(), read.originator_id()), (attrs.med(), attrs.local_pref(), attrs.originator_id()));
            prop_assert_eq!(&read.edit().finish(), &attrs);
        }
    }

    #[test]
    fn the_order_of_attributes_does_not_matter((ctx, attrs, nlri) in reach(), seed in any::<u64>()) {
        let octets = encoded(&ctx, &attrs, &nlri[..1]);
        let shuffled = shuffle_attributes(&octets, seed);
        let (one, other) = (decode_all(&ctx, octets), decode_all(&ctx, shuffled));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn octets_cut_off_anywhere_are_waited_for_or_refused((ctx, attrs, nlri) in reach(), share in 0.0..1.0f64) {
        let octets = encoded(&ctx, &attrs, &nlri[..nlri.len().min(20)]);
        let cut = (octets.len() as f64 * share) as usize;
        prop_assert_eq!(frame_len(&octets[..cut], ctx.max_len), Ok(None));
        let mut decoder = Decoder::new();
        decoder.set_context(ctx);
        prop_assert!(decoder.decode(octets.slice(..cut)).is_err());
    }

    #[test]
    fn changed_octets_do_no_harm((ctx, attrs, nlri) in reach(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut octets = encoded(&ctx, &attrs, &nlri[..nlri.len().min(20)]).to_vec();
        for (at, value) in changes {
            let at = 19 + at.index(octets.len() - 19);
            octets[at] = value;
        }
        harmless(&ctx, octets.into());
    }

    #[test]
    fn a_decoder_with_a_memory_reads_as_one_without((ctx, attrs, nlri) in reach(), other in reach()) {
        let mut octets = BytesMut::new();
        for set in [&attrs, &attrs, &other.1, &attrs] {
            encode_reach(set, &nlri[..nlri.len().min(3)], &ctx, &mut octets);
        }
        let mut octets = octets.freeze();
        let mut with = Decoder::new();
        with.set_context(ctx.clone());
        while let Ok(Some(len)) = frame_len(&octets, ctx.max_len) {
            let frame = octets.split_to(len);
            let mut without = Decoder::new();
            without.set_context(ctx.clone());
            prop_assert_eq!(with.decode(frame.clone()), without.decode(frame));
        }
        prop_assert!(octets.is_empty());
    }

    #[test]
    fn any_octets_do_no_harm(ctx in context(), kind in 0..7u8, body in vec(any::<u8>(), 0..200)) {
        harmless(&ctx, proto_tests::dsl::message(kind, &body).into());
    }
}

/// Decodes, shows, writes again: whatever it is, there is an answer.
fn harmless(ctx: &Context, octets: Bytes) {
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    match decoder.decode(octets) {
        Ok(message) => {
            assert!(!message.to_string().is_empty());
            let again = message.to_bytes(ctx);
            if let Message::Update(update) = &message {
                let errors = update.errors.iter().flat_map(|e| e.iter());
                errors.for_each(|e| assert!(e.severity() < Severity::Reset && !Notification::from(e).to_string().is_empty()));
                let routes = update.announced.iter().filter_map(|a| a.attrs.as_ref());
                routes.for_each(|a| assert!(serde_json::to_string(a).is_ok()));
            }
            decode_leniently(ctx, again);
        }
        Err(error) => {
            assert_eq!(error.severity(), Severity::Reset);
            assert!(!error.to_string().is_empty());
            assert!(Message::Notification(Notification::from(&error)).to_bytes(ctx).len() <= 4096);
        }
    }
}

/// What we write is never refused.
fn decode_leniently(ctx: &Context, mut octets: Bytes) {
    let mut decoder = Decoder::new();
    decoder.set_context(ctx.clone());
    while !octets.is_empty() {
        let len = frame_len(&octets, MAX_EXTENDED_LEN).expect("our header").expect("our length");
        decoder.decode(octets.split_to(len)).expect("our message");
    }
}

/// The same UPDATE with its attributes in another order.
fn shuffle_attributes(octets: &Bytes, mut seed: u64) -> Bytes {
    let len = usize::from(u16::from_be_bytes([octets[21], octets[22]]));
    let (mut block, mut attributes) = (&octets[23..23 + len], Vec::new());
    while !block.is_empty() {
        let long = block[0] & 0x10 != 0;
        let len = if long { 4 + usize::from(u16::from_be_bytes([block[2], block[3]])) } else { 3 + usize::from(block[2]) };
        attributes.push(&block[..len]);
        block = &block[len..];
    }
    for i in (1..attributes.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        attributes.swap(i, (seed >> 33) as usize % (i + 1));
    }
    [&octets[..23], &attributes.concat(), &octets[23 + len..]].concat().into()
}

#[test]
fn every_length_octet_may_lie() {
    use proto_tests::dsl::upd;
    let ctx = Context { four_octet_as: true, families: FamilySet::ALL, ..Context::INITIAL };
    let good = upd()
        .reach("10.1.0.0/26")
        .reach("2001:db8::/32")
        .withdraw("10.9.0.0/16")
        .as_path(&[64512, 65536])
        .med(1)
        .community(64512, 1)
        .octets();
    harmless(&ctx, good.clone().into());
    // Every octet of the body in turn takes every value: the length octets are among them.
    for at in 19..good.len() {
        for value in 0..=255 {
            let mut bad = good.clone();
            bad[at] = value;
            harmless(&ctx, bad.into());
        }
    }
}

#[test]
fn every_truncation_is_refused_or_withdraws() {
    use proto_tests::dsl::{message, upd};
    let ctx = Context { four_octet_as: true, families: FamilySet::ALL, ..Context::INITIAL };
    let good = upd().reach("10.1.0.0/26").reach("2001:db8::/32").as_path(&[64512, 65536]).med(1).community(64512, 1).octets();
    for cut in 19..good.len() {
        harmless(&ctx, message(2, &good[19..cut]).into());
    }
}
