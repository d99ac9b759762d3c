//! MRT files (RFC 6396, RFC 8050): tables (TABLE_DUMP_V2) and messages (BGP4MP), each record one line of output or more.
//!
//! A table entry is shown as the UPDATE that it came from: attributes and prefix are put into one, so that the one decoder judges it.

use std::io::{BufRead, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

use super::DecodeFileError;
use super::show::{Origin, Printer};
use crate::num::FamilySet;
use crate::wire::{Context, Decoder};

/// A record that is longer is no MRT.
const MAX_RECORD: u32 = 1 << 24;
const TABLE_DUMP_V2: u16 = 13;
const BGP4MP: u16 = 16;
const BGP4MP_ET: u16 = 17;

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_be_bytes)
    }

    fn addr(&mut self, v6: bool) -> Option<IpAddr> {
        if v6 { self.number::<16>().map(|a| Ipv6Addr::from(a).into()) } else { self.number::<4>().map(|a| Ipv4Addr::from(a).into()) }
    }
}

/// A file as it is read.
struct Mrt<'a, W: Write> {
    printer: &'a mut Printer<W>,
    ctx: Context,
    decoder: Decoder,
    /// Of the PEER_INDEX_TABLE, as shown.
    peers: Vec<String>,
}

pub(super) fn decode(mut input: impl BufRead, printer: &mut Printer<impl Write>, ctx: &Context) -> Result<(), DecodeFileError> {
    let mut mrt = Mrt { printer, ctx: ctx.clone(), decoder: Decoder::new(), peers: Vec::new() };
    let mut at = 0u64;
    loop {
        let mut head = Vec::new();
        input.by_ref().take(12).read_to_end(&mut head)?;
        if head.is_empty() {
            return Ok(());
        }
        let mut fields = Fields(&head);
        let (Some(time), Some(kind), Some(subtype), Some(len)) = (fields.u32(), fields.u16(), fields.u16(), fields.u32()) else {
            return Err(DecodeFileError::Malformed { what: "the file ends in the head of a record", at });
        };
        if len > MAX_RECORD {
            return Err(DecodeFileError::Malformed { what: "a record of impossible length", at });
        }
        let mut body = Vec::new();
        input.by_ref().take(u64::from(len)).read_to_end(&mut body)?;
        if body.len() != len as usize {
            return Err(DecodeFileError::Malformed { what: "the file ends in the middle of a record", at });
        }
        let origin = Origin { time: Some(u64::from(time).saturating_mul(1_000_000_000)), offset: Some(at), ..Origin::default() };
        mrt.record(kind, subtype, &body, origin)?;
        at = at.saturating_add(12).saturating_add(u64::from(len));
    }
}

