//! From prefixes and attributes to octets, filled to the length that both sides agreed to.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::Update;
use crate::num::{Family, Nlri};
use crate::wire::attr::{AttrCode, NextHop, OPTIONAL, PathAttributes, TRANSITIVE, aggregator, as4_path, mp_reach, put_header, row};
use crate::wire::context::Context;
use crate::wire::header::{self, HEADER_LEN};
use crate::wire::nlri::{self, NlriSet};

/// Header and the two length fields.
const FIXED: usize = HEADER_LEN + 4;

/// Packs prefixes of one family that share `attrs` into as few messages as `ctx.max_len` allows; answers how many.
///
/// IPv4 with an IPv4 next hop goes into the body, everything else into MP_REACH_NLRI, which comes first (RFC 7606 §5.1). Prefixes of another family than the
/// first one's are left out, and so are prefixes that do not fit beside the attributes (RFC 4271 §9.2 has the caller not advertise such a route): if none
/// does, the answer is zero.
pub fn encode_reach(attrs: &PathAttributes, nlri: &[Nlri], ctx: &Context, out: &mut BytesMut) -> usize {
    let Some(family) = nlri.first().map(Nlri::family) else { return 0 };
    let body = family == Family::Ipv4Unicast && matches!(attrs.next_hop(), NextHop::V4(_));
    let block = attributes_for(attrs, body, ctx);
    let head = if body { 0 } else { mp_reach::head_len(family, attrs.next_hop()) };
    let fixed = FIXED.saturating_add(block.len());
    let add_path = ctx.add_path.contains(family);
    let room = if body { free(fixed, ctx) } else { free_in_mp(fixed, head, ctx) };
    messages(nlri, family, add_path, room, |run, len| {
        let start = header::begin(header::UPDATE, out);
        out.put_u16(0);
        if body {
            put_u16_len(block.len(), out);
            out.put_slice(&block);
        } else {
            let value = head.saturating_add(len);
            put_u16_len(block.len().saturating_add(mp_header_len(value)).saturating_add(value), out);
            put_header(AttrCode::MP_REACH_NLRI.0, OPTIONAL, value, out);
            mp_reach::put_head(family, attrs.next_hop(), out);
        }
        put_run(run, family, add_path, out);
        if !body {
            out.put_slice(&block);
        }
        header::end(start, out);
    })
}

/// Packs withdrawn prefixes of one family: IPv4 in the body, IPv6 in MP_UNREACH_NLRI. Answers how many messages.
pub fn encode_unreach(nlri: &[Nlri], ctx: &Context, out: &mut BytesMut) -> usize {
    let Some(family) = nlri.first().map(Nlri::family) else { return 0 };
    let body = family == Family::Ipv4Unicast;
    let add_path = ctx.add_path.contains(family);
    let room = if body { free(FIXED, ctx) } else { free_in_mp(FIXED, 3, ctx) };
    messages(nlri, family, add_path, room, |run, len| {
        let start = header::begin(header::UPDATE, out);
        if body {
            put_u16_len(len, out);
            put_run(run, family, add_path, out);
            out.put_u16(0);
        } else {
            out.put_u16(0);
            let value = len.saturating_add(3);
            put_u16_len(mp_header_len(value).saturating_add(value), out);
            put_unreach_head(family, value, out);
            put_run(run, family, add_path, out);
        }
        header::end(start, out);
    })
}

/// The marker of RFC 4724 §2.
pub fn encode_end_of_rib(family: Family, out: &mut BytesMut) {
    header::write_message(header::UPDATE, out, |out| {
        out.put_u16(0);
        match family {
            Family::Ipv4Unicast => out.put_u16(0),
            Family::Ipv6Unicast => {
                out.put_u16(6);
                put_unreach_head(family, 3, out);
            }
        }
    });
}

