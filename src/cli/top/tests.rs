//! Frames for what `top` was told. Those of `docs/top.md` are written by these tests (`CATBIRD_MANUAL=write`) and compared with it.

use std::path::Path;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

use super::draw;
use super::gather::{Gathered, Numbers};
use super::screen::{Order, Screen, View, Wish};
use crate::api::{FibRow, Question, Snapshot};
use crate::daemon::protocol::{FullStatus, ProcessStatus};

/// A peer that has announced `heard` prefixes so far.
fn peer(name: &str, address: &str, state: &str, heard: u64, told: u64) -> Value {
    let up = state == "Established";
    let family = json!({
        "family": "ipv4-unicast", "negotiated": up, "received": if up { 4 } else { 0 }, "prefixes": 4, "accepted": if up { 4 } else { 0 },
        "rejected": 0, "stale": 0, "advertised": if up { 8 } else { 0 }, "end_of_rib": up, "max_prefix": null,
    });
    json!({
        "row": {
            "name": name, "address": address, "kind": "mesh", "local_as": 64512, "remote_as": 64512, "state": state, "admin_up": true,
            "state_seconds": if up { 93_784.0 } else { 42.0 }, "flaps": 1, "bfd": if up { "up" } else { "down" }, "families": [family],
            "why_down": if up { Value::Null } else { json!("no answer to TCP") }, "failures": [], "warnings": [],
        },
        "expects_routes": true, "established_at_seconds": null, "last_down": null, "messages": [],
        "updates": {
            "announced_received": heard, "announced_rejected": 0, "withdrawn_received": 0, "announced_sent": told, "withdrawn_sent": 0,
            "malformed": 0,
        },
        "notifications": [], "malformed": [],
    })
}

fn status(peers: &[Value], installed: usize) -> Value {
    let up = peers.iter().filter(|peer| peer["row"]["state"] == "Established").count();
    json!({
        "name": "node-a", "router_id": "10.0.0.1", "asn": 64512, "mode": "full-mesh", "cluster_id": null, "uptime_seconds": 93_800.0,
        "peers_configured": peers.len(), "peers_established": up, "tables": [{ "family": "ipv4-unicast", "prefixes": 12, "paths": 16 }],
        "attribute_sets": 4, "fib": { "wanted": 12, "installed": installed, "failed": 12 - installed, "foreign": 0 }, "blocks": 1,
        "phase": "running", "draining": false, "recovering": false,
        "warnings": if up < peers.len() { json!(["1 session is down"]) } else { json!([]) },
    })
}

/// One look, `at` seconds after the first.
fn numbers(at: u64, heard: u64, down: bool) -> Gathered {
    let state = if down { "Active" } else { "Established" };
    let mut peers = vec![
        peer("node-b", "10.0.0.2", "Established", heard, 2 * heard),
        peer("node-c", "10.0.0.3", state, 4, 8),
        peer("node-d", "10.0.0.4", "Established", 4, 2 * heard),
    ];
    peers.rotate_left(1);
    let status = status(&peers, if down { 11 } else { 12 });
    let counters = json!({ "fib_operations": [{ "op": "replace", "result": "ok", "count": heard }] });
    let mut all = serde_json::to_value(crate::api::Counters::default()).expect("data");
    all.as_object_mut().expect("fields").extend(counters.as_object().expect("fields").clone());
    let snapshot: Snapshot =
        serde_json::from_value(json!({ "status": status, "peers": peers, "blocks": [], "counters": all })).expect("a snapshot");
    let process = ProcessStatus { pid: 7, resident_bytes: 9 << 20, ..ProcessStatus::default() };
    let full = FullStatus { status: serde_json::from_value(status).expect("a status"), process, sources: Vec::new() };
    let row = json!({
        "net": "10.244.3.0/26", "state": "failed", "error": "no such device", "wanted": null, "installed": null,
    });
    let troubled: Vec<FibRow> = if down { vec![serde_json::from_value(row).expect("a row")] } else { Vec::new() };
    Gathered::Numbers(Box::new(Numbers { at: Duration::from_secs(at), full, snapshot, troubled }))
}

