//! Callers whose sessions fail at once, again and again: they wait, each time longer, as a listed peer does (RFC 4271 §8.1.1,
//! DampPeerOscillations).
//!
//! In: how long the connections of an address lasted. Out: whether the address has to wait. Peers of a listen range have no state machine
//! while they are not connected, so what they did is kept here. The table has a bound; an address that behaves for a while is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::num::Instant;

/// A connection that ends sooner was none.
const BRIEF: Duration = Duration::from_secs(10);

/// Brief connections that cost nothing: restarts and mistakes happen.
const FREE: u32 = 3;

/// The first time to wait; each further brief connection doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The longest time to wait.
const LONGEST: Duration = Duration::from_secs(120);

/// An address that was quiet for so long begins anew.
const FORGET: Duration = Duration::from_secs(300);

/// Addresses that are remembered at most; of more, only the half-open limits hold.
pub const ADDRESSES: usize = 4096;

#[derive(Debug)]
struct Record {
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

    /// A connection of it has ended after so long.
    pub fn on_closed(&mut self, address: IpAddr, lasted: Duration, now: Instant) {
        if lasted >= BRIEF {
            self.records.remove(&address);
            return;
        }
        self.make_room(now);
        if self.records.len() >= ADDRESSES && !self.records.contains_key(&address) {
            return;
        }
        let record = self.records.entry(address).or_insert(Record { brief: 0, last: now, until: now });
        if now - record.last > FORGET {
            record.brief = 0;
        }
        record.brief = record.brief.saturating_add(1);
        record.last = now;
        if let Some(doubled) = record.brief.checked_sub(FREE + 1) {
            record.until = now + FIRST.saturating_mul(1 << doubled.min(16)).min(LONGEST);
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

    pub fn len(&self) -> usize {
        self.records.len()
    }

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
            table.on_closed(addr(1), Duration::ZERO, now);
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
        (0..4).for_each(|_| table.on_closed(addr(1), Duration::ZERO, at(1)));
        assert!(table.is_held(addr(1), at(1)));
        table.on_closed(addr(1), Duration::from_secs(60), at(90));
        assert!(table.is_empty());
        (0..4).for_each(|_| table.on_closed(addr(1), Duration::ZERO, at(100)));
        table.on_closed(addr(1), Duration::ZERO, at(1000));
        assert!(!table.is_held(addr(1), at(1000)), "that was long ago");
    }

    #[test]
    fn the_table_has_a_bound_and_makes_room_for_those_who_come_later() {
        let mut table = PenaltyTable::default();
        let all = u32::try_from(ADDRESSES).expect("small");
        (0..all + 100).for_each(|n| table.on_closed(addr(n), Duration::ZERO, at(1)));
        assert_eq!(table.len(), ADDRESSES);
        table.on_closed(addr(all + 200), Duration::ZERO, at(400));
        assert_eq!(table.len(), 1);
    }
}
