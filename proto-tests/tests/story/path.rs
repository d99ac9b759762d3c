//! `catbird path` over three real nodes: twenty things that go wrong between two pods, one after the other, each named with its node.

use std::time::{Duration, Instant};

use proto_tests::console::{Deed, difference, steps_of};
use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::{alone, may_run, proc};
use proto_tests::node::ip;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

struct Lab {
    cluster: Cluster,
    from: String,
    to: String,
}

/// A fault, where it is asked about, and what is to be found: the node and the kind, on the way there or back.
struct Fault {
    what: &'static str,
    asked: usize,
    to: Option<&'static str>,
    deed: fn(&mut Lab),
    undo: fn(&mut Lab),
    node: &'static str,
    kinds: &'static [&'static str],
    back: bool,
}

impl Lab {
    fn start() -> Lab {
        let plan = Plan { mode: Mode::FullMesh, nodes: 3, pods: 1, dark: 0 };
        let binary = proc::catbird().unwrap_or_else(|error| panic!("{error}"));
        let mut cluster = Cluster::build(plan, &binary).expect("the cluster is built");
        for index in 0..3 {
            let text = cluster.config(&cluster.members[index]) + "\n[metrics]\nlisten = \"0.0.0.0:9179\"\n";
            cluster.configure(index, &text).unwrap();
        }
        cluster.start_all().unwrap();
        cluster.converge(&[0, 1, 2], LIMIT).unwrap();
        let pod = |index: usize| cluster.members[index].pods[0].v4.to_string();
        let (from, to) = (pod(0), pod(2));
        Lab { cluster, from, to }
    }

    fn ip(&self, index: usize, words: &str) {
        ip(&self.cluster.members[index].ns, words);
    }

    fn sysctl(&self, index: usize, key: &str, value: &str) {
        self.cluster.members[index].ns.sysctl(key, value).unwrap();
    }

