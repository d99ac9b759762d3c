//! `[policy.NAME]` and `[prefix_set.NAME]`: what an operator may say about routes.
//!
//! In: the sections as typed. Out: a [`Policy`] of plain values, names of prefix sets resolved. [`super::params`] turns it into the
//! chain that judges routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::model::{ChainRef, RouteSource};
use super::raw::{List, Opt};
use super::reader::{Section, Value, text};
use super::report::{At, Diagnostics, Problem, Span};
use super::values::parsed;
use super::{Config, params};
use crate::num::{Asn, Family, FamilySet};
use crate::policy::{AnyCommunity, CommunityMatch, Condition, LocalKind, NextHopEdit, Step};
use crate::rpki::Validity;
use crate::wire::Origin;

/// Prefixes inside `net` of a range of lengths: `"10.0.0.0/8"`, `"10.0.0.0/8 le 24"`, `"10.0.0.0/8 ge 24 le 26"`, `"10.0.0.0/8+"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The prefix within which others lie.
    pub net: IpNet,
    /// The shortest length that matches.
    pub min: u8,
    /// The longest length that matches.
    pub max: u8,
}

const PREFIXES: &str = "a prefix with an optional range of lengths, such as \"10.0.0.0/8\", \"10.0.0.0/8+\" or \"10.0.0.0/8 ge 24 le 26\"";

impl Prefixes {
    /// # Errors
    /// What would have been accepted in the place of what is wrong.
    fn parse(text: &str) -> Result<Prefixes, String> {
        let (net, range) = text.split_at(text.find([' ', '+']).unwrap_or(text.len()));
        let net: IpNet = net.trim().parse().map_err(|_| PREFIXES.to_owned())?;
        if net.addr() != net.network() {
            return Err(format!("a prefix: the host bits of {net} are not zero (perhaps {}?)", net.trunc()));
        }
        let (own, longest) = (net.prefix_len(), net.max_prefix_len());
        let (mut ge, mut le) = (None, None);
        let mut words = range.split_whitespace();
        while let Some(word) = words.next() {
            let place = match word {
                "+" => {
                    ge = Some(own);
                    continue;
                }
                "ge" if ge.is_none() => &mut ge,
                "le" if le.is_none() => &mut le,
                _ => return Err(format!("{PREFIXES}: `{word}` is none of +, ge, le, or stands there twice")),
            };
            let length = words.next().and_then(|length| length.parse().ok()).filter(|length| (own..=longest).contains(length));
            *place = Some(length.ok_or_else(|| format!("a range of prefixes: `{word}` of {net} takes a length from {own} to {longest}"))?);
        }
        let min = ge.unwrap_or(own);
        let max = le.unwrap_or(if ge.is_some() { longest } else { own });
        if min > max {
            return Err(format!("a range of prefixes: none has at least {min} and at most {max} bits"));
        }
        Ok(Prefixes { net, min, max })
    }
}

impl Value for Prefixes {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<Prefixes> {
        let found = text(value, span, diagnostics, PREFIXES)?;
        let say = |expected| diagnostics.report(span.clone(), Problem::BadValue { found: found.to_owned(), expected });
        Prefixes::parse(found).map_err(say).ok()
    }
}

macro_rules! communities {
    ($($ty:ty: $expected:literal;)*) => {$(
        impl Value for $ty {
            fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<$ty> {
                parsed(value, span, diagnostics, $expected, |s| s.parse().ok())
            }
        }
    )*};
}
communities! {
    AnyCommunity: "a community: \"64512:100\", a large one: \"64512:1:2\", an extended one: \"rt:64512:1\", \"soo:192.0.2.1:1\", \
                   \"bandwidth:64512:10G\" or \"0x\" and sixteen digits, or a name such as \"no-export\"";
    CommunityMatch: "a community, such as \"64512:100\", \"64512:1:2\", \"rt:64512:1\" or \"no-export\", or many: \"64512:*\", \"64512:1:*\", \
                     \"rt:64512:*\", \"0x43*\"";
}

