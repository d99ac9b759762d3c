//! Prefix lists, access lists, community lists and path lists.
//!
//! In: their lines. Out: a [`Cond`] for each name. A list that says "deny" first is kept in its order. Regular expressions are converted
//! where they mean one AS number at one end, anywhere, or alone.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::Report;
use super::super::program::{Cond, Range, Test};
use super::Line;

/// The entries of a prefix list, by their numbers.
type Entries = BTreeMap<u32, (Range, bool)>;

/// By name; of prefixes of IPv4 and IPv6 by themselves.
#[derive(Default)]
pub struct Lists {
    prefixes: [BTreeMap<String, Entries>; 2],
    access: BTreeMap<String, Vec<(Range, bool)>>,
    communities: BTreeMap<String, Vec<(Option<Cond>, bool)>>,
    paths: BTreeMap<String, Vec<(Option<Cond>, bool)>>,
}

pub(super) fn permits(word: &str) -> Option<bool> {
    match word {
        "permit" => Some(true),
        "deny" => Some(false),
        _ => None,
    }
}

impl Lists {
    /// `ip prefix-list NAME seq 5 permit 10.0.0.0/8 ge 24 le 26`
    pub(super) fn prefix(&mut self, ipv4: bool, words: &[&str]) -> bool {
        let (name, seq, rest) = match words {
            [_, "description", ..] => return true,
            [name, "seq", seq, rest @ ..] => (name, seq.parse::<u32>().ok(), rest),
            [name, rest @ ..] => (name, None, rest),
            [] => return false,
        };
        let Some(list) = self.prefixes.get_mut(usize::from(!ipv4)) else { return false };
        let [step, net, lengths @ ..] = rest else { return false };
        let Some(permit) = permits(step) else { return false };
        let net = if *net == "any" { Some(Range::all(ipv4).net) } else { net.parse::<IpNet>().ok() };
        let any = rest.get(1) == Some(&"any");
        let Some(net) = net.filter(|net| net.addr().is_ipv4() == ipv4) else { return false };
        let (mut ge, mut le) = (None, any.then(|| net.max_prefix_len()));
        for pair in lengths.chunks(2) {
            match pair {
                ["ge", number] => ge = number.parse::<u8>().ok(),
                ["le", number] => le = number.parse::<u8>().ok(),
                _ => return false,
            }
        }
        let own = net.prefix_len();
        let range = Range::new(net, ge.unwrap_or(own), le.unwrap_or(if ge.is_some() { net.max_prefix_len() } else { own }));
        let entries = list.entry((*name).to_owned()).or_default();
        let seq = seq.unwrap_or_else(|| entries.keys().next_back().copied().unwrap_or(0).saturating_add(5));
        entries.extend(range.map(|range| (seq, (range, permit))));
        true
    }

    /// `access-list NAME permit 10.0.0.0/8 exact-match`
    pub(super) fn access(&mut self, words: &[&str]) -> bool {
        let (name, rest) = match words {
            [name, "seq", _, rest @ ..] => (name, rest),
            [name, rest @ ..] => (name, rest),
            [] => return false,
        };
        let found = match rest {
            ["remark", ..] => return true,
            [step, "any"] => permits(step).map(|permit| vec![(Range::all(true), permit), (Range::all(false), permit)]),
            [step, net] => permits(step).zip(net.parse::<IpNet>().ok()).map(|(permit, net)| vec![(Range::within(net), permit)]),
            [step, net, "exact-match"] => {
                permits(step).zip(net.parse::<IpNet>().ok()).map(|(permit, net)| vec![(Range::exactly(net), permit)])
            }
            _ => None,
        };
        found.map(|found| self.access.entry((*name).to_owned()).or_default().extend(found)).is_some()
    }

    /// `bgp community-list ...`, `bgp as-path access-list ...`
    pub(super) fn bgp(&mut self, words: &[&str], line: Line<'_>, report: &mut Report) -> bool {
        match words {
            ["bgp", "as-path", "access-list", name, rest @ ..] => {
                let rest = if let ["seq", _, rest @ ..] = rest { rest } else { rest };
                let Some((step, pattern)) = rest.split_first() else { return false };
                let Some(permit) = permits(step) else { return false };
                let cond = path(&pattern.join(" "));
                if cond.is_none() {
                    report.lost(
                        line.place,
                        line.text,
                        "of paths one AS number at one end, anywhere or alone can be asked for: the entry is left out",
                    );
                }
                self.paths.entry((*name).to_owned()).or_default().push((cond, permit));
            }
            ["bgp", "community-list" | "large-community-list" | "extcommunity-list", rest @ ..] => {
                let rest = if let ["standard" | "expanded", rest @ ..] = rest { rest } else { rest };
                let (name, rest) = match rest {
                    [name, "seq", _, rest @ ..] => (name, rest),
                    [name, rest @ ..] => (name, rest),
                    [] => return false,
                };
                let Some((step, members)) = rest.split_first() else { return false };
                let Some(permit) = permits(step) else { return false };
                let cond = members_of(members);
                if cond.is_none() {
                    report.lost(line.place, line.text, "a pattern of communities that catbird does not have: the entry is left out");
                }
                self.communities.entry((*name).to_owned()).or_default().push((cond, permit));
            }
            _ => return false,
        }
        true
    }

