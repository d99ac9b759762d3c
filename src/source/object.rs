//! Objects of the API as far as they concern us: a few fields of each kind, everything else let through unread.
//!
//! In: one object as JSON. Out: an [`Object`] under its [`Key`], or a sentence about what cannot be read in it. Values stay as they were
//! typed (a CIDR is text here); what they mean, and what is wrong with them, is for the flavours to say.

mod filter;
mod service;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

pub use filter::{BgpFilter, FilterRule, Number, Operation};
pub use service::{Endpoint, EndpointSlice, Service};

use crate::num::Asn;

/// The kinds that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Of the core API.
    Node,
    /// `projectcalico.org`, as `calicoctl` shows a node; the API server keeps it as annotations of the core's Node.
    CalicoNode,
    /// `cilium.io`: Cilium's view of a node, with its pod ranges.
    CiliumNode,
    /// `projectcalico.org`: settings of all nodes (`default`), or of one (`node.NAME`).
    BgpConfiguration,
    /// `projectcalico.org`: a neighbour of some nodes.
    BgpPeer,
    /// `projectcalico.org`: rules for a BGPPeer.
    BgpFilter,
    /// `projectcalico.org`: a range of pod addresses.
    IpPool,
    /// `projectcalico.org`: a block of a pool, and the node that has it.
    BlockAffinity,
    /// Of the core API: passwords.
    Secret,
    /// Of the core API: addresses to announce.
    Service,
    /// Of the core API: what runs on a node that leaves.
    Pod,
    /// `discovery.k8s.io`: on which nodes a service has pods.
    EndpointSlice,
    /// A file that Felix writes for a local workload; not of the API, and without a kind of its own.
    EndpointStatus,
}

/// Kind, API group and the name of each kind. Calico's groups are one: `crd.projectcalico.org` and `projectcalico.org` carry the same.
const KINDS: [(Kind, &str, &str); 12] = [
    (Kind::Node, "", "Node"),
    (Kind::CalicoNode, "projectcalico.org", "Node"),
    (Kind::CiliumNode, "cilium.io", "CiliumNode"),
    (Kind::BgpConfiguration, "projectcalico.org", "BGPConfiguration"),
    (Kind::BgpPeer, "projectcalico.org", "BGPPeer"),
    (Kind::BgpFilter, "projectcalico.org", "BGPFilter"),
    (Kind::IpPool, "projectcalico.org", "IPPool"),
    (Kind::BlockAffinity, "projectcalico.org", "BlockAffinity"),
    (Kind::Secret, "", "Secret"),
    (Kind::Service, "", "Service"),
    (Kind::Pod, "", "Pod"),
    (Kind::EndpointSlice, "discovery.k8s.io", "EndpointSlice"),
];

impl Kind {
    /// By `apiVersion` and `kind`; the version is not asked.
    pub fn of(api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let group = group.strip_prefix("crd.").unwrap_or(group);
        KINDS.iter().find(|(_, g, k)| *g == group && *k == kind).map(|(kind, _, _)| *kind)
    }

