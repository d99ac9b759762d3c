//! Work that is as large as a table, in steps: each has a cursor, and a budget a step.
//!
//! In: what is to be done. Out: the next step to take. Asking for what waits already is the first request again; asking for what is under way
//! begins it anew, once. What a step does is for the part that owns the table.
//!
//! # Invariants
//! One job at most of each [`JobKey`]; so there are never more than four for each peer and family, and a handful for the tables.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::num::{Family, Nlri, PeerId};
use crate::rpki::Covers;

/// Changes of VRPs that one job keeps apart; beyond it, everything is judged again.
const MOST_COVERS: usize = 8;

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JobKey {
    /// What the peer announced is judged again.
    Revalidate(PeerId, Family),
    /// The same of those paths whose next hop became, or ceased to be, an address of ours.
    OwnAddress(PeerId, Family),
    /// The same of those paths that VRPs which changed cover.
    Covered(PeerId, Family),
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
    /// What [`JobKey::Covered`] is about.
    covers: Vec<Arc<Covers>>,
    /// What it is about after that: it is not begun anew for it, or else it might never come to its end.
    later: Vec<Arc<Covers>>,
}

impl Job {
    /// Is it about this prefix, as far as VRPs go?
    pub fn covers(&self, nlri: &Nlri) -> bool {
        self.covers.iter().any(|covers| covers.covers(&nlri.net))
    }
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
            Job { key, cursor, addresses: BTreeSet::new(), covers: Vec::new(), later: Vec::new() }
        });
        job.cursor = cursor;
        job.addresses.extend(addresses);
    }

    /// Asks for a walk over what these cover. One that is under way goes on, and has another one follow it.
    pub fn add_covered(&mut self, key: JobKey, covers: Arc<Covers>) {
        let known = self.waiting.contains_key(&key);
        if !known {
            self.add(key, 0);
        }
        let Some(job) = self.waiting.get_mut(&key) else { return };
        let list = if known { &mut job.later } else { &mut job.covers };
        list.push(covers);
        if list.len() > MOST_COVERS {
            *list = vec![Arc::new(Covers::all())];
        }
    }

    /// A job is done; what was asked for meanwhile begins.
    pub fn done(&mut self, job: Job) {
        job.later.into_iter().for_each(|covers| self.add_covered(job.key, covers));
    }

    /// The job whose turn it is. With [`Jobs::again`] it goes to the end of the line.
    pub fn next(&mut self) -> Option<Job> {
        let key = self.turns.pop_front()?;
        self.waiting.remove(&key)
    }

    /// A step is done and more is left, from `cursor` on; others get their turn first.
    pub fn again(&mut self, job: Job, cursor: u64) {
        self.add_of(job.key, cursor, job.addresses);
        if let Some(waiting) = self.waiting.get_mut(&job.key) {
            waiting.covers.extend(job.covers);
            waiting.later.extend(job.later);
        }
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
    fn what_changes_during_a_walk_is_walked_over_after_it() {
        let one = |text: &str| {
            Arc::new(crate::rpki::Table::default().difference(&crate::rpki::Table::new(vec![crate::rpki::Vrp {
                net: text.parse().unwrap(),
                asn: crate::num::Asn(1),
                max_len: 32,
            }])))
        };
        let nlri = |text: &str| Nlri::new(text.parse().unwrap());
        let key = JobKey::Covered(PeerId(1), Family::Ipv4Unicast);
        let mut jobs = Jobs::default();
        jobs.add_covered(key, one("10.1.0.0/16"));
        let job = jobs.next().unwrap();
        assert!(job.covers(&nlri("10.1.2.0/24")) && !job.covers(&nlri("10.2.2.0/24")));
        jobs.again(job, 7);
        jobs.add_covered(key, one("10.2.0.0/16"));
        let job = jobs.next().unwrap();
        assert_eq!((job.cursor, job.covers(&nlri("10.2.2.0/24"))), (7, false), "it goes on, with what it was about");
        jobs.done(job);
        let job = jobs.next().unwrap();
        assert_eq!((job.cursor, job.covers(&nlri("10.2.2.0/24"))), (0, true));
        jobs.again(job, 1);
        (0..100).for_each(|_| jobs.add_covered(key, one("10.3.0.0/16")));
        let job = jobs.next().unwrap();
        jobs.done(job);
        assert!(jobs.next().unwrap().covers(&nlri("192.0.2.0/24")), "so many changes are about everything");
        assert!(jobs.is_empty());
    }

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
