//! Answers to questions, from what the tables hold anyway.
//!
//! In: a `Question`. Out: one page of rows at most, found without walking what was shown before. Words for attributes, hops and steps
//! are in `format`.

use ipnet::IpNet;

use super::counters::RouterCounters;
use super::departure::Departure;
use super::fib_sync::FibSync;
use super::format;
use super::jobs::{Job, JobKey, Jobs};
use super::lifecycle::Lifecycle;
use super::monitoring::Monitoring;
use super::origination::Origination;
use super::params::{BlockSource, Params};
use super::sessions::{Entry, Sessions};
use super::startup::StartupConvergence;
use super::validation::Validation;
use crate::api::{
    Answer, BlockRow, DOWN_PEERS, DownPeer, FamilyRow, FibCounts, FibRow, FibTableRow, JobRow, MemoryRow, NexthopRow, PAGE_ROWS, Page,
    PeerDetail, PeerMetrics, PeerRow, Question, RouteFilter, RouteRow, Snapshot, Status, TableRow, WaitingRow,
};
use crate::num::{Family, Instant, PeerId};
use crate::rib::nexthop::{NexthopTable, Row};
use crate::rib::update_group::UpdateGroups;
use crate::rib::{DestId, NhId, PathView, Rib};
use crate::rpki::Validity;
use crate::wire::PathAttributes;

/// Destinations that one page of a filtered list looks at, whether they fit or not, so that no question takes long.
pub(super) const LOOK_AT: usize = 8 * PAGE_ROWS;

/// What answers are made from.
pub(super) struct Query<'a> {
    pub params: &'a Params,
    pub sessions: &'a Sessions,
    pub rib: &'a Rib,
    pub nexthops: &'a NexthopTable,
    /// Asking an update group why may make it keep what it found.
    pub groups: &'a mut UpdateGroups,
    pub fib_sync: &'a FibSync,
    pub origination: &'a Origination,
    pub lifecycle: &'a Lifecycle,
    pub departure: Option<&'a Departure>,
    pub startup: &'a StartupConvergence,
    pub jobs: &'a Jobs,
    pub counters: &'a RouterCounters,
    pub monitoring: &'a Monitoring,
    pub validation: &'a Validation,
}

