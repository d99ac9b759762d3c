//! A containerlab file, as far as the runner goes, and what its schema misses.
//!
//! In: `topology.clab.yml`. Out: a [`Topology`] whose every word the runner obeys; an unknown word is an error and not a silence.
//! Leaves to others: the schema itself (`tests/meta/clab_lint.rs` holds the files against containerlab's own).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub name: String,
    pub topology: Topology,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// What holds for all nodes of a kind, unless the node says otherwise.
    #[serde(default)]
    pub kinds: BTreeMap<String, Shared>,
    pub nodes: BTreeMap<String, Node>,
    #[serde(default)]
    pub links: Vec<Link>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shared {
    pub network_mode: Option<String>,
    pub privileged: Option<bool>,
    #[serde(default)]
    pub cap_add: Vec<String>,
    #[serde(default)]
    pub sysctls: BTreeMap<String, Scalar>,
    #[serde(default)]
    pub env: BTreeMap<String, Scalar>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    pub kind: String,
    pub image: String,
    pub entrypoint: Option<String>,
    pub cmd: Option<String>,
    pub network_mode: Option<String>,
    pub privileged: Option<bool>,
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Of its processes, by name or number.
    pub user: Option<Scalar>,
    /// Of the machine that containerlab runs on; here nobody is served by them.
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub binds: Vec<String>,
    #[serde(default)]
    pub exec: Vec<String>,
    #[serde(default)]
    pub sysctls: BTreeMap<String, Scalar>,
    #[serde(default)]
    pub env: BTreeMap<String, Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub endpoints: Vec<String>,
}

/// YAML lets people write `1` and `"1"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl Scalar {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => truth.to_string(),
        }
    }
}

/// A bound file: where it lies, where the node shall see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
}

/// `node:interface`
pub fn endpoint(text: &str) -> Result<(&str, &str), String> {
    text.split_once(':').ok_or_else(|| format!("endpoint {text:?} is not node:interface"))
}

impl File {
    /// Reads a file and lints it.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let file = Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let faults = file.lint(path.parent().unwrap_or(Path::new(".")));
        if faults.is_empty() { Ok(file) } else { Err(faults.join("\n")) }
    }

    /// # Errors
    /// A word that the runner does not know, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_yaml_ng::from_str(text).map_err(|e| e.to_string())
    }

    /// What containerlab's schema lets pass and its deploy would stumble over.
    pub fn lint(&self, dir: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, node) in &self.topology.nodes {
            faults.extend(self.lint_node(name, node, dir));
        }
        let mut seen = BTreeSet::new();
        for link in &self.topology.links {
            if link.endpoints.len() != 2 {
                faults.push(format!("link {:?} has {} ends, not two", link.endpoints, link.endpoints.len()));
            }
            for end in &link.endpoints {
                faults.extend(self.lint_endpoint(end));
                if !seen.insert(end) {
                    faults.push(format!("{end} is the end of two links"));
                }
            }
        }
        faults
    }

    fn lint_node(&self, name: &str, node: &Node, dir: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        if node.kind != "linux" {
            faults.push(format!("{name}: kind {:?}; the runner knows linux alone", node.kind));
        }
        if self.network_mode(node) != Some("none") && node.ports.is_empty() {
            // Else containerlab gives the node an eth0 with a default route, which hides the one that is learned.
            faults.push(format!("{name}: network-mode is not \"none\", and it has no ports for people"));
        }
        if self.privileged(node) != Some(false) {
            // What containerlab does unless told otherwise, and many hosts refuse.
            faults.push(format!("{name}: privileged is not false"));
        }
        if name.len() > 15 {
            faults.push(format!("{name}: a name of more than 15 octets"));
        }
        for bind in &node.binds {
            match parse_bind(bind, dir) {
                Ok(bind) if !bind.source.exists() => faults.push(format!("{name}: {} does not exist", bind.source.display())),
                Ok(_) => {}
                Err(e) => faults.push(format!("{name}: {e}")),
            }
        }
        faults
    }

    fn lint_endpoint(&self, end: &str) -> Vec<String> {
        let (node, interface) = match endpoint(end) {
            Ok(pair) => pair,
            Err(e) => return vec![e],
        };
        let mut faults = Vec::new();
        if !self.topology.nodes.contains_key(node) {
            faults.push(format!("{end}: no node {node:?}"));
        }
        if interface == "eth0" {
            faults.push(format!("{end}: eth0 is containerlab's own"));
        }
        if interface.is_empty() || interface.len() > 15 {
            faults.push(format!("{end}: an interface name has 1 to 15 octets"));
        }
        faults
    }

    fn network_mode<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        node.network_mode.as_deref().or_else(|| self.topology.kinds.get(&node.kind)?.network_mode.as_deref())
    }

    fn privileged(&self, node: &Node) -> Option<bool> {
        node.privileged.or_else(|| self.topology.kinds.get(&node.kind)?.privileged)
    }

    /// The rights that a node's container is given: its own, or its kind's.
    pub fn rights<'a>(&'a self, node: &'a Node) -> &'a [String] {
        let shared = self.topology.kinds.get(&node.kind).map_or(&[][..], |kind| &kind.cap_add);
        if node.cap_add.is_empty() { shared } else { &node.cap_add }
    }

    /// The kernel settings of a node: its kind's, then its own.
    pub fn sysctls(&self, node: &Node) -> BTreeMap<String, String> {
        let shared = self.topology.kinds.get(&node.kind).map(|kind| kind.sysctls.clone()).unwrap_or_default();
        shared.into_iter().chain(node.sysctls.clone()).map(|(key, value)| (key, value.text())).collect()
    }

    /// The environment of a node's processes.
    pub fn env(&self, node: &Node) -> BTreeMap<String, String> {
        let shared = self.topology.kinds.get(&node.kind).map(|kind| kind.env.clone()).unwrap_or_default();
        shared.into_iter().chain(node.env.clone()).map(|(key, value)| (key, value.text())).collect()
    }
}

