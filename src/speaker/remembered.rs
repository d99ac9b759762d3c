//! What a router is to know of itself after its death, beside what stands in the kernel.
//!
//! What an operator has ordered at the control socket holds over a restart: a drain, a peer that is down, blocks that were added.
//!
//! In: that something may be otherwise. Out: a [`Remembered`] to be written down, at most one a second, and at once where an operator has
//! ordered it. Where it is written is the shell's; it comes back by `Speaker::recall`, before the peers are started.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::Instant;
use crate::peer::Remote;

/// Clients that come and go are written down so often at most.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// An operator has drained this router, and has not said `undrain` since.
    pub drained: bool,
    /// Who came out of listen ranges and has routes here: after a start these are waited for, and nobody else of a range.
    pub clients: BTreeSet<Remote>,
    /// Blocks that an operator has added (`block add`) and not removed.
    #[serde(default)]
    pub blocks: BTreeSet<IpNet>,
    /// Peers that the configuration has and an operator has shut down (`peer X down`).
    #[serde(default)]
    pub down: BTreeSet<Remote>,
    /// Tunnel devices that were made.
    #[serde(default)]
    pub devices: BTreeSet<String>,
}

/// What was handed out, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    told: Option<Remembered>,
    look_at: Option<Instant>,
    /// Who was down before, and has not been configured yet in this life.
    pub down: BTreeSet<Remote>,
}

impl Memory {
    /// It may be otherwise; `ordered`: somebody waits for it.
    pub fn touch(&mut self, now: Instant, ordered: bool) {
        let at = if ordered { now } else { now + EVERY };
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    /// A peer begins to be configured: was it down before?
    pub fn was_down(&mut self, remote: &Remote) -> bool {
        self.down.remove(remote)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// What is to be written down, if it is time and it is other than before.
    pub fn poll(&mut self, now: Instant, make: impl FnOnce() -> Remembered) -> Option<Remembered> {
        self.look_at.take_if(|at| *at <= now)?;
        let new = make();
        let news = self.told.as_ref() != Some(&new);
        news.then(|| self.told.insert(new).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_written_down_at_once_and_clients_once_a_second() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut memory = Memory::default();
        assert_eq!(memory.poll(at(0), || unreachable!("nothing happened")), None);
        memory.touch(at(0), false);
        memory.touch(at(900), false);
        assert_eq!((memory.next_deadline(), memory.poll(at(999), Remembered::default)), (Some(at(1000)), None));
        assert_eq!(memory.poll(at(1000), Remembered::default), Some(Remembered::default()), "that there is nobody is news at first");
        memory.touch(at(1000), false);
        memory.touch(at(1001), true);
        let drained = || Remembered { drained: true, ..Remembered::default() };
        assert_eq!(memory.poll(at(1001), drained), Some(drained()));
        memory.touch(at(1002), true);
        assert_eq!((memory.poll(at(1002), drained), memory.next_deadline()), (None, None), "as it was");
    }
}
