//! `PathAttributes`: everything that an UPDATE says of its prefixes, immutable and canonical.
//!
//! In: octets that were checked by [`super::block`] or made by [`super::Editor`]. Out: facts, iterators, and the octets to send on.
//! Interning is left to `rib::attrs`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use smallvec::SmallVec;
use triomphe::ThinArc;

use super::as_path::AsPath;
use super::{
    Aggregator, AttrCode, Community, EXTENDED, Editor, ExtendedCommunity, LargeCommunity, NextHop, OPTIONAL, Origin, PARTIAL, TRANSITIVE,
    aggregator, cluster_list, communities, extended_communities, large_communities, otc, row,
};
use crate::num::{Asn, ClusterId, RouterId};
use crate::wire::read::Reader;

/// What is asked of every path again and again, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// ORIGIN.
    pub(crate) origin: Origin,
    /// NEXT_HOP, if the attribute was there.
    pub(crate) next_hop: Option<Ipv4Addr>,
    /// MULTI_EXIT_DISC.
    pub(crate) med: Option<u32>,
    /// LOCAL_PREF.
    pub(crate) local_pref: Option<u32>,
    /// ORIGINATOR_ID.
    pub(crate) originator_id: Option<RouterId>,
    /// The neighbouring AS, within which MEDs are compared (RFC 4271 §9.1.2.2 c).
    pub(crate) neighbor_as: Option<Asn>,
    /// Of AS_PATH as RFC 4271 §9.1.2.2 a counts.
    pub(crate) path_len: u16,
    /// Entries of CLUSTER_LIST.
    pub(crate) cluster_list_len: u16,
}

impl Facts {
    /// Notes length and neighbour of a path.
    #[inline]
    pub(crate) fn note_path(&mut self, path: AsPath<'_>) {
        self.path_len = u16::try_from(path.len()).unwrap_or(u16::MAX);
        self.neighbor_as = path.neighbor_as();
    }
}

/// The bit of a code below 64; none for others.
#[inline]
pub(crate) fn bit(code: u8) -> u64 {
    1u64.checked_shl(u32::from(code)).unwrap_or(0)
}

/// The attributes of a path: one allocation for facts and octets together, shared by its clones.
///
/// # Invariants
/// `octets` hold attributes in ascending order of type, each once, with AS numbers of four octets, canonical flags and the shortest length field;
/// ORIGIN and AS_PATH are first; NEXT_HOP is there exactly if `next_hop` is IPv4; MP_REACH_NLRI, MP_UNREACH_NLRI, AS4_PATH and AS4_AGGREGATOR are not.
#[derive(Clone)]
pub struct PathAttributes(ThinArc<Head, u8>);

/// What stands before the octets. Whether a number means anything is said by `present`.
struct Head {
    /// Which codes below 64 are there.
    present: u64,
    next_hop: Ipv4Addr,
    med: u32,
    local_pref: u32,
    originator_id: u32,
    /// Zero, which is no AS, if there is none.
    neighbor_as: u32,
    path_len: u16,
    cluster_list_len: u16,
    origin: Origin,
    /// Length in octets of an IPv6 next hop, which stands behind the attributes: 16, 32 with a link-local one; zero if it is IPv4.
    beyond: u8,
}

/// One attribute as it stands in the canonical octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Its type.
    pub code: AttrCode,
    /// As they are written, the Extended Length bit apart.
    pub flags: u8,
    /// Behind the header.
    pub value: &'a [u8],
    /// Header and value.
    pub octets: &'a [u8],
}

/// An optional transitive attribute that has no row here, passed on as it came with the Partial bit (RFC 4271 §5).
pub type UnknownAttribute<'a> = RawAttribute<'a>;

