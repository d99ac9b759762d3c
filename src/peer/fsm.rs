//! The finite state machine of RFC 4271 §8: one connection's state, with what is only known in it, and one total function per state.
//!
//! In: a state and an event. Out: a [`Step`], the deed that the RFC asks for; `peer::dispatch` does it. No time, no octets, no chance here.
//!
//! The table is the machine. A word stands for what RFC 4271 §8.2.2 spells out; `a|b` means that data decide (DelayOpen, DelayOpenTimer
//! running). `every_state_and_event_is_in_the_table` reads these lines and walks all pairs.
//!
//! | word | deed | next state |
//! |---|---|---|
//! | - | nothing | the same |
//! | dial | connect and listen, ConnectRetryTimer on | Connect |
//! | listen | wait to be connected to | Active |
//! | wake | the idle time is over: an AutomaticStart follows (events 3, 5, 6, 7) | the same |
//! | refuse | close that connection, Cease/5 (RFC 4486) | the same |
//! | send-open | send OPEN, HoldTimer large | OpenSent |
//! | delay | DelayOpenTimer on | the same |
//! | answer | send OPEN and KEEPALIVE, timers as negotiated | OpenConfirm |
//! | confirm | send KEEPALIVE, timers as negotiated | OpenConfirm |
//! | to-active | ConnectRetryTimer on, go on listening | Active |
//! | track | a second connection gets a machine of its own (§6.8) | the same |
//! | send-keepalive | send KEEPALIVE | the same |
//! | reset-hold | HoldTimer again | the same |
//! | establish | HoldTimer again, the session is up | Established |
//! | stop | Cease if anybody listens, ConnectRetryCounter to zero | Idle |
//! | close | drop the connection, count nothing | Idle |
//! | fail | drop the connection, ConnectRetryCounter up, idle hold grows | Idle |
//! | fail:cease, fail:hold, fail:fsm, fail:error, fail:send-hold | the same with a NOTIFICATION first | Idle |
//!
//! | event | Idle | Connect | Active | OpenSent | OpenConfirm | Established |
//! |---|---|---|---|---|---|---|
//! | 1 ManualStart | dial | - | - | - | - | - |
//! | 2 ManualStop | - | stop | stop | stop | stop | stop |
//! | 3 AutomaticStart | dial | - | - | - | - | - |
//! | 4 ManualStart_with_PassiveTcpEstablishment | listen | - | - | - | - | - |
//! | 5 AutomaticStart_with_PassiveTcpEstablishment | listen | - | - | - | - | - |
//! | 6 AutomaticStart_with_DampPeerOscillations | dial | - | - | - | - | - |
//! | 7 AutomaticStart_with_DampPeerOscillations_and_PassiveTcpEstablishment | listen | - | - | - | - | - |
//! | 8 AutomaticStop | - | fail:cease | fail:cease | fail:cease | fail:cease | fail:cease |
//! | 9 ConnectRetryTimer_Expires | - | dial | dial | fail:fsm | fail:fsm | fail:fsm |
//! | 10 HoldTimer_Expires | - | fail | fail | fail:hold | fail:hold | fail:hold |
//! | 11 KeepaliveTimer_Expires | - | fail | fail | fail:fsm | send-keepalive | send-keepalive |
//! | 12 DelayOpenTimer_Expires | - | send-open | send-open | fail:fsm | fail:fsm | fail:fsm |
//! | 13 IdleHoldTimer_Expires | wake | fail | fail | fail:fsm | fail:fsm | fail:fsm |
//! | 14 TcpConnection_Valid | - | - | - | - | - | - |
//! | 15 Tcp_CR_Invalid | refuse | refuse | refuse | refuse | refuse | refuse |
//! | 16 Tcp_CR_Acked | refuse | send-open\|delay | send-open\|delay | track | track | track |
//! | 17 TcpConnectionConfirmed | refuse | send-open\|delay | send-open\|delay | track | track | track |
//! | 18 TcpConnectionFails | - | to-active | fail | to-active | fail | fail |
//! | 19 BGPOpen | - | fail | fail | confirm | fail:fsm | fail:fsm |
//! | 20 BGPOpen with DelayOpenTimer running | - | answer | answer | fail:fsm | fail:fsm | fail:fsm |
//! | 21 BGPHeaderErr | - | fail:error | fail:error | fail:error | fail:error | fail:error |
//! | 22 BGPOpenMsgErr | - | fail:error | fail:error | fail:error | fail:error | fail:fsm |
//! | 23 OpenCollisionDump | - | fail:cease | fail:cease | fail:cease | fail:cease | fail:cease |
//! | 24 NotifMsgVerErr | - | close\|fail | close\|fail | close | close | fail |
//! | 25 NotifMsg | - | fail | fail | fail | fail | fail |
//! | 26 KeepAliveMsg | - | fail | fail | fail:fsm | establish | reset-hold |
//! | 27 UpdateMsg | - | fail | fail | fail:fsm | fail:fsm | reset-hold |
//! | 28 UpdateMsgErr | - | fail | fail | fail:fsm | fail:fsm | fail:error |
//! | 29 SendHoldTimer_Expires | - | fail | fail | fail:fsm | fail:fsm | fail:send-hold |
//! | 30 RouteRefreshMsg | - | fail | fail | fail:fsm | fail:fsm | reset-hold |
//!
//! Where we choose, or differ from the letter:
//! - Connect and TcpConnectionFails: the RFC goes to Idle unless the DelayOpenTimer runs. We go to Active in both cases, so that a peer
//!   which we cannot reach can still reach us; the ConnectRetryTimer spaces our attempts.
//! - ConnectRetryTimer does not run for a passive peer in Active, which would make it dial after all.
//! - NotifMsg in OpenSent: the letter answers a NOTIFICATION with a NOTIFICATION. Nobody would read it (§6.4); we close.
//! - BGPHeaderErr in Established is answered as a header error, as §6.1 demands, not as an FSM error.
//! - Event 14 stands for a SYN, which no program sees; TrackTcpState begins for us at events 16 and 17. An incoming connection's machine starts in Active.
//! - Event 29 is of RFC 9687; event 30 has no number in the RFCs: RFC 2918 allows the message in Established only.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::session::{Direction, Session};
use crate::num::{ConnId, Instant};

