//! Answers about prefixes: `routes`, `why`, `fib`, `nexthops`, `blocks`.
//!
//! Units and forms are those of [`super`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::{Asn, show_bits};

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct RouteRow {
    /// The prefix.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// RFC 7911; zero where ADD-PATH is not in use.
    pub path_id: u32,
    /// Name of the peer, or `local`.
    pub peer: String,
    /// `None` for our own routes.
    pub peer_address: Option<IpAddr>,
    /// The decision chose it.
    pub best: bool,
    /// It shares load with the best.
    pub multipath: bool,
    /// Kept over a restart of its peer and not announced again (RFC 4724 §4.2).
    pub stale: bool,
    /// Import let it in, and its next hop can be reached.
    #[serde(default)]
    pub usable: bool,
    /// Since it was last announced otherwise than before.
    #[serde(default)]
    pub age_seconds: Option<u32>,
    /// `None` for our own routes; with the link-local address in parentheses where a peer sent both (RFC 2545 §3).
    pub next_hop: Option<String>,
    /// IGP, EGP or incomplete (RFC 4271 §5.1.1).
    pub origin: String,
    /// Space-separated, sets in braces, confederation segments in parentheses or brackets (RFC 5065 §5).
    pub as_path: String,
    /// RFC 4271 §5.1.5.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// RFC 1997, as `asn:value` or by their registered names.
    pub communities: Vec<String>,
    /// RFC 8092, as `asn:value:value`.
    pub large_communities: Vec<String>,
    /// RFC 4360; unknown types in hexadecimal.
    pub extended_communities: Vec<String>,
    /// RFC 4456 §8.
    pub originator_id: Option<Ipv4Addr>,
    /// RFC 4456 §8, our own cluster first if we reflected it.
    pub cluster_list: Vec<Ipv4Addr>,
    /// ONLY_TO_CUSTOMER (RFC 9234 §5): the AS that said so.
    #[serde(default)]
    pub only_to_customer: Option<Asn>,
    /// What VRPs say of prefix and origin (RFC 6811): `valid`, `invalid` or `not-found`; absent for our own routes, and where no cache is configured.
    #[serde(default)]
    pub rpki: Option<String>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// The answer to `catbird why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The prefix that was asked for, without host bits.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// What was asked for: `net` itself, or an address in it.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub asked: IpNet,
    /// Shorter prefixes in use that hold it, the longest first, and longer ones inside it: eight of each at most.
    #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
    pub covering: Vec<IpNet>,
    #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
    pub longer: Vec<IpNet>,
    /// Whose word it is that it is ours: an object of the cluster, or the file and the line.
    #[serde(default)]
    pub from: Option<String>,
    /// If there is no path: who had it last and why it went, as far as that is remembered.
    #[serde(default)]
    pub departed: Option<DepartedRow>,
    /// Every path that anybody announced, the best first.
    pub paths: Vec<PathExplanation>,
    /// What we want in the kernel and what it answered.
    pub fib: Option<FibRow>,
    /// What the kernel does with a packet to it. `None` if it could not be asked.
    #[serde(default)]
    pub kernel: Option<KernelAnswer>,
    /// The rule that keeps the best path out of the kernel, if one does.
    #[serde(default)]
    pub not_written: Option<String>,
    /// For each established peer, whether it is announced to it, and why not.
    pub exports: Vec<ExportRow>,
}

/// The end of a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct DepartedRow {
    /// Name of the peer that had it last, or `local`.
    pub peer: String,
    /// In words: withdrawn, session down, refused and by what.
    pub why: String,
    /// How long ago.
    pub ago_seconds: u64,
}

/// How the kernel forwards (RTM_GETROUTE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct KernelAnswer {
    /// The address that it was asked about.
    pub address: IpAddr,
    /// The route that it chose; `None` if none leads there.
    #[cfg_attr(feature = "daemon", schemars(with = "Option<String>"))]
    pub net: Option<IpNet>,
    pub table: u32,
    pub metric: u32,
    /// Who wrote it, as `ip route` says: `kernel`, `static`, `bird`, or a number.
    pub protocol: String,
    /// It is one that we wrote.
    pub ours: bool,
    /// unicast, blackhole, unreachable, prohibit, local, or none.
    pub kind: String,
    /// As `ip route` would say it.
    pub route: String,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Best,
    /// Carries load together with the best.
    Shares,
    Lost,
    /// Its next hop cannot be reached.
    Ineligible,
    Refused,
}

