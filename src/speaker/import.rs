//! From an UPDATE to route changes: loops, next hops, policy and limits, in this order, once for each attribute set where that suffices.
//!
//! In: decoded UPDATEs of an established session. Out: one `RouteChange` for each prefix, refused ones with their cause, and word of
//! End-of-RIB. What is malformed was found by `wire`; which path wins is `rib`'s to say.
//!
//! RFC 4271 §9.1.2 (loops), §5.1.3 and §6.3 (next hops, first AS, prefixes that are not unicast), RFC 4456 §8 (reflection loops),
//! RFC 8212 (external peers without policy), RFC 8326 §4.2 (graceful shutdown), RFC 4486 §4 (limits).

use ipnet::IpNet;
use smallvec::SmallVec;

use super::peers::Entry;
use super::{MaxPrefix, MaxPrefixAction, Params, PeerConfig, Speaker};
use crate::num::{Family, Instant, Nlri, PeerId};
use crate::peer::{Event, Session, StopKind};
use crate::policy::{Chain, PeerFacts, PeerName, Source, Verdict};
use crate::rib::{Attrs, Cause, Rib, Route, RouteChange};
use crate::stats::Notice;
use crate::wire::{Announced, Community, DecodeError, PathAttributes, Severity, Update};

/// A peer's memory is weighed each time it has announced so many prefixes more.
const WEIGHED: u64 = 256;

/// Paths that are judged again in one go when there is room for them.
const ROOM: u64 = 1024;

/// The verdict on the attribute set that came last, for the next UPDATE or prefix with the same.
#[derive(Default)]
pub(super) struct Judged {
    last: Option<Known>,
}

type Known = (PathAttributes, Route, Cause);

/// What became of one run of prefixes.
#[derive(Default)]
struct Tally {
    announced: u64,
    refused: u64,
    /// Those that are no unicast prefixes.
    odd: SmallVec<[IpNet; 2]>,
}

/// What import needs of a session besides the route; made once for a session, and again when policy changes.
pub(super) struct Gate {
    chain: Chain,
    facts: PeerFacts,
}

impl Gate {
    pub fn new(config: &PeerConfig, session: &Session) -> Gate {
        let external = !session.is_internal();
        let chain = config.import.clone().unwrap_or_else(|| Chain::unconfigured(external));
        let name = PeerName { name: config.session.name.as_str().into(), addr: session.remote.ip(), asn: session.remote_as };
        let source = if external { Source::External } else { Source::Internal };
        Gate { chain, facts: PeerFacts { peer: Some(name), external, local_as: session.local_as, source } }
    }

    /// What keeps a route out whatever policy says.
    fn obstacle(&self, attrs: &PathAttributes, entry: &Entry, session: &Session, params: &Params) -> Option<Cause> {
        let path = attrs.as_path();
        // With `local_asn` both numbers are ours: this peer knows one, the others put the other into their paths.
        let looped = |asn| path.count(asn) > usize::from(entry.config.allow_own_as);
        if looped(session.local_as) || (params.asn != session.local_as && looped(params.asn)) {
            return Some(Cause::AsLoop);
        }
        if self.facts.external && entry.config.enforce_first_as && path.first_as() != Some(session.remote_as) {
            return Some(Cause::FirstAsDiffers);
        }
        if !self.facts.external {
            if attrs.originator_id() == Some(session.local_id) {
                return Some(Cause::OriginatorLoop);
            }
            if params.cluster_id.is_some_and(|own| attrs.cluster_list().any(|c| c == own)) {
                return Some(Cause::ClusterLoop);
            }
        }
        (attrs.next_hop().addr() == session.local.ip()).then_some(Cause::NextHopRefused)
    }

    /// Policy's verdict, and GRACEFUL_SHUTDOWN where it counts.
    fn judge(&self, nlri: &Nlri, attrs: &PathAttributes, config: &PeerConfig) -> Verdict {
        let verdict = self.chain.judge(&nlri.net, attrs, &self.facts);
        let last = self.facts.external && config.graceful_shutdown && attrs.has_community(Community::GRACEFUL_SHUTDOWN);
        match verdict {
            Verdict::Accept(changed) if last => {
                let mut edit = changed.as_ref().unwrap_or(attrs).edit();
                edit.set_local_pref(Some(0));
                Verdict::Accept(Some(edit.finish()))
            }
            other => other,
        }
    }
}

