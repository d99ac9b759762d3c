//! The laboratory's own tests: what it says of the kernel is so.

use std::net::IpAddr;
use std::time::Duration;

use proto_tests::netlab::netlink::Via;
use proto_tests::netlab::ping::{Socket, Stream, ping};
use proto_tests::netlab::{Ns, may_run, until};

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two machines on one cable.
fn pair() -> (Ns, Ns) {
    let (a, b) = (Ns::pod("a").unwrap(), Ns::pod("b").unwrap());
    let far = b.net_fd();
    a.rtnl(move |r| r.add_veth("eth1", None, "eth1", far)).unwrap();
    for (ns, v4, v6) in [(&a, "10.0.0.1/24", "fd00::1/64"), (&b, "10.0.0.2/24", "fd00::2/64")] {
        ns.rtnl(move |r| {
            let eth1 = r.index("eth1")?;
            r.set_up(eth1)?;
            r.add_addr(eth1, net(v4))?;
            r.add_addr(eth1, net(v6))
        })
        .unwrap();
    }
    a.rtnl(|r| r.index("eth1").and_then(|eth1| r.settle(eth1))).unwrap();
    (a, b)
}

#[test]
fn two_namespaces_ping_each_other_over_a_cable() {
    if !may_run("two_namespaces_ping_each_other_over_a_cable") {
        return;
    }
    let (a, _b) = pair();
    for to in ["10.0.0.2", "fd00::2"] {
        let took = a.run(move || ping(ip(to), Duration::from_secs(2))).unwrap();
        assert!(took < Duration::from_millis(200), "{to} took {took:?}");
    }
    let why = a.run(|| ping(ip("10.9.9.9"), Duration::from_millis(60))).unwrap_err();
    assert_eq!(why.kind(), std::io::ErrorKind::NetworkUnreachable);
}

#[test]
fn a_stream_counts_what_is_lost_and_nothing_else() {
    if !may_run("a_stream_counts_what_is_lost_and_nothing_else") {
        return;
    }
    let (a, b) = pair();
    let begin = || a.run(|| Socket::open(ip("10.0.0.2"))).and_then(|socket| Stream::begin(socket, ip("10.0.0.2"))).unwrap();
    let (whole, hurt) = (begin(), begin());
    std::thread::sleep(Duration::from_millis(300));
    let whole = whole.end();
    assert!(whole.lost == 0 && whole.sent >= 20, "{whole:?}");
    b.rtnl(|r| r.index("eth1").and_then(|eth1| r.set_down(eth1))).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let hurt = hurt.end();
    assert!(hurt.lost >= 10 && hurt.lost < hurt.sent, "{hurt:?}");
}

#[test]
fn routes_are_read_as_ip_route_prints_them() {
    if !may_run("routes_are_read_as_ip_route_prints_them") {
        return;
    }
    let (a, _b) = pair();
    let text = a
        .rtnl(|r| {
            let eth1 = r.index("eth1")?;
            r.add_route(net("10.244.1.0/26"), Via::Blackhole)?;
            r.add_route(net("10.244.2.0/26"), Via::Gateway(ip("10.0.0.2")))?;
            r.add_route(net("10.244.3.7/32"), Via::Link(eth1))?;
            r.add_route(net("0.0.0.0/0"), Via::OnLink(ip("169.254.1.1"), eth1))?;
            r.add_route(net("fd10::/122"), Via::Gateway(ip("fd00::2")))?;
            r.add_route(net("fd11::/122"), Via::Blackhole)?;
            Ok(r.routes()?.iter().map(ToString::to_string).collect::<Vec<_>>())
        })
        .unwrap();
    assert_eq!(
        text,
        [
            "default via 169.254.1.1 dev eth1 proto static",
            "10.0.0.0/24 dev eth1 proto kernel",
            "blackhole 10.244.1.0/26 proto static",
            "10.244.2.0/26 via 10.0.0.2 dev eth1 proto static",
            "10.244.3.7 dev eth1 proto static",
            "fd00::/64 dev eth1 proto kernel metric 256",
            "fd10::/122 via fd00::2 dev eth1 proto static metric 1024",
            "blackhole fd11::/122 proto static metric 1024",
        ]
    );
    a.rtnl(|r| r.del_route(net("10.244.2.0/26"))).unwrap();
    let left = a.rtnl(|r| r.routes()).unwrap();
    assert!(!left.iter().any(|route| route.net == net("10.244.2.0/26")));
    assert!(left.iter().any(|route| route.net == net("10.244.1.0/26")));
}

#[test]
fn a_node_takes_its_daemons_with_it() {
    if !may_run("a_node_takes_its_daemons_with_it") {
        return;
    }
    let node = Ns::node("mortal").unwrap();
    assert_eq!(node.run(|| std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap()).trim(), "mortal");
    let mut sleeper = std::process::Command::new("sleep");
    sleeper.arg("1000");
    let mut child = node.spawn(sleeper).unwrap();
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    drop(node);
    let (status, took) = until(Duration::from_secs(2), || child.try_wait().unwrap().ok_or(())).unwrap();
    assert!(!status.success() && took < Duration::from_secs(1), "{status} after {took:?}");
}
