//! `router bgp`.
//!
//! In: its lines, those of its address families included. Out: `[[peer]]` and `[[peer_group]]`. What a group says holds for its members, as in
//! FRR; a neighbour of the result says what differs from its group.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::super::program::{Range, Step, Stmt};
use super::super::sketch::{Group, Pass, Peer, Remote, Sketch, both};
use super::super::value::Table;
use super::super::{Place, Report};
use super::{Frr, Line};

/// What one family of a neighbour says.
#[derive(Clone, Default)]
struct Family {
    active: Option<bool>,
    /// Of `in` and `out`.
    map: [Option<(String, Place)>; 2],
    prefixes: [Option<(String, Place)>; 2],
    access: [Option<(String, Place)>; 2],
    paths: [Option<(String, Place)>; 2],
}

/// A neighbour, or a group of them.
#[derive(Clone, Default)]
struct Neighbor {
    is_group: bool,
    asn: Option<Remote>,
    group: Option<String>,
    settings: Table,
    families: [Family; 2],
    password: Option<String>,
    place: Place,
}

pub struct Router {
    asn: u32,
    id: Option<Ipv4Addr>,
    neighbors: BTreeMap<String, Neighbor>,
    /// As they were written first.
    order: Vec<String>,
    ranges: Vec<(IpNet, String, Place)>,
    limit: Option<u32>,
    networks: Vec<(IpNet, Place)>,
    redistributed: Vec<(usize, String, Option<String>, Place, String)>,
    hold: Option<(String, String)>,
    wants_policy: Option<bool>,
    checks_networks: bool,
    default_ipv4: bool,
    default_ipv6: bool,
    best_path: Table,
    width: Option<u8>,
    cluster_id: Option<(String, Place)>,
    restart: Table,
}

pub fn asn(word: &str) -> Option<u32> {
    match word.split_once('.') {
        Some((high, low)) => Some(u32::from(high.parse::<u16>().ok()?) << 16 | u32::from(low.parse::<u16>().ok()?)),
        None => word.parse().ok(),
    }
}

fn remote(word: &str) -> Option<Remote> {
    match word {
        "external" => Some(Remote::External),
        "internal" => Some(Remote::Internal),
        word => asn(word).map(Remote::Asn),
    }
}

fn seconds(word: &str) -> Option<String> {
    word.parse::<u32>().ok().map(|seconds| format!("{seconds}s"))
}

impl Router {
    pub(super) fn new(asn: u32) -> Router {
        Router {
            asn,
            id: None,
            neighbors: BTreeMap::new(),
            order: Vec::new(),
            ranges: Vec::new(),
            limit: None,
            networks: Vec::new(),
            redistributed: Vec::new(),
            hold: None,
            wants_policy: None,
            checks_networks: true,
            default_ipv4: true,
            default_ipv6: false,
            best_path: Table::default(),
            width: None,
            cluster_id: None,
            restart: Table::default(),
        }
    }

    pub(super) fn line(&mut self, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        match words {
            ["bgp", rest @ ..] => self.process(rest, line, report),
            ["no", "bgp", rest @ ..] => self.process_not(rest),
            ["timers", "bgp", keepalive, hold] => {
                self.hold = seconds(keepalive).zip(seconds(hold));
                self.hold.is_some()
            }
            ["neighbor", name, rest @ ..] => self.neighbor(name, rest, line, report),
            ["no", "neighbor", name, rest @ ..] => self.neighbor_not(name, rest),
            ["no", "auto-summary" | "synchronization"] => true,
            ["maximum-paths", ..] | ["network", ..] | ["redistribute", ..] | ["aggregate-address", ..] => {
                self.family_line(0, words, line, report)
            }
            ["coalesce-time" | "read-quanta" | "write-quanta", ..] | ["no", "coalesce-time"] => true,
            ["distance", ..] => {
                report.note(line.place, line.text, "distances are metrics of kernel routes here: [fib] metric");
                true
            }
            _ => false,
        }
    }

