//! The tables of routes: what every peer announced, what we use, and what is announced onwards.
//!
//! In: a [`RouteChange`] for each prefix of each UPDATE, already judged by import, and what becomes of sessions and next hops.
//! Out: [`BestChange`]s when [`Rib::settle`] is called, each destination once however often it changed. `adj_out`, `update_group` and `pack`
//! make UPDATEs of them. Decoding is `wire`'s, policy `policy`'s; when to settle is the speaker's choice, and the kernel is `fib`'s.
//!
//! Adj-RIB-In is kept, refused routes too up to a bound ([`Limits`]), with the [`Cause`] of the refusal: a change of policy needs nothing from
//! the peer, or is asked for once.
//!
//! Nothing that a peer does costs as much as the table holds: what is due for all of its paths is a number when it comes, and is worked off in
//! steps within [`Rib::settle`] (`jobs`).
//!
//! # Invariants
//! `check_invariants` recounts everything: counts of each peer and family, the lists of each peer, the holders of attribute sets.

pub mod adj_in;
pub mod adj_out;
mod apply;
pub mod attrs;
pub mod cause;
pub mod decide;
mod departed;
mod index;
mod jobs;
pub mod keyed;
pub mod loc;
pub mod memory;
pub mod nexthop;
pub mod pack;
mod path;
mod sources;
mod table;
#[cfg(test)]
mod testing;
pub mod update_group;
mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::kernel::IfIndex;
use crate::num::{Family, Instant, Nlri, PathId, PeerId};
use crate::wire::{PathAttributes, Update};

pub use adj_in::RouteCounts;
pub use attrs::{AttrTable, Attrs};
pub use cause::Cause;
pub use decide::{Candidate, Multipath, Preference, Rules, Selection, SourceFacts, SourceKind, Step, select};
pub use departed::Departed;
pub use loc::{Best, BestChange, Touched};
pub use memory::MemoryUse;
pub use nexthop::{NexthopTable, NhId};
pub use path::Route;
pub use view::Sharing;

use adj_in::{AdjRibIn, Touch};
use apply::Core;
use nexthop::Resolution;
use path::Slot;
use table::{Key, Key4, Key6, Table};

/// What the decision asks of the table of next hops.
pub trait NextHops {
    /// One more attribute set asks for this next hop.
    fn track(&mut self, addr: IpAddr, interface: Option<IfIndex>) -> NhId;
    /// One fewer does.
    fn untrack(&mut self, id: NhId);
    /// The interior cost; `None` if it cannot be reached.
    fn metric(&self, id: NhId) -> Option<u32>;
    /// Whether [`awaits_recursive`](NextHops::awaits_recursive) holds for any.
    fn has_newly_tracked(&self) -> bool {
        false
    }
    /// Whether [`metric`](NextHops::metric) may change as soon as it is known which of our own routes lead there.
    fn awaits_recursive(&self, _id: NhId) -> bool {
        false
    }
}

impl NextHops for NexthopTable {
    fn track(&mut self, addr: IpAddr, interface: Option<IfIndex>) -> NhId {
        NexthopTable::track(self, addr, interface)
    }

    fn untrack(&mut self, id: NhId) {
        NexthopTable::untrack(self, id);
    }

    fn metric(&self, id: NhId) -> Option<u32> {
        match self.resolution(id) {
            Resolution::Via { metric, .. } => Some(*metric),
            Resolution::Unresolved(_) => None,
        }
    }

    fn has_newly_tracked(&self) -> bool {
        NexthopTable::has_newly_tracked(self)
    }

    fn awaits_recursive(&self, id: NhId) -> bool {
        NexthopTable::awaits_recursive(self, id)
    }
}

/// One destination's number in its family: dense, and its own as long as it has a path, and until the settlement after the one that reported
/// it gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestId(u32);

impl DestId {
    const V6: u32 = 1 << 31;

    /// The number as `index` of `family`.
    pub fn new(family: Family, index: u32) -> DestId {
        DestId(if family == Family::Ipv6Unicast { index | DestId::V6 } else { index & !DestId::V6 })
    }

