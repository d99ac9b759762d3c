//! Bidirectional Forwarding Detection (RFC 5880, RFC 5881, RFC 5883): is the path to a neighbour alive, told in a fraction of a second.
//!
//! In: the sessions that are wanted, packets with the moment at which they arrived, and the time. Out: packets to be sent, what changed, and
//! the next deadline. It leaves sockets and clocks to who calls it (a thread of the daemon, the Lab), and what a session's end means for
//! routes to the speaker (RFC 5882).
//!
//! The caller's part, in this order: hand in everything that has arrived ([`Bfd::receive`]), then serve the timers ([`Bfd::on_time`]), then send
//! ([`Bfd::poll_transmit`]) and report ([`Bfd::poll_status`]). Where not everything could be read, it says until when it has: nobody is judged
//! silent of whom something may wait.
//!
//! # Invariants
//! Discriminators are unique, not zero, and follow from a key that only this process knows. A packet that is dropped changes nothing but a
//! counter, and is never answered. Steady sessions allocate nothing.

pub mod auth;
pub mod counters;
mod detail;
pub mod packet;
mod params;
mod session;

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sha1::{Digest, Sha1};

pub use auth::{AuthType, Key};
pub use counters::{Counters, Drop};
pub use detail::Detail;
pub use packet::{Diagnostic, State};
pub use params::{Path, Profile, REALTIME_BELOW, SessionParams, WithoutRealtime};
pub use session::LastDown;

use crate::kernel::IfIndex;
use crate::num::{Instant, PeerId, Rng};
use session::Session;

/// TTL of a packet that came over no router (RFC 5881 §5).
const ON_LINK: u8 = 255;

/// The bits that all our discriminators have in common, so that a kernel can tell packets of neighbours from rubbish with one comparison. The
/// other ones leave a million sessions; what strangers would have to guess is still all of them.
pub const TAG_MASK: u32 = 0xfff0_0000;

/// Where and when a packet came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its sender.
    pub from: IpAddr,
    /// The link.
    pub link: IfIndex,
    /// As it arrived; for IPv6 the hop limit.
    pub ttl: u8,
    /// By the port that it came to.
    pub path: Path,
    /// When the kernel had it.
    pub at: Instant,
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// The payload.
    pub octets: auth::Octets,
    /// Whither.
    pub to: IpAddr,
    /// From where; `None`: the kernel chooses.
    pub from: Option<IpAddr>,
    /// Over which link, where the address alone does not say it.
    pub link: Option<IfIndex>,
    /// Which port.
    pub path: Path,
}

/// How a session stands, after something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whose.
    pub peer: PeerId,
    /// As we see it.
    pub state: State,
    /// Why.
    pub diag: Diagnostic,
    /// As the neighbour last said.
    pub remote_state: State,
    /// Why, in its eyes.
    pub remote_diag: Diagnostic,
    /// Its BFD outlives its control plane.
    pub remote_independent: bool,
    /// How often it went down since it was made, so that no end is missed where a report was late.
    pub downs: u32,
    /// Since when.
    pub since: Instant,
}

/// Which packets without a discriminator of ours are for a session.
type Source = (IpAddr, Path, Option<IfIndex>);

/// All sessions.
pub struct Bfd {
    /// By our discriminators, which nobody else chooses.
    sessions: HashMap<u32, Session, FixedState>,
    by_peer: BTreeMap<PeerId, u32>,
    by_source: BTreeMap<Source, u32>,
    /// One entry at least for each armed deadline; those that a session no longer stands by are skipped.
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Sessions with something to send, each once.
    ready: VecDeque<u32>,
    /// Sessions with something to report, each once or more often.
    reports: VecDeque<u32>,
    secret: [u8; 16],
    tag: u32,
    drawn: u64,
    counters: Counters,
}

impl Bfd {
    /// Without a session. Discriminators follow from the secret.
    pub fn new(secret: [u8; 16]) -> Bfd {
        let mut bfd = Bfd {
            sessions: HashMap::default(),
            by_peer: BTreeMap::new(),
            by_source: BTreeMap::new(),
            timers: BinaryHeap::new(),
            ready: VecDeque::new(),
            reports: VecDeque::new(),
            secret,
            tag: 0,
            drawn: 0,
            counters: Counters::default(),
        };
        while bfd.tag == 0 {
            bfd.tag = bfd.random() as u32 & TAG_MASK;
        }
        bfd
    }

