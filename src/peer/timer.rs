//! Timers as data, and the one source of chance: which deadlines a peer has, and how they are spread.
//!
//! In: "this timer in so long". Out: the earliest deadline. Nothing here fires anything; the peer asks what is due.
//!
//! RFC 4271 §10: ConnectRetryTimer, KeepaliveTimer (and our IdleHoldTimer) are multiplied by 0.75 to 1.0. Deadlines lie on a grid of
//! [`TICK`], so that many peers share one wake-up of the shell.

use std::time::Duration;

use serde::Serialize;

use crate::num::{Family, Instant};

/// Deadlines fall on multiples of this.
pub const TICK: Duration = Duration::from_millis(250);

/// The timers of RFC 4271 §8 and §10, of RFC 9687 and of RFC 4724.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// RFC 4271 §8: between two attempts to connect.
    ConnectRetry,
    /// RFC 4271 §4.2: a message of the peer must come by then.
    Hold,
    /// RFC 4271 §4.4: our next KEEPALIVE.
    Keepalive,
    /// RFC 4271 §8: our OPEN waits for the peer's.
    DelayOpen,
    /// RFC 4271 §8: the rest after a failure.
    IdleHold,
    /// RFC 9687: nothing could be sent for so long.
    SendHold,
    /// RFC 4724 §4.2: how long the peer may take to come back.
    Restart,
    /// How long routes of before a restart may stay without an End-of-RIB once the peer is back.
    Stale,
    /// RFC 9494 §4.2: how long stale routes may stay after the restart time.
    LongLivedIpv4,
    /// The same of IPv6 routes.
    LongLivedIpv6,
}

impl Timer {
    /// RFC 9494 has one for each family.
    pub fn long_lived(family: Family) -> Timer {
        match family {
            Family::Ipv4Unicast => Timer::LongLivedIpv4,
            Family::Ipv6Unicast => Timer::LongLivedIpv6,
        }
    }

    /// In the order in which those that are due together are served.
    pub const ALL: [Timer; 10] = [
        Timer::ConnectRetry,
        Timer::Hold,
        Timer::Keepalive,
        Timer::DelayOpen,
        Timer::IdleHold,
        Timer::SendHold,
        Timer::Restart,
        Timer::Stale,
        Timer::LongLivedIpv4,
        Timer::LongLivedIpv6,
    ];

    /// As in the RFCs.
    pub fn name(self) -> &'static str {
        match self {
            Timer::ConnectRetry => "ConnectRetryTimer",
            Timer::Hold => "HoldTimer",
            Timer::Keepalive => "KeepaliveTimer",
            Timer::DelayOpen => "DelayOpenTimer",
            Timer::IdleHold => "IdleHoldTimer",
            Timer::SendHold => "SendHoldTimer",
            Timer::Restart => "RestartTimer",
            Timer::Stale => "StaleTimer",
            Timer::LongLivedIpv4 => "LongLivedStaleTimer (IPv4)",
            Timer::LongLivedIpv6 => "LongLivedStaleTimer (IPv6)",
        }
    }
}

/// One optional deadline for each [`Timer`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimerTable([Option<Instant>; Timer::ALL.len()]);

impl TimerTable {
    /// Sets or moves a deadline, rounded up to the grid.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.put(timer, Some(round_up(at, TICK)));
    }

    /// No effect if it does not run.
    pub fn stop(&mut self, timer: Timer) {
        self.put(timer, None);
    }

    /// Of one connection, when it ends.
    pub fn stop_all(&mut self) {
        self.0 = Default::default();
    }

    /// When it expires, if it runs.
    pub fn get(&self, timer: Timer) -> Option<Instant> {
        self.0.get(timer as usize).copied().flatten()
    }

    /// Is it set?
    pub fn runs(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// One timer whose time has come; it is stopped by this.
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL.into_iter().filter_map(|t| Some((self.get(t)?, t))).filter(|(at, _)| *at <= now).min()?;
        self.stop(due.1);
        Some(due.1)
    }

    /// All that run, for `catbird peer`.
    pub fn iter(&self) -> impl Iterator<Item = (Timer, Instant)> + '_ {
        Timer::ALL.into_iter().filter_map(|t| Some((t, self.get(t)?)))
    }

    fn put(&mut self, timer: Timer, at: Option<Instant>) {
        if let Some(slot) = self.0.get_mut(timer as usize) {
            *slot = at;
        }
    }
}

/// The next point of a grid.
pub(super) fn round_up(at: Instant, grid: Duration) -> Instant {
    let tick = u64::try_from(grid.as_nanos()).unwrap_or(u64::MAX).max(1);
    Instant::from_nanos(at.as_nanos().div_ceil(tick).saturating_mul(tick))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_the_order_of_their_deadlines_and_once() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut table = TimerTable::default();
        table.set(Timer::Hold, at(9));
        table.set(Timer::Stale, at(3));
        table.set(Timer::Keepalive, at(30));
        assert_eq!(table.next_deadline(), Some(at(3)));
        assert_eq!(table.take_due(at(10)), Some(Timer::Stale));
        assert_eq!(table.take_due(at(10)), Some(Timer::Hold));
        assert_eq!(table.take_due(at(10)), None);
        assert_eq!(table.next_deadline(), Some(at(30)));
    }

    #[test]
    fn deadlines_lie_on_the_grid_and_never_early() {
        let mut table = TimerTable::default();
        table.set(Timer::Hold, Instant::from_nanos(1_000_000_001));
        assert_eq!(table.get(Timer::Hold), Some(Instant::from_nanos(1_250_000_000)));
    }
}
