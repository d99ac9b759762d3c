//! What the router keeps of the BFD session beside a peer.
//!
//! In: what was asked for, how it stands, OPENs that wait for it. Out: whether the path may be used, and words for lists and notes. What follows
//! for sessions is `bfd`'s.

use std::sync::Arc;

use crate::bfd::{SessionParams, State, Status};
use crate::num::ConnId;
use crate::wire::Message;

/// Connections of a peer whose OPEN waits, at most: it has no more than two (RFC 4271 §6.8).
pub(super) const HELD: usize = 4;

/// Beside a peer.
#[derive(Debug, Default)]
pub(super) struct PeerBfd {
    /// As asked for last.
    pub wanted: Option<Arc<SessionParams>>,
    /// As it stands.
    pub status: Option<Status>,
    /// OPENs that wait until the path is alive (`strict`).
    pub held: Vec<(ConnId, Message)>,
}

impl PeerBfd {
    /// The path is known to be alive, or an operator has switched BFD off at one end (RFC 5882 §4.1).
    pub fn lets_pass(&self) -> bool {
        self.status.is_some_and(|status| status.state == State::Up || is_admin_down(&status))
    }

    /// In a few words, for lists.
    pub fn brief(&self) -> Option<String> {
        self.wanted.as_ref()?;
        Some(match &self.status {
            None => "starting".to_owned(),
            Some(status) if status.state == State::Up => "up".to_owned(),
            Some(status) if status.remote_state == State::AdminDown && status.state != State::AdminDown => "peer admin down".to_owned(),
            Some(status) => status.state.name().to_owned(),
        })
    }

    /// What is worth a note beside the peer.
    pub fn note(&self) -> Option<String> {
        self.wanted.as_ref()?;
        if !self.held.is_empty() {
            return Some("waits for BFD, which is not up (`bfd` is strict): `catbird bfd` tells why".to_owned());
        }
        let status = self.status.as_ref().filter(|status| status.state != State::Up)?;
        Some(match status.state {
            State::AdminDown => "BFD is held down with the peer".to_owned(),
            _ if status.remote_state == State::AdminDown => {
                "BFD is administratively down at the peer: a dead path is not noticed".to_owned()
            }
            _ if status.downs == 0 => "BFD has not come up: a dead path is not noticed; does the peer run it with us?".to_owned(),
            _ => format!("BFD is down: {}; the peer says: {}", status.diag, status.remote_diag),
        })
    }
}

/// RFC 5882 §3.2: it says nothing about the path.
pub(super) fn is_admin_down(status: &Status) -> bool {
    status.state == State::AdminDown || status.remote_state == State::AdminDown
}
