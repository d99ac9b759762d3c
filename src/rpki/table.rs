//! All VRPs that hold, and what they say of a route.
//!
//! In: VRPs in order. Out: the [`Validity`] of a prefix and an origin, after one search and a walk over the prefixes that cover it, of which there
//! can be no more than a prefix has bits; and the difference between two tables, as the prefixes that [`Covers`] whatever may be judged otherwise.

use ipnet::IpNet;

use super::vrp::{Validity, Vrp};
use crate::num::{Asn, Family};

/// No prefix.
const NONE: u32 = u32::MAX;

/// All VRPs, never changed.
///
/// # Invariants
/// Nodes are sorted by prefix, and the VRPs of one by AS and length; so whatever covers a prefix is, or is above, its predecessor.
#[derive(Debug, Default)]
pub struct Table {
    nodes: Vec<Node>,
    vrps: Vec<(Asn, u8)>,
    counts: [usize; 2],
}

/// A prefix that VRPs name.
#[derive(Clone, Copy, Debug)]
struct Node {
    net: IpNet,
    /// The longest other one that it lies in.
    up: u32,
    /// Its first VRP; they end where those of the next begin.
    from: u32,
}

/// Why changes make no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is there already (RFC 8210 §12: 7).
    Duplicate(Vrp),
    /// It is not there (RFC 8210 §12: 6).
    Unknown(Vrp),
}

impl Table {
    /// Of these; where one stands twice, once.
    pub fn new(mut vrps: Vec<Vrp>) -> Table {
        vrps.sort_unstable();
        vrps.dedup();
        Table::of_sorted(vrps.into_iter())
    }

    fn of_sorted(vrps: impl Iterator<Item = Vrp>) -> Table {
        let mut table = Table::default();
        let mut above: Vec<u32> = Vec::new();
        for vrp in vrps {
            if table.nodes.last().is_none_or(|last| last.net != vrp.net) {
                while above.last().is_some_and(|at| !table.node(*at).is_some_and(|node| node.net.contains(&vrp.net))) {
                    above.pop();
                }
                let up = above.last().copied().unwrap_or(NONE);
                above.push(table.nodes.len() as u32);
                table.nodes.push(Node { net: vrp.net, up, from: table.vrps.len() as u32 });
            }
            table.vrps.push((vrp.asn, vrp.max_len));
            if let Some(count) = table.counts.get_mut(Family::of(&vrp.net).index()) {
                *count += 1;
            }
        }
        table
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.vrps.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.vrps.is_empty()
    }

    /// How many of a family.
    pub fn count(&self, family: Family) -> usize {
        self.counts.get(family.index()).copied().unwrap_or(0)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Vrp> + '_ {
        (0..self.nodes.len() as u32).flat_map(|at| self.vrps_of(at))
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    fn of_node(&self, at: u32) -> &[(Asn, u8)] {
        let from = self.node(at).map_or(0, |node| node.from as usize);
        let to = self.node(at + 1).map_or(self.vrps.len(), |node| node.from as usize);
        self.vrps.get(from..to).unwrap_or_default()
    }

    fn vrps_of(&self, at: u32) -> impl Iterator<Item = Vrp> + '_ {
        let net = self.node(at).map(|node| node.net);
        self.of_node(at).iter().filter_map(move |(asn, max_len)| Some(Vrp { net: net?, asn: *asn, max_len: *max_len }))
    }

    /// The prefixes that cover one, the longest first.
    fn above(&self, net: IpNet) -> impl Iterator<Item = u32> + '_ {
        let before = self.nodes.partition_point(|node| node.net <= net) as u32;
        let step = |at: &u32| self.node(*at).map(|node| node.up).filter(|up| *up != NONE);
        std::iter::successors(before.checked_sub(1), step).filter(move |at| self.node(*at).is_some_and(|node| node.net.contains(&net)))
    }

    /// The VRPs that cover a prefix, those of the longest first.
    pub fn covering(&self, net: IpNet) -> impl Iterator<Item = Vrp> + '_ {
        self.above(net).flat_map(|at| self.vrps_of(at))
    }

    /// RFC 6811 §2. `origin`: `None` where the path does not say which AS it is.
    pub fn validate(&self, net: &IpNet, origin: Option<Asn>) -> Validity {
        let mut found = Validity::NotFound;
        for at in self.above(*net) {
            found = Validity::Invalid;
            let Some(origin) = origin.filter(|asn| asn.0 != 0) else { return found };
            let of = self.of_node(at);
            // The last one of an AS allows the longest prefixes.
            let last = of.partition_point(|(asn, _)| *asn <= origin).checked_sub(1).and_then(|last| of.get(last));
            if last.is_some_and(|(asn, max_len)| *asn == origin && *max_len >= net.prefix_len()) {
                return Validity::Valid;
            }
        }
        found
    }

    /// This table after changes, in their order: announced (`true`) or withdrawn.
    ///
    /// # Errors
    /// The first that does not fit what was there.
    pub fn apply(&self, changes: &mut [(Vrp, bool)]) -> Result<Table, Wrong> {
        changes.sort_by_key(|(vrp, _)| *vrp);
        let mut all = Vec::with_capacity(self.len() + changes.len());
        let mut old = self.iter().peekable();
        for of_one in changes.chunk_by(|a, b| a.0 == b.0) {
            let Some((vrp, _)) = of_one.first().copied() else { continue };
            while let Some(before) = old.next_if(|before| *before < vrp) {
                all.push(before);
            }
            let mut there = old.next_if_eq(&vrp).is_some();
            for (_, announced) in of_one {
                match (there, announced) {
                    (true, true) => return Err(Wrong::Duplicate(vrp)),
                    (false, false) => return Err(Wrong::Unknown(vrp)),
                    _ => there = *announced,
                }
            }
            if there {
                all.push(vrp);
            }
        }
        all.extend(old);
        Ok(Table::of_sorted(all.into_iter()))
    }

    /// The prefixes of all VRPs that only one of the two has.
    pub fn difference(&self, other: &Table) -> Covers {
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        let mut changed = Covers::default();
        loop {
            let (left, right) = (a.peek().copied(), b.peek().copied());
            let changes = match (left, right) {
                (None, None) => return changed,
                (Some(left), Some(right)) if left == right => {
                    a.next();
                    b.next();
                    continue;
                }
                (Some(left), Some(right)) if left < right => a.next(),
                (Some(_), None) => a.next(),
                _ => b.next(),
            };
            changes.into_iter().for_each(|vrp| changed.push(vrp.net));
        }
    }
}

/// Prefixes, none of which lies in another, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Covers(Vec<IpNet>);

impl Covers {
    /// Everything.
    pub fn all() -> Covers {
        Covers(vec![ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()])
    }

    /// Behind the others.
    fn push(&mut self, net: IpNet) {
        if !self.0.last().is_some_and(|last| last.contains(&net)) {
            self.0.push(net);
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Does it lie in one of them?
    pub fn covers(&self, net: &IpNet) -> bool {
        let before = self.0.partition_point(|one| one <= net);
        before.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|one| one.contains(net))
    }

    /// Is one of them of this family?
    pub fn concerns(&self, family: Family) -> bool {
        let is = |net: Option<&IpNet>| net.is_some_and(|net| Family::of(net) == family);
        is(self.0.first()) || is(self.0.last())
    }
}
