//! From an UPDATE to route changes: loops, next hops, policy and limits, in this order, once for each attribute set where that suffices.
//!
//! In: decoded UPDATEs of an established session. Out: one `RouteChange` for each prefix, refused ones with their cause, and word of
//! End-of-RIB. What is malformed was found by `wire`; which path wins is `rib`'s to say.
//!
//! RFC 4271 §9.1.2 (loops), §5.1.3 and §6.3 (next hops, first AS, prefixes that are not unicast), RFC 4456 §8 (reflection loops),
//! RFC 8212 (external peers without policy), RFC 8326 §4.2 (graceful shutdown), RFC 4486 §4 (limits).

use ipnet::IpNet;
use smallvec::SmallVec;

use super::counters::{RouterCounters, Traffic};
use super::import_context::{CachedVerdict, ImportCache, ImportContext};
use super::io::Effects;
use super::params::{MaxPrefix, MaxPrefixAction, Params};
use super::retention;
use super::sessions::{Entry, Sessions};
use super::startup::StartupConvergence;
use crate::num::{Family, Instant, Nlri, PeerId};
use crate::peer::{Event, StopKind};
use crate::policy::Verdict;
use crate::rib::nexthop::NexthopTable;
use crate::rib::{Attrs, Cause, Rib, Route, RouteChange};
use crate::rpki::Table;
use crate::stats::Notice;
use crate::wire::{Announced, Community, DecodeError, Hex, Message, PathAttributes, RefreshSubtype, RouteRefresh, Update};

/// A peer's memory is weighed each time it has announced so many prefixes more.
const WEIGHED: u64 = 256;

/// For refused routes that were not kept a peer is asked at most once in so many seconds when there is room again.
const ASK_SECONDS: u32 = 30;

/// Paths that are judged again in one go when there is room for them.
const ROOM: u64 = 1024;

/// What became of one run of prefixes.
#[derive(Default)]
struct ImportCounts {
    announced: u64,
    refused: u64,
    /// Those that are no unicast prefixes.
    odd: SmallVec<[IpNet; 2]>,
}

/// What import touches.
pub(super) struct Import<'a> {
    pub params: &'a Params,
    pub sessions: &'a mut Sessions,
    pub rib: &'a mut Rib,
    pub nexthops: &'a NexthopTable,
    pub vrps: &'a Table,
    pub counters: &'a mut RouterCounters,
    pub startup: &'a mut StartupConvergence,
    pub effects: &'a mut Effects,
}

