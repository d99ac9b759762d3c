//! The header that every message begins with (RFC 4271 §4.1), and framing by it.
//!
//! In: the octets that have arrived so far. Out: how long the first message is, before anything is allocated for it.
//! Cutting and buffering is the shell's.
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                    Marker (16 octets of ones)                 |
//! +-------------------------------+---------------+---------------+
//! |          Length               |      Type     |
//! +-------------------------------+---------------+
//! ```

use bytes::{BufMut, BytesMut};
use nom::Parser;

use super::error::DecodeError;
use super::read::{array, be_u8, be_u16};

/// Marker, length, type.
pub const HEADER_LEN: usize = 19;
/// The longest message without RFC 8654.
pub const MAX_LEN: u16 = 4096;
/// The longest message with RFC 8654.
pub const MAX_EXTENDED_LEN: u16 = 65535;

/// RFC 4271 §4.2.
pub(crate) const OPEN: u8 = 1;
/// RFC 4271 §4.3.
pub(crate) const UPDATE: u8 = 2;
/// RFC 4271 §4.5.
pub(crate) const NOTIFICATION: u8 = 3;
/// RFC 4271 §4.4: the header alone.
pub(crate) const KEEPALIVE: u8 = 4;
/// RFC 2918 §3.
pub(crate) const ROUTE_REFRESH: u8 = 5;

/// Total length of the message that begins with these octets; `None` while the header is incomplete or when the message is.
///
/// `max_len` is what the receiving side agreed to (4,096, or 65,535 with RFC 8654; OPEN and KEEPALIVE stay at 4,096).
///
/// # Errors
/// RFC 4271 §6.1: the session has to be reset with Message Header Error.
pub fn frame_len(octets: &[u8], max_len: u16) -> Result<Option<usize>, DecodeError> {
    let Some((len, _)) = header(octets, max_len)? else { return Ok(None) };
    Ok((octets.len() >= len).then_some(len))
}

/// Length and type, both checked.
pub(crate) fn header(octets: &[u8], max_len: u16) -> Result<Option<(usize, u8)>, DecodeError> {
    let Ok((_, (marker, len, kind))) = (array::<16>, be_u16, be_u8).parse_complete(octets) else { return Ok(None) };
    if marker != [0xff; 16] {
        return Err(DecodeError::NotSynchronized);
    }
    let (least, most) = match kind {
        OPEN => (29, MAX_LEN),
        UPDATE => (23, max_len),
        NOTIFICATION => (21, max_len),
        KEEPALIVE => (19, 19),
        ROUTE_REFRESH => (23, max_len),
        // RFC 4271 §6.1 looks at the length before the type.
        _ if !(19..=max_len).contains(&len) => return Err(DecodeError::MessageLength { len, kind }),
        _ => return Err(DecodeError::MessageType { kind }),
    };
    if !(least..=most).contains(&len) {
        return Err(DecodeError::MessageLength { len, kind });
    }
    Ok(Some((usize::from(len), kind)))
}

/// Writes a header, the body by `body`, and then the true length into the header.
pub(crate) fn write_message(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = begin(kind, out);
    body(out);
    end(start, out);
}

/// A header whose length is still to come; answers where it begins.
pub(crate) fn begin(kind: u8, out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_slice(&[0xff; 16]);
    out.put_u16(0);
    out.put_u8(kind);
    start
}

/// Puts the true length into the header that begins at `start`.
pub(crate) fn end(start: usize, out: &mut BytesMut) {
    let len = u16::try_from(out.len().saturating_sub(start)).unwrap_or(u16::MAX);
    put_u16_at(out, start.saturating_add(16), len);
}

/// Overwrites two octets that were written before.
pub(crate) fn put_u16_at(out: &mut BytesMut, at: usize, value: u16) {
    if let Some(slot) = out.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *slot = value.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(len: u16, kind: u8) -> Vec<u8> {
        [&[0xff; 16][..], &len.to_be_bytes(), &[kind]].concat()
    }

    #[test]
    fn a_length_that_the_type_does_not_allow_is_refused_before_the_body_comes() {
        for (len, kind) in [(28, OPEN), (4097, OPEN), (22, UPDATE), (4097, UPDATE), (20, NOTIFICATION), (20, KEEPALIVE), (18, 9), (22, 5)] {
            assert_eq!(frame_len(&head(len, kind), MAX_LEN), Err(DecodeError::MessageLength { len, kind }), "{len} {kind}");
        }
        assert_eq!(frame_len(&head(19, 9), MAX_LEN), Err(DecodeError::MessageType { kind: 9 }));
        assert_eq!(frame_len(&head(0, 0), MAX_LEN), Err(DecodeError::MessageLength { len: 0, kind: 0 }));
    }

    #[test]
    fn extended_messages_are_long_except_open_and_keepalive() {
        assert_eq!(frame_len(&head(65535, UPDATE), MAX_EXTENDED_LEN), Ok(None));
        assert!(frame_len(&head(4097, OPEN), MAX_EXTENDED_LEN).is_err());
        assert!(frame_len(&head(20, KEEPALIVE), MAX_EXTENDED_LEN).is_err());
    }

    #[test]
    fn a_whole_message_is_measured_and_a_part_is_waited_for() {
        let mut octets = head(19, KEEPALIVE);
        assert_eq!(frame_len(&octets[..18], MAX_LEN), Ok(None));
        assert_eq!(frame_len(&octets, MAX_LEN), Ok(Some(19)));
        octets[3] = 0xfe;
        assert_eq!(frame_len(&octets, MAX_LEN), Err(DecodeError::NotSynchronized));
    }
}
