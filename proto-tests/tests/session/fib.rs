//! What the router hands to the kernel, and what a reload makes of it, in virtual time.

use std::time::Duration;

use catbird::api::{Answer, Question};
use catbird::num::Asn;
use catbird::wire::{Capability, Message};
use proto_tests::dsl::upd;
use proto_tests::lab::{Lab, net, update};

/// A router that heard of 203.0.113.0/24 behind its neighbour, and of 10.9.0.0/16 behind an address in that.
fn recursive(pools: &[&str]) -> Lab {
    let pools: Vec<ipnet::IpNet> = pools.iter().map(|p| net(p)).collect();
    let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab = lab.configured("a", |params| params.fib.pools = pools);
    lab.until_established("a", "x");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["203.0.113.0/24", "10.8.0.0/16"]));
    lab.raw("x", &update([203, 0, 113, 7], &[64513], &["10.9.0.0/16"]));
    lab.run(Duration::from_secs(2));
    lab
}

#[test]
fn a_route_of_ours_carries_the_next_hop_of_another() {
    let lab = recursive(&[]);
    assert!(lab.in_kernel("a", "203.0.113.0/24") && lab.in_kernel("a", "10.8.0.0/16"));
    assert!(lab.in_kernel("a", "10.9.0.0/16"), "through 203.0.113.0/24");
}

/// The table of next hops keeps none of our routes that hold no next hop: it asks for them when one is named.
#[test]
fn a_route_of_ours_that_stood_long_before_carries_whoever_names_a_next_hop_in_it() {
    let mut lab = recursive(&[]);
    let say = |lab: &mut Lab, octets: &[u8]| {
        lab.raw("x", octets);
        lab.run(Duration::from_secs(10));
    };
    // 10.8.0.0/16 and its longer part stand, and nobody has named an address in them.
    say(&mut lab, &update([10, 255, 0, 2], &[64513], &["10.8.7.0/24"]));
    say(&mut lab, &update([10, 8, 7, 1], &[64513], &["10.20.0.0/16"]));
    say(&mut lab, &update([10, 8, 6, 1], &[64513], &["10.21.0.0/16"]));
    assert!(lab.in_kernel("a", "10.20.0.0/16") && lab.in_kernel("a", "10.21.0.0/16"));
    // One that rests on another carries, too.
    say(&mut lab, &update([10, 20, 0, 1], &[64513], &["10.22.0.0/16"]));
    assert!(lab.in_kernel("a", "10.22.0.0/16") && lab.best("a", "10.22.0.0/16").is_some());
    // The longer one goes, and the shorter one carries; then that goes.
    say(&mut lab, &upd().withdraw("10.8.7.0/24").octets());
    assert!(lab.in_kernel("a", "10.20.0.0/16"));
    say(&mut lab, &upd().withdraw("10.8.0.0/16").octets());
    assert!(!lab.in_kernel("a", "10.20.0.0/16") && !lab.in_kernel("a", "10.21.0.0/16"));
    say(&mut lab, &update([10, 255, 0, 2], &[64513], &["10.8.0.0/16"]));
    assert!(lab.in_kernel("a", "10.20.0.0/16") && lab.in_kernel("a", "10.21.0.0/16"));
    // Forgotten with the last who named it, and found again.
    say(&mut lab, &upd().withdraw("10.20.0.0/16").withdraw("10.22.0.0/16").octets());
    say(&mut lab, &update([10, 8, 7, 1], &[64513], &["10.20.0.0/16"]));
    assert!(lab.in_kernel("a", "10.20.0.0/16") && lab.in_kernel("a", "10.21.0.0/16"));
}

#[test]
fn a_route_that_is_not_written_carries_no_next_hop() {
    let lab = recursive(&["10.0.0.0/8"]);
    assert!(!lab.in_kernel("a", "203.0.113.0/24") && lab.in_kernel("a", "10.8.0.0/16"));
    assert!(!lab.in_kernel("a", "10.9.0.0/16"), "the kernel knows no way to its next hop");
}

/// RFC 1122 §3.2.1.3: no router has that address, and the kernel takes no such gateway.
#[test]
fn a_route_whose_next_hop_becomes_a_broadcast_address_is_gone() {
    let mut lab = recursive(&[]);
    for (hop, usable) in [([10, 255, 0, 9], true), ([10, 255, 255, 255], false), ([10, 255, 0, 9], true), ([10, 255, 0, 0], false)] {
        lab.raw("x", &update(hop, &[64513], &["10.40.0.0/16"]));
        lab.run(Duration::from_secs(2));
        assert_eq!((lab.in_kernel("a", "10.40.0.0/16"), lab.best("a", "10.40.0.0/16").is_some()), (usable, usable), "{hop:?}");
    }
    let told = format!("{:?}", lab.explain("a", "10.40.0.0/16"));
    assert!(told.contains("the broadcast or network address of a subnet of ours"), "{told}");
}

