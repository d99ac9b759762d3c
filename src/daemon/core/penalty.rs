//! Callers whose sessions fail at once, again and again: they wait, each time longer, as a listed peer does (RFC 4271 §8.1.1,
//! DampPeerOscillations).
//!
//! In: how the connections of an address ended. Out: whether the address has to wait. Peers of a listen range have no state machine while
//! they are not connected, so what they did is kept here. As with a listed peer, an OPEN that we agree with clears the failures before it,
//! and sessions that come and go are forgiven up to a number. The table has a bound; an address that behaves for a while is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::num::Instant;

/// A session that ends sooner was none.
const BRIEF: Duration = Duration::from_secs(10);

/// Failures that cost nothing: mistakes happen.
const FREE: u32 = 3;

/// Brief sessions that cost nothing; each further one costs [`FIRST`].
const FORGIVEN: u32 = 64;

/// The first time to wait; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time to wait.
const LONGEST: Duration = Duration::from_secs(120);

/// An address that was quiet for so long begins anew.
const FORGET: Duration = Duration::from_secs(300);

/// Addresses that are remembered at most; of more, only the half-open limits hold.
pub const ADDRESSES: usize = 4096;

#[derive(Debug)]
struct Record {
    failures: u32,
    brief: u32,
    last: Instant,
    until: Instant,
}

/// What is known of addresses.
#[derive(Debug, Default)]
pub struct PenaltyTable {
    records: HashMap<IpAddr, Record>,
    purged: Option<Instant>,
}

impl PenaltyTable {
    /// Does it have to wait?
    pub fn is_held(&self, address: IpAddr, now: Instant) -> bool {
        self.records.get(&address).is_some_and(|record| now < record.until)
    }

    /// A connection of it has ended. `session`: how long it lasted, if the OPENs agreed.
    pub fn on_closed(&mut self, address: IpAddr, session: Option<Duration>, now: Instant) {
        if session.is_some_and(|lasted| lasted >= BRIEF) {
            self.records.remove(&address);
            return;
        }
        self.make_room(now);
        if self.records.len() >= ADDRESSES && !self.records.contains_key(&address) {
            return;
        }
        let new = || Record { failures: 0, brief: 0, last: now, until: now };
        let record = self.records.entry(address).or_insert_with(new);
        if now - record.last > FORGET {
            *record = new();
        }
        record.last = now;
        if session.is_some() {
            record.failures = 0;
            record.brief = record.brief.saturating_add(1);
            record.until = if record.brief > FORGIVEN { now + FIRST } else { now };
        } else {
            record.failures = record.failures.saturating_add(1);
            let doublings = record.failures.checked_sub(FREE + 1);
            record.until = doublings.map_or(now, |n| now + FIRST.saturating_mul(1 << n.min(16)).min(LONGEST));
        }
    }

    /// Forgets who was quiet, at most once a second: the whole table is looked at.
    fn make_room(&mut self, now: Instant) {
        let due = self.purged.is_none_or(|at| now - at >= Duration::from_secs(1));
        if due && self.records.len() >= ADDRESSES {
            self.purged = Some(now);
            self.records.retain(|_, record| now - record.last <= FORGET);
        }
    }

    /// Addresses that are remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addr(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn who_fails_again_and_again_waits_longer_each_time_up_to_a_bound() {
        let mut table = PenaltyTable::default();
        let mut now = at(1);
        let mut waits = Vec::new();
        for _ in 0..14 {
            table.on_closed(addr(1), None, now);
            let mut waited = 0;
            while table.is_held(addr(1), now) {
                now = now + Duration::from_secs(1);
                waited += 1;
            }
            waits.push(waited);
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120]);
        assert!(!table.is_held(addr(2), now), "others are not concerned");
    }

    #[test]
    fn a_session_that_lasts_or_a_long_silence_clears_the_record() {
        let mut table = PenaltyTable::default();
        (0..4).for_each(|_| table.on_closed(addr(1), None, at(1)));
        assert!(table.is_held(addr(1), at(1)));
        table.on_closed(addr(1), Some(Duration::from_secs(60)), at(90));
        assert!(table.is_empty());
        (0..4).for_each(|_| table.on_closed(addr(1), None, at(100)));
        table.on_closed(addr(1), None, at(1000));
        assert!(!table.is_held(addr(1), at(1000)), "that was long ago");
    }

    #[test]
    fn an_open_that_we_agree_with_clears_failures_and_many_brief_sessions_cost_a_second_each() {
        let mut table = PenaltyTable::default();
        for _ in 0..FORGIVEN {
            table.on_closed(addr(1), None, at(1));
            table.on_closed(addr(1), Some(Duration::ZERO), at(1));
            assert!(!table.is_held(addr(1), at(1)));
        }
        table.on_closed(addr(1), Some(Duration::ZERO), at(1));
        assert!(table.is_held(addr(1), at(1)) && !table.is_held(addr(1), at(2)));
    }

    #[test]
    fn the_table_has_a_bound_and_makes_room_for_those_who_come_later() {
        let mut table = PenaltyTable::default();
        let all = u32::try_from(ADDRESSES).expect("small");
        (0..all + 100).for_each(|n| table.on_closed(addr(n), None, at(1)));
        assert_eq!(table.len(), ADDRESSES);
        table.on_closed(addr(all + 200), None, at(400));
        assert_eq!(table.len(), 1);
    }
}
