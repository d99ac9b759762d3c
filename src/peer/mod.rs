//! One neighbour: its finite state machine, its timers, what it negotiated, and what it remembers for its operator.
//!
//! In: [`Event`]s with the time: connections made and lost, messages read, commands. Out: [`Action`]s in order: connect, send, close, a
//! session is up or down, stale routes have had their time. One deadline, which the shell sleeps until.
//! Routes, policies and sockets are left to others; a peer knows UPDATEs only by their number.
//!
//! | file | what |
//! |---|---|
//! | [`fsm`] | RFC 4271 §8: states, events, the table |
//! | `dispatch`, `actions` | find the machine that an event concerns; do what the table says |
//! | `collision` | RFC 4271 §6.8, RFC 6286 §2.3 |
//! | `negotiate` | OPEN against OPEN |
//! | `graceful` | RFC 4724, RFC 8538: whose routes outlive a session, and how long |
//! | `damping` | idle hold, admission |
//! | [`timer`] | deadlines as data |
//!
//! A peer has one machine, and a second one (`incoming`) for a connection that was accepted while the first is busy: dialling, resting, or
//! with a connection of its own. Whichever gets its OPEN through stays; the rest is §6.8.
//!
//! # Cost
//! In Established a KEEPALIVE or a batch of UPDATEs is two stores and a count. [`Peer::next_deadline`] does not change for it: the HoldTimer
//! looks at when the last message came only when it expires.
//!
//! # Invariants
//! At most two connections. A `Close` for each connection that was handed to it, unless it closed itself. `Down` after each
//! `Established`, before the next. A deadline in the past is served by one call of [`Peer::on_deadline`].
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod actions;
mod collision;
mod damping;
mod diagnostics;
mod dispatch;
mod event;
pub mod fsm;
mod graceful;
mod negotiate;
mod params;
mod session;
pub mod timer;

use std::collections::VecDeque;
use std::sync::Arc;

pub use diagnostics::{Counters, Failure};
pub use event::{Action, DialError, Down, DownReason, Event, EventHistory, OpenRejected, PeerNotice, Recorded, StopKind};
pub use fsm::{State, Trigger};
pub use params::{GracefulParams, Offer, Params, PeerKind, Remote, RemoteAs, Secret, Transport, Ttl};
pub use session::{Direction, Graceful, LongLived, Session};
pub use timer::{Timer, TimerTable};

use crate::num::{ConnId, Instant, PeerId, Rng};
use crate::wire::Notification;
use damping::{Admission, Damping};
use dispatch::Machine;
use fsm::{Fsm, IdleReason};
use graceful::GracefulRestartHelper;
use negotiate::SuppressedCapabilities;

/// Numbers for the connections that the core dials. One for the whole speaker, so that no number is used twice.
#[derive(Clone, Debug, Default)]
pub struct ConnIds(u64);

impl ConnIds {
    /// A number that was never used.
    pub fn next_id(&mut self) -> ConnId {
        self.0 = self.0.saturating_add(1);
        ConnId(self.0)
    }
}

/// One neighbour.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    params: Arc<Params>,
    rng: Rng,
    main: Machine,
    incoming: Option<Box<Machine>>,
    /// The operator wants it up.
    wanted: bool,
    /// The NOTIFICATION that the peer got when it was stopped, and gets again when it connects.
    last_notification: Option<Notification>,
    damping: Damping,
    admission: Admission,
    suppressed: SuppressedCapabilities,
    restart_helper: GracefulRestartHelper,
    /// Timers of the peer rather than of one of its connections: IdleHold, SendHold, Restart, Stale.
    timers: TimerTable,
    wake: Option<Instant>,
    actions: VecDeque<Action>,
    history: EventHistory,
    counters: Counters,
    notification_counts: diagnostics::NotificationCounts,
    /// What failed beyond an attempt to connect, and the last of these attempts.
    failures: diagnostics::Failures,
    dial_failure: Option<Failure>,
    last_down: Option<(Instant, Down)>,
}

