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
    pub run: Option<Run>,
    /// A node whose daemons are killed (SIGKILL).
    pub kill: Option<String>,
    /// Node -> the peers with which its session is established.
    #[serde(default)]
    pub sessions: BTreeMap<String, Vec<IpAddr>>,
    /// Node -> routes that its kernel has.
    #[serde(default)]
    pub routes: BTreeMap<String, Vec<RouteLine>>,
    /// Node -> prefixes to which its kernel has no route.
    #[serde(default)]
    pub absent: BTreeMap<String, Vec<IpNet>>,
    /// Node -> addresses that answer its pings.
    #[serde(default)]
    pub pings: BTreeMap<String, Vec<IpAddr>>,
    /// Node -> lines of `/metrics`.
    #[serde(default)]
    pub metrics: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub on: String,
    pub command: String,
}

/// A route as a person writes it down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RouteLine {
    text: String,
    net: IpNet,
    kind: String,
    vias: Vec<IpAddr>,
    dev: Option<String>,
    proto: Option<String>,
    metric: Option<u32>,
}

impl Expectations {
    /// # Errors
    /// An unreadable file, or a line in it that is.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
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
        let (vias, dev, proto, metric) = (Vec::new(), None, None, None);
        let mut line = Self { net, kind: kind.into(), vias, dev, proto, metric, text: text.clone() };
        while let Some(word) = words.next() {
            if word == "nexthop" {
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{text:?}: {word} of what?"))?;
            let wrong = || format!("{text:?}: {word} {value}?");
            match word {
                "via" => line.vias.push(value.parse().map_err(|_| wrong())?),
                "dev" => line.dev = Some(value.into()),
                "proto" => line.proto = Some(value.into()),
                "metric" => line.metric = Some(value.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        line.vias.sort();
        Ok(line)
    }
}

impl RouteLine {
    fn is(&self, route: &KRoute) -> bool {
        let mut vias: Vec<IpAddr> = route.hops.iter().filter_map(|hop| hop.via).collect();
        vias.sort();
        self.net == route.net
            && self.kind == route.kind
            && self.vias == vias
            && self.dev.as_ref().is_none_or(|dev| route.hops.iter().all(|hop| hop.dev.as_ref() == Some(dev)))
            && self.proto.as_ref().is_none_or(|proto| *proto == protocol_name(route.protocol))
            && self.metric.is_none_or(|metric| metric == route.metric)
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
}
