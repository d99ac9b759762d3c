//! What the routers of a story must come to agree on: `expect.toml`.
//!
//! In: the file, and a way to look into each node. Out: nothing if all of it is so, else every difference, a line each.
//! Routes are written as `ip route` prints them; what a line does not say (protocol, metric, device) is not asked.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::netlink::{KRoute, protocol_name};

/// The file: a list of situations, to be reached one after the other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    pub expect: Vec<Expectation>,
}

/// One situation: what happens, and what must hold soon after.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    pub name: String,
    /// Counted from the moment when `run` or `kill` begins.
    #[serde(deserialize_with = "seconds")]
    pub within: Duration,
    /// For so long it must stay so, without a gap.
    #[serde(default, deserialize_with = "seconds")]
    pub lasting: Duration,
    /// An earlier situation: what it expects of a node holds here, too, unless this one says something else of that node.
    pub like: Option<String>,
    /// One command or several, one after the other.
    #[serde(default)]
    pub run: Runs,
    /// A node whose daemons are killed (SIGKILL). Nothing is asked of it afterwards: its container is gone.
    pub kill: Option<String>,
    /// Node -> the peers with which its session is established: addresses or names.
    #[serde(default)]
    pub sessions: BTreeMap<String, Vec<String>>,
    /// Node -> the peers with which it has none.
    #[serde(default)]
    pub no_sessions: BTreeMap<String, Vec<String>>,
    /// Node -> routes that its kernel has.
    #[serde(default)]
    pub routes: BTreeMap<String, Vec<RouteLine>>,
    /// Node -> prefixes to which its kernel has no route.
    #[serde(default)]
    pub absent: BTreeMap<String, Vec<IpNet>>,
    /// Node -> addresses that answer its pings.
    #[serde(default)]
    pub pings: BTreeMap<String, Vec<IpAddr>>,
    /// Node -> addresses that do not.
    #[serde(default)]
    pub silent: BTreeMap<String, Vec<IpAddr>>,
    /// Node -> lines of `/metrics`.
    #[serde(default)]
    pub metrics: BTreeMap<String, Vec<String>>,
    /// What commands print.
    #[serde(default)]
    pub says: Vec<Says>,
    /// Node -> addresses to which an echo request goes each hundredth of a second, from before `run` or `kill` until all of this is so.
    #[serde(default)]
    pub stream: BTreeMap<String, Vec<IpAddr>>,
    /// So many of them, of each address, may stay without an answer.
    #[serde(default)]
    pub lost: usize,
}

/// What a command on a node prints, or what it does not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Says {
    pub on: String,
    pub command: String,
    #[serde(default)]
    pub has: Vec<String>,
    #[serde(default)]
    pub lacks: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub on: String,
    pub command: String,
}

/// TOML lets people write one table or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Runs {
    One(Run),
    Many(Vec<Run>),
}

impl Default for Runs {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Runs {
    pub fn list(&self) -> &[Run] {
        match self {
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(runs) => runs,
        }
    }
}

impl Expectation {
    /// The nodes that it asks something of.
    pub fn looks_at(&self) -> impl Iterator<Item = &String> {
        let sessions = self.sessions.keys().chain(self.no_sessions.keys());
        let kernels = self.routes.keys().chain(self.absent.keys());
        let pings = self.pings.keys().chain(self.silent.keys()).chain(self.stream.keys());
        sessions.chain(kernels).chain(pings).chain(self.metrics.keys()).chain(self.says.iter().map(|says| &says.on))
    }

    /// The nodes that something is done to.
    pub fn acts_on(&self) -> impl Iterator<Item = &String> {
        self.kill.iter().chain(self.run.list().iter().map(|run| &run.on))
    }

    fn take_over(&mut self, other: &Self) {
        fn inherit<T: Clone>(mine: &mut BTreeMap<String, Vec<T>>, theirs: &BTreeMap<String, Vec<T>>) {
            for (node, lines) in theirs {
                mine.entry(node.clone()).or_insert_with(|| lines.clone());
            }
        }
        inherit(&mut self.sessions, &other.sessions);
        inherit(&mut self.no_sessions, &other.no_sessions);
        inherit(&mut self.routes, &other.routes);
        inherit(&mut self.absent, &other.absent);
        inherit(&mut self.pings, &other.pings);
        inherit(&mut self.silent, &other.silent);
    }
}

impl Says {
    /// What is wrong with what was printed.
    pub fn differs(&self, text: &str) -> Vec<String> {
        let missing = self.has.iter().filter(|words| !text.contains(*words)).map(|words| format!("does not say {words:?}"));
        let there = self.lacks.iter().filter(|words| text.contains(*words)).map(|words| format!("says {words:?}"));
        let wrong: Vec<String> = missing.chain(there).collect();
        if wrong.is_empty() {
            return wrong;
        }
        vec![format!("{}: `{}` {}; it says:\n{text}", self.on, self.command, wrong.join(" and "))]
    }
}

/// A route as a person writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RouteLine {
    text: String,
    net: IpNet,
    kind: String,
    vias: Vec<IpAddr>,
    /// Next hops written as `via any`: a link-local address that nobody chose.
    any: usize,
    /// One for all next hops, or one for each.
    devs: Vec<String>,
    proto: Option<String>,
    metric: Option<u32>,
}

