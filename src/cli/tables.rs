//! Each answer as people read it.
//!
//! In: rows as the core made them. Out: lines and cells. JSON is the rows themselves and needs nothing from here.

use std::io;

use super::output::{Cell, Output, Style, cell, duration, maybe, octets, styled};
use crate::api::{BlockRow, Explanation, FibRow, NexthopRow, PeerDetail, PeerRow, RouteRow};
use crate::daemon::protocol::{FullStatus, Reloaded};
use crate::speaker::reload_plan::Grade;

/// Columns of `catbird peers`.
pub const PEERS: &[&str] = &["PEER", "ADDRESS", "KIND", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "ADVERTISED", "NOTE"];

/// One line of it.
pub fn peer_row(row: &PeerRow) -> Vec<Cell> {
    let sum = |of: fn(&crate::api::FamilyRow) -> u64| row.families.iter().map(of).sum::<u64>();
    let note = row.why_down.clone().unwrap_or_else(|| row.warnings.join("; "));
    vec![
        cell(&row.name),
        cell(&row.address),
        cell(&row.kind),
        maybe(row.remote_as),
        styled(&row.state, state_tone(row)),
        cell(duration(row.state_seconds)),
        cell(sum(|f| f.received)),
        cell(sum(|f| f.accepted)),
        cell(sum(|f| f.advertised)),
        styled(note, Style::Warn),
    ]
}

fn state_tone(row: &PeerRow) -> Style {
    match (row.state.eq_ignore_ascii_case("established"), row.admin_up) {
        (true, _) => Style::Good,
        (false, false) => Style::Dim,
        (false, true) => Style::Bad,
    }
}

/// Columns of routes.
pub const ROUTES: &[&str] = &["", "PREFIX", "NEXT HOP", "PEER", "PREF", "MED", "AS PATH", "ORIGIN", "COMMUNITIES", "NOTE"];

/// One path.
pub fn route_row(row: &RouteRow) -> Vec<Cell> {
    let mark = match (row.best, row.multipath) {
        (true, _) => styled("*>", Style::Good),
        (false, true) => styled("*=", Style::Good),
        _ if row.refused.is_some() => styled("x", Style::Bad),
        _ => cell("*"),
    };
    let mut communities = row.communities.clone();
    communities.extend(row.large_communities.iter().cloned());
    communities.extend(row.extended_communities.iter().cloned());
    let note = match (&row.refused, row.stale) {
        (Some(refused), _) => styled(refused, Style::Bad),
        (None, true) => styled("stale", Style::Warn),
        (None, false) => cell(""),
    };
    let path_id = if row.path_id == 0 { String::new() } else { format!(" #{}", row.path_id) };
    vec![
        mark,
        cell(format!("{}{path_id}", row.net)),
        maybe(row.next_hop.as_ref()),
        cell(&row.peer),
        maybe(row.local_pref),
        maybe(row.med),
        cell(if row.as_path.is_empty() { "-" } else { &row.as_path }),
        cell(&row.origin),
        cell(communities.join(" ")),
        note,
    ]
}

/// Columns of `catbird fib`.
pub const FIB: &[&str] = &["PREFIX", "STATE", "WANTED", "INSTALLED", "ERROR"];

/// One kernel route.
pub fn fib_row(row: &FibRow) -> Vec<Cell> {
    let style = match row.state.as_str() {
        "installed" => Style::Good,
        "failed" => Style::Bad,
        _ => Style::Warn,
    };
    let error = row.error.as_ref().map(|error| match row.errno {
        Some(errno) => format!("{error} (errno {errno})"),
        None => error.clone(),
    });
    let same = row.wanted == row.installed;
    let installed = if same && row.wanted.is_some() { styled("as wanted", Style::Dim) } else { maybe(row.installed.as_ref()) };
    vec![cell(row.net), styled(&row.state, style), maybe(row.wanted.as_ref()), installed, styled(error.unwrap_or_default(), Style::Bad)]
}

/// Columns of `catbird nexthops`.
pub const NEXTHOPS: &[&str] = &["NEXT HOP", "STATE", "VIA", "METRIC", "USED BY"];

/// One next hop.
pub fn nexthop_row(row: &NexthopRow) -> Vec<Cell> {
    let state = if row.resolved { styled("resolved", Style::Good) } else { styled("unresolved", Style::Bad) };
    vec![cell(&row.address), state, cell(&row.via), maybe(row.metric), cell(row.used_by)]
}

/// Columns of `catbird blocks`.
pub const BLOCKS: &[&str] = &["BLOCK", "SOURCE", "ANNOUNCED"];

/// One block.
pub fn block_row(row: &BlockRow) -> Vec<Cell> {
    let announced = if row.announced { styled("yes", Style::Good) } else { styled("no", Style::Warn) };
    vec![cell(row.net), cell(&row.source), announced]
}

