//! One session: the state machine of RFC 5880 §6.2 and the timers of §6.8.
//!
//! In: packets that are for it, the time, and what its operator wants. Out: packets when they are due, and what changed. Which packets are
//! for it is `super`'s affair, and so are sockets and clocks of whoever calls that.
//!
//! ```text
//!            their Down              their Init
//!    Down ---------------> Init   Down ---------------> Up
//!    Init, Up: nothing heard for the Detection Time      -> Down, diagnostic 1
//!    Up: their Down; Init, Up: their AdminDown           -> Down, diagnostic 3
//!    Init: their Init or Up                              -> Up
//! ```
//!
//! Choices: we offer no Echo (Required Min Echo RX is zero) and never ask for Demand mode; a neighbour that does is obeyed (§6.6). Our BFD
//! ends with this process, so C is clear.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{self, Octets, Sequence};
use super::counters::{Counters, Drop};
use super::packet::{Diagnostic, HEADER_LEN, Packet, Received, State};
use super::params::SessionParams;
use crate::num::{Instant, PeerId, Rng};

/// The least interval of who is not Up (RFC 5880 §6.8.3), in microseconds.
const SLOW: u32 = 1_000_000;

/// Where a Poll Sequence stands (RFC 5880 §6.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Poll {
    /// None.
    #[default]
    Idle,
    /// Our packets have P until one with F comes.
    Running,
    /// It is over; a packet without F must come before the next may begin (RFC 5880 §6.8.3).
    Settling,
}

/// What the other side last said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub state: State,
    pub diag: Diagnostic,
    pub discr: u32,
    pub min_rx: u32,
    pub min_tx: u32,
    pub detect_mult: u8,
    pub demand: bool,
    pub independent: bool,
}

impl Default for Heard {
    /// RFC 5880 §6.8.1.
    fn default() -> Heard {
        Heard {
            state: State::Down,
            diag: Diagnostic::NONE,
            discr: 0,
            min_rx: 1,
            min_tx: 0,
            detect_mult: 0,
            demand: false,
            independent: false,
        }
    }
}

/// The end of the last time that it was Up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDown {
    /// When.
    pub at: Instant,
    /// Why, as we see it.
    pub diag: Diagnostic,
    /// Why, as the neighbour saw it then.
    pub remote_diag: Diagnostic,
}

/// A BFD session.
#[derive(Debug)]
pub(super) struct Session {
    pub id: PeerId,
    pub params: Arc<SessionParams>,
    pub discr: u32,
    pub state: State,
    pub diag: Diagnostic,
    pub heard: Heard,
    pub poll: Poll,
    /// As advertised: bfd.DesiredMinTxInterval, bfd.RequiredMinRxInterval.
    pub desired_min_tx: u32,
    pub required_min_rx: u32,
    /// As acted upon, until a Poll Sequence is over.
    tx_in_use: u32,
    rx_in_use: u32,
    sequence: Sequence,
    rng: Rng,
    /// What was said last, without P and F.
    said: Option<[u8; HEADER_LEN]>,
    last_sent: Option<Instant>,
    last_received: Option<Instant>,
    tx_at: Option<Instant>,
    detect_at: Option<Instant>,
    forget_at: Option<Instant>,
    /// Nobody wants it any more: it says so until then, and goes.
    ends_at: Option<Instant>,
    final_due: bool,
    send_due: bool,
    /// Its state changed, or the neighbour's did to or from AdminDown, and nobody was told.
    pub unreported: bool,
    pub counters: Counters,
    pub since: Instant,
    pub ups: u32,
    pub downs: u32,
    pub last_down: Option<LastDown>,
    /// The earliest deadline that a timer of `super` stands for.
    pub armed: Option<Instant>,
    /// It stands in the list of those that have something to send.
    pub queued: bool,
}

