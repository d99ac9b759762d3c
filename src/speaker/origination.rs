//! What this node announces as its own: pod blocks by their sources, and prefixes that the kernel's routes of others stand for.
//!
//! In: the blocks of one source, whole; prefixes with what they are. Out: local routes in the RIB, and the blocks that need a blackhole route.
//! Where kernel routes become prefixes of ours is `redistribute`'s matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::params::BlockSource;
use crate::num::{Nlri, PeerId};
use crate::policy::LocalKind;
use crate::rib::{Cause, Rib, Route, RouteChange};
use crate::wire::{Community, NextHop, Origin, PathAttributes};

/// This node's blocks, and who named each.
#[derive(Default)]
pub(super) struct Origination {
    named: BTreeMap<IpNet, BTreeSet<BlockSource>>,
    /// Each with whether it goes soon.
    services: BTreeMap<IpNet, bool>,
    /// Sources that have said something, be it that there is nothing.
    known: BTreeSet<BlockSource>,
}

/// What a source's new list changed.
pub(super) struct BlockChange {
    /// Blocks that no source named before.
    pub added: Vec<IpNet>,
    /// Blocks that no source names any more.
    pub removed: Vec<IpNet>,
    /// Announced as before, but written to the kernel by another hand than before.
    pub rewritten: Vec<IpNet>,
}

impl Origination {
    /// Each block with who names it.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &BTreeSet<BlockSource>)> {
        self.named.iter()
    }

    /// How many blocks.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Those that this source names.
    pub fn of(&self, source: BlockSource) -> Vec<IpNet> {
        self.named.iter().filter(|(_, by)| by.contains(&source)).map(|(net, _)| *net).collect()
    }

    /// Of these sources, those that have said nothing yet.
    pub fn unknown<'a>(&'a self, sources: &'a BTreeSet<BlockSource>) -> impl Iterator<Item = BlockSource> + 'a {
        sources.difference(&self.known).copied()
    }

    /// Needs a blackhole of ours: what only the kernel names stands there already, or somebody else sees to it.
    pub fn is_written(&self, net: &IpNet) -> bool {
        self.named.get(net).is_some_and(|by| by.iter().any(|source| !matches!(source, BlockSource::Kernel | BlockSource::Held)))
    }

    fn written(&self) -> BTreeSet<IpNet> {
        self.named.keys().filter(|net| self.is_written(net)).copied().collect()
    }

    /// Replaces what `source` named, and announces or withdraws what that changes.
    pub fn set(&mut self, source: BlockSource, nets: &[IpNet], rib: &mut Rib) -> BlockChange {
        self.known.insert(source);
        let was_written = self.written();
        let wanted: BTreeSet<IpNet> = nets.iter().map(IpNet::trunc).collect();
        let added: Vec<IpNet> = wanted.iter().filter(|n| !self.named.contains_key(n)).copied().collect();
        for (_, by) in self.named.iter_mut().filter(|(net, _)| !wanted.contains(net)) {
            by.remove(&source);
        }
        let removed: Vec<IpNet> = self.named.iter().filter(|(_, by)| by.is_empty()).map(|(net, _)| *net).collect();
        self.named.retain(|_, by| !by.is_empty());
        for net in wanted {
            self.named.entry(net).or_default().insert(source);
        }
        added.iter().for_each(|net| originate(rib, LocalKind::Block, *net, true));
        removed.iter().for_each(|net| originate(rib, LocalKind::Block, *net, false));
        let told = |n: &IpNet| added.binary_search(n).is_ok() || removed.binary_search(n).is_ok();
        let rewritten = was_written.symmetric_difference(&self.written()).filter(|n| !told(n)).copied().collect();
        BlockChange { added, removed, rewritten }
    }
}

impl Origination {
    /// Replaces the services, but for those that `kept` by another reason. Those of `leaving` that were announced ask to be looked for elsewhere:
    /// by GRACEFUL_SHUTDOWN outside of the AS (RFC 8326 §4.1), and by the lowest LOCAL_PREF inside.
    pub fn set_services(&mut self, nets: &[IpNet], leaving: &[IpNet], kept: impl Fn(&IpNet) -> bool, rib: &mut Rib) {
        let going = leaving.iter().map(IpNet::trunc).filter(|net| self.services.contains_key(net)).map(|net| (net, true));
        let wanted: BTreeMap<IpNet, bool> = going.chain(nets.iter().map(|net| (net.trunc(), false))).collect();
        for (net, marked) in wanted.iter().filter(|(net, marked)| self.services.get(net) != Some(marked)) {
            originate_with(rib, LocalKind::Service, *net, Some(Attributes { graceful_shutdown: *marked, local_pref: marked.then_some(0) }));
        }
        let gone = self.services.keys().filter(|net| !wanted.contains_key(net) && !kept(net));
        gone.for_each(|net| originate(rib, LocalKind::Service, *net, false));
        self.services = wanted;
    }
}

/// What a prefix of ours carries.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    pub local_pref: Option<u32>,
    pub graceful_shutdown: bool,
}

/// Announces a prefix as one of our own, or no longer.
pub(super) fn originate(rib: &mut Rib, kind: LocalKind, net: IpNet, ours: bool) {
    originate_with(rib, kind, net, ours.then(Attributes::default));
}

/// The same with attributes.
pub(super) fn originate_with(rib: &mut Rib, kind: LocalKind, net: IpNet, ours: Option<Attributes>) {
    let route = ours.map(|ours| {
        let next_hop = match net {
            IpNet::V4(_) => NextHop::V4(Ipv4Addr::UNSPECIFIED),
            IpNet::V6(_) => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
        };
        let mut attrs = PathAttributes::builder(Origin::Igp, next_hop);
        attrs.set_local_pref(ours.local_pref);
        if ours.graceful_shutdown {
            attrs.add_community(Community::GRACEFUL_SHUTDOWN);
        }
        Route::as_received(rib.intern_new(attrs.finish()))
    });
    let cause = if ours.is_some() { Cause::Announced } else { Cause::Withdrawn };
    rib.apply(RouteChange { peer: PeerId::LOCAL, nlri: Nlri { net, path_id: kind.path_id() }, route, cause });
}
