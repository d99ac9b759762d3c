//! BGPFilter: rules of import and export, by family.
//!
//! In: the objects. Out: a [`Filter`] for each one that a session uses. A rule that cannot be read makes the whole filter unusable: it is named, and what
//! it would have judged is refused (`merge`), where Calico leaves such a filter out and lets everything through.

use std::collections::{BTreeMap, BTreeSet};

use crate::num::Asn;
use crate::policy::AnyCommunity;

use super::super::meaning::{Action, Filter, Matches, Notes, Operation, PrefixMatch, Rule};
use super::super::object::{self, FilterRule, Key, Kind, Number};
use super::super::store::Store;

/// The filters that are in use, and the names of those that cannot be read. One that does not exist is passed over.
pub(super) fn filters(store: &Store, used: &BTreeSet<&str>, notes: &mut Notes) -> (BTreeMap<String, Filter>, Vec<String>) {
    let (mut all, mut broken) = (BTreeMap::new(), Vec::new());
    for (key, filter) in store.bgp_filters().filter(|(key, _)| used.contains(key.name.as_str())) {
        match read(key, filter) {
            Ok(filter) => drop(all.insert(key.name.clone(), filter)),
            Err(why) => {
                broken.push(key.name.clone());
                notes.push(key, format!("{why}; nothing passes the sessions that use this filter until it is put right"));
            }
        }
    }
    // One that the parser could not read at all, and of which no good version is known.
    broken.extend(
        store.unreadable().filter(|(key, _)| key.kind == Kind::BgpFilter && !all.contains_key(&key.name)).map(|(key, _)| key.name.clone()),
    );
    (all, broken)
}

fn read(key: &Key, filter: &object::BgpFilter) -> Result<Filter, String> {
    let list = |field: &str, list: &[FilterRule]| {
        let number =
            |(index, one): (usize, &FilterRule)| rule(one).map_err(|why| format!("{field}, rule {}: {why}", index.saturating_add(1)));
        list.iter().enumerate().map(number).collect::<Result<Vec<Rule>, String>>()
    };
    Ok(Filter {
        import_ipv4: list("importV4", &filter.import_v4)?,
        export_ipv4: list("exportV4", &filter.export_v4)?,
        import_ipv6: list("importV6", &filter.import_v6)?,
        export_ipv6: list("exportV6", &filter.export_v6)?,
        from: key.clone(),
    })
}

fn rule(rule: &FilterRule) -> Result<Rule, String> {
    let action = match rule.action.as_str() {
        "Accept" => Action::Accept,
        "Reject" => Action::Reject,
        other => return Err(format!("action `{other}` is neither Accept nor Reject")),
    };
    let operations = rule.operations.iter().map(operation).collect::<Result<Vec<_>, String>>()?;
    if action == Action::Reject && !operations.is_empty() {
        return Err("operations stand beside Reject, and change nothing that is refused".to_owned());
    }
    Ok(Rule { matches: matches(rule)?, action, operations })
}

fn matches(rule: &FilterRule) -> Result<Matches, String> {
    let community = match rule.communities.as_ref().map(|c| c.values.as_slice()) {
        None => None,
        Some([one]) => Some(community(one)?),
        Some(_) => return Err("communities.values has exactly one value".to_owned()),
    };
    Ok(Matches {
        prefix: prefix(rule)?,
        learned: match rule.source.as_str() {
            "" => false,
            "RemotePeers" => true,
            other => return Err(format!("source `{other}` is not RemotePeers")),
        },
        interface: Some(rule.interface.clone()).filter(|name| !name.is_empty()),
        external: match rule.peer_type.as_str() {
            "" => None,
            "eBGP" => Some(true),
            "iBGP" => Some(false),
            other => return Err(format!("peerType `{other}` is neither eBGP nor iBGP")),
        },
        community,
        as_path_begins: asns(&rule.as_path_prefix),
        priority: rule.priority,
    })
}

fn prefix(rule: &FilterRule) -> Result<Option<PrefixMatch>, String> {
    if rule.cidr.is_empty() {
        return Ok(None);
    }
    let net: ipnet::IpNet = rule.cidr.parse().map_err(|_| format!("cidr `{}` is not a prefix", rule.cidr))?;
    let (own, longest) = (net.prefix_len(), net.max_prefix_len());
    let (equal, outside) = match rule.match_operator.as_str() {
        "Equal" => (true, false),
        "NotEqual" => (true, true),
        "In" => (false, false),
        "NotIn" => (false, true),
        other => return Err(format!("matchOperator `{other}` is none of Equal, NotEqual, In, NotIn")),
    };
    let (min, max) = match rule.prefix_length {
        Some(lengths) => (lengths.min.map_or(own, |min| min.max(own)), lengths.max.map_or(longest, |max| max.min(longest))),
        None if equal => (own, own),
        None => (own, longest),
    };
    if min > max {
        return Err(format!("prefixLength: no prefix inside {net} has at least {min} and at most {max} bits"));
    }
    Ok(Some(PrefixMatch { prefix: net.trunc(), min, max, outside }))
}

fn operation(operation: &object::Operation) -> Result<Operation, String> {
    match (&operation.add_community, &operation.prepend_as_path, &operation.set_priority) {
        (Some(added), None, None) => Ok(Operation::AddCommunity(community(&added.value)?)),
        (None, Some(path), None) => Ok(Operation::PrependAsPath(asns(&path.prefix))),
        (None, None, Some(priority)) => Ok(Operation::SetPriority(priority.value)),
        _ => Err("an operation is exactly one of addCommunity, prependASPath, setPriority".to_owned()),
    }
}

fn community(text: &str) -> Result<String, String> {
    let known = matches!(text.parse(), Ok(AnyCommunity::Standard(_) | AnyCommunity::Large(_)));
    if known { Ok(text.to_owned()) } else { Err(format!("`{text}` is no community")) }
}

fn asns(list: &[Number]) -> Vec<Asn> {
    list.iter().filter_map(|number| number.0).collect()
}
