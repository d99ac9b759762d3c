//! A BFD Control packet: layout, reading with every check that needs no session, and writing.
//!
//! In: the payload of a datagram. Out: a [`Packet`] with its authentication section, or the [`Drop`] that says what is wrong with it.
//! Which session it is for, and whether its key is right, is decided by those who know the sessions.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |                       My Discriminator                        |
//! |                      Your Discriminator                       |
//! |                    Desired Min TX Interval                    |
//! |                   Required Min RX Interval                    |
//! |                 Required Min Echo RX Interval                 |
//! +---------------+---------------+-------------------------------+
//! |   Auth Type   |   Auth Len    |   Authentication Data ...      (with A)
//! +---------------+---------------+-------------------------------+
//! ```
//!
//! RFC 5880 §4.1, §6.8.6.

use std::fmt;

use nom::Parser;
use serde::{Deserialize, Serialize};

use super::counters::Drop;
use crate::wire::read::{Read, be_u8, be_u32};

/// Octets of the mandatory part.
pub const HEADER_LEN: usize = 24;

/// Octets of the longest packet that we send: with a section of keyed SHA1.
pub const MAX_LEN: usize = HEADER_LEN + 28;

/// The one version there is (RFC 5880 §4.1).
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTH: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Of a session, as each side sees it (RFC 5880 §6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Held down by an operator; says nothing about the path.
    AdminDown,
    /// Nothing is heard, or nothing yet.
    #[default]
    Down,
    /// The other side is heard; it has yet to say that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    /// As in tables, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::AdminDown => "admin down",
            State::Down => "down",
            State::Init => "init",
            State::Up => "up",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a session's state changed last (RFC 5880 §4.1). Codes without a meaning are kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// No Diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Control Detection Time Expired.
    pub const TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// Neighbor Signaled Session Down.
    pub const NEIGHBOR_DOWN: Diagnostic = Diagnostic(3);
    /// Path Down: we know from elsewhere (the link) that it is broken.
    pub const PATH_DOWN: Diagnostic = Diagnostic(5);
    /// Administratively Down.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

/// The mandatory part. Intervals are microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Of the sender.
    pub diag: Diagnostic,
    /// Of the sender.
    pub state: State,
    /// An answer with F is wanted.
    pub poll: bool,
    /// This is the answer to a P.
    pub fin: bool,
    /// The sender's BFD outlives its control plane (C).
    pub independent: bool,
    /// An authentication section follows (A).
    pub authenticated: bool,
    /// The sender is in Demand mode (D).
    pub demand: bool,
    /// Not zero.
    pub detect_mult: u8,
    /// Of the sender, not zero.
    pub my_discr: u32,
    /// Of whoever is to receive it, zero if the sender does not know it.
    pub your_discr: u32,
    /// How often the sender would like to send.
    pub desired_min_tx: u32,
    /// How often the sender can receive; zero: not at all periodically.
    pub required_min_rx: u32,
    /// How often it would loop back Echo packets; zero: never.
    pub required_min_echo_rx: u32,
}

/// A packet that was read, with what is needed to prove where it is from.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The mandatory part.
    pub packet: Packet,
    /// As long as its Length field says.
    pub octets: &'a [u8],
}

/// The fixed part as it stands, in order.
fn header(octets: &[u8]) -> Read<'_, ([u8; 4], [u32; 5])> {
    let flags = (be_u8, be_u8, be_u8, be_u8).map(|(a, b, c, d)| [a, b, c, d]);
    let words = (be_u32, be_u32, be_u32, be_u32, be_u32).map(|(a, b, c, d, e)| [a, b, c, d, e]);
    (flags, words).parse_complete(octets)
}

/// Reads a payload, with the checks of RFC 5880 §6.8.6 in their order, as far as they need no session.
///
/// # Errors
/// What is wrong with it.
pub fn decode(payload: &[u8]) -> Result<Received<'_>, Drop> {
    let Ok((_, ([first, second, detect_mult, length], [my_discr, your_discr, tx, rx, echo]))) = header(payload) else {
        // Too short to have a Length field that could be right.
        return Err(if payload.first().is_some_and(|first| first >> 5 != VERSION) { Drop::Version } else { Drop::Length });
    };
    let authenticated = second & AUTH != 0;
    let least = if authenticated { HEADER_LEN + 2 } else { HEADER_LEN };
    if first >> 5 != VERSION {
        return Err(Drop::Version);
    }
    let octets = payload.get(..usize::from(length)).filter(|octets| octets.len() >= least).ok_or(Drop::Length)?;
    if detect_mult == 0 {
        return Err(Drop::Multiplier);
    }
    if second & MULTIPOINT != 0 {
        return Err(Drop::Multipoint);
    }
    if my_discr == 0 {
        return Err(Drop::MyDiscriminator);
    }
    let packet = Packet {
        diag: Diagnostic(first & 0x1f),
        state: State::from_bits(second >> 6),
        poll: second & POLL != 0,
        fin: second & FINAL != 0,
        independent: second & INDEPENDENT != 0,
        authenticated,
        demand: second & DEMAND != 0,
        detect_mult,
        my_discr,
        your_discr,
        desired_min_tx: tx,
        required_min_rx: rx,
        required_min_echo_rx: echo,
    };
    if your_discr == 0 && !matches!(packet.state, State::Down | State::AdminDown) {
        return Err(Drop::YourDiscriminator);
    }
    Ok(Received { packet, octets })
}