impl Query<'_> {
    /// One page, or one thing. Takes as long as a page is long, whatever the tables hold.
    pub fn answer(&mut self, question: &Question, now: Instant) -> Answer {
        match question {
            Question::Status => Answer::Status(Box::new(self.status(now))),
            Question::Peers { cursor } => Answer::Peers(self.peer_rows(*cursor, now)),
            Question::Peer { peer } => self.of_peer(peer, |s, e| Answer::Peer(Box::new(s.peer_detail(e, now)))),
            Question::Received { peer, rejected, cursor } => {
                self.of_peer(peer, |s, e| Answer::Received(s.received_rows(e.id, *rejected, *cursor)))
            }
            Question::Advertised { peer, cursor } => match self.sessions.find(peer).map(|e| e.id) {
                Some(id) => Answer::Advertised(self.advertised_rows(id, *cursor)),
                None => unknown_peer(peer),
            },
            Question::Routes { filter, cursor } => self.route_rows(filter, *cursor),
            Question::Why { net, longest } => Answer::Why(Box::new(self.explanation(&net.trunc(), *longest, now))),
            Question::Fib { net: Some(net), .. } => {
                let mut page = self.fib_rows(Some(net), 0);
                page.rows.extend(self.unwritten(net).filter(|_| page.rows.is_empty()));
                Answer::Fib(page)
            }
            Question::Fib { net: None, cursor } => Answer::Fib(self.fib_rows(None, *cursor)),
            Question::Nexthops { cursor } => Answer::Nexthops(self.nexthop_rows(*cursor)),
            Question::Blocks => Answer::Blocks(self.block_rows()),
            Question::Rpki { net, asn } => Answer::Rpki(Box::new(self.validation.report(net.map(|net| (net, *asn)), now))),
            Question::Bmp => Answer::Bmp(self.monitoring.rows(now)),
            // Of packets and times whoever runs the sessions knows.
            Question::Bfd { .. } => Answer::Bfd(Box::default()),
            // The kernel is asked, beside `why`.
            Question::Forwarding { .. } => Answer::Refused("there is no kernel here".into()),
            Question::Metrics => Answer::Metrics(Box::new(self.snapshot(now))),
        }
    }

    fn of_peer(&self, who: &str, answer: impl FnOnce(&Self, &Entry) -> Answer) -> Answer {
        self.sessions.find(who).map_or_else(|| unknown_peer(who), |entry| answer(self, entry))
    }

    fn status(&self, now: Instant) -> Status {
        Status {
            name: self.params.name.clone(),
            router_id: self.params.router_id.addr(),
            asn: self.params.asn,
            mode: self.params.mode.clone(),
            cluster_id: self.params.cluster_id.map(|c| c.0),
            uptime_seconds: self.startup.age(now).as_secs_f64(),
            peers_configured: self.sessions.len(),
            peers_established: self.sessions.established(),
            peers_down: self.peers_down(now),
            tables: Family::ALL.into_iter().map(|f| self.table_row(f)).collect(),
            attribute_sets: self.rib.attribute_sets(),
            fib: self.fib_counts(),
            fib_tables: Family::ALL.into_iter().map(|f| self.fib_table_row(f)).collect(),
            blocks: self.origination.len(),
            phase: self.lifecycle.name(self.startup.is_on()).to_owned(),
            draining: self.lifecycle.is_leaving(),
            leaving: self.departure.and_then(|departure| departure.words(self.params)),
            recovering: self.startup.awaits_old_routes(self.params, &self.fib_sync.fib),
            waiting: self.startup.unknown_sources(now).map(|(sources, left)| WaitingRow {
                sources: sources.iter().map(|s| s.name().to_owned()).collect(),
                seconds_left: left.as_secs_f64(),
            }),
            memory: self.memory_row(),
            jobs: self.jobs.iter().map(|job| self.job_row(job)).collect(),
            rpki: self.validation.words(now).and_then(Result::ok),
            warnings: self.warnings(now),
        }
    }

    fn peers_down(&self, now: Instant) -> Vec<DownPeer> {
        let away = |e: &Entry| e.peer.last_down().map_or_else(|| self.startup.age(now), |(at, _)| now.since(*at));
        let mut down: Vec<(std::time::Duration, &Entry)> =
            self.sessions.iter().filter(|e| e.live.is_none() && e.admin_up).map(|e| (away(e), e)).collect();
        down.sort_by_key(|(away, _)| std::cmp::Reverse(*away));
        let row = |(away, e): &(std::time::Duration, &Entry)| DownPeer {
            name: e.name().to_owned(),
            why: e.peer.why_down().unwrap_or_default(),
            away_seconds: away.as_secs_f64(),
        };
        down.iter().take(DOWN_PEERS).map(row).collect()
    }

    fn memory_row(&self) -> MemoryRow {
        let tables = self.rib.memory();
        MemoryRow {
            routes_bytes: tables.routes,
            attributes_bytes: tables.attributes,
            export_bytes: self.groups.memory(),
            fib_bytes: self.fib_sync.fib.memory(),
            budget_bytes: self.params.limits.memory,
        }
    }

    fn job_row(&self, job: &Job) -> JobRow {
        let name = |id: PeerId| self.sessions.get(id).map_or("a peer that is gone", Entry::name);
        match job.key {
            JobKey::Revalidate(id, family) => {
                JobRow { what: format!("judging again what {} announced ({family})", name(id)), done: job.cursor as u32 }
            }
            JobKey::Covered(id, family) => {
                JobRow { what: format!("judging again what changed VRPs cover, of {} ({family})", name(id)), done: job.cursor as u32 }
            }
            JobKey::LongLived(id, family) => {
                JobRow { what: format!("making stale routes of {} the last choice ({family})", name(id)), done: job.cursor as u32 }
            }
            JobKey::OwnAddress(id, family) => JobRow {
                what: format!("judging again next hops of {} that are own addresses ({family})", name(id)),
                done: job.cursor as u32,
            },
            JobKey::Program(family) => JobRow { what: format!("planning kernel routes ({family})"), done: job.cursor as u32 },
        }
    }

    fn table_row(&self, family: Family) -> TableRow {
        let counts = self.rib.table_counts(family);
        TableRow { family, prefixes: counts.best as usize, paths: counts.paths as usize }
    }

    fn fib_counts(&self) -> FibCounts {
        let mut sum = FibCounts::default();
        for FibTableRow { counts: c, .. } in Family::ALL.into_iter().map(|f| self.fib_table_row(f)) {
            sum.wanted += c.wanted;
            sum.installed += c.installed;
            sum.failed += c.failed;
            sum.foreign += c.foreign;
        }
        sum
    }

    fn fib_table_row(&self, family: Family) -> FibTableRow {
        let c = self.fib_sync.fib.counts(family);
        let counts = FibCounts { wanted: c.wanted, installed: c.installed, failed: c.failed, foreign: c.foreign };
        FibTableRow { family, table: self.fib_sync.fib.params().table, counts }
    }

    /// The FIB keeps its table and protocol until the next start: they say what is ours.
    fn fib_warning(&self) -> Option<String> {
        let (old, new) = (self.fib_sync.fib.params(), &self.params.fib);
        let of = |p: &crate::fib::Params| (p.table, p.protocol);
        let say = || {
            let ((t, p), (new_t, new_p)) = (of(old), of(new));
            format!(
                "routes are written to table {t} as protocol {p} until the next start; the configuration says table {new_t}, protocol {new_p}"
            )
        };
        (of(old) != of(new)).then(say)
    }

    fn warnings(&self, now: Instant) -> Vec<String> {
        let of_peers =
            self.sessions.iter().flat_map(|e| format::peer_warnings(e).into_iter().map(|w| format!("{}: {w}", e.config.session.name)));
        let blocks = (self.origination.len() == 0).then(|| "this node has no block to announce".to_owned());
        let blocks = blocks.into_iter().filter(|_| self.params.mode == "full-mesh");
        let identifiers = self.sessions.same_identifiers().map(|n| n.to_string());
        let origins = self.validation.words(now).and_then(Result::err).into_iter().chain(self.validation.warning(now));
        blocks
            .chain(self.fib_warning())
            .chain(self.not_in_kernel())
            .chain(identifiers)
            .chain(origins)
            .chain(self.monitoring.warnings())
            .chain(of_peers)
            .collect()
    }

    /// Routes that are wanted and do not stand, with whose doing it is and what can be done.
    fn not_in_kernel(&self) -> Vec<String> {
        let fib = &self.fib_sync.fib;
        let sum = |of: fn(&crate::fib::Counts) -> usize| Family::ALL.iter().map(|family| of(&fib.counts(*family))).sum::<usize>();
        let (wanted, refused, blocked, parked) = (sum(|c| c.wanted), sum(|c| c.failed), sum(|c| c.blocked), sum(|c| c.parked));
        let first = || fib.a_refused_one().map_or_else(String::new, |(net, errno)| format!(", {net} with: {errno}"));
        let texts = [
            (refused > 0).then(|| format!("the kernel refuses {refused} of {wanted} routes{}; `catbird fib` lists them", first())),
            (blocked > 0).then(|| {
                format!(
                    "{blocked} of {wanted} routes are not written, for routes of others stand in their place; `catbird fib` says whose: \
                     remove those, or see [fib] conflict, adopt and metric"
                )
            }),
            (parked > 0).then(|| format!("{parked} of {wanted} routes wait for links that are down")),
        ];
        texts.into_iter().flatten().collect()
    }

    fn peer_rows(&self, cursor: u64, now: Instant) -> Page<PeerRow> {
        let from = usize::try_from(cursor).unwrap_or(usize::MAX);
        let entries: Vec<&Entry> = self.sessions.from(from).take(PAGE_ROWS + 1).collect();
        let next = entries.get(PAGE_ROWS).map(|e| u64::from(e.id.0));
        Page { rows: entries.iter().take(PAGE_ROWS).map(|e| self.peer_row(e, now)).collect(), next }
    }

    fn peer_row(&self, entry: &Entry, now: Instant) -> PeerRow {
        let session = &entry.config.session;
        PeerRow {
            name: session.name.clone(),
            address: session.remote.to_string(),
            kind: session.kind.as_str().to_owned(),
            local_as: session.local_as,
            remote_as: format::remote_as(entry),
            state: entry.peer.state().name().to_owned(),
            admin_up: entry.admin_up,
            state_seconds: format::in_state(entry, now).as_secs_f64(),
            flaps: entry.peer.counters().dropped,
            bfd: entry.bfd.brief(),
            families: Family::ALL.into_iter().filter(|f| session.families.contains(*f)).map(|f| self.family_row(entry, f)).collect(),
            why_down: format::nobody_there(entry, self.nexthops).or_else(|| entry.peer.why_down()).map(|why| {
                match self.sessions.md5.hint(&entry.peer, now) {
                    Some(hint) => format!("{why}; {hint}"),
                    None => why,
                }
            }),
            failures: format::failures(entry, now),
            warnings: self.peer_warnings(entry, now),
        }
    }

    fn peer_warnings(&self, entry: &Entry, now: Instant) -> Vec<String> {
        let cut = entry.live.as_ref().filter(|l| l.way_lost && !self.nexthops.is_reachable(l.session.remote.ip()));
        let text = || "no way leads to it any more: its session ends by the hold timer if none comes back".to_owned();
        cut.map(|_| text())
            .into_iter()
            .chain(format::too_many_there(entry, now))
            .chain(entry.bfd.note())
            .chain(format::peer_warnings(entry))
            .collect()
    }

    fn family_row(&self, entry: &Entry, family: Family) -> FamilyRow {
        let counts = self.rib.counts(entry.id, family);
        FamilyRow {
            family,
            negotiated: self.sessions.carries(entry.id, family),
            received: counts.received,
            prefixes: counts.prefixes(),
            accepted: counts.accepted,
            rejected: counts.rejected,
            stale: counts.stale,
            advertised: u64::from(self.groups.count(entry.id, family)),
            end_of_rib: entry.live.as_ref().is_some_and(|l| l.end_of_rib.contains(family)),
            max_prefix: entry.config.max_prefix(family).map(|m| m.limit),
        }
    }

    /// The cursor's top bit tells the family, the rest the place in the peer's list.
    fn received_rows(&self, id: PeerId, rejected: bool, cursor: u64) -> Page<RouteRow> {
        let (family, from) = split_cursor(cursor);
        let mut looked = self.rib.received(id, family, from).take(LOOK_AT);
        let mut rows = Vec::new();
        let mut last = from;
        for (after, view) in looked.by_ref() {
            last = after;
            if !rejected || view.attrs.is_none() {
                rows.push(self.route_row(&view, view.received));
            }
            if rows.len() == PAGE_ROWS {
                break;
            }
        }
        let more = self.rib.received(id, family, last).next().is_some();
        Page { rows, next: next_cursor(family, more.then_some(last)) }
    }

    fn advertised_rows(&mut self, id: PeerId, cursor: u64) -> Page<RouteRow> {
        let (family, from) = split_cursor(cursor);
        let (told, next) = self.groups.advertised(self.rib, id, family, from as usize, PAGE_ROWS);
        let name = self.sessions.get(id).map_or_else(String::new, |e| e.name().to_owned());
        let rows = told.into_iter().map(|(nlri, attrs)| format::bare_route(nlri, &name, &attrs)).collect();
        Page { rows, next: next_cursor(family, next.map(|n| n as u64)) }
    }

    fn route_rows(&self, filter: &RouteFilter, cursor: u64) -> Answer {
        let only = match filter.peer.as_deref().map(|who| self.sessions.find(who).map(|e| e.id).ok_or(who)) {
            Some(Err(who)) => return unknown_peer(who),
            Some(Ok(id)) => Some(id),
            None => None,
        };
        let exact = match (filter.address, filter.net) {
            (Some(addr), _) => Some(self.rib.longest_match(addr)),
            (None, Some(net)) if !filter.longer => Some(self.rib.find(&net.trunc())),
            _ => None,
        };
        let select = Select { peer: only, filter };
        if let Some(found) = exact {
            let dests: Vec<DestId> = found.into_iter().collect();
            return self.selected(&dests, &select, None);
        }
        let (family, from) = match filter.net.filter(|_| cursor == 0) {
            Some(net) => (Family::of(&net), 0),
            None => split_cursor(cursor),
        };
        self.walk(&select, family, u32::try_from(from).unwrap_or(u32::MAX))
    }

    /// One page: as many prefixes as have room in it, and no more than one question may look at.
    fn walk(&self, select: &Select<'_>, family: Family, from: u32) -> Answer {
        let inside = select.filter.net;
        let mut dests = Vec::new();
        for (looked, dest) in self.rib.dests(family, from).enumerate() {
            if looked >= LOOK_AT || (dests.len() >= PAGE_ROWS && !select.filter.count) {
                return self.selected(&dests, select, next_cursor(family, Some(dest.index() as u64)));
            }
            let fits = inside.is_none_or(|net| self.rib.net(dest).is_some_and(|n| net.contains(&n)));
            if fits && self.rib.paths(dest).iter().any(|v| select.takes(v)) {
                dests.push(dest);
            }
        }
        self.selected(&dests, select, if inside.is_some() { None } else { next_cursor(family, None) })
    }

    fn selected(&self, dests: &[DestId], select: &Select<'_>, next: Option<u64>) -> Answer {
        if select.filter.count {
            let paths = |dest: &DestId| self.rib.paths(*dest).iter().filter(|v| select.takes(v)).count() as u64;
            let counts: Vec<u64> = dests.iter().map(paths).filter(|n| *n > 0).collect();
            return Answer::Count { prefixes: counts.len() as u64, paths: counts.iter().sum(), next };
        }
        let row = |v: &PathView<'_>| self.route_row(v, v.attrs.unwrap_or(v.received));
        let rows = dests.iter().flat_map(|dest| self.rib.paths(*dest).iter().filter(|v| select.takes(v)).map(row).collect::<Vec<_>>());
        Answer::Routes(Page { rows: rows.collect(), next })
    }

    /// What VRPs say of a path; `None` where nobody asked for any, or it is ours.
    fn validity(&self, view: &PathView<'_>) -> Option<Validity> {
        if !self.validation.is_on() || view.source.id == PeerId::LOCAL {
            return None;
        }
        let live = self.sessions.get(view.source.id).and_then(|entry| entry.live.as_ref());
        let own = live.map_or(self.params.asn, |live| live.session.local_as);
        Some(self.validation.table.validate(&view.net, view.received.as_path().route_origin(own)))
    }

    /// A path, with what VRPs say of it.
    pub(super) fn route_row(&self, view: &PathView<'_>, attrs: &PathAttributes) -> RouteRow {
        let rpki = self.validity(view).map(|validity| validity.to_string());
        RouteRow { rpki, ..format::route(self.sessions, view, attrs, self.rib.seconds()) }
    }

    /// Kernel routes from a place on, or those of one prefix.
    pub(super) fn fib_rows(&self, net: Option<&IpNet>, cursor: u64) -> Page<FibRow> {
        if let Some(net) = net {
            return Page { rows: self.fib_sync.fib.row(net).iter().map(|r| format::fib_row(self.nexthops, r)).collect(), next: None };
        }
        let mut next = None;
        let mut rows = Vec::new();
        for (after, row) in self.fib_sync.fib.rows(cursor).take(PAGE_ROWS) {
            rows.push(format::fib_row(self.nexthops, &row));
            next = (rows.len() == PAGE_ROWS).then_some(after);
        }
        Page { rows, next }
    }

    fn nexthop_rows(&self, cursor: u64) -> Page<NexthopRow> {
        let from = u32::try_from(cursor).ok().and_then(|c| c.checked_sub(1)).map(NhId);
        let rows: Vec<Row> = self.nexthops.rows(from).take(PAGE_ROWS + 1).collect();
        let next = (rows.len() > PAGE_ROWS).then(|| rows.get(PAGE_ROWS - 1).map(|r| u64::from(r.id.0) + 1)).flatten();
        let shown = |r: &Row| NexthopRow {
            address: match r.ifindex.and_then(|i| self.nexthops.link_name(i)) {
                Some(link) => format!("{}%{link}", r.addr),
                None => r.addr.to_string(),
            },
            resolved: r.resolution.is_usable(),
            resolution: self.resolution_row(r.addr, r.id),
            metric: r.resolution.metric(),
            used_by: r.users as usize,
        };
        Page { rows: rows.iter().take(PAGE_ROWS).map(shown).collect(), next }
    }

    fn peer_detail(&self, entry: &Entry, now: Instant) -> PeerDetail {
        let from = self.params.origin_of_peer(&entry.config.session.remote).map(str::to_owned);
        PeerDetail { from, ..format::detail(entry, self.peer_row(entry, now), now) }
    }

    fn block_rows(&self) -> Vec<BlockRow> {
        let row = |(net, by): (&IpNet, &std::collections::BTreeSet<BlockSource>)| BlockRow {
            net: *net,
            source: by.iter().map(|s| s.name()).collect::<Vec<_>>().join(","),
            announced: !self.lifecycle.withholds(),
            from: self.params.origin(net).map(str::to_owned),
        };
        self.origination.iter().map(row).collect()
    }

    fn snapshot(&self, now: Instant) -> Snapshot {
        let peer = |e: &Entry| PeerMetrics {
            row: self.peer_row(e, now),
            expects_routes: format::expects_routes(e),
            established_at_seconds: e.live.as_ref().map(|l| self.startup.age(l.since).as_secs_f64()),
            last_down: format::last_down(e, now),
            bfd_downs: e.bfd.status.map_or(0, |status| status.downs),
            neighbours: e.config.session.by_interface.then(|| (e.finder.counts().found, e.finder.counts().lost)),
            messages: format::messages(e),
            updates: e.traffic.updates,
            notifications: format::notifications(e),
            malformed: e.traffic.malformed(),
        };
        let mut counters = self.counters.show(&self.fib_sync.fib.totals());
        counters.strangers = self.sessions.unknown_peers;
        counters.stale_routes = self.sessions.iter().flat_map(|e| Family::ALL.map(|f| self.rib.counts(e.id, f).stale as usize)).sum();
        Snapshot {
            status: self.status(now),
            peers: self.sessions.iter().map(peer).collect(),
            blocks: self.block_rows(),
            bmp: self.monitoring.rows(now),
            rpki: self.validation.is_on().then(|| self.validation.report(None, now)),
            counters,
        }
    }
}

