use std::time::{Duration, SystemTime};

use super::lines::*;
use super::*;
use crate::api::{HopRow, RouteRow};
use crate::daemon::services::api::mock::MockApi;

fn moment() -> Moment {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_632_084_523);
    Moment { now, started: now - Duration::from_secs(2267), reconfigured: now - Duration::from_secs(2267) }
}

fn peer(name: &str, state: &str, why: Option<&str>) -> PeerRow {
    serde_json::from_value(serde_json::json!({
        "name": name, "address": "172.17.8.102", "kind": "mesh", "local_as": 64512, "remote_as": 64512, "state": state, "admin_up": true,
        "state_seconds": 90000.0, "flaps": 0, "families": [], "why_down": why, "warnings": [],
    }))
    .expect("a row")
}

fn route(net: &str, peer: &str, next_hop: Option<&str>) -> RouteRow {
    serde_json::from_value(serde_json::json!({
        "net": net, "path_id": 0, "peer": peer, "peer_address": next_hop, "best": true, "multipath": false, "stale": false, "usable": true,
        "age_seconds": 60, "next_hop": next_hop, "origin": "IGP", "as_path": "", "local_pref": 100, "med": null, "communities": ["65001:1"],
        "large_communities": [], "extended_communities": [], "originator_id": null, "cluster_list": [], "refused": null,
    }))
    .expect("a row")
}

#[test]
fn commands_may_be_cut_short_and_nothing_can_be_changed() {
    assert_eq!(asked("show status"), Asked::Status);
    assert_eq!(asked("sh pro all Mesh_10_0_0_1"), Asked::Protocols { name: Some("Mesh_10_0_0_1".into()), details: true });
    assert_eq!(asked("show protocols \"Mesh_*\""), Asked::Protocols { name: Some("Mesh_*".into()), details: false });
    let Asked::Routes(routes) = asked("show route for 10.0.0.7 all primary") else { panic!("routes") };
    assert_eq!((routes.lookup, routes.details, routes.primary), (Lookup::For([10, 0, 0, 7].into()), true, true));
    let Asked::Routes(routes) = asked("show route export Mesh_10_0_0_1 count") else { panic!("routes") };
    assert_eq!((routes.lookup, routes.count), (Lookup::ExportedTo("Mesh_10_0_0_1".into()), true));
    for refused in ["configure", "disable Mesh_10_0_0_1", "down"] {
        assert!(matches!(asked(refused), Asked::Unknown(text) if text.starts_with("8007 ")), "{refused}");
    }
    for wrong in ["show", "show memory", "show route for", "show route 10.0.0.0/33", "\u{7f}", "s"] {
        assert!(matches!(asked(wrong), Asked::Unknown(text) if text.starts_with("9001 ")), "{wrong}");
    }
}

#[test]
fn the_status_names_router_and_times_and_that_a_recovery_goes_on() {
    let mut of = MockApi::status();
    let text = status(&of, &moment());
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "1000-BIRD v{version}+catbird\n1011-Router ID is 10.0.0.1\n Current server time is 2021-09-19 20:48:43\n Last reboot on 2021-09-19 20:10:56\n \
         Last reconfiguration on 2021-09-19 20:10:56\n0013 Daemon is up and running\n"
    );
    assert_eq!(text, expected);
    (of.recovering, of.peers_configured, of.peers_established) = (true, 3, 1);
    assert!(status(&of, &moment()).contains("\n0024-Graceful restart recovery in progress\n   Waiting for 2 protocols to recover\n0013 "));
}

#[test]
fn protocols_are_a_table_of_six_columns_and_details_under_a_code_of_their_own() {
    let moment = moment();
    let mut table = Protocols::new(&moment, None, false);
    let text = table.own() + &table.peer(&peer("Mesh_172_17_8_102", "Established", None), None);
    let text = text + &table.peer(&peer("Node_172_17_8_103", "Active", Some("connection refused")), None) + &table.end();
    let expected = "2002-name     proto    table    state  since       info\n1002-static1  Static   master   up     20:10:56    \n \
                    kernel1  Kernel   master   up     20:10:56    \n device1  Device   master   up     20:10:56    \n \
                    direct1  Direct   master   up     20:10:56    \n Mesh_172_17_8_102 BGP      master   up     2021-09-18  Established\n \
                    Node_172_17_8_103 BGP      master   start  2021-09-18  Active        connection refused\n0000 \n";
    assert_eq!(text, expected);
    let mut one = Protocols::new(&moment, Some("Mesh_172_17_8_102"), true);
    let text = one.own() + &one.peer(&peer("Mesh_172_17_8_102", "Established", None), None) + &one.end();
    assert!(text.contains("\n1006-  Routes:") && text.contains("\n   BGP state:          Established\n"), "{text}");
    assert!(text.contains("\n     Neighbor address: 172.17.8.102\n") && text.ends_with("\n \n0000 \n"), "{text}");
    assert_eq!(Protocols::new(&moment, Some("nobody"), false).end(), "8003 No protocols match\n");
}

