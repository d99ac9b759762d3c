//! The two loops of an UPDATE, bare: over attributes and over prefixes, once by hand as in `catbird::wire`, once by nom's combinators.
//!
//! In: a [`Corpus`]. Out: a sum over what was found, the same for both ways. What the loops do with what they find is left out, so that only the walking counts.

use std::hint::black_box;

use nom::Parser;
use nom::bytes::complete::take;
use nom::error::Error;
use nom::multi::{fold_many0, length_data};
use nom::number::complete::{be_u8, be_u16};

use super::Corpus;

type Failed<'a> = Error<&'a [u8]>;

/// Attributes and prefixes of the body of each UPDATE.
fn fields(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let withdrawn = usize::from(u16::from_be_bytes(frame.get(19..21)?.try_into().ok()?));
    let rest = frame.get(21 + withdrawn..)?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

fn over(corpus: &Corpus, mut each: impl FnMut(&[u8], &[u8]) -> usize) -> usize {
    corpus.frames().filter_map(fields).map(|(attributes, nlri)| each(attributes, nlri)).sum()
}

/// Flags, code and value by hand, as `wire::attr::block` does.
pub fn attributes_by_hand(corpus: &Corpus) -> usize {
    fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, u8, &'a [u8])> {
        let ([flags, code, len], after) = rest.split_first_chunk::<3>()?;
        let (len, after) = match flags & 0x10 {
            0 => (usize::from(*len), after),
            _ => after.split_first().map(|(low, after)| (usize::from(u16::from_be_bytes([*len, *low])), after))?,
        };
        let (value, after) = after.split_at_checked(len)?;
        *rest = after;
        Some((*flags, *code, value))
    }
    over(corpus, |mut rest, _| {
        let mut sum = 0;
        while let Some((flags, code, value)) = next(&mut rest) {
            sum += usize::from(black_box(flags)) + usize::from(code) + value.len();
        }
        sum
    })
}

/// The same by combinators.
pub fn attributes_by_nom(corpus: &Corpus) -> usize {
    fn attribute(octets: &[u8]) -> nom::IResult<&[u8], (u8, u8, &[u8]), Failed<'_>> {
        let (octets, (flags, code)) = (be_u8, be_u8).parse_complete(octets)?;
        let (octets, value) = if flags & 0x10 != 0 { length_data(be_u16).parse_complete(octets)? } else { length_data(be_u8).parse_complete(octets)? };
        Ok((octets, (flags, code, value)))
    }
    let add = |sum: usize, (flags, code, value): (u8, u8, &[u8])| sum + usize::from(black_box(flags)) + usize::from(code) + value.len();
    over(corpus, |attributes, _| fold_many0(attribute, || 0, add).parse_complete(attributes).map_or(0, |(_, sum)| sum))
}

/// Prefixes checked by hand, as `wire::nlri` does.
pub fn prefixes_by_hand(corpus: &Corpus) -> usize {
    over(corpus, |_, nlri| {
        let (mut at, mut count) = (0usize, 0);
        while let Some(len) = nlri.get(at).filter(|len| **len <= 32) {
            at += 1 + (usize::from(*len) + 7) / 8;
            count += 1;
        }
        if at == nlri.len() { black_box(count) } else { 0 }
    })
}

/// The same by combinators.
pub fn prefixes_by_nom(corpus: &Corpus) -> usize {
    fn prefix(octets: &[u8]) -> nom::IResult<&[u8], &[u8], Failed<'_>> {
        let (octets, len) = nom::combinator::verify(be_u8, |len| *len <= 32).parse_complete(octets)?;
        take(len.div_ceil(8)).parse_complete(octets)
    }
    over(corpus, |_, nlri| fold_many0(prefix, || 0, |count, _| count + 1).parse_complete(nlri).map_or(0, |(_, count)| black_box(count)))
}