/// The name of a state. In the order of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Refuses connections and opens none.
    Idle,
    /// Dials, and listens meanwhile.
    Connect,
    /// Listens, and waits for the next attempt to dial.
    Active,
    /// Our OPEN is out; the peer's is awaited.
    OpenSent,
    /// Both OPENs agree; the peer's KEEPALIVE is awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// In the order of progress.
    pub const ALL: [State; 6] = [State::Idle, State::Connect, State::Active, State::OpenSent, State::OpenConfirm, State::Established];

    /// As in RFC 4271.
    pub fn name(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::Active => "Active",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A state with what is only known in it.
#[derive(Clone, Debug)]
pub(super) enum Fsm {
    /// Why it rests.
    Idle(IdleReason),
    /// The attempt.
    Connect(ConnectData),
    /// A connection, if its OPEN is delayed.
    Active(ActiveData),
    /// Our OPEN is out; nothing is negotiated yet.
    OpenSent(OpenSentData),
    /// Both OPENs agree.
    OpenConfirm(OpenConfirmData),
    /// The session.
    Established(EstablishedData),
}

/// Nothing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleReason {
    /// Until somebody starts the peer.
    AdminDown,
    /// Until the IdleHoldTimer expires, or the peer comes by itself.
    IdleHold,
    /// Until the IdleHoldTimer expires, come who may (too many prefixes).
    Penalized,
}

/// Our attempt to connect, or, with DelayOpen, the connection that it led to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectData {
    /// The attempt's number, and the connection's if it succeeds.
    pub conn: ConnId,
    /// The connection, while DelayOpenTimer runs.
    pub link: Option<Link>,
}

/// Nothing dialled; with DelayOpen perhaps a connection that was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActiveData {
    /// The connection, while DelayOpenTimer runs.
    pub link: Option<Link>,
}

