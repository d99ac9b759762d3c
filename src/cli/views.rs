//! Each answer as people read it.
//!
//! In: rows as the core made them. Out: lines and cells. JSON is the rows themselves and needs nothing from here.

use std::io;

use super::output::{Cell, Out, Tone, cell, duration, maybe, octets, toned};
use crate::daemon::protocol::{FullStatus, Reloaded};
use crate::speaker::reload_plan::Grade;
use crate::speaker::show::{BlockRow, FibRow, NexthopRow, PeerDetail, PeerRow, RouteRow, Story};

/// Columns of `catbird peers`.
pub const PEERS: &[&str] = &["PEER", "ADDRESS", "KIND", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "ADVERTISED", "NOTE"];

/// One line of it.
pub fn peer_row(row: &PeerRow) -> Vec<Cell> {
    let sum = |of: fn(&crate::speaker::show::FamilyRow) -> u64| row.families.iter().map(of).sum::<u64>();
    let note = row.why_down.clone().unwrap_or_else(|| row.warnings.join("; "));
    vec![
        cell(&row.name),
        cell(&row.address),
        cell(&row.kind),
        maybe(row.remote_as),
        toned(&row.state, state_tone(row)),
        cell(duration(row.state_seconds)),
        cell(sum(|f| f.received)),
        cell(sum(|f| f.accepted)),
        cell(sum(|f| f.advertised)),
        toned(note, Tone::Warn),
    ]
}

fn state_tone(row: &PeerRow) -> Tone {
    match (row.state.eq_ignore_ascii_case("established"), row.admin_up) {
        (true, _) => Tone::Good,
        (false, false) => Tone::Dim,
        (false, true) => Tone::Bad,
    }
}

/// Columns of routes.
pub const ROUTES: &[&str] = &["", "PREFIX", "NEXT HOP", "PEER", "PREF", "MED", "AS PATH", "ORIGIN", "COMMUNITIES", "NOTE"];

