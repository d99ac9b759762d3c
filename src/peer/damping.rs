//! How long a peer rests after a failure, and how often it may knock (DampPeerOscillations, RFC 4271 §8.1.1).
//!
//! In: failures and sessions with their times. Out: an idle hold time without jitter; whether an accepted connection may be taken.
//!
//! Before a session was reached, each failure doubles the IdleHoldTime up to its bound. A session that was reached starts anew; one that
//! flaps grows slowly, to eight times the first value, until one has lasted five minutes. So an operator's mistake costs one attempt a
//! minute, and a session that was reset by one bad message is back in a second.

use std::time::Duration;

use crate::num::Instant;

/// A session that lasted this long has no history.
const CALM: Duration = Duration::from_secs(300);
/// Flaps within [`CALM`] that are forgiven before the hold time doubles.
const FORGIVEN: u32 = 8;

/// What went wrong of late.
#[derive(Clone, Debug, Default)]
pub(super) struct Damping {
    /// Failures since the last session.
    failures: u32,
    /// Sessions lost early since the last calm.
    flaps: u32,
}

impl Damping {
    /// An attempt that did not become a session.
    pub fn on_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The first doubling is forgotten; flaps are not, before a session has lasted.
    pub fn on_established(&mut self) {
        self.failures = 0;
    }

    /// A session ended without an operator's doing, after this time.
    pub fn on_lost(&mut self, lasted: Duration) {
        self.flaps = if lasted >= CALM { 0 } else { self.flaps.saturating_add(1) };
    }

    /// The time to stay in Idle now.
    pub fn hold(&self, first: Duration, most: Duration) -> Duration {
        let doublings = self.failures.saturating_sub(1).max((self.flaps / FORGIVEN).min(3));
        first.saturating_mul(1u32.checked_shl(doublings.min(16)).unwrap_or(1)).min(most.max(first))
    }
}

/// A bucket of admissions: a burst of 64, refilled eight a second. Whoever connects more often than that finds the door shut. A connection
/// costs an OPEN each way, so this bounds a peer that knocks all the time to a thousandth of a core; and whoever tries out a session
/// with a new daemon, a hundred short connections in a row, is served each time.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    tokens: u32,
    at: Instant,
}

impl Admission {
    const BURST: u32 = 64;
    const A_SECOND: u32 = 8;

    /// A full bucket.
    pub fn new() -> Admission {
        Admission { tokens: Admission::BURST, at: Instant::ZERO }
    }

    /// True if the connection may be taken; that uses up a token.
    pub fn admit(&mut self, now: Instant) -> bool {
        let seconds = u32::try_from(now.since(self.at).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.tokens = self.tokens.saturating_add(seconds.saturating_mul(Admission::A_SECOND)).min(Admission::BURST);
            self.at = now;
        }
        let open = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn failures_double_the_hold_time_up_to_the_bound() {
        let mut damping = Damping::default();
        let holds: Vec<u64> = (0..9)
            .map(|_| {
                damping.on_failure();
                damping.hold(FIRST, MOST).as_secs()
            })
            .collect();
        assert_eq!(holds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        damping.on_established();
        assert_eq!(damping.hold(FIRST, MOST), FIRST);
    }

    #[test]
    fn sessions_that_flap_grow_slowly_and_calm_forgets() {
        let mut damping = Damping::default();
        (0..100).for_each(|_| damping.on_lost(Duration::from_secs(2)));
        assert_eq!(damping.hold(FIRST, MOST), FIRST * 8);
        damping.on_lost(CALM);
        assert_eq!(damping.hold(FIRST, MOST), FIRST);
    }

    #[test]
    fn knocking_is_bounded_to_a_burst_and_eight_a_second() {
        let mut door = Admission::new();
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let admitted = (0..10_000).filter(|ms| door.admit(at(*ms))).count();
        assert_eq!(admitted, 64 + 9 * 8, "a burst at once and eight in each of the following nine seconds");
    }
}