    /// `apiVersion` and `kind` as [`Kind::of`] knows them; the version is not asked.
    fn written(self) -> (String, &'static str) {
        let group = KINDS.iter().find(|(kind, _, _)| *kind == self).map_or("", |(_, group, _)| group);
        (if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") }, self.name())
    }

    fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or("endpoint status", |(_, _, name)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Empty for what is the cluster's.
    pub namespace: String,
    /// Unique among its kind and namespace.
    pub name: String,
}

impl Key {
    /// An empty namespace is none.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Key {
        Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One object, thin.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Node(Node),
    CalicoNode(CalicoNode),
    CiliumNode(CiliumNode),
    BgpConfiguration(Spec<BgpConfiguration>),
    BgpPeer(Spec<BgpPeer>),
    BgpFilter(Spec<BgpFilter>),
    IpPool(Spec<IpPool>),
    BlockAffinity(Spec<BlockAffinity>),
    Secret(Secret),
    Service(Service),
    Pod(Pod),
    EndpointSlice(EndpointSlice),
    EndpointStatus(EndpointStatus),
}

impl Object {
    /// Reads one object of this kind.
    ///
    /// # Errors
    /// What does not fit, in the parser's words.
    pub fn read(kind: Kind, mut value: Value) -> Result<Object, String> {
        fn as_typed<T: DeserializeOwned>(value: Value, wrap: impl Fn(T) -> Object) -> Result<Object, String> {
            serde_json::from_value(value).map(wrap).map_err(|error| error.to_string())
        }
        drop_nulls(&mut value);
        match kind {
            Kind::Node => as_typed(value, Object::Node),
            Kind::CalicoNode => as_typed(value, Object::CalicoNode),
            Kind::CiliumNode => as_typed(value, Object::CiliumNode),
            Kind::BgpConfiguration => as_typed(value, Object::BgpConfiguration),
            Kind::BgpPeer => as_typed(value, Object::BgpPeer),
            Kind::BgpFilter => as_typed(value, Object::BgpFilter),
            Kind::IpPool => as_typed(value, Object::IpPool),
            Kind::BlockAffinity => as_typed(value, Object::BlockAffinity),
            Kind::Secret => as_typed(value, Object::Secret),
            Kind::Service => as_typed(value, Object::Service),
            Kind::Pod => as_typed(value, Object::Pod),
            Kind::EndpointSlice => as_typed(value, Object::EndpointSlice),
            Kind::EndpointStatus => as_typed(value, Object::EndpointStatus),
        }
    }
}

impl Object {
    /// As [`Object::read`] reads it, with the name that it is known by; `None` for secrets, pods (of which one that is missing says something, so
    /// that they are asked for anew), and what is no object of the API.
    pub fn to_value(&self, key: &Key) -> Option<Value> {
        let value = match self {
            Object::Node(o) => serde_json::to_value(o),
            Object::CalicoNode(o) => serde_json::to_value(o),
            Object::CiliumNode(o) => serde_json::to_value(o),
            Object::BgpConfiguration(o) => serde_json::to_value(o),
            Object::BgpPeer(o) => serde_json::to_value(o),
            Object::BgpFilter(o) => serde_json::to_value(o),
            Object::IpPool(o) => serde_json::to_value(o),
            Object::BlockAffinity(o) => serde_json::to_value(o),
            Object::Service(o) => serde_json::to_value(o),
            Object::EndpointSlice(o) => serde_json::to_value(o),
            Object::Secret(_) | Object::Pod(_) | Object::EndpointStatus(_) => return None,
        };
        let mut value = value.ok()?;
        let (version, kind) = key.kind.written();
        let map = value.as_object_mut()?;
        map.insert("apiVersion".to_owned(), version.into());
        map.insert("kind".to_owned(), kind.into());
        let metadata = map.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new())).as_object_mut()?;
        metadata.insert("name".to_owned(), key.name.clone().into());
        metadata.insert("namespace".to_owned(), key.namespace.clone().into());
        Some(value)
    }
}

/// Where a field is null it is not set.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Labels and annotations. YAML makes of `rack: 1` a number, and of `edge: true` a truth; here they are text again.
pub type Words = BTreeMap<String, String>;

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Words, D::Error> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(BTreeMap::<String, Value>::deserialize(deserializer)?.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// What every object has.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Meta {
    /// For selectors.
    #[serde(deserialize_with = "words")]
    pub labels: Words,
    /// Calico keeps its part of a node here.
    #[serde(deserialize_with = "words")]
    pub annotations: Words,
}

/// An object of which the specification is all that counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, bound(deserialize = "T: Default + DeserializeOwned"))]
pub struct Spec<T> {
    /// What is wanted.
    pub spec: T,
}

/// An AS number: as a number, or as text (`"64512"`, `"1.10"`).
fn asn<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Asn>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => asn_text(text),
        _ => None,
    };
    number.map(|number| Some(Asn(number))).ok_or_else(|| D::Error::custom(format!("{value} is no AS number")))
}

