//! Captures: pcap (with micro- or nanoseconds, either byte order) and pcapng.

use std::io::{self, BufRead, Read, Write};

use super::DecodeFileError;
use super::packet::segment;
use super::show::{Origin, Printer};
use super::tcp::Connections;
use crate::wire::Context;

/// A block that is longer is no capture of a network.
const MAX_BLOCK: u32 = 1 << 24;

/// Reads numbers in the byte order of the file, and counts.
struct Input<R> {
    inner: R,
    at: u64,
    little: bool,
}

impl<R: Read> Input<R> {
    /// As many octets; `None` if the input ends before the first of them.
    fn take(&mut self, n: usize) -> Result<Option<Vec<u8>>, DecodeFileError> {
        let mut octets = Vec::new();
        let got = self.inner.by_ref().take(n as u64).read_to_end(&mut octets)?;
        let start = self.at;
        self.at = self.at.saturating_add(got as u64);
        match got {
            0 if n > 0 => Ok(None),
            got if got < n => Err(DecodeFileError::Malformed { what: "the capture ends in the middle of a packet", at: start }),
            _ => Ok(Some(octets)),
        }
    }

    fn u32(&self, octets: &[u8], at: usize) -> u32 {
        let word = octets.get(at..).and_then(|o| o.first_chunk::<4>()).copied().unwrap_or_default();
        if self.little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
    }

    fn u16(&self, octets: &[u8], at: usize) -> u16 {
        let word = octets.get(at..).and_then(|o| o.first_chunk::<2>()).copied().unwrap_or_default();
        if self.little { u16::from_le_bytes(word) } else { u16::from_be_bytes(word) }
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, DecodeFileError> {
        Err(DecodeFileError::Malformed { what, at: self.at })
    }
}

/// Hands packets to the connections.
struct Packets<'a, W: Write> {
    connections: Connections,
    printer: &'a mut Printer<W>,
    number: u64,
}

impl<W: Write> Packets<'_, W> {
    fn packet(&mut self, link: u32, time: u64, frame: &[u8]) -> io::Result<()> {
        self.number = self.number.saturating_add(1);
        let Some(segment) = segment(link, frame) else { return Ok(()) };
        let origin =
            Origin { time: Some(time), from: Some(segment.from), to: Some(segment.to), packet: Some(self.number), ..Origin::default() };
        self.connections.segment(&segment, &origin, self.printer)
    }
}

pub(super) fn decode(input: impl BufRead, printer: &mut Printer<impl Write>, ctx: &Context) -> Result<(), DecodeFileError> {
    let mut input = Input { inner: input, at: 0, little: false };
    let mut packets = Packets { connections: Connections::new(ctx), printer, number: 0 };
    let Some(magic) = input.take(4)? else { return Ok(()) };
    match magic[..] {
        [0x0a, 0x0d, 0x0d, 0x0a] => blocks(&mut input, &mut packets),
        [0xa1, 0xb2, 0xc3, 0xd4] => classic(&mut input, &mut packets, 1000),
        [0xa1, 0xb2, 0x3c, 0x4d] => classic(&mut input, &mut packets, 1),
        [0xd4, 0xc3, 0xb2, 0xa1] => {
            input.little = true;
            classic(&mut input, &mut packets, 1000)
        }
        [0x4d, 0x3c, 0xb2, 0xa1] => {
            input.little = true;
            classic(&mut input, &mut packets, 1)
        }
        _ => input.malformed("not a capture after all"),
    }
}

/// The old format: one header, then packets. `unit` is the nanoseconds of the fraction.
fn classic<R: Read, W: Write>(input: &mut Input<R>, packets: &mut Packets<'_, W>, unit: u64) -> Result<(), DecodeFileError> {
    let Some(header) = input.take(20)? else { return input.malformed("the capture ends in its header") };
    let link = input.u32(&header, 16) & 0xffff;
    while let Some(head) = input.take(16)? {
        let (seconds, fraction, len) = (input.u32(&head, 0), input.u32(&head, 4), input.u32(&head, 8));
        if len > MAX_BLOCK {
            return input.malformed("a packet of impossible length");
        }
        let Some(frame) = input.take(len as usize)? else {
            if len == 0 {
                continue;
            }
            return input.malformed("the capture ends in the middle of a packet");
        };
        let time = u64::from(seconds).saturating_mul(1_000_000_000).saturating_add(u64::from(fraction).saturating_mul(unit));
        packets.packet(link, time, &frame)?;
    }
    Ok(())
}

