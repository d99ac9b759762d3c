//! Why a session is not up, in words; and the counts of what a peer did.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Peer;
use super::event::{DialError, DownReason, StopKind};
use super::fsm::State;
use super::params::Ttl;
use crate::num::Instant;
use crate::wire::{Notification, Open};

/// One reason why there was no session, and when it was met.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What went wrong.
    pub reason: DownReason,
    pub first: Instant,
    pub last: Instant,
    pub times: u32,
}

impl Failure {
    pub(super) fn new(reason: DownReason, now: Instant) -> Failure {
        Failure { reason, first: now, last: now, times: 1 }
    }

    pub(super) fn again(&mut self, now: Instant) {
        self.last = now;
        self.times = self.times.saturating_add(1);
    }
}

/// What failed since the last session, each reason once.
///
/// A session that cannot come up fails in several ways in turn: an OPEN is refused, and the peer, which then rests, closes our next
/// connection before it says a word. The reason that names the cause is kept above such noise as long as it recurs.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Vec<Failure>);

impl Failures {
    /// Reasons at most; the least telling goes first.
    const KINDS: usize = 6;
    /// A reason that has not been met for so long while others were is past, whatever the idle hold time.
    const CURRENT: Duration = Duration::from_secs(180);

    /// `rest`: the longest time between two attempts.
    pub fn note(&mut self, reason: DownReason, rest: Duration, now: Instant) {
        if let Some(known) = self.0.iter_mut().find(|f| f.reason == reason) {
            known.again(now);
            return self.fade(rest, now);
        }
        self.fade(rest, now);
        self.0.push(Failure::new(reason, now));
        self.0.sort_by_key(|f| (Reverse(f.reason.weight()), f.first));
        self.0.truncate(Failures::KINDS);
    }

    /// An attempt failed: what has not been met for long has no bearing on it.
    pub fn fade(&mut self, rest: Duration, now: Instant) {
        let current = Failures::CURRENT.max(rest.saturating_mul(3));
        self.0.retain(|f| now.since(f.last) < current);
    }

    /// Another era: what was before has no bearing.
    pub fn begin_anew(&mut self) {
        self.0.clear();
    }

    /// The most telling first; of equal ones that which came first.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.0.iter()
    }
}

impl DownReason {
    /// How much it says of the cause.
    fn weight(&self) -> u8 {
        match self {
            DownReason::Stopped { kind: StopKind::Reset | StopKind::HardReset | StopKind::ConfigChange, .. } => 1,
            DownReason::Received(told) if (told.code, told.subcode) == (6, 5) => 2,
            DownReason::Received(told) if (told.code, told.subcode) == (6, 7) => 0,
            DownReason::Stopped { .. }
            | DownReason::MaxPrefix { .. }
            | DownReason::Rejected(_)
            | DownReason::Received(_)
            | DownReason::Malformed { .. }
            | DownReason::WrongLocalAddress => 3,
            DownReason::HoldTimer
            | DownReason::SendHoldTimer
            | DownReason::OpenTimeout
            | DownReason::Unconfirmed
            | DownReason::Unexpected { .. }
            | DownReason::PeerRestarted => 2,
            DownReason::ClosedBeforeOpen { .. } | DownReason::Closed { .. } | DownReason::TooManyConnections => 1,
            DownReason::New | DownReason::Dial(_) | DownReason::Collision => 0,
        }
    }
}

/// Counts since the peer was made; they only grow, but for `connect_retry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// ConnectRetryCounter (RFC 4271 §8): failures since the last start or stop.
    pub connect_retry: u32,
    /// Sessions that came up.
    pub established: u64,
    /// Sessions that ended.
    pub dropped: u64,
    /// Attempts of ours to connect.
    pub dialled: u64,
    /// Of these, those that led to no connection.
    pub dial_failures: u64,
    /// Connections that the peer opened.
    pub accepted: u64,
    /// Accepted connections that were closed at once.
    pub refused: u64,
    /// Connections that lost to another one (RFC 4271 §6.8).
    pub collisions: u64,
    /// OPEN messages that could be read.
    pub opens_received: u64,
    /// OPEN messages.
    pub opens_sent: u64,
    /// UPDATE messages, whatever came of them.
    pub updates_received: u64,
    /// KEEPALIVE messages.
    pub keepalives_received: u64,
    /// KEEPALIVE messages.
    pub keepalives_sent: u64,
    /// NOTIFICATION messages.
    pub notifications_received: u64,
    /// NOTIFICATION messages, refusals of connections among them.
    pub notifications_sent: u64,
    /// ROUTE-REFRESH messages of any kind.
    pub refreshes_received: u64,
}

