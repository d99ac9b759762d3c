//! Route-maps.
//!
//! In: their lines. Out: programs. An entry that matches and permits changes and accepts, unless it says `continue` or `on-match`; one that
//! denies refuses; what no entry matches is refused.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::program::{Cond, Edit, Step, Stmt, Test};
use super::super::{Place, Report};
use super::Line;
use super::lists::{Lists, community, permits};

/// Route-maps in route-maps.
const MAX_CALLS: usize = 8;
/// Entries of one program, with those of the route-maps that it calls.
const MAX_ENTRIES: usize = 2000;

#[derive(Default)]
pub struct Maps {
    maps: BTreeMap<String, BTreeMap<u32, Entry>>,
    /// Where `match` and `set` go.
    open: Option<(String, u32)>,
    /// `ip protocol bgp route-map NAME`
    pub(super) source_from: Option<(String, Place)>,
}

#[derive(Clone, Default)]
struct Entry {
    permit: bool,
    place: Place,
    matches: Vec<(Vec<String>, Place, String)>,
    sets: Vec<(Vec<String>, Place, String)>,
    call: Option<String>,
    goes_on: bool,
    /// `continue` with a number, or `on-match goto`: an entry further down.
    jumps: Option<u32>,
}

impl Maps {
    pub(super) fn open(&mut self, name: &str, step: &str, number: &str, line: Line<'_>) -> bool {
        let (Some(permit), Ok(number)) = (permits(step), number.parse::<u32>()) else { return false };
        self.open = Some((name.to_owned(), number));
        let entry = self.maps.entry(name.to_owned()).or_default().entry(number).or_default();
        (entry.permit, entry.place) = (permit, line.place);
        true
    }

    pub(super) fn line(&mut self, words: &[&str], line: Line<'_>, _: &mut Report) -> bool {
        let Some(entry) = self.open.as_ref().and_then(|(name, number)| self.maps.get_mut(name)?.get_mut(number)) else { return false };
        let owned = |words: &[&str]| (words.iter().map(|word| (*word).to_owned()).collect(), line.place, line.text.to_owned());
        match words {
            ["match", rest @ ..] => entry.matches.push(owned(rest)),
            ["set", rest @ ..] => entry.sets.push(owned(rest)),
            ["call", name] => entry.call = Some((*name).to_owned()),
            ["continue"] | ["on-match", "next"] => entry.goes_on = true,
            ["continue", number] | ["on-match", "goto", number] => entry.jumps = number.parse().ok(),
            ["description", ..] | ["no", ..] => {}
            _ => return false,
        }
        true
    }

    /// All `set src` of a map.
    pub(super) fn sources(&self, name: &str) -> Vec<String> {
        let entries = self.maps.get(name).into_iter().flat_map(BTreeMap::values);
        let sets = entries.flat_map(|entry| &entry.sets);
        sets.filter_map(|(words, ..)| if let [word, addr] = words.as_slice() { (word == "src").then(|| addr.clone()) } else { None })
            .collect()
    }

