//! Which lost packets a fault excuses.
//!
//! In: faults with the time for which they may cost packets, and of whom; losses. Out: the losses that nothing excuses.

use std::time::{Duration, Instant};

use super::pings::Loss;

/// A packet that was sent so long before a fault may have been under way when it came.
const UNDER_WAY: Duration = Duration::from_millis(300);

/// Whose packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// To and from a node, in these families.
    Node {
        node: usize,
        v4: bool,
        v6: bool,
    },
    /// Between two nodes.
    Pair(usize, usize),
    All,
}

/// A fault that may cost packets.
#[derive(Clone, Debug)]
pub struct Excuse {
    /// The fault's name, which no other at the same place has.
    pub fault: &'static str,
    pub whose: Whose,
    pub from: Instant,
    /// None: it is not over yet.
    pub until: Option<Instant>,
}

impl Excuse {
    fn covers(&self, loss: &Loss) -> bool {
        let theirs = match self.whose {
            Whose::Node { node, v4, v6 } => (loss.from == node || loss.to == node) && if loss.v6 { v6 } else { v4 },
            Whose::Pair(a, b) => (loss.from, loss.to) == (a, b) || (loss.from, loss.to) == (b, a),
            Whose::All => true,
        };
        theirs && loss.at + UNDER_WAY >= self.from && self.until.is_none_or(|until| loss.at <= until)
    }
}

/// The losses that no excuse covers.
pub fn unexcused(losses: &[Loss], excuses: &[Excuse]) -> Vec<Loss> {
    losses.iter().filter(|loss| !excuses.iter().any(|excuse| excuse.covers(loss))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(from: usize, to: usize, v6: bool, at: Instant) -> Loss {
        Loss { from, to, v6, at, refused: false }
    }

    #[test]
    fn a_fault_excuses_its_own_node_family_and_time() {
        let start = Instant::now() + Duration::from_secs(10);
        let sec = Duration::from_secs(1);
        let excuse =
            Excuse { fault: "a fault", whose: Whose::Node { node: 1, v4: true, v6: false }, from: start, until: Some(start + sec) };
        let left = |losses: &[Loss]| unexcused(losses, std::slice::from_ref(&excuse)).len();
        assert_eq!(left(&[loss(1, 2, false, start), loss(0, 1, false, start + sec)]), 0);
        assert_eq!(left(&[loss(1, 2, true, start)]), 1, "the other family");
        assert_eq!(left(&[loss(0, 2, false, start)]), 1, "other nodes");
        assert_eq!(left(&[loss(1, 2, false, start + 2 * sec), loss(1, 2, false, start - sec)]), 2, "before and after");
    }

    #[test]
    fn a_pair_is_two_ways_and_without_an_end_it_goes_on() {
        let start = Instant::now();
        let excuse = Excuse { fault: "a fault", whose: Whose::Pair(0, 1), from: start, until: None };
        let later = start + Duration::from_secs(1000);
        let left = unexcused(&[loss(0, 1, true, later), loss(1, 0, false, later), loss(1, 2, false, later)], &[excuse]);
        assert_eq!(left.len(), 1);
    }
}