/// One path.
pub fn route_row(row: &RouteRow) -> Vec<Cell> {
    let mark = match (row.best, row.multipath) {
        (true, _) => toned("*>", Tone::Good),
        (false, true) => toned("*=", Tone::Good),
        _ if row.refused.is_some() => toned("x", Tone::Bad),
        _ => cell("*"),
    };
    let mut communities = row.communities.clone();
    communities.extend(row.large_communities.iter().cloned());
    communities.extend(row.extended_communities.iter().cloned());
    let note = match (&row.refused, row.stale) {
        (Some(refused), _) => toned(refused, Tone::Bad),
        (None, true) => toned("stale", Tone::Warn),
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
    let tone = match row.state.as_str() {
        "installed" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    };
    let error = row.error.as_ref().map(|error| match row.errno {
        Some(errno) => format!("{error} (errno {errno})"),
        None => error.clone(),
    });
    let same = row.wanted == row.installed;
    let installed = if same && row.wanted.is_some() { toned("as wanted", Tone::Dim) } else { maybe(row.installed.as_ref()) };
    vec![cell(row.net), toned(&row.state, tone), maybe(row.wanted.as_ref()), installed, toned(error.unwrap_or_default(), Tone::Bad)]
}

/// Columns of `catbird nexthops`.
pub const NEXTHOPS: &[&str] = &["NEXT HOP", "STATE", "VIA", "METRIC", "USED BY"];

/// One next hop.
pub fn nexthop_row(row: &NexthopRow) -> Vec<Cell> {
    let state = if row.resolved { toned("resolved", Tone::Good) } else { toned("unresolved", Tone::Bad) };
    vec![cell(&row.address), state, cell(&row.via), maybe(row.metric), cell(row.used_by)]
}

/// Columns of `catbird blocks`.
pub const BLOCKS: &[&str] = &["BLOCK", "SOURCE", "ANNOUNCED"];

/// One block.
pub fn block_row(row: &BlockRow) -> Vec<Cell> {
    let announced = if row.announced { toned("yes", Tone::Good) } else { toned("no", Tone::Warn) };
    vec![cell(row.net), cell(&row.source), announced]
}

/// `catbird status`
pub fn status(out: &mut Out, full: &FullStatus) -> io::Result<()> {
    let (s, p) = (&full.status, &full.process);
    let who = out.paint(&toned(&s.name, Tone::Bold));
    let cluster = s.cluster_id.map_or_else(String::new, |id| format!(", cluster id {id}"));
    let mode = if s.mode == "none" { "no cluster" } else { &s.mode };
    out.line(format!("{who}  AS {}, router id {}, {mode}{cluster}", s.asn, s.router_id))?;
    out.line(format!("catbird {}, pid {}, up {}, {} resident", p.version, p.pid, duration(s.uptime_seconds), octets(p.resident_bytes)))?;
    let all_up = s.peers_established >= s.peers_configured;
    let peers = toned(format!("{}/{}", s.peers_established, s.peers_configured), if all_up { Tone::Good } else { Tone::Bad });
    out.line(format!("peers     {} established", out.paint(&peers)))?;
    for table in &s.tables {
        out.line(format!("routes    {} prefixes, {} paths ({})", table.prefixes, table.paths, table.family))?;
    }
    let f = &s.fib;
    let fib = format!("{} wanted, {} installed, {} failed, {} foreign", f.wanted, f.installed, f.failed, f.foreign);
    let tone = if f.failed > 0 || f.wanted != f.installed { Tone::Warn } else { Tone::Plain };
    out.line(format!("kernel    {}", out.paint(&toned(fib, tone))))?;
    let held = octets(s.memory.routes_bytes + s.memory.attributes_bytes + s.memory.export_bytes);
    let budget = s.memory.budget_bytes.map_or_else(String::new, |budget| format!(" of {}", octets(budget)));
    out.line(format!("tables    {held}{budget}"))?;
    out.line(format!("blocks    {}", s.blocks))?;
    out.line(format!("reload    {}", reload_words(full)))?;
    let states = [(s.draining, s.phase.as_str()), (s.recovering, "recovering: old kernel routes are kept until they are learned again")];
    for (_, word) in states.iter().filter(|(on, _)| *on) {
        out.line(out.paint(&toned(word, Tone::Warn)))?;
    }
    for job in &s.jobs {
        out.line(format!("at work   {}: {} looked at", job.what, job.done))?;
    }
    for warning in &s.warnings {
        out.line(out.paint(&toned(format!("warning: {warning}"), Tone::Warn)))?;
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
pub fn peer(out: &mut Out, peer: &PeerDetail) -> io::Result<()> {
    let row = &peer.row;
    let state = out.paint(&toned(&row.state, state_tone(row)));
    out.line(format!("{}  {}  {}", out.paint(&toned(&row.name, Tone::Bold)), row.address, peer.description.as_deref().unwrap_or("")))?;
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
        out.line(out.paint(&toned(format!("warning     {warning}"), Tone::Warn)))?;
    }
    for event in &peer.events {
        out.line(format!("{:>9} ago  {}", duration(event.ago_seconds), event.what))?;
    }
    Ok(())
}

fn peer_capabilities(out: &mut Out, peer: &PeerDetail) -> io::Result<()> {
    let c = &peer.capabilities;
    for (title, list) in [("ours", &c.ours), ("theirs", &c.theirs), ("negotiated", &c.negotiated)] {
        if !list.is_empty() {
            out.line(format!("{title:12}{}", list.join(", ")))?;
        }
    }
    Ok(())
}

fn peer_counters(out: &mut Out, peer: &PeerDetail) -> io::Result<()> {
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
pub fn story(out: &mut Out, story: &Story) -> io::Result<()> {
    out.line(out.paint(&toned(story.net, Tone::Bold)))?;
    if story.paths.is_empty() {
        out.line("  nobody announces it")?;
        if let Some(gone) = &story.departed {
            out.line(format!("  last from {}, until {} ago: {}", gone.peer, duration(gone.ago_seconds as f64), gone.why))?;
        }
    }
    for path in &story.paths {
        let route = &path.route;
        let tone = match path.verdict.as_str() {
            "best" | "multipath" => Tone::Good,
            verdict if verdict.starts_with("lost") => Tone::Plain,
            _ => Tone::Bad,
        };
        let from = route.peer_address.map_or_else(String::new, |addr| format!(" ({addr})"));
        out.line(format!("  from {}{from}: {}", route.peer, out.paint(&toned(&path.verdict, tone))))?;
        let as_path = if route.as_path.is_empty() { "empty" } else { &route.as_path };
        let pref = route.local_pref.map_or_else(String::new, |p| format!(", local pref {p}"));
        let med = route.med.map_or_else(String::new, |m| format!(", MED {m}"));
        out.line(format!("    AS path {as_path}, origin {}{pref}{med}", route.origin))?;
        if let Some(hop) = &route.next_hop {
            out.line(format!("    next hop {hop}: {}", path.next_hop_via.as_deref().unwrap_or("not looked up")))?;
        }
    }
    match (&story.fib, &story.not_written) {
        (_, Some(rule)) => out.line(format!("  kernel: not written: {rule}"))?,
        (Some(row), None) => {
            let error = row.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
            let wanted = row.wanted.as_deref().or(row.installed.as_deref()).unwrap_or("");
            out.line(format!("  kernel: {}{error}  {wanted}", row.state))?;
        }
        (None, None) => out.line("  kernel: not wanted there")?,
    }
    for export in &story.exports {
        let told = if export.announced { toned("told", Tone::Good) } else { toned("not told", Tone::Dim) };
        out.line(format!("  {} {}: {}", export.peer, out.paint(&told), export.reason))?;
    }
    Ok(())
}

/// `catbird reload`
pub fn reloaded(out: &mut Out, reloaded: &Reloaded) -> io::Result<()> {
    for warning in &reloaded.warnings {
        out.line(out.paint(&toned(warning, Tone::Warn)))?;
    }
    if reloaded.changes.is_empty() {
        out.line("nothing changes")?;
    }
    for change in &reloaded.changes {
        let tone = match change.grade {
            Grade::Restart => Tone::Bad,
            Grade::Refresh => Tone::Warn,
            Grade::Live => Tone::Good,
        };
        let grade = out.paint(&toned(format!("{:8}", change.grade), tone));
        let touched = if change.sessions.is_empty() { String::new() } else { format!("  [{}]", change.sessions.join(", ")) };
        out.line(format!("{grade}{}{touched}", change.what))?;
    }
    match reloaded.confirm_seconds {
        Some(seconds) => out.line(format!("back to the former configuration in {}, unless `catbird confirm` comes", duration(seconds))),
        None => Ok(()),
    }
}
