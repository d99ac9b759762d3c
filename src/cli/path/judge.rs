//! What is wrong on a way, node by node: where the kernel does otherwise than BGP says, and what keeps a packet from going on.
//!
//! In: the stops of a [`Way`]. Out: findings on each, the first fault first. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use super::trace::{Stop, Way, chosen};
use crate::api::{Fate, FibEntry, ForwardingHop, ForwardingReport, HopRow, KernelAnswer, PathExplanation};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing.
    Note,
    /// The kernel does otherwise than BGP says; the packet may arrive all the same.
    Disagrees,
    /// The packet does not get past it.
    Fault,
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    pub weight: Weight,
    /// Which kind, for programs: `no_route`, `foreign_route`, `longer_route`, `other_table`, `not_installed`, `blackhole`, `no_pod`,
    /// `unreachable`, `prohibit`, `reverse_path`, `martian`, `not_forwarding`, `link_down`, `neighbour_dead`, `neighbour_wrong`, `no_answer`,
    /// `circle`, `mtu`, `stale`, `draining`, `unknown`.
    pub kind: String,
    /// The same for people.
    pub text: String,
}

fn fault(kind: &str, text: String) -> Finding {
    Finding { weight: Weight::Fault, kind: kind.to_owned(), text }
}

fn note(kind: &str, text: String) -> Finding {
    Finding { weight: Weight::Note, kind: kind.to_owned(), text }
}

/// A packet that comes by the same node again.
pub fn circle(way: &mut Way) {
    each(way);
    let names = way.names().join(" -> ");
    if let Some(last) = way.stops.last_mut() {
        last.findings.insert(0, fault("circle", format!("packets go round in a circle: {names}")));
    }
}

/// Every stop, and whether the packet arrives.
pub fn way(way: &mut Way) {
    each(way);
    // A host on the link of the last node is no node of ours, and need not answer.
    let n = way.stops.len();
    let host = n >= 2 && way.stops[n - 1].report.is_none() && way.stops[n - 2].delivers();
    if host {
        way.stops.truncate(n - 1);
    }
    let ended = way.stops.last().is_some_and(Stop::delivers);
    way.arrives = ended && way.heaviest() < Some(Weight::Fault);
}

fn each(way: &mut Way) {
    let mut findings: Vec<Vec<Finding>> = way.stops.iter().map(stop).collect();
    for (at, pair) in way.stops.windows(2).enumerate() {
        if let [before, after] = pair {
            findings[at].extend(between(before, after));
            findings[at + 1].extend(mtu(&way.stops[..=at + 1]));
        }
    }
    for (stop, found) in way.stops.iter_mut().zip(findings) {
        stop.findings = found;
        stop.findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    }
}

fn stop(stop: &Stop) -> Vec<Finding> {
    let Some(report) = &stop.report else {
        let why = stop.error.as_deref().unwrap_or("no answer");
        return vec![note("no_answer", format!("{} is not asked: {why}", stop.name()))];
    };
    let mut found: Vec<Finding> = verdict(report).into_iter().chain(agreement(report)).collect();
    found.extend(chosen(report).into_iter().flat_map(|hop| of_hop(hop, report)));
    if report.draining {
        found.push(note("draining", format!("{} is drained: it announces nothing", report.node)));
    }
    let best = report.why.paths.iter().find(|path| path.fate == Fate::Best);
    found.extend(best.filter(|path| path.route.stale).map(|path| {
        let left = path.stale_seconds_left.map_or_else(String::new, |left| format!(", {left:.0} s more"));
        note("stale", format!("the route is kept for {}, whose session is down (graceful restart{left})", path.route.peer))
    }));
    found
}

