//! Deeds against a device made from thin air, that obeys as the kernel does.

use super::*;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn params() -> Params {
    Params { mode: Mode::CrossSubnet, ..Params::default() }
}

fn device(nodes: &[&str]) -> Device {
    let nodes = nodes.iter().map(|n| ip(n)).collect();
    params().wanted(Some(Ipv4Addr::new(10, 0, 0, 1)), Some("fd00::1".parse().unwrap()), &nodes).devices.remove(0)
}

/// What the kernel makes of one deed.
fn obey(device: &Device, actual: &mut Option<ActualDevice>, op: DeviceOp) {
    let kind = match device.tunnel {
        Tunnel::Vxlan { vni, port, checksum } => ActualKind::Vxlan { vni, port, checksum, learning: false },
        Tunnel::Ipip => ActualKind::Ipip,
    };
    let fresh = ActualDevice {
        kind,
        local: Some(device.local),
        mac: Some(Mac([2, 1, 1, 1, 1, 1])),
        mtu: 1500,
        up: false,
        addresses: BTreeSet::new(),
        neighbours: BTreeMap::new(),
        forwards: BTreeSet::new(),
    };
    match (op, actual.as_mut()) {
        (DeviceOp::Create, None) => *actual = Some(fresh),
        // Set aside, it is another one.
        (DeviceOp::Delete | DeviceOp::SetAside, Some(_)) => *actual = None,
        (DeviceOp::SetLocal(a), Some(s)) => s.local = Some(a),
        (DeviceOp::SetMac(m), Some(s)) => s.mac = Some(m),
        (DeviceOp::SetMtu(m), Some(s)) => s.mtu = m,
        (DeviceOp::SetUp, Some(s)) => s.up = true,
        (DeviceOp::AddAddress(a), Some(s)) => assert!(s.addresses.insert(a)),
        (DeviceOp::DeleteAddress(a), Some(s)) => assert!(s.addresses.remove(&a)),
        (DeviceOp::Neighbour(n, m), Some(s)) => drop(s.neighbours.insert(n, m)),
        (DeviceOp::DeleteNeighbour(n), Some(s)) => assert!(s.neighbours.remove(&n).is_some()),
        (DeviceOp::Forward(m, n), Some(s)) => {
            s.forwards.retain(|(mac, _)| *mac != m);
            s.forwards.insert((m, n));
        }
        (DeviceOp::DeleteForward(m, n), Some(s)) => assert!(s.forwards.remove(&(m, n))),
        (op, actual) => panic!("{op:?} on {actual:?}"),
    }
}

/// Looks and obeys until nothing is left to do; how many looks that took.
fn settle(device: &Device, actual: &mut Option<ActualDevice>) -> usize {
    for look in 1..=4 {
        let ops = device.ops(actual.as_ref(), Some(1500)).unwrap();
        if ops.is_empty() {
            return look;
        }
        ops.into_iter().for_each(|op| obey(device, actual, op));
    }
    panic!("it never ends: {actual:?}");
}

#[test]
fn from_nothing_to_a_device_that_carries_to_every_node() {
    let device = device(&["10.0.1.1", "10.0.2.1"]);
    let mut actual = None;
    assert_eq!(settle(&device, &mut actual), 3, "create, furnish, and then nothing is left");
    let actual = actual.unwrap();
    assert_eq!((actual.mtu, actual.up, actual.mac), (1450, true, Some(Mac([0x02, 0xcb, 10, 0, 0, 1]))));
    assert!(device.carries(ip("10.0.1.1"), &actual) && device.carries(ip("10.0.2.1"), &actual));
    assert!(!device.carries(ip("10.0.3.1"), &actual));
}

