//! The files in `containerlab/` are files for containerlab: its own schema says so, and a lint for what the schema misses.

use std::fs;
use std::path::PathBuf;

use proto_tests::netlab::expect::Expectations;
use proto_tests::netlab::image::Image;
use proto_tests::netlab::proc::workspace;
use proto_tests::netlab::topology::File;

use crate::json_schema::Schema;

fn stories() -> Vec<PathBuf> {
    let mut stories: Vec<_> = fs::read_dir(workspace().join("containerlab"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() && !path.ends_with("bin"))
        .collect();
    stories.sort();
    assert!(stories.len() >= 2, "full-mesh and route-reflector at least");
    stories
}

fn schema() -> Schema {
    let text = fs::read_to_string(workspace().join("proto-tests/data/clab.schema.json")).unwrap();
    Schema::new(serde_json::from_str(&text).unwrap())
}

fn faults(schema: &Schema, yaml: &str) -> Vec<String> {
    schema.faults(&serde_yaml_ng::from_str(yaml).unwrap())
}

#[test]
fn every_topology_is_valid_for_containerlab_itself() {
    let schema = schema();
    for story in stories() {
        let yaml = fs::read_to_string(story.join("topology.clab.yml")).unwrap();
        assert_eq!(faults(&schema, &yaml), Vec::<String>::new(), "{}", story.display());
    }
}

#[test]
fn the_schema_does_find_faults() {
    let schema = schema();
    let yaml = fs::read_to_string(workspace().join("containerlab/full-mesh/topology.clab.yml")).unwrap();
    for (right, wrong) in
        [("kind: linux", "kind: linucks"), ("network-mode: none", "network-mood: none"), ("name: full-mesh", "nam: full-mesh")]
    {
        assert!(yaml.contains(right), "{right}");
        assert_ne!(faults(&schema, &yaml.replacen(right, wrong, 1)), Vec::<String>::new(), "{wrong} passed");
    }
}

#[test]
fn every_topology_is_free_of_what_the_schema_misses() {
    for story in stories() {
        let file = File::read(&story.join("topology.clab.yml")).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(Some(file.name.as_str()), story.file_name().and_then(|name| name.to_str()), "the folder has the lab's name");
        assert!(!file.topology.links.is_empty());
        for (name, node) in &file.topology.nodes {
            Image::of(node).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn every_story_says_what_its_routers_must_agree_on() {
    for story in stories() {
        let expectations = Expectations::read(&story.join("expect.toml")).unwrap_or_else(|e| panic!("{e}"));
        let first = expectations.expect.first().unwrap_or_else(|| panic!("{}: nothing expected", story.display()));
        assert!(!first.routes.is_empty() && !first.pings.is_empty(), "{}", story.display());
        assert!(!first.sessions.is_empty() || !first.says.is_empty(), "{}", story.display());
    }
}

#[test]
fn every_image_is_built_by_the_dockerfile() {
    let dockerfile = fs::read_to_string(workspace().join("Dockerfile")).unwrap();
    let built: Vec<&str> = dockerfile.lines().filter_map(|line| line.split(" AS ").nth(1)).map(str::trim).collect();
    for story in stories() {
        let file = File::read(&story.join("topology.clab.yml")).unwrap();
        for node in file.topology.nodes.values() {
            // What is not ours comes from where it is published, by its version.
            if ["prom/prometheus:v", "grafana/grafana:"].iter().any(|published| node.image.starts_with(published)) {
                continue;
            }
            let target = node.image.strip_suffix(":latest").unwrap_or(&node.image);
            assert!(built.contains(&target), "no stage {target:?} in the Dockerfile, which has {built:?}");
        }
    }
    let bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).map(|rest| rest.split(' ').next().unwrap());
    for base in bases {
        assert!(base.starts_with("${") || base == "scratch" || built.contains(&base), "base image {base:?} is neither an ARG nor a stage");
    }
}
