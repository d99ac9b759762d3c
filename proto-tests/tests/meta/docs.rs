//! The documents: links lead somewhere, and each alert has its page.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proto_tests::console::{Deed, documents, steps};
use proto_tests::netlab::proc::workspace;
use regex::Regex;

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

/// Who runs what is typed in the documents; `not` runs nothing and says why.
const LABS: [&str; 6] = ["alone", "machines", "not", "path", "questions", "rack"];

#[test]
fn every_console_block_is_run_by_a_test_or_says_why_not() {
    let (mut run, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    for document in documents() {
        let text = fs::read_to_string(&document).expect("text");
        for step in steps(&text).iter().filter(|step| matches!(step.deed, Deed::Command { .. })) {
            let (lab, reason) = step.lab.split_once(':').unwrap_or((&step.lab, ""));
            *run.entry(lab.to_owned()).or_default() += 1;
            if !LABS.contains(&lab) || (lab == "not") == reason.trim().is_empty() {
                wrong.push(format!("{}:{}: {:?} runs it", document.display(), step.line, step.lab));
            }
        }
        // What looks like one is one.
        let mut kind = None;
        for (n, line) in text.lines().enumerate() {
            match (kind, line.strip_prefix("```")) {
                (None, Some(word)) => kind = Some(word),
                (Some(_), Some(_)) => kind = None,
                (Some(word), None) if word != "console" && line.starts_with("$ ") => {
                    wrong.push(format!("{}:{}: a command in a block of {word:?}", document.display(), n + 1));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("commands in the documents, by who runs them: {run:?}");
    assert!(run.values().sum::<usize>() > 60, "{run:?}");
    assert!(run.get("not").is_none_or(|count| *count <= 15), "{run:?}");
}

#[test]
fn the_book_has_every_document_once() {
    let summary = fs::read_to_string(workspace().join("docs/SUMMARY.md")).expect("the table of contents");
    let link = Regex::new(r"\]\(([^)#\s]+)\)").expect("a pattern");
    let mut listed: Vec<&str> = link.captures_iter(&summary).map(|found| found.get(1).expect("a group").as_str()).collect();
    listed.sort_unstable();
    let there = documents().into_iter().filter(|path| path.parent().is_some_and(|dir| dir.ends_with("docs")));
    let mut names: Vec<String> = there.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "SUMMARY.md");
    assert_eq!(listed, names);
}
