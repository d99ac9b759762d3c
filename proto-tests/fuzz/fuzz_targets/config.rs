//! A configuration file: accepted, or refused in words that name a place in it.
#![no_main]

use std::path::Path;

use catbird::config::{Config, SecretFile, Environment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = |_: &Path| Ok(SecretFile::from("a secret"));
    let around = Environment { hostname: Some("node".into()), read: &read, memory_limit: None };
    let checked = Config::parse("fuzz.toml", text, &around);
    let said = checked.report.to_string();
    assert!(checked.config.is_some() || !said.is_empty());
});
