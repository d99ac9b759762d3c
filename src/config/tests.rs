use super::model::{ChainRef, Mode};
use super::*;
use crate::peer::PeerKind;
use crate::speaker::reload_plan::{self, Change, Grade, NotRunning};

fn plan(old: &Config, new: &Config) -> Vec<Change> {
    reload_plan::diff(&params::speaker(old), &params::speaker(new), &NotRunning).into_changes()
}

fn nothing(path: &Path) -> Result<SecretFile, String> {
    Err(format!("{} does not exist", path.display()))
}

fn parse(text: &str) -> Checked {
    Config::parse("test.toml", text, &Environment { hostname: Some("a".into()), read: &nothing, memory_limit: None })
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
    checked.report.diagnostics().iter().map(|f| checked.report.line(f).replace("test.toml:", "")).collect()
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
    assert!(config.sessions.iter().all(|s| s.kind == PeerKind::Mesh && !s.options.rr_client));
    assert_eq!(config.sessions[0].remote.to_string(), "10.0.0.2", "IPv4 transport where both have it");
    assert_eq!(config.sessions[1].remote.to_string(), "fd00::3");
    assert_eq!(config.sessions[1].options.source, Some("fd00::1".parse().expect("address")));
    assert_eq!(config.node.router_id.to_string(), "10.0.0.1", "the first IPv4 address of our own entry");
    assert_eq!(config.sessions[0].options.export, ChainRef::OwnBlocks);
}

#[test]
fn a_peer_without_an_address_is_whoever_is_on_its_interface() {
    let text =
        "[node]\nname = \"a\"\nasn = 64512\n[[peer]]\ninterface = \"eth1\"\nasn = \"external\"\nimport = \"all\"\nexport = \"all\"\n";
    let params = params::speaker(&good(text));
    let session = &params.peers[0].session;
    assert_eq!((session.name.as_str(), session.by_interface, session.remote.to_string().as_str()), ("eth1", true, "interface eth1"));
    assert_eq!(session.identity(), session.remote);
    let bound = params::speaker(&good(&format!("{text}address = \"fe80::2\"\n")));
    assert!(!bound.peers[0].session.by_interface, "it has an address");
}

#[test]
fn a_long_life_is_configured_for_each_family() {
    let of = |more: &str| {
        let text = format!("[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n{more}");
        params::speaker(&good(&text)).peers[0].session.offer.long_lived
    };
    assert_eq!(of(""), [0, 0], "off unless somebody wants it (RFC 9494 §5)");
    assert_eq!(of("long_lived_ipv4 = \"6h\"\n"), [21_600, 0]);
    assert_eq!(of("long_lived_ipv6 = 30\n"), [0, 30]);
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
        config.sessions.into_iter().map(|s| (s.name, s.kind, s.options.rr_client, s.options.export)).collect::<Vec<_>>()
    };
    let rr = |name: &str, export| (name.to_owned(), PeerKind::Rr, false, export);
    let client = |name: &str| (name.to_owned(), PeerKind::RrClient, true, ChainRef::All);
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
            "6:1: external peer without address has no export policy: it is told nothing",
            "7:11: `10.0.0.300` is not an IPv4 or IPv6 address (names are not looked up; a link-local one with its interface: \"fe80::1%eth0\")",
            "9:13: `2s` is not a hold time: 0 (off) or 3 to 65535 whole seconds (RFC 4271 §4.2)",
            "10:10: no policy is called `al`",
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

/// The files that we ship.
const SHIPPED: [(&str, &str); 5] = [
    ("minimal.toml", include_str!("../../configs/minimal.toml")),
    ("full-mesh.toml", include_str!("../../configs/full-mesh.toml")),
    ("route-reflector.toml", include_str!("../../configs/route-reflector.toml")),
    ("tor-peering.toml", include_str!("../../configs/tor-peering.toml")),
    ("reference.toml", include_str!("../../configs/reference.toml")),
];
const REFERENCE: &str = SHIPPED[4].1;

#[test]
fn every_shipped_configuration_is_accepted_without_a_warning() {
    let here = Environment { hostname: Some("node-a".into()), read: &nothing, memory_limit: None };
    for (name, text) in SHIPPED {
        let checked = Config::parse(name, text, &here);
        assert!(checked.config.is_some() && checked.report.diagnostics().is_empty(), "{}", checked.report.render(false));
    }
}

