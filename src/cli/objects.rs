//! `check --objects` and `diff --objects`: what objects of a cluster mean, from files; neither a cluster nor a daemon is asked.
//!
//! In: what `kubectl get -o yaml` or `-o json` printed (lists, many documents, a folder of files), and a configuration file if there is one. Out: the
//! configuration of a node, each value with the object that says it, or what another set of objects changes. Meaning is [`source`]'s matter.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Exit;
use super::client::ClientError;
use super::output::{Cell, Columns, Listing, Output, Style, cell, maybe, styled};
use super::tables;
use crate::config::model::Flavour;
use crate::config::{self, Config};
use crate::daemon::protocol::Reloaded;
use crate::source::{self, Announce, Inserted, Kind, Meaning, Merged, NextHopMode, Session, Sourced, Store};
use crate::speaker::reload_plan::{self, Change, NotRunning};

/// Octets of the longest file of objects: those of 20,000 nodes.
const FILE_OCTETS: u64 = 1 << 30;

/// What is asked for.
pub struct Asked<'a> {
    /// The configuration, if there is a file.
    pub file: Option<&'a Path>,
    pub node: Option<&'a str>,
    pub flavour: Option<Flavour>,
}

/// All objects of a file or a folder, and how many of them are none of ours.
struct Dump {
    store: Store,
    foreign: BTreeSet<String>,
}

/// Prints the configuration that results for a node.
pub fn check(out: &mut Output, objects: &Path, asked: &Asked<'_>, strict: bool) -> Result<Exit, ClientError> {
    let Some(dump) = read(objects) else { return Ok(Exit::Unreadable) };
    let Some(config) = base(asked, &dump.store) else { return Ok(Exit::Refused) };
    let outcome = source::merge(&config, &dump.store);
    if out.json {
        out.object(&Checked::of(&config, &outcome, &dump))?;
    } else {
        match &outcome {
            Ok(merged) => show(out, merged, &dump)?,
            Err(why) => eprintln!("catbird: {why}"),
        }
    }
    let ignored = outcome.as_ref().is_ok_and(|merged| !merged.meaning.notes.is_empty());
    Ok(if outcome.is_err() || (strict && ignored) { Exit::Refused } else { Exit::Fine })
}

/// Prints what the change of objects does to one node, or to all.
pub fn diff(out: &mut Output, old: &Path, new: &Path, asked: &Asked<'_>, all: bool) -> Result<Exit, ClientError> {
    let (Some(old), Some(new)) = (read(old), read(new)) else { return Ok(Exit::Unreadable) };
    let names: BTreeSet<String> = match asked.node {
        Some(node) if !all => BTreeSet::from([node.to_owned()]),
        _ => [&old, &new].into_iter().flat_map(|dump| dump.store.node_names()).map(str::to_owned).collect(),
    };
    let mut differences = Vec::new();
    for node in names {
        let asked = Asked { node: Some(&node), flavour: asked.flavour, file: asked.file };
        let (Some(before), Some(after)) = (base(&asked, &old.store), base(&asked, &new.store)) else { return Ok(Exit::Refused) };
        differences.push(NodeDiff::of(node.clone(), source::merge(&before, &old.store), source::merge(&after, &new.store)));
    }
    let refused = differences.iter().any(|difference| difference.error.is_some());
    if out.json {
        out.object(&differences)?;
    } else {
        show_differences(out, differences)?;
    }
    Ok(if refused { Exit::Refused } else { Exit::Fine })
}

/// What changes for one node.
#[derive(Serialize)]
struct NodeDiff {
    node: String,
    /// Why nothing can be said.
    error: Option<String>,
    changes: Vec<Change>,
}

impl NodeDiff {
    fn of(node: String, old: Result<Merged, source::Unusable>, new: Result<Merged, source::Unusable>) -> NodeDiff {
        match (old, new) {
            (Ok(old), Ok(new)) => {
                let [old, new] = [&old, &new].map(|merged| config::params::speaker(&merged.config));
                NodeDiff { node, error: None, changes: reload_plan::diff(&old, &new, &NotRunning).into_changes() }
            }
            (Err(why), _) => NodeDiff { node, error: Some(format!("before: {why}")), changes: Vec::new() },
            (_, Err(why)) => NodeDiff { node, error: Some(format!("after: {why}")), changes: Vec::new() },
        }
    }
}

