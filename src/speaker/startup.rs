//! Our own start: the kernel's routes of an earlier run wait for confirmation, and End-of-RIB for what we are about to reflect.
//!
//! In: sessions and their End-of-RIB, what is chosen and written, time. Out: when End-of-RIB may go out and when what nobody announced again
//! may go; whether and for which families our OPENs claim a kept forwarding state.
//!
//! RFC 4724 §4.1. It wants the restarter to put off route selection, and we do not: a node originates, learns and programs at once, and a peer
//! that never answers holds up nobody. What is put off is only the removal of old kernel routes, and End-of-RIB, so that a helper does not
//! drop routes that we are about to reflect.
//!
//! Nothing goes because its reason is not known yet: blocks of a source that has not spoken (a file that is late) are announced by an earlier
//! run's End-of-RIB only if ours waits for them, so it does, until the deadline, and so do old routes.
//!
//! Who is to come is known of configured peers, and of those that listen ranges let in by what was [remembered](super::remembered): these are
//! waited for, and no stranger. Where nothing is remembered (an upgrade), End-of-RIB waits as long as it may, and old routes until the deadline,
//! unless all were announced again: clients dial when their own timer says so, which may take two minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use super::params::{BlockSource, Forwarding, Params, RecoveryParams};
use super::sessions::{Entry, EstablishedSession, Sessions};
use crate::fib::Fib;
use crate::num::{Family, FamilySet, Instant};
use crate::peer::{Event, Remote};

/// Established peers that speak no graceful restart need not send End-of-RIB; they are taken to be done when no UPDATE came for so long.
pub(super) const QUIET: Duration = Duration::from_secs(3);

/// No peer waits longer than this for the kernel's first answer, and for our tunnel devices.
const KERNEL_WAIT: Duration = Duration::from_secs(2);

/// Where we stand after our own start.
#[derive(Debug)]
pub(super) struct StartupConvergence {
    started: Instant,
    purge_at: Instant,
    release_at: Instant,
    /// End-of-RIB goes out as soon as a table is out.
    released: bool,
    /// Old kernel routes that nobody announced are gone.
    purged: bool,
    /// Something happened that may end the wait.
    check: bool,
    /// Then a peer without End-of-RIB may be taken to be done.
    look_again: Option<Instant>,
    /// The families of which an earlier run has left routes in the kernel, once that was looked at.
    adopted: Option<FamilySet>,
    /// [`KERNEL_WAIT`] is over.
    kernel_waited: bool,
    /// Peers are not started yet, for our tunnel devices are to stand first.
    awaits_tunnels: bool,
    /// Who came out of listen ranges before; `None`: nobody remembers.
    clients: Option<BTreeSet<Remote>>,
    /// Sources that have not spoken yet.
    unknown: Vec<BlockSource>,
}

/// How far the router is with what came in.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// All that was received is chosen, by next hops as they are.
    pub chosen: bool,
    /// The tunnels that paths wait for stand.
    pub tunnels: bool,
    /// Sources of blocks that have not spoken yet.
    pub unknown: Vec<BlockSource>,
    /// Kernel routes that we announce, if any, are known.
    pub redistributed: bool,
}

/// What may be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// End-of-RIB may go out (RFC 4724 §4.1).
    pub release_eor: bool,
    /// What an earlier run left and nobody announced again is removed.
    pub purge: bool,
}

impl StartupConvergence {
    /// At the start; deadlines count from now.
    pub fn new(now: Instant, params: &RecoveryParams) -> StartupConvergence {
        let (purge_at, release_at) = (now + params.deadline, now + params.end_of_rib_wait);
        StartupConvergence {
            started: now,
            purge_at,
            release_at,
            released: false,
            purged: false,
            check: true,
            look_again: None,
            adopted: None,
            kernel_waited: false,
            awaits_tunnels: false,
            clients: None,
            unknown: Vec::new(),
        }
    }

