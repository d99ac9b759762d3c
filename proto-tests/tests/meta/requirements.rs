//! The ledger of requirements (`proto-tests/requirements/rfcNNNN.toml`) tells the truth: each sentence of the RFCs that requires
//! something is accounted for by a test that exists and tries what production uses, or by a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proto_tests::netlab::proc::workspace;
use regex::Regex;
use serde::Deserialize;

use crate::sources::{rust_files, sources};
use crate::texts::{hash, sentences};

/// A file of the ledger.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    rfc: u32,
    title: String,
    /// Of the text: how many sentences it has, and one hash over all of theirs, so that none is lost from the list.
    #[serde(default)]
    text: Option<Text>,
    #[serde(default)]
    requirement: Vec<Requirement>,
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    sentences: usize,
    hash: String,
}

/// A sentence with a keyword, by its place in the text; in our own words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    at: String,
    level: String,
    hash: String,
    says: String,
    test: Option<String>,
    reason: Option<String>,
}

/// A rule that stands there without a keyword, is part of a sentence, or comes from a text that we do not have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    section: String,
    level: String,
    says: String,
    test: Option<String>,
    reason: Option<String>,
}

/// One line of the ledger, whichever it is.
struct Entry<'a> {
    name: String,
    level: &'a str,
    says: &'a str,
    test: Option<&'a str>,
    reason: Option<&'a str>,
}

impl Ledger {
    fn entries(&self) -> Vec<Entry<'_>> {
        let cut = self.requirement.iter().map(|r| Entry {
            name: format!("RFC {} {}", self.rfc, r.at),
            level: &r.level,
            says: &r.says,
            test: r.test.as_deref(),
            reason: r.reason.as_deref(),
        });
        let read = self.rule.iter().map(|r| Entry {
            name: format!("RFC {} §{}", self.rfc, r.section),
            level: &r.level,
            says: &r.says,
            test: r.test.as_deref(),
            reason: r.reason.as_deref(),
        });
        cut.chain(read).collect()
    }

    /// What the file should say of its text.
    fn digest(&self) -> String {
        hash(&self.requirement.iter().map(|r| format!("{} {} {}\n", r.at, r.level, r.hash)).collect::<String>())
    }
}

fn ledgers() -> Vec<Ledger> {
    let folder = workspace().join("proto-tests/requirements");
    let entries = fs::read_dir(&folder).expect("the ledger").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    let read = |path: &PathBuf| -> Ledger {
        let text = fs::read_to_string(path).expect("a file of the ledger");
        let ledger: Ledger = toml::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        assert!(path.ends_with(format!("rfc{}.toml", ledger.rfc)) && !ledger.title.is_empty(), "{}", path.display());
        ledger
    };
    files.iter().map(read).collect()
}

/// The files in which `path` (all of a test's name but its last word) may have its test.
fn homes(path: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split("::").filter(|part| *part != "tests").collect();
    let joined = parts.join("/");
    let roots = ["src", "proto-tests/src", "proto-tests/tests"].map(|root| workspace().join(root));
    let within = |root: &PathBuf| {
        [
            root.join(format!("{joined}.rs")),
            root.join(&joined).join("mod.rs"),
            root.join(&joined).join("tests.rs"),
            root.join(format!("{}.rs", path.replace("::", "/"))),
        ]
    };
    roots.iter().flat_map(within).collect()
}

/// The text of a test, from its name to the next item of the file.
pub fn body(test: &str) -> Option<String> {
    let (path, name) = test.rsplit_once("::")?;
    let signature = format!("fn {name}(");
    let texts = homes(path).into_iter().filter_map(|home| fs::read_to_string(home).ok());
    texts.filter_map(|text| Some(text[text.find(&signature)?..].to_string())).map(|text| until_it_ends(&text)).next()
}

fn until_it_ends(text: &str) -> String {
    let indent = "\n}".len();
    let end = text.find("\n}").into_iter().chain(text.find("\n    }\n\n    #[test]")).min().map_or(text.len(), |at| at + indent);
    text[..end].to_string()
}