impl PathAttributes {
    /// `octets` are canonical, `facts` were read from them, `present` has the bits of their codes.
    #[inline]
    pub(crate) fn new(octets: &[u8], next_hop: NextHop, facts: &Facts, present: u64) -> PathAttributes {
        match next_hop {
            NextHop::V4(addr) => PathAttributes::seal(octets, 0, addr, facts, present),
            NextHop::V6 { global, link_local } => {
                let mut tail: SmallVec<[u8; 256]> = SmallVec::from_slice(octets);
                tail.extend_from_slice(&global.octets());
                link_local.iter().for_each(|l| tail.extend_from_slice(&l.octets()));
                PathAttributes::seal(&tail, if link_local.is_some() { 32 } else { 16 }, Ipv4Addr::UNSPECIFIED, facts, present)
            }
        }
    }

    #[inline]
    fn seal(tail: &[u8], beyond: u8, next_hop: Ipv4Addr, facts: &Facts, present: u64) -> PathAttributes {
        let head = Head {
            present,
            next_hop,
            med: facts.med.unwrap_or_default(),
            local_pref: facts.local_pref.unwrap_or_default(),
            originator_id: facts.originator_id.map_or(0, u32::from),
            neighbor_as: facts.neighbor_as.map_or(0, |asn| asn.0),
            path_len: facts.path_len,
            cluster_list_len: facts.cluster_list_len,
            origin: facts.origin,
            beyond,
        };
        PathAttributes(ThinArc::from_header_and_slice(head, tail))
    }

    #[inline]
    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// One of the numbers, if its attribute is there.
    #[inline]
    fn number(&self, code: AttrCode, number: u32) -> Option<u32> {
        self.has(code).then_some(number)
    }

    /// Both are the same allocation, and so certainly equal.
    #[inline]
    pub fn is_same(&self, other: &PathAttributes) -> bool {
        std::ptr::eq(self.head(), other.head())
    }

    /// A set to start from: an empty AS_PATH, nothing else.
    pub fn builder(origin: Origin, next_hop: NextHop) -> Editor {
        Editor::new(origin, next_hop)
    }

    /// Another set made from this one.
    pub fn edit(&self) -> Editor {
        Editor::from_set(self)
    }

    /// RFC 4271 §5.1.1.
    pub fn origin(&self) -> Origin {
        self.head().origin
    }

    /// That of NEXT_HOP, or of the MP_REACH_NLRI it came in.
    pub fn next_hop(&self) -> NextHop {
        let beyond = self.0.slice.get(self.octets().len()..).unwrap_or_default();
        let Some((global, link_local)) = beyond.split_first_chunk::<16>() else { return NextHop::V4(self.head().next_hop) };
        let link_local = link_local.first_chunk::<16>().map(|l| Ipv6Addr::from(*l));
        NextHop::V6 { global: Ipv6Addr::from(*global), link_local }
    }

    /// MULTI_EXIT_DISC (RFC 4271 §5.1.4).
    pub fn med(&self) -> Option<u32> {
        self.number(AttrCode::MULTI_EXIT_DISC, self.head().med)
    }

    /// RFC 4271 §5.1.5; from external peers it does not come (§5.1.5).
    pub fn local_pref(&self) -> Option<u32> {
        self.number(AttrCode::LOCAL_PREF, self.head().local_pref)
    }

    /// RFC 4456 §8.
    pub fn originator_id(&self) -> Option<RouterId> {
        self.number(AttrCode::ORIGINATOR_ID, self.head().originator_id).and_then(|id| RouterId::new(id.into()))
    }

    /// As RFC 4271 §9.1.2.2 a counts; kept, not counted anew.
    pub fn as_path_len(&self) -> usize {
        usize::from(self.head().path_len)
    }

    /// The neighbouring AS that MEDs are compared within; kept.
    pub fn neighbor_as(&self) -> Option<Asn> {
        Some(Asn(self.head().neighbor_as)).filter(|asn| asn.0 != 0)
    }

    /// RFC 4456 §9 wants it compared; kept.
    pub fn cluster_list_len(&self) -> usize {
        usize::from(self.head().cluster_list_len)
    }

