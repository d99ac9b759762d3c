//! Facts of the other rooms as rows and texts of `api`.
//!
//! In: views of the tables. Out: plain data. Each function is a translation and decides nothing.

use std::fmt::Write as _;
use std::time::Duration;

use ipnet::IpNet;

use super::sessions::{Entry, Sessions};
use crate::api::{
    Capabilities, EventRow, FailureRow, FibEntry, FibRow, HopRow, LastDown, MessageRow, NotificationCount, PeerDetail, PeerRow,
    ResolutionRow, RouteRow, TimerRow,
};
use crate::fib;
use crate::kernel::Hop;
use crate::num::{Asn, Instant, Nlri, PathId, PeerId};
use crate::peer::RemoteAs;
use crate::rib::PathView;
use crate::rib::nexthop::{NexthopTable, Resolution};
use crate::wire::{NextHop, PathAttributes};

/// A path as a row. `attrs` is what to show of it: as received, or as import left it.
///
/// `seconds`: now, on the table's clock.
pub(super) fn route(sessions: &Sessions, view: &PathView<'_>, attrs: &PathAttributes, seconds: u32) -> RouteRow {
    let local = view.source.id == PeerId::LOCAL;
    let name = name_of(sessions, view.source.id);
    let path_id = if local { PathId(0) } else { view.path_id };
    let mut row = bare_route(Nlri { net: view.net, path_id }, name, attrs);
    row.peer_address = (!local).then_some(view.source.addr);
    row.best = view.best;
    row.multipath = view.shares;
    row.stale = view.stale;
    row.usable = view.usable;
    row.age_seconds = Some(seconds.saturating_sub(view.since));
    row.next_hop = row.next_hop.filter(|_| !local);
    row.refused = view.attrs.is_none().then(|| view.cause.to_string());
    row
}

/// Of a source of routes.
pub(super) fn name_of(sessions: &Sessions, id: PeerId) -> &str {
    if id == PeerId::LOCAL { "local" } else { sessions.get(id).map_or("a peer that is gone", Entry::name) }
}

/// Attributes of a prefix, without how it stands.
pub(super) fn bare_route(nlri: Nlri, peer: &str, attrs: &PathAttributes) -> RouteRow {
    RouteRow {
        net: nlri.net,
        path_id: nlri.path_id.0,
        peer: peer.to_owned(),
        peer_address: None,
        best: false,
        multipath: false,
        stale: false,
        usable: true,
        age_seconds: None,
        next_hop: Some(next_hop(&attrs.next_hop())),
        origin: attrs.origin().to_string(),
        as_path: attrs.as_path().to_string(),
        local_pref: attrs.local_pref(),
        med: attrs.med(),
        communities: attrs.communities().map(|c| c.to_string()).collect(),
        large_communities: attrs.large_communities().map(|c| c.to_string()).collect(),
        extended_communities: attrs.extended_communities().map(|c| c.to_string()).collect(),
        originator_id: attrs.originator_id().map(|id| id.addr()),
        cluster_list: attrs.cluster_list().map(|c| c.0).collect(),
        only_to_customer: attrs.only_to_customer(),
        rpki: None,
        refused: None,
    }
}

/// Standard, large or extended, as it is shown.
pub(super) fn has_community(attrs: &PathAttributes, wanted: &str) -> bool {
    attrs.communities().any(|c| c.to_string() == wanted)
        || attrs.large_communities().any(|c| c.to_string() == wanted)
        || attrs.extended_communities().any(|c| c.to_string() == wanted)
}

fn next_hop(next_hop: &NextHop) -> String {
    match next_hop {
        NextHop::V6 { global, link_local: Some(local) } => format!("{global} ({local})"),
        other => other.addr().to_string(),
    }
}

/// Why nobody was heard, as far as this end can tell.
pub(super) fn nobody_there(entry: &Entry, nexthops: &NexthopTable) -> Option<String> {
    let remote = &entry.config.session.remote;
    let zone = remote.zone.as_deref().filter(|_| remote.is_open())?;
    match nexthops.link_index(zone) {
        None => Some(format!("there is no interface {zone}")),
        Some(link) if !nexthops.is_up(link) => Some(format!("{zone} is down, or has no carrier")),
        Some(_) => None,
    }
}

/// Routers beside the neighbour.
pub(super) fn too_many_there(entry: &Entry, now: Instant) -> Option<String> {
    let others: Vec<String> = entry.finder.others(now).map(|addr| addr.to_string()).collect();
    let link = entry.config.session.remote.zone.as_deref().filter(|_| !others.is_empty())?;
    Some(format!("another router speaks on {link}, too: {}; a peer by interface wants a link with one", others.join(", ")))
}