#[test]
fn whatever_was_done_to_it_is_put_right_and_nothing_else_is_touched() {
    let device = device(&["10.0.1.1", "10.0.2.1"]);
    let mut right = None;
    settle(&device, &mut right);
    let node = ip("10.0.1.1");
    type Mischief = fn(&mut ActualDevice, IpAddr);
    let cases: [(Mischief, &[DeviceOp]); 9] = [
        (|s, _| s.mtu = 9000, &[DeviceOp::SetMtu(1450)]),
        (|s, _| s.up = false, &[DeviceOp::SetUp]),
        (|s, _| s.mac = None, &[DeviceOp::SetMac(Mac([0x02, 0xcb, 10, 0, 0, 1]))]),
        (|s, _| s.local = Some("10.9.9.9".parse().unwrap()), &[DeviceOp::SetLocal(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))]),
        (
            |s, n| assert!(s.neighbours.remove(&n).is_some()),
            &[DeviceOp::Neighbour(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), Mac([2, 0xcb, 10, 0, 1, 1]))],
        ),
        (
            |s, n| assert!(s.forwards.remove(&(Mac::of(n), n))),
            &[DeviceOp::Forward(Mac([2, 0xcb, 10, 0, 1, 1]), IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)))],
        ),
        (
            |s, _| assert!(s.neighbours.insert("10.0.9.9".parse().unwrap(), Mac([9; 6])).is_none()),
            &[DeviceOp::DeleteNeighbour(IpAddr::V4(Ipv4Addr::new(10, 0, 9, 9)))],
        ),
        (
            |s, _| s.kind = ActualKind::Vxlan { vni: 7, port: 4789, checksum: true, learning: false },
            &[DeviceOp::SetAside, DeviceOp::Create],
        ),
        // Two with one VNI and port cannot be.
        (
            |s, _| s.kind = ActualKind::Vxlan { vni: 4096, port: 4789, checksum: false, learning: false },
            &[DeviceOp::Delete, DeviceOp::Create],
        ),
    ];
    for (mischief, expected) in cases {
        let mut actual = right.clone();
        mischief(actual.as_mut().unwrap(), node);
        assert_eq!(device.ops(actual.as_ref(), Some(1500)).unwrap(), expected);
        settle(&device, &mut actual);
        assert_eq!(actual, right);
    }
}

#[test]
fn what_is_new_comes_before_what_is_old_goes() {
    let (before, after) = (device(&["10.0.1.1", "10.0.2.1"]), device(&["10.0.2.1", "10.0.3.1"]));
    let mut actual = None;
    settle(&before, &mut actual);
    let ops = after.ops(actual.as_ref(), Some(1500)).unwrap();
    let is_removal = |d: &DeviceOp| matches!(d, DeviceOp::DeleteNeighbour(_) | DeviceOp::DeleteForward(..));
    assert_eq!((ops.len(), ops.iter().filter(|d| is_removal(d)).count()), (4, 2));
    assert!(ops.is_sorted_by_key(is_removal));
}

#[test]
fn random_states_all_end_where_they_should() {
    let mut seed = 0x5eed_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..500 {
        let pick = |next: &mut dyn FnMut(u64) -> u64| -> BTreeSet<IpAddr> {
            (0..next(6)).map(|_| IpAddr::V4(Ipv4Addr::new(10, 0, next(4) as u8, 2))).collect()
        };
        let wanted = pick(&mut next);
        let p = Params { addresses: vec![ip("10.244.1.0")], ..params() };
        let device = p.wanted(Some(Ipv4Addr::new(10, 0, 0, 1)), Some("fd00::1".parse().unwrap()), &wanted).devices.remove(0);
        let mut actual = None;
        obey(&device, &mut actual, DeviceOp::Create);
        let s = actual.as_mut().unwrap();
        s.addresses = (0..next(3)).map(|i| IpNet::from(IpAddr::V4(Ipv4Addr::new(10, 244, 1, i as u8)))).collect();
        s.neighbours = pick(&mut next).into_iter().map(|n| (n, if next(2) == 0 { Mac::of(n) } else { Mac([8; 6]) })).collect();
        s.forwards =
            pick(&mut next).into_iter().map(|n| (if next(3) > 0 { Mac::of(n) } else { Mac([8, 0, 0, 0, 0, next(2) as u8]) }, n)).collect();
        settle(&device, &mut actual);
        let s = actual.unwrap();
        assert!(wanted.iter().all(|n| device.carries(*n, &s)), "round {round}");
        assert_eq!((s.neighbours.len(), s.forwards.len(), s.addresses.len()), (wanted.len(), wanted.len(), 1), "round {round}");
    }
}

