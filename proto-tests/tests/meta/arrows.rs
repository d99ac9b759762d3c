//! The arrows between the rooms point down only (DESIGN section 3), and the core knows no socket, clock, thread or file.
//!
//! The sources are read as text: what is said in `use` lines, in paths, and what stands behind the wall.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proto_tests::netlab::proc::workspace;

/// Who may name whom. `num` and `kernel` are small nouns for everybody; `kernel` itself names `num` alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("cli", &["config", "speaker", "peer", "policy", "rib", "fib", "wire", "stats", "daemon"]),
    ("daemon", &["config", "speaker", "peer", "policy", "rib", "fib", "wire", "stats", "cli"]),
    ("config", &["speaker", "peer", "rib", "policy", "fib", "wire"]),
    ("speaker", &["peer", "rib", "fib", "policy", "wire", "stats"]),
    ("rib", &["policy", "wire"]),
    ("peer", &["wire"]),
    ("policy", &["wire"]),
    ("fib", &[]),
    ("wire", &[]),
    ("stats", &[]),
    ("kernel", &[]),
    ("num", &[]),
];

/// Rooms that are the shell: sockets, clock and files are their work.
const SHELL: &[&str] = &["cli", "daemon"];

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

/// A file of a room, without its comments and without its tests.
struct Source {
    room: String,
    path: PathBuf,
    code: String,
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&workspace().join("src"), &mut found);
    found.into_iter().filter_map(|path| read(&path)).collect()
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

fn read(path: &Path) -> Option<Source> {
    let inside = path.strip_prefix(workspace().join("src")).unwrap();
    let room = inside.iter().next()?.to_str()?.trim_end_matches(".rs").to_string();
    let is_test = inside.iter().any(|part| part == "tests.rs" || part == "tests");
    if is_test || room == "main" || room == "lib" || is_behind_the_wall(path) {
        return None;
    }
    Some(Source { room, path: inside.to_path_buf(), code: code_of(&fs::read_to_string(path).unwrap()) })
}

/// Its parent says `#[cfg(feature = "daemon")] mod this;`: the core is built without it.
fn is_behind_the_wall(path: &Path) -> bool {
    let (Some(dir), Some(name)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else { return false };
    let parents = [dir.join("mod.rs"), dir.with_extension("rs")];
    let gate = ["mod", "pub mod"].map(|word| format!("#[cfg(feature = \"daemon\")]\n{word} {name};"));
    parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| gate.iter().any(|gate| text.contains(gate)))
}

/// Without comments, and cut where the tests begin (they are last in a file).
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every room that the code names: `crate::room`, and each of `crate::{a::X, b::{..}}`.
fn named(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(first_words(list)),
            None => rooms.extend(word(rest)),
        }
    }
    rooms
}

/// The first word of each entry of a braced list, at its own level.
fn first_words(list: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut words) = (0, true, Vec::new());
    for (index, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if c.is_whitespace() => {}
            _ if at_start && depth == 0 => {
                words.extend(word(&list[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_string())
}

#[test]
fn imports_follow_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let (mut faults, mut seen) = (Vec::new(), 0);
    for source in sources() {
        let Some(allowed) = arrows.get(source.room.as_str()) else {
            faults.push(format!("src/{}: the room {:?} has no place in the arrows", source.path.display(), source.room));
            continue;
        };
        for target in named(&source.code) {
            // `crate::Something` with a capital letter, or a macro, is the front page; `num` is everybody's, `kernel` all but its own.
            let everybodys = target == source.room || target == "num" || (target == "kernel" && source.room != "num");
            let is_room = arrows.contains_key(target.as_str());
            seen += usize::from(is_room);
            if is_room && !everybodys && !allowed.contains(&target.as_str()) {
                faults.push(format!("src/{}: {} names {target}", source.path.display(), source.room));
            }
        }
    }
    faults.sort();
    faults.dedup();
    assert!(seen > 50, "the reader of imports saw only {seen}; it must be blind");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_knows_no_socket_clock_thread_or_file() {
    let mut faults = Vec::new();
    for source in sources().into_iter().filter(|source| !SHELL.contains(&source.room.as_str())) {
        for forbidden in FORBIDDEN.iter().filter(|forbidden| names(&source.code, forbidden)) {
            faults.push(format!("src/{}: {forbidden}", source.path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let shell: Vec<Source> = sources().into_iter().filter(|source| SHELL.contains(&source.room.as_str())).collect();
    assert!(shell.iter().any(|source| names(&source.code, "tokio")), "the shell does name tokio, and this test would see it");
}

/// The path as it stands, or its last part in a braced list (`std::{fs, thread}`).
fn names(code: &str, path: &str) -> bool {
    let whole = code.match_indices(path).any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    let braced = path.rsplit_once("::").filter(|(_, last)| !last.is_empty()).is_some_and(|(parent, last)| {
        code.match_indices(&format!("{parent}::{{")).any(|(at, open)| first_words(&code[at + open.len()..]).iter().any(|word| word == last))
    });
    whole || braced
}

#[test]
fn the_reader_of_imports_sees_all_their_shapes() {
    assert_eq!(named("use crate::wire::{Open, Update};"), ["wire"]);
    assert_eq!(named("use crate::{num::{Asn, Family}, wire, rib::Rib};"), ["num", "wire", "rib"]);
    assert_eq!(named("pub(in crate::peer) fn x() -> crate::fib::Fib"), ["peer", "fib"]);
    assert!(names("use std::{fs, io};", "std::fs"));
    assert!(names("use std::time::{Duration, Instant};", "std::time::Instant"));
    assert!(!names("use crate::num::Instant; use std::time::Duration;", "std::time::Instant"));
    assert_eq!(code_of("a // crate::x\n#[cfg(test)]\nmod tests { crate::y }"), "a ");
}
