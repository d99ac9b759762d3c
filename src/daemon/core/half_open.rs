//! Accepted connections that have not said who they are: how many, and from where.
//!
//! In: a connection came, spoke its OPEN, or went. Out: whether there is room for one more. It leaves closing to the speaker, whose peers let
//! a silent connection go after a bounded time.
//!
//! Both bounds together keep ten thousand bogus connections from costing more than a few descriptors of one address and [`HALF_OPEN`] in all.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::num::ConnId;

/// Without an OPEN, in all; beyond, newcomers are turned away.
pub const HALF_OPEN: usize = 4096;

/// The same from one address: a peer needs one, and a few more while older ones die.
pub const HALF_OPEN_PER_ADDRESS: usize = 8;

/// The connections that are still silent.
#[derive(Debug)]
pub struct HalfOpenLimiter {
    limit: usize,
    conns: HashMap<ConnId, IpAddr>,
    from: HashMap<IpAddr, usize>,
}

impl HalfOpenLimiter {
    /// `descriptors`: most that the process may have open, of which strangers get a quarter; zero: not known.
    pub fn new(descriptors: u64) -> HalfOpenLimiter {
        let share = usize::try_from(descriptors / 4).unwrap_or(HALF_OPEN);
        let limit = if descriptors == 0 { HALF_OPEN } else { share.clamp(HALF_OPEN_PER_ADDRESS, HALF_OPEN) };
        HalfOpenLimiter { limit, conns: HashMap::new(), from: HashMap::new() }
    }

    /// False, and nothing is noted, when there are too many already.
    pub fn enter(&mut self, conn: ConnId, addr: IpAddr) -> bool {
        let from = self.from.get(&addr).copied().unwrap_or(0);
        let room = self.conns.len() < self.limit && from < HALF_OPEN_PER_ADDRESS;
        if room && self.conns.insert(conn, addr).is_none() {
            self.from.insert(addr, from + 1);
        }
        room
    }

    /// It spoke or went; of no effect for a connection that is not in the crowd.
    pub fn leave(&mut self, conn: ConnId) {
        let Some(addr) = self.conns.remove(&conn) else { return };
        match self.from.get_mut(&addr) {
            Some(n) if *n > 1 => *n -= 1,
            _ => drop(self.from.remove(&addr)),
        }
    }

    /// Connections without an OPEN.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addr(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn one_address_has_a_bound_of_its_own_and_gets_its_places_back() {
        let mut crowd = HalfOpenLimiter::new(0);
        for n in 0..HALF_OPEN_PER_ADDRESS as u64 {
            assert!(crowd.enter(ConnId(n), addr(1)));
        }
        assert!(!crowd.enter(ConnId(100), addr(1)));
        assert!(crowd.enter(ConnId(101), addr(2)), "another address is not concerned");
        crowd.leave(ConnId(3));
        assert!(crowd.enter(ConnId(102), addr(1)));
    }

    #[test]
    fn all_addresses_together_have_a_bound() {
        let mut crowd = HalfOpenLimiter::new(0);
        let all = u32::try_from(HALF_OPEN).expect("small");
        for n in 0..all {
            assert!(crowd.enter(ConnId(n.into()), addr(n)));
        }
        assert!(!crowd.enter(ConnId(u64::MAX), addr(all)));
    }

    #[test]
    fn a_crowd_that_has_left_holds_nothing() {
        let mut crowd = HalfOpenLimiter::new(0);
        assert!(crowd.enter(ConnId(1), addr(1)) && crowd.enter(ConnId(2), addr(1)));
        crowd.leave(ConnId(1));
        crowd.leave(ConnId(1));
        crowd.leave(ConnId(2));
        assert!(crowd.is_empty() && crowd.from.is_empty());
    }
}
