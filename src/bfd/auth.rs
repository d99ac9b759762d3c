//! Who sent a packet: the keyed digests of RFC 5880 §6.7.
//!
//! In: a packet's octets and the key that both sides have. Out: the authentication section, or whether it is right. The password of
//! §6.7.2 goes over the wire as it is and proves nothing, so it is not here.
//!
//! ```text
//! +---------------+---------------+---------------+---------------+
//! |   Auth Type   |   Auth Len    |  Auth Key ID  |   Reserved    |
//! +---------------+---------------+---------------+---------------+
//! |                        Sequence Number                        |
//! |     Auth Key/Digest: 16 octets with MD5, 20 with SHA1         |
//! +---------------------------------------------------------------+
//! ```

use md5::Md5;
use nom::Parser;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::counters::Drop;
use super::packet::{HEADER_LEN, MAX_LEN};
use crate::num::Secret;
use crate::wire::read::{Read, be_u8, be_u32};

/// Octets of the section before the digest.
const FIXED: usize = 8;

/// Which digest, and how often the sequence number moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthType {
    /// Type 2.
    Md5,
    /// Type 3.
    MeticulousMd5,
    /// Type 4.
    Sha1,
    /// Type 5.
    MeticulousSha1,
}

impl AuthType {
    /// All of them, with their names in the configuration.
    pub const NAMES: [(&str, AuthType); 4] = [
        ("meticulous-sha1", AuthType::MeticulousSha1),
        ("sha1", AuthType::Sha1),
        ("meticulous-md5", AuthType::MeticulousMd5),
        ("md5", AuthType::Md5),
    ];

    fn code(self) -> u8 {
        match self {
            AuthType::Md5 => 2,
            AuthType::MeticulousMd5 => 3,
            AuthType::Sha1 => 4,
            AuthType::MeticulousSha1 => 5,
        }
    }

    /// Octets of the digest, and of the longest key.
    pub fn digest_len(self) -> usize {
        match self {
            AuthType::Md5 | AuthType::MeticulousMd5 => 16,
            AuthType::Sha1 | AuthType::MeticulousSha1 => 20,
        }
    }

    /// Each packet has a sequence number of its own.
    fn is_meticulous(self) -> bool {
        matches!(self, AuthType::MeticulousMd5 | AuthType::MeticulousSha1)
    }

    /// As configured.
    pub fn name(self) -> &'static str {
        AuthType::NAMES.iter().find(|(_, auth)| *auth == self).map_or("", |(name, _)| name)
    }
}

/// What both sides know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Which digest.
    pub auth: AuthType,
    /// Of the key, so that one can be changed for another.
    pub id: u8,
    /// As long as the digest at most.
    pub secret: Secret,
}

/// Sequence numbers of one session (RFC 5880 §6.8.1).
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    /// Of the next packet sent.
    send: u32,
    /// Of the last one received; `None`: any will do.
    received: Option<u32>,
}

impl Sequence {
    /// Begins where nobody can foresee it.
    pub fn new(random: u32) -> Sequence {
        Sequence { send: random, received: None }
    }

    /// The other side may have restarted: any number will do (bfd.AuthSeqKnown is 0).
    pub fn forget(&mut self) {
        self.received = None;
    }
}

/// A packet as it is sent: without a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets {
    octets: [u8; MAX_LEN],
    len: usize,
}