    /// What all our discriminators have in common, below [`TAG_MASK`]; never zero.
    pub fn tag(&self) -> u32 {
        self.tag
    }

    /// Packets that were of no session and that nobody has read.
    pub fn note_unread(&mut self, packets: u64) {
        self.counters.drop_some(Drop::Unread, packets);
    }

    /// A session is wanted, or wanted otherwise: of the same path without a flap, else it is another one.
    pub fn want(&mut self, peer: PeerId, params: Arc<SessionParams>, now: Instant) {
        if let Some(discr) = self.by_peer.get(&peer).copied() {
            match self.sessions.get_mut(&discr).filter(|session| session.params.is_same_path(&params)) {
                Some(session) => {
                    session.reconfigure(params, now);
                    return self.settle(discr);
                }
                None => self.unwant(peer, now),
            }
        }
        let source = (params.remote, params.path, params.link);
        if let Some(old) = self.by_source.get(&source).copied() {
            // One that still says goodbye, or a second peer of the same address.
            self.forget(old);
        }
        let discr = self.draw();
        let rng = Rng::new(self.random());
        self.sessions.insert(discr, Session::new(peer, params, discr, rng, now));
        self.by_peer.insert(peer, discr);
        self.by_source.insert(source, discr);
        self.timers.reserve(4);
        self.settle(discr);
    }

    /// A session is wanted no longer: the neighbour is told for a Detection Time, then it is gone.
    pub fn unwant(&mut self, peer: PeerId, now: Instant) {
        let Some(discr) = self.by_peer.remove(&peer) else { return };
        match self.sessions.get_mut(&discr).is_none_or(|session| session.end(now)) {
            true => self.forget(discr),
            false => self.settle(discr),
        }
    }

