//! What a new configuration changes: the one comparison, which is shown, applied and counted.
//!
//! In: the parameters that hold and those that shall, and who came out of listen ranges. Out: a [`ReloadPlan`]: each difference in words and
//! graded, and for each part what it is to do. Nothing else in the house compares two configurations; carrying it out is `reload`'s.
//!
//! A peer is who it is with: its address and zone. One out of a listen range is compared as what the range makes of its address, so that a
//! change of a range, its template or a policy costs its sessions what the same change of a listed peer would.
//!
//! | grade | meaning |
//! |---|---|
//! | [`Grade::Live`] | taken over at once, or by the next session; no session notices |
//! | [`Grade::Refresh`] | routes are judged, chosen or announced again; sessions stay |
//! | [`Grade::Restart`] | the session closes and opens again, or goes for good |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bitflags::bitflags;
use ipnet::IpNet;

use super::params::{Limits, ListenRange, MaxPrefix, MaxPrefixAction, NextHopSetting, OnTerm, Params, PeerConfig};
pub use crate::api::{Change, Grade};
use crate::bfd;
use crate::bmp::StationParams;
use crate::fib::overlay::{Kind, Mode};
use crate::fib::{Conflict, Metric, Owner};
use crate::num::{Asn, ClusterId, Family, FamilySet, HoldTime, Role, RouterId};
use crate::peer::{GracefulParams, PeerKind, Remote, RemoteAs, Secret, Ttl};
use crate::policy::{Chain, Policy};
use crate::rib::update_group::AddPathSend;
use crate::rpki::CacheParams;

bitflags! {
    /// What taking over a difference takes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Touch: u16 {
        /// The session closes and opens again.
        const RESTART = 1;
        /// What the peer announced is judged again.
        const IMPORT = 1 << 1;
        /// What the peer is announced is made again.
        const EXPORT = 1 << 2;
        /// What the decision process knows of the peer.
        const FACTS = 1 << 3;
        /// The peer may be over its limit of prefixes now.
        const LIMITS = 1 << 4;
        /// It is, and its session closes for that.
        const OVER_LIMIT = 1 << 10;
        /// Switched on or off.
        const SWITCH = 1 << 5;
        /// Of the node: blocks of the configuration.
        const BLOCKS = 1 << 6;
        const REDISTRIBUTION = 1 << 7;
        const DECISION = 1 << 8;
        const FIB = 1 << 9;
    }
}

/// What is to be done about one peer.
#[derive(Clone, Debug)]
pub(super) enum PeerStep {
    /// New.
    Add(Arc<PeerConfig>),
    /// No longer configured.
    Remove,
    /// Other parameters; `range` for one that came out of a listen range.
    Change { config: Arc<PeerConfig>, range: Option<Arc<ListenRange>>, touch: Touch },
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct ReloadPlan {
    changes: Vec<Change>,
    /// In the order in which they are carried out.
    pub(super) peers: Vec<(Remote, PeerStep)>,
    /// Of the router as a whole.
    pub(super) node: Touch,
}

impl ReloadPlan {
    /// Every difference, the costliest first.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Every difference, the costliest first.
    pub fn into_changes(self) -> Vec<Change> {
        self.changes
    }

    /// Names of the sessions that restart or go.
    pub fn restarts(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().filter(|c| c.grade == Grade::Restart).flat_map(|c| &c.sessions).map(String::as_str)
    }
}

/// What the comparison asks of the running router.
pub trait Running {
    /// The peers that came out of listen ranges.
    fn range_peers(&self) -> Vec<Remote>;
    /// How many prefixes a peer announces now.
    fn received(&self, remote: &Remote, family: Family) -> u64;
    /// Routes that stand in the kernel, in words.
    fn kernel_routes(&self) -> String;
}

/// A router that does not run: nobody came out of a range, nothing is announced.
pub struct NotRunning;

impl Running for NotRunning {
    fn range_peers(&self) -> Vec<Remote> {
        Vec::new()
    }

    fn received(&self, _: &Remote, _: Family) -> u64 {
        0
    }

