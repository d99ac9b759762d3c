//! RFC 7911: several paths of a prefix, told and taken, by routers that run.

use std::time::Duration;

use catbird::num::{ClusterId, Family};
use catbird::rib::update_group::AddPathSend;
use catbird::speaker::{MaxPrefix, MaxPrefixAction, PeerConfig};
use catbird::wire::{AddPathMode, Capability, Message, RefreshSubtype, RouteRefresh};
use proto_tests::dsl::{Upd, upd};
use proto_tests::lab::{Lab, session};

const PREFIX: &str = "10.1.0.0/26";
const SECOND: Duration = Duration::from_secs(1);

/// Three racks announce one prefix to a reflector, with paths of 2, 3 and 4 ASes; a client hears it with ADD-PATH.
fn racks(limit: AddPathSend) -> Lab {
    let mut lab = Lab::seeded(11).speaker("rr", 64512).speaker("client", 64512);
    for n in 1..=3 {
        lab = lab.scripted(&format!("rack-{n}"), 65000 + n).linked("rr", &format!("rack-{n}"));
    }
    let mut lab = lab
        .linked_as("rr", "client", |me, config| {
            let ipv4 = Family::Ipv4Unicast.into();
            session(config, |s| if me == "rr" { s.offer.add_path_send = ipv4 } else { s.offer.add_path_receive = ipv4 });
            (config.rr_client, config.add_path) = (me == "rr", limit);
        })
        .configured("rr", |params| params.cluster_id = Some(ClusterId([10, 0, 0, 1].into())));
    lab.until_established("rr", "client");
    for n in 1..=3u32 {
        lab.until_established("rr", &format!("rack-{n}"));
        let path: Vec<u32> = std::iter::once(65000 + n).chain((0..n).map(|hop| 65100 + hop)).collect();
        let next_hop = format!("10.255.0.{}", n + 3);
        lab.raw(&format!("rack-{n}"), &upd().reach(PREFIX).next_hop(&next_hop).as_path(&path).octets());
    }
    lab.run(SECOND);
    lab
}

