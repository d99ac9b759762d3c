//! The loop of BFD's thread: read everything, judge, send, report, sleep.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::inbox::{Inbox, Shared};
use super::rows;
use super::sockets::{Receiving, Sockets};
use super::steer::Queue;
use crate::bfd::{Arrival, Bfd, Drop as Dropped, Path, REALTIME_BELOW, SessionParams, Status, WithoutRealtime};
use crate::daemon::counters::BfdMetrics;
use crate::daemon::privilege;
use crate::daemon::sys;
use crate::kernel::IfIndex;
use crate::num::{Instant, PeerId};

/// Among the real-time threads of a machine, above those that do nothing special and below the kernel's own.
const PRIORITY: u8 = 20;

/// How often sockets that could not be opened are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The longest sleep: the core is looked after even if its ring was lost.
const NAP: Duration = Duration::from_secs(1);

/// So long nothing is read of who does not know our discriminator, after a whole batch of it: some 13,000 packets a second of each queue at most.
const REST: Duration = Duration::from_millis(5);

/// A wake-up so much later than meant is counted.
const LATE: Duration = Duration::from_millis(5);

/// How often goodbye is said, and how long between: whoever does not hear it takes us for dead.
const GOODBYES: u32 = 3;
/// So long it waits before: a neighbour's BGP is to see first that connections were closed for a restart.
const LINGER: Duration = Duration::from_millis(150);
const BETWEEN_GOODBYES: Duration = Duration::from_millis(20);

/// In warnings.
const TOPIC: &str = "bfd";
const PORTS: &str = "bfd ports";

pub(super) struct Worker {
    shared: Arc<Shared>,
    reports: mpsc::Sender<Status>,
    bfd: Bfd,
    realtime: bool,
    sockets: Option<Sockets>,
    retry_at: Instant,
    /// One for what comes in, one for each family for what goes out.
    inward: sys::DatagramBatch,
    outward: [sys::DatagramBatch; 2],
    /// All that arrived before was read.
    read_until: Instant,
    /// Receiving sockets in which something waits, by index: a bit each.
    waiting: u32,
    /// Until then only packets with a discriminator of ours are read.
    rests_until: Option<Instant>,
    /// Sessions that are wanted and not had, for want of priority.
    refused: BTreeMap<PeerId, Arc<SessionParams>>,
    random: u16,
    /// It was told to end.
    ends_at: Option<Instant>,
}

