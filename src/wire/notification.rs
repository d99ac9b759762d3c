//! NOTIFICATION: why a session ends (RFC 4271 §4.5).
//!
//! In: code, subcode and data from the wire, or a constructor's name. Out: the same octets, and words for people.
//! Who sends it when is the peer's business.
//!
//! ```text
//! 0                   1                   2                   3
//! 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |  Error code   | Error subcode |   Data (variable)             |
//! +---------------+---------------+-------------------------------+
//! ```

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::multi::length_data;

use super::read::{Read, be_u8};

/// The data that fits beside code and subcode into a message of 4,096 octets.
pub(crate) const MAX_DATA: usize = 4096 - 21;
/// A shutdown text has up to 255 octets of UTF-8, but to a peer that is not known to read so many only 128, the limit of RFC 8203 (RFC 9003 §3).
/// Nothing in an OPEN says which of the two a peer knows, so we keep to 128; what comes is read up to 255.
pub const MAX_SHUTDOWN_TEXT: usize = 128;

/// Error code, subcode and data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// RFC 4271 §4.5: which part of the protocol was broken.
    pub code: u8,
    /// What exactly; zero: unspecific.
    pub subcode: u8,
    /// By code and subcode: the octets at fault, a shutdown text, a limit.
    pub data: Bytes,
}

/// Subcodes of Cease (RFC 4486 §3, RFC 8538 §3.1, RFC 9384 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CeaseSubcode {
    /// RFC 4486 §4: more prefixes than we take; data: AFI, SAFI, the limit.
    MaximumPrefixes = 1,
    /// RFC 9003 §2: by the operator, with a text in the data.
    AdministrativeShutdown = 2,
    /// RFC 4486 §4: the peer was taken out of the configuration.
    PeerDeconfigured = 3,
    /// RFC 9003 §2: by the operator; the session may come back at once.
    AdministrativeReset = 4,
    /// RFC 4486 §4: a connection that is not wanted, though TCP stood.
    ConnectionRejected = 5,
    /// RFC 4486 §4: settings changed that the session was agreed with.
    OtherConfigurationChange = 6,
    /// RFC 4486 §4: the loser of a collision (RFC 4271 §6.8).
    ConnectionCollision = 7,
    /// RFC 4486 §4: memory, or a bound of ours.
    OutOfResources = 8,
    /// RFC 8538 §3.1: routes are not to be kept; the data hold the code that was meant.
    HardReset = 9,
    /// RFC 9384: BFD lost the peer.
    BfdDown = 10,
}

/// In which state a message came that has no business there (RFC 6608 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FsmSubcode {
    /// An event that is no message.
    Unspecified = 0,
    /// The peer's OPEN was awaited.
    OpenSent = 1,
    /// The peer's KEEPALIVE was awaited.
    OpenConfirm = 2,
    /// In a session.
    Established = 3,
}

impl Notification {
    /// Any code; for those that we send see the other constructors.
    pub fn new(code: u8, subcode: u8, data: Bytes) -> Notification {
        Notification { code, subcode, data }
    }

    fn bare(code: u8, subcode: u8) -> Notification {
        Notification::new(code, subcode, Bytes::new())
    }

    /// RFC 4271 §6.5.
    pub fn hold_timer_expired() -> Notification {
        Notification::bare(4, 0)
    }

    /// RFC 9687 §4: the peer reads nothing any more.
    pub fn send_hold_timer_expired() -> Notification {
        Notification::bare(8, 0)
    }

    /// RFC 4271 §6.6 with the subcodes of RFC 6608; the data is the type of the unexpected message.
    pub fn fsm_error(state: FsmSubcode, message_type: Option<u8>) -> Notification {
        Notification::new(5, state as u8, message_type.map_or_else(Bytes::new, |t| Bytes::copy_from_slice(&[t])))
    }

    /// RFC 4271 §6.2: the AS number of the OPEN is not the one we expected.
    pub fn bad_peer_as() -> Notification {
        Notification::bare(2, 2)
    }

    /// RFC 4271 §6.2, RFC 6286 §2.2.
    pub fn bad_identifier() -> Notification {
        Notification::bare(2, 3)
    }

    /// RFC 5492 §5: `capabilities` are those that we need, encoded as in an OPEN.
    pub fn unsupported_capability(capabilities: &[super::Capability]) -> Notification {
        let mut data = BytesMut::new();
        capabilities.iter().for_each(|c| c.encode(&mut data));
        Notification::new(2, 7, data.freeze())
    }

    /// RFC 9234 §4.2.
    pub fn role_mismatch() -> Notification {
        Notification::bare(2, 11)
    }

    /// RFC 4486; the text goes with Administrative Shutdown and Reset only (RFC 9003 §2) and is cut at a character to [`MAX_SHUTDOWN_TEXT`].
    pub fn cease(subcode: CeaseSubcode, text: Option<&str>) -> Notification {
        let with_text = matches!(subcode, CeaseSubcode::AdministrativeShutdown | CeaseSubcode::AdministrativeReset);
        let data = match text.filter(|t| with_text && !t.is_empty()) {
            None => Bytes::new(),
            Some(text) => text_octets(text),
        };
        Notification::new(6, subcode as u8, data)
    }

