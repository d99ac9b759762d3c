//! What a group has been announced: for each destination the attribute set and source of the route that stands, in four octets.
//!
//! In: a best route. Out: the number of its [`AttributeClass`], the attributes as they go out, who must not hear them.
//! When it is written, and for whom, is `group`'s affair; what may be announced, `adj_out`'s.
//!
//! A class is a pair of interned attribute set and source. It keeps what came in, which the Loc-RIB holds anyway, and the hash of what
//! goes out; the attributes that go out are made when needed and kept only while there are few classes.
//!
//! # Invariants
//! A class lives as long as an entry names it; [`AdvertisedRoutes::reap`] removes the rest.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use ipnet::IpNet;
use smallvec::SmallVec;
use std::hash::BuildHasher;

use super::super::adj_out::{GroupKey, MemberFacts, RouteSource, SplitHorizon, Withheld, barred, export, fits_every_prefix, originator};
use super::super::keyed::{Keyed, tag};
use super::super::{Attrs, BATCH, Best, DestId, Rib};
use crate::num::{Family, PathId, PeerId};
use crate::wire::PathAttributes;

/// Number of a class. Zero is no class: nothing has been announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ClassId(u32);

impl ClassId {
    /// Nothing has been announced.
    pub const NONE: ClassId = ClassId(0);
    /// In an entry: it was changed in the batch under way.
    const FRESH: u32 = 1 << 31;

    /// Nothing has been announced.
    pub fn is_none(self) -> bool {
        self == ClassId::NONE
    }

    fn place(self) -> usize {
        self.0 as usize - 1
    }
}

/// A route as it goes out.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// After export policy.
    pub attrs: PathAttributes,
    /// Which members do not get it.
    pub horizon: SplitHorizon,
}

/// One attribute set of one source.
#[derive(Clone, Debug)]
struct AttributeClass {
    attrs: Attrs,
    source: RouteSource,
    /// Entries of each family that name it.
    refs: [u32; 2],
    /// By family. Always `Unknown` where the chain asks for the prefix.
    out: [Out; 2],
}

#[derive(Debug, Clone, Default)]
enum Out {
    /// Export has not been asked.
    #[default]
    Unknown,
    /// Export withholds it.
    Withheld,
    /// Not held: made again when needed.
    Brief(Brief),
    /// With the number that its [`Brief`] had, or will have, among [`SplitHorizons`].
    Held(PathAttributes, SplitHorizonId),
}

/// What is kept of a route that goes out: a full table has two hundred thousand of these.
#[derive(Clone, Copy, Debug)]
struct Brief {
    /// Of the attributes.
    hash: u32,
    horizon: SplitHorizonId,
}

/// A number among [`SplitHorizons`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SplitHorizonId(u32);

impl SplitHorizonId {
    /// Not numbered yet.
    const NONE: SplitHorizonId = SplitHorizonId(u32::MAX);
}

/// The distinct [`SplitHorizon`]s that briefs name, counted; about as many as sources.
#[derive(Clone, Debug)]
struct SplitHorizons {
    all: Vec<(SplitHorizon, u32)>,
    index: hashbrown::HashMap<SplitHorizon, u32, Keyed>,
    free: Vec<u32>,
}

impl SplitHorizons {
    fn new(hasher: Keyed) -> SplitHorizons {
        SplitHorizons { all: Vec::new(), index: hashbrown::HashMap::with_hasher(hasher), free: Vec::new() }
    }

    fn hold(&mut self, horizon: SplitHorizon) -> SplitHorizonId {
        let number = *self.index.entry(horizon).or_insert_with(|| {
            let number = self.free.pop().unwrap_or(self.all.len() as u32);
            match self.all.get_mut(number as usize) {
                Some(place) => *place = (horizon, 0),
                None => self.all.push((horizon, 0)),
            }
            number
        });
        self.all[number as usize].1 += 1;
        SplitHorizonId(number)
    }

    fn release(&mut self, SplitHorizonId(number): SplitHorizonId) {
        let Some((horizon, holders)) = self.all.get_mut(number as usize) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.index.remove(horizon);
            self.free.push(number);
        }
    }

    fn get(&self, SplitHorizonId(number): SplitHorizonId) -> SplitHorizon {
        self.all[number as usize].0
    }
}

/// Above so many classes what goes out is not kept between batches.
const HELD_CLASSES: usize = 1024;

