//! What happened, as data: a `Notice` for each thing worth a line in the log or in `catbird monitor`.
//!
//! In: facts from the core. Out: the same facts with a level, a sentence (`Display`) and JSON (`Serialize`). Where they go (log, monitor,
//! nowhere) is the shell's matter; how often they may be said is theirs who say them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::Serialize;

use crate::num::Family;

/// How much it matters.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For somebody who looks for a fault.
    Debug,
    /// What an operator expects to happen.
    Info,
    /// Something is not as it should be, and the router goes on.
    Warn,
    /// Traffic may suffer; somebody should look.
    Error,
}

/// Something happened.
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A state of the FSM was left for another (RFC 4271 §8.2.2).
    PeerState {
        /// Its name.
        peer: String,
        /// Before, as RFC 4271 calls it.
        from: &'static str,
        /// Now.
        to: &'static str,
    },
    /// A session is established.
    PeerUp {
        /// Its name.
        peer: String,
        /// Its address.
        address: IpAddr,
        /// What its OPEN said.
        remote_as: u32,
        /// Negotiated.
        families: Vec<Family>,
        /// Negotiated.
        hold_seconds: u16,
    },
    /// `direction`: sent, received or local.
    PeerDown {
        /// Its name.
        peer: String,
        /// Its address.
        address: IpAddr,
        /// Who ended it.
        direction: &'static str,
        /// Of the NOTIFICATION, if there was one.
        code: Option<u8>,
        /// Likewise.
        subcode: Option<u8>,
        /// In words.
        reason: String,
        /// Some are kept as stale (RFC 4724 §4.2).
        keeps_routes: bool,
    },
    /// An attempt that led nowhere; said when the reason changes.
    PeerFailed {
        /// Its name.
        peer: String,
        /// In words.
        reason: String,
    },
    /// A BFD session changed its state (RFC 5880 §6.2).
    Bfd {
        /// Its name.
        peer: String,
        /// Before, as we saw it.
        from: &'static str,
        /// Now.
        to: &'static str,
        /// It was Up, and the path is taken for dead.
        lost: bool,
        /// Why, as we see it.
        diagnostic: String,
        /// As the peer last said.
        remote_state: &'static str,
        /// Why, as the peer sees it.
        remote_diagnostic: String,
    },
    /// RFC 7606: an attribute was dropped or its routes were taken as withdrawn. §6 wants the prefixes and the message in the log.
    Malformed {
        /// Its name.
        peer: String,
        /// What was done, in words.
        action: &'static str,
        /// Which attribute, and what is wrong with it.
        detail: String,
        /// What the UPDATE announced.
        #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
        prefixes: Vec<IpNet>,
        /// The whole message in hexadecimal digits, as `catbird decode` reads them.
        message: String,
    },
    /// RFC 4271 §6.3: prefixes that make no sense, of one UPDATE.
    NotUnicast {
        /// Its name.
        peer: String,
        /// All of them.
        #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
        prefixes: Vec<IpNet>,
    },
    /// The peer has announced everything of this family (RFC 4724 §2).
    EndOfRib {
        /// Its name.
        peer: String,
        /// Which.
        family: Family,
    },
    /// It announces more prefixes than it may.
    MaxPrefix {
        /// Its name.
        peer: String,
        /// Of which.
        family: Family,
        /// How many there are.
        count: u64,
        /// How many it may announce.
        limit: u32,
        /// What follows, in words.
        action: &'static str,
    },
    /// The tables hold more than they may, and this peer most beyond its share: its session is closed.
    OverBudget {
        /// Its name.
        peer: String,
        /// What it makes us hold.
        octets: u64,
        /// What all together may make us hold.
        budget: u64,
    },
    /// Two internal peers have one BGP identifier (RFC 4456 §8: neither hears of the other's routes from a reflector).
    SameIdentifier { peer: String, other: String, identifier: Ipv4Addr },
    /// RFC 8212: an external peer without policy.
    NoPolicy {
        /// Its name.
        peer: String,
        /// `import` or `export`.
        direction: &'static str,
    },
    /// A connection from an address that no peer or range has.
    Stranger {
        /// Where it came from.
        address: IpAddr,
    },
    /// The kernel refused a route; it is tried again.
    FibFailed {
        /// Its prefix.
        #[cfg_attr(feature = "daemon", schemars(with = "String"))]
        net: IpNet,
        /// The kernel's answer.
        errno: i32,
        /// The same in words.
        error: String,
    },
    /// Routes that others changed and we put back; `nets` names some of them.
    FibRepaired {
        /// Since the last such notice.
        count: usize,
        #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
        nets: Vec<IpNet>,
    },
    /// Another daemon's route stands on our prefix.
    FibForeign {
        /// Its prefix.
        #[cfg_attr(feature = "daemon", schemars(with = "String"))]
        net: IpNet,
        /// The kernel's number of who wrote it (`rt_protos`).
        protocol: u8,
    },
    /// Another routing daemon's routes stand in our table at the start.
    FibOthers {
        /// The kernel's number of that daemon.
        protocol: u8,
        /// How many.
        routes: usize,
    },
    /// Others keep changing this route; it is put right more and more rarely.
    FibContested {
        /// Its prefix.
        #[cfg_attr(feature = "daemon", schemars(with = "String"))]
        net: IpNet,
    },
    /// What an earlier run had left in the kernel and nobody announced again was removed.
    Recovered {
        /// Routes of the earlier run that were found.
        adopted: usize,
        /// Of these, those that went.
        removed: usize,
        /// Since the start.
        waited_seconds: f64,
    },
    /// What this node originates has changed.
    Blocks {
        /// From now on.
        #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
        added: Vec<IpNet>,
        /// No longer.
        #[cfg_attr(feature = "daemon", schemars(with = "Vec<String>"))]
        removed: Vec<IpNet>,
    },
    /// Another path is used for a prefix, or none any more. `best` and `was` name peers.
    Route {
        /// The prefix.
        #[cfg_attr(feature = "daemon", schemars(with = "String"))]
        net: IpNet,
        /// The peer that it is from; `None`: it is gone.
        best: Option<String>,
        /// Where the best one leads; `None` for our own.
        next_hop: Option<IpAddr>,
        /// Whose path was used before.
        was: Option<String>,
        /// The step that chose the best, or why the last one went.
        why: String,
    },
    /// Further prefixes whose use changed at the same time, and that are not told one by one.
    RoutesUntold { count: usize },
    /// An interface went down or away, over which established sessions run.
    LinkDown { link: String, peers: Vec<String> },
    /// A peer that is configured by its interface has another neighbour than before.
    Neighbour {
        /// Its name.
        peer: String,
        /// The link.
        interface: String,
        /// The neighbour.
        address: IpAddr,
        /// Who it was before.
        before: Option<IpAddr>,
    },
    /// A monitoring station is connected, or no longer; said once while nobody listens there.
    BmpStation {
        /// Its address and port.
        station: String,
        /// Why not.
        error: Option<String>,
    },
    /// An RPKI cache has said all that it has, for the first time since it was lost or took the place of another.
    RpkiSynchronised {
        /// Its address and port.
        cache: String,
        /// How many VRPs it has.
        vrps: usize,
    },
    /// An RPKI cache is lost, or not to be had; said once until it is synchronised again.
    RpkiLost {
        /// Its address and port.
        cache: String,
        /// Why.
        error: String,
    },
    /// What an RPKI cache said last is too old to be used, and no other one is there: every route is not-found.
    RpkiExpired {
        /// Its address and port.
        cache: String,
    },
    /// Other parameters hold.
    Reloaded {
        /// Differences to those before.
        changes: usize,
        /// Sessions that restart or are refreshed for it.
        sessions_touched: usize,
    },
    /// A drain began, or was ended before its time.
    Draining {
        /// It began.
        on: bool,
    },
    /// Everything is withdrawn, and stays so until `undrain`.
    Drained,
    /// The daemon ends.
    Stopping {
        /// Kernel routes stay for the next run.
        keep_routes: bool,
    },
}