/// NOTIFICATIONs by direction, code and subcode. No more kinds than there are defined ones: the rest counts as 0/0.
#[derive(Clone, Debug, Default)]
pub(super) struct NotificationCounts(BTreeMap<(&'static str, u8, u8), u64>);

impl NotificationCounts {
    const KINDS: usize = 64;

    /// One more; a kind beyond the bound counts as 0/0.
    pub fn count(&mut self, direction: &'static str, notification: &Notification) {
        let kind = (direction, notification.code, notification.subcode);
        let room = self.0.len() < NotificationCounts::KINDS || self.0.contains_key(&kind);
        let n = self.0.entry(if room { kind } else { (direction, 0, 0) }).or_default();
        *n = n.saturating_add(1);
    }
}

impl Peer {
    /// NOTIFICATIONs so far: direction (`sent`, `received`), code, subcode, how many.
    pub fn notifications(&self) -> impl Iterator<Item = (&'static str, u8, u8, u64)> + '_ {
        self.notification_counts.0.iter().map(|(&(direction, code, subcode), &n)| (direction, code, subcode, n))
    }

    /// The OPEN that this connection began with, while there is one.
    pub fn our_open(&self) -> Option<&Open> {
        self.main.ours.as_deref()
    }

    /// Why there is no session, as one would say it to a colleague; `None` when there is one.
    pub fn why_down(&self) -> Option<String> {
        if self.state() == State::Established {
            return None;
        }
        if let Some(hindrance) = &self.params.hindrance {
            return Some(hindrance.clone());
        }
        let dial = self.dial_failure.as_ref().map(|f| self.in_words(&f.reason));
        let words = match (self.failures.iter().next(), dial) {
            (Some(failure), Some(dial)) if self.is_wanted() && !same_kind(&failure.reason) => {
                format!("{}; connecting: {dial}", self.in_words(&failure.reason))
            }
            (Some(failure), _) => self.in_words(&failure.reason),
            (None, Some(dial)) => dial,
            (None, None) if !self.is_wanted() => "not started".to_owned(),
            (None, None) => match self.state() {
                State::Idle | State::Connect => "connecting".to_owned(),
                State::Active if self.params.passive => "passive: waiting for the peer to connect".to_owned(),
                State::Active => "waiting for the next attempt to connect".to_owned(),
                State::OpenSent | State::OpenConfirm | State::Established => "exchanging OPENs".to_owned(),
            },
        };
        Some(words)
    }

    /// What failed since the last session, the most telling first, attempts to connect last; with words for each.
    pub fn failures(&self) -> impl Iterator<Item = (&Failure, String)> {
        self.failures.iter().chain(&self.dial_failure).map(|failure| (failure, self.in_words(&failure.reason)))
    }

    /// The reason to complain of, once: what failed beyond an attempt to connect, or the second such attempt.
    pub fn complaint(&self) -> Option<String> {
        let lasting = self.dial_failure.as_ref().filter(|dial| dial.times > 1);
        let failure = self.failures.iter().find(|f| !matches!(f.reason, DownReason::Stopped { .. })).or(lasting)?;
        Some(self.in_words(&failure.reason))
    }

    /// Nobody answers our dials, or nobody comes: what we say, or what we ought to hear, is lost.
    pub fn is_unanswered(&self) -> bool {
        let lost = match &self.dial_failure {
            Some(failure) => failure.reason == DownReason::Dial(DialError::TimedOut),
            None => true,
        };
        lost && self.is_wanted() && matches!(self.state(), State::Connect | State::Active)
    }

    fn in_words(&self, reason: &DownReason) -> String {
        match reason {
            DownReason::Dial(DialError::TimedOut) if self.params.md5.is_some() => {
                format!("{reason}: nothing comes back, as when the MD5 keys of both ends differ")
            }
            DownReason::Dial(DialError::TimedOut) if self.one_hop() => {
                format!("{reason} (sent with TTL 1: is the peer directly connected?)")
            }
            DownReason::Dial(DialError::TimedOut) if matches!(self.params.ttl, Ttl::Security(_)) => {
                format!("{reason}: further away than `ttl security` allows, or a firewall")
            }
            DownReason::Received(n) if (n.code, n.subcode) == (2, 2) => {
                format!("{reason}: the peer does not expect AS {} from us", self.params.local_as)
            }
            DownReason::Received(n) if (n.code, n.subcode) == (6, 5) => format!("{reason}: the peer does not know us, or rests"),
            DownReason::ClosedBeforeOpen { .. } if self.params.md5.is_some() => format!("{reason}; or its MD5 key differs"),
            DownReason::New
            | DownReason::Stopped { .. }
            | DownReason::MaxPrefix { .. }
            | DownReason::Dial(_)
            | DownReason::ClosedBeforeOpen { .. }
            | DownReason::Closed { .. }
            | DownReason::OpenTimeout
            | DownReason::HoldTimer
            | DownReason::Unconfirmed
            | DownReason::SendHoldTimer
            | DownReason::Received(_)
            | DownReason::Rejected(_)
            | DownReason::Malformed { .. }
            | DownReason::Unexpected { .. }
            | DownReason::Collision
            | DownReason::PeerRestarted
            | DownReason::TooManyConnections
            | DownReason::WrongLocalAddress => reason.to_string(),
        }
    }

    fn one_hop(&self) -> bool {
        self.params.transport().ttl == Ttl::Multihop(1)
    }
}

/// A failure after which nobody dials: what connecting said before is of no interest.
fn same_kind(reason: &DownReason) -> bool {
    matches!(reason, DownReason::Stopped { .. } | DownReason::MaxPrefix { .. } | DownReason::Dial(_))
}
