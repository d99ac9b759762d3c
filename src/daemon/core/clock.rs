//! The one clock of the daemon: monotonic, read by the shell alone.
//!
//! In: nothing. Out: `num::Instant`s on one time line (nanoseconds of CLOCK_MONOTONIC), and the same moments as tokio sleeps on them.
//! It leaves the calendar to `tracing` and to the rooms that print; a leap of the wall clock moves no timer here.

use std::time::Duration;

use crate::num::Instant;

use crate::daemon::sys;

/// Deadlines are met on a grid of this width, so that a thousand keepalive timers cost ten wake-ups a second and not a thousand.
///
/// RFC 4271 §10 has timers jittered by up to a quarter; a twentieth of a second is far below what any of them measures.
pub const TICK: Duration = Duration::from_millis(50);

/// Where our time line and tokio's meet.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ours: Instant,
    tokio: tokio::time::Instant,
}

impl Clock {
    /// The line begins now.
    pub fn start() -> Clock {
        Clock { ours: sys::monotonic(), tokio: tokio::time::Instant::now() }
    }

    /// As [`sys::monotonic`] has it.
    pub fn now(&self) -> Instant {
        sys::monotonic()
    }

    /// The moment as tokio sleeps until it, moved up to the next [`TICK`].
    pub fn wake_at(&self, deadline: Instant) -> tokio::time::Instant {
        self.tokio + on_the_grid(deadline).since(self.ours)
    }
}

/// The first multiple of [`TICK`] that is not before `deadline`.
fn on_the_grid(deadline: Instant) -> Instant {
    let tick = u64::try_from(TICK.as_nanos()).unwrap_or(1);
    Instant::from_nanos(deadline.as_nanos().div_ceil(tick).saturating_mul(tick))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward() {
        let clock = Clock::start();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() - before >= Duration::from_millis(2));
    }

    #[test]
    fn deadlines_of_one_tick_are_met_together_and_never_early() {
        let tick = u64::try_from(TICK.as_nanos()).expect("small");
        let grid = |nanos| on_the_grid(Instant::from_nanos(nanos)).as_nanos();
        assert_eq!(grid(7 * tick), 7 * tick);
        assert_eq!(grid(7 * tick + 1), 8 * tick);
        assert_eq!(grid(8 * tick - 1), 8 * tick);
    }

    #[test]
    fn a_deadline_is_slept_until_on_tokios_time_line() {
        let clock = Clock::start();
        let wake = clock.wake_at(clock.now() + Duration::from_secs(60));
        let ahead = wake - tokio::time::Instant::now();
        assert!(ahead > Duration::from_secs(50) && ahead <= Duration::from_secs(60) + TICK, "{ahead:?}");
    }
}