/// What keeps it from going on, as the kernel says.
fn verdict(report: &ForwardingReport) -> Option<Finding> {
    let to = report.to;
    let input = report.input.as_ref().map_or("its link", |link| link.interface.as_str());
    let from = report.from.map_or_else(String::new, |from| from.to_string());
    Some(match report.verdict.as_str() {
        "local" | "on_link" | "forwarded" => return None,
        "blackhole" if own_block(report) => {
            fault("no_pod", format!("no pod here has {to}: of its block {} there is only the blackhole", report.why.net))
        }
        "blackhole" => fault("blackhole", format!("a blackhole route takes it; `ip route show match {to}` shows whose")),
        "unreachable" => fault("unreachable", format!("an unreachable route or rule refuses it; `ip rule`, `ip route show match {to}`")),
        "prohibit" => fault("prohibit", format!("a prohibit route or rule refuses it; `ip rule`, `ip route show match {to}`")),
        "no_route" => fault("no_route", format!("no route: {}", absence(report))),
        "reverse_path" => fault(
            "reverse_path",
            format!(
                "the reverse path filter of {input} drops it: the way back to {from} is by another link (sysctl net.ipv4.conf.{input}.rp_filter = 1; 2 is loose)"
            ),
        ),
        "martian" => fault("martian", format!("the kernel does not take {from} for a source that can come in by {input}")),
        "not_forwarding" => {
            let key = if to.is_ipv4() { "net.ipv4.ip_forward" } else { "net.ipv6.conf.all.forwarding" };
            fault("not_forwarding", format!("the kernel forwards nothing: `sysctl -w {key}=1`"))
        }
        _ => fault("unknown", "the kernel could not be asked".to_owned()),
    })
}

fn best(report: &ForwardingReport) -> Option<&PathExplanation> {
    report.why.paths.iter().find(|path| path.fate == Fate::Best)
}

fn own_block(report: &ForwardingReport) -> bool {
    best(report).is_some_and(|path| path.route.peer == "local")
}

/// Why BGP has no way, or the kernel not the one that BGP has.
fn absence(report: &ForwardingReport) -> String {
    let why = &report.why;
    if let Some(row) = why.fib.as_ref().filter(|row| row.state != "installed")
        && let Some(error) = &row.error
    {
        return format!("the route of {} is not in the kernel: {error}", row.net);
    }
    if let Some(reason) = &why.not_written {
        return format!("the route of {} is not written: {reason}", why.net);
    }
    if let Some(path) = why.paths.iter().find(|path| matches!(path.fate, Fate::Refused | Fate::Ineligible)) {
        let next_hop = path.resolution.as_ref().and_then(|resolution| resolution.explanation.as_deref());
        let next_hop = next_hop.map_or_else(String::new, |text| format!(" ({text})"));
        return format!("{} announces {}, and here it is {}{next_hop}", path.route.peer, why.net, path.verdict());
    }
    match &why.departed {
        Some(gone) => format!("{} had it last from {}, {} s ago: {}", why.net, gone.peer, gone.ago_seconds, gone.why),
        None => format!("nobody announces {} here", report.to),
    }
}

/// Does the kernel do what BGP says?
fn agreement(report: &ForwardingReport) -> Option<Finding> {
    let (route, best) = (report.route.as_ref()?, best(report)?);
    if route.ours || best.route.peer == "local" || route.kind != "unicast" {
        return None;
    }
    let wanted = report.why.fib.as_ref().and_then(|row| row.wanted.as_ref());
    let same = wanted.is_some_and(|entry| same_way(entry, &report.hops));
    let say = |kind: &str, text: String| match same {
        true => note(kind, format!("{text}; it leads the same way")),
        false => Finding { weight: Weight::Disagrees, kind: kind.to_owned(), text },
    };
    let net = route.net?;
    Some(if in_table(route, report) {
        say("other_table", format!("an `ip rule` sends it to table {}: {}", route.table, route.route))
    } else if net.prefix_len() > report.why.net.prefix_len() {
        say("longer_route", format!("a longer route ({}) goes before ours of {}: {}", owner(route), report.why.net, route.route))
    } else if net == report.why.net {
        say("foreign_route", format!("another's route ({}) stands in the place of ours: {}", owner(route), route.route))
    } else {
        say("not_installed", format!("{}; so it goes by {}", absence_of(report), route.route))
    })
}

fn in_table(route: &KernelAnswer, report: &ForwardingReport) -> bool {
    report.why.kernel.as_ref().is_some_and(|plain| plain.table != route.table)
}