    fn kernel_routes(&self) -> String {
        "routes in the kernel are".to_owned()
    }
}

/// The comparison.
pub fn diff(old: &Params, new: &Params, running: &impl Running) -> ReloadPlan {
    let mut diff = Diff { old, new, plan: ReloadPlan::default(), of_sessions: BTreeMap::new(), same: Same::default() };
    diff.node(running);
    diff.peers(running);
    diff.ranges();
    diff.finish()
}

/// Collects.
struct Diff<'a> {
    old: &'a Params,
    new: &'a Params,
    plan: ReloadPlan,
    /// The same difference of many sessions is one change.
    of_sessions: BTreeMap<(std::cmp::Reverse<Grade>, String), Vec<String>>,
    same: Same,
}

/// Chains and policies that were compared, by their addresses: thousands of peers share a few.
#[derive(Default)]
struct Same(HashMap<(usize, usize), bool>);

impl Same {
    fn chains(&mut self, old: &Option<Chain>, new: &Option<Chain>) -> bool {
        match (old, new) {
            (Some(a), Some(b)) => *self.0.entry((a.address(), b.address())).or_insert_with(|| a == b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }

    fn policies(&mut self, old: &Arc<Policy>, new: &Arc<Policy>) -> bool {
        *self.0.entry((Arc::as_ptr(old).addr(), Arc::as_ptr(new).addr())).or_insert_with(|| old == new)
    }

    /// Whether two peers are configured alike, at a fraction of what naming each difference takes.
    fn peers(&mut self, old: &PeerConfig, new: &PeerConfig) -> bool {
        let rest = |peer: &PeerConfig| PeerConfig { import: None, export: None, ..peer.clone() };
        self.chains(&old.import, &new.import) && self.chains(&old.export, &new.export) && rest(old) == rest(new)
    }
}

impl<'a> Diff<'a> {
    fn change(&mut self, grade: Grade, what: String, sessions: Vec<String>) {
        self.plan.changes.push(Change { grade, what, sessions });
    }

    /// A setting of the whole node that no session notices.
    fn live(&mut self, touch: Touch, what: String) {
        self.plan.node |= touch;
        self.change(Grade::Live, what, Vec::new());
    }

    fn announced(&mut self, what: &str, [old, new]: [&[IpNet]; 2]) {
        let [before, after] = [old, new].map(|nets| nets.iter().collect::<BTreeSet<_>>());
        let (was_by, is_by) = (self.old, self.new);
        for net in before.difference(&after) {
            self.live(Touch::BLOCKS, format!("{what} {net} is withdrawn{}", by(was_by.origin(net))));
        }
        for net in after.difference(&before) {
            self.live(Touch::BLOCKS, format!("{what} {net} is announced{}", by(is_by.origin(net))));
        }
    }

    fn node(&mut self, running: &impl Running) {
        let (a, b) = (self.old, self.new);
        for (name, from, to) in [
            ("node name", a.name.shown(), b.name.shown()),
            ("cluster mode", a.mode.shown(), b.mode.shown()),
            ("on_term", a.stop.on_term.shown(), b.stop.on_term.shown()),
            ("drain_wait", a.stop.drain_wait.shown(), b.stop.drain_wait.shown()),
            ("startup_deadline, at the next start,", a.recovery.deadline.shown(), b.recovery.deadline.shown()),
            ("end_of_rib_wait, at the next start,", a.recovery.end_of_rib_wait.shown(), b.recovery.end_of_rib_wait.shown()),
        ] {
            if from != to {
                self.live(Touch::empty(), format!("{name} {from} -> {to}"));
            }
        }
        self.announced("block", [&a.blocks, &b.blocks]);
        self.announced("block (held by others)", [&a.held_blocks, &b.held_blocks]);
        self.announced("service", [&a.services, &b.services]);
        self.leaving();
        if a.recovery.forwarding != b.recovery.forwarding {
            self.live(Touch::empty(), "forwarding, at the next start, changes".into());
        }
        if a.rules != b.rules {
            self.live(Touch::DECISION, "[best_path] changes: every choice is made again".into());
        }
        if a.limits != b.limits {
            self.live(Touch::empty(), format!("[limits] {} -> {}", a.limits.shown(), b.limits.shown()));
        }
        self.stations();
        self.caches();
        self.fib(running);
        for (name, value) in &b.shell {
            if a.shell.get(name) != Some(value) {
                self.live(Touch::empty(), format!("{name} {} -> {value}", a.shell.get(name).map_or("unset", String::as_str)));
            }
        }
        for name in a.shell.keys().filter(|name| !b.shell.contains_key(*name)) {
            self.live(Touch::empty(), format!("{name} is unset"));
        }
    }

    fn leaving(&mut self) {
        let blocks =
            |gone: bool| if gone { "no pod needs its blocks: they are withdrawn" } else { "its blocks stay as long as a pod needs them" };
        match (&self.old.leaving, &self.new.leaving) {
            (None, Some(new)) => self.live(Touch::BLOCKS, format!("the node leaves ({}); {}", new.why, blocks(new.pods_gone))),
            (Some(old), None) => {
                self.live(Touch::BLOCKS, format!("the node stays (before: {}); what it withdrew is announced again", old.why))
            }
            (Some(old), Some(new)) if old != new => {
                self.live(Touch::BLOCKS, format!("the node goes on leaving ({}); {}", new.why, blocks(new.pods_gone)));
            }
            _ => {}
        }
    }

    /// A station that means something else is another one: it is connected anew, and no session notices.
    fn stations(&mut self) {
        let (a, b) = (&self.old.bmp, &self.new.bmp);
        let said = |station: &StationParams| format!("[[bmp]] {} ({})", station.address, station.tables.names().join(", "));
        let mut all: Vec<String> = a.iter().filter(|s| !b.contains(s)).map(|s| format!("{} ends", said(s))).collect();
        all.extend(b.iter().filter(|s| !a.contains(s)).map(|s| format!("{} begins, with all tables", said(s))));
        all.into_iter().for_each(|what| self.live(Touch::empty(), what));
    }

    /// What the caches before said holds until others have said everything; what that changes is judged again then.
    fn caches(&mut self) {
        let (a, b) = (&self.old.rpki, &self.new.rpki);
        let said = |cache: &CacheParams| format!("[[rpki]] {} (preference {})", cache.address, cache.preference);
        let last = if b.is_empty() { ", and every route is not-found" } else { "" };
        let mut all: Vec<String> = a.iter().filter(|c| !b.contains(c)).map(|c| format!("{} ends{last}", said(c))).collect();
        all.extend(b.iter().filter(|c| !a.contains(c)).map(|c| format!("{} begins", said(c))));
        all.into_iter().for_each(|what| self.live(Touch::empty(), what));
    }

    fn fib(&mut self, running: &impl Running) {
        let (a, b) = (&self.old.fib, &self.new.fib);
        let routes = running.kernel_routes();
        let moved = format!("{routes}: each new one stands before its old one goes");
        let taken_over =
            format!("{routes} taken over then, in place or by new ones before the old ones go; what nobody announces is removed");
        let mut all: Vec<(&str, &str, String, String, &str)> = Vec::new();
        let mut compare = |section, name, from: String, to: String, note| {
            if from != to {
                all.push((section, name, from, to, note));
            }
        };
        let removed = format!("{routes} removed");
        let (fib, later, overlay) = ("[fib] ", "[fib] at the next start of the daemon: ", "[fib.overlay] ");
        let replaced = "routes whose way changes are replaced in place";
        let anew = "another device takes its place, and the old one stays as long as anybody sends over it: both ends need the new one";
        compare(fib, "enabled", a.enabled.shown(), b.enabled.shown(), if b.enabled { "" } else { &removed });
        compare(fib, "metric", a.metric.shown(), b.metric.shown(), &moved);
        compare(
            fib,
            "block_metric",
            a.block_metric.shown(),
            b.block_metric.shown(),
            "blackholes move: each new one stands before its old one goes",
        );
        compare(fib, "source_ipv4", a.source_v4.shown(), b.source_v4.shown(), "routes are replaced in place");
        compare(fib, "source_ipv6", a.source_v6.shown(), b.source_v6.shown(), "routes are replaced in place");
        compare(fib, "allow_default", a.allow_default.shown(), b.allow_default.shown(), "");
        compare(fib, "pools", a.pools.shown(), b.pools.shown(), "routes outside are removed");
        compare(fib, "exclude", a.exclude.shown(), b.exclude.shown(), "learned routes inside are removed");
        compare(fib, "next hops whose routes are another's", a.exclude_next_hops.shown(), b.exclude_next_hops.shown(), "");
        compare(fib, "routes to neighbours", a.via.shown(), b.via.shown(), "");
        compare(fib, "conflict", a.conflict.shown(), b.conflict.shown(), "");
        compare(fib, "window", a.window.shown(), b.window.shown(), "");
        compare(later, "table", a.table.shown(), b.table.shown(), &taken_over);
        compare(later, "protocol", a.protocol.shown(), b.protocol.shown(), &taken_over);
        compare(later, "adopt", a.former.shown(), b.former.shown(), "what stands under these names is taken over");
        let (a, b) = (&a.overlay, &b.overlay);
        compare(overlay, "mode", a.mode.shown(), b.mode.shown(), replaced);
        compare(overlay, "kind", a.kind.shown(), b.kind.shown(), anew);
        compare(overlay, "device", a.device.clone(), b.device.clone(), "the device gets the new name, and routes over it stay");
        compare(overlay, "vni", a.vni.shown(), b.vni.shown(), anew);
        compare(overlay, "port", a.port.shown(), b.port.shown(), anew);
        compare(overlay, "checksum", a.checksum.shown(), b.checksum.shown(), anew);
        compare(overlay, "mtu", a.mtu.shown(), b.mtu.shown(), "");
        compare(overlay, "addresses", a.addresses.shown(), b.addresses.shown(), "");
        compare(overlay, "nodes", a.nodes.shown(), b.nodes.shown(), replaced);
        let said = |(section, name, from, to, note): (&str, &str, String, String, &str)| {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            format!("{section}{name} {from} -> {to}{note}")
        };
        let all: Vec<String> = all.into_iter().map(said).collect();
        all.into_iter().for_each(|text| self.live(Touch::FIB, text));
        if self.old.redistribute.rules != self.new.redistribute.rules {
            self.live(Touch::REDISTRIBUTION, "[[redistribute]] changes".into());
        }
        if self.old.redistribute.ignore != self.new.redistribute.ignore {
            self.live(Touch::REDISTRIBUTION, "[fib] ignore_interfaces changes".into());
        }
    }

    /// What every session depends on and no session speaks of.
    fn common(&self) -> Vec<Difference> {
        let (a, b) = (self.old, self.new);
        let mut all = Vec::new();
        compare(&mut all, Touch::IMPORT, "asn", &a.asn, &b.asn);
        compare(&mut all, Touch::IMPORT | Touch::EXPORT, "cluster_id", &a.cluster_id, &b.cluster_id);
        compare(&mut all, Touch::EXPORT, "client_to_client", &a.client_to_client, &b.client_to_client);
        compare(&mut all, Touch::EXPORT, "IPv4 address", &a.addresses.v4, &b.addresses.v4);
        compare(&mut all, Touch::EXPORT, "IPv6 address", &a.addresses.v6, &b.addresses.v6);
        all
    }

    fn peers(&mut self, running: &impl Running) {
        if (self.old.asn, self.old.router_id) != (self.new.asn, self.new.router_id) {
            self.plan.node |= Touch::FACTS;
        }
        let listed = |params: &'a Params| params.peers.iter().map(|p| (&p.session.remote, p)).collect::<HashMap<_, _>>();
        let (before, after) = (listed(self.old), listed(self.new));
        let common = self.common();
        for peer in &self.old.peers {
            let remote = &peer.session.remote;
            self.peer((remote, false), peer, after.get(remote).copied(), &common, running);
        }
        let ranged: Vec<Remote> = running.range_peers();
        for remote in ranged.iter().filter(|r| !before.contains_key(r)) {
            if let Some((peer, _)) = self.old.range_peer(remote.addr, remote.zone.as_deref()) {
                self.peer((remote, true), &peer, after.get(remote).copied(), &common, running);
            }
        }
        let known: HashSet<&Remote> = before.keys().copied().chain(&ranged).collect();
        for peer in self.new.peers.iter().filter(|p| !known.contains(&p.session.remote)) {
            let session = &peer.session;
            let from = by(self.new.origin_of_peer(&session.remote));
            self.change(Grade::Live, format!("{}: new session with {}{from}", session.name, session.remote), Vec::new());
            self.plan.peers.push((session.remote.clone(), PeerStep::Add(peer.clone())));
        }
        if before.is_empty() && ranged.is_empty() {
            common.iter().for_each(|d| self.change(d.grade(), d.text(), Vec::new()));
        }
    }

    /// A peer that is there, listed or out of a range: what the new configuration makes of it.
    fn peer(
        &mut self,
        (remote, ranged): (&Remote, bool),
        old: &Arc<PeerConfig>,
        listed: Option<&Arc<PeerConfig>>,
        common: &[Difference],
        running: &impl Running,
    ) {
        let by_range = || self.new.range_peer(remote.addr, remote.zone.as_deref()).map(|(config, range)| (config, Some(range)));
        let Some((config, range)) = listed.map(|p| (p.clone(), None)).or_else(by_range) else {
            let name = old.session.name.clone();
            self.change(Grade::Restart, format!("{name}: session with {remote} ends"), vec![name]);
            self.plan.peers.push((remote.clone(), PeerStep::Remove));
            return;
        };
        let mut differences = common.to_vec();
        let same = self.same.peers(old, &config);
        if !same {
            compare_peers(old, &config, &mut self.same, &mut differences);
        }
        for difference in differences.iter_mut().filter(|d| d.touch.contains(Touch::LIMITS)) {
            let over = |family| config.closes_at(family).is_some_and(|limit| running.received(remote, family) > limit);
            if Family::ALL.into_iter().any(over) {
                difference.touch |= Touch::OVER_LIMIT;
                difference.note = ", and more than that is announced: the session closes";
            }
        }
        let touch = differences.iter().fold(Touch::empty(), |all, d| all | d.touch);
        for difference in &differences {
            let key = (std::cmp::Reverse(difference.grade()), difference.text());
            self.of_sessions.entry(key).or_default().push(config.session.name.clone());
        }
        let moved = || self.old.ranges != self.new.ranges;
        if !differences.is_empty() || !same || range.is_some() && moved() || range.is_none() && ranged {
            self.plan.peers.push((remote.clone(), PeerStep::Change { config, range, touch }));
        }
    }

    /// Ranges as such: who may come from now on. What a change means to who is there was told with the peers.
    fn ranges(&mut self) {
        let by_net = |params: &'a Params| params.ranges.iter().map(|r| (r.net, r)).collect::<BTreeMap<_, _>>();
        let (before, after) = (by_net(self.old), by_net(self.new));
        for (net, range) in &before {
            match after.get(net) {
                None => self.change(Grade::Live, format!("nobody is accepted any more from {net}"), Vec::new()),
                Some(now) if now == range => {}
                Some(now) => self.range(range, now),
            }
        }
        for (net, range) in after.iter().filter(|(net, _)| !before.contains_key(net)) {
            self.change(Grade::Live, format!("peers are accepted from {net}, {} at most", range.limit), Vec::new());
        }
    }

    fn range(&mut self, old: &ListenRange, new: &ListenRange) {
        let net = old.net;
        let mut all = Vec::new();
        compare(&mut all, Touch::empty(), "listen_limit", &old.limit, &new.limit);
        compare_peers(&old.template, &new.template, &mut self.same, &mut all);
        for difference in all {
            self.change(Grade::Live, format!("peers accepted from {net}: {}", difference.text()), Vec::new());
        }
    }

    fn finish(mut self) -> ReloadPlan {
        for ((grade, what), sessions) in std::mem::take(&mut self.of_sessions) {
            let grade = grade.0;
            let what = match sessions.as_slice() {
                [one] => format!("{one}: {what}"),
                _ => what,
            };
            let sessions = if grade == Grade::Live { Vec::new() } else { sessions };
            self.change(grade, what, sessions);
        }
        self.plan.changes.sort_by_key(|change| std::cmp::Reverse(change.grade));
        self.plan
    }
}

/// A setting of a session that differs.
#[derive(Clone, Debug)]
struct Difference {
    touch: Touch,
    setting: String,
    /// What was and what is to be; none for what is not shown.
    values: Option<(String, String)>,
    note: &'static str,
}

impl Difference {
    fn grade(&self) -> Grade {
        let off = self.touch.contains(Touch::SWITCH) && self.values.as_ref().is_some_and(|(_, to)| to == "false");
        if self.touch.intersects(Touch::RESTART | Touch::OVER_LIMIT) || off {
            Grade::Restart
        } else if self.touch.intersects(Touch::IMPORT | Touch::EXPORT | Touch::FACTS | Touch::LIMITS) {
            Grade::Refresh
        } else {
            Grade::Live
        }
    }

    fn text(&self) -> String {
        match &self.values {
            Some((from, to)) => format!("{} {from} -> {to}{}", self.setting, self.note),
            None => format!("{} changes{}", self.setting, self.note),
        }
    }
}

fn compare<T: PartialEq + Shown>(all: &mut Vec<Difference>, touch: Touch, setting: &str, old: &T, new: &T) {
    if old != new {
        all.push(Difference { touch, setting: setting.to_owned(), values: Some((old.shown(), new.shown())), note: "" });
    }
}

/// Every setting of a peer, and what a new value of it takes.
fn compare_peers(old: &PeerConfig, new: &PeerConfig, same: &mut Same, all: &mut Vec<Difference>) {
    let (a, b) = (&*old.session, &*new.session);
    let live = Touch::empty();
    let named = |chain: &Option<Chain>, touch| if chain.as_ref().is_some_and(Chain::depends_on_peer) { touch } else { live };
    macro_rules! settings {
        ($($touch:expr, $name:literal, $a:expr, $b:expr;)*) => {$( compare(all, $touch, $name, &$a, &$b); )*};
    }
    settings! {
        named(&new.import, Touch::IMPORT) | named(&new.export, Touch::EXPORT), "name", a.name, b.name;
        Touch::RESTART, "port", a.port, b.port;
        Touch::RESTART, "source", a.local_addr, b.local_addr;
        Touch::RESTART, "interface", a.interface, b.interface;
        Touch::RESTART, "local AS", a.local_as, b.local_as;
        Touch::RESTART, "asn", a.remote_as, b.remote_as;
        Touch::RESTART, "router_id", a.router_id, b.router_id;
        Touch::RESTART, "families", a.families, b.families;
        Touch::RESTART, "ttl_security, multihop", a.ttl, b.ttl;
        Touch::RESTART, "route refresh", a.offer.route_refresh, b.offer.route_refresh;
        Touch::RESTART, "enhanced route refresh", a.offer.enhanced_refresh, b.offer.enhanced_refresh;
        Touch::RESTART, "extended_messages", a.offer.extended_messages, b.offer.extended_messages;
        Touch::RESTART, "extended_next_hop", a.offer.extended_next_hop, b.offer.extended_next_hop;
        Touch::RESTART, "add_path, sent", a.offer.add_path_send, b.offer.add_path_send;
        Touch::RESTART, "add_path, received", a.offer.add_path_receive, b.offer.add_path_receive;
        Touch::RESTART, "bfd, strict,", a.offer.bfd_strict, b.offer.bfd_strict;
        Touch::RESTART, "long_lived_ipv4", a.offer.long_lived[0], b.offer.long_lived[0];
        Touch::RESTART, "long_lived_ipv6", a.offer.long_lived[1], b.offer.long_lived[1];
        Touch::RESTART, "role", a.offer.role, b.offer.role;
        Touch::RESTART, "role_strict", a.offer.role_strict, b.offer.role_strict;
        Touch::RESTART, "hostname", a.offer.hostname, b.offer.hostname;
        Touch::RESTART, "graceful_restart", a.offer.graceful_restart.is_some(), b.offer.graceful_restart.is_some();
        Touch::SWITCH, "enabled", a.enabled, b.enabled;
        live, "what keeps it down", a.hindrance, b.hindrance;
        live, "description", a.description, b.description;
        live, "passive", a.passive, b.passive;
        live, "hold_time, from the next session on,", a.hold_time, b.hold_time;
        live, "keepalive_time, from the next session on,", a.keepalive, b.keepalive;
        live, "tcp_user_timeout, from the next session on,", a.user_timeout, b.user_timeout;
        live, "tcp_mss, from the next session on,", a.mss, b.mss;
        live, "connect_retry", a.connect_retry, b.connect_retry;
        live, "idle_hold", a.idle_hold, b.idle_hold;
        live, "idle_hold_max", a.idle_hold_max, b.idle_hold_max;
        live, "delay_open", a.delay_open, b.delay_open;
        live, "open_timeout", a.open_timeout, b.open_timeout;
        live, "send_hold", a.send_hold, b.send_hold;
        live, "collide_established", a.collide_established, b.collide_established;
        live, "kind", a.kind, b.kind;
        Touch::FACTS | Touch::IMPORT | Touch::EXPORT, "rr_client", old.rr_client, new.rr_client;
        Touch::EXPORT, "next_hop", old.next_hop, new.next_hop;
        Touch::EXPORT, "add_path_limit", old.add_path, new.add_path;
        Touch::EXPORT, "remove_private_as", old.remove_private_as, new.remove_private_as;
        Touch::EXPORT, "as_override", old.as_override, new.as_override;
        Touch::IMPORT, "allow_own_as", old.allow_own_as, new.allow_own_as;
        Touch::IMPORT, "enforce_first_as", old.enforce_first_as, new.enforce_first_as;
        Touch::IMPORT, "graceful shutdown", old.graceful_shutdown, new.graceful_shutdown;
        Touch::LIMITS, "max_prefix_ipv4", old.max_prefix[0], new.max_prefix[0];
        Touch::LIMITS, "max_prefix_ipv6", old.max_prefix[1], new.max_prefix[1];
    }
    if let (Some(from), Some(to)) = (a.offer.graceful_restart, b.offer.graceful_restart) {
        compare(all, live, "graceful_restart, from the next session on,", &from, &to);
    }
    if a.md5 != b.md5 {
        all.push(Difference { touch: Touch::RESTART, setting: "the password".into(), values: None, note: "" });
    }
    compare_chains(all, Touch::IMPORT, "import", (&old.import, &new.import), same);
    compare_chains(all, Touch::EXPORT, "export", (&old.export, &new.export), same);
    compare_bfd(all, old.bfd.as_deref(), new.bfd.as_deref());
    if old.burden != new.burden {
        all.push(Difference { touch: live, setting: "the bound on memory".into(), values: None, note: "" });
    }
}

/// Beside the BGP session: new times are agreed by a Poll Sequence, and what ends or begins says so to the neighbour; no session falls by it.
fn compare_bfd(all: &mut Vec<Difference>, old: Option<&bfd::Profile>, new: Option<&bfd::Profile>) {
    let live = Touch::empty();
    compare(all, live, "bfd", &old.is_some(), &new.is_some());
    let (Some(a), Some(b)) = (old, new) else { return };
    let time = |micros: u32| Duration::from_micros(u64::from(micros));
    compare(all, live, "bfd min_tx", &time(a.min_tx), &time(b.min_tx));
    compare(all, live, "bfd min_rx", &time(a.min_rx), &time(b.min_rx));
    compare(all, live, "bfd multiplier", &a.multiplier, &b.multiplier);
    compare(all, live, "bfd passive", &a.passive, &b.passive);
    compare(all, live, "bfd multihop", &a.multihop, &b.multihop);
    compare(all, live, "bfd min_ttl", &a.min_ttl, &b.min_ttl);
    compare(all, live, "bfd graceful", &a.graceful, &b.graceful);
    compare(all, live, "bfd link_down", &a.link_down, &b.link_down);
    if a.without_realtime != b.without_realtime {
        all.push(Difference { touch: live, setting: "bfd without_realtime".into(), values: None, note: "" });
    }
    if a.key != b.key {
        all.push(Difference { touch: live, setting: "the key of bfd".into(), values: None, note: ": both ends need it" });
    }
}

/// Other policies are named; of the same ones, those that say something else.
fn compare_chains(all: &mut Vec<Difference>, touch: Touch, setting: &str, (old, new): (&Option<Chain>, &Option<Chain>), same: &mut Same) {
    if same.chains(old, new) {
        return;
    }
    let names = |chain: &Option<Chain>| chain.as_ref().map(|c| c.names().map(str::to_owned).collect::<Vec<_>>());
    let (Some(a), Some(b), true) = (old, new, names(old) == names(new)) else {
        return compare(all, touch, setting, &names(old).map(|n| n.join(", ")), &names(new).map(|n| n.join(", ")));
    };
    for (policy, _) in a.policies().zip(b.policies()).filter(|(a, b)| !same.policies(a, b)) {
        match all.iter_mut().find(|d| d.values.is_none() && d.setting == format!("policy {}", policy.name)) {
            Some(same) => same.touch |= touch,
            None => all.push(Difference { touch, setting: format!("policy {}", policy.name), values: None, note: "" }),
        }
    }
}

/// Whose word it is.
fn by(origin: Option<&str>) -> String {
    origin.map_or_else(String::new, |origin| format!(", from {origin}"))
}

/// A value in words.
trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($ty:ty),*) => {$(impl Shown for $ty { fn shown(&self) -> String { self.to_string() } })*};
}
shown_by_display!(bool, u8, u16, u32, usize, String, Asn, RemoteAs, Role, IpAddr, Ipv4Addr, Ipv6Addr, IpNet);

