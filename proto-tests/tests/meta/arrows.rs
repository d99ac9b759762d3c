//! The arrows between the rooms point down only, as the front page of the library (`src/lib.rs`) draws them, no files import each other in
//! a circle, the core knows no socket, clock, thread or file, and the way of an UPDATE that the front page tells is there.
//!
//! The sources are read as text: what is said in `use` lines, in paths, and what stands behind the wall.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use proto_tests::netlab::proc::workspace;
use regex::Regex;

use crate::sources::{Imports, Source, paths_of, sources};

/// What the core does not know. (`config` is told the text of a file; reading it is the shell's.)
const FORBIDDEN: &[&str] = &[
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs",
    "std::process",
    "tokio",
    "libc::",
    "socket2",
    "rtnetlink",
    "prometheus",
];

/// Who may name whom, as the front page draws it.
struct Arrows {
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// Rooms in parentheses: free to all, and to each other from right to left.
    free: Vec<String>,
}

impl Arrows {
    /// From the block of text that holds arrows.
    fn drawn() -> Arrows {
        let page = fs::read_to_string(workspace().join("src/lib.rs")).expect("the front page");
        let page: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("//!")).collect();
        let page = page.join("\n");
        let block = page.split("```text").skip(1).filter_map(|rest| rest.split("```").next()).find(|block| block.contains("->"));
        Arrows::parse(block.expect("a block of text with arrows on the front page"))
    }

    fn parse(block: &str) -> Arrows {
        let spaced = block.replace(',', " , ").replace("->", " -> ").replace('(', " ( ").replace(')', " ) ").replace(';', " ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut arrows = Arrows { allowed: BTreeMap::new(), free: Vec::new() };
        let heads: Vec<(usize, usize)> = (0..words.len()).filter(|at| words[*at] == "->").map(|at| (head(&words, at), at)).collect();
        for (index, (start, arrow)) in heads.iter().enumerate() {
            let end = heads.get(index + 1).map_or(words.len(), |(next, _)| *next);
            let mut targets = BTreeSet::new();
            let mut in_parentheses = false;
            for word in &words[arrow + 1..end] {
                match *word {
                    "(" => in_parentheses = true,
                    ")" => in_parentheses = false,
                    "," => {}
                    free if in_parentheses => arrows.free.push(free.to_string()),
                    room => drop(targets.insert(room.to_string())),
                }
            }
            for from in words[*start..*arrow].iter().filter(|word| **word != ",") {
                arrows.allowed.entry((*from).to_string()).or_default().extend(targets.clone());
            }
        }
        arrows
    }

    fn knows(&self, room: &str) -> bool {
        self.allowed.contains_key(room) || self.free.iter().any(|free| free == room)
    }

    fn may_name(&self, from: &str, to: &str) -> bool {
        let place = |room: &str| self.free.iter().position(|free| free == room);
        let freely = match (place(from), place(to)) {
            (Some(from), Some(to)) => to < from,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        from == to || freely || self.allowed.get(from).is_some_and(|allowed| allowed.contains(to))
    }
}

/// Where the rooms before an arrow begin: names with commas between.
fn head(words: &[&str], arrow: usize) -> usize {
    let mut at = arrow.saturating_sub(1);
    while at >= 2 && words[at - 1] == "," {
        at -= 2;
    }
    at
}

/// The sources but the front page itself.
fn in_rooms() -> Vec<Source> {
    sources().into_iter().filter(|source| !source.module.is_empty()).collect()
}

#[test]
fn the_front_page_draws_every_room_and_no_way_round() {
    let arrows = Arrows::drawn();
    let rooms: BTreeSet<String> = in_rooms().iter().map(|source| source.room().to_string()).collect();
    let drawn: BTreeSet<String> = arrows.allowed.values().flatten().chain(arrows.allowed.keys()).chain(&arrows.free).cloned().collect();
    assert_eq!(rooms, drawn, "the rooms in src/, and those that the arrows of src/lib.rs name");
    for from in arrows.allowed.keys() {
        let mut below: Vec<&String> = arrows.allowed[from].iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(room) = below.pop() {
            assert_ne!(room, from, "the arrows of {from} lead back to it");
            if seen.insert(room) {
                below.extend(arrows.allowed.get(room).into_iter().flatten());
            }
        }
    }
}

#[test]
fn imports_follow_the_arrows() {
    let arrows = Arrows::drawn();
    let (mut faults, mut seen) = (BTreeSet::new(), 0);
    for source in in_rooms() {
        // `crate::Something` with a capital letter, or a macro, is the front page.
        let named = paths_of(&source.code).into_iter().filter(|path| path[0] == "crate").filter_map(|path| path.get(1).cloned());
        for target in named.filter(|target| arrows.knows(target)) {
            seen += 1;
            if !arrows.may_name(source.room(), &target) {
                faults.insert(format!("src/{}: {} names {target}", source.path.display(), source.room()));
            }
        }
    }
    assert!(seen > 50, "the reader of imports saw only {seen}; it must be blind");
    assert!(faults.is_empty(), "{}", faults.into_iter().collect::<Vec<_>>().join("\n"));
}

/// The circles among these files, a line each.
fn circles(sources: &[Source]) -> Vec<(BTreeSet<String>, String)> {
    let circles = Imports::of(sources).circles();
    let shown = |circle: &Vec<Vec<String>>| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" ");
    circles.iter().map(|circle| (circle.iter().map(|module| module[0].clone()).collect(), shown(circle))).collect()
}

