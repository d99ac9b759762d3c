//! ORIGIN (RFC 4271 §5.1.1): how the route came into BGP.
//!
//! ```text
//! +---------------+
//! | 0, 1 or 2     |
//! +---------------+
//! ```

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::{AttrCode, Row, WELL_KNOWN, copy, length};
use crate::wire::error::{Fault, Severity};

/// Malformed, the route is treated as withdrawn (RFC 7606 §7.1).
pub(crate) const ROW: Row = Row {
    code: AttrCode::ORIGIN,
    name: "ORIGIN",
    flags: WELL_KNOWN,
    severity: Severity::Withdraw,
    internal_only: false,
    rule: "RFC 7606 §7.1",
    decode: |value, _, facts| {
        facts.origin = decode(value)?;
        Ok(())
    },
    encode: copy,
    show: |value, f| decode(value).map_err(|_| fmt::Error)?.fmt(f),
};

/// Lower is better (RFC 4271 §9.1.2.2 b).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// From inside of the AS where it began; preferred to the others.
    #[default]
    Igp = 0,
    /// From the protocol before BGP (RFC 904).
    Egp = 1,
    /// From somewhere else, such as redistribution.
    Incomplete = 2,
}

#[inline]
fn decode(value: &[u8]) -> Result<Origin, Fault> {
    match value {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [value] => Err(Fault::Value { value: *value }),
        _ => Err(length(value)),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_values_are_defined_and_the_length_is_one() {
        assert_eq!(decode(&[2]), Ok(Origin::Incomplete));
        assert_eq!(decode(&[3]), Err(Fault::Value { value: 3 }));
        assert_eq!(decode(&[]), Err(Fault::Length { len: 0 }));
        assert_eq!(decode(&[0, 0]), Err(Fault::Length { len: 2 }));
    }
}
