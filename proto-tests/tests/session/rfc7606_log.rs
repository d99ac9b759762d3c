//! RFC 7606 section 6: a malformed UPDATE is said with what it spoke of and whole, so that somebody can find out what was wrong.

use std::time::Duration;

use proto_tests::dsl::upd;
use proto_tests::lab::Lab;

fn pair() -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", 64513).linked("a", "x");
    lab.until_established("a", "x");
    lab
}

fn said(lab: &Lab) -> Vec<String> {
    lab.notices("a").into_iter().filter(|notice| notice.contains("malformed")).collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn a_malformed_update_is_said_with_its_prefixes_and_its_octets_and_not_too_often() {
    let mut lab = pair();
    let bad = upd().reach("10.1.0.0/26").reach("10.1.1.0/26").as_path(&[64513]).attr(4, 0x80, &[0, 0, 1]).attr(6, 0x40, &[0]).octets();
    lab.raw("x", &bad);
    lab.run(Duration::from_secs(1));
    let lines = said(&lab);
    let [line] = &lines[..] else { panic!("one line an UPDATE: {lines:?}") };
    assert!(line.contains("treated as withdrawn: MULTI_EXIT_DISC: length 3"), "{line}");
    assert!(line.contains("ATOMIC_AGGREGATE: length 1"), "every error: {line}");
    assert!(line.contains("prefixes: 10.1.0.0/26 10.1.1.0/26") && line.ends_with(&hex(&bad)), "{line}");
    (0..500).for_each(|_| lab.raw("x", &bad));
    lab.run(Duration::from_secs(1));
    let lines = said(&lab).len();
    assert!(lab.established("a", "x") && (2..50).contains(&lines), "{lines} lines for 501 UPDATEs");
    let counted = lab.peer("a", "x").updates.malformed;
    assert_eq!(counted, 2 * 501, "but each is counted");
}

#[test]
fn an_attribute_that_is_left_out_is_said_with_the_route_that_lives() {
    let mut lab = pair();
    let bad = upd().reach("10.1.0.0/26").next_hop("10.255.0.2").as_path(&[64513]).attr(6, 0x40, &[0]).octets();
    lab.raw("x", &bad);
    lab.run(Duration::from_secs(1));
    assert!(lab.best("a", "10.1.0.0/26").is_some());
    let lines = said(&lab);
    assert!(lines.len() == 1 && lines[0].contains("attribute discarded") && lines[0].contains("prefixes: 10.1.0.0/26"), "{lines:?}");
    assert!(lines[0].ends_with(&hex(&bad)));
}
