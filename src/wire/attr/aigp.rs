//! AIGP (RFC 7311): the metric of the interior protocol, summed up. Recognised, kept between internal peers, not used.
//!
//! ```text
//! +---------------+-------------------------------+-------------------------------+
//! |  TLV type (1) |  TLV length (2, whole TLV)    |   value ...                   |
//! +---------------+-------------------------------+-------------------------------+
//! ```

use std::fmt::Display;

use super::{AttrCode, OPTIONAL_NON_TRANSITIVE, Row, copy};
use crate::wire::error::{Fault, Severity};
use crate::wire::read::Reader;

/// From an external peer it is left out: AIGP sessions must be enabled by configuration (RFC 7311 §3.1), and we have none.
pub(crate) const ROW: Row = Row {
    code: AttrCode::AIGP,
    name: "AIGP",
    flags: OPTIONAL_NON_TRANSITIVE,
    severity: Severity::Discard,
    internal_only: true,
    rule: "RFC 7311 §3.2",
    decode: |value, _, _| metric(value).map(drop),
    encode: copy,
    show: |value, f| match metric(value) {
        Ok(Some(metric)) => metric.fmt(f),
        _ => super::hex(value, f),
    },
};

/// The first AIGP TLV (type 1, length 11), after all TLVs were found to fit.
fn metric(value: &[u8]) -> Result<Option<u64>, Fault> {
    let mut r = Reader::new(value);
    let mut first = None;
    if r.is_empty() {
        return Err(Fault::Tlv);
    }
    while !r.is_empty() {
        let (kind, len) = (r.u8().ok_or(Fault::Tlv)?, r.u16().ok_or(Fault::Tlv)?);
        let body = usize::from(len).checked_sub(3).and_then(|n| r.take(n)).ok_or(Fault::Tlv)?;
        if kind == 1 {
            let metric = Reader::new(body).u64().filter(|_| body.len() == 8).ok_or(Fault::Tlv)?;
            first.get_or_insert(metric);
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_tlv_counts_its_head() {
        assert_eq!(metric(&[1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 42]), Ok(Some(42)));
        assert_eq!(metric(&[1, 0, 10, 0, 0, 0, 0, 0, 0, 0]), Err(Fault::Tlv));
        assert_eq!(metric(&[1, 0, 2]), Err(Fault::Tlv));
        assert_eq!(metric(&[9, 0, 3]), Ok(None), "another type is looked past");
        assert_eq!(metric(&[]), Err(Fault::Tlv));
    }
}
