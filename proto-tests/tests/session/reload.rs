//! A reload touches what its plan names and nothing else; what was judged is judged again when its reasons change.

use std::sync::Arc;
use std::time::Duration;

use catbird::api::Command;
use catbird::config::params::speaker;
use catbird::kernel::{IfIndex, KernelEvent};
use catbird::num::{Asn, ClusterId};
use catbird::peer::{self, RemoteAs};
use catbird::policy::{Chain, Condition, PeerMatch, Policy, Rule, Step};
use catbird::speaker::reload_plan::{NotRunning, diff};
use catbird::speaker::{Input, ListenRange, MaxPrefix, MaxPrefixAction, Params, PeerConfig};
use catbird::wire::Message;
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, session};
use proto_tests::random_config::read;

const SECOND: Duration = Duration::from_secs(1);

/// A reflector that lets clients in from 10.255.0.0/16, and x, who is one.
fn range_lab() -> Lab {
    Lab::seeded(4).speaker("rr", 64512).scripted("x", 64512).configured("rr", |p| {
        let params = peer::Params::new("clients", "0.0.0.0".parse().unwrap(), Asn(64512), RemoteAs::Internal, p.router_id);
        let mut template = PeerConfig::new(Arc::new(params));
        template.rr_client = true;
        p.cluster_id = Some(ClusterId([1, 1, 1, 1].into()));
        p.ranges = vec![Arc::new(ListenRange { net: "10.255.0.0/16".parse().unwrap(), limit: 10, template })];
    })
}

/// What x is sent when its range changes: nothing, or the code of a NOTIFICATION.
fn reload_range(change: impl Fn(&mut ListenRange)) -> Option<(u8, u8)> {
    let mut lab = range_lab();
    lab.connect("x", "rr");
    lab.run(2 * SECOND);
    assert_eq!(lab.state("rr", "10.255.0.2"), "established");
    lab.reload("rr", |p| {
        let mut range = ListenRange::clone(&p.ranges[0]);
        change(&mut range);
        p.ranges[0] = Arc::new(range);
    });
    lab.run(2 * SECOND);
    lab.told("x").map(|n| (n.code, n.subcode))
}

#[test]
fn a_change_of_a_listen_range_costs_its_sessions_what_it_costs_a_listed_peer() {
    assert_eq!(reload_range(|r| r.limit = 20), None);
    assert_eq!(reload_range(|r| r.template.import = Some(Chain::all())), None);
    assert_eq!(reload_range(|r| session(&mut r.template, |s| s.description = Some("x".into()))), None);
    assert_eq!(reload_range(|r| r.net = "10.255.0.0/24".parse().unwrap()), None, "it still fits");
    assert_eq!(reload_range(|r| r.net = "10.254.0.0/16".parse().unwrap()), Some((6, 3)), "it does not fit any more");
    assert_eq!(reload_range(|r| session(&mut r.template, |s| s.port = 1179)), Some((6, 6)));
}

#[test]
fn a_peer_of_a_range_that_is_listed_from_now_on_keeps_its_session() {
    let mut lab = range_lab();
    lab.connect("x", "rr");
    lab.run(2 * SECOND);
    let list = |p: &mut catbird::speaker::Params| {
        let (mut config, _) = p.range_peer("10.255.0.2".parse().unwrap(), None).unwrap();
        session(Arc::make_mut(&mut config), |s| s.name = "x".into());
        p.peers.push(config);
    };
    lab.reload("rr", list);
    lab.reload("rr", |p| p.ranges.clear());
    lab.run(2 * SECOND);
    assert_eq!((lab.state("rr", "x").as_str(), lab.told("x").map(|n| n.code)), ("established", None));
}