/// `64512` or `1.10`.
pub(super) fn asn_text(text: &str) -> Option<u32> {
    match text.split_once('.') {
        None => text.parse().ok(),
        Some((high, low)) => Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?)),
    }
}

/// As Go writes a duration (`"2m30s"`), in whole seconds, rounded.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration_text(&text).map(Some).ok_or_else(|| D::Error::custom(format!("\"{text}\" is no time such as \"90s\", of 65535 s at most")))
}

/// As [`seconds`] reads them.
#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn as_seconds<S: Serializer>(seconds: &Option<u16>, serializer: S) -> Result<S::Ok, S::Error> {
    match seconds {
        Some(seconds) => serializer.collect_str(&format_args!("{seconds}s")),
        None => serializer.serialize_none(),
    }
}

fn duration_text(text: &str) -> Option<u16> {
    let (mut rest, mut sum) = (text, 0.0_f64);
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let scale = [("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)].iter().find(|(u, _)| *u == unit)?.1;
        sum += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    let whole = sum.round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and inside the range")]
    (!text.is_empty() && (0.0..=65_535.0).contains(&whole)).then_some(whole as u16)
}

/// The core's Node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

/// What is wanted of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Its range of pod addresses, where the cluster has one family.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    /// One of each family.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// It is cordoned: no new pod is put there.
    pub unschedulable: bool,
    /// What keeps pods away.
    pub taints: Vec<Taint>,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Taint {
    /// Its name.
    pub key: String,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Where it can be reached.
    pub addresses: Vec<NodeAddress>,
    /// Those that count ([`NodeCondition::counts`]); the API's others are not kept.
    #[serde(deserialize_with = "that_count")]
    pub conditions: Vec<NodeCondition>,
}

/// A state of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeCondition {
    /// `Ready`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In words.
    pub message: String,
}

impl NodeCondition {
    /// The kubelet ends its pods, since the machine shuts down.
    pub fn is_of_an_end(&self) -> bool {
        self.kind == "Ready" && self.message.contains("node is shutting down")
    }

    /// Somebody says that the node has no network.
    pub fn is_of_no_network(&self) -> bool {
        self.kind == "NetworkUnavailable" && self.status == "True"
    }

    /// It says something to us.
    pub fn counts(&self) -> bool {
        self.is_of_an_end() || self.is_of_no_network()
    }
}

impl Node {
    /// Somebody says so.
    pub fn lacks_network(&self) -> bool {
        self.status.conditions.iter().any(NodeCondition::is_of_no_network)
    }
}

/// A kubelet writes times into conditions every few minutes: only what says something is kept.
fn that_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeCondition>, D::Error> {
    let all = Vec::<NodeCondition>::deserialize(deserializer)?;
    let said = |condition: NodeCondition| match condition.is_of_an_end() {
        true => NodeCondition { message: "node is shutting down".to_owned(), ..condition },
        false => NodeCondition { message: String::new(), ..condition },
    };
    Ok(all.into_iter().filter(NodeCondition::counts).map(said).collect())
}

/// A pod, as far as it needs routes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Pod {
    /// What is wanted.
    pub spec: PodSpec,
    /// How far it is.
    pub status: PodStatus,
}

/// What is wanted of a pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// Where it runs.
    pub node_name: String,
    /// With the node's own addresses.
    pub host_network: bool,
}

/// How far a pod is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PodStatus {
    /// `Succeeded` and `Failed` are ends.
    pub phase: String,
}

/// One way to reach a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// An address, or a name.
    #[serde(alias = "ip")]
    pub address: String,
}

/// A node, as Cilium has it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CiliumNode {
    pub metadata: Meta,
    pub spec: CiliumSpec,
}

/// What Cilium wants of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CiliumSpec {
    /// Where it can be reached.
    pub addresses: Vec<NodeAddress>,
    /// What it has pod addresses of.
    pub ipam: CiliumIpam,
}

/// Pod addresses of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CiliumIpam {
    /// Its ranges, as text.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

/// Calico's own view of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CalicoNode {
    pub metadata: Meta,
    pub spec: CalicoNodeSpec,
}

