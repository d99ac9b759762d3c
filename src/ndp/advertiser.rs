//! When to advertise ourselves on a link, and when to ask who is there (RFC 4861 §6.2.4, §6.2.6, §6.3.7).
//!
//! In: the link comes up, somebody asks, a router was heard, the time. Out: what is [`Due`]. Ten seconds between two advertisements at most:
//! a neighbour that was missed by the first three is not to be missed for long. RFC 4861 allows for four.

use std::time::Duration;

use crate::num::{Instant, Rng};

/// MaxRtrAdvInterval.
const MOST: Duration = Duration::from_secs(10);
/// MinRtrAdvInterval: a third.
const LEAST: Duration = Duration::from_millis(3_300);
/// MIN_DELAY_BETWEEN_RAS.
const BETWEEN: Duration = Duration::from_secs(3);
/// MAX_RA_DELAY_TIME.
const ANSWER: Duration = Duration::from_millis(500);
/// MAX_RTR_SOLICITATIONS.
const QUESTIONS: u8 = 3;
/// RTR_SOLICITATION_INTERVAL.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(4);
/// After the kernel did not take a packet, as while it makes sure that our address is ours alone (RFC 4862 §5.4).
const AGAIN: Duration = Duration::from_millis(500);

/// What is to be sent now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    pub advertisement: bool,
    pub solicitation: bool,
}

/// Of one link.
#[derive(Debug)]
pub struct Advertiser {
    rng: Rng,
    /// `None`: the link is down.
    advertise_at: Option<Instant>,
    advertised: Option<Instant>,
    ask_at: Option<Instant>,
    /// Questions that are left.
    questions: u8,
}

impl Advertiser {
    /// Of a link that is down. The seed spreads what many of us would say at one moment.
    pub fn new(seed: u64) -> Advertiser {
        Advertiser { rng: Rng::new(seed), advertise_at: None, advertised: None, ask_at: None, questions: 0 }
    }

    /// The link is up, or was down for a moment: whoever is there now has not heard us.
    pub fn on_up(&mut self, now: Instant) {
        let at = now + self.random(ANSWER);
        self.advertise_at = Some(self.not_before(at));
        self.ask_at = Some(at);
        self.questions = QUESTIONS;
    }

    /// Nothing is to be said.
    pub fn on_down(&mut self) {
        (self.advertise_at, self.ask_at) = (None, None);
    }

    /// Somebody asks.
    pub fn on_solicitation(&mut self, now: Instant) {
        let answer = now + self.random(ANSWER);
        let answer = self.not_before(answer);
        self.advertise_at = self.advertise_at.map(|at| at.min(answer));
    }

    /// A router was heard: it is not asked for any more.
    pub fn on_advertisement(&mut self) {
        self.ask_at = None;
    }

    /// What is to be sent now; it is taken for sent unless [`Advertiser::on_refused`] says otherwise.
    pub fn poll(&mut self, now: Instant) -> Due {
        let due =
            Due { advertisement: self.advertise_at.is_some_and(|at| at <= now), solicitation: self.ask_at.is_some_and(|at| at <= now) };
        if due.advertisement {
            self.advertised = Some(now);
            let wait = self.random(MOST.saturating_sub(LEAST));
            self.advertise_at = Some(now + LEAST + wait);
        }
        if due.solicitation {
            self.questions = self.questions.saturating_sub(1);
            self.ask_at = Some(now + BETWEEN_QUESTIONS).filter(|_| self.questions > 0);
        }
        due
    }

    /// The kernel did not take what was due: it is due again soon.
    pub fn on_refused(&mut self, due: Due, now: Instant) {
        if due.advertisement {
            self.advertised = None;
            self.advertise_at = Some(now + AGAIN);
        }
        if due.solicitation {
            self.questions = self.questions.saturating_add(1);
            self.ask_at = Some(now + AGAIN);
        }
    }