#[test]
fn routes_have_gateway_device_and_whom_they_are_from() {
    let all = Routes { lookup: Lookup::All, details: false, primary: false, count: false };
    let moment = moment();
    let hop = HopRow { gateway: Some([172, 17, 0, 1].into()), interface: "eth0".into(), onlink: false, overlay: false, weight: 1 };
    let hops = Hops::from([("172.17.0.5".to_owned(), hop)]);
    let block =
        |net: &str, source: &str| BlockRow { net: net.parse().expect("a prefix"), source: source.into(), announced: true, from: None };
    let blocks = [block("192.168.162.128/26", "config"), block("192.168.9.1/32", "kernel")];
    let mut table = Table::new(&all, &moment, Side::V4, hops, &blocks);
    let mut text = table.route(&route("192.168.110.128/26", "Mesh_172_17_0_5", Some("172.17.0.5")));
    text +=
        &table.route(&RouteRow { best: false, as_path: "65001 65002".into(), ..route("192.168.110.128/26", "rack", Some("172.17.0.6")) });
    text += &table.route(&RouteRow { usable: false, best: false, ..route("192.168.1.0/26", "rack", Some("172.17.0.6")) });
    text += &table.route(&route("192.168.162.128/26", "local", None));
    text += &table.route(&route("192.168.9.1/32", "local", None));
    text += &table.route(&route("fd00::/64", "rack", Some("fd00::1")));
    let expected = [
        "1007-192.168.110.128/26 via 172.17.0.1 on eth0 [Mesh_172_17_0_5 20:47:43] * (100/0) [i]",
        "                    via 172.17.0.6 on - [rack 20:47:43] (100/0) [AS65002i]",
        " 192.168.1.0/26     unreachable [rack 20:47:43] (100/-) [i]",
        " 192.168.162.128/26 blackhole [static1 20:47:43] * (200)",
        " 192.168.9.1/32     dev - [kernel1 20:47:43] * (10)",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(table.end(), "0000 \n");
    let details = Routes { details: true, lookup: Lookup::Prefix("10.0.0.0/8".parse().expect("a prefix")), ..all };
    let mut table = Table::new(&details, &moment, Side::V4, Hops::new(), &[]);
    assert_eq!(table.end(), "8001 Network not in table\n");
    let text = table.route(&route("10.0.0.0/8", "rack", Some("172.17.0.6")));
    assert!(text.contains("\n1012-\tBGP.origin: IGP\n") && text.contains("\n \tBGP.community: (65001,1)\n"), "{text}");
}

/// Over a socket: `bird.ctl` of a folder of its own.
#[tokio::test]
async fn whoever_connects_is_greeted_answered_and_let_go() {
    let folder = std::env::temp_dir().join(format!("catbird-bird-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of our own");
    let task = tokio::spawn(serve(MockApi::new(), folder.clone(), 0o600));
    let path = folder.join("bird.ctl");
    let mut stream = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break BufReader::new(stream),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a greeting");
    assert!(line.starts_with("0001 BIRD v") && line.ends_with(" ready.\n"), "{line}");
    stream.write_all(b"show status\nshow protocols all nobody\nquit\n").await.expect("it listens");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("it answers and closes");
    assert!(
        rest.contains("1011-Router ID is 10.0.0.1\n") && rest.ends_with("0013 Daemon is up and running\n8003 No protocols match\n"),
        "{rest}"
    );
    // A second daemon leaves it alone.
    let second = MockApi::new();
    let other = tokio::spawn(serve(second.clone(), folder.clone(), 0o600));
    while !second.counters().warnings().iter().any(|text| text.contains("does BIRD still run?")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (mut long, _) = (UnixStream::connect(&path).await.expect("it serves on"), other.abort());
    long.write_all(&[b'x'; 3000]).await.expect("it listens");
    let mut said = String::new();
    let _reset = long.read_to_string(&mut said).await;
    assert!(!said.contains("9001"), "a line without an end is no command: {said}");
    task.abort();
    let _aborted = task.await;
    assert!(!path.exists(), "and the socket goes with its service");
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