/// One of several paths of a destination that are announced (RFC 7911).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdvertisedPath {
    /// As we number it, for as long as it is announced.
    pub id: PathId,
    /// Whose path it is, as they number it.
    pub from: (PeerId, PathId),
    /// Attribute set and source.
    pub class: ClassId,
}

/// All that are announced of one destination.
pub(super) type AdvertisedPaths = SmallVec<[AdvertisedPath; 2]>;

/// The Adj-RIB-Out that the members of a group share (RFC 4271 §3.2), by destination.
#[derive(Clone, Debug)]
pub(super) struct AdvertisedRoutes {
    classes: Vec<Option<AttributeClass>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: Keyed,
    entries: [Vec<u32>; 2],
    /// Instead of `entries` for families of which several paths are announced. An empty list was emptied in the batch under way.
    lists: HashMap<DestId, AdvertisedPaths, FixedState>,
    /// One more than the highest destination that has had a list.
    listed_end: [usize; 2],
    count: [u32; 2],
    /// Classes that may be without entries.
    idle: Vec<ClassId>,
    last: Option<(PeerId, PathId, Attrs, ClassId)>,
    /// Entries changed in this batch.
    fresh: Vec<DestId>,
    fresh_lists: HashSet<DestId, FixedState>,
    /// Classes made or used in this batch whose attributes are held.
    held: Vec<(ClassId, Family)>,
    /// One verdict holds for all prefixes of a family.
    uniform: bool,
    horizons: SplitHorizons,
}

impl AdvertisedRoutes {
    /// Nothing announced.
    pub fn new(key: &GroupKey, hasher: &Keyed) -> AdvertisedRoutes {
        AdvertisedRoutes {
            classes: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: hasher.clone(),
            entries: [Vec::new(), Vec::new()],
            lists: HashMap::default(),
            listed_end: [0, 0],
            count: [0, 0],
            idle: Vec::new(),
            last: None,
            fresh: Vec::new(),
            fresh_lists: HashSet::default(),
            held: Vec::new(),
            uniform: !key.chain.depends_on_prefix(),
            horizons: SplitHorizons::new(hasher.clone()),
        }
    }

    /// Prefixes announced of this family.
    pub fn count(&self, family: Family) -> u32 {
        self.count[family.index()]
    }

    /// What stands for a destination.
    pub fn entry(&self, dest: DestId) -> ClassId {
        self.standing(dest).0
    }

    /// What stands for a destination of which one path does, and whether that was changed in the batch under way.
    #[inline]
    pub fn standing(&self, dest: DestId) -> (ClassId, bool) {
        let entry = self.entries[dest.family().index()].get(dest.index()).copied().unwrap_or(0);
        (ClassId(entry & !ClassId::FRESH), entry & ClassId::FRESH != 0)
    }

    /// What stands for a destination, path by path; one without identifier unless ADD-PATH is sent.
    pub fn paths(&self, dest: DestId) -> SmallVec<[(PathId, ClassId); 1]> {
        if let Some(list) = self.lists.get(&dest) {
            return list.iter().map(|l| (l.id, l.class)).collect();
        }
        let entry = self.entry(dest);
        if entry.is_none() { SmallVec::new() } else { SmallVec::from_elem((PathId(0), entry), 1) }
    }

    /// What stands for one path of a destination.
    pub fn path(&self, dest: DestId, id: PathId) -> ClassId {
        match self.lists.get(&dest) {
            Some(list) => list.iter().find(|l| l.id == id).map_or(ClassId::NONE, |l| l.class),
            None if id == PathId(0) => self.entry(dest),
            None => ClassId::NONE,
        }
    }

    /// The paths that stand for a destination of which several may.
    pub fn list(&self, dest: DestId) -> AdvertisedPaths {
        self.lists.get(&dest).cloned().unwrap_or_default()
    }

    /// Notes which paths stand from now on.
    pub fn put_list(&mut self, dest: DestId, list: AdvertisedPaths) {
        let family = dest.family().index();
        for new in &list {
            self.hold(new.class, family);
        }
        if !self.is_fresh(dest) {
            self.fresh.push(dest);
            self.fresh_lists.insert(dest);
        }
        self.listed_end[family] = self.listed_end[family].max(dest.index() + 1);
        for old in self.lists.insert(dest, list).unwrap_or_default() {
            self.release(old.class, family);
        }
    }

    /// One more than the highest destination that may have an entry.
    pub fn end(&self, family: Family) -> usize {
        self.entries[family.index()].len().max(self.listed_end[family.index()])
    }