impl Peer {
    /// In Idle; [`Event::Start`] gets it going.
    pub fn new(id: PeerId, params: Arc<Params>, seed: u64) -> Peer {
        Peer {
            id,
            rng: Rng::new(seed ^ (u64::from(id.0) << 32)),
            main: Machine::new(Fsm::Idle(IdleReason::AdminDown)),
            incoming: None,
            wanted: false,
            last_notification: None,
            damping: Damping::default(),
            admission: Admission::new(),
            suppressed: SuppressedCapabilities::default(),
            restart_helper: GracefulRestartHelper::default(),
            timers: TimerTable::default(),
            wake: None,
            actions: VecDeque::new(),
            history: EventHistory::default(),
            counters: Counters::default(),
            notification_counts: diagnostics::NotificationCounts::default(),
            failures: diagnostics::Failures::default(),
            dial_failure: None,
            last_down: None,
            params,
        }
    }

    /// Takes in what happened. What it leads to is [polled](Peer::poll).
    pub fn handle(&mut self, now: Instant, event: Event, conns: &mut ConnIds) {
        if !self.on_frequent(now, &event) {
            self.on_event(now, event, conns);
            self.settle_incoming();
            self.rewake();
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Peer::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Serves the timers that are due. All that was received before `received_until` was handed in; it is `now` unless messages wait.
    pub fn on_deadline(&mut self, now: Instant, received_until: Instant, conns: &mut ConnIds) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        self.serve_timers(now, received_until, conns);
        self.settle_incoming();
        self.rewake();
    }

    /// Something (an UPDATE) was sent over the session: the KeepaliveTimer may start again (RFC 4271 §8.2.2, Established).
    pub fn on_sent(&mut self, conn: ConnId, now: Instant) {
        if let Fsm::Established(data) = &mut self.main.fsm
            && data.link.conn == conn
        {
            data.last_sent = now;
        }
    }

    /// What holds for it now.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Of the connection that is furthest.
    pub fn state(&self) -> State {
        self.incoming.as_ref().map_or(State::Idle, |r| r.fsm.state()).max(self.main.fsm.state())
    }

    /// The session, when Established.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match &self.main.fsm {
            Fsm::Established(data) => Some(&data.session),
            Fsm::Idle(_) | Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) => None,
        }
    }

    /// Does this connection, or attempt at one, belong to this peer?
    pub fn owns(&self, conn: ConnId) -> bool {
        self.slot(conn).is_some()
    }

    /// All timers that run, with their deadlines. The HoldTimer is shown as it would be after the last message.
    pub fn timers(&self) -> impl Iterator<Item = (Timer, Instant)> + '_ {
        let hold = match &self.main.fsm {
            Fsm::Established(data) => data.session.hold_time.duration().map(|hold| data.last_received + hold),
            Fsm::Idle(_) | Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) => None,
        };
        let exact = move |(timer, at)| (timer, if timer == Timer::Hold { hold.unwrap_or(at) } else { at });
        self.main.timers.iter().map(exact).chain(self.timers.iter())
    }

    /// The last 64 things that happened, oldest first.
    pub fn events(&self) -> &EventHistory {
        &self.history
    }

    /// Since it was made.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The end of the last session, and when.
    pub fn last_down(&self) -> Option<&(Instant, Down)> {
        self.last_down.as_ref()
    }

    /// Is the operator's will that this peer is up?
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// The last attempt to connect found nobody, and no connection stands: nothing can come from it for now. A machine that refuses
    /// connections lives, and its daemon may be about to start like ours.
    pub fn is_unreachable(&self) -> bool {
        let linked = self.main.fsm.link().is_some() || self.incoming.as_ref().is_some_and(|r| r.fsm.link().is_some());
        let refused = |failure: &Failure| matches!(failure.reason, DownReason::Dial(DialError::Refused));
        self.dial_failure.as_ref().is_some_and(|failure| !refused(failure)) && !linked
    }

    fn rewake(&mut self) {
        let incoming = self.incoming.as_ref().and_then(|r| r.timers.next_deadline());
        let all = [self.timers.next_deadline(), self.main.timers.next_deadline(), incoming];
        self.wake = all.into_iter().flatten().min();
    }
}

#[cfg(test)]
mod tests;
