//! Work that is as large as a table, in steps: each has a cursor, and a budget a step.
//!
//! In: what is to be done. Out: the next step to take. Asking for what waits already is the first request again; asking for what is under way
//! begins it anew, once. What a step does is for the part that owns the table.
//!
//! # Invariants
//! One job at most of each [`JobKey`]; so there are never more than three for each peer and family, and a handful for the tables.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::num::{Family, PeerId};

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JobKey {
    /// What the peer announced is judged again.
    Revalidate(PeerId, Family),
    /// The same of those paths whose next hop became, or ceased to be, an address of ours.
    OwnAddress(PeerId, Family),
    /// What is stale of the peer becomes the least preferred (RFC 9494).
    LongLived(PeerId, Family),
    /// What is wanted in the kernel is told to the planner again.
    Program(Family),
}

/// A job and how far it is.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// What it does, and for whom.
    pub key: JobKey,
    /// Of the part that does it; where the next step goes on.
    pub cursor: u64,
    /// The addresses of [`JobKey::OwnAddress`].
    pub addresses: BTreeSet<IpAddr>,
}

/// All jobs, taken in turn.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    waiting: BTreeMap<JobKey, Job>,
    turns: VecDeque<JobKey>,
}

impl Jobs {
    /// Asks for a job from the beginning, which is `cursor`.
    pub fn add(&mut self, key: JobKey, cursor: u64) {
        self.add_of(key, cursor, BTreeSet::new());
    }

    /// The same, concerning these addresses.
    pub fn add_of(&mut self, key: JobKey, cursor: u64, addresses: BTreeSet<IpAddr>) {
        let turns = &mut self.turns;
        let job = self.waiting.entry(key).or_insert_with(|| {
            turns.push_back(key);
            Job { key, cursor, addresses: BTreeSet::new() }
        });
        job.cursor = cursor;
        job.addresses.extend(addresses);
    }

    /// The job whose turn it is. With [`Jobs::again`] it goes to the end of the line.
    pub fn next(&mut self) -> Option<Job> {
        let key = self.turns.pop_front()?;
        self.waiting.remove(&key)
    }

    /// A step is done and more is left, from `cursor` on; others get their turn first.
    pub fn again(&mut self, job: Job, cursor: u64) {
        self.add_of(job.key, cursor, job.addresses);
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// For `catbird status`.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.waiting.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_is_the_first_one_again_and_all_get_their_turn() {
        let (a, b) = (JobKey::Revalidate(PeerId(1), Family::Ipv4Unicast), JobKey::Program(Family::Ipv6Unicast));
        let mut jobs = Jobs::default();
        for _ in 0..1000 {
            jobs.add(a, 9);
        }
        jobs.add(b, 0);
        assert_eq!(jobs.iter().count(), 2);
        let first = jobs.next().unwrap();
        assert_eq!((first.key, first.cursor), (a, 9));
        jobs.again(first, 5);
        assert_eq!(jobs.next().map(|j| j.key), Some(b));
        jobs.add(a, 9);
        assert_eq!(jobs.next().map(|j| j.cursor), Some(9), "begun anew");
        assert!(jobs.is_empty() && jobs.next().is_none());
    }
}