/// `catbird status`
pub fn status(out: &mut Output, full: &FullStatus) -> io::Result<()> {
    let (s, p) = (&full.status, &full.process);
    let who = out.paint(&styled(&s.name, Style::Bold));
    let cluster = s.cluster_id.map_or_else(String::new, |id| format!(", cluster id {id}"));
    let mode = if s.mode == "none" { "no cluster" } else { &s.mode };
    out.line(format!("{who}  AS {}, router id {}, {mode}{cluster}", s.asn, s.router_id))?;
    out.line(format!("catbird {}, pid {}, up {}, {} resident", p.version, p.pid, duration(s.uptime_seconds), octets(p.resident_bytes)))?;
    let all_up = s.peers_established >= s.peers_configured;
    let peers = styled(format!("{}/{}", s.peers_established, s.peers_configured), if all_up { Style::Good } else { Style::Bad });
    out.line(format!("peers     {} established", out.paint(&peers)))?;
    for table in &s.tables {
        out.line(format!("routes    {} prefixes, {} paths ({})", table.prefixes, table.paths, table.family))?;
    }
    let f = &s.fib;
    let fib = format!("{} wanted, {} installed, {} failed, {} foreign", f.wanted, f.installed, f.failed, f.foreign);
    let style = if f.failed > 0 || f.wanted != f.installed { Style::Warn } else { Style::Plain };
    out.line(format!("kernel    {}", out.paint(&styled(fib, style))))?;
    let held = octets(s.memory.routes_bytes + s.memory.attributes_bytes + s.memory.export_bytes);
    let budget = s.memory.budget_bytes.map_or_else(String::new, |budget| format!(" of {}", octets(budget)));
    out.line(format!("tables    {held}{budget}"))?;
    out.line(format!("blocks    {}", s.blocks))?;
    out.line(format!("reload    {}", reload_words(full)))?;
    let states = [(s.draining, s.phase.as_str()), (s.recovering, "recovering: old kernel routes are kept until they are learned again")];
    for (_, word) in states.iter().filter(|(on, _)| *on) {
        out.line(out.paint(&styled(word, Style::Warn)))?;
    }
    if let Some(waiting) = &s.waiting {
        out.line(out.paint(&styled(format!("waiting   {waiting}"), Style::Warn)))?;
    }
    for job in &s.jobs {
        out.line(format!("at work   {}: {} looked at", job.what, job.done))?;
    }
    for warning in &s.warnings {
        out.line(out.paint(&styled(format!("warning: {warning}"), Style::Warn)))?;
    }
    Ok(())
}

fn reload_words(full: &FullStatus) -> String {
    let p = &full.process;
    let when = p.last_reload_seconds_ago.map_or_else(String::new, |ago| format!(" {} ago", duration(ago)));
    let outcome = match (&p.last_reload_error, p.confirm_pending) {
        (Some(_), _) => "failed",
        (None, true) => "waits for `catbird confirm`, since",
        (None, false) => "fine,",
    };
    format!("{outcome}{when}")
}

/// `catbird peer X`
pub fn peer(out: &mut Output, peer: &PeerDetail) -> io::Result<()> {
    let row = &peer.row;
    let state = out.paint(&styled(&row.state, state_tone(row)));
    out.line(format!("{}  {}  {}", out.paint(&styled(&row.name, Style::Bold)), row.address, peer.description.as_deref().unwrap_or("")))?;
    out.line(format!("state       {state} since {}, {} flaps", duration(row.state_seconds), row.flaps))?;
    let admin = if row.admin_up { "" } else { ", administratively down" };
    let passive = if peer.passive { ", passive" } else { "" };
    let remote = row.remote_as.map_or_else(|| "any".to_owned(), |asn| asn.to_string());
    out.line(format!("kind        {}, local AS {}, remote AS {remote}{passive}{admin}", row.kind, row.local_as))?;
    for (title, text) in [("why down", &row.why_down), ("local", &peer.local_endpoint), ("remote", &peer.remote_endpoint)] {
        if let Some(text) = text {
            out.line(format!("{title:12}{text}"))?;
        }
    }
    if let Some(id) = peer.remote_router_id {
        out.line(format!("router id   {id}"))?;
    }
    let hold = peer.hold_seconds.map_or_else(|| "-".to_owned(), |s| format!("{s}s"));
    let keepalive = peer.keepalive_seconds.map_or_else(|| "-".to_owned(), duration);
    let timers: Vec<String> = peer.timers.iter().map(|t| format!("{} in {}", t.timer, duration(t.remaining_seconds))).collect();
    out.line(format!("timers      hold {hold}, keepalive {keepalive}; {}", timers.join(", ")))?;
    out.line(format!("policy      import {}, export {}", peer.import, peer.export))?;
    peer_capabilities(out, peer)?;
    peer_counters(out, peer)?;
    if let Some(down) = &peer.last_down {
        let code = match (down.code, down.subcode) {
            (Some(code), Some(subcode)) => format!(" ({code}/{subcode})"),
            _ => String::new(),
        };
        let data = down.data.as_ref().map_or_else(String::new, |data| format!(", data {data}"));
        out.line(format!("last down   {} ago, {}: {}{code}{data}", duration(down.ago_seconds), down.direction, down.reason))?;
    }
    for warning in &row.warnings {
        out.line(out.paint(&styled(format!("warning     {warning}"), Style::Warn)))?;
    }
    for event in &peer.events {
        out.line(format!("{:>9} ago  {}", duration(event.ago_seconds), event.what))?;
    }
    Ok(())
}

