//! The lists that catbird shows: columns, cells, order.
//!
//! In: rows as the core made them. Out: what [`super::output::Listing`] writes. JSON is the rows themselves and needs nothing from here but
//! their order.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::output::{Cell, Columns, Style, cell, duration, maybe, styled};
use crate::api::{BfdRow, BlockRow, BmpRow, FamilyRow, FibEntry, FibRow, NexthopRow, PeerRow, RouteRow, RpkiCacheRow};
use crate::bfd::Drop;

/// Rows that are held to be sorted at most.
pub const SORTED: usize = 50_000;

/// One line of a list.
pub trait Row: Serialize {
    const COLUMNS: Columns;
    /// Said where there is no row.
    const NOTHING: &'static str;
    /// By which it is looked up.
    type Key: Ord;

    fn key(&self) -> Self::Key;
    fn cells(&self) -> Vec<Cell>;
}

impl Row for PeerRow {
    const COLUMNS: Columns = Columns {
        titles: &["PEER", "ADDRESS", "KIND", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "ADVERTISED", "BFD", "NOTE"],
        legend: "SINCE: in this state. ADVERTISED: prefixes that it was told. `catbird peer NAME` tells everything about one.",
    };
    const NOTHING: &'static str = "no such peer is configured";
    type Key = Vec<(String, u64)>;

    fn key(&self) -> Self::Key {
        natural(&self.name)
    }

    fn cells(&self) -> Vec<Cell> {
        let sum = |of: fn(&FamilyRow) -> u64| self.families.iter().map(of).sum::<u64>();
        vec![
            cell(&self.name),
            cell(&self.address),
            cell(&self.kind),
            maybe(self.remote_as),
            styled(&self.state, peer_style(self)),
            cell(duration(self.state_seconds)),
            cell(sum(|f| f.received)),
            cell(sum(|f| f.accepted)),
            cell(sum(|f| f.advertised)),
            bfd_cell(self.bfd.as_deref()),
            styled(note(self), Style::Warn),
        ]
    }
}

/// How the BFD session beside it stands.
fn bfd_cell(state: Option<&str>) -> Cell {
    match state {
        Some("up") => styled("up", Style::Good),
        Some("down") => styled("down", Style::Bad),
        Some(other) => styled(other, Style::Warn),
        None => maybe(None::<u8>),
    }
}

impl Row for BfdRow {
    const COLUMNS: Columns = Columns {
        titles: &["PEER", "ADDRESS", "PATH", "STATE", "SINCE", "SENDS", "DETECTS", "DOWNS", "NOTE"],
        legend: "SENDS: every so often, before jitter. DETECTS: when nothing came for so long. `catbird bfd NAME` tells everything about one.",
    };
    const NOTHING: &'static str = "no BFD session is wanted: `bfd = true` of a peer asks for one";
    type Key = Vec<(String, u64)>;

    fn key(&self) -> Self::Key {
        natural(&self.peer)
    }

    fn cells(&self) -> Vec<Cell> {
        vec![
            cell(&self.peer),
            cell(&self.address),
            cell(&self.path),
            bfd_cell(Some(&self.state)),
            cell(duration(self.state_seconds)),
            cell(millis(self.interval_ms)),
            maybe(self.detection_ms.map(millis)),
            cell(self.downs),
            styled(bfd_note(self), Style::Warn),
        ]
    }
}

/// `50ms`, `1.5s`
pub fn millis(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms}ms") } else { format!("{}s", ms / 1000.0) }
}

/// Why it is not up.
fn bfd_note(row: &BfdRow) -> String {
    match (row.state.as_str(), row.remote_state.as_str()) {
        ("up", _) => String::new(),
        ("admin down", _) => "held down here".to_owned(),
        (_, "admin down") => "the peer holds it down".to_owned(),
        _ if row.received == 0 => {
            let worst = row
                .dropped
                .iter()
                .max_by_key(|(_, count)| **count)
                .map(|(why, count)| format!(": {count} packets dropped, {}", Drop::explain(why)));
            format!("nothing that counts was heard{}", worst.unwrap_or_default())
        }
        _ => format!("{}; the peer says: {}", row.diagnostic, row.remote_diagnostic),
    }
}