fn event(text: &str, level: &str) -> Gathered {
    Gathered::Event { time: "2026-11-30T20:04:19.123Z".to_owned(), level: level.to_owned(), text: text.to_owned() }
}

/// A screen that has seen two looks, a second apart, and two events.
fn seen() -> Screen {
    let mut screen = Screen::new(Duration::from_secs(1), true);
    for (at, heard) in [(0, 100), (1, 350)] {
        screen.now = Duration::from_secs(at);
        screen.take(numbers(at, heard, at == 1));
    }
    screen.take(event("node-c: Established -> Idle: hold timer expired", "warn"));
    screen.take(event("10.244.3.0/26 is unreachable: no path is left", "info"));
    screen
}

fn terminal(screen: &Screen, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal of memory");
    terminal.draw(|frame| draw::frame(screen, frame)).expect("drawn");
    terminal
}

fn shown(screen: &Screen, width: u16, height: u16) -> String {
    let terminal = terminal(screen, width, height);
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(usize::from(width)).map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>());
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn press(screen: &mut Screen, keys: &str) -> Option<Wish> {
    let code = |c| if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
    keys.chars().map(|c| screen.key(KeyEvent::new(code(c), KeyModifiers::NONE))).last().flatten()
}

/// The page of the manual has this frame between its marks; `CATBIRD_MANUAL=write` puts it there.
fn in_the_manual(name: &str, frame: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/top.md");
    let page = std::fs::read_to_string(&path).expect("docs/top.md");
    let mark = format!("<!-- frame: {name} -->\n```text\n");
    let (before, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("docs/top.md has no {mark}"));
    let (there, after) = rest.split_once("```\n").expect("the end of the frame");
    if std::env::var_os("CATBIRD_MANUAL").is_some_and(|what| what == "write") {
        std::fs::write(&path, format!("{before}{mark}{frame}```\n{after}")).expect("docs/top.md is written");
    } else {
        assert_eq!(there, frame, "docs/top.md shows another frame; CATBIRD_MANUAL=write renews it");
    }
}

#[test]
fn the_frames_of_the_manual_are_those_that_are_drawn() {
    let mut screen = seen();
    in_the_manual("sessions", &shown(&screen, 120, 24));
    press(&mut screen, "2");
    in_the_manual("kernel", &shown(&screen, 120, 8));
}

#[test]
fn those_that_are_down_come_first_and_rates_are_of_two_looks() {
    let frame = shown(&seen(), 120, 24);
    let line = |name: &str| frame.lines().position(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {frame}"));
    assert!(line("node-c") < line("node-b") && line("node-b") < line("node-d"), "{frame}");
    let columns = |name: &str| frame.lines().nth(line(name)).expect("a line").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // (350 - 100) prefixes in a second; it is told twice as many
    assert_eq!(columns("node-b")[..7], ["node-b", "Established", "1d02h", "4", "8", "250", "500"], "{frame}");
    assert!(frame.contains("in 250, out 1.0k, kernel 250"), "{frame}");
    assert!(frame.lines().nth(line("node-c")).is_some_and(|line| line.ends_with("no answer to TCP")), "{frame}");
}

#[test]
fn a_small_terminal_keeps_the_name_the_state_and_the_reason() {
    for (width, height) in [(40, 10), (24, 5), (3, 2), (1, 1)] {
        let frame = shown(&seen(), width, height);
        if width == 40 {
            assert!(frame.contains("node-c  Active") && frame.contains("no answer to"), "{frame}");
        }
    }
}

#[test]
fn colours_are_for_who_wants_them() {
    let red = |screen: &Screen| terminal(screen, 120, 24).backend().buffer().content().iter().any(|cell| cell.fg == Color::Red);
    let mut screen = seen();
    assert!(red(&screen));
    screen.colour = false;
    assert!(!red(&screen));
}

#[test]
fn a_daemon_that_is_away_is_said_above_what_was_known() {
    let mut screen = Screen::new(Duration::from_secs(1), false);
    assert!(shown(&screen, 80, 10).contains("asking the daemon"));
    screen.take(Gathered::Away("the daemon is not running (nobody answers at /run/x)".to_owned()));
    assert!(shown(&screen, 80, 10).starts_with("the daemon is not running"));
    screen.take(numbers(0, 100, false));
    screen.take(Gathered::Away("the daemon is not running".to_owned()));
    screen.now = Duration::from_secs(9);
    let frame = shown(&screen, 110, 20);
    assert!(frame.starts_with("the daemon is not running") && frame.contains("9s old") && frame.contains("node-b"), "{frame}");
    // back again, as another process: nothing is a rate yet
    let Gathered::Numbers(mut again) = numbers(1, 10_000, false) else { unreachable!() };
    again.full.process.pid = 8;
    screen.take(Gathered::Numbers(again));
    let frame = shown(&screen, 110, 20);
    assert!(frame.starts_with("node-a") && frame.contains("not known yet"), "{frame}");
}

#[test]
fn keys_choose_filter_sort_and_ask() {
    let mut screen = seen();
    assert_eq!(press(&mut screen, "\n"), Some(Wish::Ask(Question::Peer { peer: "node-c".to_owned() })));
    assert_eq!(press(&mut screen, "j\n"), Some(Wish::Ask(Question::Peer { peer: "node-b".to_owned() })));
    press(&mut screen, "ss");
    assert_eq!((screen.order, screen.sessions()[0].row.name.as_str()), (Order::In, "node-b"));
    press(&mut screen, "d");
    assert_eq!(screen.sessions().len(), 1);
    press(&mut screen, "d/node-d\n");
    assert_eq!(screen.sessions().iter().map(|peer| peer.row.name.as_str()).collect::<Vec<_>>(), ["node-d"]);
    assert_eq!(press(&mut screen, "q"), Some(Wish::Quit));
    assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Wish::Quit));
}

