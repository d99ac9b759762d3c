//! Which of those that were heard on a link is the neighbour.
//!
//! In: [`Sign`]s of neighbours with the time, and whether there is a session with the one that was found. Out: the neighbour, whenever it is
//! another than before.
//!
//! A link of this kind has one other router. So the first that is heard is the neighbour, and stays so while there is a session with it,
//! whoever else speaks: a host on the link does not end a session by an advertisement. Without a session, it is given up for another one that
//! gives at least as good a sign, as soon as it is known to be gone (the link was down, the kernel's questions went unanswered) or was
//! silent for [`PATIENCE`].

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::num::Instant;

/// Longer than FRR and we are silent between two advertisements (10 s).
const PATIENCE: Duration = Duration::from_secs(15);
/// Others that are kept in mind.
const OTHERS: usize = 4;

/// How a neighbour was noticed; the later the better a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// The kernel's own questions to it went unanswered: it is gone.
    Lost,
    /// The kernel has its link-layer address.
    Resolved,
    /// It says of itself that it is a router (RFC 4861 §4.4, the R flag).
    Router,
    /// It has connected to our BGP port.
    Connection,
    /// It has sent a router advertisement.
    Advertisement,
}

/// One that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    addr: Ipv6Addr,
    /// The best sign so far.
    sign: Sign,
    heard: Instant,
}

/// A neighbour that is another than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub addr: Ipv6Addr,
    /// Who was it before.
    pub before: Option<Ipv6Addr>,
}

/// Of one link.
#[derive(Clone, Debug, Default)]
pub struct Finder {
    current: Option<Candidate>,
    /// The current one is known to be gone.
    lost: bool,
    others: Vec<Candidate>,
    counts: Counts,
}

/// Of one link, since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Neighbours, the first and each other one.
    pub found: u64,
    /// How often the neighbour was known to be gone.
    pub lost: u64,
}

impl Finder {
    /// Who is it?
    pub fn neighbour(&self) -> Option<Ipv6Addr> {
        self.current.map(|current| current.addr)
    }

    /// How often it was found, and lost.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Others that were heard lately: on a link with one other router there are none.
    pub fn others(&self, now: Instant) -> impl Iterator<Item = Ipv6Addr> {
        let routers =
            self.others.iter().filter(move |other| other.sign >= Sign::Router && now.since(other.heard) < PATIENCE.saturating_mul(2));
        routers.map(|other| other.addr)
    }

    /// A sign of somebody on the link. `in_session`: with the neighbour as it is.
    pub fn on_sign(&mut self, addr: Ipv6Addr, sign: Sign, in_session: bool, now: Instant) -> Option<Found> {
        if !addr.is_unicast_link_local() {
            return None;
        }
        let is_current = self.neighbour() == Some(addr);
        match (sign, is_current) {
            (Sign::Lost, true) => self.lose(),
            (Sign::Lost, false) => self.others.retain(|other| other.addr != addr),
            (_, true) => {
                self.lost = false;
                let current = self.current.as_mut()?;
                (current.sign, current.heard) = (current.sign.max(sign), now);
            }
            (_, false) => self.note(Candidate { addr, sign, heard: now }),
        }
        self.choose(in_session, now)
    }

    /// The session with the neighbour has ended: perhaps somebody else is there meanwhile.
    pub fn on_session_end(&mut self, now: Instant) -> Option<Found> {
        self.choose(false, now)
    }

    /// The link is down: what is at its other end when it comes up is to be heard.
    pub fn on_link_down(&mut self) {
        self.lose();
        self.others.clear();
    }

    fn lose(&mut self) {
        let known = self.current.is_some() && !self.lost;
        self.counts.lost = self.counts.lost.saturating_add(u64::from(known));
        self.lost = true;
    }

    fn note(&mut self, heard: Candidate) {
        let before = self.others.iter().position(|other| other.addr == heard.addr).map(|at| self.others.remove(at));
        let sign = before.map_or(heard.sign, |before| before.sign.max(heard.sign));
        // The one that was silent longest makes room.
        if self.others.len() == OTHERS {
            self.others.remove(0);
        }
        self.others.push(Candidate { sign, ..heard });
    }

