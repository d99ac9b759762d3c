//! `[defined-sets]` and `[[policy-definitions]]`.
//!
//! In: their sections. Out: one program for a list of policies and what becomes of the rest: a statement without a disposition changes the
//! route and goes on.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::program::{Cond, Edit, Range, Step, Stmt, Test};
use super::super::{Place, Report};
use super::table::Section;

/// All sets and policies, by name.
#[derive(Default)]
pub struct Definitions {
    prefixes: BTreeMap<String, Vec<Range>>,
    neighbors: BTreeMap<String, Vec<String>>,
    communities: BTreeMap<String, Option<Vec<String>>>,
    paths: BTreeMap<String, Option<Vec<Cond>>>,
    policies: BTreeMap<String, Vec<Statement>>,
}

struct Statement {
    cond: Cond,
    edits: Vec<Edit>,
    step: Option<Step>,
}

impl Definitions {
    pub(super) fn read(root: &mut Section<'_>, report: &mut Report) -> Definitions {
        let mut all = Definitions::default();
        let mut sets = root.table("defined-sets");
        for mut one in sets.tables("prefix-sets") {
            let name = one.text("prefix-set-name").map(|(name, _)| name).unwrap_or_default();
            let ranges = one.tables("prefix-list").into_iter().filter_map(|entry| prefix(entry, report)).collect();
            all.prefixes.insert(name, ranges);
            one.finish(report);
        }
        for mut one in sets.tables("neighbor-sets") {
            let place = one.place();
            let name = one.text("neighbor-set-name").map(|(name, _)| name).unwrap_or_default();
            let (hosts, nets): (Vec<String>, Vec<String>) =
                one.texts("neighbor-info-list").into_iter().partition(|text| !text.contains('/'));
            if !nets.is_empty() {
                report.lost(place, &nets.join(", "), "a rule names peers by name, address or AS, not by a prefix");
            }
            all.neighbors.insert(name, hosts);
            one.finish(report);
        }
        let mut bgp = sets.table("bgp-defined-sets");
        for (key, name, list) in [
            ("community-sets", "community-set-name", "community-list"),
            ("ext-community-sets", "ext-community-set-name", "ext-community-list"),
            ("large-community-sets", "large-community-set-name", "large-community-list"),
        ] {
            for mut one in bgp.tables(key) {
                let place = one.place();
                let set = one.text(name).map(|(name, _)| name).unwrap_or_default();
                let members = one.texts(list).iter().map(|text| community(text)).collect::<Option<Vec<String>>>();
                if members.is_none() {
                    report.lost(place, &set, "a pattern of communities that catbird does not have: statements with this set are left out");
                }
                all.communities.insert(set, members);
                one.finish(report);
            }
        }
        for mut one in bgp.tables("as-path-sets") {
            let place = one.place();
            let set = one.text("as-path-set-name").map(|(name, _)| name).unwrap_or_default();
            let members = one.texts("as-path-list").iter().map(|text| path(text)).collect::<Option<Vec<Cond>>>();
            if members.is_none() {
                report.lost(
                    place,
                    &set,
                    "of paths one AS number at one end, anywhere or alone can be asked for: statements with this set are left out",
                );
            }
            all.paths.insert(set, members);
            one.finish(report);
        }
        bgp.finish(report);
        sets.ignore(&["tag-sets"]);
        sets.finish(report);
        for mut policy in root.tables("policy-definitions") {
            let name = policy.text("name").map(|(name, _)| name).unwrap_or_default();
            let statements = policy.tables("statements").into_iter().filter_map(|one| all.statement(one, report)).collect();
            all.policies.insert(name, statements);
            policy.finish(report);
        }
        all
    }