    /// The end of all: each neighbour that listens is told AdminDown, at each call again. The caller sends what is there, and goes.
    pub fn end_all(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.by_peer.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.unwant(peer, now));
        let mut ending: Vec<u32> = self.sessions.iter().filter(|(_, session)| session.is_ending()).map(|(discr, _)| *discr).collect();
        ending.sort_unstable();
        for discr in ending {
            self.sessions.get_mut(&discr).into_iter().for_each(Session::say_again);
            self.settle(discr);
        }
    }

    fn forget(&mut self, discr: u32) {
        let Some(session) = self.sessions.remove(&discr) else { return };
        if let Entry::Occupied(entry) = self.by_peer.entry(session.id)
            && *entry.get() == discr
        {
            entry.remove();
        }
        if let Entry::Occupied(entry) = self.by_source.entry((session.params.remote, session.params.path, session.params.link))
            && *entry.get() == discr
        {
            entry.remove();
        }
    }

    /// Unforeseeable, as far as the secret is (RFC 5880 §6.8.1, §9).
    fn random(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let digest = Sha1::new().chain_update(self.secret).chain_update(self.drawn.to_be_bytes()).finalize();
        digest.iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    fn draw(&mut self) -> u32 {
        loop {
            let discr = self.tag | self.random() as u32 & !TAG_MASK;
            if !self.sessions.contains_key(&discr) {
                return discr;
            }
        }
    }

    /// A datagram came in.
    ///
    /// # Errors
    /// Why it was dropped; that is counted already.
    pub fn receive(&mut self, arrival: &Arrival, payload: &[u8], now: Instant) -> Result<(), Drop> {
        let mut session = None;
        let outcome = self.take_in(arrival, payload, now, &mut session);
        match outcome {
            Ok(()) => self.counters.received = self.counters.received.saturating_add(1),
            Err(why) => {
                self.counters.drop(why);
                session.and_then(|discr| self.sessions.get_mut(&discr)).into_iter().for_each(|session| session.counters.drop(why));
            }
        }
        outcome
    }

    fn take_in(&mut self, arrival: &Arrival, payload: &[u8], now: Instant, whose: &mut Option<u32>) -> Result<(), Drop> {
        if arrival.path == Path::SingleHop && arrival.ttl != ON_LINK {
            return Err(Drop::Ttl);
        }
        let received = packet::decode(payload)?;
        let discr = self.select(arrival, received.packet.your_discr)?;
        let session = self.sessions.get_mut(&discr).ok_or(Drop::UnknownDiscriminator)?;
        *whose = Some(discr);
        if arrival.ttl < session.params.min_ttl {
            return Err(Drop::Ttl);
        }
        let outcome = session.receive(&received, arrival.at, now);
        self.settle(discr);
        outcome
    }

    /// Whose packet it is (RFC 5880 §6.3, RFC 5881 §3).
    fn select(&self, arrival: &Arrival, your_discr: u32) -> Result<u32, Drop> {
        if your_discr == 0 {
            let on_link = self.by_source.get(&(arrival.from, arrival.path, Some(arrival.link)));
            return on_link.or_else(|| self.by_source.get(&(arrival.from, arrival.path, None))).copied().ok_or(Drop::UnknownSource);
        }
        let session = self.sessions.get(&your_discr).ok_or(Drop::UnknownDiscriminator)?;
        let params = &session.params;
        let right = params.remote == arrival.from && params.path == arrival.path && params.link.is_none_or(|link| link == arrival.link);
        if right { Ok(your_discr) } else { Err(Drop::WrongSource) }
    }

    /// Serves the timers. All that arrived before `judged` was handed in; it is `now` unless something may wait.
    pub fn on_time(&mut self, now: Instant, judged: Instant) {
        let judged = judged.min(now);
        let mut held = 0_usize;
        while let Some(&Reverse((at, discr))) = self.timers.peek() {
            // Who cannot be judged yet is armed again at the same moment; each is looked at once.
            if at > now || held > self.sessions.len() {
                return;
            }
            self.timers.pop();
            let Some(session) = self.sessions.get_mut(&discr).filter(|session| session.armed == Some(at)) else { continue };
            session.armed = None;
            held = held.saturating_add(1);
            if session.on_time(now, judged) {
                self.forget(discr);
            } else {
                self.settle(discr);
            }
        }
    }

    /// Notes what a session wants: its next deadline, to send, to report.
    fn settle(&mut self, discr: u32) {
        let Some(session) = self.sessions.get_mut(&discr) else { return };
        if let Some(at) = session.next_deadline().filter(|at| session.armed.is_none_or(|armed| *at < armed)) {
            session.armed = Some(at);
            self.timers.push(Reverse((at, discr)));
        }
        if session.wants_to_send() && !session.queued {
            session.queued = true;
            self.ready.push_back(discr);
        }
        if session.unreported {
            session.unreported = false;
            self.reports.push_back(discr);
        }
    }

    /// The next packet to be sent.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        while let Some(discr) = self.ready.pop_front() {
            let Some(session) = self.sessions.get_mut(&discr) else { continue };
            session.queued = false;
            let Some(octets) = session.transmit(now) else { continue };
            let params = &session.params;
            let transmit = Transmit { octets, to: params.remote, from: params.local, link: params.link, path: params.path };
            self.settle(discr);
            self.counters.sent = self.counters.sent.saturating_add(1);
            return Some(transmit);
        }
        None
    }

    /// The next session of which something is new, as it stands now.
    pub fn poll_status(&mut self) -> Option<Status> {
        while let Some(discr) = self.reports.pop_front() {
            let Some(session) = self.sessions.get(&discr).filter(|session| !session.is_ending()) else { continue };
            return Some(Status {
                peer: session.id,
                state: session.state,
                diag: session.diag,
                remote_state: session.heard.state,
                remote_diag: session.heard.diag,
                remote_independent: session.heard.independent,
                downs: session.downs,
                since: session.since,
            });
        }
        None
    }

    /// When [`Bfd::on_time`] is to be called at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Something waits in [`Bfd::poll_transmit`].
    pub fn has_to_send(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Something may wait in [`Bfd::poll_status`].
    pub fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// There are sessions, if only such as say goodbye.
    pub fn has_sessions(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Of all sessions, and of what belongs to none.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many sessions are wanted, and how many of them are Up.
    pub fn totals(&self) -> (usize, usize) {
        let up = self.by_peer.values().filter_map(|discr| self.sessions.get(discr)).filter(|session| session.state == State::Up);
        (self.by_peer.len(), up.count())
    }

    /// All that can be said of each session that is wanted, by the names of their peers.
    pub fn details(&self, now: Instant) -> Vec<Detail> {
        let sessions = self.by_peer.values().filter_map(|discr| self.sessions.get(discr));
        let mut details: Vec<Detail> = sessions.map(|session| Detail::of(session, now)).collect();
        details.sort_by(|a, b| a.params.peer.cmp(&b.params.peer));
        details
    }
}

#[cfg(test)]
mod tests;
