//! The routes of a thin node as sets of bits.
//!
//! In: what its sessions bring, as decoded, and what its router says of them: sessions that end, markers that leave the kernel, the end of the wait after
//! a start. Out: what the router is to be handed instead, and which blocks have come or gone.
//!
//! The router holds one route of each session, to a prefix that nobody has: the session's marker. It is announced when the first route comes, and again with
//! End-of-RIB; so it is kept, swept and dropped when the session's routes would be (RFC 4724 §4.2). It is handed the rest of an UPDATE as the
//! withdrawal of a prefix that it never had: the hold timer, and nothing else, hears of it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::cluster::Machine;
use super::pieces::Piece;
use crate::num::Nlri;
use crate::policy::Chain;
use crate::speaker::PeerConfig;
use crate::wire::{Announced, Message, NlriSet, PathAttributes, Update};

/// Below it stand the markers.
const MARKERS: u32 = 0xF000_0000;

/// What is withdrawn and was never announced.
const NOTHING: Ipv4Addr = Ipv4Addr::from_bits(0xF0FF_FFFF);

/// A set of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    pub fn has(&self, n: usize) -> bool {
        self.0[n / 64] & (1 << (n % 64)) != 0
    }

    /// True if that is new.
    pub fn set(&mut self, n: usize) -> bool {
        let word = &mut self.0[n / 64];
        let new = *word & (1 << (n % 64)) == 0;
        *word |= 1 << (n % 64);
        new
    }

    pub fn clear(&mut self, n: usize) {
        self.0[n / 64] &= !(1 << (n % 64));
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let ones = |(at, word): (usize, &u64)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        };
        self.0.iter().enumerate().flat_map(ones)
    }

    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, more)| *word |= more);
    }

    pub fn octets(&self) -> usize {
        self.0.len() * 8
    }
}

/// One session's routes.
#[derive(Debug)]
struct Session {
    addr: IpAddr,
    marker: Ipv4Net,
    /// The router has the marker.
    marked: bool,
    fresh: Bits,
    /// Kept for a peer that restarts, until it has announced everything again.
    stale: Option<Bits>,
    /// Of the first route since then: the marker is announced with End-of-RIB, for until then a sweep is to show.
    attrs: Option<PathAttributes>,
}

/// All routes of a thin node.
#[derive(Debug)]
pub(super) struct Thin {
    sessions: Vec<Session>,
    /// What an earlier run left in the kernel.
    left: Option<Bits>,
    /// In the kernel.
    any: Bits,
}

/// What has come and gone, in order.
pub(super) type Changes = Vec<(usize, bool)>;

impl Thin {
    /// What this machine would announce does not depend on what it learns, and it takes everything it is announced.
    pub fn may_be(machine: &Machine) -> bool {
        let fits = |peer: &PeerConfig| {
            let takes_all = |chain: &Option<Chain>| chain.as_ref().is_none_or(|chain| *chain == Chain::all());
            peer.session.remote_as.is_internal(peer.session.local_as)
                && takes_all(&peer.import)
                && peer.max_prefix == [None, None]
                && peer.session.offer.add_path_receive.is_empty()
                && peer.session.remote.zone.is_none()
        };
        let params = &machine.params;
        let v4 = params.addresses.v6.is_none() && params.fib.enabled;
        let plain = params.ranges.is_empty() && params.redistribute.rules.is_empty() && params.services.is_empty();
        params.cluster_id.is_none() && plain && v4 && params.peers.iter().all(|peer| fits(peer))
    }

    pub fn new(machine: &Machine, blocks: usize) -> Thin {
        let session = |(peer, n): (&std::sync::Arc<PeerConfig>, u32)| Session {
            addr: peer.session.remote.addr,
            marker: Ipv4Net::new_assert(Ipv4Addr::from_bits(MARKERS | n), 32),
            marked: false,
            fresh: Bits::new(blocks),
            stale: None,
            attrs: None,
        };
        let sessions = machine.params.peers.iter().zip(1..).map(session).collect();
        Thin { sessions, left: None, any: Bits::new(blocks) }
    }

    pub fn has(&self, block: usize) -> bool {
        self.any.has(block)
    }

    fn session(&mut self, addr: IpAddr) -> Option<usize> {
        self.sessions.iter().position(|s| s.addr == addr)
    }

    fn announced(&mut self, s: usize, block: usize, changes: &mut Changes) {
        let session = &mut self.sessions[s];
        if session.fresh.set(block) {
            if let Some(stale) = &mut session.stale {
                stale.clear(block);
            }
            if self.any.set(block) {
                changes.push((block, true));
            }
        }
    }

    fn withdrawn(&mut self, s: usize, block: usize, changes: &mut Changes) {
        let session = &mut self.sessions[s];
        session.fresh.clear(block);
        if let Some(stale) = &mut session.stale {
            stale.clear(block);
        }
        self.look(block, changes);
    }

    /// It may be that nobody has it any more.
    fn look(&mut self, block: usize, changes: &mut Changes) {
        let is = |bits: &Option<Bits>| bits.as_ref().is_some_and(|bits| bits.has(block));
        let held = is(&self.left) || self.sessions.iter().any(|s| s.fresh.has(block) || is(&s.stale));
        if !held && self.any.has(block) {
            self.any.clear(block);
            changes.push((block, false));
        }
    }

    fn let_go(&mut self, bits: Option<Bits>, changes: &mut Changes) {
        bits.iter().flat_map(Bits::iter).for_each(|block| self.look(block, changes));
    }

