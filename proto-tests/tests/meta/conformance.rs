//! `conformance.toml` tells the truth: each rule is complete, and each test that it names exists.

use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    rule: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    rfc: String,
    section: String,
    level: String,
    text: String,
    test: Option<String>,
    reason: Option<String>,
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> Vec<Rule> {
    let text = std::fs::read_to_string(here().join("conformance.toml")).expect("conformance.toml");
    toml::from_str::<File>(&text).expect("well-formed rules").rule
}

/// The files in which `path` (all of a test's name but its last word) may have its test.
fn homes(path: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split("::").filter(|p| *p != "tests").collect();
    let joined = parts.join("/");
    let lab = here().join("tests").join(format!("{joined}.rs"));
    let src = here().join("..").join("src");
    let lab_src = here().join("src");
    let within = |root: &Path| [root.join(format!("{joined}.rs")), root.join(&joined).join("mod.rs"), root.join(&joined).join("tests.rs")];
    [vec![lab], within(&src).to_vec(), within(&lab_src).to_vec()].concat()
}

fn exists(test: &str) -> bool {
    let Some((path, name)) = test.rsplit_once("::") else { return false };
    let signature = format!("fn {name}(");
    homes(path).iter().filter_map(|home| std::fs::read_to_string(home).ok()).any(|text| text.contains(&signature))
}

#[test]
fn every_rule_has_a_test_that_exists_or_a_reason() {
    let rules = rules();
    let mut wrong = Vec::new();
    for rule in &rules {
        let name = format!("RFC {} §{}: {}", rule.rfc, rule.section, rule.text);
        match (&rule.test, &rule.reason) {
            (Some(test), None) if exists(test) => {}
            (Some(test), None) => wrong.push(format!("{name}: no test {test}")),
            (None, Some(reason)) if reason.len() > 10 => {}
            _ => wrong.push(format!("{name}: either a test or a reason")),
        }
        if !["MUST", "MUST NOT", "SHALL", "SHALL NOT", "SHOULD", "SHOULD NOT", "MAY", "REQUIRED", "RECOMMENDED"]
            .contains(&rule.level.as_str())
        {
            wrong.push(format!("{name}: level {}", rule.level));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let covered = rules.iter().filter(|r| r.test.is_some()).count();
    println!("{covered} rules are shown by a test, {} wait", rules.len() - covered);
    assert!(covered >= 100, "{covered} rules of {}", rules.len());
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    assert!(exists("meta::conformance::a_test_that_does_not_exist_is_noticed"));
    assert!(exists("wire::update::tests::a_plain_update_is_read"));
    assert!(!exists("meta::conformance::no_such_test"));
    assert!(!exists("wire::update::a_plain"));
}