/// Why it is not up, how often and since when; or what else an operator should know.
fn note(row: &PeerRow) -> String {
    let Some(why) = &row.why_down else { return row.warnings.join("; ") };
    match row.failures.first() {
        Some(failure) if failure.count > 1 => {
            let (first, last) = (duration(failure.first_ago_seconds), duration(failure.last_ago_seconds));
            format!("{why} ({} times in {first}, last {last} ago)", failure.count)
        }
        _ => why.clone(),
    }
}

/// How its state looks.
pub fn peer_style(row: &PeerRow) -> Style {
    match (row.state.eq_ignore_ascii_case("established"), row.admin_up) {
        (true, _) => Style::Good,
        (false, false) => Style::Dim,
        (false, true) => Style::Bad,
    }
}

/// Of whole seconds.
pub fn age(seconds: u32) -> String {
    duration(f64::from(seconds))
}

impl Row for RouteRow {
    const COLUMNS: Columns = Columns {
        titles: &["", "PREFIX", "NEXT HOP", "PEER", "AGE", "PREF", "MED", "AS PATH", "ORIGIN", "COMMUNITIES", "NOTE"],
        legend: "*> best  *= shares the load  * valid  ! next hop unreachable  x refused  s stale",
    };
    const NOTHING: &'static str = "no such route";
    type Key = (IpNet, bool, Vec<(String, u64)>, u32);

    fn key(&self) -> Self::Key {
        (self.net, !self.best, natural(&self.peer), self.path_id)
    }

    fn cells(&self) -> Vec<Cell> {
        let communities: Vec<&str> =
            [&self.communities, &self.large_communities, &self.extended_communities].into_iter().flatten().map(String::as_str).collect();
        let path_id = if self.path_id == 0 { String::new() } else { format!(" #{}", self.path_id) };
        vec![
            mark(self),
            cell(format!("{}{path_id}", self.net)),
            maybe(self.next_hop.as_ref()),
            cell(&self.peer),
            maybe(self.age_seconds.map(age)),
            maybe(self.local_pref),
            maybe(self.med),
            cell(if self.as_path.is_empty() { "-" } else { &self.as_path }),
            cell(&self.origin),
            if communities.is_empty() { maybe(None::<u8>) } else { cell(communities.join(" ")) },
            route_note(self),
        ]
    }
}

/// Why it was refused, and what VRPs say of it if that is worth a word.
fn route_note(row: &RouteRow) -> Cell {
    let rpki = row.rpki.as_ref().map(|state| format!("rpki {state}"));
    match (&row.refused, rpki) {
        (Some(refused), Some(rpki)) => styled(format!("{refused}; {rpki}"), Style::Bad),
        (Some(refused), None) => styled(refused, Style::Bad),
        (None, Some(rpki)) => styled(rpki, if row.rpki.as_deref() == Some("invalid") { Style::Warn } else { Style::Plain }),
        (None, None) => cell(""),
    }
}

fn mark(row: &RouteRow) -> Cell {
    let (sign, style) = match (row.best, row.multipath) {
        (true, _) => ("*>", Style::Good),
        (false, true) => ("*=", Style::Good),
        _ if row.refused.is_some() => ("x", Style::Bad),
        _ if !row.usable => ("!", Style::Bad),
        _ => ("*", Style::Plain),
    };
    if row.stale { styled(format!("{sign}s"), Style::Warn) } else { styled(sign, style) }
}

impl Row for FibRow {
    const COLUMNS: Columns = Columns {
        titles: &["PREFIX", "STATE", "WANTED", "INSTALLED", "ERROR"],
        legend: "shadowed: another's route with a better metric carries the packets; foreign: another's stands in its place. `catbird why PREFIX` tells whose.",
    };
    const NOTHING: &'static str = "no kernel route of ours";
    type Key = IpNet;

    fn key(&self) -> IpNet {
        self.net
    }

    fn cells(&self) -> Vec<Cell> {
        let style = match self.state.as_str() {
            "installed" => Style::Good,
            "failed" => Style::Bad,
            _ => Style::Warn,
        };
        let error = self.error.as_ref().map(|error| match self.errno {
            Some(errno) => format!("{error} (errno {errno})"),
            None => error.clone(),
        });
        let text = |entry: &FibEntry| entry.as_ip_route(&self.net);
        let same = self.wanted == self.installed && self.wanted.is_some();
        let installed = if same { styled("as wanted", Style::Dim) } else { maybe(self.installed.as_ref().map(text)) };
        vec![
            cell(self.net),
            styled(&self.state, style),
            maybe(self.wanted.as_ref().map(text)),
            installed,
            styled(error.unwrap_or_default(), Style::Bad),
        ]
    }
}