macro_rules! shown_by {
    ($($ty:ty: |$value:ident| $words:expr;)*) => {$(impl Shown for $ty { fn shown(&self) -> String { let $value = self; $words } })*};
}
shown_by! {
    RouterId: |id| id.addr().to_string();
    ClusterId: |id| id.0.to_string();
    HoldTime: |time| format!("{}s", time.seconds());
    PeerKind: |kind| kind.as_str().to_owned();
    Secret: |_secret| "(not shown)".to_owned();
    FamilySet: |set| if set.is_empty() { "none".to_owned() } else { set.iter().map(|f| f.to_string()).collect::<Vec<_>>().join(" ") };
    Duration: |time| if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) };
    OnTerm: |mode| match mode {
        OnTerm::Keep => "keep",
        OnTerm::Withdraw => "withdraw",
    }.to_owned();
    NextHopSetting: |setting| match setting {
        NextHopSetting::Auto => "auto",
        NextHopSetting::SelfAddress => "self",
        NextHopSetting::Unchanged => "unchanged",
        NextHopSetting::ThirdParty => "third-party",
    }.to_owned();
    AddPathSend: |paths| match paths {
        AddPathSend::Off => "off".to_owned(),
        AddPathSend::All => "all".to_owned(),
        AddPathSend::Best(n) => n.to_string(),
    };
    Ttl: |ttl| match ttl {
        Ttl::Default => "default".to_owned(),
        Ttl::Multihop(n) => format!("multihop {n}"),
        Ttl::Security(n) => format!("ttl_security {n}"),
    };
    Limits: |limits| {
        let (memory, tables) = (limits.memory.map_or_else(|| "unbounded".to_owned(), |octets| format!("{octets} octets")), &limits.tables);
        format!("memory {memory}, {} paths of a prefix, refused routes {} or {} octets", tables.paths_of_a_prefix, tables.refused_paths, tables.refused_octets)
    };
    GracefulParams: |g| format!("restart_time {}s stale_time {}", g.restart_time, g.stale_time.shown());
    Metric: |metric| match metric {
        Metric::Fixed(metric) => metric.to_string(),
        Metric::FromLocalPref => "from-local-pref".to_owned(),
    };
    Conflict: |conflict| match conflict {
        Conflict::Yield => "yield",
        Conflict::Heal => "heal",
        Conflict::Take => "take",
    }.to_owned();
    Mode: |mode| match mode {
        Mode::Never => "never",
        Mode::CrossSubnet => "cross-subnet",
        Mode::Always => "always",
    }.to_owned();
    Kind: |kind| match kind {
        Kind::Vxlan => "vxlan",
        Kind::Ipip => "ipip",
    }.to_owned();
    Owner: |owner| format!("table {} protocol {}", owner.table, owner.protocol);
    MaxPrefix: |m| format!("{} ({})", m.limit, match m.action {
        MaxPrefixAction::Warn => "warn".to_owned(),
        MaxPrefixAction::Refuse => "refuse".to_owned(),
        MaxPrefixAction::Close { restart: None } => "close".to_owned(),
        MaxPrefixAction::Close { restart: Some(time) } => format!("close, restart after {}", time.shown()),
    });
}

impl<T: Shown> Shown for Vec<T> {
    fn shown(&self) -> String {
        if self.is_empty() { "none".to_owned() } else { self.iter().map(Shown::shown).collect::<Vec<_>>().join(" ") }
    }
}

impl Shown for BTreeSet<IpAddr> {
    fn shown(&self) -> String {
        self.iter().copied().collect::<Vec<_>>().shown()
    }
}

impl Shown for BTreeMap<IpNet, IpAddr> {
    fn shown(&self) -> String {
        self.iter().map(|(net, via)| format!("{net} via {via}")).collect::<Vec<_>>().shown()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "unset".to_owned(), Shown::shown)
    }
}
