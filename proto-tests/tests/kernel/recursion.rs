//! Next hops that lead to next hops: what the daemon resolves is what the kernel does with a packet, own routes and others' alike.

use std::time::Duration;

use proto_tests::netlab::sites::Sites;
use proto_tests::netlab::{may_run, patiently};

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);
const ROUTES: &str = "route show proto bgp";

/// Node 2 announces these blocks, each with a next hop of its own; the others with its address.
fn sites(test: &str, announced: &[(&str, &str)]) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(16).unwrap();
    sites.configure("").unwrap();
    announce(&sites, announced);
    sites.start_all().unwrap();
    sites.until_ip(0, PATIENT, ROUTES, |s| s.contains("10.244.2.0/26 via 10.0.2.1"));
    Some(sites)
}

fn announce(sites: &Sites, announced: &[(&str, &str)]) {
    let rules: Vec<String> = announced
        .iter()
        .filter(|(_, hop)| !hop.is_empty())
        .map(|(net, hop)| format!("    {{ prefixes = [\"{net}\"], set_next_hop = \"{hop}\", then = \"accept\" }},\n"))
        .collect();
    sites.configure_one(1, &format!("[policy.far]\nrules = [\n{}    {{ then = \"accept\" }},\n]", rules.concat())).unwrap();
    let blocks: Vec<String> = announced.iter().map(|(net, _)| format!("\"{net}\", ")).collect();
    let text = sites.config_text(1).replace("blocks = [", &format!("blocks = [{}", blocks.concat()));
    sites.set_config_text(1, &text.replace("[cluster]\n", "[cluster]\nexport = [\"far\"]\n")).unwrap();
}

fn until_why(sites: &Sites, net: &str, of: &str) {
    let why = || sites.catbird(0, &format!("why {net}"));
    assert!(patiently(PATIENT, || why().contains(of)).is_some(), "{of}:\n{}\n{}", why(), sites.catbird(0, "nexthops"));
}

#[test]
fn recursion_is_as_deep_as_it_is_true_and_loops_are_refused_and_said() {
    let mut announced = vec![("10.50.0.0/24".to_owned(), String::new())];
    announced.extend((1..=10).map(|n| (format!("10.{}.0.0/24", 50 + n), format!("10.{}.0.1", 49 + n))));
    // Each leads to the other.
    announced.extend([("10.70.0.0/24", "10.71.0.1"), ("10.71.0.0/24", "10.70.0.1")].map(|(net, hop)| (net.to_owned(), hop.to_owned())));
    let announced: Vec<(&str, &str)> = announced.iter().map(|(net, hop)| (net.as_str(), hop.as_str())).collect();
    let test = "recursion_is_as_deep_as_it_is_true_and_loops_are_refused_and_said";
    let Some(sites) = sites(test, &announced) else { return };
    for n in 50..=60 {
        sites.until_ip(0, PATIENT, ROUTES, |s| s.contains(&format!("10.{n}.0.0/24 via 10.0.2.1 dev eth0")));
    }
    // The first of all moves, and with it the whole chain.
    sites.ip(0, "route add 10.0.2.1/32 via 10.0.1.254 dev eth0");
    sites.until_ip(0, PATIENT, ROUTES, |s| (50..=60).all(|n| s.contains(&format!("10.{n}.0.0/24 via 10.0.1.254 dev eth0"))));
    sites.ip(0, "route del 10.0.2.1/32");
    sites.until_ip(0, PATIENT, ROUTES, |s| (50..=60).all(|n| s.contains(&format!("10.{n}.0.0/24 via 10.0.2.1 dev eth0"))));
    // By the default route, as if the other were not there: no packet goes in circles.
    let said = sites.catbird(0, "nexthops");
    for net in ["10.70.0.0/24", "10.71.0.0/24"] {
        let by_each_other = |s: &str| s.lines().any(|l| l.starts_with(net) && !l.contains("via 10.0.1.254"));
        assert!(!by_each_other(&sites.ip(0, ROUTES)), "{net}: {}\n{said}", sites.ip(0, ROUTES));
    }
    // Without a default route nothing but the loop is left.
    sites.ip(0, "route del default");
    sites.until_ip(0, PATIENT, ROUTES, |s| !s.contains("10.70.0.0/24") && !s.contains("10.71.0.0/24") && s.contains("10.60.0.0/24"));
    let circle = "our routes to it lead in a circle: 10.71.0.1 (10.71.0.0/24) -> 10.70.0.1 (10.70.0.0/24) -> 10.71.0.1";
    until_why(&sites, "10.70.0.0/24", circle);
    assert!(sites.catbird(0, "nexthops").contains(circle), "{}", sites.catbird(0, "nexthops"));
    let json: serde_json::Value = serde_json::from_str(&sites.catbird(0, "why 10.70.0.0/24 --json")).unwrap();
    let hops = &json["paths"][0]["resolution"]["circle"];
    assert_eq!(*hops, serde_json::json!(["10.71.0.1", "10.70.0.1", "10.71.0.1"]), "{json}");
    assert!(sites.catbird(0, "fib 10.70.0.0/24").contains("lead in a circle"), "{}", sites.catbird(0, "fib 10.70.0.0/24"));
}