impl Update {
    /// Appends this UPDATE and answers how many messages it took: one if the fields allow it and it fits, else one for each run of prefixes, cut as needed.
    /// What is treated as withdrawn is written as withdrawn. An UPDATE that says nothing makes no message: without a prefix it would be an End-of-RIB.
    pub fn encode(&self, ctx: &Context, out: &mut BytesMut) -> usize {
        if let Some(family) = self.end_of_rib {
            encode_end_of_rib(family, out);
            return 1;
        }
        if self.is_empty() {
            return 0;
        }
        let start = out.len();
        if self.encode_whole(ctx, out).is_some() && out.len().saturating_sub(start) <= usize::from(ctx.max_len) {
            return 1;
        }
        out.truncate(start);
        let mut count = 0usize;
        let withdraw = |set: &NlriSet, out: &mut BytesMut| encode_unreach(&set.iter().collect::<Vec<_>>(), ctx, out);
        for set in &self.withdrawn {
            count = count.saturating_add(withdraw(set, out));
        }
        for announced in &self.announced {
            count = count.saturating_add(match &announced.attrs {
                None => withdraw(&announced.nlri, out),
                Some(attrs) => encode_reach(attrs, &announced.nlri.iter().collect::<Vec<_>>(), ctx, out),
            });
        }
        count
    }

    /// All in one message: at most one run each of withdrawn in the body, MP_UNREACH_NLRI, and announced.
    fn encode_whole(&self, ctx: &Context, out: &mut BytesMut) -> Option<()> {
        let announced = match &self.announced[..] {
            [] => None,
            [one] => Some((&one.nlri, one.attrs.as_ref()?)),
            _ => return None,
        };
        let only = |family| {
            let mut sets = self.withdrawn.iter().filter(move |s| s.family() == family);
            sets.next().map_or(Some(None), |set| sets.next().is_none().then_some(Some(set)))
        };
        let (v4, v6) = (only(Family::Ipv4Unicast)?, only(Family::Ipv6Unicast)?);
        let start = header::begin(header::UPDATE, out);
        let withdrawn_at = out.len();
        out.put_u16(0);
        if let Some(set) = v4 {
            set.put(ctx.add_path.contains(Family::Ipv4Unicast), out);
            patch_len(withdrawn_at, out);
        }
        let attributes_at = out.len();
        out.put_u16(0);
        let body = announced.filter(|(nlri, attrs)| nlri.family() == Family::Ipv4Unicast && matches!(attrs.next_hop(), NextHop::V4(_)));
        if let Some((nlri, attrs)) = announced.filter(|_| body.is_none()) {
            let mut head = BytesMut::new();
            mp_reach::put_head(nlri.family(), attrs.next_hop(), &mut head);
            put_mp(AttrCode::MP_REACH_NLRI, &head, nlri, ctx, out);
        }
        if let Some(set) = v6 {
            put_mp(AttrCode::MP_UNREACH_NLRI, &[0, 2, 1], set, ctx, out);
        }
        if let Some((_, attrs)) = announced {
            out.put_slice(&attributes_for(attrs, body.is_some(), ctx));
        }
        patch_len(attributes_at, out);
        if let Some((nlri, _)) = body {
            nlri.put(ctx.add_path.contains(Family::Ipv4Unicast), out);
        }
        header::end(start, out);
        Some(())
    }
}

/// How many octets of prefixes have room in the body beside `fixed` others.
fn free(fixed: usize, ctx: &Context) -> usize {
    usize::from(ctx.max_len).saturating_sub(fixed)
}

/// The same in an MP attribute, whose own header takes four octets, or three before a value of at most 255 (`head` and the prefixes).
fn free_in_mp(fixed: usize, head: usize, ctx: &Context) -> usize {
    let room = free(fixed.saturating_add(head).saturating_add(3), ctx);
    if head.saturating_add(room) > 255 { room.saturating_sub(1) } else { room }
}

/// Cuts `nlri` into runs of at most `room` octets and has each one written. A prefix that is longer alone is left out.
fn messages(nlri: &[Nlri], family: Family, add_path: bool, room: usize, mut write: impl FnMut(&[Nlri], usize)) -> usize {
    let (mut count, mut rest) = (0usize, nlri);
    loop {
        let mut len = 0usize;
        let fitting = rest.iter().take_while(|n| {
            let longer = if n.family() == family { len.saturating_add(nlri::encoded_len(n, add_path)) } else { len };
            let fits = longer <= room;
            len = if fits { longer } else { len };
            fits
        });
        let fitting = fitting.count();
        let Some((run, later)) = rest.split_at_checked(fitting.max(1)) else { return count };
        if len > 0 {
            write(run, len);
            count = count.saturating_add(1);
        }
        rest = later;
    }
}