fn show_differences(out: &mut Output, differences: Vec<NodeDiff>) -> io::Result<()> {
    let several = differences.len() > 1;
    for difference in differences {
        if several && difference.changes.is_empty() && difference.error.is_none() {
            continue;
        }
        if several {
            out.line(out.paint(&styled(&difference.node, Style::Bold)))?;
        }
        match difference.error {
            Some(why) => out.line(out.paint(&styled(why, Style::Bad)))?,
            None => tables::reloaded(out, &Reloaded { changes: difference.changes, ..Reloaded::default() })?,
        }
    }
    Ok(())
}

/// The file's configuration, or one that says nothing but the flavour; `None` after words about what is wrong with it.
fn base(asked: &Asked<'_>, store: &Store) -> Option<Config> {
    let checked = match asked.file {
        Some(file) => {
            config::load_as(file, asked.node).map_err(|error| eprintln!("catbird: cannot read {}: {error}", file.display())).ok()?
        }
        None => {
            let flavour = asked.flavour.unwrap_or_else(|| guess(store));
            config::check_text_as("no file", &format!("[kubernetes]\nflavour = \"{flavour}\"\n"), asked.node)
        }
    };
    if checked.config.is_none() {
        eprintln!("{}", checked.report.render(false));
    }
    checked.config
}

/// By what is there.
fn guess(store: &Store) -> Flavour {
    let calico = [Kind::CalicoNode, Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter, Kind::IpPool, Kind::BlockAffinity];
    match () {
        () if calico.into_iter().any(|kind| store.has(kind)) => Flavour::Calico,
        () if store.has(Kind::CiliumNode) => Flavour::Cilium,
        () => Flavour::Nodes,
    }
}

/// `None` after words about a file that cannot be read.
fn read(path: &Path) -> Option<Dump> {
    let complain = |path: &Path, why: &dyn Display| eprintln!("catbird: cannot read {}: {why}", path.display());
    let files = files(path).map_err(|error| complain(path, &error)).ok()?;
    let mut dump = Dump { store: Store::default(), foreign: BTreeSet::new() };
    for file in files {
        let text = config::read_text(&file, FILE_OCTETS).map_err(|error| complain(&file, &error)).ok()?;
        for document in documents(&text).map_err(|error| complain(&file, &error)).ok()? {
            let inserted = dump.store.insert(document);
            dump.foreign.extend(inserted.into_iter().filter_map(|one| if let Inserted::Foreign(what) = one { Some(what) } else { None }));
        }
    }
    // A dump without any says nothing of pods.
    let pods = dump.store.has(Kind::Pod);
    if pods {
        dump.store.know_pods(true);
    }
    Some(dump)
}

/// The file, or those of a folder that look like objects, by name.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    files.retain(|file| file.extension().is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known)));
    files.sort();
    Ok(files)
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('{') {
        let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        // YAML may begin so, too.
        if let Ok(all) = stream.collect::<Result<_, _>>() {
            return Ok(all);
        }
    }
    serde_yaml_ng::Deserializer::from_str(text).map(|document| Value::deserialize(document).map_err(|error| error.to_string())).collect()
}

/// As JSON; the fields are documented in `docs/kubernetes.md`.
#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    errors: Vec<String>,
    flavour: String,
    /// Its BGP Identifier.
    router_id: Option<String>,
    #[serde(flatten)]
    meaning: Option<&'a Meaning>,
    /// Of kinds that say nothing to us.
    foreign: &'a BTreeSet<String>,
}

impl<'a> Checked<'a> {
    fn of(config: &Config, outcome: &'a Result<Merged, source::Unusable>, dump: &'a Dump) -> Checked<'a> {
        Checked {
            ok: outcome.is_ok(),
            errors: outcome.as_ref().err().map(|why| why.to_string().lines().map(str::to_owned).collect()).unwrap_or_default(),
            flavour: config.kubernetes.as_ref().map_or_else(String::new, |k| k.flavour.to_string()),
            router_id: outcome.as_ref().ok().map(|merged| merged.config.node.router_id.to_string()),
            meaning: outcome.as_ref().ok().map(|merged| &merged.meaning),
            foreign: &dump.foreign,
        }
    }
}

const SESSIONS: Columns = Columns { titles: &["SESSION", "ADDRESS", "AS", "HOW", "FROM"], legend: "" };

