//! Runs of prefixes (RFC 4271 §4.3, RFC 7911 §3): checked once, then walked without allocating.
//!
//! In: the octets of a field whose length is known. Out: an `NlriSet`, which yields `Nlri`.
//! Which field it was, and what it means, is the UPDATE's.
//!
//! ```text
//! [ Path Identifier (4 octets), with ADD-PATH only ]
//! +---------------------------+
//! |   Length (1 octet, bits)  |
//! +---------------------------+
//! |   Prefix (just enough)    |
//! +---------------------------+
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::read::Reader;
use crate::num::{Family, Nlri, PathId};

/// Prefixes of one family as they stand in a message. What exists is well formed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NlriSet {
    octets: Bytes,
    family: Family,
    add_path: bool,
}

impl NlriSet {
    /// No IPv4 prefix.
    pub const EMPTY: NlriSet = NlriSet { octets: Bytes::new(), family: Family::Ipv4Unicast, add_path: false };

    /// `Err` is the position of the first prefix that cannot be read (RFC 7606 §5.3: too long for the family, or for the field).
    ///
    /// By hand: with nom's combinators in its place an UPDATE of one prefix costs 564 instructions instead of 481, and one of a table transfer 1,706 instead
    /// of 1,552 (`proto-tests/benches/codecs`, `counts`).
    #[inline]
    pub(crate) fn check(octets: &[u8], family: Family, add_path: bool) -> Result<(), usize> {
        let (head, max_len) = (if add_path { 4 } else { 0 }, family.max_len());
        // Where a prefix ends is looked at when the next one begins: a step over the end stops there too.
        let (mut last, mut at) = (0, 0_usize);
        while at < octets.len() {
            last = at;
            match octets.get(at.wrapping_add(head)) {
                Some(len) if *len <= max_len => at = at.wrapping_add(head).wrapping_add(1).wrapping_add(octets_for(*len)),
                _ => return Err(last),
            }
        }
        if at == octets.len() { Ok(()) } else { Err(last) }
    }

    /// `octets` were checked.
    pub(crate) fn checked(octets: Bytes, family: Family, add_path: bool) -> NlriSet {
        NlriSet { octets, family, add_path }
    }

    /// Of prefixes that are all of the first one's family; others are left out.
    pub fn from_nlri(nlri: &[Nlri], add_path: bool) -> NlriSet {
        let Some(first) = nlri.first() else { return NlriSet::EMPTY };
        let family = first.family();
        let mut octets = BytesMut::new();
        nlri.iter().filter(|n| n.family() == family).for_each(|n| put(n, add_path, &mut octets));
        NlriSet { octets: octets.freeze(), family, add_path }
    }

    /// Of all of its prefixes.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether each prefix carries a Path Identifier.
    pub fn add_path(&self) -> bool {
        self.add_path
    }

    /// Without a prefix; for some attributes that is End-of-RIB (RFC 4724 §2).
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// As received.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// In the order of the message. Bits beyond the prefix length are cleared (RFC 4271 §4.3: they mean nothing).
    #[inline]
    pub fn iter(&self) -> NlriIter<'_> {
        NlriIter { r: Reader::new(&self.octets), family: self.family, add_path: self.add_path }
    }

    /// The octets for a session that does or does not use ADD-PATH.
    pub(crate) fn put(&self, add_path: bool, out: &mut BytesMut) {
        if add_path == self.add_path {
            out.put_slice(&self.octets);
        } else {
            self.iter().for_each(|n| put(&n, add_path, out));
        }
    }
}

impl<'a> IntoIterator for &'a NlriSet {
    type Item = Nlri;
    type IntoIter = NlriIter<'a>;
    fn into_iter(self) -> NlriIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for NlriSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|n| n.to_string())).finish()
    }
}

/// Walks an [`NlriSet`].
#[derive(Clone, Debug)]
pub struct NlriIter<'a> {
    r: Reader<'a>,
    family: Family,
    add_path: bool,
}

