//! Captures: pcap (with micro- or nanoseconds, either byte order) and pcapng.
//!
//! Read here and not by a crate, because those at hand (`pcap-file`, `pcap-parser`) do not say at which octet of the file they stopped.

use std::io::{self, BufRead, Read as _, Write};

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::{opt, rest};
use nom::multi::{length_data, many0};
use nom::number::Endianness;
use nom::number::complete::{u16, u32};

use super::DecodeFileError;
use super::packet::segment;
use super::show::{Origin, Printer};
use super::tcp::Connections;
use crate::wire::Context;
use crate::wire::read::{Read, whole};

/// A block that is longer is no capture of a network.
const MAX_BLOCK: u32 = 1 << 24;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;

/// The file, its byte order, and how much of it was read.
struct Input<R> {
    inner: R,
    at: u64,
    order: Endianness,
}

impl<R: io::Read> Input<R> {
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

    /// The same where the input must not end; `what` says what it means if it does.
    fn must(&mut self, n: usize, what: &'static str) -> Result<Vec<u8>, DecodeFileError> {
        self.take(n)?.map_or_else(|| self.malformed(what), Ok)
    }

    /// One number of four octets.
    fn number(&mut self, what: &'static str) -> Result<u32, DecodeFileError> {
        let octets = self.must(4, what)?;
        whole(&octets, u32(self.order)).map_or_else(|| self.malformed(what), Ok)
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
    let mut input = Input { inner: input, at: 0, order: Endianness::Big };
    let mut packets = Packets { connections: Connections::new(ctx), printer, number: 0 };
    let Some(magic) = input.take(4)? else { return Ok(()) };
    let unit = match magic[..] {
        [0x0a, 0x0d, 0x0d, 0x0a] => return blocks(&mut input, &mut packets),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] => 1000,
        [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] => 1,
        _ => return input.malformed("not a capture after all"),
    };
    if magic.first() != Some(&0xa1) {
        input.order = Endianness::Little;
    }
    classic(&mut input, &mut packets, unit)
}

/// The old format: one header, then packets. `unit` is the nanoseconds of the fraction.
fn classic<R: io::Read, W: Write>(input: &mut Input<R>, packets: &mut Packets<'_, W>, unit: u64) -> Result<(), DecodeFileError> {
    let header = input.must(20, "the capture ends in its header")?;
    let word = || u32(input.order);
    let Some((_, link)) = whole(&header, (take(16usize), word())) else { return input.malformed("the capture ends in its header") };
    while let Some(head) = input.take(16)? {
        let word = || u32(input.order);
        let Some((seconds, fraction, len, _original)) = whole(&head, (word(), word(), word(), word())) else {
            return input.malformed("the capture ends in the head of a packet");
        };
        if len > MAX_BLOCK {
            return input.malformed("a packet of impossible length");
        }
        if len == 0 {
            continue;
        }
        let frame = input.must(len as usize, "the capture ends in the middle of a packet")?;
        let time = u64::from(seconds).saturating_mul(1_000_000_000).saturating_add(u64::from(fraction).saturating_mul(unit));
        packets.packet(link & 0xffff, time, &frame)?;
    }
    Ok(())
}

/// One interface of a pcapng section: link type and nanoseconds of a tick (as a fraction: ticks a second).
struct Interface {
    link: u32,
    ticks: u64,
}

/// pcapng: sections, interfaces, packets; other blocks are stepped over.
fn blocks<R: io::Read, W: Write>(input: &mut Input<R>, packets: &mut Packets<'_, W>) -> Result<(), DecodeFileError> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut kind = Some(SECTION_HEADER);
    while let Some(block) = kind {
        let body = if block == SECTION_HEADER {
            interfaces.clear();
            section(input)?
        } else {
            let len = input.number("the capture ends in the head of a block")?;
            body(input, len, 8)?
        };
        match block {
            1 => interfaces.extend(interface(input.order, &body).ok().map(|(_, interface)| interface)),
            6 => enhanced(input, &interfaces, packets, &body)?,
            3 => {
                if let (Some(interface), Some(frame)) = (interfaces.first(), body.get(4..)) {
                    packets.packet(interface.link, 0, frame)?;
                }
            }
            _ => {}
        }
        kind = input.take(4)?.and_then(|kind| whole(&kind, u32(input.order)));
    }
    Ok(())
}

