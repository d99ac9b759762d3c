//! RFC 7854, RFC 8671, RFC 9069: what a monitoring station is told, in which order, and how much of it at once.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use catbird::api::{Answer, BmpRow, Question, Status};
use catbird::bmp::{Order, Report, StationParams, Tables};
use catbird::speaker::Input;
use proto_tests::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);

/// Types of messages (RFC 7854 §4.1).
const ROUTES: u8 = 0;
const DOWN: u8 = 2;
const UP: u8 = 3;
const INITIATION: u8 = 4;

fn station() -> SocketAddr {
    ([192, 0, 2, 9], 1790).into()
}

/// `a`, which is watched, and `b`.
fn lab() -> Lab {
    watched(None)
}

fn watched(statistics: Option<Duration>) -> Lab {
    let tables = Tables { adj_in_pre: true, adj_in_post: false, adj_out: false, loc_rib: true };
    let watched = StationParams { address: station(), tables, statistics, retry: SECOND, timeout: 60 * SECOND };
    let lab = Lab::seeded(6).speaker("a", 64512).configured("a", move |params| params.bmp = vec![watched]).speaker("b", 64513);
    let mut lab = lab.linked("a", "b");
    lab.until_established("a", "b");
    lab.blocks("b", &["10.9.0.0/26"]);
    lab.until("the route", 10 * SECOND, |lab| lab.best("a", "10.9.0.0/26").is_some());
    lab
}

fn report(lab: &mut Lab, report: Report) {
    lab.give_input("a", Input::Bmp(report));
    lab.run(SECOND);
}

/// The station's number.
fn asked(lab: &mut Lab) -> u32 {
    let orders = lab.station_orders("a");
    let numbers = orders.iter().filter_map(|order| match order {
        Order::Stations(some) => some.first().map(|(number, _)| *number),
        _ => None,
    });
    numbers.last().expect("a station is asked for")
}

fn sent(lab: &mut Lab) -> Vec<Bytes> {
    let orders = lab.station_orders("a");
    orders.into_iter().filter_map(|order| if let Order::Send { octets, .. } = order { Some(octets) } else { None }).collect()
}

/// Whole messages: their types, each with its octets.
fn messages(sent: &[Bytes]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    for mut octets in sent.iter().map(|octets| &octets[..]) {
        while !octets.is_empty() {
            assert_eq!(octets[0], 3, "the version");
            let length = u32::from_be_bytes([octets[1], octets[2], octets[3], octets[4]]) as usize;
            all.push((octets[5], octets[..length].to_vec()));
            octets = &octets[length..];
        }
    }
    all
}

fn types(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    messages.iter().map(|(kind, _)| *kind).collect()
}

/// Of a Route Monitoring message: which kind of table, and does it name 10.9.x.0/26?
fn speaks_of(message: &[u8], kind: u8, third: u8) -> bool {
    message[6] == kind && message.windows(5).any(|octets| octets == [26, 10, 9, third, 0])
}

fn row(lab: &mut Lab) -> BmpRow {
    let Answer::Bmp(rows) = lab.ask("a", Question::Bmp) else { panic!("rows") };
    rows.into_iter().next().expect("one station")
}

fn status(lab: &mut Lab) -> Box<Status> {
    let Answer::Status(status) = lab.ask("a", Question::Status) else { panic!("a status") };
    status
}

#[test]
fn a_station_is_told_who_speaks_then_sessions_and_tables_and_then_changes() {
    let mut lab = lab();
    let number = asked(&mut lab);
    report(&mut lab, Report::Connected { station: number, life: 1, wall: Duration::ZERO });
    let first = messages(&sent(&mut lab));
    assert_eq!(first[0].0, INITIATION);
    assert_eq!(types(&first).iter().filter(|kind| **kind == UP).count(), 2, "the Loc-RIB and the session");
    let routes: Vec<&Vec<u8>> = first.iter().filter(|(kind, _)| *kind == ROUTES).map(|(_, octets)| octets).collect();
    assert!(routes.iter().any(|octets| speaks_of(octets, 0, 0)), "as the peer announced it");
    assert!(routes.iter().any(|octets| speaks_of(octets, 3, 0)), "as it is used");
    lab.blocks("b", &["10.9.0.0/26", "10.9.1.0/26"]);
    lab.run(5 * SECOND);
    let changes = messages(&sent(&mut lab));
    assert!(changes.iter().all(|(kind, octets)| *kind == ROUTES && !speaks_of(octets, 0, 0)), "what did not change is not told again");
    assert!([0, 3].into_iter().all(|table| changes.iter().any(|(_, octets)| speaks_of(octets, table, 1))));
    lab.reset("a", "b");
    lab.run(SECOND / 2);
    assert!(types(&messages(&sent(&mut lab))).contains(&DOWN));
}

