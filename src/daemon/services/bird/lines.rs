//! BIRD's replies, line by line, and what is understood of its commands.
//!
//! In: a line of a client; rows of the router. Out: what was asked; text. A reply is lines with a code of four digits: `1002-` begins lines of one
//! kind, a blank goes on with the same, and a code with a blank behind it is the last one. Names of peers are those of Calico's sessions, so that
//! who reads them finds the kind and the address in them. Times are UTC.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;

use crate::api::{BlockRow, HopRow, PeerDetail, PeerRow, RouteRow, Status};
use crate::kernel::NamePattern;
use crate::num::utc;

/// BIRD names its times by the day from this age on.
const SHORT: Duration = Duration::from_secs(20 * 60 * 60);

/// Which of both sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    V4,
    V6,
}

impl Side {
    pub fn file(self) -> &'static str {
        match self {
            Side::V4 => "bird.ctl",
            Side::V6 => "bird6.ctl",
        }
    }

    pub fn is(self, v6: bool) -> bool {
        (self == Side::V6) == v6
    }
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// An empty line.
    Nothing,
    Quit,
    Status,
    Protocols {
        /// One, or a pattern; `None`: all.
        name: Option<String>,
        details: bool,
    },
    Routes(Routes),
    /// The whole reply.
    Unknown(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routes {
    pub lookup: Lookup,
    /// With their attributes.
    pub details: bool,
    /// Only those in use.
    pub primary: bool,
    pub count: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    All,
    Prefix(IpNet),
    For(IpAddr),
    ExportedTo(String),
    ReceivedFrom(String),
}

const SYNTAX: Asked = Asked::Unknown("9001 syntax error, or not a command that is known here");
const READ_ONLY: Asked = Asked::Unknown("8007 Access denied: catbird is changed by its own commands and by the objects of the cluster");

/// Is this word, perhaps cut short, the one?
fn is(word: &str, whole: &str) -> bool {
    word.len() >= 2 && whole.starts_with(word)
}

/// What a line asks for. Words may be cut short, names may stand in quotes.
pub(super) fn asked(line: &str) -> Asked {
    let words: Vec<&str> = line.trim().trim_end_matches(';').split_whitespace().collect();
    match *words.as_slice() {
        [] => Asked::Nothing,
        [word] if is(word, "quit") || is(word, "exit") => Asked::Quit,
        [show, what, ref rest @ ..] if is(show, "show") => match what {
            _ if is(what, "status") && rest.is_empty() => Asked::Status,
            _ if is(what, "protocols") => protocols(rest),
            _ if is(what, "route") => routes(rest),
            _ => SYNTAX,
        },
        [word, ..]
            if ["configure", "disable", "enable", "restart", "reload", "down", "debug", "graceful"].iter().any(|all| is(word, all)) =>
        {
            READ_ONLY
        }
        _ => SYNTAX,
    }
}

fn unquoted(name: &str) -> String {
    name.trim_matches('"').to_owned()
}

fn protocols(words: &[&str]) -> Asked {
    match *words {
        [] => Asked::Protocols { name: None, details: false },
        [all] if is(all, "all") => Asked::Protocols { name: None, details: true },
        [all, name] if is(all, "all") => Asked::Protocols { name: Some(unquoted(name)), details: true },
        [name] => Asked::Protocols { name: Some(unquoted(name)), details: false },
        _ => SYNTAX,
    }
}

fn routes(words: &[&str]) -> Asked {
    let mut asked = Routes { lookup: Lookup::All, details: false, primary: false, count: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut argument = || words.next().copied();
        match *word {
            word if is(word, "all") => asked.details = true,
            word if is(word, "primary") => asked.primary = true,
            word if is(word, "count") => asked.count = true,
            // One table of each family is all there is.
            word if is(word, "table") => drop(argument()),
            word if is(word, "for") => match argument().and_then(|text| text.split('/').next()?.parse().ok()) {
                Some(address) => asked.lookup = Lookup::For(address),
                None => return SYNTAX,
            },
            word if is(word, "export") || is(word, "preexport") => match argument() {
                Some(name) => asked.lookup = Lookup::ExportedTo(unquoted(name)),
                None => return SYNTAX,
            },
            word if is(word, "protocol") => match argument() {
                Some(name) => asked.lookup = Lookup::ReceivedFrom(unquoted(name)),
                None => return SYNTAX,
            },
            word => match word.parse() {
                Ok(net) => asked.lookup = Lookup::Prefix(net),
                Err(_) => return SYNTAX,
            },
        }
    }
    Asked::Routes(asked)
}

/// The times that a reply speaks of.
pub(super) struct Moment {
    pub now: SystemTime,
    pub started: SystemTime,
    pub reconfigured: SystemTime,
}

impl Moment {
    /// So long ago, as a table shows it.
    fn since(&self, age: Duration) -> String {
        let whole = whole(self.now.checked_sub(age).unwrap_or(UNIX_EPOCH));
        let shown = if age < SHORT { whole.get(11..) } else { whole.get(..10) };
        shown.unwrap_or_default().to_owned()
    }
}

/// To the second.
fn whole(at: SystemTime) -> String {
    let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    utc(nanos).get(..19).unwrap_or_default().to_owned()
}

fn age(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn version() -> String {
    format!("BIRD v{}+catbird", env!("CARGO_PKG_VERSION"))
}

pub(super) fn banner() -> String {
    format!("0001 {} ready.\n", version())
}

/// `show status`
pub(super) fn status(status: &Status, moment: &Moment) -> String {
    let mut text = format!("1000-{}\n1011-Router ID is {}\n", version(), status.router_id);
    for (what, at) in
        [("Current server time is", moment.now), ("Last reboot on", moment.started), ("Last reconfiguration on", moment.reconfigured)]
    {
        text.push_str(&format!(" {what} {}\n", whole(at)));
    }
    if status.recovering {
        let waiting = status.peers_configured.saturating_sub(status.peers_established);
        text.push_str(&format!("0024-Graceful restart recovery in progress\n   Waiting for {waiting} protocols to recover\n"));
    }
    text + if status.phase == "stopping" { "0013 Shutdown in progress\n" } else { "0013 Daemon is up and running\n" }
}

/// Lines with their codes.
#[derive(Default)]
struct Coded {
    last: Option<u16>,
    text: String,
}

impl Coded {
    fn line(&mut self, code: u16, line: &str) {
        match self.last.replace(code) {
            Some(last) if last == code => self.text.push_str(&format!(" {line}\n")),
            _ => self.text.push_str(&format!("{code:04}-{line}\n")),
        }
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// `show protocols`
pub(super) struct Protocols<'a> {
    coded: Coded,
    moment: &'a Moment,
    wanted: Option<NamePattern>,
    details: bool,
    found: bool,
}

impl<'a> Protocols<'a> {
    pub fn new(moment: &'a Moment, name: Option<&str>, details: bool) -> Protocols<'a> {
        Protocols { coded: Coded::default(), moment, wanted: name.map(NamePattern::new), details, found: false }
    }

    /// Is it one of those that were asked for?
    pub fn means(&self, name: &str) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.matches(name))
    }

    fn row(&mut self, name: &str, proto: &str, state: &str, age: Duration, info: &str) {
        if !self.found {
            self.coded.line(2002, "name     proto    table    state  since       info");
            self.found = true;
        }
        let since = self.moment.since(age);
        self.coded.line(1002, &format!("{name:<8} {proto:<8} master   {state:<6} {since:<10}  {info}"));
    }

    /// Those that every BIRD of Calico has besides its peers.
    pub fn own(&mut self) -> String {
        let age = self.moment.now.duration_since(self.moment.started).unwrap_or_default();
        for (name, proto) in [("static1", "Static"), ("kernel1", "Kernel"), ("device1", "Device"), ("direct1", "Direct")] {
            if self.means(name) {
                self.row(name, proto, "up", age, "");
                if self.details {
                    self.coded.line(1006, "");
                }
            }
        }
        self.coded.take()
    }

    pub fn peer(&mut self, row: &PeerRow, detail: Option<&PeerDetail>) -> String {
        if !self.means(&row.name) {
            return String::new();
        }
        let state = match row.state.as_str() {
            _ if !row.admin_up => "down",
            "Established" => "up",
            _ => "start",
        };
        let why = row.why_down.as_deref().unwrap_or_default().replace('\n', " ");
        let info = format!("{:<13} {why}", row.state);
        // A name of one word, whatever the configuration calls it: columns are told apart by blanks.
        self.row(&row.name.replace(char::is_whitespace, "_"), "BGP", state, age(row.state_seconds), info.trim_end());
        if self.details {
            details(row, detail).iter().for_each(|line| self.coded.line(1006, line));
            self.coded.line(1006, "");
        }
        self.coded.take()
    }

    pub fn end(&mut self) -> String {
        if self.found { "0000 \n".to_owned() } else { "8003 No protocols match\n".to_owned() }
    }
}

fn details(row: &PeerRow, detail: Option<&PeerDetail>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut say = |title: &str, value: String| lines.push(format!("{title:<22}{value}"));
    if let Some(detail) = detail {
        detail.description.iter().for_each(|text| say("  Description:", text.clone()));
        say("  Input filter:", detail.import.clone());
        say("  Output filter:", detail.export.clone());
    }
    let sum = |of: fn(&crate::api::FamilyRow) -> u64| row.families.iter().map(of).sum::<u64>();
    say("  Routes:", format!("{} imported, {} filtered, {} exported", sum(|f| f.accepted), sum(|f| f.rejected), sum(|f| f.advertised)));
    say("  BGP state:", row.state.clone());
    say("    Neighbor address:", row.address.clone());
    say("    Neighbor AS:", row.remote_as.map_or_else(|| "0".to_owned(), |asn| asn.to_string()));
    if let Some(detail) = detail {
        detail.remote_router_id.iter().for_each(|id| say("    Neighbor ID:", id.to_string()));
        if !detail.capabilities.theirs.is_empty() {
            say("    Neighbor caps:", detail.capabilities.theirs.join(" "));
        }
        say(
            "    Session:",
            format!(
                "{}{}",
                if row.kind == "external" { "external" } else { "internal" },
                if row.kind == "rr_client" { " route-reflector" } else { "" }
            ),
        );
        detail.local_endpoint.iter().for_each(|end| say("    Source address:", without_port(end).to_owned()));
        detail.hold_seconds.iter().for_each(|hold| say("    Hold timer:", format!("{hold}")));
        detail.keepalive_seconds.iter().for_each(|keepalive| say("    Keepalive timer:", format!("{keepalive:.0}")));
    }
    row.why_down.iter().for_each(|why| say("    Last error:", why.replace('\n', " ")));
    lines
}

fn without_port(endpoint: &str) -> &str {
    endpoint.rsplit_once(':').map_or(endpoint, |(address, _)| address.trim_matches(['[', ']']))
}

/// Ways to next hops, by their address; of several the first.
pub(super) type Hops = HashMap<String, HopRow>;

/// `show route`
pub(super) struct Table<'a> {
    coded: Coded,
    asked: &'a Routes,
    moment: &'a Moment,
    side: Side,
    hops: Hops,
    /// Where our own prefixes come from.
    blocks: BTreeMap<IpNet, &'a str>,
    last: Option<IpNet>,
    routes: u64,
    networks: u64,
}

impl<'a> Table<'a> {
    pub fn new(asked: &'a Routes, moment: &'a Moment, side: Side, hops: Hops, blocks: &'a [BlockRow]) -> Table<'a> {
        let blocks = blocks.iter().map(|row| (row.net, row.source.as_str())).collect();
        Table { coded: Coded::default(), asked, moment, side, hops, blocks, last: None, routes: 0, networks: 0 }
    }

    pub fn route(&mut self, row: &RouteRow) -> String {
        if !self.side.is(row.net.addr().is_ipv6()) || row.refused.is_some() || (self.asked.primary && !row.best) {
            return String::new();
        }
        let again = self.last.replace(row.net) == Some(row.net);
        self.routes = self.routes.saturating_add(1);
        self.networks = self.networks.saturating_add(u64::from(!again));
        if self.asked.count {
            return String::new();
        }
        let net = if again { String::new() } else { row.net.to_string() };
        let line = format!("{net:<18} {}", self.way(row));
        self.coded.line(1007, &line);
        if self.asked.details {
            attributes(row).iter().for_each(|(code, line)| self.coded.line(*code, line));
        }
        self.coded.take()
    }

    fn way(&self, row: &RouteRow) -> String {
        // Our own are older than the router.
        let up = self.moment.now.duration_since(self.moment.started).unwrap_or_default();
        let since = self.moment.since(Duration::from_secs(row.age_seconds.unwrap_or(0).into()).min(up));
        let star = if row.best { " *" } else { "" };
        if row.peer_address.is_none() {
            return match self.blocks.get(&row.net) {
                // A pod's own route, which the CNI plugin has written; by which device the router does not know.
                Some(&"kernel") => format!("dev - [kernel1 {since}]{star} (10)"),
                _ => format!("blackhole [static1 {since}]{star} (200)"),
            };
        }
        let from = row.peer.replace(char::is_whitespace, "_");
        let path = row.as_path.split_whitespace().last().map_or_else(String::new, |asn| format!("AS{asn}"));
        let origin = match row.origin.as_str() {
            "IGP" => "i",
            "EGP" => "e",
            _ => "?",
        };
        let way = if row.usable { self.hop(row.next_hop.as_deref().unwrap_or_default()) } else { "unreachable".to_owned() };
        let metric = if row.usable { "0" } else { "-" };
        format!("{way} [{from} {since}]{star} (100/{metric}) [{path}{origin}]")
    }

    /// As BIRD has it: the gateway, which is the next hop itself where the network is shared, and the device.
    fn hop(&self, next_hop: &str) -> String {
        let address = next_hop.split([' ', '(']).next().unwrap_or_default();
        match self.hops.get(address) {
            Some(hop) => {
                format!("via {} on {}", hop.gateway.map_or_else(|| address.to_owned(), |gateway| gateway.to_string()), hop.interface)
            }
            None => format!("via {address} on -"),
        }
    }

    pub fn end(&mut self) -> String {
        match &self.asked.lookup {
            _ if self.asked.count => format!("0014 {0} of {0} routes for {1} networks\n", self.routes, self.networks),
            Lookup::Prefix(_) | Lookup::For(_) if self.routes == 0 => "8001 Network not in table\n".to_owned(),
            _ => "0000 \n".to_owned(),
        }
    }
}

fn attributes(row: &RouteRow) -> Vec<(u16, String)> {
    if row.peer_address.is_none() {
        return vec![(1008, "\tType: static unicast univ".to_owned())];
    }
    let mut lines = vec![(1008, "\tType: BGP unicast univ".to_owned())];
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push((1012, format!("\tBGP.{name}: {value}")));
        }
    };
    say("origin", row.origin.clone());
    say("as_path", row.as_path.clone());
    say("next_hop", row.next_hop.clone().unwrap_or_default());
    say("local_pref", row.local_pref.map_or_else(String::new, |value| value.to_string()));
    say("med", row.med.map_or_else(String::new, |value| value.to_string()));
    say("community", pairs(&row.communities));
    say("large_community", pairs(&row.large_communities));
    say("originator_id", row.originator_id.map_or_else(String::new, |id| id.to_string()));
    say("cluster_list", row.cluster_list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    lines
}

/// `65001:1` as BIRD writes it.
fn pairs(communities: &[String]) -> String {
    communities.iter().map(|text| format!("({})", text.replace(':', ","))).collect::<Vec<_>>().join(" ")
}
