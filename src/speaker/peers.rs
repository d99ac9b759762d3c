//! The neighbours as the router sees them: found by connection or address, woken by one timer structure, driven until they are quiet.
//!
//! In: what happened on a connection. Out: the peer's actions turned into effects, and words to the RIB and the export groups when a
//! session comes or goes. The state machine itself is `peer`'s; what an UPDATE means is `import`'s.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use ipnet::IpNet;

use super::slots::Slots;
use super::{Effect, ListenRange, Params, PeerConfig, SEND_CREDIT, Speaker};
use crate::kernel::IfIndex;
use crate::num::{ConnId, Family, FamilySet, Instant, PeerId};
use crate::peer::{self, Action, ConnIds, DialError, Direction, Event, Peer, PeerNotice, Session, StopKind};
use crate::rib::{BATCH, SourceFacts, SourceKind};
use crate::stats::Notice;
use crate::wire::{CeaseSubcode, Context, DecodeError, Message, Notification};

/// Strangers are told of in the log once in so many seconds.
const STRANGER_NOTICE_SECONDS: u64 = 10;

/// One neighbour.
pub(super) struct Entry {
    pub id: PeerId,
    pub peer: Peer,
    pub config: Arc<PeerConfig>,
    /// While the session is established.
    pub live: Option<Live>,
    /// Its routes stay although the session was closed, because we are draining.
    pub kept_by_drain: bool,
    /// Then what is still stale goes.
    pub sweep_at: Option<Instant>,
    pub traffic: super::metrics::Traffic,
    /// Came out of this listen range, and goes when its session does.
    pub range: Option<Arc<ListenRange>>,
    /// Not administratively down.
    pub admin_up: bool,
    /// What the last notice about a failure said.
    pub last_failure: Option<String>,
    /// When the state machine last changed its state.
    pub state_since: Instant,
    /// Connections that the shell holds, or tries, for it.
    conns: usize,
    armed: Option<Instant>,
}

/// What is only true of an established session.
pub(super) struct Live {
    pub session: Arc<Session>,
    pub since: Instant,
    /// When its last UPDATE came, or else the session.
    pub heard: Instant,
    /// Families whose End-of-RIB has come.
    pub end_of_rib: FamilySet,
    /// Families for which the warning about too many prefixes was given.
    pub warned: FamilySet,
    pub gate: super::import::Gate,
    pub judged: super::import::Judged,
    /// Frames wait for credit.
    pub blocked: bool,
}

impl Entry {
    /// The configuration beside the living session.
    pub fn live_mut(&mut self) -> Option<(&PeerConfig, &mut Live)> {
        Some((&self.config, self.live.as_mut()?))
    }
}

struct Conn {
    peer: PeerId,
    /// Octets handed to the shell and not yet taken by the kernel.
    in_flight: usize,
    watch: Watch,
}

/// Whether the peer knows that octets wait for the kernel (RFC 9687). Nearly always the kernel takes all at once, and then it need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    Off,
    /// It is told at the next settlement, if octets still wait then.
    Soon,
    On,
}

/// What [`Peers::give_back`] found.
pub(super) struct Taken {
    pub peer: PeerId,
    /// Octets still under way.
    pub left: usize,
    /// The peer was told that octets wait, and wants to hear of progress.
    pub watched: bool,
}

/// All neighbours.
pub(super) struct Peers {
    slots: Slots<Entry>,
    by_addr: HashMap<(IpAddr, Option<String>), PeerId, FixedState>,
    conns: HashMap<ConnId, Conn, FixedState>,
    /// Connections that are [`Watch::Soon`].
    unwatched: usize,
    ids: ConnIds,
    /// One entry at least for each armed deadline; entries that a peer no longer stands by are skipped.
    timers: BinaryHeap<Reverse<(Instant, PeerId)>>,
    seed: u64,
    /// Peers that came out of each range.
    ranged: HashMap<IpNet, usize, FixedState>,
    pub strangers: u64,
    stranger_said: Option<Instant>,
}

