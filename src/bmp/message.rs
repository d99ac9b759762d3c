//! BMP messages (RFC 7854 §4), version 3.
//!
//! In: values, and BGP messages that are octets already. Out: octets appended to a buffer. Nothing is decoded here: a station never says anything.
//!
//! ```text
//! common header   version (1) = 3, length of the message (4), type (1)
//! peer header     type (1), flags (1), distinguisher (8), address (16), AS (4), BGP identifier (4), seconds (4), microseconds (4)
//! information     type (2), length (2), value
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{BufMut, BytesMut};

use crate::num::{Asn, RouterId};
use crate::wire::HEADER_LEN;

const VERSION: u8 = 3;

/// Types of messages (RFC 7854 §4.1).
const ROUTE_MONITORING: u8 = 0;
const STATISTICS: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;

/// Types of peers: global instance (RFC 7854 §4.2), Loc-RIB (RFC 9069 §4.1).
const GLOBAL: u8 = 0;
const LOC_RIB: u8 = 3;

/// Flags of the peer header: IPv6, after policy, AS_PATH with two octets (RFC 7854 §4.2), what the peer is told (RFC 8671 §4).
const V: u8 = 0x80;
const L: u8 = 0x40;
const A: u8 = 0x20;
const O: u8 = 0x10;

/// The name of the one Loc-RIB (RFC 9069 §5.2, TLV 3 of Peer Up).
const TABLE_NAME: &[u8] = b"global";

/// The type of UPDATE in a header of BGP.
const UPDATE: u8 = 2;

/// Which table a message speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What the peer announced, as it came.
    InPre,
    /// The same as import let it in.
    InPost,
    /// What the peer is told.
    OutPost,
    /// What is used.
    Loc,
}

/// Of whom a message speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// The peer's; of the Loc-RIB, any.
    pub addr: IpAddr,
    /// The peer's; of the Loc-RIB, ours.
    pub asn: Asn,
    /// Likewise.
    pub id: RouterId,
    /// The AS_PATHs of what follows have two octets for each AS.
    pub two_octet_as: bool,
    /// Since 1970; zero: not known.
    pub at: Duration,
}

impl PeerHeader {
    fn put(&self, view: View, out: &mut BytesMut) {
        let v = if self.addr.is_ipv6() { V } else { 0 };
        let a = if self.two_octet_as { A } else { 0 };
        let (kind, flags) = match view {
            View::InPre => (GLOBAL, v | a),
            View::InPost => (GLOBAL, v | a | L),
            View::OutPost => (GLOBAL, v | a | L | O),
            View::Loc => (LOC_RIB, 0),
        };
        out.put_u8(kind);
        out.put_u8(flags);
        out.put_u64(0);
        if view == View::Loc {
            out.put_bytes(0, 16)
        } else {
            put_addr(self.addr, out)
        }
        out.put_u32(self.asn.0);
        out.put_slice(&self.id.addr().octets());
        out.put_u32(u32::try_from(self.at.as_secs()).unwrap_or(0));
        out.put_u32(self.at.subsec_micros());
    }
}

/// RFC 7854 §4.3: the station learns who speaks.
pub fn initiation(description: &str, name: &str, out: &mut BytesMut) {
    message(INITIATION, out, |out| {
        put_tlv(1, description.as_bytes(), out);
        put_tlv(2, name.as_bytes(), out);
    });
}

/// RFC 7854 §4.5. `reason`: zero where we go in order, two where there is no room for what the station has yet to hear.
pub fn termination(reason: u16, text: &str, out: &mut BytesMut) {
    message(TERMINATION, out, |out| {
        put_tlv(1, &reason.to_be_bytes(), out);
        put_tlv(0, text.as_bytes(), out);
    });
}

/// RFC 7854 §4.10: a session stands, with both OPENs whole.
pub fn peer_up(peer: &PeerHeader, (local, remote): (SocketAddr, SocketAddr), (sent, received): (&[u8], &[u8]), out: &mut BytesMut) {
    message(PEER_UP, out, |out| {
        peer.put(View::InPre, out);
        put_addr(local.ip(), out);
        out.put_u16(local.port());
        out.put_u16(remote.port());
        out.put_slice(sent);
        out.put_slice(received);
    });
}

/// RFC 9069 §5.2: the Loc-RIB is there; `open` says which families, and stands for both sides.
pub fn loc_rib_up(peer: &PeerHeader, open: &[u8], out: &mut BytesMut) {
    message(PEER_UP, out, |out| {
        peer.put(View::Loc, out);
        out.put_bytes(0, 16);
        out.put_u32(0);
        out.put_slice(open);
        out.put_slice(open);
        put_tlv(3, TABLE_NAME, out);
    });
}

