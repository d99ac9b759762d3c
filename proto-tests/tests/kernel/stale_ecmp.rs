//! R51 on real kernels: of equal paths those of a node that died leave the route as soon as its session is down, though its routes are kept.

use std::time::Duration;

use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::{may_run, patiently, proc};
use proto_tests::node::ip;

const LIMIT: Duration = Duration::from_secs(60);
/// An address that two nodes announce, as of a service.
const SHARED: &str = "10.200.0.0/26";

/// Three nodes, of which the second and third announce the same block; as many next hops as node1 has for it then.
fn start(stale_in_multipath: bool) -> Cluster {
    let plan = Plan { mode: Mode::FullMesh, nodes: 3, pods: 0, dark: 0 };
    let mut cluster = Cluster::build(plan, &proc::catbird().unwrap()).unwrap();
    for index in 0..3 {
        let text = cluster.config(&cluster.members[index]).replace("[cluster]", "[cluster]\nhold_time = \"3s\"");
        let more = format!("\n[graceful_restart]\nstale_in_multipath = {stale_in_multipath}\n");
        cluster.configure(index, &(text + &more)).unwrap();
    }
    cluster.start_all().unwrap();
    cluster.converge(&[0, 1, 2], LIMIT).unwrap();
    for index in [1, 2] {
        let out = cluster.catbird(index, &["block", "add", SHARED]).unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let both = |text: &str| text.contains("10.12.22.2") && text.contains("10.12.22.3");
    until(&cluster, "both next hops", both);
    cluster
}

fn route(cluster: &Cluster) -> String {
    ip(&cluster.members[0].ns, &format!("route show {SHARED}"))
}

fn until(cluster: &Cluster, what: &str, is_so: impl Fn(&str) -> bool) {
    patiently(LIMIT, || is_so(&route(cluster))).unwrap_or_else(|| panic!("{what}: {}", route(cluster)));
}

fn is_down(cluster: &Cluster) -> bool {
    let out = cluster.catbird(0, &["peers", "--down", "--json"]).unwrap();
    String::from_utf8_lossy(&out.stdout).contains("\"node3\"")
}

#[test]
fn the_paths_of_a_dead_node_leave_a_multipath_route_when_its_session_is_down() {
    if !may_run("the_paths_of_a_dead_node_leave_a_multipath_route_when_its_session_is_down") {
        return;
    }
    let mut cluster = start(false);
    cluster.kill(2);
    patiently(LIMIT, || is_down(&cluster)).expect("the hold timer expires");
    until(&cluster, "the fresh next hop alone", |text| text.contains("10.12.22.2") && !text.contains("10.12.22.3"));
    let kept = ip(&cluster.members[0].ns, "route show 10.244.3.0/26");
    assert!(kept.contains("via 10.12.22.3"), "what only the dead node has is kept (RFC 4724): {kept}");
    cluster.start(2).unwrap();
    until(&cluster, "both again", |text| text.contains("10.12.22.2") && text.contains("10.12.22.3"));
}

#[test]
fn they_stay_as_long_as_they_are_kept_where_that_is_wanted() {
    if !may_run("they_stay_as_long_as_they_are_kept_where_that_is_wanted") {
        return;
    }
    let mut cluster = start(true);
    cluster.kill(2);
    patiently(LIMIT, || is_down(&cluster)).expect("the hold timer expires");
    let text = route(&cluster);
    assert!(text.contains("10.12.22.2") && text.contains("10.12.22.3"), "{text}");
}
