//! The doors of a peer: what happens to it ([`Event`]), what it asks for ([`Action`]), and what it remembers for its operator ([`EventHistory`]).

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::fsm::{State, Trigger};
use super::params::{Params, Transport};
use super::session::{Direction, Session};
use super::timer::Timer;
use crate::num::{Asn, ConnId, Family, FamilySet, Instant, Role, RouterId};
use crate::wire::{Context, DecodeError, Message, Notification, RefreshSubtype};

/// What happened to a peer. Words about a connection that is not (or no longer) ours are dropped.
#[derive(Clone, Debug)]
pub enum Event {
    /// ManualStart: ends an administrative shutdown, or a wait in Idle.
    Start,
    /// ManualStop and AutomaticStop.
    Stop {
        /// Which end it is to be.
        kind: StopKind,
        /// The operator's words to the other operator (RFC 9003).
        text: Option<String>,
    },
    /// This daemon has just restarted: until then our OPENs carry the R bit, with the forwarding bit for these families (RFC 4724 §4.1).
    Restarting {
        /// The end of our Restart Time.
        until: Instant,
        /// Families whose forwarding state was kept.
        forwarding: FamilySet,
    },
    /// A connection stands: one that we dialled, or one that the listener took in for this peer.
    Connected {
        /// Its number from here on.
        conn: ConnId,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// Who opened it.
        direction: Direction,
    },
    /// The attempt that `Action::Dial` asked for came to nothing.
    DialFailed {
        /// Of the attempt.
        conn: ConnId,
        /// How it ended.
        error: DialError,
    },
    /// The connection is gone; nothing more comes of it.
    Closed {
        /// Which.
        conn: ConnId,
        /// `None` if it was closed in order.
        error: Option<String>,
    },
    /// Any message but UPDATE.
    Message {
        /// Of the connection it came on.
        conn: ConnId,
        /// As decoded.
        message: Message,
    },
    /// What could not be read, and ends the session (`Severity::Reset`).
    Malformed {
        /// Of the connection it came on.
        conn: ConnId,
        /// What is wrong, and what the peer is to be told.
        error: DecodeError,
    },
    /// So many UPDATEs were read.
    UpdatesSeen {
        /// Of the connection they came on.
        conn: ConnId,
        /// How many.
        n: u64,
    },
    /// The speaker took in the peer's End-of-RIB.
    EndOfRib {
        /// Of which.
        family: Family,
    },
    /// Octets wait, and the kernel takes none (RFC 9687).
    SendBlocked {
        /// Of the session.
        conn: ConnId,
    },
    /// The kernel took octets again. If some still wait, `SendBlocked` follows.
    SendProgress {
        /// Of the session.
        conn: ConnId,
    },
    /// More prefixes than the peer may announce (RFC 4486: Cease, 1). It stays away for `restart`, or until it is started.
    MaxPrefixExceeded {
        /// Whose prefixes.
        family: Family,
        /// How many it may announce.
        limit: u32,
        /// `None`: until an operator starts it.
        restart: Option<Duration>,
    },
    /// Other parameters hold from now on; `restart` if the session that stands was agreed by what is no longer so.
    Reconfigured {
        /// Whole.
        params: Arc<Params>,
        /// The session is closed with Cease/6 and comes up again.
        restart: bool,
    },
}

/// Why we end a session, and whether it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// Cease/2; stays down until it is started.
    Shutdown,
    /// Cease/3; the peer is removed after this.
    Deconfigured,
    /// Cease/4; comes back at once. With RFC 8538 the routes stay meanwhile.
    Reset,
    /// Cease/4 too, but the routes go, and the peer is told to drop ours (Cease/9 where RFC 8538 was negotiated).
    HardReset,
    /// Cease/6; comes back with what was reconfigured.
    ConfigChange,
    /// Cease/8; the routes go, and the peer is left alone until the longest idle hold time is over.
    OutOfResources,
    /// Cease/10 (RFC 9384): BFD says that the path is dead. The routes go, and the session comes back when it can.
    BfdDown,
    /// The same, and routes are kept as over a restart, where that was agreed (RFC 5882 §4.3.2).
    BfdDownKept,
    /// The link to the peer, or our address on it, is gone: the hold timer need not be waited for. Routes go.
    LinkDown,
    /// No word at all: the daemon goes away and wants the peer to keep its routes (RFC 4724 §4.1).
    Quiet,
}

