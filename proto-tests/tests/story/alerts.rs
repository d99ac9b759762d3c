//! A real Prometheus with the rules that we ship watches a cluster of eight nodes: nothing rings while all is well, and through a dozen faults
//! the right alert rings each time and is over when the fault is.
//!
//! In a test the rules are a generated copy: everything that lasts (`for`, ranges, offsets) lasts a sixtieth, and Prometheus looks each second.
//! The rules as they are, over ten minutes of health: `cargo test -p proto-tests --features proto-tests/big --test story -- --ignored
//! ten_minutes`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proto_tests::netlab::cluster::{Cluster, Member, Mode, Plan};
use proto_tests::netlab::proc::{catbird, frr_program, program, workspace};
use proto_tests::netlab::story::http_get;
use proto_tests::netlab::{alone, patiently, skip, user};
use regex::Regex;
use serde_json::Value;

const PATIENT: Duration = Duration::from_secs(120);
const RULES: &str = "configs/prometheus/catbird.rules.yml";
const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const NODES: usize = 8;
/// The router of the rack, which node2 and node4 have sessions with.
const TOR: u8 = 99;

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the router of the rack does.
#[derive(Clone)]
struct Rack {
    asn: u32,
    routes: usize,
    password: &'static str,
}

const HEALTHY: Rack = Rack { asn: 65_001, routes: 2, password: "secret" };

struct Watched {
    cluster: Cluster,
    tor: Member,
    bgpd: Option<Running>,
    prometheus: Option<Running>,
}

/// Everything that lasts, lasts a part of it; of minutes and hours, in whole seconds.
fn scaled(rules: &str, divisor: u64) -> String {
    let lasting = Regex::new(r"(for: |\[|offset )(\d+)([mh])").expect("a pattern");
    let shorter = |found: &regex::Captures<'_>| {
        let minutes: u64 = found[2].parse::<u64>().expect("digits") * if &found[3] == "h" { 60 } else { 1 };
        format!("{}{}s", &found[1], (minutes * 60 / divisor).max(1))
    };
    lasting.replace_all(rules, shorter).into_owned()
}

#[test]
fn a_scaled_copy_of_the_rules_differs_in_its_times_alone() {
    let rules = fs::read_to_string(workspace().join(RULES)).expect("the rules");
    let short = scaled(&rules, 60);
    let times = Regex::new(r"(for: |\[|offset )\d+[smh]").expect("a pattern");
    assert_eq!(times.replace_all(&rules, "$1"), times.replace_all(&short, "$1"));
    assert!(short.contains("for: 10s") && short.contains("[15s]") && short.contains("offset 10s") && !short.contains("for: 2m"));
}

impl Watched {
    fn new(test: &str) -> Option<Watched> {
        if !user::is_root() {
            skip(test, "FRR in a namespace needs root");
            return None;
        }
        for (name, found) in [("prometheus", program("prometheus")), ("frr", frr_program("bgpd"))] {
            if found.is_none() {
                skip(test, &format!("{name} is not installed"));
                return None;
            }
        }
        let plan = Plan { mode: Mode::FullMesh, nodes: NODES, pods: 0, dark: 0 };
        let cluster = Cluster::build(plan, &catbird().unwrap_or_else(|e| panic!("{e}"))).expect("a cluster");
        let tor = cluster.attach("tor", TOR).expect("one more machine");
        let mut watched = Watched { cluster, tor, bgpd: None, prometheus: None };
        for index in 0..NODES {
            watched.configure(index, |text| text);
        }
        fs::write(watched.file("node3.blocks"), "10.244.103.0/26\n").expect("ours");
        fs::write(watched.file("password"), HEALTHY.password).expect("ours");
        ip(&watched.cluster.members[7], "addr add 10.244.8.1/32 dev lo");
        watched.rack(&HEALTHY);
        watched.cluster.start_all().expect("the daemons start");
        Some(watched)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.cluster.scratch().join(name)
    }

