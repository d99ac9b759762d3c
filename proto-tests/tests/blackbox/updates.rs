//! Malformed UPDATEs from the text of RFC 7606 and the RFCs of the attributes, against the real daemon over TCP.
//!
//! Each case first announces a good route, so that "withdrawn" and "kept" can be told from "never heard of".

use proto_tests::outside::{Caller, Daemon, OUR_AS, THEIR_AS, attribute, capabilities, keepalive, open, update, usual_attributes};

/// What becomes of the route, or of the session.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// The route stays, without the attribute or with it.
    Kept,
    /// Treat-as-withdraw.
    Withdrawn,
    /// NOTIFICATION: code 3 and this subcode.
    Reset(u8),
}

use Fate::{Kept, Reset, Withdrawn};

const INTERNAL: &str = "[[peer_group]]\nname = \"friends\"\nasn = 65001\nlisten = [\"127.32.0.0/12\"]\nlisten_limit = 1000\n";

/// Origin, path, next hop; each replaced, left out or followed by others as a case wants it.
struct Upd {
    origin: Vec<u8>,
    path: Vec<u8>,
    next_hop: Vec<u8>,
    more: Vec<u8>,
}

impl Upd {
    fn of(caller: &Caller, internal: bool) -> Upd {
        let path = if internal { Vec::new() } else { [&[2, 1][..], &u32::from(THEIR_AS).to_be_bytes()].concat() };
        Upd {
            origin: attribute(0x40, 1, &[0]),
            path: attribute(0x40, 2, &path),
            next_hop: attribute(0x40, 3, &caller.addr.octets()),
            more: if internal { attribute(0x40, 5, &[0, 0, 0, 100]) } else { Vec::new() },
        }
    }

    fn octets(&self, nlri: &[u8]) -> Vec<u8> {
        update(&[], &[&self.origin[..], &self.path, &self.next_hop, &self.more].concat(), nlri)
    }
}

type Change = Box<dyn Fn(&mut Upd)>;

struct Case {
    name: String,
    change: Change,
    fate: Fate,
}

fn case(name: impl Into<String>, fate: Fate, change: impl Fn(&mut Upd) + 'static) -> Case {
    Case { name: name.into(), change: Box::new(change), fate }
}

/// With one attribute more.
fn with(name: impl Into<String>, fate: Fate, flags: u8, code: u8, value: &[u8]) -> Case {
    let octets = attribute(flags, code, value);
    case(name, fate, move |u| u.more.extend_from_slice(&octets))
}

