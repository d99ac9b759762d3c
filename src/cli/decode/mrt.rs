//! MRT files (RFC 6396, RFC 8050): tables (TABLE_DUMP_V2, and TABLE_DUMP of before 2009) and messages (BGP4MP), each record one line of output or more.
//!
//! A table entry is shown as the UPDATE that it came from: attributes and prefix are put into one, so that the one decoder judges it. (Crates that read MRT
//! read the messages too, and hand on what they made of them; here the octets are wanted.)
//!
//! The width of AS numbers stands in each record. Whether prefixes carry a path identifier does too, by RFC 8050; writers that do not know it leave that to
//! the two OPENs, which are remembered.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{cond, consumed};
use nom::multi::{length_count, length_data};

use super::show::{Origin, Printer};
use super::{DecodeFileError, agreed};
use crate::num::FamilySet;
use crate::wire::read::{Read, Stop, array, be_u8, be_u16, be_u32, position};
use crate::wire::{Context, Decoder, Message, Open};

/// A record that is longer is no MRT.
const MAX_RECORD: u32 = 1 << 24;
/// Sessions whose OPENs are remembered at a time.
const MAX_SESSIONS: usize = 65_536;
const TABLE_DUMP: u16 = 12;
const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;
const BGP4MP_ET: u16 = 17;

/// Why a record was not shown to its end.
enum Trouble<'a> {
    Record(nom::Err<Stop<'a>>),
    Output(io::Error),
}

impl<'a> From<nom::Err<Stop<'a>>> for Trouble<'a> {
    fn from(stop: nom::Err<Stop<'a>>) -> Trouble<'a> {
        Trouble::Record(stop)
    }
}

impl From<io::Error> for Trouble<'_> {
    fn from(error: io::Error) -> Self {
        Trouble::Output(error)
    }
}

/// A file as it is read.
struct Mrt<'a, W: Write> {
    printer: &'a mut Printer<W>,
    ctx: Context,
    decoder: Decoder,
    /// Of the PEER_INDEX_TABLE, as shown.
    peers: Vec<String>,
    /// By the addresses of peer and collector: the last OPEN of each.
    opens: HashMap<(IpAddr, IpAddr), [Option<Box<Open>>; 2]>,
}

pub(super) fn decode(mut input: impl BufRead, printer: &mut Printer<impl Write>, ctx: &Context) -> Result<(), DecodeFileError> {
    let mut mrt = Mrt { printer, ctx: ctx.clone(), decoder: Decoder::new(), peers: Vec::new(), opens: HashMap::new() };
    let mut at = 0u64;
    loop {
        let mut head = Vec::new();
        input.by_ref().take(12).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(());
        }
        let malformed = |what| DecodeFileError::Malformed { what, at };
        let parsed = (be_u32, be_u16, be_u16, be_u32).parse_complete(&head[..]);
        let (_, (time, kind, subtype, len)) = parsed.map_err(|_| malformed("the file ends in the head of a record"))?;
        if len > MAX_RECORD {
            return Err(malformed("a record of impossible length"));
        }
        let mut body = Vec::new();
        input.by_ref().take(u64::from(len)).read_to_end(&mut body)?;
        if body.len() != len as usize {
            return Err(malformed("the file ends in the middle of a record"));
        }
        let origin = Origin { time: Some(nanos(time)), offset: Some(at), ..Origin::default() };
        mrt.record(kind, subtype, &body, origin)?;
        at = at.saturating_add(12).saturating_add(u64::from(len));
    }
}

fn nanos(seconds: u32) -> u64 {
    u64::from(seconds).saturating_mul(1_000_000_000)
}

