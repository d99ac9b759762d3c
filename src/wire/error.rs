//! What can be wrong with octets, how bad it is, and what the peer is told.
//!
//! In: facts found by the decoders, in variants without prose. Out: the severity of RFC 7606 and the NOTIFICATION of RFC 4271 §6.
//! Whether a session is really reset is the speaker's to do; that a route is withdrawn is already done by the decoder.

use bytes::Bytes;
use thiserror::Error;

use super::attr::AttrCode;
use super::notification::{MAX_DATA, Notification};
use crate::num::Family;

/// The ladder of RFC 7606 §2. A stronger approach compares greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The attribute is left out, the route lives.
    Discard,
    /// The routes of this UPDATE are treated as withdrawn.
    Withdraw,
    /// The session ends with a NOTIFICATION.
    Reset,
}

impl Severity {
    /// As written in logs and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Discard => "discard",
            Severity::Withdraw => "withdraw",
            Severity::Reset => "reset",
        }
    }

    /// What is done, in words.
    pub fn action(self) -> &'static str {
        match self {
            Severity::Discard => "attribute discarded",
            Severity::Withdraw => "treated as withdrawn",
            Severity::Reset => "session reset",
        }
    }
}

/// Which run of prefixes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NlriField {
    /// WITHDRAWN ROUTES of the body.
    Withdrawn,
    /// NLRI of the body.
    Announced,
    /// Those of MP_REACH_NLRI.
    MpReach,
    /// Those of MP_UNREACH_NLRI.
    MpUnreach,
}

impl NlriField {
    fn name(self) -> &'static str {
        match self {
            NlriField::Withdrawn => "WITHDRAWN ROUTES",
            NlriField::Announced => "NLRI",
            NlriField::MpReach => "MP_REACH_NLRI",
            NlriField::MpUnreach => "MP_UNREACH_NLRI",
        }
    }
}

/// What is wrong with one attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Fault {
    /// Optional and Transitive are not as the type has them (RFC 7606 §3 c).
    #[error("flags {flags:#04x} where {wanted:#04x} belong")]
    Flags { flags: u8, wanted: u8 },
    /// Not a length that the type can have.
    #[error("length {len}")]
    Length { len: u16 },
    /// A value that no RFC defines.
    #[error("undefined value {value}")]
    Value { value: u8 },
    /// Zero, multicast or the like where the address of a host belongs (RFC 4271 §6.3).
    #[error("not a host address")]
    Address,
    /// RFC 7607 §2.
    #[error("AS number 0")]
    AsZero,
    /// RFC 7606 §7.2: a segment of a type that is not defined.
    #[error("segment of unknown type {kind}")]
    SegmentType { kind: u8 },
    /// RFC 7606 §7.2: a segment that counts no AS.
    #[error("segment without an AS number")]
    SegmentEmpty,
    /// RFC 7606 §7.2: a segment that counts more than there is.
    #[error("segment longer than the attribute")]
    SegmentOverrun,
    /// RFC 5065 §5: a confederation's segment, and the peer is not of our confederation.
    #[error("confederation segment from outside of the confederation")]
    Confederation,
    /// RFC 7606 §7.11: no next hop has this length.
    #[error("next hop of {len} octets")]
    NextHopLength { len: u8 },
    /// RFC 4271 §5.1.5, RFC 4456 §8: an attribute of internal sessions from an external peer.
    #[error("not allowed from an external peer")]
    External,
    /// RFC 6793 §4.1: AS4_PATH or AS4_AGGREGATOR from a peer that has four-octet numbers anyway.
    #[error("not allowed from a speaker of four-octet AS numbers")]
    FourOctetSpeaker,
    /// RFC 7606 §3 g: the first stays, this one is left out.
    #[error("occurs a second time")]
    Duplicate,
    /// RFC 4271 §6.3: the Optional bit is off, and we do not know the type.
    #[error("well-known, but unknown here")]
    UnknownWellKnown,
    /// The parts of the value do not fill it (RFC 7311 §3).
    #[error("value cannot be read")]
    Tlv,
}

/// One attribute that could not be taken as it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttributeError {
    /// Its type.
    pub code: AttrCode,
    /// What is wrong.
    pub fault: Fault,
    /// What that leads to for this attribute.
    pub severity: Severity,
    /// Where the attribute begins, counted from the first octet of the message.
    pub offset: u16,
    /// Flags, type, length and value as received: the Data of the NOTIFICATION (RFC 4271 §6.3).
    pub octets: Bytes,
}

