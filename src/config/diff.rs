//! What a reload would change, before it is applied: each change in words, graded, with the sessions that it touches.
//!
//! In: two configurations as meant. Out: a list of [`Change`]s, empty if they mean the same. Doing it is for those who own what changes.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::time::Duration;

use serde::Serialize;

use super::model::{ChainRef, Config, MaxPrefix, Session, Setup};
use super::values::{Time, ZonedAddr};
use crate::num::FamilySet;

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Taken over at once; no session notices.
    Live,
    /// Routes are judged or told again; the session stays.
    Refresh,
    /// The session closes and opens again, or goes for good.
    Restart,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Cost::Live => "live",
            Cost::Refresh => "refresh",
            Cost::Restart => "restart",
        })
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub cost: Cost,
    /// In words: what was and what is to be. Never a secret.
    pub what: String,
    /// Names of the sessions that are touched; empty for a live change.
    pub sessions: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8}{}", self.cost, self.what)?;
        match self.sessions.as_slice() {
            [] => Ok(()),
            [one] if self.what.contains(one.as_str()) => Ok(()),
            some if some.len() <= 6 => write!(f, " (touches {})", some.join(", ")),
            many => write!(f, " (touches {} sessions)", many.len()),
        }
    }
}

/// A value in words.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($ty:ty),*) => {$(impl Shown for $ty { fn shown(&self) -> String { self.to_string() } })*};
}
shown_by_display!(
    bool,
    u8,
    u16,
    u32,
    f64,
    String,
    crate::num::Asn,
    crate::num::RouterId,
    ChainRef,
    std::net::IpAddr,
    std::net::Ipv4Addr,
    std::net::Ipv6Addr,
    ZonedAddr,
    super::model::NextHopMode,
    super::model::AddPath,
    super::model::Mode,
    super::model::OnTerm
);

impl Shown for Duration {
    fn shown(&self) -> String {
        Time(*self).to_string()
    }
}

impl Shown for crate::num::HoldTime {
    fn shown(&self) -> String {
        format!("{}s", self.seconds())
    }
}

impl Shown for FamilySet {
    fn shown(&self) -> String {
        self.iter().map(|f| f.to_string()).collect::<Vec<_>>().join(" ")
    }
}

impl Shown for MaxPrefix {
    fn shown(&self) -> String {
        format!("ipv4 {} ipv6 {} ({})", self.ipv4.shown(), self.ipv6.shown(), self.action)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "unset".to_owned(), Shown::shown)
    }
}

/// Collects.
#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, cost: Cost, what: String, sessions: Vec<String>) {
        self.0.push(Change { cost, what, sessions });
    }

    /// A setting of a session.
    fn field<T: PartialEq + Shown>(&mut self, of: &str, name: &str, cost: Cost, old: &T, new: &T) {
        if old != new {
            let what = format!("{of}: {name} {} -> {}", old.shown(), new.shown());
            let sessions = if cost == Cost::Live { Vec::new() } else { vec![of.to_owned()] };
            self.add(cost, what, sessions);
        }
    }

    /// A setting of the whole node.
    fn global<T: PartialEq + Shown>(&mut self, name: &str, cost: Cost, old: &T, new: &T, sessions: &[String]) {
        if old != new {
            let touched = if cost == Cost::Live { Vec::new() } else { sessions.to_vec() };
            self.add(cost, format!("{name} {} -> {}", old.shown(), new.shown()), touched);
        }
    }

    /// A section of which only the fact matters.
    fn section<T: PartialEq + Debug>(&mut self, name: &str, old: &T, new: &T) {
        if old != new {
            self.add(Cost::Live, format!("[{name}] changes"), Vec::new());
        }
    }
}

