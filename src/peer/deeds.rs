//! The deeds of the table of [`super::fsm`], one function for each word, and the words that a peer says.
//!
//! In: which machine, and what came with the event. Out: actions, states, timers.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Action, Down, DownReason, PeerNotice};
use super::fsm::{Dialing, Fsm, Greeting, Link, Live, Negotiated, Resting, State, Tell, Trigger, Waiting};
use super::machine::{Fact, Which};
use super::timer::Timer;
use super::why::Failure;
use super::{ConnIds, Peer, graceful, negotiate};
use crate::num::{ConnId, Instant};
use crate::wire::{CeaseSubcode, Context, FsmSubcode, Message, Notification, Open};

impl Peer {
    pub(super) fn dial(&mut self, now: Instant, conns: &mut ConnIds) {
        self.close_attempt(Which::Main);
        let conn = conns.next_id();
        self.farewell = None;
        self.timers.stop(Timer::IdleHold);
        self.main.enter(Fsm::Connect(Dialing { conn, link: None }));
        let wait = self.rng.jitter(self.params.connect_retry);
        self.main.timers.stop_all();
        self.main.timers.set(Timer::ConnectRetry, now + wait);
        self.counters.dialled = self.counters.dialled.saturating_add(1);
        self.actions.push_back(Action::Dial { conn, transport: self.params.transport() });
    }

    pub(super) fn listen(&mut self, now: Instant) {
        self.farewell = None;
        self.timers.stop(Timer::IdleHold);
        self.main.enter(Fsm::Active(Waiting { link: None }));
        self.main.timers.stop_all();
        self.arm_retry(now);
    }

    pub(super) fn arm_retry(&mut self, now: Instant) {
        if !self.params.passive {
            let wait = self.rng.jitter(self.params.connect_retry);
            self.main.timers.set(Timer::ConnectRetry, now + wait);
        }
    }

    pub(super) fn wake_up(&mut self, now: Instant, conns: &mut ConnIds) {
        if !self.wanted {
            return;
        }
        let event = if self.params.passive { Trigger::AutomaticStartDampedPassive } else { Trigger::AutomaticStartDamped };
        self.fire(now, Which::Main, event, Fact::default(), conns);
    }

    /// RFC 4486 §4: a connection that we do not want is told so. While the peer is down for a reason that it was told, it is told that
    /// again: its operator looks at the last NOTIFICATION, and that should be the text or the limit, not a mere refusal.
    pub(super) fn refuse(&mut self, now: Instant, fact: Fact) {
        let Some(link) = fact.link else { return };
        self.counters.refused = self.counters.refused.saturating_add(1);
        let reason = fact.reason.or_else(|| self.failure.as_ref().map(|f| f.reason.clone())).unwrap_or(DownReason::New);
        self.note(now, PeerNotice::Refused { reason });
        let resting = matches!(self.main.fsm, Fsm::Idle(_));
        let farewell = self.farewell.clone().filter(|_| resting);
        let told = farewell.unwrap_or_else(|| Notification::cease(CeaseSubcode::ConnectionRejected, None));
        self.send(link.conn, &Message::Notification(told));
        self.counters.notifications_sent = self.counters.notifications_sent.saturating_add(1);
        self.actions.push_back(Action::Close { conn: link.conn });
    }

    pub(super) fn greet(&mut self, now: Instant, which: Which, link: Option<Link>) {
        let ours = Arc::new(self.open_now(now));
        let timeout = self.params.open_timeout;
        let Some(machine) = self.machine_mut(which) else { return };
        let Some(link) = link.or_else(|| machine.fsm.link()) else { return };
        machine.timers.stop_all();
        machine.timers.set(Timer::Hold, now + timeout);
        machine.enter(Fsm::OpenSent(Greeting { link }));
        machine.ours = Some(ours.clone());
        self.send_open(link.conn, &ours);
    }