impl Notice {
    /// How much it matters to somebody who is woken by it.
    pub fn level(&self) -> Level {
        match self {
            Notice::PeerState { .. } | Notice::Route { .. } | Notice::RoutesUntold { .. } | Notice::EndOfRib { .. } => Level::Debug,
            Notice::Bfd { lost: true, .. } => Level::Warn,
            Notice::Bfd { to: "init", .. } => Level::Debug,
            Notice::Bfd { .. } => Level::Info,
            Notice::Neighbour { .. } | Notice::BmpStation { error: None, .. } => Level::Info,
            Notice::BmpStation { .. } | Notice::RpkiLost { .. } => Level::Warn,
            Notice::RpkiSynchronised { .. } => Level::Info,
            Notice::RpkiExpired { .. } => Level::Error,
            Notice::PeerUp { .. } | Notice::Recovered { .. } | Notice::Blocks { .. } | Notice::Reloaded { .. } => Level::Info,
            Notice::Draining { .. } | Notice::Drained | Notice::Stopping { .. } | Notice::Stranger { .. } | Notice::FibRepaired { .. } => {
                Level::Info
            }
            Notice::PeerDown { .. } | Notice::PeerFailed { .. } | Notice::Malformed { .. } | Notice::FibForeign { .. } => Level::Warn,
            Notice::FibContested { .. } | Notice::FibOthers { .. } | Notice::LinkDown { .. } => Level::Warn,
            Notice::MaxPrefix { .. } | Notice::NoPolicy { .. } | Notice::NotUnicast { .. } | Notice::SameIdentifier { .. } => Level::Warn,
            Notice::FibFailed { .. } | Notice::OverBudget { .. } => Level::Error,
        }
    }