/// Why a session is over (RFC 7854 §4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down<'a> {
    /// We ended it with this NOTIFICATION, whole.
    LocalNotification(&'a [u8]),
    /// We ended it without one, for this event of the state machine (RFC 4271 §8.1).
    Local(u16),
    /// The peer sent this NOTIFICATION, whole.
    RemoteNotification(&'a [u8]),
    /// The peer closed the connection without a word.
    Remote,
    /// Nothing is said of the peer any more.
    NotMonitored,
}

impl Down<'_> {
    /// The reason and what belongs to it.
    pub fn octets(self) -> Vec<u8> {
        let (reason, data): (u8, Vec<u8>) = match self {
            Down::LocalNotification(pdu) => (1, pdu.to_vec()),
            Down::Local(event) => (2, event.to_be_bytes().to_vec()),
            Down::RemoteNotification(pdu) => (3, pdu.to_vec()),
            Down::Remote => (4, Vec::new()),
            Down::NotMonitored => (5, Vec::new()),
        };
        [&[reason][..], &data].concat()
    }
}

/// RFC 7854 §4.9. `why`: [`Down::octets`].
pub fn peer_down(peer: &PeerHeader, why: &[u8], out: &mut BytesMut) {
    message(PEER_DOWN, out, |out| {
        peer.put(View::InPre, out);
        out.put_slice(why);
    });
}

/// RFC 7854 §4.6: wraps each UPDATE of `pdus`; what else stands there is left out. How many there were.
pub fn route_monitoring(peer: &PeerHeader, view: View, pdus: &[u8], out: &mut BytesMut) -> u64 {
    let (mut rest, mut count) = (pdus, 0);
    while let Some((pdu, later)) = first_message(rest) {
        if pdu.get(HEADER_LEN - 1) == Some(&UPDATE) {
            message(ROUTE_MONITORING, out, |out| {
                peer.put(view, out);
                out.put_slice(pdu);
            });
            count += 1;
        }
        rest = later;
    }
    count
}

/// The first of some messages of BGP, whole, and the others.
fn first_message(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = octets.get(HEADER_LEN - 3..HEADER_LEN - 1)?;
    let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
    octets.split_at_checked(length.max(HEADER_LEN))
}

/// One number of a statistics report (RFC 7854 §4.8, RFC 8671 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Prefixes that import policy refused; a counter.
    Rejected(u32),
    /// Routes in Adj-RIB-In.
    AdjIn(u64),
    /// Routes in Loc-RIB.
    LocRib(u64),
    /// Routes in Adj-RIB-In of a family, by its AFI and SAFI.
    AdjInOf((u16, u8), u64),
    /// The same of Loc-RIB.
    LocRibOf((u16, u8), u64),
    /// Routes in Adj-RIB-Out, after policy.
    AdjOut(u64),
    /// The same of a family.
    AdjOutOf((u16, u8), u64),
}

impl Statistic {
    fn put(self, out: &mut BytesMut) {
        let of_family = |(afi, safi): (u16, u8), n: u64| [&afi.to_be_bytes()[..], &[safi], &n.to_be_bytes()].concat();
        match self {
            Statistic::Rejected(n) => put_tlv(0, &n.to_be_bytes(), out),
            Statistic::AdjIn(n) => put_tlv(7, &n.to_be_bytes(), out),
            Statistic::LocRib(n) => put_tlv(8, &n.to_be_bytes(), out),
            Statistic::AdjInOf(family, n) => put_tlv(9, &of_family(family, n), out),
            Statistic::LocRibOf(family, n) => put_tlv(10, &of_family(family, n), out),
            Statistic::AdjOut(n) => put_tlv(15, &n.to_be_bytes(), out),
            Statistic::AdjOutOf(family, n) => put_tlv(17, &of_family(family, n), out),
        }
    }
}

/// RFC 7854 §4.8.
pub fn statistics(peer: &PeerHeader, view: View, numbers: &[Statistic], out: &mut BytesMut) {
    message(STATISTICS, out, |out| {
        peer.put(view, out);
        out.put_u32(u32::try_from(numbers.len()).unwrap_or(0));
        numbers.iter().for_each(|number| number.put(out));
    });
}

/// An address in sixteen octets: one of IPv4 stands at the end (RFC 7854 §4.2).
fn put_addr(addr: IpAddr, out: &mut BytesMut) {
    match addr {
        IpAddr::V4(v4) => {
            out.put_bytes(0, 12);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => out.put_slice(&v6.octets()),
    }
}

/// What is longer than its length can say is cut.
fn put_tlv(kind: u16, value: &[u8], out: &mut BytesMut) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.put_u16(kind);
    out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
    out.put_slice(value);
}