    /// Which of the two tables it is in.
    pub fn family(self) -> Family {
        if self.0 & DestId::V6 == 0 { Family::Ipv4Unicast } else { Family::Ipv6Unicast }
    }

    /// To index a vector of this family by.
    pub fn index(self) -> usize {
        self.raw() as usize
    }

    fn raw(self) -> u32 {
        self.0 & !DestId::V6
    }
}

impl std::fmt::Debug for DestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.family(), self.index())
    }
}

/// What a peer announced of one prefix, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// Who announced or withdrew it.
    pub peer: PeerId,
    /// The prefix, with the peer's Path Identifier.
    pub nlri: Nlri,
    /// `None` removes what this peer announced before of `nlri` (RFC 4271 §9: a new route replaces the old one). A route whose `attrs` are
    /// `None` takes its place too, but cannot be used.
    pub route: Option<Route>,
    /// Why, for `catbird why` and the counters.
    pub cause: Cause,
}

/// Paths and prefixes of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableCounts {
    /// Prefixes with a path, usable or not.
    pub prefixes: u64,
    /// All of them, refused ones included.
    pub paths: u64,
    /// Prefixes with a best path, as of the last settlement.
    pub best: u64,
}

/// One path, to be shown or exported.
#[derive(Clone, Copy, Debug)]
pub struct PathView<'a> {
    /// The destination's number.
    pub dest: DestId,
    /// The prefix.
    pub net: IpNet,
    /// As the peer numbers it.
    pub path_id: PathId,
    /// The peer.
    pub source: &'a SourceFacts,
    /// Attributes as they came.
    pub received: &'a Attrs,
    /// After import; `None` if refused.
    pub attrs: Option<&'a Attrs>,
    /// Why it stands as it stands.
    pub cause: &'a Cause,
    /// The decision chose it.
    pub best: bool,
    /// Carries load together with the best path.
    pub shares: bool,
    /// Import let it in and its next hop could be reached at the last settlement.
    pub usable: bool,
    /// Kept over a restart of the peer, and not announced again (RFC 4724 §4.2).
    pub stale: bool,
    /// In whole seconds of the speaker's time line.
    pub since: u32,
}

/// How a path stands in the decision, for `catbird why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Chosen, at this step.
    Best(Step),
    /// Another path was better at this step.
    Lost(Step),
    /// Its next hop cannot be reached (RFC 4271 §9.1.2.1).
    Unreachable,
    /// Import did not let it in.
    Refused,
}

/// What one peer may have us keep. Beyond it what a peer announces is not taken in, which is counted; the others do not notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Paths of one prefix (RFC 7911). Beyond it a path that is new is not taken in, as if it had not been announced, until another of the
    /// prefix is withdrawn and it is announced again; those that are there can be replaced.
    pub paths_of_a_prefix: u32,
    /// Refused routes of a family that are kept, for show and for a change of mind without a word to the peer. Beyond it, or beyond
    /// `refused_octets`, they are counted only ([`Rib::not_kept`]), and the peer is to be asked when its routes are judged anew or there is
    /// room again ([`Rib::ask_again`]). Of a peer that cannot be asked all are kept ([`Rib::keep_refused`]).
    pub refused_paths: u64,
    /// Attribute octets of these, counted for each path.
    pub refused_octets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { paths_of_a_prefix: 4096, refused_paths: 20_000, refused_octets: 16 << 20 }
    }
}

/// Look-ups that are under way at once.
pub const BATCH: usize = 16;

/// All tables of routes.
pub struct Rib {
    v4: Table<Key4>,
    v6: Table<Key6>,
    core: Core,
}

/// Run `$body` with `$table` as the table of `$family`, of either key.
macro_rules! on_table {
    ($rib:expr, $family:expr, |$table:ident, $core:ident| $body:expr) => {{
        let Rib { v4, v6, core: $core } = $rib;
        match $family {
            Family::Ipv4Unicast => {
                let $table = v4;
                $body
            }
            Family::Ipv6Unicast => {
                let $table = v6;
                $body
            }
        }
    }};
}

impl Rib {
    /// `seed` is the secret of the hash tables ([`keyed`]); results do not depend on it.
    pub fn new(rules: Rules, seed: u64) -> Rib {
        let hasher = keyed::keyed(seed);
        Rib { v4: Table::new(hasher.clone()), v6: Table::new(hasher.clone()), core: Core::new(rules, hasher) }
    }

