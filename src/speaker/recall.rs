//! From the router to what it is to know after its death, and back.
//!
//! In: a [`Remembered`] of the life before. Out: the next one, an [`Effect`] for the shell. What is in it, and when it is due, is `remembered`'s.

use ipnet::IpNet;

use super::command::COMMAND_BLOCKS_MOST;
use super::io::Effect;
use super::params::BlockSource;
use super::remembered::Remembered;
use super::router::Speaker;
use super::sessions::Entry;
use crate::num::Instant;
use crate::peer::Remote;

/// Names of tunnel devices of before that are looked for.
const DEVICES_MOST: usize = 16;

impl Speaker {
    /// As what was [written down](Effect::Remember) last has it; to be called at once, before anything is handed in.
    pub fn recall(&mut self, remembered: Remembered) {
        self.lifecycle.recall(remembered.drained);
        self.startup.recall(remembered.clients);
        self.memory.down = remembered.down;
        for id in self.sessions.ids() {
            if let Some(entry) = self.sessions.get_mut(id) {
                entry.admin_up &= !self.memory.was_down(&entry.config.session.identity());
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
        let remotes = |of: fn(&Entry) -> bool| sessions.iter().filter(move |e| of(e)).map(|e| e.config.session.identity());
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