    /// Clients of before.
    pub fn recall(&mut self, clients: BTreeSet<Remote>) {
        self.clients = Some(clients);
    }

    /// Those of them that are still waited for.
    pub fn awaited_clients(&self) -> BTreeSet<Remote> {
        self.clients.clone().filter(|_| self.is_on()).unwrap_or_default()
    }

    /// What an earlier run left in the kernel is not yet removed.
    pub fn is_on(&self) -> bool {
        !self.purged
    }

    /// How long ago the router started.
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.started)
    }

    /// When to look again without cause.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.purged {
            return None;
        }
        let awaits_kernel = !self.kernel_waited && (self.adopted.is_none() || self.awaits_tunnels);
        let kernel = awaits_kernel.then_some(self.started + KERNEL_WAIT);
        let release_at = (!self.released).then(|| self.release_at());
        [Some(self.purge_at), release_at, self.look_again, kernel].into_iter().flatten().min()
    }

    /// At the latest then, End-of-RIB goes out.
    fn release_at(&self) -> Instant {
        if self.unknown.is_empty() { self.release_at } else { self.release_at.max(self.purge_at) }
    }

    /// Sources that have not spoken yet and are waited for, and how long at most. Nobody, once the wait is over.
    pub fn unknown_sources(&self, now: Instant) -> Option<(&[BlockSource], Duration)> {
        (self.is_on() && !self.unknown.is_empty()).then(|| (self.unknown.as_slice(), self.release_at().since(now)))
    }

    /// Something happened that may end the wait; looked at in the next `settle`.
    pub fn may_end(&mut self) {
        self.check = true;
    }

    /// An earlier run left routes in the kernel, or may have as long as we have not looked, and they are kept until learned again.
    pub fn awaits_old_routes(&self, params: &Params, fib: &Fib) -> bool {
        let left_some = !fib.is_synced() || fib.totals().adopted > 0;
        self.is_on() && params.fib.enabled && left_some
    }

    /// What a peer that starts now is to know of our own start: until when its OPEN carries the R bit (RFC 4724 §3).
    pub fn restarting(&self, params: &Params) -> Option<Event> {
        (!self.released).then(|| Event::Restarting { until: self.release_at(), forwarding: self.forwarding(params) })
    }

    /// Nobody need wait for us any more.
    pub fn restarted(&self, now: Instant, params: &Params) -> Event {
        Event::Restarting { until: now, forwarding: self.forwarding(params) }
    }

    /// The families whose forwarding was preserved over our restart (RFC 4724 §4.1). As long as nobody has looked, it may have been.
    fn forwarding(&self, params: &Params) -> FamilySet {
        match params.recovery.forwarding {
            Forwarding::Preserved => FamilySet::ALL,
            Forwarding::Auto if !params.fib.enabled => FamilySet::NONE,
            Forwarding::Auto => self.adopted.unwrap_or(FamilySet::ALL),
        }
    }

    /// Peers are started when it is known what an earlier run left in the kernel, for their OPENs speak of it, and when our tunnel devices
    /// stand, for whoever hears of us sends over them; or after [`KERNEL_WAIT`].
    pub fn awaits(&mut self, now: Instant, params: &Params, tunnels: bool) -> bool {
        let in_time = params.fib.enabled && now < self.started + KERNEL_WAIT;
        self.awaits_tunnels = in_time && tunnels;
        in_time && (self.adopted.is_none() || tunnels)
    }

    /// The kernel was read for the first time.
    pub fn on_kernel_read(&mut self, fib: &Fib) {
        if self.adopted.is_none() {
            let left = |family: &Family| fib.preserved(*family);
            self.adopted = Some(Family::ALL.into_iter().filter(left).fold(FamilySet::NONE, |all, family| all.or(family.into())));
        }
        self.may_end();
    }

    /// Ends the wait for whom there is nothing more to wait for. To be called when what the peers announced is selected and announced on.
    pub fn poll(&mut self, now: Instant, sessions: &Sessions, params: &Params, fib: &Fib, progress: Progress) -> Due {
        self.unknown = progress.unknown;
        let due = self.next_deadline().is_some_and(|at| at <= now);
        self.kernel_waited |= now >= self.started + KERNEL_WAIT;
        let mut result = Due::default();
        if !(self.check || due) || self.purged {
            return result;
        }
        let settled = progress.chosen && progress.tunnels && progress.redistributed && self.unknown.is_empty();
        self.check = !settled;
        self.look_again = None;
        let soon = || now >= self.release_at() || settled && self.nothing_more_comes_soon(now, sessions, params);
        let released = self.released || soon();
        result.purge = now >= self.purge_at && progress.chosen
            || settled && fib.is_synced() && self.nothing_more_comes(released, now, sessions, params, fib);
        result.release_eor = !self.released && (released || result.purge);
        self.released |= result.release_eor;
        self.purged = result.purge;
        if !result.purge {
            let waited_for = sessions.iter().filter_map(|e| e.live.as_ref()).filter(|l| !is_done(l, now));
            // Whoever turns out to be unreachable says nothing of it.
            let unreachable = (!self.released).then(|| now + Duration::from_secs(1));
            self.look_again = waited_for.filter_map(quiet_at).chain(unreachable).min();
        }
        result
    }

    /// Every peer that should be up is and has announced what it has. Others may yet come, but with news of no old route.
    fn nothing_more_comes(&self, released: bool, now: Instant, sessions: &Sessions, params: &Params, fib: &Fib) -> bool {
        let nothing_old = || Family::ALL.iter().all(|f| fib.counts(*f).stale == 0);
        let all_came = !params.provisional && (self.clients_came(now, sessions, params) || released && nothing_old());
        let mut expected = sessions.iter().filter(|e| e.admin_up && e.range.is_none());
        all_came && expected.all(|e| e.live.as_ref().is_some_and(|l| is_done(l, now)))
    }

    /// Every peer has announced what it has, or restarts like us, or cannot be reached (RFC 4724 §4.1: nobody waits for what cannot come).
    /// A reflector's clients that restart with it are waited for: they do not wait for a restarting reflector, and when all of a cluster
    /// starts at once, what one of them has not announced yet the others would remove from their kernels.
    fn nothing_more_comes_soon(&self, now: Instant, sessions: &Sessions, params: &Params) -> bool {
        let waits = |e: &Entry, l: &EstablishedSession| l.session.peer_restarted() && !e.config.rr_client;
        let mut expected = sessions.iter().filter(|e| e.admin_up);
        let came = |e: &Entry| e.live.as_ref().map_or_else(|| e.peer.is_unreachable(), |l| is_done(l, now) || waits(e, l));
        !params.provisional && self.clients_came(now, sessions, params) && expected.all(came)
    }

    /// Whoever came out of a listen range before, and may yet, has announced what it has.
    fn clients_came(&self, now: Instant, sessions: &Sessions, params: &Params) -> bool {
        let live = |remote: &Remote| sessions.by_remote(remote).and_then(|id| sessions.live(id)).is_some_and(|l| is_done(l, now));
        let here = |remote: &Remote| live(remote) || params.ranges.iter().all(|r| !r.net.contains(&remote.addr));
        params.ranges.is_empty() || self.clients.as_ref().is_some_and(|known| known.iter().all(here))
    }
}

/// Has this peer announced all that it has?
fn is_done(live: &EstablishedSession, now: Instant) -> bool {
    let quiet = quiet_at(live).is_some_and(|at| now >= at);
    quiet || live.session.families.minus(live.end_of_rib).is_empty()
}

/// When this peer may be taken to be done without End-of-RIB, if it announces no more.
fn quiet_at(live: &EstablishedSession) -> Option<Instant> {
    live.session.graceful.is_none().then(|| live.last_update + QUIET)
}