/// One interface of a pcapng section: link type and nanoseconds of a tick (as a fraction: ticks a second).
struct Interface {
    link: u32,
    ticks: u64,
}

/// pcapng: sections, interfaces, packets; other blocks are stepped over.
fn blocks<R: Read, W: Write>(input: &mut Input<R>, packets: &mut Packets<'_, W>) -> Result<(), DecodeFileError> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut kind = Some(0x0a0d_0d0a);
    while let Some(block) = kind {
        let Some(len) = input.take(4)? else { return input.malformed("the capture ends in the head of a block") };
        let body = if block == 0x0a0d_0d0a {
            interfaces.clear();
            section(input, &len)?
        } else {
            let len = input.u32(&len, 0);
            body(input, len, 8)?
        };
        match block {
            1 => interfaces.push(interface(input, &body)),
            6 => enhanced(input, &interfaces, packets, &body)?,
            3 => {
                if let (Some(interface), Some(frame)) = (interfaces.first(), body.get(4..)) {
                    packets.packet(interface.link, 0, frame)?;
                }
            }
            _ => {}
        }
        kind = input.take(4)?.map(|k| input.u32(&k, 0));
    }
    Ok(())
}

/// A section header says the byte order, of its own length too.
fn section<R: Read>(input: &mut Input<R>, len: &[u8]) -> Result<Vec<u8>, DecodeFileError> {
    let Some(order) = input.take(4)? else { return input.malformed("the capture ends in a section header") };
    input.little = match order[..] {
        [0x1a, 0x2b, 0x3c, 0x4d] => false,
        [0x4d, 0x3c, 0x2b, 0x1a] => true,
        _ => return input.malformed("a section without its byte order"),
    };
    let len = input.u32(len, 0);
    body(input, len, 12)
}

/// The rest of a block of `len` octets of which `before` were read, without the length at its end.
fn body<R: Read>(input: &mut Input<R>, len: u32, before: u32) -> Result<Vec<u8>, DecodeFileError> {
    let rest = len.checked_sub(before).and_then(|n| n.checked_sub(4)).filter(|_| len <= MAX_BLOCK && len.is_multiple_of(4));
    let Some(rest) = rest else { return input.malformed("a block of impossible length") };
    let octets = if rest == 0 { Some(Vec::new()) } else { input.take(rest as usize)? };
    match (octets, input.take(4)?) {
        (Some(octets), Some(again)) if input.u32(&again, 0) == len => Ok(octets),
        _ => input.malformed("a block whose two lengths differ"),
    }
}

fn interface<R: Read>(input: &Input<R>, body: &[u8]) -> Interface {
    let link = u32::from(input.u16(body, 0));
    let mut options = body.get(8..).unwrap_or_default();
    let mut ticks = 1_000_000;
    while let Some(head) = options.get(..4) {
        let (code, len) = (input.u16(head, 0), usize::from(input.u16(head, 2)));
        if let (9, Some(value)) = (code, options.get(4)) {
            let base: u64 = if value & 0x80 == 0 { 10 } else { 2 };
            ticks = base.checked_pow(u32::from(value & 0x7f)).unwrap_or(1_000_000);
        }
        let Some(rest) = len.checked_next_multiple_of(4).and_then(|n| n.checked_add(4)).and_then(|n| options.get(n..)) else { break };
        options = rest;
    }
    Interface { link, ticks: ticks.max(1) }
}

fn enhanced<R: Read, W: Write>(
    input: &Input<R>,
    interfaces: &[Interface],
    packets: &mut Packets<'_, W>,
    body: &[u8],
) -> Result<(), DecodeFileError> {
    let number = input.u32(body, 0) as usize;
    let ticks = (u64::from(input.u32(body, 4)) << 32) | u64::from(input.u32(body, 8));
    let len = input.u32(body, 12) as usize;
    let frame = body.get(20..).and_then(|b| b.get(..len));
    let (Some(interface), Some(frame)) = (interfaces.get(number), frame) else {
        return input.malformed("a packet that is longer than its block, or of no interface");
    };
    let nanos = u128::from(ticks).saturating_mul(1_000_000_000) / u128::from(interface.ticks);
    Ok(packets.packet(interface.link, u64::try_from(nanos).unwrap_or(u64::MAX), frame)?)
}