fn absence_of(report: &ForwardingReport) -> String {
    let error = report.why.fib.as_ref().and_then(|row| row.error.clone());
    let error = error.map_or_else(String::new, |error| format!(": {error}"));
    format!("our route of {} is not in the kernel{error}", report.why.net)
}

fn owner(route: &KernelAnswer) -> String {
    match route.protocol.as_str() {
        "boot" => "proto boot: written by hand".to_owned(),
        other => format!("proto {other}"),
    }
}

fn same_way(wanted: &FibEntry, hops: &[ForwardingHop]) -> bool {
    let is = |hop: &ForwardingHop, row: &HopRow| hop.gateway == row.gateway && hop.link.interface == row.interface;
    !hops.is_empty() && hops.iter().all(|hop| wanted.hops.iter().any(|row| is(hop, row)))
}

/// The link and the neighbour at its other end.
fn of_hop(hop: &ForwardingHop, report: &ForwardingReport) -> Vec<Finding> {
    let mut found = Vec::new();
    let interface = &hop.link.interface;
    let end = hop.gateway.unwrap_or(report.to);
    if !hop.link.up {
        found.push(fault("link_down", format!("{interface} is down, or has no carrier")));
        return found;
    }
    let dead = hop.neighbour.as_ref().filter(|entry| matches!(entry.state.as_str(), "FAILED" | "INCOMPLETE"));
    if let Some(entry) = dead {
        found.push(fault("neighbour_dead", format!("{end} does not answer on {interface} (neighbour entry {})", entry.state)));
    }
    if hop.link.tunnel.as_deref() == Some("vxlan") && hop.tunnel_to.is_none() {
        found.push(fault(
            "neighbour_wrong",
            format!("{interface} knows no other end of the tunnel for {end} (`bridge fdb show dev {interface}`)"),
        ));
    }
    found
}

/// What only shows from both ends.
fn between(before: &Stop, after: &Stop) -> Option<Finding> {
    let (sender, receiver) = (before.report.as_ref()?, after.report.as_ref());
    let hop = chosen(sender)?;
    let Some(receiver) = receiver else {
        // A host on the link need not be a node.
        return silent_and_stale(sender, after);
    };
    let (entry, input) = (hop.neighbour.as_ref()?, receiver.input.as_ref()?);
    let (theirs, own) = (entry.mac.as_ref()?, input.mac.as_ref()?);
    // The entry of a tunnel is the address of the device at its other end: IPIP's has none, and a node without the tunnel is not measured by it.
    let comparable = hop.link.tunnel.as_deref() != Some("ipip") && hop.link.tunnel == input.tunnel;
    (theirs != own && !after.gap && comparable).then(|| {
        let (state, interface) = (&entry.state, &hop.link.interface);
        fault(
            "neighbour_wrong",
            format!(
                "the neighbour entry of {} on {interface} is {theirs} ({state}), and {} has {own} on {}",
                entry.address, receiver.node, input.interface
            ),
        )
    })
}

/// A route that is kept for a node that does not answer leads to a dead node, most likely; unless its machine lives.
fn silent_and_stale(sender: &ForwardingReport, after: &Stop) -> Option<Finding> {
    let best = best(sender).filter(|path| path.route.stale)?;
    let (peer, name) = (&best.route.peer, after.name());
    Some(match after.alive {
        true => note(
            "stale",
            format!("the route is kept for {peer} (graceful restart), whose daemon does not run; its kernel may go on forwarding"),
        ),
        false => fault("stale", format!("the route is kept for {peer} (graceful restart), and {name} does not answer")),
    })
}

/// A link narrower than those before.
fn mtu(stops: &[Stop]) -> Option<Finding> {
    let of = |stop: &Stop| stop.report.as_ref().and_then(chosen).map(|hop| (hop.link.mtu, hop.link.interface.clone()));
    let (last, before) = stops.split_last()?;
    let (narrow, interface) = of(last)?;
    let widest = before.iter().filter_map(of).map(|(mtu, _)| mtu).min()?;
    let text = || {
        format!("{interface} takes {narrow} octets, the links before {widest}: longer packets need the ICMP message about it to come back")
    };
    (narrow < widest && narrow != 0).then(|| note("mtu", text()))
}
