//! containerlab/journey, packet by packet: what `catbird path` tells of the way is what is on the wires.

use std::net::Ipv4Addr;

use proto_tests::netlab::capture::Capture;
use proto_tests::netlab::{Story, alone, skip};

const CLIENT: [u8; 4] = [172, 31, 0, 2];
const SERVICE: [u8; 4] = [10, 96, 0, 10];
/// Where node1 hands it on: answers come back to it.
const NODE1: [u8; 4] = [10, 12, 23, 11];
const POD: [u8; 4] = [10, 244, 3, 2];

/// An echo request or reply, plain or within VXLAN.
fn is_echo(frame: &[u8]) -> bool {
    echo(frame).is_some()
}

/// Its addresses, whether it asks, and whether it is in a tunnel.
fn echo(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, bool, bool)> {
    let packet = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
    let address = |at: usize| packet.get(at..at + 4).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(Ipv4Addr::from);
    match packet.get(9)? {
        1 => Some((address(12)?, address(16)?, *packet.get(20)? == 8, false)),
        // UDP to port 4789: behind its header and that of VXLAN is a frame of its own.
        17 if packet.get(22..24) == Some(&[0x12, 0xb5]) => echo(packet.get(36..)?).map(|(from, to, asks, _)| (from, to, asks, true)),
        _ => None,
    }
}

#[test]
fn the_packet_is_seen_at_each_hop_as_it_is_told() {
    if let Some(obstacle) = Story::obstacle("journey").unwrap() {
        return skip("journey", &obstacle);
    }
    let _alone = alone();
    let mut story = Story::up("journey").unwrap_or_else(|why| panic!("{why}"));
    story.reach("converged").unwrap_or_else(|why| panic!("{why}"));
    let hops = ["internet", "edge", "node1", "node2", "node3", "pod3"];
    let captures = hops.map(|hop| Capture::start(story.network(hop), is_echo).unwrap());
    let done = story.run("client", "ping -c 1 -W 2 10.96.0.10").unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    // (hop, from, to, in a tunnel): there, and the other way round back.
    let seen = [
        ("internet", CLIENT, SERVICE, true),
        ("edge", CLIENT, SERVICE, true),
        ("edge", CLIENT, SERVICE, false),
        ("node1", CLIENT, SERVICE, false),
        ("node1", NODE1, POD, false),
        ("node2", NODE1, POD, false),
        ("node3", NODE1, POD, false),
        ("pod3", NODE1, POD, false),
    ];
    for (hop, from, to, tunnel) in seen {
        let capture = &captures[hops.iter().position(|name| *name == hop).unwrap()];
        let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
        capture.await_frame(&format!("request at {hop}"), |frame| echo(frame) == Some((from, to, true, tunnel)));
        capture.await_frame(&format!("reply at {hop}"), |frame| echo(frame) == Some((to, from, false, tunnel)));
        println!("{hop}: {from} -> {to} and back{}", if tunnel { ", in the tunnel" } else { "" });
    }
    // Nobody behind node1 hears of the service's address, and nobody before it of the pod's.
    for (hop, address) in [("internet", POD), ("edge", POD), ("node2", SERVICE), ("pod3", SERVICE)] {
        let capture = &captures[hops.iter().position(|name| *name == hop).unwrap()];
        let stranger = Ipv4Addr::from(address);
        let frames = capture.frames();
        assert!(
            !frames.is_empty() && frames.iter().filter_map(|frame| echo(frame)).all(|(_, to, ..)| to != stranger),
            "{stranger} at {hop}"
        );
    }
}
