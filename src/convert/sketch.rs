//! What all three languages are read into: a configuration of catbird that is not yet text.
//!
//! In: peers, groups, blocks and programs for routes, from a dialect's reader. Out: the same with policies named and compiled, and without what
//! `catbird check` would refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::program::{Cond, Policy, Step, Stmt, Test, compile};
use super::value::Table;
use super::{Place, Report, Secret};
use crate::num::Nlri;

/// The whole of it.
#[derive(Debug, Default)]
pub struct Sketch {
    pub asn: Option<u32>,
    pub router_id: Option<Ipv4Addr>,
    pub node: Table,
    pub listen: Table,
    pub best_path: Table,
    pub fib: Table,
    pub graceful: Table,
    pub(crate) blocks: Vec<(IpNet, Place)>,
    pub redistribute: Vec<Table>,
    /// What stands in one of those two already.
    seen: BTreeSet<String>,
    pub groups: Vec<Group>,
    pub peers: Vec<Peer>,
    pub bfd: BTreeMap<String, Table>,
    pub policies: Vec<Policy>,
    pub secrets: Vec<Secret>,
}

/// A `[[peer]]`.
#[derive(Debug, Default)]
pub struct Peer {
    pub name: Option<String>,
    pub address: String,
    pub asn: Option<Remote>,
    pub group: Option<String>,
    pub settings: Table,
    pub(crate) place: Place,
}

/// A `[[peer_group]]`.
#[derive(Debug, Default)]
pub struct Group {
    pub name: String,
    pub asn: Option<Remote>,
    pub listen: Vec<IpNet>,
    pub listen_limit: Option<u32>,
    pub settings: Table,
}

/// Whose AS a peer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Asn(u32),
    External,
    Internal,
}

impl Remote {
    /// Is the session external, as far as can be seen?
    pub fn is_external(self, ours: Option<u32>) -> bool {
        match self {
            Remote::Asn(asn) => Some(asn) != ours,
            Remote::External => true,
            Remote::Internal => false,
        }
    }
}

/// What is let in or announced: what `import` and `export` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    All,
    None,
    Program(Vec<Stmt>),
}

impl Pass {
    /// As a program, for what must be put together.
    pub fn program(self) -> Vec<Stmt> {
        match self {
            Pass::All => vec![Stmt::End(Step::Accept)],
            Pass::None => vec![Stmt::End(Step::Reject)],
            Pass::Program(stmts) => stmts,
        }
    }
}

/// One rule for both families, of one for each; `None` is a family that the session does not carry.
pub fn both(v4: Option<Pass>, v6: Option<Pass>) -> Pass {
    match (v4, v6) {
        (Some(v4), Some(v6)) if v4 != v6 => Pass::Program(vec![Stmt::If(Cond::Test(Test::Ipv4(true)), v4.program(), v6.program())]),
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => Pass::None,
    }
}

impl Sketch {
    /// What `import` or `export` is to say; a program becomes a policy, of this name if it is free. Equal ones share it.
    pub(crate) fn chain(&mut self, name: &str, pass: &Pass, place: Place, report: &mut Report) -> String {
        let program = match pass {
            Pass::All => return "all".to_owned(),
            Pass::None => return "none".to_owned(),
            Pass::Program(program) => program,
        };
        let policy = match compile(program) {
            Ok(policy) => policy,
            Err(why) => {
                report.lost(place, name, format!("{why}: nothing passes until it is written by hand"));
                return "none".to_owned();
            }
        };
        match policy.plain() {
            Some(Step::Accept) => return "all".to_owned(),
            Some(_) => return "none".to_owned(),
            None => {}
        }
        if let Some(there) = self.policies.iter().find(|there| there.rules == policy.rules && there.default == policy.default) {
            return there.name.clone();
        }
        let taken = |name: &str| ["all", "none", "own-blocks"].contains(&name) || self.policies.iter().any(|there| there.name == name);
        let name = free_name(name, taken);
        self.policies.push(Policy { name: name.clone(), ..policy });
        name
    }

    /// Notes a secret, and answers the name of its file.
    pub fn secret(&mut self, peer: &str, kind: &str, secret: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.' { c } else { '_' };
        let stem: String = peer.chars().take(60).map(plain).collect();
        if let Some(there) = self.secrets.iter().find(|there| there.secret == secret && there.file.ends_with(kind)) {
            return there.file.clone();
        }
        let name = free_name(&stem, |name| self.secrets.iter().any(|there| there.file == format!("{name}.{kind}")));
        let file = format!("{name}.{kind}");
        self.secrets.push(Secret { file: file.clone(), secret: secret.to_owned() });
        file
    }

    /// A prefix that is announced because it is configured.
    pub(crate) fn originate(&mut self, net: IpNet, place: Place) {
        let net = net.trunc();
        if self.seen.insert(net.to_string()) {
            self.blocks.push((net, place));
        }
    }

    /// Announce what another program has in the kernel.
    pub fn learn(&mut self, prefixes: Vec<String>, protocols: &[&str], kind: &'static str) {
        let key = format!("{kind} {protocols:?} {prefixes:?}");
        let mut rule = Table::default();
        rule.set("prefixes", prefixes);
        if !protocols.is_empty() {
            rule.set("protocols", protocols.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        }
        if kind != "network" {
            rule.set("kind", kind);
        }
        if self.seen.insert(key) {
            self.redistribute.push(rule);
        }
    }

    /// Without what would be refused: blocks that are none, peers that are there twice.
    pub(crate) fn finished(mut self, report: &mut Report) -> Sketch {
        self.blocks_that_may_be(report);
        self.peers_once(report);
        if self.asn.is_none() {
            report.lost(Place { file: 0, line: 1 }, "", "no AS number is said: [node] asn has to be filled in");
        }
        self
    }

    fn blocks_that_may_be(&mut self, report: &mut Report) {
        let peers: Vec<IpAddr> = self.peers.iter().filter_map(|peer| peer.address.parse().ok()).collect();
        for (net, place) in std::mem::take(&mut self.blocks) {
            let reason = if net.prefix_len() == 0 {
                "a default route"
            } else if !Nlri::new(net).is_unicast() {
                report.lost(place, &net.to_string(), "no unicast destination (RFC 4271 section 6.3)");
                continue;
            } else if peers.iter().any(|peer| net.contains(peer)) {
                "a prefix with a peer in it"
            } else {
                self.blocks.push((net, place));
                continue;
            };
            let cure =
                format!("{reason} is not originated as a block; it is announced while the kernel has a route of another program for it");
            report.lost(place, &net.to_string(), cure);
            self.learn(vec![net.to_string()], &[], "network");
        }
    }

    fn peers_once(&mut self, report: &mut Report) {
        let mut kept: Vec<Peer> = Vec::new();
        let mut names = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for mut peer in std::mem::take(&mut self.peers) {
            if !addresses.insert(peer.address.clone()) {
                report.lost(peer.place, &peer.address, "a second session with the same address: catbird has one for both families");
                continue;
            }
            let name = peer.name.clone().unwrap_or_else(|| peer.address.clone());
            if !names.insert(name) {
                peer.name = None;
            }
            kept.push(peer);
        }
        self.peers = kept;
    }
}

/// `name`, or `name-2`, and so on. Bounded by how many are taken.
pub fn free_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(name) {
        return name.to_owned();
    }
    (2_u32..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or_default()
}