/// A connection over which we have sent our OPEN.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenSentData {
    /// The connection.
    pub link: Link,
}

/// A connection with both OPENs.
#[derive(Clone, Debug)]
pub(super) struct OpenConfirmData {
    /// The connection.
    pub link: Link,
    /// As negotiated.
    pub session: Arc<Session>,
}

/// A session.
#[derive(Clone, Debug)]
pub(super) struct EstablishedData {
    /// The connection.
    pub link: Link,
    /// As negotiated.
    pub session: Arc<Session>,
    /// When it came up.
    pub since: Instant,
    /// When anything was last read. The HoldTimer looks here when it expires, so that a message costs one store.
    pub last_received: Instant,
    /// When a KEEPALIVE or UPDATE was last sent; the KeepaliveTimer looks here.
    pub last_sent: Instant,
    /// Since when octets wait and the kernel takes none; the SendHoldTimer looks here.
    pub blocked: Option<Instant>,
}

/// A connection that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Its number.
    pub conn: ConnId,
    /// Our end.
    pub local: std::net::SocketAddr,
    /// The peer's end.
    pub remote: std::net::SocketAddr,
    /// Who opened it.
    pub direction: Direction,
    /// When it came to be.
    pub since: Instant,
}

impl Fsm {
    /// Its name, without what is known in it.
    pub fn state(&self) -> State {
        match self {
            Fsm::Idle(_) => State::Idle,
            Fsm::Connect(_) => State::Connect,
            Fsm::Active(_) => State::Active,
            Fsm::OpenSent(_) => State::OpenSent,
            Fsm::OpenConfirm(_) => State::OpenConfirm,
            Fsm::Established(_) => State::Established,
        }
    }

    /// The connection, where one stands.
    pub fn link(&self) -> Option<Link> {
        match self {
            Fsm::Idle(_) => None,
            Fsm::Connect(c) => c.link,
            Fsm::Active(a) => a.link,
            Fsm::OpenSent(s) => Some(s.link),
            Fsm::OpenConfirm(n) => Some(n.link),
            Fsm::Established(l) => Some(l.link),
        }
    }

    /// The connection or the attempt at one.
    pub fn conn(&self) -> Option<ConnId> {
        match self {
            Fsm::Connect(c) => Some(c.conn),
            Fsm::Idle(_) | Fsm::Active(_) | Fsm::OpenSent(_) | Fsm::OpenConfirm(_) | Fsm::Established(_) => self.link().map(|l| l.conn),
        }
    }

    /// What was negotiated, from OpenConfirm on.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Fsm::OpenConfirm(n) => Some(&n.session),
            Fsm::Established(l) => Some(&l.session),
            Fsm::Idle(_) | Fsm::Connect(_) | Fsm::Active(_) | Fsm::OpenSent(_) => None,
        }
    }
}