/// Every difference, the costliest first.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Changes::default();
    node(old, new, &mut changes);
    sessions(old, new, &mut changes);
    ranges(old, new, &mut changes);
    policies(old, new, &mut changes);
    blocks(old, new, &mut changes);
    changes.section("listen", &old.listen, &new.listen);
    changes.section("best_path", &old.best_path, &new.best_path);
    fib(old, new, &mut changes);
    changes.section("ready", &old.ready, &new.ready);
    changes.section("metrics", &old.metrics, &new.metrics);
    changes.section("control", &old.control, &new.control);
    changes.section("log", &old.log, &new.log);
    let mut changes = changes.0;
    changes.sort_by_key(|change| std::cmp::Reverse(change.cost));
    changes
}

/// Sessions of the old configuration that are there in the new one too: what a change of the node touches.
fn kept(old: &Config, new: &Config) -> Vec<String> {
    let there = by_remote(new);
    old.sessions.iter().filter(|s| there.contains_key(&s.remote)).map(|s| s.name.clone()).collect()
}

/// A session is who it is with. (A cluster has thousands.)
fn by_remote(config: &Config) -> HashMap<&ZonedAddr, &Session> {
    config.sessions.iter().map(|session| (&session.remote, session)).collect()
}

fn node(old: &Config, new: &Config, changes: &mut Changes) {
    let (a, b) = (&old.node, &new.node);
    let all = kept(old, new);
    changes.global("node name", Cost::Live, &a.name, &b.name, &all);
    changes.global("asn", Cost::Restart, &a.asn, &b.asn, &all);
    changes.global("router_id", Cost::Restart, &a.router_id, &b.router_id, &all);
    changes.global("IPv4 address", Cost::Refresh, &a.ipv4, &b.ipv4, &all);
    changes.global("IPv6 address", Cost::Refresh, &a.ipv6, &b.ipv6, &all);
    changes.global("on_term", Cost::Live, &a.on_term, &b.on_term, &all);
    changes.global("drain_wait", Cost::Live, &a.drain_wait, &b.drain_wait, &all);
    changes.global("client_to_client", Cost::Refresh, &a.client_to_client, &b.client_to_client, &all);
    let id = |config: &Config| config.cluster.as_ref().and_then(|c| c.cluster_id).map(|id| id.0);
    changes.global("cluster_id", Cost::Refresh, &id(old), &id(new), &all);
    let mode = |config: &Config| config.cluster.as_ref().map(|c| c.mode);
    changes.global("cluster mode", Cost::Live, &mode(old), &mode(new), &all);
    if old.graceful != new.graceful {
        let offered = (old.graceful.enabled, old.graceful.restart_time) != (new.graceful.enabled, new.graceful.restart_time);
        let cost = if offered { Cost::Restart } else { Cost::Live };
        changes.add(cost, "[graceful_restart] changes".into(), if offered { all } else { Vec::new() });
    }
}

fn sessions(old: &Config, new: &Config, changes: &mut Changes) {
    let (before, after) = (by_remote(old), by_remote(new));
    for session in &old.sessions {
        match after.get(&session.remote) {
            Some(now) => session_changes(session, now, changes),
            None => {
                let name = &session.name;
                changes.add(Cost::Restart, format!("{name}: session with {} ends", session.remote), vec![name.clone()]);
            }
        }
    }
    for session in &new.sessions {
        if !before.contains_key(&session.remote) {
            changes.add(Cost::Live, format!("{}: new session with {}", session.name, session.remote), Vec::new());
        }
    }
}

fn session_changes(old: &Session, new: &Session, changes: &mut Changes) {
    let of = new.name.as_str();
    changes.field(of, "name", Cost::Live, &old.name, &new.name);
    if old.remote_asn != new.remote_asn {
        changes.add(Cost::Restart, format!("{of}: asn {} -> {}", old.remote_asn, new.remote_asn), vec![of.to_owned()]);
    }
    setup_changes(of, &old.setup, &new.setup, changes);
}