/// Which paths a list of routes shows.
struct Select<'a> {
    peer: Option<PeerId>,
    filter: &'a RouteFilter,
}

impl Select<'_> {
    fn takes(&self, view: &PathView<'_>) -> bool {
        let attrs = view.attrs.unwrap_or(view.received);
        self.peer.is_none_or(|id| view.source.id == id)
            && (!self.filter.best || view.best || view.shares)
            && self.filter.community.as_ref().is_none_or(|wanted| format::has_community(attrs, wanted))
            && self.filter.as_path.as_ref().is_none_or(|wanted| is_in_a_row(&attrs.as_path().to_string(), wanted))
    }
}

/// Do these words stand one after the other in that text?
fn is_in_a_row(text: &str, wanted: &str) -> bool {
    let (text, wanted): (Vec<&str>, Vec<&str>) = (text.split_whitespace().collect(), wanted.split_whitespace().collect());
    wanted.is_empty() || text.windows(wanted.len()).any(|some| some == wanted)
}

fn unknown_peer(who: &str) -> Answer {
    Answer::Refused(no_such_peer(who))
}

/// In words, with what to do about it.
pub(super) fn no_such_peer(who: &str) -> String {
    format!("no peer has the name or address {who:?}: `catbird peers` lists all")
}

/// Lists run through IPv4 and then IPv6; the top bit of a cursor says where it is.
fn split_cursor(cursor: u64) -> (Family, u64) {
    if cursor >> 63 == 0 { (Family::Ipv4Unicast, cursor) } else { (Family::Ipv6Unicast, cursor & (u64::MAX >> 1)) }
}

fn next_cursor(family: Family, place: Option<u64>) -> Option<u64> {
    match (family, place) {
        (Family::Ipv4Unicast, Some(place)) => Some(place),
        (Family::Ipv4Unicast, None) => Some(1 << 63),
        (Family::Ipv6Unicast, Some(place)) => Some(place | 1 << 63),
        (Family::Ipv6Unicast, None) => None,
    }
}