    /// RFC 4271 §5.1.2.
    pub fn as_path(&self) -> AsPath<'_> {
        AsPath(self.value(AttrCode::AS_PATH).unwrap_or_default())
    }

    /// RFC 4271 §5.1.6.
    pub fn atomic_aggregate(&self) -> bool {
        self.has(AttrCode::ATOMIC_AGGREGATE)
    }

    /// RFC 4271 §5.1.7.
    pub fn aggregator(&self) -> Option<Aggregator> {
        aggregator::decode(self.value(AttrCode::AGGREGATOR)?, true).ok()
    }

    /// RFC 1997, in the order of the octets.
    pub fn communities(&self) -> impl Iterator<Item = Community> + Clone + '_ {
        communities::iter(self.value(AttrCode::COMMUNITIES).unwrap_or_default())
    }

    /// A walk over the communities, if there are any.
    pub fn has_community(&self, community: Community) -> bool {
        self.has(AttrCode::COMMUNITIES) && self.communities().any(|c| c == community)
    }

    /// In bits a second, if it says so (draft-ietf-idr-link-bandwidth); the least of several.
    pub fn link_bandwidth(&self) -> Option<u64> {
        self.extended_communities().filter_map(ExtendedCommunity::link_bandwidth).min()
    }

    /// RFC 4360, in the order of the octets.
    pub fn extended_communities(&self) -> impl Iterator<Item = ExtendedCommunity> + Clone + '_ {
        extended_communities::iter(self.value(AttrCode::EXTENDED_COMMUNITIES).unwrap_or_default())
    }

    /// RFC 8092, in the order of the octets.
    pub fn large_communities(&self) -> impl Iterator<Item = LargeCommunity> + Clone + '_ {
        large_communities::iter(self.value(AttrCode::LARGE_COMMUNITIES).unwrap_or_default())
    }

    /// RFC 4456 §8, the newest cluster first.
    pub fn cluster_list(&self) -> impl Iterator<Item = ClusterId> + Clone + '_ {
        cluster_list::iter(self.value(AttrCode::CLUSTER_LIST).unwrap_or_default())
    }

    /// RFC 9234 §5.
    pub fn only_to_customer(&self) -> Option<Asn> {
        otc::decode(self.value(AttrCode::OTC)?).ok()
    }

    /// Optional transitive attributes that we know nothing of.
    pub fn unknown(&self) -> impl Iterator<Item = UnknownAttribute<'_>> + Clone {
        self.attributes().filter(|a| row(a.code).is_none())
    }

    /// All attributes in the order of their codes; NEXT_HOP among them if it is IPv4.
    pub fn attributes(&self) -> impl Iterator<Item = RawAttribute<'_>> + Clone {
        raw(self.octets())
    }

    /// Canonical octets, without the prefixes and without a next hop that is IPv6.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        let tail = &self.0.slice;
        tail.get(..tail.len().saturating_sub(usize::from(self.head().beyond))).unwrap_or_default()
    }

    /// Whether the attribute is there.
    #[inline]
    pub fn has(&self, code: AttrCode) -> bool {
        match 1u64.checked_shl(u32::from(code.0)) {
            Some(bit) => self.head().present & bit != 0,
            None => self.attributes().any(|a| a.code == code),
        }
    }

    /// As they were read, but for the next hop.
    pub(super) fn facts(&self) -> Facts {
        Facts {
            origin: self.origin(),
            next_hop: None,
            med: self.med(),
            local_pref: self.local_pref(),
            originator_id: self.originator_id(),
            neighbor_as: self.neighbor_as(),
            path_len: self.head().path_len,
            cluster_list_len: self.head().cluster_list_len,
        }
    }

    /// The value of one attribute; found without a walk where its bit is unset.
    pub(super) fn value(&self, code: AttrCode) -> Option<&[u8]> {
        if !self.has(code) {
            return None;
        }
        self.attributes().find(|a| a.code == code).map(|a| a.value)
    }
}

/// Walks checked octets; stops at what cannot be read.
pub(crate) fn raw(octets: &[u8]) -> impl Iterator<Item = RawAttribute<'_>> + Clone {
    let mut r = Reader::new(octets);
    std::iter::from_fn(move || {
        let whole = r.rest();
        let [flags, code, len] = r.array()?;
        let len = if flags & EXTENDED != 0 { u16::from_be_bytes([len, r.u8()?]) } else { u16::from(len) };
        let value = r.take(usize::from(len))?;
        let octets = whole.get(..whole.len().checked_sub(r.len())?)?;
        Some(RawAttribute { code: AttrCode(code), flags, value, octets })
    })
}

