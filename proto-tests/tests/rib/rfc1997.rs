//! RFC 1997: the well-known communities, and communities as such on their way out.

use catbird::policy::{AnyCommunity, Chain, Edit, Policy, Rule, Source, Step};
use catbird::rib::SourceKind;
use catbird::rib::adj_out::{GroupKey, Withheld, export};
use catbird::wire::Community;
use proto_tests::exporting::{from, key, net, route};
use std::sync::Arc;

fn told(community: Community, to: SourceKind) -> Result<Vec<Community>, Withheld> {
    let attrs = route(1).add_community(community).finish();
    export(&net("10.1.0.0/24"), &attrs, &from(1, Source::External), &key(to)).map(|out| out.communities().collect())
}

#[test]
fn no_export_stays_inside_the_as() {
    assert_eq!(told(Community::NO_EXPORT, SourceKind::External), Err(Withheld::NoExport));
    assert_eq!(told(Community::NO_EXPORT, SourceKind::Internal), Ok(vec![Community::NO_EXPORT]), "and is passed on there");
}

#[test]
fn no_advertise_is_told_to_nobody() {
    assert_eq!(told(Community::NO_ADVERTISE, SourceKind::External), Err(Withheld::NoAdvertise));
    assert_eq!(told(Community::NO_ADVERTISE, SourceKind::Internal), Err(Withheld::NoAdvertise));
}

#[test]
fn no_export_subconfed_is_not_told_to_external_peers() {
    assert_eq!(told(Community::NO_EXPORT_SUBCONFED, SourceKind::External), Err(Withheld::NoExportSubconfed));
    assert!(told(Community::NO_EXPORT_SUBCONFED, SourceKind::Internal).is_ok());
}

#[test]
fn other_communities_pass() {
    for community in [Community::new(65001, 7), Community(0xffff_0000)] {
        assert_eq!(told(community, SourceKind::External), Ok(vec![community]), "GRACEFUL_SHUTDOWN is for those who hear it");
    }
}

#[test]
fn what_our_own_policy_adds_is_for_the_peer_and_not_for_us() {
    let set = vec![Edit::AddCommunities(vec![AnyCommunity::Standard(Community::NO_EXPORT)])];
    let rule = Rule { set, then: Step::Accept, ..Rule::default() };
    let chain = Chain::from_policies(vec![Arc::new(Policy { name: "tag".into(), rules: vec![rule], otherwise: Step::Reject })]);
    let key = GroupKey { chain, ..key(SourceKind::External) };
    let out = export(&net("10.1.0.0/24"), &route(1).finish(), &from(1, Source::External), &key).expect("told");
    assert_eq!(out.communities().collect::<Vec<_>>(), [Community::NO_EXPORT]);
}
