//! RFC 7348 (VXLAN) on the wire between two daemons: what the devices that we make and furnish put into each packet.

use std::net::UdpSocket;
use std::time::Duration;

use proto_tests::netlab::capture::Capture;
use proto_tests::netlab::may_run;
use proto_tests::netlab::sites::Sites;

const PATIENT: Duration = Duration::from_secs(60);

/// An IPv4 packet (behind an Ethernet header) that carries UDP, or is a later part of one.
fn udp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)
}

/// Two nodes in two subnets, tunnels between them, pods that have spoken.
fn sites(test: &str, overlay: [&str; 2]) -> Option<Sites> {
    if !may_run(test) {
        return None;
    }
    let mut sites = Sites::build(24).unwrap();
    for (index, more) in overlay.into_iter().enumerate() {
        sites.configure_one(index, &format!("[fib.overlay]\nmode = \"cross-subnet\"\n{more}")).unwrap();
    }
    sites.start_all().unwrap();
    for (pod, v4, v6) in [(0, "10.244.2.2", "fd00:10:244:2::2"), (1, "10.244.1.2", "fd00:10:244:1::2")] {
        for to in [v4, v6] {
            let answer = sites.nodes[pod].pod.run(move || proto_tests::netlab::ping::ping(to.parse().unwrap(), PATIENT));
            answer.unwrap_or_else(|why| panic!("{to}: {why}\n{}", sites.log(pod)));
        }
    }
    Some(sites)
}

/// A datagram of so many octets from the pod of node 1 to that of node 2. Larger than the path, it is divided if it may be.
fn send(sites: &Sites, octets: usize, may_divide: bool) -> std::io::Result<usize> {
    sites.nodes[0].pod.run(move || {
        let socket = UdpSocket::bind("10.244.1.2:0")?;
        let discover: libc::c_int = if may_divide { libc::IP_PMTUDISC_DONT } else { libc::IP_PMTUDISC_DO };
        let len = libc::socklen_t::try_from(size_of_val(&discover)).expect("a few octets");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        // SAFETY: the option is an int, and lives through the call.
        unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, (&raw const discover).cast(), len) };
        socket.send_to(&vec![0x5a; octets], "10.244.2.2:4000")
    })
}

/// Frames of a tunnel to this port.
fn to_port(port: u16) -> impl Fn(&[u8]) -> bool {
    move |frame| udp(frame) && frame.get(36..38) == Some(&port.to_be_bytes())
}

/// The inner IP packet with its Ethernet header.
fn inner(frame: &[u8]) -> &[u8] {
    &frame[50..]
}

#[test]
fn the_header_has_the_flag_the_network_and_zeroes() {
    let test = "the_header_has_the_flag_the_network_and_zeroes";
    let Some(sites) = sites(test, ["vni = 11259375"; 2]) else { return };
    let capture = Capture::start(&sites.router, udp).unwrap();
    send(&sites, 100, true).unwrap();
    let frame = capture.await_frame("VXLAN packet", to_port(4789));
    assert_eq!(frame[42..50], [0b0000_1000, 0, 0, 0, 0xab, 0xcd, 0xef, 0], "flags, reserved, 24 bits of network, reserved");
    assert_eq!((&frame[26..30], &frame[30..34]), (&[10, 0, 1, 1][..], &[10, 0, 2, 1][..]), "from tunnel end to tunnel end");
    let inner = inner(&frame);
    assert_eq!(inner[..6], [0x02, 0xcb, 10, 0, 2, 1], "the MAC address that follows from the node's");
    assert_eq!(inner[12..14], [8, 0], "no VLAN tag: a packet without one");
    assert_eq!((&inner[26..30], &inner[30..34]), (&[10, 244, 1, 2][..], &[10, 244, 2, 2][..]));
}

#[test]
fn the_port_is_4789_unless_configured_and_flows_differ_in_their_source_port() {
    let test = "the_port_is_4789_unless_configured_and_flows_differ_in_their_source_port";
    let Some(sites) = sites(test, [""; 2]) else { return };
    let capture = Capture::start(&sites.router, udp).unwrap();
    let sources =
        || capture.frames().iter().filter(|f| to_port(4789)(f)).map(|f| f[34..36].to_vec()).collect::<std::collections::BTreeSet<_>>();
    let several = proto_tests::netlab::patiently(PATIENT, || {
        // Each from another port of the pod's, and so another flow.
        send(&sites, 100, true).unwrap();
        sources().len() >= 4
    });
    assert!(several.is_some(), "flows are spread over several ways by their source ports: {:?}", sources());
    sites.configure("[fib.overlay]\nmode = \"cross-subnet\"\nport = 8472").unwrap();
    for index in [0, 1] {
        sites.catbird(index, "reload");
        // It is made anew, and is not there for a moment.
        sites.until_ip(index, PATIENT, "-d link show type vxlan", |s| s.contains("dstport 8472"));
    }
    sites.until_ip(0, PATIENT, "route show proto bgp", |s| s.contains("10.244.2.0/26 via 10.0.2.1 dev catbird metric 1024 onlink"));
    proto_tests::netlab::patiently(PATIENT, || {
        send(&sites, 100, true).unwrap();
        capture.frames().iter().any(|f| to_port(8472)(f))
    });
    capture.await_frame("VXLAN packet at the other port", to_port(8472));
}

