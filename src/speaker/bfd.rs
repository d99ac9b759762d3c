//! BFD beside BGP (RFC 5882): which sessions are wanted, and what their states mean to peers.
//!
//! In: configuration, the kernel's links, and how BFD sessions stand. Out: sessions that are wanted or no longer, ends of BGP sessions whose
//! path is dead, and OPENs that wait for a path. It leaves packets and timers to the room `bfd`, which whoever calls us runs beside us.
//!
//! Only a session that was Up and went down says something about the path. One that an operator held down, here or there, says nothing
//! (RFC 5882 §4.2), nor does one that never came up (§3.3): the neighbour may not run BFD. Graceful restart (§4.3): our BFD shares fate with
//! this process, so a failure while a peer's routes are kept over its restart does not end that; one that ends a session ends the routes,
//! unless the profile says `graceful`. A daemon that stops in order closes its connections and then says AdminDown, so that its peers' helpers see a
//! restart and not a failure.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::io::Effect;
use super::peer_bfd::{HELD, is_admin_down};
use super::router::Speaker;
use super::sessions::{Entry, is_link_local};
use crate::bfd::{Path, Profile, SessionParams, State, Status};
use crate::kernel::{IfIndex, KernelEvent};
use crate::num::{ConnId, Instant, PeerId};
use crate::peer::{Event, StopKind, Ttl};
use crate::rib::nexthop::NexthopTable;
use crate::stats::Notice;
use crate::wire::{Capability, Message};

impl Speaker {
    /// Asks for the BFD session that a peer should have now, if that is another one than was asked for last.
    pub(super) fn sync_bfd(&mut self, id: PeerId) {
        // What the kernel has is not known yet; and at the end all sessions end together (`Effect::EndBfd`).
        if self.awaits_kernel() || self.lifecycle.is_stopping() {
            return;
        }
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let wanted = match entry.config.bfd.clone() {
            Some(profile) => wanted(entry, &profile, &self.nexthops).map(Arc::new),
            None => None,
        };
        let effect = match (&entry.bfd.wanted, &wanted) {
            (before, now) if before == now => return,
            (_, Some(params)) => Effect::Bfd { peer: id, session: Some(params.clone()) },
            (_, None) => Effect::Bfd { peer: id, session: None },
        };
        let same = matches!((&entry.bfd.wanted, &wanted), (Some(before), Some(now)) if before.is_same_path(now));
        if !same {
            entry.bfd.status = None;
        }
        entry.bfd.wanted = wanted;
        self.effects.push(effect);
    }

    /// The same for every peer.
    pub(super) fn sync_all_bfd(&mut self) {
        for id in self.sessions.ids() {
            self.sync_bfd(id);
        }
    }

    /// An interface came, went or was renamed: those of whom one is named may have a session now.
    pub(super) fn sync_zoned_bfd(&mut self) {
        let zoned = |entry: &&Entry| {
            let session = &entry.config.session;
            entry.config.bfd.is_some() && (session.remote.zone.is_some() || session.interface.is_some())
        };
        let ids: Vec<PeerId> = self.sessions.iter().filter(zoned).map(|entry| entry.id).collect();
        ids.into_iter().for_each(|id| self.sync_bfd(id));
    }

    /// A peer is about to be forgotten.
    pub(super) fn forget_bfd(&mut self, id: PeerId) {
        if self.sessions.get_mut(id).is_some_and(|entry| entry.bfd.wanted.take().is_some()) {
            self.effects.push(Effect::Bfd { peer: id, session: None });
        }
    }

    /// How a session stands now.
    pub(super) fn on_bfd(&mut self, status: Status, now: Instant) {
        let id = status.peer;
        let Some(entry) = self.sessions.get_mut(id).filter(|entry| entry.bfd.wanted.is_some()) else { return };
        let before = entry.bfd.status.replace(status);
        let went_down = status.downs != before.map_or(0, |before| before.downs);
        let was = before.map_or(State::Down, |before| before.state);
        let profile = entry.config.bfd.clone();
        if went_down || before.is_some_and(|before| before.state != status.state) {
            let peer = entry.name().to_owned();
            self.effects.notice(Notice::Bfd {
                peer,
                from: was.name(),
                to: status.state.name(),
                lost: went_down && !is_admin_down(&status),
                diagnostic: status.diag.to_string(),
                remote_state: status.remote_state.name(),
                remote_diagnostic: status.remote_diag.to_string(),
            });
        }
        if went_down && !is_admin_down(&status) {
            let kind = if profile.is_some_and(|profile| profile.graceful) { StopKind::BfdDownKept } else { StopKind::BfdDown };
            let text = format!("{}; the peer says: {}", status.diag, status.remote_diag);
            self.end_by_path(id, kind, text, now);
        }
        self.release_opens(id, now);
    }

    /// The path to a peer is dead: its session ends now, and comes back as after a failure.
    fn end_by_path(&mut self, id: PeerId, kind: StopKind, text: String, now: Instant) {
        if self.sessions.live(id).is_some() {
            self.dispatch(id, Event::Stop { kind, text: Some(text) }, now);
        }
    }