    /// Was the entry changed in the batch under way?
    pub fn is_fresh(&self, dest: DestId) -> bool {
        self.standing(dest).1 || self.fresh_lists.contains(&dest)
    }

    /// Nothing stands from now on.
    pub fn take(&mut self, dest: DestId) {
        if self.lists.contains_key(&dest) {
            self.put_list(dest, AdvertisedPaths::new());
        }
        self.put(dest, ClassId::NONE);
    }

    /// Notes what stands from now on.
    pub fn put(&mut self, dest: DestId, class: ClassId) {
        let (family, index) = (dest.family().index(), dest.index());
        let entries = &mut self.entries[family];
        let old = match entries.get_mut(index) {
            Some(entry) => std::mem::replace(entry, class.0 | ClassId::FRESH),
            None if class.is_none() => return,
            None => {
                entries.resize(index, 0);
                entries.push(class.0 | ClassId::FRESH);
                0
            }
        };
        if old & ClassId::FRESH == 0 {
            self.fresh.push(dest);
        }
        self.hold(class, family);
        self.release(ClassId(old & !ClassId::FRESH), family);
    }

    fn hold(&mut self, id: ClassId, family: usize) {
        if let Some(class) = self.class_mut(id) {
            class.refs[family] += 1;
            self.count[family] += 1;
        }
    }

    fn release(&mut self, id: ClassId, family: usize) {
        if let Some(class) = self.class_mut(id) {
            class.refs[family] -= 1;
            let unused = class.refs == [0, 0];
            self.count[family] -= 1;
            if unused {
                self.idle.push(id);
            }
        }
    }