/// Everything about one peer.
pub(super) fn detail(entry: &Entry, row: PeerRow, now: Instant) -> PeerDetail {
    let session = entry.live.as_ref().map(|l| &l.session);
    let params = &entry.config.session;
    let chain = |chain: &Option<crate::policy::Chain>| match chain {
        Some(chain) => chain.names().collect::<Vec<_>>().join(", "),
        None if params.remote_as.is_internal(params.local_as) => "all".to_owned(),
        None => "none configured (RFC 8212)".to_owned(),
    };
    PeerDetail {
        row,
        description: params.description.clone(),
        from: None,
        passive: params.passive,
        local_endpoint: session.map(|s| s.local.to_string()),
        remote_endpoint: session.map(|s| s.remote.to_string()),
        remote_router_id: session.map(|s| s.remote_id.addr()),
        hold_seconds: session.map(|s| s.hold_time.seconds()),
        keepalive_seconds: session.and_then(|s| s.keepalive).map(|d| d.as_secs_f64()),
        timers: timers(entry, now),
        capabilities: capabilities(entry),
        import: chain(&entry.config.import),
        export: chain(&entry.config.export),
        messages: messages(entry),
        updates: entry.traffic.updates,
        last_down: last_down(entry, now),
        events: events(entry, now),
        transport: None,
        conn: session.map(|s| s.conn),
    }
}

fn timers(entry: &Entry, now: Instant) -> Vec<TimerRow> {
    let row = |(timer, at): (crate::peer::Timer, Instant)| TimerRow {
        timer: timer.name().to_owned(),
        remaining_seconds: at.since(now).as_secs_f64(),
    };
    entry.peer.timers().map(row).collect()
}

fn capabilities(entry: &Entry) -> Capabilities {
    let words = |open: &crate::wire::Open| open.capabilities.iter().map(|c| c.to_string()).collect();
    let session = entry.live.as_ref().map(|l| &l.session);
    Capabilities {
        ours: entry.peer.our_open().map(words).unwrap_or_default(),
        theirs: session.map(|s| words(&s.peer_open)).unwrap_or_default(),
        negotiated: session.map(|s| negotiated(s)).unwrap_or_default(),
    }
}

fn negotiated(session: &crate::peer::Session) -> Vec<String> {
    let mut words: Vec<String> = session.families.iter().map(|f| f.to_string()).collect();
    let mut say = |on: bool, what: &str| words.extend(on.then(|| what.to_owned()));
    say(session.send.four_octet_as, "four-octet AS numbers");
    say(session.refresh, "route refresh");
    say(session.enhanced_refresh, "enhanced route refresh");
    say(session.send.max_len > 4096, "extended messages");
    say(!session.send.extended_next_hop.is_empty(), "IPv6 next hops for IPv4");
    say(!session.send.add_path.is_empty(), "ADD-PATH send");
    say(!session.receive.add_path.is_empty(), "ADD-PATH receive");
    for family in session.long_lived.iter().flat_map(|l| l.families().iter().map(|f| (f, l.stale_time(f))).collect::<Vec<_>>()) {
        say(true, &format!("long-lived graceful restart of {}, {} s", family.0, family.1.as_secs()));
    }
    if let Some(role) = session.role {
        say(true, &format!("role {role}, the peer is {}", role.counterpart()));
    }
    if let Some(graceful) = &session.graceful {
        say(true, &format!("graceful restart, {} s", graceful.restart_time.as_secs()));
        say(graceful.notification, "graceful restart after NOTIFICATION");
    }
    words
}

/// Messages of each type, both ways.
pub(super) fn messages(entry: &Entry) -> Vec<MessageRow> {
    let c = entry.peer.counters();
    let row = |kind: &str, received, sent| MessageRow { kind: kind.to_owned(), received, sent };
    vec![
        row("open", c.opens_received, c.opens_sent),
        row("update", c.updates_received, entry.traffic.updates_sent),
        row("notification", c.notifications_received, c.notifications_sent),
        row("keepalive", c.keepalives_received, c.keepalives_sent),
        row("route_refresh", c.refreshes_received, entry.traffic.refreshes_sent),
    ]
}

/// NOTIFICATIONs by direction, code and subcode.
pub(super) fn notifications(entry: &Entry) -> Vec<NotificationCount> {
    let row = |(direction, code, subcode, count): (&'static str, u8, u8, u64)| NotificationCount {
        direction: direction.to_owned(),
        code,
        subcode,
        count,
    };
    entry.peer.notifications().map(row).collect()
}

/// How the last session ended, if there was one.
pub(super) fn last_down(entry: &Entry, now: Instant) -> Option<LastDown> {
    let (at, down) = entry.peer.last_down()?;
    let said = down.notification.as_ref();
    Some(LastDown {
        ago_seconds: now.since(*at).as_secs_f64(),
        direction: down.direction().to_owned(),
        code: said.as_ref().map(|n| n.code),
        subcode: said.as_ref().map(|n| n.subcode),
        data: said.as_ref().filter(|n| !n.data.is_empty()).map(|n| hex(&n.data)),
        reason: down.reason.to_string(),
    })
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, o| {
        // A String takes everything.
        let _ = text.write_fmt(format_args!("{o:02x}"));
        text
    })
}

