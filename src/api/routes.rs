//! Answers about prefixes: `routes`, `why`, `fib`, `nexthops`, `blocks`.
//!
//! Units and forms are those of [`super`].

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The prefix.
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
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

/// The answer to `catbird why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The prefix that was asked for, without host bits.
    pub net: IpNet,
    /// What was asked for: `net` itself, or an address in it.
    pub asked: IpNet,
    /// Shorter prefixes in use that hold it, the longest first, and longer ones inside it: eight of each at most.
    pub covering: Vec<IpNet>,
    pub longer: Vec<IpNet>,
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
pub struct KernelAnswer {
    /// The address that it was asked about.
    pub address: IpAddr,
    /// The route that it chose; `None` if none leads there.
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
pub struct PathExplanation {
    /// The path, as in a list.
    #[serde(flatten)]
    pub route: RouteRow,
    pub fate: Fate,
    /// The step of the decision at which it won or lost (RFC 4271 §9.1.2.2), and what it compared: of this path, and of the best.
    pub step: Option<String>,
    pub value: Option<String>,
    pub best_value: Option<String>,
    /// The same in words.
    pub verdict: String,
    /// How the next hop was resolved, in words, and by which route.
    pub next_hop_via: Option<String>,
    pub next_hop_through: Option<IpNet>,
    /// Of a stale path: when it goes unless it is announced again.
    pub stale_seconds_left: Option<f64>,
}

/// Is it announced to this peer?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRow {
    /// Its name.
    pub peer: String,
    /// It is in the peer's Adj-RIB-Out.
    pub announced: bool,
    /// In words; of an announced route, what is left to do if anything.
    pub reason: String,
}

/// One kernel route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FibRow {
    /// The prefix.
    pub net: IpNet,
    /// wanted, installed, failed or foreign.
    pub state: String,
    /// As `ip route` would say it.
    pub wanted: Option<String>,
    /// What the kernel has, in the same form.
    pub installed: Option<String>,
    /// What the kernel answered last, if it refused.
    pub errno: Option<i32>,
    /// The same in words.
    pub error: Option<String>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NexthopRow {
    /// With `%ifname` if it is link-local.
    pub address: String,
    /// Some route of the kernel, or of ours, leads there.
    pub resolved: bool,
    /// As `ip route get` would say it, or why not.
    pub via: String,
    /// The interior cost that the decision compares (RFC 4271 §9.1.2.2 e).
    pub metric: Option<u32>,
    /// Attribute sets that name it.
    pub used_by: usize,
}

/// One block of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The prefix.
    pub net: IpNet,
    /// Where it comes from: config, file, command or kernel.
    pub source: String,
    /// False while the router drains, or starts.
    pub announced: bool,
}
