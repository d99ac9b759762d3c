//! From what happened to the table of [`super::fsm`]: finds the machine that an event concerns, asks for the step, and has it done.
//!
//! In: events and due timers. Out: the deeds of `actions`, in the order in which they are to be done.

use std::sync::Arc;
use std::time::Duration;

use super::collision::{self, End, Old, Verdict};
use super::diagnostics::Failure;
use super::event::{Action, DialError, DownReason, Event, PeerNotice, StopKind};
use super::fsm::{self, ActiveData, ConnectData, Fsm, IdleReason, Link, Notify, State, Step, Trigger};
use super::params::Params;
use super::session::{Direction, Session};
use super::timer::{TICK, Timer, TimerTable, round_up};
use super::{ConnIds, Peer, negotiate};
use crate::num::{ConnId, Family, Instant, Rng};
use crate::wire::{CeaseSubcode, DecodeError, Message, Notification, Open, RefreshSubtype, RouteRefresh};

/// So many peers may have their KEEPALIVEs sent in one go: some milliseconds' work, in which nothing else is done.
const SAME_BEAT: u32 = 1024;

/// A session older than this whose peer connects anew is a session that the peer has lost (RFC 4724 §4.2); a younger one collides.
const SETTLED: Duration = Duration::from_secs(5);

/// One connection, or the attempt at one, with its timers.
#[derive(Debug)]
pub(super) struct Machine {
    /// The state, with what is known in it.
    pub fsm: Fsm,
    /// Those of the connection; the peer's own are in [`Peer`].
    pub timers: TimerTable,
    /// The OPEN that was sent over this connection.
    pub ours: Option<Arc<Open>>,
}

impl Machine {
    /// In this state, without a timer.
    pub fn new(fsm: Fsm) -> Machine {
        Machine { fsm, timers: TimerTable::default(), ours: None }
    }

    /// Another state; timers are the caller's to set.
    pub fn enter(&mut self, fsm: Fsm) {
        self.fsm = fsm;
    }
}

/// Which machine of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionSlot {
    /// The one that dials, and that a session belongs to.
    Main,
    /// A second one, for a connection that the peer opened while the main one was busy.
    Incoming,
}

/// What comes with an event.
#[derive(Default)]
pub(super) struct EventContext {
    /// The connection that stands now.
    pub link: Option<Link>,
    /// What the OPENs agreed on.
    pub session: Option<Session>,
    /// The OPEN that was agreed with.
    pub ours: Option<Arc<Open>>,
    /// Why, if it ends something.
    pub reason: Option<DownReason>,
    /// The NOTIFICATION for `fail:error` and `fail:cease`.
    pub notification: Option<Notification>,
    /// The message that was not expected (RFC 6608 §3).
    pub message: Option<u8>,
    /// The NOTIFICATION that was received.
    pub received: Option<Notification>,
}

impl EventContext {
    /// A reason, and nothing else.
    pub fn because(reason: DownReason) -> EventContext {
        EventContext { reason: Some(reason), ..EventContext::default() }
    }
}

/// A hold timer that is over while messages wait to be taken in is looked at again so much later.
const BACKLOG_PAUSE: Duration = Duration::from_millis(100);

impl Peer {
    /// The frequent events: two stores. True if that was all.
    pub(super) fn on_frequent(&mut self, now: Instant, event: &Event) -> bool {
        let (conn, updates, keepalives) = match event {
            Event::UpdatesSeen { conn, n } => (*conn, *n, 0),
            Event::Message { conn, message: Message::KeepAlive } => (*conn, 0, 1),
            Event::SendProgress { conn } => return self.on_send_progress(*conn),
            Event::SendBlocked { conn } => return self.on_send_blocked(now, *conn),
            _ => return false,
        };
        let Fsm::Established(data) = &mut self.main.fsm else { return false };
        if data.link.conn != conn {
            return false;
        }
        data.last_received = now;
        self.counters.updates_received = self.counters.updates_received.saturating_add(updates);
        self.counters.keepalives_received = self.counters.keepalives_received.saturating_add(keepalives);
        true
    }