    /// The node's configuration in health, changed.
    fn configure(&self, index: usize, change: impl FnOnce(String) -> String) {
        let mut text = self.cluster.config(&self.cluster.members[index]) + "\n[metrics]\nlisten = \"0.0.0.0:9179\"\n";
        let peer = |more: &str| {
            format!(
                "\n[[peer]]\nname = \"tor\"\naddress = \"10.12.22.{TOR}\"\nasn = 65001\nimport = \"all\"\nexport = \"own-blocks\"\n\
                 connect_retry = \"1s\"\nidle_hold_max = \"1s\"\n{more}\n"
            )
        };
        match index {
            1 => text += &peer("max_prefix_ipv4 = 10"),
            2 => text = text.replace("[pods]\n", &format!("[pods]\nfile = \"{}\"\n", self.file("node3.blocks").display())),
            3 => text += &peer(&format!("password_file = \"{}\"", self.file("password").display())),
            7 => text += "\n[fib]\nsource_ipv4 = \"10.244.8.1\"\n",
            _ => {}
        }
        self.cluster.configure(index, &change(text)).expect("the scratch folder is ours");
    }

    /// The router of the rack from now on; none for no router.
    fn rack(&mut self, rack: impl Into<Option<&'static Rack>>) {
        self.bgpd = None;
        let Some(rack) = rack.into() else { return };
        let mut text = format!(
            "frr defaults traditional\nrouter bgp {}\n bgp router-id 10.12.22.{TOR}\n no bgp ebgp-requires-policy\n no bgp network import-check\n",
            rack.asn
        );
        for node in ["10.12.22.2", "10.12.22.4"] {
            text += &format!(" neighbor {node} remote-as 64512\n neighbor {node} timers connect 1\n");
        }
        text += &format!(" neighbor 10.12.22.4 password {}\n address-family ipv4 unicast\n", rack.password);
        (0..rack.routes).for_each(|n| text += &format!("  network 10.90.{n}.0/24\n"));
        let config = self.file("frr.conf");
        fs::write(&config, text + " exit-address-family\n").expect("the scratch folder is ours");
        let mut command = Command::new(frr_program("bgpd").expect("looked for before"));
        command.args(["-A", "127.0.0.1", "-S", "-Z", "-f"]).arg(config).args(["--log", "stdout"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.bgpd = Some(Running(self.tor.ns.spawn(command).expect("bgpd starts")));
    }

    /// Prometheus in the first node's network, with these rules.
    fn watch(&mut self, rules: &str, every: &str) {
        fs::write(self.file("rules.yml"), rules).expect("the scratch folder is ours");
        let target = |n: usize| format!("      - {{ targets: ['10.12.22.{n}:9179'], labels: {{ instance: node{n} }} }}\n");
        let targets: String = (1..=NODES).map(target).collect();
        let config = format!(
            "global: {{ scrape_interval: {every}, scrape_timeout: 1s, evaluation_interval: {every} }}\nrule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: catbird\n    static_configs:\n{targets}"
        );
        fs::write(self.file("prometheus.yml"), config).expect("the scratch folder is ours");
        let mut command = Command::new(program("prometheus").expect("looked for before"));
        let storage = self.file("prometheus");
        command.arg("--config.file").arg(self.file("prometheus.yml")).arg("--storage.tsdb.path").arg(storage);
        command.args(["--web.listen-address", &PROMETHEUS.to_string(), "--log.level", "error"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(self.file("prometheus.log")).expect("ours"));
        self.prometheus = Some(Running(self.cluster.members[0].ns.spawn(command).expect("prometheus starts")));
    }

    fn query(&self, query: &str) -> Option<Vec<Value>> {
        let escaped: String = query.bytes().map(|octet| format!("%{octet:02x}")).collect();
        let path = format!("/api/v1/query?query={escaped}");
        let body = self.cluster.members[0].ns.run(move || http_get(PROMETHEUS, &path)).ok()?;
        let at = body.find('{')?;
        let value: Value = serde_json::from_str(body[at..].trim_end()).ok()?;
        value["data"]["result"].as_array().cloned()
    }

    /// Alerts that ring: name and all labels as text.
    fn ringing(&self) -> Vec<String> {
        let rows = self.query("ALERTS{alertstate=\"firing\"}").unwrap_or_default();
        rows.iter().map(|row| row["metric"].to_string()).collect()
    }

    fn rings(&self, alert: &str, labels: &[&str]) -> bool {
        let name = format!("\"alertname\":\"{alert}\"");
        self.ringing().iter().any(|row| row.contains(&name) && labels.iter().all(|label| row.contains(label)))
    }

    /// How often the rules were looked at: Prometheus says that of itself.
    fn evaluations(&self) -> f64 {
        let text = self.cluster.members[0].ns.run(|| http_get(PROMETHEUS, "/metrics")).unwrap_or_default();
        let of = text.lines().filter(|line| line.starts_with("prometheus_rule_group_iterations_total{"));
        of.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).fold(0.0, f64::max)
    }

    /// Nothing rings over so many looks.
    fn is_silent(&self, looks: f64, patience: Duration) {
        let all = NODES * (NODES - 1) + 2;
        let up = || self.cluster.established_ends();
        assert!(patiently(PATIENT, || up() == Ok(all)).is_some(), "{:?} of {all} session ends", up());
        assert!(
            patiently(PATIENT, || self.query("sum(up)").is_some_and(|rows| rows.first().is_some_and(|row| row["value"][1] == "8")))
                .is_some()
        );
        assert!(patiently(PATIENT, || self.ringing().is_empty()).is_some(), "{:#?}", self.ringing());
        let begun = self.evaluations();
        let mut rang = Vec::new();
        let over = patiently(patience, || {
            rang = self.ringing();
            !rang.is_empty() || self.evaluations() >= begun + looks
        });
        assert!(over.is_some() && rang.is_empty(), "in health: {rang:#?}");
    }

    /// All of these ring.
    fn ring(&self, wanted: &[(&str, &[&str])]) {
        for (alert, labels) in wanted {
            let rang = patiently(PATIENT, || self.rings(alert, labels));
            assert!(rang.is_some(), "{alert} {labels:?} does not ring; these do: {:#?}", self.ringing());
            println!("{alert} {labels:?} rings");
        }
    }

    fn is_over(&self) {
        assert!(patiently(PATIENT, || self.ringing().is_empty()).is_some(), "still ringing: {:#?}", self.ringing());
    }

    fn catbird(&self, index: usize, args: &[&str]) -> String {
        let out = self.cluster.catbird(index, args).expect("the binary runs");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }
}

fn ip(member: &Member, words: &str) {
    let mut command = Command::new("ip");
    command.args(words.split_whitespace());
    let out = member.ns.output(command).expect("iproute2 is installed");
    assert!(out.status.success(), "ip {words}: {}", String::from_utf8_lossy(&out.stderr));
}

fn rules() -> String {
    fs::read_to_string(workspace().join(Path::new(RULES))).expect("the rules")
}

#[test]
fn a_healthy_cluster_is_silent_and_each_fault_rings_its_alert_and_is_over_after() {
    let Some(mut lab) = Watched::new("alerts of a real Prometheus") else { return };
    let _alone = alone();
    lab.watch(&scaled(&rules(), 60), "1s");
    lab.is_silent(30.0, PATIENT);
    on_six_nodes(&mut lab);
    lab.is_over();
    on_two_nodes_and_the_rack(&mut lab);
    lab.is_over();
    at_the_rack(&mut lab);
    lab.is_over();
}

/// A dead daemon, a broken pair, a router that is gone, files that cannot be used, another's route.
fn on_six_nodes(lab: &mut Watched) {
    lab.cluster.kill(7);
    ip(&lab.cluster.members[4], "route add blackhole 10.12.22.6/32");
    lab.catbird(4, &["peer", "node6", "clear"]);
    lab.rack(None);
    fs::write(lab.file("node3.blocks"), "10.244.103.0/26\nthis is no prefix\n").expect("ours");
    lab.configure(0, |text| text + "\nnonsense = true\n");
    assert!(lab.catbird(0, &["reload"]).contains("nothing was changed"));
    ip(&lab.cluster.members[6], "route add 10.244.2.0/26 via 10.12.22.3 proto static");
    lab.ring(&[
        ("CatbirdDown", &["node8"]),
        ("CatbirdPeersMissing", &["node5", "mesh"]),
        ("CatbirdPeerDown", &["node2", "tor"]),
        ("CatbirdFileUnusable", &["node3", "blocks"]),
        ("CatbirdStaleConfig", &["node1"]),
        ("CatbirdForeignRoutes", &["node7"]),
    ]);
    lab.cluster.start(7).expect("it starts again");
    ip(&lab.cluster.members[4], "route del blackhole 10.12.22.6/32");
    lab.rack(&HEALTHY);
    fs::write(lab.file("node3.blocks"), "10.244.103.0/26\n").expect("ours");
    lab.configure(0, |text| text);
    lab.catbird(0, &["reload"]);
    ip(&lab.cluster.members[6], "route del 10.244.2.0/26 via 10.12.22.3 proto static");
}

/// Routes that the kernel refuses, a node that announces nothing, one without blocks, a router with another AS number.
fn on_two_nodes_and_the_rack(lab: &mut Watched) {
    const OTHER_AS: &Rack = &Rack { asn: 65_009, ..HEALTHY };
    lab.rack(OTHER_AS);
    ip(&lab.cluster.members[7], "addr del 10.244.8.1/32 dev lo");
    lab.configure(6, |text| text.replace("mode = \"full-mesh\"\n", "mode = \"full-mesh\"\nexport = \"none\"\n"));
    lab.catbird(6, &["reload"]);
    lab.configure(5, |text| text.split("[pods]").next().unwrap_or_default().to_owned() + "[metrics]\nlisten = \"0.0.0.0:9179\"\n");
    lab.catbird(5, &["reload"]);
    lab.ring(&[
        ("CatbirdProtocolError", &["node2", "\"code\":\"2\""]),
        ("CatbirdRoutesRefused", &["node8"]),
        ("CatbirdFibDrift", &["node8"]),
        ("CatbirdNothingAdvertised", &["node7"]),
        ("CatbirdNoBlocks", &["node6"]),
    ]);
    lab.rack(&HEALTHY);
    ip(&lab.cluster.members[7], "addr add 10.244.8.1/32 dev lo");
    for index in [5, 6] {
        lab.configure(index, |text| text);
        lab.catbird(index, &["reload"]);
    }
}

/// A router near its limit and with another password, one without routes, one whose session falls again and again.
fn at_the_rack(lab: &mut Watched) {
    const MANY: &Rack = &Rack { routes: 9, password: "another", ..HEALTHY };
    const EMPTY: &Rack = &Rack { routes: 0, ..HEALTHY };
    lab.rack(MANY);
    lab.ring(&[("CatbirdMaxPrefixNear", &["node2"]), ("CatbirdMd5Refused", &["node4"])]);
    lab.rack(EMPTY);
    lab.ring(&[("CatbirdPeerWithoutRoutes", &["node2"])]);
    lab.rack(&HEALTHY);
    let flaps = patiently(PATIENT, || {
        lab.catbird(1, &["peer", "tor", "clear"]);
        patiently(Duration::from_secs(3), || lab.catbird(1, &["peer", "tor"]).contains("Established since"));
        lab.rings("CatbirdPeerFlapping", &["node2"])
    });
    assert!(flaps.is_some(), "{:#?}", lab.ringing());
}

#[test]
#[ignore = "the rules as they are, over ten minutes of health: `proto-tests/run --big`"]
fn ten_minutes_of_health_are_silent_by_the_rules_as_they_are() {
    let Some(mut lab) = Watched::new("ten minutes of health") else { return };
    let _alone = alone();
    lab.watch(&rules(), "5s");
    lab.is_silent(120.0, Duration::from_secs(15 * 60));
}