/// How an attempt to connect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DialError {
    /// RST: nobody listens, or somebody refuses in between.
    Refused,
    /// No answer within the ConnectRetryTime.
    TimedOut,
    /// ENETUNREACH, ENETDOWN: the kernel has no route.
    Unreachable,
    /// EHOSTUNREACH: there is a route, and its next hop does not answer ARP or ND, or somebody on the way says no.
    HostUnreachable,
    /// ENOBUFS, ENOMEM: most often the neighbour table is full.
    NoBuffers,
    /// In the system's words.
    Other(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Refused => f.write_str("connection refused: nobody listens there, or a firewall rejects"),
            DialError::TimedOut => f.write_str("no answer"),
            DialError::Unreachable => f.write_str("the kernel has no route to the peer, or its link is down"),
            DialError::HostUnreachable => f.write_str(
                "there is a route, but nobody answers there (no ARP or ND reply, a full neighbour table, or a router says unreachable)",
            ),
            DialError::NoBuffers => f.write_str(
                "the kernel has no room for it: its neighbour table may be full (net.ipv4.neigh.default.gc_thresh3; `catbird doctor` looks)",
            ),
            DialError::Other(error) => f.write_str(error),
        }
    }
}

/// What a peer wants done. In order: a NOTIFICATION is sent before its connection is closed.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connect; the outcome comes as [`Event::Connected`] or [`Event::DialFailed`] with this number.
    Dial {
        /// For the connection, if there will be one.
        conn: ConnId,
        /// Whither and how.
        transport: Transport,
    },
    /// The OPEN is judged: read on, in this way.
    Context {
        /// Whose reader.
        conn: ConnId,
        /// What was negotiated.
        context: Context,
    },
    /// Write these octets after those before.
    Send {
        /// Where.
        conn: ConnId,
        /// A whole message with its header.
        octets: Bytes,
    },
    /// After what was sent before. What is said of this connection later is dropped.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// A session is up: routes may be exchanged.
    Established(Arc<Session>),
    /// Only after `Established`: the session is over.
    Down(Down),
    /// Routes that were kept over a restart have had their time: remove those of these families that are still stale.
    SweepStale(FamilySet),
    /// The restart time of these families is over, and their stale routes stay on as the least preferred (RFC 9494 §4.2).
    LongLived(FamilySet),
    /// The peer asks (`Normal`), or marks the begin or the end of its refresh (RFC 7313).
    Refresh {
        /// Of which.
        family: Family,
        /// What is asked for, or marked.
        subtype: RefreshSubtype,
    },
    /// Worth a line for whoever watches.
    Notice(PeerNotice),
}

/// The end of a session.
#[derive(Clone, Debug)]
pub struct Down {
    /// What held.
    pub session: Arc<Session>,
    /// Why it is over.
    pub reason: DownReason,
    /// The NOTIFICATION that ended it, ours or theirs.
    pub notification: Option<Notification>,
    /// Keep the routes of these families as stale; drop those of all others now (RFC 4724 §4.2). Empty: an ordinary end.
    pub keep: FamilySet,
    /// Of these what was stale before stays as well: its long time is not over (RFC 9494 §4.2), or the peer has not restarted, but closed one of
    /// two connections, and the other one lives. It had not said everything again on this one (RFC 4724 §4.2 speaks of consecutive restarts).
    pub keep_stale: FamilySet,
    /// How long the session was up.
    pub lasted: Duration,
}

