//! All that can be said of a session, for who asks.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::packet::{Diagnostic, State};
use super::params::SessionParams;
use super::session::{LastDown, Poll, Session};
use crate::num::{Instant, PeerId};

/// One session as it stands.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Whose.
    pub peer: PeerId,
    /// As wanted.
    pub params: Arc<SessionParams>,
    /// As we see it.
    pub state: State,
    /// Why.
    pub diag: Diagnostic,
    /// As the neighbour last said.
    pub remote_state: State,
    /// Why, in its eyes.
    pub remote_diag: Diagnostic,
    /// Ours.
    pub discr: u32,
    /// The neighbour's; zero if nothing is heard.
    pub remote_discr: u32,
    /// As advertised, in microseconds.
    pub desired_min_tx: u32,
    /// As advertised, in microseconds.
    pub required_min_rx: u32,
    /// The neighbour's, in microseconds.
    pub remote_min_tx: u32,
    /// The neighbour's, in microseconds.
    pub remote_min_rx: u32,
    /// The neighbour's.
    pub remote_multiplier: u8,
    /// Before jitter.
    pub tx_interval: Duration,
    /// So long may nothing come; `None` before anything was heard.
    pub detection_time: Option<Duration>,
    /// A Poll Sequence runs.
    pub polling: bool,
    /// The neighbour is in Demand mode.
    pub remote_demand: bool,
    /// The neighbour's BFD outlives its control plane.
    pub remote_independent: bool,
    /// How long it has been in this state.
    pub lasted: Duration,
    /// How often it came up.
    pub ups: u32,
    /// How often it went down.
    pub downs: u32,
    /// The last time, with how long ago it was.
    pub last_down: Option<(LastDown, Duration)>,
    /// Of this session.
    pub counters: Counters,
}

impl Detail {
    pub(super) fn of(session: &Session, now: Instant) -> Detail {
        let heard = &session.heard;
        Detail {
            peer: session.id,
            params: session.params.clone(),
            state: session.state,
            diag: session.diag,
            remote_state: heard.state,
            remote_diag: heard.diag,
            discr: session.discr,
            remote_discr: heard.discr,
            desired_min_tx: session.desired_min_tx,
            required_min_rx: session.required_min_rx,
            remote_min_tx: heard.min_tx,
            remote_min_rx: heard.min_rx,
            remote_multiplier: heard.detect_mult,
            tx_interval: session.tx_interval(),
            detection_time: session.detection_time(),
            polling: session.poll == Poll::Running,
            remote_demand: heard.demand,
            remote_independent: heard.independent,
            lasted: now.since(session.since),
            ups: session.ups,
            downs: session.downs,
            last_down: session.last_down.map(|last| (last, now.since(last.at))),
            counters: session.counters,
        }
    }
}
