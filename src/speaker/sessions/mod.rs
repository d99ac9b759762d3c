//! The neighbours as the router sees them: found by connection or address, woken by one timer structure, driven until they are quiet.
//!
//! In: what happened on a connection, and what the operator or the configuration wants of a peer. Out: connections to make, octets to send,
//! and [`SessionEvent`]s for the parts that hold routes. The state machine itself is `peer`'s; what an UPDATE means is `import`'s.

mod conns;
mod identifiers;
mod md5;
mod slots;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use ipnet::IpNet;

use conns::Conns;
pub use conns::SEND_CREDIT;
pub use md5::Md5Watch;
use slots::Slots;

use super::counters::Traffic;
use super::import_context::{ImportCache, ImportContext};
use super::io::{Effect, Effects};
use super::params::{ListenRange, Params, PeerConfig};
use super::peer_bfd::PeerBfd;
use crate::kernel::IfIndex;
use crate::ndp::Finder;
use crate::num::{ConnId, Family, FamilySet, Instant, PeerId};
use crate::peer::{Action, ConnIds, Down, Event, Peer, PeerNotice, Remote, Session};
use crate::rib::keyed::{Keyed, keyed};
use crate::rib::{SourceFacts, SourceKind};
use crate::stats::{Md5Refused, Notice};
use crate::wire::{CeaseSubcode, Context, Message, Notification, RefreshSubtype};

/// Connections from nobody's address are spoken of in the log once in so many seconds.
const UNKNOWN_PEER_NOTICE_SECONDS: u64 = 10;

/// A peer that has not come up after this time is spoken of, even if nothing failed: it may never connect.
const OVERDUE: Duration = Duration::from_secs(60);

/// One neighbour.
pub(super) struct Entry {
    /// Its number.
    pub id: PeerId,
    /// Its state machine.
    pub peer: Peer,
    /// As configured, or as its range's template has it; with the address of the neighbour that was found on its link.
    pub config: Arc<PeerConfig>,
    /// As configured.
    configured: Arc<PeerConfig>,
    /// Of a peer by interface: who was heard on the link.
    pub finder: Finder,
    /// While the session is established.
    pub live: Option<EstablishedSession>,
    /// What was counted over all its sessions.
    pub traffic: Traffic,
    /// Came out of this listen range, and goes when its session does.
    pub range: Option<Arc<ListenRange>>,
    /// Not administratively down.
    pub admin_up: bool,
    /// The BFD session beside it.
    pub bfd: PeerBfd,
    /// What the last notice about a failure said.
    pub last_failure: Option<String>,
    /// Then it is said that the peer does not come up, unless it was.
    overdue_at: Option<Instant>,
    /// When the state machine last changed its state.
    pub state_since: Instant,
    /// Connections that the shell holds, or tries, for it.
    conns: usize,
    armed: Option<Instant>,
}

/// What is only true of an established session.
pub(super) struct EstablishedSession {
    /// As negotiated.
    pub session: Arc<Session>,
    /// When it came up.
    pub since: Instant,
    /// When its last UPDATE came, or else the session.
    pub last_update: Instant,
    /// Families whose End-of-RIB has come.
    pub end_of_rib: FamilySet,
    /// Families for which the warning about too many prefixes was given.
    pub warned: FamilySet,
    /// By what its routes are judged.
    pub import: ImportContext,
    /// The last verdict.
    pub cache: ImportCache,
    /// Frames wait for credit.
    pub blocked: bool,
    /// The link went down that the way to the peer led over.
    pub way_lost: bool,
}

impl Entry {
    /// The configuration beside the living session.
    pub fn live_mut(&mut self) -> Option<(&PeerConfig, &mut EstablishedSession)> {
        Some((&self.config, self.live.as_mut()?))
    }

    /// For logs and metrics.
    pub fn name(&self) -> &str {
        &self.config.session.name
    }

    /// Nothing holds it here any more but routes.
    pub fn is_idle(&self) -> bool {
        self.live.is_none() && self.conns == 0
    }