fn peer_capabilities(out: &mut Output, peer: &PeerDetail) -> io::Result<()> {
    let c = &peer.capabilities;
    for (title, list) in [("ours", &c.ours), ("theirs", &c.theirs), ("negotiated", &c.negotiated)] {
        if !list.is_empty() {
            out.line(format!("{title:12}{}", list.join(", ")))?;
        }
    }
    Ok(())
}

fn peer_counters(out: &mut Output, peer: &PeerDetail) -> io::Result<()> {
    for f in &peer.row.families {
        let limit = f.max_prefix.map_or_else(String::new, |max| format!(" of at most {max}"));
        let state = match (f.negotiated, f.end_of_rib) {
            (false, _) => ", not negotiated",
            (true, true) => ", complete",
            (true, false) => ", no End-of-RIB yet",
        };
        let counts = format!("{} received{limit}, {} accepted, {} rejected, {} stale", f.received, f.accepted, f.rejected, f.stale);
        out.line(format!("{:13}{counts}, {} advertised{state}", f.family, f.advertised))?;
    }
    let u = &peer.updates;
    out.line(format!("announced   {} received, {} rejected, {} sent", u.announced_received, u.announced_rejected, u.announced_sent))?;
    out.line(format!("withdrawn   {} received, {} sent; {} malformed", u.withdrawn_received, u.withdrawn_sent, u.malformed))?;
    let messages: Vec<String> = peer.messages.iter().map(|m| format!("{} {}/{}", m.kind, m.received, m.sent)).collect();
    out.line(format!("messages    received/sent: {}", messages.join(", ")))
}

/// `catbird why`
pub fn explanation(out: &mut Output, explanation: &Explanation) -> io::Result<()> {
    out.line(out.paint(&styled(explanation.net, Style::Bold)))?;
    if explanation.paths.is_empty() {
        out.line("  nobody announces it")?;
        if let Some(gone) = &explanation.departed {
            out.line(format!("  last from {}, until {} ago: {}", gone.peer, duration(gone.ago_seconds as f64), gone.why))?;
        }
    }
    for path in &explanation.paths {
        let route = &path.route;
        let style = match path.verdict.as_str() {
            "best" | "multipath" => Style::Good,
            verdict if verdict.starts_with("lost") => Style::Plain,
            _ => Style::Bad,
        };
        let from = route.peer_address.map_or_else(String::new, |addr| format!(" ({addr})"));
        out.line(format!("  from {}{from}: {}", route.peer, out.paint(&styled(&path.verdict, style))))?;
        let as_path = if route.as_path.is_empty() { "empty" } else { &route.as_path };
        let pref = route.local_pref.map_or_else(String::new, |p| format!(", local pref {p}"));
        let med = route.med.map_or_else(String::new, |m| format!(", MED {m}"));
        out.line(format!("    AS path {as_path}, origin {}{pref}{med}", route.origin))?;
        if let Some(hop) = &route.next_hop {
            out.line(format!("    next hop {hop}: {}", path.next_hop_via.as_deref().unwrap_or("not looked up")))?;
        }
    }
    match (&explanation.fib, &explanation.not_written) {
        (_, Some(rule)) => out.line(format!("  kernel: not written: {rule}"))?,
        (Some(row), None) => {
            let error = row.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
            let wanted = row.wanted.as_deref().or(row.installed.as_deref()).unwrap_or("");
            out.line(format!("  kernel: {}{error}  {wanted}", row.state))?;
        }
        (None, None) => out.line("  kernel: not wanted there")?,
    }
    for export in &explanation.exports {
        let told = if export.announced { styled("told", Style::Good) } else { styled("not told", Style::Dim) };
        out.line(format!("  {} {}: {}", export.peer, out.paint(&told), export.reason))?;
    }
    Ok(())
}

/// `catbird reload`
pub fn reloaded(out: &mut Output, reloaded: &Reloaded) -> io::Result<()> {
    for warning in &reloaded.warnings {
        out.line(out.paint(&styled(warning, Style::Warn)))?;
    }
    if reloaded.changes.is_empty() {
        out.line("nothing changes")?;
    }
    for change in &reloaded.changes {
        let style = match change.grade {
            Grade::Restart => Style::Bad,
            Grade::Refresh => Style::Warn,
            Grade::Live => Style::Good,
        };
        let grade = out.paint(&styled(format!("{:8}", change.grade), style));
        let touched = if change.sessions.is_empty() { String::new() } else { format!("  [{}]", change.sessions.join(", ")) };
        out.line(format!("{grade}{}{touched}", change.what))?;
    }
    match reloaded.confirm_seconds {
        Some(seconds) => out.line(format!("back to the former configuration in {}, unless `catbird confirm` comes", duration(seconds))),
        None => Ok(()),
    }
}
