//! How far a node is that leaves by the cluster's word, and what `status` says of it. What it does next is [`super::leaving`]'s.

use std::time::Duration;

use super::lifecycle::Wait;
use super::params::Params;
use crate::num::Instant;

/// How far it is.
#[derive(Debug)]
pub(super) struct Departure {
    pub since: Instant,
    /// Services are marked, and wait.
    pub marking: Option<Wait>,
    /// The drain was begun; it is not begun twice.
    pub drained: bool,
}

impl Departure {
    /// A router that starts on a node that leaves has announced no services yet.
    pub fn at_start(params: &Params, now: Instant) -> Option<Departure> {
        params.leaving.as_ref().map(|_| Departure { since: now, marking: None, drained: false })
    }

    pub fn awaits_flush(&self) -> bool {
        self.marking.is_some_and(|wait| wait.awaits_flush())
    }

    pub fn deadline(&self, wait: Option<Duration>) -> Option<Instant> {
        match &self.marking {
            Some(wait) => Some(wait.deadline()),
            None => wait.filter(|_| !self.drained).map(|wait| self.since + wait),
        }
    }

    /// What `status` says of it.
    pub fn words(&self, params: &Params) -> Option<String> {
        let leaving = params.leaving.as_ref()?;
        let services = if self.marking.is_some() { "services are being withdrawn" } else { "services that others take are withdrawn" };
        let blocks = match (self.drained, leaving.pods_gone, leaving.deadline) {
            (true, ..) => "blocks, too",
            (false, true, _) => "blocks follow",
            (false, false, Some(_)) => "blocks stay until no pod needs them, or the deadline",
            (false, false, None) => "blocks stay until no pod needs them",
        };
        Some(format!("{}: {services}; {blocks}", leaving.why))
    }
}