/// The events of RFC 4271 §8.1, by their numbers, and two more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Trigger {
    /// 1: the operator starts the peer.
    ManualStart = 1,
    /// 2: the operator stops it.
    ManualStop,
    /// 3: it starts by itself.
    AutomaticStart,
    /// 4: as 1, for a peer that is not dialled.
    ManualStartPassive,
    /// 5: as 3, for a peer that is not dialled.
    AutomaticStartPassive,
    /// 6: as 3, after a rest that failures have lengthened.
    AutomaticStartDamped,
    /// 7: as 6, for a peer that is not dialled.
    AutomaticStartDampedPassive,
    /// 8: the router stops it by itself.
    AutomaticStop,
    /// 9: the attempt took too long, or the next one is due.
    ConnectRetryTimerExpires,
    /// 10: nothing was received for the hold time.
    HoldTimerExpires,
    /// 11: a KEEPALIVE is due.
    KeepaliveTimerExpires,
    /// 12: the peer's OPEN was waited for long enough.
    DelayOpenTimerExpires,
    /// 13: the rest is over.
    IdleHoldTimerExpires,
    /// 14: a SYN came; no program sees it.
    TcpConnectionValid,
    /// 15: a connection from where none is expected.
    TcpCrInvalid,
    /// 16: our attempt succeeded.
    TcpCrAcked,
    /// 17: a connection of the peer's was accepted.
    TcpConnectionConfirmed,
    /// 18: it is gone, or never came about.
    TcpConnectionFails,
    /// 19: a good OPEN.
    BgpOpen,
    /// 20: a good OPEN before ours was sent.
    BgpOpenDelayed,
    /// 21: a header that cannot be (RFC 4271 §6.1).
    BgpHeaderErr,
    /// 22: an OPEN that cannot be read or accepted (RFC 4271 §6.2).
    BgpOpenMsgErr,
    /// 23: another connection with the peer is kept (RFC 4271 §6.8).
    OpenCollisionDump,
    /// 24: the peer speaks another version.
    NotifMsgVerErr,
    /// 25: any other NOTIFICATION.
    NotifMsg,
    /// 26: a KEEPALIVE.
    KeepAliveMsg,
    /// 27: an UPDATE that can be used.
    UpdateMsg,
    /// 28: one that cannot (RFC 4271 §6.3, as far as RFC 7606 leaves it a reset).
    UpdateMsgErr,
    /// 29: the peer takes nothing from us (RFC 9687).
    SendHoldTimerExpires,
    /// 30: a ROUTE-REFRESH (RFC 2918).
    RouteRefreshMsg,
}

impl Trigger {
    /// In the order of their numbers.
    pub const ALL: [Trigger; 30] = [
        Trigger::ManualStart,
        Trigger::ManualStop,
        Trigger::AutomaticStart,
        Trigger::ManualStartPassive,
        Trigger::AutomaticStartPassive,
        Trigger::AutomaticStartDamped,
        Trigger::AutomaticStartDampedPassive,
        Trigger::AutomaticStop,
        Trigger::ConnectRetryTimerExpires,
        Trigger::HoldTimerExpires,
        Trigger::KeepaliveTimerExpires,
        Trigger::DelayOpenTimerExpires,
        Trigger::IdleHoldTimerExpires,
        Trigger::TcpConnectionValid,
        Trigger::TcpCrInvalid,
        Trigger::TcpCrAcked,
        Trigger::TcpConnectionConfirmed,
        Trigger::TcpConnectionFails,
        Trigger::BgpOpen,
        Trigger::BgpOpenDelayed,
        Trigger::BgpHeaderErr,
        Trigger::BgpOpenMsgErr,
        Trigger::OpenCollisionDump,
        Trigger::NotifMsgVerErr,
        Trigger::NotifMsg,
        Trigger::KeepAliveMsg,
        Trigger::UpdateMsg,
        Trigger::UpdateMsgErr,
        Trigger::SendHoldTimerExpires,
        Trigger::RouteRefreshMsg,
    ];

