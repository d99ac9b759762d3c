//! What happened, as data: a `Notice` for each thing worth a line in the log or in `catbird monitor`.
//!
//! In: facts from the core. Out: the same facts with a level, a sentence (`Display`) and JSON (`Serialize`). Where they go (log, monitor,
//! nowhere) is the shell's matter; how often they may be said is theirs who say them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::num::Family;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A state of the FSM was left for another (RFC 4271 §8.2.2).
    PeerState {
        peer: String,
        from: &'static str,
        to: &'static str,
    },
    PeerUp {
        peer: String,
        address: IpAddr,
        remote_as: u32,
        families: Vec<Family>,
        hold_seconds: u16,
    },
    /// `direction`: sent, received or local.
    PeerDown {
        peer: String,
        address: IpAddr,
        direction: &'static str,
        code: Option<u8>,
        subcode: Option<u8>,
        reason: String,
        keeps_routes: bool,
    },
    /// An attempt that led nowhere; said when the reason changes.
    PeerFailed {
        peer: String,
        reason: String,
    },
    /// RFC 7606: an attribute was dropped or its routes were taken as withdrawn. §6 wants the prefixes and the message in the log.
    Malformed {
        peer: String,
        action: &'static str,
        detail: String,
        /// What the UPDATE announced.
        prefixes: Vec<IpNet>,
        /// The whole message in hexadecimal digits, as `catbird decode` reads them.
        message: String,
    },
    /// RFC 4271 §6.3: prefixes that make no sense, of one UPDATE.
    NotUnicast {
        peer: String,
        prefixes: Vec<IpNet>,
    },
    EndOfRib {
        peer: String,
        family: Family,
    },
    MaxPrefix {
        peer: String,
        family: Family,
        count: u64,
        limit: u32,
        action: &'static str,
    },
    /// The tables hold more than they may, and this peer most beyond its share: its session is closed.
    OverBudget {
        peer: String,
        octets: u64,
        budget: u64,
    },
    /// RFC 8212: an external peer without policy.
    NoPolicy {
        peer: String,
        direction: &'static str,
    },
    /// A connection from an address that no peer or range has.
    Stranger {
        address: IpAddr,
    },
    FibFailed {
        net: IpNet,
        errno: i32,
        error: String,
    },
    /// Routes that others changed and we put back.
    FibRepaired {
        count: usize,
    },
    /// Another daemon's route stands on our prefix.
    FibForeign {
        net: IpNet,
        protocol: u8,
    },
    /// Others keep changing this route; it is put right more and more rarely.
    /// Another routing daemon's routes stand in our table at the start.
    FibOthers {
        protocol: u8,
        routes: usize,
    },
    FibContested {
        net: IpNet,
    },
    /// What an earlier run had left in the kernel and nobody announced again was removed.
    Recovered {
        adopted: usize,
        removed: usize,
        waited_seconds: f64,
    },
    Blocks {
        added: Vec<IpNet>,
        removed: Vec<IpNet>,
    },
    Route {
        net: IpNet,
        best: Option<String>,
        why: String,
    },
    Reloaded {
        changes: usize,
        sessions_touched: usize,
    },
    Draining {
        on: bool,
    },
    /// Everything is withdrawn and all sessions are closed.
    Drained,
    Stopping {
        keep_routes: bool,
    },
}

impl Notice {
    /// How much it matters to somebody who is woken by it.
    pub fn level(&self) -> Level {
        match self {
            Notice::PeerState { .. } | Notice::Route { .. } | Notice::EndOfRib { .. } => Level::Debug,
            Notice::PeerUp { .. } | Notice::Recovered { .. } | Notice::Blocks { .. } | Notice::Reloaded { .. } => Level::Info,
            Notice::Draining { .. } | Notice::Drained | Notice::Stopping { .. } | Notice::Stranger { .. } | Notice::FibRepaired { .. } => {
                Level::Info
            }
            Notice::PeerDown { .. } | Notice::PeerFailed { .. } | Notice::Malformed { .. } | Notice::FibForeign { .. } => Level::Warn,
            Notice::FibContested { .. } | Notice::FibOthers { .. } => Level::Warn,
            Notice::MaxPrefix { .. } | Notice::NoPolicy { .. } | Notice::NotUnicast { .. } => Level::Warn,
            Notice::FibFailed { .. } | Notice::OverBudget { .. } => Level::Error,
        }
    }