#[test]
fn the_longest_match_decides_among_own_and_foreign_routes_alike() {
    let announced = [
        ("10.80.0.0/16", ""),
        ("10.80.5.0/24", "10.0.1.254"),
        ("10.90.0.0/24", "10.80.5.9"),
        ("10.91.0.0/24", "10.80.6.9"),
        // Into a block of node 1, where what no pod answers stops.
        ("10.92.0.0/24", "10.244.1.7"),
        ("10.93.0.0/24", "10.99.0.1"),
    ];
    let Some(sites) = sites("the_longest_match_decides_among_own_and_foreign_routes_alike", &announced) else { return };
    let until = |net: &str, gateway: &str| sites.until_ip(0, PATIENT, ROUTES, |s| s.contains(&format!("{net} via {gateway} dev eth0")));
    until("10.80.5.0/24", "10.0.1.254");
    until("10.90.0.0/24", "10.0.1.254");
    until("10.91.0.0/24", "10.0.2.1");
    let agrees = |net: &str, hop: &str| {
        let way = |s: String| s.split_whitespace().skip_while(|w| *w != "via").nth(1).map(str::to_owned);
        let kernel = way(sites.ip(0, &format!("route get {hop}"))).unwrap_or_else(|| hop.to_owned());
        let ours = sites.ip(0, ROUTES).lines().find(|l| l.starts_with(net)).and_then(|l| way(l.to_owned()));
        assert_eq!(ours.as_ref(), Some(&kernel), "{net} by {hop}");
    };
    agrees("10.90.0.0/24", "10.80.5.9");
    agrees("10.91.0.0/24", "10.80.6.9");
    // A longer one of somebody else's, and a shorter one.
    sites.ip(0, "route add 10.80.5.8/30 via 10.0.2.1 dev eth0 proto static");
    until("10.90.0.0/24", "10.0.2.1");
    agrees("10.90.0.0/24", "10.80.5.9");
    sites.ip(0, "route add 10.80.0.0/17 via 10.0.1.254 dev eth0 proto static");
    until("10.91.0.0/24", "10.0.1.254");
    agrees("10.91.0.0/24", "10.80.6.9");
    sites.ip(0, "route del 10.80.5.8/30 proto static");
    sites.ip(0, "route del 10.80.0.0/17 proto static");
    until("10.90.0.0/24", "10.0.1.254");
    until("10.91.0.0/24", "10.0.2.1");
    // What would be thrown away is not a way.
    assert!(!sites.ip(0, ROUTES).contains("10.92.0.0/24"), "{}", sites.ip(0, ROUTES));
    until_why(&sites, "10.92.0.0/24", "the route that covers it discards");
    until("10.93.0.0/24", "10.0.1.254");
    sites.ip(0, "route add blackhole 10.99.0.0/24 proto static");
    sites.until_ip(0, PATIENT, ROUTES, |s| !s.contains("10.93.0.0/24"));
    until_why(&sites, "10.93.0.0/24", "the route that covers it discards");
    sites.ip(0, "route del blackhole 10.99.0.0/24 proto static");
    until("10.93.0.0/24", "10.0.1.254");
}