/// One node sums its outer packets, the other does not: each takes what the other sends, over IPv4 and IPv6.
#[test]
fn a_zero_checksum_is_accepted_and_sent_if_configured() {
    let test = "a_zero_checksum_is_accepted_and_sent_if_configured";
    let Some(sites) = sites(test, ["checksum = true", "checksum = false"]) else { return };
    let capture = Capture::start(&sites.router, udp).unwrap();
    let ping = sites.ping(false).unwrap();
    ping.await_more(20);
    assert_eq!(ping.stop().1, 0);
    let of = |node: u8| move |frame: &[u8]| to_port(4789)(frame) && frame.get(26..30) == Some(&[10, 0, node, 1]);
    let [one, two] = [1, 2].map(|node| capture.await_frame("VXLAN packet", of(node)));
    assert_ne!(one[40..42], [0, 0], "summed");
    assert_eq!(two[40..42], [0, 0], "not summed");
}

#[test]
fn no_outer_packet_is_ever_divided() {
    let Some(sites) = sites("no_outer_packet_is_ever_divided", [""; 2]) else { return };
    let capture = Capture::start(&sites.router, udp).unwrap();
    // 1,450 octets, with 28 of headers: what the device takes. The pod's own link takes more.
    let most = 1450 - 28;
    send(&sites, most, false).unwrap();
    let is_whole = |frame: &[u8]| to_port(4789)(frame) && frame.len() == 14 + 1500;
    capture.await_frame("full packet", is_whole);
    // One octet more: it is told back, and known from then on, if the packet is not to be divided; else it is divided before it is wrapped.
    let refused = || send(&sites, most + 1, false).is_err_and(|e| e.raw_os_error() == Some(libc::EMSGSIZE));
    assert!(proto_tests::netlab::patiently(PATIENT, refused).is_some(), "the pod learns what the way takes");
    send(&sites, 4 * most, true).unwrap();
    // RFC 791 §3.1: the last part has an offset, and no more after it.
    let is_last =
        |frame: &[u8]| to_port(4789)(frame) && inner(frame)[20] & 0x20 == 0 && (inner(frame)[20] & 0x1f, inner(frame)[21]) != (0, 0);
    capture.await_frame("last part of a divided inner packet", is_last);
    let outer = capture.frames();
    let tunnelled: Vec<&Vec<u8>> = outer.iter().filter(|f| f.get(26..28) == Some(&[10, 0])).collect();
    let divided = |f: &&&Vec<u8>| f[20] & 0x3f != 0 || f[21] != 0;
    assert_eq!(tunnelled.iter().filter(divided).count(), 0, "no part of an outer packet");
    assert!(tunnelled.iter().all(|f| f.len() <= 14 + 1500));
}

/// Nothing is flooded or learned: every node and its MAC address are known from BGP.
#[test]
fn nothing_goes_to_all_nodes_or_to_unknown_ones() {
    let Some(sites) = sites("nothing_goes_to_all_nodes_or_to_unknown_ones", [""; 2]) else { return };
    let capture = Capture::start(&sites.router, udp).unwrap();
    // A broadcast, a group, and a neighbour that nobody named, over the device itself.
    sites.nodes[0].ns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_broadcast(true).unwrap();
        let (fd, dev) = (std::os::fd::AsRawFd::as_raw_fd(&socket), c"catbird");
        // SAFETY: the name is valid for its length.
        let bound = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, dev.as_ptr().cast(), 8) };
        assert_eq!(bound, 0, "the device stands");
        for to in ["255.255.255.255:9", "224.0.0.9:9", "10.99.0.77:9"] {
            // What the kernel says to it is not the question.
            let _ = socket.send_to(b"anybody there?", to);
        }
    });
    send(&sites, 100, true).unwrap();
    capture.await_frame("VXLAN packet to a node", to_port(4789));
    let others: Vec<Vec<u8>> = capture.frames().into_iter().filter(|f| to_port(4789)(f) && inner(f)[..4] != [0x02, 0xcb, 10, 0]).collect();
    assert!(others.is_empty(), "{others:02x?}");
    let entries = sites.nodes[0].ns.run(|| {
        let out = std::process::Command::new("bridge").args(["fdb", "show", "dev", "catbird"]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    });
    assert!(entries.contains("02:cb:0a:00:02:01 dst 10.0.2.1") && !entries.contains("00:00:00:00:00:00"), "{entries}");
}