impl Speaker {
    /// Takes in one UPDATE of an established session.
    pub(super) fn import(&mut self, id: PeerId, update: Update, now: Instant) {
        self.note_errors(id, &update);
        self.counters.update_arrived(now);
        for run in &update.withdrawn {
            let mut n = 0;
            self.rib.withdraw(id, run.iter().inspect(|_| n += 1));
            self.traffic(id, |t| t.updates.withdrawn_received += n);
        }
        for run in &update.announced {
            match &run.attrs {
                Some(attrs) => self.announce(id, run, attrs, now),
                None => self.withdraw_malformed(id, run, &update),
            }
        }
        if let Some(family) = update.end_of_rib {
            self.on_end_of_rib(id, family, now);
        }
    }

    fn traffic(&mut self, id: PeerId, count: impl FnOnce(&mut super::metrics::Traffic)) {
        if let Some(entry) = self.peers.get_mut(id) {
            count(&mut entry.traffic);
        }
    }

    /// RFC 7606 §2: what was announced with a malformed attribute is as good as withdrawn.
    fn withdraw_malformed(&mut self, id: PeerId, run: &Announced, update: &Update) {
        let strongest = update.errors.iter().flat_map(|e| e.iter()).max_by_key(|e| e.severity());
        let cause = Cause::Malformed(strongest.and_then(DecodeError::attribute).map_or(0, |c| c.0));
        for nlri in run.nlri.iter() {
            self.rib.apply(RouteChange { peer: id, nlri, route: None, cause: cause.clone() });
        }
    }

    fn announce(&mut self, id: PeerId, run: &Announced, attrs: &PathAttributes, now: Instant) {
        let family = run.nlri.family();
        let Some((entry, live)) = self.peers.get_mut(id).and_then(Entry::live_mut) else { return };
        let limit = entry.max_prefix(family).copied();
        let each_prefix = live.gate.chain.depends_on_prefix();
        let mut judged = live.judged.last.take().filter(|(set, ..)| set.is_same(attrs));
        let tally = if !each_prefix && limit.is_none_or(|l| l.action != MaxPrefixAction::Refuse) {
            self.announce_alike(id, run, attrs, &mut judged)
        } else {
            self.announce_each(id, run, attrs, &mut judged, limit.as_ref(), each_prefix)
        };
        let Some(entry) = self.peers.get_mut(id) else { return };
        let before = entry.traffic.updates.announced_received;
        entry.traffic.updates.announced_received += tally.announced;
        let weigh = before / WEIGHED != entry.traffic.updates.announced_received / WEIGHED;
        entry.traffic.updates.announced_rejected += tally.refused;
        if let Some(live) = &mut entry.live {
            live.judged.last = judged;
        }
        if !tally.odd.is_empty() && entry.traffic.may_complain() {
            let peer = entry.config.session.name.clone();
            self.notice(Notice::NotUnicast { peer, prefixes: tally.odd.into_vec() });
        }
        if limit.is_some() {
            self.check_limit(id, family, now);
        }
        if weigh {
            self.check_burden(id, now);
        }
    }

    /// One verdict for all of them, but for those that are no unicast prefixes.
    fn announce_alike(&mut self, id: PeerId, run: &Announced, attrs: &PathAttributes, known: &mut Option<Known>) -> Tally {
        let mut tally = Tally::default();
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
        known: &mut Option<Known>,
        limit: Option<&MaxPrefix>,
        each_prefix: bool,
    ) -> Tally {
        let mut tally = Tally::default();
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
        let Some(entry) = self.peers.get(id).filter(|e| e.live.is_some()) else { return };
        let bound = entry.config.burden;
        let all = Family::ALL.map(|family| self.rib.counts(id, family));
        let paths: u64 = all.iter().map(|c| c.received).sum();
        let octets: u64 = all.iter().map(|c| c.attribute_octets).sum();
        if paths > bound.paths || octets > bound.attribute_octets {
            self.tell(id, Event::Stop { kind: StopKind::OutOfResources, text: None }, now);
        }
    }

    fn judge_import(&mut self, id: PeerId, nlri: &Nlri, attrs: &PathAttributes) -> (PathAttributes, Route, Cause) {
        let received = self.rib.intern(attrs);
        let refused = |cause, received| (attrs.clone(), Route { received, attrs: None }, cause);
        let Some(entry) = self.peers.get(id) else { return refused(Cause::SessionDown, received) };
        let Some(live) = &entry.live else { return refused(Cause::SessionDown, received) };
        let obstacle = live.gate.obstacle(attrs, entry, &live.session, &self.params);
        if obstacle.is_some() || self.nexthops.is_own_address(attrs.next_hop().addr()) {
            return refused(obstacle.unwrap_or(Cause::NextHopRefused), received);
        }
        let (route, cause) = verdict_to_route(live.gate.judge(nlri, attrs, &entry.config), &mut self.rib, received);
        (attrs.clone(), route, cause)
    }

