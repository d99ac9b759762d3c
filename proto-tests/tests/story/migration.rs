//! A Calico cluster is moved from BIRD to catbird, node by node, and back, as docs/calico.md says, while all pods talk to each other: nothing is lost,
//! and no kernel deletes a route. (On the way back one does: a BIRD that starts again deletes and adds its own IPv6 blackhole, whoever ran before it,
//! because the kernel has made 1024 of the metric that it did not give.)
//!
//! BIRD is Debian's, set as Calico sets its own: a session of each family to each node, the greater address passive, graceful restart, routes of protocol 12
//! that outlive it, LOCAL_PREF and metric by priority. catbird is flavour `calico`, and knows the cluster's objects from the file that an earlier run would
//! have left; its API is away.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use proto_tests::netlab::cluster::{Cluster, Member, Mode, Plan};
use proto_tests::netlab::echo::Echo;
use proto_tests::netlab::monitor::Monitor;
use proto_tests::netlab::{alone, may_run, patiently, proc, skip};
use serde_json::{Value, json};

const NODES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two datagrams of one pair of pods.
const EVERY: Duration = Duration::from_millis(20);

/// LOCAL_PREF of a normal route since Calico v3.32: 2^31-1 less 1024.
const NORMAL: u32 = 2_147_482_623;

fn addresses(member: &Member) -> [IpAddr; 2] {
    [member.v4().into(), member.v6().into()]
}

fn bird_config(cluster: &Cluster, index: usize) -> String {
    let member = &cluster.members[index];
    let mut text = format!(
        "router id {};\nlog stderr all;\nprotocol device {{ scan time 2; }}\nprotocol direct {{ ipv4; ipv6; interface -\"cali*\", \"*\"; }}\n\
         filter to_peers {{ if source = RTS_STATIC then {{ bgp_local_pref = {NORMAL}; accept; }} reject; }}\n\
         filter to_kernel {{ if source = RTS_BGP then {{ krt_metric = 2147483647 - bgp_local_pref; accept; }} if source = RTS_STATIC then accept; reject; }}\n",
        member.v4()
    );
    for (i, family) in ["ipv4", "ipv6"].into_iter().enumerate() {
        let block = member.blocks()[i];
        let _ = writeln!(
            text,
            "protocol static own{i} {{ {family}; route {block} blackhole; }}\n\
             protocol kernel kernel{i} {{ metric 0; learn; persist; scan time 2; graceful restart on; merge paths on; {family} {{ import all; export filter to_kernel; }}; }}"
        );
        for other in cluster.members.iter().filter(|other| other.number != member.number) {
            let (us, them) = (addresses(member)[i], addresses(other)[i]);
            let passive = if them.to_string() > us.to_string() { "passive on; " } else { "" };
            let _ = writeln!(
                text,
                "protocol bgp Mesh_{} {{ local {us} as 64512; neighbor {them} as 64512; multihop; {passive}connect delay time 1; connect retry time 2; \
                 error wait time 1, 2; graceful restart on; graceful restart time 120; \
                 {family} {{ import all; export filter to_peers; add paths on; gateway recursive; next hop self; }}; }}",
                them.to_string().replace(['.', ':'], "_")
            );
        }
    }
    text
}

