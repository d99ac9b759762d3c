//! Calico's filters, and its own rules of export, as policies.
//!
//! In: a [`Meaning`]. Out: policies by name, and for each session its chains. The order of export is Calico's: priority, the filters of the BGPPeer (the first
//! that decides, decides), pools that are not exported, communities, pods inside our own blocks, then what is ours or in a pool.
//!
//! LOCAL_PREF carries Calico's priority: 2^31-1 less it.

use ipnet::IpNet;

use super::meaning::{Action, Announce, Families, Filter, Matches, Meaning, Note, Operation, Rule, Session};
use crate::config::model::{ChainRef, RouteSource};
use crate::config::policy::{self as typed, Policy, Prefixes, Sets};
use crate::num::Family;
use crate::policy::{AnyCommunity, AsPathMatch, Condition, LocalKind, PrefixRange, PrefixSet, Step};
use std::sync::Arc;

/// Of every chain of import that has filters: what they leave open is taken.
const IMPORT: &str = "calico import";
const PRIORITY: &str = "calico priority";
const EXPORT: &str = "calico export";

/// The largest LOCAL_PREF that is a priority.
const MOST: u32 = 0x7fff_ffff;

pub(super) struct Made {
    pub policies: Vec<Policy>,
    /// What cannot be carried out.
    pub notes: Vec<Note>,
}

/// One direction of a filter for one family.
fn lists(filter: &Filter) -> [(&'static str, Family, &[Rule]); 4] {
    [
        ("import", Family::Ipv4Unicast, &filter.import_ipv4),
        ("export", Family::Ipv4Unicast, &filter.export_ipv4),
        ("import", Family::Ipv6Unicast, &filter.import_ipv6),
        ("export", Family::Ipv6Unicast, &filter.export_ipv6),
    ]
}

fn policy_name(filter: &str, direction: &str, family: Family, external: bool) -> String {
    let family = if family == Family::Ipv4Unicast { "ipv4" } else { "ipv6" };
    format!("BGPFilter {filter}, {direction}, {family}, {}", if external { "external" } else { "internal" })
}

/// Everything that the chains of [`chains`] name.
pub(super) fn policies(meaning: &Meaning) -> Made {
    let mut made = Made { policies: Vec::new(), notes: Vec::new() };
    for (name, filter) in &meaning.filters {
        for (direction, family, rules) in lists(filter) {
            for external in [false, true] {
                let applies = |rule: &&Rule| rule.matches.external.is_none_or(|wanted| wanted == external);
                let usable = rules.iter().filter(applies).filter(|rule| rule.matches.interface.is_none());
                let rules = usable.map(|rule| typed_rule(rule, family)).collect();
                made.policies.push(Policy { name: policy_name(name, direction, family, external), rules, default: Step::Next });
            }
            for rule in rules {
                if let Some(interface) = &rule.matches.interface {
                    let text = format!("{direction}: catbird knows no interface of a route; the rule for `{interface}` is passed over");
                    made.notes.push(Note { from: filter.from.clone(), text });
                }
            }
        }
    }
    made.policies.push(Policy { name: IMPORT.to_owned(), rules: Vec::new(), default: Step::Accept });
    made.policies.push(priority(meaning));
    made.policies.push(export(meaning));
    made
}

/// How a session's routes are judged: import and export.
pub(super) fn chains(session: &Session, meaning: &Meaning, external: bool) -> (ChainRef, ChainRef) {
    if session.filters.iter().any(|name| meaning.broken_filters.contains(name)) {
        return (ChainRef::None, ChainRef::None);
    }
    let family = if session.families == Families::Ipv6 { Family::Ipv6Unicast } else { Family::Ipv4Unicast };
    let known = session.filters.iter().filter(|name| meaning.filters.contains_key(*name));
    let of = |direction: &'static str| known.clone().map(move |name| policy_name(name, direction, family, external));
    let import: Vec<String> = of("import").chain([IMPORT.to_owned()]).collect();
    let import = if import.len() == 1 { ChainRef::All } else { ChainRef::Policies(import) };
    let export = std::iter::once(PRIORITY.to_owned()).chain(of("export")).chain([EXPORT.to_owned()]);
    (import, ChainRef::Policies(export.collect()))
}

fn when(matches: typed::Matches, then: Step) -> typed::Rule {
    typed::Rule { name: None, matches, sets: Sets::default(), then }
}

fn named(name: &str, rule: typed::Rule) -> typed::Rule {
    typed::Rule { name: Some(name.to_owned()), ..rule }
}

/// A prefix and all inside.
fn inside(net: IpNet) -> Prefixes {
    Prefixes { net, min: net.prefix_len(), max: net.max_prefix_len() }
}

fn typed_rule(rule: &Rule, family: Family) -> typed::Rule {
    let mut sets = Sets::default();
    for operation in &rule.operations {
        match operation {
            Operation::AddCommunity(text) => sets.add_communities.extend(text.parse::<AnyCommunity>().ok()),
            // The later goes in front of the earlier.
            Operation::PrependAsPath(path) => drop(sets.prepend.splice(0..0, path.iter().copied())),
            Operation::SetPriority(priority) => sets.local_pref = Some(MOST.saturating_sub(*priority)),
        }
    }
    let then = if rule.action == Action::Accept { Step::Accept } else { Step::Reject };
    typed::Rule { name: None, matches: typed_matches(&rule.matches, family), sets, then }
}

fn typed_matches(matches: &Matches, family: Family) -> typed::Matches {
    let mut others = Vec::new();
    let mut prefixes = None;
    match matches.prefix {
        Some(p) if p.outside => {
            let range = PrefixRange::range(p.prefix, Some(p.min), Some(p.max));
            others.push(Condition::Not(Box::new(Condition::Prefix(Arc::new(PrefixSet::new(range))))));
        }
        Some(p) => prefixes = Some(vec![Prefixes { net: p.prefix, min: p.min, max: p.max }]),
        None => {}
    }
    if matches.learned {
        others.push(Condition::Not(Box::new(Condition::Local)));
    }
    if !matches.as_path_begins.is_empty() {
        others.push(Condition::AsPath(AsPathMatch::BeginsWith(matches.as_path_begins.clone())));
    }
    if let Some(priority) = matches.priority {
        let local_pref = MOST.saturating_sub(priority);
        others.push(Condition::LocalPref(local_pref..=local_pref));
    }
    typed::Matches {
        prefixes,
        family: Some(family),
        communities: matches.community.as_ref().and_then(|text| text.parse().ok()).map(|community| vec![community]),
        others,
        ..typed::Matches::default()
    }
}

/// No LOCAL_PREF, which counts as 100.
const NONE: Condition = Condition::LocalPref(100..=100);

/// What is ours has the priority of normal routes, unless the kernel's route has a metric of its own.
fn priority(meaning: &Meaning) -> Policy {
    let of = |family: Family, priority: u32| typed::Rule {
        sets: Sets { local_pref: Some(MOST.saturating_sub(priority)), ..Sets::default() },
        ..when(
            typed::Matches { family: Some(family), source: Some(RouteSource::Local), others: vec![NONE], ..typed::Matches::default() },
            Step::Next,
        )
    };
    let rules = vec![of(Family::Ipv4Unicast, meaning.priority.ipv4), of(Family::Ipv6Unicast, meaning.priority.ipv6)];
    Policy { name: PRIORITY.to_owned(), rules, default: Step::Next }
}

/// Their block stands for them, but for a pod that is just moved here: its route has a lower metric than normal ones.
fn inside_own_blocks(meaning: &Meaning) -> impl Iterator<Item = typed::Rule> + '_ {
    let of_family = |v6: bool, priority: u32| {
        let blocks: Vec<Prefixes> = meaning
            .blocks
            .iter()
            .filter(|block| block.announce == Announce::Always && block.prefix.addr().is_ipv6() == v6)
            .map(|block| inside(block.prefix))
            .collect();
        let matches = typed::Matches {
            own_kinds: Some(vec![LocalKind::Pod]),
            others: vec![Condition::LocalPref(0..=MOST.saturating_sub(priority))],
            prefixes: Some(blocks.clone()),
            ..typed::Matches::default()
        };
        (!blocks.is_empty()).then(|| named("pods inside our own blocks", when(matches, Step::Reject)))
    };
    [of_family(false, meaning.priority.ipv4), of_family(true, meaning.priority.ipv6)].into_iter().flatten()
}