    fn process(&mut self, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        match words {
            ["router-id", id] => {
                self.id = id.parse().ok();
                return self.id.is_some();
            }
            ["cluster-id", id] => self.cluster_id = Some(((*id).to_owned(), line.place)),
            ["default", "ipv4-unicast"] => self.default_ipv4 = true,
            ["default", "ipv6-unicast"] => self.default_ipv6 = true,
            ["ebgp-requires-policy"] => self.wants_policy = Some(true),
            ["network", "import-check"] => self.checks_networks = true,
            ["always-compare-med"] => self.best_path.set("always_compare_med", true),
            ["bestpath", "as-path", "multipath-relax", ..] => self.best_path.set("as_path_relax", true),
            ["bestpath", "bandwidth", "ignore"] => self.best_path.set("link_bandwidth", false),
            ["bestpath", "compare-routerid"] => {
                report.note(line.place, line.text, "the older of two external paths is preferred in catbird (RFC 5004)");
            }
            ["graceful-restart"] => self.restart.set("enabled", true),
            ["graceful-restart-disable"] => self.restart.set("enabled", false),
            ["graceful-restart", "restart-time", time] => {
                return seconds(time).map(|time| self.restart.set("restart_time", time)).is_some();
            }
            ["graceful-restart", "stalepath-time", time] => {
                return seconds(time).map(|time| self.restart.set("stale_time", time)).is_some();
            }
            ["graceful-restart", "preserve-fw-state"] => self.restart.set("forwarding", "preserved"),
            ["listen", "range", net, "peer-group", group] => {
                let Ok(net) = net.parse::<IpNet>() else { return false };
                self.ranges.push((net.trunc(), (*group).to_owned(), line.place));
            }
            ["listen", "limit", limit] => self.limit = limit.parse().ok().filter(|limit| *limit > 0),
            ["log-neighbor-changes" | "deterministic-med" | "fast-convergence" | "suppress-fib-pending" | "minimum-holdtime", ..]
            | ["graceful-restart" | "update-delay" | "bestpath" | "route-reflector" | "default", ..] => {
                report.note(line.place, line.text, "has no counterpart, or is so in catbird anyway");
            }
            ["client-to-client", "reflection"] => {}
            _ => return false,
        }
        true
    }

    fn process_not(&mut self, words: &[&str]) -> bool {
        match words {
            ["default", "ipv4-unicast"] => self.default_ipv4 = false,
            ["default", "ipv6-unicast"] => self.default_ipv6 = false,
            ["ebgp-requires-policy"] => self.wants_policy = Some(false),
            ["network", "import-check"] => self.checks_networks = false,
            _ => {}
        }
        true
    }

    /// A line of `address-family`.
    pub(super) fn family_line(&mut self, family: usize, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        match words {
            ["neighbor", name, rest @ ..] => {
                let known = self.family_neighbor(family, name, rest, line, report);
                known || self.neighbor(name, rest, line, report)
            }
            ["no", "neighbor", name, "activate"] => {
                self.slot(name, line.place).families.get_mut(family).into_iter().for_each(|one| one.active = Some(false));
                true
            }
            ["no", ..] => true,
            ["network", net, rest @ ..] => {
                let Ok(net) = net.parse::<IpNet>() else { return false };
                if !rest.is_empty() {
                    report.lost(line.place, line.text, "a network is announced as it is: policies of `export` change it");
                }
                self.networks.push((net.trunc(), line.place));
                true
            }
            ["redistribute", what, rest @ ..] => {
                let map = if let ["route-map", name] = rest { Some((*name).to_owned()) } else { None };
                self.redistributed.push((family, (*what).to_owned(), map, line.place, line.text.to_owned()));
                true
            }
            ["maximum-paths", "ibgp", count, ..] => self.paths(count, "multipath_internal"),
            ["maximum-paths", count] => self.paths(count, "multipath_external"),
            ["distance" | "table-map", ..] => {
                report.note(line.place, line.text, "the kernel's routes are set in [fib]");
                true
            }
            ["aggregate-address", ..] => {
                report.lost(line.place, line.text, "catbird aggregates nothing: a block in [pods] is announced whole");
                true
            }
            _ => false,
        }
    }

