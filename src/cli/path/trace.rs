//! A packet's way from node to node: who is asked next, and where the way ends.
//!
//! In: a packet and somebody who can ask nodes ([`Ask`]). Out: the stops, in their order. Nothing here speaks to a network, so that ways
//! can be tried without one.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::judge::{self, Finding, Weight};
use crate::api::{Fate, ForwardingHop, ForwardingReport};

/// Nodes on a way; more is a circle that goes unseen, or no data centre.
const STOPS: usize = 32;

/// Which node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This machine's.
    Here,
    /// The one with this address.
    At(IpAddr),
}

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub from: Option<IpAddr>,
    pub to: IpAddr,
    /// The address of the node that it is sent to.
    pub at: Option<IpAddr>,
    pub mark: u32,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// In words.
    pub text: String,
    /// Somebody is there who refuses: the machine lives, and may forward, though no daemon answers.
    pub alive: bool,
}

/// Somebody who asks nodes.
pub trait Ask {
    /// # Errors
    /// The node does not answer.
    fn ask(&self, place: Place, packet: &Packet) -> Result<ForwardingReport, Silence>;
}

/// One node on the way.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Stop {
    /// By which it was asked; `None`: over the control socket of this machine.
    pub address: Option<IpAddr>,
    /// The nodes between this one and the one before could not be asked.
    pub gap: bool,
    /// `None`: it did not answer.
    pub report: Option<ForwardingReport>,
    /// Why not.
    pub error: Option<String>,
    /// It did not answer, but its machine lives.
    pub alive: bool,
    /// What is wrong here, or worth knowing.
    pub findings: Vec<Finding>,
    #[serde(skip)]
    #[schemars(skip)]
    pub place: Option<Place>,
}

impl Stop {
    fn of(place: Place, answer: Result<ForwardingReport, Silence>, gap: bool) -> Stop {
        let address = if let Place::At(address) = place { Some(address) } else { None };
        let (report, error, alive) = match answer {
            Ok(report) => (Some(report), None, true),
            Err(Silence { text, alive }) => (None, Some(text), alive),
        };
        Stop { address, gap, report, error, alive, findings: Vec::new(), place: Some(place) }
    }

    /// Its name, or the address that does not answer.
    pub fn name(&self) -> String {
        let address = || self.address.map_or_else(|| "this node".to_owned(), |address| address.to_string());
        self.report.as_ref().map_or_else(address, |report| report.node.clone())
    }

    /// The packet is where it is to go, as far as this node sees.
    pub fn delivers(&self) -> bool {
        self.report.as_ref().is_some_and(|report| matches!(report.verdict.as_str(), "local" | "on_link"))
    }
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Way {
    pub stops: Vec<Stop>,
    /// The packet arrives, as far as those who answered see.
    pub arrives: bool,
}

impl Way {
    /// The cause, and where: the first node that does otherwise than BGP says, or that stops the packet.
    pub fn cause(&self) -> Option<(&Stop, &Finding)> {
        let of = |stop: &Stop| stop.findings.first().is_some_and(|finding| finding.weight > Weight::Note);
        self.stops.iter().find(|stop| of(stop)).and_then(|stop| stop.findings.first().map(|finding| (stop, finding)))
    }

    /// Of all findings.
    pub fn heaviest(&self) -> Option<Weight> {
        self.stops.iter().flat_map(|stop| &stop.findings).map(|finding| finding.weight).max()
    }

    /// Names, for comparing both directions.
    pub fn names(&self) -> Vec<String> {
        self.stops.iter().filter(|stop| stop.report.is_some()).map(Stop::name).collect()
    }
}

/// The way of that packet that a report chooses.
pub fn chosen(report: &ForwardingReport) -> Option<&ForwardingHop> {
    report.hops.iter().find(|hop| hop.chosen).or(report.hops.first())
}

/// The next hop of the path that BGP prefers.
pub fn bgp_next_hop(report: &ForwardingReport) -> Option<IpAddr> {
    let best = report.why.paths.iter().find(|path| path.fate == Fate::Best)?;
    best.route.next_hop.as_deref()?.split([' ', '%']).next()?.parse().ok()
}

/// Is the destination a pod or an address of this very node, by BGP?
fn is_own(report: &ForwardingReport) -> bool {
    report.why.paths.iter().any(|path| path.fate == Fate::Best && path.route.peer == "local")
}

/// Follows a packet.
pub fn follow(ask: &impl Ask, start: Place, packet: Packet) -> Way {
    let mut way = Way::default();
    let mut next = Some((start, packet, false));
    while let Some((place, packet, gap)) = next.take() {
        let stop = Stop::of(place, ask.ask(place, &packet), gap);
        let seen = stop.report.is_some() && way.names().contains(&stop.name());
        way.stops.push(stop);
        if seen || way.stops.len() >= STOPS {
            judge::circle(&mut way);
            return way;
        }
        next = onward(&way, &packet).or_else(|| from_elsewhere(ask, &way, packet));
    }
    judge::way(&mut way);
    way
}

/// The very first is silent: this machine knows who announces the destination.
fn from_elsewhere(ask: &impl Ask, way: &Way, packet: Packet) -> Option<(Place, Packet, bool)> {
    let nobody = way.stops.len() == 1 && way.stops[0].report.is_none() && way.stops[0].place != Some(Place::Here);
    let here = nobody.then(|| ask.ask(Place::Here, &Packet { from: None, at: None, ..packet }).ok()).flatten()?;
    let place = if is_own(&here) { Place::Here } else { Place::At(bgp_next_hop(&here)?) };
    (way.stops[0].place != Some(place)).then_some((place, Packet { at: None, ..packet }, true))
}

/// Who is asked next, what, and whether somebody is passed over.
fn onward(way: &Way, packet: &Packet) -> Option<(Place, Packet, bool)> {
    let last = way.stops.last()?;
    let Some(report) = &last.report else {
        // Who is silent is passed over: who announces the destination is asked.
        let before = way.stops.iter().rev().find_map(|stop| stop.report.as_ref())?;
        let next = bgp_next_hop(before).filter(|next| way.stops.iter().all(|stop| stop.address != Some(*next)))?;
        return Some((Place::At(next), Packet { at: None, ..*packet }, true));
    };
    let hop = chosen(report)?;
    match (report.verdict.as_str(), hop.gateway) {
        ("forwarded", Some(gateway)) => {
            // What leaves a tunnel comes in by the tunnel's device, and not by the link that has the address of its end.
            let at = Some(gateway).filter(|_| hop.link.tunnel.is_none());
            // A link-local address leads nowhere from elsewhere.
            let reachable = |address: &IpAddr| !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let address = Some(hop.tunnel_to.unwrap_or(gateway)).filter(reachable).or_else(|| bgp_next_hop(report))?;
            Some((Place::At(address), Packet { at: at.filter(reachable), ..*packet }, false))
        }
        // A node on the same link.
        ("on_link", _) if !is_own(report) && last.address != Some(packet.to) => {
            Some((Place::At(packet.to), Packet { at: Some(packet.to), ..*packet }, false))
        }
        _ => None,
    }
}
