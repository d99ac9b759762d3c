//! From octets to an `Update`, with the memory of one attribute block.

use std::fmt;

use bytes::{Buf, Bytes};
use nom::Parser;
use smallvec::SmallVec;

use super::{Announced, Malformed, Update, strongest};
use crate::num::Family;
use crate::wire::Message;
use crate::wire::attr::block::{Block, Place, find_reach};
use crate::wire::attr::{AttrCode, NextHop, PathAttributes, RawAttribute, raw};
use crate::wire::capability::FamilyName;
use crate::wire::context::Context;
use crate::wire::error::{AttributeError, DecodeError, Fault, NlriField, Severity};
use crate::wire::header::{self, HEADER_LEN};
use crate::wire::nlri::NlriSet;
use crate::wire::notification::Notification;
use crate::wire::open::Open;
use crate::wire::read::{Reader, be_u8, be_u16};
use crate::wire::refresh::RouteRefresh;

/// Reads the messages of one connection. Remembers the last attribute block, because the next UPDATE often has the same one.
#[derive(Debug)]
pub struct Decoder {
    ctx: Context,
    last: Option<Last>,
    /// The octets of `last`, in a buffer that is used again.
    key: Vec<u8>,
    refused: Bytes,
}

/// What the remembered octets mean.
#[derive(Debug)]
struct Last {
    attrs: PathAttributes,
    /// The octets of `attrs` are the block itself, so the key is not needed.
    verbatim: bool,
    /// Where MP_REACH_NLRI was cut out of the key, how long its head is (which is at the end of the key), and its family. `None`: prefixes in the body.
    reach: Option<(usize, usize, Family)>,
}

