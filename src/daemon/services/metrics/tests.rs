use std::net::Ipv4Addr;

use super::*;
use crate::api::{
    BlockRow, BmpRow, Counters, FibCounts, FibOperations, FibTableRow, Histogram, MalformedCount, MemoryRow, MessageRow, NotificationCount,
    PeerRow, RpkiCacheRow, RpkiReport, Status, TableRow, UpdateRow,
};
use crate::num::{Asn, Family};

fn family(family: Family) -> FamilyRow {
    FamilyRow {
        family,
        negotiated: true,
        received: 80,
        prefixes: 80,
        accepted: 70,
        rejected: 10,
        stale: 5,
        advertised: 3,
        end_of_rib: true,
        max_prefix: Some(100),
    }
}

/// A peer with everything that a peer can have.
fn peer(n: u32, kind: &str) -> PeerMetrics {
    let messages = ["open", "update", "notification", "keepalive", "route_refresh"];
    let notification = |subcode| NotificationCount { direction: "sent".into(), code: 6, subcode, count: 1 };
    PeerMetrics {
        row: PeerRow {
            name: format!("node-{n}"),
            address: Ipv4Addr::from(0x0A00_0000 + n).to_string(),
            kind: kind.into(),
            local_as: Asn(64512),
            remote_as: Some(Asn(64512)),
            state: "Established".into(),
            admin_up: true,
            state_seconds: 60.0,
            flaps: 2,
            bfd: Some("up".into()),
            families: Family::ALL.into_iter().map(family).collect(),
            why_down: None,
            failures: Vec::new(),
            warnings: Vec::new(),
        },
        expects_routes: true,
        established_at_seconds: Some(40.0),
        last_down: Some(LastDown {
            ago_seconds: 61.0,
            direction: "received".into(),
            code: Some(6),
            subcode: Some(4),
            data: None,
            reason: "a text \"of\" the peer\n".into(),
        }),
        bfd_downs: 1,
        neighbours: Some((2, 1)),
        messages: messages.into_iter().map(|kind| MessageRow { kind: kind.into(), received: 3, sent: 4 }).collect(),
        updates: UpdateRow {
            announced_received: 5,
            announced_rejected: 1,
            withdrawn_received: 2,
            announced_sent: 7,
            withdrawn_sent: 1,
            malformed: 1,
        },
        notifications: (1..=10).map(notification).collect(),
        malformed: vec![MalformedCount { attribute: "MULTI_EXIT_DISC".into(), action: "treat_as_withdraw".into(), count: 1 }],
    }
}

const FIB: FibCounts = FibCounts { wanted: 10, installed: 9, failed: 1, foreign: 0 };

fn snapshot(peers: Vec<PeerMetrics>) -> Snapshot {
    Snapshot {
        status: Status {
            name: "a".into(),
            router_id: Ipv4Addr::new(10, 0, 0, 1),
            asn: Asn(64512),
            mode: "full-mesh".into(),
            cluster_id: None,
            uptime_seconds: 100.0,
            peers_configured: peers.len(),
            peers_established: peers.len(),
            peers_down: Vec::new(),
            tables: Family::ALL.into_iter().map(|family| TableRow { family, prefixes: 10, paths: 20 }).collect(),
            attribute_sets: 7,
            fib: FIB,
            fib_tables: Family::ALL.into_iter().map(|family| FibTableRow { family, table: 254, counts: FIB }).collect(),
            blocks: 1,
            phase: "running".into(),
            memory: MemoryRow { routes_bytes: 3, attributes_bytes: 2, export_bytes: 1, fib_bytes: 4, budget_bytes: Some(100) },
            jobs: Vec::new(),
            draining: false,
            leaving: None,
            recovering: true,
            waiting: None,
            rpki: None,
            warnings: Vec::new(),
        },
        peers,
        blocks: vec![BlockRow { net: "10.1.0.0/26".parse().expect("a prefix"), source: "file".into(), announced: true, from: None }],
        rpki: Some(RpkiReport {
            source: Some("192.0.2.8:323".into()),
            session: Some(7),
            serial: Some(5),
            age_seconds: Some(3.0),
            expires_seconds: Some(7197.0),
            vrps_ipv4: 2,
            vrps_ipv6: 1,
            updates: 4,
            caches: vec![RpkiCacheRow {
                cache: "192.0.2.8:323".into(),
                preference: 1,
                state: "synchronised".into(),
                in_use: true,
                since_seconds: 9.0,
                version: Some(1),
                connections: 2,
                failures: 1,
                again_seconds: None,
                last_error: None,
            }],
            verdict: None,
        }),
        bmp: vec![BmpRow {
            station: "192.0.2.9:1790".into(),
            tables: vec!["loc-rib".into()],
            state: "following".into(),
            since_seconds: Some(1.0),
            waiting: 2,
            connections: 1,
            messages: 3,
            bytes: 400,
            overruns: 0,
            last_error: None,
        }],
        counters: Counters {
            bestpath_seconds: {
                let mut h = Histogram::of_seconds();
                [0.00005, 0.002, 99.0].into_iter().for_each(|s| h.observe(s));
                h
            },
            convergence_seconds: Histogram::of_seconds(),
            fib_operations: ["replace", "remove"]
                .into_iter()
                .flat_map(|op| ["ok", "error"].map(|result| FibOperations { op: op.into(), result: result.into(), count: 1 }))
                .collect(),
            fib_repaired: 1,
            fib_reconciles: 2,
            strangers: 3,
            stale_routes: 10,
        },
    }
}