impl Expectations {
    /// # Errors
    /// An unreadable file, or a line in it that is.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// # Errors
    /// What cannot be read, a `like` of nothing before, and whatever is asked of a node that was killed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut read: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut killed: Vec<String> = Vec::new();
        for at in 0..read.expect.len() {
            let (before, rest) = read.expect.split_at_mut(at);
            let Some(expect) = rest.first_mut() else { break };
            if let Some(like) = &expect.like {
                let other = before.iter().find(|other| other.name == *like);
                expect.take_over(other.ok_or_else(|| format!("{:?} is like {like:?}, which is no situation before it", expect.name))?);
            }
            killed.extend(expect.kill.clone());
            let looked = expect.looks_at().chain(expect.run.list().iter().map(|run| &run.on)).find(|node| killed.contains(node));
            if let Some(node) = looked {
                return Err(format!("{:?} asks something of {node}, which was killed: its container is gone", expect.name));
            }
        }
        Ok(read)
    }
}

impl TryFrom<String> for RouteLine {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut words = text.split_whitespace().peekable();
        let kind = match words.peek() {
            Some(&kind @ ("blackhole" | "unreachable" | "prohibit")) => {
                words.next();
                kind
            }
            _ => "unicast",
        };
        let net = words.next().and_then(parse_net).ok_or_else(|| format!("{text:?}: no prefix"))?;
        let (vias, any, devs, proto, metric) = (Vec::new(), 0, Vec::new(), None, None);
        let mut line = Self { net, kind: kind.into(), vias, any, devs, proto, metric, text: text.clone() };
        while let Some(word) = words.next() {
            if ["nexthop", "inet6", "onlink"].contains(&word) {
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{text:?}: {word} of what?"))?;
            let wrong = || format!("{text:?}: {word} {value}?");
            match word {
                "via" if value == "any" => line.any += 1,
                "via" if value == "inet6" => match words.next() {
                    Some("any") => line.any += 1,
                    addr => line.vias.push(addr.and_then(|addr| addr.parse().ok()).ok_or_else(wrong)?),
                },
                "via" => line.vias.push(value.parse().map_err(|_| wrong())?),
                "dev" => line.devs.push(value.into()),
                "proto" => line.proto = Some(value.into()),
                "metric" => line.metric = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        line.devs.sort();
        Ok(line)
    }
}

impl RouteLine {
    fn is(&self, route: &KRoute) -> bool {
        let vias: Vec<IpAddr> = route.hops.iter().filter_map(|hop| hop.via).collect();
        self.net == route.net
            && self.kind == route.kind
            && self.vias.len() + self.any == vias.len()
            && self.vias.iter().all(|via| vias.contains(via))
            && self.leads_over(route)
            && self.proto.as_ref().is_none_or(|proto| *proto == protocol_name(route.protocol))
            && self.metric.is_none_or(|metric| metric == route.metric)
    }
}

impl RouteLine {
    fn leads_over(&self, route: &KRoute) -> bool {
        let mut devs: Vec<&String> = route.hops.iter().filter_map(|hop| hop.dev.as_ref()).collect();
        devs.sort();
        match &self.devs[..] {
            [] => true,
            [dev] => devs.iter().all(|there| *there == dev),
            all => devs.iter().copied().eq(all),
        }
    }
}

fn parse_net(word: &str) -> Option<IpNet> {
    match word {
        "default" => "0.0.0.0/0".parse().ok(),
        _ => word.parse().ok().or_else(|| word.parse().ok().map(|addr: IpAddr| addr.into())),
    }
}

/// What is wrong with these routes, measured by what was expected of them.
pub fn routes_differ(node: &str, wanted: &[RouteLine], gone: &[IpNet], routes: &[KRoute]) -> Vec<String> {
    let missing = wanted.iter().filter(|line| !routes.iter().any(|route| line.is(route))).map(|line| {
        let there: Vec<String> = routes.iter().filter(|route| route.net == line.net).map(ToString::to_string).collect();
        let instead = if there.is_empty() { "no such route".to_string() } else { there.join(" and ") };
        format!("{node}: wanted `{}`, found {instead}", line.text)
    });
    let left = gone.iter().filter_map(|net| routes.iter().find(|route| route.net == *net));
    missing.chain(left.map(|route| format!("{node}: still has `{route}`"))).collect()
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not like \"10s\" or \"500ms\"")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs_f64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::KHop;
    use super::*;

    fn line(text: &str) -> RouteLine {
        text.to_string().try_into().unwrap()
    }

    fn route() -> KRoute {
        let hop = |via: &str| KHop { via: Some(via.parse().unwrap()), dev: Some("eth1".into()) };
        let hops = vec![hop("10.0.0.2"), hop("10.0.0.3")];
        KRoute { net: "10.244.2.0/26".parse().unwrap(), kind: "unicast", hops, protocol: 186, metric: 20 }
    }

    #[test]
    fn a_line_asks_for_what_it_says_and_for_no_more() {
        for good in [
            "10.244.2.0/26 via 10.0.0.3 via 10.0.0.2",
            "10.244.2.0/26 nexthop via 10.0.0.2 dev eth1 nexthop via 10.0.0.3 dev eth1 proto bgp metric 20",
            "10.244.2.0/26 via any via any dev eth1 dev eth1",
            "10.244.2.0/26 via any via 10.0.0.2",
        ] {
            assert!(line(good).is(&route()), "{good}");
        }
        for bad in [
            "10.244.2.0/26 via 10.0.0.2",
            "10.244.2.0/26",
            "blackhole 10.244.2.0/26",
            "10.244.2.0/27 via 10.0.0.3 via 10.0.0.2",
            "10.244.2.0/26 via 10.0.0.3 via 10.0.0.2 proto bird",
            "10.244.2.0/26 via 10.0.0.3 via 10.0.0.2 metric 0",
            "10.244.2.0/26 via 10.0.0.3 via 10.0.0.2 dev eth2",
            "10.244.2.0/26 via any via any dev eth1 dev eth2",
            "10.244.2.0/26 via any",
            "10.244.2.0/26 via any via 10.0.0.9",
        ] {
            assert!(!line(bad).is(&route()), "{bad}");
        }
        assert!(RouteLine::try_from("10.0.0.0/8 vai 10.0.0.1".to_string()).is_err());
    }

    #[test]
    fn a_difference_is_told_with_what_was_found_instead() {
        let wanted = [line("10.244.2.0/26 via 10.0.0.9"), line("10.244.9.0/26 via 10.0.0.9")];
        let gone = ["10.244.2.0/26".parse().unwrap(), "10.244.8.0/26".parse().unwrap()];
        assert_eq!(
            routes_differ("a", &wanted, &gone, &[route()]),
            [
                "a: wanted `10.244.2.0/26 via 10.0.0.9`, found 10.244.2.0/26 nexthop via 10.0.0.2 dev eth1 nexthop via 10.0.0.3 dev eth1 proto bgp metric 20",
                "a: wanted `10.244.9.0/26 via 10.0.0.9`, found no such route",
                "a: still has `10.244.2.0/26 nexthop via 10.0.0.2 dev eth1 nexthop via 10.0.0.3 dev eth1 proto bgp metric 20`",
            ]
        );
    }

    const TWO: &str = "
        [[expect]]
        name = \"a\"
        within = \"1s\"
        [expect.sessions]
        n1 = [\"n2\"]
        n2 = [\"n1\"]
        [[expect]]
        name = \"b\"
        within = \"1s\"
        like = \"a\"
        run = { on = \"n1\", command = \"true\" }
        [expect.sessions]
        n2 = [\"n3\"]
    ";

    #[test]
    fn a_situation_takes_over_what_it_does_not_say_itself() {
        let read = Expectations::parse(TWO).unwrap().expect;
        assert_eq!(read[1].sessions["n1"], ["n2"]);
        assert_eq!(read[1].sessions["n2"], ["n3"]);
        assert_eq!(read[1].run.list().len(), 1);
        let why = Expectations::parse(&TWO.replace("like = \"a\"", "like = \"c\"")).unwrap_err();
        assert!(why.contains("no situation before it"), "{why}");
    }

    #[test]
    fn nothing_is_asked_of_a_node_whose_container_is_gone() {
        let why =
            Expectations::parse(&TWO.replace("within = \"1s\"\n        like", "within = \"1s\"\n        kill = \"n2\"\n        like"));
        assert!(why.is_err_and(|why| why.contains("asks something of n2")));
    }

    #[test]
    fn what_a_command_prints_is_held_against_both_lists() {
        let mut says = Says { on: "a".into(), command: "x".into(), has: vec!["up".into()], lacks: vec!["down".into()] };
        assert_eq!(says.differs("all up"), Vec::<String>::new());
        assert!(says.differs("up and down")[0].starts_with("a: `x` says \"down\""));
        says.lacks.clear();
        assert!(says.differs("")[0].starts_with("a: `x` does not say \"up\""));
    }
}
