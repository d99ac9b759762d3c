//! Connections: they are dialled, carry octets through a window, wait where nothing gets through, and end.
//!
//! In: what routers ask for, and what arrives. Out: more events for the world, and inputs for routers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::machine::{Arrival, Conn, Count};
use super::net::{End, Link, Parcel, WINDOW, tried_again};
use super::world::{Simulation, What};
use crate::driver::Driver;
use crate::num::{ConnId, Instant};
use crate::peer::{self, Transport};
use crate::speaker::Input;

/// A SYN without an answer is sent again so often.
const SYNS: u32 = 6;

/// Connections.
impl Simulation {
    pub(super) fn is_alive(&self, end: End) -> bool {
        self.nodes[end.node].life == end.life && self.nodes[end.node].speaker.is_some()
    }

    pub(super) fn dial(&mut self, n: usize, conn: ConnId, transport: &Transport, at: Instant) {
        let Some(to) = self.by_addr.get(&transport.remote.ip()).copied() else { return };
        self.nodes[n].dialling.insert(conn);
        let from = End { node: n, conn, life: self.nodes[n].life };
        let key = transport.md5.as_ref().map(|key| key.expose().into());
        let at = at + self.latency();
        self.schedule(at, What::Syn { from, to, key, tries: 0 });
    }

    pub(super) fn on_syn(&mut self, from: End, to: usize, key: Option<Box<[u8]>>, tries: u32) {
        if !self.is_alive(from) || !self.nodes[from.node].dialling.contains(&from.conn) {
            return;
        }
        let own = self.nodes[from.node].address_towards(self.nodes[to].addresses.first().copied().unwrap_or(IpAddr::from([0, 0, 0, 0])));
        let wanted = own.and_then(|own| self.nodes[to].md5_for(own));
        if !self.net.reaches(from.node, to) || wanted != key.as_deref() {
            if tries < SYNS {
                self.schedule(self.now + Duration::from_secs(1 << tries), What::Syn { from, to, key, tries: tries + 1 });
            }
            return;
        }
        let back = self.now + self.latency();
        if self.nodes[to].speaker.is_none() {
            return self.schedule(back, What::Refused { end: from });
        }
        self.nodes[to].accepted += 1;
        let end = End { node: to, conn: ConnId(ConnId::FIRST_ACCEPTED + self.nodes[to].accepted), life: self.nodes[to].life };
        let mut link = Box::new(Link::new(from, end));
        link.ways[1].last = back;
        self.links.push(Some(link));
        let link = self.links.len() - 1;
        self.schedule(back, What::Connected { end: from, link });
        self.introduce(end, link, 1, peer::Direction::Accepted);
    }

    pub(super) fn on_connected(&mut self, end: End, link: usize) {
        if self.is_alive(end) && self.nodes[end.node].dialling.remove(&end.conn) {
            self.introduce(end, link, 0, peer::Direction::Dialled);
        } else {
            self.hang_up(link, 0, self.now, Some("connection reset by peer"));
        }
    }

    pub(super) fn introduce(&mut self, end: End, link: usize, side: usize, direction: peer::Direction) {
        let Some(other) = self.links[link].as_ref().map(|link| link.ends[1 - side].node) else { return };
        let any = IpAddr::from([0, 0, 0, 0]);
        let first = self.nodes[other].addresses.first().copied().unwrap_or(any);
        let mine = self.nodes[end.node].address_towards(first).unwrap_or(any);
        let theirs = self.nodes[other].address_towards(mine).unwrap_or(any);
        let (local, remote) = match direction {
            peer::Direction::Dialled => (SocketAddr::from((mine, 40_000)), SocketAddr::from((theirs, 179))),
            peer::Direction::Accepted => (SocketAddr::from((mine, 179)), SocketAddr::from((theirs, 40_000))),
        };
        self.nodes[end.node].conns.insert(end.conn, Conn { driver: Driver::default(), link, side, remote: theirs, context: None });
        self.tell(end.node, Input::Connected { conn: end.conn, local, remote, direction });
    }