impl Session {
    /// Down, and about to say so, unless it is passive.
    pub fn new(id: PeerId, params: Arc<SessionParams>, discr: u32, mut rng: Rng, now: Instant) -> Session {
        let admin_up = params.admin_up;
        let first = Duration::from_micros(u64::from(SLOW));
        // Those that begin together do not stay together.
        let first = first.saturating_sub(rng.jitter(first));
        let mut session = Session {
            id,
            discr,
            state: if admin_up { State::Down } else { State::AdminDown },
            diag: if admin_up { Diagnostic::NONE } else { Diagnostic::ADMIN_DOWN },
            heard: Heard::default(),
            poll: Poll::Idle,
            desired_min_tx: 0,
            required_min_rx: 0,
            tx_in_use: 0,
            rx_in_use: 0,
            sequence: Sequence::new(rng.next_u64() as u32),
            rng,
            said: None,
            last_sent: None,
            last_received: None,
            tx_at: Some(now + first),
            detect_at: None,
            forget_at: None,
            ends_at: None,
            final_due: false,
            send_due: false,
            unreported: true,
            counters: Counters::default(),
            since: now,
            ups: 0,
            downs: 0,
            last_down: None,
            armed: None,
            queued: false,
            params,
        };
        (session.desired_min_tx, session.required_min_rx) = session.wanted_intervals();
        (session.tx_in_use, session.rx_in_use) = (session.desired_min_tx, session.required_min_rx);
        session
    }

    /// Other parameters hold, of the same path: by a Poll Sequence, without a flap.
    pub fn reconfigure(&mut self, params: Arc<SessionParams>, now: Instant) {
        let admin_up = params.admin_up;
        if params.key != self.params.key {
            self.sequence.forget();
        }
        self.params = params;
        self.ends_at = None;
        match (admin_up, self.state) {
            (false, State::Down | State::Init | State::Up) => self.enter(State::AdminDown, Diagnostic::ADMIN_DOWN, now),
            (true, State::AdminDown) => self.enter(State::Down, Diagnostic::NONE, now),
            _ => self.retime(now, false),
        }
        self.send_if_changed();
    }

    /// Nobody wants it any more. True if it goes at once; else it says AdminDown for a Detection Time (RFC 5880 §6.8.16).
    pub fn end(&mut self, now: Instant) -> bool {
        if self.heard.discr == 0 || self.ends_at.is_some() {
            return self.ends_at.is_none();
        }
        if self.state != State::AdminDown {
            self.enter(State::AdminDown, Diagnostic::ADMIN_DOWN, now);
        }
        let interval = u64::from(self.tx_in_use.max(self.heard.min_rx));
        self.ends_at = Some(now + Duration::from_micros(interval.saturating_mul(u64::from(self.params.multiplier))));
        self.unreported = false;
        false
    }

    /// What was said may not have been heard.
    pub fn say_again(&mut self) {
        self.send_due = true;
    }

    /// It is over, and only says so.
    pub fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// What we would like to advertise (RFC 5880 §6.8.3: slowly while it is not Up).
    fn wanted_intervals(&self) -> (u32, u32) {
        let (tx, rx) = (self.params.min_tx, self.params.min_rx);
        (if self.state == State::Up { tx } else { tx.max(SLOW) }, rx)
    }

    /// Advertises other intervals by a Poll Sequence, now, or when the one that runs is over. `leaving`: the session is Up no longer, and the slow
    /// rate is a duty at once.
    fn retime(&mut self, now: Instant, leaving: bool) {
        let (tx, rx) = self.wanted_intervals();
        if (tx, rx) == (self.desired_min_tx, self.required_min_rx) || (self.poll != Poll::Idle && !leaving) {
            return;
        }
        // RFC 5880 §6.8.3: while it is Up we slow down, and expect more, only when the neighbour knows.
        let up = self.state == State::Up;
        self.tx_in_use = if up { self.tx_in_use.min(tx) } else { tx };
        self.rx_in_use = if up { self.rx_in_use.max(rx) } else { rx };
        (self.desired_min_tx, self.required_min_rx) = (tx, rx);
        self.poll = Poll::Running;
        self.send_due = true;
        self.rearm(now);
    }

    /// The intervals that are in use have changed: the next packet is due by the new one since the last (RFC 5880 §6.8.3).
    fn rearm(&mut self, now: Instant) {
        let interval = self.jittered_interval();
        if let Some(last) = self.last_sent {
            self.tx_at = Some((last + interval).max(now));
        }
        if let (Some(last), Some(_)) = (self.last_received, self.detect_at) {
            self.detect_at = self.detection_time().map(|time| last + time);
        }
    }

