//! GoBGP: `gobgpd.toml`.
//!
//! In: the text. Out: a [`Sketch`]. GoBGP keeps to no RFC 8212 and asks the policies of `[global.apply-policy]` of every neighbour; those of a
//! neighbour count for clients of a route server alone. It writes no kernel routes without zebra, so the result does not either.

mod policies;
mod table;

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeTable;

use super::sketch::{Group, Pass, Peer, Remote, Sketch};
use super::value::Table;
use super::{Place, Report};
use policies::Definitions;
use table::{Lines, Section};

pub(super) fn read(text: &str, report: &mut Report) -> Sketch {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(Place { file: 0, line: 1 }, |span| lines.place(span.start));
        report.lost(place, "", format!("not TOML: {}", error.message()));
    }
    let mut sketch = Sketch::default();
    let mut root = Section::root(document.get_ref(), &lines);
    let definitions = Definitions::read(&mut root, report);
    let chains = global(root.table("global"), &definitions, &mut sketch, report);
    zebra(root.table("zebra"), &mut sketch, report);
    let groups = root.tables("peer-groups");
    for one in groups {
        group(one, &chains, &mut sketch, report);
    }
    for one in root.tables("dynamic-neighbors") {
        range(one, &mut sketch, report);
    }
    for one in root.tables("neighbors") {
        neighbor(one, &chains, &mut sketch, report);
    }
    for one in root.tables("rpki-servers") {
        report.lost(one.place(), "rpki-servers", "catbird knows no origin validation (RPKI)");
    }
    root.ignore(&["bmp-servers", "mrt-dump", "collector"]);
    root.finish(report);
    sketch
}

/// `import` and `export` of all.
struct Chains {
    import: String,
    export: String,
}

fn global(mut section: Section<'_>, definitions: &Definitions, sketch: &mut Sketch, report: &mut Report) -> Chains {
    let mut config = section.table("config");
    sketch.asn = config.positive("as");
    sketch.router_id = config.text("router-id").and_then(|(id, _)| id.parse().ok());
    match config.number("port") {
        Some(port) if port < 0 => sketch.listen.set("addresses", Vec::<String>::new()),
        Some(port) => {
            if let Some(port) = u16::try_from(port).ok().filter(|port| *port != 179 && *port > 0) {
                sketch.listen.set("port", port);
            }
        }
        None => {}
    }
    let addresses: Vec<String> = config.texts("local-address-list").into_iter().filter(|addr| addr.parse::<IpAddr>().is_ok()).collect();
    if !addresses.is_empty() {
        sketch.listen.set("addresses", addresses);
    }
    config.finish(report);
    let mut paths = section.table("use-multiple-paths").table("config");
    if !paths.flag("enabled").unwrap_or(false) {
        sketch.best_path.set("multipath_external", false);
        sketch.best_path.set("multipath_internal", false);
    }
    paths.finish(report);
    let mut selection = section.table("route-selection-options").table("config");
    if selection.flag("always-compare-med") == Some(true) {
        sketch.best_path.set("always_compare_med", true);
    }
    selection.ignore(&["external-compare-router-id", "ignore-as-path-length", "advertise-inactive-routes"]);
    selection.finish(report);
    let mut apply = section.table("apply-policy").table("config");
    let place = apply.place();
    let mut pass = |names: Vec<String>, default: Option<(String, Place)>, direction: &str| {
        let accepts = default.is_none_or(|(word, _)| word != "reject-route");
        let program = definitions.chain(&names, accepts, report);
        sketch.chain(&names.first().cloned().unwrap_or_else(|| direction.to_owned()), &Pass::Program(program), place, report)
    };
    let (import, export) = (apply.texts("import-policy-list"), apply.texts("export-policy-list"));
    let (default_import, default_export) = (apply.text("default-import-policy"), apply.text("default-export-policy"));
    let chains = Chains { import: pass(import, default_import, "import"), export: pass(export, default_export, "export") };
    apply.finish(report);
    section.ignore(&["default-route-distance", "mpls-label-range"]);
    section.finish(report);
    chains
}