    /// What the decision process knows of the peer.
    pub fn source_facts(&self) -> Option<SourceFacts> {
        let session = &self.live.as_ref()?.session;
        Some(SourceFacts {
            id: self.id,
            kind: if session.is_internal() { SourceKind::Internal } else { SourceKind::External },
            asn: session.remote_as,
            router_id: session.remote_id,
            addr: session.remote.ip(),
            rr_client: self.config.rr_client,
            local_addr: session.local.ip(),
            interface: zone_of(session.remote),
        })
    }
}

/// What a session means to the parts that hold routes. To be taken and carried out after each call that may lead to one.
#[derive(Debug)]
pub(super) enum SessionEvent {
    /// A session is up: it is announced the tables.
    Established(PeerId),
    /// It is over: its routes go, or become stale.
    Down(PeerId, Down),
    /// Routes that were kept over a restart have had their time.
    SweepStale(PeerId, FamilySet),
    /// The restart time is over, and the stale routes stay on as the least preferred (RFC 9494).
    LongLived(PeerId, FamilySet),
    /// The peer wants to hear a family again (RFC 2918), or marks its own refresh (RFC 7313).
    Refresh {
        /// Which.
        peer: PeerId,
        /// Of which.
        family: Family,
        /// What is asked, or marked.
        subtype: RefreshSubtype,
    },
    /// A peer out of a listen range has no connection any more.
    RangePeerIdle(PeerId),
}

/// All neighbours.
pub(super) struct Sessions {
    slots: Slots<Entry>,
    by_addr: HashMap<(IpAddr, Option<String>), PeerId, Keyed>,
    conns: Conns,
    ids: ConnIds,
    /// One entry at least for each armed deadline; entries that a peer no longer stands by are skipped.
    timers: BinaryHeap<Reverse<(Instant, PeerId)>>,
    seed: u64,
    /// Peers that came out of each range.
    ranged: HashMap<IpNet, usize, FixedState>,
    events: VecDeque<SessionEvent>,
    /// Which peers a refused signature may be of.
    pub md5: Md5Watch,
    /// Connections that nobody took.
    pub unknown_peers: u64,
    unknown_peer_said: Option<Instant>,
}

