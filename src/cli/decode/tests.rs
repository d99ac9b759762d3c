//! The whole way: octets of a file in, lines out.

use std::io::Write as _;

use flate2::write::GzEncoder;
use serde_json::Value;

use super::{DecodeArgs, DecodeFileError, decode};

const KEEPALIVE: &str = "ffffffffffffffffffffffffffffffff001304";
/// OPEN of AS 64512, hold time 90, identifier 10.0.0.1, four-octet AS numbers.
const OPEN: &str = "ffffffffffffffffffffffffffffffff0025 01 04 fc00 005a 0a000001 08 0206 4104 0000fc00";
/// UPDATE: ORIGIN igp, AS_PATH 64512, NEXT_HOP 10.0.0.1, 10.1.0.0/26.
const UPDATE: &str = "ffffffffffffffffffffffffffffffff0030 02 0000 0014 40010100 400206 0201 0000fc00 400304 0a000001 1a 0a010000";

fn run(input: &[u8], args: &DecodeArgs, json: bool) -> (String, Result<(), DecodeFileError>) {
    let mut out = Vec::new();
    let outcome = decode(input, &mut out, args, json);
    (String::from_utf8(out).unwrap(), outcome)
}

fn text(input: &[u8]) -> String {
    let (text, outcome) = run(input, &DecodeArgs::default(), false);
    outcome.unwrap();
    text
}

fn json(input: &[u8]) -> Vec<Value> {
    let (text, outcome) = run(input, &DecodeArgs::default(), true);
    outcome.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    digits.as_bytes().as_chunks::<2>().0.iter().map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
}

fn update() -> String {
    // The length octet of the constant is made true here, so that the drawing above may change.
    let mut octets = octets(UPDATE);
    let len = octets.len() as u8;
    (octets[17], octets[22]) = (len, len - 23 - 5);
    octets.iter().map(|o| format!("{o:02x}")).collect()
}

#[test]
fn hexadecimal_digits_are_read_with_blanks_and_comments() {
    let input = format!("# a keepalive\n0xffff ff:ff ff{}\n\n{} // and an update\n", &KEEPALIVE[10..], update());
    let text = text(input.as_bytes());
    assert_eq!(text.lines().next(), Some("#1 at 0 KEEPALIVE"));
    assert!(text.contains("announced 10.1.0.0/26\n    origin igp as-path 64512 next-hop 10.0.0.1"), "{text}");
}

#[test]
fn json_is_one_object_a_message() {
    let lines = json(format!("{OPEN}{}", update()).as_bytes());
    assert_eq!(lines[0]["type"], "OPEN");
    assert_eq!(lines[0]["open"]["asn"], 64512);
    assert_eq!(lines[1]["update"]["announced"][0]["nlri"][0], "10.1.0.0/26");
    assert_eq!(lines[1]["update"]["announced"][0]["attributes"]["next_hop"], "10.0.0.1");
    assert_eq!((lines.len(), &lines[1]["verdict"]), (2, &Value::from("fine")));
}

#[test]
fn a_malformed_message_is_shown_and_the_run_goes_on() {
    let bad = update().replace("40010100", "40010109");
    let reset = "ffffffffffffffffffffffffffffffff001404ab";
    let lines = json(format!("{bad} {reset} {KEEPALIVE}").as_bytes());
    assert_eq!(lines[0]["verdict"], "withdraw");
    assert_eq!(lines[0]["update"]["errors"][0]["rule"], "RFC 7606 §7.1");
    assert_eq!(lines[0]["update"]["announced"][0]["treated_as_withdrawn"], true);
    assert_eq!((&lines[1]["verdict"], &lines[1]["notification"]["subcode"]), (&Value::from("reset"), &Value::from(2)));
    assert_eq!(lines[2]["type"], "KEEPALIVE");
    let text = text(format!("{reset} {KEEPALIVE}").as_bytes());
    assert!(text.contains("verdict at offset 16: reset, NOTIFICATION Message Header Error/Bad Message Length (1/2)"), "{text}");
}

#[test]
fn what_is_encoded_again_is_what_came() {
    let args = DecodeArgs { reencode: true, ..DecodeArgs::default() };
    let (text, outcome) = run(update().as_bytes(), &args, false);
    assert!(outcome.is_ok());
    assert_eq!(text.trim(), update());
}

