//! The one walk over the attributes of an UPDATE.
//!
//! In: the attribute block, cut to Total Path Attribute Length. Out: where each attribute stands, the facts, the runs of prefixes, and every error found.
//! What the errors add up to is decided in `wire::update`; the canonical octets are assembled here when somebody wants them.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::mp_reach::{self, MpReach};
use super::set::{Facts, bit};
use super::{
    AttrCode, EXTENDED, NextHop, OPTIONAL, OPTIONAL_TRANSITIVE, PARTIAL, PathAttributes, Row, TRANSITIVE, aggregator, as_path, as4_path,
    mp_unreach, put_header, row,
};
use crate::num::{Asn, Family};
use crate::wire::context::Context;
use crate::wire::error::{AttributeError, DecodeError, Fault, Severity};
use crate::wire::read::Reader;

/// An attribute that is kept: its canonical flags and its value as received.
#[derive(Clone, Copy)]
struct Item<'a> {
    code: u8,
    flags: u8,
    value: &'a [u8],
}

/// What one walk has found.
pub(crate) struct Block<'a> {
    octets: &'a [u8],
    facts: Facts,
    seen: Codes,
    /// Of those that were seen, the ones that belong to the set: their first occurrence does.
    kept: Codes,
    last_kept: u8,
    /// Begin and end of the MP attributes, which are cut out of the canonical octets.
    holes: SmallVec<[(usize, usize); 2]>,
    /// Apart from the holes the octets are canonical already.
    canonical: bool,
    /// AS numbers have two octets.
    narrow: bool,
    as4_path: Option<&'a [u8]>,
    as4_aggregator: Option<&'a [u8]>,
    /// MP_REACH_NLRI, if it could be read as far as its prefixes.
    pub(crate) reach: Option<MpReach<'a>>,
    /// MP_UNREACH_NLRI: its family (`None`: not negotiated) and the octets of its prefixes.
    pub(crate) unreach: Option<(Option<Family>, &'a [u8])>,
    /// In the order of the octets; which of them count is decided in `wire::update`.
    pub(crate) errors: Vec<DecodeError>,
}

/// A set of type codes. Nearly all there are stand below 64.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Codes {
    low: u64,
    high: [u64; 3],
}

impl Codes {
    #[inline]
    fn word(&mut self, code: u8) -> Option<&mut u64> {
        match usize::from(code >> 6).checked_sub(1) {
            None => Some(&mut self.low),
            Some(word) => self.high.get_mut(word),
        }
    }