impl Down {
    /// Who ended it: `sent` and `received` name the way of the NOTIFICATION, `local` is an end without one.
    pub fn direction(&self) -> &'static str {
        match (&self.notification, &self.reason) {
            (Some(_), DownReason::Received(_)) => "received",
            (Some(_), _) => "sent",
            (None, _) => "local",
        }
    }

    /// Are any routes kept?
    pub fn is_graceful(&self) -> bool {
        !self.keep.is_empty()
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq)]
pub enum DownReason {
    /// The peer is configured, and nothing was tried yet.
    New,
    /// By the operator, or by the daemon's own end.
    Stopped {
        /// Which end it was.
        kind: StopKind,
        /// The operator's, as sent to the peer (RFC 9003).
        text: Option<String>,
    },
    /// It announced more than it may.
    MaxPrefix {
        /// Whose prefixes.
        family: Family,
        /// How many were allowed.
        limit: u32,
    },
    /// We cannot connect.
    Dial(DialError),
    /// The connection stood, and the other side closed it before it said anything.
    ClosedBeforeOpen {
        /// The system's, if it was not closed in order.
        error: Option<String>,
    },
    /// The connection was lost.
    Closed {
        /// The system's, if it was not closed in order.
        error: Option<String>,
    },
    /// The other side connected and never sent its OPEN.
    OpenTimeout,
    /// Nothing was received for the hold time (RFC 4271 §6.5).
    HoldTimer,
    /// The OPENs were exchanged, and the KEEPALIVE that confirms ours never came.
    Unconfirmed,
    /// RFC 9687.
    SendHoldTimer,
    /// The peer sent this.
    Received(Notification),
    /// Its OPEN says what we do not accept.
    Rejected(OpenRejected),
    /// The peer sent what cannot be read; in words.
    Malformed {
        /// In words.
        error: String,
        /// What the peer was told of it.
        notification: Notification,
    },
    /// RFC 4271 §6.6: an event that its state does not know.
    Unexpected {
        /// Where it happened.
        state: State,
        /// What happened.
        event: Trigger,
    },
    /// Another connection with the peer was kept (RFC 4271 §6.8).
    Collision,
    /// The peer came back on a new connection while the old one was thought alive (RFC 4724 §4.2).
    PeerRestarted,
    /// The connection came to an address that is not the configured local one.
    WrongLocalAddress,
    /// It has a connection already, or connects more often than once a second.
    TooManyConnections,
}

/// An OPEN that says something we do not accept (RFC 4271 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenRejected {
    /// Another AS number than configured.
    BadPeerAs { got: Asn, want: super::params::RemoteAs },
    /// Zero, AS_TRANS in the wrong place, or two numbers that contradict each other (RFC 6793, RFC 7607).
    BadAsNumber { field: u16, capability: Asn },
    /// Our own identifier within our AS (RFC 6286 §2.2).
    BadId { id: RouterId },
    /// Nothing in common.
    NoCommonFamily { offered: FamilySet },
    /// What both say of each other does not fit (RFC 9234 §4.2); the codes that the peer's OPEN has.
    RoleMismatch { ours: Role, theirs: Vec<u8> },
}

impl fmt::Display for OpenRejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenRejected::BadPeerAs { got, want } => write!(f, "AS mismatch: the peer says AS {got}, configured is {want}"),
            OpenRejected::BadAsNumber { field, capability } => {
                write!(f, "impossible AS number: {field} in the OPEN, {capability} in its capability")
            }
            OpenRejected::BadId { id } => write!(f, "the peer has our own router id {id}"),
            OpenRejected::NoCommonFamily { offered } => write!(f, "no family in common: the peer offers {offered:?}"),
            OpenRejected::RoleMismatch { ours, theirs } => {
                let name = |code: &u8| Role::from_code(*code).map_or_else(|| format!("role {code}"), |role| role.to_string());
                let said = if theirs.is_empty() { "nothing".to_owned() } else { theirs.iter().map(name).collect::<Vec<_>>().join(" and ") };
                write!(f, "role mismatch: we are {ours}, so the peer is to be {}, and it says {said} (RFC 9234)", ours.counterpart())
            }
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::New => f.write_str("not tried yet"),
            DownReason::Stopped { kind, text } => {
                f.write_str(match kind {
                    StopKind::Shutdown => "shut down by the operator",
                    StopKind::Deconfigured => "removed from the configuration",
                    StopKind::Reset => "reset by the operator",
                    StopKind::HardReset => "hard reset by the operator",
                    StopKind::ConfigChange => "restarted for a changed configuration",
                    StopKind::OutOfResources => "closed for want of resources",
                    StopKind::BfdDown | StopKind::BfdDownKept => "BFD says that the path to it is dead",
                    StopKind::LinkDown => "the link to it is lost",
                    StopKind::Quiet => "the daemon goes away and leaves its routes",
                })?;
                text.as_ref().map_or(Ok(()), |text| write!(f, ": {text:?}"))
            }
            DownReason::MaxPrefix { family, limit } => write!(f, "more than {limit} prefixes of {family}"),
            DownReason::Dial(error) => error.fmt(f),
            DownReason::ClosedBeforeOpen { error } => {
                f.write_str("the other end closed the connection before any OPEN: it may not know this address as a peer, or still hold an older connection")?;
                error.as_ref().map_or(Ok(()), |error| write!(f, " ({error})"))
            }
            DownReason::Closed { error } => {
                f.write_str("connection closed by the peer")?;
                error.as_ref().map_or(Ok(()), |error| write!(f, " ({error})"))
            }
            DownReason::OpenTimeout => f.write_str("connected, but the other end sent no OPEN"),
            DownReason::HoldTimer => f.write_str("hold timer expired: nothing was heard from the peer"),
            DownReason::Unconfirmed => f.write_str(
                "hold timer expired: the peer sent its OPEN and did not confirm ours: a firewall or ttl security may keep us from it",
            ),
            DownReason::SendHoldTimer => f.write_str("send hold timer expired: the peer takes nothing from us"),
            DownReason::Received(notification) => write!(f, "the peer closed: {notification}"),
            DownReason::Rejected(why) => why.fmt(f),
            DownReason::Malformed { error, .. } => write!(f, "malformed message: {error}"),
            DownReason::Unexpected { state, event } => write!(f, "unexpected {event} in {state}"),
            DownReason::Collision => f.write_str("collision: the other connection was kept"),
            DownReason::PeerRestarted => f.write_str("the peer restarted and connected anew"),
            DownReason::TooManyConnections => f.write_str("the peer connects too often"),
            DownReason::WrongLocalAddress => f.write_str("the peer connected to an address that is not the configured local one"),
        }
    }
}

