use super::model::{ChainRef, Mode, SessionKind};
use super::*;

fn nothing(path: &Path) -> Result<String, String> {
    Err(format!("{} does not exist", path.display()))
}

fn parse(text: &str) -> Checked {
    Config::parse("test.toml", text, &Surroundings { hostname: Some("a".into()), read: &nothing, secrets_needed: true })
}

#[track_caller]
fn good(text: &str) -> Config {
    let checked = parse(text);
    let report = checked.report.render(false);
    checked.config.unwrap_or_else(|| panic!("{report}"))
}

/// `line:column` and sentence of each finding.
fn findings(text: &str) -> Vec<String> {
    let checked = parse(text);
    checked.report.findings().iter().map(|f| checked.report.line(f).replace("test.toml:", "")).collect()
}

const MESH: &str = r#"
[node]
name = "a"
asn = 64512
[cluster]
mode = "full-mesh"
nodes = [
  { name = "a", addresses = ["10.0.0.1", "fd00::1"] },
  { name = "b", addresses = ["10.0.0.2", "fd00::2"] },
  { name = "c", addresses = ["fd00::3"] },
  { name = "rr", addresses = ["10.0.0.9"], cluster_id = "10.0.0.9" },
]
"#;

#[test]
fn a_mesh_peers_with_every_other_node_but_reflectors() {
    let config = good(MESH);
    let names: Vec<&str> = config.sessions.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    assert!(config.sessions.iter().all(|s| s.kind == SessionKind::Mesh && !s.setup.rr_client));
    assert_eq!(config.sessions[0].remote.to_string(), "10.0.0.2", "IPv4 transport where both have it");
    assert_eq!(config.sessions[1].remote.to_string(), "fd00::3");
    assert_eq!(config.sessions[1].setup.source, Some("fd00::1".parse().expect("address")));
    assert_eq!(config.node.router_id.to_string(), "10.0.0.1", "the first IPv4 address of our own entry");
    assert_eq!(config.sessions[0].setup.export, ChainRef::OwnBlocks);
}

#[test]
fn reflectors_reflect_to_nodes_and_mesh_among_themselves() {
    let cluster = r#"
[cluster]
mode = "route-reflector"
nodes = [
  { name = "a", addresses = ["10.0.0.1"] },
  { name = "b", addresses = ["10.0.0.2"] },
  { name = "r1", addresses = ["10.0.0.8"], cluster_id = "10.0.0.8" },
  { name = "r2", addresses = ["10.0.0.9"], cluster_id = "10.0.0.8" },
]
"#;
    let of = |name: &str| {
        let config = good(&format!("[node]\nname = \"{name}\"\nasn = 64512\n{cluster}"));
        assert_eq!(config.cluster.as_ref().map(|c| c.mode), Some(Mode::RouteReflector));
        config.sessions.into_iter().map(|s| (s.name, s.kind, s.setup.rr_client, s.setup.export)).collect::<Vec<_>>()
    };
    let rr = |name: &str, export| (name.to_owned(), SessionKind::Rr, false, export);
    let client = |name: &str| (name.to_owned(), SessionKind::RrClient, true, ChainRef::All);
    assert_eq!(of("a"), [rr("r1", ChainRef::OwnBlocks), rr("r2", ChainRef::OwnBlocks)]);
    assert_eq!(of("r1"), [client("a"), client("b"), rr("r2", ChainRef::All)]);
}

#[test]
fn a_node_finds_itself_by_address_or_host_name() {
    let list = "[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\"] }, { name = \"b\", addresses = [\"10.0.0.2\"] }]\n";
    let by_host = good(&format!("[node]\nasn = 64512\n{list}"));
    assert_eq!((by_host.node.name.as_str(), by_host.sessions[0].name.as_str()), ("a", "b"));
    let by_address = good(&format!("[node]\nasn = 64512\naddresses = [\"10.0.0.2\"]\n{list}"));
    assert_eq!((by_address.node.name.as_str(), by_address.sessions[0].name.as_str()), ("b", "a"));
    let stranger = findings(&format!("[node]\nasn = 64512\nname = \"x\"\n{list}"));
    assert_eq!(stranger, ["3:8: this node, `x`, is not in the cluster's list"]);
}

#[test]
fn all_mistakes_are_told_at_once_and_each_with_its_place() {
    let text = r#"[node]
asn = "many"
nmae = "a"
router_id = "0.0.0.0"

[[peer]]
address = "10.0.0.300"
asn = 64513
hold_time = 2
import = "al"

[fib]
metric = "lowest"
"#;
    assert_eq!(
        findings(text),
        [
            "2:7: `many` is not an AS number from 1 to 4294967294",
            "3:1: unknown setting `nmae` in [node]",
            "4:13: `0.0.0.0` is not a router id: any but 0.0.0.0 (RFC 6286 §2.1)",
            "7:11: `10.0.0.300` is not an IPv4 or IPv6 address (a link-local one with its interface: \"fe80::1%eth0\")",
            "9:13: `2s` is not a hold time: 0 (off) or 3 to 65535 whole seconds (RFC 4271 §4.2)",
            "13:10: unknown value `lowest`",
        ]
    );
}

#[test]
fn the_picture_has_a_caret_and_a_suggestion() {
    let shown = parse("[node]\nasn = 64512\nnmae = \"a\"\n").report.render(false);
    assert!(shown.contains("test.toml:3:1"), "{shown}");
    assert!(shown.contains("^^^^"), "{shown}");
    assert!(shown.contains("did you mean `name`?"), "{shown}");
    assert!(shown.contains("accepted: addresses, asn"), "{shown}");
}