    /// The moment that paths learned from now on bear.
    pub fn set_now(&mut self, now: Instant) {
        self.core.now = u32::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX);
    }

    /// That moment, in seconds.
    pub(crate) fn seconds(&self) -> u32 {
        self.core.now
    }

    /// Whether to report destinations of which only a path that is not in use changed, and to keep paths in order of preference (some
    /// peer is sent several, RFC 7911).
    pub fn tell_all_paths(&mut self, yes: bool) {
        if yes && !self.core.all_paths {
            self.touch_choices();
        }
        self.core.all_paths = yes;
    }

    /// How many paths of a destination anybody wants in order of preference, while [`Rib::tell_all_paths`] is on; all, unless it is said. Who is
    /// sent all of them needs no order.
    pub fn rank_paths(&mut self, most: usize) {
        if self.core.all_paths && most > self.core.ranked {
            self.touch_choices();
        }
        self.core.ranked = most;
    }

    /// From now on; what is there stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.core.limits = limits;
    }

    /// How many refused routes of each family are kept of this peer, `None`: all, for it cannot be asked to announce them again (no ROUTE-REFRESH),
    /// instead of [`Limits::refused_paths`] and [`Limits::refused_octets`]. To be said after [`Rib::peer_up`].
    pub fn keep_refused(&mut self, peer: PeerId, most: Option<u64>) {
        if let Some(known) = self.core.peers.present(peer).and_then(|slot| self.core.peers.get_mut(slot)) {
            known.keep_refused = Some(most.unwrap_or(u64::MAX));
        }
    }

    /// Whether a peer is to be asked to announce a family again (RFC 2918), because refused routes were not kept that another verdict would let
    /// in; with `room_seconds`, that room under its limit would, and it was not asked in so many seconds. What comes is counted anew.
    pub fn ask_again(&mut self, peer: PeerId, family: Family, room_seconds: Option<u32>) -> bool {
        let now = self.core.now;
        let adj = self.core.peers.present(peer).and_then(|slot| self.core.peers.get_mut(slot)).map(|peer| peer.family(family));
        adj.is_some_and(|adj| adj.ask_again(now, room_seconds))
    }

    /// The interned handle of an attribute set.
    pub fn intern(&mut self, set: &PathAttributes) -> Attrs {
        self.core.attrs.intern(set)
    }

    /// The interned handle of a set that was just made.
    pub fn intern_new(&mut self, set: PathAttributes) -> Attrs {
        self.core.attrs.intern_new(set)
    }

    /// How many distinct attribute sets are in use.
    pub fn attribute_sets(&self) -> usize {
        self.core.attrs.len()
    }

    /// A source of routes begins, or begins anew with other facts.
    pub fn peer_up(&mut self, facts: SourceFacts) {
        let id = facts.id;
        self.core.forget_old_link(&facts);
        if self.core.peers.up(facts)
            && let Some(slot) = self.core.peers.slot(id)
        {
            Family::ALL.into_iter().for_each(|family| self.core.want_touch(slot, family, Touch::All));
        }
    }

    /// A source is gone, and all that it announced. Costs a number; a job takes the paths out of the table.
    pub fn peer_down(&mut self, peer: PeerId) {
        for family in Family::ALL {
            self.drop_family(peer, family);
        }
        self.core.forget_peer(peer);
    }

    /// All routes of one peer and family go; the peer stays. Tells how many went.
    pub fn drop_family(&mut self, peer: PeerId, family: Family) -> usize {
        on_table!(self, family, |table, core| core.mark(table, peer, AdjRibIn::clear))
    }

    /// The session is gone but the routes stay, stale, until announced again or swept (RFC 4724 §4.2).
    /// What was stale already is removed: a peer that fails again before it was whole does not keep its routes twice.
    pub fn retain_stale(&mut self, peer: PeerId, family: Family, keep_stale: bool) {
        let choose = self.core.rules.parts_with_stale();
        on_table!(self, family, |table, core| core.mark(table, peer, |adj| {
            if keep_stale {
                adj.retain_on()
            } else {
                adj.retain()
            }
            adj.choose = choose;
        }));
    }

    /// Removes what is stale still: End-of-RIB came, or the time is over. Tells how many went.
    pub fn sweep_stale(&mut self, peer: PeerId, family: Family) -> usize {
        on_table!(self, family, |table, core| core.mark(table, peer, AdjRibIn::sweep_stale))
    }

    /// The peer begins to announce everything again: BoRR (RFC 7313 §4).
    pub fn refresh_begins(&mut self, peer: PeerId, family: Family) {
        on_table!(self, family, |table, core| core.mark(table, peer, AdjRibIn::refresh_begins));
    }

    /// EoRR: what was not announced again since BoRR goes (RFC 7313 §4). Tells how many went.
    pub fn refresh_ends(&mut self, peer: PeerId, family: Family) -> usize {
        on_table!(self, family, |table, core| core.mark(table, peer, AdjRibIn::refresh_ends))
    }

    /// Takes in one change. A change of an unknown peer is ignored.
    pub fn apply(&mut self, change: RouteChange) {
        let Some(slot) = self.core.peers.present(change.peer) else { return };
        match change.route {
            Some(route) => self.announce_one(slot, change.nlri, &route, &change.cause),
            None => self.withdraw_one(slot, change.nlri, &change.cause),
        }
    }

    /// Another verdict on what a peer announced before: a policy changed, or there is room now. The path stays as stale as it was.
    pub fn judge_again(&mut self, peer: PeerId, nlri: &Nlri, route: &Route, cause: &Cause) {
        let Rib { v4, v6, core } = self;
        let Some(slot) = core.peers.present(peer) else { return };
        if let Some(key) = Key4::of(&nlri.net) {
            core.judge_again(v4, key, slot, nlri, route, cause);
        } else if let Some(key) = Key6::of(&nlri.net) {
            core.judge_again(v6, key, slot, nlri, route, cause);
        }
    }

    /// Whether to note down which paths of peers come, go and change, for [`Rib::take_journal`].
    pub fn keep_journal(&mut self, yes: bool) {
        if yes != self.core.journal.is_some() {
            self.core.journal = yes.then(Vec::new);
        }
    }

    /// What was noted down since the last time. To be called after each settlement, for it grows with what is announced in between.
    pub fn take_journal(&mut self) -> Vec<(PeerId, Nlri)> {
        self.core.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// One route for many prefixes, as an UPDATE has it.
    pub fn announce(&mut self, peer: PeerId, nlri: impl IntoIterator<Item = Nlri>, route: &Route, cause: &Cause) {
        let Some(slot) = self.core.peers.present(peer) else { return };
        self.in_batches(nlri, |rib, n| rib.announce_one(slot, n, route, cause));
    }

    /// Removes what the peer announced of these prefixes.
    pub fn withdraw(&mut self, peer: PeerId, nlri: impl IntoIterator<Item = Nlri>) {
        let Some(slot) = self.core.peers.present(peer) else { return };
        self.in_batches(nlri, |rib, n| rib.withdraw_one(slot, n, &Cause::Withdrawn));
    }

    /// Looks ahead over UPDATEs that are about to be taken in: what their attributes and the first prefix of each will read is brought
    /// into the cache, all misses at once. Worth it where each UPDATE brings a prefix or two.
    pub fn prefetch<'u>(&self, updates: impl Iterator<Item = &'u Update> + Clone) {
        self.core.attrs.prefetch(updates.clone().flat_map(|u| &u.announced).filter_map(|a| a.attrs.as_ref()));
        let first = updates.flat_map(|u| u.announced.iter().map(|a| &a.nlri).chain(&u.withdrawn)).filter_map(|set| set.iter().next());
        let first: SmallVec<[Nlri; BATCH]> = first.collect();
        self.v4.prefetch(first.iter().filter_map(|n| Key4::of(&n.net)));
        self.v6.prefetch(first.iter().filter_map(|n| Key6::of(&n.net)));
    }

    /// Runs `then` over all of them, a cache-warming look ahead each few.
    fn in_batches(&mut self, nlri: impl IntoIterator<Item = Nlri>, mut then: impl FnMut(&mut Rib, Nlri)) {
        let mut rest = nlri.into_iter();
        let mut batch: SmallVec<[Nlri; BATCH]> = SmallVec::new();
        loop {
            batch.extend(rest.by_ref().take(BATCH));
            if batch.is_empty() {
                return;
            }
            if batch.len() > 1 {
                self.v4.prefetch(batch.iter().filter_map(|n| Key4::of(&n.net)));
                self.v6.prefetch(batch.iter().filter_map(|n| Key6::of(&n.net)));
            }
            batch.drain(..).for_each(|n| then(self, n));
        }
    }

    fn announce_one(&mut self, slot: Slot, nlri: Nlri, route: &Route, cause: &Cause) {
        let Rib { v4, v6, core } = self;
        if let Some(key) = Key4::of(&nlri.net) {
            core.put(v4, key, slot, nlri.path_id, route, cause);
        } else if let Some(key) = Key6::of(&nlri.net) {
            core.put(v6, key, slot, nlri.path_id, route, cause);
        }
    }

    fn withdraw_one(&mut self, slot: Slot, nlri: Nlri, cause: &Cause) {
        let Rib { v4, v6, core } = self;
        if let Some(key) = Key4::of(&nlri.net) {
            core.withdraw(v4, key, slot, nlri.path_id, cause);
        } else if let Some(key) = Key6::of(&nlri.net) {
            core.withdraw(v6, key, slot, nlri.path_id, cause);
        }
    }

    /// Paths that were passed in search of others of their prefix since this was asked last: what a change costs beside its prefixes, where a
    /// prefix has very many (RFC 7911).
    pub fn take_passed(&mut self) -> usize {
        std::mem::take(&mut self.core.passed)
    }

    /// Peers of which an accepted path went while others were refused as [`Cause::MaxPrefix`], since this was asked last.
    pub fn take_freed(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.core.freed)
    }

    /// These next hops are reached otherwise than before; what uses them is looked at again, step by step.
    pub fn nexthop_changed(&mut self, changed: &[NhId]) {
        self.core.touch_next_hops(changed);
    }

    /// Other rules hold from now on: everything with a choice is chosen again.
    pub fn set_rules(&mut self, rules: Rules) {
        if self.core.rules == rules {
            return;
        }
        self.core.rules = rules;
        self.touch_choices();
    }

    /// Whether anything waits for [`Rib::settle`].
    pub fn is_dirty(&self) -> bool {
        !self.core.dirty.is_empty() || !self.core.jobs.is_empty() || self.core.attrs.has_idle()
    }

    /// What is applied from here on came in another UPDATE than what was applied before.
    pub fn begin_update(&mut self) {
        self.core.update = self.core.update.wrapping_add(1);
    }

    /// Carries jobs on for up to `budget` places, chooses anew for up to `budget` destinations (fewer where they have many paths), and reports
    /// those whose use changed. True if more wait.
    ///
    /// An UPDATE that would not fit if it is as long as the one before it is left for the next call: what came in one message leaves in one.
    pub fn settle(&mut self, budget: usize, next_hops: &mut impl NextHops, out: &mut Vec<BestChange>) -> bool {
        self.free_emptied();
        self.work(budget);
        let (mut left, mut update, mut left_before) = (budget, None, budget);
        while left > 0 {
            let Some(next) = self.core.dirty.front().map(|dirty| dirty.update) else { break };
            if update.replace(next).is_some_and(|update| update != next) {
                if left < left_before - left {
                    break;
                }
                left_before = left;
            }
            let Some(dirty) = self.core.dirty.pop_front() else { break };
            let weight = on_table!(self, dirty.dest.family(), |table, core| core.settle_one(table, dirty, next_hops, out));
            left = left.saturating_sub(weight);
        }
        self.core.put_back_postponed();
        self.core.untracked.drain(..).for_each(|id| next_hops.untrack(id));
        self.core.attrs.reap(|id| next_hops.untrack(id));
        self.is_dirty()
    }

    fn free_emptied(&mut self) {
        let waiting = std::mem::take(&mut self.core.emptied);
        for id in waiting {
            on_table!(self, id.family(), |table, _core| Core::free(table, id));
        }
    }
}