/// Something worth remembering about one peer.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerNotice {
    /// The state of the main machine changed.
    State {
        /// Before.
        from: State,
        /// Now.
        to: State,
        /// What led from one to the other.
        event: Trigger,
    },
    /// An attempt to connect began.
    Dialled {
        /// Its number.
        conn: ConnId,
    },
    /// It came to nothing; noted when the reason changes.
    DialFailed {
        /// How it ended.
        error: DialError,
    },
    /// TCP stands.
    Connected {
        /// Its number.
        conn: ConnId,
        /// Who opened it.
        direction: Direction,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// A connection that was closed without a session.
    Refused {
        /// What the peer was told, in effect.
        reason: DownReason,
    },
    /// The loser of a collision (RFC 4271 §6.8).
    Collision {
        /// The winner.
        kept: ConnId,
        /// The loser.
        closed: ConnId,
    },
    /// We ended the session, or refused a connection.
    Sent(Notification),
    /// The peer ended it.
    Received(Notification),
    /// HoldTimer and the like: those whose end has a consequence.
    TimerExpired(Timer),
    /// An attempt, or a session, failed.
    Failed(DownReason),
    /// A capability that the peer rejects is left out of the next OPEN (RFC 5492 §5).
    Suppressed {
        /// Which, by their codes.
        capabilities: String,
    },
    /// The peer's routes are kept while it restarts (RFC 4724 §4.2).
    RestartWindow {
        /// Of which.
        families: FamilySet,
        /// Its Restart Time.
        time: Duration,
    },
    /// The restart time is over, and routes stay on (RFC 9494).
    LongLived {
        /// Of these.
        families: FamilySet,
    },
    /// Routes that were kept are removed.
    Swept {
        /// Of which.
        families: FamilySet,
    },
    /// Other parameters hold.
    Reconfigured,
}

impl fmt::Display for PeerNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerNotice::State { from, to, event } => write!(f, "{from} -> {to} ({event})"),
            PeerNotice::Dialled { .. } => f.write_str("connecting"),
            PeerNotice::DialFailed { error } => write!(f, "connecting failed: {error}"),
            PeerNotice::Connected { direction, remote, .. } => write!(f, "connection {} with {remote}", direction.as_str()),
            PeerNotice::Refused { reason } => write!(f, "connection refused: {reason}"),
            PeerNotice::Collision { .. } => f.write_str("collision: one connection closed, one kept"),
            PeerNotice::Sent(n) => write!(f, "sent NOTIFICATION {n}"),
            PeerNotice::Received(n) => write!(f, "received NOTIFICATION {n}"),
            PeerNotice::TimerExpired(timer) => write!(f, "{} expired", timer.name()),
            PeerNotice::Failed(reason) => reason.fmt(f),
            PeerNotice::Suppressed { capabilities } => write!(f, "next OPEN without {capabilities}"),
            PeerNotice::RestartWindow { families, time } => write!(f, "keeping routes of {families:?} for {} s", time.as_secs()),
            PeerNotice::LongLived { families } => write!(f, "stale routes of {families:?} stay on, as the least preferred"),
            PeerNotice::Swept { families } => write!(f, "stale routes of {families:?} removed"),
            PeerNotice::Reconfigured => f.write_str("reconfigured"),
        }
    }
}

