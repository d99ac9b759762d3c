//! `protocol bgp` and `template bgp`.
//!
//! In: bodies; that of a template goes before that of what is made from it. Out: `[[peer]]`, and `[[peer_group]]` for a range of neighbours.
//! In BIRD 2 a family is carried that has a channel; in BIRD 1.6 it is that of the neighbour's address, and what stands in a channel elsewhere
//! stands in the body itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::sketch::{Group, Pass, Peer, Remote, Sketch, both};
use super::super::value::{Table, Value};
use super::super::{Place, Report};
use super::cursor::{Cursor, statements};
use super::filter::{self, Where};
use super::lex::{Token, shown};
use super::routes::bfd_setting;
use super::{Bird, Named};

/// BIRD's, where nothing is said.
const HOLD_TIME: u64 = 240;
/// Templates from templates.
const MAX_TEMPLATES: usize = 16;
/// Of all sessions, those of their templates counted for each.
const MAX_STATEMENTS: usize = 300_000;

/// A channel: what passes of one family.
#[derive(Clone, Debug, Default)]
struct Channel {
    import: Option<Pass>,
    export: Option<Pass>,
    limit: Option<u32>,
}

/// A session as it is read.
#[derive(Default)]
struct Session {
    local_as: Option<u32>,
    source: Option<IpAddr>,
    remote: Option<IpAddr>,
    zone: Option<String>,
    range: Option<IpNet>,
    asn: Option<Remote>,
    settings: Table,
    /// IPv4, IPv6.
    channels: [Option<Channel>; 2],
    /// BIRD 1.6: what stands outside of channels.
    bare: Channel,
    password: Option<String>,
    multihop: Option<u32>,
    is_ttl_guarded: bool,
    /// `next hop address`, with its place.
    hops: Vec<(IpAddr, Place)>,
    cluster_id: Option<(IpAddr, Place, String)>,
    disabled: bool,
    /// Of the filters for import and export, if they have names.
    filters: [Option<String>; 2],
}

pub(super) fn convert(bird: &Bird<'_, '_>, sketch: &mut Sketch, report: &mut Report) {
    let mut left = MAX_STATEMENTS;
    let mut read: Vec<(Named<'_, '_>, Session)> = Vec::new();
    for named in &bird.sessions {
        read.push((*named, session(bird, named, &mut left, sketch, report)));
    }
    let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
    for asn in read.iter().filter_map(|(_, session)| session.local_as) {
        let count = votes.entry(asn).or_default();
        *count = count.saturating_add(1);
    }
    // The most frequent is the node's; of several the smallest.
    sketch.asn = votes.iter().max_by_key(|(asn, count)| (**count, std::cmp::Reverse(**asn))).map(|(asn, _)| *asn);
    let several = read.len() > 1;
    for (named, session) in read {
        place(&named, session, several, sketch, report);
    }
}

fn session<'t>(bird: &Bird<'_, 't>, named: &Named<'_, 't>, left: &mut usize, sketch: &mut Sketch, report: &mut Report) -> Session {
    let mut bodies = vec![named.body];
    let mut from = named.from;
    while let Some(template) = from.filter(|_| bodies.len() < MAX_TEMPLATES) {
        match bird.templates.get(template) {
            Some(found) => {
                bodies.push(found.body);
                from = found.from;
            }
            None => {
                // Another session may be the template, too.
                let other = bird.sessions.iter().find(|one| one.name == template);
                match other {
                    Some(other) => {
                        bodies.push(other.body);
                        from = other.from;
                    }
                    None => {
                        report.lost(named.place, template, "no such template");
                        from = None;
                    }
                }
            }
        }
    }
    let mut session = Session::default();
    for body in bodies.into_iter().rev() {
        for statement in statements(body) {
            let Some(rest) = left.checked_sub(1) else {
                report.lost(named.place, named.name, "too much to read: the rest of it is left out");
                return session;
            };
            *left = rest;
            session.statement(bird, statement, sketch, report);
        }
    }
    session
}

