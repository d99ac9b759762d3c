//! What caches say, and what it makes of a route (RFC 6811 §2).

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::num::Asn;

/// A validated ROA payload: this AS may originate this prefix, and what lies inside it up to a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    /// Without host bits.
    pub net: IpNet,
    /// AS 0 may originate nothing (RFC 6811 §2).
    pub asn: Asn,
    /// From the prefix's own length on.
    pub max_len: u8,
}

impl fmt::Display for Vrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} up to /{} from {}", self.net, self.max_len, self.asn)
    }
}

/// What VRPs say of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    /// One covers and matches it.
    Valid,
    /// Some cover it, and none matches.
    Invalid,
    /// None covers it, or there are none.
    #[default]
    NotFound,
}

impl Validity {
    /// As in the configuration, in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Validity::Valid => "valid",
            Validity::Invalid => "invalid",
            Validity::NotFound => "not-found",
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
