//! Much from honest peers, against the real daemon over TCP: what it took comes back.

use std::time::Duration;

use proto_tests::netlab::patiently;
use proto_tests::outside::{Caller, Daemon, Heard, keepalive, message, update, usual_attributes};

/// R39b: a peer with much to say leaves, and one that came later stays and holds what lies behind in memory.
fn memory_comes_back(routes: u32) {
    let daemon = Daemon::start("", "");
    let mut small = daemon.call(1).established();
    let before = daemon.resident();
    let mut fat = daemon.call(2).established();
    let said = |caller: &Caller, n: u32, communities: u32| {
        let value: Vec<u8> = (0..communities).flat_map(|c| (n ^ c << 16).to_be_bytes()).collect();
        let more = [&[0xd0, 8][..], &(value.len() as u16).to_be_bytes(), &value].concat();
        let path_and_hop = usual_attributes(caller.addr);
        update(&[], &[path_and_hop, more].concat(), &[&[32][..], &(0x3000_0000 + n).to_be_bytes()].concat())
    };
    for n in 0..routes {
        fat.say(&said(&fat, n, 700));
        if n % 64 == 0 {
            small.say(&said(&small, 0x1000_0000 + n, 3));
        }
        if n % 1000 == 0 {
            fat.say(&keepalive());
            while !matches!(small.hear(Duration::from_millis(1)), Heard::Silence | Heard::End) {}
            small.say(&keepalive());
        }
    }
    fat.say(&message(5, &[0, 1, 0, 1]));
    while !matches!(fat.hear(Duration::from_secs(120)), Heard::Message(5, _)) {}
    let full = daemon.resident();
    drop(fat);
    let most = before + (full - before) / 4;
    let back = patiently(Duration::from_secs(90), || {
        small.say(&keepalive());
        while !matches!(small.hear(Duration::from_millis(1)), Heard::Silence | Heard::End) {}
        daemon.resident() < most
    });
    println!("{routes} routes: {before} KiB before, {full} KiB with them, {} KiB {back:.0?} after they had gone", daemon.resident());
    assert!(full > before + 64 * 1024, "nothing that would be missed");
    assert!(back.is_some(), "{} KiB are kept of {full}, {before} before", daemon.resident());
    assert!(small.is_established(), "who stays is not concerned");
}

#[test]
fn memory_of_a_peer_that_has_left_goes_back_to_the_kernel() {
    memory_comes_back(40_000);
}

#[test]
#[ignore = "big: 1.3 GB"]
fn a_gigabyte_of_a_peer_that_has_left_goes_back_to_the_kernel() {
    memory_comes_back(350_000);
}