fn export(meaning: &Meaning) -> Policy {
    let of_prefixes =
        |nets: Vec<IpNet>| typed::Matches { prefixes: Some(nets.into_iter().map(inside).collect()), ..typed::Matches::default() };
    let mut rules = Vec::new();
    let mut prefixes_rule = |name: &str, nets: Vec<IpNet>, then: Step| {
        if !nets.is_empty() {
            rules.push(named(name, when(of_prefixes(nets), then)));
        }
    };
    let pools =
        |exported: bool| meaning.pools.iter().filter(move |pool| pool.exported == exported).map(|pool| pool.prefix).collect::<Vec<_>>();
    prefixes_rule("pools that are not exported", pools(false), Step::Reject);
    for advertised in &meaning.communities {
        let sets =
            Sets { add_communities: advertised.communities.iter().filter_map(|text| text.parse().ok()).collect(), ..Sets::default() };
        rules.push(typed::Rule { sets, ..named("communities", when(of_prefixes(vec![advertised.prefix]), Step::Next)) });
    }
    rules.extend(inside_own_blocks(meaning));
    let ours = typed::Matches { own_kinds: Some(vec![LocalKind::Block, LocalKind::Service, LocalKind::Pod]), ..typed::Matches::default() };
    rules.push(named("ours", when(ours, Step::Accept)));
    let mut prefixes_rule = |name: &str, nets: Vec<IpNet>, then: Step| {
        if !nets.is_empty() {
            rules.push(named(name, when(of_prefixes(nets), then)));
        }
    };
    prefixes_rule("services that are reflected", meaning.services.reflected.iter().map(|range| range.value).collect(), Step::Accept);
    prefixes_rule("pools", pools(true), Step::Accept);
    Policy { name: EXPORT.to_owned(), rules, default: Step::Reject }
}