/// An UPDATE cut into its three fields.
struct Fields<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    attributes_at: usize,
    nlri: &'a [u8],
    nlri_at: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// In [`Context::INITIAL`].
    pub fn new() -> Decoder {
        Decoder { ctx: Context::INITIAL, last: None, key: Vec::new(), refused: Bytes::new() }
    }

    /// From here on messages are read in another way; what was remembered is forgotten.
    pub fn set_context(&mut self, ctx: Context) {
        self.ctx = ctx;
        self.last = None;
    }

    /// How messages are read now.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// The UPDATE that [`Decoder::decode`] refused last, whole, for the log (RFC 7606 §6); empty if it refused none.
    pub fn refused(&self) -> &Bytes {
        &self.refused
    }

    /// One whole message with its header.
    ///
    /// # Errors
    /// Only what resets the session ([`Severity::Reset`]). Weaker errors are in [`Update::errors`].
    pub fn decode(&mut self, mut frame: Bytes) -> Result<Message, DecodeError> {
        let claimed = header::header(&frame, self.ctx.max_len)?;
        let Some((_, kind)) = claimed.filter(|(len, _)| *len == frame.len()) else {
            let kind = frame.get(18).copied().unwrap_or_default();
            return Err(DecodeError::MessageLength { len: u16::try_from(frame.len()).unwrap_or(u16::MAX), kind });
        };
        Ok(match kind {
            header::UPDATE => match self.update(&mut frame) {
                Ok(update) => Message::Update(update),
                Err(error) => {
                    self.refused = frame;
                    return Err(error);
                }
            },
            header::KEEPALIVE => Message::KeepAlive,
            header::OPEN => Message::Open(Box::new(Open::decode(&frame)?)),
            header::ROUTE_REFRESH => Message::RouteRefresh(RouteRefresh::decode(&frame, self.ctx.refresh_subtypes)?),
            header::NOTIFICATION => {
                let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
                let body = frame.slice(HEADER_LEN.min(frame.len())..);
                Message::Notification(Notification::decode(body).ok_or(DecodeError::MessageLength { len, kind })?)
            }
            kind => return Err(DecodeError::MessageType { kind }),
        })
    }

    /// Takes the frame away if its own octets become the prefixes.
    fn update(&mut self, frame: &mut Bytes) -> Result<Update, DecodeError> {
        let fields = Fields::cut(frame)?;
        if fields.nlri.is_empty() || !self.ctx.families.contains(Family::Ipv4Unicast) {
            return self.without_body(frame);
        }
        let add_path = self.ctx.add_path.contains(Family::Ipv4Unicast);
        check(fields.withdrawn, NlriField::Withdrawn, Family::Ipv4Unicast, add_path, frame)?;
        check(fields.nlri, NlriField::Announced, Family::Ipv4Unicast, add_path, frame)?;
        let attrs = match self.remembered_body(&fields) {
            Some(attrs) => attrs,
            None => {
                let mut block = Block::new(fields.attributes, &self.ctx);
                block.walk(&self.ctx, Place { message: frame, at: fields.attributes_at });
                let Some(next_hop) = block.body_next_hop().filter(|_| block.is_plain()) else {
                    return self.weighed(&fields, block, frame);
                };
                let attrs = block.assemble(next_hop);
                self.remember(&fields, &block, &attrs, Family::Ipv4Unicast);
                attrs
            }
        };
        let withdrawn = self.withdrawn(&fields, frame);
        let nlri_at = fields.nlri_at;
        Ok(Update {
            withdrawn,
            announced: [body(std::mem::take(frame), nlri_at, add_path, Some(attrs))].into(),
            end_of_rib: None,
            errors: None,
        })
    }

    /// No prefix in the body that this session would look at.
    fn without_body(&mut self, frame: &Bytes) -> Result<Update, DecodeError> {
        let fields = Fields::cut(frame)?;
        if self.ctx.families.contains(Family::Ipv4Unicast) {
            check(fields.withdrawn, NlriField::Withdrawn, Family::Ipv4Unicast, self.ctx.add_path.contains(Family::Ipv4Unicast), frame)?;
        }
        if let Some((attrs, nlri)) = self.remembered_reach(&fields, frame)? {
            return Ok(Update {
                withdrawn: self.withdrawn(&fields, frame),
                announced: [Announced { nlri, attrs: Some(attrs) }].into(),
                end_of_rib: None,
                errors: None,
            });
        }
        let mut block = Block::new(fields.attributes, &self.ctx);
        block.walk(&self.ctx, Place { message: frame, at: fields.attributes_at });
        self.weighed(&fields, block, frame)
    }

    /// Prefixes in the body under the very attributes of last time.
    #[inline]
    fn remembered_body(&self, fields: &Fields<'_>) -> Option<PathAttributes> {
        let last = self.last.as_ref()?;
        let key = if last.verbatim { last.attrs.octets() } else { &self.key };
        (last.reach.is_none() && !fields.nlri.is_empty() && key == fields.attributes).then(|| last.attrs.clone())
    }

    /// Prefixes in MP_REACH_NLRI under the attributes and the next hop of last time.
    fn remembered_reach(&self, fields: &Fields<'_>, frame: &Bytes) -> Result<Option<(PathAttributes, NlriSet)>, DecodeError> {
        let Some(Last { attrs, reach: Some((cut, head, family)), .. }) = self.last.as_ref() else { return Ok(None) };
        if !fields.nlri.is_empty() {
            return Ok(None);
        }
        let same = || {
            let (start, value, end) = find_reach(fields.attributes)?;
            let (before, after) = (fields.attributes.get(..start)?, fields.attributes.get(end..)?);
            let (head, nlri) = fields.attributes.get(value..end)?.split_at_checked(*head)?;
            let key = self.key.split_at_checked(*cut)?;
            let rest = key.1.strip_prefix(after)?;
            (key.0 == before && rest == head && !nlri.is_empty()).then_some(nlri)
        };
        let Some(nlri) = same() else { return Ok(None) };
        let add_path = self.ctx.add_path.contains(*family);
        check(nlri, NlriField::MpReach, *family, add_path, frame)?;
        Ok(Some((attrs.clone(), NlriSet::checked(frame.slice_ref(nlri), *family, add_path))))
    }

    /// What an UPDATE comes to that is more, or less, than prefixes in the body under a set without a fault.
    #[inline(never)]
    fn weighed(&mut self, fields: &Fields<'_>, mut block: Block<'_>, frame: &Bytes) -> Result<Update, DecodeError> {
        if let Some(at) = block.errors.iter().position(|e| e.severity() == Severity::Reset) {
            return Err(block.errors.swap_remove(at));
        }
        let mut update = Update { withdrawn: self.withdrawn(fields, frame), ..Update::default() };
        self.unreach(&block, frame, &mut update)?;
        let in_body = self.ctx.families.contains(Family::Ipv4Unicast) && !fields.nlri.is_empty();
        let reach = block.reach.and_then(|r| Some((r.family?, r.next_hop, r.nlri)));
        if let Some((family, _, nlri)) = reach {
            check(nlri, NlriField::MpReach, family, self.ctx.add_path.contains(family), frame)?;
        }
        let reach = reach.filter(|(_, _, nlri)| !nlri.is_empty());
        if in_body || reach.is_some() {
            missing(&mut block, in_body);
        }
        if !in_body {
            spare_next_hop(&mut block.errors);
        }
        let names_something = !fields.nlri.is_empty() || block.reach.is_some_and(|r| !r.nlri.is_empty());
        let withdraw = self.weigh(&block, names_something)?;
        if let Some((family, next_hop, nlri)) = reach {
            let attrs = self.set(fields, &block, Some(next_hop).filter(|_| !withdraw), family);
            let nlri = NlriSet::checked(frame.slice_ref(nlri), family, self.ctx.add_path.contains(family));
            update.announced.push(Announced { nlri, attrs });
        }
        if in_body {
            let attrs = self.set(fields, &block, block.body_next_hop().filter(|_| !withdraw), Family::Ipv4Unicast);
            let add_path = self.ctx.add_path.contains(Family::Ipv4Unicast);
            update.announced.push(body(frame.clone(), fields.nlri_at, add_path, attrs));
        }
        update.end_of_rib = self.end_of_rib(&block, fields);
        if !block.errors.is_empty() {
            update.errors = Some(Box::new(Malformed { errors: block.errors, message: frame.clone() }));
        }
        Ok(update)
    }

    /// The set for prefixes with this next hop, remembered.
    fn set(&mut self, fields: &Fields<'_>, block: &Block<'_>, next_hop: Option<NextHop>, family: Family) -> Option<PathAttributes> {
        let attrs = block.assemble(next_hop?);
        self.remember(fields, block, &attrs, family);
        Some(attrs)
    }

    /// What the Withdrawn Routes field takes back, if the session looks at it.
    #[inline]
    fn withdrawn(&self, fields: &Fields<'_>, frame: &Bytes) -> SmallVec<[NlriSet; 1]> {
        if fields.withdrawn.is_empty() || !self.ctx.families.contains(Family::Ipv4Unicast) {
            return SmallVec::new();
        }
        let add_path = self.ctx.add_path.contains(Family::Ipv4Unicast);
        [NlriSet::checked(frame.slice_ref(fields.withdrawn), Family::Ipv4Unicast, add_path)].into()
    }

    fn unreach(&self, block: &Block<'_>, frame: &Bytes, update: &mut Update) -> Result<(), DecodeError> {
        let Some((Some(family), nlri)) = block.unreach else { return Ok(()) };
        let add_path = self.ctx.add_path.contains(family);
        check(nlri, NlriField::MpUnreach, family, add_path, frame)?;
        if !nlri.is_empty() {
            update.withdrawn.push(NlriSet::checked(frame.slice_ref(nlri), family, add_path));
        }
        Ok(())
    }

    /// Whether the routes are to be withdrawn; RFC 7606 §5.2 makes that a reset where no route is named.
    fn weigh(&self, block: &Block<'_>, names_something: bool) -> Result<bool, DecodeError> {
        let Some(worst) = strongest(&block.errors) else { return Ok(false) };
        if worst.severity() < Severity::Withdraw {
            return Ok(false);
        }
        if !names_something && !block.only_unreach() {
            return Err(DecodeError::NothingToWithdraw(Box::new(worst.clone())));
        }
        Ok(true)
    }

    /// RFC 4724 §2.
    fn end_of_rib(&self, block: &Block<'_>, fields: &Fields<'_>) -> Option<Family> {
        if !fields.withdrawn.is_empty() || !fields.nlri.is_empty() || !block.only_unreach() || !block.errors.is_empty() {
            return None;
        }
        match block.unreach {
            Some((family, nlri)) => family.filter(|_| nlri.is_empty()),
            None => Some(Family::Ipv4Unicast).filter(|f| self.ctx.families.contains(*f)),
        }
    }

    /// Keeps a faultless block that says one thing.
    #[inline]
    fn remember(&mut self, fields: &Fields<'_>, block: &Block<'_>, attrs: &PathAttributes, family: Family) {
        if !block.errors.is_empty() || block.unreach.is_some() {
            return;
        }
        let (verbatim, reach) = match block.reach {
            None if block.is_verbatim() => (true, None),
            None => {
                self.key.clear();
                self.key.extend_from_slice(fields.attributes);
                (false, None)
            }
            Some(reach) if fields.nlri.is_empty() => match self.remember_reach(fields, reach.nlri.len(), family) {
                Some(reach) => (false, Some(reach)),
                None => return,
            },
            Some(_) => return,
        };
        self.last = Some(Last { attrs: attrs.clone(), verbatim, reach });
    }

    /// The block without the prefixes: what stands before MP_REACH_NLRI, what stands after it, and its head.
    fn remember_reach(&mut self, fields: &Fields<'_>, nlri: usize, family: Family) -> Option<(usize, usize, Family)> {
        let (start, value, end) = find_reach(fields.attributes)?;
        let head = end.checked_sub(value)?.checked_sub(nlri)?;
        let (before, after) = (fields.attributes.get(..start)?, fields.attributes.get(end..)?);
        let head_octets = fields.attributes.get(value..)?.get(..head)?;
        self.key.clear();
        [before, after, head_octets].iter().for_each(|part| self.key.extend_from_slice(part));
        Some((start, head, family))
    }
}