    fn paths(&mut self, count: &str, key: &'static str) -> bool {
        let Some(count) = count.parse::<u16>().ok().filter(|count| *count > 0) else { return false };
        if count > 1 {
            self.width = Some(u8::try_from(count).unwrap_or(u8::MAX));
        } else {
            self.best_path.set(key, false);
        }
        true
    }

    fn slot(&mut self, name: &str, place: Place) -> &mut Neighbor {
        if !self.neighbors.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.neighbors.entry(name.to_owned()).or_insert_with(|| Neighbor { place, ..Neighbor::default() })
    }

    fn neighbor_not(&mut self, name: &str, words: &[&str]) -> bool {
        if let Some(slot) = self.neighbors.get_mut(name) {
            match words {
                ["shutdown"] => slot.settings.remove("enabled"),
                ["password", ..] => slot.password = None,
                ["activate"] => slot.families.iter_mut().take(1).for_each(|one| one.active = Some(false)),
                _ => {}
            }
        }
        true
    }

    fn neighbor(&mut self, name: &str, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        let slot = self.slot(name, line.place);
        match words {
            ["peer-group"] => slot.is_group = true,
            ["peer-group", group] => slot.group = Some((*group).to_owned()),
            ["remote-as", word] => {
                slot.asn = remote(word);
                return slot.asn.is_some();
            }
            ["interface", rest @ ..] => {
                match rest {
                    ["remote-as", word] | ["v6only", "remote-as", word] => slot.asn = remote(word),
                    ["peer-group", group] | ["v6only", "peer-group", group] => slot.group = Some((*group).to_owned()),
                    _ => {}
                }
                return true;
            }
            ["password", secret] => slot.password = Some((*secret).to_owned()),
            _ => return session(&mut slot.settings, words, line, report) || self.family_neighbor(0, name, words, line, report),
        }
        true
    }

    fn family_neighbor(&mut self, family: usize, name: &str, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        let slot = self.slot(name, line.place);
        let Some(own) = slot.families.get_mut(family) else { return false };
        let named = |name: &str, direction: &str| match direction {
            "in" => Some((0_usize, (name.to_owned(), line.place))),
            "out" => Some((1, (name.to_owned(), line.place))),
            _ => None,
        };
        let put = |slots: &mut [Option<(String, Place)>; 2], name: &str, direction: &str| {
            let found = named(name, direction).and_then(|(at, value)| slots.get_mut(at).map(|slot| *slot = Some(value)));
            found.is_some()
        };
        match words {
            ["activate"] => own.active = Some(true),
            ["route-map", map, direction] => return put(&mut own.map, map, direction),
            ["prefix-list", list, direction] => return put(&mut own.prefixes, list, direction),
            ["distribute-list", list, direction] => return put(&mut own.access, list, direction),
            ["filter-list", list, direction] => return put(&mut own.paths, list, direction),
            ["maximum-prefix", limit, rest @ ..] => return limits(&mut slot.settings, family, limit, rest),
            ["default-originate", ..] => {
                let reason =
                    "catbird originates no default route: it announces the kernel's, if another program has one there ([[redistribute]])";
                report.lost(line.place, line.text, reason);
            }
            _ => return attributes(&mut slot.settings, words, line, report),
        }
        true
    }
}

