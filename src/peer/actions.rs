//! The deeds of the table of [`super::fsm`], one function for each word, and the words that a peer says.
//!
//! In: which machine, and what came with the event. Out: actions, states, timers.

use std::sync::Arc;
use std::time::Duration;

use super::dispatch::{ConnectionSlot, EventContext};
use super::event::{Action, Down, DownReason, PeerNotice};
use super::fsm::{ActiveData, ConnectData, EstablishedData, Fsm, IdleReason, Link, Notify, OpenConfirmData, OpenSentData, State, Trigger};
use super::timer::Timer;
use super::{ConnIds, Peer, graceful, negotiate};
use crate::num::{ConnId, Instant};
use crate::wire::{CeaseSubcode, Context, FsmSubcode, Message, Notification, Open};

impl Peer {
    /// `dial`: a new number, a new attempt, ConnectRetryTimer with jitter. An attempt that is still under way is called off.
    pub(super) fn dial(&mut self, now: Instant, conns: &mut ConnIds) {
        self.close_attempt(ConnectionSlot::Main);
        let conn = conns.next_id();
        self.last_notification = None;
        self.timers.stop(Timer::IdleHold);
        self.main.enter(Fsm::Connect(ConnectData { conn, link: None }));
        let wait = self.rng.jitter(self.params.connect_retry);
        self.main.timers.stop_all();
        self.main.timers.set(Timer::ConnectRetry, now + wait);
        self.counters.dialled = self.counters.dialled.saturating_add(1);
        self.actions.push_back(Action::Dial { conn, transport: self.params.transport() });
    }

    /// `listen`: Active, without an attempt of ours unless the ConnectRetryTimer runs.
    pub(super) fn listen(&mut self, now: Instant) {
        self.last_notification = None;
        self.timers.stop(Timer::IdleHold);
        self.main.enter(Fsm::Active(ActiveData { link: None }));
        self.main.timers.stop_all();
        self.arm_retry(now);
    }

    /// ConnectRetryTimer with jitter; never for a passive peer, which it would make dial.
    pub(super) fn arm_retry(&mut self, now: Instant) {
        if !self.params.passive {
            let wait = self.rng.jitter(self.params.connect_retry);
            self.main.timers.set(Timer::ConnectRetry, now + wait);
        }
    }

    /// `wake`: the rest is over, and what starts is automatic (events 5 to 7), so that the idle hold time keeps growing.
    pub(super) fn wake_up(&mut self, now: Instant, conns: &mut ConnIds) {
        if !self.wanted {
            return;
        }
        let event = if self.params.passive { Trigger::AutomaticStartDampedPassive } else { Trigger::AutomaticStartDamped };
        self.fire(now, ConnectionSlot::Main, event, EventContext::default(), conns);
    }

    /// RFC 4486 §4: a connection that we do not want is told so. While the peer is down for a reason that it was told, it is told that
    /// again: its operator looks at the last NOTIFICATION, and that should be the text or the limit, not a mere refusal.
    pub(super) fn refuse(&mut self, now: Instant, context: EventContext) {
        let Some(link) = context.link else { return };
        self.counters.refused = self.counters.refused.saturating_add(1);
        let reason = context.reason.or_else(|| self.failures.iter().next().map(|f| f.reason.clone())).unwrap_or(DownReason::New);
        self.note(now, PeerNotice::Refused { reason });
        let resting = matches!(self.main.fsm, Fsm::Idle(_));
        let last_notification = self.last_notification.clone().filter(|_| resting);
        let sent = last_notification.unwrap_or_else(|| Notification::cease(CeaseSubcode::ConnectionRejected, None));
        self.send(link.conn, &Message::Notification(sent));
        self.counters.notifications_sent = self.counters.notifications_sent.saturating_add(1);
        self.actions.push_back(Action::Close { conn: link.conn });
    }

    /// `send-open`: our OPEN, and the large HoldTimer while the peer's is awaited.
    pub(super) fn send_open(&mut self, now: Instant, slot: ConnectionSlot, link: Option<Link>) {
        let ours = Arc::new(self.open_now(now));
        let timeout = self.params.open_timeout;
        let Some(machine) = self.machine_mut(slot) else { return };
        let Some(link) = link.or_else(|| machine.fsm.link()) else { return };
        machine.timers.stop_all();
        machine.timers.set(Timer::Hold, now + timeout);
        machine.enter(Fsm::OpenSent(OpenSentData { link }));
        machine.ours = Some(ours.clone());
        self.queue_open(link.conn, &ours);
    }

