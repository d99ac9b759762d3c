//! Writes a [`Sketch`] as the text of a configuration.
//!
//! In: a finished sketch. Out: TOML, sections in the order of `configs/reference.toml`.

use std::fmt::Write as _;

use super::program::{Edits, Matches, Policy, Rule, Step};
use super::sketch::{Group, Peer, Remote, Sketch};
use super::value::{Table, bare, quoted};
use super::{Dialect, Wish};

/// The whole file.
pub fn toml(sketch: &Sketch, dialect: Dialect, wish: &Wish, remarks: usize) -> String {
    let mut out = format!("# Converted from {} ({}) by `catbird convert`.", dialect.name(), one_line(&wish.name));
    let _ = match remarks {
        0 => writeln!(out, " Nothing was left out."),
        1 => writeln!(out, " Of one line it says that it was left out, or is said otherwise."),
        _ => writeln!(out, " Of {remarks} lines it says that they were left out, or are said otherwise."),
    };
    node(sketch, &mut out);
    section("[listen]", &sketch.listen, &mut out);
    blocks(sketch, &mut out);
    sketch.groups.iter().for_each(|one| group(one, wish, &mut out));
    sketch.peers.iter().for_each(|one| peer(one, wish, &mut out));
    for (name, table) in &sketch.bfd {
        let _ = writeln!(out, "\n[bfd.{}]", bare(name));
        table.write(&mut out);
    }
    sketch.policies.iter().for_each(|one| policy(one, &mut out));
    section("[best_path]", &sketch.best_path, &mut out);
    section("[fib]", &sketch.fib, &mut out);
    sketch.redistribute.iter().for_each(|rule| section("[[redistribute]]", rule, &mut out));
    section("[graceful_restart]", &sketch.graceful, &mut out);
    out
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn section(head: &str, table: &Table, out: &mut String) {
    if !table.is_empty() {
        let _ = writeln!(out, "\n{head}");
        table.write(out);
    }
}

fn node(sketch: &Sketch, out: &mut String) {
    out.push_str("\n[node]\n");
    match sketch.asn {
        Some(asn) => {
            let _ = writeln!(out, "asn = {asn}");
        }
        None => out.push_str("#asn = 64512   # needed: the original says none\n"),
    }
    if let Some(id) = sketch.router_id {
        let _ = writeln!(out, "router_id = \"{id}\"");
    }
    sketch.node.write(out);
}

fn blocks(sketch: &Sketch, out: &mut String) {
    if !sketch.blocks.is_empty() {
        let mut table = Table::default();
        table.set("blocks", sketch.blocks.iter().map(|(net, _)| net.to_string()).collect::<Vec<_>>());
        section("[pods]", &table, out);
    }
}

fn asn(remote: Option<Remote>, out: &mut String) {
    let _ = match remote {
        Some(Remote::Asn(asn)) => writeln!(out, "asn = {asn}"),
        Some(Remote::External) => writeln!(out, "asn = \"external\""),
        Some(Remote::Internal) => writeln!(out, "asn = \"internal\""),
        None => Ok(()),
    };
}

fn group(group: &Group, wish: &Wish, out: &mut String) {
    let _ = writeln!(out, "\n[[peer_group]]\nname = {}", quoted(&group.name));
    asn(group.asn, out);
    let mut table = Table::default();
    if !group.listen.is_empty() {
        table.set("listen", group.listen.iter().map(|net| net.trunc().to_string()).collect::<Vec<_>>());
    }
    if let Some(limit) = group.listen_limit {
        table.set("listen_limit", limit);
    }
    table.write(out);
    settings(&group.settings, wish, out);
}

fn peer(peer: &Peer, wish: &Wish, out: &mut String) {
    out.push_str("\n[[peer]]\n");
    let mut table = Table::default();
    if let Some(name) = peer.name.as_ref().filter(|name| **name != peer.address) {
        table.set("name", name.as_str());
    }
    table.set("address", peer.address.as_str());
    table.write(out);
    asn(peer.asn, out);
    if let Some(group) = &peer.group {
        let _ = writeln!(out, "group = {}", quoted(group));
    }
    settings(&peer.settings, wish, out);
}

/// The files of secrets lie where the reader wishes them.
fn settings(table: &Table, wish: &Wish, out: &mut String) {
    let mut table = table.clone();
    for key in ["password_file", "key_file"] {
        if let Some(super::value::Value::Text(file)) = table.get(key) {
            let path = format!("{}/{file}", wish.secrets.trim_end_matches('/'));
            table.set(key, path);
        }
    }
    table.write(out);
}

fn policy(policy: &Policy, out: &mut String) {
    let name = bare(&policy.name);
    let _ = writeln!(out, "\n[policy.{name}]\ndefault = \"{}\"", word(policy.default));
    for one in &policy.rules {
        let _ = writeln!(out, "\n[[policy.{name}.rules]]");
        rule(one).write(out);
    }
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Accept => "accept",
        Step::Reject => "reject",
        Step::Next => "next",
    }
}

fn rule(rule: &Rule) -> Table {
    let mut table = Table::default();
    conditions(&rule.matches, &mut table);
    edits(&rule.edits, &mut table);
    table.set("then", word(rule.then));
    table
}

fn conditions(matches: &Matches, table: &mut Table) {
    let Matches {
        prefixes,
        ipv4,
        own_kinds,
        source,
        peers,
        communities,
        path_contains,
        path_first,
        path_origin,
        path_max,
        origin,
        next_hop,
    } = matches;
    if let Some(prefixes) = prefixes {
        table.set("prefixes", prefixes.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if let Some(ipv4) = ipv4 {
        table.set("family", if *ipv4 { "ipv4-unicast" } else { "ipv6-unicast" });
    }
    if let Some(kinds) = own_kinds {
        table.set("own_kinds", kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>());
    }
    if let Some(source) = source {
        table.set("source", *source);
    }
    for (key, texts) in [("peers", peers), ("communities", communities)] {
        if let Some(texts) = texts {
            table.set(key, texts.clone());
        }
    }
    if let Some(asns) = path_contains {
        table.set("as_path_contains", asns.iter().map(|asn| u64::from(*asn)).collect::<Vec<_>>());
    }
    for (key, number) in [("as_path_first", path_first), ("as_path_origin", path_origin), ("as_path_max_length", path_max)] {
        if let Some(number) = number {
            table.set(key, *number);
        }
    }
    if let Some(origin) = origin {
        table.set("origin", *origin);
    }
    if let Some(nets) = next_hop {
        table.set("next_hop_in", nets.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
}

fn edits(edits: &Edits, table: &mut Table) {
    let Edits { local_pref, med, origin, next_hop, prepend, add, remove, clear, source: _ } = edits;
    for (key, number) in [("set_local_pref", local_pref), ("set_med", med)] {
        if let Some(number) = number {
            table.set(key, *number);
        }
    }
    if let Some(origin) = origin {
        table.set("set_origin", *origin);
    }
    if let Some(hop) = next_hop {
        table.set("set_next_hop", hop.as_str());
    }
    if !prepend.is_empty() {
        table.set("prepend", prepend.iter().map(|asn| u64::from(*asn)).collect::<Vec<_>>());
    }
    for (key, texts) in [("add_communities", add), ("remove_communities", remove)] {
        if !texts.is_empty() {
            table.set(key, texts.clone());
        }
    }
    if *clear {
        table.set("clear_communities", true);
    }
}
