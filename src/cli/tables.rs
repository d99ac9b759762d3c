//! Each answer as people read it.
//!
//! In: rows as the core made them. Out: lines and cells. JSON is the rows themselves and needs nothing from here.

use std::io;

use super::output::{Output, Style, duration, octets, styled};
use super::rows::{age, millis, peer_style};
use crate::api::{
    BfdReport, BfdRow, BfdTimes, Explanation, ExportRow, Fate, FibRow, KernelAnswer, PathExplanation, PeerDetail, RpkiReport, RpkiVerdict,
    TransportRow,
};
use crate::bfd::Drop;
use crate::daemon::protocol::{FullStatus, Reloaded, SourceRow};
use crate::speaker::reload_plan::Grade;

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
    for down in &s.peers_down {
        let text = format!("          {} for {}: {}", down.name, duration(down.away_seconds), down.why);
        out.line(out.paint(&styled(text, Style::Warn)))?;
    }
    let unnamed = s.peers_configured.saturating_sub(s.peers_established).saturating_sub(s.peers_down.len());
    if unnamed > 0 && !s.peers_down.is_empty() {
        out.line(format!("          and {unnamed} more: `catbird peers --down`"))?;
    }
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
    if let Some(rpki) = &s.rpki {
        out.line(format!("rpki      {rpki}"))?;
    }
    for source in &full.sources {
        let style = if source.error.is_some() { Style::Warn } else { Style::Plain };
        out.line(out.paint(&styled(format!("watched   {}", source_words(source)), style)))?;
    }
    let states = [(s.draining, s.phase.as_str()), (s.recovering, "recovering: old kernel routes are kept until they are learned again")];
    for (_, word) in states.iter().filter(|(on, _)| *on) {
        out.line(out.paint(&styled(word, Style::Warn)))?;
    }
    if let Some(leaving) = &s.leaving {
        out.line(out.paint(&styled(format!("leaving   {leaving}"), Style::Warn)))?;
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

/// `catbird status --memory`: what the resident memory is taken by, the tables as they count themselves.
pub fn memory(out: &mut Output, full: &FullStatus) -> io::Result<()> {
    let (held, process) = (&full.status.memory, &full.process);
    let parts = [
        (held.routes_bytes, "routes of the peers, and the best of them (Adj-RIB-In, Loc-RIB)"),
        (held.attributes_bytes, "sets of path attributes, each once"),
        (held.export_bytes, "what peers are announced, and what waits for them (update groups)"),
        (held.fib_bytes, "kernel routes, wanted and standing"),
        (process.program_bytes, "the program and its libraries, which other processes share"),
        (process.free_bytes.unwrap_or(0), "free: kept by the allocator for what comes"),
    ];
    let known: u64 = parts.iter().map(|(bytes, _)| bytes).sum();
    let rest = process.resident_bytes.saturating_sub(known);
    out.line(out.paint(&styled(format!("memory    {} resident, of which", octets(process.resident_bytes)), Style::Bold)))?;
    for (bytes, what) in parts.iter().filter(|(bytes, _)| *bytes > 0) {
        out.line(format!("{:>10}  {what}", octets(*bytes)))?;
    }
    out.line(format!("{:>10}  everything else: peers, connections, configuration, threads", octets(rest)))
}

fn source_words(source: &SourceRow) -> String {
    let only = source.only.as_ref().map_or_else(String::new, |only| format!(" {only}"));
    let what = format!("{}{only}, {} known", source.kind, source.objects);
    let Some(listed) = source.listed_seconds_ago else { return format!("{what}; not listed yet") };
    let contact = source.contact_seconds_ago.map_or_else(String::new, |ago| format!(", last word {} ago", duration(ago)));
    let pages = if source.pages { ", listed in pages" } else { "" };
    format!("{what} since {}: {} events, {}{contact}{pages}", duration(listed), source.events, octets(source.octets))
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

/// `catbird bfd X`
pub fn bfd(out: &mut Output, row: &BfdRow) -> io::Result<()> {
    let style = if row.state == "up" { Style::Good } else { Style::Bad };
    let (name, state) = (out.paint(&styled(&row.peer, Style::Bold)), out.paint(&styled(&row.state, style)));
    out.line(format!("{name}  {}  {}", row.address, row.path))?;
    out.line(format!(
        "state       {state} since {}, {}; came up {} times, went down {}",
        duration(row.state_seconds),
        row.diagnostic,
        row.ups,
        row.downs
    ))?;
    out.line(format!("peer says   {}, {}", row.remote_state, row.remote_diagnostic))?;
    let times =
        |t: &BfdTimes| format!("sends every {}, takes every {}, multiplier {}", millis(t.min_tx_ms), millis(t.min_rx_ms), t.multiplier);
    out.line(format!("ours        {}, discriminator {:#010x}", times(&row.local), row.local_discriminator))?;
    if row.remote_discriminator == 0 {
        out.line("theirs      not heard")?;
    } else {
        out.line(format!("theirs      {}, discriminator {:#010x}", times(&row.remote), row.remote_discriminator))?;
    }
    let polling = if row.polling { "; other times are being agreed on" } else { "" };
    let detects = row.detection_ms.map_or_else(|| "never".to_owned(), |ms| format!("after {}", millis(ms)));
    out.line(format!("in use      we send every {}, silence is noticed {detects}{polling}", millis(row.interval_ms)))?;
    out.line(format!("auth        {}{}", row.auth.as_deref().unwrap_or("none"), if row.passive { ", passive" } else { "" }))?;
    out.line(format!("packets     {} received, {} sent", row.received, row.sent))?;
    for (why, count) in &row.dropped {
        out.line(out.paint(&styled(format!("dropped     {count}: {}", Drop::explain(why)), Style::Warn)))?;
    }
    if let Some(last) = &row.last_down {
        let ago = duration(last.seconds_ago);
        out.line(format!("last down   {ago} ago: {}; the peer said: {}", last.diagnostic, last.remote_diagnostic))?;
    }
    Ok(())
}

/// `catbird rpki`, below the caches.
pub fn rpki(out: &mut Output, report: &RpkiReport) -> io::Result<()> {
    let Some(source) = &report.source else {
        let text = "no cache is synchronised: every route is not-found";
        return if report.caches.is_empty() { Ok(()) } else { out.line(out.paint(&styled(text, Style::Warn))) };
    };
    let said = duration(report.age_seconds.unwrap_or_default());
    let left = duration(report.expires_seconds.unwrap_or_default());
    let number = |of: Option<u32>| of.map_or_else(|| "-".to_owned(), |n| n.to_string());
    out.line(format!("VRPs      {} IPv4, {} IPv6, from {source}", report.vrps_ipv4, report.vrps_ipv6))?;
    let (session, serial) = (number(report.session.map(u32::from)), number(report.serial));
    out.line(format!("state     session {session}, serial {serial}, said {said} ago; without another word it counts for {left} more"))
}

/// `catbird rpki PREFIX [AS]`
pub fn verdict(out: &mut Output, verdict: &RpkiVerdict) -> io::Result<()> {
    let net = out.paint(&styled(verdict.net, Style::Bold));
    match (&verdict.asn, &verdict.state) {
        (Some(asn), Some(state)) => {
            let style = match state.as_str() {
                "valid" => Style::Good,
                "invalid" => Style::Bad,
                _ => Style::Plain,
            };
            out.line(format!("{net} from {asn}: {}", out.paint(&styled(state, style))))?;
        }
        _ if verdict.covering.is_empty() => out.line(format!("{net}: not-found, whoever originates it"))?,
        _ => out.line(format!("{net}: valid from whom these allow, else invalid"))?,
    }
    if verdict.covering.is_empty() {
        out.line("  no VRP covers it")?;
    }
    for vrp in &verdict.covering {
        let long = if vrp.max_length < verdict.net.prefix_len() { ", too short for it" } else { "" };
        let matches = if vrp.matches == Some(true) { ", which matches" } else { "" };
        out.line(format!("  {} up to /{} from {}{long}{matches}", vrp.net, vrp.max_length, vrp.asn))?;
    }
    if verdict.more > 0 {
        out.line(format!("  and {} more", verdict.more))?;
    }
    Ok(())
}

/// What concerns no single session.
pub fn bfd_notes(out: &mut Output, report: &BfdReport, one: bool) -> io::Result<()> {
    if !report.realtime && !report.sessions.is_empty() {
        let text = "warning: BFD runs without real-time priority (CAP_SYS_NICE): under load it may be late";
        out.line(out.paint(&styled(text, Style::Warn)))?;
    }
    if !report.refused.is_empty() {
        let text = format!("warning: no session with {}: without_realtime = \"refuse\"", report.refused.join(", "));
        out.line(out.paint(&styled(text, Style::Warn)))?;
    }
    for (why, count) in report.dropped.iter().filter(|_| !one) {
        out.line(format!("dropped     {count} packets: {}", Drop::explain(why)))?;
    }
    Ok(())
}

/// `catbird peer X`
pub fn peer(out: &mut Output, peer: &PeerDetail) -> io::Result<()> {
    let row = &peer.row;
    let state = out.paint(&styled(&row.state, peer_style(row)));
    out.line(format!("{}  {}  {}", out.paint(&styled(&row.name, Style::Bold)), row.address, peer.description.as_deref().unwrap_or("")))?;
    out.line(format!("state       {state} since {}, {} flaps", duration(row.state_seconds), row.flaps))?;
    let admin = if row.admin_up { "" } else { ", administratively down" };
    let passive = if peer.passive { ", passive" } else { "" };
    let from = peer.from.clone().filter(|from| peer.description.as_ref().is_none_or(|said| !said.contains(from.as_str())));
    let remote = row.remote_as.map_or_else(|| "any".to_owned(), |asn| asn.to_string());
    out.line(format!("kind        {}, local AS {}, remote AS {remote}{passive}{admin}", row.kind, row.local_as))?;
    for (title, text) in [
        ("from", &from),
        ("bfd", &row.bfd),
        ("why down", &row.why_down),
        ("local", &peer.local_endpoint),
        ("remote", &peer.remote_endpoint),
    ] {
        if let Some(text) = text {
            out.line(format!("{title:12}{text}"))?;
        }
    }
    peer_failures(out, peer)?;
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
    if let Some(tcp) = &peer.transport {
        let waits = match tcp.resent {
            0 => String::new(),
            times => format!(" for {} and more, sent again {times} times", duration(tcp.unacknowledged_seconds)),
        };
        let (waiting, unsent) = (octets(tcp.unacknowledged_bytes.into()), octets(tcp.unsent_bytes.into()));
        out.line(format!("tcp         {waiting} unacknowledged{waits}; {unsent} unsent; MSS {}, path MTU {}", tcp.mss, tcp.path_mtu))?;
    }
    let hint = peer.transport.as_ref().and_then(TransportRow::mtu_hint);
    for warning in row.warnings.iter().chain(&hint) {
        out.line(out.paint(&styled(format!("warning     {warning}"), Style::Warn)))?;
    }
    for event in &peer.events {
        let times = if event.count > 1 {
            format!("  ({} times, first {} ago)", event.count, duration(event.first_ago_seconds))
        } else {
            String::new()
        };
        out.line(format!("{:>9} ago  {}{times}", duration(event.ago_seconds), event.what))?;
    }
    Ok(())
}

/// All reasons why it is not up, the most telling first.
fn peer_failures(out: &mut Output, peer: &PeerDetail) -> io::Result<()> {
    for failure in &peer.row.failures {
        let (first, last) = (duration(failure.first_ago_seconds), duration(failure.last_ago_seconds));
        let when =
            if failure.count == 1 { format!("{last} ago") } else { format!("{} times, first {first} ago, last {last} ago", failure.count) };
        out.line(format!("  failed    {} ({when})", failure.reason))?;
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
        let paths = if f.prefixes == f.received { String::new() } else { format!(" for {} prefixes", f.prefixes) };
        let limit = f.max_prefix.map_or(paths.clone(), |max| format!("{paths} of at most {max}"));
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
    let host = explanation.asked.prefix_len() == explanation.asked.max_prefix_len() && explanation.asked != explanation.net;
    let asked = if host { format!("  (the longest prefix in use that holds {})", explanation.asked.addr()) } else { String::new() };
    out.line(format!("{}{asked}", out.paint(&styled(explanation.net, Style::Bold))))?;
    if let Some(from) = &explanation.from {
        out.line(format!("  ours, from {from}"))?;
    }
    if explanation.paths.is_empty() {
        out.line("  nobody announces it")?;
        if let Some(gone) = &explanation.departed {
            out.line(format!("  last from {}, until {} ago: {}", gone.peer, duration(gone.ago_seconds as f64), gone.why))?;
        }
    }
    for (words, nets) in [("packets to it follow", &explanation.covering), ("longer ones inside it:", &explanation.longer)] {
        let shown = if words.starts_with("packets") && !explanation.paths.is_empty() { &[][..] } else { nets.as_slice() };
        if !shown.is_empty() {
            let list = shown.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            out.line(format!("  {words} {list}"))?;
        }
    }
    for path in &explanation.paths {
        path_explanation(out, path)?;
    }
    kernel(out, explanation)?;
    exports(out, &explanation.exports)
}

fn path_explanation(out: &mut Output, path: &PathExplanation) -> io::Result<()> {
    let route = &path.route;
    let style = match path.fate {
        Fate::Best | Fate::Shares => Style::Good,
        Fate::Lost => Style::Plain,
        Fate::Ineligible | Fate::Refused => Style::Bad,
    };
    let from = route.peer_address.map_or_else(String::new, |addr| format!(" ({addr})"));
    let since = route.age_seconds.map_or_else(String::new, |seconds| format!(", for {}", age(seconds)));
    out.line(format!("  from {}{from}: {}{since}", route.peer, out.paint(&styled(path.verdict(), style))))?;
    let as_path = if route.as_path.is_empty() { "empty" } else { &route.as_path };
    let pref = route.local_pref.map_or_else(String::new, |p| format!(", local pref {p}"));
    let med = route.med.map_or_else(String::new, |m| format!(", MED {m}"));
    out.line(format!("    AS path {as_path}, origin {}{pref}{med}", route.origin))?;
    if let Some(asn) = route.only_to_customer {
        out.line(format!("    only to customers, says {asn} (RFC 9234)"))?;
    }
    if let Some(state) = &route.rpki {
        let style = if state == "invalid" { Style::Warn } else { Style::Plain };
        out.line(format!("    rpki {}: `catbird rpki {}` names the VRPs", out.paint(&styled(state, style)), route.net))?;
    }
    let all = [&route.communities, &route.large_communities, &route.extended_communities];
    let communities: Vec<&str> = all.into_iter().flatten().map(String::as_str).collect();
    if !communities.is_empty() {
        out.line(format!("    communities {}", communities.join(" ")))?;
    }
    if let Some(id) = route.originator_id {
        let clusters: Vec<String> = route.cluster_list.iter().map(ToString::to_string).collect();
        out.line(format!("    reflected: originator {id}, clusters {}", clusters.join(" ")))?;
    }
    if route.stale {
        let left =
            path.stale_seconds_left.map_or_else(String::new, |left| format!("; goes in {} unless it is announced again", duration(left)));
        out.line(out.paint(&styled(format!("    stale: its peer is away or restarted{left}"), Style::Warn)))?;
    }
    let Some(hop) = &route.next_hop else { return Ok(()) };
    let Some(resolution) = &path.resolution else { return out.line(format!("    next hop {hop}: not looked up")) };
    let by = resolution.by.map_or_else(String::new, |net| format!(", by {net}"));
    out.line(format!("    next hop {hop}: {resolution}{by}"))
}

/// What we want there, what stands there, and what packets do.
fn kernel(out: &mut Output, explanation: &Explanation) -> io::Result<()> {
    match (&explanation.fib, &explanation.not_written) {
        (_, Some(rule)) => out.line(format!("  kernel: not written: {rule}"))?,
        (Some(row), None) => wanted_route(out, row)?,
        (None, None) => out.line("  kernel: not wanted there")?,
    }
    explanation.kernel.as_ref().map_or(Ok(()), |answer| packets(out, explanation, answer))
}

fn wanted_route(out: &mut Output, row: &FibRow) -> io::Result<()> {
    let error = row.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let wanted = row.wanted.as_ref().or(row.installed.as_ref()).map_or_else(String::new, |entry| entry.as_ip_route(&row.net));
    let style = if row.state == "installed" { Style::Good } else { Style::Bad };
    out.line(format!("  kernel: {}{error}  {wanted}", out.paint(&styled(&row.state, style))))
}

/// The kernel's own answer, and what to do if it is not by a route of ours though we want one.
fn packets(out: &mut Output, explanation: &Explanation, answer: &KernelAnswer) -> io::Result<()> {
    let astray = !answer.ours && explanation.fib.as_ref().is_some_and(|row| row.wanted.is_some()) && answer.net == Some(explanation.net);
    let style = if astray { Style::Bad } else { Style::Plain };
    out.line(format!("  packets to {}: {}", answer.address, out.paint(&styled(&answer.route, style))))?;
    if !astray {
        return Ok(());
    }
    let owner = &answer.protocol;
    let drop = format!("ip route del {} proto {owner} metric {}", explanation.net, answer.metric);
    let text = format!(
        "    another's route (proto {owner}) carries them, not ours: `{drop}` removes it; `[fib] conflict` and `metric` say who yields"
    );
    out.line(out.paint(&styled(text, Style::Bad)))
}

/// Peers that are named for one reason; the others are counted.
const NAMED: usize = 6;

/// One line for each reason.
fn exports(out: &mut Output, exports: &[ExportRow]) -> io::Result<()> {
    let mut groups: Vec<(bool, &str, Vec<&str>)> = Vec::new();
    for export in exports {
        match groups.iter_mut().find(|(announced, reason, _)| (*announced, *reason) == (export.announced, export.explanation.as_str())) {
            Some((_, _, peers)) => peers.push(&export.peer),
            None => groups.push((export.announced, &export.explanation, vec![&export.peer])),
        }
    }
    for (announced, reason, peers) in groups {
        let told = if announced { styled("told", Style::Good) } else { styled("not told", Style::Dim) };
        let more = peers.len().saturating_sub(NAMED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names: Vec<&str> = peers.iter().take(NAMED).copied().collect();
        out.line(format!("  {} to {}{rest}: {reason}", out.paint(&told), names.join(", ")))?;
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