#[test]
fn a_new_cluster_id_judges_loops_anew() {
    let own = |n: u8| Some(ClusterId([n, n, n, n].into()));
    let mut lab = Lab::seeded(6).speaker("rr", 64512).scripted("x", 64512).linked("rr", "x").configured("rr", |p| p.cluster_id = own(1));
    lab.until_established("rr", "x");
    let with = |prefix: &str, cluster: u8| {
        upd().reach(prefix).next_hop("10.255.0.2").local_pref(100).attr(9, 0x80, &[9, 9, 9, 9]).attr(10, 0x80, &[cluster; 4]).octets()
    };
    lab.raw("x", &with("10.1.0.0/26", 1));
    lab.raw("x", &with("10.2.0.0/26", 2));
    lab.run(SECOND);
    let accepted = |lab: &mut Lab| (lab.best("rr", "10.1.0.0/26").is_some(), lab.best("rr", "10.2.0.0/26").is_some());
    assert_eq!(accepted(&mut lab), (false, true));
    lab.reload("rr", |p| p.cluster_id = own(2));
    lab.run(SECOND);
    assert_eq!(accepted(&mut lab), (true, false));
    assert_eq!(lab.told("x").map(|n| n.code), None, "and the session stays");
}

/// Accepts what this peer announces.
fn only(peer: &str) -> Option<Chain> {
    let when = vec![Condition::Peer(vec![PeerMatch::Name(peer.into())])];
    let rule = Rule { name: None, when, set: vec![], then: Step::Accept };
    Some(Chain::from_policies(vec![Arc::new(Policy { name: "p".into(), rules: vec![rule], otherwise: Step::Reject })]))
}

#[test]
fn a_renamed_peer_is_judged_by_its_new_name() {
    let mut lab = Lab::seeded(8).speaker("a", 64512).scripted("x", 64512).linked_as("a", "x", |_, c| c.import = only("new"));
    lab.until_established("a", "x");
    let announce = |prefix: &str| upd().reach(prefix).next_hop("10.255.0.2").local_pref(100).octets();
    lab.raw("x", &announce("10.1.0.0/26"));
    lab.run(SECOND);
    assert!(lab.best("a", "10.1.0.0/26").is_none());
    lab.reload("a", |p| session(Arc::make_mut(&mut p.peers[0]), |s| s.name = "new".into()));
    lab.run(SECOND);
    assert!(lab.best("a", "10.1.0.0/26").is_some(), "what it announced before");
    lab.raw("x", &announce("10.2.0.0/26"));
    lab.run(SECOND);
    assert!(lab.best("a", "10.2.0.0/26").is_some(), "what it announces now");
}

#[test]
fn a_next_hop_that_was_refused_as_our_own_is_judged_again_when_the_address_has_moved() {
    let mut lab = Lab::seeded(10).speaker("a", 64512).scripted("x", 64512).linked("a", "x");
    lab.until_established("a", "x");
    let vip = "10.255.7.7/32".parse().unwrap();
    lab.give_input("a", Input::Kernel(KernelEvent::Address { ifindex: IfIndex(2), net: vip }));
    lab.raw("x", &upd().reach("10.1.0.0/26").next_hop("10.255.7.7").local_pref(100).octets());
    lab.raw("x", &upd().reach("10.2.0.0/26").next_hop("10.255.7.8").local_pref(100).octets());
    lab.run(SECOND);
    let accepted = |lab: &mut Lab| (lab.best("a", "10.1.0.0/26").is_some(), lab.best("a", "10.2.0.0/26").is_some());
    assert_eq!(accepted(&mut lab), (false, true));
    lab.give_input("a", Input::Kernel(KernelEvent::AddressGone { ifindex: IfIndex(2), net: vip }));
    lab.run(SECOND);
    assert_eq!(accepted(&mut lab), (true, true), "the address is another's now");
    lab.give_input("a", Input::Kernel(KernelEvent::Address { ifindex: IfIndex(2), net: "10.255.7.8/32".parse().unwrap() }));
    lab.run(SECOND);
    assert_eq!(accepted(&mut lab), (true, false), "and this one is ours");
}

#[test]
fn another_as_number_of_the_node_judges_loops_anew_where_no_session_speaks_of_it() {
    let mut lab = Lab::seeded(11).speaker("a", 64512).scripted("x", 65001).linked_as("a", "x", |_, c| {
        session(c, |s| s.local_as = Asn(64999));
    });
    lab.until_established("a", "x");
    lab.raw("x", &upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(&[65001, 64600]).octets());
    lab.run(SECOND);
    assert!(lab.best("a", "10.1.0.0/26").is_some());
    lab.reload("a", |p| p.asn = Asn(64600));
    lab.run(SECOND);
    assert!(lab.best("a", "10.1.0.0/26").is_none(), "its path holds our own number now");
    assert_eq!(lab.told("x").map(|n| n.code), None);
}