/// A next hop to set: an address, or ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetNextHop {
    /// This router's address on the session: `"self"`.
    Own,
    /// This address.
    Addr(IpAddr),
}

impl Value for SetNextHop {
    fn read(value: &DeValue<'_>, span: &Span, diagnostics: &Diagnostics) -> Option<SetNextHop> {
        if value.as_str() == Some("self") {
            return Some(SetNextHop::Own);
        }
        IpAddr::read(value, span, diagnostics).map(SetNextHop::Addr)
    }
}

/// `[[policy.NAME.rules]]` as typed.
#[derive(Clone, Debug)]
pub struct RawRule {
    name: Opt<String>,
    prefixes: List<Prefixes>,
    prefix_sets: List<String>,
    family: Opt<Family>,
    own_blocks: Opt<bool>,
    own_kinds: List<LocalKind>,
    source: Opt<RouteSource>,
    peers: List<String>,
    communities: List<CommunityMatch>,
    as_path_contains: List<Asn>,
    as_path_first: Opt<Asn>,
    as_path_origin: Opt<Asn>,
    as_path_max_length: Opt<u32>,
    rpki: List<Validity>,
    origin: Opt<Origin>,
    next_hop_in: List<IpNet>,
    set_local_pref: Opt<u32>,
    set_med: Opt<u32>,
    set_origin: Opt<Origin>,
    set_next_hop: Opt<SetNextHop>,
    prepend: List<Asn>,
    add_communities: List<AnyCommunity>,
    remove_communities: List<CommunityMatch>,
    clear_communities: Opt<bool>,
    then: Opt<Step>,
}

/// `[policy.NAME]` as typed.
#[derive(Clone, Debug)]
pub struct RawPolicy {
    pub name: At<String>,
    default: Opt<Step>,
    rules: Vec<RawRule>,
}

impl RawPolicy {
    /// One named section.
    pub fn read(name: At<String>, mut section: Section<'_>) -> RawPolicy {
        let raw =
            RawPolicy { name, default: section.take("default"), rules: section.tables("rules").into_iter().map(RawRule::read).collect() };
        section.finish();
        raw
    }

    /// Where its rules ask what VRPs say.
    pub(super) fn validity_spans(&self) -> impl Iterator<Item = &Span> {
        self.rules.iter().filter_map(|rule| rule.rpki.as_ref().map(|at| &at.span))
    }
}

impl RawRule {
    fn read(mut section: Section<'_>) -> RawRule {
        let raw = RawRule {
            name: section.take("name"),
            prefixes: section.some("prefixes"),
            prefix_sets: section.some("prefix_sets"),
            family: section.take("family"),
            own_blocks: section.take("own_blocks"),
            own_kinds: section.some("own_kinds"),
            source: section.take("source"),
            peers: section.some("peers"),
            communities: section.some("communities"),
            as_path_contains: section.some("as_path_contains"),
            as_path_first: section.take("as_path_first"),
            as_path_origin: section.take("as_path_origin"),
            as_path_max_length: section.take("as_path_max_length"),
            rpki: section.some("rpki"),
            origin: section.take("origin"),
            next_hop_in: section.some("next_hop_in"),
            set_local_pref: section.take("set_local_pref"),
            set_med: section.take("set_med"),
            set_origin: section.take("set_origin"),
            set_next_hop: section.take("set_next_hop"),
            prepend: section.take("prepend"),
            add_communities: section.take("add_communities"),
            remove_communities: section.take("remove_communities"),
            clear_communities: section.take("clear_communities"),
            then: section.need("then", "\"accept\", \"reject\" or \"next\""),
        };
        section.finish();
        raw
    }
}

/// `[prefix_set.NAME]` as typed.
#[derive(Clone, Debug)]
pub struct RawPrefixSet {
    pub name: At<String>,
    prefixes: List<Prefixes>,
}

