//! A new configuration, applied whole: only what differs is touched, and an equal one touches nothing.
//!
//! In: new `Params`. Out: peers added, removed, restarted or judged anew, blocks and rules replaced. What a change costs is graded before
//! by `config::diff` with the same comparison (`peer::Params::change`).

use std::collections::HashSet;
use std::sync::Arc;

use super::{BlockSource, Params, PeerConfig, Speaker};
use crate::num::{Instant, PeerId};
use crate::peer::{Change, Event, Remote, StopKind};
use crate::stats::Notice;

impl Speaker {
    pub(super) fn reload(&mut self, new: Box<Params>, now: Instant) {
        if *new == *self.params {
            return self.notice(Notice::Reloaded { changes: 0, sessions_touched: 0 });
        }
        let old = std::mem::replace(&mut self.params, new);
        let mut tally = Tally::default();
        self.reload_node(&old, &mut tally);
        self.reload_peers(&mut tally, now);
        self.reload_ranges(&old, &mut tally, now);
        self.notice(Notice::Reloaded { changes: tally.changes, sessions_touched: tally.sessions });
    }

    fn reload_node(&mut self, old: &Params, tally: &mut Tally) {
        if old.blocks != self.params.blocks {
            tally.changes += 1;
            self.set_blocks(BlockSource::Config, &self.params.blocks.clone());
        }
        if old.learning != self.params.learning {
            tally.changes += 1;
            self.nexthops.set_ignore(self.params.learning.ignore.clone());
            self.relearn();
        }
        if old.rules != self.params.rules {
            tally.changes += 1;
            self.rib.set_rules(self.params.rules.clone());
        }
        if old.fib != self.params.fib {
            tally.changes += 1;
            self.fib.set_params(self.params.fib.clone());
            self.nexthops.set_tunnels(self.params.tunnels());
            if self.params.fib.enabled { self.program_all() } else { self.program_none() }
        }
        if (old.asn, old.router_id) != (self.params.asn, self.params.router_id) {
            tally.changes += 1;
            self.rib.peer_up(self.local_facts());
        }
        let told_by = |p: &Params| (p.cluster_id, p.client_to_client, p.addresses);
        if told_by(old) != told_by(&self.params) {
            tally.changes += 1;
            self.rekey_all();
        }
        self.tell_tunnels();
    }

    fn reload_peers(&mut self, tally: &mut Tally, now: Instant) {
        let wanted = self.params.peers.clone();
        let remotes: HashSet<&Remote> = wanted.iter().map(|c| &c.session.remote).collect();
        let known: Vec<(PeerId, Arc<PeerConfig>)> =
            self.peers.iter().filter(|e| e.range.is_none()).map(|e| (e.id, e.config.clone())).collect();
        for (id, _) in known.iter().filter(|(_, c)| !remotes.contains(&c.session.remote)) {
            tally.session();
            self.remove_peer(*id, now);
        }
        for config in wanted.iter() {
            match known.iter().find(|(_, c)| c.session.remote == config.session.remote) {
                Some((_, old)) if old == config => {}
                Some((id, _)) => self.change_peer(*id, config.clone(), tally, now),
                None => {
                    tally.session();
                    self.add_peer(config.clone(), now);
                }
            }
        }
    }

    /// A peer means something else now: its session restarts only if it must.
    fn change_peer(&mut self, id: PeerId, new: Arc<PeerConfig>, tally: &mut Tally, now: Instant) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        let old = std::mem::replace(&mut entry.config, new.clone());
        let change = old.session.change(&new.session);
        let switched = old.session.enabled != new.session.enabled;
        tally.changes += 1;
        tally.sessions += usize::from(change == Change::Restart || switched);
        if change != Change::None {
            self.tell(id, Event::Reconfigured(new.session.clone()), now);
        }
        if switched {
            self.switch_peer(id, new.session.enabled, now);
        }
        let judges_alike = (&old.import, old.allow_own_as, old.enforce_first_as, old.max_prefix, old.graceful_shutdown)
            == (&new.import, new.allow_own_as, new.enforce_first_as, new.max_prefix, new.graceful_shutdown);
        if !judges_alike {
            self.reimport(id);
        }
        if old.rr_client != new.rr_client {
            self.refresh_facts(id);
        }
        self.rekey(id);
    }

    fn switch_peer(&mut self, id: PeerId, enabled: bool, now: Instant) {
        if let Some(entry) = self.peers.get_mut(id) {
            entry.admin_up = enabled;
        }
        if enabled {
            self.start_peer(id, now);
        } else {
            self.tell(id, Event::Stop { kind: StopKind::Shutdown, text: None }, now);
        }
    }

    /// Peers that came out of a range which is gone, or is another now, are let go; they may come again.
    fn reload_ranges(&mut self, old: &Params, tally: &mut Tally, now: Instant) {
        if old.ranges == self.params.ranges {
            return;
        }
        tally.changes += 1;
        let stale: Vec<PeerId> =
            self.peers.iter().filter(|e| e.range.as_ref().is_some_and(|r| !self.params.ranges.contains(r))).map(|e| e.id).collect();
        for id in stale {
            tally.sessions += 1;
            self.remove_peer(id, now);
        }
    }
}

/// What a reload touched.
#[derive(Default)]
struct Tally {
    changes: usize,
    sessions: usize,
}

impl Tally {
    fn session(&mut self) {
        self.changes += 1;
        self.sessions += 1;
    }
}