impl<W: Write> Mrt<'_, W> {
    /// Shows a record, or says that it cannot be read, and where.
    fn record(&mut self, kind: u16, subtype: u16, body: &[u8], origin: Origin) -> io::Result<()> {
        match self.known(kind, subtype, body, origin.clone()) {
            Ok(()) => Ok(()),
            Err(Trouble::Output(error)) => Err(error),
            Err(Trouble::Record(stop)) => {
                let at = position(body, stop);
                self.printer
                    .note(&origin, &format!("record of type {kind}, subtype {subtype} is malformed at octet {at} of {}", body.len()))
            }
        }
    }

    fn known<'b>(&mut self, kind: u16, subtype: u16, mut body: &'b [u8], mut origin: Origin) -> Result<(), Trouble<'b>> {
        if kind == BGP4MP_ET {
            let (rest, micros) = be_u32(body)?;
            body = rest;
            origin.time = origin.time.map(|t| t.saturating_add(u64::from(micros).saturating_mul(1000)));
        }
        match (kind, subtype) {
            (TABLE_DUMP, 1 | 2) => self.old_table(body, subtype == 2, &origin),
            (TABLE_DUMP_V2, 1) => self.peer_index(body, &origin),
            (TABLE_DUMP_V2, 2 | 8) => self.table(body, false, subtype == 8, &origin),
            (TABLE_DUMP_V2, 4 | 10) => self.table(body, true, subtype == 10, &origin),
            (BGP4MP | BGP4MP_ET, 0 | 5) => self.state_change(body, subtype == 5, &origin),
            (BGP4MP | BGP4MP_ET, 1 | 4 | 6..=11) => self.message(body, subtype, origin),
            _ => {
                let text = format!("record of type {kind}, subtype {subtype}, {} octets, passed over", body.len());
                Ok(self.printer.note(&origin, &text)?)
            }
        }
    }

    fn peer_index<'b>(&mut self, body: &'b [u8], origin: &Origin) -> Result<(), Trouble<'b>> {
        self.peers.clear();
        let (_, (collector, _name, peers)) = (array::<4>, length_data(be_u16), length_count(be_u16, index_peer)).parse_complete(body)?;
        self.peers = peers;
        let text = format!("table of collector {}, {} peers", Ipv4Addr::from(collector), self.peers.len());
        Ok(self.printer.note(origin, &text)?)
    }

    /// RFC 6396 §4.3.2, RFC 8050 §4: one prefix, an entry for each peer that has it.
    fn table<'b>(&mut self, body: &'b [u8], v6: bool, add_path: bool, origin: &Origin) -> Result<(), Trouble<'b>> {
        let (mut entries, (_sequence, (prefix, _), count)) = (be_u32, consumed(prefix), be_u16).parse_complete(body)?;
        let ctx = Context { four_octet_as: true, add_path: if add_path { FamilySet::ALL } else { FamilySet::NONE }, ..self.ctx.clone() };
        for _ in 0..count {
            let (rest, (peer, time, id, attributes)) =
                (be_u16, be_u32, cond(add_path, array::<4>), length_data(be_u16)).parse_complete(entries)?;
            entries = rest;
            let nlri = [id.as_ref().map_or(&[][..], |id| &id[..]), prefix].concat();
            let peer = self.peers.get(usize::from(peer)).cloned().unwrap_or_else(|| format!("number {peer}"));
            self.entry(attributes, &nlri, v6, Origin { peer: Some(peer), time: Some(nanos(time)), ..origin.clone() }, &ctx)?;
        }
        Ok(())
    }

    /// RFC 6396 §4.2: one route, with AS numbers of two octets.
    fn old_table<'b>(&mut self, body: &'b [u8], v6: bool, origin: &Origin) -> Result<(), Trouble<'b>> {
        let width = if v6 { 16usize } else { 4 };
        let head = (be_u16, be_u16, take(width), be_u8, be_u8, be_u32);
        let (body, (_view, _sequence, prefix, len, _status, time)) = { head }.parse_complete(body)?;
        let (body, peer) = address(v6, body)?;
        let (_, (peer_as, attributes)) = (be_u16, length_data(be_u16)).parse_complete(body)?;
        let nlri = [&[len][..], prefix.get(..usize::from(len.div_ceil(8))).unwrap_or(prefix)].concat();
        let ctx = Context { four_octet_as: false, add_path: FamilySet::NONE, ..self.ctx.clone() };
        let origin = Origin { peer: Some(format!("{peer} as {peer_as}")), time: Some(nanos(time)), ..origin.clone() };
        Ok(self.entry(attributes, &nlri, v6, origin, &ctx)?)
    }

    /// One route of a table.
    fn entry(&mut self, attributes: &[u8], nlri: &[u8], v6: bool, origin: Origin, ctx: &Context) -> io::Result<()> {
        match as_update(attributes, nlri, v6) {
            Some(frame) => self.show(&origin, &frame, ctx).map(drop),
            None => self.printer.note(&origin, "a route whose attributes are too long for a message"),
        }
    }

    /// Has one message judged and shown; what it was if it was an OPEN.
    fn show(&mut self, origin: &Origin, frame: &Bytes, ctx: &Context) -> io::Result<Option<Message>> {
        if self.decoder.context() != ctx {
            self.decoder.set_context(ctx.clone());
        }
        let result = self.decoder.decode(frame.clone());
        let session = result.as_ref().ok().filter(|m| matches!(m, Message::Open(_) | Message::Notification(_))).cloned();
        self.printer.message(origin, frame, result, ctx)?;
        Ok(session)
    }

    /// RFC 6396 §4.4.1.
    fn state_change<'b>(&mut self, body: &'b [u8], four: bool, origin: &Origin) -> Result<(), Trouble<'b>> {
        let (body, ends) = ends(four, body)?;
        let (_, (old, new)) = (be_u16, be_u16).parse_complete(body)?;
        if new == 1 {
            self.opens.remove(&(ends.peer, ends.local));
        }
        let name = |state: u16| {
            ["?", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"].get(usize::from(state)).copied().unwrap_or("?")
        };
        Ok(self.printer.note(origin, &format!("peer {} as {}: {} to {}", ends.peer, ends.peer_as, name(old), name(new)))?)
    }

    /// RFC 6396 §4.4.2 to §4.4.5, RFC 8050 §3.
    fn message<'b>(&mut self, body: &'b [u8], subtype: u16, mut origin: Origin) -> Result<(), Trouble<'b>> {
        let four = matches!(subtype, 4 | 7 | 9 | 11);
        let (frame, ends) = ends(four, body)?;
        let locally = matches!(subtype, 6 | 7 | 10 | 11);
        let (peer, local) = (SocketAddr::new(ends.peer, 179), SocketAddr::new(ends.local, 179));
        (origin.from, origin.to) = if locally { (Some(local), Some(peer)) } else { (Some(peer), Some(local)) };
        let ctx = self.context(&ends, four, subtype >= 8, locally);
        match self.show(&origin, &Bytes::copy_from_slice(frame), &ctx)? {
            Some(Message::Open(open)) => self.remember(&ends, locally, open),
            Some(Message::Notification(_)) => drop(self.opens.remove(&(ends.peer, ends.local))),
            _ => {}
        }
        Ok(())
    }

    /// As the record says, and as the OPENs agree where it says nothing.
    fn context(&self, ends: &Ends, four: bool, add_path: bool, locally: bool) -> Context {
        let opens = self.opens.get(&(ends.peer, ends.local));
        let said = opens.and_then(|[theirs, ours]| {
            let (theirs, ours) = (theirs.as_deref()?, ours.as_deref()?);
            Some(if locally { agreed(ours, theirs) } else { agreed(theirs, ours) })
        });
        let said = said.as_ref().unwrap_or(&self.ctx);
        Context {
            four_octet_as: four,
            add_path: if add_path { FamilySet::ALL } else { said.add_path },
            refresh_subtypes: said.refresh_subtypes,
            external: ends.peer_as != ends.local_as,
            ..self.ctx.clone()
        }
    }

    /// Some writers mark no message as their own: then an OPEN is theirs by its AS number, or as the second one in an AS.
    fn remember(&mut self, ends: &Ends, locally: bool, open: Box<Open>) {
        if self.opens.len() >= MAX_SESSIONS {
            self.opens.clear();
        }
        let [theirs, ours] = self.opens.entry((ends.peer, ends.local)).or_default();
        let by_number = ends.peer_as != ends.local_as && open.asn.0 == ends.local_as;
        let second = ends.peer_as == ends.local_as && theirs.as_ref().is_some_and(|t| t.router_id != open.router_id);
        *(if locally || by_number || second { ours } else { theirs }) = Some(open);
    }
}