fn events(entry: &Entry, now: Instant) -> Vec<EventRow> {
    let row = |r: &crate::peer::Recorded| EventRow {
        ago_seconds: now.since(r.at).as_secs_f64(),
        first_ago_seconds: now.since(r.first).as_secs_f64(),
        count: r.times,
        what: r.what.to_string(),
    };
    entry.peer.events().iter().map(row).collect()
}

/// Why a peer is not up; nothing of one that is.
pub(super) fn failures(entry: &Entry, now: Instant) -> Vec<FailureRow> {
    let row = |(f, reason): (&crate::peer::Failure, String)| FailureRow {
        reason,
        first_ago_seconds: now.since(f.first).as_secs_f64(),
        last_ago_seconds: now.since(f.last).as_secs_f64(),
        count: f.times,
    };
    entry.peer.failures().filter(|_| entry.live.is_none()).map(row).collect()
}

/// As far as it is known.
pub(super) fn remote_as(entry: &Entry) -> Option<Asn> {
    let params = &entry.config.session;
    match (&entry.live, params.remote_as) {
        (Some(live), _) => Some(live.session.remote_as),
        (None, RemoteAs::Exactly(asn)) => Some(asn),
        (None, RemoteAs::Internal) => Some(params.local_as),
        (None, RemoteAs::External | RemoteAs::Any) => None,
    }
}

/// How long the peer has been in its state.
pub(super) fn in_state(entry: &Entry, now: Instant) -> Duration {
    now.since(entry.state_since)
}

/// What an operator should know about a peer though nothing is broken.
pub(super) fn peer_warnings(entry: &Entry) -> Vec<String> {
    let params = &entry.config.session;
    let external = !params.remote_as.is_internal(params.local_as);
    let import = (external && entry.config.import.is_none()).then(|| "no import policy: accepts nothing (RFC 8212)".to_owned());
    let export = (external && entry.config.export.is_none()).then(|| "no export policy: announces nothing (RFC 8212)".to_owned());
    import.into_iter().chain(export).collect()
}

/// May the import policy let something in? Not the one named `none`, nor that of an external peer without a policy (RFC 8212).
pub(super) fn expects_routes(entry: &Entry) -> bool {
    let params = &entry.config.session;
    match &entry.config.import {
        Some(chain) => chain.names().any(|name| name != "none"),
        None => params.remote_as.is_internal(params.local_as),
    }
}

/// The name of a variant as JSON has it.
pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Where a next hop leads. `by`: the route that carries it.
pub(super) fn resolution(nexthops: &NexthopTable, resolution: &Resolution, by: Option<IpNet>) -> ResolutionRow {
    match resolution {
        Resolution::Unresolved(why) => {
            let name = snake_case(&format!("{why:?}"));
            ResolutionRow { hops: Vec::new(), by, unusable: Some(name), explanation: Some(why.to_string()), circle: Vec::new() }
        }
        Resolution::Via { hops, .. } => ResolutionRow {
            hops: hops.iter().map(|h| hop(nexthops, h)).collect(),
            by,
            unusable: None,
            explanation: None,
            circle: Vec::new(),
        },
    }
}

fn hop(nexthops: &NexthopTable, hop: &Hop) -> HopRow {
    HopRow {
        gateway: hop.gateway,
        interface: nexthops.link_name(hop.ifindex).map_or_else(|| format!("#{}", hop.ifindex.0), ToString::to_string),
        onlink: hop.onlink,
        overlay: nexthops.is_tunnel(hop),
        weight: hop.weight.get(),
    }
}

/// One kernel route.
pub(super) fn fib_row(nexthops: &NexthopTable, row: &fib::Row) -> FibRow {
    let shown = |r: &fib::FibRoute| fib_entry(nexthops, r);
    FibRow {
        net: row.net,
        state: row.state.name().to_owned(),
        wanted: row.wanted.as_ref().map(shown),
        installed: row.installed.as_ref().map(shown),
        errno: row.errno.map(|e| e.0),
        error: row.errno.map(|e| e.text().to_owned()),
    }
}

fn fib_entry(nexthops: &NexthopTable, route: &fib::FibRoute) -> FibEntry {
    let (kind, hops) = match &route.kind {
        fib::FibKind::Blackhole => ("blackhole", Vec::new()),
        fib::FibKind::Unicast(hops) => ("unicast", hops.iter().map(|h| hop(nexthops, h)).collect()),
    };
    FibEntry { kind: kind.to_owned(), hops, metric: route.metric, source: route.source }
}
