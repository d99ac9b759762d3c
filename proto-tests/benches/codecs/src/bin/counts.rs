//! Instructions of an UPDATE, counted by callgrind (Debian's valgrind): the same on a busy machine as on a quiet one.
//!
//! `cargo run --release --no-default-features --bin counts` prints a table; `-- "decode, IPv6"` counts one row of it.

use std::hint::black_box;
use std::process::{Command, ExitCode};

use bytes::BytesMut;
use codecs::{Corpus, Route, skeleton};

/// What is counted: a name, and the work on a corpus with its routes.
type Work = (&'static str, fn(&Corpus, &[Route], &mut BytesMut) -> usize);

const WORK: [Work; 7] = [
    ("decode", |corpus, _, _| codecs::catbird_decode(corpus)),
    ("decode, prefixes walked", |corpus, _, _| codecs::catbird_decode_walk(corpus)),
    ("encode", |_, routes, out| codecs::catbird_encode(routes, out)),
    ("attributes by hand", |corpus, _, _| skeleton::attributes_by_hand(corpus)),
    ("attributes by nom", |corpus, _, _| skeleton::attributes_by_nom(corpus)),
    ("prefixes by hand", |corpus, _, _| skeleton::prefixes_by_hand(corpus)),
    ("prefixes by nom", |corpus, _, _| skeleton::prefixes_by_nom(corpus)),
];

const CORPORA: [(&str, fn() -> Corpus); 4] = [
    ("table transfer", Corpus::table_transfer),
    ("one prefix each", Corpus::one_prefix_each),
    ("IPv6", Corpus::ipv6),
    ("long communities", Corpus::long_communities),
];

/// Callgrind collects from here to the end of it, and nowhere else.
#[unsafe(no_mangle)]
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let here = args.last().is_some_and(|last| last == "--here");
    for ((name, work), (corpus_name, corpus)) in WORK.into_iter().flat_map(|work| CORPORA.map(|corpus| (work, corpus))) {
        let row = format!("{name}, {corpus_name}");
        if args.first().is_some_and(|wanted| *wanted != row) {
            continue;
        }
        let corpus = corpus();
        if here {
            let routes = codecs::catbird_routes(&corpus);
            let mut out = BytesMut::with_capacity(corpus.data.len() + 65_536);
            measured(&mut || {
                black_box(work(&corpus, &routes, &mut out));
            });
            return ExitCode::SUCCESS;
        }
        let Some(count) = count(&row) else {
            eprintln!("valgrind did not count: is it installed?");
            return ExitCode::FAILURE;
        };
        println!("{row:45} {:>8} instructions an UPDATE", count / corpus.len() as u64);
    }
    ExitCode::SUCCESS
}

fn count(row: &str) -> Option<u64> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no", "--toggle-collect=measured"])
        .arg(std::env::current_exe().ok()?)
        .args([row, "--here"])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    said.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}
