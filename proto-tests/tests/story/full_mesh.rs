//! Full meshes of other sizes than that of containerlab/full-mesh: real kernels, real time.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use proto_tests::netlab::cluster::{Cluster, Mode, Plan};
use proto_tests::netlab::{Ns, alone, may_run, proc};

fn mesh(nodes: usize, dark: usize) -> Plan {
    Plan { mode: Mode::FullMesh, nodes, pods: 0, dark }
}

/// Builds it, starts every daemon at once, and says how long the kernels took to agree.
fn converge(plan: Plan, limit: Duration) -> (Cluster, Duration) {
    let mut cluster = Cluster::build(plan, &proc::catbird().unwrap()).unwrap();
    let everyone: Vec<usize> = (0..cluster.members.len()).collect();
    let start = Instant::now();
    cluster.start_all().unwrap();
    cluster.converge(&everyone, limit).unwrap_or_else(|why| panic!("{why}"));
    let took = start.elapsed();
    (cluster, took)
}

#[test]
fn thirty_nodes_converge_to_all_routes_in_all_kernels() {
    if !may_run("thirty nodes") {
        return;
    }
    let _alone = alone();
    let (cluster, took) = converge(mesh(30, 0), Duration::from_secs(30));
    let established = proto_tests::netlab::until(Duration::from_secs(30), || match cluster.established_ends() {
        Ok(870) => Ok(()),
        other => Err(other),
    });
    assert!(established.is_ok(), "session ends established: {established:?}");
    println!("30 nodes, 870 session ends, {} routes: {:.2} s from the first start", cluster.wanted_routes(), took.as_secs_f64());
    assert_eq!(cluster.wanted_routes(), 30 * 29 * 2);
    // All namespaces share one table of neighbours, which thirty nodes that learn each other would fill.
    let learned: Vec<String> = cluster.members.iter().flat_map(|member| learned_neighbours(&member.ns)).collect();
    assert!(learned.is_empty(), "{} entries that count: {:?}", learned.len(), &learned[..learned.len().min(5)]);
    assert!(took < Duration::from_secs(15), "it took {took:?}");
}

/// What a node's kernel learned of other nodes, and the machine's table counts.
fn learned_neighbours(ns: &Ns) -> Vec<String> {
    let mut command = Command::new("ip");
    command.args(["-4", "neigh", "show", "dev", "eth1"]);
    let said = String::from_utf8(ns.output(command).unwrap().stdout).unwrap();
    assert!(said.lines().count() >= 29, "the others are known: {said}");
    said.lines().filter(|line| !line.contains("PERMANENT")).map(str::to_string).collect()
}

#[test]
fn a_dark_peer_delays_nobody() {
    if !may_run("a dark peer") {
        return;
    }
    let _alone = alone();
    let (_, without) = converge(mesh(5, 0), Duration::from_secs(20));
    let (cluster, with) = converge(mesh(5, 1), Duration::from_secs(20));
    println!("5 nodes: {without:.2?}; with a sixth in the list that never answers: {with:.2?}");
    assert!(with < without + Duration::from_secs(1), "{with:?} with a dark peer, {without:?} without");
    // It is dark, not forgotten: somebody waits for it.
    let peers = String::from_utf8(cluster.catbird(0, &["peers", "--json"]).unwrap().stdout).unwrap();
    assert!(peers.contains("10.12.22.101"), "{peers}");
}

#[test]
fn the_demo_tells_its_story_to_an_ordinary_user() {
    if !may_run("the demo as an ordinary user (started by root, which becomes nobody)") {
        return;
    }
    let _alone = alone();
    for mode in ["full-mesh", "route-reflector"] {
        let (said, took) = demo_as_nobody(mode);
        println!("{said}");
        assert!(said.contains("without root, in a user namespace"), "{said}");
        assert!(said.contains("pings from pod to pod of other nodes answered"), "{said}");
        assert!(said.contains("All of it is gone again."), "{said}");
        assert!(took < Duration::from_secs(10), "{mode} took {took:?}");
    }
}

/// The demo and the daemon, copied to where nobody may read them.
fn demo_as_nobody(mode: &str) -> (String, Duration) {
    const NOBODY: u32 = 65534;
    let dir = proto_tests::netlab::mounts::Scratch::new("demo-test").unwrap();
    let (demo, catbird) = (dir.path().join("demo"), dir.path().join("catbird"));
    std::fs::copy(env!("CARGO_BIN_EXE_demo"), &demo).unwrap();
    std::fs::copy(proc::catbird().unwrap(), &catbird).unwrap();
    let mut command = Command::new(&demo);
    command.args(["--mode", mode]).env("CATBIRD_BIN", &catbird).current_dir("/").uid(NOBODY).gid(NOBODY);
    let start = Instant::now();
    let done = command.output().unwrap();
    let took = start.elapsed();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {text}", done.status);
    (text, took)
}