impl Import<'_> {
    /// Takes in one UPDATE of an established session. How many prefixes it spoke of.
    pub fn update(&mut self, id: PeerId, update: Update, now: Instant) -> u64 {
        self.note_errors(id, &update);
        self.counters.update_arrived(now);
        self.rib.begin_update();
        let mut all = 0;
        for run in &update.withdrawn {
            let mut n = 0;
            self.rib.withdraw(id, run.iter().inspect(|_| n += 1));
            self.traffic(id, |t| t.updates.withdrawn_received += n);
            all += n;
        }
        for run in &update.announced {
            all += match &run.attrs {
                Some(attrs) => self.announce(id, run, attrs, now),
                None => self.withdraw_malformed(id, run, &update),
            };
        }
        if let Some(family) = update.end_of_rib {
            retention::on_end_of_rib((id, family), now, self.sessions, self.rib, self.startup, self.effects);
        }
        all
    }

    fn traffic(&mut self, id: PeerId, count: impl FnOnce(&mut Traffic)) {
        if let Some(entry) = self.sessions.get_mut(id) {
            count(&mut entry.traffic);
        }
    }

    /// RFC 7606 §2: what was announced with a malformed attribute is as good as withdrawn.
    fn withdraw_malformed(&mut self, id: PeerId, run: &Announced, update: &Update) -> u64 {
        let cause = Cause::Malformed(update.strongest_error().and_then(DecodeError::attribute).map_or(0, |c| c.0));
        let each = |nlri| self.rib.apply(RouteChange { peer: id, nlri, route: None, cause: cause.clone() });
        run.nlri.iter().map(each).count() as u64
    }

    fn announce(&mut self, id: PeerId, run: &Announced, attrs: &PathAttributes, now: Instant) -> u64 {
        let family = run.nlri.family();
        let Some((entry, live)) = self.sessions.get_mut(id).and_then(Entry::live_mut) else { return 0 };
        let limit = entry.max_prefix(family).copied();
        let each_prefix = live.import.depends_on_prefix();
        let mut judged = live.cache.take(family, attrs);
        let tally = if !each_prefix && limit.is_none_or(|l| l.action != MaxPrefixAction::Refuse) {
            self.announce_alike(id, run, attrs, &mut judged)
        } else {
            self.announce_each(id, run, attrs, &mut judged, limit.as_ref(), each_prefix)
        };
        let Some(entry) = self.sessions.get_mut(id) else { return tally.announced };
        let before = entry.traffic.updates.announced_received;
        entry.traffic.updates.announced_received += tally.announced;
        let weigh = before / WEIGHED != entry.traffic.updates.announced_received / WEIGHED;
        entry.traffic.updates.announced_rejected += tally.refused;
        if let Some(live) = &mut entry.live {
            live.cache.put(family, judged);
        }
        if !tally.odd.is_empty() && entry.traffic.may_complain() {
            let peer = entry.name().to_owned();
            self.effects.notice(Notice::NotUnicast { peer, prefixes: tally.odd.into_vec() });
        }
        if limit.is_some() {
            self.check_limit(id, family, now);
        }
        if weigh {
            self.check_burden(id, now);
        }
        tally.announced
    }

    /// One verdict for all of them, but for those that are no unicast prefixes.
    fn announce_alike(&mut self, id: PeerId, run: &Announced, attrs: &PathAttributes, known: &mut Option<CachedVerdict>) -> ImportCounts {
        let mut tally = ImportCounts::default();
        let Some(first) = run.nlri.iter().next() else { return tally };
        let (_, route, cause) = known.get_or_insert_with(|| self.judge_import(id, &first, attrs));
        let mut odd: SmallVec<[Nlri; 2]> = SmallVec::new();
        let all = run.nlri.iter().inspect(|_| tally.announced += 1);
        let unicast = all.filter(|nlri| {
            let fits = nlri.is_unicast();
            if !fits {
                odd.push(*nlri);
            }
            fits
        });
        self.rib.announce(id, unicast, route, cause);
        tally.refused = if route.attrs.is_none() { tally.announced } else { odd.len() as u64 };
        if !odd.is_empty() {
            let refused = Route { received: route.received.clone(), attrs: None };
            self.rib.announce(id, odd.iter().copied(), &refused, &Cause::NotUnicast);
            tally.odd = odd.iter().map(|nlri| nlri.net).collect();
        }
        tally
    }

    /// A verdict for each, where policy looks at prefixes or there may be no room.
    fn announce_each(
        &mut self,
        id: PeerId,
        run: &Announced,
        attrs: &PathAttributes,
        known: &mut Option<CachedVerdict>,
        limit: Option<&MaxPrefix>,
        each_prefix: bool,
    ) -> ImportCounts {
        let mut tally = ImportCounts::default();
        for nlri in run.nlri.iter() {
            tally.announced += 1;
            let (_, route, cause) = match known {
                Some(known) if !each_prefix => known,
                _ => known.insert(self.judge_import(id, &nlri, attrs)),
            };
            let (route, cause) = (route.clone(), cause.clone());
            let (route, cause) = self.judge_prefix(id, &nlri, route, cause, limit);
            tally.refused += u64::from(route.attrs.is_none());
            if cause == Cause::NotUnicast {
                tally.odd.push(nlri.net);
            }
            self.rib.apply(RouteChange { peer: id, nlri, route: Some(route), cause });
        }
        tally
    }

    /// The verdict so far, and what is to be said of this prefix whatever its attributes are: could it be a unicast route (RFC 4271 §6.3),
    /// and is there room for it?
    fn judge_prefix(&self, id: PeerId, nlri: &Nlri, route: Route, cause: Cause, limit: Option<&MaxPrefix>) -> (Route, Cause) {
        let refused = |cause| (Route { attrs: None, received: route.received.clone() }, cause);
        if !nlri.is_unicast() {
            return refused(Cause::NotUnicast);
        }
        if route.attrs.is_some() && limit.is_some_and(|l| !self.within_limit(id, nlri, l)) {
            return refused(Cause::MaxPrefix);
        }
        (route, cause)
    }

    /// RFC 4486 §4: a peer that fills our memory is let go before there is none left for the others.
    fn check_burden(&mut self, id: PeerId, now: Instant) {
        let Some(entry) = self.sessions.get(id).filter(|e| e.live.is_some()) else { return };
        let bound = entry.config.burden;
        let all = Family::ALL.map(|family| self.rib.counts(id, family));
        let paths: u64 = all.iter().map(|c| c.received).sum();
        let octets: u64 = all.iter().map(|c| c.attribute_octets).sum();
        if paths > bound.paths || octets > bound.attribute_octets {
            self.sessions.dispatch(id, Event::Stop { kind: StopKind::OutOfResources, text: None }, now, self.effects);
        }
    }

    fn judge_import(&mut self, id: PeerId, nlri: &Nlri, attrs: &PathAttributes) -> (PathAttributes, Route, Cause) {
        let received = self.rib.intern(attrs);
        let refused = |cause, received| (attrs.clone(), Route { received, attrs: None }, cause);
        let Some(entry) = self.sessions.get(id) else { return refused(Cause::SessionDown, received) };
        let Some(live) = &entry.live else { return refused(Cause::SessionDown, received) };
        let obstacle = live.import.obstacle(attrs, &entry.config, &live.session, self.params);
        if obstacle.is_some() || self.nexthops.is_own_address(attrs.next_hop().addr()) {
            return refused(obstacle.unwrap_or(Cause::NextHopRefused), received);
        }
        let (route, cause) = verdict_to_route(live.import.judge(nlri, attrs, &entry.config, self.vrps), self.rib, received);
        (attrs.clone(), route, cause)
    }

    /// Is there room for this prefix, or does it only replace one that is there?
    fn within_limit(&self, id: PeerId, nlri: &Nlri, limit: &MaxPrefix) -> bool {
        let accepted = self.rib.counts(id, nlri.family()).accepted_prefixes();
        let room = u64::from(limit.limit);
        // With more than the limit accepted, which was higher before, those that are judged again make room until it holds.
        limit.action != MaxPrefixAction::Refuse || accepted < room || accepted == room && self.rib.is_accepted(id, &nlri.net)
    }

    /// Where accepted routes went, those that were refused for want of room are judged again, as many as there is room for.
    pub fn use_room(&mut self) {
        for id in self.rib.take_freed() {
            Family::ALL.into_iter().for_each(|family| self.use_room_of(id, family));
        }
    }

    fn use_room_of(&mut self, id: PeerId, family: Family) {
        let Some((config, _)) = self.sessions.get_mut(id).and_then(Entry::live_mut) else { return };
        let Some(limit) = config.max_prefix(family).copied() else { return };
        loop {
            // Each that is judged leaves the waiting ones: it is accepted, or has another cause now.
            let room = u64::from(limit.limit).saturating_sub(self.rib.counts(id, family).accepted_prefixes());
            let waiting = self.rib.over_limit(id, family, room as usize, ROOM as usize);
            if waiting.is_empty() {
                if room > 0 {
                    self.ask_again(id, family, Some(ASK_SECONDS));
                }
                return;
            }
            for (nlri, received) in waiting {
                self.judge_again(id, &nlri, &received, Some(&limit));
            }
        }
    }

    /// RFC 4271 §6.7: warn early, and end the session when told to.
    pub fn check_limit(&mut self, id: PeerId, family: Family, now: Instant) {
        let count = self.rib.counts(id, family).prefixes();
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let Some(limit) = entry.config.max_prefix(family).copied() else { return };
        let peer = entry.name().to_owned();
        let over = count > u64::from(limit.limit);
        let near = count * 100 >= u64::from(limit.limit) * u64::from(limit.warn_percent);
        let Some(live) = entry.live.as_mut() else { return };
        if near && !live.warned.contains(family) {
            live.warned.insert(family);
            let action = if over { limit.action.name() } else { "near the limit" };
            self.effects.notice(Notice::MaxPrefix { peer, family, count, limit: limit.limit, action });
        }
        if over && let MaxPrefixAction::Close { restart } = limit.action {
            self.sessions.dispatch(id, Event::MaxPrefixExceeded { family, limit: limit.limit, restart }, now, self.effects);
        }
    }

    /// Counts what was malformed, and says it with the prefixes and the message (RFC 7606 §6), as often as a session may complain.
    fn note_errors(&mut self, id: PeerId, update: &Update) {
        let (Some(malformed), Some(strongest)) = (&update.errors, update.strongest_error()) else { return };
        let Some(entry) = self.sessions.get_mut(id) else { return };
        malformed.iter().for_each(|error| entry.traffic.count_malformed(error.attribute(), error.severity().action()));
        if entry.traffic.may_complain() {
            let peer = entry.name().to_owned();
            let detail = malformed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let prefixes = update.announced.iter().flat_map(|a| a.nlri.iter()).map(|n| n.net).collect();
            let message = Hex(malformed.message()).to_string();
            self.effects.notice(Notice::Malformed { peer, action: strongest.severity().action(), detail, prefixes, message });
        }
    }

    /// The peer is judged by other reasons from now on (policy, name, limits). What it announced before is judged again by [`Import::revalidate`].
    /// What a peer that is away left behind keeps its verdict until it is announced again, or swept (RFC 4724 §4.2).
    pub fn renew_context(&mut self, id: PeerId) -> bool {
        let Some(entry) = self.sessions.get_mut(id) else { return false };
        let Some(live) = &mut entry.live else { return false };
        live.import = ImportContext::new(&entry.config, &live.session);
        live.cache = ImportCache::default();
        true
    }

    /// Judges again, from Adj-RIB-In and without a word to the peer, up to `most` of what it announced, from `cursor` on. Where to go on, if there
    /// is more.
    pub fn revalidate(
        &mut self,
        id: PeerId,
        family: Family,
        cursor: u64,
        most: usize,
        concerns: impl Fn(&Nlri, &PathAttributes) -> bool,
    ) -> Option<u64> {
        let limit = self.sessions.get(id).filter(|e| e.live.is_some())?.config.max_prefix(family).copied();
        let (some, next) = self.rib.received_some(id, family, cursor, most);
        for (nlri, received) in some.iter().filter(|(nlri, received)| concerns(nlri, received.set())) {
            self.judge_again(id, nlri, received, limit.as_ref());
        }
        if next.is_none() {
            self.ask_again(id, family, None);
        }
        next
    }

    /// The stale routes of a peer that is away for long become the least preferred, by the community that says so to others, too; those that are
    /// not to be kept so long go (RFC 9494 §4.2). Up to `most`, from `cursor` on; where to go on, if there is more.
    pub fn long_lived(&mut self, id: PeerId, family: Family, cursor: u64, most: usize) -> Option<u64> {
        let (some, next) = self.rib.stale_some(id, family, cursor, most);
        for (nlri, received, accepted) in some {
            let has = |wanted| received.has_community(wanted) || accepted.as_ref().is_some_and(|attrs| attrs.has_community(wanted));
            if has(Community::NO_LLGR) {
                self.rib.apply(RouteChange { peer: id, nlri, route: None, cause: Cause::StaleExpired });
            } else if let Some(attrs) = accepted.filter(|attrs| !attrs.has_community(Community::LLGR_STALE)) {
                let marked = attrs.set().edit().add_community(Community::LLGR_STALE).finish();
                let route = Route { received, attrs: Some(self.rib.intern_new(marked)) };
                self.rib.judge_again(id, &nlri, &route, &Cause::Announced);
            }
        }
        next
    }

    /// Refused routes that were not kept are to be had of the peer (RFC 2918): it is asked to announce them again.
    fn ask_again(&mut self, id: PeerId, family: Family, room_seconds: Option<u32>) {
        let Some(session) = self.sessions.get(id).and_then(|e| e.live.as_ref()).map(|l| l.session.clone()) else { return };
        if session.refresh && session.families.contains(family) && self.rib.ask_again(id, family, room_seconds) {
            let request = Message::RouteRefresh(RouteRefresh::new(family, RefreshSubtype::Normal));
            self.sessions.send(session.conn, request.to_bytes(&session.send), self.effects);
        }
    }

    fn judge_again(&mut self, id: PeerId, nlri: &Nlri, received: &Attrs, limit: Option<&MaxPrefix>) {
        let (_, route, cause) = self.judge_import(id, nlri, received.set());
        let (route, cause) = self.judge_prefix(id, nlri, route, cause, limit);
        self.rib.judge_again(id, nlri, &route, &cause);
    }
}

fn verdict_to_route(verdict: Verdict, rib: &mut Rib, received: Attrs) -> (Route, Cause) {
    match verdict {
        Verdict::Accept(None) => (Route::as_received(received), Cause::Announced),
        Verdict::Accept(Some(changed)) => (Route { attrs: Some(rib.intern_new(changed)), received }, Cause::Announced),
        Verdict::Reject(rule) if rule.is_no_policy() => (Route { received, attrs: None }, Cause::NoPolicy),
        Verdict::Reject(rule) => (Route { received, attrs: None }, Cause::RefusedByPolicy(rule.to_string().into())),
    }
}