/// `source:target[:ro]`, the source relative to the topology file.
///
/// # Errors
/// Another shape.
pub fn parse_bind(text: &str, dir: &Path) -> Result<Bind, String> {
    let mut parts = text.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(target), None | Some("ro" | "rw"), None) if target.starts_with('/') => {
            Ok(Bind { source: dir.join(source), target: target.into() })
        }
        _ => Err(format!("bind {text:?} is not source:/target[:ro]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
name: x
topology:
  kinds: {linux: {network-mode: none, privileged: false, cap-add: [NET_ADMIN], sysctls: {net.ipv4.ip_forward: 1}}}
  nodes:
    a: {kind: linux, image: catbird}
    b: {kind: linux, image: catbird, sysctls: {net.ipv4.ip_forward: \"0\"}}
  links:
    - endpoints: [\"a:eth1\", \"b:eth1\"]
";

    fn faults(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        File::parse(&GOOD.replace(from, to)).unwrap().lint(Path::new("/nowhere")).join("\n")
    }

    #[test]
    fn a_good_file_has_no_faults_and_a_node_overrules_its_kind() {
        let file = File::parse(GOOD).unwrap();
        assert_eq!(file.lint(Path::new("/nowhere")), Vec::<String>::new());
        assert_eq!(file.sysctls(&file.topology.nodes["a"])["net.ipv4.ip_forward"], "1");
        assert_eq!(file.sysctls(&file.topology.nodes["b"])["net.ipv4.ip_forward"], "0");
    }

    #[test]
    fn what_the_schema_misses_is_found() {
        assert_eq!(faults("b:eth1", "c:eth1"), "c:eth1: no node \"c\"");
        assert_eq!(faults("b:eth1", "b:eth0"), "b:eth0: eth0 is containerlab's own");
        assert_eq!(faults(", \"b:eth1\"", ""), "link [\"a:eth1\"] has 1 ends, not two");
        assert_eq!(faults("b:eth1", "a:eth1"), "a:eth1 is the end of two links");
        assert_eq!(faults("b:eth1", "b:sixteen-octets-x"), "b:sixteen-octets-x: an interface name has 1 to 15 octets");
        assert_eq!(faults("image: catbird}", "image: catbird, binds: [\"no.toml:/x\"]}"), "a: /nowhere/no.toml does not exist");
        assert!(faults("network-mode: none, ", "").contains("a: network-mode is not \"none\""));
        assert!(faults("privileged: false, ", "").contains("a: privileged is not false"));
        assert!(faults("privileged: false", "privileged: true").contains("a: privileged is not false"));
    }

    #[test]
    fn a_word_that_the_runner_would_not_obey_is_an_error() {
        let why = File::parse(&GOOD.replace("image: catbird}", "image: catbird, startup-delay: 3}")).unwrap_err();
        assert!(why.contains("startup-delay"), "{why}");
    }
}