#[test]
fn what_is_of_no_family_of_ours_is_named_and_never_written_as_end_of_rib() {
    // MP_UNREACH_NLRI for 1/128, alone and beside a route that is read; 5 octets of prefix.
    let foreign = "ffffffffffffffffffffffffffffffff0022 02 0000 000b 800f08 000180 28 00000164";
    let line = "MP_UNREACH_NLRI of afi 1 safi 128 (MPLS VPN), 8 octets, not read";
    assert_eq!(text(foreign.as_bytes()), format!("#1 at 0 UPDATE \n  {line}\n"));
    let found = &json(foreign.as_bytes())[0];
    assert_eq!((&found["not_read"][0]["text"], &found["not_read"][0]["octets"]), (&Value::from(line), &Value::from(8)));
    let args = DecodeArgs { reencode: true, ..DecodeArgs::default() };
    assert_eq!(run(foreign.as_bytes(), &args, false).0, format!("# {line}\n"), "nothing, rather than another's message");
    // EVPN, as MP_REACH_NLRI.
    let evpn = "ffffffffffffffffffffffffffffffff0023 02 0000 000c 800e09 001946 04 0a000001 00";
    assert!(text(evpn.as_bytes()).contains("MP_REACH_NLRI of afi 25 safi 70 (EVPN), 9 octets, not read"));
    assert!(json(update().as_bytes())[0]["not_read"].is_null(), "what is read is not named again");
}

#[test]
fn bzip2_is_taken_off() {
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(KEEPALIVE.as_bytes()).unwrap();
    let file = bz.finish().unwrap();
    assert_eq!(text(&file), "#1 at 0 KEEPALIVE\n");
    assert_eq!(text(&[&file[..], &file].concat()).lines().count(), 2, "several streams one after the other are one file");
    let error = run(&file[..file.len() - 4], &DecodeArgs::default(), false).1.unwrap_err();
    assert!(matches!(error, DecodeFileError::Io(_)), "{error}");
}

#[test]
fn gzip_is_taken_off() {
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(KEEPALIVE.as_bytes()).unwrap();
    assert_eq!(text(&gz.finish().unwrap()), "#1 at 0 KEEPALIVE\n");
}

#[test]
fn a_file_that_is_not_what_it_says_has_one_clear_line() {
    let fails = |input: &[u8], words: &str| {
        let error = run(input, &DecodeArgs::default(), false).1.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    };
    fails(b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00", "neither");
    fails(b"", "neither");
    fails(b"ffxx", "line 1");
    fails(b"fff", "odd");
    fails(&[&pcap(&[])[..], &[1, 2, 3]].concat(), "middle of a packet");
    fails(&mrt(16, 4, &[0; 20])[..20], "middle of a record");
    let args = DecodeArgs { hex: true, ..DecodeArgs::default() };
    assert!(matches!(run(&pcap(&[]), &args, false).1, Err(DecodeFileError::NotHex { line: 1, .. })));
}

/// A capture in raw IP, little-endian, of these packets.
fn pcap(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0xff, 0xff, 0, 0, 101, 0, 0, 0]].concat();
    for (i, packet) in packets.iter().enumerate() {
        let len = (packet.len() as u32).to_le_bytes();
        file.extend([&(i as u32 + 1).to_le_bytes()[..], &[0; 4], &len, &len, packet].concat());
    }
    file
}

/// The same in pcapng, big-endian, nanoseconds.
fn pcapng(packets: &[Vec<u8>]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() as u32 + 12).to_be_bytes();
        [&kind.to_be_bytes()[..], &len, &body, &len].concat()
    };
    let mut file = block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
    file.extend(block(1, &[0, 101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0]));
    for packet in packets {
        let len = (packet.len() as u32).to_be_bytes();
        let head = [&[0; 4][..], &1_000_000_000u64.to_be_bytes(), &len, &len].concat();
        file.extend(block(6, &[&head, &packet[..]].concat()));
    }
    file
}

/// One TCP segment over IPv4. `out` goes from 10.0.0.1:179 to 10.0.0.2:50000.
fn segment(out: bool, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to, ports) = if out { (a, b, [0, 179, 0xc3, 0x50]) } else { (b, a, [0xc3, 0x50, 0, 179]) };
    let tcp = [&ports[..], &seq.to_be_bytes(), &[0; 4], &[0x50, flags], &[0; 6], payload].concat();
    [&[0x45, 0][..], &(tcp.len() as u16 + 20).to_be_bytes(), &[0, 0, 0x40, 0, 64, 6, 0, 0], &from, &to, &tcp].concat()
}