fn scrape(snapshot: &Snapshot, per_peer: PerPeer) -> String {
    let around = Surroundings {
        per_peer: Some(per_peer),
        ready: true,
        started: 1_799_999_900.0,
        neighbours: vec![crate::daemon::services::neighbours::Table { family: "ipv4", entries: 27, limit: Some(1024) }],
        reload_successful: true,
        reloaded: 1_799_999_900.0,
    };
    let counters = DaemonMetrics::default();
    counters.netlink.get_or_init(Default::default);
    counters.file_read("blocks", Vec::new());
    counters.core_steps.observe(std::time::Duration::from_millis(2));
    let nodes = SourceRow {
        kind: "nodes".into(),
        only: None,
        objects: 3,
        listed_seconds_ago: Some(60.0),
        contact_seconds_ago: Some(5.0),
        events: 7,
        octets: 9000,
        lists: 1,
        errors: 0,
        pages: false,
        error: None,
    };
    counters.watches.come_from(move || vec![nodes.clone()]);
    expose(snapshot, &counters, &around).expect("a scrape")
}

fn series(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("process_")).collect()
}

#[test]
fn a_mesh_of_five_hundred_costs_no_series_a_peer_unless_asked_for() {
    let kinds = ["mesh", "rr_client", "rr"];
    let many = snapshot((0..499).map(|n| peer(n, kinds[n as usize % 3])).collect());
    let by_default = scrape(&many, PerPeer::External);
    let count = series(&by_default).len();
    assert!(count <= FIXED_SERIES + 40, "three kinds of aggregated peers: {count}");
    let one_kind = snapshot((0..499).map(|n| peer(n, "mesh")).collect());
    let count = series(&scrape(&one_kind, PerPeer::External)).len();
    assert!((60..=FIXED_SERIES).contains(&count), "{count} fixed series");
    assert!(!by_default.contains("peer="));
    let sum: f64 = series(&by_default)
        .iter()
        .filter(|line| line.starts_with("catbird_routes{") && line.contains("view=\"received\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert_eq!(sum, 499.0 * 160.0, "the sums miss nobody");
}

#[test]
fn a_peer_has_a_bounded_number_of_series() {
    let text = scrape(&snapshot(vec![peer(1, "external"), peer(2, "mesh")]), PerPeer::External);
    let of_peer: Vec<&str> = series(&text).into_iter().filter(|line| line.contains("peer=\"10.0.0.1\"")).collect();
    assert_eq!(of_peer.len(), PEER_SERIES, "the fullest peer fills the bound: {of_peer:#?}");
    assert!(series(&text).iter().all(|line| !line.contains("peer=\"10.0.0.2\"")));
    for needed in [
        "catbird_peer_up",
        "catbird_peer_state",
        "catbird_peer_last_down_info",
        "catbird_messages_total",
        "catbird_routes",
        "catbird_notifications_total",
    ] {
        assert!(of_peer.iter().any(|line| line.starts_with(needed)), "{needed}");
    }
}

#[test]
fn a_removed_peer_leaves_no_series_behind() {
    let both = scrape(&snapshot(vec![peer(1, "external"), peer(2, "external")]), PerPeer::All);
    assert!(both.contains("peer=\"10.0.0.2\""));
    let one = scrape(&snapshot(vec![peer(1, "external")]), PerPeer::All);
    assert!(one.contains("peer=\"10.0.0.1\"") && !one.contains("10.0.0.2"));
}

#[test]
fn histograms_are_cumulative_and_states_are_numbers() {
    let text = scrape(&snapshot(vec![peer(1, "external")]), PerPeer::All);
    for line in [
        "catbird_bestpath_duration_seconds_bucket{le=\"0.0001\"} 1",
        "catbird_bestpath_duration_seconds_bucket{le=\"0.003\"} 2",
        "catbird_bestpath_duration_seconds_bucket{le=\"+Inf\"} 3",
        "catbird_bestpath_duration_seconds_count 3",
        "catbird_peer_state{peer=\"10.0.0.1\",kind=\"external\"} 6",
        "catbird_peer_established_timestamp_seconds{peer=\"10.0.0.1\",kind=\"external\"} 1799999940",
        "catbird_peers{kind=\"external\",state=\"established\"} 1",
        "catbird_max_prefix_ratio{peer=\"10.0.0.1\",kind=\"external\",family=\"ipv4-unicast\"} 0.8",
        "catbird_fib_routes{table=\"254\",family=\"ipv6-unicast\",state=\"installed\"} 9",
        "catbird_local_blocks{source=\"config\",family=\"ipv6-unicast\"} 0",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"));
    let cpu = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")).expect("is told");
    assert!(cpu.parse::<f64>().is_ok_and(|seconds| seconds > 0.0 && seconds.fract() > 0.0), "{cpu}");
}

#[test]
fn times_do_not_move_from_scrape_to_scrape_and_the_reason_has_its_subcode() {
    let at = |uptime: f64| {
        let mut later = snapshot(vec![peer(1, "external")]);
        later.status.uptime_seconds = uptime;
        scrape(&later, PerPeer::All)
    };
    let times = |text: &str| -> Vec<String> {
        let of = |line: &&str| line.starts_with("catbird_start_time_seconds") || line.starts_with("catbird_peer_established_timestamp");
        text.lines().filter(of).map(str::to_owned).collect()
    };
    let first = times(&at(100.0));
    assert_eq!(first.len(), 2, "{first:?}");
    assert!([100.016, 133.3333, 1e6].into_iter().all(|uptime| times(&at(uptime)) == first));
    let down = "catbird_peer_last_down_info{peer=\"10.0.0.1\",kind=\"external\",reason=\"cease\",direction=\"received\",code=\"6\",subcode=\"4\"} 1";
    assert!(at(1.0).contains(down), "{}", at(1.0));
}

#[test]
fn names_follow_prometheus_habits() {
    for known in METRICS {
        assert!(known.name.starts_with("catbird_") && !known.help.is_empty());
        assert_eq!(known.name.ends_with("_total"), known.kind == COUNTER, "{}", known.name);
    }
}

#[test]
fn promtool_has_nothing_to_say_about_a_scrape() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let text = scrape(&snapshot(vec![peer(1, "external"), peer(2, "mesh")]), PerPeer::External);
    let tool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut tool) = tool else {
        eprintln!("SKIPPED: promtool is not installed (Debian package prometheus)");
        return;
    };
    tool.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let outcome = tool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned() + &String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success() && said.trim().is_empty(), "{said}");
}

