//! A node that leaves by the cluster's word: its services go first, and its blocks when no pod needs them.
//!
//! In: [`Leaving`](super::params::Leaving) of the configuration, and time. Out: services that are announced with GRACEFUL_SHUTDOWN (RFC 8326 §4.1) for
//! the time that a drain waits, and are withdrawn then; and, when the pods are gone or the deadline is reached, a drain of the whole router, which is
//! no operator's: it ends when the node stays, and nobody remembers it.
//!
//! Sessions stay and the router learns on, as in any drain. An operator's `undrain` counts until the node leaves again.

use super::departure::Departure;
use super::lifecycle::Wait;
use super::router::Speaker;
use crate::num::Instant;
use crate::stats::Notice;

impl Speaker {
    /// The configuration may say otherwise than before.
    pub(super) fn follow_leaving(&mut self, now: Instant) {
        match (&self.params.leaving, &self.departure) {
            (Some(leaving), None) => {
                let marking = (!leaving.services.is_empty()).then(|| Wait::begin(now));
                self.departure = Some(Departure { since: now, marking, drained: false });
            }
            (None, Some(_)) => {
                self.departure = None;
                if let Some(step) = self.lifecycle.stay() {
                    self.take_step(step, now);
                    self.effects.notice(Notice::Draining { on: false });
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// The next step, if it is time.
    pub(super) fn run_departure(&mut self, now: Instant) {
        let Some(departure) = &self.departure else { return };
        let flushed = !departure.awaits_flush() || self.is_flushed();
        let time = self.params.stop.drain_wait;
        let Some(departure) = &mut self.departure else { return };
        if departure.marking.as_mut().is_some_and(|wait| wait.poll(now, flushed, time)) {
            departure.marking = None;
            self.set_services();
        }
        self.drain_if_empty(now);
    }

    fn drain_if_empty(&mut self, now: Instant) {
        let (Some(departure), Some(leaving)) = (&mut self.departure, &self.params.leaving) else { return };
        let late = leaving.deadline.is_some_and(|wait| departure.since + wait <= now);
        if departure.drained || departure.marking.is_some() || !(leaving.pods_gone || late) {
            return;
        }
        departure.drained = true;
        self.drain_for_cluster(now);
    }

    /// A drain that is no operator's; nothing where one goes on already.
    pub(super) fn drain_for_cluster(&mut self, now: Instant) {
        if let Some(step) = self.lifecycle.leave(now) {
            self.take_step(step, now);
            self.effects.notice(Notice::Draining { on: true });
        }
    }

    pub(super) fn departure_deadline(&self) -> Option<Instant> {
        let wait = self.params.leaving.as_ref().and_then(|leaving| leaving.deadline);
        self.departure.as_ref().and_then(|departure| departure.deadline(wait))
    }

    /// Services that are announced, and those that are told to look elsewhere.
    pub(super) fn set_services(&mut self) {
        let marking = self.departure.as_ref().is_some_and(|departure| departure.marking.is_some());
        let leaving = self.params.leaving.as_ref().filter(|_| marking).map_or(&[][..], |leaving| &leaving.services);
        let kept = |net: &ipnet::IpNet| self.redistribution.is_service(net);
        self.origination.set_services(&self.params.services, leaving, kept, &mut self.rib);
    }

    /// Before a machine ends (`preStop`): withdraws all, if it does end. `None`: it is answered when it is done.
    pub(super) fn drain_if_it_shuts_down(&mut self, wait: bool, now: Instant) -> Option<String> {
        if !self.params.leaving.as_ref().is_some_and(|leaving| leaving.shuts_down) {
            return Some("the node does not shut down: routes stay, here and with the peers".to_owned());
        }
        if let Some(departure) = &mut self.departure {
            departure.drained = true;
        }
        self.drain_for_cluster(now);
        match self.lifecycle.name(false) {
            "draining" if wait => None,
            "draining" => Some("the node shuts down: draining".to_owned()),
            _ => Some("the node shuts down: everything is withdrawn".to_owned()),
        }
    }
}
