//! Restarts without loss: theirs, whose routes we keep for a while, and ours, after which the kernel's old routes wait for confirmation.
//!
//! In: sessions that end and come back, End-of-RIB, time. Out: routes marked stale, kept or swept in the RIB; the word to the FIB planner
//! that what nobody announced again may go; the word to the export groups that End-of-RIB may be sent.
//!
//! RFC 4724 §4.2 (the helper), §4.1 (the restarter), RFC 8538 (restarts by NOTIFICATION). §4.1 wants the restarter to put off route
//! selection, and we do not: a node originates, learns and programs at once, and a peer that never answers holds up nobody. What is put
//! off is only the removal of old kernel routes, and End-of-RIB, so that a helper does not drop routes that we are about to reflect.
//!
//! Who is to come is known of configured peers, and not of those that listen ranges let in: these dial when their own timer says so, which
//! may take two minutes. So with a range, End-of-RIB waits as long as it may, and old routes until the deadline, unless all were told again.

use std::time::Duration;

use super::peers::Live;
use super::{RecoveryParams, Speaker};
use crate::num::{Family, FamilySet, Instant, PeerId};
use crate::peer::{Down, Event};
use crate::stats::Notice;

/// Established peers that speak no graceful restart need not send End-of-RIB; they are taken to be done when they have said nothing for so
/// long.
const QUIET: Duration = Duration::from_secs(3);

/// Where we stand after our own start.
#[derive(Debug)]
pub(super) struct Recovery {
    started: Instant,
    reap_at: Instant,
    release_at: Instant,
    /// End-of-RIB goes out as soon as a table is told.
    released: bool,
    /// Old kernel routes that nobody announced are gone.
    reaped: bool,
    /// Something happened that may end the wait.
    check: bool,
    /// Then a peer without End-of-RIB may be taken to be done.
    look_again: Option<Instant>,
}

impl Recovery {
    pub fn new(now: Instant, params: &RecoveryParams) -> Recovery {
        let (reap_at, release_at) = (now + params.deadline, now + params.end_of_rib_wait);
        Recovery { started: now, reap_at, release_at, released: false, reaped: false, check: true, look_again: None }
    }

    /// What an earlier run left in the kernel is not yet removed.
    pub fn is_on(&self) -> bool {
        !self.reaped
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        if self.reaped {
            return None;
        }
        let release_at = (!self.released).then_some(self.release_at);
        [Some(self.reap_at), release_at, self.look_again].into_iter().flatten().min()
    }
}

/// Has this peer said all that it has?
fn is_done(live: &Live, now: Instant) -> bool {
    let quiet = quiet_at(live).is_some_and(|at| now >= at);
    quiet || live.session.families.minus(live.end_of_rib).is_empty()
}

/// When this peer may be taken to be done without End-of-RIB, if it says no more.
fn quiet_at(live: &Live) -> Option<Instant> {
    live.session.graceful.is_none().then(|| live.heard + QUIET)
}

impl Speaker {
    /// Something happened that may end the wait after our start; looked at in the next `settle`.
    pub(super) fn recovery_may_end(&mut self) {
        self.recovery.check = true;
    }

    /// Ends the wait for whom there is nothing more to wait for. To be called when what the peers said is selected and wanted.
    pub(super) fn run_recovery(&mut self, now: Instant) {
        let due = self.recovery.next_deadline().is_some_and(|at| at <= now);
        if !(self.recovery.check || due) || self.recovery.reaped {
            return;
        }
        let chosen = !self.is_unsettled();
        let settled = chosen && !self.awaits_tunnels();
        self.recovery.check = !settled;
        self.recovery.look_again = None;
        if !self.recovery.released && (now >= self.recovery.release_at || settled && self.nothing_more_comes_soon(now)) {
            self.release_end_of_rib(now);
        }
        let late = now >= self.recovery.reap_at;
        if late && chosen || settled && self.fib.is_synced() && self.nothing_more_comes(now) {
            self.reap(now);
        } else {
            let waited_for = self.peers.iter().filter_map(|e| e.live.as_ref()).filter(|l| !is_done(l, now));
            self.recovery.look_again = waited_for.filter_map(quiet_at).min();
        }
    }

    /// Every peer has said what it has, or restarts like us, or cannot be reached (RFC 4724 §4.1: nobody waits for what cannot come).
    fn nothing_more_comes_soon(&self, now: Instant) -> bool {
        let quiet = |l: &Live| is_done(l, now) || l.session.peer_restarted();
        let mut expected = self.peers.iter().filter(|e| e.admin_up);
        self.params.ranges.is_empty() && expected.all(|e| e.live.as_ref().map_or_else(|| e.peer.is_dark(), quiet))
    }