    /// When [`Advertiser::poll`] has something.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.advertise_at, self.ask_at].into_iter().flatten().min()
    }

    /// Two multicast advertisements are not closer together (RFC 4861 §6.2.6).
    fn not_before(&self, at: Instant) -> Instant {
        self.advertised.map_or(at, |last| at.max(last + BETWEEN))
    }

    fn random(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.next_u64().checked_rem(millis.saturating_add(1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    /// The moments of all that is sent until then.
    fn sent(advertiser: &mut Advertiser, until: Instant) -> (Vec<Instant>, Vec<Instant>) {
        let (mut advertised, mut asked) = (Vec::new(), Vec::new());
        while let Some(now) = advertiser.next_deadline().filter(|at| *at <= until) {
            let due = advertiser.poll(now);
            advertised.extend(due.advertisement.then_some(now));
            asked.extend(due.solicitation.then_some(now));
        }
        (advertised, asked)
    }

    #[test]
    fn we_are_heard_at_once_and_then_at_the_rates_of_rfc_4861() {
        for seed in 0..50 {
            let mut advertiser = Advertiser::new(seed);
            assert_eq!(sent(&mut advertiser, at(1_000_000)), (vec![], vec![]), "the link is down");
            advertiser.on_up(at(0));
            let (advertised, asked) = sent(&mut advertiser, at(1_000_000));
            assert!(advertised[0] <= at(500));
            for pair in advertised.windows(2) {
                let between = pair[1].since(pair[0]);
                assert!((LEAST..=MOST).contains(&between), "{between:?}");
            }
            assert_eq!(asked.len(), 3, "a router that does not answer is asked three times");
            assert!(asked.windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_secs(4)));
        }
    }

    #[test]
    fn who_asks_is_answered_within_half_a_second_and_a_flood_of_questions_once_in_three() {
        let mut advertiser = Advertiser::new(7);
        advertiser.on_up(at(0));
        sent(&mut advertiser, at(4_000));
        advertiser.on_solicitation(at(8_000));
        let next = advertiser.next_deadline().unwrap();
        assert!(next <= at(8_500), "{next:?}");
        let mut last = None;
        for millis in 8_000..20_000 {
            advertiser.on_solicitation(at(millis));
            if advertiser.poll(at(millis)).advertisement {
                let since = last.replace(at(millis)).map(|before| at(millis).since(before));
                assert!(since.is_none_or(|since| since >= BETWEEN), "{since:?}");
            }
        }
        assert!(last.is_some());
    }

    #[test]
    fn a_link_that_comes_back_is_spoken_to_again_and_a_router_that_was_heard_is_not_asked_for() {
        let mut advertiser = Advertiser::new(7);
        advertiser.on_up(at(0));
        advertiser.on_advertisement();
        let (advertised, asked) = sent(&mut advertiser, at(3_000));
        assert_eq!((advertised.len(), asked.len()), (1, 0));
        advertiser.on_down();
        assert_eq!(advertiser.next_deadline(), None);
        advertiser.on_solicitation(at(3_100));
        assert_eq!(advertiser.next_deadline(), None, "nobody is spoken to over a link that is down");
        advertiser.on_up(at(4_000));
        let (advertised, asked) = sent(&mut advertiser, at(6_000));
        assert_eq!((advertised.len(), asked.len()), (1, 1));
    }

    #[test]
    fn what_the_kernel_does_not_take_is_tried_again_soon() {
        let mut advertiser = Advertiser::new(7);
        advertiser.on_up(at(0));
        let now = at(500);
        let due = advertiser.poll(now);
        assert!(due.advertisement && due.solicitation);
        advertiser.on_refused(due, now);
        assert_eq!(advertiser.next_deadline(), Some(at(1_000)));
        assert_eq!(advertiser.poll(at(1_000)), due);
        assert_eq!(sent(&mut advertiser, at(60_000)).1.len(), 2, "the one that was refused does not count");
    }
}