    /// As in RFC 4271 §8.1.
    pub fn name(self) -> &'static str {
        match self {
            Trigger::ManualStart => "ManualStart",
            Trigger::ManualStop => "ManualStop",
            Trigger::AutomaticStart => "AutomaticStart",
            Trigger::ManualStartPassive => "ManualStart_with_PassiveTcpEstablishment",
            Trigger::AutomaticStartPassive => "AutomaticStart_with_PassiveTcpEstablishment",
            Trigger::AutomaticStartDamped => "AutomaticStart_with_DampPeerOscillations",
            Trigger::AutomaticStartDampedPassive => "AutomaticStart_with_DampPeerOscillations_and_PassiveTcpEstablishment",
            Trigger::AutomaticStop => "AutomaticStop",
            Trigger::ConnectRetryTimerExpires => "ConnectRetryTimer_Expires",
            Trigger::HoldTimerExpires => "HoldTimer_Expires",
            Trigger::KeepaliveTimerExpires => "KeepaliveTimer_Expires",
            Trigger::DelayOpenTimerExpires => "DelayOpenTimer_Expires",
            Trigger::IdleHoldTimerExpires => "IdleHoldTimer_Expires",
            Trigger::TcpConnectionValid => "TcpConnection_Valid",
            Trigger::TcpCrInvalid => "Tcp_CR_Invalid",
            Trigger::TcpCrAcked => "Tcp_CR_Acked",
            Trigger::TcpConnectionConfirmed => "TcpConnectionConfirmed",
            Trigger::TcpConnectionFails => "TcpConnectionFails",
            Trigger::BgpOpen => "BGPOpen",
            Trigger::BgpOpenDelayed => "BGPOpen with DelayOpenTimer running",
            Trigger::BgpHeaderErr => "BGPHeaderErr",
            Trigger::BgpOpenMsgErr => "BGPOpenMsgErr",
            Trigger::OpenCollisionDump => "OpenCollisionDump",
            Trigger::NotifMsgVerErr => "NotifMsgVerErr",
            Trigger::NotifMsg => "NotifMsg",
            Trigger::KeepAliveMsg => "KeepAliveMsg",
            Trigger::UpdateMsg => "UpdateMsg",
            Trigger::UpdateMsgErr => "UpdateMsgErr",
            Trigger::SendHoldTimerExpires => "SendHoldTimer_Expires",
            Trigger::RouteRefreshMsg => "RouteRefreshMsg",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The deed for a state and an event; the words of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `-`
    Ignore,
    /// `dial`
    Dial,
    /// `listen`
    Listen,
    /// `wake`
    Wake,
    /// `refuse`
    Refuse,
    /// `send-open`
    SendOpen,
    /// `delay`
    Delay,
    /// `answer`
    Answer,
    /// `confirm`
    Confirm,
    /// `to-active`
    ToActive,
    /// `track`
    Track,
    /// `send-keepalive`
    SendKeepalive,
    /// `reset-hold`; done by whoever takes in the message, with one store.
    ResetHoldTimer,
    /// `establish`
    Establish,
    /// `stop`
    Stop,
    /// `close`
    Close,
    /// `fail`, and what the peer is told.
    Fail(Notify),
}

/// Which NOTIFICATION the peer gets before its connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notify {
    /// Nobody would read it.
    Nothing,
    /// Cease, with the subcode that belongs to the reason (RFC 4486).
    Cease,
    /// Hold Timer Expired (RFC 4271 §6.5).
    HoldTimer,
    /// Finite State Machine Error, with the subcode of RFC 6608 for the state.
    Fsm,
    /// The NOTIFICATION that belongs to what could not be read or accepted.
    Error,
    /// Send Hold Timer Expired (RFC 9687 §4).
    SendHold,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Ignore => "-",
            Step::Dial => "dial",
            Step::Listen => "listen",
            Step::Wake => "wake",
            Step::Refuse => "refuse",
            Step::SendOpen => "send-open",
            Step::Delay => "delay",
            Step::Answer => "answer",
            Step::Confirm => "confirm",
            Step::ToActive => "to-active",
            Step::Track => "track",
            Step::SendKeepalive => "send-keepalive",
            Step::ResetHoldTimer => "reset-hold",
            Step::Establish => "establish",
            Step::Stop => "stop",
            Step::Close => "close",
            Step::Fail(Notify::Nothing) => "fail",
            Step::Fail(Notify::Cease) => "fail:cease",
            Step::Fail(Notify::HoldTimer) => "fail:hold",
            Step::Fail(Notify::Fsm) => "fail:fsm",
            Step::Fail(Notify::Error) => "fail:error",
            Step::Fail(Notify::SendHold) => "fail:send-hold",
        })
    }
}

/// The deed for `event` in `fsm`; `delay_open` is the DelayOpen attribute.
pub(super) fn step(fsm: &Fsm, event: Trigger, delay_open: bool) -> Step {
    match fsm {
        Fsm::Idle(_) => idle(event),
        Fsm::Connect(c) => connect(event, delay_open, c.link.is_some()),
        Fsm::Active(a) => active(event, delay_open, a.link.is_some()),
        Fsm::OpenSent(_) => open_sent(event),
        Fsm::OpenConfirm(_) => open_confirm(event),
        Fsm::Established(_) => established(event),
    }
}