#[test]
fn tracked_next_hops_are_those_in_use() {
    let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).linked("a", "x").audit_every(100);
    lab.script("x").offer(vec![
        Capability::Multiprotocol { afi: 1, safi: 1 },
        Capability::Multiprotocol { afi: 2, safi: 1 },
        Capability::FourOctetAs(Asn(64513)),
    ]);
    lab.until_established("a", "x");
    for n in 0..1000 {
        lab.raw("x", &upd().reach("2001:db8:1::/48").next_hop(&format!("fe80::1:{n:x}")).as_path(&[64513]).octets());
        lab.run(Duration::from_millis(20));
    }
    let tracked = |lab: &mut Lab| match lab.ask("a", Question::Nexthops { cursor: 0 }) {
        Answer::Nexthops(page) => page.rows.len(),
        other => panic!("{other:?}"),
    };
    let paths = |lab: &mut Lab| lab.paths("a", "2001:db8:1::/48").len();
    assert_eq!((tracked(&mut lab), paths(&mut lab)), (1, 1), "one path, one next hop");
    lab.raw("x", &upd().withdraw("2001:db8:1::/48").octets());
    lab.run(Duration::from_secs(1));
    assert_eq!((tracked(&mut lab), paths(&mut lab)), (0, 0));
}

fn warnings(lab: &mut Lab) -> Vec<String> {
    match lab.ask("a", Question::Status) {
        Answer::Status(status) => status.warnings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fib_switched_off_takes_its_routes_along_and_brings_them_back() {
    let mut lab = recursive(&[]);
    lab.reload("a", |params| params.fib.enabled = false);
    lab.run(Duration::from_secs(2));
    assert!(!lab.in_kernel("a", "10.8.0.0/16") && lab.best("a", "10.8.0.0/16").is_some());
    lab.reload("a", |params| params.fib.enabled = true);
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", "10.8.0.0/16"));
}

#[test]
fn a_route_that_stands_whatever_is_learned_follows_its_gateway_and_the_reload() {
    let mut lab = recursive(&[]);
    let gateway = |lab: &Lab, prefix: &str| lab.way("a", prefix).map(|a| a.to_string());
    let pin = |lab: &mut Lab, pinned: &[(&str, [u8; 4])]| {
        let pinned = pinned.iter().map(|(to, via)| (net(to), (*via).into())).collect();
        lab.reload("a", |params| params.fib.via = pinned);
        lab.run(Duration::from_secs(2));
    };
    lab.raw("x", &update([203, 0, 113, 7], &[64513], &["192.0.2.9/32"]));
    lab.run(Duration::from_secs(2));
    assert_eq!(gateway(&lab, "192.0.2.9/32").as_deref(), Some("10.255.0.2"), "learned");
    pin(&mut lab, &[("192.0.2.9/32", [10, 255, 0, 77]), ("192.0.2.8/32", [203, 0, 113, 1])]);
    assert_eq!(gateway(&lab, "192.0.2.9/32").as_deref(), Some("10.255.0.77"), "what is learned does not take its place");
    assert_eq!(gateway(&lab, "192.0.2.8/32").as_deref(), Some("10.255.0.2"), "by a gateway that another route carries");
    // A next hop that lies in one is carried by it.
    lab.raw("x", &update([192, 0, 2, 9], &[64513], &["10.50.0.0/16"]));
    lab.run(Duration::from_secs(2));
    assert_eq!(gateway(&lab, "10.50.0.0/16").as_deref(), Some("10.255.0.77"));
    // Said again and taken back by the peer, it stays; its gateway gone, it goes.
    lab.raw("x", &upd().withdraw("192.0.2.9/32").withdraw("203.0.113.0/24").octets());
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", "192.0.2.9/32") && !lab.in_kernel("a", "192.0.2.8/32"));
    assert!(lab.best("a", "192.0.2.8/32").is_none(), "and nobody is told of it");
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["192.0.2.9/32", "203.0.113.0/24"]));
    lab.run(Duration::from_secs(2));
    assert_eq!(gateway(&lab, "192.0.2.9/32").as_deref(), Some("10.255.0.77"));
    assert_eq!(gateway(&lab, "192.0.2.8/32").as_deref(), Some("10.255.0.2"), "back with its gateway");
    pin(&mut lab, &[]);
    assert_eq!(gateway(&lab, "192.0.2.9/32").as_deref(), Some("10.255.0.2"), "what is learned takes its place");
    assert!(!lab.in_kernel("a", "192.0.2.8/32"));
}

/// As Calico's BIRD where both ends run WireGuard.
#[test]
fn routes_by_a_next_hop_of_another_program_s_are_used_and_not_written() {
    let mut lab = recursive(&[]);
    lab.reload("a", |params| params.fib.exclude_next_hops = [[203, 0, 113, 7].into()].into());
    lab.run(Duration::from_secs(2));
    assert!(!lab.in_kernel("a", "10.9.0.0/16") && lab.best("a", "10.9.0.0/16").is_some() && lab.in_kernel("a", "10.8.0.0/16"));
    let told = format!("{:?}", lab.explain("a", "10.9.0.0/16"));
    assert!(told.contains("its next hop is one that another program routes to"), "{told}");
    lab.reload("a", |params| params.fib.exclude_next_hops.clear());
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", "10.9.0.0/16"));
}