    pub(super) fn delay(&mut self, now: Instant, which: Which, link: Option<Link>) {
        let time = self.params.delay_open.unwrap_or_default();
        let Some(machine) = self.machine_mut(which) else { return };
        machine.timers.stop_all();
        machine.timers.set(Timer::DelayOpen, now + time);
        match &mut machine.fsm {
            Fsm::Connect(dialing) => dialing.link = link,
            Fsm::Active(waiting) => waiting.link = link,
            Fsm::Idle(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => {}
        }
    }

    pub(super) fn answer(&mut self, now: Instant, which: Which, fact: Fact) {
        if let (Some(session), Some(ours)) = (&fact.session, &fact.ours) {
            let (conn, ours) = (session.conn, ours.clone());
            if let Some(machine) = self.machine_mut(which) {
                machine.ours = Some(ours.clone());
            }
            self.send_open(conn, &ours);
        }
        self.confirm(now, which, fact);
    }

    pub(super) fn confirm(&mut self, now: Instant, which: Which, fact: Fact) {
        let Some(session) = fact.session.map(Arc::new) else { return };
        let Some(machine) = self.machine_mut(which) else { return };
        let Some(link) = machine.fsm.link() else { return };
        machine.timers.stop_all();
        if let Some(hold) = session.hold_time.duration() {
            machine.timers.set(Timer::Hold, now + hold);
        }
        machine.enter(Fsm::OpenConfirm(Negotiated { link, session: session.clone() }));
        self.actions.push_back(Action::Context { conn: link.conn, context: session.receive.clone() });
        self.send_keepalive(link.conn);
        if let Some(every) = session.keepalive {
            self.arm_keepalive(which, now, every);
        }
    }

    /// The connection did not come about, or ended before it said anything: go on listening. A rival is disposed of (§8.2.1.2).
    pub(super) fn fall_back(&mut self, now: Instant, which: Which, event: Trigger, fact: Fact) {
        if let Some(reason) = &fact.reason {
            self.note(now, PeerNotice::Failed(reason.clone()));
            self.failure = Some(Failure { at: now, reason: reason.clone() });
        }
        if which == Which::Rival {
            return self.end(now, which, event, Tell::Nothing, fact);
        }
        self.main.enter(Fsm::Active(Waiting { link: None }));
        self.main.timers.stop_all();
        self.main.ours = None;
        self.arm_retry(now);
    }

    pub(super) fn beat(&mut self, now: Instant, which: Which) {
        let Some(machine) = self.machine_mut(which) else { return };
        let Some((conn, every)) = machine.fsm.session().map(|s| (s.conn, s.keepalive)) else { return };
        if let Fsm::Established(live) = &mut machine.fsm {
            live.said = now;
        }
        self.send_keepalive(conn);
        if let Some(every) = every {
            self.arm_keepalive(which, now, every);
        }
    }

    pub(super) fn establish(&mut self, now: Instant, which: Which) {
        if which == Which::Rival
            && let Some(rival) = self.rival.as_deref_mut()
        {
            // What was main has a connection on which no OPEN came yet; it is tracked until one does.
            std::mem::swap(&mut self.main, rival);
        }
        if self.rival.as_ref().is_some_and(|r| r.fsm.link().is_none()) {
            self.close_attempt(Which::Rival);
            self.rival = None;
        }
        self.timers.stop(Timer::IdleHold);
        let Fsm::OpenConfirm(Negotiated { link, session }) = &self.main.fsm else { return };
        let (link, session) = (*link, session.clone());
        self.main.enter(Fsm::Established(Live { link, session: session.clone(), since: now, heard: now, said: now, blocked: None }));
        if let Some(hold) = session.hold_time.duration() {
            self.main.timers.set(Timer::Hold, now + hold);
        }
        self.damping.on_established();
        self.counters.established = self.counters.established.saturating_add(1);
        self.counters.connect_retry = 0;
        self.failure = None;
        self.dial_failure = None;
        self.note_state(now, Which::Main, State::OpenConfirm, Trigger::KeepAliveMsg);
        self.on_peer_back(now, &session);
        self.actions.push_back(Action::Established(session));
    }

    pub(super) fn stop(&mut self, now: Instant, which: Which, event: Trigger, fact: Fact) {
        self.counters.connect_retry = 0;
        self.end(now, which, event, Tell::Cease, fact);
    }

    /// To Idle without holding it against the peer, but not to come back at once either.
    pub(super) fn leave(&mut self, now: Instant, which: Which, event: Trigger, fact: Fact) {
        self.remember_failure(now, &fact);
        self.end(now, which, event, Tell::Nothing, fact);
        self.rest_if_idle(now);
    }

    pub(super) fn fail(&mut self, now: Instant, which: Which, event: Trigger, tell: Tell, mut fact: Fact) {
        if fact.reason.is_none() {
            let state = self.machine(which).map_or(State::Idle, |m| m.fsm.state());
            fact.reason = Some(DownReason::Unexpected { state, event });
        } else if tell == Tell::Fsm
            && let Some(machine) = self.machine(which)
        {
            fact.reason = Some(DownReason::Unexpected { state: machine.fsm.state(), event });
        }
        self.counters.connect_retry = self.counters.connect_retry.saturating_add(1);
        if self.main.fsm.state() != State::Established {
            self.damping.on_failure();
        }
        self.remember_failure(now, &fact);
        self.end(now, which, event, tell, fact);
        self.rest_if_idle(now);
    }

    pub(super) fn remember_failure(&mut self, now: Instant, fact: &Fact) {
        if let Some(reason) = &fact.reason {
            self.note(now, PeerNotice::Failed(reason.clone()));
            self.failure = Some(Failure { at: now, reason: reason.clone() });
        }
    }

    pub(super) fn rest_if_idle(&mut self, now: Instant) {
        if matches!(self.main.fsm, Fsm::Idle(_)) && self.wanted && !self.timers.runs(Timer::IdleHold) {
            let hold = self.damping.hold(self.params.idle_hold, self.params.idle_hold_max);
            self.rest(now, Resting::Held, hold);
        }
    }

    pub(super) fn rest(&mut self, now: Instant, how: Resting, time: Duration) {
        self.main.enter(Fsm::Idle(how));
        let time = if how == Resting::Barred { time } else { self.rng.jitter(time) };
        self.timers.set(Timer::IdleHold, now + time);
    }

    /// The end of one connection: tell, close, say that the session is down. The main machine is in Idle then, a rival is gone.
    pub(super) fn end(&mut self, now: Instant, which: Which, event: Trigger, tell: Tell, fact: Fact) {
        let Some(machine) = self.machine_mut(which) else { return };
        let old = std::mem::replace(&mut machine.fsm, Fsm::Idle(Resting::Off));
        machine.timers.stop_all();
        machine.ours = None;
        let (from, conn, link) = (old.state(), old.conn(), old.link());
        if which == Which::Rival {
            self.rival = None;
        }
        let told = link.and_then(|link| Some((link, notification(tell, from, &fact)?)));
        if let Some((link, told)) = &told {
            self.send(link.conn, &Message::Notification(told.clone()));
            self.counters.notifications_sent = self.counters.notifications_sent.saturating_add(1);
            self.tally.count("sent", told);
            self.note(now, PeerNotice::Sent(told.clone()));
        }
        if let Some(conn) = conn {
            self.actions.push_back(Action::Close { conn });
        }
        if let Fsm::Established(live) = old {
            let notification = fact.received.or(told.map(|(_, told)| told));
            self.on_down(now, &live, fact.reason.unwrap_or(DownReason::New), notification);
        }
        self.note_state(now, which, from, event);
    }

    pub(super) fn on_down(&mut self, now: Instant, live: &Live, reason: DownReason, notification: Option<Notification>) {
        let lasted = now.since(live.since);
        self.timers.stop(Timer::SendHold);
        self.counters.dropped = self.counters.dropped.saturating_add(1);
        self.without = Default::default();
        if !matches!(reason, DownReason::Stopped { .. } | DownReason::PeerRestarted) {
            self.damping.on_lost(lasted);
        }
        let keep = graceful::keeps(&live.session, &reason, notification.as_ref());
        self.start_restart_window(now, &live.session, keep);
        let down = Down { session: live.session.clone(), reason, notification, keep, lasted };
        self.last_down = Some((now, down.clone()));
        self.actions.push_back(Action::Down(down));
    }

    pub(super) fn close_attempt(&mut self, which: Which) {
        if let Some(conn) = self.machine(which).and_then(|m| m.fsm.conn()) {
            self.actions.push_back(Action::Close { conn });
        }
    }

    // ---- words --------------------------------------------------------------------------------------------------------------------

    pub(super) fn open_now(&self, now: Instant) -> Open {
        negotiate::our_open(&self.params, &self.without, self.restart_facts(now))
    }

    pub(super) fn send_open(&mut self, conn: ConnId, open: &Open) {
        self.counters.opens_sent = self.counters.opens_sent.saturating_add(1);
        self.send(conn, &Message::Open(Box::new(open.clone())));
    }

    pub(super) fn send_keepalive(&mut self, conn: ConnId) {
        self.counters.keepalives_sent = self.counters.keepalives_sent.saturating_add(1);
        self.send(conn, &Message::KeepAlive);
    }

    /// None of these depends on what was negotiated.
    pub(super) fn send(&mut self, conn: ConnId, message: &Message) {
        self.actions.push_back(Action::Send { conn, octets: message.to_bytes(&Context::INITIAL) });
    }

    pub(super) fn note(&mut self, now: Instant, what: PeerNotice) {
        self.ring.push(now, what.clone());
        self.actions.push_back(Action::Notice(what));
    }

    pub(super) fn note_state(&mut self, now: Instant, which: Which, from: State, event: Trigger) {
        let to = self.machine(which).map_or(State::Idle, |m| m.fsm.state());
        if which == Which::Main && from != to {
            self.note(now, PeerNotice::State { from, to, event });
        }
    }
}

/// What is told for a word of the table.
fn notification(tell: Tell, state: State, fact: &Fact) -> Option<Notification> {
    match tell {
        Tell::Nothing => None,
        Tell::Cease => Some(fact.told.clone().unwrap_or_else(|| Notification::cease(CeaseSubcode::AdministrativeReset, None))),
        Tell::HoldTimer => Some(Notification::hold_timer_expired()),
        Tell::SendHold => Some(Notification::send_hold_timer_expired()),
        Tell::Error => fact.told.clone(),
        Tell::Fsm => {
            let subcode = match state {
                State::Idle | State::Connect | State::Active => FsmSubcode::Unspecified,
                State::OpenSent => FsmSubcode::OpenSent,
                State::OpenConfirm => FsmSubcode::OpenConfirm,
                State::Established => FsmSubcode::Established,
            };
            // The subcodes speak of messages; for any other event there is none (RFC 6608 §3).
            let subcode = if fact.message.is_some() { subcode } else { FsmSubcode::Unspecified };
            Some(Notification::fsm_error(subcode, fact.message))
        }
    }
}