    /// Brings what [`AdvertisedRoutes::classify`] of these will read into the cache, all misses at once instead of one after the other.
    pub fn prefetch<'b>(&self, all: impl Iterator<Item = &'b Best>) {
        if self.index.len() <= HELD_CLASSES {
            return;
        }
        let places: SmallVec<[u32; BATCH]> =
            all.filter_map(|best| self.index.find(self.hasher.hash_one((best.attrs.key(), best.peer.0)), |_| true)).copied().collect();
        let seen = places.iter().filter(|place| peek(&self.classes, **place).is_some()).count();
        std::hint::black_box(seen);
    }

    /// The class of a best route; made if there was none. None if the group may not get it whatever the rules say.
    pub fn classify(&mut self, best: &Best, rib: &Rib, key: &GroupKey) -> ClassId {
        if let Some((peer, path_id, attrs, class)) = &self.last
            && (*peer, *path_id) == (best.peer, best.path_id)
            && *attrs == best.attrs
        {
            return *class;
        }
        let class = self.find_or_make(best, rib, key);
        self.last = Some((best.peer, best.path_id, best.attrs.clone(), class));
        class
    }

    fn find_or_make(&mut self, best: &Best, rib: &Rib, key: &GroupKey) -> ClassId {
        let Some(facts) = rib.source(best.peer) else { return ClassId::NONE };
        let source = RouteSource::new(facts, best.path_id);
        if barred(&source, key).is_some() {
            return ClassId::NONE;
        }
        let hash = self.hasher.hash_one((best.attrs.key(), best.peer.0));
        let classes = &self.classes;
        let same = |i: &u32| peek(classes, *i).is_some_and(|c| c.attrs == best.attrs && c.source == source);
        if let Some(found) = self.index.find(hash, same) {
            return ClassId(found + 1);
        }
        let class = AttributeClass { attrs: best.attrs.clone(), source, refs: [0, 0], out: Default::default() };
        let place = match self.free.pop() {
            Some(place) => {
                self.classes[place as usize] = Some(class);
                place
            }
            None => {
                self.classes.push(Some(class));
                (self.classes.len() - 1) as u32
            }
        };
        let (classes, hasher) = (&self.classes, &self.hasher);
        self.index.insert_unique(hash, place, |i| peek(classes, *i).map_or(0, |c| hasher.hash_one((c.attrs.key(), c.source.peer.0))));
        self.idle.push(ClassId(place + 1));
        ClassId(place + 1)
    }

    /// The route as it goes out, or why it does not.
    ///
    /// # Errors
    /// The reason; also for a class that does not exist.
    pub fn outgoing(&mut self, class: ClassId, net: &IpNet, key: &GroupKey) -> Result<Outgoing, Withheld> {
        let (uniform, family) = (self.uniform, Family::of(net));
        let Some(known) = self.class_mut(class) else { return Err(Withheld::IbgpToIbgp) };
        let source = known.source.peer;
        if let Out::Held(attrs, _) = &known.out[family.index()] {
            return Ok(Outgoing { attrs: attrs.clone(), horizon: SplitHorizon::new(source, attrs) });
        }
        let made = export(net, &known.attrs, &known.source, key);
        // Near the limit of a message one prefix fits beside the attributes and a longer one does not.
        let any_prefix = match &made {
            Ok(attrs) => fits_every_prefix(attrs, family, &key.send),
            Err(why) => *why != Withheld::NoRoom,
        };
        if uniform && any_prefix {
            let out = &mut known.out[family.index()];
            let number = if let Out::Brief(brief) = out { brief.horizon } else { SplitHorizonId::NONE };
            *out = made.as_ref().map_or(Out::Withheld, |attrs| Out::Held(attrs.clone(), number));
            if made.is_ok() {
                self.held.push((class, family));
            }
        }
        made.map(|attrs| Outgoing { horizon: SplitHorizon::new(source, &attrs), attrs })
    }

    /// Does the group hear this class at all? Cheaper than [`AdvertisedRoutes::outgoing`] once that is known.
    pub fn is_withheld(&mut self, class: ClassId, net: &IpNet, key: &GroupKey) -> bool {
        match self.class(class).map(|c| &c.out[Family::of(net).index()]) {
            None | Some(Out::Withheld) => true,
            Some(Out::Brief(_) | Out::Held(..)) => false,
            Some(Out::Unknown) => self.outgoing(class, net, key).is_err(),
        }
    }

    /// Is it certain, without making attributes anew, that these two go out differently?
    pub fn surely_differ(&self, a: ClassId, b: ClassId, family: Family) -> bool {
        match (self.known(a, family), self.known(b, family)) {
            (Some((a, _)), Some((b, _))) => a != b,
            _ => false,
        }
    }

    /// Who must not hear the route that stands. Asks nothing of the rules where the class knows it.
    pub fn horizon(&mut self, class: ClassId, net: &IpNet, key: &GroupKey) -> Option<SplitHorizon> {
        match self.known(class, Family::of(net)) {
            Some((_, horizon)) => Some(horizon),
            None => self.outgoing(class, net, key).ok().map(|out| out.horizon),
        }
    }

    /// The hash of what goes out and who must not hear it, if that was found out before.
    fn known(&self, class: ClassId, family: Family) -> Option<(u32, SplitHorizon)> {
        let class = self.class(class)?;
        match &class.out[family.index()] {
            Out::Brief(brief) => Some((brief.hash, self.horizons.get(brief.horizon))),
            Out::Held(attrs, _) => Some((tag(&self.hasher, attrs), SplitHorizon::new(class.source.peer, attrs))),
            Out::Unknown | Out::Withheld => None,
        }
    }

    /// What was changed so far has been written: the entries may change again.
    pub fn batch_is_written(&mut self) {
        for dest in self.fresh.drain(..) {
            if let Some(entry) = self.entries[dest.family().index()].get_mut(dest.index()) {
                *entry &= !ClassId::FRESH;
            }
        }
        for dest in self.fresh_lists.drain() {
            if self.lists.get(&dest).is_some_and(|list| list.is_empty()) {
                self.lists.remove(&dest);
            }
        }
    }

    /// The batch is over: forgets classes without entries and attributes that there are too many of.
    pub fn reap(&mut self) {
        self.batch_is_written();
        self.last = None;
        let mut idle = std::mem::take(&mut self.idle);
        idle.drain(..).for_each(|class| self.forget_if_idle(class));
        let mut held = std::mem::take(&mut self.held);
        for (class, family) in held.drain(..) {
            if self.index.len() > HELD_CLASSES {
                self.let_go(class, family);
            }
        }
        (self.idle, self.held) = (idle, held);
        for family in Family::ALL {
            if self.count[family.index()] == 0 {
                self.entries[family.index()] = Vec::new();
                self.listed_end[family.index()] = 0;
            }
        }
        // A burst takes memory that the quiet gives back.
        self.fresh.shrink_to(4096);
        self.idle.shrink_to(4096);
        self.held.shrink_to(4096);
    }

    fn forget_if_idle(&mut self, class: ClassId) {
        let Some(idle) = self.class(class).filter(|c| c.refs == [0, 0]) else { return };
        let hash = self.hasher.hash_one((idle.attrs.key(), idle.source.peer.0));
        let place = class.place() as u32;
        if let Ok(found) = self.index.find_entry(hash, |i| *i == place) {
            found.remove();
        }
        for out in self.classes[class.place()].take().into_iter().flat_map(|c| c.out) {
            if let Out::Brief(Brief { horizon, .. }) | Out::Held(_, horizon) = out {
                self.horizons.release(horizon);
            }
        }
        self.free.push(place);
        if self.index.is_empty() {
            (self.classes, self.free, self.index) = (Vec::new(), Vec::new(), HashTable::new());
        }
    }

    fn let_go(&mut self, id: ClassId, family: Family) {
        let Some(class) = id.0.checked_sub(1).and_then(|i| self.classes.get_mut(i as usize)).and_then(Option::as_mut) else { return };
        let out = &mut class.out[family.index()];
        if let Out::Held(attrs, number) = out {
            let mut new = || self.horizons.hold(SplitHorizon::new(class.source.peer, attrs));
            let horizon = if *number == SplitHorizonId::NONE { new() } else { *number };
            *out = Out::Brief(Brief { hash: tag(&self.hasher, &*attrs), horizon });
        }
    }

    /// Octets held.
    pub fn memory(&self) -> usize {
        let lists = self.lists.len() * (size_of::<(DestId, AdvertisedPaths)>() + 8);
        let entries: usize = self.entries.iter().map(|e| e.capacity() * 4).sum();
        entries + self.classes.capacity() * size_of::<Option<AttributeClass>>() + self.index.capacity() * 5 + lists
    }

    /// How many prefixes of this family stand that this member does not hear.
    pub fn count_unheard(&self, member: &MemberFacts, family: Family, key: &GroupKey) -> u32 {
        let f = family.index();
        let standing = self.classes.iter().flatten().filter(|c| c.refs[f] > 0);
        standing.filter(|class| self.is_unheard(class, f, member, key)).map(|class| class.refs[f]).sum()
    }

    fn is_unheard(&self, class: &AttributeClass, family: usize, member: &MemberFacts, key: &GroupKey) -> bool {
        match &class.out[family] {
            Out::Brief(brief) => self.horizons.get(brief.horizon).hits(member).is_some(),
            Out::Held(attrs, _) => SplitHorizon::new(class.source.peer, attrs).hits(member).is_some(),
            // What goes out differs from prefix to prefix, but not whose ORIGINATOR_ID is in it.
            Out::Unknown | Out::Withheld => {
                class.source.peer == member.id || originator(&class.attrs, &class.source, key) == Some(member.router_id)
            }
        }
    }

    fn class(&self, id: ClassId) -> Option<&AttributeClass> {
        peek(&self.classes, id.0.checked_sub(1)?)
    }

    fn class_mut(&mut self, id: ClassId) -> Option<&mut AttributeClass> {
        self.classes.get_mut(id.0.checked_sub(1)? as usize)?.as_mut()
    }

    /// # Panics
    /// If a count does not equal its recount.
    pub fn check(&self) {
        for family in Family::ALL {
            let f = family.index();
            let mut refs = vec![0; self.classes.len()];
            for class in self.entries[f].iter().map(|e| ClassId(e & !ClassId::FRESH)).filter(|c| !c.is_none()) {
                refs[class.place()] += 1;
            }
            for listed in self.lists.iter().filter(|(d, _)| d.family() == family).flat_map(|(_, list)| list) {
                refs[listed.class.place()] += 1;
            }
            assert_eq!(refs.iter().sum::<u32>(), self.count[f], "prefixes told of {family}");
            for (class, counted) in self.classes.iter().zip(refs) {
                assert_eq!(class.as_ref().map_or(0, |c| c.refs[f]), counted, "entries of a class");
            }
        }
        assert_eq!(self.classes.iter().flatten().count(), self.index.len(), "classes in the index");
        let numbered =
            |out: &&Out| matches!(out, Out::Brief(Brief { horizon, .. }) | Out::Held(_, horizon) if *horizon != SplitHorizonId::NONE);
        let numbered = self.classes.iter().flatten().flat_map(|c| &c.out).filter(numbered).count();
        assert_eq!(self.horizons.all.iter().map(|(_, n)| *n as usize).sum::<usize>(), numbered, "holders of horizons");
        assert_eq!(size_of::<Option<AttributeClass>>(), 64, "a full table has two hundred thousand classes");
        assert!(self.classes.iter().flatten().all(|c| c.refs != [0, 0]), "a class without entries");
    }
}

fn peek(classes: &[Option<AttributeClass>], place: u32) -> Option<&AttributeClass> {
    classes.get(place as usize)?.as_ref()
}