/// What Calico wants of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CalicoNodeSpec {
    /// How it takes part in BGP.
    pub bgp: CalicoNodeBgp,
    /// Its tunnel's addresses.
    pub wireguard: CalicoWireguard,
}

/// A node in BGP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CalicoNodeBgp {
    /// With the length of its subnet (`10.0.0.1/24`).
    pub ipv4_address: String,
    /// Likewise.
    pub ipv6_address: String,
    /// Its own; `None`: that of the cluster.
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    /// It is a route reflector; empty: it is none.
    #[serde(rename = "routeReflectorClusterID")]
    pub cluster_id: String,
}

/// Addresses of a node's wireguard interfaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CalicoWireguard {
    /// Empty: none.
    #[serde(rename = "interfaceIPv4Address")]
    pub ipv4: String,
    /// Empty: none.
    #[serde(rename = "interfaceIPv6Address")]
    pub ipv6: String,
}

/// How BGP is done: on all nodes, or on one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpConfiguration {
    /// `Debug`, `Info`, ...
    pub log_severity_screen: String,
    /// `None`: it is.
    pub node_to_node_mesh_enabled: Option<bool>,
    /// Of nodes that name none; `None`: 64512.
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    /// Ranges of load balancers' addresses that are announced.
    #[serde(rename = "serviceLoadBalancerIPs")]
    pub service_load_balancer_ips: Vec<Cidr>,
    /// Ranges of external addresses that are announced.
    #[serde(rename = "serviceExternalIPs")]
    pub service_external_ips: Vec<Cidr>,
    /// Ranges of cluster addresses that are announced.
    #[serde(rename = "serviceClusterIPs")]
    pub service_cluster_ips: Vec<Cidr>,
    /// `Enabled` or `Disabled`: whether whole ranges are announced.
    pub service_load_balancer_aggregation: String,
    /// Names that others use.
    pub communities: Vec<NamedCommunity>,
    /// What routes of a prefix carry.
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
    /// `None`: 179.
    pub listen_port: Option<u16>,
    /// Of sessions between nodes.
    pub node_mesh_password: Option<PasswordRef>,
    /// Graceful restart of sessions between nodes, in seconds.
    #[serde(deserialize_with = "seconds", serialize_with = "as_seconds")]
    pub node_mesh_max_restart_time: Option<u16>,
    /// `NodeIP`: listen on the node's own address alone.
    pub bind_mode: String,
    /// Nothing is learned of these.
    pub ignored_interfaces: Vec<String>,
    /// Who writes routes to pods into the kernel.
    pub program_cluster_routes: String,
    /// Metric of IPv4 routes.
    #[serde(rename = "ipv4NormalRoutePriority")]
    pub ipv4_priority: Option<u32>,
    /// Metric of IPv6 routes.
    #[serde(rename = "ipv6NormalRoutePriority")]
    pub ipv6_priority: Option<u32>,
}

/// `{cidr: 10.0.0.0/8}`; some are empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Cidr {
    /// A prefix, or empty.
    pub cidr: String,
}

/// A community under a name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct NamedCommunity {
    /// For `prefixAdvertisements`.
    pub name: String,
    /// `asn:value`, or large.
    pub value: String,
}

/// Communities of what is announced.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PrefixAdvertisement {
    /// Inside this prefix.
    pub cidr: String,
    /// Values, or names.
    pub communities: Vec<String>,
}

/// Where a password stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PasswordRef {
    /// In a Secret.
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct SecretKeyRef {
    /// Of the Secret, in the namespace that passwords are in.
    pub name: String,
    /// Under which it stands.
    pub key: String,
}