/// One candidate and its fate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct PathExplanation {
    /// The path, as in a list.
    #[serde(flatten)]
    pub route: RouteRow,
    pub fate: Fate,
    /// The step of the decision at which it won or lost (RFC 4271 §9.1.2.2), and what it compared: of this path, and of the best.
    pub step: Option<String>,
    pub value: Option<String>,
    pub best_value: Option<String>,
    /// How the next hop was resolved; `None`: a refused path's is not looked up.
    pub resolution: Option<ResolutionRow>,
    /// What it promises in a link bandwidth community, in bits a second, if it shares the load and that counts (`[best_path] link_bandwidth`).
    pub link_bandwidth: Option<u64>,
    /// What all of them promise together, if they share the load in this proportion: each of them promises something.
    pub shared_bandwidth: Option<u64>,
    /// Of a stale path: when it goes unless it is announced again.
    pub stale_seconds_left: Option<f64>,
    /// Why it won or lost, for people: [`PathExplanation::verdict`].
    #[serde(default)]
    pub explanation: String,
}

impl PathExplanation {
    /// Why it won or lost, for people.
    pub fn verdict(&self) -> String {
        let step = self.step.as_deref().map_or("", step_text);
        match (self.fate, &self.value, &self.best_value) {
            (Fate::Best, Some(own), _) => format!("best: {step} ({own}){}", self.share()),
            (Fate::Best, None, _) => format!("best: {step}{}", self.share()),
            (Fate::Shares, ..) => format!("shares the load with the best{}", self.share()),
            (Fate::Lost, Some(own), Some(best)) => format!("lost: the best has: {step} ({best}; here {own})"),
            (Fate::Lost, ..) => format!("lost: the best has: {step}"),
            (Fate::Ineligible, ..) => "ineligible: its next hop cannot be reached".to_owned(),
            (Fate::Refused, ..) => refusal(self.route.refused.as_deref().unwrap_or("by nobody knows what")),
        }
    }
}

impl PathExplanation {
    /// How much of the load it carries, where it promises a bandwidth.
    fn share(&self) -> String {
        match (self.link_bandwidth, self.shared_bandwidth) {
            (Some(own), Some(all)) => format!("; its part by link bandwidth {} of {}", show_bits(own), show_bits(all)),
            (Some(own), None) => format!("; evenly, though it promises {}: not every path promises a link bandwidth", show_bits(own)),
            (None, _) => String::new(),
        }
    }
}

/// The steps of the decision (RFC 4271 §9.1.2.2, RFC 4456 §9) as JSON names them, and as people do.
pub const STEPS: [(&str, &str); 14] = [
    ("only", "only path"),
    ("local", "locally originated"),
    ("long_lived", "not long-lived stale"),
    ("local_pref", "higher LOCAL_PREF"),
    ("as_path_length", "shorter AS_PATH"),
    ("origin", "lower ORIGIN"),
    ("med", "lower MED"),
    ("external_over_internal", "external over internal"),
    ("next_hop_metric", "nearer next hop"),
    ("older_external", "older external path"),
    ("router_id", "lower router identifier"),
    ("cluster_list_length", "shorter CLUSTER_LIST"),
    ("peer_address", "lower peer address"),
    ("path_id", "lower path identifier"),
];

fn step_text(name: &str) -> &str {
    STEPS.iter().find(|(step, _)| *step == name).map_or(name, |(_, text)| text)
}

fn refusal(cause: &str) -> String {
    if cause.starts_with("refused") { cause.to_owned() } else { format!("refused: {cause}") }
}

/// A way that packets leave by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct HopRow {
    /// `None`: the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// Its name, or `#` and its number while the name is not known.
    pub interface: String,
    /// The gateway is taken to be on the link, whatever the link's subnets are.
    pub onlink: bool,
    /// Through a tunnel of the overlay.
    pub overlay: bool,
    /// Its share of the route's load beside the others', 1 to 256.
    pub weight: u16,
}

impl fmt::Display for HopRow {
    /// As `ip route` would say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(gateway) = self.gateway {
            write!(f, "via {gateway} ")?;
        }
        write!(f, "dev {}", self.interface)?;
        if self.onlink { f.write_str(" onlink") } else { Ok(()) }
    }
}