    /// The stream of `catbird monitor` it belongs to.
    pub fn stream(&self) -> &'static str {
        match self {
            Notice::PeerState { .. } | Notice::PeerUp { .. } | Notice::PeerDown { .. } | Notice::PeerFailed { .. } => "peers",
            Notice::Malformed { .. } | Notice::EndOfRib { .. } | Notice::MaxPrefix { .. } => "peers",
            Notice::OverBudget { .. } | Notice::NoPolicy { .. } | Notice::NotUnicast { .. } | Notice::Stranger { .. } => "peers",
            Notice::FibFailed { .. } | Notice::FibRepaired { .. } | Notice::FibForeign { .. } | Notice::Recovered { .. } => "fib",
            Notice::FibContested { .. } | Notice::FibOthers { .. } => "fib",
            Notice::Blocks { .. } | Notice::Route { .. } => "routes",
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
    let words = nets.iter().take(LISTED).map(IpNet::to_string).collect::<Vec<_>>().join(" ");
    match nets.len().saturating_sub(LISTED) {
        0 => words,
        more => format!("{words} and {more} more"),
    }
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
                let kept = if *keeps_routes { "; its routes are kept (graceful restart)" } else { "" };
                write!(f, "{peer}: down with {address}, {direction}: {reason}{kept}")
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
            Notice::NoPolicy { peer, direction } => write!(f, "{peer}: external peer without {direction} policy (RFC 8212)"),
            Notice::Stranger { address } => write!(f, "connection from {address}, which is no peer of ours: closed"),
            Notice::FibFailed { net, errno, error } => write!(f, "kernel refused {net}: {error} (errno {errno})"),
            Notice::FibRepaired { count } => write!(f, "{count} routes had been changed behind our back: put back"),
            Notice::FibForeign { net, protocol } => write!(f, "{net}: a route of protocol {protocol} stands in the kernel"),
            Notice::FibContested { net } => write!(f, "{net}: others keep changing this route; it is put right four times a second"),
            Notice::FibOthers { protocol, routes } => {
                let name = match protocol {
                    11 => "\"zebra\"".to_owned(),
                    12 => "\"bird\"".to_owned(),
                    other => other.to_string(),
                };
                write!(
                    f,
                    "{routes} routes of protocol {protocol} stand in our table and count as others'; if their daemon is gone for good, \
                     [fib] adopt = [{name}] takes them over"
                )
            }
            Notice::Recovered { adopted, removed, waited_seconds } => {
                write!(f, "recovered: {adopted} kernel routes adopted, {removed} not learned again and removed after {waited_seconds:.1} s")
            }
            Notice::Blocks { added, removed } => write!(f, "blocks: added [{}], removed [{}]", list(added), list(removed)),
            Notice::Route { net, best, why } => write!(f, "{net}: best {} ({why})", best.as_deref().unwrap_or("none")),
            Notice::Reloaded { changes, sessions_touched } => write!(f, "reloaded: {changes} changes, {sessions_touched} sessions touched"),
            Notice::OverBudget { peer, octets, budget } => {
                write!(
                    f,
                    "{peer}: makes us hold {octets} octets, most of all beyond its share of {budget} ([limits] memory): its session is closed"
                )
            }
            Notice::Drained => write!(f, "drained: everything is withdrawn, and all sessions are closed"),
            Notice::Draining { on: true } => write!(f, "draining: routes are being withdrawn"),
            Notice::Draining { on: false } => write!(f, "draining ended: routes are announced again"),
            Notice::Stopping { keep_routes } => write!(f, "stopping, kernel routes {}", if *keep_routes { "stay" } else { "go" }),
        }
    }
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