    /// Of a route of this family.
    pub(super) fn prefixes_of(&self, ipv4: bool, name: &str) -> Option<Cond> {
        let entries = self.prefixes.get(usize::from(!ipv4))?.get(name)?;
        Some(Cond::List(entries.values().copied().collect()))
    }

    pub(super) fn access_of(&self, name: &str) -> Option<Cond> {
        self.access.get(name).map(|entries| Cond::List(entries.clone()))
    }

    pub(super) fn communities_of(&self, name: &str) -> Option<Cond> {
        self.communities.get(name).map(|entries| in_order(entries))
    }

    /// Of `set comm-list NAME delete`.
    pub(super) fn deleted_by(&self, name: &str) -> Option<Vec<String>> {
        let entries = self.communities.get(name)?;
        let one = |(cond, permit): &(Option<Cond>, bool)| match (cond, permit) {
            (Some(Cond::Test(Test::Communities(list))), true) => Some(list.clone()),
            _ => None,
        };
        entries.iter().map(one).collect::<Option<Vec<_>>>().map(|lists| lists.concat())
    }

    pub(super) fn paths_of(&self, name: &str) -> Option<Cond> {
        self.paths.get(name).map(|entries| in_order(entries))
    }
}

/// The first that means it decides.
fn in_order(entries: &[(Option<Cond>, bool)]) -> Cond {
    let known = || entries.iter().filter_map(|(cond, permit)| Some((cond.clone()?, *permit)));
    if known().all(|(_, permit)| permit) {
        return Cond::Any(known().map(|(cond, _)| cond).collect());
    }
    // Nested by its length: a list that long and mixed is not what one writes.
    known().take(100).collect::<Vec<_>>().into_iter().rev().fold(Cond::Always(false), |rest, (cond, permit)| match permit {
        true => Cond::Any(vec![cond, rest]),
        false => Cond::All(vec![cond.negated(), rest]),
    })
}

/// `^65001_`, `_65001_`, `_65001$`, `^65001$`, `^$`, `.*`
fn path(pattern: &str) -> Option<Cond> {
    let test = |test| Some(Cond::Test(test));
    if matches!(pattern, ".*" | "^.*$") {
        return Some(Cond::Always(true));
    }
    if pattern == "^$" {
        return test(Test::PathMax(0));
    }
    let (first, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (last, rest) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    let rest = rest.strip_suffix(".*").unwrap_or(rest);
    let rest = rest.strip_prefix(".*").unwrap_or(rest);
    let (before, rest) = rest.strip_prefix('_').map_or((false, rest), |rest| (true, rest));
    let (after, rest) = rest.strip_suffix(['_', ' ']).map_or((false, rest), |rest| (true, rest));
    let asn = rest.parse::<u32>().ok()?;
    match (first, last, before || first, after || last) {
        (true, true, ..) => Some(Cond::All(vec![Cond::Test(Test::PathFirst(asn)), Cond::Test(Test::PathMax(1))])),
        (true, false, _, true) => test(Test::PathFirst(asn)),
        (false, true, true, _) => test(Test::PathOrigin(asn)),
        (false, false, true, true) => test(Test::PathContains(vec![asn])),
        _ => None,
    }
}

/// As catbird writes it.
pub(super) fn community(word: &str) -> Option<String> {
    let word = match word {
        "internet" | "additive" => return None,
        "local-AS" | "local-as" => "no-export-subconfed",
        "graceful-shutdown" | "blackhole" | "no-export" | "no-advertise" | "no-peer" => word,
        _ => {
            let parts: Vec<&str> = word.split(':').collect();
            let plain = |part: &&str| part.parse::<u32>().is_ok() && (parts.len() == 3 || part.parse::<u16>().is_ok());
            return (matches!(parts.len(), 2 | 3) && parts.iter().all(plain)).then(|| word.to_owned());
        }
    };
    Some(word.to_owned())
}

/// All of them must be there, but `any`; a simple pattern is a number with a star.
fn members_of(words: &[&str]) -> Option<Cond> {
    let one = |text: String| Cond::Test(Test::Communities(vec![text]));
    match words {
        ["internet"] => Some(Cond::Always(true)),
        ["rt" | "soo", ..] => {
            let texts: Vec<String> = words.chunks(2).map(|pair| pair.join(":")).collect();
            Some(Cond::All(texts.into_iter().map(one).collect()))
        }
        [pattern] if pattern.starts_with(['^', '_']) || pattern.ends_with(['$', '*', '+']) => {
            let bare = pattern.trim_start_matches(['^', '_']).trim_end_matches(['$', '_']);
            let bare = ["[0-9]+", "[0-9]*", ".*", ".+"].into_iter().find_map(|end| bare.strip_suffix(end).map(|head| format!("{head}*")));
            let text = bare.unwrap_or_else(|| pattern.trim_matches(['^', '$', '_']).to_owned());
            let like = text.strip_suffix('*').map_or(text.clone(), |head| format!("{head}0"));
            community(&like).map(|_| one(text))
        }
        [single] => community(single).map(one),
        several => several.iter().map(|word| community(word).map(one)).collect::<Option<Vec<_>>>().map(Cond::All),
    }
}