impl Iterator for NlriIter<'_> {
    type Item = Nlri;

    #[inline]
    fn next(&mut self) -> Option<Nlri> {
        let path_id = PathId(if self.add_path { self.r.u32()? } else { 0 });
        let len = self.r.u8()?;
        let octets = self.r.take(octets_for(len))?;
        let net = match self.family {
            Family::Ipv4Unicast => IpNet::V4(Ipv4Net::new(Ipv4Addr::from(padded::<4>(octets)), len).ok()?.trunc()),
            Family::Ipv6Unicast => IpNet::V6(Ipv6Net::new(Ipv6Addr::from(padded::<16>(octets)), len).ok()?.trunc()),
        };
        Some(Nlri { net, path_id })
    }
}

/// How many octets hold `len` bits.
#[inline]
fn octets_for(len: u8) -> usize {
    usize::from(len).saturating_add(7) >> 3
}

#[inline]
fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut full = [0; N];
    full.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
    full
}

/// The octets of one prefix, at most 21.
#[inline]
pub(crate) fn put(nlri: &Nlri, add_path: bool, out: &mut BytesMut) {
    if add_path {
        out.put_u32(nlri.path_id.0);
    }
    // Length and prefix in one piece: a full table is announced prefix by prefix.
    let len = nlri.net.prefix_len();
    let mut octets = [len; 17];
    let [_, prefix @ ..] = &mut octets;
    match nlri.net {
        IpNet::V4(net) => prefix.iter_mut().zip(net.network().octets()).for_each(|(to, from)| *to = from),
        IpNet::V6(net) => *prefix = net.network().octets(),
    }
    out.put_slice(octets.get(..=octets_for(len)).unwrap_or_default());
}

/// How many octets `put` writes.
#[inline]
pub(crate) fn encoded_len(nlri: &Nlri, add_path: bool) -> usize {
    let head = if add_path { 5usize } else { 1 };
    head.saturating_add(octets_for(nlri.net.prefix_len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(octets: &[u8], add_path: bool) -> Result<Vec<String>, usize> {
        NlriSet::check(octets, Family::Ipv4Unicast, add_path)?;
        Ok(NlriSet::checked(Bytes::copy_from_slice(octets), Family::Ipv4Unicast, add_path).iter().map(|n| n.to_string()).collect())
    }

    #[test]
    fn a_prefix_has_as_many_octets_as_its_bits_need() {
        let octets = [
            0, // default route
            8, 10, // 10.0.0.0/8
            26, 10, 244, 1, 64, // a block
            32, 192, 0, 2, 1, // a host
        ];
        assert_eq!(v4(&octets, false).unwrap(), ["0.0.0.0/0", "10.0.0.0/8", "10.244.1.64/26", "192.0.2.1/32"]);
    }

    #[test]
    fn bits_beyond_the_length_mean_nothing() {
        assert_eq!(v4(&[9, 10, 0xff], false).unwrap(), ["10.128.0.0/9"]);
    }

    #[test]
    fn a_length_over_the_family_or_the_field_names_its_place() {
        assert_eq!(v4(&[8, 10, 33, 1, 2, 3, 4, 5], false), Err(2));
        assert_eq!(v4(&[8, 10, 24, 10, 1], false), Err(2));
        assert_eq!(NlriSet::check(&[129; 18], Family::Ipv6Unicast, false), Err(0));
        assert_eq!(NlriSet::check(&[128; 17], Family::Ipv6Unicast, false), Ok(()));
    }

    #[test]
    fn path_identifiers_come_before_the_length() {
        assert_eq!(v4(&[0, 0, 0, 7, 8, 10, 0, 0, 0, 8, 8, 10], true).unwrap(), ["10.0.0.0/8 path 7", "10.0.0.0/8 path 8"]);
        assert_eq!(v4(&[0, 0, 0], true), Err(0));
    }

    #[test]
    fn what_is_put_is_read_again() {
        let nlri: Vec<Nlri> = ["2001:db8::/32", "::/0", "2001:db8::1/128"].map(|n| Nlri::new(n.parse().unwrap())).to_vec();
        for add_path in [false, true] {
            let set = NlriSet::from_nlri(&nlri, add_path);
            assert_eq!(set.iter().collect::<Vec<_>>(), nlri);
            assert_eq!(set.octets().len(), nlri.iter().map(|n| encoded_len(n, add_path)).sum::<usize>());
        }
    }
}