#[test]
fn prefixes_that_are_left_to_another_program_leave_and_come_back_with_a_reload() {
    let mut lab = recursive(&[]);
    lab.reload("a", |params| params.fib.exclude = vec![net("10.8.0.0/14")]);
    lab.run(Duration::from_secs(2));
    assert!(!lab.in_kernel("a", "10.8.0.0/16") && lab.in_kernel("a", "203.0.113.0/24"));
    lab.reload("a", |params| params.fib.exclude.clear());
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", "10.8.0.0/16"));
}

fn recovering(lab: &mut Lab) -> bool {
    match lab.ask("a", Question::Status) {
        Answer::Status(status) => status.recovering,
        other => panic!("{other:?}"),
    }
}

#[test]
fn old_kernel_routes_are_waited_for_only_where_there_are_some() {
    let mut lab = recursive(&[]);
    lab.kill("a");
    lab.hang_up_script("x");
    lab.script("x").greets = false;
    lab.start("a");
    lab.run(Duration::from_secs(5));
    assert!(lab.in_kernel("a", "10.8.0.0/16") && recovering(&mut lab), "left by the run before, and nobody has told it again");
    lab.reload("a", |params| params.fib.enabled = false);
    lab.run(Duration::from_secs(2));
    assert!(!lab.in_kernel("a", "10.8.0.0/16") && !recovering(&mut lab), "switched off, nothing is kept");

    for enabled in [true, false] {
        let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
        lab = lab.configured("a", |params| params.fib.enabled = enabled);
        lab.script("x").greets = false;
        lab.run(Duration::from_secs(5));
        assert!(!lab.established("a", "x") && !recovering(&mut lab), "a first start finds nothing, enabled: {enabled}");
    }
}

#[test]
fn another_table_waits_for_the_next_start_and_says_so() {
    let mut lab = recursive(&[]);
    assert!(!warnings(&mut lab).iter().any(|w| w.contains("next start")));
    lab.reload("a", |params| params.fib.table = 100);
    lab.run(Duration::from_secs(2));
    let told = warnings(&mut lab);
    assert!(told.iter().any(|w| w.contains("table 254") && w.contains("next start") && w.contains("table 100")), "{told:?}");
    assert!(lab.in_kernel("a", "10.8.0.0/16"), "what stands stays");
}

#[test]
fn a_path_whose_new_next_hop_another_route_carries_is_not_lost_meanwhile() {
    let mut lab = Lab::seeded(3).speaker("a", 64512).scripted("x", 64513).scripted("y", 64514).linked("a", "x").linked("a", "y");
    lab.until_established("a", "x");
    lab.until_established("a", "y");
    // So far no next hop lies in 203.0.113.0/24.
    lab.raw("x", &update([10, 255, 0, 2], &[64513], &["203.0.113.0/24", "10.8.0.0/16"]));
    lab.run(Duration::from_secs(2));
    assert!(lab.in_kernel("a", "203.0.113.0/24") && lab.in_kernel("a", "10.8.0.0/16"));
    lab.heard("y");
    let before = lab.kernel_removals("a");
    lab.raw("x", &update([203, 0, 113, 8], &[64513, 64999], &["10.8.0.0/16"]));
    lab.run(Duration::from_secs(2));
    assert!(lab.best("a", "10.8.0.0/16").is_some_and(|row| row.as_path == "64513 64999") && lab.in_kernel("a", "10.8.0.0/16"));
    assert_eq!(lab.kernel_removals("a"), before, "the kernel's route stood all the time");
    let withdrawn: usize =
        lab.heard("y").into_iter().map(|m| if let Message::Update(update) = m { update.withdrawn.len() } else { 0 }).sum();
    assert_eq!(withdrawn, 0, "and nobody heard that it was gone");
}

/// What is wanted and what stands there differ in nothing else while a reload is carried out.
#[test]
fn the_preferred_source_is_shown_with_the_route() {
    let mut lab = recursive(&[]);
    lab.reload("a", |params| params.fib.source_v4 = Some([10, 255, 0, 1].into()));
    lab.run(Duration::from_secs(1));
    let Answer::Fib(page) = lab.ask("a", Question::Fib { net: Some(net("10.8.0.0/16")), cursor: 0 }) else { panic!("another answer") };
    let row = &page.rows[0];
    let told = [&row.wanted, &row.installed].map(|entry| entry.as_ref().unwrap().as_ip_route(&row.net));
    assert_eq!(told, ["10.8.0.0/16 via 10.255.0.2 dev eth0 metric 1024 src 10.255.0.1"; 2]);
}