impl Packet {
    /// The fixed part; `length` counts the authentication section, too.
    pub fn encode(&self, length: u8) -> [u8; HEADER_LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.poll, POLL)
            | flag(self.fin, FINAL)
            | flag(self.independent, INDEPENDENT)
            | flag(self.authenticated, AUTH)
            | flag(self.demand, DEMAND);
        let mut octets = [0; HEADER_LEN];
        let (fixed, words) = octets.split_at_mut(4);
        fixed.copy_from_slice(&[VERSION << 5 | self.diag.0 & 0x1f, (self.state as u8) << 6 | flags, self.detect_mult, length]);
        let values = [self.my_discr, self.your_discr, self.desired_min_tx, self.required_min_rx, self.required_min_echo_rx];
        for (place, value) in words.chunks_exact_mut(4).zip(values) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Down, no diagnostic, P; multiplier 3; discriminators 0x01020304 and none; 1 s, 300 ms, no Echo.
    const OCTETS: [u8; 24] = [0x20, 0x60, 3, 24, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0x0f, 0x42, 0x40, 0, 0x04, 0x93, 0xe0, 0, 0, 0, 0];

    fn changed(at: usize, octet: u8) -> Vec<u8> {
        let mut octets = OCTETS.to_vec();
        octets[at] = octet;
        octets
    }

    #[test]
    fn a_packet_says_what_its_octets_say_and_back() {
        let packet = decode(&OCTETS).unwrap().packet;
        let want = Packet {
            state: State::Down,
            poll: true,
            detect_mult: 3,
            my_discr: 0x0102_0304,
            desired_min_tx: 1_000_000,
            required_min_rx: 300_000,
            ..Packet::default()
        };
        assert_eq!(packet, want);
        assert_eq!(packet.encode(24), OCTETS);
        let all = Packet {
            diag: Diagnostic(7),
            fin: true,
            independent: true,
            authenticated: true,
            demand: true,
            your_discr: 9,
            required_min_echo_rx: 5,
            state: State::Up,
            ..want
        };
        let mut octets = all.encode(26).to_vec();
        octets.extend([4, 2]);
        assert_eq!(decode(&octets).unwrap().packet, all);
    }

    #[test]
    fn each_mandatory_check_has_a_reason_of_its_own() {
        let drop = |octets: &[u8]| decode(octets).map(|_| ()).unwrap_err();
        assert_eq!(drop(&changed(0, 0)), Drop::Version);
        assert_eq!(drop(&[0x40]), Drop::Version, "too short as well, but the version comes first");
        assert_eq!(drop(&[]), Drop::Length);
        assert_eq!(drop(&OCTETS[..23]), Drop::Length, "a part of a header");
        assert_eq!(drop(&changed(3, 23)), Drop::Length, "less than the minimum");
        assert_eq!(drop(&changed(3, 25)), Drop::Length, "more than the payload");
        assert_eq!(drop(&changed(1, 0x64)), Drop::Length, "with A it needs 26");
        assert_eq!(drop(&changed(2, 0)), Drop::Multiplier);
        assert_eq!(drop(&changed(1, 0x61)), Drop::Multipoint);
        let mut nobody = OCTETS;
        nobody[4..8].fill(0);
        assert_eq!(drop(&nobody), Drop::MyDiscriminator);
        for state in [0x80, 0xc0] {
            assert_eq!(drop(&changed(1, state)), Drop::YourDiscriminator, "{state:#x} without Your Discriminator");
        }
        assert!(decode(&changed(1, 0)).is_ok(), "AdminDown needs none");
    }

    #[test]
    fn octets_behind_the_length_are_nobodys() {
        let mut long = OCTETS.to_vec();
        long.extend([9; 40]);
        assert_eq!(decode(&long).unwrap().octets.len(), 24);
    }

    #[test]
    fn any_octets_are_read_or_refused() {
        let mut rng = crate::num::Rng::new(5);
        let mut good = 0;
        for _ in 0..20_000 {
            let len = (rng.next_u64() % 60) as usize;
            let mut octets: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
            // Half of them look right at first sight.
            if len >= 24 && rng.next_u64().is_multiple_of(2) {
                (octets[0], octets[3]) = (0x20 | octets[0] & 0x1f, len as u8);
                octets[1] &= !MULTIPOINT;
            }
            let Ok(received) = decode(&octets) else { continue };
            good += 1;
            assert_eq!(received.packet.encode(received.octets.len() as u8), received.octets[..24]);
        }
        assert!(good > 1000, "{good} of them were packets");
    }
}