    /// All other events. What belongs to no connection of this peer's is dropped: a late event of one that has been closed.
    pub(super) fn on_event(&mut self, now: Instant, event: Event, conns: &mut ConnIds) {
        match event {
            Event::Start => self.on_start(now, conns),
            Event::Stop { kind, text } => self.on_stop(now, kind, text),
            Event::Restarting { until, forwarding } => self.restart_helper.restarting = Some((until, forwarding)),
            Event::Connected { conn, local, remote, direction } => {
                let link = Link { conn, local, remote, direction, since: now };
                match direction {
                    Direction::Dialled => self.on_dialled(now, link, conns),
                    Direction::Accepted => self.on_accepted(now, link, conns),
                }
            }
            Event::DialFailed { conn, error } => self.on_dial_failed(now, conn, error, conns),
            Event::Closed { conn, error } => self.on_closed(now, conn, error, conns),
            Event::Message { conn, message } => self.on_message(now, conn, message, conns),
            Event::Malformed { conn, error } => self.on_malformed(now, conn, &error, conns),
            Event::UpdatesSeen { conn, n } => {
                self.counters.updates_received = self.counters.updates_received.saturating_add(n);
                self.on_unexpected(now, conn, Trigger::UpdateMsg, 2, conns);
            }
            Event::EndOfRib { family } => self.on_end_of_rib(now, family),
            Event::SendBlocked { .. } => {
                self.arm_send_hold();
            }
            Event::SendProgress { .. } => {}
            Event::MaxPrefixExceeded { family, limit, restart } => self.on_max_prefix(now, family, limit, restart),
            Event::Reconfigured { params, restart } => self.on_reconfigured(now, params, restart, conns),
        }
    }

    /// Whose connection, or attempt at one, this is.
    pub(super) fn slot(&self, conn: ConnId) -> Option<ConnectionSlot> {
        if self.main.fsm.conn() == Some(conn) {
            return Some(ConnectionSlot::Main);
        }
        (self.incoming.as_ref()?.fsm.conn() == Some(conn)).then_some(ConnectionSlot::Incoming)
    }

    /// `None` if there is no second machine.
    pub(super) fn machine(&self, slot: ConnectionSlot) -> Option<&Machine> {
        match slot {
            ConnectionSlot::Main => Some(&self.main),
            ConnectionSlot::Incoming => self.incoming.as_deref(),
        }
    }

    /// Likewise, to change it.
    pub(super) fn machine_mut(&mut self, slot: ConnectionSlot) -> Option<&mut Machine> {
        match slot {
            ConnectionSlot::Main => Some(&mut self.main),
            ConnectionSlot::Incoming => self.incoming.as_deref_mut(),
        }
    }

    // ---- events -------------------------------------------------------------------------------------------------------------------

    fn on_start(&mut self, now: Instant, conns: &mut ConnIds) {
        self.wanted = true;
        self.last_notification = None;
        self.damping = Default::default();
        self.suppressed = Default::default();
        self.failures.begin_anew();
        self.dial_failure = None;
        self.counters.connect_retry = 0;
        let event = if self.params.passive { Trigger::ManualStartPassive } else { Trigger::ManualStart };
        self.fire(now, ConnectionSlot::Main, event, EventContext::default(), conns);
    }

    fn on_stop(&mut self, now: Instant, kind: StopKind, text: Option<String>) {
        let subcode = match kind {
            StopKind::Shutdown => CeaseSubcode::AdministrativeShutdown,
            StopKind::Deconfigured => CeaseSubcode::PeerDeconfigured,
            StopKind::Reset | StopKind::HardReset => CeaseSubcode::AdministrativeReset,
            StopKind::ConfigChange => CeaseSubcode::OtherConfigurationChange,
            StopKind::OutOfResources => CeaseSubcode::OutOfResources,
            StopKind::BfdDown | StopKind::BfdDownKept | StopKind::LinkDown => CeaseSubcode::BfdDown,
            StopKind::Quiet => return self.close_quietly(now),
        };
        let of_path = matches!(kind, StopKind::BfdDown | StopKind::BfdDownKept | StopKind::LinkDown);
        let resets = matches!(kind, StopKind::Reset | StopKind::HardReset | StopKind::ConfigChange | StopKind::OutOfResources);
        let comes_back = resets || of_path;
        if !comes_back {
            self.wanted = false;
        }
        let notification = match kind {
            // As if the hold timer had expired: it would have (RFC 5882 §4.2.1).
            StopKind::LinkDown => Notification::hold_timer_expired(),
            _ => Notification::cease(subcode, text.as_deref()),
        };
        let said_again = kind == StopKind::OutOfResources || (kind == StopKind::Shutdown && text.is_some());
        self.last_notification = said_again.then(|| notification.clone());
        // What it costs to keep its routes is why a peer is let go for want of resources.
        let hard = matches!(kind, StopKind::Shutdown | StopKind::Deconfigured | StopKind::HardReset | StopKind::OutOfResources)
            || matches!(kind, StopKind::BfdDown | StopKind::LinkDown);
        let notification = if hard && self.speaks_hard_reset() { notification.into_hard_reset() } else { notification };
        let event = match kind {
            StopKind::ConfigChange | StopKind::OutOfResources => Trigger::AutomaticStop,
            StopKind::BfdDown | StopKind::BfdDownKept | StopKind::LinkDown => Trigger::AutomaticStop,
            StopKind::Shutdown | StopKind::Deconfigured | StopKind::Reset | StopKind::HardReset | StopKind::Quiet => Trigger::ManualStop,
        };
        let reason = DownReason::Stopped { kind, text };
        for slot in [ConnectionSlot::Incoming, ConnectionSlot::Main] {
            let context =
                EventContext { reason: Some(reason.clone()), notification: Some(notification.clone()), ..EventContext::default() };
            self.fire(now, slot, event, context, &mut ConnIds::default());
        }
        self.stopped_for(reason, now);
        if hard {
            self.give_up_stale(now);
        }
        self.after_stop(now, kind, comes_back);
    }