/// Lines `#key = value` become settings.
fn with_examples() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_names_every_setting_that_the_code_knows() {
    let text = with_examples();
    let read = |_: &Path| Ok(SecretFile::from("a secret"));
    let checked = Config::parse("reference.toml", &text, &Environment { hostname: None, read: &read, memory_limit: None });
    // the examples exclude each other in one place, which is an error of its own, and the group `tor` is another file's
    let unknown: Vec<String> = checked.report.diagnostics().iter().map(|f| f.problem.to_string()).collect();
    assert!(!unknown.iter().any(|p| p.contains("unknown") || p.contains("expected") || p.contains("is not")), "{unknown:#?}");
    let document: toml::Table = toml::from_str(&text).expect("is TOML");
    // the settings of a session are told once, at [[peer]]
    let told_at_peer = |section: &str| section == "[cluster]" || section == "[[peer_group]]";
    for (section, key) in checked.report.settings() {
        let found = lookup(&document, section, key) || (told_at_peer(section) && lookup(&document, "[[peer]]", key));
        assert!(found, "reference.toml does not tell of `{key}` in {section}");
    }
    assert!(checked.report.settings().len() > 100, "the walk saw the sections: {}", checked.report.settings().len());
}

/// Whether `key` stands in the section of that title.
fn lookup(document: &toml::Table, title: &str, key: &str) -> bool {
    let path = title.trim_matches(['[', ']']);
    let mut at = vec![toml::Value::Table(document.clone())];
    if path != "the file" {
        for step in path.split('.') {
            let down = |value: &toml::Value| match (step, value) {
                ("NAME", toml::Value::Table(table)) => table.values().cloned().collect(),
                (_, toml::Value::Table(table)) => match table.get(step) {
                    Some(toml::Value::Array(items)) => items.clone(),
                    Some(other) => vec![other.clone()],
                    None => Vec::new(),
                },
                _ => Vec::new(),
            };
            at = at.iter().flat_map(down).collect();
        }
    }
    at.iter().any(|value| value.get(key).is_some())
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_code() {
    let bare = r#"
[node]
asn = 64512
[cluster]
nodes = [{ name = "node-a", addresses = ["10.0.0.1", "fd00::1"] }]
[[peer]]
address = "192.0.2.1"
asn = 65001
import = "all"
export = "own-blocks"
[[peer_group]]
name = "racks"
[prefix_set.services]
prefixes = ["10.96.0.0/12+", "10.0.0.0/8 ge 24 le 26"]
[policy.example]
rules = [{ then = "accept" }]
"#;
    let here = Environment { hostname: Some("node-a".into()), read: &nothing, memory_limit: None };
    let bare = Config::parse("bare", bare, &here).config.expect("bare is legal");
    let told = Config::parse("reference.toml", REFERENCE, &here).config.expect("the reference is legal");
    assert_eq!(bare, told);
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let text = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\npassword_file = \"/etc/secret\"\n";
    let read = |path: &Path| if path == Path::new("/etc/secret") { Ok(SecretFile::from("hunter2\n")) } else { Err("no".to_owned()) };
    let checked = Config::parse("x", text, &Environment { hostname: None, read: &read, memory_limit: None });
    let config = checked.config.expect("legal");
    assert_eq!(config.sessions[0].options.password.as_ref().and_then(|p| p.secret.as_deref().ok()), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_external_peer_without_policy_is_said_loudly() {
    let text = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 65001\nimport = \"all\"\n";
    let checked = parse(text);
    assert_eq!(checked.config.map(|c| c.sessions[0].options.export.clone()), Some(ChainRef::Missing));
    assert_eq!(findings(text), ["3:1: external peer 10.0.0.2 has no export policy: it is told nothing"]);
}

#[test]
fn references_and_duplicates_are_errors() {
    let text = r#"[node]
asn = 64512
addresses = ["10.0.0.1"]
[[peer]]
address = "10.0.0.2"
asn = 64512
group = "tro"
import = ["all", "nobody"]
[[peer]]
address = "10.0.0.2"
asn = 64512
[[peer]]
address = "10.0.0.1"
asn = 64512
[[peer_group]]
name = "tor"
"#;
    assert_eq!(
        findings(text),
        [
            "7:9: no [[peer_group]] is called `tro`",
            "8:11: `all` stands alone, not in a list with other policies",
            "8:18: no policy is called `nobody`",
            "10:11: peer `10.0.0.2` is there twice",
            "13:11: 10.0.0.1 is this node's own address",
        ]
    );
    let mesh_too = format!("{MESH}\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\n");
    assert_eq!(findings(&mesh_too), ["15:11: peer `10.0.0.2` is there twice"]);
}

#[test]
fn broken_toml_is_told_with_everything_else() {
    let text = "[node]\nasn = 64512\nname = \n[fib]\ntabel = 1\n";
    let told = findings(text);
    assert!(told.iter().any(|f| f.contains("not TOML")), "{told:?}");
    assert!(told.iter().any(|f| f == "5:1: unknown setting `tabel` in [fib]"), "{told:?}");
}

#[test]
fn equal_meanings_make_no_change_however_they_are_typed() {
    let other = MESH.replace("[cluster]", "# a comment\n[log]\nlevel = \"info\"\n[cluster]\nhold_time = 90");
    assert_eq!(plan(&good(MESH), &good(&other)), []);
}

#[test]
fn a_reload_names_each_change_its_cost_and_whom_it_touches() {
    use Grade::{Live, Refresh, Restart};
    let before = good(&format!(
        "{MESH}\n[pods]\nblocks = [\"10.1.0.0/26\"]\n[[peer]]\nname = \"tor\"\naddress = \"10.9.9.9\"\nasn = 65001\nimport = \"all\"\nexport = \"p\"\n[policy.p]\ndefault = \"accept\"\n"
    ));
    let after = MESH.replace("  { name = \"c\", addresses = [\"fd00::3\"] },\n", "").replace("[cluster]", "[cluster]\nhold_time = 30");
    let after = good(&format!(
        "{after}\n[pods]\nblocks = [\"10.2.0.0/26\"]\n[[peer]]\nname = \"tor\"\naddress = \"10.9.9.9\"\nasn = 65001\nimport = \"none\"\nexport = \"p\"\n[policy.p]\ndefault = \"reject\"\n"
    ));
    let told: Vec<(Grade, String, String)> = plan(&before, &after).into_iter().map(|c| (c.grade, c.what, c.sessions.join(" "))).collect();
    let change = |cost, what: &str, who: &str| (cost, what.to_owned(), who.to_owned());
    assert_eq!(
        told,
        [
            change(Restart, "c: session with fd00::3 ends", "c"),
            change(Refresh, "tor: import all -> none", "tor"),
            change(Refresh, "tor: policy p changes", "tor"),
            change(Live, "block 10.1.0.0/26 is withdrawn", ""),
            change(Live, "block 10.2.0.0/26 is announced", ""),
            change(Live, "b: hold_time, from the next session on, 90s -> 30s", ""),
        ]
    );
}

#[test]
fn a_new_password_is_a_change_that_is_not_shown() {
    let text = "[node]\nasn = 64512\n[[peer]]\naddress = \"10.0.0.2\"\nasn = 64512\npassword_file = \"/etc/secret\"\n";
    let with = |secret: &str| {
        let read = |_: &Path| Ok(SecretFile::from(secret));
        Config::parse("x", text, &Environment { hostname: None, read: &read, memory_limit: None }).config.expect("legal")
    };
    let changes = plan(&with("hunter2"), &with("hunter3"));
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["restart 10.0.0.2: the password changes"]);
}

#[test]
fn the_configurations_of_the_kubernetes_manifests_are_legal() {
    let manifests = [
        ("nodes", include_str!("../../configs/kubernetes/nodes/catbird.toml")),
        ("nodes", include_str!("../../configs/kubernetes/nodes-cni/catbird.toml")),
        ("nodes", include_str!("../../configs/kubernetes/nodes-reflectors/catbird.toml")),
        ("cilium", include_str!("../../configs/kubernetes/cilium/catbird.toml")),
        ("cilium", include_str!("../../configs/kubernetes/cilium-reflectors/catbird.toml")),
        ("calico", include_str!("../../configs/kubernetes/calico/catbird.toml")),
    ];
    for (flavour, text) in manifests {
        let environment = Environment { hostname: Some("node-b".into()), read: &nothing, memory_limit: None };
        let checked = Config::parse("catbird.toml", text, &environment);
        assert!(checked.report.diagnostics().is_empty(), "{}", checked.report);
        let config = checked.config.expect("legal");
        let kubernetes = config.kubernetes.expect("the objects say the rest");
        assert_eq!((kubernetes.flavour.to_string().as_str(), kubernetes.state_file.is_some()), (flavour, true));
        assert_eq!(kubernetes.mode == Mode::RouteReflector, text.contains("reflectors ="));
    }
    #[cfg(feature = "daemon")]
    assert!(
        include_str!("../../configs/kubernetes/base/daemonset.yaml").contains(NODE_VARIABLE),
        "each node finds itself by this variable"
    );
}

#[test]
fn a_list_of_thousands_of_nodes_is_read_and_compared_at_once() {
    let node = |n: u32| format!("  {{ name = \"n{n}\", addresses = [\"{}\"] }},\n", std::net::Ipv4Addr::from(0x0A00_0000 + n));
    let list: String = (1..=5000).map(node).collect();
    let text = format!("[node]\nname = \"n1\"\nasn = 64512\n[cluster]\nnodes = [\n{list}]\n");
    let started = std::time::Instant::now();
    let (old, new) = (good(&text), good(&text.replace("[cluster]", "[cluster]\nhold_time = 30")));
    assert_eq!(old.sessions.len(), 4999);
    let changes = plan(&old, &new);
    assert_eq!(changes.len(), 1, "what is the same for all is said once");
    assert!(started.elapsed().as_secs() < 20, "{:?}: something is quadratic", started.elapsed());
}

mod forty;
mod mistakes;
mod schema;

mod mutated {
    use proptest::prelude::*;

    use super::*;

    /// A shipped file with some octets replaced, lines doubled, or a piece cut out.
    fn damaged() -> impl Strategy<Value = String> {
        let file = 0..SHIPPED.len();
        let hits = proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..4, "[ -~\n\"'\\[\\]{}=#é\u{0}]{0,4}"), 0..6);
        (file, hits).prop_map(|(file, hits)| {
            let mut text: Vec<char> = SHIPPED[file].1.chars().collect();
            for (at, kind, piece) in hits {
                let at = at.index(text.len().max(1)).min(text.len());
                match kind {
                    0 => {
                        text.splice(at..at, piece.chars());
                    }
                    1 => {
                        let end = (at + piece.chars().count() * 5).min(text.len());
                        text.drain(at..end);
                    }
                    2 => {
                        let end = (at + 80).min(text.len());
                        let copy: Vec<char> = text[at..end].to_vec();
                        text.extend(copy);
                    }
                    _ => {
                        let end = (at + 1).min(text.len());
                        text.splice(at..end, piece.chars());
                    }
                }
            }
            text.into_iter().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Whatever is typed, it is judged: no panic, a place within the file for each finding, and a picture of it.
        #[test]
        fn any_text_is_judged_and_shown(text in damaged()) {
            let checked = parse(&text);
            prop_assert_eq!(checked.config.is_none(), checked.report.errors() > 0);
            for finding in checked.report.diagnostics() {
                if let Some(span) = &finding.span {
                    prop_assert!(span.start <= span.end && span.end <= text.len(), "{finding:?}");
                }
            }
            let picture = checked.report.render(true);
            prop_assert_eq!(picture.is_empty(), checked.report.diagnostics().is_empty());
            if let Some(config) = &checked.config {
                let params = params::speaker(config);
                prop_assert_eq!(params.peers.len(), config.sessions.len());
                prop_assert!(plan(config, config).is_empty());
            }
        }
    }
}

const OVERLAY: &str = "[node]\nname = \"a\"\nasn = 64512\n[cluster]\nnodes = [{ name = \"a\", addresses = [\"10.0.0.1\", \"fd00::1\"] }, \
                       { name = \"b\", addresses = [\"10.0.1.2\"] }]\n[fib.overlay]\n";

#[test]
fn an_overlay_takes_its_nodes_from_the_cluster() {
    use crate::fib::overlay::{Kind, Mode};
    let of = |more: &str| good(&format!("{OVERLAY}{more}")).fib.overlay;
    let overlay = of("mode = \"cross-subnet\"");
    let nodes: Vec<String> = overlay.nodes.iter().map(ToString::to_string).collect();
    assert_eq!(nodes, ["10.0.0.1/32", "fd00::1/128", "10.0.1.2/32"]);
    assert_eq!((overlay.mode, overlay.kind, overlay.device.as_str()), (Mode::CrossSubnet, Kind::Vxlan, "catbird"));
    assert_eq!(of("mode = \"always\"\nkind = \"ipip\"").device, "tunl0");
    assert_eq!(of("mode = \"always\"\nnodes = [\"10.0.0.0/16\"]").nodes, ["10.0.0.0/16".parse().expect("a prefix")]);
    assert!(of("").nodes.is_empty(), "without a mode nothing of it matters");
}

#[test]
fn mistakes_in_the_overlay_are_told_with_what_would_be_right() {
    let said = |more: &str| findings(&format!("{OVERLAY}{more}")).join("\n");
    for (more, expected) in [
        ("mode = \"sometimes\"", "cross-subnet"),
        ("vni = 0", "VXLAN network identifier from 1 to 16777215"),
        ("vni = 16777216", "VXLAN network identifier from 1 to 16777215"),
        ("port = 0", "an integer from 1 to 65535"),
        ("mtu = 100", "an MTU from 576 to 65465"),
        ("device = \"a-name-that-is-too-long\"", "at most 15 characters"),
        ("addresses = [\"10.1.0.1\", \"10.1.0.2\"]", "one address of each family at most"),
        ("kind = \"ipip\"\nvni = 7", "this is a setting of VXLAN"),
    ] {
        let report = parse(&format!("{OVERLAY}{more}")).report.render(false);
        assert!(report.contains(expected), "{more}: {report}");
        assert_eq!(said(more).lines().count(), 1, "{more}");
    }
    let alone = "[node]\nasn = 64512\nrouter_id = \"10.0.0.1\"\n[fib.overlay]\nmode = \"always\"";
    let told = findings(alone).join("\n");
    assert!(told.contains("`addresses`") && told.contains("`nodes`"), "{told}");
}

#[test]
fn rules_of_redistribution_say_what_a_route_must_be() {
    use crate::policy::LocalKind;
    let learn = |more: &str| format!("[node]\nasn = 64512\n[fib]\nignore_interfaces = [\"kube-*\"]\n[[redistribute]]\n{more}");
    let config = good(&learn("prefixes = [\"10.244.0.0/16 ge 32\"]\nprotocols = [\"boot\", 80]\ninterfaces = [\"cali*\"]\nkind = \"pod\""));
    let rule = &config.redistribution.rules[0];
    assert_eq!((rule.protocols.as_slice(), rule.kind, rule.shape), (&[3, 80][..], LocalKind::Pod, None));
    assert!(rule.prefixes.contains(&"10.244.7.1/32".parse().expect("a prefix")) && rule.interfaces[0].matches("cali12"));
    assert!(config.redistribution.ignore[0].matches("kube-ipvs0"));
    assert!(findings(&learn("interfaces = [\"x\"]")).join("").contains("`prefixes`"));
    let own = parse(&learn("prefixes = [\"10.0.0.0/8+\"]\nprotocols = [\"bgp\"]")).report.render(false);
    assert!(own.contains("protocol 186 is that of the routes that catbird writes"), "{own}");
    let kernels = parse("[node]\nasn = 64512\n[fib]\nprotocol = \"kernel\"").report.render(false);
    assert!(kernels.contains("from 5 to 255"), "{kernels}");
}

/// A release takes the names of the one before, and says what they are called now.
#[test]
fn the_names_of_the_former_release_are_taken_with_a_warning() {
    let rule = "prefixes = [\"10.244.0.0/16 ge 32\"]\n";
    let now = good(&format!("[node]\nasn = 64512\n[[redistribute]]\n{rule}kind = \"pod\"\n"));
    let checked = parse(&format!("[node]\nasn = 64512\n[[fib.learn]]\n{rule}kind = \"borrowed\"\n"));
    let lines: Vec<String> = checked.report.diagnostics().iter().map(|f| checked.report.line(f)).collect();
    assert_eq!(checked.config.map(|config| config.redistribution), Some(now.redistribution));
    assert_eq!((checked.report.errors(), lines.len()), (0, 2));
    assert!(lines[0].contains("`[[fib.learn]]` is called `[[redistribute]]` now"), "{lines:?}");
    assert!(lines[1].starts_with("test.toml:5:8: \"borrowed\" is called \"pod\" now"), "{lines:?}");
}