    /// The stream of `catbird monitor` it belongs to.
    pub fn stream(&self) -> &'static str {
        match self {
            Notice::PeerState { .. } | Notice::PeerUp { .. } | Notice::PeerDown { .. } | Notice::PeerFailed { .. } => "peers",
            Notice::Malformed { .. } | Notice::EndOfRib { .. } | Notice::MaxPrefix { .. } | Notice::SameIdentifier { .. } => "peers",
            Notice::OverBudget { .. } | Notice::NoPolicy { .. } | Notice::NotUnicast { .. } | Notice::Stranger { .. } => "peers",
            Notice::LinkDown { .. } | Notice::Bfd { .. } | Notice::Neighbour { .. } => "peers",
            Notice::FibFailed { .. } | Notice::FibRepaired { .. } | Notice::FibForeign { .. } | Notice::Recovered { .. } => "fib",
            Notice::FibContested { .. } | Notice::FibOthers { .. } => "fib",
            Notice::Blocks { .. } | Notice::Route { .. } | Notice::RoutesUntold { .. } => "routes",
            Notice::BmpStation { .. } => "daemon",
            Notice::RpkiSynchronised { .. } | Notice::RpkiLost { .. } | Notice::RpkiExpired { .. } => "daemon",
            Notice::Reloaded { .. } | Notice::Draining { .. } | Notice::Drained | Notice::Stopping { .. } => "daemon",
        }
    }
}

/// TCP segments that the kernel dropped for their TCP-MD5 signature (RFC 2385 §4.0), since its network namespace came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Md5Refused {
    /// Without a signature, where a key is set.
    pub missing: u64,
    /// Signed, where no key is set.
    pub unexpected: u64,
    /// Signed with another key.
    pub wrong: u64,
}

/// Prefixes in one line of the log at most.
const LISTED: usize = 16;

fn list(nets: &[IpNet]) -> String {
    some(nets.iter().map(IpNet::to_string), " ")
}

fn names(peers: &[String]) -> String {
    some(peers.iter().cloned(), ", ")
}

