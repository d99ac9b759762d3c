//! The bounded reader: the one file that names nom.
//!
//! In: a slice that was cut to its exact length before. Out: numbers and sub-slices, or `None` when the octets end too early.
//! What a missing octet means (which error, whose fault) is left to the caller, who knows what was being read.

use nom::IResult;
use nom::bytes::complete::take;

/// What is left to read of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader(octets)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

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

    /// The next `N` octets as an array. (nom's own numbers are put together octet by octet.)
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|s| s.try_into().ok())
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

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
}