impl Octets {
    /// What goes into the datagram.
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// Octets of a packet with this key.
pub fn packet_len(key: Option<&Key>) -> usize {
    HEADER_LEN.saturating_add(key.map_or(0, |key| FIXED.saturating_add(key.auth.digest_len())))
}

/// The packet with its section, if it has a key. `changed`: it says something else than the one before.
pub fn seal(header: [u8; HEADER_LEN], key: Option<&Key>, sequence: &mut Sequence, changed: bool) -> Octets {
    let mut sealed = Octets { octets: [0; MAX_LEN], len: packet_len(key) };
    let (head, section) = sealed.octets.split_at_mut(HEADER_LEN);
    head.copy_from_slice(&header);
    let Some(key) = key else { return sealed };
    if changed || key.auth.is_meticulous() {
        sequence.send = sequence.send.wrapping_add(1);
    }
    let len = u8::try_from(FIXED.saturating_add(key.auth.digest_len())).unwrap_or(0);
    let (fixed, digest) = section.split_at_mut(FIXED);
    let (kind, number) = fixed.split_at_mut(4);
    kind.copy_from_slice(&[key.auth.code(), len, key.id, 0]);
    number.copy_from_slice(&sequence.send.to_be_bytes());
    let right = self::digest(key, head, fixed);
    digest.iter_mut().zip(right).for_each(|(place, octet)| *place = octet);
    sealed
}

/// The digest over the packet with the key in the digest's place.
fn digest(key: &Key, head: &[u8], fixed: &[u8]) -> [u8; 20] {
    let mut padded = [0_u8; 20];
    padded.iter_mut().zip(key.secret.expose()).for_each(|(place, octet)| *place = *octet);
    let padded = padded.get(..key.auth.digest_len()).unwrap_or_default();
    let mut out = [0; 20];
    match key.auth {
        AuthType::Md5 | AuthType::MeticulousMd5 => {
            let digest = Md5::new().chain_update(head).chain_update(fixed).chain_update(padded).finalize();
            out.iter_mut().zip(digest).for_each(|(place, octet)| *place = octet);
        }
        AuthType::Sha1 | AuthType::MeticulousSha1 => {
            let digest = Sha1::new().chain_update(head).chain_update(fixed).chain_update(padded).finalize();
            out.iter_mut().zip(digest).for_each(|(place, octet)| *place = octet);
        }
    }
    out
}

/// Type, length, key and sequence number.
fn fixed_part(section: &[u8]) -> Read<'_, (u8, u8, u8, u8, u32)> {
    (be_u8, be_u8, be_u8, be_u8, be_u32).parse_complete(section)
}