#[test]
fn each_family_has_its_device_and_its_nodes() {
    let nodes = [ip("10.0.1.1"), ip("fd00::2")].into();
    let wanted = params().wanted(Some(Ipv4Addr::new(10, 0, 0, 1)), Some("fd00::1".parse().unwrap()), &nodes);
    let told: Vec<_> = wanted.devices.iter().map(|d| (d.name.as_str(), d.local, d.nodes.len(), d.mtu_over(Some(1500)))).collect();
    assert_eq!(told, [("catbird", ip("10.0.0.1"), 1, 1450), ("catbird-v6", ip("fd00::1"), 1, 1430)]);
    assert!(wanted.devices.iter().all(|d| d.name.len() <= NAME_MOST));
    let ipip = Params { kind: Kind::Ipip, device: "tunl0".into(), ..params() };
    let wanted = ipip.wanted(Some(Ipv4Addr::new(10, 0, 0, 1)), Some("fd00::1".parse().unwrap()), &nodes);
    assert_eq!(wanted.devices.iter().map(|d| (d.name.as_str(), d.mtu_over(None))).collect::<Vec<_>>(), [("tunl0", 1480)]);
    assert_eq!(Params::default().wanted(Some(Ipv4Addr::LOCALHOST), None, &nodes), DesiredDevices::default());
}

/// A node without an IPv6 address, as others of its kind are: IPv6 routes name their addresses mapped (RFC 4798 §2).
#[test]
fn between_nodes_of_ipv4_alone_the_device_carries_ipv6_too() {
    let node = ip("10.0.1.1");
    let device = params().wanted(Some(Ipv4Addr::new(10, 0, 0, 1)), None, &[node].into()).devices.remove(0);
    let mut actual = None;
    settle(&device, &mut actual);
    let mut actual = actual.unwrap();
    let link_local = gateway(for_ipv6(node).unwrap());
    assert_eq!(link_local, IpAddr::V6(Mac::of(node).link_local()));
    assert_eq!(actual.neighbours, [(node, Mac::of(node)), (link_local, Mac::of(node))].into());
    assert!(device.carries(node, &actual));
    actual.neighbours.remove(&link_local);
    assert!(!device.carries(node, &actual));
    assert_eq!(device.ops(Some(&actual), Some(1500)).unwrap(), [DeviceOp::Neighbour(link_local, Mac::of(node))]);
}

#[test]
fn a_device_that_is_set_aside_has_a_name_of_its_own_and_is_known_as_ours() {
    let names = ["catbird", "catbird-v6", "vxlan.calico-tun"].map(aside);
    assert_eq!(names, ["catbird-old", "catbird-old6", "vxlan.cali-old"]);
    let own = Some(ip("10.0.0.1"));
    let vxlan = ActualKind::Vxlan { vni: 7, port: 4789, checksum: true, learning: true };
    assert!(is_ours(&vxlan, own, own.map(Mac::of)) && !is_ours(&vxlan, own, Some(Mac([2; 6]))) && !is_ours(&vxlan, None, None));
    assert!(is_ours(&ActualKind::Ipip, own, None) && !is_ours(&ActualKind::Ipip, None, None), "tunl0 comes with the module");
    assert!(!is_ours(&ActualKind::Other("bridge".into()), own, own.map(Mac::of)));
}