impl Worker {
    /// With the priority that the kernel gives it.
    pub fn new(shared: Arc<Shared>, reports: mpsc::Sender<Status>) -> Worker {
        let realtime = sys::run_in_real_time(PRIORITY);
        privilege::drop_scheduling();
        if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
            tracing::debug!(%error, "BFD's timers stay as slack as other ones");
        }
        if let Err(error) = &realtime {
            tracing::debug!(%error, "no real-time priority for BFD's thread");
        }
        shared.metrics.bfd.realtime.store(realtime.is_ok(), Relaxed);
        let secret = secret();
        Worker {
            bfd: Bfd::new(secret),
            reports,
            realtime: realtime.is_ok(),
            sockets: None,
            retry_at: Instant::ZERO,
            inward: sys::DatagramBatch::default(),
            outward: Default::default(),
            read_until: sys::monotonic(),
            waiting: 0,
            rests_until: None,
            refused: BTreeMap::new(),
            random: u16::from_ne_bytes([secret[0], secret[1]]),
            ends_at: None,
            shared,
        }
    }

    /// Until it is told to end.
    pub fn run(mut self) {
        loop {
            let deadline = self.sleep();
            let now = sys::monotonic();
            if now.since(deadline) > LATE {
                self.metrics().late.add(1);
            }
            let inbox = std::mem::take(&mut *self.shared.inbox());
            if inbox.end {
                self.ends_at.get_or_insert(now + LINGER);
            }
            self.take(inbox, now);
            // What has come since the sockets were looked at is not known.
            let judged = self.read().unwrap_or(now);
            let now = sys::monotonic();
            self.bfd.on_time(now, judged);
            self.send();
            self.report();
            if self.ends_at.is_some_and(|at| at <= now) {
                return self.say_goodbye();
            }
        }
    }

    fn metrics(&self) -> &BfdMetrics {
        &self.shared.metrics.bfd
    }

    /// Until something comes, or is due: that moment.
    fn sleep(&mut self) -> Instant {
        let now = sys::monotonic();
        let mut until = self.bfd.next_deadline().unwrap_or(now + NAP).min(now + NAP);
        if self.bfd.has_reports() {
            until = until.min(now + Duration::from_millis(10));
        }
        if let Some(at) = self.ends_at {
            until = until.min(at);
        }
        self.rests_until = self.rests_until.filter(|at| *at > now);
        if let Some(at) = self.rests_until {
            until = until.min(at);
        }
        if self.bfd.has_to_send() {
            until = now;
        }
        let left = until.since(now);
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        let mut fds = smallvec::SmallVec::<[PollFd<'_>; 16]>::new();
        fds.push(PollFd::new(&self.shared.bell, PollFlags::IN));
        let rests = self.rests_until.is_some();
        fds.extend(self.sockets.iter().flat_map(|all| &all.receiving).map(|one| {
            let wanted = if rests && one.queue != Queue::Known { PollFlags::empty() } else { PollFlags::IN };
            PollFd::new(&one.socket, wanted)
        }));
        // Interrupted: what is due is looked for all the same.
        let woken = poll(&mut fds, Some(&timeout)).unwrap_or(0);
        if fds.first().is_some_and(|bell| !bell.revents().is_empty()) {
            let mut rings = [0; 8];
            // Nothing to be read is fine: somebody else's interrupt woke us.
            let _rings = rustix::io::read(&self.shared.bell, &mut rings);
        }
        self.waiting = fds.iter().skip(1).rev().fold(0, |bits, fd| bits << 1 | u32::from(!fd.revents().is_empty()));
        if woken > 0 { sys::monotonic() } else { until }
    }

    fn take(&mut self, inbox: Inbox, now: Instant) {
        let changed = !inbox.wanted.is_empty();
        for (peer, session) in inbox.wanted {
            match session.and_then(|session| self.allowed(peer, session)) {
                Some(session) => self.bfd.want(peer, session, now),
                None => self.bfd.unwant(peer, now),
            }
        }
        if changed {
            self.complain();
        }
        let wanted = self.bfd.totals().0 > 0;
        if wanted && self.sockets.is_none() && now >= self.retry_at {
            self.open(now);
        } else if !wanted && self.sockets.is_some() && !self.bfd.has_sessions() {
            // Another daemon may want the ports.
            self.sockets = None;
        }
        for asked in inbox.asked {
            let report = rows::report(&self.bfd, self.realtime, &self.refused, asked.peer.as_deref(), now);
            if asked.reply.send(report).is_err() {
                tracing::debug!("who asked for BFD sessions did not wait");
            }
        }
        let (sessions, up) = self.bfd.totals();
        self.metrics().sessions.set(sessions);
        self.metrics().up.set(up);
    }

    /// The session as this thread can hold it.
    fn allowed(&mut self, peer: PeerId, session: Arc<SessionParams>) -> Option<Arc<SessionParams>> {
        self.refused.remove(&peer);
        let held = if self.realtime { Some(session.clone()) } else { without_realtime(&session) };
        if held.is_none() {
            self.refused.insert(peer, session);
        }
        held
    }

    /// What is to be said for as long as it is so.
    fn complain(&self) {
        let mut texts = Vec::new();
        if !self.realtime && (self.bfd.totals().0 > 0 || !self.refused.is_empty()) {
            let refused = match self.refused.len() {
                0 => String::new(),
                n => format!("; {n} sessions are refused for it"),
            };
            texts.push(format!(
                "BFD's thread has no real-time priority (CAP_SYS_NICE, or LimitRTPRIO): under load it may be late, and intervals below 300 ms are \
                 as `without_realtime` says{refused}"
            ));
        }
        if self.shared.metrics.warnings_of(TOPIC) != texts {
            texts.iter().for_each(|text| tracing::warn!("{text}"));
            self.shared.metrics.warn(TOPIC, texts);
        }
    }

    fn open(&mut self, now: Instant) {
        let texts = match Sockets::open(self.random, self.bfd.tag()) {
            Ok(sockets) => {
                self.sockets = Some(sockets);
                Vec::new()
            }
            Err(error) => {
                self.retry_at = now + RETRY;
                let hint =
                    if error.kind() == std::io::ErrorKind::AddrInUse { "; does another BFD daemon (bfdd, BIRD) run here?" } else { "" };
                vec![format!("no BFD session can come up: {error}{hint}")]
            }
        };
        if self.shared.metrics.warnings_of(PORTS) != texts {
            texts.iter().for_each(|text| tracing::warn!("{text}"));
            self.shared.metrics.warn(PORTS, texts);
        }
    }

    /// Takes in what waits in the sockets. If there is more of neighbours than it will read in one go: the arrival of the last that it has read.
    fn read(&mut self) -> Option<Instant> {
        let begun = sys::monotonic();
        let mut sockets = self.sockets.take()?;
        let mut unread = None::<Instant>;
        let waiting = std::mem::take(&mut self.waiting);
        let some = (0..).zip(&mut sockets.receiving).filter(|(nth, _)| waiting >> nth & 1 == 1);
        for (_, receiving) in some {
            let rest = self.read_queue(receiving);
            match (receiving.queue, rest) {
                (_, None) => {}
                (Queue::Known, Some(newest)) => unread = Some(unread.map_or(newest, |other| other.min(newest))),
                // Of who is not Up: nobody is taken for dead who waits here.
                (Queue::First | Queue::Rubbish, Some(_)) => self.rests_until = Some(begun + REST),
            }
        }
        self.sockets = Some(sockets);
        self.read_until = unread.unwrap_or(begun);
        if waiting > 0 {
            let (metrics, counters) = (&self.shared.metrics.bfd, self.bfd.counters());
            metrics.received.store(counters.received, Relaxed);
            for (count, why) in metrics.dropped.iter().zip(Dropped::ALL) {
                count.store(counters.dropped(why), Relaxed);
            }
        }
        unread
    }

    /// As many batches as the queue may have at a time; the arrival of the last packet if more may wait.
    fn read_queue(&mut self, receiving: &mut Receiving) -> Option<Instant> {
        let mut newest = self.read_until;
        for _ in 0..receiving.queue.rounds() {
            let Ok(count) = self.inward.receive(&receiving.socket.as_fd()) else { return None };
            newest = newest.max(self.take_in(receiving.path));
            if count < sys::DATAGRAMS {
                return None;
            }
        }
        if let Ok(queue) = sys::receive_queue(&receiving.socket.as_fd())
            && receiving.queue == Queue::Rubbish
        {
            self.bfd.note_unread(queue.drops.wrapping_sub(receiving.lost).into());
            receiving.lost = queue.drops;
        }
        Some(newest)
    }

    /// The packets of a batch; the arrival of the newest.
    fn take_in(&mut self, path: Path) -> Instant {
        let before = self.read_until;
        let (now, wall) = (sys::monotonic(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut newest = before;
        for datagram in self.inward.received() {
            // By the wall clock, which may leap; it came after the sockets were last found empty, and before now.
            let age = datagram.arrived.map_or(Duration::ZERO, |at| wall.saturating_sub(at));
            let at = Instant::from_nanos(now.as_nanos().saturating_sub(age.as_nanos() as u64)).max(before);
            newest = newest.max(at);
            let arrival = Arrival { from: datagram.from.ip(), link: IfIndex(datagram.ifindex), ttl: datagram.ttl, path, at };
            // Counted where it is dropped.
            let _dropped = self.bfd.receive(&arrival, datagram.octets, now);
        }
        newest
    }

    fn send(&mut self) {
        let now = sys::monotonic();
        while let Some(transmit) = self.bfd.poll_transmit(now) {
            let Some(sockets) = &self.sockets else { continue };
            let Some((index, socket)) = sockets.towards(transmit.to) else { continue };
            let Some(batch) = self.outward.get_mut(index) else { continue };
            let to = std::net::SocketAddr::new(transmit.to, transmit.path.port());
            batch.put(to, transmit.from, transmit.link.map(|link| link.0), transmit.octets.as_slice());
            if batch.is_full() {
                note_sent(&self.shared.metrics.bfd, batch.send(&socket.as_fd()));
            }
        }
        for (index, batch) in self.outward.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            if let Some(socket) = self.sockets.as_ref().and_then(|sockets| sockets.sending(index)) {
                note_sent(&self.shared.metrics.bfd, batch.send(&socket.as_fd()));
            }
        }
    }

    /// As much as the core has room for.
    fn report(&mut self) {
        if !self.bfd.has_reports() {
            return;
        }
        while let Ok(room) = self.reports.try_reserve() {
            match self.bfd.poll_status() {
                Some(status) => room.send(status),
                None => break,
            }
        }
        let (sessions, up) = self.bfd.totals();
        self.metrics().sessions.set(sessions);
        self.metrics().up.set(up);
    }

    fn say_goodbye(&mut self) {
        for nth in 0..GOODBYES {
            if nth > 0 {
                std::thread::sleep(BETWEEN_GOODBYES);
            }
            self.bfd.end_all(sys::monotonic());
            self.send();
        }
    }
}

/// A session as it may be where the kernel prefers our thread to nobody.
fn without_realtime(session: &Arc<SessionParams>) -> Option<Arc<SessionParams>> {
    if session.min_tx.min(session.min_rx) >= REALTIME_BELOW {
        return Some(session.clone());
    }
    match session.without_realtime {
        WithoutRealtime::Keep => Some(session.clone()),
        WithoutRealtime::Raise => {
            let raise = |micros: u32| micros.max(REALTIME_BELOW);
            Some(Arc::new(SessionParams { min_tx: raise(session.min_tx), min_rx: raise(session.min_rx), ..(**session).clone() }))
        }
        WithoutRealtime::Refuse => None,
    }
}

fn note_sent(metrics: &BfdMetrics, (sent, refused): (usize, usize)) {
    metrics.sent.add(sent as u64);
    if refused > 0 {
        metrics.send_failures.add(refused as u64);
    }
}

/// From the kernel's randomness, by way of the standard library's hashers.
fn secret() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let half = || RandomState::new().build_hasher().finish();
    ((u128::from(half()) << 64) | u128::from(half())).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bfd::Path;

    fn wish(millis: u32, without_realtime: WithoutRealtime) -> Arc<SessionParams> {
        Arc::new(SessionParams {
            peer: "them".into(),
            remote: [127, 0, 0, 1].into(),
            local: None,
            link: None,
            path: Path::SingleHop,
            min_ttl: 255,
            min_tx: millis * 1000,
            min_rx: millis * 1000,
            multiplier: 3,
            without_realtime,
            passive: false,
            admin_up: true,
            key: None,
        })
    }

    #[test]
    fn short_intervals_without_priority_are_raised_refused_or_kept_as_configured() {
        let held = |millis, word| without_realtime(&wish(millis, word)).map(|session| (session.min_tx / 1000, session.min_rx / 1000));
        assert_eq!(held(50, WithoutRealtime::Raise), Some((300, 300)));
        assert_eq!(held(50, WithoutRealtime::Refuse), None);
        assert_eq!(held(50, WithoutRealtime::Keep), Some((50, 50)));
        for word in [WithoutRealtime::Raise, WithoutRealtime::Refuse, WithoutRealtime::Keep] {
            assert_eq!(held(300, word), Some((300, 300)), "long ones are nobody's trouble: {word:?}");
        }
    }

    #[test]
    fn secrets_are_not_the_same_twice() {
        assert_ne!(secret(), secret());
    }
}
