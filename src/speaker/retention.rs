//! Routes that outlive their session: a peer's restart (RFC 4724 §4.2, RFC 8538).
//!
//! In: sessions that end, End-of-RIB, sweeps that are due. Out: routes marked stale, kept or removed in the RIB.

use super::io::Effects;
use super::sessions::Sessions;
use super::startup::StartupConvergence;
use crate::num::{Family, FamilySet, Instant, PeerId};
use crate::peer::{Down, Event};
use crate::rib::Rib;
use crate::stats::Notice;

/// A session ended: its routes go, or stay for a while (RFC 4724 §4.2).
pub(super) fn retain_or_drop(id: PeerId, down: &Down, rib: &mut Rib) {
    for family in Family::ALL {
        if down.keep.contains(family) {
            rib.retain_stale(id, family, down.keep_stale.contains(family));
        } else {
            rib.drop_family(id, family);
        }
    }
    if down.keep.is_empty() {
        rib.peer_down(id);
    }
}

/// The peer has announced everything (RFC 4724 §2).
pub(super) fn on_end_of_rib(
    (id, family): (PeerId, Family),
    now: Instant,
    sessions: &mut Sessions,
    rib: &mut Rib,
    startup: &mut StartupConvergence,
    effects: &mut Effects,
) {
    let Some(entry) = sessions.get_mut(id) else { return };
    let peer = entry.name().to_owned();
    let Some(live) = entry.live.as_mut() else { return };
    let news = !live.end_of_rib.contains(family);
    live.end_of_rib.insert(family);
    sweep(id, family.into(), sessions, rib);
    sessions.dispatch(id, Event::EndOfRib { family }, now, effects);
    if news {
        effects.notice(Notice::EndOfRib { peer, family });
    }
    startup.may_end();
}

/// Removes what is still stale of these families.
pub(super) fn sweep(id: PeerId, families: FamilySet, sessions: &Sessions, rib: &mut Rib) {
    for family in families.iter().filter(|f| rib.counts(id, *f).stale > 0).collect::<Vec<_>>() {
        rib.sweep_stale(id, family);
    }
    if holds_nothing(id, rib) && sessions.get(id).is_some_and(|e| e.live.is_none()) {
        rib.peer_down(id);
    }
}

/// No route of this peer is left.
pub(super) fn holds_nothing(id: PeerId, rib: &Rib) -> bool {
    Family::ALL.iter().all(|f| rib.counts(id, *f).received == 0)
}