fn zebra(mut section: Section<'_>, sketch: &mut Sketch, report: &mut Report) {
    let mut config = section.table("config");
    let enabled = config.flag("enabled").unwrap_or(false);
    if enabled {
        sketch.fib.set("allow_default", true);
    } else {
        sketch.fib.set("enabled", false);
    }
    for word in config.texts("redistribute-route-type-list") {
        let all = vec!["0.0.0.0/0+".to_owned(), "::/0+".to_owned()];
        match word.as_str() {
            "connect" | "connected" => sketch.learn(all, &["kernel"], "network"),
            "static" | "kernel" => sketch.learn(all, &["boot", "static", "dhcp"], "network"),
            other => report.lost(config.place(), other, "[[redistribute]] learns what another program writes into the kernel"),
        }
    }
    config.ignore(&["url", "version", "nexthop-trigger-enable", "nexthop-trigger-delay", "mpls-label-range-size", "software-name"]);
    config.finish(report);
    section.finish(report);
}

/// Families and limits.
fn families(section: &mut Section<'_>, address: Option<IpAddr>, table: &mut Table, report: &mut Report) {
    let mut carried = Vec::new();
    for mut one in section.tables("afi-safis") {
        let place = one.place();
        let mut config = one.table("config");
        let name = config.text("afi-safi-name").map(|(name, _)| name).unwrap_or_default();
        config.ignore(&["enabled"]);
        config.finish(report);
        let limit = match name.as_str() {
            "ipv4-unicast" => "max_prefix_ipv4",
            "ipv6-unicast" => "max_prefix_ipv6",
            _ => {
                report.lost(place, &name, "a family that catbird does not route");
                continue;
            }
        };
        if let Some(most) = one.table("prefix-limit").table("config").positive::<u32>("max-prefixes") {
            table.set(limit, most);
        }
        add_paths(one.table("add-paths"), table);
        one.ignore(&["mp-graceful-restart", "long-lived-graceful-restart", "ipv4-unicast", "ipv6-unicast"]);
        one.finish(report);
        carried.push(name);
    }
    if carried.is_empty()
        && let Some(address) = address
    {
        carried.push(if address.is_ipv4() { "ipv4-unicast" } else { "ipv6-unicast" }.to_owned());
    }
    if carried.len() == 1 {
        table.set("families", carried);
    }
}

fn add_paths(mut section: Section<'_>, table: &mut Table) {
    let mut config = section.table("config");
    let most = config.positive::<u8>("send-max");
    match (config.flag("receive").unwrap_or(false), most) {
        (true, Some(_)) => table.set("add_path", "both"),
        (true, None) => table.set("add_path", "receive"),
        (false, Some(_)) => table.set("add_path", "send"),
        (false, None) => {}
    }
    if let Some(most) = most {
        table.set("add_path_limit", most);
    }
}

fn timers(mut section: Section<'_>, table: &mut Table, report: &mut Report) {
    let mut config = section.table("config");
    for (from, to) in [("hold-time", "hold_time"), ("keepalive-interval", "keepalive_time"), ("connect-retry", "connect_retry")] {
        if let Some(seconds) = config.positive::<u32>(from) {
            table.set(to, format!("{seconds}s"));
        }
    }
    if let Some(seconds) = config.positive::<u32>("idle-hold-time-after-reset") {
        table.set("idle_hold", format!("{}s", seconds.min(30)));
    }
    config.ignore(&["minimum-advertisement-interval"]);
    config.finish(report);
}