    fn catbird(&self, index: usize, words: &[&str]) -> String {
        let out = self.cluster.catbird(index, words).unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    fn path(&self, index: usize, to: &str) -> (Value, Duration) {
        let begun = Instant::now();
        let out = self.cluster.catbird(index, &["path", &self.from, to, "--json"]).unwrap();
        let took = begun.elapsed();
        // A daemon that is not up yet answers nothing.
        (serde_json::from_slice(&out.stdout).unwrap_or_default(), took)
    }

    /// Until the packet goes and comes back again as BGP says.
    fn heal(&mut self, after: &str) {
        let begun = Instant::now();
        loop {
            let (report, _) = self.path(0, &self.to);
            let good = |way: &Value| way["arrives"] == true && findings(way).is_empty();
            if good(&report["forward"]) && good(&report["back"]) {
                return;
            }
            assert!(begun.elapsed() < LIMIT, "after {after}: {report:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn device(&self, index: usize) -> String {
        let text = ip(&self.cluster.members[index].ns, &format!("route get {}", self.cluster.members[index].pods[0].v4));
        text.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("a device").to_owned()
    }
}

/// Node (or its address) and kind.
fn findings(way: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for stop in way["stops"].as_array().into_iter().flatten() {
        let name = stop["report"]["node"].as_str().or(stop["address"].as_str()).unwrap_or("here");
        for finding in stop["findings"].as_array().into_iter().flatten() {
            all.push((name.to_owned(), finding["kind"].as_str().unwrap().to_owned()));
        }
    }
    all
}

fn nothing(_: &mut Lab) {}

fn fault(what: &'static str, node: &'static str, kinds: &'static [&'static str], deed: fn(&mut Lab), undo: fn(&mut Lab)) -> Fault {
    Fault { what, asked: 0, to: None, deed, undo, node, kinds, back: false }
}

fn of_routes() -> Vec<Fault> {
    vec![
        fault(
            "another's route in the place of ours",
            "node1",
            &["foreign_route"],
            |lab| lab.ip(0, "route add 10.244.3.0/26 via 10.12.22.2 metric 1"),
            |lab| lab.ip(0, "route del 10.244.3.0/26 via 10.12.22.2 metric 1"),
        ),
        fault(
            "a longer route to the wrong node",
            "node1",
            &["longer_route"],
            |lab| lab.ip(0, &format!("route add {}/32 via 10.12.22.2", lab.to)),
            |lab| lab.ip(0, &format!("route del {}/32 via 10.12.22.2", lab.to)),
        ),
        fault(
            "a longer route to nobody",
            "node1",
            &["longer_route", "neighbour_dead"],
            |lab| lab.ip(0, &format!("route add {}/32 via 10.12.22.99", lab.to)),
            |lab| lab.ip(0, &format!("route del {}/32", lab.to)),
        ),
        fault(
            "a blackhole",
            "node1",
            &["blackhole"],
            |lab| lab.ip(0, &format!("route add blackhole {}/32", lab.to)),
            |lab| lab.ip(0, &format!("route del blackhole {}/32", lab.to)),
        ),
        fault(
            "an unreachable route",
            "node1",
            &["unreachable"],
            |lab| lab.ip(0, &format!("route add unreachable {}/32", lab.to)),
            |lab| lab.ip(0, &format!("route del unreachable {}/32", lab.to)),
        ),
        Fault {
            back: true,
            ..fault(
                "no way back",
                "node3",
                &["blackhole"],
                |lab| lab.ip(2, &format!("route add blackhole {}/32", lab.from)),
                |lab| lab.ip(2, &format!("route del blackhole {}/32", lab.from)),
            )
        },
        fault(
            "two nodes that send it to each other",
            "node1",
            &["longer_route", "circle"],
            |lab| {
                lab.ip(0, &format!("route add {}/32 via 10.12.22.2", lab.to));
                lab.ip(1, &format!("route add {}/32 via 10.12.22.1", lab.to));
            },
            |lab| (0..2).for_each(|index| lab.ip(index, &format!("route del {}/32", lab.to))),
        ),
        fault(
            "a rule with a table of its own",
            "node1",
            &["other_table"],
            |lab| {
                lab.ip(0, "route add default via 10.12.22.2 table 77");
                lab.ip(0, "rule add from 10.244.1.0/26 lookup 77 pref 100");
            },
            |lab| {
                lab.ip(0, "rule del pref 100");
                lab.ip(0, "route flush table 77");
            },
        ),
        fault(
            "a rule that prohibits",
            "node1",
            &["prohibit"],
            |lab| lab.ip(0, "rule add from 10.244.1.0/26 to 10.244.3.0/26 prohibit pref 100"),
            |lab| lab.ip(0, "rule del pref 100"),
        ),
        fault(
            "a router that writes no routes",
            "node1",
            &["no_route", "not_installed"],
            |lab| {
                let text =
                    lab.cluster.config(&lab.cluster.members[0]) + "\n[metrics]\nlisten = \"0.0.0.0:9179\"\n\n[fib]\nenabled = false\n";
                lab.cluster.configure(0, &text).unwrap();
                lab.cluster.end(0, LIMIT).unwrap();
                lab.ip(0, "route flush proto bgp");
                lab.cluster.start(0).unwrap();
                lab.established(0);
            },
            |lab| {
                let text = lab.cluster.config(&lab.cluster.members[0]) + "\n[metrics]\nlisten = \"0.0.0.0:9179\"\n";
                lab.cluster.configure(0, &text).unwrap();
                lab.cluster.end(0, LIMIT).unwrap();
                lab.cluster.start(0).unwrap();
            },
        ),
    ]
}

fn of_nodes() -> Vec<Fault> {
    vec![
        Fault { to: Some("10.244.3.60"), ..fault("no such pod", "node3", &["no_pod"], nothing, nothing) },
        fault(
            "a node that forwards nothing",
            "node3",
            &["not_forwarding"],
            |lab| lab.sysctl(2, "net.ipv4.ip_forward", "0"),
            |lab| lab.sysctl(2, "net.ipv4.ip_forward", "1"),
        ),
        fault(
            "a strict reverse path filter and another way back",
            "node3",
            &["reverse_path"],
            |lab| {
                lab.ip(2, "link add aside type veth peer name aside1");
                lab.ip(2, "link set aside1 up");
                lab.ip(2, "link set aside up");
                lab.ip(2, &format!("route add {}/32 dev aside", lab.from));
                lab.sysctl(2, "net.ipv4.conf.eth1.rp_filter", "1");
            },
            |lab| {
                lab.sysctl(2, "net.ipv4.conf.eth1.rp_filter", "0");
                lab.ip(2, "link del aside");
            },
        ),
        fault(
            "a narrow link",
            "node3",
            &["mtu"],
            |lab| lab.ip(2, &format!("link set {} mtu 1300", lab.device(2))),
            |lab| lab.ip(2, &format!("link set {} mtu 1500", lab.device(2))),
        ),
        Fault {
            asked: 1,
            ..fault(
                "a wrong neighbour entry",
                "node1",
                &["neighbour_wrong"],
                |lab| lab.ip(0, "neigh replace 10.12.22.3 lladdr 02:00:00:00:00:99 dev eth1 nud permanent"),
                |lab| lab.ip(0, "neigh replace 10.12.22.3 lladdr 02:00:0a:0c:16:03 dev eth1 nud permanent"),
            )
        },
        fault(
            "a neighbour that does not answer",
            "node3",
            &["neighbour_dead"],
            |lab| {
                let pod = &lab.cluster.members[2].pods[0];
                ip(&pod.ns, &format!("addr del {}/32 dev eth0", lab.to));
                ip(&pod.ns, "link set eth0 arp off");
                lab.ip(2, &format!("neigh replace {} dev {} nud failed", lab.to, lab.device(2)));
            },
            |lab| {
                let pod = &lab.cluster.members[2].pods[0];
                ip(&pod.ns, "link set eth0 arp on");
                ip(&pod.ns, &format!("addr add {}/32 dev eth0", lab.to));
                lab.ip(2, &format!("neigh flush to {}", lab.to));
            },
        ),
        fault(
            "a node that is drained",
            "node1",
            &["no_route"],
            |lab| drop(lab.catbird(2, &["drain"])),
            |lab| drop(lab.catbird(2, &["undrain"])),
        ),
        fault("a node that died", "node1", &["stale"], |lab| lab.cluster.kill(2), |lab| lab.cluster.start(2).unwrap()),
        Fault {
            asked: 1,
            ..fault(
                "the first node's daemon is down",
                "10.12.22.1",
                &["no_answer"],
                |lab| lab.cluster.kill(0),
                |lab| lab.cluster.start(0).unwrap(),
            )
        },
        fault(
            "a cable that is pulled",
            "node1",
            &["link_down", "no_route"],
            |lab| drop(ip(lab.cluster.switch(), "link set port1 down")),
            |lab| drop(ip(lab.cluster.switch(), "link set port1 up")),
        ),
    ]
}

impl Lab {
    fn established(&self, index: usize) {
        let begun = Instant::now();
        while self.catbird(index, &["routes", "--count"]).trim() != "6 prefixes, 6 paths" {
            assert!(begun.elapsed() < LIMIT, "{}", self.catbird(index, &["peers"]));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn try_one(&mut self, fault: &Fault) -> Duration {
        (fault.deed)(self);
        let to = fault.to.map_or_else(|| self.to.clone(), str::to_owned);
        let begun = Instant::now();
        loop {
            let (report, took) = self.path(fault.asked, &to);
            let found = findings(&report[if fault.back { "back" } else { "forward" }]);
            // Its first finding: at this node, of this kind.
            if found.first().is_some_and(|(node, kind)| node == fault.node && fault.kinds.contains(&kind.as_str())) {
                return took;
            }
            assert!(
                begun.elapsed() < LIMIT / 4,
                "{}: {} at {} is wanted, not {found:?}: {report:#}",
                fault.what,
                fault.kinds[0],
                fault.node
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Those of the faults that the manual shows, after the path on which nothing is wrong.
const SHOWN: [&str; 2] = ["a rule with a table of its own", "a longer route to nobody"];

fn is_as_shown(nth: usize, said: &str) {
    let shown = steps_of(&proc::workspace().join("docs/operations.md"), "path");
    let Deed::Command { shown, .. } = &shown[nth].deed else { panic!("no command: {:?}", shown[nth]) };
    assert_eq!(difference(shown, said), None, "docs/operations.md:{nth}");
}

#[test]
fn of_twenty_faults_between_two_pods_each_is_named_with_its_node() {
    if !may_run("of_twenty_faults_between_two_pods_each_is_named_with_its_node") {
        return;
    }
    let _alone = alone();
    let mut lab = Lab::start();
    lab.heal("the start");
    let said = lab.catbird(0, &["path", &lab.from, &lab.to]);
    println!("{said}");
    is_as_shown(0, &said);
    let faults: Vec<Fault> = of_routes().into_iter().chain(of_nodes()).collect();
    assert_eq!(faults.len(), 20);
    for fault in &faults {
        let took = lab.try_one(fault);
        let to = fault.to.map_or_else(|| lab.to.clone(), str::to_owned);
        let said = lab.catbird(fault.asked, &["path", &lab.from, &to]);
        println!("== {} ({} ms)\n{said}", fault.what, took.as_millis());
        if let Some(at) = SHOWN.iter().position(|what| *what == fault.what) {
            is_as_shown(at + 1, &said);
        }
        (fault.undo)(&mut lab);
        lab.heal(fault.what);
    }
    a_daemon_that_is_down_is_said_and_passed_over(&mut lab);
}

/// In the midst, and at the beginning: what the others know is told all the same.
fn a_daemon_that_is_down_is_said_and_passed_over(lab: &mut Lab) {
    let detour = format!("route add {}/32 via 10.12.22.2", lab.to);
    lab.ip(0, &detour);
    lab.cluster.kill(1);
    let (report, took) = lab.path(0, &lab.to);
    println!("{}({} ms)", lab.catbird(0, &["path", &lab.from, &lab.to]), took.as_millis());
    assert_eq!(stops(&report["forward"]), ["node1", "10.12.22.2", "node3"]);
    let found = findings(&report["forward"]);
    assert!(
        found.contains(&("node1".into(), "longer_route".into())) && found.contains(&("10.12.22.2".into(), "no_answer".into())),
        "{found:?}"
    );
    assert!(took < Duration::from_secs(1), "{took:?}");
    lab.ip(0, &detour.replace("add", "del"));
    lab.cluster.start(1).unwrap();
    lab.heal("a daemon in the midst was down");
    lab.cluster.kill(0);
    let (report, took) = lab.path(1, &lab.to);
    println!("{}({} ms)", lab.catbird(1, &["path", &lab.from, &lab.to]), took.as_millis());
    assert_eq!(stops(&report["forward"]), ["10.12.22.1", "node3"]);
    assert!(findings(&report["forward"]).contains(&("10.12.22.1".into(), "no_answer".into())), "{report:#}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// The nodes, or their addresses where they do not answer.
fn stops(way: &Value) -> Vec<String> {
    let name = |stop: &Value| stop["report"]["node"].as_str().or(stop["address"].as_str()).unwrap_or("here").to_owned();
    way["stops"].as_array().into_iter().flatten().map(name).collect()
}