impl Sessions {
    /// Without a neighbour. The seed makes jitter and hashes foreseeable in tests alone.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            slots: Slots::new(),
            // Who connects out of a listen range chooses its address.
            by_addr: HashMap::with_hasher(keyed(seed)),
            conns: Conns::default(),
            ids: ConnIds::default(),
            timers: BinaryHeap::new(),
            seed,
            ranged: HashMap::default(),
            events: VecDeque::new(),
            md5: Md5Watch::default(),
            unknown_peers: 0,
            unknown_peer_said: None,
        }
    }

    /// By number.
    pub fn get(&self, id: PeerId) -> Option<&Entry> {
        self.slots.get(id)
    }

    /// By number, to change it.
    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.slots.get_mut(id)
    }

    /// By number: those of the configuration in its order, unless it was reloaded.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter()
    }

    /// Of all, in the order of their numbers.
    pub fn ids(&self) -> Vec<PeerId> {
        self.iter().map(|e| e.id).collect()
    }

    /// How many neighbours there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// How many sessions are up.
    pub fn established(&self) -> usize {
        self.iter().filter(|e| e.live.is_some()).count()
    }

    /// The session, while it is up.
    pub fn live(&self, id: PeerId) -> Option<&EstablishedSession> {
        self.get(id)?.live.as_ref()
    }

    /// From `index` on, for paging.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &Entry> {
        self.slots.from(index)
    }

    /// By name or address.
    pub fn find(&self, who: &str) -> Option<&Entry> {
        self.iter().find(|e| e.name() == who || e.config.session.remote.to_string() == who)
    }

    /// Is this family negotiated on an established session?
    pub fn carries(&self, id: PeerId, family: Family) -> bool {
        self.live(id).is_some_and(|l| l.session.families.contains(family))
    }

    /// By the address that its configuration names.
    pub fn by_remote(&self, remote: &Remote) -> Option<PeerId> {
        self.by_addr.get(&(remote.addr, remote.zone.clone())).copied()
    }

    fn by_addr(&self, addr: IpAddr, zone: Option<&str>) -> Option<PeerId> {
        let zoned = zone.and_then(|z| self.by_addr.get(&(addr, Some(z.to_owned()))));
        zoned.or_else(|| self.by_addr.get(&(addr, None))).copied()
    }

    /// Whose connection it is.
    pub fn of_conn(&self, conn: ConnId) -> Option<PeerId> {
        self.conns.owner(conn)
    }

    /// A new neighbour, which does nothing until it is started.
    pub fn insert(&mut self, configured: Arc<PeerConfig>, range: Option<Arc<ListenRange>>, now: Instant) -> PeerId {
        let config = with_neighbour(&configured, None);
        let session = config.session.clone();
        let key = (session.remote.addr, session.remote.zone.clone());
        if let Some(range) = &range {
            *self.ranged.entry(range.net).or_default() += 1;
        }
        // Each has timers of its own jitter, whoever had its number before.
        let seed = |nth: u64| self.seed ^ (nth << 20);
        let id = self.slots.insert(|id, nth| Entry {
            id,
            peer: Peer::new(id, session, seed(nth)),
            admin_up: config.session.enabled,
            config,
            configured,
            finder: Finder::default(),
            live: None,
            traffic: Traffic::default(),
            range,
            bfd: PeerBfd::default(),
            last_failure: None,
            overdue_at: None,
            state_since: now,
            conns: 0,
            armed: None,
        });
        self.by_addr.insert(key, id);
        id
    }

    /// Forgets a neighbour; its session must have been stopped.
    pub fn remove(&mut self, id: PeerId) {
        let Some(entry) = self.slots.take(id) else { return };
        for remote in [&entry.config.session.remote, &entry.config.session.identity()] {
            let key = (remote.addr, remote.zone.clone());
            if self.by_addr.get(&key) == Some(&id) {
                self.by_addr.remove(&key);
            }
        }
        self.leave_range(entry.range.as_ref());
        if entry.conns > 0 {
            self.conns.unbind_all(id);
        }
    }

    /// What a peer means now; the neighbour that was found on its link stays.
    pub fn configure(&mut self, id: PeerId, new: &Arc<PeerConfig>) -> Option<Arc<PeerConfig>> {
        let entry = self.slots.get_mut(id)?;
        entry.configured = new.clone();
        entry.config = with_neighbour(new, entry.finder.neighbour());
        Some(entry.config.clone())
    }

    /// A peer by interface has this neighbour from now on. False if another peer has that address on that link.
    pub fn set_neighbour(&mut self, id: PeerId, addr: Ipv6Addr) -> bool {
        let Some(entry) = self.slots.get_mut(id) else { return false };
        let before = entry.config.session.remote.clone();
        let key = (IpAddr::V6(addr), before.zone.clone());
        if self.by_addr.get(&key).is_some_and(|other| *other != id) {
            return false;
        }
        entry.config = with_neighbour(&entry.configured, Some(addr));
        if !before.is_open() {
            self.by_addr.remove(&(before.addr, before.zone));
        }
        self.by_addr.insert(key, id);
        true
    }

    /// The peer that is whoever is on this link.
    pub fn by_interface(&self, name: &str) -> Option<PeerId> {
        self.by_addr.get(&(Ipv6Addr::UNSPECIFIED.into(), Some(name.to_owned()))).copied()
    }

    fn leave_range(&mut self, range: Option<&Arc<ListenRange>>) {
        if let Some(n) = range.and_then(|r| self.ranged.get_mut(&r.net)) {
            *n = n.saturating_sub(1);
        }
    }

    /// Another range, or the configuration's own list, is where this peer comes from now.
    pub fn set_range(&mut self, id: PeerId, range: Option<Arc<ListenRange>>) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        let old = std::mem::replace(&mut entry.range, range.clone());
        self.leave_range(old.as_ref());
        if let Some(range) = range {
            *self.ranged.entry(range.net).or_default() += 1;
        }
    }

    /// Hands an event to a peer and carries out what it wants.
    pub fn dispatch(&mut self, id: PeerId, event: Event, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        entry.peer.handle(now, event, &mut self.ids);
        self.drive(id, now, effects);
    }

    /// Octets of the table went out to the peer: the KeepaliveTimer may start again.
    pub fn note_sent(&mut self, id: PeerId, conn: ConnId, octets: usize, now: Instant) {
        if let Some(entry) = self.slots.get_mut(id) {
            entry.peer.on_sent(conn, now);
            self.conns.spend(conn, octets);
        }
    }

    /// What happened since this was asked last, in order.
    pub fn take_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Serves the deadlines that have passed; no peer is silent of whom something may wait that came after `received_until`.
    pub fn run_timers(&mut self, now: Instant, received_until: Instant, effects: &mut Effects) {
        while let Some(id) = self.take_due(now) {
            let Some(entry) = self.slots.get_mut(id) else { continue };
            if entry.peer.next_deadline().is_some_and(|at| at <= now) {
                entry.peer.on_deadline(now, received_until, &mut self.ids);
            }
            let overdue = entry.overdue_at.take_if(|at| *at <= now).and_then(|_| entry.peer.why_down());
            self.complain(id, overdue, now, effects);
            self.drive(id, now, effects);
        }
    }

    /// Carries out a peer's actions until it has no more, and arms its next deadline.
    fn drive(&mut self, id: PeerId, now: Instant, effects: &mut Effects) {
        while let Some(action) = self.get_mut(id).and_then(|e| e.peer.poll()) {
            self.perform(id, action, now, effects);
        }
        self.arm(id);
        if self.get(id).is_some_and(|e| e.range.is_some() && e.is_idle()) {
            self.events.push_back(SessionEvent::RangePeerIdle(id));
        }
    }

    fn perform(&mut self, id: PeerId, action: Action, now: Instant, effects: &mut Effects) {
        match action {
            Action::Dial { conn, transport } => {
                self.bind(conn, id);
                effects.push(Effect::Dial { conn, transport });
            }
            Action::Context { conn, context } => effects.push(Effect::Context { conn, context }),
            Action::Send { conn, octets } => self.send(conn, octets, effects),
            Action::Close { conn } => {
                self.unbind(conn);
                effects.push(Effect::Close { conn });
            }
            Action::Established(session) => self.on_established(id, session, now, effects),
            Action::Down(down) => {
                if let Some(entry) = self.get_mut(id) {
                    entry.live = None;
                }
                self.events.push_back(SessionEvent::Down(id, down));
            }
            Action::LongLived(families) => self.events.push_back(SessionEvent::LongLived(id, families)),
            Action::SweepStale(families) => self.events.push_back(SessionEvent::SweepStale(id, families)),
            Action::Refresh { family, subtype } => self.events.push_back(SessionEvent::Refresh { peer: id, family, subtype }),
            Action::Notice(notice) => self.on_peer_notice(id, &notice, now, effects),
        }
    }

    /// Session messages (OPEN, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH) go out whatever the credit is.
    pub fn send(&mut self, conn: ConnId, octets: Bytes, effects: &mut Effects) {
        self.conns.spend(conn, octets.len());
        effects.push(Effect::Send { conn, frames: std::iter::once(octets).collect() });
    }

    fn on_established(&mut self, id: PeerId, session: Arc<Session>, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.get_mut(id) else { return };
        entry.live = Some(EstablishedSession {
            since: now,
            last_update: now,
            end_of_rib: FamilySet::NONE,
            warned: FamilySet::NONE,
            import: ImportContext::new(&entry.config, &session),
            cache: ImportCache::default(),
            blocked: false,
            way_lost: false,
            session: session.clone(),
        });
        entry.last_failure = None;
        entry.overdue_at = None;
        entry.traffic.session_began();
        effects.notice(Notice::PeerUp {
            peer: entry.name().to_owned(),
            address: session.remote.ip(),
            remote_as: session.remote_as.0,
            families: session.families.iter().collect(),
            hold_seconds: session.hold_time.seconds(),
        });
        self.events.push_back(SessionEvent::Established(id));
    }

    fn on_peer_notice(&mut self, id: PeerId, notice: &PeerNotice, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.get_mut(id) else { return };
        let peer = entry.name().to_owned();
        match notice {
            PeerNotice::State { from, to, .. } => {
                entry.state_since = now;
                if entry.live.is_none() && entry.last_failure.is_none() {
                    entry.overdue_at.get_or_insert(now + OVERDUE);
                }
                effects.notice(Notice::PeerState { peer, from: from.name(), to: to.name() });
            }
            PeerNotice::Failed(_) | PeerNotice::DialFailed { .. } => {
                let reason = entry.peer.complaint();
                self.complain(id, reason, now, effects);
            }
            _ => {}
        }
    }

    /// Says that a peer does not come up, once for each reason. Why a session ended is said by the notice of its end.
    fn complain(&mut self, id: PeerId, reason: Option<String>, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        let Some(reason) = reason.filter(|reason| entry.last_failure.as_ref() != Some(reason)) else { return };
        entry.last_failure = Some(reason.clone());
        entry.overdue_at = None;
        if entry.live.is_some() {
            return;
        }
        let peer = entry.name().to_owned();
        let reason = match self.md5.hint(&entry.peer, now) {
            Some(hint) => format!("{reason}; {hint}"),
            None => reason,
        };
        effects.notice(Notice::PeerFailed { peer, reason });
    }

    /// Whose connection is this, if it may come in? A peer out of a listen range is made for it.
    pub fn acceptor(
        &mut self,
        remote: SocketAddr,
        zone: Option<&str>,
        params: &Params,
        now: Instant,
        effects: &mut Effects,
    ) -> Option<PeerId> {
        let addr = remote.ip().to_canonical();
        if let Some(id) = self.by_addr(addr, zone) {
            return Some(id);
        }
        if let Some((config, range)) = params.range_peer(addr, zone)
            && config.session.enabled
            && self.ranged.get(&range.net).copied().unwrap_or(0) < range.limit
        {
            return Some(self.insert(config, Some(range), now));
        }
        self.unknown_peers += 1;
        let said = self.unknown_peer_said;
        if said.is_none_or(|at| now.since(at).as_secs() >= UNKNOWN_PEER_NOTICE_SECONDS) {
            self.unknown_peer_said = Some(now);
            effects.notice(Notice::Stranger { address: addr });
        }
        None
    }

    /// Takes in a connection that an acceptor was found for. True for the first of a peer out of a range, which is to be started.
    pub fn accept(&mut self, id: PeerId, conn: ConnId) -> bool {
        self.bind(conn, id);
        self.get(id).is_some_and(|e| e.range.is_some() && e.conns == 1)
    }

    /// Octets that may still go out on this connection.
    pub fn credit(&self, conn: ConnId) -> usize {
        self.conns.credit(conn)
    }

    /// All that was handed out for this session was taken by the kernel.
    pub fn is_flushed(&self, id: PeerId) -> bool {
        self.live(id).is_none_or(|l| self.conns.in_flight(l.session.conn) == 0)
    }

    /// The kernel took octets. Whose they were, if the session waits for credit to be sent more.
    pub fn on_writable(&mut self, conn: ConnId, written: usize, now: Instant, effects: &mut Effects) -> Option<PeerId> {
        let taken = self.conns.give_back(conn, written)?;
        if taken.watched {
            self.dispatch(taken.peer, Event::SendProgress { conn }, now, effects);
            if taken.left > 0 {
                self.dispatch(taken.peer, Event::SendBlocked { conn }, now, effects);
            }
        }
        self.live(taken.peer).is_some_and(|l| l.blocked && l.session.conn == conn).then_some(taken.peer)
    }

    /// Tells peers that octets wait which the kernel has not taken since they were handed out (RFC 9687).
    pub fn watch_unsent(&mut self, now: Instant, effects: &mut Effects) {
        for (id, conn) in self.conns.take_unwatched() {
            self.dispatch(id, Event::SendBlocked { conn }, now, effects);
        }
    }

    /// Does a peer have yet to hear that its octets wait?
    pub fn has_unwatched(&self) -> bool {
        self.conns.has_unwatched()
    }

    /// What the kernel has dropped for its signature, in total; the difference may explain who is not up.
    pub fn on_md5_refused(&mut self, totals: Md5Refused, now: Instant) {
        self.md5.look(totals, now);
    }

    /// The shell has, or tries, this connection for that peer.
    fn bind(&mut self, conn: ConnId, peer: PeerId) {
        if self.conns.bind(conn, peer)
            && let Some(entry) = self.get_mut(peer)
        {
            entry.conns += 1;
        }
    }

    /// The connection is no more; whose it was.
    pub fn unbind(&mut self, conn: ConnId) -> Option<PeerId> {
        let peer = self.conns.unbind(conn)?;
        if let Some(entry) = self.get_mut(peer) {
            entry.conns = entry.conns.saturating_sub(1);
        }
        Some(peer)
    }

    /// Notes the earliest of the peer's deadlines, if that is news.
    fn arm(&mut self, id: PeerId) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        let at = [entry.peer.next_deadline(), entry.overdue_at].into_iter().flatten().min();
        if at != entry.armed {
            entry.armed = at;
            self.timers.extend(at.map(|at| Reverse((at, id))));
        }
    }

    /// The earliest of all neighbours' timers.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Connections to link-local peers over an interface that is gone. They hear nothing any more, even if one of the same name comes
    /// back: their zone is a number (RFC 4007 §6).
    pub fn over_link(&self, ifindex: IfIndex) -> Vec<ConnId> {
        let live = self.iter().filter_map(|entry| entry.live.as_ref());
        live.filter(|live| zone_of(live.session.remote) == Some(ifindex)).map(|live| live.session.conn).collect()
    }

    /// A peer whose deadline has passed; not armed again until it was driven.
    fn take_due(&mut self, now: Instant) -> Option<PeerId> {
        while let Some(&Reverse((at, id))) = self.timers.peek() {
            if at > now {
                return None;
            }
            self.timers.pop();
            let entry = self.slots.get_mut(id);
            if let Some(entry) = entry.filter(|e| e.armed == Some(at)) {
                entry.armed = None;
                return Some(id);
            }
        }
        None
    }

    /// # Panics
    /// If a session stands here and not in the state machine, or a connection belongs to nobody.
    pub fn check_invariants(&self) {
        for entry in self.iter() {
            let up = entry.peer.session().is_some();
            assert_eq!(entry.live.is_some(), up, "{}: the sessions and the FSM disagree", entry.name());
        }
        self.conns.check_invariants(|id| self.get(id).is_some());
        assert!(self.events.is_empty(), "session events wait");
    }
}