impl PartialEq for PathAttributes {
    fn eq(&self, other: &PathAttributes) -> bool {
        self.is_same(other) || self.head().beyond == other.head().beyond && self.0.slice == other.0.slice
    }
}

impl Eq for PathAttributes {}

impl Hash for PathAttributes {
    /// Of octets and next hop. Peers choose these, so a table of sets wants a keyed hasher.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.slice);
    }
}

impl fmt::Display for PathAttributes {
    /// `origin igp as-path 64512 64513 next-hop 192.0.2.1 ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        if let next_hop @ NextHop::V6 { .. } = self.next_hop() {
            write!(f, "next-hop {next_hop}")?;
            first = false;
        }
        for attribute in self.attributes() {
            if !first {
                f.write_str(" ")?;
            }
            first = false;
            attribute.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for PathAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PathAttributes({self})")
    }
}

/// A value by its row.
struct Shown<'a>(RawAttribute<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match row(self.0.code) {
            Some(row) => (row.show)(self.0.value, f),
            None => super::hex(self.0.value, f),
        }
    }
}

impl RawAttribute<'_> {
    /// `as-path`, `local-pref`, `attribute-99`.
    pub fn key(&self) -> String {
        match self.code.name() {
            Some("MULTI_EXIT_DISC") => "med".into(),
            Some(name) => name.to_ascii_lowercase().replace('_', "-"),
            None => format!("attribute-{}", self.code.0),
        }
    }

    /// The value in words, or in hexadecimal digits.
    pub fn show(&self) -> impl fmt::Display + '_ {
        Shown(*self)
    }
}

impl fmt::Display for RawAttribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key(), self.show())?;
        let unknown = row(self.code).is_none();
        if unknown && self.flags & (OPTIONAL | TRANSITIVE | PARTIAL) != (OPTIONAL | TRANSITIVE | PARTIAL) {
            write!(f, " flags {:#04x}", self.flags)?;
        }
        Ok(())
    }
}

impl Serialize for PathAttributes {
    /// One object: what is absent has no key; attributes without a row are listed under `unknown`.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("origin", &self.origin())?;
        map.serialize_entry("as_path", &self.as_path())?;
        map.serialize_entry("next_hop", &self.next_hop())?;
        entry(&mut map, "med", self.med())?;
        entry(&mut map, "local_pref", self.local_pref())?;
        entry(&mut map, "atomic_aggregate", self.atomic_aggregate().then_some(true))?;
        entry(&mut map, "aggregator", self.aggregator())?;
        list(&mut map, "communities", self.communities())?;
        list(&mut map, "extended_communities", self.extended_communities())?;
        list(&mut map, "large_communities", self.large_communities())?;
        entry(&mut map, "originator_id", self.originator_id())?;
        list(&mut map, "cluster_list", self.cluster_list())?;
        entry(&mut map, "only_to_customer", self.only_to_customer())?;
        let aigp = self.attributes().find(|a| a.code == AttrCode::AIGP);
        entry(&mut map, "aigp", aigp.map(|a| a.show().to_string()))?;
        list(&mut map, "unknown", self.unknown().map(UnknownRow))?;
        map.end()
    }
}

fn entry<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, value: Option<T>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

fn list<M: SerializeMap, T: Serialize>(map: &mut M, key: &str, items: impl Iterator<Item = T>) -> Result<(), M::Error> {
    let items: Vec<T> = items.collect();
    if items.is_empty() { Ok(()) } else { map.serialize_entry(key, &items) }
}

struct UnknownRow<'a>(UnknownAttribute<'a>);

impl Serialize for UnknownRow<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(3))?;
        map.serialize_entry("code", &self.0.code.0)?;
        map.serialize_entry("flags", &self.0.flags)?;
        map.serialize_entry("value", &Shown(self.0).to_string())?;
        map.end()
    }
}