impl Session {
    fn statement<'t>(&mut self, bird: &Bird<'_, 't>, statement: &[Token<'t>], sketch: &mut Sketch, report: &mut Report) {
        let mut at = Cursor::new(statement);
        let (place, told) = (at.place(), shown(statement));
        let understood = self.whom(&mut at)
            || self.timer(&mut at)
            || self.transport(&mut at)
            || self.attributes(&mut at, place, &told, report)
            || self.channel(bird, &mut at, report)
            || self.bfd(&mut at, sketch, report)
            || harmless(&mut at, place, &told, report);
        if !understood || !at.at_end() {
            let secret = statement.first().is_some_and(|token| token.is_word("password"));
            report.lost(place, if secret { "password ..." } else { &told }, "not understood, or nothing that catbird has");
        }
    }

    fn whom(&mut self, at: &mut Cursor<'_, '_>) -> bool {
        if at.word("local") {
            let _ = at.word("role");
            self.source = at.addr().or(self.source);
            let _ = at.sign("%") && at.any_word().is_some();
            if at.word("port") {
                let _ = at.number();
            }
            if at.word("as") {
                self.local_as = at.number();
            }
            return true;
        }
        if at.word("neighbor") {
            if at.word("range") {
                self.range = at.net();
            }
            self.remote = at.addr().or(self.remote);
            if at.sign("%") {
                self.zone = at.any_word().or_else(|| at.text()).map(str::to_owned);
            }
            while !at.at_end() {
                if at.word("as") {
                    self.asn = at.number().map(Remote::Asn);
                } else if at.word("port") {
                    let Some(port) = at.number().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) else { return false };
                    self.settings.set("port", port);
                } else if at.word("internal") {
                    self.asn = Some(Remote::Internal);
                } else if at.word("external") {
                    self.asn = Some(Remote::External);
                } else {
                    return false;
                }
            }
            return true;
        }
        false
    }

    fn timer(&mut self, at: &mut Cursor<'_, '_>) -> bool {
        let seconds =
            |at: &mut Cursor<'_, '_>| at.time().map(|ms| if ms % 1000 == 0 { format!("{}s", ms / 1000) } else { format!("{ms}ms") });
        for (words, key) in [
            (&["hold", "time"][..], "hold_time"),
            (&["keepalive", "time"], "keepalive_time"),
            (&["connect", "retry", "time"], "connect_retry"),
        ] {
            if at.words(words) {
                let Some(time) = seconds(at) else { return false };
                self.settings.set(key, time);
                return true;
            }
        }
        if at.words(&["error", "wait", "time"]) {
            let first = seconds(at);
            let _ = at.sign(",");
            let (Some(first), Some(last)) = (first, seconds(at)) else { return false };
            self.settings.set("idle_hold", first);
            self.settings.set("idle_hold_max", last);
            return true;
        }
        false
    }

    fn transport(&mut self, at: &mut Cursor<'_, '_>) -> bool {
        if at.word("multihop") {
            self.multihop = Some(at.number().unwrap_or(64));
        } else if at.word("direct") {
            self.multihop = None;
        } else if at.words(&["source", "address"]) {
            self.source = at.addr();
        } else if at.word("interface") {
            let Some(name) = at.text() else { return false };
            self.zone.get_or_insert_with(|| name.to_owned());
            self.settings.set("interface", name);
        } else if at.word("password") {
            self.password = at.text().map(str::to_owned);
            return self.password.is_some();
        } else if at.words(&["ttl", "security"]) {
            self.is_ttl_guarded = at.switch();
        } else if at.word("passive") {
            self.settings.set("passive", at.switch());
        } else if at.word("disabled") {
            self.disabled = at.switch();
        } else if at.word("description") {
            let Some(text) = at.text().filter(|text| !text.trim().is_empty()) else { return false };
            self.settings.set("description", text);
        } else {
            return false;
        }
        true
    }

    fn attributes(&mut self, at: &mut Cursor<'_, '_>, place: Place, told: &str, report: &mut Report) -> bool {
        if at.words(&["rr", "client"]) {
            self.settings.set("rr_client", at.switch());
        } else if at.words(&["rr", "cluster", "id"]) {
            let id = at.addr().or_else(|| at.number().map(|id| IpAddr::from(std::net::Ipv4Addr::from(id))));
            self.cluster_id = id.map(|id| (id, place, told.to_owned()));
        } else if at.words(&["rs", "client"]) {
            report.lost(place, told, "catbird is no route server: its own AS stands in what it announces");
            let _ = at.switch();
        } else if at.words(&["allow", "local", "as"]) {
            self.settings.set("allow_own_as", at.number().and_then(|n| u8::try_from(n).ok()).unwrap_or(1));
        } else if at.words(&["enforce", "first", "as"]) {
            self.settings.set("enforce_first_as", at.switch());
        } else if at.words(&["graceful", "restart", "time"]) {
            // catbird's is for all peers, and its default is BIRD's.
            let _ = at.time();
        } else if at.words(&["graceful", "restart", "aware"]) {
        } else if at.words(&["graceful", "restart"]) {
            let wanted = at.switch();
            if !wanted {
                self.settings.set("graceful_restart", false);
            }
        } else if at.words(&["enable", "extended", "messages"]) {
            self.settings.set("extended_messages", at.switch());
        } else {
            return false;
        }
        true
    }

    /// Of a channel, or in BIRD 1.6 of the body.
    fn channel<'t>(&mut self, bird: &Bird<'_, 't>, at: &mut Cursor<'_, 't>, report: &mut Report) -> bool {
        let family = if at.word("ipv4") {
            0
        } else if at.word("ipv6") {
            1
        } else {
            let mut bare = std::mem::take(&mut self.bare);
            let known = self.channel_statement(bird, at, &mut bare, report);
            self.bare = bare;
            return known;
        };
        if at.peek().is_some_and(|_| at.word("multicast") || at.word("mpls")) {
            return false;
        }
        let Some(slot) = self.channels.get_mut(family) else { return false };
        let mut channel = slot.take().unwrap_or_default();
        for statement in at.block().map(statements).unwrap_or_default() {
            let mut inner = Cursor::new(statement);
            let (place, told) = (inner.place(), shown(statement));
            let known = self.channel_statement(bird, &mut inner, &mut channel, report) || harmless(&mut inner, place, &told, report);
            if !known || !inner.at_end() {
                report.lost(place, &told, "not understood, or nothing that catbird has");
            }
        }
        self.channels.get_mut(family).into_iter().for_each(|slot| *slot = Some(channel.clone()));
        true
    }

    fn channel_statement<'t>(&mut self, bird: &Bird<'_, 't>, at: &mut Cursor<'_, 't>, channel: &mut Channel, report: &mut Report) -> bool {
        if at.words(&["import", "limit"]) || at.words(&["receive", "limit"]) {
            return self.limit(at, channel);
        }
        if at.words(&["import", "keep", "filtered"]) {
            let _ = at.switch();
        } else if at.word("import") {
            self.name_filter(0, at);
            channel.import = Some(filter::pass(bird, at, Where::Import, report));
            at.rest = &[];
        } else if at.words(&["export", "limit"]) {
            return false;
        } else if at.word("export") {
            self.name_filter(1, at);
            channel.export = Some(filter::pass(bird, at, Where::Export, report));
            at.rest = &[];
        } else if at.words(&["next", "hop", "self"]) {
            let _ = at.word("ibgp") || at.word("ebgp");
            self.settings.set("next_hop", if at.switch() { "self" } else { "auto" });
        } else if at.words(&["next", "hop", "address"]) {
            let place = at.place();
            let Some(addr) = at.addr() else { return false };
            self.hops.push((addr, place));
        } else if at.words(&["next", "hop", "keep"]) {
            let _ = at.word("ibgp") || at.word("ebgp");
            self.settings.set("next_hop", if at.switch() { "keep" } else { "auto" });
        } else if at.words(&["add", "paths"]) {
            let word = if at.word("rx") {
                "receive"
            } else if at.word("tx") {
                "send"
            } else if at.switch() {
                "both"
            } else {
                "off"
            };
            self.settings.set("add_path", word);
        } else if at.words(&["extended", "next", "hop"]) {
            self.settings.set("extended_next_hop", at.switch());
        } else {
            return false;
        }
        true
    }

    /// What the policy will be called.
    fn name_filter(&mut self, which: usize, at: &Cursor<'_, '_>) {
        let mut ahead = *at;
        let name = if ahead.word("filter") { ahead.any_word() } else { None };
        if let (Some(name), Some(slot)) = (name, self.filters.get_mut(which)) {
            *slot = Some(name.to_owned());
        }
    }

    fn limit(&mut self, at: &mut Cursor<'_, '_>, channel: &mut Channel) -> bool {
        if at.word("off") {
            return true;
        }
        channel.limit = at.number();
        if at.word("action") {
            let action = match at.any_word() {
                Some("warn") => "warn",
                Some("block") => "refuse",
                Some("disable") => "close",
                Some("restart") => {
                    self.settings.set("max_prefix_restart", "5m");
                    "close"
                }
                _ => return false,
            };
            self.settings.set("max_prefix_action", action);
        }
        channel.limit.is_some()
    }

    fn bfd(&mut self, at: &mut Cursor<'_, '_>, sketch: &mut Sketch, report: &mut Report) -> bool {
        if !at.word("bfd") {
            return false;
        }
        let Some(block) = at.block() else {
            let graceful = at.word("graceful");
            self.settings.set("bfd", graceful || at.switch());
            return true;
        };
        let mut profile = Table::default();
        statements(block).iter().for_each(|statement| bfd_setting(statement, &mut profile, report));
        let there = sketch.bfd.iter().find(|(_, there)| **there == profile).map(|(name, _)| name.clone());
        let name = there.unwrap_or_else(|| format!("profile-{}", sketch.bfd.len()));
        sketch.bfd.insert(name.clone(), profile);
        self.settings.set("bfd", name);
        true
    }
}

