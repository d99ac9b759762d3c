//! Hexadecimal digits: messages one after the other, with blanks, colons, `0x` and comments as people like them.

use std::io::BufRead;

use bytes::{Bytes, BytesMut};

use super::DecodeFileError;
use super::show::{Origin, Printer};
use crate::wire::{Context, Decoder, HEADER_LEN, frame_len};

pub(super) fn decode(input: impl BufRead, printer: &mut Printer<impl std::io::Write>, ctx: Context) -> Result<(), DecodeFileError> {
    let mut octets = BytesMut::new();
    for (number, line) in input.split(b'\n').enumerate() {
        let line = String::from_utf8_lossy(&line?).into_owned();
        octets.extend_from_slice(&digits(&line, number.saturating_add(1))?);
    }
    messages(octets.freeze(), printer, ctx)?;
    Ok(())
}

/// The octets of one line; `#`, `;` and `//` begin a comment.
fn digits(line: &str, number: usize) -> Result<Vec<u8>, DecodeFileError> {
    let end = ["#", ";", "//"].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    let text = line.get(..end).unwrap_or_default();
    let mut digits = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c == ':' || c == ',').filter(|w| !w.is_empty()) {
        let word = word.strip_prefix("0x").unwrap_or(word);
        if !word.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(DecodeFileError::NotHex { line: number, what: word.chars().take(40).collect() });
        }
        digits.push_str(word);
    }
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(DecodeFileError::OddHex { line: number });
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|v| u8::try_from(v).ok()).unwrap_or_default();
    Ok(pairs.iter().map(|[high, low]| (value(high) << 4) | value(low)).collect())
}

/// Message by message. After octets that cannot be framed the next marker is looked for.
fn messages(octets: Bytes, printer: &mut Printer<impl std::io::Write>, ctx: Context) -> Result<(), DecodeFileError> {
    let mut decoder = Decoder::new();
    let max_len = ctx.max_len;
    decoder.set_context(ctx.clone());
    let mut rest = octets.clone();
    while !rest.is_empty() {
        let origin = Origin { offset: Some((octets.len().saturating_sub(rest.len())) as u64), ..Origin::default() };
        match frame_len(&rest, max_len) {
            Ok(Some(len)) => {
                let frame = rest.split_to(len);
                printer.message(&origin, &frame, decoder.decode(frame.clone()), &ctx)?;
            }
            Ok(None) => {
                printer.note(&origin, &format!("{} octets are left over: the message is longer", rest.len()))?;
                return Ok(());
            }
            Err(error) => {
                let skip = next_marker(&rest);
                printer.message(&origin, &rest.split_to(skip), Err(error), &ctx)?;
            }
        }
    }
    Ok(())
}

/// How far it is to the next place, after this one, where a message could begin.
pub(super) fn next_marker(octets: &[u8]) -> usize {
    let marker = |window: &[u8]| window.iter().all(|o| *o == 0xff);
    let from = octets.get(1..).unwrap_or_default();
    let found =
        from.windows(HEADER_LEN).position(|w| w.get(..16).is_some_and(marker) && w.get(18).is_some_and(|kind| (1..=5).contains(kind)));
    found.map_or(octets.len(), |at| at.saturating_add(1))
}