impl Peers {
    pub fn new(seed: u64) -> Peers {
        Peers {
            slots: Slots::new(),
            by_addr: HashMap::default(),
            conns: HashMap::default(),
            unwatched: 0,
            ids: ConnIds::default(),
            timers: BinaryHeap::new(),
            seed,
            ranged: HashMap::default(),
            strangers: 0,
            stranger_said: None,
        }
    }

    pub fn get(&self, id: PeerId) -> Option<&Entry> {
        self.slots.get(id)
    }

    pub fn get_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.slots.get_mut(id)
    }

    /// By number: those of the configuration in its order, unless it was reloaded.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter()
    }

    pub fn ids(&self) -> Vec<PeerId> {
        self.iter().map(|e| e.id).collect()
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn established(&self) -> usize {
        self.iter().filter(|e| e.live.is_some()).count()
    }

    /// From `index` on, for paging.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &Entry> {
        self.slots.from(index)
    }

    /// By name or address.
    pub fn find(&self, who: &str) -> Option<&Entry> {
        self.iter().find(|e| e.config.session.name == who || e.config.session.remote.to_string() == who)
    }

    pub fn by_addr(&self, addr: IpAddr, zone: Option<&str>) -> Option<PeerId> {
        let zoned = zone.and_then(|z| self.by_addr.get(&(addr, Some(z.to_owned()))));
        zoned.or_else(|| self.by_addr.get(&(addr, None))).copied()
    }

    pub fn of_conn(&self, conn: ConnId) -> Option<PeerId> {
        self.conns.get(&conn).map(|c| c.peer)
    }

    fn insert(&mut self, config: Arc<PeerConfig>, range: Option<Arc<ListenRange>>, now: Instant) -> PeerId {
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
            live: None,
            kept_by_drain: false,
            sweep_at: None,
            traffic: super::metrics::Traffic::default(),
            range,
            last_failure: None,
            state_since: now,
            conns: 0,
            armed: None,
        });
        self.by_addr.insert(key, id);
        id
    }

    fn remove(&mut self, id: PeerId) -> Option<Box<Entry>> {
        let entry = self.slots.take(id)?;
        let remote = &entry.config.session.remote;
        let key = (remote.addr, remote.zone.clone());
        if self.by_addr.get(&key) == Some(&id) {
            self.by_addr.remove(&key);
        }
        if let Some(n) = entry.range.as_ref().and_then(|r| self.ranged.get_mut(&r.net)) {
            *n = n.saturating_sub(1);
        }
        if entry.conns > 0 {
            self.conns.retain(|_, c| c.peer != id);
            self.unwatched = self.conns.values().filter(|c| c.watch == Watch::Soon).count();
        }
        Some(entry)
    }

    /// Notes the earliest of the peer's deadlines, if that is news.
    fn arm(&mut self, id: PeerId) {
        let Some(entry) = self.slots.get_mut(id) else { return };
        let own = [entry.peer.next_deadline(), entry.sweep_at];
        let at = own.into_iter().flatten().min();
        if at != entry.armed {
            entry.armed = at;
            self.timers.extend(at.map(|at| Reverse((at, id))));
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// A peer whose deadline has passed; not armed again until it was driven.
    pub fn take_due(&mut self, now: Instant) -> Option<PeerId> {
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

    /// Octets that may still go out on this connection.
    pub fn credit(&self, conn: ConnId) -> usize {
        self.conns.get(&conn).map_or(0, |c| SEND_CREDIT.saturating_sub(c.in_flight))
    }

    /// So many octets were handed out.
    pub fn spend(&mut self, conn: ConnId, octets: usize) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.in_flight += octets;
        if c.watch == Watch::Off {
            c.watch = Watch::Soon;
            self.unwatched += 1;
        }
    }

    /// So many octets were taken by the kernel. `None` for an unknown connection.
    pub fn give_back(&mut self, conn: ConnId, octets: usize) -> Option<Taken> {
        let c = self.conns.get_mut(&conn)?;
        c.in_flight = c.in_flight.saturating_sub(octets);
        let taken = Taken { peer: c.peer, left: c.in_flight, watched: c.watch == Watch::On };
        if taken.left == 0 {
            self.unwatched -= usize::from(c.watch == Watch::Soon);
            c.watch = Watch::Off;
        }
        Some(taken)
    }

    /// Does a peer have yet to hear that its octets wait?
    pub fn has_unwatched(&self) -> bool {
        self.unwatched > 0
    }

    /// Those of which octets wait since they were handed out.
    fn take_unwatched(&mut self) -> Vec<(PeerId, ConnId)> {
        self.unwatched = 0;
        let soon = self.conns.iter_mut().filter(|(_, c)| c.watch == Watch::Soon);
        soon.map(|(conn, c)| {
            c.watch = Watch::On;
            (c.peer, *conn)
        })
        .collect()
    }

    fn in_range(&self, range: &ListenRange) -> usize {
        self.ranged.get(&range.net).copied().unwrap_or(0)
    }

    /// The shell has, or tries, this connection for that peer.
    fn bind(&mut self, conn: ConnId, peer: PeerId) {
        if self.conns.insert(conn, Conn { peer, in_flight: 0, watch: Watch::Off }).is_none()
            && let Some(entry) = self.get_mut(peer)
        {
            entry.conns += 1;
        }
    }

    /// The connection is no more; whose it was.
    fn unbind(&mut self, conn: ConnId) -> Option<PeerId> {
        let Conn { peer, watch, .. } = self.conns.remove(&conn)?;
        self.unwatched -= usize::from(watch == Watch::Soon);
        if let Some(entry) = self.get_mut(peer) {
            entry.conns = entry.conns.saturating_sub(1);
        }
        Some(peer)
    }

    pub fn check_invariants(&self) {
        for entry in self.iter() {
            let up = entry.peer.session().is_some();
            assert_eq!(entry.live.is_some(), up, "{}: the speaker and the FSM disagree", entry.config.session.name);
        }
        for (conn, c) in &self.conns {
            assert!(self.get(c.peer).is_some(), "{conn:?} belongs to a peer that is gone");
        }
        let soon = self.conns.values().filter(|c| c.watch == Watch::Soon).count();
        assert_eq!(self.unwatched, soon, "connections that are to be watched");
    }
}

/// What the decision process knows of our own routes.
pub(super) fn local_facts(params: &Params) -> SourceFacts {
    SourceFacts::local(params.asn, params.router_id)
}

/// What the decision process knows of a peer.
fn source_facts(entry: &Entry, session: &Session) -> SourceFacts {
    SourceFacts {
        id: entry.id,
        kind: if session.is_internal() { SourceKind::Internal } else { SourceKind::External },
        asn: session.remote_as,
        router_id: session.remote_id,
        addr: session.remote.ip(),
        rr_client: entry.config.rr_client,
        local_addr: session.local.ip(),
        interface: zone_of(session.remote),
    }
}

/// Where a link-local peer is, there its link-local next hops are (RFC 4007 §6).
fn zone_of(remote: SocketAddr) -> Option<IfIndex> {
    match remote {
        SocketAddr::V6(v6) if is_link_local(*v6.ip()) && v6.scope_id() != 0 => Some(IfIndex(v6.scope_id())),
        SocketAddr::V6(_) | SocketAddr::V4(_) => None,
    }
}

impl Speaker {
    pub(super) fn add_peer(&mut self, config: Arc<PeerConfig>, now: Instant) -> PeerId {
        self.warn_without_policy(&config);
        let enabled = config.session.enabled;
        let id = self.peers.insert(config, None, now);
        if enabled {
            self.start_peer(id, now);
        }
        id
    }

    /// AutomaticStart (RFC 4271 §8.1.2).
    pub(super) fn start_peer(&mut self, id: PeerId, now: Instant) {
        self.tell_restarting(id, now);
        self.tell(id, Event::Start, now);
    }

    /// Takes a peer out of the router, with everything it said.
    pub(super) fn remove_peer(&mut self, id: PeerId, now: Instant) {
        self.tell(id, Event::Stop { kind: StopKind::Deconfigured, text: None }, now);
        self.leave_group(id);
        self.rib.peer_down(id);
        self.peers.remove(id);
    }

    /// Hands an event to a peer and carries out what it wants.
    pub(super) fn tell(&mut self, id: PeerId, event: Event, now: Instant) {
        let Peers { slots, ids, .. } = &mut self.peers;
        let Some(entry) = slots.get_mut(id) else { return };
        entry.peer.handle(now, event, ids);
        self.drive(id, now);
    }

    /// What the decision process knows of a peer changed without its session.
    pub(super) fn refresh_facts(&mut self, id: PeerId) {
        let facts = self.peers.get(id).and_then(|e| Some(source_facts(e, &e.live.as_ref()?.session)));
        facts.into_iter().for_each(|f| self.rib.peer_up(f));
    }

    pub(super) fn on_peer_deadline(&mut self, id: PeerId, now: Instant) {
        let Peers { slots, ids, .. } = &mut self.peers;
        let Some(entry) = slots.get_mut(id) else { return };
        if entry.peer.next_deadline().is_some_and(|at| at <= now) {
            entry.peer.on_deadline(now, ids);
        }
        let sweep = entry.sweep_at.take_if(|at| *at <= now).is_some();
        if sweep {
            self.sweep_stale(id, FamilySet::ALL);
        }
        self.drive(id, now);
    }

    /// Carries out a peer's actions until it has no more, and arms its next deadline.
    fn drive(&mut self, id: PeerId, now: Instant) {
        while let Some(action) = self.peers.get_mut(id).and_then(|e| e.peer.poll()) {
            self.perform(id, action, now);
        }
        self.peers.arm(id);
        self.forget_idle_range_peer(id);
    }

    fn perform(&mut self, id: PeerId, action: Action, now: Instant) {
        match action {
            Action::Dial { conn, transport } => {
                self.peers.bind(conn, id);
                self.effects.push_back(Effect::Dial { conn, transport });
            }
            Action::Context { conn, context } => self.effects.push_back(Effect::Context { conn, context }),
            Action::Send { conn, octets } => self.send(conn, octets),
            Action::Close { conn } => {
                self.peers.unbind(conn);
                self.effects.push_back(Effect::Close { conn });
            }
            Action::Established(session) => self.on_established(id, session, now),
            Action::Down(down) => self.on_down(id, &down),
            Action::SweepStale(families) => self.sweep_stale(id, families),
            Action::Refresh { family, subtype } => self.on_refresh(id, family, subtype),
            Action::Notice(notice) => self.on_peer_notice(id, &notice, now),
        }
    }

    /// Session messages (OPEN, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH) go out whatever the credit is.
    fn send(&mut self, conn: ConnId, octets: Bytes) {
        self.peers.spend(conn, octets.len());
        let frames = std::iter::once(octets).collect();
        self.effects.push_back(Effect::Send { conn, frames });
    }

    fn on_established(&mut self, id: PeerId, session: Arc<Session>, now: Instant) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        let facts = source_facts(entry, &session);
        entry.live = Some(Live {
            session: session.clone(),
            since: now,
            heard: now,
            end_of_rib: FamilySet::NONE,
            warned: FamilySet::NONE,
            gate: super::import::Gate::new(&entry.config, &session),
            judged: super::import::Judged::default(),
            blocked: false,
        });
        entry.last_failure = None;
        entry.traffic.session_began();
        let notice = Notice::PeerUp {
            peer: entry.config.session.name.clone(),
            address: session.remote.ip(),
            remote_as: session.remote_as.0,
            families: session.families.iter().collect(),
            hold_seconds: session.hold_time.seconds(),
        };
        self.rib.peer_up(facts);
        self.recovery_may_end();
        self.resume_kept(id, now);
        self.join_group(id);
        self.notice(notice);
    }

    fn on_down(&mut self, id: PeerId, down: &peer::Down) {
        let keeps_routes = down.is_graceful() || self.drain.is_on();
        let Some(entry) = self.peers.get_mut(id) else { return };
        entry.live = None;
        let said = down.notification.as_ref();
        let notice = Notice::PeerDown {
            peer: entry.config.session.name.clone(),
            address: down.session.remote.ip(),
            direction: down.direction(),
            code: said.map(|n| n.code),
            subcode: said.map(|n| n.subcode),
            reason: down.reason.to_string(),
            keeps_routes,
        };
        self.leave_group(id);
        self.retain_or_drop(id, down);
        self.notice(notice);
    }

    fn on_peer_notice(&mut self, id: PeerId, notice: &PeerNotice, now: Instant) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        let peer = entry.config.session.name.clone();
        let said = match notice {
            PeerNotice::State { from, to, .. } => {
                entry.state_since = now;
                Some(Notice::PeerState { peer, from: from.name(), to: to.name() })
            }
            PeerNotice::Failed(why) => {
                let reason = why.to_string();
                let news = entry.last_failure.as_ref() != Some(&reason);
                entry.last_failure = Some(reason.clone());
                news.then_some(Notice::PeerFailed { peer, reason })
            }
            _ => None,
        };
        said.into_iter().for_each(|n| self.notice(n));
    }

    pub(super) fn on_connected(&mut self, conn: ConnId, local: SocketAddr, remote: SocketAddr, direction: Direction, now: Instant) {
        let id = match direction {
            Direction::Dialled => self.peers.of_conn(conn),
            Direction::Accepted => self.acceptor(local, remote, now),
        };
        let Some(id) = id else {
            if direction == Direction::Accepted {
                self.reject_stranger(conn);
            }
            self.effects.push_back(Effect::Close { conn });
            return;
        };
        if direction == Direction::Accepted {
            self.peers.bind(conn, id);
            if self.peers.get(id).is_some_and(|e| e.range.is_some() && e.conns == 1) {
                self.start_peer(id, now);
            }
        }
        self.tell(id, Event::Connected { conn, local, remote, direction }, now);
    }

    /// RFC 4486 §4: whoever is not configured here is told so.
    fn reject_stranger(&mut self, conn: ConnId) {
        let told = Message::Notification(Notification::cease(CeaseSubcode::ConnectionRejected, None));
        let frames = std::iter::once(told.to_bytes(&Context::INITIAL)).collect();
        self.effects.push_back(Effect::Send { conn, frames });
    }

    /// Whose connection is this? `None`: a stranger's.
    fn acceptor(&mut self, _local: SocketAddr, remote: SocketAddr, now: Instant) -> Option<PeerId> {
        let addr = remote.ip().to_canonical();
        let zone = match remote {
            SocketAddr::V6(v6) if is_link_local(*v6.ip()) => self.nexthops.link_name(IfIndex(v6.scope_id())).map(str::to_owned),
            _ => None,
        };
        if self.stopping.is_some() {
            return None;
        }
        if let Some(id) = self.peers.by_addr(addr, zone.as_deref()) {
            return Some(id);
        }
        if let Some(id) = self.accept_from_range(addr, zone, now) {
            return Some(id);
        }
        self.peers.strangers += 1;
        let said = self.peers.stranger_said;
        if said.is_none_or(|at| now.since(at).as_secs() >= STRANGER_NOTICE_SECONDS) {
            self.peers.stranger_said = Some(now);
            self.notice(Notice::Stranger { address: addr });
        }
        None
    }

    fn accept_from_range(&mut self, addr: IpAddr, zone: Option<String>, now: Instant) -> Option<PeerId> {
        let range = self.params.ranges.iter().filter(|r| r.net.contains(&addr)).max_by_key(|r| r.net.prefix_len())?.clone();
        if self.peers.in_range(&range) >= range.limit {
            return None;
        }
        let mut session = (*range.template.session).clone();
        session.name = addr.to_string();
        session.remote = peer::Remote { addr, zone };
        session.passive = true;
        let config = PeerConfig { session: Arc::new(session), ..range.template.clone() };
        let id = self.peers.insert(Arc::new(config), Some(range), now);
        Some(id)
    }

    /// A peer out of a range lives as long as it has a connection or routes that are kept for it.
    fn forget_idle_range_peer(&mut self, id: PeerId) {
        let Some(entry) = self.peers.get(id).filter(|e| e.range.is_some()) else { return };
        let silent = Family::ALL.iter().all(|f| self.rib.counts(id, *f).received == 0);
        if entry.live.is_none() && entry.conns == 0 && silent {
            self.leave_group(id);
            self.rib.peer_down(id);
            self.peers.remove(id);
        }
    }

    pub(super) fn on_dial_failed(&mut self, conn: ConnId, error: DialError, now: Instant) {
        if let Some(id) = self.peers.unbind(conn) {
            self.tell(id, Event::DialFailed { conn, error }, now);
            self.recovery_may_end();
        }
    }

    pub(super) fn on_closed(&mut self, conn: ConnId, error: Option<String>, now: Instant) {
        if let Some(id) = self.peers.unbind(conn) {
            self.tell(id, Event::Closed { conn, error }, now);
        }
    }

    /// A read of a connection. UPDATEs of the established session are imported, all else is the state machine's.
    pub(super) fn on_received(&mut self, conn: ConnId, messages: Vec<Message>, error: Option<DecodeError>, now: Instant) {
        let Some(id) = self.peers.of_conn(conn) else { return };
        let mut updates = 0;
        let mut rest = messages.into_iter();
        while !rest.as_slice().is_empty() {
            if let Some(few @ [_, _, ..]) = rest.as_slice().chunks(BATCH).next() {
                self.rib.warm(few.iter().filter_map(Message::as_update));
            }
            for message in rest.by_ref().take(BATCH) {
                let established = self.peers.get(id).and_then(|e| e.live.as_ref()).is_some_and(|l| l.session.conn == conn);
                match message {
                    Message::Update(update) if established => {
                        updates += 1;
                        self.import(id, update, now);
                    }
                    other => self.tell(id, Event::Message { conn, message: other }, now),
                }
            }
        }
        if updates > 0 {
            self.note_heard(id, now);
            self.tell(id, Event::UpdatesSeen { conn, n: updates }, now);
        }
        if let Some(error) = error {
            self.tell(id, Event::Malformed { conn, error }, now);
        }
    }

    fn note_heard(&mut self, id: PeerId, now: Instant) {
        if let Some(live) = self.peers.get_mut(id).and_then(|e| e.live.as_mut()) {
            live.heard = now;
        }
    }

    pub(super) fn on_writable(&mut self, conn: ConnId, written: usize, now: Instant) {
        let Some(Taken { peer: id, left, watched }) = self.peers.give_back(conn, written) else { return };
        if watched {
            self.note_progress(id, conn, left, now);
        }
        if self.peers.get(id).and_then(|e| e.live.as_ref()).is_some_and(|l| l.blocked && l.session.conn == conn) {
            self.pump_member(id, now);
        }
    }

    /// Tells peers that octets wait which the kernel has not taken since they were handed out (RFC 9687).
    pub(super) fn watch_unsent(&mut self, now: Instant) {
        if self.peers.has_unwatched() {
            for (id, conn) in self.peers.take_unwatched() {
                self.tell(id, Event::SendBlocked { conn }, now);
            }
        }
    }

    /// The one family of an established session that a question names, if it was negotiated.
    pub(super) fn live_family(&self, id: PeerId, family: Family) -> bool {
        self.peers.get(id).and_then(|e| e.live.as_ref()).is_some_and(|l| l.session.families.contains(family))
    }
}

fn is_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}