impl<'a> Fields<'a> {
    /// RFC 7606 §3(b), §4: by the two lengths alone.
    #[inline]
    fn cut(frame: &'a [u8]) -> Result<Fields<'a>, DecodeError> {
        let mut r = Reader::new(frame.get(HEADER_LEN..).unwrap_or_default());
        let withdrawn_len = r.u16().unwrap_or(u16::MAX);
        let withdrawn = r.take(usize::from(withdrawn_len));
        let attributes_len = r.u16().unwrap_or_default();
        let attributes_at = frame.len().saturating_sub(r.len());
        let attributes = r.take(usize::from(attributes_len));
        let nlri_at = frame.len().saturating_sub(r.len());
        match (withdrawn, attributes) {
            // The second length field itself must be there.
            (Some(withdrawn), Some(attributes)) if nlri_at >= withdrawn.len().saturating_add(attributes.len()).saturating_add(23) => {
                Ok(Fields { withdrawn, attributes, attributes_at, nlri: r.rest(), nlri_at })
            }
            _ => Err(DecodeError::UpdateLengths { withdrawn: withdrawn_len, attributes: attributes_len }),
        }
    }
}

/// Prefixes of a family that is not read: what an UPDATE says beside the [`Update`] that was made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// MP_REACH_NLRI or MP_UNREACH_NLRI.
    pub code: AttrCode,
    /// Address family.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
    /// The length of the attribute's value.
    pub octets: usize,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}, {} octets, not read", self.code, FamilyName(self.afi, u16::from(self.safi)), self.octets)
    }
}