/// Of the session itself.
fn session(settings: &mut Table, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
    let hops = |word: &str| word.parse::<u8>().ok().filter(|hops| *hops > 0);
    match words {
        ["description", ..] => {
            let text = line.text.split_once(" description ").map_or("", |(_, text)| text.trim());
            if !text.is_empty() && !text.chars().any(char::is_control) {
                settings.set("description", text);
            }
        }
        ["timers", "connect", time] => return seconds(time).map(|time| settings.set("connect_retry", time)).is_some(),
        ["timers", "delayopen", time] => return seconds(time).map(|time| settings.set("delay_open", time)).is_some(),
        ["timers", keepalive, hold] => {
            let Some((keepalive, hold)) = seconds(keepalive).zip(seconds(hold)) else { return false };
            settings.set("hold_time", hold);
            settings.set("keepalive_time", keepalive);
        }
        ["advertisement-interval", _] => report.note(line.place, line.text, "catbird announces at once, as much as the peer reads"),
        ["port", port] => return port.parse::<u16>().ok().filter(|port| *port > 0).map(|port| settings.set("port", port)).is_some(),
        ["shutdown", ..] => settings.set("enabled", false),
        ["passive"] => settings.set("passive", true),
        ["ebgp-multihop"] => settings.set("multihop", 255_u8),
        ["ebgp-multihop", n] => return hops(n).map(|n| settings.set("multihop", n)).is_some(),
        ["ttl-security", "hops", n] => return hops(n).map(|n| settings.set("ttl_security", n)).is_some(),
        ["update-source", source] => match source.parse::<IpAddr>() {
            Ok(addr) => settings.set("source", addr.to_string()),
            Err(_) => report.lost(line.place, line.text, "the source is an address here: `source`, and `interface` to bind to one"),
        },
        ["local-as", number, flags @ ..] => {
            let Some(number) = asn(number) else { return false };
            settings.set("local_asn", number);
            if flags != ["no-prepend", "replace-as"] {
                report.note(line.place, line.text, "in catbird the peer sees this AS alone, as with `no-prepend replace-as`");
            }
        }
        ["bfd"] => {
            if settings.get("bfd").is_none() {
                settings.set("bfd", true);
            }
        }
        ["bfd", "profile", name] => settings.set("bfd", *name),
        ["bfd", ..] => report.note(line.place, line.text, "times stand in [bfd.NAME], with `bfd = \"NAME\"` of the peer"),
        ["capability", "extended-nexthop"] => settings.set("extended_next_hop", true),
        ["tcp-mss", n] => return n.parse::<u16>().ok().map(|n| settings.set("tcp_mss", n)).is_some(),
        ["graceful-restart-disable"] => settings.set("graceful_restart", false),
        ["graceful-restart" | "graceful-restart-helper"] | ["disable-connected-check"] | ["enforce-first-as"] => {}
        ["capability" | "dont-capability-negotiate" | "override-capability" | "strict-capability-match" | "solo" | "shutdown-rtt", ..]
        | ["disable-link-bw-encoding-ieee" | "extended-optional-parameters" | "sender-as-path-loop-detection", ..] => {
            report.note(line.place, line.text, "has no counterpart, or is so in catbird anyway");
        }
        _ => return false,
    }
    true
}

/// Of a family, as FRR has it; of the session, as catbird has it.
fn attributes(settings: &mut Table, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
    match words {
        ["next-hop-self", ..] => settings.set("next_hop", "self"),
        ["attribute-unchanged", ..] if words.len() == 1 || words.contains(&"next-hop") => settings.set("next_hop", "keep"),
        ["route-reflector-client"] => settings.set("rr_client", true),
        ["allowas-in"] => settings.set("allow_own_as", 3_u8),
        ["allowas-in", n] => return n.parse::<u8>().ok().map(|n| settings.set("allow_own_as", n)).is_some(),
        ["as-override"] => settings.set("as_override", true),
        ["remove-private-AS" | "remove-private-as", ..] => settings.set("remove_private_as", true),
        ["addpath-tx-all-paths"] => settings.set("add_path", "both"),
        ["addpath-tx-bestpath-per-AS"] => {
            settings.set("add_path", "both");
            report.note(line.place, line.text, "all paths are announced, or the best `add_path_limit` of them");
        }
        ["soft-reconfiguration", "inbound"] | ["send-community", ..] => {}
        ["route-server-client"] => report.lost(line.place, line.text, "catbird is no route server: its own AS stands in what it announces"),
        ["weight", _] => {
            report.lost(line.place, line.text, "catbird has no weight: `set_local_pref` in an import policy does it for the whole AS")
        }
        _ => return false,
    }
    true
}