    /// The prefixes that a map lets through, if that is all it does.
    pub(super) fn only_prefixes(&self, ipv4: bool, name: &str, lists: &Lists) -> Option<Vec<String>> {
        let entries = self.maps.get(name)?;
        let mut found = Vec::new();
        for entry in entries.values() {
            if !entry.permit || !entry.sets.is_empty() || entry.call.is_some() || entry.goes_on {
                return None;
            }
            let [(words, ..)] = entry.matches.as_slice() else { return None };
            let [family, "address", "prefix-list", list] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] else { return None };
            if (family == "ip") != ipv4 {
                continue;
            }
            let Some(Cond::List(ranges)) = lists.prefixes_of(ipv4, list) else { return None };
            if ranges.iter().any(|(_, permit)| !permit) {
                return None;
            }
            found.extend(ranges.iter().map(|(range, _)| range.to_string()));
        }
        Some(found)
    }

    /// What the map says of a route of this family.
    pub(super) fn program(&self, name: &str, ipv4: bool, lists: &Lists, report: &mut Report) -> Option<Vec<Stmt>> {
        let mut left = MAX_ENTRIES;
        self.called(name, ipv4, lists, (0, &mut left), report)
    }

    fn called(&self, name: &str, ipv4: bool, lists: &Lists, (depth, left): (usize, &mut usize), report: &mut Report) -> Option<Vec<Stmt>> {
        let entries = self.maps.get(name).filter(|entries| depth <= MAX_CALLS && entries.len() <= *left)?;
        *left = left.saturating_sub(entries.len());
        let mut program = Vec::new();
        for (number, entry) in entries {
            let cond = self.condition(entry, ipv4, lists, report);
            let mut body = Vec::new();
            if entry.permit {
                body.extend(entry.sets.iter().flat_map(|set| edit(set, ipv4, lists, report)).map(Stmt::Edit));
            }
            if let Some(call) = &entry.call {
                match self.called(call, ipv4, lists, (depth.saturating_add(1), &mut *left), report) {
                    Some(inner) => body.push(Stmt::Call(accept_returns(inner))),
                    None => report.lost(entry.place, call, "no such route-map, or one that calls itself"),
                }
            }
            let next = entries.range(number.saturating_add(1)..).next().map(|(number, _)| *number);
            let goes_on = entry.goes_on || (entry.jumps.is_some() && entry.jumps == next);
            if entry.jumps.is_some() && !goes_on {
                report.lost(entry.place, "continue", "catbird's rules go on with the next one: what follows is left out");
            }
            if !entry.permit {
                body.push(Stmt::End(Step::Reject));
            } else if !goes_on {
                body.push(Stmt::End(Step::Accept));
            }
            match cond {
                Cond::Always(true) => program.extend(body),
                cond => program.push(Stmt::If(cond, body, Vec::new())),
            }
        }
        program.push(Stmt::End(Step::Reject));
        Some(program)
    }

    /// All of its `match` lines; one that is not understood matches nothing.
    fn condition(&self, entry: &Entry, ipv4: bool, lists: &Lists, report: &mut Report) -> Cond {
        let mut all = Vec::new();
        for (words, place, text) in &entry.matches {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match one_match(&words, ipv4, lists) {
                Some(cond) => all.push(cond),
                None => {
                    let does = if entry.permit { "what it lets through has to pass elsewhere" } else { "what it refuses passes now" };
                    report.lost(
                        *place,
                        text,
                        format!("catbird has no such condition, or there is no such list: the entry is left out; {does}"),
                    );
                    return Cond::Always(false);
                }
            }
        }
        match all.len() {
            0 => Cond::Always(true),
            1 => all.pop().unwrap_or(Cond::Always(false)),
            _ => Cond::All(all),
        }
    }
}

/// A map that is called: where it accepts, the caller goes on.
fn accept_returns(program: Vec<Stmt>) -> Vec<Stmt> {
    let one = |stmt| match stmt {
        Stmt::End(Step::Accept) => Stmt::Return,
        Stmt::If(cond, yes, no) => Stmt::If(cond, accept_returns(yes), accept_returns(no)),
        other => other,
    };
    program.into_iter().map(one).collect()
}

