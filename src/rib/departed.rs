//! Prefixes that nobody announces any more: who had each last, and why it went.
//!
//! In: the last path of a prefix that goes. Out: the answer to `catbird why` about a prefix that is not there. The last [`REMEMBERED`] are
//! kept; the oldest is forgotten first.

use std::collections::VecDeque;

use ipnet::IpNet;

use super::cause::Cause;
use crate::num::PeerId;

/// A loss of more prefixes at a time is one that nobody asks about prefix by prefix.
const REMEMBERED: usize = 4096;

/// The end of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Who had it last.
    pub peer: PeerId,
    /// Why its last path went.
    pub cause: Cause,
    /// When, on the clock of [`Rib::set_now`](super::Rib::set_now).
    pub seconds: u32,
}

/// The newest last.
#[derive(Debug, Default)]
pub(super) struct Departures(VecDeque<(IpNet, Departed)>);

impl Departures {
    /// Adds one; the oldest goes when there are too many.
    pub fn push(&mut self, net: IpNet, departed: Departed) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((net, departed));
    }

    /// The latest end of this prefix that is remembered.
    pub fn find(&self, net: &IpNet) -> Option<&Departed> {
        self.0.iter().rev().find(|(gone, _)| gone == net).map(|(_, departed)| departed)
    }
}