fn limits(settings: &mut Table, family: usize, limit: &str, rest: &[&str]) -> bool {
    let Ok(limit) = limit.parse::<u32>() else { return false };
    settings.set(if family == 0 { "max_prefix_ipv4" } else { "max_prefix_ipv6" }, limit);
    match rest {
        [.., "warning-only"] => settings.set("max_prefix_action", "warn"),
        [.., "restart", minutes] => {
            let Some(minutes) = minutes.parse::<u16>().ok().filter(|minutes| *minutes > 0) else { return false };
            settings.set("max_prefix_restart", format!("{minutes}m"));
        }
        _ => {}
    }
    true
}

/// A neighbour with what its group says, on the way into the sketch.
impl Router {
    pub(super) fn convert(self, frr: &Frr, sketch: &mut Sketch, report: &mut Report) {
        sketch.asn = Some(self.asn);
        sketch.router_id = self.id;
        sketch.best_path.overlay(&self.best_path);
        if let Some(width) = self.width {
            sketch.fib.set("ecmp_width", width);
        }
        sketch.graceful.overlay(&self.restart);
        if let Some((id, place)) = &self.cluster_id
            && id.parse().ok() != self.id
        {
            report.lost(*place, &format!("bgp cluster-id {id}"), "the cluster id is the router id, unless the cluster's list says another");
        }
        self.originate(frr, sketch, report);
        let several = self.neighbors.values().filter(|one| !one.is_group).count() > 1;
        let mut groups: BTreeMap<&str, Table> = BTreeMap::new();
        for name in &self.order {
            let Some(one) = self.neighbors.get(name).filter(|one| one.is_group) else { continue };
            let settings = self.settings(name, one, one.asn, several, frr, sketch, report);
            groups.insert(name, settings.clone());
            let listen: Vec<IpNet> = self.ranges.iter().filter(|(_, group, _)| group == name).map(|(net, ..)| *net).collect();
            let limit = self.limit.filter(|_| !listen.is_empty());
            sketch.groups.push(Group { name: name.clone(), asn: one.asn, listen, listen_limit: limit, settings });
        }
        for (net, group, place) in self.ranges.iter().filter(|(_, group, _)| !groups.contains_key(group.as_str())) {
            report.lost(*place, &format!("bgp listen range {net}"), format!("there is no peer-group {group}"));
        }
        for name in &self.order {
            let Some(own) = self.neighbors.get(name).filter(|one| !one.is_group) else { continue };
            self.peer(name, own, several, &groups, frr, sketch, report);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one step of `convert`")]
    fn peer(
        &self,
        name: &str,
        own: &Neighbor,
        several: bool,
        groups: &BTreeMap<&str, Table>,
        frr: &Frr,
        sketch: &mut Sketch,
        report: &mut Report,
    ) {
        let group = own.group.as_deref().and_then(|group| self.neighbors.get(group));
        let asn = own.asn.or(group.and_then(|group| group.asn));
        if name.parse::<IpAddr>().is_err() {
            let reason = "a neighbour is an address here; one on a link without addresses is its link-local one: \"fe80::1%eth0\"";
            return report.lost(own.place, &format!("neighbor {name}"), reason);
        }
        if asn.is_none() {
            return report.lost(own.place, &format!("neighbor {name}"), "no remote-as is said");
        }
        let merged = group.map_or_else(|| own.clone(), |group| own.clone().within(group));
        let settings = self.settings(name, &merged, asn, several, frr, sketch, report);
        let known = own.group.as_deref().filter(|group| groups.contains_key(group));
        let settings = known.and_then(|group| groups.get(group)).map_or_else(|| settings.clone(), |group| settings.beyond(group));
        let asn = if known.is_some() { own.asn } else { asn };
        sketch.peers.push(Peer { name: None, address: name.to_owned(), asn, group: known.map(str::to_owned), settings, place: own.place });
    }

    #[allow(clippy::too_many_arguments, reason = "one step of `convert`")]
    fn settings(
        &self,
        name: &str,
        one: &Neighbor,
        asn: Option<Remote>,
        several: bool,
        frr: &Frr,
        sketch: &mut Sketch,
        report: &mut Report,
    ) -> Table {
        let mut table = one.settings.clone();
        let external = asn.is_some_and(|asn| asn.is_external(Some(self.asn)));
        if table.get("hold_time").is_none() {
            let default = if frr.is_datacenter { ("3s", "9s") } else { ("60s", "180s") };
            let (keepalive, hold) = self.hold.clone().unwrap_or((default.0.to_owned(), default.1.to_owned()));
            table.set("hold_time", hold);
            table.set("keepalive_time", keepalive);
        }
        if table.get("hold_time").is_some_and(|hold| *hold == "0s".into()) {
            table.remove("keepalive_time");
        }
        if table.get("ttl_security").is_some() {
            table.remove("multihop");
        }
        if let Some(secret) = &one.password {
            table.set("password_file", sketch.secret(name, "password", secret));
        }
        let active = [self.is_active(one, 0), self.is_active(one, 1)];
        match active {
            [true, false] => table.set("families", vec!["ipv4-unicast".to_owned()]),
            [false, true] => table.set("families", vec!["ipv6-unicast".to_owned()]),
            // Of a group its members say it.
            [false, false] if name.parse::<IpAddr>().is_err() => {}
            [false, false] => report.lost(one.place, &format!("neighbor {name}"), "no family is activated: catbird offers both"),
            [true, true] => {}
        }
        let needs_policy = external && self.wants_policy.unwrap_or(!frr.is_datacenter);
        for (direction, key) in ["import", "export"].into_iter().enumerate() {
            let one = |family: usize| {
                let carried = active.get(family).copied().unwrap_or(false);
                (family, one.families.get(family).filter(|_| carried))
            };
            let [v4, v6] = [0, 1].map(one).map(|(family, own)| own.map(|own| self.pass(own, family, direction, needs_policy, frr, report)));
            let label = one_name(&v4, &v6).unwrap_or_else(|| format!("{name}-{key}"));
            let chain = sketch.chain(&label, &both(v4.map(|(pass, _)| pass), v6.map(|(pass, _)| pass)), Place::default(), report);
            if external || asn.is_none() || chain != "all" {
                table.set(key, chain);
            }
        }
        if external && several && table.get("next_hop").is_none() {
            table.set("next_hop", "third-party");
        }
        table
    }

    fn is_active(&self, one: &Neighbor, family: usize) -> bool {
        let default = if family == 0 { self.default_ipv4 } else { self.default_ipv6 };
        one.families.get(family).and_then(|own| own.active).unwrap_or(default)
    }

    /// What passes of one family in one direction, and the name of its route-map.
    fn pass(
        &self,
        own: &Family,
        family: usize,
        direction: usize,
        needs_policy: bool,
        frr: &Frr,
        report: &mut Report,
    ) -> (Pass, Option<String>) {
        let ipv4 = family == 0;
        let named = |slots: &[Option<(String, Place)>; 2]| slots.get(direction).cloned().flatten();
        let (map, prefixes, access, paths) = (named(&own.map), named(&own.prefixes), named(&own.access), named(&own.paths));
        let mut program = Vec::new();
        let mut name = None;
        let lists = [
            (prefixes, (|frr: &Frr, ipv4, name: &str| frr.lists.prefixes_of(ipv4, name)) as fn(&Frr, bool, &str) -> _),
            (access, |frr, _, name| frr.lists.access_of(name)),
            (paths, |frr, _, name| frr.lists.paths_of(name)),
        ];
        for (list, find) in lists {
            let Some((list, place)) = list else { continue };
            name.get_or_insert_with(|| list.clone());
            match find(frr, ipv4, &list) {
                Some(cond) => program.push(Stmt::If(cond.negated(), vec![Stmt::End(Step::Reject)], Vec::new())),
                None => report.lost(place, &list, "there is no such list: everything passes it"),
            }
        }
        if let Some((map, place)) = map {
            match frr.maps.program(&map, ipv4, &frr.lists, report) {
                Some(rest) => program.extend(rest),
                None => {
                    report.lost(place, &map, "there is no such route-map: nothing passes");
                    program.push(Stmt::End(Step::Reject));
                }
            }
            return (Pass::Program(program), Some(map));
        }
        match program.is_empty() {
            true if needs_policy => (Pass::None, None),
            true => (Pass::All, None),
            false => {
                program.push(Stmt::End(Step::Accept));
                (Pass::Program(program), name)
            }
        }
    }

    fn originate(&self, frr: &Frr, sketch: &mut Sketch, report: &mut Report) {
        for (net, place) in &self.networks {
            if !self.checks_networks || frr.blackholes.contains(net) {
                sketch.originate(*net, *place);
            } else {
                sketch.learn(vec![net.to_string()], &[], "network");
            }
        }
        for (family, what, map, place, text) in &self.redistributed {
            let ipv4 = *family == 0;
            let prefixes = match map {
                None => vec![Range::all(ipv4).to_string()],
                Some(map) => match frr.maps.only_prefixes(ipv4, map, &frr.lists) {
                    Some(prefixes) if !prefixes.is_empty() => prefixes,
                    _ => {
                        report.lost(*place, text, "a route-map that does more than let prefixes through: write [[redistribute]] by hand");
                        continue;
                    }
                },
            };
            match what.as_str() {
                "connected" => sketch.learn(prefixes, &["kernel"], "network"),
                "kernel" => sketch.learn(prefixes, &["boot", "static", "dhcp"], "network"),
                "static" => {
                    if map.is_some() {
                        report.note(*place, text, "all blackholes of `ip route` are announced");
                    }
                    frr.blackholes.iter().filter(|net| net.addr().is_ipv4() == ipv4).for_each(|net| sketch.originate(*net, *place));
                    let via = frr.routes.iter().filter(|net| net.addr().is_ipv4() == ipv4).map(ToString::to_string).collect::<Vec<_>>();
                    if !via.is_empty() {
                        sketch.learn(via, &["static", "boot"], "network");
                    }
                }
                _ => report.lost(*place, text, "catbird speaks BGP and nothing else: [[redistribute]] learns what another program writes"),
            }
        }
    }
}

/// The route-map of both families.
fn one_name(v4: &Option<(Pass, Option<String>)>, v6: &Option<(Pass, Option<String>)>) -> Option<String> {
    let name = |one: &Option<(Pass, Option<String>)>| one.as_ref().and_then(|(_, name)| name.clone());
    name(v4).or_else(|| name(v6))
}

impl Neighbor {
    /// What the group says, where this one says nothing.
    fn within(self, group: &Neighbor) -> Neighbor {
        let mut settings = group.settings.clone();
        settings.overlay(&self.settings);
        let [own4, own6] = self.families;
        let [group4, group6] = &group.families;
        Neighbor {
            asn: self.asn.or(group.asn),
            settings,
            families: [own4.within(group4), own6.within(group6)],
            password: self.password.or_else(|| group.password.clone()),
            ..self
        }
    }
}

impl Family {
    fn within(self, group: &Family) -> Family {
        let either = |[own_in, own_out]: [Option<(String, Place)>; 2], [group_in, group_out]: &[Option<(String, Place)>; 2]| {
            [own_in.or_else(|| group_in.clone()), own_out.or_else(|| group_out.clone())]
        };
        Family {
            active: self.active.or(group.active),
            map: either(self.map, &group.map),
            prefixes: either(self.prefixes, &group.prefixes),
            access: either(self.access, &group.access),
            paths: either(self.paths, &group.paths),
        }
    }
}