/// Octets that are not what the RFCs allow: always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error)]
pub enum DecodeError {
    /// RFC 4271 §6.1.
    #[error("marker is not all ones")]
    NotSynchronized,
    /// RFC 4271 §6.1: outside of 19..=max, or not what the type allows.
    #[error("length {len} is not possible for message type {kind}")]
    MessageLength { len: u16, kind: u8 },
    /// RFC 4271 §6.1.
    #[error("unknown message type {kind}")]
    MessageType { kind: u8 },

    /// RFC 4271 §6.2.
    #[error("OPEN with version {version}")]
    Version { version: u8 },
    /// RFC 7607 §2, RFC 4271 §6.2.
    #[error("OPEN with AS number 0")]
    AsZero,
    /// RFC 6286 §2.2.
    #[error("OPEN with BGP Identifier 0.0.0.0")]
    Identifier,
    /// RFC 4271 §6.2.
    #[error("OPEN with optional parameter {kind}, which is not supported")]
    OptionalParameter { kind: u8 },
    /// RFC 4271 §6.2: a parameter that is known but malformed; the optional parameters do not fill their length.
    #[error("OPEN with malformed optional parameters at offset {offset}")]
    MalformedParameter { offset: u16 },
    /// RFC 4271 §6.2.
    #[error("OPEN with a hold time of {seconds} s")]
    HoldTime { seconds: u16 },

    /// RFC 4271 §6.3: Withdrawn Routes Length + Total Attribute Length + 23 exceeds the message length.
    #[error("UPDATE lengths exceed the message: withdrawn {withdrawn}, attributes {attributes}")]
    UpdateLengths { withdrawn: u16, attributes: u16 },
    /// RFC 7606 §3(i), §5.3: prefixes that cannot be read, so nothing can be withdrawn in their stead.
    #[error("{} for {family}: prefix at offset {offset} cannot be read", field.name())]
    Nlri { field: NlriField, family: Family, offset: u16 },
    /// RFC 7606 §4: an attribute runs over the end of all attributes, or its header does. The type is that of the header, as far as there is one.
    #[error("{} at offset {offset} runs over the end of all attributes", code.map_or_else(|| "attribute".into(), |code| code.to_string()))]
    AttributeOverrun { code: Option<AttrCode>, offset: u16 },
    /// RFC 7606 §3(d).
    #[error("{0} is missing")]
    MissingAttribute(AttrCode),
    /// RFC 7606 §7: one attribute; the others of the message were read on.
    #[error("{}: {} (offset {})", .0.code, .0.fault, .0.offset)]
    Attribute(AttributeError),
    /// RFC 7606 §5.2: an error that asks for a withdrawal, in an UPDATE that names no reachable prefix to withdraw.
    #[error("{0}, and the UPDATE names no reachable prefix")]
    NothingToWithdraw(Box<DecodeError>),

    /// RFC 7313 §5. Carries the whole message.
    #[error("ROUTE-REFRESH of {} octets", message.len())]
    RefreshLength { message: Bytes },
}

impl DecodeError {
    /// Its place on the ladder of RFC 7606.
    pub fn severity(&self) -> Severity {
        match self {
            DecodeError::Attribute(e) => e.severity,
            // RFC 7606 §3(j): prefixes that are cut off are prefixes that nobody can withdraw.
            DecodeError::AttributeOverrun { code: Some(AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI), .. } => Severity::Reset,
            DecodeError::AttributeOverrun { .. } | DecodeError::MissingAttribute(_) => Severity::Withdraw,
            _ => Severity::Reset,
        }
    }

    /// Which attribute is to blame, if it is one.
    pub fn attribute(&self) -> Option<AttrCode> {
        match self {
            DecodeError::Attribute(e) => Some(e.code),
            DecodeError::MissingAttribute(code) => Some(*code),
            DecodeError::AttributeOverrun { code, .. } => *code,
            DecodeError::NothingToWithdraw(inner) => inner.attribute(),
            _ => None,
        }
    }

    /// Where in the message, counted from its first octet.
    pub fn offset(&self) -> Option<u16> {
        match self {
            DecodeError::NotSynchronized => Some(0),
            DecodeError::MessageLength { .. } => Some(16),
            DecodeError::MessageType { .. } => Some(18),
            DecodeError::Version { .. } => Some(19),
            DecodeError::HoldTime { .. } => Some(22),
            DecodeError::Identifier => Some(24),
            DecodeError::MalformedParameter { offset }
            | DecodeError::Nlri { offset, .. }
            | DecodeError::AttributeOverrun { offset, .. }
            | DecodeError::Attribute(AttributeError { offset, .. }) => Some(*offset),
            DecodeError::NothingToWithdraw(inner) => inner.offset(),
            _ => None,
        }
    }

