//! Connections: whose each is, and how many octets it has yet to take.
//!
//! In: octets handed out and taken by the kernel. Out: credit, and which peers are to know that octets wait (RFC 9687).

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::num::{ConnId, PeerId};

/// Octets that the core has in flight to one connection at most, before it waits for `Input::Writable`. Beyond it, what is to be announced
/// stays a set of prefixes.
pub const SEND_CREDIT: usize = 256 * 1024;

struct Conn {
    peer: PeerId,
    /// Octets handed to the shell and not yet taken by the kernel.
    in_flight: usize,
    watch: Watch,
}

/// Whether the peer knows that octets wait for the kernel (RFC 9687). Nearly always the kernel takes all at once, and then it need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// It does not know.
    Off,
    /// It is told at the next settlement, if octets still wait then.
    Soon,
    /// It knows, and is told of progress.
    On,
}

/// What [`Conns::give_back`] found.
pub(super) struct Taken {
    /// Whose connection it is.
    pub peer: PeerId,
    /// Octets still under way.
    pub left: usize,
    /// The peer knows that octets wait, and wants to hear of progress.
    pub watched: bool,
}

/// All connections that the shell holds, or tries, for a peer.
#[derive(Default)]
pub(super) struct Conns {
    map: HashMap<ConnId, Conn, FixedState>,
    /// Connections that are [`Watch::Soon`].
    unwatched: usize,
}

impl Conns {
    /// Whose connection, or attempt at one, it is.
    pub fn owner(&self, conn: ConnId) -> Option<PeerId> {
        self.map.get(&conn).map(|c| c.peer)
    }

    /// Octets that may still go out.
    pub fn credit(&self, conn: ConnId) -> usize {
        self.map.get(&conn).map_or(0, |c| SEND_CREDIT.saturating_sub(c.in_flight))
    }

    /// Octets that the kernel has not taken.
    pub fn in_flight(&self, conn: ConnId) -> usize {
        self.map.get(&conn).map_or(0, |c| c.in_flight)
    }

    /// So many octets were handed out.
    pub fn spend(&mut self, conn: ConnId, octets: usize) {
        let Some(c) = self.map.get_mut(&conn) else { return };
        c.in_flight += octets;
        if c.watch == Watch::Off {
            c.watch = Watch::Soon;
            self.unwatched += 1;
        }
    }

    /// So many octets were taken by the kernel. `None` for an unknown connection.
    pub fn give_back(&mut self, conn: ConnId, octets: usize) -> Option<Taken> {
        let c = self.map.get_mut(&conn)?;
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
    pub fn take_unwatched(&mut self) -> Vec<(PeerId, ConnId)> {
        if self.unwatched == 0 {
            return Vec::new();
        }
        self.unwatched = 0;
        let soon = self.map.iter_mut().filter(|(_, c)| c.watch == Watch::Soon);
        soon.map(|(conn, c)| {
            c.watch = Watch::On;
            (c.peer, *conn)
        })
        .collect()
    }

    /// Notes a connection; false if it was noted before.
    pub fn bind(&mut self, conn: ConnId, peer: PeerId) -> bool {
        self.map.insert(conn, Conn { peer, in_flight: 0, watch: Watch::Off }).is_none()
    }

    /// The connection is no more; whose it was.
    pub fn unbind(&mut self, conn: ConnId) -> Option<PeerId> {
        let Conn { peer, watch, .. } = self.map.remove(&conn)?;
        self.unwatched -= usize::from(watch == Watch::Soon);
        Some(peer)
    }

    /// The peer is gone, and all its connections.
    pub fn unbind_all(&mut self, peer: PeerId) {
        self.map.retain(|_, c| c.peer != peer);
        self.unwatched = self.map.values().filter(|c| c.watch == Watch::Soon).count();
    }

    /// # Panics
    /// If a connection belongs to nobody, or the count of those to be watched is wrong.
    pub fn check_invariants(&self, is_known: impl Fn(PeerId) -> bool) {
        for (conn, c) in &self.map {
            assert!(is_known(c.peer), "{conn:?} belongs to a peer that is gone");
        }
        let soon = self.map.values().filter(|c| c.watch == Watch::Soon).count();
        assert_eq!(self.unwatched, soon, "connections that are to be watched");
    }
}