    /// Where a stopped peer rests: off, or until its next start, which for a reset is soon.
    fn after_stop(&mut self, now: Instant, kind: StopKind, comes_back: bool) {
        if !matches!(self.main.fsm, Fsm::Idle(_)) {
            return;
        }
        if !comes_back {
            self.main.enter(Fsm::Idle(IdleReason::AdminDown));
            self.timers.stop(Timer::IdleHold);
        } else if self.wanted && kind == StopKind::OutOfResources {
            self.rest(now, IdleReason::Penalized, self.params.idle_hold_max);
        } else if self.wanted {
            self.damping = Default::default();
            let hold = self.damping.hold(self.params.idle_hold, self.params.idle_hold_max);
            self.rest(now, IdleReason::IdleHold, hold);
        }
    }

    /// RFC 4724 §4.1: the peer shall think that TCP was lost, and keep our routes.
    fn close_quietly(&mut self, now: Instant) {
        self.wanted = false;
        let reason = DownReason::Stopped { kind: StopKind::Quiet, text: None };
        for slot in [ConnectionSlot::Incoming, ConnectionSlot::Main] {
            let context = EventContext::because(reason.clone());
            self.end(now, slot, Trigger::ManualStop, Notify::Nothing, context);
        }
        self.main.enter(Fsm::Idle(IdleReason::AdminDown));
        self.timers.stop(Timer::IdleHold);
        self.stopped_for(reason, now);
    }

    /// An operator's word, or the router's own, ends what was before.
    fn stopped_for(&mut self, reason: DownReason, now: Instant) {
        self.failures.begin_anew();
        self.failures.note(reason, self.params.idle_hold_max, now);
    }

    fn speaks_hard_reset(&self) -> bool {
        self.session().and_then(|s| s.graceful).is_some_and(|g| g.notification)
    }

    fn on_dialled(&mut self, now: Instant, link: Link, conns: &mut ConnIds) {
        match &self.main.fsm {
            Fsm::Connect(ConnectData { conn, link: None }) if *conn == link.conn => {}
            // An event of an attempt that was given up.
            Fsm::Idle(_) | Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => return,
        }
        self.note(now, PeerNotice::Connected { conn: link.conn, direction: link.direction, remote: link.remote });
        self.dial_failure = None;
        self.fire(now, ConnectionSlot::Main, Trigger::TcpCrAcked, EventContext { link: Some(link), ..EventContext::default() }, conns);
    }

    fn on_accepted(&mut self, now: Instant, link: Link, conns: &mut ConnIds) {
        if self.owns(link.conn) {
            return;
        }
        self.counters.accepted = self.counters.accepted.saturating_add(1);
        let context = || EventContext { link: Some(link), ..EventContext::default() };
        if self.params.local_addr.is_some_and(|want| want != link.local.ip()) {
            let context = EventContext { reason: Some(DownReason::WrongLocalAddress), ..context() };
            return self.fire(now, ConnectionSlot::Main, Trigger::TcpCrInvalid, context, conns);
        }
        if !self.admission.admit(now) {
            return self.refuse(now, EventContext { reason: Some(DownReason::TooManyConnections), ..context() });
        }
        if let Fsm::Idle(IdleReason::IdleHold) = self.main.fsm {
            // Resting ends for a peer that comes by itself; admission keeps this from spinning.
            self.fire(now, ConnectionSlot::Main, Trigger::AutomaticStartDampedPassive, EventContext::default(), conns);
        }
        if !matches!(self.main.fsm, Fsm::Idle(_)) {
            self.note(now, PeerNotice::Connected { conn: link.conn, direction: link.direction, remote: link.remote });
        }
        match &self.main.fsm {
            Fsm::Idle(_) | Fsm::Active(ActiveData { link: None }) => {
                self.fire(now, ConnectionSlot::Main, Trigger::TcpConnectionConfirmed, context(), conns);
            }
            Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => self.track(now, link, conns),
        }
    }