/// Common header, and what follows it.
fn message(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u8(VERSION);
    out.put_u32(0);
    out.put_u8(kind);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the octets of the peer header beside it (RFC 7854 §4.2).
    fn peer() -> (PeerHeader, Vec<u8>) {
        let id = RouterId::new([192, 0, 2, 9].into()).expect("not zero");
        let at = Duration::new(0x0102_0304, 5_000);
        let header = PeerHeader { addr: [192, 0, 2, 1].into(), asn: Asn(64513), id, two_octet_as: false, at };
        let mut octets = vec![0, 0];
        octets.extend([0; 8]);
        octets.extend([0; 12]);
        octets.extend([192, 0, 2, 1, 0, 0, 0xfc, 1, 192, 0, 2, 9, 1, 2, 3, 4, 0, 0, 0, 5]);
        (header, octets)
    }

    fn made(make: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        make(&mut out);
        out.to_vec()
    }

    #[test]
    fn a_station_learns_who_speaks_and_who_goes() {
        let hello = made(|out| initiation("catbird 1", "node-a", out));
        assert_eq!(hello, [&[3, 0, 0, 0, 29, 4, 0, 1, 0, 9][..], b"catbird 1", &[0, 2, 0, 6], b"node-a"].concat());
        let bye = made(|out| termination(0, "bye", out));
        assert_eq!(bye, [&[3, 0, 0, 0, 19, 5, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3][..], b"bye"].concat());
    }

    #[test]
    fn the_peer_header_says_which_table_it_is() {
        let (header, octets) = peer();
        let flags = |header: PeerHeader, view| {
            let out = made(|out| header.put(view, out));
            assert_eq!(out.len(), 42);
            (out[0], out[1])
        };
        assert_eq!(made(|out| header.put(View::InPre, out)), octets);
        assert_eq!(flags(header, View::InPost), (0, 0x40));
        assert_eq!(flags(header, View::OutPost), (0, 0x50));
        assert_eq!(flags(PeerHeader { two_octet_as: true, ..header }, View::InPre), (0, 0x20));
        let six = PeerHeader { addr: "2001:db8::1".parse().expect("an address"), ..header };
        assert_eq!(flags(six, View::InPre), (0, 0x80));
        let loc = made(|out| six.put(View::Loc, out));
        assert_eq!((loc[0], loc[1], &loc[10..26]), (3, 0, &[0; 16][..]), "RFC 9069 §4.1");
    }

    #[test]
    fn a_session_stands_with_both_opens() {
        let (header, octets) = peer();
        let ends = ("192.0.2.2:179".parse().expect("an address"), "192.0.2.1:40000".parse().expect("an address"));
        let out = made(|out| peer_up(&header, ends, (&[1, 2], &[3]), out));
        let body = [&[0; 12][..], &[192, 0, 2, 2, 0, 179, 0x9c, 0x40, 1, 2, 3]].concat();
        assert_eq!(out, [&[3, 0, 0, 0, 71, 3][..], &octets, &body].concat());
        let loc = made(|out| loc_rib_up(&header, &[7], out));
        assert_eq!(loc[48..], [&[0; 20][..], &[7, 7, 0, 3, 0, 6], b"global"].concat());
    }

    #[test]
    fn a_session_ends_with_its_reason() {
        let (header, octets) = peer();
        let of = |why: Down<'_>| made(|out| peer_down(&header, &why.octets(), out));
        assert_eq!(of(Down::LocalNotification(&[9, 9])), [&[3, 0, 0, 0, 51, 2][..], &octets, &[1, 9, 9]].concat());
        assert_eq!(of(Down::Local(18))[48..], [2, 0, 18]);
        assert_eq!(of(Down::RemoteNotification(&[8]))[48..], [3, 8]);
        assert_eq!(of(Down::Remote)[48..], [4]);
        assert_eq!(of(Down::NotMonitored)[48..], [5]);
    }

    #[test]
    fn each_update_is_wrapped_alone_and_nothing_else_is() {
        let (header, octets) = peer();
        let pdu = |kind: u8, body: &[u8]| [&[0xff; 16][..], &[0, 19 + body.len() as u8, kind], body].concat();
        let all = [pdu(2, &[0, 0, 0, 0]), pdu(5, &[0, 1, 0, 1]), pdu(2, &[0, 0, 0, 0, 8, 10])].concat();
        let mut out = BytesMut::new();
        assert_eq!(route_monitoring(&header, View::InPre, &all, &mut out), 2);
        let one = |pdu: &[u8]| [&[3, 0, 0, 0, 48 + pdu.len() as u8, 0][..], &octets, pdu].concat();
        assert_eq!(out.to_vec(), [one(&pdu(2, &[0, 0, 0, 0])), one(&pdu(2, &[0, 0, 0, 0, 8, 10]))].concat());
        let cut = pdu(2, &[0, 0, 0, 0]);
        assert_eq!(route_monitoring(&header, View::InPre, &cut[..20], &mut BytesMut::new()), 0);
    }

    #[test]
    fn numbers_have_their_types_and_widths() {
        let (header, octets) = peer();
        let numbers = [Statistic::Rejected(7), Statistic::AdjIn(1), Statistic::AdjOutOf((2, 1), 3)];
        let out = made(|out| statistics(&header, View::InPre, &numbers, out));
        let body = [
            &[0, 0, 0, 3][..],
            &[0, 0, 0, 4, 0, 0, 0, 7],
            &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1],
            &[0, 17, 0, 11, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 3],
        ];
        assert_eq!(out, [&[3, 0, 0, 0, 87, 1][..], &octets, &body.concat()].concat());
        let types = |number: Statistic| made(|out| number.put(out))[1];
        let rest = [Statistic::LocRib(0), Statistic::AdjInOf((1, 1), 0), Statistic::LocRibOf((1, 1), 0), Statistic::AdjOut(0)];
        assert_eq!(rest.map(types), [8, 9, 10, 15]);
    }
}
