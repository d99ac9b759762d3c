//! What we build upon: licences, sources, bans and wildcards as `.deny.toml` wants them, no dependency that nobody uses, none that needs
//! a newer compiler than we promise.
//!
//! `cargo deny` does the first part better, with the list of advisories, and `.ci/run` calls it where it is installed; it is a program of
//! hundreds of crates, so this is the part that always runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use proto_tests::netlab::proc::workspace;
use regex::Regex;
use serde::Deserialize;

use crate::sources::rust_files;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    rust_version: Option<String>,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    req: String,
    path: Option<String>,
}

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

fn metadata() -> &'static Metadata {
    static READ: OnceLock<Metadata> = OnceLock::new();
    READ.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let done = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(workspace())
            .output()
            .expect("cargo runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("metadata as cargo documents them")
    })
}

fn deny() -> Deny {
    toml::from_str(&fs::read_to_string(workspace().join(".deny.toml")).expect(".deny.toml")).expect("as cargo deny reads it")
}

fn others() -> impl Iterator<Item = &'static Package> {
    metadata().packages.iter().filter(|package| !metadata().workspace_members.contains(&package.id))
}

/// Does an SPDX expression leave a choice that is allowed? (`A OR B`, `A AND B`, parentheses; `A/B` is an old way to say OR.)
fn allows(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let (answer, rest) = either(&words, allowed);
    answer && rest.is_empty()
}

fn either<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> (bool, &'a [&'w str]) {
    let (mut answer, mut rest) = both(words, allowed);
    while let Some((&"OR", next)) = rest.split_first() {
        let (other, after) = both(next, allowed);
        (answer, rest) = (answer | other, after);
    }
    (answer, rest)
}

fn both<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> (bool, &'a [&'w str]) {
    let (mut answer, mut rest) = one(words, allowed);
    while let Some((&"AND", next)) = rest.split_first() {
        let (other, after) = one(next, allowed);
        (answer, rest) = (answer & other, after);
    }
    (answer, rest)
}

fn one<'a, 'w>(words: &'a [&'w str], allowed: &BTreeSet<String>) -> (bool, &'a [&'w str]) {
    match words {
        ["(", inner @ ..] => {
            let (answer, rest) = either(inner, allowed);
            (answer && rest.first() == Some(&")"), rest.get(1..).unwrap_or_default())
        }
        [licence, "WITH", exception, rest @ ..] => (allowed.contains(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (allowed.contains(*licence), rest),
        [] => (false, &[]),
    }
}

#[test]
fn every_licence_leaves_a_choice_that_we_allow() {
    let allowed = deny().licenses.allow;
    let wrong: Vec<String> = others()
        .filter(|package| !package.license.as_deref().is_some_and(|licence| allows(licence, &allowed)))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(others().count() > 50, "cargo metadata names what we build upon");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_string(), "Zlib".to_string(), "A WITH E".to_string()]);
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND Zlib", "A WITH E OR GPL-3.0"] {
        assert!(allows(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "A", "A WITH F", ""] {
        assert!(!allows(bad, &allowed), "{bad}");
    }
}

#[test]
fn everything_comes_from_the_registry_and_nothing_banned_is_in_it() {
    let banned: BTreeSet<String> = deny().bans.deny.into_iter().map(|ban| ban.name).collect();
    assert!(!banned.is_empty());
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    let wrong = others().filter(|package| package.source.as_deref() != Some(registry) || banned.contains(&package.name));
    let wrong: Vec<String> = wrong.map(|package| format!("{} from {:?}", package.name, package.source)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ours = metadata().packages.iter().filter(|package| metadata().workspace_members.contains(&package.id));
    let any: Vec<&str> = ours.flat_map(|p| &p.dependencies).filter(|d| d.req == "*" && d.path.is_none()).map(|d| d.name.as_str()).collect();
    assert!(any.is_empty(), "any version would do of {any:?}");
}

/// The text of the Rust files of a package, without those of the packages below it.
fn text_of(package: &Package) -> String {
    let root = Path::new(&package.manifest_path).parent().expect("a folder");
    let folders = ["src", "tests", "benches", "examples"].map(|name| root.join(name));
    let files = folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| rust_files(folder));
    files.map(|path| fs::read_to_string(&path).expect("a source")).collect()
}

#[test]
fn every_dependency_is_used() {
    let mut unused = Vec::new();
    for package in metadata().packages.iter().filter(|package| metadata().workspace_members.contains(&package.id)) {
        let text = text_of(package);
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            let used = Regex::new(&format!(r"(?m)\b{name}::|^\s*(pub )?use {name}\b|\bextern crate {name}\b")).expect("a pattern");
            if !used.is_match(&text) {
                unused.push(format!("{}: {}", package.name, dependency.name));
            }
        }
    }
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

#[test]
fn nothing_needs_a_newer_compiler_than_we_promise() {
    let number = |text: &str| -> Vec<u32> { text.split('.').map(|part| part.parse().expect("a number")).collect() };
    let ours: BTreeMap<&str, &str> = metadata()
        .packages
        .iter()
        .filter(|package| metadata().workspace_members.contains(&package.id))
        .map(|package| (package.name.as_str(), package.rust_version.as_deref().expect("each of ours promises a compiler")))
        .collect();
    let promised = ours["catbird"];
    assert!(ours.values().all(|version| *version == promised), "{ours:?}");
    let newer = others()
        .filter(|package| package.rust_version.as_deref().is_some_and(|wanted| number(wanted) > [number(promised), vec![0]].concat()));
    let newer: Vec<String> =
        newer.map(|package| format!("{} {} wants {:?}", package.name, package.version, package.rust_version)).collect();
    assert!(newer.is_empty(), "we promise {promised}\n{}", newer.join("\n"));
}
