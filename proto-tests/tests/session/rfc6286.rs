//! RFC 6286: identifiers are unique within an AS, and any four octets but zero.

use std::time::Duration;

use catbird::num::{Asn, RouterId};
use catbird::wire::Message;
use proto_tests::lab::{Lab, open_of};

fn with_id(asn: u32, id: [u8; 4]) -> Lab {
    let mut lab = Lab::seeded(7).speaker("a", 64512).scripted("x", asn).linked("a", "x");
    lab.script("x").open = open_of(Asn(asn), RouterId::new(id.into()).unwrap());
    lab
}

#[test]
fn our_own_identifier_is_bad_within_our_as() {
    assert_eq!(with_id(64512, [10, 255, 0, 1]).until_told("x"), (2, 3));
}

#[test]
fn our_own_identifier_is_fine_in_another_as() {
    with_id(64513, [10, 255, 0, 1]).until_established("a", "x");
}

#[test]
fn identifiers_need_not_be_addresses() {
    for id in [[255, 255, 255, 255], [224, 0, 0, 5], [127, 0, 0, 1], [0, 0, 0, 1]] {
        with_id(64513, id).until_established("a", "x");
    }
}

#[test]
fn equal_identifiers_collide_by_as_number() {
    for (asn, kept_is_theirs) in [(64513, true), (64511, false)] {
        let mut lab = with_id(asn, [10, 255, 0, 1]);
        lab.script("x").be_silent();
        lab.until("the router's dial", Duration::from_secs(30), |lab| lab.script("x").current().is_some());
        let dialled_by_router = lab.script("x").current().unwrap();
        let dialled_by_x = lab.connect("x", "a");
        lab.until("two connections", Duration::from_secs(5), |lab| lab.script("x").conns().len() == 2);
        lab.run(Duration::from_millis(50));
        let open = Message::Open(Box::new(lab.script("x").open.clone())).to_bytes(&catbird::wire::Context::INITIAL);
        for conn in [dialled_by_router, dialled_by_x] {
            lab.raw_on("x", conn, &open);
            lab.run(Duration::from_millis(50));
        }
        let kept = if kept_is_theirs { dialled_by_x } else { dialled_by_router };
        assert_eq!(lab.script("x").conns(), [kept], "AS {asn} against 64512");
    }
}