/// UPDATE with ADD-PATH: path 7 of 10.1.0.0/26.
fn add_path_update() -> Vec<u8> {
    let mut message = octets(&update());
    let at = message.len() - 5;
    message.splice(at..at, [0, 0, 0, 7]);
    message[17] += 4;
    message
}

/// OPEN of AS 64512 with four-octet AS numbers and ADD-PATH for IPv4, both ways.
fn add_path_open() -> Vec<u8> {
    let mut open = octets(OPEN);
    open.truncate(28);
    open.extend([14, 2, 12, 65, 4, 0, 0, 0xfc, 0, 69, 4, 0, 1, 1, 3]);
    open[17] = open.len() as u8;
    open
}

#[test]
fn tcp_is_put_together_in_both_directions_and_read_as_the_opens_agree() {
    let (open, update) = (add_path_open(), add_path_update());
    let stream = [&open[..], &update].concat();
    let packets = [
        segment(true, 99, 2, &[]),
        segment(false, 499, 0x12, &[]),
        segment(false, 500, 0x18, &open),
        segment(true, 100, 0x18, &stream[..30]),
        segment(true, 150, 0x18, &stream[50..]), // too early
        segment(true, 100, 0x18, &stream[..40]), // again, and ten octets more
        segment(true, 140, 0x18, &stream[40..50]),
    ];
    for file in [pcap(&packets), pcapng(&packets)] {
        let lines = json(&file);
        let kinds: Vec<&str> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["OPEN", "OPEN", "UPDATE"], "{lines:?}");
        assert_eq!(lines[2]["update"]["announced"][0]["nlri"][0]["path_id"], 7);
        assert_eq!((&lines[2]["from"], &lines[2]["packet"]), (&Value::from("10.0.0.1:179"), &Value::from(7)));
        assert_eq!(lines[0]["to"], "10.0.0.1:179");
    }
}

/// UPDATE of a session with AS numbers of two octets.
fn narrow_update() -> Vec<u8> {
    let mut narrow = octets(&update().replace("40020602010000fc00", "4002040201fc00"));
    (narrow[17], narrow[22]) = (narrow[17] - 2, narrow[22] - 2);
    narrow
}

#[test]
fn without_opens_the_width_of_as_numbers_is_guessed_and_said() {
    let narrow = narrow_update();
    let lines = json(&pcap(&[segment(true, 1, 0x18, &[octets(KEEPALIVE), narrow.clone(), narrow.clone()].concat())]));
    assert_eq!(lines.iter().map(|l| l["type"].as_str().unwrap()).collect::<Vec<_>>(), ["KEEPALIVE", "NOTE", "UPDATE", "UPDATE"]);
    assert_eq!(lines[1]["text"], "no OPENs were seen: AS numbers are read with two octets from here on, four do not fit");
    for line in &lines[2..] {
        assert_eq!((&line["verdict"], &line["update"]["announced"][0]["attributes"]["as_path"]), (&"fine".into(), &"64512".into()));
    }
    // What fits neither way: the guess is named before the verdict.
    let bad = octets(&update().replace("40010100", "40010109"));
    let lines = json(&pcap(&[segment(true, 1, 0x18, &[bad.clone(), bad].concat())]));
    assert_eq!(lines[0]["text"], "no OPENs were seen: that AS numbers have four octets is guessed (--two-octet-as)");
    assert_eq!((&lines[1]["verdict"], &lines[2]["verdict"], lines.len()), (&"withdraw".into(), &"withdraw".into(), 3));
    // With OPENs nothing is guessed.
    let open = octets(OPEN);
    let packets = [segment(false, 1, 0x18, &open), segment(true, 1, 0x18, &[open.clone(), narrow].concat())];
    let lines = json(&pcap(&packets));
    assert_eq!((&lines[2]["type"], &lines[2]["verdict"], lines.len()), (&"UPDATE".into(), &"withdraw".into(), 3));
}

#[test]
fn a_capture_that_begins_in_the_middle_finds_the_first_message() {
    let stream = [&octets(&update())[20..], &octets(KEEPALIVE), &octets(&update())].concat();
    let lines = json(&pcap(&[segment(true, 7, 0x18, &stream)]));
    assert_eq!(lines.iter().map(|l| l["type"].as_str().unwrap()).collect::<Vec<_>>(), ["KEEPALIVE", "UPDATE"]);
}