/// The first of them, and how many more there are.
fn some(all: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    let more = all.len().saturating_sub(LISTED);
    let words = all.take(LISTED).collect::<Vec<_>>().join(between);
    if more == 0 { words } else { format!("{words} and {more} more") }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::PeerState { peer, from, to } => write!(f, "{peer}: {from} -> {to}"),
            Notice::PeerUp { peer, address, remote_as, families, hold_seconds } => {
                let families: Vec<_> = families.iter().map(Family::to_string).collect();
                write!(f, "{peer}: up with {address} AS {remote_as}, {}, hold time {hold_seconds} s", families.join(" "))
            }
            Notice::PeerDown { peer, address, direction, reason, keeps_routes, .. } => {
                let kept = if *keeps_routes { "; its routes stay, as stale, until it is back or its restart time is over" } else { "" };
                write!(f, "{peer}: down with {address}, {direction}: {reason}{kept}")
            }
            Notice::Bfd { peer, from, to, lost, diagnostic, remote_state, remote_diagnostic } => {
                let dead = if *lost { ": the path is taken for dead" } else { "" };
                write!(f, "{peer}: BFD {from} -> {to}{dead}: {diagnostic}; the peer is {remote_state} and says: {remote_diagnostic}")
            }
            Notice::PeerFailed { peer, reason } => write!(f, "{peer}: not up: {reason}"),
            Notice::Malformed { peer, action, detail, prefixes, message } => {
                write!(f, "{peer}: malformed, {action}: {detail}; prefixes: {}; message: {message}", list(prefixes))
            }
            Notice::NotUnicast { peer, prefixes } => write!(f, "{peer}: refused what no unicast route leads to: {}", list(prefixes)),
            Notice::EndOfRib { peer, family } => write!(f, "{peer}: End-of-RIB for {family}"),
            Notice::MaxPrefix { peer, family, count, limit, action } => {
                write!(f, "{peer}: {count} prefixes of {family}, the limit is {limit}: {action}")
            }
            Notice::SameIdentifier { peer, other, identifier } => {
                write!(
                    f,
                    "{peer} and {other} have one BGP identifier, {identifier}: a reflector tells neither of the other's routes; are they \
                     copies of one machine? Give one another [node] router_id"
                )
            }
            Notice::NoPolicy { peer, direction } => write!(f, "{peer}: external peer without {direction} policy (RFC 8212)"),
            Notice::Stranger { address } => write!(f, "connection from {address}, which is no peer of ours: closed"),
            Notice::FibFailed { net, errno, error } => write!(f, "kernel refused {net}: {error} (errno {errno})"),
            Notice::FibRepaired { count, nets } => {
                write!(f, "put back what others had changed in the kernel, {count} times: {}", list(nets))
            }
            Notice::FibForeign { net, protocol } => write!(
                f,
                "{net}: a route of protocol {protocol} stands in the kernel before ours; `catbird why {net}` tells what packets do"
            ),
            Notice::FibContested { net } => write!(f, "{net}: others keep changing this route; it is put right four times a second"),
            Notice::FibOthers { protocol, routes } => others_stand_there(f, *protocol, *routes),
            Notice::Recovered { adopted, removed, waited_seconds } => {
                write!(f, "recovered: {adopted} kernel routes adopted, {removed} not learned again and removed after {waited_seconds:.1} s")
            }
            Notice::Blocks { added, removed } => write!(f, "blocks: added [{}], removed [{}]", list(added), list(removed)),
            Notice::Route { net, best: Some(best), next_hop, was, why } => {
                let via = next_hop.map_or_else(String::new, |addr| format!(" via {addr}"));
                let was = was.as_ref().filter(|was| *was != best).map_or_else(String::new, |was| format!(", before {was}"));
                write!(f, "{net}: best from {best}{via} ({why}){was}")
            }
            Notice::Route { net, best: None, was, why, .. } => {
                let was = was.as_ref().map_or_else(String::new, |was| format!(", last from {was}"));
                write!(f, "{net}: gone{was}: {why}")
            }
            Notice::RoutesUntold { count } => write!(f, "{count} more prefixes changed with these"),
            Notice::LinkDown { link, peers } => {
                write!(
                    f,
                    "{link} is down or gone, and with it the way to {}: sessions end by their hold timers if it stays so",
                    names(peers)
                )
            }
            Notice::Neighbour { peer, interface, address, before } => {
                let before = before.map_or_else(String::new, |before| format!(", where {before} was before"));
                write!(f, "{peer}: the neighbour on {interface} is {address}{before}")
            }
            Notice::BmpStation { station, error: None } => write!(f, "BMP station {station}: connected"),
            Notice::BmpStation { station, error: Some(error) } => write!(f, "BMP station {station}: not connected: {error}"),
            Notice::RpkiSynchronised { cache, vrps } => write!(f, "RPKI cache {cache}: synchronised, {vrps} VRPs"),
            Notice::RpkiLost { cache, error } => write!(f, "RPKI cache {cache}: not synchronised: {error}"),
            Notice::RpkiExpired { cache } => {
                write!(f, "what RPKI cache {cache} said has expired, and no other cache is synchronised: every route is not-found")
            }
            Notice::Reloaded { changes, sessions_touched } => write!(f, "reloaded: {changes} changes, {sessions_touched} sessions touched"),
            Notice::OverBudget { peer, octets, budget } => {
                write!(
                    f,
                    "{peer}: makes us hold {octets} octets, most of all beyond its share of {budget} ([limits] memory): its session is closed"
                )
            }
            Notice::Drained => write!(f, "drained: everything is withdrawn; it stays so until `catbird undrain`"),
            Notice::Draining { on: true } => write!(f, "draining: routes are being withdrawn"),
            Notice::Draining { on: false } => write!(f, "draining ended: routes are announced again"),
            Notice::Stopping { keep_routes } => write!(f, "stopping, kernel routes {}", if *keep_routes { "stay" } else { "go" }),
        }
    }
}

/// What stands in our table and is not ours, and how it could be.
fn others_stand_there(f: &mut fmt::Formatter<'_>, protocol: u8, routes: usize) -> fmt::Result {
    let name = match protocol {
        11 => "\"zebra\"".to_owned(),
        12 => "\"bird\"".to_owned(),
        other => other.to_string(),
    };
    write!(
        f,
        "{routes} routes of protocol {protocol} stand in our table and count as others'; if their daemon is gone for good, [fib] adopt = [{name}] \
         takes them over"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_blocks_is_one_short_line() {
        let blocks = |n: u8| (0..n).map(|i| IpNet::from(std::net::IpAddr::from([10, 0, 0, i]))).collect::<Vec<_>>();
        let few = Notice::Blocks { added: blocks(2), removed: vec![] };
        assert_eq!(few.to_string(), "blocks: added [10.0.0.0/32 10.0.0.1/32], removed []");
        let many = Notice::Blocks { added: vec![], removed: blocks(200) }.to_string();
        assert!(many.ends_with("10.0.0.15/32 and 184 more]") && !many.contains("10.0.0.16/"), "{many}");
    }
}