impl Row for NexthopRow {
    const COLUMNS: Columns =
        Columns { titles: &["NEXT HOP", "STATE", "VIA", "METRIC", "USED BY"], legend: "USED BY: sets of path attributes that name it." };
    const NOTHING: &'static str = "no next hop is in use";
    type Key = (Option<IpAddr>, String);

    fn key(&self) -> Self::Key {
        (self.address.split('%').next().and_then(|addr| addr.parse().ok()), self.address.clone())
    }

    fn cells(&self) -> Vec<Cell> {
        let state = if self.resolved { styled("resolved", Style::Good) } else { styled("unresolved", Style::Bad) };
        vec![cell(&self.address), state, cell(&self.resolution), maybe(self.metric), cell(self.used_by)]
    }
}

impl Row for RpkiCacheRow {
    const COLUMNS: Columns = Columns {
        titles: &["", "CACHE", "PREF", "STATE", "SINCE", "VERSION", "CONNECTIONS", "FAILURES", "NEXT TRY", "NOTE"],
        legend: "*: its VRPs are used. The lower the PREF, the sooner it is.",
    };
    const NOTHING: &'static str = "no RPKI cache is configured: [[rpki]] names one";
    type Key = (u8, String);

    fn key(&self) -> (u8, String) {
        (self.preference, self.cache.clone())
    }

    fn cells(&self) -> Vec<Cell> {
        let style = match self.state.as_str() {
            "synchronised" => Style::Good,
            "waiting" => Style::Bad,
            "standing by" => Style::Plain,
            _ => Style::Warn,
        };
        vec![
            cell(if self.in_use { "*" } else { "" }),
            cell(&self.cache),
            cell(self.preference),
            styled(&self.state, style),
            cell(duration(self.since_seconds)),
            maybe(self.version),
            cell(self.connections),
            cell(self.failures),
            maybe(self.again_seconds.map(duration)),
            styled(self.last_error.as_deref().unwrap_or_default(), if style == Style::Good { Style::Dim } else { Style::Warn }),
        ]
    }
}

impl Row for BmpRow {
    const COLUMNS: Columns = Columns {
        titles: &["STATION", "STATE", "SINCE", "TABLES", "WAITING", "MESSAGES", "CONNECTIONS", "OVERRUNS", "NOTE"],
        legend: "WAITING: prefixes and events that it has yet to be told. OVERRUNS: it was so slow that it had to begin anew.",
    };
    const NOTHING: &'static str = "no monitoring station is configured: [[bmp]] names one";
    type Key = String;

    fn key(&self) -> String {
        self.station.clone()
    }

    fn cells(&self) -> Vec<Cell> {
        let style = match self.state.as_str() {
            "following" | "telling tables" => Style::Good,
            "slow" | "connecting" => Style::Warn,
            _ => Style::Bad,
        };
        let since = self.since_seconds.map(duration);
        vec![
            cell(&self.station),
            styled(&self.state, style),
            maybe(since),
            cell(self.tables.join(",")),
            cell(self.waiting),
            cell(self.messages),
            cell(self.connections),
            cell(self.overruns),
            styled(self.last_error.as_deref().unwrap_or_default(), Style::Warn),
        ]
    }
}

impl Row for BlockRow {
    const COLUMNS: Columns = Columns { titles: &["BLOCK", "SOURCE", "ANNOUNCED", "FROM"], legend: "" };
    const NOTHING: &'static str = "this node has no blocks";
    type Key = IpNet;

    fn key(&self) -> IpNet {
        self.net
    }

    fn cells(&self) -> Vec<Cell> {
        let announced = if self.announced { styled("yes", Style::Good) } else { styled("no", Style::Warn) };
        vec![cell(self.net), cell(&self.source), announced, maybe(self.from.as_ref())]
    }
}

/// As people count: node-2 before node-10.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let (text, more) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let (digits, after) = more.split_at(more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len()));
        parts.push((text.to_owned(), digits.parse().unwrap_or(0)));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_count() {
        let mut names = ["node-10", "node-2", "tor", "node-1", "10.0.0.9", "10.0.0.10"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["10.0.0.9", "10.0.0.10", "node-1", "node-2", "node-10", "tor"]);
    }
}
