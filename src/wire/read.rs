//! The bounded readers, and the one file that says how nom is used here.
//!
//! In: a slice that was cut to its exact length before. Out: values and what stands behind them, or a [`Stop`] at the octet that could not be read.
//! What that means (which error, whose fault) is left to the caller, who knows what was being read.
//!
//! Messages that come once a session, headers and files are read with nom's combinators over the parsers below, always by `parse_complete`: what is
//! there is all there is, and nom's other way answers "incomplete" instead of a place. Inside of an UPDATE a [`Reader`] walks,
//! by hand; the figures that say why stand in `wire::attr::block` and `wire::nlri`.

use nom::bytes::complete::take;
use nom::combinator::all_consuming;
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Parser};

/// What a parser answers: the octets that are left, and the value.
pub(crate) type Read<'a, T> = IResult<&'a [u8], T, Stop<'a>>;

/// What was left where reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop<'a>(&'a [u8]);

impl<'a> ParseError<&'a [u8]> for Stop<'a> {
    fn from_error_kind(rest: &'a [u8], _: ErrorKind) -> Stop<'a> {
        Stop(rest)
    }

    /// The innermost place is the most exact one.
    fn append(_: &'a [u8], _: ErrorKind, inner: Stop<'a>) -> Stop<'a> {
        inner
    }
}

/// How many octets of `whole` stand before the place where reading stopped.
pub(crate) fn position(whole: &[u8], stop: nom::Err<Stop<'_>>) -> usize {
    match stop {
        nom::Err::Error(Stop(rest)) | nom::Err::Failure(Stop(rest)) => whole.len().saturating_sub(rest.len()),
        nom::Err::Incomplete(_) => whole.len(),
    }
}

/// The value that fills `octets` to the last one.
pub(crate) fn whole<'a, T>(octets: &'a [u8], parser: impl Parser<&'a [u8], Output = T, Error = Stop<'a>>) -> Option<T> {
    all_consuming(parser).parse_complete(octets).ok().map(|(_, value)| value)
}

/// The next `N` octets. (nom's own numbers are put together octet by octet.)
#[inline]
pub(crate) fn array<const N: usize>(octets: &[u8]) -> Read<'_, [u8; N]> {
    take(N).map_opt(|taken: &[u8]| taken.try_into().ok()).parse_complete(octets)
}

/// One octet.
#[inline]
pub(crate) fn be_u8(octets: &[u8]) -> Read<'_, u8> {
    array.map(u8::from_be_bytes).parse_complete(octets)
}

/// Two octets, the higher first.
#[inline]
pub(crate) fn be_u16(octets: &[u8]) -> Read<'_, u16> {
    array.map(u16::from_be_bytes).parse_complete(octets)
}

/// Four octets, the highest first.
#[inline]
pub(crate) fn be_u32(octets: &[u8]) -> Read<'_, u32> {
    array.map(u32::from_be_bytes).parse_complete(octets)
}

/// What is left to read of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the first octet.
    #[inline]
    pub(crate) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader(octets)
    }

    /// `None`, as of all of these, if there are not so many octets left; then nothing was taken.
    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// The higher octet first.
    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The highest octet first.
    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The highest octet first.
    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `n` octets, and not one fewer.
    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let taken: IResult<&[u8], &[u8], ()> = take(n)(self.0);
        let (rest, value) = taken.ok()?;
        self.0 = rest;
        Some(value)
    }

    /// The next `N` octets as an array.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|s| s.try_into().ok())
    }

    /// What was not taken yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Octets that were not taken yet.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Everything was taken.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A slice that must be one big-endian number of four octets and nothing else.
#[inline]
pub(crate) fn exact_u32(octets: &[u8]) -> Option<u32> {
    octets.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_in_network_order_and_stops_at_the_end() {
        let mut r = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 9]);
        assert_eq!((r.u8(), r.u16(), r.u32()), (Some(1), Some(2), Some(3)));
        assert_eq!(r.u16(), None, "one octet is not two");
        assert_eq!(r.u8(), Some(9), "a failed read consumes nothing");
        assert!(r.is_empty());
    }

    #[test]
    fn take_is_all_or_nothing() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!(r.take(4), None);
        assert_eq!(r.take(3), Some(&[1, 2, 3][..]));
        assert_eq!(r.array::<1>(), None);
    }

    #[test]
    fn a_parser_says_at_which_octet_it_stopped() {
        let octets = [1, 0, 2, 0, 0, 3];
        assert_eq!((be_u8, be_u16).parse_complete(&octets), Ok((&octets[3..], (1, 2))));
        let stopped = (be_u8, be_u16, be_u32).parse_complete(&octets).unwrap_err();
        assert_eq!(position(&octets, stopped), 3);
        assert_eq!(whole(&octets, (be_u32, be_u16)), Some((0x0100_0200, 3)));
        assert_eq!(whole(&octets, be_u32), None, "two octets too many");
        let run = nom::multi::length_data(be_u8);
        let stopped = (run, nom::multi::length_data(be_u16)).parse_complete(&octets).unwrap_err();
        assert_eq!(position(&octets, stopped), 4, "where the 512 octets should begin");
    }
}
