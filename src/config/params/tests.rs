use std::path::Path;

use super::super::{Config, Environment};
use super::*;
use crate::policy::Step;
use crate::speaker::reload_plan::{NotRunning, diff};
use crate::wire::Origin;

fn config(text: &str) -> Config {
    let read = |_: &Path| Ok(crate::config::SecretFile::from("hunter2\n"));
    let checked = Config::parse("x", text, &Environment { hostname: Some("a".into()), read: &read, memory_limit: None });
    let report = checked.report.render(false);
    checked.config.unwrap_or_else(|| panic!("{report}"))
}

const RACK: &str = r#"
[node]
asn = 64601
addresses = ["10.0.0.1", "fd00::1"]
[pods]
blocks = ["10.244.2.0/26", "10.244.1.0/26"]
[[peer_group]]
name = "tor"
asn = 65001
password_file = "/secret"
ttl_security = 1
import = "from-tor"
export = "own-blocks"
max_prefix_ipv4 = 10
[[peer]]
name = "tor-1"
address = "10.0.0.254"
group = "tor"
[[peer]]
name = "tor-2"
address = "fe80::1%eth0"
group = "tor"
[[peer]]
address = "10.0.0.9"
asn = 65002
[policy.from-tor]
default = "reject"
[[policy.from-tor.rules]]
name = "default"
prefixes = ["0.0.0.0/0", "10.0.0.0/8 le 24"]
communities = ["64512:1", "64512:1:2"]
prepend = [1, 1, 2]
set_local_pref = 200
add_communities = ["no-export"]
then = "accept"
"#;