#[test]
fn sequence_numbers_wrap_around() {
    let message = octets(&update());
    let packets = [
        segment(true, u32::MAX - 10, 2, &[]),
        segment(true, u32::MAX - 9, 0x18, &message),
        segment(true, (message.len() - 10) as u32, 0x18, &octets(KEEPALIVE)),
    ];
    assert_eq!(json(&pcap(&packets)).len(), 2);
}

#[test]
fn what_is_not_bgp_is_passed_over() {
    let packets = [vec![0x45; 10], vec![0x60; 70], vec![], segment(true, 1, 2, &[])];
    assert_eq!(json(&pcap(&packets)).len(), 0);
}

/// One MRT record of time 1.
fn mrt(kind: u16, subtype: u16, body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1][..], &kind.to_be_bytes(), &subtype.to_be_bytes(), &(body.len() as u32).to_be_bytes(), body].concat()
}

#[test]
fn mrt_messages_are_read_in_the_width_of_their_record() {
    let head = |four: bool| match four {
        true => [&[0, 0, 0xfc, 0, 0, 0, 0xfc, 1][..], &[0, 0, 0, 1], &[10, 0, 0, 1], &[10, 0, 0, 2]].concat(),
        false => [&[0xfc, 0, 0xfc, 1][..], &[0, 0, 0, 1], &[10, 0, 0, 1], &[10, 0, 0, 2]].concat(),
    };
    let narrow = narrow_update();
    let file = [
        mrt(16, 4, &[head(true), octets(&update())].concat()),
        mrt(16, 1, &[head(false), narrow].concat()),
        mrt(17, 7, &[&[0, 0, 0, 5][..], &head(true), &octets(KEEPALIVE)].concat()),
        mrt(16, 5, &[head(true), vec![0, 1, 0, 6]].concat()),
        mrt(13, 6, &[1, 2, 3]),
        mrt(16, 4, &[1, 2, 3]),
    ]
    .concat();
    let lines = json(&file);
    for line in &lines[..2] {
        assert_eq!(line["update"]["announced"][0]["attributes"]["as_path"], "64512", "{line}");
        assert_eq!(line["from"], "10.0.0.1:179");
    }
    assert_eq!((&lines[2]["from"], &lines[2]["time"]), (&Value::from("10.0.0.2:179"), &Value::from(1.000005)));
    assert_eq!(lines[3]["text"], "peer 10.0.0.1 as 64512: Idle to Established");
    assert_eq!(lines[4]["text"], "record of type 13, subtype 6, 3 octets, passed over");
    assert_eq!(lines[5]["text"], "record of type 16, subtype 4 is malformed at octet 0 of 3");
}

/// The ends of a BGP4MP record with AS numbers of four octets: peer 64512 at 10.0.0.1, collector 64513 at 10.0.0.2.
fn ends() -> Vec<u8> {
    [&[0, 0, 0xfc, 0, 0, 0, 0xfc, 1][..], &[0, 0, 0, 1], &[10, 0, 0, 1], &[10, 0, 0, 2]].concat()
}

#[test]
fn mrt_prefixes_carry_a_path_identifier_where_the_opens_in_the_file_agree() {
    let theirs = add_path_open();
    let mut ours = theirs.clone();
    (ours[21], ours[27], ours[36]) = (1, 2, 1); // AS 64513, identifier 10.0.0.2
    let record = |subtype: u16, message: &[u8]| mrt(16, subtype, &[&ends()[..], message].concat());
    let update = add_path_update();
    let path_ids = |file: &[u8]| -> Vec<Value> {
        json(file).iter().filter(|l| l["type"] == "UPDATE").map(|l| l["update"]["announced"][0]["nlri"][0]["path_id"].clone()).collect()
    };
    // Our own message marked as ours (subtype 7), and by a writer that marks none.
    for own in [7, 4] {
        let file = [record(own, &ours), record(4, &theirs), record(4, &update), record(7, &update)].concat();
        assert_eq!(path_ids(&file), [7, 7], "subtype {own}");
    }
    // One of them only: not agreed. And what was agreed ends with the session.
    let plain = octets(&self::update());
    let file = [record(4, &theirs), record(4, &plain)].concat();
    assert_eq!(path_ids(&file), [Value::Null]);
    let idle = mrt(16, 5, &[&ends()[..], &[0, 6, 0, 1]].concat());
    let file = [record(7, &ours), record(4, &theirs), idle, record(4, &plain)].concat();
    assert_eq!(path_ids(&file), [Value::Null]);
    // No OPENs: what the operator says.
    let args = DecodeArgs { add_path: true, ..DecodeArgs::default() };
    assert!(run(&record(4, &update), &args, false).0.contains("announced 10.1.0.0/26 path 7"));
}