    /// Policies in order, and what becomes of what none decided on.
    pub(super) fn chain(&self, names: &[String], accepts: bool, report: &mut Report) -> Vec<Stmt> {
        let mut program = Vec::new();
        for name in names {
            let Some(statements) = self.policies.get(name) else {
                report.lost(Place { file: 0, line: 1 }, name, "there is no such policy");
                continue;
            };
            for one in statements {
                let mut body: Vec<Stmt> = one.edits.iter().cloned().map(Stmt::Edit).collect();
                body.extend(one.step.map(Stmt::End));
                match &one.cond {
                    Cond::Always(true) => program.extend(body),
                    cond => program.push(Stmt::If(cond.clone(), body, Vec::new())),
                }
            }
        }
        program.push(Stmt::End(if accepts { Step::Accept } else { Step::Reject }));
        program
    }

    fn statement(&self, mut section: Section<'_>, report: &mut Report) -> Option<Statement> {
        let place = section.place();
        section.ignore(&["name"]);
        let cond = self.conditions(section.table("conditions"), report);
        let mut actions = section.table("actions");
        let step = match actions.text("route-disposition").map(|(word, _)| word).as_deref() {
            Some("accept-route") => Some(Step::Accept),
            Some("reject-route") => Some(Step::Reject),
            _ => None,
        };
        let edits = actions_of(actions.table("bgp-actions"), report);
        actions.finish(report);
        section.finish(report);
        match cond {
            Ok(cond) => Some(Statement { cond, edits, step }),
            Err(why) => {
                let does = match step {
                    Some(Step::Reject) => "what it refuses passes now",
                    Some(_) => "what it accepts has to pass elsewhere",
                    None => "what it does is left out",
                };
                report.lost(place, "statement", format!("{why}: it is left out; {does}"));
                None
            }
        }
    }

    fn conditions(&self, mut section: Section<'_>, report: &mut Report) -> Result<Cond, String> {
        let mut all = Vec::new();
        if let Some((name, _, not)) = set(section.table("match-prefix-set"), "prefix-set", report) {
            let ranges = self.prefixes.get(&name).ok_or_else(|| format!("there is no prefix-set {name}"))?;
            all.push(inverted(Cond::Test(Test::Prefixes(ranges.clone())), not));
        }
        if let Some((name, _, not)) = set(section.table("match-neighbor-set"), "neighbor-set", report) {
            let peers = self
                .neighbors
                .get(&name)
                .filter(|peers| !peers.is_empty())
                .ok_or_else(|| format!("there is no neighbor-set {name} of addresses"))?;
            all.push(inverted(Cond::Test(Test::Peers(peers.clone())), not));
        }
        let mut bgp = section.table("bgp-conditions");
        for (key, name) in [
            ("match-community-set", "community-set"),
            ("match-ext-community-set", "ext-community-set"),
            ("match-large-community-set", "large-community-set"),
        ] {
            let Some((name, all_of, not)) = set(bgp.table(key), name, report) else { continue };
            let members = self.communities.get(&name).cloned().flatten().ok_or_else(|| format!("no usable set of communities {name}"))?;
            let cond = match all_of {
                true => Cond::All(members.into_iter().map(|one| Cond::Test(Test::Communities(vec![one]))).collect()),
                false => Cond::Test(Test::Communities(members)),
            };
            all.push(inverted(cond, not));
        }
        if let Some((name, all_of, not)) = set(bgp.table("match-as-path-set"), "as-path-set", report) {
            let members = self.paths.get(&name).cloned().flatten().ok_or_else(|| format!("no usable as-path-set {name}"))?;
            all.push(inverted(if all_of { Cond::All(members) } else { Cond::Any(members) }, not));
        }
        all.extend(length(bgp.table("as-path-length"))?);
        let nets = bgp.texts("next-hop-in-list");
        if !nets.is_empty() {
            let net = |text: &String| {
                text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from)).map(|net| net.trunc())
            };
            all.push(Cond::Test(Test::NextHop(nets.iter().map(net).collect::<Option<_>>().ok_or("a next hop that is none")?)));
        }
        if let Some((kind, _)) = bgp.text("route-type") {
            let source = ["local", "internal", "external"].into_iter().find(|word| *word == kind).ok_or("a route-type that is none")?;
            all.push(Cond::Test(Test::Source(source)));
        }
        if let Some((origin, _)) = bgp.text("origin-eq") {
            let origin = ["igp", "egp", "incomplete"].into_iter().find(|word| *word == origin).ok_or("an origin that is none")?;
            all.push(Cond::Test(Test::Origin(origin)));
        }
        if bgp.text("rpki-validation-result").is_some() {
            return Err("catbird knows no origin validation (RPKI)".to_owned());
        }
        bgp.finish(report);
        section.ignore(&["bgp-conditions"]);
        section.finish(report);
        Ok(if all.is_empty() { Cond::Always(true) } else { Cond::All(all) })
    }
}