/// What is of no consequence for sessions and routes, or is so in catbird anyway.
fn harmless(at: &mut Cursor<'_, '_>, place: Place, told: &str, report: &mut Report) -> bool {
    let always = [
        &["connect", "delay", "time"][..],
        &["startup", "hold", "time"],
        &["error", "forget", "time"],
        &["long", "lived"],
        &["enable", "route", "refresh"],
        &["enable", "as4"],
        &["require"],
        &["advertise", "ipv4"],
        &["advertise", "hostname"],
        &["interpret", "communities"],
        &["capabilities"],
        &["disable", "after"],
        &["gateway", "recursive"],
        &["igp", "table"],
        &["check", "link"],
        &["strict", "bind"],
        &["path", "metric"],
        &["default", "bgp_local_pref", "100"],
        &["missing", "lladdr"],
        &["debug"],
        &["mrtdump"],
        &["preference"],
        &["import", "table"],
        &["export", "table"],
        &["secondary"],
        &["validate"],
        &["aigp"],
        &["cost"],
        &["dynamic", "name"],
        &["deterministic", "med"],
        &["allow", "bgp_local_pref"],
        &["allow", "bgp_med"],
        &["setkey"],
    ];
    if always.iter().any(|words| at.words(words)) {
        at.rest = &[];
        return true;
    }
    if at.word("table") && super::default_table(*at) {
        at.rest = &[];
        return true;
    }
    for (words, reason) in [
        (&["med", "metric"][..], "[best_path] always_compare_med is for all peers"),
        (&["prefer", "older"], "the older of two external paths is preferred in catbird anyway (RFC 5004)"),
        (&["gateway", "direct"], "catbird resolves next hops recursively"),
    ] {
        if at.words(words) {
            report.note(place, told, reason);
            at.rest = &[];
            return true;
        }
    }
    false
}

