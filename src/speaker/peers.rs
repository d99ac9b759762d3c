//! Peers that come and go, what comes on their connections, and what their sessions mean to the tables.
//!
//! In: configured peers, connections and what is read from them. Out: events for the peers' state machines, route changes by way of `import`,
//! and places in the update groups. Whether a session stands is `peer`'s to say.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use super::io::{Effect, Effects};
use super::jobs::JobKey;
use super::params::{MaxPrefixAction, PeerConfig};
use super::retention;
use super::router::Speaker;
use super::sessions::{Entry, SessionEvent, is_link_local, reject};
use crate::kernel::IfIndex;
use crate::ndp::Sign;
use crate::num::{ConnId, Family, FamilySet, Instant, PeerId};
use crate::peer::{Direction, Down, Event, StopKind};
use crate::rib::{BATCH, Limits};
use crate::stats::Notice;
use crate::wire::{Batch, Message};

/// What one call of [`Speaker::handle_some`] takes in of a read: messages, and prefixes in them.
const TAKEN: usize = 512;

/// So many paths passed in search of others of their prefix weigh as much as a message.
const PASSED: usize = 1024;

impl Speaker {
    /// A listed peer; it starts, unless it is configured not to.
    pub(super) fn add_peer(&mut self, config: Arc<PeerConfig>, now: Instant) {
        warn_without_policy(&config, &mut self.effects);
        let enabled = config.session.enabled && !self.memory.was_down(&config.session.remote);
        let id = self.sessions.insert(config, None, now);
        match self.sessions.get_mut(id) {
            Some(entry) if !enabled => entry.admin_up = false,
            _ => self.start_peer(id, now),
        }
        self.sync_bfd(id);
    }

    /// AutomaticStart (RFC 4271 §8.1.2), unless we are leaving.
    pub(super) fn start_peer(&mut self, id: PeerId, now: Instant) {
        let is_known = self.sessions.get(id).is_some_and(|e| !e.config.session.remote.is_open());
        if !self.lifecycle.takes_sessions() || self.awaits_kernel() || !is_known {
            return;
        }
        if let Some(event) = self.startup.restarting(&self.params) {
            self.dispatch(id, event, now);
        }
        self.dispatch(id, Event::Start, now);
    }

    /// Takes a peer out of the router, with everything it announced.
    pub(super) fn remove_peer(&mut self, id: PeerId, now: Instant) {
        self.dispatch(id, Event::Stop { kind: StopKind::Deconfigured, text: None }, now);
        self.forget_peer(id);
    }

    fn forget_peer(&mut self, id: PeerId) {
        self.forget_bfd(id);
        self.export().leave(id);
        self.rib.peer_down(id);
        self.sessions.remove(id);
    }

    /// Hands an event to a peer, and what that means to the tables to them.
    pub(super) fn dispatch(&mut self, id: PeerId, event: Event, now: Instant) {
        self.sessions.dispatch(id, event, now, &mut self.effects);
        self.run_session_events(now);
    }

    /// Hands an event to every peer, one after the other.
    pub(super) fn dispatch_all(&mut self, event: impl Fn() -> Event, now: Instant) {
        for id in self.sessions.ids() {
            self.dispatch(id, event(), now);
        }
    }

    /// What sessions said meanwhile is carried to the tables.
    pub(super) fn run_session_events(&mut self, now: Instant) {
        while let Some(event) = self.sessions.take_event() {
            match event {
                SessionEvent::Established(id) => self.on_established(id, now),
                SessionEvent::Down(id, down) => self.on_down(id, &down, now),
                SessionEvent::LongLived(id, families) => {
                    families.iter().for_each(|family| self.jobs.add(JobKey::LongLived(id, family), 0));
                }
                SessionEvent::SweepStale(id, families) => self.sweep(id, families, now),
                SessionEvent::Refresh { peer, family, subtype } => self.export().on_refresh(peer, family, subtype),
                SessionEvent::RangePeerIdle(id) => self.forget_idle_range_peer(id, now),
            }
        }
    }

    fn on_established(&mut self, id: PeerId, now: Instant) {
        let Some(facts) = self.sessions.get(id).and_then(Entry::source_facts) else { return };
        self.rib.peer_up(facts);
        if let Some(notice) = self.sessions.same_identifier(id) {
            self.effects.notice(notice);
        }
        self.bound_refused(id);
        self.startup.may_end();
        self.memory.touch(now, false);
        self.sync_bfd(id);
        self.monitor_session(id);
        self.export().join(id);
    }

    /// How many refused routes are kept of a peer: all, if it cannot be asked for them, and no fewer than its limit of prefixes counts.
    fn bound_refused(&mut self, id: PeerId) {
        let Some((entry, live)) = self.sessions.get(id).and_then(|e| Some((e, e.live.as_ref()?))) else { return };
        let counted = Family::ALL.iter().filter_map(|f| entry.config.max_prefix(*f)).filter(|l| l.action != MaxPrefixAction::Refuse);
        let most = counted.map(|l| u64::from(l.limit) + 1).max().filter(|most| *most > Limits::default().refused_paths);
        if most.is_some() || !live.session.refresh {
            self.rib.keep_refused(id, most.filter(|_| live.session.refresh));
        }
    }

