//! Two connections to one peer: which is kept (RFC 4271 §6.8, with the tie-break of RFC 6286 §2.3).
//!
//! In: the connection on which a valid OPEN has just come, and the other one. Out: which to close, if any. Closing is left to the machine.

use super::fsm::State;
use super::session::Direction;
use crate::num::{Asn, RouterId};

/// Who one end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// BGP Identifier, of its OPEN or ours.
    pub id: RouterId,
    /// AS number, of its OPEN or ours.
    pub asn: Asn,
}

impl End {
    /// Identifiers are compared as numbers, and AS numbers when those are equal (RFC 6286 §2.3).
    fn outranks(self, other: End) -> bool {
        (u32::from(self.id), self.asn) > (u32::from(other.id), other.asn)
    }
}

/// The connection that was there when the OPEN came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Old {
    /// How far it had come.
    pub state: State,
    /// A connection stands, if only our OPEN is delayed.
    pub connected: bool,
    /// Who dialled it.
    pub direction: Direction,
}

/// Which of two connections goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to decide yet: the other connection has not shown who it is.
    Both,
    /// The one on which the OPEN came is the loser.
    CloseNew,
    /// The connection that was there first is the loser.
    CloseOld,
    /// The other was an attempt without a connection: let it go without a word.
    DropAttempt,
}

/// `new` is who dialled the connection on which a valid OPEN of `remote` has come.
pub(super) fn judge(new: Direction, old: Old, local: End, remote: End, collide_established: bool) -> Verdict {
    match old.state {
        State::Idle | State::Connect | State::Active => {
            if old.connected {
                Verdict::Both
            } else {
                Verdict::DropAttempt
            }
        }
        State::OpenSent => Verdict::Both,
        State::OpenConfirm => compare(new, old.direction, local, remote),
        State::Established if collide_established => compare(new, old.direction, local, remote),
        State::Established => Verdict::CloseNew,
    }
}

/// The connection initiated by the higher end stays. When one end initiated both, the letter of §6.8 decides: the lower local end
/// lets the newer one replace the older.
fn compare(new: Direction, old: Direction, local: End, remote: End) -> Verdict {
    let keep_ours = local.outranks(remote);
    if new == old {
        return if keep_ours { Verdict::CloseNew } else { Verdict::CloseOld };
    }
    if (new == Direction::Dialled) == keep_ours { Verdict::CloseOld } else { Verdict::CloseNew }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(id: [u8; 4], asn: u32) -> End {
        End { id: RouterId::new(id.into()).unwrap(), asn: Asn(asn) }
    }

    fn confirmed(direction: Direction) -> Old {
        Old { state: State::OpenConfirm, connected: true, direction }
    }

    #[test]
    fn the_connection_of_the_higher_identifier_stays_on_both_sides() {
        let (low, high) = (end([10, 0, 0, 1], 1), end([10, 0, 0, 2], 1));
        // On the low end its own connection is confirmed, and the high end's comes: keep the latter.
        assert_eq!(judge(Direction::Accepted, confirmed(Direction::Dialled), low, high, false), Verdict::CloseOld);
        // On the high end the same two: the accepted one is confirmed, its own comes.
        assert_eq!(judge(Direction::Dialled, confirmed(Direction::Accepted), high, low, false), Verdict::CloseOld);
        // And in the other order.
        assert_eq!(judge(Direction::Dialled, confirmed(Direction::Accepted), low, high, false), Verdict::CloseNew);
        assert_eq!(judge(Direction::Accepted, confirmed(Direction::Dialled), high, low, false), Verdict::CloseNew);
    }

    #[test]
    fn equal_identifiers_are_decided_by_the_larger_as_number() {
        let (low, high) = (end([10, 0, 0, 1], 64512), end([10, 0, 0, 1], 64513));
        assert_eq!(judge(Direction::Accepted, confirmed(Direction::Dialled), low, high, false), Verdict::CloseOld);
        assert_eq!(judge(Direction::Accepted, confirmed(Direction::Dialled), high, low, false), Verdict::CloseNew);
    }

    #[test]
    fn identifiers_are_compared_as_numbers() {
        let (low, high) = (end([9, 255, 0, 0], 1), end([10, 0, 0, 0], 1));
        assert_eq!(judge(Direction::Accepted, confirmed(Direction::Dialled), low, high, false), Verdict::CloseOld);
    }

    #[test]
    fn an_established_session_stays_unless_configured_otherwise() {
        let (low, high) = (end([10, 0, 0, 1], 1), end([10, 0, 0, 2], 1));
        let old = Old { state: State::Established, ..confirmed(Direction::Dialled) };
        assert_eq!(judge(Direction::Accepted, old, low, high, false), Verdict::CloseNew);
        assert_eq!(judge(Direction::Accepted, old, low, high, true), Verdict::CloseOld);
    }

    #[test]
    fn no_collision_is_seen_before_open_confirm() {
        let (a, b) = (end([10, 0, 0, 1], 1), end([10, 0, 0, 2], 1));
        let old = Old { state: State::OpenSent, ..confirmed(Direction::Dialled) };
        assert_eq!(judge(Direction::Accepted, old, a, b, false), Verdict::Both);
        let dialling = Old { state: State::Connect, connected: false, direction: Direction::Dialled };
        assert_eq!(judge(Direction::Accepted, dialling, a, b, false), Verdict::DropAttempt);
    }
}