    /// Keeps an OPEN until the path is alive, where both ends want that (draft-ietf-idr-bgp-bfd-strict-mode). The state machine stays in
    /// OpenSent, and its timer of that state ends the wait.
    pub(super) fn hold_open(&mut self, id: PeerId, conn: ConnId, message: &Message) -> bool {
        let Message::Open(open) = message else { return false };
        let theirs = open.capabilities.contains(&Capability::BfdStrict);
        let Some(entry) = self.sessions.get_mut(id) else { return false };
        let strict = entry.config.bfd.as_ref().is_some_and(|profile| profile.strict) && theirs;
        if !strict || entry.bfd.lets_pass() || entry.bfd.held.len() >= HELD {
            return false;
        }
        entry.bfd.held.push((conn, message.clone()));
        self.sync_bfd(id);
        true
    }

    /// OPENs that waited for the path go on, if it is alive now, and those of connections that are gone are forgotten.
    fn release_opens(&mut self, id: PeerId, now: Instant) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if !entry.bfd.lets_pass() {
            return;
        }
        for (conn, message) in std::mem::take(&mut entry.bfd.held) {
            if self.sessions.of_conn(conn) == Some(id) {
                self.dispatch(id, Event::Message { conn, message }, now);
            }
        }
    }

    /// A connection is gone, and with it what waits of it.
    pub(super) fn forget_held(&mut self, id: PeerId, conn: ConnId) {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.bfd.held.retain(|(of, _)| *of != conn);
        }
    }

    /// Whose session cannot live after this event of the kernel, by the words of its profile: its link has lost its carrier, or our end of the
    /// session its address.
    pub(super) fn cut_by(&self, event: &KernelEvent) -> Vec<(PeerId, String)> {
        let asks = |entry: &&Entry| entry.config.bfd.as_ref().is_some_and(|profile| profile.link_down);
        let live = || self.sessions.iter().filter(asks).filter_map(|entry| Some((entry, entry.live.as_ref()?.session.clone())));
        match event {
            KernelEvent::Link { ifindex, up: false, name } if self.nexthops.is_up(*ifindex) => live()
                .filter(|(_, session)| self.link_towards(session.remote) == Some(*ifindex))
                .map(|(entry, _)| (entry.id, format!("{name} has no carrier or was set down")))
                .collect(),
            KernelEvent::LinkGone { ifindex } => live()
                .filter(|(_, session)| self.link_towards(session.remote) == Some(*ifindex))
                .map(|(entry, _)| (entry.id, "the interface is gone".to_owned()))
                .collect(),
            KernelEvent::AddressGone { net, .. } => live()
                .filter(|(_, session)| session.local.ip() == net.addr())
                .map(|(entry, _)| (entry.id, format!("{} is no longer our address", net.addr())))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The link that a directly connected peer is on.
    fn link_towards(&self, remote: SocketAddr) -> Option<IfIndex> {
        match remote {
            SocketAddr::V6(v6) if is_link_local(*v6.ip()) => Some(IfIndex(v6.scope_id())),
            _ => self.nexthops.connected_over(remote.ip()),
        }
    }

    /// What [`Speaker::cut_by`] found ends, once the kernel's news are taken in.
    pub(super) fn end_cut(&mut self, cut: Vec<(PeerId, String)>, now: Instant) {
        for (id, why) in cut {
            self.end_by_path(id, StopKind::LinkDown, why, now);
        }
    }
}

/// The session that a profile makes of a peer. One out of a listen range has none before it is known that it is there.
fn wanted(entry: &Entry, profile: &Profile, nexthops: &NexthopTable) -> Option<SessionParams> {
    let session = &entry.config.session;
    let here = entry.live.as_ref().map(|live| live.session.local.ip());
    if entry.range.is_some() && here.is_none() && entry.bfd.held.is_empty() || session.remote.is_open() {
        return None;
    }
    let zone = session.remote.zone.as_ref().or(session.interface.as_ref());
    let link = zone.and_then(|name| nexthops.link_index(name));
    // Not before its interface is there.
    if zone.is_some() && link.is_none() {
        return None;
    }
    let path = path(entry, profile, nexthops);
    let far = match session.ttl {
        Ttl::Security(hops) => 255_u8.saturating_sub(hops).saturating_add(1),
        Ttl::Default | Ttl::Multihop(_) => 1,
    };
    Some(SessionParams {
        peer: session.name.clone(),
        remote: session.remote.addr,
        local: session.local_addr.or(here.filter(|_| entry.range.is_some())),
        link,
        path,
        min_ttl: if path == Path::SingleHop { 255 } else { profile.min_ttl.unwrap_or(far) },
        min_tx: profile.min_tx,
        min_rx: profile.min_rx,
        multiplier: profile.multiplier,
        without_realtime: profile.without_realtime,
        passive: profile.passive,
        admin_up: entry.admin_up,
        key: profile.key.clone(),
    })
}

/// As configured; else as BGP's own session goes: over one hop to an external peer without `multihop`, and to whoever is on a link of ours.
fn path(entry: &Entry, profile: &Profile, nexthops: &NexthopTable) -> Path {
    let session = &entry.config.session;
    if let Some(multihop) = profile.multihop {
        return if multihop { Path::MultiHop } else { Path::SingleHop };
    }
    // A link that was lost does not make the path another one.
    if let Some(before) = &entry.bfd.wanted {
        return before.path;
    }
    let external = !session.remote_as.is_internal(session.local_as);
    let one_hop = match session.ttl {
        Ttl::Default => external,
        Ttl::Multihop(ttl) => external && ttl == 1,
        Ttl::Security(hops) => hops == 1,
    };
    let here = matches!(session.remote.addr, IpAddr::V6(addr) if is_link_local(addr)) || nexthops.link_of(session.remote.addr).is_some();
    if one_hop || here { Path::SingleHop } else { Path::MultiHop }
}