/// Puts the session into the sketch.
fn place(named: &Named<'_, '_>, mut session: Session, several: bool, sketch: &mut Sketch, report: &mut Report) {
    let ours = session.local_as.or(sketch.asn);
    let external = session.asn.is_none_or(|asn| asn.is_external(ours));
    if session.asn.is_none() {
        return report.lost(named.place, &format!("protocol bgp {}", named.name), "no AS number of the neighbour is said");
    }
    session.passes(named, external, sketch, report);
    session.details(named, external, several, sketch, report);
    let Session { remote, zone, range, asn, settings, .. } = session;
    let link_local = |addr: &IpAddr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    match (remote, range) {
        (Some(addr), _) => {
            let zone = zone.filter(|_| link_local(&addr)).map(|zone| format!("%{zone}")).unwrap_or_default();
            let name = (!named.name.is_empty()).then(|| named.name.to_owned());
            sketch.peers.push(Peer { name, address: format!("{addr}{zone}"), asn, group: None, settings, place: named.place });
        }
        (None, Some(range)) => {
            let name = if named.name.is_empty() { "range".to_owned() } else { named.name.to_owned() };
            sketch.groups.push(Group { name, asn, listen: vec![range], listen_limit: None, settings });
        }
        (None, None) => report.lost(named.place, &format!("protocol bgp {}", named.name), "no address of the neighbour is said"),
    }
}