    /// What both sides agree on for our packets.
    pub fn tx_interval(&self) -> Duration {
        Duration::from_micros(u64::from(self.tx_in_use.max(self.heard.min_rx)))
    }

    /// RFC 5880 §6.8.7: less 0 to 25 %, and with a multiplier of one less 10 % at least.
    fn jittered_interval(&mut self) -> Duration {
        let interval = self.tx_interval();
        let jittered = self.rng.jitter(interval);
        let most = if self.params.multiplier == 1 { interval.saturating_mul(9).checked_div(10).unwrap_or(interval) } else { interval };
        if jittered > most {
            // From between 75 % and 90 %, as evenly.
            let quarter = self.rng.jitter(interval);
            return most.min(quarter);
        }
        jittered
    }

    /// RFC 5880 §6.8.4. `None` before anything was heard.
    pub fn detection_time(&self) -> Option<Duration> {
        let interval = self.rx_in_use.max(self.heard.min_tx);
        let micros = u64::from(interval).saturating_mul(u64::from(self.heard.detect_mult));
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    /// Another state.
    fn enter(&mut self, state: State, diag: Diagnostic, now: Instant) {
        let was = std::mem::replace(&mut self.state, state);
        (self.diag, self.since, self.unreported, self.send_due) = (diag, now, true, true);
        if was == State::Up {
            self.downs = self.downs.wrapping_add(1);
            self.last_down = Some(LastDown { at: now, diag, remote_diag: self.heard.diag });
        }
        if state == State::Up {
            self.ups = self.ups.wrapping_add(1);
        }
        self.retime(now, was == State::Up);
    }

    /// A packet that is for this session came at `arrived`: the rest of RFC 5880 §6.8.6.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn receive(&mut self, received: &Received<'_>, arrived: Instant, now: Instant) -> Result<(), Drop> {
        let packet = &received.packet;
        self.authenticate(received)?;
        self.note(packet, now);
        if self.state == State::AdminDown {
            return Err(Drop::AdminDown);
        }
        self.step(packet, now);
        if packet.poll {
            self.final_due = true;
        }
        self.counters.received = self.counters.received.saturating_add(1);
        self.last_received = Some(self.last_received.map_or(arrived, |last| last.max(arrived)));
        let heard = self.last_received.unwrap_or(arrived);
        self.detect_at = self.detection_time().map(|time| heard + time);
        self.forget_at = self.detection_time().map(|time| heard + time.saturating_mul(2));
        self.send_if_changed();
        Ok(())
    }

    fn authenticate(&mut self, received: &Received<'_>) -> Result<(), Drop> {
        match (&self.params.key, received.packet.authenticated) {
            (None, true) => Err(Drop::AuthUnexpected),
            (Some(_), false) => Err(Drop::AuthMissing),
            (Some(key), true) => auth::verify(received.octets, key, &mut self.sequence, received.packet.detect_mult),
            (None, false) => Ok(()),
        }
    }

    /// Takes in what the neighbour says of itself.
    fn note(&mut self, packet: &Packet, now: Instant) {
        let before = (self.tx_in_use.max(self.heard.min_rx), self.heard.state == State::AdminDown, self.poll);
        self.heard = Heard {
            state: packet.state,
            diag: packet.diag,
            discr: packet.my_discr,
            min_rx: packet.required_min_rx,
            min_tx: packet.desired_min_tx,
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            independent: packet.independent,
        };
        match (self.poll, packet.fin) {
            (Poll::Running, true) => {
                self.poll = Poll::Settling;
                (self.tx_in_use, self.rx_in_use) = (self.desired_min_tx, self.required_min_rx);
            }
            (Poll::Settling, false) => {
                self.poll = Poll::Idle;
                self.retime(now, false);
            }
            _ => {}
        }
        if before.0 != self.tx_in_use.max(self.heard.min_rx) {
            self.rearm(now);
        }
        self.unreported |= before.1 != (packet.state == State::AdminDown);
    }