#[test]
fn a_session_keeps_everything_that_was_said_of_it() {
    let params = speaker(&config(RACK));
    assert_eq!(params.blocks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.244.1.0/26", "10.244.2.0/26"]);
    assert_eq!(params.addresses.v6, Some("fd00::1".parse().expect("address")));
    let [one, two, three] = params.peers.as_slice() else { panic!("three peers") };
    assert_eq!((one.session.name.as_str(), one.session.remote_as), ("tor-1", RemoteAs::Exactly(Asn(65001))));
    assert_eq!(one.session.ttl, Ttl::Security(1));
    assert_eq!(one.session.md5.as_ref().map(Secret::expose), Some(b"hunter2".as_slice()));
    assert_eq!(one.session.kind, PeerKind::External);
    assert_eq!(one.session.offer.extended_next_hop, Family::Ipv4Unicast.into());
    assert_eq!(one.max_prefix(Family::Ipv4Unicast).map(|m| m.limit), Some(10));
    assert!(one.max_prefix(Family::Ipv6Unicast).is_none());
    assert_eq!(two.session.remote.to_string(), "fe80::1%eth0");
    assert!(three.import.is_none() && three.export.is_none(), "RFC 8212: nobody said anything");
    let (Some(a), Some(b)) = (&one.import, &two.import) else { panic!("both have a policy") };
    assert!(a.ptr_eq(b), "peers of one policy share one chain, and so one update group");
}

#[test]
fn a_rule_becomes_conditions_and_edits_in_order() {
    let config = config(RACK);
    let rule = compile(&config.policies["from-tor"]).rules.remove(0);
    let [Condition::Prefix(set), Condition::Community(communities)] = rule.when.as_slice() else { panic!("{:?}", rule.when) };
    assert!(set.contains(&"0.0.0.0/0".parse().expect("net")) && set.contains(&"10.1.0.0/16".parse().expect("net")));
    assert!(!set.contains(&"10.1.1.0/26".parse().expect("net")));
    assert_eq!(communities.len(), 2);
    assert_eq!(
        rule.set,
        [
            Edit::AddCommunities(vec!["65535:65281".parse().expect("NO_EXPORT")]),
            Edit::LocalPref(200),
            Edit::Prepend { asn: Some(Asn(2)), count: 1 },
            Edit::Prepend { asn: Some(Asn(1)), count: 2 },
        ]
    );
    assert_eq!(rule.then, Step::Accept);
}

#[test]
fn equal_configurations_make_equal_routers() {
    let typed_otherwise = RACK
        .replace("[pods]", "# nothing\n[log]\nlevel = \"info\"\n[pods]")
        .replace("\"10.244.2.0/26\", \"10.244.1.0/26\"", "\"10.244.1.0/26\", \"10.244.2.0/26\"");
    assert_eq!(speaker(&config(RACK)), speaker(&config(&typed_otherwise)));
    assert_ne!(speaker(&config(RACK)), speaker(&config(&RACK.replace("65002", "65003"))));
}

/// The conditions of a rule must all hold: a prefix is in `prefixes` and in one of the sets.
#[test]
fn a_prefix_must_be_in_the_list_and_in_a_set_where_both_are_named() {
    let sets = "prefixes = [\"10.0.0.0/8 le 24\"]\nprefix_sets = [\"a\", \"b\"]\n[prefix_set.a]\nprefixes = [\"10.1.0.0/16+\"]\n[prefix_set.b]\nprefixes = [\"192.0.2.0/24\"]";
    let config = config(&format!("[node]\nasn = 64512\n[[policy.p.rules]]\nthen = \"accept\"\n{sets}\n"));
    let chain = Chain::from_policies(vec![Arc::new(compile(&config.policies["p"]))]);
    let attrs = crate::wire::PathAttributes::builder(Origin::Igp, crate::wire::NextHop::V4(Ipv4Addr::LOCALHOST)).finish();
    let facts = policy::PeerFacts {
        peer: None,
        external: true,
        local_as: Asn(1),
        source: policy::Source::External,
        validity: crate::rpki::Validity::NotFound,
    };
    let taken = |net: &str| matches!(chain.judge(&net.parse().expect("net"), &attrs, &facts), policy::Verdict::Accept(_));
    assert_eq!(["10.1.0.0/24", "10.1.0.0/26", "10.2.0.0/24", "192.0.2.0/24"].map(taken), [true, false, false, false]);
}

/// A rule with an empty list never matches, however it came to be.
#[test]
fn a_condition_without_members_never_holds() {
    let nothing = Matches { communities: Some(vec![]), ..Matches::default() };
    let attrs = crate::wire::PathAttributes::builder(Origin::Igp, crate::wire::NextHop::V4(Ipv4Addr::LOCALHOST)).finish();
    let facts = policy::PeerFacts {
        peer: None,
        external: true,
        local_as: Asn(1),
        source: policy::Source::External,
        validity: crate::rpki::Validity::NotFound,
    };
    let empty = [
        nothing,
        Matches { prefixes: Some(vec![]), ..Matches::default() },
        Matches { prefix_sets: Some(vec![]), ..Matches::default() },
        Matches { own_kinds: Some(vec![]), ..Matches::default() },
        Matches { peers: Some(vec![]), ..Matches::default() },
        Matches { as_path_contains: Some(vec![]), ..Matches::default() },
        Matches { next_hop_in: Some(vec![]), ..Matches::default() },
    ];
    for matches in empty {
        let rule = policy::Rule { when: conditions(&matches), ..policy::Rule::default() };
        assert!(!rule.matches(&"10.0.0.0/8".parse().expect("net"), &attrs, &facts), "{matches:?}");
    }
    let always = policy::Rule { when: conditions(&Matches::default()), ..policy::Rule::default() };
    assert!(always.matches(&"10.0.0.0/8".parse().expect("net"), &attrs, &facts));
}

/// Each change of one setting: what the plan says it costs is what it costs.
#[test]
fn every_setting_of_a_session_is_in_the_plan_of_a_reload() {
    let with = |setting: &str| config(&format!("[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n{setting}\n"));
    let plain = with("");
    for setting in [
        "description = \"x\"",
        "port = 1179",
        "local_asn = 64999\nimport = \"all\"\nexport = \"all\"",
        "password_file = \"/secret\"",
        "ttl_security = 2",
        "multihop = 3",
        "source = \"10.0.0.1\"",
        "interface = \"eth9\"",
        "router_lifetime = \"30m\"",
        "passive = true",
        "hold_time = 30",
        "keepalive_time = 5",
        "connect_retry = 9",
        "delay_open = 3",
        "open_timeout = 60",
        "idle_hold = 2",
        "idle_hold_max = 60",
        "send_hold = 0",
        "tcp_user_timeout = \"20s\"",
        "tcp_mss = 1400",
        "collide_established = true",
        "families = [\"ipv4-unicast\"]",
        "graceful_restart = false",
        "add_path = \"both\"",
        "extended_messages = false",
        "extended_next_hop = false",
        "max_prefix_ipv4 = 5",
        "import = \"none\"",
        "export = \"own-blocks\"",
        "next_hop = \"self\"",
        "next_hop = \"third-party\"",
        "add_path_limit = 2",
        "enforce_first_as = false",
        "as_override = true",
        "rr_client = true",
        "allow_own_as = 1",
        "remove_private_as = true",
    ] {
        let changed = with(setting);
        let (old, new) = (speaker(&plain), speaker(&changed));
        assert_ne!(old, new, "{setting} means something");
        let changes = diff(&old, &new, &NotRunning).into_changes();
        assert!(!changes.is_empty(), "{setting} is shown");
    }
}