#[test]
fn mrt_tables_of_the_old_format_are_shown() {
    let attributes = octets("40010100 400204 0201 fc00 400304 0a000001");
    let v4 = [&[0, 0, 0, 5, 10, 1, 0, 0, 26, 1, 0, 0, 0, 9, 10, 0, 0, 1, 0xfc, 0, 0, attributes.len() as u8][..], &attributes].concat();
    let v6_attributes =
        [&octets("40010100 400204 0201 fc00 800e1a 0002 01 10")[..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1, 0, 32, 0x20, 1, 0xd, 0xb8]]
            .concat();
    let v6_head = [&[0, 0, 0, 6, 0x20, 1, 0xd, 0xb8][..], &[0; 12], &[32, 1, 0, 0, 0, 9], &[0x20, 1], &[0; 13], &[7, 0xfc, 1]].concat();
    let v6 = [&v6_head[..], &[0, v6_attributes.len() as u8], &v6_attributes].concat();
    let lines = json(&[mrt(12, 1, &v4), mrt(12, 2, &v6), mrt(12, 1, &v4[..20])].concat());
    assert_eq!((&lines[0]["peer"], &lines[0]["time"]), (&Value::from("10.0.0.1 as 64512"), &Value::from(9.0)));
    assert_eq!(lines[0]["update"]["announced"][0]["nlri"][0], "10.1.0.0/26");
    assert_eq!(lines[0]["update"]["announced"][0]["attributes"]["as_path"], "64512");
    assert_eq!((&lines[1]["peer"], &lines[1]["update"]["announced"][0]["nlri"][0]), (&"2001::7 as 64513".into(), &"2001:db8::/32".into()));
    assert_eq!(lines[2]["text"], "record of type 12, subtype 1 is malformed at octet 20 of 20");
}

#[test]
fn mrt_tables_name_the_peer_of_each_entry() {
    let peers =
        [&[10, 0, 0, 9, 0, 2, b'v', b'w', 0, 2][..], &[2, 1, 1, 1, 1, 10, 0, 0, 1, 0, 0, 0xfc, 0], &[0, 2, 2, 2, 2, 10, 0, 0, 2, 0xfc, 1]]
            .concat();
    let attributes = octets("40010100 400206 0201 0000fc00 400304 0a000001");
    let entry = |peer: u8, attributes: &[u8]| [&[0, peer, 0, 0, 0, 2, 0, attributes.len() as u8], attributes].concat();
    let v4 = [&[0, 0, 0, 0, 26, 10, 1, 0, 0, 0, 2][..], &entry(0, &attributes), &entry(1, &attributes)].concat();
    // The next hop alone stands in MP_REACH_NLRI.
    let v6_attributes = [&octets("40010100 400206 0201 0000fc00 800e11 10")[..], &[0x20, 1, 0xd, 0xb8], &[0; 11], &[1]].concat();
    let v6 = [&[0, 0, 0, 1, 32, 0x20, 1, 0xd, 0xb8, 0, 1][..], &entry(1, &v6_attributes)].concat();
    let lines = json(&[mrt(13, 1, &peers), mrt(13, 2, &v4), mrt(13, 4, &v6)].concat());
    assert_eq!(lines[0]["text"], "table of collector 10.0.0.9, 2 peers");
    assert_eq!(
        (&lines[1]["peer"], &lines[2]["peer"]),
        (&Value::from("10.0.0.1 as 64512 id 1.1.1.1"), &Value::from("10.0.0.2 as 64513 id 2.2.2.2"))
    );
    assert_eq!(lines[2]["update"]["announced"][0]["nlri"][0], "10.1.0.0/26");
    assert_eq!(lines[3]["update"]["announced"][0]["nlri"][0], "2001:db8::/32");
    assert_eq!(lines[3]["update"]["announced"][0]["attributes"]["next_hop"], "2001:db8::1");
    assert_eq!(lines.len(), 4);
}