/// Of a neighbour or a group.
fn settings(section: &mut Section<'_>, sketch: &mut Sketch, report: &mut Report) -> Table {
    let mut table = Table::default();
    timers(section.table("timers"), &mut table, report);
    let mut transport = section.table("transport").table("config");
    if transport.flag("passive-mode") == Some(true) {
        table.set("passive", true);
    }
    if let Some((addr, _)) = transport.text("local-address") {
        let addr = addr.split('%').next().unwrap_or_default().to_owned();
        if addr.parse::<IpAddr>().is_ok_and(|addr| !addr.is_unspecified()) {
            table.set("source", addr);
        }
    }
    if let Some(port) = transport.positive::<u16>("remote-port") {
        table.set("port", port);
    }
    if let Some(mss) = transport.positive::<u16>("tcp-mss") {
        table.set("tcp_mss", mss);
    }
    if let Some((interface, _)) = transport.text("bind-interface") {
        table.set("interface", interface);
    }
    let ttl = transport.positive::<u8>("ttl");
    transport.ignore(&["mtu-discovery", "local-port"]);
    transport.finish(report);
    let mut hops = section.table("ebgp-multihop").table("config");
    if hops.flag("enabled") == Some(true) {
        table.set("multihop", hops.positive::<u8>("multihop-ttl").unwrap_or(255));
    } else if let Some(ttl) = ttl {
        table.set("multihop", ttl);
    }
    let mut guard = section.table("ttl-security").table("config");
    if guard.flag("enabled") == Some(true) {
        let least = guard.positive::<u8>("ttl-min").unwrap_or(255);
        table.remove("multihop");
        table.set("ttl_security", 256_u64.saturating_sub(u64::from(least)).clamp(1, 255));
    }
    let mut reflector = section.table("route-reflector").table("config");
    if reflector.flag("route-reflector-client") == Some(true) {
        table.set("rr_client", true);
    }
    if let Some((id, place)) = reflector.text("route-reflector-cluster-id").filter(|(id, _)| id.parse().ok() != sketch.router_id) {
        report.lost(place, &id, "the cluster id is the router id, unless the cluster's list says another");
    }
    let mut path = section.table("as-path-options").table("config");
    if let Some(times) = path.positive::<u8>("allow-own-as") {
        table.set("allow_own_as", times);
    }
    if path.flag("replace-peer-as") == Some(true) {
        table.set("as_override", true);
    }
    path.ignore(&["allow-aspath-loop-local"]);
    path.finish(report);
    restart(section, &mut table, sketch, report);
    add_paths(section.table("add-paths"), &mut table);
    table
}

fn restart(section: &mut Section<'_>, table: &mut Table, sketch: &mut Sketch, report: &mut Report) {
    let mut graceful = section.table("graceful-restart").table("config");
    if graceful.is_there() {
        if graceful.flag("enabled") == Some(false) {
            table.set("graceful_restart", false);
        }
        if let Some(time) = graceful.positive::<u16>("restart-time").filter(|time| *time < 4096) {
            sketch.graceful.set("restart_time", format!("{time}s"));
        }
        graceful.ignore(&["notification-enabled", "long-lived-enabled", "helper-only", "deferral-time", "stale-routes-time"]);
        graceful.finish(report);
    }
}

/// `config` of a neighbour or a group: whose AS, and secrets.
fn config(config: &mut Section<'_>, name: &str, table: &mut Table, sketch: &mut Sketch) -> Option<Remote> {
    if let Some((secret, _)) = config.text("auth-password").filter(|(secret, _)| !secret.is_empty()) {
        table.set("password_file", sketch.secret(name, "password", &secret));
    }
    if let Some(own) = config.positive::<u32>("local-as").filter(|own| Some(*own) != sketch.asn) {
        table.set("local_asn", own);
    }
    if config.text("remove-private-as").is_some() {
        table.set("remove_private_as", true);
    }
    if let Some((text, _)) = config.text("description").filter(|(text, _)| !text.trim().is_empty() && !text.chars().any(char::is_control)) {
        table.set("description", text);
    }
    if config.flag("admin-down") == Some(true) {
        table.set("enabled", false);
    }
    config.ignore(&["send-community", "route-flap-damping", "vrf", "peer-type"]);
    config.positive("peer-as").map(Remote::Asn)
}