    /// RFC 4486 §4: which family had too many prefixes, and the bound.
    pub fn maximum_prefixes(afi: u16, safi: u8, bound: u32) -> Notification {
        let mut data = BytesMut::with_capacity(7);
        data.put_u16(afi);
        data.put_u8(safi);
        data.put_u32(bound);
        Notification::new(6, CeaseSubcode::MaximumPrefixes as u8, data.freeze())
    }

    /// RFC 8538 §3.1: this notification, wrapped so that the peer does not keep our routes.
    #[must_use]
    pub fn into_hard_reset(self) -> Notification {
        let mut data = BytesMut::new();
        self.encode_body(&mut data);
        data.truncate(MAX_DATA);
        Notification::new(6, CeaseSubcode::HardReset as u8, data.freeze())
    }

    /// RFC 8538 §3.1: routes are not to be kept, graceful restart or not.
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (6, CeaseSubcode::HardReset as u8)
    }

    /// The notification inside of a hard reset (RFC 8538 §3.1).
    pub fn inner(&self) -> Option<Notification> {
        self.is_hard_reset().then(|| Notification::decode(self.data.clone())).flatten()
    }

    /// RFC 9003 §2: the operator's words. Octets that are not UTF-8 are shown as replacement characters; a length that lies gives `None`.
    pub fn shutdown_text(&self) -> Option<String> {
        let with_text = [CeaseSubcode::AdministrativeShutdown as u8, CeaseSubcode::AdministrativeReset as u8];
        if self.code != 6 || !with_text.contains(&self.subcode) {
            return None;
        }
        let (_, text) = text(&self.data).ok()?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The body without the header. `None` if it is too short, which framing has excluded (RFC 4271 §6.4: nothing could be answered anyway).
    pub(crate) fn decode(body: Bytes) -> Option<Notification> {
        let (data, (code, subcode)) = (be_u8, be_u8).parse_complete(&body[..]).ok()?;
        Some(Notification::new(code, subcode, body.slice_ref(data)))
    }

    /// Behind the header. Data beyond the message's length are cut off.
    pub(crate) fn encode_body(&self, out: &mut BytesMut) {
        out.put_u8(self.code);
        out.put_u8(self.subcode);
        out.put_slice(self.data.get(..MAX_DATA).unwrap_or(&self.data));
    }

    /// The name of the error code, as in the IANA registry.
    pub fn code_name(&self) -> &'static str {
        match self.code {
            1 => "Message Header Error",
            2 => "OPEN Message Error",
            3 => "UPDATE Message Error",
            4 => "Hold Timer Expired",
            5 => "Finite State Machine Error",
            6 => "Cease",
            7 => "ROUTE-REFRESH Message Error",
            8 => "Send Hold Timer Expired",
            _ => "Unknown Error",
        }
    }

    /// The name of the subcode, if it has one.
    pub fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 5) => "Authentication Failure (deprecated)",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 7) => "AS Routing Loop (deprecated)",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (5, 1) => "Unexpected Message in OpenSent",
            (5, 2) => "Unexpected Message in OpenConfirm",
            (5, 3) => "Unexpected Message in Established",
            (6, 1) => "Maximum Number of Prefixes Reached",
            (6, 2) => "Administrative Shutdown",
            (6, 3) => "Peer De-configured",
            (6, 4) => "Administrative Reset",
            (6, 5) => "Connection Rejected",
            (6, 6) => "Other Configuration Change",
            (6, 7) => "Connection Collision Resolution",
            (6, 8) => "Out of Resources",
            (6, 9) => "Hard Reset",
            (6, 10) => "BFD Down",
            (7, 1) => "Invalid Message Length",
            _ => return None,
        })
    }
}

/// Length octet and so much text (RFC 9003 §2).
fn text(octets: &[u8]) -> Read<'_, &[u8]> {
    length_data(be_u8).parse_complete(octets)
}

/// Length octet and text, cut at a character boundary to what any peer reads.
fn text_octets(text: &str) -> Bytes {
    let end = (0..=text.len().min(MAX_SHUTDOWN_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let cut = text.get(..end).unwrap_or_default();
    let mut data = BytesMut::with_capacity(cut.len().saturating_add(1));
    data.put_u8(u8::try_from(cut.len()).unwrap_or(u8::MAX));
    data.put_slice(cut.as_bytes());
    data.freeze()
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code_name())?;
        match self.subcode_name() {
            Some(name) => write!(f, "/{name}")?,
            None if self.subcode != 0 => write!(f, "/subcode {}", self.subcode)?,
            None => {}
        }
        write!(f, " ({}/{})", self.code, self.subcode)?;
        if let Some(text) = self.shutdown_text() {
            write!(f, ": {text:?}")?;
        } else if let Some(inner) = self.inner() {
            write!(f, ": {inner}")?;
        } else if !self.data.is_empty() {
            write!(f, ", data ")?;
            self.data.iter().take(64).try_for_each(|o| write!(f, "{o:02x}"))?;
            if self.data.len() > 64 {
                write!(f, "... ({} octets)", self.data.len())?;
            }
        }
        Ok(())
    }
}
