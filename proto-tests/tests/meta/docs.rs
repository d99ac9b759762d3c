//! The documents: links lead somewhere, and each alert has its page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proto_tests::netlab::proc::workspace;
use regex::Regex;

/// `README.md`, `CHANGELOG.md`, and everything in `docs/`.
fn documents() -> Vec<PathBuf> {
    let root = workspace();
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let entries = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    found.extend(entries.filter(|path| path.extension().is_some_and(|ext| ext == "md")));
    found
}

/// What GitHub and mdBook make of a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_';
    heading.to_lowercase().chars().filter(|c| kept(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Without code, in which brackets are no links.
fn prose(text: &str) -> String {
    let blocks = Regex::new(r"(?s)```.*?```").expect("a pattern");
    Regex::new(r"`[^`\n]*`").expect("a pattern").replace_all(&blocks.replace_all(text, ""), "code").into_owned()
}

fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let (mut seen, mut wrong) = (0, Vec::new());
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).expect("text"));
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()).filter(|target| !target.contains("://")) {
            seen += 1;
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { document.clone() } else { document.parent().expect("a folder").join(file) };
            if !path.exists() || !(heading.is_empty() || anchors(&path).contains(heading)) {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(seen > 20, "{seen} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_alert_has_its_section_in_the_runbook_and_no_other_has() {
    let rules = fs::read_to_string(workspace().join("configs/prometheus/catbird.rules.yml")).expect("the rules");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = fs::read_to_string(workspace().join("docs/runbook.md")).expect("the runbook");
    let sections: Vec<&str> = runbook.split("\n## ").skip(1).collect();
    let names: Vec<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
    assert!(alerts.len() > 20);
    assert_eq!(names, alerts, "in the order of the rules");
    for (section, name) in sections.iter().zip(&names) {
        for part in ["**Means:** ", "**Run:** ", "**Do:** "] {
            assert!(section.contains(part), "{name}: {part}");
        }
    }
}
