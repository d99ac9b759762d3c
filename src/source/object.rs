//! Objects of the API as far as they concern us: a few fields of each kind, everything else let through unread.
//!
//! In: one object as JSON. Out: an [`Object`] under its [`Key`], or a sentence about what cannot be read in it. Values stay as they were
//! typed (a CIDR is text here); what they mean, and what is wrong with them, is for the flavours to say.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::num::Asn;

/// The kinds that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Node,
    /// `projectcalico.org`, as `calicoctl` shows a node; the API server keeps it as annotations of the core's Node.
    CalicoNode,
    CiliumNode,
    BgpConfiguration,
    BgpPeer,
    BgpFilter,
    IpPool,
    BlockAffinity,
    Secret,
    Service,
    EndpointSlice,
    /// A file that Felix writes for a local workload; not of the API, and without a kind of its own.
    EndpointStatus,
}

/// Kind, API group and the name of each kind. Calico's groups are one: `crd.projectcalico.org` and `projectcalico.org` carry the same.
const KINDS: [(Kind, &str, &str); 11] = [
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
    (Kind::EndpointSlice, "discovery.k8s.io", "EndpointSlice"),
];

impl Kind {
    /// By `apiVersion` and `kind`; the version is not asked.
    pub fn of(api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let group = group.strip_prefix("crd.").unwrap_or(group);
        KINDS.iter().find(|(_, g, k)| *g == group && *k == kind).map(|(kind, _, _)| *kind)
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
    pub kind: Kind,
    /// Empty for what is the cluster's.
    pub namespace: String,
    pub name: String,
}

impl Key {
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
            Kind::EndpointSlice => as_typed(value, Object::EndpointSlice),
            Kind::EndpointStatus => as_typed(value, Object::EndpointStatus),
        }
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Meta {
    #[serde(deserialize_with = "words")]
    pub labels: Words,
    #[serde(deserialize_with = "words")]
    pub annotations: Words,
}

/// An object of which the specification is all that counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, bound = "T: Default + DeserializeOwned")]
pub struct Spec<T> {
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    pub addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(alias = "ip")]
    pub address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CiliumNode {
    pub metadata: Meta,
    pub spec: CiliumSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CiliumSpec {
    pub addresses: Vec<NodeAddress>,
    pub ipam: CiliumIpam,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CiliumIpam {
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

/// Calico's own view of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CalicoNode {
    pub metadata: Meta,
    pub spec: CalicoNodeSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CalicoNodeSpec {
    pub bgp: CalicoNodeBgp,
    pub wireguard: CalicoWireguard,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CalicoNodeBgp {
    pub ipv4_address: String,
    pub ipv6_address: String,
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    #[serde(rename = "routeReflectorClusterID")]
    pub cluster_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CalicoWireguard {
    #[serde(rename = "interfaceIPv4Address")]
    pub ipv4: String,
    #[serde(rename = "interfaceIPv6Address")]
    pub ipv6: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpConfiguration {
    pub log_severity_screen: String,
    pub node_to_node_mesh_enabled: Option<bool>,
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    #[serde(rename = "serviceLoadBalancerIPs")]
    pub service_load_balancer_ips: Vec<Cidr>,
    #[serde(rename = "serviceExternalIPs")]
    pub service_external_ips: Vec<Cidr>,
    #[serde(rename = "serviceClusterIPs")]
    pub service_cluster_ips: Vec<Cidr>,
    pub service_load_balancer_aggregation: String,
    pub communities: Vec<NamedCommunity>,
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
    pub listen_port: Option<u16>,
    pub node_mesh_password: Option<PasswordRef>,
    #[serde(deserialize_with = "seconds")]
    pub node_mesh_max_restart_time: Option<u16>,
    pub bind_mode: String,
    pub ignored_interfaces: Vec<String>,
    pub program_cluster_routes: String,
    #[serde(rename = "ipv4NormalRoutePriority")]
    pub ipv4_priority: Option<u32>,
    #[serde(rename = "ipv6NormalRoutePriority")]
    pub ipv6_priority: Option<u32>,
}

/// `{cidr: 10.0.0.0/8}`; some are empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Cidr {
    pub cidr: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NamedCommunity {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PrefixAdvertisement {
    pub cidr: String,
    pub communities: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PasswordRef {
    pub secret_key_ref: Option<SecretKeyRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SecretKeyRef {
    pub name: String,
    pub key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BgpPeer {
    pub node: String,
    pub node_selector: String,
    #[serde(rename = "peerIP")]
    pub peer_ip: String,
    pub peer_selector: String,
    pub local_workload_selector: String,
    #[serde(deserialize_with = "asn")]
    pub as_number: Option<Asn>,
    #[serde(rename = "localASNumber", deserialize_with = "asn")]
    pub local_as_number: Option<Asn>,
    pub keep_original_next_hop: bool,
    pub next_hop_mode: String,
    pub password: Option<PasswordRef>,
    pub source_address: String,
    #[serde(deserialize_with = "seconds")]
    pub max_restart_time: Option<u16>,
    #[serde(deserialize_with = "seconds")]
    pub keepalive_time: Option<u16>,
    #[serde(rename = "numAllowedLocalASNumbers")]
    pub allowed_local_as: u8,
    pub ttl_security: Option<u8>,
    pub reachable_by: String,
    pub filters: Vec<String>,
    pub reverse_peering: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BgpFilter {
    #[serde(rename = "importV4")]
    pub import_v4: Vec<FilterRule>,
    #[serde(rename = "exportV4")]
    pub export_v4: Vec<FilterRule>,
    #[serde(rename = "importV6")]
    pub import_v6: Vec<FilterRule>,
    #[serde(rename = "exportV6")]
    pub export_v6: Vec<FilterRule>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterRule {
    pub cidr: String,
    pub match_operator: String,
    pub prefix_length: Option<Lengths>,
    pub source: String,
    pub interface: String,
    pub peer_type: String,
    pub communities: Option<CommunityValues>,
    #[serde(rename = "asPathPrefix")]
    pub as_path_prefix: Vec<Number>,
    pub priority: Option<u32>,
    pub action: String,
    pub operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Lengths {
    pub min: Option<u8>,
    pub max: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CommunityValues {
    pub values: Vec<String>,
}

/// An AS number in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Number(#[serde(deserialize_with = "asn")] pub Option<Asn>);

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    pub add_community: Option<CommunityValue>,
    #[serde(rename = "prependASPath")]
    pub prepend_as_path: Option<PathPrefix>,
    pub set_priority: Option<Priority>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct CommunityValue {
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PathPrefix {
    pub prefix: Vec<Number>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Priority {
    pub value: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IpPool {
    pub cidr: String,
    pub vxlan_mode: String,
    pub ipip_mode: String,
    pub disabled: bool,
    #[serde(rename = "disableBGPExport")]
    pub disable_bgp_export: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BlockAffinity {
    pub node: String,
    pub cidr: String,
    pub state: String,
    #[serde(rename = "type")]
    pub kind: String,
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

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Service {
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The API server's default is ClusterIP.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: String,
    pub external_traffic_policy: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    pub ip: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: String,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub node_name: String,
    pub conditions: Conditions,
}

/// `None` is yes for `ready` and `serving`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointStatus {
    pub ipv4_nets: Vec<String>,
    pub ipv6_nets: Vec<String>,
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
        assert_eq!(Kind::of("v1", "Pod"), None);
        assert_eq!(Kind::of("example.com/v1", "Service"), None);
    }
}
