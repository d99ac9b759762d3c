//! Internal peers that have one BGP identifier, as copies of one machine do.
//!
//! In: the established sessions. Out: which two of them have one identifier. RFC 6286 §2.1 has it unique within the AS: a reflector takes both for
//! one router and tells neither of the other's routes (RFC 4456 §8), which nobody but it can see. One router may have two sessions with us,
//! one for each family; so those count that carry a family in common.

use std::collections::HashMap;

use super::{Entry, EstablishedSession, Sessions};
use crate::num::{FamilySet, PeerId};
use crate::stats::Notice;

impl Sessions {
    /// A peer with the identifier of this one, if there is such a one.
    pub fn same_identifier(&self, id: PeerId) -> Option<Notice> {
        let this = self.get(id)?;
        let own = internal(this)?;
        let same = |other: &&Entry| other.id != id && internal(other).is_some_and(|live| conflict(own, live));
        Some(notice(this, self.iter().find(same)?, own))
    }

    /// All of them, each beside the first that has its identifier.
    pub fn same_identifiers(&self) -> impl Iterator<Item = Notice> {
        let mut first: HashMap<_, &Entry> = HashMap::new();
        let mut found = Vec::new();
        for entry in self.iter() {
            let Some(live) = internal(entry) else { continue };
            let before = *first.entry(live.session.remote_id).or_insert(entry);
            if before.id != entry.id && internal(before).is_some_and(|other| conflict(other, live)) {
                found.push(notice(before, entry, live));
            }
        }
        found.into_iter()
    }
}

fn internal(entry: &Entry) -> Option<&EstablishedSession> {
    entry.live.as_ref().filter(|live| live.session.is_internal())
}

fn conflict(a: &EstablishedSession, b: &EstablishedSession) -> bool {
    let common = a.session.families.and(b.session.families);
    a.session.remote_id == b.session.remote_id && common != FamilySet::NONE
}

fn notice(peer: &Entry, other: &Entry, live: &EstablishedSession) -> Notice {
    Notice::SameIdentifier { peer: peer.name().to_owned(), other: other.name().to_owned(), identifier: live.session.remote_id.addr() }
}