    /// The section that decides, for people who look it up.
    pub fn rule(&self) -> &'static str {
        match self {
            DecodeError::NotSynchronized | DecodeError::MessageLength { .. } | DecodeError::MessageType { .. } => "RFC 4271 §6.1",
            DecodeError::AsZero => "RFC 7607 §2",
            DecodeError::Identifier => "RFC 6286 §2.2",
            DecodeError::Version { .. }
            | DecodeError::OptionalParameter { .. }
            | DecodeError::MalformedParameter { .. }
            | DecodeError::HoldTime { .. } => "RFC 4271 §6.2",
            DecodeError::UpdateLengths { .. } => "RFC 4271 §6.3",
            DecodeError::Nlri { .. } => "RFC 7606 §5.3",
            DecodeError::AttributeOverrun { .. } => "RFC 7606 §4",
            DecodeError::MissingAttribute(_) => "RFC 7606 §3(d)",
            DecodeError::NothingToWithdraw(_) => "RFC 7606 §5.2",
            DecodeError::RefreshLength { .. } => "RFC 7313 §5",
            DecodeError::Attribute(e) => e.rule(),
        }
    }
}

impl AttributeError {
    fn rule(&self) -> &'static str {
        match self.fault {
            Fault::Flags { .. } => "RFC 7606 §3(c)",
            Fault::Duplicate => "RFC 7606 §3(g)",
            Fault::UnknownWellKnown => "RFC 4271 §6.3",
            Fault::AsZero => "RFC 7607 §2",
            Fault::FourOctetSpeaker => "RFC 6793 §4.1",
            Fault::Confederation => "RFC 5065 §5.3",
            _ => super::attr::row(self.code).map_or("RFC 4271 §6.3", |row| row.rule),
        }
    }

    /// The subcode of RFC 4271 §6.3.
    fn subcode(&self) -> u8 {
        match (self.fault, self.code) {
            (Fault::Duplicate, _) => 1,
            (Fault::UnknownWellKnown, _) => 2,
            (Fault::Flags { .. }, _) => 4,
            (_, AttrCode::MP_REACH_NLRI | AttrCode::MP_UNREACH_NLRI) => 9,
            (Fault::Length { .. }, _) => 5,
            (_, AttrCode::ORIGIN) => 6,
            (_, AttrCode::NEXT_HOP) => 8,
            (_, AttrCode::AS_PATH) => 11,
            _ => 9,
        }
    }

    fn notification(&self) -> Notification {
        let subcode = self.subcode();
        // A malformed attribute list or AS_PATH is reported without data, all else with the attribute itself.
        let data = if matches!(subcode, 1 | 11) { Bytes::new() } else { self.octets.clone() };
        Notification::new(3, subcode, data)
    }
}

impl From<&DecodeError> for Notification {
    /// Exactly the code, subcode and data of RFC 4271 §6, RFC 7313 §5.
    fn from(error: &DecodeError) -> Notification {
        let bare = |code, subcode| Notification::new(code, subcode, Bytes::new());
        let with = |code, subcode, data: &[u8]| Notification::new(code, subcode, Bytes::copy_from_slice(data));
        match error {
            DecodeError::NotSynchronized => bare(1, 1),
            DecodeError::MessageLength { len, .. } => with(1, 2, &len.to_be_bytes()),
            DecodeError::MessageType { kind } => with(1, 3, &[*kind]),
            DecodeError::Version { .. } => with(2, 1, &4u16.to_be_bytes()),
            DecodeError::AsZero => bare(2, 2),
            DecodeError::Identifier => bare(2, 3),
            DecodeError::OptionalParameter { .. } => bare(2, 4),
            DecodeError::MalformedParameter { .. } => bare(2, 0),
            DecodeError::HoldTime { .. } => bare(2, 6),
            DecodeError::UpdateLengths { .. } | DecodeError::AttributeOverrun { .. } => bare(3, 1),
            DecodeError::Nlri { field: NlriField::Withdrawn | NlriField::Announced, .. } => bare(3, 10),
            DecodeError::Nlri { .. } => bare(3, 9),
            DecodeError::MissingAttribute(code) => with(3, 3, &[code.0]),
            DecodeError::Attribute(e) => e.notification(),
            DecodeError::NothingToWithdraw(inner) => Notification::from(&**inner),
            DecodeError::RefreshLength { message } => Notification::new(7, 1, message.slice(..message.len().min(MAX_DATA))),
        }
    }
}