/// Makes it the node's address of its family, if it has no other.
fn next_hop_of_all(sketch: &mut Sketch, source: Option<IpAddr>, addr: IpAddr) -> bool {
    let mut known = match sketch.node.get("addresses") {
        Some(Value::Texts(known)) => known.clone(),
        _ => Vec::new(),
    };
    for addr in source.into_iter().chain([addr]) {
        let of_its_family = known.iter().find(|there| there.contains(':') == addr.is_ipv6());
        match of_its_family {
            Some(there) if *there != addr.to_string() => return false,
            Some(_) => {}
            None => known.push(addr.to_string()),
        }
    }
    sketch.node.set("addresses", known);
    true
}

impl Session {
    /// `families`, `import`, `export`, and limits.
    fn passes(&mut self, named: &Named<'_, '_>, external: bool, sketch: &mut Sketch, report: &mut Report) {
        if self.channels.iter().all(Option::is_none) {
            let is_v6 = self.remote.is_some_and(|addr| addr.is_ipv6()) || self.range.is_some_and(|range| range.addr().is_ipv6());
            self.channels.get_mut(usize::from(is_v6)).into_iter().for_each(|slot| *slot = Some(self.bare.clone()));
        }
        let [v4, v6] = self.channels.clone();
        match (&v4, &v6) {
            (Some(_), None) => self.settings.set("families", vec!["ipv4-unicast".to_owned()]),
            (None, Some(_)) => self.settings.set("families", vec!["ipv6-unicast".to_owned()]),
            _ => {}
        }
        for (key, channel) in [("max_prefix_ipv4", &v4), ("max_prefix_ipv6", &v6)] {
            if let Some(limit) = channel.as_ref().and_then(|channel| channel.limit) {
                self.settings.set(key, limit);
            }
        }
        let import = |channel: Option<Channel>| channel.map(|channel| channel.import.unwrap_or(Pass::All));
        let export = |channel: Option<Channel>| channel.map(|channel| channel.export.unwrap_or(Pass::None));
        let (import, export) = (both(import(v4.clone()), import(v6.clone())), both(export(v4), export(v6)));
        let names = std::mem::take(&mut self.filters);
        for ((key, pass), name) in [("import", import), ("export", export)].into_iter().zip(names) {
            let chain = sketch.chain(&name.unwrap_or_else(|| format!("{}-{key}", named.name)), &pass, named.place, report);
            // Inside an AS everything is the default.
            if external || chain != "all" {
                self.settings.set(key, chain);
            }
        }
    }

    fn details(&mut self, named: &Named<'_, '_>, external: bool, several: bool, sketch: &mut Sketch, report: &mut Report) {
        if let Some(own) = self.local_as.filter(|own| Some(*own) != sketch.asn) {
            self.settings.set("local_asn", own);
        }
        if let Some(source) = self.source {
            self.settings.set("source", source.to_string());
        }
        for (addr, place) in std::mem::take(&mut self.hops) {
            if !next_hop_of_all(sketch, self.source, addr) {
                report.lost(
                    place,
                    &format!("next hop address {addr}"),
                    "[node] has one address of each family, the next hop to all: another is set by a policy",
                );
            }
        }
        if self.is_ttl_guarded {
            self.settings.set("ttl_security", u64::from(self.multihop.unwrap_or(1).clamp(1, 255)));
        } else if let Some(hops) = self.multihop.filter(|hops| external || *hops != 64) {
            self.settings.set("multihop", u64::from(hops.clamp(1, 255)));
        }
        if self.settings.get("hold_time").is_none() {
            self.settings.set("hold_time", format!("{HOLD_TIME}s"));
        }
        if external && several && self.settings.get("next_hop").is_none() {
            self.settings.set("next_hop", "third-party");
        }
        if self.settings.get("next_hop") == Some(&Value::Text("auto".to_owned())) {
            self.settings.remove("next_hop");
        }
        if self.disabled {
            self.settings.set("enabled", false);
        }
        if let Some(secret) = self.password.take() {
            let file = sketch.secret(named.name, "password", &secret);
            self.settings.set("password_file", file);
        }
        if let Some((id, place, told)) = self.cluster_id.take().filter(|(id, ..)| sketch.router_id.map(IpAddr::V4) != Some(*id)) {
            report.lost(place, &told, format!("the cluster id is the router id, unless the cluster's list says another ({id})"));
        }
    }
}