/// Statistics Report: type 1, peer type 0, and no flag of any table (RFC 8671 §6.2); of the Loc-RIB peer type 3.
#[test]
fn numbers_are_those_of_the_peer_and_of_no_table() {
    let mut lab = watched(Some(2 * SECOND));
    let number = asked(&mut lab);
    report(&mut lab, Report::Connected { station: number, life: 1, wall: Duration::ZERO });
    sent(&mut lab);
    lab.run(7 * SECOND);
    let numbers: Vec<(u8, Vec<u8>)> = messages(&sent(&mut lab)).into_iter().filter(|(kind, _)| *kind == 1).collect();
    assert_eq!(numbers.len(), 8, "every two seconds, of the peer and of the Loc-RIB");
    assert!(numbers.iter().all(|(_, octets)| octets[7] == 0 && [0, 3].contains(&octets[6])));
}

/// Nothing is written beyond the window, and what changes meanwhile is told as it is when there is room.
#[test]
fn a_station_that_takes_nothing_holds_prefixes_and_no_messages() {
    let mut lab = lab();
    let number = asked(&mut lab);
    report(&mut lab, Report::Connected { station: number, life: 1, wall: Duration::ZERO });
    let mut octets: usize = sent(&mut lab).iter().map(Bytes::len).sum();
    let blocks: Vec<String> = (0..4000_u32).map(|n| format!("10.{}.{}.{}/26", 16 + n / 1024, n / 4 % 256, n % 4 * 64)).collect();
    let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
    lab.blocks("b", &blocks);
    lab.run(10 * SECOND);
    octets += sent(&mut lab).iter().map(Bytes::len).sum::<usize>();
    assert!(octets < 2 * 256 * 1024, "{octets}: a window, and the message that fills it");
    assert_eq!(row(&mut lab).state, "slow");
    let waiting = row(&mut lab).waiting;
    for _ in 0..5 {
        lab.blocks("b", &blocks[..2000]);
        lab.run(5 * SECOND);
        lab.blocks("b", &blocks);
        lab.run(5 * SECOND);
    }
    assert!(sent(&mut lab).is_empty());
    assert!(row(&mut lab).waiting <= waiting + 2 * 4001, "{} and {waiting}: a prefix waits once", row(&mut lab).waiting);
    while row(&mut lab).waiting > 0 || octets > 0 {
        report(&mut lab, Report::Written { station: number, life: 1, octets });
        octets = sent(&mut lab).iter().map(Bytes::len).sum();
    }
    assert_eq!(row(&mut lab).state, "following");
    assert!(lab.established("a", "b"));
}

#[test]
fn a_station_that_is_away_is_said_once_and_stands_in_the_status() {
    let mut lab = lab();
    let number = asked(&mut lab);
    assert!(status(&mut lab).warnings.iter().all(|warning| !warning.contains("BMP")));
    for _ in 0..5 {
        report(&mut lab, Report::Closed { station: number, error: "Connection refused".to_owned() });
    }
    let warnings = status(&mut lab).warnings;
    assert!(warnings.contains(&"BMP station 192.0.2.9:1790 is not connected: Connection refused".to_owned()), "{warnings:?}");
    assert_eq!(lab.notices("a").iter().filter(|notice| notice.contains("BMP station")).count(), 1);
    report(&mut lab, Report::Connected { station: number, life: 6, wall: Duration::ZERO });
    assert!(status(&mut lab).warnings.iter().all(|warning| !warning.contains("BMP")));
    // What is said of a connection before it is not counted for this one.
    let waiting = row(&mut lab).state;
    report(&mut lab, Report::Written { station: number, life: 5, octets: 1 << 20 });
    assert_eq!(row(&mut lab).state, waiting);
}