/// Which setting costs what.
fn setup_changes(of: &str, old: &Setup, new: &Setup, changes: &mut Changes) {
    use Cost::{Live, Refresh, Restart};
    macro_rules! compare {
        ($($cost:ident: $($field:ident)*;)*) => {$($(
            changes.field(of, stringify!($field), $cost, &old.$field, &new.$field);
        )*)*};
    }
    compare! {
        Live: description connect_retry delay_open open_timeout idle_hold idle_hold_max send_hold passive
            collide_established max_prefix;
        Refresh: import export rr_client next_hop add_path_limit allow_own_as enforce_first_as remove_private_as as_override;
        Restart: port local_asn ttl_security multihop source interface hold_time keepalive_time tcp_user_timeout families graceful_restart
            add_path extended_messages extended_next_hop;
    }
    if old.password != new.password {
        changes.add(Restart, format!("{of}: the password changes"), vec![of.to_owned()]);
    }
    match (old.enabled, new.enabled) {
        (false, true) => changes.add(Live, format!("{of}: enabled"), Vec::new()),
        (true, false) => changes.add(Restart, format!("{of}: disabled"), vec![of.to_owned()]),
        _ => {}
    }
}

fn ranges(old: &Config, new: &Config, changes: &mut Changes) {
    for range in &old.ranges {
        match new.ranges.iter().find(|n| n.name == range.name) {
            Some(now) if now == range => {}
            Some(now) => {
                let name = format!("group {}", range.name);
                let before = changes.0.len();
                setup_changes(&name, &range.setup, &now.setup, changes);
                if changes.0.len() == before {
                    changes.add(Cost::Live, format!("{name}: accepts from other prefixes or numbers of peers"), Vec::new());
                }
            }
            None => {
                let name = format!("group {}", range.name);
                changes.add(Cost::Restart, format!("{name}: accepts nobody any more"), vec![name]);
            }
        }
    }
    for range in &new.ranges {
        if !old.ranges.iter().any(|o| o.name == range.name) {
            changes.add(Cost::Live, format!("group {}: accepts new peers", range.name), Vec::new());
        }
    }
}

/// A policy that changed under its name touches those who use it.
fn policies(old: &Config, new: &Config, changes: &mut Changes) {
    for (name, policy) in &new.policies {
        if old.policies.get(name).is_none_or(|before| before == policy) {
            continue;
        }
        let uses = |chain: &ChainRef| matches!(chain, ChainRef::Policies(names) if names.contains(name));
        let users = new.sessions.iter().filter(|s| uses(&s.setup.import) || uses(&s.setup.export));
        changes.add(Cost::Refresh, format!("policy {name} changes"), users.map(|s| s.name.clone()).collect());
    }
}

/// The section and those below it apart.
fn fib(old: &Config, new: &Config, changes: &mut Changes) {
    let (a, b) = (&old.fib, &new.fib);
    changes.section("fib.overlay", &a.overlay, &b.overlay);
    let rest = |of: &crate::fib::Params| crate::fib::Params { overlay: Default::default(), ..of.clone() };
    changes.section("fib", &rest(a), &rest(b));
    changes.global("[fib] at the next start of the daemon: table", Cost::Live, &a.table, &b.table, &[]);
    changes.global("[fib] at the next start of the daemon: protocol", Cost::Live, &a.protocol, &b.protocol, &[]);
    changes.section("fib.learn", &old.learning.rules, &new.learning.rules);
    if old.learning.ignore != new.learning.ignore {
        changes.add(Cost::Live, "[fib] ignore_interfaces changes".into(), Vec::new());
    }
}

fn blocks(old: &Config, new: &Config, changes: &mut Changes) {
    for block in old.pods.blocks.iter().filter(|b| !new.pods.blocks.contains(b)) {
        changes.add(Cost::Live, format!("block {block} is withdrawn"), Vec::new());
    }
    for block in new.pods.blocks.iter().filter(|b| !old.pods.blocks.contains(b)) {
        changes.add(Cost::Live, format!("block {block} is announced"), Vec::new());
    }
    if old.pods.file != new.pods.file {
        changes.add(Cost::Live, "[pods] changes".into(), Vec::new());
    }
}
