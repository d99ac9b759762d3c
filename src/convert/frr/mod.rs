//! FRR: what bgpd, bfdd and staticd read of `frr.conf`.
//!
//! In: lines. Out: a [`Sketch`]. A line belongs to the section that was opened last; sections of other daemons are named once and left out.
//! [`bgp`] has `router bgp`, [`lists`] prefix, community and path lists, [`maps`] route-maps; they are put together when all is read, for
//! a neighbour may name a route-map that stands below it.

mod bgp;
mod lists;
mod maps;

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::sketch::Sketch;
use super::value::Table;
use super::{Place, Report};
use bgp::Router;
use lists::Lists;
use maps::Maps;

/// One line.
#[derive(Clone, Copy)]
pub(super) struct Line<'t> {
    text: &'t str,
    place: Place,
}

/// Which section a line belongs to.
#[derive(Clone, PartialEq)]
enum Section {
    Top,
    Bgp,
    /// Of `router bgp`: IPv4, IPv6.
    Family(usize),
    RouteMap,
    Bfd,
    Profile(String),
    /// Of another daemon, of a VRF, of another family.
    Foreign,
}

#[derive(Default)]
struct Frr {
    router: Option<Router>,
    lists: Lists,
    maps: Maps,
    /// `ip route`: with a next hop, or without.
    blackholes: Vec<IpNet>,
    routes: Vec<IpNet>,
    profiles: BTreeMap<String, Table>,
    is_datacenter: bool,
}

pub(super) fn read(text: &str, report: &mut Report) -> Sketch {
    let (mut frr, mut section) = (Frr::default(), Section::Top);
    for (at, text) in text.lines().enumerate() {
        let place = Place { file: 0, line: u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1) };
        let line = Line { text: text.trim(), place };
        if !line.text.is_empty() && !line.text.starts_with(['!', '#']) {
            frr.line(line, &mut section, report);
        }
    }
    frr.sketch(report)
}

/// What opens a section, or stands in none.
const TOP: [&str; 26] = [
    "router",
    "interface",
    "route-map",
    "ip",
    "ipv6",
    "access-list",
    "line",
    "vrf",
    "key",
    "log",
    "hostname",
    "frr",
    "service",
    "password",
    "enable",
    "username",
    "bfd",
    "debug",
    "domainname",
    "zebra",
    "agentx",
    "nexthop-group",
    "segment-routing",
    "mpls",
    "pbr-map",
    "rpki",
];
const BGP_LISTS: [&str; 4] = ["as-path", "community-list", "extcommunity-list", "large-community-list"];