fn inverted(cond: Cond, not: bool) -> Cond {
    if not { cond.negated() } else { cond }
}

/// Which set, whether all of it, and whether not.
fn set(mut section: Section<'_>, key: &'static str, report: &mut Report) -> Option<(String, bool, bool)> {
    let (name, _) = section.text(key)?;
    let options = section.text("match-set-options").map(|(word, _)| word.to_lowercase()).unwrap_or_default();
    section.finish(report);
    Some((name, options == "all", options == "invert"))
}

fn length(mut section: Section<'_>) -> Result<Option<Cond>, String> {
    if !section.is_there() {
        return Ok(None);
    }
    let length = section.number("value").and_then(|length| u32::try_from(length).ok()).ok_or("a length of a path that is none")?;
    let at_most = |length: u32| Cond::Test(Test::PathMax(length));
    let below = length.checked_sub(1).map_or(Cond::Always(false), at_most);
    match section.text("operator").map(|(word, _)| word).as_deref() {
        Some("le") => Ok(Some(at_most(length))),
        Some("ge") => Ok(Some(below.negated())),
        Some("eq") => Ok(Some(Cond::All(vec![at_most(length), below.negated()]))),
        _ => Err("an operator that is none of eq, ge, le".to_owned()),
    }
}

/// `ip-prefix = "10.0.0.0/8"`, `masklength-range = "24..32"`
fn prefix(mut entry: Section<'_>, report: &mut Report) -> Option<Range> {
    let place = entry.place();
    let (text, range) = (entry.text("ip-prefix").map(|(text, _)| text), entry.text("masklength-range").map(|(text, _)| text));
    entry.finish(report);
    let net = text.as_deref().and_then(|text| text.parse::<IpNet>().ok());
    let found = net.and_then(|net| match range.as_deref().map(|range| range.split_once("..")) {
        None => Some(Range::exactly(net)),
        Some(Some((low, high))) => {
            Range::new(net, low.parse().ok().unwrap_or(net.prefix_len()), high.parse().ok().unwrap_or(net.max_prefix_len()))
        }
        Some(None) => None,
    });
    if found.is_none() {
        report.lost(place, text.as_deref().unwrap_or("prefix-list"), "no prefix, or no range of lengths");
    }
    found
}

/// A pattern is understood if it is a plain community, or one that begins so.
fn community(text: &str) -> Option<String> {
    let names = [
        ("no-export", "no-export"),
        ("no-advertise", "no-advertise"),
        ("internet", "0:0"),
        ("no-peer", "no-peer"),
        ("blackhole", "blackhole"),
    ];
    if let Some((_, ours)) = names.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(text)) {
        return Some((*ours).to_owned());
    }
    let bare = text.trim_start_matches('^').trim_end_matches('$');
    let (bare, star) =
        ["\\d+", "[0-9]+", ".*", ".+"].into_iter().find_map(|end| bare.strip_suffix(end)).map_or((bare, false), |head| (head, true));
    let (bare, star) = if star || !(text.starts_with('^') && bare.ends_with(':')) { (bare, star) } else { (bare, true) };
    let whole = if star { format!("{bare}0") } else { bare.to_owned() };
    let parts: Vec<&str> = whole.split(':').collect();
    let extended = matches!(parts.first(), Some(&("rt" | "soo"))) && parts.len() == 3;
    let number = |part: &&str| part.parse::<u32>().is_ok();
    let fits = extended && parts.iter().skip(1).all(|part| number(part) || part.contains('.'))
        || parts.len() == 2 && parts.iter().all(|part| part.parse::<u16>().is_ok())
        || parts.len() == 3 && parts.iter().all(number);
    fits.then(|| if star { format!("{bare}*") } else { bare.to_owned() })
}