impl<W: Write> Mrt<'_, W> {
    fn record(&mut self, kind: u16, subtype: u16, body: &[u8], mut origin: Origin) -> Result<(), DecodeFileError> {
        let mut fields = Fields(body);
        if kind == BGP4MP_ET {
            let micros = fields.u32().unwrap_or_default();
            origin.time = origin.time.map(|t| t.saturating_add(u64::from(micros).saturating_mul(1000)));
        }
        let known = match (kind, subtype) {
            (TABLE_DUMP_V2, 1) => self.peer_index(&mut fields, &origin)?,
            (TABLE_DUMP_V2, 2 | 8) => self.table(&mut fields, false, subtype == 8, &origin)?,
            (TABLE_DUMP_V2, 4 | 10) => self.table(&mut fields, true, subtype == 10, &origin)?,
            (BGP4MP | BGP4MP_ET, 0 | 5) => self.state_change(&mut fields, subtype == 5, &origin)?,
            (BGP4MP | BGP4MP_ET, 1 | 4 | 6..=11) => self.message(&mut fields, subtype, origin.clone())?,
            _ => {
                self.printer.note(&origin, &format!("record of type {kind}, subtype {subtype}, passed over"))?;
                Some(())
            }
        };
        if known.is_none() {
            self.printer.note(&origin, &format!("record of type {kind}, subtype {subtype} is malformed"))?;
        }
        Ok(())
    }

    /// RFC 6396 §4.3.1.
    fn peer_index(&mut self, fields: &mut Fields<'_>, origin: &Origin) -> Result<Option<()>, DecodeFileError> {
        self.peers.clear();
        let mut read = || {
            let collector = Ipv4Addr::from(fields.number::<4>()?);
            let name = usize::from(fields.u16()?);
            fields.take(name)?;
            let count = fields.u16()?;
            for _ in 0..count {
                let kind = fields.u8()?;
                let id = Ipv4Addr::from(fields.number::<4>()?);
                let addr = fields.addr(kind & 1 != 0)?;
                let asn = if kind & 2 != 0 { fields.u32()? } else { u32::from(fields.u16()?) };
                self.peers.push(format!("{addr} as {asn} id {id}"));
            }
            Some(format!("table of collector {collector}, {count} peers"))
        };
        let Some(text) = read() else { return Ok(None) };
        self.printer.note(origin, &text)?;
        Ok(Some(()))
    }

    /// RFC 6396 §4.3.2, RFC 8050 §4: one prefix, an entry for each peer that has it.
    fn table(&mut self, fields: &mut Fields<'_>, v6: bool, add_path: bool, origin: &Origin) -> Result<Option<()>, DecodeFileError> {
        let prefix = |fields: &mut Fields<'_>| {
            fields.u32()?;
            let len = fields.u8()?;
            let octets = fields.take(usize::from(len.div_ceil(8)))?;
            Some(([&[len][..], octets].concat(), fields.u16()?))
        };
        let Some((prefix, count)) = prefix(fields) else { return Ok(None) };
        let ctx = Context { four_octet_as: true, add_path: if add_path { FamilySet::ALL } else { FamilySet::NONE }, ..self.ctx.clone() };
        if *self.decoder.context() != ctx {
            self.decoder.set_context(ctx.clone());
        }
        for _ in 0..count {
            let mut entry = || {
                let (peer, time) = (fields.u16()?, fields.u32()?);
                let id = if add_path { Some(fields.number::<4>()?) } else { None };
                let len = usize::from(fields.u16()?);
                Some((peer, time, id, fields.take(len)?))
            };
            let Some((peer, time, id, attributes)) = entry() else { return Ok(None) };
            let nlri = [id.as_ref().map_or(&[][..], |id| &id[..]), &prefix].concat();
            let Some(frame) = as_update(attributes, &nlri, v6) else { return Ok(None) };
            let peer = self.peers.get(usize::from(peer)).cloned().unwrap_or_else(|| format!("number {peer}"));
            let time = Some(u64::from(time).saturating_mul(1_000_000_000));
            let origin = Origin { peer: Some(peer), time, ..origin.clone() };
            let result = self.decoder.decode(frame.clone());
            self.printer.message(&origin, &frame, result, &ctx)?;
        }
        Ok(Some(()))
    }

    /// Peer and local AS, interface, family, peer and local address: what BGP4MP records begin with.
    fn ends(fields: &mut Fields<'_>, four: bool) -> Option<(u32, u32, IpAddr, IpAddr)> {
        let mut asn = || if four { fields.u32() } else { fields.u16().map(u32::from) };
        let (peer_as, local_as) = (asn()?, asn()?);
        fields.u16()?;
        let v6 = fields.u16()? == 2;
        Some((peer_as, local_as, fields.addr(v6)?, fields.addr(v6)?))
    }

    /// RFC 6396 §4.4.1.
    fn state_change(&mut self, fields: &mut Fields<'_>, four: bool, origin: &Origin) -> Result<Option<()>, DecodeFileError> {
        let Some((peer_as, _, peer, _)) = Self::ends(fields, four) else { return Ok(None) };
        let (Some(old), Some(new)) = (fields.u16(), fields.u16()) else { return Ok(None) };
        let name = |state: u16| {
            ["?", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"].get(usize::from(state)).copied().unwrap_or("?")
        };
        self.printer.note(origin, &format!("peer {peer} as {peer_as}: {} to {}", name(old), name(new)))?;
        Ok(Some(()))
    }

    /// RFC 6396 §4.4.2 to §4.4.5, RFC 8050 §3.
    fn message(&mut self, fields: &mut Fields<'_>, subtype: u16, mut origin: Origin) -> Result<Option<()>, DecodeFileError> {
        let four = matches!(subtype, 4 | 7 | 9 | 11);
        let Some((peer_as, local_as, peer, local)) = Self::ends(fields, four) else { return Ok(None) };
        let ctx = Context {
            four_octet_as: four,
            add_path: if subtype >= 8 { FamilySet::ALL } else { FamilySet::NONE },
            external: peer_as != local_as,
            ..self.ctx.clone()
        };
        if *self.decoder.context() != ctx {
            self.decoder.set_context(ctx.clone());
        }
        let (peer, local) = (SocketAddr::new(peer, 179), SocketAddr::new(local, 179));
        let locally = matches!(subtype, 6 | 7 | 10 | 11);
        (origin.from, origin.to) = if locally { (Some(local), Some(peer)) } else { (Some(peer), Some(local)) };
        let frame = Bytes::copy_from_slice(fields.0);
        let result = self.decoder.decode(frame.clone());
        self.printer.message(&origin, &frame, result, &ctx)?;
        Ok(Some(()))
    }
}

/// The UPDATE that would have brought this entry. In tables MP_REACH_NLRI holds only the next hop (RFC 6396 §4.3.4); `None` if all is too long for a message.
fn as_update(attributes: &[u8], nlri: &[u8], v6: bool) -> Option<Bytes> {
    let (mut block, mut fields) = (BytesMut::with_capacity(attributes.len().saturating_add(64)), Fields(attributes));
    while !fields.0.is_empty() {
        let whole = fields.0;
        let mut next = || {
            let (flags, code) = (fields.u8()?, fields.u8()?);
            let len = if flags & 0x10 != 0 { fields.u16()? } else { u16::from(fields.u8()?) };
            Some((flags, code, fields.take(usize::from(len))?))
        };
        match next() {
            Some((flags, 14, value)) => {
                let hop = if value.first() == Some(&0) { value.get(3..) } else { Some(value) }.unwrap_or_default();
                let hop = hop.get(..usize::from(*hop.first().unwrap_or(&0)).saturating_add(1)).unwrap_or(hop);
                let prefixes = if v6 { nlri } else { &[] };
                let len = hop.len().saturating_add(prefixes.len()).saturating_add(4);
                block.put_slice(&[flags | 0x10, 14]);
                block.put_u16(u16::try_from(len).ok()?);
                block.put_slice(&[0, if v6 { 2 } else { 1 }, 1]);
                block.put_slice(hop);
                block.put_u8(0);
                block.put_slice(prefixes);
            }
            Some(_) => block.put_slice(whole.get(..whole.len().saturating_sub(fields.0.len()))?),
            None => {
                block.put_slice(whole);
                break;
            }
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