/// Whether a packet is from who has the key (RFC 5880 §6.7.3, §6.7.4), and newer than those before. Only then its number is remembered.
///
/// # Errors
/// Why it is to be dropped.
pub fn verify(octets: &[u8], key: &Key, sequence: &mut Sequence, detect_mult: u8) -> Result<(), Drop> {
    let (head, section) = octets.split_at_checked(HEADER_LEN).ok_or(Drop::Length)?;
    if section.first() != Some(&key.auth.code()) {
        return Err(Drop::AuthType);
    }
    let Ok((received, (_, len, id, _, number))) = fixed_part(section) else { return Err(Drop::AuthType) };
    if id != key.id {
        return Err(Drop::AuthKey);
    }
    let want = key.auth.digest_len();
    if usize::from(len) != FIXED.saturating_add(want) || received.len() != want {
        return Err(Drop::AuthType);
    }
    let right = digest(key, head, section.get(..FIXED).unwrap_or_default());
    // Looks at every octet, wherever the first difference is.
    if received.iter().zip(right).fold(0, |wrong, (a, b)| wrong | (a ^ b)) != 0 {
        return Err(Drop::AuthDigest);
    }
    if let Some(last) = sequence.received {
        let ahead = number.wrapping_sub(last);
        let least = u32::from(key.auth.is_meticulous());
        if !(least..=u32::from(detect_mult).saturating_mul(3)).contains(&ahead) {
            return Err(Drop::AuthSequence);
        }
    }
    sequence.received = Some(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bfd::packet::Packet;

    fn key(auth: AuthType) -> Key {
        Key { auth, id: 7, secret: Secret::new(b"between us") }
    }

    fn packet() -> [u8; HEADER_LEN] {
        Packet { my_discr: 1, detect_mult: 3, authenticated: true, ..Packet::default() }.encode(52)
    }

    #[test]
    fn every_type_proves_itself_to_who_has_the_key_and_to_nobody_else() {
        for (name, auth) in AuthType::NAMES {
            let (mut ours, mut theirs) = (Sequence::new(u32::MAX), Sequence::new(0));
            let sealed = seal(packet(), Some(&key(auth)), &mut ours, true);
            assert_eq!(sealed.as_slice().len(), 32 + auth.digest_len(), "{name}");
            assert_eq!(verify(sealed.as_slice(), &key(auth), &mut theirs, 3), Ok(()), "{name}");
            let other = Key { secret: Secret::new(b"between uS"), ..key(auth) };
            assert_eq!(verify(sealed.as_slice(), &other, &mut Sequence::new(0), 3), Err(Drop::AuthDigest), "{name}");
            assert_eq!(verify(sealed.as_slice(), &Key { id: 8, ..key(auth) }, &mut Sequence::new(0), 3), Err(Drop::AuthKey), "{name}");
            for at in 0..sealed.as_slice().len() {
                let mut wrong = sealed.as_slice().to_vec();
                wrong[at] ^= 1;
                assert!(verify(&wrong, &key(auth), &mut Sequence::new(0), 3).is_err(), "{name}: octet {at}");
            }
            let shorter = &sealed.as_slice()[..sealed.as_slice().len() - 1];
            assert_eq!(verify(shorter, &key(auth), &mut Sequence::new(0), 3), Err(Drop::AuthType), "{name}");
        }
    }

    /// The digest by a second hand: `printf ... | sha1sum` of header, fixed part and the padded key.
    #[test]
    fn the_digest_is_over_the_packet_with_the_padded_key_in_its_place() {
        let mut sequence = Sequence::new(0);
        let sealed = seal(packet(), Some(&key(AuthType::Sha1)), &mut sequence, true);
        let mut whole = sealed.as_slice().to_vec();
        whole[32..].fill(0);
        whole[32..42].copy_from_slice(b"between us");
        assert_eq!(sealed.as_slice()[32..], Sha1::digest(&whole)[..]);
        assert_eq!(sealed.as_slice()[24..32], [4, 28, 7, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_meticulous_number_is_used_once_and_a_keyed_one_while_nothing_changes() {
        for (auth, again) in [(AuthType::Sha1, Ok(())), (AuthType::MeticulousSha1, Err(Drop::AuthSequence))] {
            let (mut ours, mut theirs) = (Sequence::new(u32::MAX - 1), Sequence::new(0));
            let sealed = seal(packet(), Some(&key(auth)), &mut ours, true);
            assert_eq!(verify(sealed.as_slice(), &key(auth), &mut theirs, 3), Ok(()));
            assert_eq!(verify(sealed.as_slice(), &key(auth), &mut theirs, 3), again, "{auth:?}: the same once more");
            let next = seal(packet(), Some(&key(auth)), &mut ours, false);
            assert_eq!(next == sealed, auth == AuthType::Sha1);
            assert_eq!(verify(next.as_slice(), &key(auth), &mut theirs, 3), Ok(()), "over the end of the numbers");
        }
    }

    #[test]
    fn a_number_that_leaps_is_refused_until_the_sequence_is_forgotten() {
        let key = key(AuthType::MeticulousSha1);
        let mut theirs = Sequence::new(0);
        let at = |number: u32| seal(packet(), Some(&key), &mut Sequence::new(number.wrapping_sub(1)), true);
        assert_eq!(verify(at(100).as_slice(), &key, &mut theirs, 3), Ok(()));
        assert_eq!(verify(at(110).as_slice(), &key, &mut theirs, 3), Err(Drop::AuthSequence), "more than 3 x 3 ahead");
        assert_eq!(verify(at(99).as_slice(), &key, &mut theirs, 3), Err(Drop::AuthSequence));
        assert_eq!(verify(at(109).as_slice(), &key, &mut theirs, 3), Ok(()));
        theirs.forget();
        assert_eq!(verify(at(5).as_slice(), &key, &mut theirs, 3), Ok(()));
    }

    #[test]
    fn what_is_not_authenticated_has_no_section() {
        assert_eq!(seal(packet(), None, &mut Sequence::new(0), true).as_slice(), packet());
    }
}
