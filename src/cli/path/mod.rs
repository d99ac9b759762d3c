//! `catbird path FROM TO`: the journey of a packet, told by every node on its way, and the first hop that disagrees with BGP.
//!
//! In: two addresses, or names of nodes. Out: both directions, node by node, with what is wrong on each. This machine's daemon is asked over
//! the control socket, the others over their read-only HTTP (`/v1/forwarding`), each for the way that its kernel would send this very packet
//! (RTM_GETROUTE with its source, its mark and the link that it comes in by), for links, neighbours and tunnels on it, and for what BGP
//! says. A node that does not answer is passed over: who announces the destination, as those before know it, is asked next.

mod http;
mod judge;
pub mod trace;

use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::Exit;
use super::client::{ClientError, ask};
use super::output::{Output, Style, styled};
use crate::api::{Answer, Fate, ForwardingHop, ForwardingReport, Question};
use crate::daemon::protocol::{Reply, Request};
use http::Http;
use judge::Weight;
use trace::{Ask, Packet, Place, Silence, Stop, Way, chosen, follow};

/// Of HTTP, where this machine's daemon serves none.
const HTTP_PORT: u16 = 9179;

/// What was typed.
pub struct Asked<'a> {
    pub socket: &'a Path,
    pub from: &'a str,
    pub to: &'a str,
    pub mark: u32,
    /// Of the other nodes' HTTP; `None`: the same as here.
    pub port: Option<u16>,
    /// Where a node is asked instead of at its address.
    pub nodes: &'a [(IpAddr, SocketAddr)],
}

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PathReport {
    pub from: IpAddr,
    pub to: IpAddr,
    pub forward: Way,
    /// `None`: the packet does not arrive, so nothing comes back.
    pub back: Option<Way>,
    /// The way back is over other nodes.
    pub asymmetric: bool,
}

/// Exit code 1 if the packet does not arrive, or no answer comes back.
pub fn run(out: &mut Output, asked: &Asked<'_>) -> Result<Exit, ClientError> {
    let report = trace_both(asked)?;
    match out.json {
        true => out.object(&report)?,
        false => print(out, &report)?,
    }
    let arrives = report.forward.arrives && report.back.as_ref().is_some_and(|back| back.arrives);
    Ok(if arrives { Exit::Fine } else { Exit::Refused })
}

/// The answer.
///
/// # Errors
/// This machine's daemon does not answer, or the addresses make no sense.
pub fn trace_both(asked: &Asked<'_>) -> Result<PathReport, ClientError> {
    let (from, to) = (resolve(asked, asked.from)?, resolve(asked, asked.to)?);
    if from.is_ipv4() != to.is_ipv4() {
        return Err(ClientError::Failed(format!("{from} and {to} are of two families")));
    }
    Ok(report(&Nodes::new(asked)?, from, to, asked.mark))
}

/// Both directions. It begins where the source is.
fn report(nodes: &impl Ask, from: IpAddr, to: IpAddr, mark: u32) -> PathReport {
    let start = owner(nodes, from);
    let forward = follow(nodes, start, Packet { from: Some(from), to, at: None, mark });
    let end = forward.stops.last().filter(|_| forward.arrives).and_then(|stop| stop.place);
    let back = end.map(|place| follow(nodes, place, Packet { from: Some(to), to: from, at: None, mark }));
    let turned = back.as_ref().map(|back| back.names().into_iter().rev().collect::<Vec<_>>());
    let asymmetric = turned.is_some_and(|turned| turned != forward.names());
    PathReport { from, to, forward, back, asymmetric }
}

/// The node that has this address or the pod behind it, as the way there shows; of one outside, the last node before it.
fn owner(nodes: &impl Ask, address: IpAddr) -> Place {
    let way = follow(nodes, Place::Here, Packet { from: None, to: address, at: None, mark: 0 });
    let [.., before, last] = way.stops.as_slice() else { return Place::Here };
    // A node that is announced and does not answer is where it begins all the same; a router of others is not.
    let announcer = before.report.as_ref().and_then(trace::bgp_next_hop).map(Place::At);
    let place = if last.report.is_some() || announcer == last.place { last.place } else { before.place };
    place.unwrap_or(Place::Here)
}

/// An address, or that of the peer or node with this name.
fn resolve(asked: &Asked<'_>, text: &str) -> Result<IpAddr, ClientError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    for reply in ask(asked.socket, &Request::Query(Question::Peers { cursor: 0 }))? {
        if let Reply::Answer(Answer::Peers(page)) = reply?
            && let Some(peer) = page.rows.iter().find(|peer| peer.name == text)
            && let Ok(address) = peer.address.parse()
        {
            return Ok(address);
        }
    }
    Err(ClientError::Failed(format!("{text} is neither an address nor the name of a peer of this node (`catbird peers`)")))
}

/// All nodes: this one over its socket, the others over HTTP.
struct Nodes<'a> {
    asked: &'a Asked<'a>,
    http: Http,
    /// This machine's.
    port: OnceCell<u16>,
}