impl RawPrefixSet {
    /// One named section.
    pub fn read(name: At<String>, mut section: Section<'_>) -> RawPrefixSet {
        let raw = RawPrefixSet { name, prefixes: section.need_some("prefixes", "the prefixes of the set") };
        section.finish();
        raw
    }
}

/// An ordered list of rules; the first that matches and does not say "next" decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Of `[policy.NAME]`, shown by `catbird why`.
    pub name: String,
    /// Tried in this order.
    pub rules: Vec<Rule>,
    /// What becomes of a route that no rule decided on.
    pub default: Step,
}

/// Conditions that must all hold, changes, and what then.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Shown by `catbird why`; else the rule's number is.
    pub name: Option<String>,
    /// All of it must hold.
    pub matches: Matches,
    /// What becomes of the route's attributes if it does.
    pub sets: Sets,
    /// What becomes of the route.
    pub then: Step,
}

/// What a route must be like; what is absent does not matter, a list holds if one of its members does, so an empty one never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// Inside one of these.
    pub prefixes: Option<Vec<Prefixes>>,
    /// The prefixes of all sets that were named.
    pub prefix_sets: Option<Vec<Prefixes>>,
    /// Of this family.
    pub family: Option<Family>,
    /// It is one of this node's blocks, or with false it is not.
    pub own_blocks: Option<bool>,
    /// It is ours, and one of these.
    pub own_kinds: Option<Vec<LocalKind>>,
    /// Learned from such a peer, or our own.
    pub source: Option<RouteSource>,
    /// Name, address or `AS` with its number; learned from it on import, announced to it on export.
    pub peers: Option<Vec<String>>,
    /// One of these is attached, of any of the three kinds.
    pub communities: Option<Vec<CommunityMatch>>,
    /// One of these stands in AS_PATH.
    pub as_path_contains: Option<Vec<Asn>>,
    /// The AS that it came from.
    pub as_path_first: Option<Asn>,
    /// The AS where it began; an AS_SET at the end has none.
    pub as_path_origin: Option<Asn>,
    /// AS_PATH counts no more, a set as one (RFC 4271 §9.1.2.2 a).
    pub as_path_max_length: Option<u32>,
    /// What VRPs say of it is one of these (RFC 6811); in import policies alone.
    pub rpki: Option<Vec<Validity>>,
    /// Of this ORIGIN.
    pub origin: Option<Origin>,
    /// NEXT_HOP lies in one of these.
    pub next_hop_in: Option<Vec<IpNet>>,
    /// What a file has no words for: of an object of an API.
    pub others: Vec<Condition>,
}

/// What is changed in a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// LOCAL_PREF (RFC 4271 §5.1.5).
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub med: Option<u32>,
    /// ORIGIN (RFC 4271 §5.1.1).
    pub origin: Option<Origin>,
    /// NEXT_HOP; an address applies to routes of its own family.
    pub next_hop: Option<SetNextHop>,
    /// Put before AS_PATH, the first of these first.
    pub prepend: Vec<Asn>,
    /// Attached, if they are not already.
    pub add_communities: Vec<AnyCommunity>,
    /// Taken off.
    pub remove_communities: Vec<CommunityMatch>,
    /// All of the three kinds are taken off first.
    pub clear_communities: bool,
}

fn values<T: Clone>(list: &List<T>) -> Vec<T> {
    list.iter().flat_map(|list| &list.value).map(|item| item.value.clone()).collect()
}

/// `None` if there is no list at all.
fn some_values<T: Clone>(list: &List<T>) -> Option<Vec<T>> {
    list.as_ref().map(|_| values(list))
}

fn value<T: Clone>(opt: &Opt<T>) -> Option<T> {
    opt.as_ref().map(|at| at.value.clone())
}