/// Names of our metrics in a text, without the suffixes of a histogram's series.
fn named(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let ours = words.filter(|word| word.starts_with("catbird_"));
    let histograms = METRICS.iter().filter(|known| known.kind == HISTOGRAM).map(|known| known.name);
    let histograms: Vec<&str> = histograms.collect();
    let base = |word: &str| {
        let stem = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| word.strip_suffix(suffix));
        stem.filter(|stem| histograms.contains(stem)).unwrap_or(word).to_owned()
    };
    ours.map(base).collect()
}

#[test]
fn alerts_and_dashboards_speak_of_metrics_that_exist() {
    let known: std::collections::BTreeSet<String> = METRICS.iter().map(|known| known.name.to_owned()).collect();
    let rules = include_str!("../../../../configs/prometheus/catbird.rules.yml");
    let dashboard = include_str!("../../../../configs/grafana/node.json");
    let cluster = include_str!("../../../../configs/grafana/cluster.json");
    for (file, text) in [("rules", rules), ("dashboard", dashboard), ("dashboard of the cluster", cluster)] {
        let asked = named(text);
        assert!(asked.len() > 10, "{file} asks for something");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let parsed: serde_json::Value = serde_json::from_str(dashboard).expect("is JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 20));
    let unseen: Vec<_> = known.difference(&named(dashboard)).filter(|name| !rules.contains(name.as_str())).cloned().collect();
    assert!(unseen.is_empty(), "nobody looks at {unseen:?}");
}

#[test]
fn every_metric_of_the_table_appears_in_a_full_scrape() {
    let text = scrape(&snapshot(vec![peer(1, "external"), peer(2, "mesh")]), PerPeer::External);
    for known in METRICS {
        assert!(text.contains(&format!("# TYPE {} ", known.name)), "{}", known.name);
    }
    for line in series(&text) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let Some(known) = METRICS.iter().find(|known| known.name == name) else { continue };
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        for label in labels.split("\",").filter(|label| !label.is_empty()).filter_map(|label| label.split_once('=')) {
            assert!(known.labels.contains(&label.0), "{}: {line}", label.0);
        }
    }
}

#[test]
fn alert_rules_ring_when_they_should_and_only_then() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/prometheus");
    let tool = std::process::Command::new("promtool").args(["test", "rules", "catbird.rules.test.yml"]).current_dir(folder).output();
    match tool {
        Ok(outcome) => assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stdout)),
        Err(_) => eprintln!("SKIPPED: promtool is not installed (Debian package prometheus)"),
    }
}

#[test]
fn the_readme_lists_every_metric_with_its_labels() {
    let readme = include_str!("../../../../README.md");
    let word = |kind| match kind {
        COUNTER => "counter",
        HISTOGRAM => "histogram",
        _ => "gauge",
    };
    for known in METRICS {
        let row = format!("| `{}` | {} | {} | {} |", known.name, word(known.kind), known.labels.join(", "), known.help);
        assert!(readme.contains(&row), "README.md lacks this row:\n{row}");
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `catbird_")).count();
    assert_eq!(rows, METRICS.len(), "and lists no others");
}
