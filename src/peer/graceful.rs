//! Whose routes outlive a session (RFC 4724 §4, RFC 8538 §3, RFC 9494 §4.2): the helper's side, and what our own restart says in OPENs.
//!
//! In: how a session ended, and what the next one says. Out: families whose routes are kept, and the moment when what is still stale goes.
//! Marking and removing routes is the speaker's.
//!
//! The routes of a peer are kept when both sides offered graceful restart and TCP was lost without a NOTIFICATION; with the N bit on both
//! sides also after one, unless it is a hard reset. They go, family by family: at the peer's End-of-RIB; at once if the peer comes back
//! without having kept its forwarding state; when the peer's Restart Time ends without a session; `stale_time` after it is back; and when
//! it goes down a second time before, unless its long time runs (RFC 9494), or that was but the end of one of two connections: whoever dials
//! while the peer does, as both do when the way between them is free again, may have a session for some milliseconds before the peer closes
//! it (RFC 4271 §6.8).
//!
//! Where both sides offered long-lived graceful restart, what is stale when the Restart Time ends stays on for a time of its family's own, as the
//! last choice; making it that is the speaker's.

use super::Peer;
use super::event::{Action, DownReason, PeerNotice, StopKind};
use super::negotiate::Restart;
use super::session::{LongLived, Session};
use super::timer::Timer;
use crate::num::{Family, FamilySet, Instant};
use crate::wire::Notification;

/// What is between two sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GracefulRestartHelper {
    /// Families of which the speaker holds stale routes of this peer.
    pub stale: FamilySet,
    /// Our own restart: until when OPENs carry the R bit, and which families kept their forwarding state.
    pub restarting: Option<(Instant, FamilySet)>,
    /// How long stale routes stay on after the restart time (RFC 9494), as agreed on in the last session.
    pub long_lived: LongLived,
    /// There was a session in this life of ours, so that our forwarding state stands whenever one comes again.
    pub settled: bool,
}

/// The families whose routes are kept at the end of `session`. `notification`: the one that was sent or received.
pub(super) fn keeps(session: &Session, reason: &DownReason, notification: Option<&Notification>) -> FamilySet {
    let Some(graceful) = session.graceful else { return FamilySet::NONE };
    let families = graceful.families.or(session.long_lived.unwrap_or_default().families());
    match (reason, notification) {
        (DownReason::Stopped { kind: StopKind::BfdDownKept, .. }, _) => families,
        (DownReason::Stopped { .. }, None) => FamilySet::NONE,
        (_, None) => families,
        (_, Some(n)) if graceful.notification && !n.is_hard_reset() => families,
        (_, Some(_)) => FamilySet::NONE,
    }
}

impl Peer {
    /// What our OPEN says now.
    pub(super) fn restart_facts(&self, now: Instant) -> Restart {
        match self.restart_helper.restarting {
            // Our forwarding state stands although nobody need wait for us any more: to a peer that we meet late it still counts.
            Some((until, forwarding)) if !self.restart_helper.settled => Restart { restarting: now < until, forwarding },
            Some(_) | None if self.restart_helper.settled => Restart { restarting: false, forwarding: self.params.families },
            Some(_) | None => Restart::default(),
        }
    }

    /// After the end of a session: `keep` are kept, and what was stale already goes (RFC 4724 §4.2, consecutive restarts), or is kept as well:
    /// the families that come back.
    pub(super) fn start_restart_window(&mut self, now: Instant, session: &Session, keep: FamilySet, keep_stale: bool) -> FamilySet {
        let still = if keep_stale { keep } else { keep.and(self.long_lived_families()) };
        self.sweep(now, self.restart_helper.stale.minus(still));
        self.restart_helper.stale = keep;
        self.restart_helper.long_lived = session.long_lived.unwrap_or_default();
        let Some(graceful) = session.graceful.filter(|_| !keep.is_empty()) else { return still };
        let first = if graceful.restart_time.is_zero() { FamilySet::NONE } else { keep.and(graceful.families) };
        if !first.is_empty() {
            self.timers.set(Timer::Restart, now + graceful.restart_time);
            self.note(now, PeerNotice::RestartWindow { families: first, time: graceful.restart_time });
        }
        self.begin_long_lived(now, keep.minus(first));
        still
    }

    /// The peer's restart time is over (RFC 4724 §4.2, RFC 9494 §4.2).
    pub(super) fn on_restart_time_over(&mut self, now: Instant) {
        self.begin_long_lived(now, self.restart_helper.stale);
    }

    /// The stale routes of these families stay on for their long time, if they have one; else they go.
    fn begin_long_lived(&mut self, now: Instant, families: FamilySet) {
        let stays = families.and(self.restart_helper.long_lived.families());
        self.sweep(now, families.minus(stays));
        if stays.is_empty() {
            return;
        }
        // A time that runs goes on until the peer is back and has said everything.
        for family in stays.iter().filter(|family| !self.timers.runs(Timer::long_lived(*family))).collect::<Vec<_>>() {
            self.timers.set(Timer::long_lived(family), now + self.restart_helper.long_lived.stale_time(family));
        }
        self.note(now, PeerNotice::LongLived { families: stays });
        self.actions.push_back(Action::LongLived(stays));
    }

    /// The long time of a family is over: what is still stale of it goes, whether or not the peer is back.
    pub(super) fn on_long_lived_over(&mut self, now: Instant, family: Family) {
        self.sweep(now, self.restart_helper.stale.and(family.into()));
    }

    /// Families whose long time runs.
    fn long_lived_families(&self) -> FamilySet {
        Family::ALL.into_iter().filter(|family| self.timers.runs(Timer::long_lived(*family))).collect()
    }

    /// The peer is back (RFC 4724 §4.2): families without the capability or without forwarding state lose their stale routes now.
    pub(super) fn on_peer_back(&mut self, now: Instant, session: &Session) {
        self.timers.stop(Timer::Restart);
        self.restart_helper.restarting = None;
        self.restart_helper.settled = true;
        let long = self.long_lived_families();
        let kept = session.graceful.map_or(FamilySet::NONE, |g| g.forwarding.and(g.families)).minus(long);
        let kept = kept.or(session.long_lived.map_or(FamilySet::NONE, |l| l.forwarding).and(long));
        self.sweep(now, self.restart_helper.stale.minus(kept));
        // What is stale for longer keeps its time.
        let begins = !self.restart_helper.stale.is_empty() && !self.timers.runs(Timer::Stale);
        if let Some(offer) = self.params.offer.graceful_restart.filter(|_| begins) {
            self.timers.set(Timer::Stale, now + offer.stale_time);
        }
    }

    /// The peer has announced everything of a family: what is still stale goes (RFC 4724 §4.2).
    pub(super) fn on_end_of_rib(&mut self, now: Instant, family: Family) {
        if self.restart_helper.stale.contains(family) {
            self.sweep(now, family.into());
        }
    }

    /// The Restart Time or the time for stale routes is over, or the operator stopped the peer.
    pub(super) fn give_up_stale(&mut self, now: Instant) {
        self.sweep(now, self.restart_helper.stale);
    }

    fn sweep(&mut self, now: Instant, families: FamilySet) {
        if families.is_empty() {
            return;
        }
        self.restart_helper.stale = self.restart_helper.stale.minus(families);
        families.iter().for_each(|family| self.timers.stop(Timer::long_lived(family)));
        if self.restart_helper.stale.is_empty() {
            self.timers.stop(Timer::Restart);
            self.timers.stop(Timer::Stale);
        }
        self.note(now, PeerNotice::Swept { families });
        self.actions.push_back(Action::SweepStale(families));
    }
}