#[test]
fn every_requirement_has_a_test_that_exists_or_a_reason() {
    let levels: BTreeSet<&str> =
        ["MUST", "MUST NOT", "SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "MAY", "REQUIRED", "RECOMMENDED", "NOT RECOMMENDED"].into();
    let mut wrong = Vec::new();
    for ledger in ledgers() {
        for entry in ledger.entries() {
            let said = format!("{} ({})", entry.name, entry.says);
            match (entry.test, entry.reason) {
                (Some(test), None) if body(test).is_some() => {}
                (Some(test), None) => wrong.push(format!("{said}: there is no test {test}")),
                (None, Some(reason)) if reason.len() > 10 => {}
                _ => wrong.push(format!("{said}: either a test or a reason")),
            }
            if entry.says.len() < 10 || !entry.level.split(", ").all(|level| levels.contains(level)) {
                wrong.push(format!("{said}: level {}", entry.level));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_sentence_is_missing_from_the_ledger() {
    let mut cut = 0;
    for ledger in ledgers() {
        cut += ledger.requirement.len();
        let Some(text) = &ledger.text else {
            assert!(ledger.requirement.is_empty() && !ledger.rule.is_empty(), "RFC {}: sentences of which text?", ledger.rfc);
            continue;
        };
        assert_eq!((text.sentences, &text.hash), (ledger.requirement.len(), &ledger.digest()), "RFC {}", ledger.rfc);
        let places: BTreeSet<&str> = ledger.requirement.iter().map(|r| r.at.as_str()).collect();
        assert_eq!(places.len(), ledger.requirement.len(), "RFC {}: a place is named twice", ledger.rfc);
    }
    assert!(cut >= 400, "{cut} sentences");
}

#[test]
#[ignore = "wants the texts of the RFCs: CATBIRD_RFCS=folder"]
fn the_ledger_has_the_sentences_of_the_texts() {
    let folder = PathBuf::from(std::env::var_os("CATBIRD_RFCS").expect("CATBIRD_RFCS names the folder of the texts"));
    let mut wrong = Vec::new();
    for ledger in ledgers().into_iter().filter(|ledger| ledger.text.is_some()) {
        let text = fs::read(folder.join(format!("rfc{}.txt", ledger.rfc))).expect("the text");
        let known: Vec<(&str, &str, &str)> =
            ledger.requirement.iter().map(|r| (r.at.as_str(), r.level.as_str(), r.hash.as_str())).collect();
        let found = sentences(&String::from_utf8_lossy(&text));
        let skeleton = found.iter().filter(|s| !known.contains(&(&s.at, &s.level, &s.hash)));
        wrong.extend(
            skeleton.map(|s| format!("RFC {}: {{ at = {:?}, level = {:?}, hash = {:?} }} {}", ledger.rfc, s.at, s.level, s.hash, s.words)),
        );
        if known.len() != found.len() {
            wrong.push(format!("RFC {} has {} sentences, the ledger {}: {}", ledger.rfc, found.len(), known.len(), ledger.digest()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_counts_stand_in_the_readme() {
    let ledgers = ledgers();
    let of = |cut: bool, shown: bool| -> usize {
        let entries = ledgers.iter().flat_map(|ledger| ledger.entries().into_iter().map(|e| (e.name.contains('-'), e.test.is_some())));
        entries.filter(|entry| *entry == (cut, shown)).count()
    };
    let texts = ledgers.iter().filter(|ledger| ledger.text.is_some()).count();
    let sentence = format!(
        "{} sentences of {texts} RFCs require something: {} are shown by a test, {} have a reason why not. Of {} more rules, from these and \
         {} other RFCs, {} are shown by a test.",
        of(true, true) + of(true, false),
        of(true, true),
        of(true, false),
        of(false, true) + of(false, false),
        ledgers.len() - texts,
        of(false, true),
    );
    let readme = fs::read_to_string(workspace().join("README.md")).expect("the README");
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.contains(&sentence), "the README should say: {sentence}");
}

/// `docs/rfcs.md`: what is kept of each RFC, and what is not with the reason.
fn page() -> String {
    let mut page = String::from(
        "# What is kept of the RFCs\n\nMade from the ledger (`proto-tests/requirements`, where each sentence has the test that shows it) by \
         `CATBIRD_MANUAL=write cargo test -p proto-tests --test meta -- the_page_of_rfcs`. \"Shown\": by a test. What is not has a reason, below.\n\n\
         | RFC | about | sentences that require something | shown | further rules | shown |\n|---|---|---|---|---|---|\n",
    );
    let mut ledgers = ledgers();
    ledgers.sort_by_key(|ledger| ledger.rfc);
    let shown = |tests: &mut dyn Iterator<Item = &Option<String>>| tests.filter(|test| test.is_some()).count();
    for one in &ledgers {
        let cut = shown(&mut one.requirement.iter().map(|r| &r.test));
        let read = shown(&mut one.rule.iter().map(|r| &r.test));
        page += &format!(
            "| [{0}](https://www.rfc-editor.org/rfc/rfc{0}) | {1} | {2} | {cut} | {3} | {read} |\n",
            one.rfc,
            one.title,
            one.requirement.len(),
            one.rule.len()
        );
    }
    page += "\n## What is not, and why\n";
    for one in &ledgers {
        let entries = one.entries();
        let open: Vec<&Entry<'_>> = entries.iter().filter(|entry| entry.test.is_none()).collect();
        if !open.is_empty() {
            page += &format!("\n### RFC {}: {}\n\n", one.rfc, one.title);
        }
        for entry in open {
            page += &format!("- {} ({}): {}. {}\n", entry.name, entry.level, entry.says, entry.reason.unwrap_or_default());
        }
    }
    page
}

#[test]
fn the_page_of_rfcs_is_the_ledger() {
    let path = workspace().join("docs/rfcs.md");
    if proto_tests::console::writes() {
        fs::write(&path, page()).expect("docs/ is ours");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page(), "docs/rfcs.md is not the ledger's: CATBIRD_MANUAL=write makes it");
}

/// Functions of the library that nothing in it calls: only tests could.
fn uncalled() -> BTreeSet<String> {
    let imports = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+[^;]+;").expect("a pattern");
    let definition = Regex::new(r"\bfn ([a-z_][a-z0-9_]*)").expect("a pattern");
    let word = Regex::new(r"\b[a-z_][a-z0-9_]*\b").expect("a pattern");
    let (mut defined, mut named): (BTreeMap<String, usize>, BTreeMap<String, usize>) = Default::default();
    let main = fs::read_to_string(workspace().join("src/main.rs")).expect("the program");
    let codes: Vec<String> = sources().into_iter().map(|source| source.code).chain([main]).collect();
    for code in codes.iter().map(|code| imports.replace_all(code, "")) {
        definition.captures_iter(&code).for_each(|found| *defined.entry(found[1].to_string()).or_default() += 1);
        word.find_iter(&code).for_each(|found| *named.entry(found.as_str().to_string()).or_default() += 1);
    }
    defined.into_iter().filter(|(name, times)| named.get(name) == Some(times)).map(|(name, _)| name).collect()
}

#[test]
fn no_test_of_the_ledger_tries_what_production_does_not_use() {
    let uncalled = uncalled();
    let call = Regex::new(r"\b([a-z_][a-z0-9_]*)\(").expect("a pattern");
    let mut wrong = BTreeSet::new();
    for ledger in ledgers() {
        for test in ledger.entries().into_iter().filter_map(|entry| entry.test.map(str::to_string)) {
            let body = body(&test).unwrap_or_default();
            let called = call.captures_iter(&body).map(|found| found[1].to_string());
            wrong.extend(
                called.filter(|name| uncalled.contains(name) && !EYES.contains(&name.as_str())).map(|name| format!("{test} calls {name}")),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "functions that nothing but tests calls prove nothing:\n{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Called by tests alone, to look or to make an input; what they look at or make is production's.
const EYES: &[&str] = &["dest_end", "role_mismatch", "set_aggregator", "set_unknown"];

#[test]
fn the_reader_of_tests_finds_them_where_they_are() {
    assert!(body("meta::requirements::the_reader_of_tests_finds_them_where_they_are").is_some());
    assert!(body("wire::update::tests::a_plain_update_is_read").is_some_and(|text| text.starts_with("fn a_plain_update_is_read(")));
    assert_eq!(body("meta::requirements::no_such_test"), None);
    assert_eq!(body("wire::update::a_plain"), None);
    assert!(rust_files(Path::new(&workspace().join("src"))).len() > 50);
}