/// `^65001_`, `_65001_`, `_65001$`, `^65001$`; GoBGP takes `_` for any end of a number.
fn path(text: &str) -> Option<Cond> {
    let test = |test| Some(Cond::Test(test));
    let (first, rest) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let (last, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let asn = rest.trim_matches('_').parse::<u32>().ok()?;
    match (first, last) {
        (true, true) => Some(Cond::All(vec![Cond::Test(Test::PathFirst(asn)), Cond::Test(Test::PathMax(1))])),
        (true, false) => test(Test::PathFirst(asn)),
        (false, true) => test(Test::PathOrigin(asn)),
        (false, false) => test(Test::PathContains(vec![asn])),
    }
}

fn actions_of(mut section: Section<'_>, report: &mut Report) -> Vec<Edit> {
    let mut edits = Vec::new();
    let place = section.place();
    edits.extend(section.positive("set-local-pref").map(Edit::LocalPref));
    let med = section.number("set-med").map(|number| number.to_string()).or_else(|| section.text("set-med").map(|(text, _)| text));
    if let Some(med) = med {
        match med.parse() {
            Ok(med) => edits.push(Edit::Med(med)),
            Err(_) => report.lost(place, &format!("set-med = {med}"), "MED is set here, not changed by an amount"),
        }
    }
    if let Some((origin, _)) = section.text("set-route-origin") {
        edits.extend(["igp", "egp", "incomplete"].into_iter().find(|word| *word == origin).map(Edit::Origin));
    }
    if let Some((hop, place)) = section.text("set-next-hop") {
        match hop.as_str() {
            "self" => edits.push(Edit::NextHop("self".to_owned())),
            "unchanged" => report.lost(place, "set-next-hop", "`next_hop = \"keep\"` of the peer does it for all routes"),
            addr if addr.parse::<std::net::IpAddr>().is_ok() => edits.push(Edit::NextHop(hop)),
            _ => report.lost(place, "set-next-hop", "not understood"),
        }
    }
    for (key, method, whole) in [
        ("set-community", "set-community-method", "*:*"),
        ("set-large-community", "set-large-community-method", "*:*:*"),
        ("set-ext-community", "set-ext-community-method", ""),
    ] {
        edits.extend(communities(section.table(key), method, whole, report));
    }
    let mut prepend = section.table("set-as-path-prepend");
    if let Some((asn, place)) = prepend.text("as") {
        let times = prepend.positive::<u8>("repeat-n").unwrap_or(1);
        match asn.parse() {
            Ok(asn) => edits.push(Edit::Prepend(asn, times)),
            Err(_) => report.lost(place, "set-as-path-prepend", "the AS is a number here"),
        }
    }
    prepend.finish(report);
    section.finish(report);
    edits
}

fn communities(mut section: Section<'_>, method: &'static str, whole: &str, report: &mut Report) -> Vec<Edit> {
    let Some((options, place)) = section.text("options") else { return Vec::new() };
    let list = section.table(method).texts("communities-list");
    section.finish(report);
    let Some(list) = list.iter().map(|text| community(text)).collect::<Option<Vec<String>>>() else {
        report.lost(place, method, "a community, or a pattern, that catbird does not have");
        return Vec::new();
    };
    match options.to_lowercase().as_str() {
        "add" => vec![Edit::Add(list)],
        "remove" => vec![Edit::Remove(list)],
        "replace" if !whole.is_empty() => vec![Edit::Remove(vec![whole.to_owned()]), Edit::Add(list)],
        _ => {
            report.lost(place, method, "of extended communities, those of a list are added or removed");
            Vec::new()
        }
    }
}