#[test]
fn a_timer_is_taken_over_by_the_next_session_and_a_peer_that_is_no_longer_passive_dials() {
    let mut lab = Lab::seeded(12).speaker("a", 64512).scripted("x", 64512).linked("a", "x");
    lab.until_established("a", "x");
    lab.reload("a", |p| session(Arc::make_mut(&mut p.peers[0]), |s| s.hold_time = catbird::num::HoldTime::new(180).unwrap()));
    lab.run(SECOND);
    assert_eq!((lab.told("x").map(|n| n.code), lab.state("a", "x").as_str()), (None, "established"));

    let mut lab = Lab::seeded(13).speaker("a", 64512).scripted("x", 64512).linked_as("a", "x", |_, c| session(c, |s| s.passive = true));
    lab.run(30 * SECOND);
    assert_eq!((lab.state("a", "x").as_str(), lab.dials("a")), ("active", 0));
    lab.reload("a", |p| session(Arc::make_mut(&mut p.peers[0]), |s| s.passive = false));
    lab.run(SECOND);
    assert_eq!(lab.state("a", "x"), "established");
}

#[test]
fn a_lower_limit_of_prefixes_holds_at_once() {
    let limited = |limit, action| {
        let mut lab = Lab::seeded(14).speaker("a", 64512).scripted("x", 64512).linked("a", "x");
        lab.until_established("a", "x");
        for n in 0..9 {
            lab.raw("x", &upd().reach(&format!("10.1.{n}.0/24")).next_hop("10.255.0.2").local_pref(100).octets());
        }
        lab.run(SECOND);
        lab.reload("a", |p| Arc::make_mut(&mut p.peers[0]).max_prefix = [Some(MaxPrefix { limit, warn_percent: 80, action }), None]);
        lab.run(SECOND);
        (lab.told("x").map(|n| (n.code, n.subcode)), lab.prefixes("a"))
    };
    let close = MaxPrefixAction::Close { restart: None };
    assert_eq!(limited(9, close), (None, 9));
    assert_eq!(limited(8, close).0, Some((6, 1)));
    assert_eq!(limited(4, MaxPrefixAction::Refuse), (None, 4));
}

#[test]
fn a_drained_router_takes_connections_and_new_peers_and_tells_them_nothing() {
    let mut lab = range_lab();
    lab.blocks("rr", &["10.8.0.0/26"]);
    lab.connect("x", "rr");
    lab.run(2 * SECOND);
    let updates = |heard: Vec<Message>| heard.iter().filter_map(Message::as_update).filter(|u| !u.announced.is_empty()).count();
    assert_eq!(updates(lab.heard("x")), 1, "it is told of the block");
    lab.order("rr", Command::Drain { wait: false, if_shutdown: false });
    lab.run(5 * SECOND);
    lab.hang_up_script("x");
    lab.run(SECOND);
    lab.heard("x");
    lab.connect("x", "rr");
    lab.run(5 * SECOND);
    assert!(lab.told("x").is_none(), "it is let in");
    assert_eq!(updates(lab.heard("x")), 0, "and told of nothing");

    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64512).scripted("y", 64512).linked("a", "x");
    lab.until_established("a", "x");
    lab.order("a", Command::Drain { wait: false, if_shutdown: false });
    lab.run(5 * SECOND);
    lab.reload("a", |p| {
        let mut config = PeerConfig::clone(&p.peers[0]);
        session(&mut config, |s| {
            s.name = "y".into();
            s.remote.addr = "10.255.0.3".parse().unwrap();
        });
        p.peers.push(Arc::new(config));
    });
    lab.run(5 * SECOND);
    assert_eq!(lab.state("a", "y"), "established", "it learns of new peers, too");
    assert_eq!(updates(lab.heard("y")), 0);
}

