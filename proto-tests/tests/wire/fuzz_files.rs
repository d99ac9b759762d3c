//! What fuzzing found worth keeping of files, replayed: captures and MRT files through `catbird decode`, configurations through the checker.

use std::path::Path;

use catbird::config::{Config, Environment, SecretFile};
use proto_tests::harmless;

#[path = "../../fuzz/fuzz_targets/show_file.rs"]
mod show_file;

fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|entry| run(&std::fs::read(entry.expect("an entry").path()).expect("its octets"))).count()
}

#[test]
fn kept_mrt_files_are_shown_or_refused() {
    assert!(replay("mrt", |data| show_file::show(&harmless::mrt_file(data))) > 100);
}

#[test]
fn kept_captures_are_shown_or_refused() {
    assert!(replay("pcap", |data| show_file::show(&harmless::pcap_file(data))) > 100);
}

#[test]
fn kept_configurations_are_accepted_or_refused_in_words() {
    let read = |_: &Path| Ok(SecretFile::from("a secret"));
    let around = Environment { hostname: Some("node".into()), read: &read, memory_limit: None };
    let count = replay("config", |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let checked = Config::parse("fuzz.toml", text, &around);
        assert!(checked.config.is_some() || !checked.report.to_string().is_empty());
    });
    assert!(count > 100);
}