    /// `delay`: DelayOpenTimer, with the connection noted where it came.
    pub(super) fn delay(&mut self, now: Instant, slot: ConnectionSlot, link: Option<Link>) {
        let time = self.params.delay_open.unwrap_or_default();
        let Some(machine) = self.machine_mut(slot) else { return };
        machine.timers.stop_all();
        machine.timers.set(Timer::DelayOpen, now + time);
        match &mut machine.fsm {
            Fsm::Connect(dialing) => dialing.link = link,
            Fsm::Active(waiting) => waiting.link = link,
            Fsm::Idle(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => {}
        }
    }

    /// `answer`: the peer's OPEN came during the delay, so ours and the KEEPALIVE for theirs go out together.
    pub(super) fn answer(&mut self, now: Instant, slot: ConnectionSlot, context: EventContext) {
        if let (Some(session), Some(ours)) = (&context.session, &context.ours) {
            let (conn, ours) = (session.conn, ours.clone());
            if let Some(machine) = self.machine_mut(slot) {
                machine.ours = Some(ours.clone());
            }
            self.queue_open(conn, &ours);
        }
        self.confirm(now, slot, context);
    }

    /// `confirm`: the OPENs agree; HoldTimer and KeepaliveTimer as negotiated, and the reader is told how to read on.
    pub(super) fn confirm(&mut self, now: Instant, slot: ConnectionSlot, context: EventContext) {
        let Some(session) = context.session.map(Arc::new) else { return };
        let Some(machine) = self.machine_mut(slot) else { return };
        let Some(link) = machine.fsm.link() else { return };
        machine.timers.stop_all();
        if let Some(hold) = session.hold_time.duration() {
            machine.timers.set(Timer::Hold, now + hold);
        }
        machine.enter(Fsm::OpenConfirm(OpenConfirmData { link, session: session.clone() }));
        self.actions.push_back(Action::Context { conn: link.conn, context: session.receive.clone() });
        self.queue_keepalive(link.conn);
        if let Some(every) = session.keepalive {
            self.arm_keepalive(slot, now, every);
        }
    }

    /// The connection did not come about, or ended before it said anything: go on listening. An incoming connection is disposed of (§8.2.1.2).
    pub(super) fn go_active(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, context: EventContext) {
        self.remember_failure(now, &context);
        if slot == ConnectionSlot::Incoming {
            return self.end(now, slot, event, Notify::Nothing, context);
        }
        self.main.enter(Fsm::Active(ActiveData { link: None }));
        self.main.timers.stop_all();
        self.main.ours = None;
        self.arm_retry(now);
    }

    /// `send-keepalive`: one KEEPALIVE, and the timer for the next.
    pub(super) fn send_keepalive(&mut self, now: Instant, slot: ConnectionSlot) {
        let Some(machine) = self.machine_mut(slot) else { return };
        let Some((conn, every)) = machine.fsm.session().map(|s| (s.conn, s.keepalive)) else { return };
        if let Fsm::Established(data) = &mut machine.fsm {
            data.last_sent = now;
        }
        self.queue_keepalive(conn);
        if let Some(every) = every {
            self.arm_keepalive(slot, now, every);
        }
    }

    /// `establish`: the session is up. It becomes the main machine's, whichever of the two brought it so far.
    pub(super) fn establish(&mut self, now: Instant, slot: ConnectionSlot) {
        if slot == ConnectionSlot::Incoming
            && let Some(incoming) = self.incoming.as_deref_mut()
        {
            // What was main has a connection on which no OPEN came yet; it is tracked until one does.
            std::mem::swap(&mut self.main, incoming);
        }
        if self.incoming.as_ref().is_some_and(|r| r.fsm.link().is_none()) {
            self.close_attempt(ConnectionSlot::Incoming);
            self.incoming = None;
        }
        self.timers.stop(Timer::IdleHold);
        let Fsm::OpenConfirm(OpenConfirmData { link, session }) = &self.main.fsm else { return };
        let (link, session) = (*link, session.clone());
        self.main.enter(Fsm::Established(EstablishedData {
            link,
            session: session.clone(),
            since: now,
            last_received: now,
            last_sent: now,
            blocked: None,
        }));
        if let Some(hold) = session.hold_time.duration() {
            self.main.timers.set(Timer::Hold, now + hold);
        }
        self.damping.on_established();
        self.counters.established = self.counters.established.saturating_add(1);
        self.counters.connect_retry = 0;
        self.failures.begin_anew();
        self.dial_failure = None;
        self.note_state(now, ConnectionSlot::Main, State::OpenConfirm, Trigger::KeepAliveMsg);
        self.on_peer_back(now, &session);
        self.actions.push_back(Action::Established(session));
    }

    /// `stop`: the operator's will, which is not held against the peer.
    pub(super) fn stop(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, context: EventContext) {
        self.counters.connect_retry = 0;
        self.end(now, slot, event, Notify::Cease, context);
    }

    /// To Idle without holding it against the peer, but not to come back at once either.
    pub(super) fn close(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, context: EventContext) {
        self.remember_failure(now, &context);
        self.end(now, slot, event, Notify::Nothing, context);
        self.rest_if_idle(now);
    }

    /// `fail`: counted, and the rest that follows is longer than the last one was.
    pub(super) fn fail(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, notify: Notify, mut context: EventContext) {
        if context.reason.is_none() {
            let state = self.machine(slot).map_or(State::Idle, |m| m.fsm.state());
            context.reason = Some(DownReason::Unexpected { state, event });
        } else if notify == Notify::Fsm
            && let Some(machine) = self.machine(slot)
        {
            context.reason = Some(DownReason::Unexpected { state: machine.fsm.state(), event });
        }
        self.counters.connect_retry = self.counters.connect_retry.saturating_add(1);
        if self.main.fsm.state() != State::Established {
            self.damping.on_failure();
        }
        self.remember_failure(now, &context);
        self.end(now, slot, event, notify, context);
        self.rest_if_idle(now);
    }

    /// For [`Peer::why_down`] and the event history.
    pub(super) fn remember_failure(&mut self, now: Instant, context: &EventContext) {
        if let Some(reason) = &context.reason {
            self.failures.note(reason.clone(), self.params.idle_hold_max, now);
            self.note(now, PeerNotice::Failed(reason.clone()));
        }
    }

    /// Starts the idle hold time, unless the peer is switched off or rests already.
    pub(super) fn rest_if_idle(&mut self, now: Instant) {
        if matches!(self.main.fsm, Fsm::Idle(_)) && self.wanted && !self.timers.runs(Timer::IdleHold) {
            let hold = self.damping.hold(self.params.idle_hold, self.params.idle_hold_max);
            self.rest(now, IdleReason::IdleHold, hold);
        }
    }

    /// To Idle, until the IdleHoldTimer expires; with jitter, but for a penalty, whose length was promised.
    pub(super) fn rest(&mut self, now: Instant, how: IdleReason, time: Duration) {
        self.main.enter(Fsm::Idle(how));
        let time = if how == IdleReason::Penalized { time } else { self.rng.jitter(time) };
        self.timers.set(Timer::IdleHold, now + time);
    }

    /// The end of one connection: tell, close, say that the session is down. The main machine is in Idle then, an incoming connection is gone.
    pub(super) fn end(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, notify: Notify, context: EventContext) {
        let Some(machine) = self.machine_mut(slot) else { return };
        let old = std::mem::replace(&mut machine.fsm, Fsm::Idle(IdleReason::AdminDown));
        machine.timers.stop_all();
        machine.ours = None;
        let (from, conn, link) = (old.state(), old.conn(), old.link());
        if slot == ConnectionSlot::Incoming {
            self.incoming = None;
        }
        let sent = link.and_then(|link| Some((link, notification(notify, from, &context)?)));
        if let Some((link, sent)) = &sent {
            self.send(link.conn, &Message::Notification(sent.clone()));
            self.counters.notifications_sent = self.counters.notifications_sent.saturating_add(1);
            self.notification_counts.count("sent", sent);
            self.note(now, PeerNotice::Sent(sent.clone()));
        }
        if let Some(conn) = conn {
            self.actions.push_back(Action::Close { conn });
        }
        if let Fsm::Established(data) = old {
            let notification = context.received.or(sent.map(|(_, sent)| sent));
            self.on_down(now, &data, context.reason.unwrap_or(DownReason::New), notification);
        }
        self.note_state(now, slot, from, event);
    }

    /// Everything that follows from the end of a session: flaps are counted, routes are kept or not, and [`Action::Down`] says so.
    pub(super) fn on_down(&mut self, now: Instant, data: &EstablishedData, reason: DownReason, notification: Option<Notification>) {
        let lasted = now.since(data.since);
        self.timers.stop(Timer::SendHold);
        self.counters.dropped = self.counters.dropped.saturating_add(1);
        self.suppressed = Default::default();
        if !matches!(reason, DownReason::Stopped { .. } | DownReason::PeerRestarted) {
            self.damping.on_lost(lasted);
        }
        let keep = graceful::keeps(&data.session, &reason, notification.as_ref());
        let keep_stale =
            !matches!(reason, DownReason::PeerRestarted) && (is_collision(notification.as_ref()) || self.has_another_connection());
        let keep_stale = self.start_restart_window(now, &data.session, keep, keep_stale);
        let down = Down { session: data.session.clone(), reason, notification, keep, keep_stale, lasted };
        self.last_down = Some((now, down.clone()));
        self.actions.push_back(Action::Down(down));
    }

    /// A connection stands that is no session yet.
    fn has_another_connection(&self) -> bool {
        let begins = |slot| self.machine(slot).is_some_and(|m| matches!(m.fsm, Fsm::OpenSent(_) | Fsm::OpenConfirm(_)));
        [ConnectionSlot::Main, ConnectionSlot::Incoming].into_iter().any(begins)
    }

    /// Calls off a dial, or closes the connection that it became.
    pub(super) fn close_attempt(&mut self, slot: ConnectionSlot) {
        if let Some(conn) = self.machine(slot).and_then(|m| m.fsm.conn()) {
            self.actions.push_back(Action::Close { conn });
        }
    }

    // ---- words --------------------------------------------------------------------------------------------------------------------

    /// Our OPEN as it would be sent now.
    pub(super) fn open_now(&self, now: Instant) -> Open {
        negotiate::our_open(&self.params, &self.suppressed, self.restart_facts(now))
    }

    /// Counts and queues an OPEN.
    pub(super) fn queue_open(&mut self, conn: ConnId, open: &Open) {
        self.counters.opens_sent = self.counters.opens_sent.saturating_add(1);
        self.send(conn, &Message::Open(Box::new(open.clone())));
    }

    /// Counts and queues a KEEPALIVE.
    pub(super) fn queue_keepalive(&mut self, conn: ConnId) {
        self.counters.keepalives_sent = self.counters.keepalives_sent.saturating_add(1);
        self.send(conn, &Message::KeepAlive);
    }

    /// None of these depends on what was negotiated.
    pub(super) fn send(&mut self, conn: ConnId, message: &Message) {
        self.actions.push_back(Action::Send { conn, octets: message.to_bytes(&Context::INITIAL) });
    }

    /// Into the history of the peer, and to whoever listens.
    pub(super) fn note(&mut self, now: Instant, what: PeerNotice) {
        self.history.push(now, what.clone());
        self.actions.push_back(Action::Notice(what));
    }

    /// Notes a change of the main machine's state; nothing if it is the same.
    pub(super) fn note_state(&mut self, now: Instant, slot: ConnectionSlot, from: State, event: Trigger) {
        let to = self.machine(slot).map_or(State::Idle, |m| m.fsm.state());
        if slot == ConnectionSlot::Main && from != to {
            self.note(now, PeerNotice::State { from, to, event });
        }
    }
}

/// The NOTIFICATION for a step of the table.
fn notification(notify: Notify, state: State, context: &EventContext) -> Option<Notification> {
    match notify {
        Notify::Nothing => None,
        Notify::Cease => Some(context.notification.clone().unwrap_or_else(|| Notification::cease(CeaseSubcode::AdministrativeReset, None))),
        Notify::HoldTimer => Some(Notification::hold_timer_expired()),
        Notify::SendHold => Some(Notification::send_hold_timer_expired()),
        Notify::Error => context.notification.clone(),
        Notify::Fsm => {
            let subcode = match state {
                State::Idle | State::Connect | State::Active => FsmSubcode::Unspecified,
                State::OpenSent => FsmSubcode::OpenSent,
                State::OpenConfirm => FsmSubcode::OpenConfirm,
                State::Established => FsmSubcode::Established,
            };
            // The subcodes speak of messages; for any other event there is none (RFC 6608 §3).
            let subcode = if context.message.is_some() { subcode } else { FsmSubcode::Unspecified };
            Some(Notification::fsm_error(subcode, context.message))
        }
    }
}

/// One of two connections was too many (RFC 4271 §6.8).
fn is_collision(notification: Option<&Notification>) -> bool {
    notification.is_some_and(|n| (n.code, n.subcode) == (6, CeaseSubcode::ConnectionCollision as u8))
}