    /// `false` if it was there already.
    #[inline]
    fn insert(&mut self, code: u8) -> bool {
        let bit = 1u64 << (code & 63);
        match self.word(code) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// `false` if it was not there.
    fn remove(&mut self, code: u8) -> bool {
        let bit = 1u64 << (code & 63);
        match self.word(code) {
            Some(word) if *word & bit != 0 => {
                *word &= !bit;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn contains(mut self, code: u8) -> bool {
        self.word(code).is_some_and(|word| *word & (1u64 << (code & 63)) != 0)
    }
}

/// Where the block stands, to name places and to cut out octets.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The whole message, so that an error can quote it without a copy.
    pub(crate) message: &'a Bytes,
    /// Offset of the block in the message.
    pub(crate) at: usize,
}

/// Attributes that are not simply kept: those with prefixes in them, and those for old speakers.
const APART: u64 =
    1 << AttrCode::MP_REACH_NLRI.0 | 1 << AttrCode::MP_UNREACH_NLRI.0 | 1 << AttrCode::AS4_PATH.0 | 1 << AttrCode::AS4_AGGREGATOR.0;

/// Those of the row; what somebody on the way did not understand stays Partial (RFC 4271 §5).
#[inline]
fn canonical_flags(row: &Row, flags: u8) -> u8 {
    row.flags | if row.flags == OPTIONAL_TRANSITIVE { flags & PARTIAL } else { 0 }
}

fn is_mp(code: u8) -> bool {
    matches!(AttrCode(code), AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI)
}

impl<'a> Block<'a> {
    /// Nothing read yet. (Apart from [`Block::walk`], so that it is made where it stays.)
    #[inline(always)]
    pub(crate) fn new(octets: &'a [u8], ctx: &Context) -> Block<'a> {
        Block {
            octets,
            facts: Facts::default(),
            seen: Codes::default(),
            kept: Codes::default(),
            last_kept: 0,
            holes: SmallVec::new(),
            canonical: ctx.four_octet_as,
            narrow: !ctx.four_octet_as,
            as4_path: None,
            as4_aggregator: None,
            reach: None,
            unreach: None,
            errors: Vec::new(),
        }
    }

    /// Reads every attribute.
    pub(crate) fn walk(&mut self, ctx: &Context, place: Place<'_>) {
        let (octets, mut start) = (self.octets, 0);
        let mut r = Reader::new(octets);
        while !r.is_empty() {
            let Some((flags, code, value)) = next(&mut r) else {
                // RFC 7606 §4: the NLRI are found by the total length, which still holds.
                return self.overrun(start, place);
            };
            let end = octets.len().saturating_sub(r.len());
            self.one(flags, code, value, (start, end), ctx, place);
            start = end;
        }
    }

    #[inline(always)]
    fn one(&mut self, flags: u8, code: u8, value: &'a [u8], span: (usize, usize), ctx: &Context, place: Place<'_>) {
        let usual = |row: &&Row| {
            (self.seen.low | APART) & bit(code) == 0 && flags & (OPTIONAL | TRANSITIVE) == row.flags && !(row.internal_only && ctx.external)
        };
        let Some(row) = row(AttrCode(code)).filter(usual) else { return self.unusual(flags, code, value, span, ctx, place) };
        self.seen.low |= bit(code);
        match (row.decode)(value, ctx, &mut self.facts) {
            Ok(()) => {
                self.note_shape(flags, code, canonical_flags(row, flags), value);
                self.kept.low |= bit(code);
            }
            Err(fault) => self.fail(AttrCode(code), fault, row.severity, span, place),
        }
    }

    /// What is not simply read and kept: a second one, one that has no row or is not welcome here, wrong flags, and those that stand apart.
    #[inline(never)]
    fn unusual(&mut self, flags: u8, code: u8, value: &'a [u8], span: (usize, usize), ctx: &Context, place: Place<'_>) {
        if let Err((fault, severity)) = self.judge(flags, code, value, span, ctx) {
            self.fail(AttrCode(code), fault, severity, span, place);
        }
    }

    fn judge(&mut self, flags: u8, code: u8, value: &'a [u8], span: (usize, usize), ctx: &Context) -> Result<(), (Fault, Severity)> {
        if !self.seen.insert(code) {
            return Err((Fault::Duplicate, if is_mp(code) { Severity::Reset } else { Severity::Discard }));
        }
        let Some(row) = row(AttrCode(code)) else { return self.unknown(flags, code, value) };
        if row.internal_only && ctx.external {
            return Err((Fault::External, Severity::Discard));
        }
        if is_mp(code) {
            return self.multiprotocol(row, flags, value, span, ctx);
        }
        if bit(code) & APART != 0 {
            return self.old_world(row, flags, value, ctx);
        }
        // The others came here for their flags.
        Err((Fault::Flags { flags, wanted: row.flags }, Severity::Withdraw))
    }

    /// A whole set for prefixes in the body and nothing else, without a fault: what nearly every UPDATE is.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        const NEEDED: u64 = 1 << AttrCode::ORIGIN.0 | 1 << AttrCode::AS_PATH.0 | 1 << AttrCode::NEXT_HOP.0;
        self.errors.is_empty() && self.holes.is_empty() && self.seen.low & NEEDED == NEEDED
    }

    /// The attribute occurs, well formed or not.
    pub(crate) fn has_seen(&self, code: AttrCode) -> bool {
        self.seen.contains(code.0)
    }

    /// Nothing but MP_UNREACH_NLRI, if that.
    pub(crate) fn only_unreach(&self) -> bool {
        self.seen == Codes { low: bit(AttrCode::MP_UNREACH_NLRI.0), high: [0; 3] } || self.seen == Codes::default()
    }

    /// Is the attribute where it belongs, with the flags that it should have?
    #[inline]
    fn note_shape(&mut self, flags: u8, code: u8, wanted: u8, value: &'a [u8]) {
        let long = if value.len() > 255 { EXTENDED } else { 0 };
        self.canonical &= self.last_kept < code && flags == wanted | long;
        self.last_kept = code;
    }

    /// RFC 4271 §6.3 and §5: unknown and well-known is an error, unknown and transitive is kept, unknown and not transitive is forgotten.
    fn unknown(&mut self, flags: u8, code: u8, value: &'a [u8]) -> Result<(), (Fault, Severity)> {
        if flags & OPTIONAL == 0 {
            return Err((Fault::UnknownWellKnown, Severity::Reset));
        }
        if flags & TRANSITIVE == 0 {
            self.canonical = false;
        } else {
            self.note_shape(flags, code, OPTIONAL_TRANSITIVE | PARTIAL, value);
            self.kept.insert(code);
        }
        Ok(())
    }

    fn multiprotocol(
        &mut self,
        row: &Row,
        flags: u8,
        value: &'a [u8],
        span: (usize, usize),
        ctx: &Context,
    ) -> Result<(), (Fault, Severity)> {
        self.holes.push(span);
        let mut bad_next_hop = false;
        if row.code == AttrCode::MP_REACH_NLRI {
            let reach = mp_reach::decode(value, ctx).map_err(|fault| (fault, row.severity))?;
            bad_next_hop = reach.bad_next_hop;
            self.reach = Some(reach);
        } else {
            self.unreach = Some(mp_unreach::decode(value, ctx).map_err(|fault| (fault, row.severity))?);
        }
        if flags & (OPTIONAL | TRANSITIVE) != row.flags {
            return Err((Fault::Flags { flags, wanted: row.flags }, Severity::Withdraw));
        }
        if bad_next_hop { Err((Fault::Address, Severity::Withdraw)) } else { Ok(()) }
    }

    /// RFC 6793 §4.1, §6: a speaker of four octets must not send them; from others they are taken or left, never a reason to withdraw.
    fn old_world(&mut self, row: &Row, flags: u8, value: &'a [u8], ctx: &Context) -> Result<(), (Fault, Severity)> {
        self.canonical = false;
        if ctx.four_octet_as {
            return Err((Fault::FourOctetSpeaker, Severity::Discard));
        }
        if flags & (OPTIONAL | TRANSITIVE) != row.flags {
            return Err((Fault::Flags { flags, wanted: row.flags }, Severity::Discard));
        }
        (row.decode)(value, ctx, &mut self.facts).map_err(|fault| (fault, row.severity))?;
        match row.code {
            AttrCode::AS4_PATH => self.as4_path = Some(value),
            _ => self.as4_aggregator = Some(value),
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn fail(&mut self, code: AttrCode, fault: Fault, severity: Severity, (start, end): (usize, usize), place: Place<'_>) {
        self.canonical = false;
        let (start, end) = (start.saturating_add(place.at), end.saturating_add(place.at));
        let octets = if start <= end && end <= place.message.len() { place.message.slice(start..end) } else { Bytes::new() };
        let offset = u16::try_from(start).unwrap_or(u16::MAX);
        self.errors.push(DecodeError::Attribute(AttributeError { code, fault, severity, offset, octets }));
    }

    /// It counts as seen: an UPDATE with it is no mere withdrawal, and what is cut off is not missing. (Type 0, reserved, where not even the type came.)
    #[cold]
    fn overrun(&mut self, start: usize, place: Place<'_>) {
        self.canonical = false;
        let offset = u16::try_from(start.saturating_add(place.at)).unwrap_or(u16::MAX);
        let code = self.octets.get(start.saturating_add(1)).copied();
        self.seen.insert(code.unwrap_or(0));
        self.errors.push(DecodeError::AttributeOverrun { code: code.map(AttrCode), offset });
    }

    /// NEXT_HOP, which the prefixes in the body need.
    pub(crate) fn body_next_hop(&self) -> Option<NextHop> {
        self.facts.next_hop.map(NextHop::V4)
    }

    /// The canonical octets for prefixes in the body are the octets that came.
    #[inline]
    pub(crate) fn is_verbatim(&self) -> bool {
        self.canonical && self.holes.is_empty()
    }

    /// The set for prefixes with this next hop. (NEXT_HOP is not for prefixes in MP_REACH_NLRI: RFC 4760 §3.)
    #[inline]
    pub(crate) fn assemble(&self, next_hop: NextHop) -> PathAttributes {
        let fits = match next_hop {
            NextHop::V4(addr) => self.facts.next_hop == Some(addr),
            NextHop::V6 { .. } => !self.has_seen(AttrCode::NEXT_HOP),
        };
        if self.canonical && fits {
            return PathAttributes::new(&self.without_holes(), next_hop, &self.facts, self.kept.low);
        }
        self.rebuild(next_hop)
    }

    /// What belongs to the set, with canonical flags, in the order of the message.
    fn items(&self) -> impl Iterator<Item = Item<'a>> {
        let (mut r, mut left) = (Reader::new(self.octets), self.kept);
        std::iter::from_fn(move || {
            loop {
                let (flags, code, value) = next(&mut r)?;
                if left.remove(code) {
                    let flags = row(AttrCode(code)).map_or(OPTIONAL_TRANSITIVE | PARTIAL, |row| canonical_flags(row, flags));
                    return Some(Item { code, flags, value });
                }
            }
        })
    }

    #[inline]
    fn without_holes(&self) -> Cow<'a, [u8]> {
        if self.holes.is_empty() {
            return Cow::Borrowed(self.octets);
        }
        let mut octets = Vec::with_capacity(self.octets.len());
        let mut at = 0;
        for (start, end) in &self.holes {
            octets.extend_from_slice(self.octets.get(at..*start).unwrap_or_default());
            at = *end;
        }
        octets.extend_from_slice(self.octets.get(at..).unwrap_or_default());
        Cow::Owned(octets)
    }

    /// Attribute by attribute, in order, with four octets of AS.
    fn rebuild(&self, next_hop: NextHop) -> PathAttributes {
        let (mut facts, mut present) = (self.facts, self.kept.low & !bit(AttrCode::NEXT_HOP.0));
        let (path, aggregator) = self.wide();
        let (from_old, v4) = (path.is_some(), if let NextHop::V4(addr) = next_hop { Some(addr.octets()) } else { None });
        let mut items: SmallVec<[Item<'_>; 12]> = self.items().filter(|i| i.code != AttrCode::NEXT_HOP.0).collect();
        if let Some(value) = &v4 {
            present |= bit(AttrCode::NEXT_HOP.0);
            items.push(Item { code: AttrCode::NEXT_HOP.0, flags: TRANSITIVE, value });
        }
        items.sort_unstable_by_key(|i| i.code);
        let mut octets = Vec::with_capacity(self.octets.len().saturating_add(64));
        for item in &items {
            let value = match AttrCode(item.code) {
                AttrCode::AS_PATH if from_old => path.as_deref().unwrap_or_default(),
                AttrCode::AGGREGATOR if from_old => aggregator.as_ref().map_or(item.value, |a| &a[..]),
                _ => item.value,
            };
            put_header(item.code, item.flags, value.len(), &mut octets);
            octets.extend_from_slice(value);
            if from_old && item.code == AttrCode::AS_PATH.0 {
                facts.note_path(as_path::AsPath(value));
            }
        }
        PathAttributes::new(&octets, next_hop, &facts, present)
    }

    /// RFC 6793 §4.2.3: AS_PATH and AGGREGATOR of an old speaker, with what AS4_PATH and AS4_AGGREGATOR know better. `None` in the new world.
    fn wide(&self) -> (Option<SmallVec<[u8; 64]>>, Option<[u8; 8]>) {
        let item = |code: AttrCode| self.items().find(|i| i.code == code.0).map(|i| i.value);
        let Some(path) = item(AttrCode::AS_PATH).filter(|_| self.narrow) else { return (None, None) };
        let aggregator = item(AttrCode::AGGREGATOR).and_then(|v| aggregator::decode(v, false).ok());
        let (mut as4_path, mut better) = (self.as4_path, None);
        if let (Some(aggregator), Some(as4)) = (aggregator, self.as4_aggregator) {
            if aggregator.asn == Asn::TRANS {
                better = aggregator::decode(as4, true).ok();
            } else {
                as4_path = None;
            }
        }
        let mut wide = SmallVec::new();
        match as4_path {
            Some(as4) => as4_path::merge(path, as4, &mut wide),
            None => as_path::widen(path, &mut wide),
        }
        (Some(wide), better.or(aggregator).map(|a| a.octets()))
    }
}

/// Flags, code and value; `None` when they do not fit.
///
/// By hand: the bare walk over the attributes of an UPDATE takes 113 to 139 instructions so and 181 to 229 by nom's combinators, which is up to 15 % of a
/// whole UPDATE (`proto-tests/benches/codecs`, `counts`).
#[inline(always)]
fn next<'a>(r: &mut Reader<'a>) -> Option<(u8, u8, &'a [u8])> {
    let [flags, code, len] = r.array()?;
    let len = if flags & EXTENDED != 0 { u16::from_be_bytes([len, r.u8()?]) } else { u16::from(len) };
    Some((flags, code, r.take(usize::from(len))?))
}

/// Where MP_REACH_NLRI stands, found by headers alone: begin, begin of the value, end. `None` if it is not there, or if something is not as it should be.
#[inline]
pub(crate) fn find_reach(octets: &[u8]) -> Option<(usize, usize, usize)> {
    let mut r = Reader::new(octets);
    let mut found = None;
    while !r.is_empty() {
        let start = octets.len().saturating_sub(r.len());
        let (flags, code, value) = next(&mut r)?;
        let end = octets.len().saturating_sub(r.len());
        match AttrCode(code) {
            AttrCode::MP_REACH_NLRI if found.is_none() && flags & (OPTIONAL | TRANSITIVE) == OPTIONAL => {
                found = Some((start, end.saturating_sub(value.len()), end));
            }
            AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI => return None,
            _ => {}
        }
    }
    found
}