#[test]
fn no_files_of_different_rooms_import_each_other_in_a_circle() {
    let across: Vec<String> = circles(&in_rooms()).into_iter().filter(|(rooms, _)| rooms.len() > 1).map(|(_, shown)| shown).collect();
    assert!(across.is_empty(), "{}", across.join("\n"));
}

/// The circles in one room, a line each.
fn circles_of(room: &str) -> String {
    let within = circles(&in_rooms()).into_iter().filter(|(rooms, _)| rooms.contains(room));
    within.map(|(_, shown)| shown).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_files_of_the_speaker_import_each_other_in_a_circle() {
    assert_eq!(circles_of("speaker"), "");
}

#[test]
fn no_files_of_the_daemon_import_each_other_in_a_circle() {
    assert_eq!(circles_of("daemon"), "");
}

#[test]
fn the_core_knows_no_socket_clock_thread_or_file() {
    // The shell is what the front page's root builds with the feature `daemon` only; a file of the core may be behind it, too.
    let all = in_rooms();
    let shell: BTreeSet<String> = all.iter().filter(|s| s.behind_the_wall && s.module.len() == 1).map(|s| s.room().to_string()).collect();
    assert!(shell.contains("daemon") && shell.contains("cli"), "{shell:?}");
    let (outer, core): (Vec<Source>, Vec<Source>) = all.into_iter().partition(|s| s.behind_the_wall || shell.contains(s.room()));
    let knows = |source: &Source, forbidden: &str| names(&source.code, forbidden);
    let faults: Vec<String> = core
        .iter()
        .flat_map(|source| FORBIDDEN.iter().filter(|word| knows(source, word)).map(|word| format!("src/{}: {word}", source.path.display())))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(outer.iter().any(|source| knows(source, "tokio")), "the shell does name tokio, and this test would see it");
}

/// The path as it stands, or as a leaf of a braced list (`std::{fs, thread}`).
fn names(code: &str, path: &str) -> bool {
    let whole = code.match_indices(path).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    whole || paths_of(code).iter().any(|found| (found.join("::") + "::").starts_with(&format!("{}::", path.trim_end_matches("::"))))
}

#[test]
fn the_reader_of_arrows_sees_all_their_shapes() {
    let arrows =
        Arrows::parse("cli, daemon -> api ... config;  config -> wire\n peer -> wire      policy -> wire\n fib, wire -> (num, kernel)");
    assert!(arrows.may_name("daemon", "api") && arrows.may_name("cli", "config") && !arrows.may_name("config", "cli"));
    assert!(arrows.may_name("policy", "wire") && !arrows.may_name("peer", "policy"));
    assert!(arrows.may_name("kernel", "num") && !arrows.may_name("num", "kernel") && arrows.may_name("fib", "kernel"));
    assert!(names("use std::{fs, io};", "std::fs"));
    assert!(names("use std::time::{Duration, Instant};", "std::time::Instant"));
    assert!(!names("use crate::num::Instant; use std::time::Duration;", "std::time::Instant"));
}

/// Functions that the front page names, as `Type::function` or `module::function`, where it tells of one UPDATE's way.
fn hops_of_an_update() -> Vec<(String, String)> {
    let page = fs::read_to_string(workspace().join("src/lib.rs")).expect("the front page");
    let way = page.split("# One UPDATE").nth(1).expect("its section");
    let way: Vec<&str> = way.lines().skip(1).take_while(|line| line.starts_with("//!")).collect();
    let named = Regex::new(r"`(?:[a-z_]+::)*([A-Za-z]+)::([a-z_]+)`").expect("a pattern");
    named.captures_iter(&way.join("\n")).map(|found| (found[1].to_string(), found[2].to_string())).collect()
}

#[test]
fn the_way_of_an_update_on_the_front_page_is_in_the_code() {
    let hops = hops_of_an_update();
    let functions: Vec<_> = hops.iter().filter(|(_, name)| name != "event_queue").collect();
    assert!(functions.len() >= 11, "{functions:?}");
    let sources = sources();
    let missing: Vec<_> = functions
        .into_iter()
        .filter(|(home, name)| {
            let function = Regex::new(&format!(r"\bfn {name}\b")).expect("a pattern");
            !sources.iter().any(|source| function.is_match(&source.code) && lives_in(source, home))
        })
        .collect();
    assert!(missing.is_empty(), "the front page names what is not there: {missing:?}");
}

/// Is this the file of the module, or has it methods of the type?
fn lives_in(source: &Source, home: &str) -> bool {
    let methods = Regex::new(&format!(r"impl[^\n{{]*\b{home}\b")).expect("a pattern");
    source.module.last().is_some_and(|module| module == home) || methods.is_match(&source.code)
}