    /// RFC 5880 §6.2 and §6.8.6.
    fn step(&mut self, packet: &Packet, now: Instant) {
        match (self.state, packet.state) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.enter(State::Down, Diagnostic::NEIGHBOR_DOWN, now);
            }
            // Why it was down is told until it is up.
            (State::Down, State::Down) => self.enter(State::Init, self.diag, now),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => self.enter(State::Up, Diagnostic::NONE, now),
            (State::Down, State::Up | State::AdminDown) | (State::Init, State::Down) | (State::Up, State::Init | State::Up) => {}
            (State::AdminDown, _) => {}
        }
    }

    /// Serves what is due. All that arrived before `judged` has been handed in. True if the session is to go.
    pub fn on_time(&mut self, now: Instant, judged: Instant) -> bool {
        if self.detect_at.is_some_and(|at| at <= judged) {
            self.detect_at = None;
            if matches!(self.state, State::Init | State::Up) {
                self.enter(State::Down, Diagnostic::TIME_EXPIRED, now);
            }
            // RFC 5880 §6.8.1, and §6.8.18: what it wanted no longer holds either.
            (self.heard.discr, self.heard.min_rx, self.heard.demand) = (0, 1, false);
            self.send_if_changed();
        }
        if self.forget_at.is_some_and(|at| at <= judged) {
            self.forget_at = None;
            self.sequence.forget();
        }
        if self.tx_at.is_some_and(|at| at <= now) {
            self.send_due = true;
            // Armed again when it is sent; where it may not be, looked at again after an interval.
            self.tx_at = Some(now + self.jittered_interval());
        }
        self.ends_at.is_some_and(|at| at <= now)
    }

    /// When [`Session::on_time`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let periodic = self.tx_at.filter(|_| self.may_send());
        [periodic, self.detect_at, self.forget_at, self.ends_at].into_iter().flatten().min()
    }

    /// RFC 5880 §6.8.7: who may send besides answering a Poll.
    fn may_send(&self) -> bool {
        let silenced = self.params.passive && self.heard.discr == 0;
        let demanded = self.heard.demand && self.state == State::Up && self.heard.state == State::Up && self.poll != Poll::Running;
        !silenced && !demanded && self.heard.min_rx != 0
    }

    /// Something is to go out now.
    pub fn wants_to_send(&self) -> bool {
        self.final_due || self.send_due && self.may_send()
    }

    fn packet(&self) -> Packet {
        Packet {
            diag: self.diag,
            state: self.state,
            poll: false,
            fin: false,
            independent: false,
            authenticated: self.params.key.is_some(),
            demand: false,
            detect_mult: self.params.multiplier,
            my_discr: self.discr,
            your_discr: self.heard.discr,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: 0,
        }
    }

    fn packet_len(&self) -> u8 {
        u8::try_from(auth::packet_len(self.params.key.as_ref())).unwrap_or(0)
    }

    /// RFC 5880 §6.8.7: what would say something new does not wait.
    fn send_if_changed(&mut self) {
        let news = self.said.is_some_and(|said| said != self.packet().encode(self.packet_len()));
        self.send_due |= news;
    }

    /// The packet that is due. An answer to a Poll first: its sender waits for it.
    pub fn transmit(&mut self, now: Instant) -> Option<Octets> {
        if !self.wants_to_send() {
            self.send_due = false;
            return None;
        }
        let len = self.packet_len();
        let plain = self.packet();
        let header = plain.encode(len);
        let changed = self.said.replace(header) != Some(header);
        let fin = std::mem::take(&mut self.final_due);
        let poll = !fin && self.poll == Poll::Running;
        // What a Final says is said; a Poll of ours is a packet of its own.
        self.send_due &= fin && self.poll == Poll::Running;
        if !fin {
            self.last_sent = Some(now);
            self.tx_at = Some(now + self.jittered_interval());
        }
        self.counters.sent = self.counters.sent.saturating_add(1);
        Some(auth::seal(Packet { poll, fin, ..plain }.encode(len), self.params.key.as_ref(), &mut self.sequence, changed || fin))
    }
}