fn one_match(words: &[&str], ipv4: bool, lists: &Lists) -> Option<Cond> {
    let test = |test| Some(Cond::Test(test));
    match words {
        ["ip" | "ipv6", "address", ..] if (words.first() == Some(&"ip")) != ipv4 => Some(Cond::Always(false)),
        [_, "address", "prefix-list", name] => lists.prefixes_of(ipv4, name),
        ["ip" | "ipv6", "address", name] => lists.access_of(name),
        ["ip" | "ipv6", "next-hop", "address", addr] | ["ip" | "ipv6", "next-hop", addr] if addr.parse::<std::net::IpAddr>().is_ok() => {
            test(Test::NextHop(vec![IpNet::from(addr.parse::<std::net::IpAddr>().ok()?)]))
        }
        ["ip" | "ipv6", "next-hop", "prefix-list", name] => match lists.prefixes_of(ipv4, name)? {
            Cond::List(entries) if entries.iter().all(|(range, permit)| *permit && range.max == range.net.max_prefix_len()) => {
                test(Test::NextHop(entries.iter().map(|(range, _)| range.net).collect()))
            }
            _ => None,
        },
        ["as-path", name] => lists.paths_of(name),
        ["community" | "large-community" | "extcommunity", name] => lists.communities_of(name),
        ["origin", origin] => test(Test::Origin(origin_word(origin)?)),
        ["peer", "local"] => test(Test::Source("local")),
        ["peer", peer] => peer.parse::<std::net::IpAddr>().ok().and_then(|addr| test(Test::Peers(vec![addr.to_string()]))),
        ["source-protocol", "bgp"] => Some(Cond::Test(Test::Source("local")).negated()),
        ["source-protocol", "static"] => test(Test::OwnKinds(vec!["block"])),
        _ => None,
    }
}

fn origin_word(word: &str) -> Option<&'static str> {
    match word {
        "igp" => Some("igp"),
        "egp" => Some("egp"),
        "incomplete" => Some("incomplete"),
        _ => None,
    }
}

fn edit((words, place, text): &(Vec<String>, Place, String), ipv4: bool, lists: &Lists, report: &mut Report) -> Vec<Edit> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = match words.as_slice() {
        ["local-preference", number] => number.parse().ok().map(|number| vec![Edit::LocalPref(number)]),
        ["metric", number] => number.parse().ok().map(|number| vec![Edit::Med(number)]),
        ["origin", word] => origin_word(word).map(|origin| vec![Edit::Origin(origin)]),
        // A global next hop is preferred anyway; `unchanged` is the default inside an AS.
        ["ipv6", "next-hop", "prefer-global" | "peer-address"] | ["ip", "next-hop", "unchanged"] | ["src", _] => Some(Vec::new()),
        ["ip", "next-hop", addr] | ["ipv6", "next-hop", "global", addr] => match addr.parse::<std::net::IpAddr>() {
            Ok(addr) if addr.is_ipv4() == ipv4 => Some(vec![Edit::NextHop(addr.to_string())]),
            Ok(_) => Some(Vec::new()),
            Err(_) => None,
        },
        ["as-path", "prepend", "last-as", ..] => None,
        ["as-path", "prepend", asns @ ..] => asns.iter().rev().map(|asn| asn.parse().ok().map(|asn| Edit::Prepend(asn, 1))).collect(),
        ["community" | "large-community", "none"] => Some(vec![Edit::Remove(vec![whole(words.first())])]),
        ["community" | "large-community", list @ ..] => {
            list.iter().filter(|word| **word != "additive").map(|word| community(word)).collect::<Option<_>>().map(|found| {
                match list.last() {
                    Some(&"additive") => vec![Edit::Add(found)],
                    _ => vec![Edit::Remove(vec![whole(words.first())]), Edit::Add(found)],
                }
            })
        }
        ["comm-list" | "large-comm-list", name, "delete"] => lists.deleted_by(name).map(|list| vec![Edit::Remove(list)]),
        ["extcommunity", kind @ ("rt" | "soo"), list @ ..] => {
            Some(vec![Edit::Add(list.iter().map(|value| format!("{kind}:{value}")).collect())])
        }
        _ => None,
    };
    if found.is_none() {
        report.lost(*place, text, "catbird does not change this, or not so");
    }
    found.unwrap_or_default()
}

fn whole(kind: Option<&&str>) -> String {
    if kind == Some(&"large-community") { "*:*:*".to_owned() } else { "*:*".to_owned() }
}