fn run(internal: bool, cases: Vec<Case>) {
    let daemon = Daemon::start("", INTERNAL);
    let mut wrong = Vec::new();
    let mut live = None;
    for (n, c) in cases.into_iter().enumerate() {
        let mut caller = match live.take() {
            Some(caller) => caller,
            None => connected(&daemon, n as u16 + 1, internal),
        };
        let [high, low] = (n as u16).to_be_bytes();
        let (net, nlri) = (format!("10.{high}.{low}.0/24"), [24, 10, high, low]);
        let good = Upd::of(&caller, internal);
        caller.say(&good.octets(&nlri));
        let mut bad = Upd::of(&caller, internal);
        (c.change)(&mut bad);
        let octets = bad.octets(&nlri);
        caller.say(&octets);
        // A refresh is answered after whatever came before it was taken in.
        caller.say(&proto_tests::outside::message(5, &[0, 1, 0, 1]));
        let told = until_refreshed(&mut caller);
        let got = match told {
            Some((3, subcode)) => Reset(subcode),
            Some(other) => panic!("{}: NOTIFICATION {other:?}", c.name),
            None if daemon.has(&net) => Kept,
            None => Withdrawn,
        };
        if told.is_none() {
            live = Some(caller);
        }
        if got != c.fate {
            wrong.push(format!("{}: {got:?} instead of {:?}: {:02x?}", c.name, c.fate, &octets[19..]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn connected(daemon: &Daemon, n: u16, internal: bool) -> Caller {
    if !internal {
        return daemon.call(n).established();
    }
    let mut caller = Caller::from(std::net::Ipv4Addr::from(0x7f20_0000 | u32::from(n)), daemon.port).expect("loopback");
    let asn = u32::from(OUR_AS).to_be_bytes();
    let parameters = capabilities(&[(1, &[0, 1, 0, 1]), (1, &[0, 2, 0, 1]), (2, &[]), (70, &[]), (65, &asn)]);
    caller.say(&[open(4, OUR_AS, 90, caller.addr.octets(), &parameters), keepalive()].concat());
    assert!(caller.hear_type(4).is_some());
    caller
}

/// Up to the End-of-RR of IPv4 unicast, or to a NOTIFICATION.
fn until_refreshed(caller: &mut Caller) -> Option<(u8, u8)> {
    use proto_tests::outside::{Heard, PATIENCE};
    loop {
        match caller.hear(PATIENCE) {
            Heard::Message(5, body) if body == [0, 1, 2, 1] => return None,
            Heard::Message(3, body) => return Some((body[0], body[1])),
            Heard::Message(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn path(segments: &[(u8, &[u32])]) -> Vec<u8> {
    let mut value = Vec::new();
    for (kind, list) in segments {
        value.extend([*kind, list.len() as u8]);
        list.iter().for_each(|asn| value.extend(asn.to_be_bytes()));
    }
    value
}

#[test]
fn well_known_attributes_from_an_external_peer() {
    let mut cases = Vec::new();
    // RFC 7606 §3(c): the Optional and Transitive bits.
    for flags in [0x00u8, 0x80, 0xc0] {
        cases.push(case(format!("ORIGIN with flags {flags:#x}"), Withdrawn, move |u| u.origin[0] = flags));
        cases.push(case(format!("AS_PATH with flags {flags:#x}"), Withdrawn, move |u| u.path[0] = flags));
        cases.push(case(format!("NEXT_HOP with flags {flags:#x}"), Withdrawn, move |u| u.next_hop[0] = flags));
    }
    // The Partial bit of what is not optional is not looked at by RFC 7606.
    cases.push(case("ORIGIN with the Partial bit", Kept, |u| u.origin[0] = 0x60));
    cases.push(case("ORIGIN with the low bits", Kept, |u| u.origin[0] = 0x4f));
    cases.push(case("ORIGIN with an extended length", Kept, |u| u.origin = vec![0x50, 1, 0, 1, 0]));
    // §7.1, §7.2, §7.3.
    for value in [&[][..], &[0, 0], &[3], &[255], &[0; 9]] {
        let octets = attribute(0x40, 1, value);
        cases.push(case(format!("ORIGIN {value:?}"), Withdrawn, move |u| u.origin.clone_from(&octets)));
    }
    for (name, value) in [
        ("of one octet", vec![2]),
        ("of a segment longer than itself", vec![2, 2, 0, 0, 0xfd, 0xea]),
        ("of a segment shorter than itself", vec![2, 1, 0, 0, 0xfd, 0xea, 0]),
        ("of an empty segment", path(&[(2, &[65002]), (2, &[])])),
        ("of type 0", path(&[(0, &[65002])])),
        ("of type 5", path(&[(2, &[65002]), (5, &[1])])),
        ("with AS 0 (RFC 7607)", path(&[(2, &[65002, 0])])),
        ("with a confederation (RFC 5065)", path(&[(2, &[65002]), (3, &[1])])),
        ("with a confederation set", path(&[(4, &[65002])])),
        ("with another first AS", path(&[(2, &[65003, 65002])])),
        ("with our AS", path(&[(2, &[65002, 65001])])),
        ("that is empty", vec![]),
    ] {
        let octets = attribute(0x40, 2, &value);
        cases.push(case(format!("AS_PATH {name}"), Withdrawn, move |u| u.path.clone_from(&octets)));
    }
    for value in [&[][..], &[10], &[10, 9, 9], &[10, 9, 9, 9, 9], &[0; 16]] {
        let octets = attribute(0x40, 3, value);
        cases.push(case(format!("NEXT_HOP of {} octets", value.len()), Withdrawn, move |u| u.next_hop.clone_from(&octets)));
    }
    for addr in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255], [240, 0, 0, 1], [127, 0, 0, 1]] {
        let octets = attribute(0x40, 3, &addr);
        cases.push(case(format!("NEXT_HOP {addr:?}"), Withdrawn, move |u| u.next_hop.clone_from(&octets)));
    }
    // §3(d).
    cases.push(case("no ORIGIN", Withdrawn, |u| u.origin.clear()));
    cases.push(case("no AS_PATH", Withdrawn, |u| u.path.clear()));
    cases.push(case("no NEXT_HOP", Withdrawn, |u| u.next_hop.clear()));
    cases.push(case("no attribute at all", Withdrawn, |u| [&mut u.origin, &mut u.path, &mut u.next_hop].into_iter().for_each(Vec::clear)));
    // §3(g): the first counts.
    cases.push(with("ORIGIN twice", Kept, 0x40, 1, &[2]));
    cases.push(with("NEXT_HOP twice, the second malformed", Kept, 0x40, 3, &[1]));
    cases.push(case("ORIGIN twice, the first malformed", Withdrawn, |u| {
        u.origin = [attribute(0x40, 1, &[7]), attribute(0x40, 1, &[0])].concat()
    }));
    run(false, cases);
}

#[test]
fn optional_attributes_from_an_external_peer() {
    let mut cases = vec![
        // RFC 7606 §7.4, §7.6, §7.7, §7.8; RFC 7606 §7.14; RFC 8092 §5.
        with("MED", Kept, 0x80, 4, &[0, 0, 0, 1]),
        with("MED of three octets", Withdrawn, 0x80, 4, &[0, 0, 1]),
        with("MED of five octets", Withdrawn, 0x80, 4, &[0, 0, 0, 1, 0]),
        with("MED of none", Withdrawn, 0x80, 4, &[]),
        with("MED that is transitive", Withdrawn, 0xc0, 4, &[0, 0, 0, 1]),
        with("MED that is well-known", Withdrawn, 0x40, 4, &[0, 0, 0, 1]),
        with("ATOMIC_AGGREGATE", Kept, 0x40, 6, &[]),
        with("ATOMIC_AGGREGATE of one octet", Kept, 0x40, 6, &[1]),
        with("ATOMIC_AGGREGATE that is optional", Withdrawn, 0xc0, 6, &[]),
        with("AGGREGATOR", Kept, 0xc0, 7, &[0, 0, 0xfd, 0xea, 10, 0, 0, 9]),
        with("AGGREGATOR of six octets", Kept, 0xc0, 7, &[0xfd, 0xea, 10, 0, 0, 9]),
        with("AGGREGATOR of nine octets", Kept, 0xc0, 7, &[0; 9]),
        with("AGGREGATOR of AS 0 (RFC 7607)", Kept, 0xc0, 7, &[0, 0, 0, 0, 10, 0, 0, 9]),
        with("AGGREGATOR that is not transitive", Withdrawn, 0x80, 7, &[0, 0, 0xfd, 0xea, 10, 0, 0, 9]),
        with("COMMUNITIES", Kept, 0xc0, 8, &[0xfd, 0xea, 0, 1]),
        with("COMMUNITIES of none", Withdrawn, 0xc0, 8, &[]),
        with("COMMUNITIES of three octets", Withdrawn, 0xc0, 8, &[0, 0, 1]),
        with("COMMUNITIES of five octets", Withdrawn, 0xc0, 8, &[0, 0, 1, 0, 0]),
        with("COMMUNITIES not transitive", Withdrawn, 0x80, 8, &[0xfd, 0xea, 0, 1]),
        with("EXTENDED COMMUNITIES of none", Withdrawn, 0xc0, 16, &[]),
        with("EXTENDED COMMUNITIES of seven octets", Withdrawn, 0xc0, 16, &[0; 7]),
        with("EXTENDED COMMUNITIES of an unknown type", Kept, 0xc0, 16, &[0x7f, 1, 2, 3, 4, 5, 6, 7]),
        with("LARGE_COMMUNITY of none", Withdrawn, 0xc0, 32, &[]),
        with("LARGE_COMMUNITY of eleven octets", Withdrawn, 0xc0, 32, &[0; 11]),
        with("LARGE_COMMUNITY said twice inside", Kept, 0xc0, 32, &[1; 24]),
        // RFC 7606 §7.5, §7.9, §7.10: from an external peer left out unread.
        with("LOCAL_PREF", Kept, 0x40, 5, &[0, 0, 0, 9]),
        with("LOCAL_PREF of three octets", Kept, 0x40, 5, &[0, 0, 9]),
        with("ORIGINATOR_ID", Kept, 0x80, 9, &[1, 2, 3, 4]),
        with("ORIGINATOR_ID of five octets", Kept, 0x80, 9, &[0; 5]),
        with("CLUSTER_LIST of three octets", Kept, 0x80, 10, &[0; 3]),
        // RFC 6793 §4.1: not from a speaker of four-octet numbers.
        with("AS4_PATH", Kept, 0xc0, 17, &path(&[(2, &[65002])])),
        with("AS4_AGGREGATOR of two octets", Kept, 0xc0, 18, &[0, 0]),
        // RFC 4271 §5, §9.
        with("unknown, transitive", Kept, 0xc0, 99, &[1, 2, 3]),
        with("unknown, transitive, of no octets", Kept, 0xc0, 99, &[]),
        with("unknown, not transitive", Kept, 0x80, 99, &[1, 2, 3]),
        with("unknown, well-known", Reset(2), 0x40, 99, &[]),
        with("unknown, with no bits", Reset(2), 0x00, 250, &[1]),
        // RFC 7606 §3(g).
        with("MED twice", Kept, 0x80, 4, &[0, 0, 0, 1]),
        // RFC 9234 §5.
        with("OTC of three octets", Withdrawn, 0xc0, 35, &[0; 3]),
        // RFC 7311 §3.
        with("AIGP", Kept, 0x80, 26, &[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let twice = [attribute(0x80, 4, &[0, 0, 0, 1]), attribute(0x80, 4, &[1])].concat();
    cases.push(case("MED twice, the second malformed", Kept, move |u| u.more.clone_from(&twice)));
    // RFC 7606 §4: an attribute that runs over the end of all.
    cases.push(case("the last attribute too long", Withdrawn, |u| u.more = vec![0xc0, 8, 200, 1, 2, 3, 4]));
    cases.push(case("one octet behind the last attribute", Withdrawn, |u| u.more = vec![0xc0]));
    cases.push(case("half a header behind the last attribute", Withdrawn, |u| u.more = vec![0xc0, 8]));
    cases.push(case("half an extended length", Withdrawn, |u| u.more = vec![0xd0, 8, 0]));
    // Several errors: the strongest counts (§3(h)).
    let several = [attribute(0x40, 6, &[1]), attribute(0x80, 4, &[1])].concat();
    cases.push(case("one to discard, one to withdraw", Withdrawn, move |u| u.more.clone_from(&several)));
    run(false, cases);
}

#[test]
fn attributes_of_internal_peers() {
    run(
        true,
        vec![
            with("nothing more", Kept, 0xc0, 99, &[]),
            case("no LOCAL_PREF", Kept, |u| u.more.clear()),
            case("LOCAL_PREF of three octets", Withdrawn, |u| u.more = attribute(0x40, 5, &[0, 0, 1])),
            case("LOCAL_PREF of five octets", Withdrawn, |u| u.more = attribute(0x40, 5, &[0; 5])),
            case("LOCAL_PREF that is optional", Withdrawn, |u| u.more = attribute(0xc0, 5, &[0; 4])),
            with("ORIGINATOR_ID", Kept, 0x80, 9, &[10, 3, 3, 3]),
            with("ORIGINATOR_ID of three octets", Withdrawn, 0x80, 9, &[10, 3, 3]),
            with("ORIGINATOR_ID that is ours", Withdrawn, 0x80, 9, &[10, 0, 0, 1]),
            with("CLUSTER_LIST of three octets", Withdrawn, 0x80, 10, &[10, 3, 3]),
            with("CLUSTER_LIST of none", Withdrawn, 0x80, 10, &[]),
            with("CLUSTER_LIST that is transitive", Withdrawn, 0xc0, 10, &[1; 4]),
            case("our AS in the path", Withdrawn, |u| u.path = attribute(0x40, 2, &path(&[(2, &[65001])]))),
            case("a path of external ASes", Kept, |u| u.path = attribute(0x40, 2, &path(&[(2, &[65100, 65101])]))),
            case("AS_PATH of half a segment", Withdrawn, |u| u.path = attribute(0x40, 2, &[2, 2, 0, 0, 1, 1])),
        ],
    );
}

/// The body of the message, beyond attributes: RFC 4271 §6.3, RFC 7606 §3, §5.
#[test]
fn bodies_that_cannot_be_read_end_the_session() {
    let daemon = Daemon::start("", "");
    let mp = |flags, code, value: &[u8]| attribute(flags, code, value);
    let v6_hop = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9]].concat();
    let reach = |len: u8, hop: &[u8], nlri: &[u8]| [&[0, 2, 1, len][..], hop, &[0], nlri].concat();
    let good_reach = reach(16, &v6_hop, &[32, 0x20, 1, 0x0d, 0xb8]);
    let attrs = usual_attributes([127, 16, 0, 1].into());
    let head = [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path(&[(2, &[65002])]))].concat();
    let cat = |parts: &[&[u8]]| parts.concat();
    let raw = |withdrawn: u16, attributes: u16, rest: &[u8]| {
        proto_tests::outside::message(2, &cat(&[&withdrawn.to_be_bytes(), &attributes.to_be_bytes(), rest]))
    };
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("withdrawn length over the end", raw(1, 0, &[]), 1),
        ("withdrawn length of everything", raw(65535, 0, &[]), 1),
        ("no room for the second length", proto_tests::outside::message(2, &[0, 2, 0, 0]), 1),
        ("attribute length over the end", raw(0, 1, &[]), 1),
        ("attribute length of everything", raw(0, 65535, &[0x40]), 1),
        ("withdrawn prefix of length 33", update(&[33, 10, 0, 0, 0, 0], &[], &[]), 10),
        ("half a withdrawn prefix", update(&[24, 10, 0], &[], &[]), 10),
        ("prefix of length 33", update(&[], &attrs, &[33, 10, 0, 0, 0, 0]), 10),
        ("prefix of length 255", update(&[], &attrs, &[255, 10, 0, 0, 0, 0]), 10),
        ("half a prefix", update(&[], &attrs, &[24, 10, 0]), 10),
        ("a second prefix cut off", update(&[], &attrs, &[24, 10, 9, 9, 16, 10]), 10),
        ("MP_REACH_NLRI twice", update(&[], &cat(&[&head, &mp(0x80, 14, &good_reach), &mp(0x80, 14, &good_reach)]), &[]), 1),
        ("MP_UNREACH_NLRI twice", update(&[], &cat(&[&mp(0x80, 15, &[0, 2, 1]), &mp(0x80, 15, &[0, 2, 1])]), &[]), 1),
        ("MP_REACH_NLRI of nothing", update(&[], &cat(&[&head, &mp(0x80, 14, &[])]), &[]), 9),
        ("MP_REACH_NLRI of a family alone", update(&[], &cat(&[&head, &mp(0x80, 14, &[0, 2, 1])]), &[]), 9),
        ("MP_REACH_NLRI with a next hop of 15", update(&[], &cat(&[&head, &mp(0x80, 14, &reach(15, &v6_hop[..15], &[]))]), &[]), 9),
        ("MP_REACH_NLRI with a next hop longer than itself", update(&[], &cat(&[&head, &mp(0x80, 14, &reach(32, &v6_hop, &[]))]), &[]), 9),
        ("MP_REACH_NLRI without the reserved octet", update(&[], &cat(&[&head, &mp(0x80, 14, &cat(&[&[0, 2, 1, 16], &v6_hop]))]), &[]), 9),
        ("MP_REACH_NLRI with a prefix of 129", update(&[], &cat(&[&head, &mp(0x80, 14, &reach(16, &v6_hop, &[129, 0]))]), &[]), 9),
        ("MP_REACH_NLRI with half a prefix", update(&[], &cat(&[&head, &mp(0x80, 14, &reach(16, &v6_hop, &[64, 1]))]), &[]), 9),
        ("MP_UNREACH_NLRI of two octets", update(&[], &mp(0x80, 15, &[0, 2]), &[]), 9),
        ("MP_UNREACH_NLRI with half a prefix", update(&[], &mp(0x80, 15, &[0, 2, 1, 64, 1]), &[]), 9),
        // RFC 7606 §5.2.
        ("a malformed attribute and no route", update(&[], &cat(&[&attrs, &attribute(0x80, 4, &[1])]), &[]), 5),
    ];
    let mut wrong = Vec::new();
    for (n, (name, octets, subcode)) in cases.into_iter().enumerate() {
        let mut caller = daemon.call(n as u16 + 1).established();
        caller.say(&octets);
        let got = caller.last_words().map(|(code, subcode, _)| (code, subcode));
        if got != Some((3, subcode)) {
            wrong.push(format!("{name}: {got:?} instead of 3/{subcode}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Odd, and no reason for anything.
#[test]
fn bodies_that_are_odd_but_legal_do_nothing_to_the_session() {
    let daemon = Daemon::start("", "");
    let mut caller = daemon.call(1).established();
    let attrs = usual_attributes(caller.addr);
    let v6_hop = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9]].concat();
    let head = [attribute(0x40, 1, &[0]), attribute(0x40, 2, &path(&[(2, &[65002])]))].concat();
    let vpn = [&[0, 1, 128, 12][..], &[0; 12], &[0, 112], &[7; 14]].concat();
    for octets in [
        update(&[], &[], &[]),
        update(&[], &attribute(0x80, 15, &[0, 1, 1]), &[]),
        update(&[], &attribute(0x80, 15, &[0, 2, 1]), &[]),
        update(&[], &attribute(0x80, 15, &[0, 1, 128]), &[]),
        // Never announced; announced twice; in both fields (RFC 4271 §4.3).
        update(&[24, 10, 7, 7], &[], &[]),
        update(&[], &attrs, &[24, 10, 1, 0, 24, 10, 1, 0]),
        update(&[24, 10, 1, 0], &attrs, &[24, 10, 1, 0]),
        // Bits behind the length (RFC 4271 §4.3: of no meaning); the default route.
        update(&[], &attrs, &[24, 10, 2, 0, 20, 10, 3, 0xff]),
        update(&[], &attrs, &[0]),
        update(&[0], &[], &[]),
        // Attributes and no route: nothing is said.
        update(&[], &attrs, &[]),
        // A family that was not negotiated; its octets mean nothing to us.
        update(&[], &[&head[..], &attribute(0x80, 14, &vpn)].concat(), &[]),
        // IPv6 with a link-local address behind the global one.
        update(
            &[],
            &[
                &head[..],
                &attribute(0x80, 14, &[&[0, 2, 1, 32][..], &v6_hop, &[0xfe, 0x80], &[0; 13], &[1, 0, 32, 0x20, 1, 0x0d, 0xb8]].concat()),
            ]
            .concat(),
            &[],
        ),
    ] {
        caller.say(&octets);
    }
    caller.say(&proto_tests::outside::message(5, &[0, 1, 0, 1]));
    assert_eq!(until_refreshed(&mut caller), None);
    assert!(daemon.has("10.1.0.0/24") && daemon.has("10.2.0.0/24") && daemon.has("10.3.240.0/20") && daemon.has("2001:db8::/32"));
    assert!(!daemon.has("0.0.0.0/0"));
    assert!(caller.is_established());
}