/// Names that mean something without being defined.
pub const BUILT_IN: [&str; 3] = ["all", "none", "own-blocks"];

/// Resolves prefix sets and names every policy.
pub fn policies(raw: &[RawPolicy], sets: &[RawPrefixSet], diagnostics: &Diagnostics) -> BTreeMap<String, Policy> {
    let sets: BTreeMap<&str, Vec<Prefixes>> = sets.iter().map(|set| (set.name.value.as_str(), values(&set.prefixes))).collect();
    let mut all = BTreeMap::new();
    for policy in raw {
        let name = policy.name.value.clone();
        if BUILT_IN.contains(&name.as_str()) {
            let help = "give it another name: all, none and own-blocks are built in".to_owned();
            diagnostics.report(policy.name.span.clone(), Problem::Conflict { what: format!("policy `{name}` is built in"), help });
        }
        let rules = policy.rules.iter().map(|rule| rule.validate(&sets, diagnostics)).collect();
        let default = value(&policy.default).unwrap_or(Step::Reject);
        all.insert(name.clone(), Policy { name, rules, default });
    }
    all
}

/// The peers that rules name exist: by name, by address, or by AS number.
pub fn validate_peers(raw: &[RawPolicy], known: &BTreeSet<&str>, diagnostics: &Diagnostics) {
    for name in raw.iter().flat_map(|p| &p.rules).flat_map(|r| &r.peers).flat_map(|list| &list.value) {
        let text = name.value.as_str();
        let asn = text.strip_prefix("AS").is_some_and(|number| number.parse::<u32>().is_ok());
        if !asn && text.parse::<IpAddr>().is_err() && !known.contains(text) {
            let known = known.iter().map(|k| (*k).to_owned()).collect();
            diagnostics.report(name.span.clone(), Problem::Unresolved { kind: "peer", name: text.to_owned(), known });
        }
    }
}

/// Warns of next hops that no route can get: the family that a rule, or every session that asks the policy, is about cannot have them.
pub(super) fn judge_next_hops(raw: &[RawPolicy], config: &Config, diagnostics: &Diagnostics) {
    for policy in raw {
        let Some(compiled) = config.policies.get(&policy.name.value).map(params::compile) else { continue };
        let uses = |chain: &ChainRef| matches!(chain, ChainRef::Policies(names) if names.contains(&policy.name.value));
        let all_options = || config.sessions.iter().map(|s| &s.options).chain(config.ranges.iter().map(|r| &r.options));
        let exported = all_options().any(|options| uses(&options.export));
        let users = || all_options().filter(|options| uses(&options.import) || uses(&options.export));
        let carried = users().map(|options| options.families).reduce(FamilySet::or).unwrap_or(FamilySet::ALL);
        for (rule, compiled) in policy.rules.iter().zip(&compiled.rules) {
            let Some(hop) = &rule.set_next_hop else { continue };
            let what = match hop.value {
                SetNextHop::Own if users().next().is_some() && !exported => "`set_next_hop = \"self\"` changes nothing in an import policy",
                SetNextHop::Addr(addr)
                    if !carried.iter().any(|family| compiled.means(family) && compiled.can_lead(NextHopEdit::Address(addr), family)) =>
                {
                    "`set_next_hop` changes nothing: no route of this rule can have that next hop"
                }
                _ => continue,
            };
            let help = "an address is a next hop for routes of its own family; an IPv6 one also in a rule with `family = \"ipv4-unicast\"` \
                        (RFC 8950); \"self\" is for export";
            diagnostics.report(hop.span.clone(), Problem::Odd { what: what.to_owned(), help: help.to_owned() });
        }
    }
}

impl RawRule {
    fn validate(&self, sets: &BTreeMap<&str, Vec<Prefixes>>, diagnostics: &Diagnostics) -> Rule {
        Rule {
            name: value(&self.name),
            matches: self.matches(sets, diagnostics),
            sets: self.sets(),
            then: value(&self.then).unwrap_or(Step::Reject),
        }
    }