fn put_run(run: &[Nlri], family: Family, add_path: bool, out: &mut BytesMut) {
    run.iter().filter(|n| n.family() == family).for_each(|n| nlri::put(n, add_path, out));
}

/// The attribute block for a session: as kept where AS numbers have four octets, rewritten where not (RFC 6793 §4.2.2).
fn attributes_for<'a>(attrs: &'a PathAttributes, body: bool, ctx: &Context) -> Cow<'a, [u8]> {
    let spare_next_hop = !body && attrs.has(AttrCode::NEXT_HOP);
    if ctx.four_octet_as && !spare_next_hop {
        return Cow::Borrowed(attrs.octets());
    }
    let mut octets = Vec::with_capacity(attrs.octets().len().saturating_add(32));
    let mut narrow = if ctx.four_octet_as { Vec::new() } else { old_world(attrs) };
    narrow.reverse();
    for attribute in attrs.attributes().filter(|a| !(spare_next_hop && a.code == AttrCode::NEXT_HOP)) {
        while let Some((code, value)) = narrow.pop_if(|(code, _)| *code < attribute.code) {
            put_attribute(code, OPTIONAL | TRANSITIVE, &value, &mut octets);
        }
        let mut value = BytesMut::new();
        match row(attribute.code) {
            Some(row) => (row.encode)(attribute.value, ctx, &mut value),
            None => value.put_slice(attribute.value),
        }
        put_attribute(attribute.code, attribute.flags, &value, &mut octets);
    }
    while let Some((code, value)) = narrow.pop() {
        put_attribute(code, OPTIONAL | TRANSITIVE, &value, &mut octets);
    }
    Cow::Owned(octets)
}

/// AS4_PATH and AS4_AGGREGATOR, where numbers would be lost without them.
fn old_world(attrs: &PathAttributes) -> Vec<(AttrCode, BytesMut)> {
    let path = as4_path::for_old_speaker(attrs.as_path()).map(|value| (AttrCode::AS4_PATH, value));
    let aggregator = attrs.aggregator().filter(|a| a.asn.0 > u32::from(u16::MAX));
    let aggregator = aggregator.map(|a| (AttrCode::AS4_AGGREGATOR, BytesMut::from(&aggregator::Aggregator::octets(a)[..])));
    path.into_iter().chain(aggregator).collect()
}

fn put_attribute(code: AttrCode, flags: u8, value: &[u8], octets: &mut Vec<u8>) {
    put_header(code.0, flags, value.len(), octets);
    octets.extend_from_slice(value);
}

/// Flags, code, length; two octets of length where one is too short.
fn mp_header_len(value: usize) -> usize {
    if value > 255 { 4 } else { 3 }
}

fn put_unreach_head(family: Family, value: usize, out: &mut BytesMut) {
    put_header(AttrCode::MP_UNREACH_NLRI.0, OPTIONAL, value, out);
    out.put_u16(family.afi());
    out.put_u8(family.safi());
}

/// A whole MP attribute.
fn put_mp(code: AttrCode, head: &[u8], set: &NlriSet, ctx: &Context, out: &mut BytesMut) {
    let mut prefixes = BytesMut::new();
    set.put(ctx.add_path.contains(set.family()), &mut prefixes);
    put_header(code.0, OPTIONAL, head.len().saturating_add(prefixes.len()), out);
    out.put_slice(head);
    out.put_slice(&prefixes);
}

fn put_u16_len(len: usize, out: &mut BytesMut) {
    out.put_u16(u16::try_from(len).unwrap_or(u16::MAX));
}

/// The length of what was written after the field at `at`, into that field.
fn patch_len(at: usize, out: &mut BytesMut) {
    let len = out.len().saturating_sub(at).saturating_sub(2);
    header::put_u16_at(out, at, u16::try_from(len).unwrap_or(u16::MAX));
}