/// What BGP4MP records begin with.
struct Ends {
    peer_as: u32,
    local_as: u32,
    peer: IpAddr,
    local: IpAddr,
}

fn ends(four: bool, octets: &[u8]) -> Read<'_, Ends> {
    let number = |octets| as_number(four, octets);
    let (octets, (peer_as, local_as, _interface, family)) = (number, number, be_u16, be_u16).parse_complete(octets)?;
    let addr = |octets| address(family == 2, octets);
    let (octets, (peer, local)) = (addr, addr).parse_complete(octets)?;
    Ok((octets, Ends { peer_as, local_as, peer, local }))
}

fn address(v6: bool, octets: &[u8]) -> Read<'_, IpAddr> {
    match v6 {
        true => array::<16>.map(|a| Ipv6Addr::from(a).into()).parse_complete(octets),
        false => array::<4>.map(|a| Ipv4Addr::from(a).into()).parse_complete(octets),
    }
}

fn as_number(four: bool, octets: &[u8]) -> Read<'_, u32> {
    if four { be_u32(octets) } else { be_u16.map(u32::from).parse_complete(octets) }
}

/// RFC 6396 §4.3.1: one peer, as it is shown.
fn index_peer(octets: &[u8]) -> Read<'_, String> {
    let (octets, (kind, id)) = (be_u8, array::<4>).parse_complete(octets)?;
    let (octets, addr) = address(kind & 1 != 0, octets)?;
    let (octets, asn) = as_number(kind & 2 != 0, octets)?;
    Ok((octets, format!("{addr} as {asn} id {}", Ipv4Addr::from(id))))
}

