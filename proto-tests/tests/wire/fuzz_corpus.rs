//! What fuzzing found worth keeping, replayed: `fuzz/corpus/TARGET/*`, and every octet of a few good messages changed.

use std::path::Path;

use proto_tests::dsl::{open, route_refresh, upd};
use proto_tests::harmless;

fn replay(target: &str, run: fn(&[u8])) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|entry| run(&std::fs::read(entry.expect("an entry").path()).expect("its octets"))).count()
}

#[test]
fn kept_opens_notifications_and_refreshes_do_no_harm() {
    assert!(replay("open", harmless::open) > 10);
    assert!(replay("notification", harmless::notification) > 10);
    assert!(replay("route_refresh", harmless::route_refresh) > 3);
}

#[test]
fn kept_updates_do_no_harm() {
    assert!(replay("update", harmless::update) > 10);
}

#[test]
fn kept_streams_do_no_harm() {
    assert!(replay("framing", harmless::framing) > 10);
}

#[test]
fn good_messages_are_good_seeds() {
    harmless::open(&open(70000).capability(2, &[]).octets()[19..]);
    harmless::route_refresh(&route_refresh(1, 1, 1)[19..]);
    for choice in 0..64 {
        let update =
            upd().reach("10.1.0.0/26").reach("2001:db8::/32").withdraw("10.2.0.0/26").as_path(&[64512, 65536]).med(7).community(1, 2);
        harmless::update(&[&[choice], &update.octets()[19..]].concat());
        harmless::update(&[&[choice], &update.two_octets().octets()[19..]].concat());
    }
}