    fn matches(&self, sets: &BTreeMap<&str, Vec<Prefixes>>, diagnostics: &Diagnostics) -> Matches {
        let set = |name: &At<String>| {
            let found = sets.get(name.value.as_str()).cloned();
            found.unwrap_or_else(|| {
                let known = sets.keys().map(|k| (*k).to_owned()).collect();
                diagnostics.report(name.span.clone(), Problem::Unresolved { kind: "[prefix_set.NAME]", name: name.value.clone(), known });
                Vec::new()
            })
        };
        Matches {
            prefixes: some_values(&self.prefixes),
            prefix_sets: self.prefix_sets.as_ref().map(|names| names.value.iter().flat_map(set).collect()),
            family: value(&self.family),
            own_blocks: value(&self.own_blocks),
            own_kinds: some_values(&self.own_kinds),
            source: value(&self.source),
            peers: some_values(&self.peers),
            communities: some_values(&self.communities),
            as_path_contains: some_values(&self.as_path_contains),
            as_path_first: value(&self.as_path_first),
            as_path_origin: value(&self.as_path_origin),
            as_path_max_length: value(&self.as_path_max_length),
            rpki: some_values(&self.rpki),
            origin: value(&self.origin),
            next_hop_in: some_values(&self.next_hop_in),
            others: Vec::new(),
        }
    }

    fn sets(&self) -> Sets {
        Sets {
            local_pref: value(&self.set_local_pref),
            med: value(&self.set_med),
            origin: value(&self.set_origin),
            next_hop: value(&self.set_next_hop),
            prepend: values(&self.prepend),
            add_communities: values(&self.add_communities),
            remove_communities: values(&self.remove_communities),
            clear_communities: value(&self.clear_communities).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_ranges_read_as_router_operators_write_them() {
        let range = |text| Prefixes::parse(text).map(|p| (p.min, p.max));
        assert_eq!(range("10.0.0.0/8"), Ok((8, 8)));
        assert_eq!(range("10.0.0.0/8+"), Ok((8, 32)));
        assert_eq!(range("10.0.0.0/8 +"), Ok((8, 32)));
        assert_eq!(range("10.0.0.0/8 le 24"), Ok((8, 24)));
        assert_eq!(range("10.0.0.0/8 ge 24"), Ok((24, 32)));
        assert_eq!(range("fd00::/8 ge 64 le 122"), Ok((64, 122)));
        for (wrong, why) in [
            ("10.0.0.0/8 le 33", "`le` of 10.0.0.0/8 takes a length from 8 to 32"),
            ("10.0.0.0/8 ge 33", "`ge` of 10.0.0.0/8 takes a length from 8 to 32"),
            ("10.0.0.0/8 ge 7", "`ge` of 10.0.0.0/8 takes a length from 8 to 32"),
            ("10.0.0.0/8 ge", "`ge` of 10.0.0.0/8 takes a length from 8 to 32"),
            ("fd00::/8 ge 200", "`ge` of fd00::/8 takes a length from 8 to 128"),
            ("10.0.0.0/8 ge 26 le 24", "none has at least 26 and at most 24 bits"),
            ("10.0.0.0/8 eq 24", "`eq` is none of +, ge, le"),
            ("10.0.0.0/8 ge 9 ge 10", "`ge` is none of +, ge, le, or stands there twice"),
            ("10.0.0.1/8", "the host bits of 10.0.0.1/8 are not zero (perhaps 10.0.0.0/8?)"),
            ("10.0.0.1/8+", "the host bits of 10.0.0.1/8 are not zero"),
            ("10.0.0.0/33", "a prefix with an optional range of lengths"),
            ("x", "a prefix with an optional range of lengths"),
        ] {
            assert!(range(wrong).is_err_and(|told| told.contains(why)), "{wrong}: {:?}", range(wrong));
        }
    }
}
