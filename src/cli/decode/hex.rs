//! Hexadecimal digits: messages one after the other, with blanks, colons, `0x` and comments as people like them.

use std::io::BufRead;

use bytes::{Bytes, BytesMut};

use super::DecodeFileError;
use super::show::{Origin, Printer};
use crate::wire::{Context, Decoder, HEADER_LEN, frame_len};

/// Octets without a place where a message could begin that are kept until one comes.
const SENSELESS: usize = 1 << 16;

/// Each message is shown as soon as its last digit was read: the input may be a pipe whose other end lives.
pub(super) fn decode(input: impl BufRead, printer: &mut Printer<impl std::io::Write>, ctx: Context) -> Result<(), DecodeFileError> {
    let mut messages = Messages::new(ctx);
    for (number, line) in input.split(b'\n').enumerate() {
        let line = String::from_utf8_lossy(&line?).into_owned();
        messages.rest.extend_from_slice(&digits(&line, number.saturating_add(1))?);
        messages.show(printer, false)?;
    }
    messages.show(printer, true)
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

/// Octets that were read and not shown yet.
struct Messages {
    rest: BytesMut,
    /// Where `rest` begins, from the beginning of the input.
    offset: u64,
    decoder: Decoder,
    ctx: Context,
}

impl Messages {
    fn new(ctx: Context) -> Messages {
        let mut decoder = Decoder::new();
        decoder.set_context(ctx.clone());
        Messages { rest: BytesMut::new(), offset: 0, decoder, ctx }
    }

    fn take(&mut self, len: usize) -> Bytes {
        let taken = self.rest.split_to(len.min(self.rest.len())).freeze();
        self.offset = self.offset.saturating_add(taken.len() as u64);
        taken
    }

    /// Message by message. After octets that cannot be framed the next marker is looked for, in what is still to come too.
    fn show(&mut self, printer: &mut Printer<impl std::io::Write>, is_end: bool) -> Result<(), DecodeFileError> {
        while !self.rest.is_empty() {
            let origin = Origin { offset: Some(self.offset), ..Origin::default() };
            match frame_len(&self.rest, self.ctx.max_len) {
                Ok(Some(len)) => {
                    let frame = self.take(len);
                    printer.message(&origin, &frame, self.decoder.decode(frame.clone()), &self.ctx)?;
                }
                Ok(None) if is_end => {
                    let left = self.rest.len();
                    return Ok(printer.note(&origin, &format!("{left} octets are left over: the message is longer"))?);
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let mut skip = next_marker(&self.rest);
                    if skip == self.rest.len() && !is_end {
                        if skip < SENSELESS {
                            return Ok(());
                        }
                        // A header may have begun.
                        skip = skip.saturating_sub(HEADER_LEN);
                    }
                    let skipped = self.take(skip);
                    printer.message(&origin, &skipped, Err(error), &self.ctx)?;
                }
            }
        }
        Ok(())
    }
}

/// How far it is to the next place, after this one, where a message could begin.
pub(super) fn next_marker(octets: &[u8]) -> usize {
    let marker = |window: &[u8]| window.iter().all(|o| *o == 0xff);
    let from = octets.get(1..).unwrap_or_default();
    let found =
        from.windows(HEADER_LEN).position(|w| w.get(..16).is_some_and(marker) && w.get(18).is_some_and(|kind| (1..=5).contains(kind)));
    found.map_or(octets.len(), |at| at.saturating_add(1))
}