/// What in this message is of families that `ctx` does not read. For people; the decoder passes over it without a look.
pub fn unread(frame: &[u8], ctx: &Context) -> Vec<Unread> {
    let one = |attribute: RawAttribute<'_>| {
        let mp = matches!(attribute.code, AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI);
        let (_, (afi, safi)) = (be_u16, be_u8).parse_complete(attribute.value).ok().filter(|_| mp)?;
        let read = Family::from_codes(afi, safi).is_some_and(|family| ctx.families.contains(family));
        (!read).then_some(Unread { code: attribute.code, afi, safi, octets: attribute.value.len() })
    };
    let fields = Fields::cut(frame).ok().filter(|_| frame.get(18) == Some(&header::UPDATE));
    fields.map_or_else(Vec::new, |fields| raw(fields.attributes).filter_map(one).collect())
}

/// The frame itself becomes the run of prefixes: nothing is counted up or down.
#[inline]
fn body(mut frame: Bytes, nlri_at: usize, add_path: bool, attrs: Option<PathAttributes>) -> Announced {
    frame.advance(nlri_at.min(frame.len()));
    Announced { nlri: NlriSet::checked(frame, Family::Ipv4Unicast, add_path), attrs }
}

#[inline]
fn check(octets: &[u8], field: NlriField, family: Family, add_path: bool, frame: &Bytes) -> Result<(), DecodeError> {
    NlriSet::check(octets, family, add_path).map_err(|at| {
        let start = (octets.as_ptr() as usize).saturating_sub(frame.as_ptr() as usize);
        DecodeError::Nlri { field, family, offset: u16::try_from(start.saturating_add(at)).unwrap_or(u16::MAX) }
    })
}

/// RFC 4760 §3: beside MP_REACH_NLRI alone NEXT_HOP is to be ignored, so it does not matter which host it names. (Its length does: RFC 7606 §7.3.)
fn spare_next_hop(errors: &mut [DecodeError]) {
    for error in errors {
        if let DecodeError::Attribute(AttributeError { code: AttrCode::NEXT_HOP, fault: Fault::Address, severity, .. }) = error {
            *severity = Severity::Discard;
        }
    }
}

/// RFC 7606 §3(d). What was there but malformed is not missing.
fn missing(block: &mut Block<'_>, body: bool) {
    for code in [AttrCode::ORIGIN, AttrCode::AS_PATH, AttrCode::NEXT_HOP] {
        if !block.has_seen(code) && (body || code != AttrCode::NEXT_HOP) {
            block.errors.push(DecodeError::MissingAttribute(code));
        }
    }
}