    fn on_down(&mut self, id: PeerId, down: &Down, now: Instant) {
        self.memory.touch(now, false);
        let Some(entry) = self.sessions.get(id) else { return };
        let last = down.notification.as_ref();
        self.effects.notice(Notice::PeerDown {
            peer: entry.name().to_owned(),
            address: down.session.remote.ip(),
            direction: down.direction(),
            code: last.map(|n| n.code),
            subcode: last.map(|n| n.subcode),
            reason: down.reason.to_string(),
            keeps_routes: down.is_graceful(),
        });
        self.monitor_end(id, down);
        self.export().leave(id);
        retention::retain_or_drop(id, down, &mut self.rib);
        self.sync_bfd(id);
        self.look_for_another(id, now);
    }

    fn sweep(&mut self, id: PeerId, families: FamilySet, now: Instant) {
        retention::sweep(id, families, &self.sessions, &mut self.rib);
        self.forget_idle_range_peer(id, now);
    }

    /// A peer out of a range lives as long as it has a connection or routes that are kept for it.
    fn forget_idle_range_peer(&mut self, id: PeerId, now: Instant) {
        let idle = self.sessions.get(id).is_some_and(|e| e.range.is_some() && e.is_idle());
        if idle && retention::holds_nothing(id, &self.rib) {
            self.forget_peer(id);
            self.memory.touch(now, false);
        }
    }

    /// A connection stands, dialled or accepted.
    pub(super) fn on_connected(&mut self, conn: ConnId, local: SocketAddr, remote: SocketAddr, direction: Direction, now: Instant) {
        let id = match direction {
            Direction::Dialled => self.sessions.of_conn(conn),
            Direction::Accepted => self.accept(conn, remote, now),
        };
        match id {
            Some(id) => self.dispatch(id, Event::Connected { conn, local, remote, direction }, now),
            None if direction == Direction::Accepted => reject(conn, &mut self.effects),
            None => self.effects.push(Effect::Close { conn }),
        }
    }

    fn accept(&mut self, conn: ConnId, remote: SocketAddr, now: Instant) -> Option<PeerId> {
        if !self.lifecycle.takes_sessions() {
            return None;
        }
        let zone = match remote {
            SocketAddr::V6(v6) if is_link_local(*v6.ip()) => self.nexthops.link_name(IfIndex(v6.scope_id())).map(str::to_owned),
            SocketAddr::V6(_) | SocketAddr::V4(_) => None,
        };
        if let (Some(zone), IpAddr::V6(addr)) = (&zone, remote.ip()) {
            self.on_neighbour(zone, addr, Sign::Connection, now);
        }
        let id = self.sessions.acceptor(remote, zone.as_deref(), &self.params, now, &mut self.effects)?;
        if self.sessions.accept(id, conn) {
            self.start_peer(id, now);
        }
        Some(id)
    }

    /// A connection is no more, or never was.
    pub(super) fn on_conn_end(&mut self, conn: ConnId, event: Event, now: Instant) {
        if let Some(id) = self.sessions.unbind(conn) {
            self.forget_held(id, conn);
            self.dispatch(id, event, now);
            self.startup.may_end();
        }
    }

    /// A read of a connection, up to about [`TAKEN`]; the rest, if there is more. UPDATEs of the established session are imported, all else is the
    /// state machine's.
    pub(super) fn on_received(&mut self, conn: ConnId, batch: Batch, now: Instant) -> Option<Batch> {
        let id = self.sessions.of_conn(conn)?;
        let (mut updates, mut taken) = (0, 0);
        let mut rest = batch.messages.into_iter();
        while !rest.as_slice().is_empty() && taken < TAKEN {
            if let Some(few @ [_, _, ..]) = rest.as_slice().chunks(BATCH).next() {
                self.rib.prefetch(few.iter().filter_map(Message::as_update));
            }
            for _ in 0..BATCH {
                if taken >= TAKEN {
                    break;
                }
                let Some(message) = rest.next() else { break };
                let established = self.sessions.live(id).is_some_and(|l| l.session.conn == conn);
                taken += 1;
                match message {
                    Message::Update(update) if established => {
                        updates += 1;
                        taken += self.import().update(id, update, now) as usize + self.rib.take_passed() / PASSED;
                        self.run_session_events(now);
                    }
                    other if self.hold_open(id, conn, &other) => {}
                    other => self.dispatch(id, Event::Message { conn, message: other }, now),
                }
            }
        }
        if updates > 0 {
            if let Some(live) = self.sessions.get_mut(id).and_then(|e| e.live.as_mut()) {
                live.last_update = now;
            }
            self.dispatch(id, Event::UpdatesSeen { conn, n: updates }, now);
        }
        if !rest.as_slice().is_empty() {
            return Some(Batch { octets: Bytes::new(), messages: rest.collect(), error: batch.error });
        }
        if let Some(error) = batch.error {
            self.dispatch(id, Event::Malformed { conn, error }, now);
        }
        None
    }
}

/// RFC 8212 §2: said loudly, for it looks like a fault.
fn warn_without_policy(config: &PeerConfig, effects: &mut Effects) {
    if config.session.remote_as.is_internal(config.session.local_as) {
        return;
    }
    for (direction, chain) in [("import", &config.import), ("export", &config.export)] {
        if chain.is_none() {
            effects.notice(Notice::NoPolicy { peer: config.session.name.clone(), direction });
        }
    }
}
