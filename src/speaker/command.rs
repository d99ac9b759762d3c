//! What an operator may order.
//!
//! In: a `Command`. Out: events for peers, and an answer in words. Each order is answered at once; what it leads to is
//! seen in `catbird peers`.

use ipnet::IpNet;

use super::params::BlockSource;
use super::query::no_such_peer;
use super::router::Speaker;
use crate::api::{Answer, Command};
use crate::num::{Family, Instant, PeerId};
use crate::peer::{Event, StopKind};
use crate::stats::Notice;

/// Blocks that operators may add while it runs.
pub(super) const COMMAND_BLOCKS_MOST: usize = 4096;

impl Speaker {
    /// Carries out a command. Its answer is `Effect::Answer`; that of a drain that is waited for comes when it is done.
    pub(super) fn command(&mut self, id: u64, command: Command, now: Instant) {
        let done = match command {
            Command::PeerDown { peer, text } => self.with_peer(&peer, |s, id| s.peer_down(id, text, now)),
            Command::PeerUp { peer } => self.with_peer(&peer, |s, id| s.peer_up(id, now)),
            Command::PeerClear { peer, hard } => self.with_peer(&peer, |s, id| s.peer_clear(id, hard, now)),
            Command::RefreshIn { peer } => self.with_peer(&peer, Speaker::refresh_in),
            Command::RefreshOut { peer } => self.with_peer(&peer, Speaker::refresh_out),
            Command::Drain { wait, if_shutdown: true } => match self.drain_if_it_shuts_down(wait, now) {
                Some(done) => Ok(done),
                None => return self.drain_waiters.push(id),
            },
            Command::Drain { wait, .. } => match self.drain(wait, now) {
                Ok(None) => return self.drain_waiters.push(id),
                Ok(Some(done)) => Ok(done),
                Err(why) => Err(why.to_owned()),
            },
            Command::Undrain => self.undrain(now),
            Command::BlockAdd { net } => self.change_block(net, true, now),
            Command::BlockRemove { net } => self.change_block(net, false, now),
        };
        self.effects.answer(id, done.map_or_else(Answer::Refused, Answer::Done));
    }

    /// `None`: it is answered when it is done.
    fn drain(&mut self, wait: bool, now: Instant) -> Result<Option<String>, &'static str> {
        match self.lifecycle.drain(now) {
            Ok(step) => {
                self.take_step(step, now);
                self.effects.notice(Notice::Draining { on: true });
            }
            Err(why) => {
                // It may have been the cluster's, and is an operator's now.
                self.memory.touch(now, true);
                if !wait || self.lifecycle.name(false) != "draining" {
                    return Err(why);
                }
            }
        }
        let time = self.params.stop.drain_wait.as_secs_f64();
        let text = format!(
            "draining: marked with GRACEFUL_SHUTDOWN; withdrawn {time} s after everybody has heard it; it stays so until `undrain`"
        );
        Ok((!wait).then_some(text))
    }

    fn undrain(&mut self, now: Instant) -> Result<String, String> {
        let step = self.lifecycle.undrain()?;
        self.take_step(step, now);
        for id in std::mem::take(&mut self.drain_waiters) {
            self.effects.answer(id, Answer::Refused("the drain was ended before it was done".into()));
        }
        self.effects.notice(Notice::Draining { on: false });
        Ok("announcing again".into())
    }

    /// Starts every peer that is not administratively down.
    pub(super) fn start_enabled(&mut self, now: Instant) {
        for id in self.sessions.ids() {
            if self.sessions.get(id).is_some_and(|e| e.admin_up) {
                self.start_peer(id, now);
            }
        }
    }

    fn with_peer(&mut self, who: &str, deed: impl FnOnce(&mut Speaker, PeerId) -> Result<String, String>) -> Result<String, String> {
        match self.sessions.find(who).map(|e| e.id) {
            Some(id) => deed(self, id),
            None => Err(no_such_peer(who)),
        }
    }

    fn peer_down(&mut self, id: PeerId, text: Option<String>, now: Instant) -> Result<String, String> {
        let Some(entry) = self.sessions.get_mut(id) else { return Err("gone".into()) };
        if !std::mem::replace(&mut entry.admin_up, false) {
            return Err("already shut down".into());
        }
        self.memory.touch(now, true);
        self.dispatch(id, Event::Stop { kind: StopKind::Shutdown, text }, now);
        // After the NOTIFICATION, which says more: some daemons end their session by AdminDown.
        self.sync_bfd(id);
        Ok("shut down, also after a restart; `peer X up` brings it back".into())
    }

    fn peer_up(&mut self, id: PeerId, now: Instant) -> Result<String, String> {
        let Some(entry) = self.sessions.get_mut(id) else { return Err("gone".into()) };
        entry.admin_up = true;
        self.sync_bfd(id);
        self.memory.touch(now, true);
        self.start_peer(id, now);
        Ok("started".into())
    }

    fn peer_clear(&mut self, id: PeerId, hard: bool, now: Instant) -> Result<String, String> {
        if self.sessions.get(id).is_some_and(|e| !e.admin_up) {
            return Err("shut down by an operator; `peer X up` brings it back".into());
        }
        let kind = if hard { StopKind::HardReset } else { StopKind::Reset };
        self.dispatch(id, Event::Stop { kind, text: None }, now);
        Ok("session reset".into())
    }

    /// From Adj-RIB-In, which is always there; the peer notices nothing.
    fn refresh_in(&mut self, id: PeerId) -> Result<String, String> {
        if self.sessions.live(id).is_none() {
            return Err("the session is not up".into());
        }
        self.revalidate(id);
        Ok("everything that the peer announced is judged again".into())
    }

    fn refresh_out(&mut self, id: PeerId) -> Result<String, String> {
        let Some(live) = self.sessions.live(id) else { return Err("the session is not up".into()) };
        let (families, enhanced) = (live.session.families, live.session.enhanced_refresh);
        for family in Family::ALL.into_iter().filter(|f| families.contains(*f)) {
            self.groups.refresh(id, family, enhanced);
        }
        Ok("the peer is told everything again".into())
    }

    fn change_block(&mut self, net: IpNet, add: bool, now: Instant) -> Result<String, String> {
        let net = net.trunc();
        let mut nets = self.origination.of(BlockSource::Command);
        match (add, nets.contains(&net)) {
            (true, true) => return Err(format!("{net} was added before")),
            (true, false) if nets.len() >= COMMAND_BLOCKS_MOST => {
                return Err(format!("{COMMAND_BLOCKS_MOST} blocks were added by command; more belong into `[pods]` of the configuration"));
            }
            (true, false) => nets.push(net),
            (false, true) => nets.retain(|n| *n != net),
            (false, false) => return Err(format!("{net} was not added by a command; see `catbird blocks`")),
        }
        self.set_blocks(BlockSource::Command, &nets);
        self.memory.touch(now, true);
        Ok(format!("{net} {}", if add { "added" } else { "removed" }))
    }
}