use Notify::{Cease, Error, HoldTimer, Nothing, SendHold};
use Trigger as T;

fn idle(event: Trigger) -> Step {
    match event {
        T::ManualStart | T::AutomaticStart | T::AutomaticStartDamped => Step::Dial,
        T::ManualStartPassive | T::AutomaticStartPassive | T::AutomaticStartDampedPassive => Step::Listen,
        T::IdleHoldTimerExpires => Step::Wake,
        T::TcpCrInvalid | T::TcpCrAcked | T::TcpConnectionConfirmed => Step::Refuse,
        T::ManualStop | T::AutomaticStop => Step::Ignore,
        T::ConnectRetryTimerExpires | T::HoldTimerExpires | T::KeepaliveTimerExpires | T::DelayOpenTimerExpires => Step::Ignore,
        T::TcpConnectionValid | T::TcpConnectionFails => Step::Ignore,
        T::BgpOpen | T::BgpOpenDelayed | T::BgpHeaderErr | T::BgpOpenMsgErr | T::OpenCollisionDump => Step::Ignore,
        T::NotifMsgVerErr | T::NotifMsg | T::KeepAliveMsg | T::UpdateMsg | T::UpdateMsgErr => Step::Ignore,
        T::SendHoldTimerExpires | T::RouteRefreshMsg => Step::Ignore,
    }
}

fn connect(event: Trigger, delay_open: bool, delaying: bool) -> Step {
    match event {
        T::ManualStart | T::AutomaticStart | T::ManualStartPassive | T::AutomaticStartPassive => Step::Ignore,
        T::AutomaticStartDamped | T::AutomaticStartDampedPassive | T::TcpConnectionValid => Step::Ignore,
        T::ManualStop => Step::Stop,
        T::ConnectRetryTimerExpires => Step::Dial,
        T::DelayOpenTimerExpires => Step::SendOpen,
        T::TcpCrInvalid => Step::Refuse,
        T::TcpCrAcked | T::TcpConnectionConfirmed => connected(delay_open),
        T::TcpConnectionFails => Step::ToActive,
        T::BgpOpenDelayed => Step::Answer,
        T::BgpHeaderErr | T::BgpOpenMsgErr => Step::Fail(Error),
        T::NotifMsgVerErr => version_error(delaying),
        T::AutomaticStop | T::OpenCollisionDump => Step::Fail(Cease),
        T::HoldTimerExpires | T::KeepaliveTimerExpires | T::IdleHoldTimerExpires | T::SendHoldTimerExpires => Step::Fail(Nothing),
        T::BgpOpen | T::NotifMsg | T::KeepAliveMsg | T::UpdateMsg | T::UpdateMsgErr | T::RouteRefreshMsg => Step::Fail(Nothing),
    }
}

fn active(event: Trigger, delay_open: bool, delaying: bool) -> Step {
    match event {
        T::ManualStart | T::AutomaticStart | T::ManualStartPassive | T::AutomaticStartPassive => Step::Ignore,
        T::AutomaticStartDamped | T::AutomaticStartDampedPassive | T::TcpConnectionValid => Step::Ignore,
        T::ManualStop => Step::Stop,
        T::ConnectRetryTimerExpires => Step::Dial,
        T::DelayOpenTimerExpires => Step::SendOpen,
        T::TcpCrInvalid => Step::Refuse,
        T::TcpCrAcked | T::TcpConnectionConfirmed => connected(delay_open),
        T::BgpOpenDelayed => Step::Answer,
        T::BgpHeaderErr | T::BgpOpenMsgErr => Step::Fail(Error),
        T::NotifMsgVerErr => version_error(delaying),
        T::AutomaticStop | T::OpenCollisionDump => Step::Fail(Cease),
        T::HoldTimerExpires | T::KeepaliveTimerExpires | T::IdleHoldTimerExpires | T::SendHoldTimerExpires => Step::Fail(Nothing),
        T::TcpConnectionFails | T::BgpOpen | T::NotifMsg | T::KeepAliveMsg => Step::Fail(Nothing),
        T::UpdateMsg | T::UpdateMsgErr | T::RouteRefreshMsg => Step::Fail(Nothing),
    }
}