impl<'a> Nodes<'a> {
    /// # Errors
    /// This machine's daemon does not answer, which is where everything begins.
    fn new(asked: &'a Asked<'a>) -> Result<Nodes<'a>, ClientError> {
        let nodes = Nodes { asked, http: Http::new()?, port: OnceCell::new() };
        let here = nodes.here(&Packet { from: None, to: resolve(asked, asked.to)?, at: None, mark: 0 })?;
        nodes.port.get_or_init(|| asked.port.or(here.http_port).unwrap_or(HTTP_PORT));
        Ok(nodes)
    }

    fn here(&self, packet: &Packet) -> Result<ForwardingReport, ClientError> {
        let &Packet { to, from, at, mark } = packet;
        let mut replies = ask(self.asked.socket, &Request::Query(Question::Forwarding { to, from, at, mark }))?;
        match replies.next() {
            Some(Ok(Reply::Answer(Answer::Forwarding(report)))) => Ok(*report),
            Some(Ok(Reply::Answer(Answer::Refused(why)))) => Err(ClientError::Failed(why)),
            Some(Err(error)) => Err(error),
            other => Err(ClientError::Strange(format!("{other:?}"))),
        }
    }

    fn there(&self, node: IpAddr, packet: &Packet) -> Result<ForwardingReport, Silence> {
        let elsewhere = self.asked.nodes.iter().find(|(address, _)| *address == node).map(|(_, http)| *http);
        let address = elsewhere.unwrap_or_else(|| SocketAddr::new(node, self.port.get().copied().unwrap_or(HTTP_PORT)));
        let from = packet.from.map_or_else(String::new, |from| format!("&from={from}"));
        let at = packet.at.map_or_else(String::new, |at| format!("&at={at}"));
        let body = self.http.get(address, &format!("/v1/forwarding?to={}{from}{at}&mark={}", packet.to, packet.mark));
        let strange = || format!("http://{address}: what answers there is no catbird, or an older one");
        serde_json::from_slice(&body?).map_err(|_| Silence { text: strange(), alive: true })
    }
}

impl Ask for Nodes<'_> {
    fn ask(&self, place: Place, packet: &Packet) -> Result<ForwardingReport, Silence> {
        match place {
            Place::Here => self.here(packet).map_err(|error| Silence { text: error.to_string(), alive: true }),
            Place::At(node) => self.there(node, packet),
        }
    }
}

fn print(out: &mut Output, report: &PathReport) -> io::Result<()> {
    direction(out, &format!("{} -> {}", report.from, report.to), &report.forward)?;
    if let Some(back) = &report.back {
        out.line("")?;
        direction(out, &format!("{} -> {}, the way back", report.to, report.from), back)?;
    }
    if report.asymmetric {
        out.line(out.paint(&styled("the way back is over other nodes", Style::Warn)))?;
    }
    Ok(())
}

fn direction(out: &mut Output, title: &str, way: &Way) -> io::Result<()> {
    out.line(out.paint(&styled(title, Style::Bold)))?;
    for (n, stop) in way.stops.iter().enumerate() {
        if stop.gap {
            out.line("    ... what lies between is not known")?;
        }
        print_stop(out, n + 1, stop)?;
    }
    let verdict = match way.cause() {
        Some((stop, finding)) if way.arrives => {
            styled(format!("arrives, but not as BGP says: at {}, {}", stop.name(), finding.text), Style::Warn)
        }
        Some((stop, finding)) => styled(format!("does not arrive: at {}, {}", stop.name(), finding.text), Style::Bad),
        None if way.arrives => styled("arrives", Style::Good),
        None => {
            let last = way.stops.iter().rev().find(|stop| stop.report.is_some()).map(Stop::name);
            let last = last.unwrap_or_else(|| "nobody".to_owned());
            styled(format!("is not known to arrive: {last} is the last who answers, and sends it on"), Style::Warn)
        }
    };
    out.line(format!("  = {}", out.paint(&verdict)))
}

fn print_stop(out: &mut Output, n: usize, stop: &Stop) -> io::Result<()> {
    let address = stop.address.map_or_else(String::new, |address| format!(" ({address})"));
    let name = if stop.report.is_some() { format!("{}{address}", stop.name()) } else { stop.name() };
    out.line(format!("{n:>3} {}", out.paint(&styled(name, Style::Bold))))?;
    if let Some(report) = &stop.report {
        let input = report.input.as_ref().map_or_else(String::new, |link| format!("in by {}; ", link.interface));
        let route = report.route.as_ref().map_or_else(|| report.verdict.clone(), |route| route.route.clone());
        out.line(format!("      {input}{route}"))?;
        if let Some(hop) = chosen(report) {
            out.line(format!("      {}", hop_line(hop, report)))?;
        }
        if let Some(path) = report.why.paths.iter().find(|path| path.fate == Fate::Best) {
            let from = if path.route.peer == "local" { "its own".to_owned() } else { format!("from {}", path.route.peer) };
            out.line(format!("      BGP: {} {from}, {}", report.why.net, path.verdict()))?;
        }
    }
    for finding in &stop.findings {
        let style = if finding.weight == Weight::Fault { Style::Bad } else { Style::Warn };
        out.line(format!("      {}", out.paint(&styled(format!("! {}", finding.text), style))))?;
    }
    Ok(())
}

/// The link that it leaves by, and who is there.
fn hop_line(hop: &ForwardingHop, report: &ForwardingReport) -> String {
    let mut text = format!("out by {}, mtu {}", hop.link.interface, hop.link.mtu);
    if let (Some(kind), Some(end)) = (&hop.link.tunnel, hop.tunnel_to) {
        text.push_str(&format!(", {kind} to {end}"));
    }
    if let Some(entry) = &hop.neighbour {
        let mac = entry.mac.as_deref().unwrap_or("no address");
        text.push_str(&format!(", neighbour {} {mac} {}", entry.address, entry.state));
    }
    if report.hops.len() > 1 {
        text.push_str(&format!(", one of {} ways", report.hops.len()));
    }
    text
}

#[cfg(test)]
mod tests;
