//! Ready means that packets go: what keeps them from it is said, with its owner and the cure, on real kernels.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use proto_tests::netlab::sites::{Sites, ip};
use proto_tests::netlab::{may_run, patiently, proc, story};

/// A loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(60);

fn built(test: &str, prefix_len: u8, more: &str) -> Option<Sites> {
    may_run(test).then(|| {
        let sites = Sites::build(prefix_len).unwrap();
        sites.configure(more).unwrap();
        sites
    })
}

/// What `/readyz` answers, whatever it is.
pub fn readiness(sites: &Sites, index: usize) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(std::net::SocketAddr::from(story::METRICS))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: node\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    sites.nodes[index].ns.run(ask).unwrap_or_else(|why| why.to_string())
}

/// Waits until `/readyz` says so.
fn until_unready(sites: &Sites, why: &str) {
    let said = || readiness(sites, 0).contains("\"ready\": false") && readiness(sites, 0).contains(why);
    let all = || format!("{}\n{}\n{}", readiness(sites, 0), sites.catbird(0, "status"), sites.log(0));
    assert!(patiently(PATIENT, said).is_some(), "{why}:\n{}", all());
}

/// Waits until `status` does.
fn until_warned(sites: &Sites, of: &str) {
    assert!(patiently(PATIENT, || sites.catbird(0, "status").contains(of)).is_some(), "{of}:\n{}", sites.catbird(0, "status"));
}

fn until_ready(sites: &Sites) {
    let said = || readiness(sites, 0).contains("\"ready\": true");
    assert!(patiently(PATIENT, said).is_some(), "{}\n{}", readiness(sites, 0), sites.log(0));
}

#[test]
fn a_node_that_forwards_nothing_is_not_ready_until_it_does() {
    let Some(mut sites) = built("a_node_that_forwards_nothing_is_not_ready_until_it_does", 16, "") else { return };
    sites.start_all().unwrap();
    until_ready(&sites);
    for (key, family) in [("net.ipv4.ip_forward", "ipv4-unicast"), ("net.ipv6.conf.all.forwarding", "ipv6-unicast")] {
        sites.nodes[0].ns.sysctl(key, "0").unwrap();
        until_unready(&sites, &format!("the kernel forwards no packets of {family}"));
        until_warned(&sites, &format!("`sysctl -w {key}=1`"));
        sites.nodes[0].ns.sysctl(key, "1").unwrap();
        until_ready(&sites);
    }
}

#[test]
fn without_the_right_to_write_routes_a_node_is_not_ready() {
    let Some(mut sites) = built("without_the_right_to_write_routes_a_node_is_not_ready", 16, "") else { return };
    sites.start(1).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]).arg(proc::catbird().unwrap());
    command.args(["run", "-c"]).arg(sites.path("n1.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = sites.nodes[0].ns.spawn(command).unwrap();
    until_unready(&sites, "the daemon has no CAP_NET_ADMIN");
    until_warned(&sites, "the daemon has no CAP_NET_ADMIN");
    until_warned(&sites, "the kernel refuses 4 of 4 routes");
    until_warned(&sites, "with: operation not permitted");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    sites.start(0).unwrap();
    until_ready(&sites);
}

#[test]
fn a_node_all_of_whose_prefixes_are_occupied_is_not_ready_and_one_of_them_is_a_warning() {
    let test = "a_node_all_of_whose_prefixes_are_occupied_is_not_ready_and_one_of_them_is_a_warning";
    let Some(mut sites) = built(test, 16, "") else { return };
    let occupied =
        ["route add 10.244.2.0/26", "route add 10.244.1.0/26", "-6 route add fd00:10:244:1::/122", "-6 route add fd00:10:244:2::/122"];
    for words in occupied {
        let via = if words.contains("-6") { "fd00:1::fe" } else { "10.0.1.254" };
        sites.ip(0, &format!("{words} via {via} dev eth0 onlink proto static metric 1024"));
    }
    sites.start_all().unwrap();
    until_unready(
        &sites,
        "none of 4 routes is in the kernel: 0 refused (has the daemon CAP_NET_ADMIN?), 4 in whose place are routes of others",
    );
    until_warned(&sites, "4 of 4 routes are not written, for routes of others stand in their place");
    for words in &occupied[1..] {
        sites.ip(0, &format!("{} proto static", words.replace("add", "del")));
    }
    until_ready(&sites);
    until_warned(&sites, "1 of 4 routes are not written");
    sites.ip(0, "route del 10.244.2.0/26 proto static");
    assert!(patiently(PATIENT, || !sites.catbird(0, "status").contains("not written")).is_some());
}

#[test]
fn a_node_whose_tunnel_cannot_be_made_is_not_ready() {
    let overlay = "[fib.overlay]\nmode = \"cross-subnet\"";
    let Some(mut sites) = built("a_node_whose_tunnel_cannot_be_made_is_not_ready", 24, overlay) else { return };
    ip(&sites.nodes[0].ns, "link add catbird type bridge");
    sites.start_all().unwrap();
    until_unready(&sites, "the tunnel device catbird does not stand as it should");
    assert!(readiness(&sites, 0).contains("of kind \\\"bridge\\\" is there already"), "{}", readiness(&sites, 0));
    ip(&sites.nodes[0].ns, "link del catbird");
    until_ready(&sites);
    // Another's tunnel with our number and port, or with our port alone.
    for (flags, vni, said) in [
        ("udp6zerocsumrx", 4096, "another device has VNI 4096 on port 4789"),
        ("", 7, "another device, or a program, receives on UDP port 4789"),
    ] {
        sites.end(0, libc::SIGTERM);
        ip(&sites.nodes[0].ns, "link del catbird");
        ip(&sites.nodes[0].ns, &format!("link add flannel.1 type vxlan id {vni} dstport 4789 local 10.0.1.1 {flags}"));
        ip(&sites.nodes[0].ns, "link set flannel.1 up");
        sites.start(0).unwrap();
        until_unready(&sites, said);
        ip(&sites.nodes[0].ns, "link del flannel.1");
        until_ready(&sites);
    }
}