    /// A second connection gets a machine of its own. The other end dials once at a time, so a newer one replaces one that has said nothing.
    fn track(&mut self, now: Instant, link: Link, conns: &mut ConnIds) {
        let silent = |m: &Machine| m.fsm.state() < State::OpenConfirm && m.fsm.link().is_some_and(|l| l.direction == Direction::Accepted);
        match &self.incoming {
            Some(incoming) if !silent(incoming) => {
                let reason = Some(DownReason::TooManyConnections);
                return self.refuse(now, EventContext { link: Some(link), reason, ..EventContext::default() });
            }
            Some(_) => self.dump(now, ConnectionSlot::Incoming, link.conn),
            None => {}
        }
        self.incoming = Some(Box::new(Machine::new(Fsm::Active(ActiveData { link: None }))));
        self.fire(
            now,
            ConnectionSlot::Incoming,
            Trigger::TcpConnectionConfirmed,
            EventContext { link: Some(link), ..EventContext::default() },
            conns,
        );
    }

    fn on_dial_failed(&mut self, now: Instant, conn: ConnId, error: DialError, conns: &mut ConnIds) {
        if !matches!(&self.main.fsm, Fsm::Connect(ConnectData { conn: ours, link: None }) if *ours == conn) {
            return;
        }
        self.note_dial_failure(error, now);
        self.fire(now, ConnectionSlot::Main, Trigger::TcpConnectionFails, EventContext::default(), conns);
    }

    fn note_dial_failure(&mut self, error: DialError, now: Instant) {
        self.counters.dial_failures = self.counters.dial_failures.saturating_add(1);
        self.counters.connect_retry = self.counters.connect_retry.saturating_add(1);
        self.failures.fade(self.params.idle_hold_max, now);
        let reason = DownReason::Dial(error.clone());
        match &mut self.dial_failure {
            Some(known) if known.reason == reason => known.again(now),
            other => *other = Some(Failure::new(reason, now)),
        }
        self.note(now, PeerNotice::DialFailed { error });
    }

    fn on_closed(&mut self, now: Instant, conn: ConnId, error: Option<String>, conns: &mut ConnIds) {
        let Some(slot) = self.slot(conn) else { return };
        let early = self.machine(slot).is_some_and(|m| m.fsm.state() < State::OpenConfirm);
        let reason = if early { DownReason::ClosedBeforeOpen { error } } else { DownReason::Closed { error } };
        self.fire(now, slot, Trigger::TcpConnectionFails, EventContext::because(reason), conns);
    }

    fn on_message(&mut self, now: Instant, conn: ConnId, message: Message, conns: &mut ConnIds) {
        match message {
            Message::Open(open) => self.on_open(now, conn, *open, conns),
            Message::Notification(notification) => self.on_notification(now, conn, notification, conns),
            Message::KeepAlive => {
                self.counters.keepalives_received = self.counters.keepalives_received.saturating_add(1);
                self.on_unexpected(now, conn, Trigger::KeepAliveMsg, 4, conns);
            }
            Message::RouteRefresh(refresh) => self.on_refresh(now, conn, refresh, conns),
            Message::Update(_) => self.on_unexpected(now, conn, Trigger::UpdateMsg, 2, conns),
        }
    }

    /// A message that is welcome in some states; where it is not, its type is reported (RFC 6608 §3).
    fn on_unexpected(&mut self, now: Instant, conn: ConnId, event: Trigger, message: u8, conns: &mut ConnIds) {
        if let Some(slot) = self.slot(conn) {
            self.fire(now, slot, event, EventContext { message: Some(message), ..EventContext::default() }, conns);
        }
    }

