//! The one machine that says how this router stands in the world: running, saying goodbye, drained, or ending.
//!
//! ```text
//! Starting -> Running <-> Draining -> Drained -> Stopping(keep | withdraw)
//! ```
//!
//! In: `drain`, `undrain`, `stop`, time, and whether everything that was to be announced is out. Out: [`Step`]s for the router to carry out, and
//! the answers to who may connect, what is announced and which routes are kept. Starting is told apart from Running by `startup`, which waits
//! for what an earlier run left.
//!
//! A drain asks the others to look elsewhere (GRACEFUL_SHUTDOWN, RFC 8326 §4.1) and withdraws. Each step begins its wait when the
//! kernel has taken all that the step announces, however long the table is; a peer that does not read holds it up for [`FLUSH_LIMIT`]. A drained
//! router keeps its sessions and learns on, so that pods that are still here reach the others where they are now; it announces nothing. It
//! stays so until `undrain`, over its own death too (`remembered`).
//!
//! An end that withdraws is a drain, then the removal of our kernel routes. An end during a drain finishes the drain. A second one ends at once.

use std::time::Duration;

use super::params::OnTerm;
use crate::num::Instant;

/// A step of the goodbye waits no longer than this for peers that do not take what it announces.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// A step of the goodbye: first all must be out, then the others get their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    give_up: Instant,
    until: Option<Instant>,
}

impl Wait {
    pub fn begin(now: Instant) -> Wait {
        Wait { give_up: now + FLUSH_LIMIT, until: None }
    }

    pub fn deadline(&self) -> Instant {
        self.until.unwrap_or(self.give_up)
    }

    pub fn awaits_flush(&self) -> bool {
        self.until.is_none()
    }

    /// Is it over? `time` is what the others get.
    pub fn poll(&mut self, now: Instant, flushed: bool, time: Duration) -> bool {
        if self.until.is_none() && (flushed || now >= self.give_up) {
            self.until = Some(now + time);
        }
        self.until.is_some_and(|at| at <= now)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Sessions come and go.
    #[default]
    Running,
    /// Everything is announced with GRACEFUL_SHUTDOWN.
    Marking(Wait),
    /// Everything is withdrawn.
    Withdrawing(Wait),
    /// And everybody has had the time to follow.
    Drained,
    /// The sessions are closed, and the kernel's answers are awaited.
    Stopping(OnTerm),
    /// The daemon may end.
    Stopped,
}

/// What the router is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What every peer is announced has changed: marked, or withdrawn.
    Announce,
    /// The drain is done.
    Drained,
    /// Close what is open, and remove the kernel's routes or leave them.
    Stop(OnTerm),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    state: State,
    /// The drain is an operator's, and not the beginning of an end.
    ordered: bool,
    /// The end that was asked for while a drain goes on.
    then: Option<OnTerm>,
    /// How it ended.
    ended: Option<OnTerm>,
}