fn show(out: &mut Output, merged: &Merged, dump: &Dump) -> io::Result<()> {
    let (meaning, config) = (&merged.meaning, &merged.config);
    let node = &meaning.node;
    out.line(format!("{} AS {} ({}), router id {}", node.name, node.asn.value, place(&node.asn), config.node.router_id))?;
    let listed = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(", ");
    let own =
        [node.ipv4.as_ref().map(said), node.ipv6.as_ref().map(said), node.cluster_id.as_ref().map(|id| format!("cluster id {}", said(id)))];
    out.line(format!("  {}", listed(&mut own.into_iter().flatten())))?;
    if let (Some(from), Some(why)) = (&node.drain, &node.drain_why) {
        let pods = match node.pods {
            None => "stay as long as pods need them, of which nothing is known here".to_owned(),
            Some(0) => "are withdrawn: no pod needs them".to_owned(),
            Some(n) => format!("stay: {n} pods need them"),
        };
        out.line(format!("it leaves ({from}: {why}); its blocks {pods}"))?;
    }
    let mut listing = Listing::new(SESSIONS);
    listing.page(out, &meaning.sessions, |session| session_row(session, merged))?;
    listing.end(out, "no sessions")?;
    for block in &meaning.blocks {
        let how = match (block.announce, block.blackhole) {
            (Announce::Always, true) => "announced, and a blackhole",
            (Announce::Always, false) => "announced; Felix has the blackhole",
            (Announce::WithRoute, _) => "announced while its pod's route is there",
            (Announce::Never, _) => "not announced any more",
        };
        out.line(format!("block {} {how} ({})", block.prefix, block.from))?;
    }
    for range in &meaning.services.ranges {
        out.line(format!("services {} announced whole ({})", range.value, place(range)))?;
    }
    for address in &meaning.services.addresses {
        out.line(format!("service {} ({})", address.prefix, listed(&mut address.from.iter().map(ToString::to_string))))?;
    }
    for prefix in &meaning.services.leaving {
        out.line(format!("service {prefix} withdrawn, since the node leaves"))?;
    }
    for pool in &meaning.pools {
        let exported = if pool.exported { "" } else { ", not exported" };
        let written = if pool.written { "catbird" } else { "Felix" };
        out.line(format!("pool {}{exported}, routes written by {written} ({})", pool.prefix, pool.from))?;
    }
    for advertised in &meaning.communities {
        out.line(format!("communities {} for {} ({})", advertised.communities.join(" "), advertised.prefix, advertised.from))?;
    }
    for note in &meaning.notes {
        out.line(out.paint(&styled(format!("note: {}: {}", note.from, note.text), Style::Warn)))?;
    }
    if !dump.foreign.is_empty() {
        out.line(out.paint(&styled(format!("{} objects of other kinds say nothing to us", dump.foreign.len()), Style::Dim)))?;
    }
    Ok(())
}

fn session_row(session: &Session, merged: &Merged) -> Vec<Cell> {
    let port = merged.config.sessions.iter().find(|s| s.name == session.name).map_or(session.port, |s| Some(s.options.port));
    let yes = |is: bool, word: &str| is.then(|| word.to_owned());
    let how = [
        yes(session.passive, "passive"),
        yes(session.rr_client, "client"),
        yes(session.reflector, "reflector"),
        yes(session.next_hop == NextHopMode::Own, "next hop self"),
        yes(session.next_hop == NextHopMode::Keep, "next hop kept"),
        (session.local_asn != merged.meaning.node.asn.value).then(|| format!("as AS {}", session.local_asn)),
        session.ttl_security.map(|hops| format!("ttl_security {hops}")),
        session.password.as_ref().map(|password| format!("password in {}", password.place)),
        (!session.filters.is_empty()).then(|| format!("filters {}", session.filters.join(" "))),
        session.superseded_by.as_ref().map(|other| format!("superseded by {other}")),
    ];
    let how: Vec<String> = how.into_iter().flatten().collect();
    let address = match (session.address, port) {
        (address, Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (address, None) => address.to_string(),
    };
    let how = (!how.is_empty()).then(|| how.join(", "));
    vec![cell(&session.name), cell(address), cell(session.asn), maybe(how), styled(&session.from, Style::Dim)]
}

fn place<T>(sourced: &Sourced<T>) -> String {
    sourced.from.as_ref().map_or_else(|| "the file or a default".to_owned(), ToString::to_string)
}

fn said<T: Display>(sourced: &Sourced<T>) -> String {
    format!("{} ({})", sourced.value, place(sourced))
}