/// RFC 4486 §4: whoever is not configured here, or may not come now, is answered so.
pub(super) fn reject(conn: ConnId, effects: &mut Effects) {
    let cease = Message::Notification(Notification::cease(CeaseSubcode::ConnectionRejected, None));
    effects.push(Effect::Send { conn, frames: std::iter::once(cease.to_bytes(&Context::INITIAL)).collect() });
    effects.push(Effect::Close { conn });
}

/// A peer as configured, with the address of the neighbour on its link; or with what it waits for.
fn with_neighbour(configured: &Arc<PeerConfig>, neighbour: Option<Ipv6Addr>) -> Arc<PeerConfig> {
    if !configured.session.by_interface {
        return configured.clone();
    }
    let mut session = (*configured.session).clone();
    match (neighbour, &session.remote.zone) {
        (Some(addr), _) => session.remote.addr = addr.into(),
        (None, Some(zone)) => {
            let why = format!("nobody was heard on {zone} yet: neither a router advertisement nor a connection");
            session.hindrance.get_or_insert(why);
        }
        (None, None) => {}
    }
    Arc::new(PeerConfig { session: Arc::new(session), ..(**configured).clone() })
}

/// Where a link-local peer is, there its link-local next hops are (RFC 4007 §6).
fn zone_of(remote: SocketAddr) -> Option<IfIndex> {
    match remote {
        SocketAddr::V6(v6) if is_link_local(*v6.ip()) && v6.scope_id() != 0 => Some(IfIndex(v6.scope_id())),
        SocketAddr::V6(_) | SocketAddr::V4(_) => None,
    }
}

/// fe80::/10 (RFC 4291 §2.5.6).
pub(super) fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}