    /// Messages of a session with `addr`: what is in them goes into the sets, and what the router is to see instead comes back.
    pub fn divert(
        &mut self,
        addr: IpAddr,
        messages: Vec<Message>,
        find: impl Fn(&Nlri) -> Option<usize>,
        changes: &mut Changes,
    ) -> Vec<Message> {
        let Some(s) = self.session(addr) else { return messages };
        let (mut out, mut owed) = (Vec::new(), false);
        for message in messages {
            match message {
                Message::Update(update) if update.end_of_rib.is_none() => {
                    owed = true;
                    self.update(s, &update, &find, changes, &mut out);
                }
                Message::Update(end) => {
                    self.end_of_rib(s, &mut out, changes);
                    out.push(Message::Update(end));
                }
                other => out.push(other),
            }
        }
        if owed {
            out.push(heartbeat());
        }
        out
    }

    /// What a piece says to a session with `addr`, of blocks that are not this node's own; the session's marker, if the router is to have it now.
    pub fn take(&mut self, addr: IpAddr, piece: &Piece, foreign: impl Fn(u32) -> bool, changes: &mut Changes) -> Option<Message> {
        let s = self.session(addr)?;
        for (block, come) in piece.routes.iter().filter(|(block, _)| foreign(*block)) {
            match come {
                true => self.announced(s, *block as usize, changes),
                false => self.withdrawn(s, *block as usize, changes),
            }
        }
        self.mark(s, piece.attrs.as_ref())
    }

    /// A route of this session has come: the router is to have its marker, unless it has, or a sweep is to show first.
    fn mark(&mut self, s: usize, attrs: Option<&PathAttributes>) -> Option<Message> {
        let session = &mut self.sessions[s];
        let attrs = attrs.filter(|_| !session.marked)?;
        if session.stale.is_some() {
            session.attrs = Some(attrs.clone());
            return None;
        }
        session.marked = true;
        Some(marker(session.marker, attrs.clone()))
    }

    fn update(&mut self, s: usize, update: &Update, find: &impl Fn(&Nlri) -> Option<usize>, changes: &mut Changes, out: &mut Vec<Message>) {
        for block in update.withdrawn.iter().flatten().filter_map(|nlri| find(&nlri)) {
            self.withdrawn(s, block, changes);
        }
        for announced in &update.announced {
            for block in announced.nlri.iter().filter_map(|nlri| find(&nlri)) {
                self.announced(s, block, changes);
            }
            out.extend(self.mark(s, announced.attrs.as_ref()));
        }
    }

    /// What was not announced again is gone; so is the marker, if nothing was.
    fn end_of_rib(&mut self, s: usize, out: &mut Vec<Message>, changes: &mut Changes) {
        let session = &mut self.sessions[s];
        let stale = session.stale.take();
        if let Some(attrs) = session.attrs.take() {
            session.marked = true;
            out.push(marker(session.marker, attrs));
        }
        self.let_go(stale, changes);
    }

    /// A session ended.
    pub fn down(&mut self, addr: IpAddr, keeps: bool, changes: &mut Changes) {
        let Some(s) = self.session(addr) else { return };
        let session = &mut self.sessions[s];
        let len = session.fresh.octets() * 8;
        let fresh = std::mem::replace(&mut session.fresh, Bits::new(len));
        let before = session.stale.take();
        (session.marked, session.attrs) = (false, None);
        if keeps {
            let mut stale = fresh;
            before.iter().for_each(|before| stale.add(before));
            session.stale = Some(stale);
        } else {
            self.let_go(Some(fresh), changes);
            self.let_go(before, changes);
        }
    }

    /// A route left the kernel; if it is the marker of a session whose routes were kept, they are swept.
    pub fn removed(&mut self, net: &IpNet, changes: &mut Changes) {
        let Some(s) = self.sessions.iter().position(|s| IpNet::V4(s.marker) == *net) else { return };
        let stale = self.sessions[s].stale.take();
        self.let_go(stale, changes);
    }

    /// The program is gone; the kernel has its routes still, or not.
    pub fn ended(&mut self, kernel: bool, changes: &mut Changes) {
        let all = self.any.clone();
        let len = all.octets() * 8;
        for session in &mut self.sessions {
            (session.fresh, session.stale, session.attrs, session.marked) = (Bits::new(len), None, None, false);
        }
        self.left = kernel.then(|| all.clone());
        self.let_go(Some(all), changes);
    }

    /// What an earlier run left and nobody announced again goes.
    pub fn purged(&mut self, changes: &mut Changes) {
        let left = self.left.take();
        self.let_go(left, changes);
    }
}

/// That UPDATEs came, and nothing of what was in them.
pub(super) fn heartbeat() -> Message {
    Message::Update(Update { withdrawn: [set(NOTHING)].into_iter().collect(), ..Update::default() })
}

/// How many prefixes an UPDATE speaks of, about: by its octets, for counting them is walking over them.
pub(super) fn prefixes_of(update: &Update) -> u32 {
    let withdrawn: usize = update.withdrawn.iter().map(|set| set.octets().len()).sum();
    let announced: usize = update.announced.iter().map(|run| run.nlri.octets().len()).sum();
    ((withdrawn + announced) / 5) as u32
}

fn set(addr: Ipv4Addr) -> NlriSet {
    NlriSet::from_nlri(&[Nlri::new(IpNet::V4(Ipv4Net::new_assert(addr, 32)))], false)
}

fn marker(marker: Ipv4Net, attrs: PathAttributes) -> Message {
    let announced = Announced { nlri: set(marker.addr()), attrs: Some(attrs) };
    Message::Update(Update { announced: [announced].into_iter().collect(), ..Update::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_walked() {
        let mut bits = Bits::new(130);
        assert!(bits.set(0) && bits.set(64) && bits.set(129) && !bits.set(129));
        bits.clear(64);
        assert_eq!((bits.iter().collect::<Vec<_>>(), bits.count(), bits.has(64)), (vec![0, 129], 2, false));
    }
}