/// Columns of `proto-tests/corpus/tshark.sh`, and what of ours they are compared with.
type Field = (&'static [usize], fn(&Value) -> Vec<String>);
const FIELDS: [Field; 17] = [
    (&[1], |m| vec![code(m["type"].as_str().unwrap())]),
    (&[2], |m| routes(m, |a| vec![["igp", "egp", "incomplete"].iter().position(|o| a["origin"] == *o).unwrap().to_string()])),
    (&[3], |m| routes(m, |a| words(&a["as_path"], &[' ', '{', '}']))),
    (&[4, 18, 19, 20], |m| routes(m, |a| words(&a["next_hop"], &[' ', '(', ')']))),
    (&[5], |m| routes(m, |a| a["med"].as_u64().map(|m| m.to_string()).into_iter().collect())),
    (&[6], |m| routes(m, |a| strings(&a["communities"]).iter().filter_map(|c| Some(c.split_once(':')?.0.to_owned())).collect())),
    (&[7], |m| routes(m, |a| strings(&a["communities"]).iter().filter_map(|c| Some(c.split_once(':')?.1.to_owned())).collect())),
    (&[8], |m| routes(m, |a| strings(&a["large_communities"]).iter().map(|c| c.split(':').next().unwrap().to_owned()).collect())),
    (&[9, 21], |m| nets(&announced(m), false)),
    (&[10, 22], |m| nets(&list(&m["update"]["withdrawn"]), false)),
    (&[11], |m| nets(&announced(m), true)),
    (&[12], |m| nets(&list(&m["update"]["withdrawn"]), true)),
    (&[13], |m| {
        [announced(m), list(&m["update"]["withdrawn"])].concat().iter().filter_map(|n| Some(n["path_id"].as_u64()?.to_string())).collect()
    }),
    (&[14], |m| m["notification"]["code"].as_u64().map(|c| c.to_string()).into_iter().collect()),
    (&[15], |m| m["notification"]["text"].as_str().map(str::to_owned).into_iter().collect()),
    (&[16], |m| m["open"]["my_as"].as_u64().map(|c| c.to_string()).into_iter().collect()),
    (&[17], |m| list(&m["open"]["capabilities"]).iter().map(|c| c["code"].to_string()).collect()),
];

fn code(name: &str) -> String {
    let names = ["OPEN", "UPDATE", "NOTIFICATION", "KEEPALIVE", "ROUTE-REFRESH"];
    (names.iter().position(|n| *n == name).expect("a message that is well formed") + 1).to_string()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    list(value).iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

fn words(value: &Value, separators: &[char]) -> Vec<String> {
    value.as_str().unwrap_or_default().split(separators).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Something of the attributes of each route.
fn routes(message: &Value, of: impl Fn(&Value) -> Vec<String>) -> Vec<String> {
    list(&message["update"]["announced"]).iter().flat_map(|a| of(&a["attributes"])).collect()
}

fn announced(message: &Value) -> Vec<Value> {
    list(&message["update"]["announced"]).iter().flat_map(|a| list(&a["nlri"])).collect()
}

/// Addresses of prefixes of one family.
fn nets(nlri: &[Value], v6: bool) -> Vec<String> {
    let text = nlri.iter().map(|n| n.as_str().or_else(|| n["prefix"].as_str()).unwrap().split('/').next().unwrap().to_owned());
    text.filter(|n| n.contains(':') == v6).collect()
}

#[test]
fn a_capture_of_frr_bird_and_gobgp_says_what_tshark_says() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto-tests/corpus");
    let ours = json(&std::fs::read(corpus.join("mesh.pcap")).unwrap());
    let theirs = std::fs::read_to_string(corpus.join("mesh.tshark")).unwrap();
    let mut compared = [0; FIELDS.len()];
    for line in theirs.lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let packet: u64 = columns[0].parse().unwrap();
        let messages: Vec<&Value> = ours.iter().filter(|m| m["packet"] == packet).collect();
        for (i, (numbers, field)) in FIELDS.iter().enumerate() {
            let sorted = |mut all: Vec<String>| {
                all.sort();
                all
            };
            let wanted = numbers.iter().flat_map(|n| columns[*n].split(',')).filter(|v| !v.is_empty()).map(str::to_owned);
            let wanted = sorted(wanted.collect());
            let got = sorted(messages.iter().flat_map(|m| field(m)).collect());
            compared[i] += wanted.len();
            assert_eq!(got, wanted, "packet {packet}, field {i}: {messages:?}");
        }
    }
    assert_eq!(compared[0], ours.len(), "no message of ours that tshark has not seen");
    assert!(compared.iter().all(|n| *n > 0), "every field occurs: {compared:?}");
}
