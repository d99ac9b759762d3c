//! Calico's BGPFilter: rules for what passes the sessions of a BGPPeer, as they were typed. What they mean is for `calico` to say.

use serde::{Deserialize, Serialize};

use super::asn;
use crate::num::Asn;

/// Rules for what passes a session.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct BgpFilter {
    /// IPv4 routes that are learned.
    #[serde(rename = "importV4")]
    pub import_v4: Vec<FilterRule>,
    /// IPv4 routes that are announced.
    #[serde(rename = "exportV4")]
    pub export_v4: Vec<FilterRule>,
    /// IPv6 routes that are learned.
    #[serde(rename = "importV6")]
    pub import_v6: Vec<FilterRule>,
    /// IPv6 routes that are announced.
    #[serde(rename = "exportV6")]
    pub export_v6: Vec<FilterRule>,
}

/// Conditions and what follows; what is empty does not matter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FilterRule {
    /// Compared by `matchOperator`.
    pub cidr: String,
    /// `Equal`, `NotEqual`, `In` or `NotIn`.
    pub match_operator: String,
    /// With `In`: of these lengths.
    pub prefix_length: Option<Lengths>,
    /// `RemotePeers`: learned by BGP.
    pub source: String,
    /// The route leads over it.
    pub interface: String,
    /// `eBGP` or `iBGP`.
    pub peer_type: String,
    /// One of these is attached.
    pub communities: Option<CommunityValues>,
    /// AS_PATH begins with these.
    #[serde(rename = "asPathPrefix")]
    pub as_path_prefix: Vec<Number>,
    /// The route's metric.
    pub priority: Option<u32>,
    /// `Accept` or `Reject`.
    pub action: String,
    /// Changes to a route that is accepted.
    pub operations: Vec<Operation>,
}

/// Lengths of prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Lengths {
    /// The shortest; `None`: that of the prefix.
    pub min: Option<u8>,
    /// The longest; `None`: a single address.
    pub max: Option<u8>,
}

/// A list of communities.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CommunityValues {
    /// As text.
    pub values: Vec<String>,
}

/// An AS number in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Number(#[serde(deserialize_with = "asn")] pub Option<Asn>);

/// One change; one of the fields is set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// Attach a community.
    pub add_community: Option<CommunityValue>,
    /// Put ASes in front of AS_PATH.
    #[serde(rename = "prependASPath")]
    pub prepend_as_path: Option<PathPrefix>,
    /// Another metric.
    pub set_priority: Option<Priority>,
}

/// One community.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct CommunityValue {
    /// As text.
    pub value: String,
}

/// The new beginning of AS_PATH.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct PathPrefix {
    /// As it reads afterwards.
    pub prefix: Vec<Number>,
}

/// A metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Priority {
    /// RTA_PRIORITY.
    pub value: u32,
}