fn open_sent(event: Trigger) -> Step {
    match event {
        T::ManualStart | T::AutomaticStart | T::ManualStartPassive | T::AutomaticStartPassive => Step::Ignore,
        T::AutomaticStartDamped | T::AutomaticStartDampedPassive | T::TcpConnectionValid => Step::Ignore,
        T::ManualStop => Step::Stop,
        T::AutomaticStop | T::OpenCollisionDump => Step::Fail(Cease),
        T::HoldTimerExpires => Step::Fail(HoldTimer),
        T::TcpCrInvalid => Step::Refuse,
        T::TcpCrAcked | T::TcpConnectionConfirmed => Step::Track,
        T::TcpConnectionFails => Step::ToActive,
        T::BgpOpen => Step::Confirm,
        T::BgpHeaderErr | T::BgpOpenMsgErr => Step::Fail(Error),
        T::NotifMsgVerErr => Step::Close,
        T::NotifMsg => Step::Fail(Nothing),
        T::ConnectRetryTimerExpires | T::KeepaliveTimerExpires | T::DelayOpenTimerExpires | T::IdleHoldTimerExpires => {
            Step::Fail(Notify::Fsm)
        }
        T::BgpOpenDelayed | T::KeepAliveMsg | T::UpdateMsg | T::UpdateMsgErr => Step::Fail(Notify::Fsm),
        T::SendHoldTimerExpires | T::RouteRefreshMsg => Step::Fail(Notify::Fsm),
    }
}

fn open_confirm(event: Trigger) -> Step {
    match event {
        T::ManualStart | T::AutomaticStart | T::ManualStartPassive | T::AutomaticStartPassive => Step::Ignore,
        T::AutomaticStartDamped | T::AutomaticStartDampedPassive | T::TcpConnectionValid => Step::Ignore,
        T::ManualStop => Step::Stop,
        T::AutomaticStop | T::OpenCollisionDump => Step::Fail(Cease),
        T::HoldTimerExpires => Step::Fail(HoldTimer),
        T::KeepaliveTimerExpires => Step::SendKeepalive,
        T::TcpCrInvalid => Step::Refuse,
        T::TcpCrAcked | T::TcpConnectionConfirmed => Step::Track,
        T::BgpHeaderErr | T::BgpOpenMsgErr => Step::Fail(Error),
        T::NotifMsgVerErr => Step::Close,
        T::TcpConnectionFails | T::NotifMsg => Step::Fail(Nothing),
        T::KeepAliveMsg => Step::Establish,
        T::ConnectRetryTimerExpires | T::DelayOpenTimerExpires | T::IdleHoldTimerExpires => Step::Fail(Notify::Fsm),
        T::BgpOpen | T::BgpOpenDelayed | T::UpdateMsg | T::UpdateMsgErr => Step::Fail(Notify::Fsm),
        T::SendHoldTimerExpires | T::RouteRefreshMsg => Step::Fail(Notify::Fsm),
    }
}

fn established(event: Trigger) -> Step {
    match event {
        T::KeepAliveMsg | T::UpdateMsg | T::RouteRefreshMsg => Step::ResetHoldTimer,
        T::ManualStart | T::AutomaticStart | T::ManualStartPassive | T::AutomaticStartPassive => Step::Ignore,
        T::AutomaticStartDamped | T::AutomaticStartDampedPassive | T::TcpConnectionValid => Step::Ignore,
        T::ManualStop => Step::Stop,
        T::AutomaticStop | T::OpenCollisionDump => Step::Fail(Cease),
        T::HoldTimerExpires => Step::Fail(HoldTimer),
        T::KeepaliveTimerExpires => Step::SendKeepalive,
        T::SendHoldTimerExpires => Step::Fail(SendHold),
        T::TcpCrInvalid => Step::Refuse,
        T::TcpCrAcked | T::TcpConnectionConfirmed => Step::Track,
        T::BgpHeaderErr | T::UpdateMsgErr => Step::Fail(Error),
        T::TcpConnectionFails | T::NotifMsgVerErr | T::NotifMsg => Step::Fail(Nothing),
        T::ConnectRetryTimerExpires | T::DelayOpenTimerExpires | T::IdleHoldTimerExpires => Step::Fail(Notify::Fsm),
        T::BgpOpen | T::BgpOpenDelayed | T::BgpOpenMsgErr => Step::Fail(Notify::Fsm),
    }
}

