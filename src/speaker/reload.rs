//! A new configuration, applied whole: what the plan names is done, and nothing else.
//!
//! In: new `Params`. Out: the [plan](super::reload_plan), carried out: peers added, removed, restarted or judged anew, blocks and rules
//! replaced. An equal configuration makes an empty plan, which does nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::io::Effect;
use super::params::{BlockSource, ListenRange, Params, PeerConfig};
use super::reload_plan::{PeerStep, ReloadPlan, Running, Touch, diff};
use super::router::Speaker;
use super::sessions::Entry;
use crate::api::Answer;
use crate::num::{Family, Instant, PeerId};
use crate::peer::{Event, Remote, StopKind};
use crate::rib::Rib;
use crate::stats::Notice;

/// Kernel routes that a plan names, and how many it looks at for them.
const NAMED: usize = 8;
const LOOKED_AT: usize = 1024;

/// What the comparison asks of this router.
struct Now<'a>(&'a Speaker);

impl Running for Now<'_> {
    fn range_peers(&self) -> Vec<Remote> {
        self.0.sessions.iter().filter(|e| e.range.is_some()).map(|e| e.config.session.remote.clone()).collect()
    }

    fn received(&self, remote: &Remote, family: Family) -> u64 {
        let of = |rib: &Rib, id| rib.counts(id, family).prefixes();
        self.0.sessions.by_remote(remote).map_or(0, |id| of(&self.0.rib, id))
    }

    fn kernel_routes(&self) -> String {
        let fib = &self.0.fib_sync.fib;
        let stand: usize = Family::ALL.iter().map(|family| fib.counts(*family).installed).sum();
        let installed = fib.rows(0).take(LOOKED_AT).filter_map(|(_, row)| row.installed);
        let first: Vec<String> = installed.take(NAMED).map(|route| route.net.to_string()).collect();
        let more = if stand > first.len() { ", ..." } else { "" };
        let verb = if stand == 1 { "route is" } else { "routes are" };
        format!("{stand} {verb} ({}{more})", first.join(", "))
    }
}

impl Speaker {
    /// What taking over these parameters would change.
    pub fn plan(&self, new: &Params) -> ReloadPlan {
        diff(&self.params, new, &Now(self))
    }

    /// Takes over new parameters, and answers with what that changed.
    pub(super) fn reload(&mut self, id: u64, new: Box<Params>, now: Instant) {
        let plan = self.plan(&new);
        let old = std::mem::replace(&mut self.params, new);
        self.follow_leaving(now);
        self.forget_sources(&old.sources);
        self.apply_node(plan.node);
        self.startup.may_end();
        for (remote, step) in &plan.peers {
            self.apply_peer(remote, step, now);
        }
        if !plan.node.is_empty() || !plan.peers.is_empty() {
            self.ask_tunnels(now);
        }
        self.sync_stations();
        self.sync_caches();
        let sessions_touched = plan.restarts().count();
        self.effects.notice(Notice::Reloaded { changes: plan.changes().len(), sessions_touched });
        self.effects.answer(id, Answer::Plan(plan.into_changes()));
    }

    fn apply_node(&mut self, touch: Touch) {
        if touch.contains(Touch::BLOCKS) {
            self.set_own();
        }
        if touch.contains(Touch::REDISTRIBUTION) {
            self.nexthops.set_ignore(self.params.redistribute.ignore.clone());
            if let Some(blocks) = self.redistribution.on_rules(&self.params, &mut self.rib) {
                self.set_blocks(BlockSource::Kernel, &blocks);
            }
            self.effects.push(Effect::ReadKernel);
        }
        if touch.contains(Touch::DECISION) {
            self.rib.set_rules(self.params.rules.clone());
        }
        if touch.contains(Touch::FIB) {
            self.fib_sync.fib.set_params(self.params.fib.clone());
            self.nexthops.set_tunnels(self.params.tunnels());
            self.program().pin();
            self.program_all();
            if !self.params.fib.enabled {
                self.fib_sync.fib.reap();
            }
        }
        if touch.contains(Touch::FACTS) {
            self.rib.peer_up(self.local_facts());
        }
        self.rib.set_limits(self.params.limits.tables);
    }

    /// A source that the configuration does not name any more has nothing to say.
    fn forget_sources(&mut self, before: &BTreeSet<BlockSource>) {
        for source in before.difference(&self.params.sources.clone()) {
            self.set_blocks(*source, &[]);
        }
    }

    fn apply_peer(&mut self, remote: &Remote, step: &PeerStep, now: Instant) {
        let known = self.sessions.by_remote(remote);
        match (step, known) {
            (PeerStep::Add(config), None) => self.add_peer(config.clone(), now),
            (PeerStep::Remove, Some(id)) => self.remove_peer(id, now),
            (PeerStep::Change { config, range, touch }, Some(id)) => self.change_peer(id, config, range.as_ref(), *touch, now),
            (PeerStep::Add(_), Some(_)) | (PeerStep::Remove | PeerStep::Change { .. }, None) => {}
        }
    }

    /// A peer means something else now: its session restarts only if the plan says so.
    fn change_peer(&mut self, id: PeerId, new: &Arc<PeerConfig>, range: Option<&Arc<ListenRange>>, touch: Touch, now: Instant) {
        self.sessions.set_range(id, range.cloned());
        let Some(new) = self.sessions.configure(id, new) else { return };
        self.dispatch(id, Event::Reconfigured { params: new.session.clone(), restart: touch.contains(Touch::RESTART) }, now);
        self.sync_bfd(id);
        if touch.contains(Touch::SWITCH) {
            self.switch_peer(id, new.session.enabled, now);
        }
        if touch.intersects(Touch::IMPORT | Touch::LIMITS) {
            self.revalidate(id);
        }
        if touch.contains(Touch::LIMITS) {
            Family::ALL.into_iter().for_each(|family| self.import().check_limit(id, family, now));
        }
        if touch.contains(Touch::FACTS) {
            let facts = self.sessions.get(id).and_then(Entry::source_facts);
            facts.into_iter().for_each(|f| self.rib.peer_up(f));
        }
        if touch.contains(Touch::EXPORT) {
            self.export().rekey(id);
        }
    }

    fn switch_peer(&mut self, id: PeerId, enabled: bool, now: Instant) {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.admin_up = enabled;
        }
        if enabled {
            self.start_peer(id, now);
        } else {
            self.dispatch(id, Event::Stop { kind: StopKind::Shutdown, text: None }, now);
        }
        self.sync_bfd(id);
    }
}