impl Lifecycle {
    /// In one word, for `status`. `starting`: what an earlier run left is waited for.
    pub fn name(&self, starting: bool) -> &'static str {
        match self.state {
            State::Running if starting => "starting",
            State::Running => "running",
            State::Marking(_) | State::Withdrawing(_) => "draining",
            State::Drained => "drained",
            State::Stopping(_) | State::Stopped => "stopping",
        }
    }

    /// May a connection come in, may a peer be started?
    pub fn takes_sessions(&self) -> bool {
        self.then.is_none() && !self.is_stopping()
    }

    /// The end has begun: sessions close.
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping(_) | State::Stopped)
    }

    /// A drain goes on or is done, and not because an end was asked for that withdraws.
    pub fn is_drained(&self) -> bool {
        matches!(self.state, State::Marking(_) | State::Withdrawing(_) | State::Drained) && self.ordered
    }

    /// As it was left: drained, if it was.
    pub fn recall(&mut self, drained: bool) {
        if drained {
            (self.state, self.ordered) = (State::Drained, true);
        }
    }

    /// A drain goes on or is done, or the router ends.
    pub fn is_leaving(&self) -> bool {
        self.state != State::Running
    }

    /// Routes go out with the GRACEFUL_SHUTDOWN community (RFC 8326 §4.1).
    pub fn marks(&self) -> bool {
        matches!(self.state, State::Marking(_))
    }

    /// Nothing is announced.
    pub fn withholds(&self) -> bool {
        matches!(self.state, State::Withdrawing(_) | State::Drained)
    }

    /// Going away and leaving the kernel's routes: what the closing sessions take out of the tables is to stay in the kernel.
    pub fn leaves_kernel_alone(&self) -> bool {
        self.state == State::Stopping(OnTerm::Keep) || self.state == State::Stopped
    }

    /// When [`Lifecycle::poll`] wants to be asked again.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Marking(wait) | State::Withdrawing(wait) => Some(wait.deadline()),
            State::Running | State::Drained | State::Stopping(_) | State::Stopped => None,
        }
    }

    /// Is what goes out to be looked at, as a step waits for it?
    pub fn awaits_flush(&self) -> bool {
        matches!(self.state, State::Marking(w) | State::Withdrawing(w) if w.awaits_flush())
    }

    /// The cluster says that this node leaves: a drain that nobody has ordered, and that ends when the node [stays](Lifecycle::stay).
    pub fn leave(&mut self, now: Instant) -> Option<Step> {
        (self.state == State::Running).then(|| {
            self.state = State::Marking(Wait::begin(now));
            Step::Announce
        })
    }

    /// Ends a drain that nobody has ordered, and that is not the beginning of an end.
    pub fn stay(&mut self) -> Option<Step> {
        let drains = matches!(self.state, State::Marking(_) | State::Withdrawing(_) | State::Drained);
        (drains && !self.ordered && self.then.is_none()).then(|| {
            self.state = State::Running;
            Step::Announce
        })
    }

    /// # Errors
    /// A drain goes on already, is done, or the router ends. One that nobody had ordered is ordered from then on.
    pub fn drain(&mut self, now: Instant) -> Result<Step, &'static str> {
        match self.state {
            State::Running => {
                (self.state, self.ordered) = (State::Marking(Wait::begin(now)), true);
                Ok(Step::Announce)
            }
            State::Marking(_) | State::Withdrawing(_) => {
                self.ordered |= self.then.is_none();
                Err("already draining")
            }
            State::Drained => {
                self.ordered |= self.then.is_none();
                Err("drained already")
            }
            State::Stopping(_) | State::Stopped => Err("the daemon is ending"),
        }
    }

    /// Back to work: the step to take.
    ///
    /// # Errors
    /// There is no drain to end, or an end was asked for.
    pub fn undrain(&mut self) -> Result<Step, &'static str> {
        match self.state {
            State::Running => Err("not draining"),
            State::Stopping(_) | State::Stopped => Err("the daemon is ending"),
            _ if self.then.is_some() => Err("the daemon is ending"),
            State::Marking(_) | State::Withdrawing(_) | State::Drained => {
                (self.state, self.ordered) = (State::Running, false);
                Ok(Step::Announce)
            }
        }
    }

    /// TERM, or a command that means it. The step to take at once, if one is.
    pub fn stop(&mut self, mode: OnTerm, now: Instant) -> Option<Step> {
        match self.state {
            State::Running if mode == OnTerm::Withdraw => {
                self.then = Some(mode);
                self.state = State::Marking(Wait::begin(now));
                Some(Step::Announce)
            }
            State::Marking(_) | State::Withdrawing(_) if self.then.is_none() => {
                self.then = Some(mode);
                None
            }
            State::Running | State::Drained => Some(self.end(mode)),
            State::Marking(_) | State::Withdrawing(_) => {
                let mode = self.then.unwrap_or(mode);
                self.state = State::Stopped;
                Some(Step::Stop(mode))
            }
            State::Stopping(_) => {
                self.state = State::Stopped;
                None
            }
            State::Stopped => None,
        }
    }

    fn end(&mut self, mode: OnTerm) -> Step {
        self.ended = Some(mode);
        self.state = State::Stopping(mode);
        Step::Stop(mode)
    }

    /// The next step of a drain, if it is time. To be called until there is none.
    pub fn poll(&mut self, now: Instant, flushed: bool, time: Duration) -> Option<Step> {
        let over = match &mut self.state {
            State::Marking(wait) | State::Withdrawing(wait) => wait.poll(now, flushed, time),
            State::Drained => self.then.is_some(),
            State::Running | State::Stopping(_) | State::Stopped => false,
        };
        match self.state {
            _ if !over => None,
            State::Marking(_) => {
                self.state = State::Withdrawing(Wait::begin(now));
                Some(Step::Announce)
            }
            State::Withdrawing(_) => {
                self.state = State::Drained;
                Some(Step::Drained)
            }
            _ => self.then.take().map(|mode| self.end(mode)),
        }
    }

    /// Everything is gone that was to go: `settled` says it of the kernel's routes. True once.
    pub fn finish(&mut self, settled: bool) -> bool {
        let done = match self.state {
            State::Stopping(OnTerm::Keep) => true,
            State::Stopping(OnTerm::Withdraw) => settled,
            _ => false,
        };
        if done {
            self.state = State::Stopped;
        }
        done
    }

    /// Kernel routes and tunnels were not to stay.
    pub fn ended_by_withdrawing(&self) -> bool {
        self.ended == Some(OnTerm::Withdraw)
    }

    /// All that was asked for is done.
    pub fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(300);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_drain_waits_for_what_it_announces_and_then_gives_the_others_their_time() {
        let mut life = Lifecycle::default();
        assert!(life.takes_sessions() && life.name(true) == "starting" && life.name(false) == "running");
        assert_eq!(life.drain(at(0)), Ok(Step::Announce));
        assert!(life.marks() && !life.withholds() && life.takes_sessions() && life.is_drained());
        assert_eq!(life.poll(at(5_000), false, WAIT), None, "a long table is still on its way");
        assert_eq!(life.poll(at(6_000), true, WAIT), None);
        assert_eq!(life.poll(at(6_300), false, WAIT), Some(Step::Announce));
        assert!(life.withholds() && !life.marks());
        assert_eq!(life.poll(at(16_300), false, WAIT), None, "somebody does not read");
        assert_eq!(life.next_deadline(), Some(at(16_600)));
        assert_eq!(life.poll(at(16_600), false, WAIT), Some(Step::Drained));
        assert_eq!(life.name(false), "drained");
        assert!(life.takes_sessions() && life.withholds() && life.is_drained(), "it learns on");
        assert_eq!(life.poll(at(16_600), true, WAIT), None);
        assert_eq!(life.undrain(), Ok(Step::Announce));
        assert!(life.takes_sessions() && !life.withholds() && !life.is_drained());
        life.recall(true);
        assert_eq!(life.drain(at(17_000)), Err("drained already"), "in another life");
    }

    #[test]
    fn a_drain_that_nobody_ordered_ends_when_the_node_stays_and_an_order_makes_it_last() {
        let mut life = Lifecycle::default();
        assert_eq!((life.leave(at(0)), life.leave(at(0))), (Some(Step::Announce), None));
        assert!(life.marks() && life.is_leaving() && !life.is_drained(), "nobody remembers it");
        assert_eq!((life.stay(), life.stay()), (Some(Step::Announce), None));
        life.leave(at(1000));
        assert_eq!(life.drain(at(1000)), Err("already draining"));
        assert!(life.is_drained());
        assert_eq!(life.stay(), None, "whoever ordered it ends it");
        assert_eq!(life.undrain(), Ok(Step::Announce));
        // An end that withdraws is not ended by a node that stays.
        life.stop(OnTerm::Withdraw, at(2000));
        assert_eq!(life.stay(), None);
    }

    #[test]
    fn term_finishes_a_drain_and_a_second_one_does_not_wait() {
        let mut life = Lifecycle::default();
        assert_eq!(life.drain(at(0)), Ok(Step::Announce));
        assert_eq!(life.stop(OnTerm::Keep, at(1)), None);
        assert_eq!(life.undrain(), Err("the daemon is ending"));
        assert_eq!(life.poll(at(1), true, Duration::ZERO), Some(Step::Announce));
        assert_eq!(life.poll(at(1), true, Duration::ZERO), Some(Step::Drained));
        assert!(life.is_drained() && !life.takes_sessions());
        assert_eq!(life.poll(at(1), true, Duration::ZERO), Some(Step::Stop(OnTerm::Keep)));
        assert!(life.finish(false) && life.is_stopped() && !life.finish(true));

        let mut life = Lifecycle::default();
        assert_eq!(life.stop(OnTerm::Withdraw, at(0)), Some(Step::Announce));
        assert_eq!(life.stop(OnTerm::Keep, at(1)), Some(Step::Stop(OnTerm::Withdraw)));
        assert!(life.is_stopped(), "the second one");
    }

    #[test]
    fn an_end_that_withdraws_waits_for_the_kernel() {
        let mut life = Lifecycle::default();
        life.stop(OnTerm::Withdraw, at(0));
        assert!(!life.is_drained(), "nobody wants it to stay so");
        for step in [Step::Announce, Step::Drained, Step::Stop(OnTerm::Withdraw)] {
            assert_eq!(life.poll(at(0), true, Duration::ZERO), Some(step));
        }
        assert!(!life.finish(false) && !life.is_stopped());
        assert!(life.finish(true) && life.is_stopped());
        assert_eq!(life.drain(at(1)), Err("the daemon is ending"));
    }
}
