//! Ways that nobody has to build: who is asked, and what is found.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::report;
use super::trace::{Ask, Packet, Place, Silence, Way};
use crate::api::{
    Explanation, Fate, FibEntry, ForwardingHop, ForwardingReport, HopRow, KernelAnswer, LinkRow, NeighbourRow, PathExplanation, RouteRow,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(peer: &str, next_hop: Option<&str>) -> PathExplanation {
    let route = RouteRow {
        net: "10.244.2.0/26".parse().unwrap(),
        path_id: 0,
        peer: peer.into(),
        peer_address: None,
        best: true,
        multipath: false,
        stale: false,
        usable: true,
        age_seconds: None,
        next_hop: next_hop.map(str::to_owned),
        origin: "IGP".into(),
        as_path: String::new(),
        local_pref: Some(100),
        med: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
        extended_communities: Vec::new(),
        originator_id: None,
        cluster_list: Vec::new(),
        only_to_customer: None,
        rpki: None,
        refused: None,
    };
    PathExplanation {
        route,
        fate: Fate::Best,
        step: None,
        value: None,
        best_value: None,
        resolution: None,
        link_bandwidth: None,
        shared_bandwidth: None,
        stale_seconds_left: None,
        explanation: String::new(),
    }
}

fn answer(net: &str, kind: &str, ours: bool, text: &str) -> KernelAnswer {
    let protocol = if ours { "bgp" } else { "static" };
    let net = (kind != "none").then(|| net.parse().unwrap());
    KernelAnswer {
        address: ip("10.244.2.9"),
        net,
        table: 254,
        metric: 0,
        protocol: protocol.into(),
        ours,
        kind: kind.into(),
        route: text.into(),
    }
}

/// A node that forwards to `gateway` what goes to the pods of node c, by a route that BGP wants.
fn forwarder(node: &str, gateway: &str) -> ForwardingReport {
    let link = LinkRow { interface: "eth0".into(), up: true, mtu: 1500, mac: Some(format!("02:00:00:00:00:{}", &node[5..])), tunnel: None };
    let last = gateway.rsplit('.').next().unwrap();
    let entry = NeighbourRow { address: ip(gateway), mac: Some(format!("02:00:00:00:00:{last:0>2}")), state: "REACHABLE".into() };
    let hop = ForwardingHop { gateway: Some(ip(gateway)), link: link.clone(), chosen: true, tunnel_to: None, neighbour: Some(entry) };
    let row = HopRow { gateway: Some(ip(gateway)), interface: "eth0".into(), onlink: false, overlay: false, weight: 1 };
    let wanted = FibEntry { kind: "unicast".into(), hops: vec![row], metric: 0, source: None };
    let kernel = answer("10.244.2.0/26", "unicast", true, &format!("10.244.2.0/26 via {gateway} dev eth0 proto bgp"));
    let fib = crate::api::FibRow {
        net: "10.244.2.0/26".parse().unwrap(),
        state: "installed".into(),
        wanted: Some(wanted.clone()),
        installed: Some(wanted),
        errno: None,
        error: None,
    };
    let why = Explanation {
        net: "10.244.2.0/26".parse().unwrap(),
        asked: "10.244.2.9/32".parse().unwrap(),
        covering: Vec::new(),
        longer: Vec::new(),
        departed: None,
        from: None,
        paths: vec![route("node-03", Some("10.0.0.3"))],
        fib: Some(fib),
        kernel: Some(kernel.clone()),
        not_written: None,
        exports: Vec::new(),
    };
    ForwardingReport {
        node: node.into(),
        to: ip("10.244.2.9"),
        from: Some(ip("10.244.0.7")),
        input: Some(link),
        verdict: "forwarded".into(),
        route: Some(kernel),
        hops: vec![hop],
        strict_reverse_path: false,
        draining: false,
        http_port: Some(9179),
        why: Box::new(why),
    }
}

/// The node whose pod it is.
fn deliverer(node: &str) -> ForwardingReport {
    let mut report = forwarder(node, "10.0.0.9");
    report.verdict = "on_link".into();
    report.hops[0].gateway = None;
    report.hops[0].neighbour = None;
    report.hops[0].link.interface = "cali1".into();
    report.route = Some(answer("10.244.2.9/32", "unicast", false, "10.244.2.9 dev cali1"));
    report.why.paths = vec![route("local", None)];
    report
}

/// Node 01 forwards to node 03, which has the pod; both ways.
#[derive(Default)]
struct Cluster {
    nodes: BTreeMap<String, ForwardingReport>,
    asked: RefCell<Vec<String>>,
    /// Who is not among them refuses connections.
    alive: bool,
}

impl Cluster {
    fn healthy() -> Cluster {
        let nodes = [("here", forwarder("node-01", "10.0.0.3")), ("10.0.0.3", deliverer("node-03"))];
        Cluster { nodes: nodes.map(|(name, report)| (name.to_owned(), report)).into(), ..Cluster::default() }
    }

    fn with(change: impl FnOnce(&mut Cluster)) -> Cluster {
        let mut cluster = Cluster::healthy();
        change(&mut cluster);
        cluster
    }

    fn at(&mut self, name: &str) -> &mut ForwardingReport {
        self.nodes.get_mut(name).unwrap()
    }

    fn forward(&self) -> Way {
        report(self, ip("10.244.0.7"), ip("10.244.2.9"), 0).forward
    }
}

impl Ask for Cluster {
    fn ask(&self, place: Place, packet: &Packet) -> Result<ForwardingReport, Silence> {
        let name = if let Place::At(address) = place { address.to_string() } else { "here".to_owned() };
        self.asked.borrow_mut().push(name.clone());
        let mut answer = self.nodes.get(&name).cloned().ok_or(Silence { text: "no answer".into(), alive: self.alive })?;
        // The pod of node 01, asked of either.
        if packet.to == ip("10.244.0.7") {
            let other = if name == "here" || name == "10.0.0.1" { deliverer("node-01") } else { forwarder(&answer.node, "10.0.0.1") };
            answer = ForwardingReport { to: packet.to, from: packet.from, ..other };
        }
        Ok(answer)
    }
}

fn kinds(way: &Way) -> Vec<(String, String)> {
    let of = |stop: &super::Stop| stop.findings.iter().map(|f| (stop.name(), f.kind.clone())).collect::<Vec<_>>();
    way.stops.iter().flat_map(of).collect()
}

#[test]
fn a_healthy_way_is_told_in_both_directions_without_a_finding() {
    let mut cluster = Cluster::healthy();
    let back = deliverer("node-01");
    cluster.nodes.insert("10.0.0.1".into(), back);
    let report = report(&cluster, ip("10.244.0.7"), ip("10.244.2.9"), 0);
    assert!(report.forward.arrives && kinds(&report.forward).is_empty(), "{:#?}", report.forward);
    assert_eq!(report.forward.names(), ["node-01", "node-03"]);
    assert_eq!(report.back.as_ref().map(Way::names), Some(vec!["node-03".to_owned(), "node-01".to_owned()]));
    assert!(!report.asymmetric);
}

#[test]
fn what_the_kernel_does_instead_of_what_bgp_says_is_named_at_its_node() {
    let foreign = |net: &str, kind: &str| answer(net, kind, false, "somewhere else");
    let cases: [(&str, KernelAnswer); 4] = [
        ("longer_route", foreign("10.244.2.9/32", "unicast")),
        ("foreign_route", foreign("10.244.2.0/26", "unicast")),
        ("not_installed", foreign("0.0.0.0/0", "unicast")),
        ("other_table", KernelAnswer { table: 77, ..foreign("0.0.0.0/0", "unicast") }),
    ];
    for (kind, kernel) in cases {
        let cluster = Cluster::with(|cluster| {
            let report = cluster.at("here");
            report.hops[0].gateway = Some(ip("10.0.0.3"));
            report.hops[0].link.interface = "eth7".into();
            report.route = Some(kernel);
        });
        let way = cluster.forward();
        assert_eq!(way.cause().map(|(stop, f)| (stop.name(), f.kind.clone())), Some(("node-01".into(), kind.into())), "{way:#?}");
        assert!(way.arrives, "as it happens");
    }
    // The same way by another's route is worth a word, and no fault.
    let cluster = Cluster::with(|cluster| cluster.at("here").route = Some(foreign("10.244.2.9/32", "unicast")));
    let way = cluster.forward();
    assert!(way.arrives && kinds(&way) == [("node-01".to_owned(), "longer_route".to_owned())], "{way:#?}");
}

#[test]
fn what_comes_out_of_a_tunnel_is_measured_by_the_tunnels_device() {
    let through = |far: Option<&str>| {
        Cluster::with(|cluster| {
            let hop = &mut cluster.at("here").hops[0];
            (hop.link.tunnel, hop.tunnel_to) = (Some("vxlan".into()), Some(ip("10.0.0.3")));
            hop.neighbour.as_mut().unwrap().mac = Some("02:cb:0a:00:00:03".into());
            let input = cluster.at("10.0.0.3").input.as_mut().unwrap();
            (input.tunnel, input.mac) = (far.map(|_| "vxlan".into()), Some(far.unwrap_or("02:00:00:00:00:03").into()));
        })
    };
    assert_eq!(kinds(&through(Some("02:cb:0a:00:00:03")).forward()), []);
    assert_eq!(kinds(&through(Some("02:cb:0a:00:00:99")).forward()), [("node-01".to_owned(), "neighbour_wrong".to_owned())]);
    // It has no tunnel to answer by, and nothing to be measured by.
    assert_eq!(kinds(&through(None).forward()), []);
}

#[test]
fn a_dead_end_is_named_with_its_cause() {
    let verdicts = ["unreachable", "prohibit", "no_route", "reverse_path", "martian", "not_forwarding"];
    for verdict in verdicts {
        let cluster = Cluster::with(|cluster| {
            let report = cluster.at("here");
            (report.verdict, report.route, report.hops) = (verdict.into(), None, Vec::new());
        });
        assert_eq!(kinds(&cluster.forward()), [("node-01".to_owned(), verdict.to_owned())]);
    }
    let cluster = Cluster::with(|cluster| {
        let report = cluster.at("10.0.0.3");
        (report.verdict, report.hops) = ("blackhole".into(), Vec::new());
    });
    assert_eq!(kinds(&cluster.forward()), [("node-03".to_owned(), "no_pod".to_owned())]);
}

#[test]
fn links_and_neighbours_are_looked_at_from_both_ends() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change); 4] = [
        ("link_down", |c| c.at("here").hops[0].link.up = false),
        ("neighbour_dead", |c| c.at("here").hops[0].neighbour.as_mut().unwrap().state = "FAILED".into()),
        ("neighbour_wrong", |c| c.at("here").hops[0].neighbour.as_mut().unwrap().mac = Some("02:00:00:00:00:99".into())),
        ("neighbour_wrong", |c| {
            let hop = &mut c.at("here").hops[0];
            hop.link.tunnel = Some("vxlan".into());
        }),
    ];
    for (kind, change) in cases {
        let way = Cluster::with(change).forward();
        assert_eq!(way.cause().map(|(stop, f)| (stop.name(), f.kind.clone())), Some(("node-01".into(), kind.into())), "{way:#?}");
    }
    let way = Cluster::with(|c| c.at("10.0.0.3").hops[0].link.mtu = 1400).forward();
    assert!(way.arrives && kinds(&way) == [("node-03".to_owned(), "mtu".to_owned())], "{way:#?}");
}

