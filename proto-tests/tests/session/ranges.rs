//! Listen ranges, and what a reload makes of a reflector's clients.

use std::sync::Arc;
use std::time::Duration;

use catbird::num::{Asn, ClusterId};
use catbird::peer::{self, RemoteAs};
use catbird::speaker::{ListenRange, Params, PeerConfig};
use proto_tests::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

/// A range whose peers are in this AS.
fn range(params: &Params, net: &str, asn: u32, limit: usize) -> Arc<ListenRange> {
    let remote_as = if asn == 64512 { RemoteAs::Internal } else { RemoteAs::Exactly(Asn(asn)) };
    let session = peer::Params::new("guests", "0.0.0.0".parse().unwrap(), Asn(64512), remote_as, params.router_id);
    Arc::new(ListenRange { net: net.parse().unwrap(), limit, template: PeerConfig::new(Arc::new(session)) })
}

#[test]
fn a_range_lets_in_as_many_as_its_limit_and_one_more_when_one_has_gone() {
    let names = ["x", "y", "z"];
    let lab = names.iter().fold(Lab::seeded(61).speaker("rr", 64512), |lab, name| lab.scripted(name, 64512));
    let mut lab = lab.configured("rr", |p| p.ranges = vec![range(p, "10.255.0.0/16", 64512, 2)]);
    for name in names {
        lab.connect(name, "rr");
        lab.run(2 * SECOND);
    }
    let up = |lab: &mut Lab| names.map(|name| lab.script(name).is_up());
    assert_eq!(up(&mut lab), [true, true, false], "two of three");
    lab.hang_up_script("x");
    lab.run(30 * SECOND);
    lab.connect("z", "rr");
    lab.run(2 * SECOND);
    assert_eq!(up(&mut lab), [false, true, true], "there is room again");
}

#[test]
fn of_the_ranges_that_hold_an_address_the_longest_counts_wherever_it_stands() {
    // Only the longest knows the AS of x.
    let ranges: [(&str, u32); 3] = [("10.255.0.0/16", 64999), ("10.255.0.2/32", 64512), ("10.255.0.0/24", 64998)];
    for turn in 0..ranges.len() {
        let mut order = ranges;
        order.rotate_left(turn);
        let lab = Lab::seeded(62).speaker("rr", 64512).scripted("x", 64512).scripted("y", 64998);
        let mut lab = lab.configured("rr", |p| p.ranges = order.iter().map(|(net, asn)| range(p, net, *asn, 10)).collect());
        for name in ["x", "y"] {
            lab.connect(name, "rr");
            lab.run(2 * SECOND);
            assert!(lab.script(name).is_up(), "{name}, {order:?}: {:?}", lab.told(name));
        }
    }
}

#[test]
fn whoever_becomes_a_client_by_a_reload_is_reflected_and_whoever_ceases_to_be_one_is_not() {
    let mut lab = Lab::seeded(63).speaker("rr", 64512).speaker("a", 64512).speaker("b", 64512);
    lab = lab.linked("rr", "a").linked("rr", "b").configured("rr", |p| p.cluster_id = Some(ClusterId([1, 1, 1, 1].into())));
    lab.until_established("rr", "a");
    lab.until_established("rr", "b");
    lab.blocks("a", &["10.8.0.0/26"]);
    lab.blocks("b", &["10.9.0.0/26"]);
    lab.run(2 * SECOND);
    let heard = |lab: &mut Lab| (lab.best("a", "10.9.0.0/26").is_some(), lab.best("b", "10.8.0.0/26").is_some());
    assert_eq!(heard(&mut lab), (false, false), "neither is a client");
    let dials = lab.dials("rr") + lab.dials("a") + lab.dials("b");
    for client in [true, false, true] {
        lab.reload("rr", |p| {
            let config = p.peers.iter_mut().find(|c| c.session.name == "a").expect("a is listed");
            Arc::make_mut(config).rr_client = client;
        });
        lab.run(5 * SECOND);
        // From a client to the others, and from the others to a client (RFC 4456 §6).
        assert_eq!(heard(&mut lab), (client, client), "a is a client: {client}");
    }
    assert_eq!(lab.dials("rr") + lab.dials("a") + lab.dials("b"), dials, "nobody had to connect again");
}