/// What the cluster's API has.
fn objects(cluster: &Cluster) -> Value {
    let of_calico = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut all = vec![
        of_calico("BGPConfiguration", "default", json!({"asNumber": 64512, "nodeToNodeMeshEnabled": true})),
        of_calico("IPPool", "pods", json!({"cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "blockSize": 26})),
        of_calico("IPPool", "pods6", json!({"cidr": "fd00:10:244::/48", "ipipMode": "Never", "vxlanMode": "Never", "blockSize": 122})),
    ];
    for member in &cluster.members {
        let annotations = json!({"projectcalico.org/IPv4Address": format!("{}/24", member.v4()), "projectcalico.org/IPv6Address": format!("{}/64", member.v6())});
        all.push(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": member.name, "annotations": annotations}}));
        for block in member.blocks() {
            let name = format!("{}-{}", member.name, block.to_string().replace(['.', ':', '/'], "-"));
            all.push(of_calico("BlockAffinity", &name, json!({"cidr": block.to_string(), "node": member.name, "state": "confirmed"})));
        }
    }
    all.into()
}

/// As `daemon::services::kubernetes::state` writes it: FNV-1a over the body.
fn state(objects: &Value) -> String {
    let body = objects.to_string();
    let check = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    format!("catbird objects 1 calico {check:016x}\n{body}")
}

/// What runs on each node.
struct Migration {
    cluster: Cluster,
    running: Vec<Option<Child>>,
}

impl Drop for Migration {
    fn drop(&mut self) {
        for mut child in self.running.iter_mut().filter_map(Option::take) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Migration {
    fn new() -> Migration {
        let plan = Plan { mode: Mode::FullMesh, nodes: NODES, pods: 1, dark: 0 };
        let cluster = Cluster::build(plan, &proc::catbird().unwrap()).unwrap();
        for (index, member) in cluster.members.iter().enumerate() {
            let file = |kind: &str| cluster.scratch().join(format!("{}.{kind}", member.name));
            fs::write(file("bird"), bird_config(&cluster, index)).unwrap();
            fs::write(file("objects"), state(&objects(&cluster))).unwrap();
            let text = format!(
                "[node]\nname = \"{}\"\n[kubernetes]\nflavour = \"calico\"\nkubeconfig = \"{}\"\nstate_file = \"{}\"\n[cluster]\nconnect_retry = \"1s\"\n",
                member.name,
                file("kubeconfig").display(),
                file("objects").display(),
            );
            fs::write(cluster.config_path(&member.name), text).unwrap();
        }
        Migration { running: cluster.members.iter().map(|_| None).collect(), cluster }
    }

    fn spawn(&mut self, index: usize, mut command: Command) {
        let member = &self.cluster.members[index];
        let log = File::options().create(true).append(true).open(member.log()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running[index] = Some(member.ns.spawn(command).unwrap());
    }

    fn bird(&mut self, index: usize) {
        let name = &self.cluster.members[index].name;
        let mut command = Command::new(proc::program("bird").unwrap());
        command.args(["-f", "-R", "-s", &format!("/run/bird/{name}.ctl"), "-c"]).arg(self.cluster.scratch().join(format!("{name}.bird")));
        self.spawn(index, command);
    }

    fn catbird(&mut self, index: usize) {
        let mut command = Command::new(self.cluster.binary());
        command.arg("run").arg("-c").arg(self.cluster.config_path(&self.cluster.members[index].name));
        self.spawn(index, command);
    }

    /// `ip WORDS` on a node.
    fn ip(&self, index: usize, words: &str) -> String {
        let mut command = Command::new("ip");
        command.args(words.split_whitespace());
        String::from_utf8_lossy(&self.cluster.members[index].ns.output(command).unwrap().stdout).into_owned()
    }

    /// BIRD is ended as its crash would end it (a TERM says goodbye to its peers, who would drop its routes), catbird by TERM.
    fn end(&mut self, index: usize, signal: i32) {
        let mut child = self.running[index].take().expect("it runs");
        // SAFETY: a signal to a child of ours that was not waited for.
        unsafe { libc::kill(i32::try_from(child.id()).expect("a pid fits"), signal) };
        let _ = child.wait();
    }

    /// Sessions that are up on a node, whoever routes there.
    fn sessions(&self, index: usize, of_bird: bool) -> usize {
        let member = &self.cluster.members[index];
        let mut command;
        if of_bird {
            command = Command::new(proc::program("birdc").unwrap());
            command.args(["-s", &format!("/run/bird/{}.ctl", member.name), "show", "protocols"]);
        } else {
            command = Command::new(self.cluster.binary());
            command.arg("peers");
        }
        let said = String::from_utf8_lossy(&member.ns.output(command).unwrap().stdout).into_owned();
        said.lines().filter(|line| line.starts_with("Mesh_") && line.contains("Established")).count()
    }

    #[track_caller]
    fn until_up(&self, index: usize, of_bird: bool) {
        let wanted = 2 * (NODES - 1);
        let up = patiently(PATIENCE, || self.sessions(index, of_bird) == wanted);
        let log = || fs::read_to_string(self.cluster.members[index].log()).unwrap_or_default();
        assert!(up.is_some(), "{}: {} of {wanted} sessions\n{}", self.cluster.members[index].name, self.sessions(index, of_bird), log());
    }
}

#[test]
fn a_cluster_of_bird_is_moved_node_by_node_and_back_and_nothing_is_lost_or_deleted() {
    if !may_run("migration") {
        return;
    }
    if proc::program("bird").is_none() || proc::program("birdc").is_none() {
        return skip("migration", "bird is not installed");
    }
    let _alone = alone();
    let mut all = Migration::new();
    (0..NODES).for_each(|index| all.bird(index));
    (0..NODES).for_each(|index| all.until_up(index, true));
    all.cluster.converge(&(0..NODES).collect::<Vec<_>>(), PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    let before: Vec<[String; 2]> = (0..NODES).map(|index| routes(&all, index)).collect();
    println!("node1, BIRD on all nodes:\n{}{}", before[0][0], before[0][1]);
    let monitors = listen(&all.cluster);
    let talk = everybody_talks(&all.cluster);
    let go_on = || talk.iter().for_each(|echo| echo.await_more(25));
    go_on();
    for index in 0..NODES {
        let began = Instant::now();
        all.end(index, libc::SIGKILL);
        all.catbird(index);
        all.until_up(index, false);
        println!("{}: BIRD -> catbird, all sessions up after {:.1?}", all.cluster.members[index].name, began.elapsed());
        go_on();
    }
    println!("node1, catbird on all nodes:\n{}{}", routes(&all, 0)[0], routes(&all, 0)[1]);
    let there = deleted(monitors, &all.cluster);
    let monitors = listen(&all.cluster);
    (0..NODES).for_each(|index| assert_eq!(routes(&all, index), before[index], "node{}", index + 1));
    for index in 0..NODES {
        let began = Instant::now();
        all.end(index, libc::SIGTERM);
        all.bird(index);
        all.until_up(index, true);
        println!("{}: catbird -> BIRD, all sessions up after {:.1?}", all.cluster.members[index].name, began.elapsed());
        go_on();
    }
    (0..NODES).for_each(|index| assert_eq!(routes(&all, index), before[index], "node{}", index + 1));
    let counted: Vec<(u64, u64)> = talk.into_iter().map(Echo::stop).collect();
    let (sent, lost) = counted.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let (of_bird, back): (Vec<String>, Vec<String>) =
        deleted(monitors, &all.cluster).into_iter().partition(|line| line.starts_with("Deleted blackhole fd00:10:244:"));
    let (count, there_count, back_count) = (counted.len(), there.len(), back.len());
    println!("{count} pairs of pods: {sent} sent, {lost} lost");
    println!(
        "routes deleted: {there_count} on the way to catbird; on the way back {back_count}, and {} IPv6 blackholes by BIRD itself",
        of_bird.len()
    );
    assert_eq!((there, back), (Vec::new(), Vec::new()), "no route goes");
    assert_eq!(lost, 0, "{counted:?}");
}

/// To what happens to the routes of each node.
fn listen(cluster: &Cluster) -> Vec<Monitor> {
    cluster.members.iter().map(|member| Monitor::start(&member.ns)).collect()
}

/// The routes that went since then.
fn deleted(monitors: Vec<Monitor>, cluster: &Cluster) -> Vec<String> {
    let said = monitors.into_iter().zip(&cluster.members).flat_map(|(monitor, member)| monitor.said(&member.ns));
    said.filter(|line| line.starts_with("Deleted")).collect()
}

/// Those of protocol 12 (`bird`).
fn routes(all: &Migration, index: usize) -> [String; 2] {
    let sorted = |text: String| {
        let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        lines.sort_unstable();
        lines.iter().map(|line| format!("{line}\n")).collect()
    };
    ["route show proto bird", "-6 route show proto bird"].map(|words| sorted(all.ip(index, words)))
}

/// Each pod with each other, both families.
fn everybody_talks(cluster: &Cluster) -> Vec<Echo> {
    let pods: Vec<_> = cluster.members.iter().flat_map(|member| &member.pods).collect();
    let mut talk = Vec::new();
    for (n, near) in pods.iter().enumerate() {
        for far in &pods[n + 1..] {
            for (from, to) in [(IpAddr::V4(near.v4), IpAddr::V4(far.v4)), (near.v6.into(), far.v6.into())] {
                talk.push(Echo::start_every(EVERY, (&near.ns, from), (&far.ns, to)).unwrap());
            }
        }
    }
    talk
}