/// Where a next hop leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct ResolutionRow {
    /// Several where the kernel's route has several; none if it cannot be used.
    pub hops: Vec<HopRow>,
    /// The route that covers it, of the kernel or of ours.
    #[cfg_attr(feature = "daemon", schemars(with = "Option<String>"))]
    pub by: Option<IpNet>,
    /// Why it cannot be used: `no_route`, `only_default`, `own_address`, `discarded`, `link_down`, `no_interface`, `not_unicast`, `broadcast`,
    /// `circle` or `no_tunnel`.
    pub unusable: Option<String>,
    /// The same for people.
    pub explanation: Option<String>,
    /// Of `circle`: the next hops that lead to each other, in their order, the last one for the second time.
    #[serde(default)]
    pub circle: Vec<IpAddr>,
}

impl fmt::Display for ResolutionRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.explanation {
            return f.write_str(why);
        }
        for (at, hop) in self.hops.iter().enumerate() {
            let (comma, overlay) = (if at > 0 { ", " } else { "" }, if hop.overlay { " (overlay)" } else { "" });
            write!(f, "{comma}{hop}{overlay}")?;
        }
        Ok(())
    }
}

/// Is it announced to this peer?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct ExportRow {
    /// Its name.
    pub peer: String,
    /// It is in the peer's Adj-RIB-Out.
    pub announced: bool,
    /// Of an announced route `announced`, or `queued` as long as it waits to be written. Else why not: `no_route`, `no_session`, `its_own`,
    /// `originator`, `next_hop_is_peer`, `ibgp_to_ibgp`, `client_to_client`, `no_advertise`, `no_export`, `no_export_subconfed`, `no_policy`,
    /// `draining`, `policy`, `no_next_hop`, `family`, `too_long` or `no_room`.
    pub reason: String,
    /// The same for people, with the rule's name.
    pub explanation: String,
}

/// What stands, or is to stand, in the kernel for a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct FibEntry {
    /// `unicast` or `blackhole`.
    pub kind: String,
    /// Empty for a blackhole.
    pub hops: Vec<HopRow>,
    /// The kernel's; the lowest of a prefix's routes carries the packets.
    pub metric: u32,
    /// Preferred source address of packets of this node.
    pub source: Option<IpAddr>,
}

impl FibEntry {
    /// As `ip route` would print it.
    pub fn as_ip_route(&self, net: &IpNet) -> String {
        let mut text = match self.hops.as_slice() {
            [] => format!("{} {net}", self.kind),
            [one] => format!("{net} {one}"),
            some => {
                let even = some.iter().all(|hop| hop.weight == 1);
                let weight = |hop: &HopRow| if even { String::new() } else { format!(" weight {}", hop.weight) };
                some.iter().fold(net.to_string(), |text, hop| format!("{text} nexthop {hop}{}", weight(hop)))
            }
        };
        if self.metric != 0 {
            text.push_str(&format!(" metric {}", self.metric));
        }
        if let Some(source) = self.source {
            text.push_str(&format!(" src {source}"));
        }
        text
    }
}

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct FibRow {
    /// The prefix.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// wanted, installed, failed or foreign; of one prefix that was asked for, none: it has paths, and `error` says why no route.
    pub state: String,
    /// `None`: it is only to go.
    pub wanted: Option<FibEntry>,
    /// What the kernel has of ours.
    pub installed: Option<FibEntry>,
    /// What the kernel answered last, if it refused.
    pub errno: Option<i32>,
    /// The same in words.
    pub error: Option<String>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct NexthopRow {
    /// With `%ifname` if it is link-local.
    pub address: String,
    /// Some route of the kernel, or of ours, leads there.
    pub resolved: bool,
    #[serde(flatten)]
    pub resolution: ResolutionRow,
    /// The interior cost that the decision compares (RFC 4271 §9.1.2.2 e).
    pub metric: Option<u32>,
    /// Attribute sets that name it.
    pub used_by: usize,
}

/// One block of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BlockRow {
    /// The prefix.
    #[cfg_attr(feature = "daemon", schemars(with = "String"))]
    pub net: IpNet,
    /// Where it comes from: config, file, command or kernel.
    pub source: String,
    /// False while the router drains, or starts.
    pub announced: bool,
    /// Whose word it is: an object of the cluster, or the file and the line. `None` where no objects speak besides the file.
    #[serde(default)]
    pub from: Option<String>,
}