    /// Every peer that should be up is and has said what it has. Strangers may yet come, but with news of no old route.
    fn nothing_more_comes(&self, now: Instant) -> bool {
        let nothing_old = || Family::ALL.iter().all(|f| self.fib.counts(*f).stale == 0);
        let all_came = self.params.ranges.is_empty() || self.recovery.released && nothing_old();
        let mut expected = self.peers.iter().filter(|e| e.admin_up && e.range.is_none());
        all_came && expected.all(|e| e.live.as_ref().is_some_and(|l| is_done(l, now)))
    }

    fn release_end_of_rib(&mut self, now: Instant) {
        self.recovery.released = true;
        self.groups.defer_end_of_rib(false);
        for id in self.peers.ids() {
            self.tell(id, Event::Restarting { until: now, forwarding: self.kept_forwarding() }, now);
        }
    }

    /// The families whose routes a former life of ours has left in the kernel.
    fn kept_forwarding(&self) -> FamilySet {
        if self.params.fib.enabled { FamilySet::ALL } else { FamilySet::NONE }
    }

    /// What a peer that starts now is to know of our own start: until when its OPEN carries the R bit (RFC 4724 §3).
    pub(super) fn tell_restarting(&mut self, id: PeerId, now: Instant) {
        if !self.recovery.released {
            let (until, forwarding) = (self.recovery.release_at, self.kept_forwarding());
            self.tell(id, Event::Restarting { until, forwarding }, now);
        }
    }

    /// Something that was said is not chosen yet, or not by the next hops as they are now. What the peers said last must be wanted before
    /// what is not wanted goes; until then the end of the wait is looked at in each `settle`.
    fn is_unsettled(&self) -> bool {
        self.rib.is_dirty() || self.nexthops.has_changed() || self.nexthops.has_fresh()
    }

    /// An earlier run left routes in the kernel, or may have as long as we have not looked, and they are kept until learned again.
    pub(super) fn awaits_old_routes(&self) -> bool {
        let left_some = !self.fib.is_synced() || self.fib.totals().adopted > 0;
        self.recovery.is_on() && self.params.fib.enabled && left_some
    }

    fn reap(&mut self, now: Instant) {
        if !self.recovery.released {
            self.release_end_of_rib(now);
        }
        self.recovery.reaped = true;
        let adopted = self.fib.totals().adopted as usize;
        let removed = self.fib.reap();
        let waited_seconds = now.since(self.recovery.started).as_secs_f64();
        self.notice(Notice::Recovered { adopted, removed, waited_seconds });
        self.tell_tunnels();
    }

    /// A session ended: its routes go, or stay for a while (RFC 4724 §4.2). Draining, all stay: pods that are still here need them.
    pub(super) fn retain_or_drop(&mut self, id: PeerId, down: &Down) {
        let draining = self.drain.is_on();
        let kept = if draining { down.session.families } else { down.keep };
        for family in Family::ALL {
            if kept.contains(family) {
                self.rib.retain_stale(id, family);
            } else {
                self.rib.drop_family(id, family);
            }
        }
        if kept.is_empty() {
            self.rib.peer_down(id);
        }
        if let Some(entry) = self.peers.get_mut(id) {
            entry.kept_by_drain = draining && down.keep.is_empty();
        }
    }

    /// Routes that were kept over a goodbye of ours have to be said again within the usual time.
    pub(super) fn resume_kept(&mut self, id: PeerId, now: Instant) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        if std::mem::take(&mut entry.kept_by_drain) {
            let time = entry.config.session.offer.graceful_restart.map_or(QUIET, |g| g.stale_time);
            entry.sweep_at = Some(now + time);
        }
    }

    /// The peer has said everything (RFC 4724 §2).
    pub(super) fn on_end_of_rib(&mut self, id: PeerId, family: Family, now: Instant) {
        let Some(entry) = self.peers.get_mut(id) else { return };
        let peer = entry.config.session.name.clone();
        let Some(live) = entry.live.as_mut() else { return };
        let news = !live.end_of_rib.contains(family);
        live.end_of_rib.insert(family);
        if live.session.families.minus(live.end_of_rib).is_empty() {
            entry.sweep_at = None;
        }
        self.sweep_stale(id, family.into());
        self.tell(id, Event::EndOfRib { family }, now);
        if news {
            self.notice(Notice::EndOfRib { peer, family });
        }
        self.recovery_may_end();
    }

    /// Removes what is still stale of these families.
    pub(super) fn sweep_stale(&mut self, id: PeerId, families: FamilySet) {
        for family in families.iter().filter(|f| self.rib.counts(id, *f).stale > 0).collect::<Vec<_>>() {
            self.rib.sweep_stale(id, family);
        }
        let gone = Family::ALL.iter().all(|f| self.rib.counts(id, *f).received == 0);
        if gone && self.peers.get(id).is_some_and(|e| e.live.is_none()) {
            self.rib.peer_down(id);
        }
    }
}
