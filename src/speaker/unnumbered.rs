//! Peers that are configured by their interface: whoever is at the other end of the link.
//!
//! In: who was heard on the link ([`ndp`](crate::ndp) says which of them is the neighbour), links that lose their carrier, sessions that end.
//! Out: a peer that begins as soon as there is somebody to have a session with, and begins anew with another one: the session, the routes and
//! what was kept of the old one go. The peer is known by its link all the while: its name, what an operator ordered, and its place in the
//! configuration do not depend on who is there.

use std::net::Ipv6Addr;

use super::io::Effect;
use super::router::Speaker;
use crate::kernel::KernelEvent;
use crate::ndp::{Found, Sign};
use crate::num::{Instant, PeerId};
use crate::peer::{Event, StopKind};
use crate::stats::Notice;

impl Speaker {
    /// Somebody was noticed on a link.
    pub(super) fn on_neighbour(&mut self, interface: &str, addr: Ipv6Addr, sign: Sign, now: Instant) {
        let Some(id) = self.sessions.by_interface(interface) else { return };
        let Some(entry) = self.sessions.get_mut(id) else { return };
        let found = entry.finder.on_sign(addr, sign, entry.live.is_some(), now);
        self.meet(id, found, now);
    }

    /// The session with a neighbour has ended, and perhaps somebody else is there.
    pub(super) fn look_for_another(&mut self, id: PeerId, now: Instant) {
        let Some(entry) = self.sessions.get_mut(id).filter(|entry| entry.config.session.by_interface) else { return };
        let found = entry.finder.on_session_end(now);
        self.meet(id, found, now);
    }

    /// The peer whose link loses its carrier, or goes, by this event.
    pub(super) fn neighbour_lost(&self, event: &KernelEvent) -> Option<PeerId> {
        match event {
            KernelEvent::Link { name, up: false, .. } => self.sessions.by_interface(name),
            KernelEvent::LinkGone { ifindex } => self.sessions.by_interface(self.nexthops.link_name(*ifindex)?),
            _ => None,
        }
    }

    /// Its session ends now: what is at the other end when the link comes back is to be heard first.
    pub(super) fn lose_neighbour(&mut self, id: Option<PeerId>, now: Instant) {
        let Some(entry) = id.and_then(|id| self.sessions.get_mut(id)) else { return };
        entry.finder.on_link_down();
        let (id, link) = (entry.id, entry.config.session.remote.zone.clone().unwrap_or_default());
        if self.sessions.live(id).is_some() {
            self.dispatch(id, Event::Stop { kind: StopKind::LinkDown, text: Some(format!("{link} is down or gone")) }, now);
        }
    }

    fn meet(&mut self, id: PeerId, found: Option<Found>, now: Instant) {
        let Some(found) = found.filter(|found| self.sessions.set_neighbour(id, found.addr)) else { return };
        let Some(entry) = self.sessions.get(id) else { return };
        let (params, wanted) = (entry.config.session.clone(), entry.admin_up);
        let interface = params.remote.zone.clone().unwrap_or_default();
        self.effects.notice(Notice::Neighbour {
            peer: params.name.clone(),
            interface: interface.clone(),
            address: found.addr.into(),
            before: found.before.map(Into::into),
        });
        self.effects.push(Effect::Neighbour { interface, addr: found.addr });
        self.dispatch(id, Event::Reconfigured { params, restart: found.before.is_some() }, now);
        if found.before.is_some() {
            // What was kept of the one before leads to where nobody is.
            self.rib.peer_down(id);
        }
        if wanted {
            self.start_peer(id, now);
        }
        self.sync_bfd(id);
    }
}
