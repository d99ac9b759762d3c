//! What is given away: the Debian package and the bill of materials, as far as they are made without a build of their own.
//!
//! `packaging/release` makes them of a static binary, and `proto-tests/machines/package` installs, upgrades and removes them under a systemd; here
//! stand what is in them, and that the same input makes the same octets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proto_tests::netlab::mounts::Scratch;
use proto_tests::netlab::proc::{catbird, program, workspace};
use proto_tests::netlab::skip;
use serde_json::Value;

fn run(command: &mut Command) -> Output {
    let out =
        command.current_dir(workspace()).env("SOURCE_DATE_EPOCH", "1764500000").output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("text")
}

/// The tests' own binary without its symbols, as a package.
fn package(binary: &Path, out: &Path) -> PathBuf {
    fs::create_dir_all(out).expect("a folder of our own");
    run(Command::new("packaging/deb").arg(binary).arg(out).env("CATBIRD_DEB_COMPRESSION", "none").env("CATBIRD_VERSION", "9.8.7+test"));
    let files: Vec<PathBuf> = fs::read_dir(out).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_package_has_what_a_node_needs_and_is_the_same_each_time() {
    const TEST: &str = "the_package_has_what_a_node_needs_and_is_the_same_each_time";
    if let Some(missing) = ["dpkg-deb", "strip", "readelf", "gzip"].into_iter().find(|name| program(name).is_none()) {
        return skip(TEST, &format!("{missing} is not installed"));
    }
    let scratch = Scratch::new("package").expect("a temporary folder");
    let binary = scratch.path().join("catbird");
    run(Command::new("strip").arg("-o").arg(&binary).arg(catbird().unwrap_or_else(|e| panic!("{e}"))));
    let (one, two) = (package(&binary, &scratch.path().join("one")), package(&binary, &scratch.path().join("two")));
    assert!(fs::read(&one).expect("a package") == fs::read(&two).expect("a package"), "not the same octets");

    let listed = text(Command::new("dpkg-deb").arg("--contents").arg(&one));
    for file in [
        "./usr/bin/catbird",
        "./lib/systemd/system/catbird.service",
        "./usr/lib/sysusers.d/catbird.conf",
        "./usr/lib/tmpfiles.d/catbird.conf",
        "./etc/catbird/catbird.toml",
        "./usr/share/man/man1/catbird-peer-received.1.gz",
        "./usr/share/bash-completion/completions/catbird",
        "./usr/share/zsh/vendor-completions/_catbird",
        "./usr/share/fish/vendor_completions.d/catbird.fish",
        "./usr/share/doc/catbird/examples/reference.toml",
        "./usr/share/doc/catbird/operations.md",
        "./usr/share/doc/catbird/copyright",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(file) && line.contains("root/root")), "{file} is not in\n{listed}");
    }
    let field = |name: &str| text(Command::new("dpkg-deb").arg("--field").arg(&one).arg(name)).trim().to_owned();
    assert_eq!((field("Package"), field("Version")), ("catbird".to_owned(), "9.8.7+test".to_owned()));
    assert!(field("Depends").contains("libc6"), "this binary is linked with libraries: {}", field("Depends"));
    let unpacked = scratch.path().join("control");
    run(Command::new("dpkg-deb").arg("--control").arg(&one).arg(&unpacked));
    assert_eq!(fs::read_to_string(unpacked.join("conffiles")).expect("conffiles"), "/etc/catbird/catbird.toml\n");
}

#[test]
fn the_bill_of_materials_names_what_is_linked_and_nothing_that_only_builds_or_tests() {
    const TEST: &str = "the_bill_of_materials_names_what_is_linked_and_nothing_that_only_builds_or_tests";
    if program("python3").is_none() {
        return skip(TEST, "python3 is not installed");
    }
    let make = || text(Command::new("packaging/sbom").args(["x86_64-unknown-linux-gnu", "9.8.7"]));
    let made = make();
    assert_eq!(made, make());
    let bill: Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["metadata"]["component"]["version"]), (&Value::from("CycloneDX"), &Value::from("9.8.7")));
    assert_eq!(bill["metadata"]["timestamp"], "2025-11-30T10:53:20Z");
    let components = bill["components"].as_array().expect("a list");
    let names: BTreeSet<&str> = components.iter().filter_map(|one| one["name"].as_str()).collect();
    for linked in ["tokio", "ring", "rustls", "rtnetlink", "clap_builder", "nom"] {
        assert!(names.contains(linked), "{linked}: {names:?}");
    }
    for other in ["proptest", "syn", "serde_derive", "cc", "regex-lite", "catbird", "proto-tests"] {
        assert!(!names.contains(other), "{other} is not linked");
    }
    for one in components {
        let hash = one["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(hash.len() == 64 && one["licenses"][0]["expression"].is_string(), "{one}");
    }
    let refs: BTreeSet<&str> = components.iter().filter_map(|one| one["bom-ref"].as_str()).chain(["catbird"]).collect();
    for edge in bill["dependencies"].as_array().expect("a list") {
        let all = edge["dependsOn"].as_array().expect("a list");
        assert!(all.iter().all(|to| refs.contains(to.as_str().unwrap_or_default())), "{edge}");
    }
}
