//! RFC 4271 section 4 and RFC 8654: messages as long as they may be, to the last octet.

use std::time::Duration;

use catbird::wire::{Capability, Message};
use proto_tests::dsl::{Upd, upd};
use proto_tests::lab::Lab;

/// x tells a, and a tells y.
fn chain(long: bool) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).scripted("y", 64514).linked("a", "x").linked("a", "y");
    for name in ["x", "y"] {
        let capabilities = &mut lab.script(name).open.capabilities;
        capabilities.retain(|c| *c != Capability::ExtendedMessage);
        if long {
            capabilities.push(Capability::ExtendedMessage);
        }
    }
    lab.until_all_established();
    lab.run(Duration::from_secs(15));
    lab.heard("y");
    lab
}

/// The UPDATE that y is sent `len` octets for: our AS number makes the path four octets longer.
fn filled(prefix: &str, prefix_octets: usize, len: usize) -> Upd {
    // Header and lengths 23, ORIGIN 4, AS_PATH of two numbers 13, NEXT_HOP 7, the header of the filler 4, the prefix.
    upd().reach(prefix).as_path(&[64513]).next_hop("10.255.0.2").attr(99, 0xe0, &vec![7; len - 51 - prefix_octets])
}

/// Which prefixes y has heard of since the last time.
fn heard(lab: &mut Lab) -> Vec<String> {
    lab.run(Duration::from_secs(2));
    let updates = lab.heard("y").into_iter().filter_map(|m| if let Message::Update(update) = m { Some(update) } else { None });
    updates.flat_map(|u| u.announced.into_iter().flat_map(|a| a.nlri.iter().map(|n| n.to_string()).collect::<Vec<_>>())).collect()
}

#[test]
fn a_route_whose_update_fills_a_message_to_the_last_octet_goes_out() {
    for (long, limit) in [(false, 4096), (true, 65_535)] {
        let mut lab = chain(long);
        for (n, len) in (limit - 2..=limit + 1).enumerate() {
            let prefix = format!("10.{n}.2.0/24");
            lab.raw("x", &filled(&prefix, 4, len).octets());
            let wanted: Vec<String> = (len <= limit).then(|| prefix.clone()).into_iter().collect();
            assert_eq!(heard(&mut lab), wanted, "{len} octets of {limit}");
            assert!(lab.best("a", &prefix).is_some(), "it is a good route here");
        }
    }
}

#[test]
fn beside_the_same_attributes_a_short_prefix_goes_out_and_a_longer_one_that_has_no_room_does_not() {
    let mut lab = chain(false);
    // Room for the four octets of a /24. All in one batch: what holds for one prefix of the set must not be taken to hold for all.
    let prefixes = ["10.1.2.3/32", "10.1.2.0/24", "10.7.0.0/16", "10.1.2.4/32", "11.0.0.0/8"];
    let filler = 4096 - 51 - 4;
    for prefix in prefixes {
        lab.raw("x", &upd().reach(prefix).as_path(&[64513]).next_hop("10.255.0.2").attr(99, 0xe0, &vec![7; filler]).octets());
    }
    let mut got = heard(&mut lab);
    got.sort();
    assert_eq!(got, ["10.1.2.0/24", "10.7.0.0/16", "11.0.0.0/8"]);
    // And the other way round: with attributes that leave room for all of them, all go out.
    for prefix in prefixes {
        lab.raw("x", &upd().reach(prefix).as_path(&[64513]).next_hop("10.255.0.2").attr(99, 0xe0, &vec![7; filler - 1]).octets());
    }
    assert_eq!(heard(&mut lab).len(), prefixes.len());
}