/// The first ASes of the paths that the client has, in the order of their lengths.
fn heard(lab: &mut Lab) -> Vec<String> {
    lab.run(SECOND);
    let mut paths: Vec<String> = lab.paths("client", PREFIX).into_iter().map(|row| row.as_path).collect();
    paths.sort_by_key(|path| path.len());
    paths.iter().map(|path| path.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_client_hears_every_path_that_its_reflector_has() {
    let mut lab = racks(AddPathSend::All);
    assert_eq!(heard(&mut lab), ["65001", "65002", "65003"]);
    lab.raw("rack-2", &upd().withdraw(PREFIX).octets());
    assert_eq!(heard(&mut lab), ["65001", "65003"], "one goes, and the others stay");
}

#[test]
fn of_more_paths_than_are_told_the_best_are_and_the_next_takes_the_place_of_one_that_goes() {
    let mut lab = racks(AddPathSend::Best(2));
    assert_eq!(heard(&mut lab), ["65001", "65002"]);
    lab.raw("rack-1", &upd().withdraw(PREFIX).octets());
    assert_eq!(heard(&mut lab), ["65002", "65003"]);
    lab.raw("rack-1", &upd().reach(PREFIX).next_hop("10.255.0.4").as_path(&[65001]).octets());
    assert_eq!(heard(&mut lab), ["65001", "65002"]);
}

#[test]
fn another_limit_is_told_as_a_difference_and_the_session_stays() {
    let mut lab = racks(AddPathSend::Best(1));
    assert_eq!(heard(&mut lab), ["65001"]);
    let dials = lab.dials("rr") + lab.dials("client");
    for (limit, paths) in [(AddPathSend::All, &["65001", "65002", "65003"][..]), (AddPathSend::Best(2), &["65001", "65002"])] {
        lab.reload("rr", |params| {
            for config in params.peers.iter_mut().filter(|c| c.session.name == "client") {
                std::sync::Arc::make_mut(config).add_path = limit;
            }
        });
        assert_eq!(heard(&mut lab), paths);
    }
    assert_eq!(lab.dials("rr") + lab.dials("client"), dials, "nobody had to connect again");
}

#[test]
fn with_the_last_hearer_gone_the_table_speaks_of_the_best_alone_and_a_new_one_hears_all_again() {
    let mut lab = racks(AddPathSend::All);
    assert_eq!(heard(&mut lab).len(), 3);
    lab.reset("rr", "client");
    lab.until_established("rr", "client");
    assert_eq!(heard(&mut lab), ["65001", "65002", "65003"]);
}

/// A rack that announces path identifiers to a router whose setting for it `change` makes.
fn rack(change: impl Fn(&mut PeerConfig)) -> Lab {
    let lab = Lab::seeded(12).speaker("dut", 64512).scripted("rack", 65001);
    let mut lab = lab.linked_as("dut", "rack", |_, config| {
        session(config, |s| s.offer.add_path_receive = Family::Ipv4Unicast.into());
        change(config);
    });
    lab.script("rack").open.capabilities.push(Capability::AddPath(vec![(1, 1, AddPathMode::Both)]));
    lab.until_established("dut", "rack");
    lab
}

fn limited(limit: u32, action: MaxPrefixAction) -> impl Fn(&mut PeerConfig) {
    move |config| config.max_prefix = [Some(MaxPrefix { limit, warn_percent: 100, action }), None]
}

/// The rack announces this prefix with these identifiers.
fn announce(lab: &mut Lab, prefix: &str, ids: std::ops::Range<u32>) {
    for id in ids {
        lab.raw("rack", &upd().path_id(id).reach(prefix).next_hop("10.255.0.2").as_path(&[65001, 65100 + id]).octets());
    }
    lab.run(SECOND);
}

/// Paths and prefixes, as the router counts them.
fn counted(lab: &mut Lab) -> (u64, u64) {
    let row = &lab.peer("dut", "rack").row.families[0];
    (row.received, row.prefixes)
}

#[test]
fn several_paths_of_a_prefix_count_as_one_against_the_limit() {
    let mut lab = rack(limited(2, MaxPrefixAction::Close { restart: None }));
    announce(&mut lab, "10.1.0.0/26", 0..20);
    announce(&mut lab, "10.1.1.0/26", 0..20);
    assert_eq!(counted(&mut lab), (40, 2));
    // Another verdict, another path, one that goes: the prefixes are counted right all the time (and recounted after each step).
    announce(&mut lab, "10.1.0.0/26", 5..25);
    lab.raw("rack", &upd().path_id(3).withdraw("10.1.1.0/26").octets());
    lab.run(SECOND);
    assert_eq!(counted(&mut lab), (44, 2));
    assert!(lab.established("dut", "rack"));
    announce(&mut lab, "10.1.2.0/26", 7..8);
    assert_eq!(lab.told("rack").map(|told| (told.code, told.subcode)), Some((6, 1)), "the third prefix is one too many");
}

#[test]
fn where_there_is_room_for_a_prefix_all_its_paths_are_taken_and_of_the_next_none() {
    let mut lab = rack(limited(1, MaxPrefixAction::Refuse));
    announce(&mut lab, "10.1.0.0/26", 1..5);
    announce(&mut lab, "10.1.1.0/26", 1..5);
    let used = |lab: &mut Lab, prefix| lab.paths("dut", prefix).iter().filter(|path| path.refused.is_none()).count();
    assert_eq!((used(&mut lab, "10.1.0.0/26"), used(&mut lab, "10.1.1.0/26")), (4, 0));
    // All but one go, and there is no more room; the last goes, and every path of the other prefix has its place.
    for id in 1..4 {
        lab.raw("rack", &upd().path_id(id).withdraw("10.1.0.0/26").octets());
    }
    lab.run(SECOND);
    assert_eq!((used(&mut lab, "10.1.0.0/26"), used(&mut lab, "10.1.1.0/26")), (1, 0));
    lab.raw("rack", &upd().path_id(4).withdraw("10.1.0.0/26").octets());
    lab.run(SECOND);
    assert_eq!((used(&mut lab, "10.1.0.0/26"), used(&mut lab, "10.1.1.0/26")), (0, 4));
}

#[test]
fn the_paths_of_a_prefix_have_a_bound_of_their_own() {
    let mut lab = rack(limited(10, MaxPrefixAction::Close { restart: None }));
    lab.reload("dut", |params| params.limits.tables.paths_of_a_prefix = 8);
    announce(&mut lab, "10.1.0.0/26", 0..50);
    announce(&mut lab, "10.1.1.0/26", 0..3);
    assert_eq!(counted(&mut lab), (11, 2));
    assert!(lab.established("dut", "rack"));
}

#[test]
fn prefixes_are_counted_right_over_a_refresh_and_a_restart() {
    let mut lab = rack(|_| {});
    announce(&mut lab, "10.1.0.0/26", 0..6);
    announce(&mut lab, "10.1.1.0/26", 0..6);
    let mark = |lab: &mut Lab, subtype| {
        lab.say("rack", &Message::RouteRefresh(RouteRefresh::new(Family::Ipv4Unicast, subtype)));
        lab.run(SECOND);
    };
    mark(&mut lab, RefreshSubtype::BoRR);
    announce(&mut lab, "10.1.0.0/26", 4..9);
    assert_eq!(counted(&mut lab), (15, 2), "what is old counts until the end");
    mark(&mut lab, RefreshSubtype::EoRR);
    assert_eq!(counted(&mut lab), (5, 1));
    lab.reset("dut", "rack");
    lab.run(SECOND);
    assert_eq!(counted(&mut lab), (0, 0));
}

#[test]
fn a_withdrawal_of_an_identifier_that_nobody_knows_is_passed_over() {
    let mut lab = rack(|_| {});
    let say = |lab: &mut Lab, update: Upd| {
        lab.raw("rack", &update.octets());
        lab.run(SECOND);
        lab.paths("dut", PREFIX).len()
    };
    for id in [1, 2] {
        say(&mut lab, upd().path_id(id).reach(PREFIX).next_hop("10.255.0.2").as_path(&[65001]));
    }
    assert_eq!(say(&mut lab, upd().path_id(3).withdraw(PREFIX)), 2);
    assert_eq!(say(&mut lab, upd().path_id(1).withdraw("10.77.0.0/16")), 2);
    assert!(lab.established("dut", "rack") && lab.told("rack").is_none());
    assert_eq!(say(&mut lab, upd().path_id(1).withdraw(PREFIX)), 1, "one that is known goes");
}
