//! RFC 8212: an external session without a policy neither takes nor tells anything; and it is said why.

use catbird::policy::{Chain, LocalKind, PeerFacts, Source, Verdict};
use catbird::rib::SourceKind;
use catbird::rib::adj_out::{GroupKey, Withheld, export};
use catbird::rib::update_group::{Bounds, ExportVerdict};
use proto_tests::exporting::{LOCAL_AS, World, from, key, net, route};

#[test]
fn without_an_export_policy_an_external_peer_is_told_nothing() {
    let bare = |kind| GroupKey { chain: Chain::unconfigured(kind == SourceKind::External), ..key(kind) };
    let own = from(0, Source::Local(LocalKind::Block));
    assert_eq!(export(&net("10.1.0.0/26"), &route(0).finish(), &own, &bare(SourceKind::External)), Err(Withheld::NoPolicy));
    assert!(export(&net("10.1.0.0/26"), &route(0).finish(), &own, &bare(SourceKind::Internal)).is_ok(), "inside the AS nothing is asked");
}

#[test]
fn without_an_import_policy_an_external_peer_is_believed_nothing() {
    let facts = |source| PeerFacts {
        peer: None,
        external: source == Source::External,
        local_as: LOCAL_AS,
        source,
        validity: catbird::rpki::Validity::NotFound,
    };
    let judge = |source| Chain::unconfigured(source == Source::External).judge(&net("10.1.0.0/26"), &route(1).finish(), &facts(source));
    let Verdict::Reject(by) = judge(Source::External) else { panic!("refused") };
    assert!(by.is_no_policy());
    assert_eq!(judge(Source::Internal), Verdict::Accept(None));
}

#[test]
fn the_reason_can_be_shown_and_end_of_rib_comes_all_the_same() {
    let mut world = World::new(Bounds::default());
    world.source(1, SourceKind::External, false);
    world.join(1, GroupKey { chain: Chain::unconfigured(true), ..key(SourceKind::External) });
    world.join(2, key(SourceKind::External));
    world.own(net("10.1.0.0/26"));
    world.flush();
    assert!(world.heard(2, "10.1.0.0/26").is_some(), "a peer with a policy hears it");
    assert!(world.heard(1, "10.1.0.0/26").is_none());
    let verdict = world.groups.why(&world.rib, catbird::num::PeerId(1), &net("10.1.0.0/26"));
    assert_eq!(verdict, ExportVerdict::Withheld(Withheld::NoPolicy));
    assert!(verdict.to_string().contains("RFC 8212"), "{verdict}");
    assert_eq!(world.hearers[&catbird::num::PeerId(1)].ends.len(), 2);
}