    fn on_open(&mut self, now: Instant, conn: ConnId, open: Open, conns: &mut ConnIds) {
        let Some(slot) = self.slot(conn) else { return };
        self.counters.opens_received = self.counters.opens_received.saturating_add(1);
        let Some(machine) = self.machine(slot) else { return };
        let Some(link) = machine.fsm.link() else { return };
        let (event, ours) = match (machine.fsm.state(), &machine.ours) {
            (State::OpenSent, Some(ours)) => (Trigger::BgpOpen, ours.clone()),
            (State::Connect | State::Active, _) => (Trigger::BgpOpenDelayed, Arc::new(self.open_now(now))),
            (State::Idle | State::OpenSent | State::OpenConfirm | State::Established, _) => {
                return self.on_unexpected(now, conn, Trigger::BgpOpen, 1, conns);
            }
        };
        match negotiate::agree(&self.params, &ours, Arc::new(open), &link) {
            Err(why) => {
                let notification = Some(negotiate::rejection(&why, &self.params));
                let context = EventContext { reason: Some(DownReason::Rejected(why)), notification, ..EventContext::default() };
                self.fire(now, slot, Trigger::BgpOpenMsgErr, context, conns);
            }
            Ok(session) => {
                if let Some(slot) = self.survives(now, slot, &session) {
                    self.fire(
                        now,
                        slot,
                        event,
                        EventContext { session: Some(session), ours: Some(ours), ..EventContext::default() },
                        conns,
                    );
                }
            }
        }
    }

    /// Collision detection (RFC 4271 §6.8): `None` if the connection of this OPEN lost, else where its machine is now.
    fn survives(&mut self, now: Instant, slot: ConnectionSlot, session: &Session) -> Option<ConnectionSlot> {
        let other = match slot {
            ConnectionSlot::Main => ConnectionSlot::Incoming,
            ConnectionSlot::Incoming => ConnectionSlot::Main,
        };
        let Some(machine) = self.machine(other) else { return Some(slot) };
        let link = machine.fsm.link();
        let old =
            Old { state: machine.fsm.state(), connected: link.is_some(), direction: link.map_or(Direction::Dialled, |l| l.direction) };
        if self.has_lost_its_session(now, other, session) {
            self.end(
                now,
                ConnectionSlot::Main,
                Trigger::TcpConnectionFails,
                Notify::Nothing,
                EventContext::because(DownReason::PeerRestarted),
            );
            self.promote();
            return Some(ConnectionSlot::Main);
        }
        let local = End { id: session.local_id, asn: session.local_as };
        let remote = End { id: session.remote_id, asn: session.remote_as };
        match collision::judge(session.direction, old, local, remote, self.params.collide_established) {
            Verdict::Both => return Some(slot),
            Verdict::CloseNew => {
                if let Some(kept) = link {
                    self.dump(now, slot, kept.conn);
                }
                if slot == ConnectionSlot::Main {
                    self.promote();
                }
                return None;
            }
            Verdict::CloseOld | Verdict::DropAttempt => self.dump(now, other, session.conn),
        }
        if slot == ConnectionSlot::Incoming {
            self.promote();
        }
        Some(ConnectionSlot::Main)
    }

    /// RFC 4724 §4.2: a peer that offered graceful restart and opens a new connection has restarted, whatever TCP thinks of the old one.
    /// Shortly after a session came up it is a late collision instead, and must not cost the session.
    fn has_lost_its_session(&self, now: Instant, other: ConnectionSlot, new: &Session) -> bool {
        let Some(Fsm::Established(data)) = self.machine(other).map(|m| &m.fsm) else { return false };
        let offered = data.session.graceful.is_some_and(|g| !g.families.is_empty());
        offered && new.direction == Direction::Accepted && now.since(data.since) >= SETTLED
    }

    /// A main machine without a connection gives way to an incoming connection that has negotiated one.
    pub(super) fn settle_incoming(&mut self) {
        let ahead = self.incoming.as_ref().is_some_and(|r| r.fsm.state() >= State::OpenConfirm);
        if ahead && self.main.fsm.link().is_none() {
            self.close_attempt(ConnectionSlot::Main);
            self.promote();
        }
    }