#[test]
fn a_prefix_or_an_address_is_explained_and_nonsense_is_said() {
    let mut screen = seen();
    let why = |net: &str, longest| Some(Wish::Ask(Question::Why { net: net.parse().expect("a prefix"), longest }));
    assert_eq!(press(&mut screen, "w10.244.3.9\n"), why("10.244.3.9/32", true));
    assert_eq!(press(&mut screen, "w10.244.3.9/26\n"), why("10.244.3.0/26", false));
    assert_eq!(press(&mut screen, "wq\n"), None);
    assert!(shown(&screen, 100, 10).contains("q: neither a prefix"), "{}", shown(&screen, 100, 10));
    press(&mut screen, "2");
    assert_eq!(press(&mut screen, "\n"), why("10.244.3.0/26", false));
    let lines = vec!["10.244.3.0/26".to_owned(), "  nobody announces it".to_owned()];
    screen.take(Gathered::Text { title: "catbird why 10.244.3.0/26".to_owned(), lines });
    assert!(shown(&screen, 100, 10).contains("nobody announces it"));
}

#[test]
fn what_others_wrote_does_nothing_to_the_terminal_and_nothing_grows_for_ever() {
    let mut screen = seen();
    for n in 0..2_000 {
        screen.take(event(&format!("\x1b[2J{n}"), "info"));
        screen.take(numbers(n + 2, 400 + n, false));
    }
    assert!(screen.events.len() <= 500 && screen.history.len() <= 120);
    press(&mut screen, "3");
    assert_eq!(screen.view, View::Events);
    let frame = shown(&screen, 80, 12);
    assert!(!frame.contains('\x1b') && frame.contains("[2J1999"), "{frame}");
    for _ in 0..3_000 {
        screen.key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE));
    }
    assert!(shown(&screen, 80, 12).contains("[2J"), "the oldest is still shown");
    press(&mut screen, "w");
    (0..500).for_each(|_| {
        press(&mut screen, "1");
    });
    assert!(screen.prompt.as_ref().is_some_and(|(_, typed)| typed.len() == 64));
}

#[test]
fn a_screen_that_stands_still_takes_in_no_numbers() {
    let mut screen = seen();
    press(&mut screen, " ");
    screen.take(numbers(2, 9_000, false));
    assert!(shown(&screen, 120, 24).contains("standing still") && shown(&screen, 120, 24).contains("sessions 2/3"));
    press(&mut screen, " ");
    screen.take(numbers(3, 9_000, false));
    assert!(shown(&screen, 120, 24).contains("sessions 3/3"));
}
