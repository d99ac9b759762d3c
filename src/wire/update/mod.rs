//! UPDATE: prefixes that are gone, prefixes that are there, and their attributes (RFC 4271 §4.3, RFC 4760).
//!
//! In: a whole message (`decode`), or prefixes that share attributes (`encode`). Out: an `Update`, or octets.
//! The ladder of RFC 7606 is climbed here: what can be discarded is discarded, what must be withdrawn comes out as withdrawn, the rest resets the session.
//!
//! ```text
//! +-----------------------------------------------------+
//! |   Withdrawn Routes Length (2 octets)                |
//! +-----------------------------------------------------+
//! |   Withdrawn Routes (variable)                       |
//! +-----------------------------------------------------+
//! |   Total Path Attribute Length (2 octets)            |
//! +-----------------------------------------------------+
//! |   Path Attributes (variable)                        |
//! +-----------------------------------------------------+
//! |   Network Layer Reachability Information (variable) |
//! +-----------------------------------------------------+
//! ```

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use smallvec::SmallVec;

use super::attr::PathAttributes;
use super::error::DecodeError;
use super::nlri::NlriSet;
use crate::num::Family;

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, Unread, unread};
pub use encode::{encode_end_of_rib, encode_reach, encode_unreach};

/// One UPDATE message. `withdrawn` is to be applied before `announced`: a prefix in both counts as announced (RFC 4271 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// At most one run of each family: that of the body, and that of MP_UNREACH_NLRI.
    pub withdrawn: SmallVec<[NlriSet; 1]>,
    /// At most one run of each family: that of the body, and that of MP_REACH_NLRI.
    pub announced: SmallVec<[Announced; 1]>,
    /// The marker of RFC 4724 §2 for this family, and nothing else.
    pub end_of_rib: Option<Family>,
    /// What was wrong with it.
    pub errors: Option<Box<Malformed>>,
}

/// What was wrong with an UPDATE, and its octets. Reads as the list of errors: of severity Discard or Withdraw, in the order of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    errors: Vec<DecodeError>,
    message: Bytes,
}

impl Malformed {
    /// The whole message with its header, for the log (RFC 7606 §6).
    pub fn message(&self) -> &Bytes {
        &self.message
    }
}

impl Deref for Malformed {
    type Target = [DecodeError];

    fn deref(&self) -> &[DecodeError] {
        &self.errors
    }
}

/// Prefixes that share their attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Of one family.
    pub nlri: NlriSet,
    /// `None`: to be treated as withdrawn (RFC 7606 §2); the reason is the strongest of [`Update::errors`].
    pub attrs: Option<PathAttributes>,
}

impl Update {
    /// It says nothing, not even End-of-RIB: what it said was for families that are not read.
    pub fn is_empty(&self) -> bool {
        self.withdrawn.is_empty() && self.announced.is_empty() && self.end_of_rib.is_none()
    }

    /// The strongest error, if there was one; of equals the first.
    pub fn strongest_error(&self) -> Option<&DecodeError> {
        strongest(self.errors.as_deref()?)
    }
}

fn strongest(errors: &[DecodeError]) -> Option<&DecodeError> {
    // `max_by_key` answers the last of equals.
    errors.iter().rev().max_by_key(|e| e.severity())
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(family) = self.end_of_rib {
            write!(f, "end-of-rib {family}")?;
        }
        for set in &self.withdrawn {
            write!(f, "\n  withdrawn")?;
            set.iter().try_for_each(|n| write!(f, " {n}"))?;
        }
        for announced in &self.announced {
            write!(f, "\n  {}", if announced.attrs.is_some() { "announced" } else { "treated as withdrawn" })?;
            announced.nlri.iter().try_for_each(|n| write!(f, " {n}"))?;
            if let Some(attrs) = &announced.attrs {
                write!(f, "\n    {attrs}")?;
            }
        }
        self.errors.iter().flat_map(|e| e.iter()).try_for_each(|e| write!(f, "\n  {}: {e} [{}]", e.severity().as_str(), e.rule()))
    }
}