/// Length in bits, and as many octets as that needs.
fn prefix(octets: &[u8]) -> Read<'_, &[u8]> {
    length_data(be_u8.map(|bits| bits.div_ceil(8))).parse_complete(octets)
}

/// Flags, code and value.
fn attribute(octets: &[u8]) -> Read<'_, (u8, u8, &[u8])> {
    let (octets, (flags, code)) = (be_u8, be_u8).parse_complete(octets)?;
    let (octets, value) =
        if flags & 0x10 != 0 { length_data(be_u16).parse_complete(octets)? } else { length_data(be_u8).parse_complete(octets)? };
    Ok((octets, (flags, code, value)))
}

/// The UPDATE that would have brought this entry. In tables MP_REACH_NLRI holds only the next hop (RFC 6396 §4.3.4); `None` if all is too long for a message.
fn as_update(attributes: &[u8], nlri: &[u8], v6: bool) -> Option<Bytes> {
    let (mut block, mut left) = (BytesMut::with_capacity(attributes.len().saturating_add(64)), attributes);
    while !left.is_empty() {
        let Ok((after, (octets, (flags, code, value)))) = consumed(attribute).parse_complete(left) else {
            // What cannot be read is for the decoder to judge.
            block.put_slice(left);
            break;
        };
        left = after;
        if code == 14 {
            put_reach(flags, value, if v6 { nlri } else { &[] }, v6, &mut block)?;
        } else {
            block.put_slice(octets);
        }
    }
    let body = if v6 { &[][..] } else { nlri };
    let len = block.len().checked_add(body.len())?.checked_add(23)?;
    let mut frame = BytesMut::with_capacity(len);
    frame.put_slice(&[0xff; 16]);
    frame.put_u16(u16::try_from(len).ok()?);
    frame.put_u8(2);
    frame.put_u16(0);
    frame.put_u16(u16::try_from(block.len()).ok()?);
    frame.put_slice(&block);
    frame.put_slice(body);
    Some(frame.freeze())
}

/// MP_REACH_NLRI with the prefixes that a table leaves out; `value` is a next hop behind its length, in some files the whole attribute.
fn put_reach(flags: u8, value: &[u8], nlri: &[u8], v6: bool, block: &mut BytesMut) -> Option<()> {
    let hop = if value.first() == Some(&0) { value.get(3..) } else { Some(value) }.unwrap_or_default();
    let hop = hop.get(..usize::from(*hop.first().unwrap_or(&0)).saturating_add(1)).unwrap_or(hop);
    let len = hop.len().saturating_add(nlri.len()).saturating_add(4);
    block.put_slice(&[flags | 0x10, 14]);
    block.put_u16(u16::try_from(len).ok()?);
    block.put_slice(&[0, if v6 { 2 } else { 1 }, 1]);
    block.put_slice(hop);
    block.put_u8(0);
    block.put_slice(nlri);
    Some(())
}