#[test]
fn another_kind_of_interface_is_not_ours_to_remove() {
    let device = device(&[]);
    let mut actual = None;
    settle(&device, &mut actual);
    let mut s = actual.unwrap();
    s.kind = ActualKind::Other("bridge".into());
    let occupied = device.ops(Some(&s), None).unwrap_err();
    assert!(occupied.to_string().contains("catbird of kind \"bridge\""), "{occupied}");
}

#[test]
fn mac_addresses_are_local_unicast_and_differ() {
    let v4 = (0..2000_u32).map(|i| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)));
    let v6 = (0..2000_u32).map(|i| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, (i >> 16) as u16, i as u16)));
    let macs: BTreeSet<Mac> = v4.chain(v6).map(Mac::of).collect();
    assert_eq!(macs.len(), 4000);
    assert!(macs.iter().all(|m| m.0[0] & 3 == 2));
    assert_eq!(Mac::of(ip("10.0.0.1")).to_string(), "02:cb:0a:00:00:01");
}

#[test]
fn an_ipv6_node_is_the_neighbour_by_the_address_of_its_device() {
    let node = ip("fd00::2");
    let device = params().wanted(None, Some("fd00::1".parse().unwrap()), &[node].into()).devices.remove(0);
    let mut actual = None;
    settle(&device, &mut actual);
    let mut actual = actual.unwrap();
    let [.., last] = Mac::of(node).0;
    assert!(
        matches!(gateway(node), IpAddr::V6(a) if a.is_unicast_link_local() && a.octets()[15] == last && a.octets()[11..13] == [0xff, 0xfe])
    );
    assert_eq!(Mac([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]).link_local().to_string(), "fe80::211:22ff:fe33:4455");
    assert_eq!(actual.neighbours, [(gateway(node), Mac::of(node))].into());
    assert!(device.carries(node, &actual));
    // As the first release wrote it: it stays as long as the node does.
    actual.neighbours.insert(node, Mac::of(node));
    assert_eq!(device.ops(Some(&actual), Some(1500)).unwrap(), []);
    let without = Device { nodes: BTreeSet::new(), ..device };
    let ops = without.ops(Some(&actual), Some(1500)).unwrap();
    assert!(ops.contains(&DeviceOp::DeleteNeighbour(node)) && ops.contains(&DeviceOp::DeleteNeighbour(gateway(node))));
}

#[test]
fn what_a_former_life_left_is_known_by_its_form() {
    let device = device(&["10.0.1.1", "10.0.1.2"]);
    let mut actual = None;
    settle(&device, &mut actual);
    let mut actual = actual.unwrap();
    actual.neighbours.insert(ip("10.0.1.3"), Mac([2, 0, 0, 0, 0, 7]));
    actual.neighbours.insert(ip("10.0.1.4"), Mac::of(ip("10.0.1.4")));
    actual.neighbours.insert(device.local, Mac::of(device.local));
    actual.neighbours.insert(ip("2001:db8::1"), Mac::of(ip("2001:db8::1")));
    actual.forwards.insert((Mac::of(ip("10.0.1.5")), ip("10.0.1.6")));
    let fresh = Device { nodes: BTreeSet::new(), ..device.clone() };
    let left: BTreeSet<IpAddr> = ["10.0.1.1", "10.0.1.2", "10.0.1.4"].map(ip).into();
    assert_eq!(fresh.left_behind(&actual), left);
    // With these as nodes nothing of theirs is touched but what is half there, and all else goes.
    let mut actual = Some(actual);
    settle(&Device { nodes: left, ..device.clone() }, &mut actual);
    let actual = actual.unwrap();
    assert_eq!(actual.neighbours.len(), 3);
    assert!(actual.forwards.contains(&(Mac::of(ip("10.0.1.4")), ip("10.0.1.4"))) && actual.forwards.len() == 3);
    let other = Device { tunnel: Tunnel::Vxlan { vni: 1, port: 4789, checksum: true }, ..device };
    assert!(other.left_behind(&actual).is_empty(), "another network's");
}