#[test]
fn a_silent_node_is_passed_over_and_a_circle_ends() {
    // By a router that is no node of ours: the announcer is asked next.
    let cluster = Cluster::with(|c| {
        let hop = &mut c.at("here").hops[0];
        hop.gateway = Some(ip("10.0.0.254"));
        hop.neighbour = None;
        c.at("here").why.fib = None;
    });
    let way = cluster.forward();
    assert!(way.arrives && way.stops.len() == 3 && way.stops[2].gap, "{way:#?}");
    // The dead node itself, whose routes are kept.
    let cluster = Cluster::with(|c| {
        c.at("here").why.paths[0].route.stale = true;
        c.nodes.remove("10.0.0.3");
    });
    let way = cluster.forward();
    assert_eq!(way.cause().map(|(stop, f)| (stop.name(), f.kind.clone())), Some(("node-01".into(), "stale".into())), "{way:#?}");
    // Its daemon alone: packets may well go on.
    let cluster = Cluster::with(|c| {
        c.at("here").why.paths[0].route.stale = true;
        c.nodes.remove("10.0.0.3");
        c.alive = true;
    });
    let way = cluster.forward();
    assert!(way.cause().is_none() && !way.arrives && kinds(&way).contains(&("node-01".into(), "stale".into())), "{way:#?}");
    // One that does not answer and is not known to be dead: nobody says that it arrives.
    let way = Cluster::with(|c| drop(c.nodes.remove("10.0.0.3"))).forward();
    assert!(!way.arrives && way.cause().is_none(), "{way:#?}");
    let cluster = Cluster::with(|c| {
        c.nodes.insert("10.0.0.3".into(), forwarder("node-01", "10.0.0.3"));
        c.at("here").hops[0].neighbour = None;
    });
    let way = cluster.forward();
    assert_eq!(way.cause().map(|(_, f)| f.kind.as_str()), Some("circle"), "{way:#?}");
}