    /// Is there room for this prefix, or does it only replace one that is there?
    fn within_limit(&self, id: PeerId, nlri: &Nlri, limit: &MaxPrefix) -> bool {
        let counts = self.rib.counts(id, nlri.family());
        limit.action != MaxPrefixAction::Refuse || counts.accepted < u64::from(limit.limit) || self.rib.is_accepted(id, nlri)
    }

    /// Where accepted routes went, those that were refused for want of room are judged again, as many as there is room for.
    pub(super) fn use_room(&mut self) {
        for id in self.rib.take_freed() {
            Family::ALL.into_iter().for_each(|family| self.use_room_of(id, family));
        }
    }

    fn use_room_of(&mut self, id: PeerId, family: Family) {
        let Some((config, _)) = self.peers.get_mut(id).and_then(Entry::live_mut) else { return };
        let Some(limit) = config.max_prefix(family).copied() else { return };
        loop {
            // Each that is judged leaves the waiting ones: it is accepted, or has another cause now.
            let room = u64::from(limit.limit).saturating_sub(self.rib.counts(id, family).accepted).min(ROOM);
            let waiting = self.rib.over_limit(id, family, room as usize);
            if waiting.is_empty() {
                return;
            }
            for (nlri, received) in waiting {
                self.judge_again(id, &nlri, &received, Some(&limit));
            }
        }
    }

    /// RFC 4271 §6.7: warn early, and end the session when told to.
    fn check_limit(&mut self, id: PeerId, family: Family, now: Instant) {
        let count = self.rib.counts(id, family).received;
        let Some(entry) = self.peers.get_mut(id) else { return };
        let Some(limit) = entry.config.max_prefix(family).copied() else { return };
        let peer = entry.config.session.name.clone();
        let over = count > u64::from(limit.limit);
        let near = count * 100 >= u64::from(limit.limit) * u64::from(limit.warn_percent);
        let Some(live) = entry.live.as_mut() else { return };
        if near && !live.warned.contains(family) {
            live.warned.insert(family);
            let action = if over { limit.action.name() } else { "near the limit" };
            self.notice(Notice::MaxPrefix { peer, family, count, limit: limit.limit, action });
        }
        if over && let MaxPrefixAction::Close { restart } = limit.action {
            self.tell(id, Event::MaxPrefixExceeded { family, limit: limit.limit, restart }, now);
        }
    }

    /// Counts what was malformed, and says it.
    fn note_errors(&mut self, id: PeerId, update: &Update) {
        let Some(errors) = &update.errors else { return };
        let Some(entry) = self.peers.get_mut(id) else { return };
        let mut said = Vec::new();
        for error in errors.iter() {
            let action = match error.severity() {
                Severity::Discard => "attribute discarded",
                Severity::Withdraw => "treated as withdrawn",
                Severity::Reset => "session reset",
            };
            entry.traffic.count_malformed(error.attribute(), action);
            if entry.traffic.may_complain() {
                said.push(Notice::Malformed { peer: entry.config.session.name.clone(), action, detail: error.to_string() });
            }
        }
        said.into_iter().for_each(|n| self.notice(n));
    }

    /// Judges everything again that the peer has said (a changed policy), from Adj-RIB-In and without a word to the peer.
    pub(super) fn reimport(&mut self, id: PeerId) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        // What a peer that is away left behind keeps its verdict until it is said again, or swept (RFC 4724 §4.2).
        let Some(live) = &mut entry.live else { return };
        live.gate = Gate::new(&entry.config, &live.session);
        live.judged = Judged::default();
        for family in Family::ALL {
            let limit = self.peers.get(id).and_then(|e| e.config.max_prefix(family).copied());
            let all: Vec<(Nlri, Attrs)> =
                self.rib.received(id, family, 0).map(|(_, v)| (Nlri { net: v.net, path_id: v.path_id }, v.received.clone())).collect();
            for (nlri, received) in all {
                self.judge_again(id, &nlri, &received, limit.as_ref());
            }
        }
    }

    fn judge_again(&mut self, id: PeerId, nlri: &Nlri, received: &Attrs, limit: Option<&MaxPrefix>) {
        let (_, route, cause) = self.judge_import(id, nlri, received.set());
        let (route, cause) = self.judge_prefix(id, nlri, route, cause, limit);
        self.rib.judge_again(id, nlri, &route, &cause);
    }

    /// RFC 8212 §2: said loudly, for it looks like a fault.
    pub(super) fn warn_without_policy(&mut self, config: &PeerConfig) {
        if config.session.remote_as.is_internal(config.session.local_as) {
            return;
        }
        for (direction, chain) in [("import", &config.import), ("export", &config.export)] {
            if chain.is_none() {
                self.notice(Notice::NoPolicy { peer: config.session.name.clone(), direction });
            }
        }
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