fn policy_of(section: &mut Section<'_>, report: &mut Report) {
    let apply = section.table("apply-policy");
    if apply.is_there() {
        report.note(apply.place(), "apply-policy", "GoBGP asks the policies of a neighbour of clients of a route server alone: left out");
    }
    let mut server = section.table("route-server");
    let mut inner = server.table("config");
    if inner.flag("route-server-client") == Some(true) {
        report.lost(server.place(), "route-server", "catbird is no route server: its own AS stands in what it announces");
    }
}

fn group(mut section: Section<'_>, chains: &Chains, sketch: &mut Sketch, report: &mut Report) {
    let mut own = section.table("config");
    let Some((name, _)) = own.text("peer-group-name") else { return report.lost(section.place(), "peer-groups", "a group without a name") };
    let mut table = settings(&mut section, sketch, report);
    let asn = config(&mut own, &name, &mut table, sketch);
    own.finish(report);
    families(&mut section, None, &mut table, report);
    policy_of(&mut section, report);
    passes(chains, asn, sketch, &mut table);
    section.ignore(&["afi-safis"]);
    section.finish(report);
    sketch.groups.push(Group { name, asn, listen: Vec::new(), listen_limit: None, settings: table });
}

fn passes(chains: &Chains, asn: Option<Remote>, sketch: &Sketch, table: &mut Table) {
    let external = asn.is_none_or(|asn| asn.is_external(sketch.asn));
    for (key, chain) in [("import", &chains.import), ("export", &chains.export)] {
        if external || chain != "all" {
            table.set(key, chain.as_str());
        }
    }
}

fn range(mut section: Section<'_>, sketch: &mut Sketch, report: &mut Report) {
    let place = section.place();
    let mut own = section.table("config");
    let (prefix, group) = (own.text("prefix"), own.text("peer-group"));
    let net = prefix.and_then(|(net, _)| net.parse::<IpNet>().ok());
    let found = group.and_then(|(name, _)| sketch.groups.iter_mut().find(|group| group.name == name));
    match (net, found) {
        (Some(net), Some(group)) => {
            group.listen.push(net.trunc());
            group.asn = group.asn.or(Some(Remote::External));
        }
        _ => report.lost(place, "dynamic-neighbors", "no prefix, or no such group"),
    }
    own.finish(report);
}

fn neighbor(mut section: Section<'_>, chains: &Chains, sketch: &mut Sketch, report: &mut Report) {
    let place = section.place();
    let mut own = section.table("config");
    let (address, interface) = (own.text("neighbor-address"), own.text("neighbor-interface"));
    let Some((address, _)) = address else {
        let what = interface.map_or_else(|| "neighbors".to_owned(), |(name, _)| name);
        return report.lost(
            place,
            &what,
            "a neighbour is an address here; one on a link without addresses is its link-local one: \"fe80::1%eth0\"",
        );
    };
    let bare = address.split('%').next().and_then(|addr| addr.parse::<IpAddr>().ok());
    if bare.is_none() {
        return report.lost(place, &address, "no address");
    }
    let group = own.text("peer-group").map(|(group, _)| group).filter(|name| sketch.groups.iter().any(|group| group.name == *name));
    let base = group
        .as_ref()
        .and_then(|name| sketch.groups.iter().find(|group| group.name == *name))
        .map(|group| (group.settings.clone(), group.asn));
    let mut table = settings(&mut section, sketch, report);
    let asn = config(&mut own, &address, &mut table, sketch);
    own.finish(report);
    families(&mut section, bare.filter(|_| group.is_none()), &mut table, report);
    policy_of(&mut section, report);
    passes(chains, asn.or(base.as_ref().and_then(|(_, asn)| *asn)), sketch, &mut table);
    section.finish(report);
    if asn.is_none() && base.as_ref().is_none_or(|(_, asn)| asn.is_none()) {
        return report.lost(place, &address, "no peer-as is said");
    }
    let table = base.map_or_else(|| table.clone(), |(base, _)| table.beyond(&base));
    sketch.peers.push(Peer { name: None, address, asn, group, settings: table, place });
}