    /// The incoming connection becomes the main machine, which has nothing left to do.
    pub(super) fn promote(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.main = *incoming;
            self.timers.stop(Timer::IdleHold);
        }
    }

    /// OpenCollisionDump (event 23) for one machine; `kept` stays.
    fn dump(&mut self, now: Instant, slot: ConnectionSlot, kept: ConnId) {
        let Some(machine) = self.machine(slot) else { return };
        if let Some(closed) = machine.fsm.link().map(|l| l.conn) {
            self.counters.collisions = self.counters.collisions.saturating_add(1);
            self.note(now, PeerNotice::Collision { kept, closed });
        }
        let notification = Notification::cease(CeaseSubcode::ConnectionCollision, None);
        let context = EventContext { reason: Some(DownReason::Collision), notification: Some(notification), ..EventContext::default() };
        self.end(now, slot, Trigger::OpenCollisionDump, Notify::Cease, context);
    }

    fn on_notification(&mut self, now: Instant, conn: ConnId, notification: Notification, conns: &mut ConnIds) {
        let Some(slot) = self.slot(conn) else { return };
        self.counters.notifications_received = self.counters.notifications_received.saturating_add(1);
        self.notification_counts.count("received", &notification);
        self.note(now, PeerNotice::Received(notification.clone()));
        let Some(machine) = self.machine(slot) else { return };
        if let Some(suppressed) = machine.ours.as_ref().and_then(|ours| self.suppressed.after(&notification, ours)) {
            self.note(now, PeerNotice::Suppressed { capabilities: suppressed.to_string() });
            self.suppressed = suppressed;
        }
        let event = if (notification.code, notification.subcode) == (2, 1) { Trigger::NotifMsgVerErr } else { Trigger::NotifMsg };
        let reason = Some(DownReason::Received(notification.clone()));
        self.fire(now, slot, event, EventContext { reason, received: Some(notification), ..EventContext::default() }, conns);
    }

    fn on_refresh(&mut self, now: Instant, conn: ConnId, refresh: RouteRefresh, conns: &mut ConnIds) {
        self.counters.refreshes_received = self.counters.refreshes_received.saturating_add(1);
        self.on_unexpected(now, conn, Trigger::RouteRefreshMsg, 5, conns);
        let Some(session) = self.session().filter(|s| s.conn == conn) else { return };
        let Some(family) = refresh.family().filter(|f| session.families.contains(*f)) else { return };
        let subtype = refresh.subtype;
        let known = match subtype {
            RefreshSubtype::Normal => true,
            RefreshSubtype::BoRR | RefreshSubtype::EoRR => session.enhanced_refresh,
            RefreshSubtype::Other(_) => false,
        };
        if known {
            self.actions.push_back(Action::Refresh { family, subtype });
        }
    }

    fn on_malformed(&mut self, now: Instant, conn: ConnId, error: &DecodeError, conns: &mut ConnIds) {
        let Some(slot) = self.slot(conn) else { return };
        let notification = Notification::from(error);
        let (event, message) = match notification.code {
            1 => (Trigger::BgpHeaderErr, None),
            2 => (Trigger::BgpOpenMsgErr, Some(1)),
            7 => (Trigger::UpdateMsgErr, Some(5)),
            _ => (Trigger::UpdateMsgErr, Some(2)),
        };
        let reason = Some(DownReason::Malformed { error: error.to_string(), notification: notification.clone() });
        self.fire(now, slot, event, EventContext { reason, notification: Some(notification), message, ..EventContext::default() }, conns);
    }

    /// Octets wait since now, unless some did already. True if the SendHoldTimer runs anyhow.
    fn on_send_blocked(&mut self, now: Instant, conn: ConnId) -> bool {
        let Fsm::Established(data) = &mut self.main.fsm else { return true };
        if data.link.conn == conn {
            data.blocked.get_or_insert(now);
        }
        self.params.send_hold.is_none() || self.timers.runs(Timer::SendHold)
    }

    /// The timer runs on; it looks when it expires.
    fn on_send_progress(&mut self, conn: ConnId) -> bool {
        if let Fsm::Established(data) = &mut self.main.fsm
            && data.link.conn == conn
        {
            data.blocked = None;
        }
        true
    }

    /// RFC 9687 §3.2: never shorter than the hold time in use.
    fn arm_send_hold(&mut self) -> bool {
        let (Fsm::Established(data), Some(time)) = (&self.main.fsm, self.params.send_hold) else { return false };
        let Some(since) = data.blocked else { return false };
        let hold = data.session.hold_time.duration().unwrap_or_default();
        self.timers.set(Timer::SendHold, since + time.max(hold));
        true
    }

    /// Only if nothing was taken in all that time is the peer let go.
    fn on_send_hold_timer(&mut self, now: Instant, conns: &mut ConnIds) {
        if !self.arm_send_hold() {
            return;
        }
        if self.timers.get(Timer::SendHold).is_some_and(|at| at > now) {
            return;
        }
        self.timers.stop(Timer::SendHold);
        self.note(now, PeerNotice::TimerExpired(Timer::SendHold));
        self.fire(now, ConnectionSlot::Main, Trigger::SendHoldTimerExpires, EventContext::because(DownReason::SendHoldTimer), conns);
    }

    fn on_max_prefix(&mut self, now: Instant, family: Family, limit: u32, restart: Option<Duration>) {
        let notification = Notification::maximum_prefixes(family.afi(), family.safi(), limit);
        self.last_notification = Some(notification.clone());
        let notification = if self.speaks_hard_reset() { notification.into_hard_reset() } else { notification };
        let reason = DownReason::MaxPrefix { family, limit };
        for slot in [ConnectionSlot::Incoming, ConnectionSlot::Main] {
            let context =
                EventContext { reason: Some(reason.clone()), notification: Some(notification.clone()), ..EventContext::default() };
            self.fire(now, slot, Trigger::AutomaticStop, context, &mut ConnIds::default());
        }
        match restart {
            Some(time) => self.rest(now, IdleReason::Penalized, time),
            None => {
                self.main.enter(Fsm::Idle(IdleReason::AdminDown));
                self.timers.stop(Timer::IdleHold);
            }
        }
    }

    fn on_reconfigured(&mut self, now: Instant, params: Arc<Params>, restart: bool, conns: &mut ConnIds) {
        let old = std::mem::replace(&mut self.params, params);
        self.note(now, PeerNotice::Reconfigured);
        if restart && self.wanted {
            self.on_stop(now, StopKind::ConfigChange, None);
            self.suppressed = Default::default();
            return;
        }
        match self.main.fsm {
            Fsm::Active(ActiveData { link: None }) if old.passive && !self.params.passive => {
                self.on_connect_retry(now, ConnectionSlot::Main, conns)
            }
            // The attempt that is under way, and the next one, would be ours.
            Fsm::Connect(ConnectData { link: None, .. }) if self.params.passive => {
                self.close_attempt(ConnectionSlot::Main);
                self.listen(now);
                self.note_state(now, ConnectionSlot::Main, State::Connect, Trigger::TcpConnectionFails);
            }
            Fsm::Active(_) if self.params.passive => self.main.timers.stop(Timer::ConnectRetry),
            // A rest that was longer than any is now.
            Fsm::Idle(IdleReason::IdleHold) if self.timers.get(Timer::IdleHold).is_some_and(|at| at > now + self.params.idle_hold_max) => {
                self.rest(now, IdleReason::IdleHold, self.params.idle_hold_max);
            }
            Fsm::Idle(_) | Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => {}
        }
    }

    // ---- timers -------------------------------------------------------------------------------------------------------------------

    /// Everything that is due by `now`. A hold timer looks at `received_until` first: what waits to be taken in may be from the peer.
    pub(super) fn serve_timers(&mut self, now: Instant, received_until: Instant, conns: &mut ConnIds) {
        while let Some((slot, timer)) = self.take_due(now) {
            match timer {
                Timer::Restart => {
                    self.note(now, PeerNotice::TimerExpired(timer));
                    self.on_restart_time_over(now);
                }
                Timer::LongLivedIpv4 => self.on_long_lived_over(now, Family::Ipv4Unicast),
                Timer::LongLivedIpv6 => self.on_long_lived_over(now, Family::Ipv6Unicast),
                Timer::Stale => {
                    self.note(now, PeerNotice::TimerExpired(timer));
                    self.give_up_stale(now);
                }
                Timer::Hold => self.on_hold_timer(now, received_until, slot, conns),
                Timer::Keepalive => self.on_keepalive_timer(now, slot, conns),
                Timer::ConnectRetry => self.on_connect_retry(now, slot, conns),
                Timer::DelayOpen => self.fire(now, slot, Trigger::DelayOpenTimerExpires, EventContext::default(), conns),
                Timer::IdleHold => self.fire(now, slot, Trigger::IdleHoldTimerExpires, EventContext::default(), conns),
                Timer::SendHold => self.on_send_hold_timer(now, conns),
            }
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<(ConnectionSlot, Timer)> {
        if let Some(timer) = self.main.timers.take_due(now) {
            return Some((ConnectionSlot::Main, timer));
        }
        if let Some(timer) = self.incoming.as_mut().and_then(|r| r.timers.take_due(now)) {
            return Some((ConnectionSlot::Incoming, timer));
        }
        Some((ConnectionSlot::Main, self.timers.take_due(now)?))
    }

    /// A peer is silent if nothing came in the hold time, and not if what came still waits for its turn.
    fn on_hold_timer(&mut self, now: Instant, received_until: Instant, slot: ConnectionSlot, conns: &mut ConnIds) {
        let Some(machine) = self.machine_mut(slot) else { return };
        if let Fsm::Established(data) = &machine.fsm
            && let Some(hold) = data.session.hold_time.duration()
            && data.last_received + hold > received_until
        {
            let at = data.last_received + hold;
            return machine.timers.set(Timer::Hold, if at > now { at } else { now + BACKLOG_PAUSE });
        }
        let reason = match machine.fsm.state() {
            State::OpenSent => DownReason::OpenTimeout,
            State::OpenConfirm => DownReason::Unconfirmed,
            State::Idle | State::Connect | State::Active | State::Established => DownReason::HoldTimer,
        };
        self.note(now, PeerNotice::TimerExpired(Timer::Hold));
        self.fire(now, slot, Trigger::HoldTimerExpires, EventContext::because(reason), conns);
    }

    fn on_keepalive_timer(&mut self, now: Instant, slot: ConnectionSlot, conns: &mut ConnIds) {
        let last_sent = match self.machine(slot).map(|m| &m.fsm) {
            Some(Fsm::Established(data)) => Some((data.last_sent, data.session.keepalive)),
            _ => None,
        };
        if let Some((last_sent, Some(every))) = last_sent
            && last_sent + every / 2 > now
        {
            return self.arm_keepalive(slot, last_sent, every);
        }
        self.fire(now, slot, Trigger::KeepaliveTimerExpires, EventContext::default(), conns);
    }

    /// In Connect the attempt had its time: it counts as failed without an answer, and the next one begins.
    fn on_connect_retry(&mut self, now: Instant, slot: ConnectionSlot, conns: &mut ConnIds) {
        if let Fsm::Connect(ConnectData { link: None, .. }) = self.main.fsm {
            self.note_dial_failure(DialError::TimedOut, now);
        }
        self.fire(now, slot, Trigger::ConnectRetryTimerExpires, EventContext::default(), conns);
    }

    /// The next KEEPALIVE `every` after `from`, less jitter, on a grid that many peers share.
    pub(super) fn arm_keepalive(&mut self, slot: ConnectionSlot, from: Instant, every: Duration) {
        // Where they are rare, all peers' keepalives of a sixth of that time leave together: few wake-ups, each on warm caches. Who was told
        // together is told together again, for the jitter is that of the beat (RFC 4271 §10 allows the same for all). The grid rounds up; a
        // third of the hold time shall stay a third.
        let grid = Duration::from_secs(every.as_secs() / 6).max(TICK);
        let ours = u64::from(u32::from(self.params.router_id.addr())) << 32 | u64::from(self.id.0 / SAME_BEAT);
        let share = Rng::new(ours ^ round_up(from, grid).as_nanos()).jitter(every);
        let (latest, mut at) = (from + every, round_up(from + share, grid));
        if at > latest {
            at = Instant::from_nanos(at.as_nanos().saturating_sub(u64::try_from(grid.as_nanos()).unwrap_or_default()));
        }
        if let Some(machine) = self.machine_mut(slot) {
            machine.timers.set(Timer::Keepalive, at);
        }
    }

    /// Asks the table, and does it.
    pub(super) fn fire(&mut self, now: Instant, slot: ConnectionSlot, event: Trigger, context: EventContext, conns: &mut ConnIds) {
        let Some(machine) = self.machine(slot) else { return };
        let from = machine.fsm.state();
        match fsm::step(&machine.fsm, event, self.params.delay_open.is_some()) {
            Step::Ignore | Step::Track | Step::ResetHoldTimer => {}
            Step::Dial => self.dial(now, conns),
            Step::Listen => self.listen(now),
            // The start that follows notes the change itself.
            Step::Wake => return self.wake_up(now, conns),
            Step::Refuse => self.refuse(now, context),
            Step::SendOpen => self.send_open(now, slot, context.link),
            Step::Delay => self.delay(now, slot, context.link),
            Step::Answer => self.answer(now, slot, context),
            Step::Confirm => self.confirm(now, slot, context),
            Step::ToActive => self.go_active(now, slot, event, context),
            Step::SendKeepalive => self.send_keepalive(now, slot),
            Step::Establish => return self.establish(now, slot),
            Step::Stop => return self.stop(now, slot, event, context),
            Step::Close => return self.close(now, slot, event, context),
            Step::Fail(notify) => return self.fail(now, slot, event, notify, context),
        }
        self.note_state(now, slot, from, event);
    }
}