    pub(super) fn send(&mut self, n: usize, conn: ConnId, frames: impl IntoIterator<Item = Bytes>, at: Instant) {
        let Some((link, side)) = self.nodes[n].conns.get(&conn).map(|conn| (conn.link, conn.side)) else { return };
        let mut sent = Count::default();
        let Some(way) = self.links[link].as_mut().map(|link| &mut link.ways[side]) else { return };
        for frame in frames {
            sent.add(&frame);
            way.outbox.push_back(frame);
        }
        let node = &mut self.nodes[n];
        for sum in [&mut node.sent, &mut self.total] {
            sum.messages += sent.messages;
            sum.updates += sent.updates;
            sum.octets += sent.octets;
        }
        for word in [at.as_nanos(), n as u64, sent.messages, sent.octets] {
            self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
        #[cfg(test)]
        self.log.push((at.as_nanos(), n, conn.0, sent.octets));
        self.flush(link, side, at);
    }

    /// Moves what the window allows onto the wire.
    pub(super) fn flush(&mut self, link: usize, side: usize, at: Instant) {
        let Some(open) = self.links[link].as_mut() else { return };
        let (end, way) = (open.ends[side], &mut open.ways[side]);
        let mut frames = Vec::new();
        let mut taken = 0;
        while way.unread < WINDOW
            && let Some(frame) = way.outbox.pop_front()
        {
            way.unread += frame.len();
            taken += frame.len();
            frames.push(frame);
        }
        let done = way.closing && way.outbox.is_empty();
        if taken > 0 {
            if self.nodes[end.node].life == end.life {
                self.nodes[end.node].taken.push((end.conn, taken));
            }
            self.post(link, side, Parcel::Octets(frames), at);
        }
        if done {
            self.post(link, side, Parcel::End(None), at);
        }
    }

    pub(super) fn post(&mut self, link: usize, side: usize, parcel: Parcel, at: Instant) {
        let at = at + self.latency();
        let Some(way) = self.links[link].as_mut().map(|link| &mut link.ways[side]) else { return };
        let at = at.max(way.last);
        way.last = at;
        self.schedule(at, What::Parcel { link, to: 1 - side, parcel });
    }

    /// Closes behind what waits to be sent.
    pub(super) fn close(&mut self, n: usize, conn: ConnId, at: Instant) {
        self.nodes[n].dialling.remove(&conn);
        let Some(Conn { link, side, .. }) = self.nodes[n].conns.remove(&conn) else { return };
        self.hang_up(link, side, at, None);
    }

    pub(super) fn hang_up(&mut self, link: usize, side: usize, at: Instant, error: Option<&'static str>) {
        let Some(way) = self.links[link].as_mut().map(|link| &mut link.ways[side]) else { return };
        if way.outbox.is_empty() || error.is_some() {
            self.post(link, side, Parcel::End(error), at);
        } else {
            way.closing = true;
        }
    }

    pub(super) fn on_parcel(&mut self, link: usize, to: usize, parcel: Parcel) {
        let Some(open) = self.links[link].as_mut() else { return };
        let (from, end) = (open.ends[1 - to], open.ends[to]);
        let way = &mut open.ways[1 - to];
        if !self.net.reaches(from.node, end.node) || !way.held.is_empty() {
            if way.held.is_empty() {
                way.held_since = self.now;
            }
            return way.held.push_back(parcel);
        }
        self.deliver(link, to, parcel);
    }

    pub(super) fn deliver(&mut self, link: usize, to: usize, parcel: Parcel) {
        let Some(end) = self.links[link].as_ref().map(|link| link.ends[to]) else { return };
        let known = self.is_alive(end) && self.nodes[end.node].conns.contains_key(&end.conn);
        match parcel {
            Parcel::Octets(frames) if known => {
                self.nodes[end.node].inbox.push_back(Arrival::Octets { conn: end.conn, frames });
                if self.nodes[end.node].busy_until <= self.now {
                    self.cycle(end.node);
                } else {
                    self.wake(end.node, self.now);
                }
            }
            Parcel::Octets(_) => self.post(link, to, Parcel::End(Some("connection reset by peer")), self.now),
            Parcel::End(error) => {
                self.links[link] = None;
                if known {
                    self.nodes[end.node].conns.remove(&end.conn);
                    self.tell(end.node, Input::Closed { conn: end.conn, error: error.map(str::to_owned) });
                }
            }
        }
    }

    /// What could not get through is tried again, and does now.
    pub(super) fn release(&mut self, link: usize, side: usize) {
        let Some(open) = self.links[link].as_mut() else { return };
        if !self.net.reaches(open.ends[side].node, open.ends[1 - side].node) {
            return;
        }
        let held = std::mem::take(&mut open.ways[side].held);
        held.into_iter().for_each(|parcel| self.deliver(link, 1 - side, parcel));
    }

    /// Who reaches whom has changed.
    pub(super) fn rewired(&mut self) {
        self.books.recount(&self.net);
        let waiting = |(n, link): (usize, &Option<Box<Link>>)| {
            let link = link.as_ref()?;
            let side = |side: &usize| !link.ways[*side].held.is_empty() && self.net.reaches(link.ends[0].node, link.ends[1].node);
            Some([0, 1].into_iter().filter(side).map(|side| (n, side, link.ways[side].held_since)).collect::<Vec<_>>())
        };
        let waiting: Vec<(usize, usize, Instant)> = self.links.iter().enumerate().filter_map(waiting).flatten().collect();
        for (link, side, since) in waiting {
            self.schedule(tried_again(since, self.now), What::Released { link, side });
        }
    }
}
