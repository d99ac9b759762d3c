//! The folders of `containerlab/`: each is complete, played by a test, and described where people look.

use std::fs;
use std::path::PathBuf;

use proto_tests::netlab::proc::workspace;
use regex::Regex;

/// A screenful.
const LINES: usize = 45;

fn folders() -> Vec<(String, PathBuf)> {
    let all = fs::read_dir(workspace().join("containerlab")).unwrap().map(|entry| entry.unwrap());
    let named = all.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    // The programs of the images; and what containerlab itself leaves.
    let mut stories: Vec<_> = named.filter(|(name, _)| name != "bin" && !name.starts_with("clab-")).collect();
    stories.sort();
    assert!(stories.len() >= 16, "{stories:?}");
    stories
}

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn every_story_is_complete_played_and_described() {
    let (tests, readme) = (text("proto-tests/tests/story/labs.rs"), text("README.md"));
    for (name, path) in folders() {
        for file in ["topology.clab.yml", "expect.toml", "README.md"] {
            assert!(path.join(file).is_file(), "{name} has no {file}");
        }
        let page = text(&format!("containerlab/{name}/README.md"));
        assert!(page.lines().count() <= LINES, "{name}: README.md is longer than a screen");
        assert!(page.contains("```text\n") && page.contains("```sh\n"), "{name}: README.md has a drawing and something to try");
        assert!(page.contains(&format!("containerlab/{name}/topology.clab.yml")), "{name}: README.md says how to deploy it");
        assert!(tests.contains(&format!("play(\"{name}\");")), "no test plays {name}");
        assert!(readme.contains(&format!("| [`{name}`](containerlab/{name}) |")), "README.md's table has no {name}");
    }
}

/// What a README tells people to try is tried on nodes that are there.
#[test]
fn what_there_is_to_try_is_there() {
    for (name, _) in folders() {
        let (page, topology) = (text(&format!("containerlab/{name}/README.md")), text(&format!("containerlab/{name}/topology.clab.yml")));
        let tried: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("docker exec ")).collect();
        assert!(!tried.is_empty(), "{name}");
        for line in tried {
            let node = line.split(' ').next().and_then(|container| container.strip_prefix(&format!("clab-{name}-")));
            let node = node.unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(topology.contains(&format!("\n    {node}:\n")), "{name}: no node {node}");
        }
    }
}

/// The bridge of a router would else take the lowest address of its ports, and another one when that port goes.
#[test]
fn every_bridge_has_an_address_of_its_own() {
    for (name, _) in folders() {
        for line in text(&format!("containerlab/{name}/topology.clab.yml")).lines().filter(|line| line.contains("type bridge")) {
            assert!(line.contains(" address 02:"), "{name}: {line}");
        }
    }
}

/// A lab's rules are those of `configs/prometheus`, with every time a sixtieth; `CATBIRD_MANUAL=write` writes them.
#[test]
fn the_rules_of_the_lab_are_the_rules() {
    let minutes = Regex::new(r"(for: |\[|offset )(\d+)([mh])").unwrap();
    let rules = text("configs/prometheus/catbird.rules.yml");
    let seconds = minutes.replace_all(&rules, |found: &regex::Captures<'_>| {
        let number: u64 = found[2].parse().unwrap();
        format!("{}{}s", &found[1], if &found[3] == "h" { number * 60 } else { number })
    });
    let wanted = format!("# configs/prometheus/catbird.rules.yml with every time a sixtieth. Made by a test.\n{seconds}");
    let path = workspace().join("containerlab/monitored/rules.yml");
    if std::env::var_os("CATBIRD_MANUAL").is_some_and(|mode| mode == "write") {
        fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), wanted, "CATBIRD_MANUAL=write cargo test --test meta the_rules_of_the_lab");
}