/// TCP is up: with DelayOpen we let the other side speak first.
fn connected(delay_open: bool) -> Step {
    if delay_open { Step::Delay } else { Step::SendOpen }
}

/// A version error while we had said nothing yet is not held against the peer (RFC 4271 §8.2.2, Connect and Active).
fn version_error(delaying: bool) -> Step {
    if delaying { Step::Close } else { Step::Fail(Nothing) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::peer::tests as kit;

    /// Rows of the table above: the cells of each event, as sets of words.
    fn table() -> Vec<(String, Vec<BTreeSet<String>>)> {
        let doc = include_str!("fsm.rs").lines().take_while(|l| l.starts_with("//!"));
        let rows = doc.skip_while(|l| !l.starts_with("//! | event |")).skip(2).take_while(|l| l.starts_with("//! |"));
        let words = |cell: &str| cell.trim().split('|').map(str::to_owned).collect();
        rows.map(|row| {
            let row = row.trim_start_matches("//! |").trim_end_matches('|').replace("\\|", "\u{1}");
            let mut cells = row.split('|').map(|cell| cell.replace('\u{1}', "|"));
            let event = cells.next().unwrap_or_default().trim().to_owned();
            (event, cells.map(|cell| words(&cell)).collect())
        })
        .collect()
    }

    /// All the ways to be in a state that data make different.
    fn ways(state: State) -> Vec<Fsm> {
        let link = kit::link(1);
        match state {
            State::Idle => vec![Fsm::Idle(IdleReason::AdminDown), Fsm::Idle(IdleReason::IdleHold), Fsm::Idle(IdleReason::Penalized)],
            State::Connect => [None, Some(link)].map(|link| Fsm::Connect(ConnectData { conn: ConnId(1), link })).into(),
            State::Active => [None, Some(link)].map(|link| Fsm::Active(ActiveData { link })).into(),
            State::OpenSent => vec![Fsm::OpenSent(OpenSentData { link })],
            State::OpenConfirm => vec![Fsm::OpenConfirm(OpenConfirmData { link, session: kit::session() })],
            State::Established => {
                let at = Instant::ZERO;
                vec![Fsm::Established(EstablishedData {
                    link,
                    session: kit::session(),
                    since: at,
                    last_received: at,
                    last_sent: at,
                    blocked: None,
                })]
            }
        }
    }

    #[test]
    fn every_state_and_event_is_in_the_table() {
        let table = table();
        assert_eq!(table.len(), Trigger::ALL.len(), "one row for each event");
        for (event, (name, cells)) in Trigger::ALL.into_iter().zip(table) {
            assert_eq!(format!("{} {event}", event as u8), name);
            assert_eq!(cells.len(), State::ALL.len(), "one cell for each state: {name}");
            for (state, cell) in State::ALL.into_iter().zip(cells) {
                let done: BTreeSet<String> =
                    ways(state).iter().flat_map(|fsm| [false, true].map(|delay_open| step(fsm, event, delay_open).to_string())).collect();
                assert_eq!(done, cell, "{name} in {state}");
            }
        }
    }

    #[test]
    fn no_event_but_a_start_leads_out_of_idle() {
        let starts = [Step::Dial, Step::Listen];
        let out: Vec<u8> = Trigger::ALL.into_iter().filter(|e| starts.contains(&idle(*e))).map(|e| e as u8).collect();
        assert_eq!(out, [1, 3, 4, 5, 6, 7]);
    }
}