#[test]
fn a_peer_that_becomes_a_client_is_reflected_at_once_and_one_that_ceases_to_be_is_not() {
    let mut lab = Lab::seeded(15).speaker("rr", 64512).scripted("x", 64512).scripted("y", 64512).scripted("z", 64512);
    lab = lab.linked_as("rr", "x", |_, c| c.rr_client = true).linked("rr", "y").linked("rr", "z");
    lab = lab.configured("rr", |p| p.cluster_id = Some(ClusterId([1, 1, 1, 1].into())));
    lab.until_all_established();
    for (peer, n) in [("x", 2), ("y", 3), ("z", 4)] {
        let next_hop = format!("10.255.0.{n}");
        lab.raw(peer, &upd().reach(&format!("10.{n}.0.0/24")).next_hop(&next_hop).local_pref(100).octets());
    }
    lab.run(SECOND);
    let announced = |lab: &mut Lab, peer: &str| {
        let page = lab.ask("rr", catbird::api::Question::Advertised { peer: peer.into(), cursor: 0 });
        let catbird::api::Answer::Advertised(page) = page else { panic!("{page:?}") };
        page.rows.iter().map(|r| r.net.to_string()).collect::<Vec<_>>().join(" ")
    };
    // What a peer holds: what it was sent, withdrawals taken off.
    let mut holds: std::collections::BTreeMap<&str, std::collections::BTreeSet<String>> = Default::default();
    let mut sent = |lab: &mut Lab, peer: &'static str| {
        let held = holds.entry(peer).or_default();
        for message in lab.heard(peer) {
            let Some(update) = message.as_update() else { continue };
            for gone in update.withdrawn.iter().flat_map(|set| set.iter()) {
                held.remove(&gone.net.to_string());
            }
            held.extend(update.announced.iter().flat_map(|a| a.nlri.iter()).map(|n| n.net.to_string()));
        }
        held.iter().cloned().collect::<Vec<_>>().join(" ")
    };
    let before = ["10.3.0.0/24 10.4.0.0/24", "10.2.0.0/24", "10.2.0.0/24"];
    assert_eq!(["x", "y", "z"].map(|p| sent(&mut lab, p)), before);
    lab.reload("rr", |p| Arc::make_mut(&mut p.peers[1]).rr_client = true);
    lab.run(SECOND);
    let after = ["10.3.0.0/24 10.4.0.0/24", "10.2.0.0/24 10.4.0.0/24", "10.2.0.0/24 10.3.0.0/24"];
    assert_eq!(["x", "y", "z"].map(|p| announced(&mut lab, p)), after);
    assert_eq!(["x", "y", "z"].map(|p| sent(&mut lab, p)), after, "and they have it");
    lab.reload("rr", |p| Arc::make_mut(&mut p.peers[1]).rr_client = false);
    lab.run(SECOND);
    assert_eq!(["x", "y", "z"].map(|p| sent(&mut lab, p)), before);
    assert_eq!(["x", "y", "z"].map(|p| announced(&mut lab, p)), before);
}

/// The plan of a mesh is one walk over its peers: ten times as many cost ten times as much and not a hundred times. What counts is this thread's time on
/// a processor, for others want one, too. (An optimised daemon with 5,000 peers answers `diff`, and takes a reload, in steps of 10 ms at most.)
#[test]
fn a_plan_of_five_thousand_nodes_is_one_walk() {
    let on_processor = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
    };
    let mesh = |count: u32, hold: &str| {
        let peer = |n: u32| {
            let addr = std::net::Ipv4Addr::from(0x0a00_0100 + n);
            format!("[[peer]]\nname = \"node-{n}\"\naddress = \"{addr}\"\nasn = 64512\nhold_time = \"{hold}\"\n")
        };
        let peers: String = (0..count).map(peer).collect();
        speaker(&read(&format!("[node]\nasn = 64512\nrouter_id = \"10.0.0.1\"\naddresses = [\"10.0.0.1\"]\n{peers}")).expect("accepted"))
    };
    let time = |count: u32| {
        let [old, same, other] = ["90s", "90s", "60s"].map(|hold| mesh(count, hold));
        let of_ten = |new: &Params, changes: usize| {
            let begun = on_processor();
            (0..10).for_each(|_| assert_eq!(diff(&old, new, &NotRunning).changes().len(), changes));
            (on_processor() - begun) / 10
        };
        (of_ten(&same, 0), of_ten(&other, 1))
    };
    let (few, many) = (time(500), time(5_000));
    println!("500 peers: {:?} if nothing changes, {:?} if each does; 5,000 peers: {:?}, {:?}", few.0, few.1, many.0, many.1);
    assert!(many.0 < 30 * few.0 && many.1 < 30 * few.1, "{few:?}, {many:?}");
}
