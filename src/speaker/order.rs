//! What an operator may order, and how the router ends.
//!
//! In: a `Command` or a `StopMode`. Out: events for peers, and an answer in words. Each order is answered at once; what it leads to is
//! seen in `catbird peers`.

use ipnet::IpNet;

use super::show::{Answer, Command};
use super::{BlockSource, Effect, OnTerm, Speaker, StopMode};
use crate::num::{Family, Instant, PeerId};
use crate::peer::{Event, StopKind};
use crate::stats::Notice;

impl Speaker {
    pub(super) fn obey(&mut self, command: Command, now: Instant) -> Answer {
        let done = match command {
            Command::PeerDown { peer, text } => self.with_peer(&peer, |s, id| s.peer_down(id, text, now)),
            Command::PeerUp { peer } => self.with_peer(&peer, |s, id| s.peer_up(id, now)),
            Command::PeerClear { peer } => self.with_peer(&peer, |s, id| s.peer_clear(id, now)),
            Command::RefreshIn { peer } => self.with_peer(&peer, |s, id| s.refresh_in(id, now)),
            Command::RefreshOut { peer } => self.with_peer(&peer, |s, id| s.refresh_out(id)),
            Command::Drain => self.drain(now),
            Command::Undrain => self.undrain(now),
            Command::BlockAdd { net } => self.change_block(net, true),
            Command::BlockRemove { net } => self.change_block(net, false),
        };
        done.map_or_else(Answer::Refused, Answer::Done)
    }

    fn with_peer(&mut self, who: &str, deed: impl FnOnce(&mut Speaker, PeerId) -> Result<String, String>) -> Result<String, String> {
        match self.peers.find(who).map(|e| e.id) {
            Some(id) => deed(self, id),
            None => Err(super::ask::no_such_peer(who)),
        }
    }

    fn peer_down(&mut self, id: PeerId, text: Option<String>, now: Instant) -> Result<String, String> {
        let Some(entry) = self.peers.get_mut(id) else { return Err("gone".into()) };
        if !std::mem::replace(&mut entry.admin_up, false) {
            return Err("already shut down".into());
        }
        self.tell(id, Event::Stop { kind: StopKind::Shutdown, text }, now);
        Ok("shut down; `peer X up` brings it back".into())
    }

    fn peer_up(&mut self, id: PeerId, now: Instant) -> Result<String, String> {
        let Some(entry) = self.peers.get_mut(id) else { return Err("gone".into()) };
        entry.admin_up = true;
        self.start_peer(id, now);
        Ok("started".into())
    }

    fn peer_clear(&mut self, id: PeerId, now: Instant) -> Result<String, String> {
        if self.peers.get(id).is_some_and(|e| !e.admin_up) {
            return Err("shut down by an operator; `peer X up` brings it back".into());
        }
        self.tell(id, Event::Stop { kind: StopKind::HardReset, text: None }, now);
        Ok("session reset".into())
    }

    /// From Adj-RIB-In, which is always there; the peer hears nothing of it.
    fn refresh_in(&mut self, id: PeerId, _now: Instant) -> Result<String, String> {
        if self.peers.get(id).is_none_or(|e| e.live.is_none()) {
            return Err("the session is not up".into());
        }
        self.reimport(id);
        Ok("everything that the peer said was judged again".into())
    }

    fn refresh_out(&mut self, id: PeerId) -> Result<String, String> {
        let Some(live) = self.peers.get(id).and_then(|e| e.live.as_ref()) else { return Err("the session is not up".into()) };
        let (families, enhanced) = (live.session.families, live.session.enhanced_refresh);
        for family in Family::ALL.into_iter().filter(|f| families.contains(*f)) {
            self.groups.refresh(id, family, enhanced);
        }
        Ok("the peer is told everything again".into())
    }

    fn change_block(&mut self, net: IpNet, add: bool) -> Result<String, String> {
        let net = net.trunc();
        let mut nets = self.blocks.of(BlockSource::Command);
        match (add, nets.contains(&net)) {
            (true, true) => return Err(format!("{net} was added before")),
            (true, false) => nets.push(net),
            (false, true) => nets.retain(|n| *n != net),
            (false, false) => return Err(format!("{net} was not added by a command; see `catbird blocks`")),
        }
        self.set_blocks(BlockSource::Command, &nets);
        Ok(format!("{net} {}", if add { "added" } else { "removed" }))
    }

    /// The router ends. `Effect::Stopped` says when it is done.
    pub(super) fn stop(&mut self, mode: StopMode, now: Instant) {
        let mode = match mode {
            StopMode::Configured => self.params.stop.on_term,
            StopMode::Keep => OnTerm::Keep,
            StopMode::Withdraw => OnTerm::Withdraw,
        };
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(mode);
        self.notice(Notice::Stopping { keep_routes: mode == OnTerm::Keep });
        let kind = if mode == OnTerm::Keep { StopKind::Quiet } else { StopKind::Shutdown };
        for id in self.peers.ids() {
            self.tell(id, Event::Stop { kind, text: None }, now);
        }
        if mode == OnTerm::Withdraw {
            self.fib.remove_all();
        }
    }

    /// Says that the end is reached, once.
    pub(super) fn finish_stop(&mut self) {
        let done = match self.stopping {
            None => false,
            Some(OnTerm::Keep) => true,
            Some(OnTerm::Withdraw) => self.fib.is_settled(),
        };
        if done && !self.stopped {
            self.stopped = true;
            if self.stopping == Some(OnTerm::Withdraw) {
                self.end_tunnels();
            }
            self.effects.push_back(Effect::Stopped);
        }
    }
}
