//! The deliberate goodbye: ask the others to look elsewhere, withdraw, close; and back.
//!
//! In: `drain` and `undrain`, and time. Out: peers moved to export groups that mark (RFC 8326 §4.1), then withhold what we announce, and
//! sessions closed by Cease / Administrative Shutdown. What we learned stays in our kernel throughout, so that pods that are still here
//! can reach the others.

use super::Speaker;
use crate::num::Instant;
use crate::peer::{Event, StopKind};
use crate::stats::Notice;

/// How far the goodbye has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Drain {
    #[default]
    Off,
    /// Everything is announced with GRACEFUL_SHUTDOWN, until then.
    Marking(Instant),
    /// Everything is withdrawn; sessions are closed then.
    Withdrawing(Instant),
    Closed,
}

impl Drain {
    pub fn is_on(self) -> bool {
        self != Drain::Off
    }

    /// Routes go out with the GRACEFUL_SHUTDOWN community (RFC 8326 §4.1).
    pub fn marks(self) -> bool {
        matches!(self, Drain::Marking(_))
    }

    /// Nothing is announced.
    pub fn withholds(self) -> bool {
        matches!(self, Drain::Withdrawing(_) | Drain::Closed)
    }

    pub fn next_deadline(self) -> Option<Instant> {
        match self {
            Drain::Off | Drain::Closed => None,
            Drain::Marking(at) | Drain::Withdrawing(at) => Some(at),
        }
    }
}

impl Speaker {
    pub(super) fn drain(&mut self, now: Instant) -> Result<String, String> {
        if self.drain.is_on() {
            return Err("already draining".into());
        }
        self.drain = Drain::Marking(now + self.params.stop.drain_wait);
        self.rekey_all();
        self.notice(Notice::Draining { on: true });
        let wait = self.params.stop.drain_wait.as_secs_f64();
        Ok(format!("draining: marked with GRACEFUL_SHUTDOWN; withdrawn in {wait} s, sessions closed {wait} s later"))
    }

    pub(super) fn undrain(&mut self, now: Instant) -> Result<String, String> {
        let was = std::mem::take(&mut self.drain);
        match was {
            Drain::Off => return Err("not draining".into()),
            Drain::Closed => self.restart_enabled(now),
            Drain::Marking(_) | Drain::Withdrawing(_) => self.rekey_all(),
        }
        self.notice(Notice::Draining { on: false });
        Ok("announcing again".into())
    }

    pub(super) fn run_drain(&mut self, now: Instant) {
        match self.drain {
            Drain::Marking(at) if at <= now => {
                self.drain = Drain::Withdrawing(now + self.params.stop.drain_wait);
                self.rekey_all();
            }
            Drain::Withdrawing(at) if at <= now => {
                self.drain = Drain::Closed;
                for id in self.peers.ids() {
                    self.tell(id, Event::Stop { kind: StopKind::Shutdown, text: Some("node drained".into()) }, now);
                }
            }
            Drain::Off | Drain::Marking(_) | Drain::Withdrawing(_) | Drain::Closed => {}
        }
    }

    /// Starts every peer that is not administratively down.
    fn restart_enabled(&mut self, now: Instant) {
        for id in self.peers.ids() {
            if self.peers.get(id).is_some_and(|e| e.admin_up) {
                self.start_peer(id, now);
            }
        }
    }
}
