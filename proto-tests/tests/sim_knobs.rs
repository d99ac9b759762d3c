//! Settings of a peer, turned on routers that run.

use std::time::Duration;

use catbird::num::{Asn, ClusterId};
use catbird::speaker::NextHopSetting;
use catbird::wire::Message;
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, session};

const SECOND: Duration = Duration::from_secs(1);

/// AS_PATH and next hop of the last announcement that a scripted peer heard.
fn last_told(lab: &mut Lab, name: &str) -> (String, String) {
    lab.run(SECOND);
    let updates = lab.heard(name).into_iter().filter_map(|m| if let Message::Update(update) = m { Some(update) } else { None });
    let sets: Vec<_> = updates.flat_map(|u| u.announced.into_iter()).filter_map(|a| a.attrs).collect();
    let attrs = sets.last().unwrap_or_else(|| panic!("{name} was told nothing"));
    (attrs.as_path().to_string(), attrs.next_hop().to_string())
}

#[test]
fn our_own_as_is_let_in_as_often_as_allowed() {
    for (allowed, refused) in [(0, [true, true]), (1, [false, true]), (2, [false, false])] {
        let lab = Lab::seeded(3).speaker("dut", 64512).scripted("rack", 65001);
        let mut lab = lab.linked_as("dut", "rack", |_, config| config.allow_own_as = allowed);
        lab.until_established("dut", "rack");
        for (prefix, path) in [("10.1.0.0/26", &[65001, 64512][..]), ("10.2.0.0/26", &[65001, 64512, 65001, 64512])] {
            lab.raw("rack", &upd().reach(prefix).next_hop("10.255.0.2").as_path(path).octets());
        }
        lab.run(SECOND);
        let found = ["10.1.0.0/26", "10.2.0.0/26"].map(|prefix| lab.best("dut", prefix).is_none());
        assert_eq!(found, refused, "allowed {allowed} times");
        assert_eq!(lab.paths("dut", "10.2.0.0/26").len(), 1, "refused or not, it is kept");
    }
}

#[test]
fn a_session_under_another_as_shows_that_one() {
    let lab = Lab::seeded(4).speaker("dut", 64512).scripted("old", 65001).scripted("new", 65002);
    let lab = lab.linked_as("dut", "old", |_, config| session(config, |s| s.local_as = Asn(64999)));
    let mut lab = lab.linked("dut", "new");
    lab.until_established("dut", "old");
    lab.until_established("dut", "new");
    lab.blocks("dut", &["10.9.0.0/26"]);
    assert_eq!(last_told(&mut lab, "old").0, "64999");
    assert_eq!(last_told(&mut lab, "new").0, "64512");
}

#[test]
fn the_next_hop_is_ourselves_a_third_party_on_the_link_or_what_was_learned() {
    let cases = [
        (NextHopSetting::Auto, "10.255.0.2", "10.255.0.1"),
        (NextHopSetting::ThirdParty, "10.255.0.2", "10.255.0.2"),
        (NextHopSetting::Unchanged, "10.255.0.2", "10.255.0.2"),
        (NextHopSetting::SelfAddress, "10.255.0.2", "10.255.0.1"),
    ];
    for (setting, learned, told) in cases {
        let lab = Lab::seeded(5).speaker("dut", 64512).scripted("left", 65001).scripted("right", 65002);
        let mut lab = lab.linked("dut", "left").linked_as("dut", "right", |_, config| config.next_hop = setting);
        lab.until_established("dut", "left");
        lab.until_established("dut", "right");
        lab.raw("left", &upd().reach("10.1.0.0/26").next_hop(learned).as_path(&[65001]).octets());
        assert_eq!(last_told(&mut lab, "right"), ("64512 65001".to_owned(), told.to_owned()), "{setting:?}");
    }
}

/// Two reflectors that peer with each other, and a client of both with a block.
fn two_reflectors(clusters: [u8; 2]) -> Lab {
    let mut lab = Lab::seeded(6).speaker("rr-1", 64512).speaker("rr-2", 64512).speaker("client", 64512).linked("rr-1", "rr-2");
    for (name, cluster) in [("rr-1", clusters[0]), ("rr-2", clusters[1])] {
        lab = lab
            .linked_as(name, "client", |me, config| config.rr_client = me != "client")
            .configured(name, |params| params.cluster_id = Some(ClusterId([10, 0, 0, cluster].into())));
    }
    lab.until_all_established();
    lab.blocks("client", &["10.9.0.0/26"]);
    lab.run(3 * SECOND);
    lab
}

#[test]
fn reflectors_of_two_clusters_keep_each_others_copy_and_those_of_one_cluster_refuse_it() {
    for (clusters, refused) in [([1, 2], 0), ([1, 1], 1)] {
        let mut lab = two_reflectors(clusters);
        for name in ["rr-1", "rr-2"] {
            let paths = lab.paths(name, "10.9.0.0/26");
            assert_eq!(paths.len(), 2, "{name} has the client's and the other reflector's, clusters {clusters:?}");
            assert_eq!(paths.iter().filter(|p| p.refused.is_some()).count(), refused, "{name}, clusters {clusters:?}");
            assert_eq!(lab.best(name, "10.9.0.0/26").map(|p| p.peer), Some("client".to_owned()));
        }
    }
}