/// A neighbour, and for which nodes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpPeer {
    /// This one alone; empty: see `nodeSelector`.
    pub node: String,
    /// Nodes with such labels; empty with `node` empty: all.
    pub node_selector: String,
    /// Its address, with its port if that is not 179.
    #[serde(rename = "peerIP")]
    pub peer_ip: String,
    /// Instead of an address: nodes with such labels.
    pub peer_selector: String,
    /// Instead of an address: pods of the node with such labels.
    pub local_workload_selector: String,
    /// Its AS; with a selector, that of each node.
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    /// Ours, as it sees it.
    #[serde(rename = "localASNumber", deserialize_with = "asn")]
    pub local_as_number: Option<Asn>,
    /// The former way to say `nextHopMode: Keep`.
    pub keep_original_next_hop: bool,
    /// `Auto`, `Self` or `Keep`.
    pub next_hop_mode: String,
    /// `None`: unsigned.
    pub password: Option<PasswordRef>,
    /// `None`: the kernel chooses our end; else it is the node's address.
    pub source_address: String,
    /// Graceful restart, in seconds.
    #[serde(deserialize_with = "seconds", serialize_with = "as_seconds")]
    pub max_restart_time: Option<u16>,
    /// Seconds between KEEPALIVEs.
    #[serde(deserialize_with = "seconds", serialize_with = "as_seconds")]
    pub keepalive_time: Option<u16>,
    /// How often our AS may stand in AS_PATH of what is let in.
    #[serde(rename = "numAllowedLocalASNumbers")]
    pub allowed_local_as: u8,
    /// Hops (RFC 5082); `None`: off.
    pub ttl_security: Option<u8>,
    /// A gateway to it, for which a kernel route is needed.
    pub reachable_by: String,
    /// Names of BGPFilters, in order.
    pub filters: Vec<String>,
    /// `Manual`: the nodes at the other end get no session for it.
    pub reverse_peering: String,
}

/// A range of pod addresses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpPool {
    /// The range.
    pub cidr: String,
    /// `Never`, `Always` or `CrossSubnet`.
    pub vxlan_mode: String,
    /// `Never`, `Always` or `CrossSubnet`.
    pub ipip_mode: String,
    /// No new addresses are given out of it.
    pub disabled: bool,
    /// Its routes are not announced.
    #[serde(rename = "disableBGPExport")]
    pub disable_bgp_export: bool,
}

/// Which node has a block.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct BlockAffinity {
    /// Its name.
    pub node: String,
    /// The block.
    pub cidr: String,
    /// `confirmed`, `pending` or `pendingDeletion`.
    pub state: String,
    /// `host`, or what else has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// About to go.
    #[serde(deserialize_with = "truth")]
    pub deleted: bool,
}

/// `true`, or the text `"true"`.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_bool().unwrap_or_else(|| value.as_str() == Some("true")))
}

/// A secret; never shown.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Secret {
    /// In base 64.
    pub data: BTreeMap<String, String>,
    /// As typed, before the API server has seen it.
    pub string_data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys().chain(self.string_data.keys())).finish()
    }
}

/// A local workload, as Felix knows it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Its addresses.
    pub ipv4_nets: Vec<String>,
    /// Its addresses.
    pub ipv6_nets: Vec<String>,
    /// The BGPPeer that is meant for it.
    #[serde(alias = "bgpPeerName")]
    pub bgp_peer_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_go_s_and_whole() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1m30s", 90), ("1.5s", 2), ("1h0m0s", 3600), ("300ms", 0)] {
            assert_eq!(duration_text(text), Some(seconds), "{text}");
        }
        for text in ["", "90", "s", "1d", "-5s", "20h", "1e9s"] {
            assert_eq!(duration_text(text), None, "{text}");
        }
    }

    #[test]
    fn both_groups_of_calico_are_one_and_others_are_none_of_ours() {
        assert_eq!(Kind::of("crd.projectcalico.org/v1", "BGPPeer"), Some(Kind::BgpPeer));
        assert_eq!(Kind::of("projectcalico.org/v3", "BGPPeer"), Some(Kind::BgpPeer));
        assert_eq!(Kind::of("projectcalico.org/v3", "Node"), Some(Kind::CalicoNode));
        assert_eq!(Kind::of("v1", "Node"), Some(Kind::Node));
        assert_eq!(Kind::of("v1", "ConfigMap"), None);
        assert_eq!(Kind::of("example.com/v1", "Service"), None);
    }
}
