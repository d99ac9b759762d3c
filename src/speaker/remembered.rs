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

use super::command::COMMAND_BLOCKS_MOST;
use super::io::Effect;
use super::params::BlockSource;
use super::router::Speaker;
use super::sessions::Entry;
use crate::num::Instant;
use crate::peer::Remote;

/// Clients that come and go are written down so often at most.
const EVERY: Duration = Duration::from_secs(1);

/// Names of tunnel devices of before that are looked for.
const DEVICES_MOST: usize = 16;

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
    down: BTreeSet<Remote>,
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

impl Speaker {
    /// As what was [written down](Effect::Remember) last has it; to be called at once, before anything is handed in.
    pub fn recall(&mut self, remembered: Remembered) {
        self.lifecycle.recall(remembered.drained);
        self.startup.recall(remembered.clients);
        self.memory.down = remembered.down;
        for id in self.sessions.ids() {
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.admin_up &= !self.memory.was_down(&entry.config.session.remote);
            }
        }
        self.tunnels.recall(remembered.devices.into_iter().take(DEVICES_MOST).collect());
        let blocks: Vec<IpNet> = remembered.blocks.into_iter().take(COMMAND_BLOCKS_MOST).collect();
        if !blocks.is_empty() {
            self.set_blocks(BlockSource::Command, &blocks);
        }
    }

    /// What the next start is to know: how it was before the end began.
    pub(super) fn write_down(&mut self, now: Instant) {
        if self.lifecycle.is_stopping() {
            return;
        }
        let Speaker { memory, lifecycle, startup, sessions, origination, tunnels, .. } = self;
        let yet_to_come: Vec<Remote> = memory.down.iter().filter(|_| startup.is_on()).cloned().collect();
        let remotes = |of: fn(&Entry) -> bool| sessions.iter().filter(move |e| of(e)).map(|e| e.config.session.remote.clone());
        let news = memory.poll(now, || Remembered {
            drained: lifecycle.is_drained(),
            clients: startup.awaited_clients().into_iter().chain(remotes(|e| e.range.is_some())).collect(),
            blocks: origination.of(BlockSource::Command).into_iter().collect(),
            devices: tunnels.names(now),
            down: remotes(|e| e.range.is_none() && !e.admin_up && e.config.session.enabled).chain(yet_to_come).collect(),
        });
        tunnels.forget_at(now).into_iter().for_each(|at| memory.touch(at, true));
        news.into_iter().for_each(|news| self.effects.push(Effect::Remember(Box::new(news))));
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