    /// Another neighbour, if the time for one has come: the best sign, and of those the latest.
    fn choose(&mut self, in_session: bool, now: Instant) -> Option<Found> {
        let given_up = |current: &Candidate| self.lost || now.since(current.heard) > PATIENCE;
        let least = match &self.current {
            Some(_) if in_session => return None,
            Some(current) if !given_up(current) => return None,
            // What is known to be gone is as good as nobody.
            Some(current) if !self.lost => current.sign,
            Some(_) | None => Sign::Resolved,
        };
        let able = self.others.iter().enumerate().filter(|(_, other)| other.sign >= least && now.since(other.heard) <= PATIENCE);
        let (at, _) = able.max_by_key(|(_, other)| (other.sign, other.heard))?;
        let next = self.others.remove(at);
        let before = self.current.replace(next).map(|before| before.addr);
        self.lost = false;
        self.counts.found = self.counts.found.saturating_add(1);
        Some(Found { addr: next.addr, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xa);
    const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xb);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn found(addr: Ipv6Addr, before: Option<Ipv6Addr>) -> Option<Found> {
        Some(Found { addr, before })
    }

    #[test]
    fn the_first_that_is_heard_is_the_neighbour_and_stays_so_while_there_is_a_session() {
        let mut finder = Finder::default();
        assert_eq!(finder.on_sign("2001:db8::1".parse().unwrap(), Sign::Advertisement, false, at(0)), None);
        assert_eq!(finder.on_sign(A, Sign::Resolved, false, at(0)), found(A, None));
        for seconds in 1..1000 {
            assert_eq!(finder.on_sign(B, Sign::Advertisement, true, at(seconds)), None);
        }
        assert_eq!(finder.others(at(1000)).collect::<Vec<_>>(), [B], "the operator may know of the other");
        assert_eq!(finder.neighbour(), Some(A));
    }

    #[test]
    fn who_is_found_and_lost_is_counted() {
        let mut finder = Finder::default();
        finder.on_link_down();
        assert_eq!(finder.counts(), Counts::default(), "nobody was there");
        finder.on_sign(A, Sign::Advertisement, false, at(0));
        assert!((1..9).all(|n| finder.on_sign(A, Sign::Advertisement, false, at(n)).is_none()));
        assert_eq!(finder.counts(), Counts { found: 1, lost: 0 });
        finder.on_sign(A, Sign::Lost, false, at(9));
        finder.on_link_down();
        assert_eq!(finder.counts(), Counts { found: 1, lost: 1 }, "once, whoever says so");
        finder.on_sign(B, Sign::Advertisement, false, at(10));
        assert_eq!(finder.counts(), Counts { found: 2, lost: 1 });
    }

    #[test]
    fn two_that_speak_do_not_take_turns() {
        let mut finder = Finder::default();
        finder.on_sign(A, Sign::Advertisement, false, at(0));
        for seconds in (10..1000).step_by(10) {
            assert_eq!(finder.on_sign(A, Sign::Advertisement, false, at(seconds)), None);
            assert_eq!(finder.on_sign(B, Sign::Advertisement, false, at(seconds + 5)), None);
        }
    }

    #[test]
    fn one_that_went_silent_makes_room_and_one_whose_session_lives_does_not() {
        let mut finder = Finder::default();
        finder.on_sign(A, Sign::Advertisement, false, at(0));
        assert_eq!(finder.on_sign(B, Sign::Advertisement, true, at(20)), None);
        assert_eq!(finder.on_session_end(at(22)), found(B, Some(A)), "the session fell, and only the other was heard lately");
        assert_eq!(finder.on_sign(A, Sign::Router, false, at(60)), None, "a worse sign than the neighbour's own");
        assert_eq!(finder.on_sign(A, Sign::Advertisement, false, at(61)), found(A, Some(B)));
    }

    #[test]
    fn after_a_lost_link_or_a_lost_neighbour_anybody_will_do() {
        let mut finder = Finder::default();
        finder.on_sign(A, Sign::Advertisement, false, at(0));
        finder.on_link_down();
        assert_eq!(finder.neighbour(), Some(A), "nobody else is known");
        assert_eq!(finder.on_sign(B, Sign::Resolved, false, at(1)), found(B, Some(A)));
        assert_eq!(finder.on_sign(A, Sign::Advertisement, false, at(2)), None);
        assert_eq!(finder.on_sign(B, Sign::Lost, false, at(3)), found(A, Some(B)));
        finder.on_link_down();
        assert_eq!(finder.on_sign(A, Sign::Advertisement, false, at(4)), None, "it is the same one");
        assert_eq!(finder.on_sign(B, Sign::Advertisement, false, at(5)), None, "and there it is again");
    }

    #[test]
    fn few_are_kept_in_mind() {
        let mut finder = Finder::default();
        finder.on_sign(A, Sign::Advertisement, false, at(0));
        for n in 0..10_000_u16 {
            finder.on_sign(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, n), Sign::Advertisement, true, at(1));
        }
        assert_eq!(finder.others.len(), OTHERS);
        assert_eq!(finder.on_sign(B, Sign::Lost, true, at(2)), None);
    }
}