impl Frr {
    fn line(&mut self, line: Line<'_>, section: &mut Section, report: &mut Report) {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        if self.leaves(&words, section) {
            return;
        }
        let is_list = words.first() == Some(&"bgp") && words.get(1).is_some_and(|word| BGP_LISTS.contains(word));
        let in_bgp = matches!(section, Section::Bgp | Section::Family(_));
        let is_top = words.first().is_some_and(|word| TOP.contains(word)) && !(in_bgp && words.first() == Some(&"bfd"));
        let known = match section {
            _ if is_list => self.lists.bgp(&words, line, report),
            _ if is_top => self.top(&words, line, section, report),
            Section::Top => self.top(&words, line, section, report),
            Section::Bgp => self.bgp(&words, line, section, report),
            Section::Family(family) => {
                let family = *family;
                self.router.as_mut().is_some_and(|router| router.family_line(family, &words, line, report))
            }
            Section::RouteMap => self.maps.line(&words, line, report),
            Section::Bfd => self.bfd(&words, section),
            Section::Profile(name) => self.profile(&name.clone(), &words),
            Section::Foreign => true,
        };
        if !known {
            report.lost(line.place, line.text, "not understood, or nothing that catbird has");
        }
    }

    fn leaves(&self, words: &[&str], section: &mut Section) -> bool {
        match words {
            ["exit-address-family"] => *section = Section::Bgp,
            ["exit"] => {
                *section = match section {
                    Section::Family(_) => Section::Bgp,
                    Section::Profile(_) => Section::Bfd,
                    _ => Section::Top,
                }
            }
            ["end" | "exit-vrf" | "exit-route-map"] => *section = Section::Top,
            _ => return false,
        }
        true
    }

    fn top(&mut self, words: &[&str], line: Line<'_>, section: &mut Section, report: &mut Report) -> bool {
        *section = Section::Top;
        match words {
            ["frr", "defaults", profile] => self.is_datacenter = *profile == "datacenter",
            ["frr" | "hostname" | "domainname" | "service" | "line" | "debug" | "enable" | "username" | "agentx", ..] => {}
            ["password", ..] | ["no", ..] | ["zebra", ..] => {}
            ["log", ..] => report.note(line.place, line.text, "the log goes to standard error, see [log]"),
            ["router", "bgp", asn, rest @ ..] => return self.open(asn, rest, line, section, report),
            ["router", what, ..] => {
                *section = Section::Foreign;
                report.lost(line.place, line.text, format!("{what}: catbird speaks BGP and nothing else; its section is left out"));
            }
            ["route-map", name, step, number] => {
                *section = Section::RouteMap;
                return self.maps.open(name, step, number, line);
            }
            ["ip" | "ipv6", "route", rest @ ..] => return self.route(rest, line, report),
            ["ip" | "ipv6", "prefix-list", rest @ ..] => return self.lists.prefix(words.first() == Some(&"ip"), rest),
            ["ip" | "ipv6", "protocol", "bgp", "route-map", name] => self.maps.source_from = Some(((*name).to_owned(), line.place)),
            ["ip" | "ipv6", "forwarding" | "nht", ..] | ["allow-external-route-update"] => {}
            ["access-list", rest @ ..] | ["ip" | "ipv6", "access-list", rest @ ..] => return self.lists.access(rest),
            ["bfd"] => *section = Section::Bfd,
            ["interface" | "vrf" | "key" | "nexthop-group" | "segment-routing" | "mpls" | "pbr-map", ..] => {
                *section = Section::Foreign;
                report.note(line.place, line.text, "nothing of BGP: its section is left out");
            }
            ["rpki"] => {
                *section = Section::Foreign;
                report.lost(line.place, line.text, "catbird knows no origin validation (RPKI)");
            }
            _ => return false,
        }
        true
    }

    fn open(&mut self, asn: &str, rest: &[&str], line: Line<'_>, section: &mut Section, report: &mut Report) -> bool {
        if matches!(rest, ["vrf", ..]) || self.router.is_some() {
            *section = Section::Foreign;
            report.lost(line.place, line.text, "a second instance or a VRF: catbird has one table, its section is left out");
            return true;
        }
        let Some(asn) = bgp::asn(asn) else { return false };
        self.router = Some(Router::new(asn));
        *section = Section::Bgp;
        true
    }

    fn bgp(&mut self, words: &[&str], line: Line<'_>, section: &mut Section, report: &mut Report) -> bool {
        if let ["address-family", family, kind @ ..] = words {
            *section = match (*family, kind) {
                ("ipv4", [] | ["unicast"]) => Section::Family(0),
                ("ipv6", [] | ["unicast"]) => Section::Family(1),
                _ => {
                    report.lost(line.place, line.text, "a family that catbird does not route; its section is left out");
                    Section::Foreign
                }
            };
            return true;
        }
        self.router.as_mut().is_some_and(|router| router.line(words, line, report))
    }

    /// `ip route 10.0.0.0/8 blackhole`
    fn route(&mut self, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        let Some((net, rest)) = words.split_first().and_then(|(net, rest)| Some((net.parse::<IpNet>().ok()?.trunc(), rest))) else {
            return false;
        };
        match rest {
            ["blackhole" | "reject" | "Null0" | "null0", ..] => self.blackholes.push(net),
            _ => {
                let via = rest.join(" ");
                report.lost(
                    line.place,
                    line.text,
                    format!("catbird writes no static routes: `ip route add {net} via {via} proto static` does"),
                );
                self.routes.push(net);
            }
        }
        true
    }

    fn bfd(&mut self, words: &[&str], section: &mut Section) -> bool {
        match words {
            ["profile", name] => {
                self.profiles.entry((*name).to_owned()).or_default();
                *section = Section::Profile((*name).to_owned());
                true
            }
            _ => false,
        }
    }

    fn profile(&mut self, name: &str, words: &[&str]) -> bool {
        let profile = self.profiles.entry(name.to_owned()).or_default();
        let time = |ms: &str| ms.parse::<u32>().ok().filter(|ms| (5..=60_000).contains(ms)).map(|ms| format!("{ms}ms"));
        match words {
            ["detect-multiplier", n] => n.parse::<u8>().ok().filter(|n| *n > 0).map(|n| profile.set("multiplier", n)).is_some(),
            ["transmit-interval", ms] => time(ms).map(|time| profile.set("min_tx", time)).is_some(),
            ["receive-interval", ms] => time(ms).map(|time| profile.set("min_rx", time)).is_some(),
            ["minimum-ttl", n] => n.parse::<u8>().ok().filter(|n| *n > 0).map(|n| profile.set("min_ttl", n)).is_some(),
            ["passive-mode"] => {
                profile.set("passive", true);
                true
            }
            ["no", ..] => true,
            _ => false,
        }
    }

    fn sketch(mut self, report: &mut Report) -> Sketch {
        let mut sketch = Sketch::default();
        sketch.bfd = std::mem::take(&mut self.profiles);
        sketch.fib.set("allow_default", true);
        let Some(router) = self.router.take() else {
            report.lost(Place { file: 0, line: 1 }, "", "there is no `router bgp`");
            return sketch;
        };
        if let Some((map, place)) = self.maps.source_from.take() {
            let sources = self.maps.sources(&map);
            if sources.is_empty() {
                report.lost(place, &map, "of what is written to the kernel only `set src` is converted");
            }
            for source in sources {
                sketch.fib.set(if source.contains(':') { "source_ipv6" } else { "source_ipv4" }, source);
            }
        }
        router.convert(&self, &mut sketch, report);
        sketch
    }
}