impl PeerNotice {
    /// Two that tell an operator the same; each connection has a number and a port of its own.
    fn is_like(&self, other: &PeerNotice) -> bool {
        match (self, other) {
            (PeerNotice::Dialled { .. }, PeerNotice::Dialled { .. }) => true,
            (PeerNotice::Collision { .. }, PeerNotice::Collision { .. }) => true,
            (PeerNotice::Connected { direction, .. }, PeerNotice::Connected { direction: theirs, .. }) => direction == theirs,
            _ => self == other,
        }
    }

    /// A session began or ended: what was before it is another story.
    fn is_turning_point(&self) -> bool {
        matches!(self, PeerNotice::State { from, to, .. } if (*from == State::Established) != (*to == State::Established))
    }
}

/// One line of the ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    pub first: Instant,
    /// The last time.
    pub at: Instant,
    /// How often since the session began or ended: attempts that fail alike do not push the rest out.
    pub times: u32,
    /// What happened.
    pub what: PeerNotice,
}

/// The last 64 things that happened to a peer, in the order in which each happened last.
#[derive(Clone, Debug, Default)]
pub struct EventHistory(VecDeque<Recorded>);

impl EventHistory {
    /// Entries that are kept.
    pub const BOUND: usize = 64;

    /// Adds an entry; the oldest goes when it is full.
    pub fn push(&mut self, at: Instant, what: PeerNotice) {
        let since = self.0.iter().rposition(|r| r.what.is_turning_point()).map_or(0, |turn| turn + 1);
        let like = (since..self.0.len()).rev().find(|i| self.0.get(*i).is_some_and(|r| r.what.is_like(&what)));
        let known = like.filter(|_| !what.is_turning_point()).and_then(|i| self.0.remove(i));
        if self.0.len() == EventHistory::BOUND {
            self.0.pop_front();
        }
        let (first, times) = known.map_or((at, 0), |k| (k.first, k.times));
        self.0.push_back(Recorded { first, at, times: times.saturating_add(1), what });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Recorded> + ExactSizeIterator {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(from: State, to: State) -> PeerNotice {
        PeerNotice::State { from, to, event: Trigger::ManualStart }
    }

    #[test]
    fn the_ring_keeps_the_last_sixty_four() {
        let mut history = EventHistory::default();
        let failed = |n: u64| PeerNotice::DialFailed { error: DialError::Other(n.to_string()) };
        (0..100).for_each(|n| history.push(Instant::from_nanos(n), failed(n)));
        assert_eq!(history.iter().len(), EventHistory::BOUND);
        assert_eq!(history.iter().next().map(|r| r.at.as_nanos()), Some(36));
    }

    #[test]
    fn a_cycle_of_attempts_takes_one_line_for_each_thing_and_they_stand_in_order() {
        let mut history = EventHistory::default();
        history.push(Instant::from_nanos(1), state(State::Established, State::Idle));
        for round in 1..100 {
            let at = |n| Instant::from_nanos(round * 10 + n);
            history.push(at(0), PeerNotice::Dialled { conn: ConnId(round) });
            history.push(at(1), PeerNotice::DialFailed { error: DialError::Refused });
            history.push(at(2), state(State::Connect, State::Active));
        }
        let lines: Vec<_> = history.iter().map(|r| (r.first.as_nanos(), r.at.as_nanos(), r.times)).collect();
        assert_eq!(lines, [(1, 1, 1), (10, 990, 99), (11, 991, 99), (12, 992, 99)]);
        history.push(Instant::from_nanos(2000), state(State::OpenConfirm, State::Established));
        history.push(Instant::from_nanos(2001), state(State::Established, State::Idle));
        history.push(Instant::from_nanos(2002), state(State::Connect, State::Active));
        assert_eq!(history.iter().next_back().map(|r| (r.first.as_nanos(), r.times)), Some((2002, 1)), "another session, another count");
    }
}