/// A section header says the byte order, of its own length too.
fn section<R: io::Read>(input: &mut Input<R>) -> Result<Vec<u8>, DecodeFileError> {
    let len = input.must(4, "the capture ends in the head of a block")?;
    let order = input.must(4, "the capture ends in a section header")?;
    input.order = match order[..] {
        [0x1a, 0x2b, 0x3c, 0x4d] => Endianness::Big,
        [0x4d, 0x3c, 0x2b, 0x1a] => Endianness::Little,
        _ => return input.malformed("a section without its byte order"),
    };
    let len = whole(&len, u32(input.order)).unwrap_or_default();
    body(input, len, 12)
}

/// The rest of a block of `len` octets of which `before` were read, without the length at its end.
fn body<R: io::Read>(input: &mut Input<R>, len: u32, before: u32) -> Result<Vec<u8>, DecodeFileError> {
    let rest = len.checked_sub(before).and_then(|n| n.checked_sub(4)).filter(|_| len <= MAX_BLOCK && len.is_multiple_of(4));
    let Some(rest) = rest else { return input.malformed("a block of impossible length") };
    let differ = "a block whose two lengths differ";
    let octets = input.must(rest as usize, differ)?;
    if input.number(differ)? == len { Ok(octets) } else { input.malformed(differ) }
}

/// Link type, two reserved octets, the longest capture; then options, of which 9 is the resolution of times.
fn interface(order: Endianness, body: &[u8]) -> Read<'_, Interface> {
    let (left, (link, _)) = (u16(order), take(6usize)).parse_complete(body)?;
    let (left, options) = many0(|octets| option(order, octets)).parse_complete(left)?;
    let resolution = options.iter().rev().find(|(code, _)| *code == 9).and_then(|(_, value)| value.first());
    let ticks = resolution.map_or(Some(1_000_000), |value| {
        let base: u64 = if value & 0x80 == 0 { 10 } else { 2 };
        base.checked_pow(u32::from(value & 0x7f))
    });
    Ok((left, Interface { link: u32::from(link), ticks: ticks.unwrap_or(1_000_000).max(1) }))
}

/// Code and value, which is filled up to a multiple of four.
fn option(order: Endianness, octets: &[u8]) -> Read<'_, (u16, &[u8])> {
    let (left, (code, value)) = (u16(order), length_data(u16(order))).parse_complete(octets)?;
    let (left, _) = opt(take(value.len().wrapping_neg() % 4)).parse_complete(left)?;
    Ok((left, (code, value)))
}

fn enhanced<R: io::Read, W: Write>(
    input: &Input<R>,
    interfaces: &[Interface],
    packets: &mut Packets<'_, W>,
    body: &[u8],
) -> Result<(), DecodeFileError> {
    let word = || u32(input.order);
    let parsed = whole(body, (word(), word(), word(), word(), word(), rest));
    let packet = parsed.and_then(|(number, high, low, len, _original, octets)| {
        let interface = interfaces.get(number as usize)?;
        Some((interface, (u64::from(high) << 32) | u64::from(low), octets.get(..len as usize)?))
    });
    let Some((interface, ticks, frame)) = packet else {
        return input.malformed("a packet that is longer than its block, or of no interface");
    };
    let nanos = u128::from(ticks).saturating_mul(1_000_000_000) / u128::from(interface.ticks);
    Ok(packets.packet(interface.link, u64::try_from(nanos).unwrap_or(u64::MAX), frame)?)
}
