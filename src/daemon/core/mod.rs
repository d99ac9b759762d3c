//! The loop around the router: one queue in, effects out, nothing shared. It runs on the first thread of the process.
//!
//! In: [`CoreEvent`]s from connections, dials and listeners through one bounded queue, [`Request`]s of operators through a small one of their
//! own, and the kernel's events and answers. Out: whatever the speaker's effects ask for. It leaves every decision to `Speaker` and every
//! system call but the direct write to the tasks around it. Nothing on this thread opens a file, writes to a pipe or waits for a client.
//!
//! A cycle takes in what has arrived, at most [`MESSAGES`] messages or for [`SLICE`], then lets the speaker settle (timers first), then
//! applies effects, all frames for a connection in one write. Under load the next cycle follows at once, after the tasks that read have had
//! their turn; so a flood from one peer delays another's keepalive by one slice and not by the flood. Without load the core sleeps until the
//! next event or deadline.

mod bmp;
pub mod clock;
pub mod conn;
pub mod dialer;
pub mod event_queue;
pub mod half_open;
pub mod listener;
pub mod penalty;
mod rpki;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::api::{Answer, Command, Question, TransportRow};
use crate::bfd;
use crate::fib::FibChange;
use crate::kernel::KernelEvent;
use crate::num::{ConnId, Instant};
use crate::peer::{DialError, Direction, Transport};
use crate::speaker::{Effect, Frames, Input, Params, Remembered, Speaker};
use crate::wire::Message;

use super::bfd::BfdThread;
use super::event_log::EventLog;
use super::netlink::{Done, Events, Netlink};
use bmp::Stations;
use clock::Clock;
use conn::{Conn, LINGERING};
use event_queue::{CoreEvent, EventQueue};
use half_open::HalfOpenLimiter;
use listener::{AllowedPeers, Listeners, Refused};
use rpki::RpkiThread;

/// Requests of operators that wait at most.
pub const REQUESTS: usize = 64;

/// Requests answered in one cycle; a page of a list is a request.
const ANSWERS: usize = 4;

/// Messages taken in before the speaker settles.
const MESSAGES: usize = 512;

/// Time spent on taking in before the speaker settles, and on performing before others get their turn.
const SLICE: Duration = Duration::from_millis(1);

/// Woken this much later than meant, the process was stopped or starved.
const SUSPEND_THRESHOLD: Duration = Duration::from_millis(500);

/// How long what waits in the sockets is taken in after a leap, before timers are run.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Cycles in a row with an empty queue after which no reader has anything left to hand in.
const QUIET: u32 = 3;

/// A sleep of this length says the same.
const IDLE: Duration = Duration::from_millis(20);

/// How long closed connections may linger once the speaker has stopped.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Why a peer is not dialled.
const NO_DESCRIPTORS: &str = "no file descriptor is left for another connection; raise the limit (LimitNOFILE, ulimit -n)";

/// What an operator or a signal wants of the core, with a place for the answer.
#[derive(Debug)]
pub enum Request {
    /// Reads.
    Query(Question, oneshot::Sender<Answer>),
    /// Changes something.
    Command(Command, oneshot::Sender<Answer>),
    /// Listen on these addresses and no others, for these peers and no others; what the kernel refuses of it is the answer.
    Listen {
        /// All of them.
        addresses: Vec<SocketAddr>,
        /// All of them, with their keys.
        allowed: AllowedPeers,
        /// What the kernel refused, in words.
        reply: oneshot::Sender<Vec<Refused>>,
    },
    /// What these parameters would change; with `true` they are taken over.
    Plan(Box<Params>, bool, oneshot::Sender<Answer>),
    /// To be taken in at once, ahead of what is queued: blocks, stop.
    Tell(Input, oneshot::Sender<()>),
}

/// The speaker with its connections.
pub struct Core {
    speaker: Speaker,
    clock: Clock,
    events: mpsc::Receiver<CoreEvent>,
    requests: mpsc::Receiver<Request>,
    queue: EventQueue,
    netlink: Netlink,
    kernel_events: Events,
    bfd: BfdThread,
    bfd_reports: mpsc::Receiver<bfd::Status>,
    stations: Stations,
    rpki: RpkiThread,
    event_log: EventLog,
    remember: watch::Sender<Option<Remembered>>,
    conns: HashMap<ConnId, Conn, foldhash::fast::RandomState>,
    dials: HashMap<ConnId, AbortHandle>,
    listeners: Listeners,
    /// Accepted connections that have not sent an OPEN.
    half_open: HalfOpenLimiter,
    accepted: u64,
    lingering: JoinSet<()>,
    replies: HashMap<u64, oneshot::Sender<Answer>>,
    asked: u64,
    /// Frames of this cycle, by connection, in the order of their first.
    outgoing: HashMap<ConnId, Frames, foldhash::fast::RandomState>,
    changes: Vec<(u64, FibChange)>,
    /// What is left of a long read.
    unfinished: Option<CoreEvent>,
    /// Cycles in a row that began with an empty queue, and the last moment at which enough had.
    quiet: u32,
    taken_in_until: Instant,
    stopped: bool,
}

impl Core {
    /// The speaker with what surrounds it; nothing moves before [`Core::run`].
    pub fn new(
        speaker: Speaker,
        clock: Clock,
        queues: (mpsc::Receiver<CoreEvent>, mpsc::Receiver<Request>),
        queue: EventQueue,
        (netlink, kernel_events): (Netlink, Events),
        (bfd, bfd_reports): (BfdThread, mpsc::Receiver<bfd::Status>),
        (event_log, remember): (EventLog, watch::Sender<Option<Remembered>>),
    ) -> Core {
        Core {
            speaker,
            clock,
            events: queues.0,
            requests: queues.1,
            netlink,
            kernel_events,
            bfd,
            bfd_reports,
            stations: Stations::new(queue.clone()),
            rpki: RpkiThread::new(queue.clone(), clock),
            event_log,
            remember,
            conns: HashMap::default(),
            dials: HashMap::new(),
            listeners: Listeners::new(queue.clone()),
            half_open: HalfOpenLimiter::new(queue.counters().descriptors),
            queue,
            accepted: 0,
            lingering: JoinSet::new(),
            replies: HashMap::new(),
            asked: 0,
            outgoing: HashMap::default(),
            changes: Vec::new(),
            unfinished: None,
            quiet: 0,
            taken_in_until: clock.now(),
            stopped: false,
        }
    }

    /// Until the speaker has stopped.
    pub async fn run(mut self) {
        loop {
            let busy = self.cycle();
            if self.stopped {
                return self.shutdown().await;
            }
            let due = if busy {
                let now = self.clock.now();
                tokio::task::yield_now().await;
                now
            } else {
                let since = self.clock.now();
                let due = self.wait().await;
                // Had a reader still had something in hand, there would have been no sleep.
                if self.clock.now() - since >= IDLE {
                    (self.quiet, self.taken_in_until) = (QUIET, since);
                }
                due
            };
            if self.clock.now() - due > SUSPEND_THRESHOLD {
                self.catch_up().await;
            }
        }
    }

    /// After a time in which this process did not run, every deadline seems to have passed, while what the peers have said in between waits in
    /// the sockets. It is taken in first; a hold timer that then still has run out has run out.
    async fn catch_up(&mut self) {
        self.queue.counters().leaps.add(1);
        let begun = self.clock.now();
        let mut quiet = 0;
        while quiet < QUIET && self.clock.now() - begun < CATCHING_UP {
            // Gives the driver and then the readers their turn.
            tokio::task::yield_now().await;
            quiet += 1;
            while let Some(event) = self.next_event() {
                quiet = 0;
                let now = self.clock.now();
                self.on_event(event, now);
            }
        }
    }

    /// Takes in, settles, performs. True when there is more to do at once.
    fn cycle(&mut self) -> bool {
        self.queue.counters().cycles.add(1);
        let begun = self.clock.now();
        self.note_backlog(begun);
        let mut messages = self.take_kernel(begun);
        let mut now = self.clock.now();
        let mut longest = now - begun;
        while messages < MESSAGES && now - begun < SLICE {
            let Some(event) = self.next_event() else { break };
            messages += self.on_event(event, now);
            let after = self.clock.now();
            longest = longest.max(after - now);
            now = after;
        }
        self.answer_some(now);
        self.speaker.watch_routes(self.event_log.is_watched());
        let more = self.speaker.settle(now);
        let settled = self.clock.now();
        let unfinished = self.apply_effects(now);
        longest = longest.max(settled - now).max(self.clock.now() - settled);
        self.queue.counters().core_steps.observe(longest);
        self.measure();
        more || unfinished
            || self.has_event()
            || !self.requests.is_empty()
            || !self.bfd_reports.is_empty()
            || !self.kernel_events.kernel.is_empty()
            || self.speaker.wants_settle()
    }

    /// Tells the speaker up to which moment everything that was received has been handed in. An empty queue alone proves little: readers that
    /// waited for room in it have to have had their turn.
    fn note_backlog(&mut self, now: Instant) {
        self.quiet = if self.has_event() { 0 } else { self.quiet.saturating_add(1) };
        if self.quiet >= QUIET {
            self.taken_in_until = now;
        }
        self.speaker.set_backlog((self.quiet < QUIET).then_some(self.taken_in_until));
    }

    /// Sleeps until something comes, at the latest until the next deadline, and says when it should have woken. What comes is taken in by the
    /// next cycle, but for the event in hand.
    async fn wait(&mut self) -> Instant {
        let next = self.speaker.next_deadline();
        let deadline = next.map(|at| self.clock.wake_at(at));
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(status) = self.bfd_reports.recv() => {
                let now = self.clock.now();
                self.speaker.handle(now, Input::Bfd(status));
            }
            event = self.events.recv() => {
                // `None` cannot be: the core holds an `EventQueue` itself.
                if let Some(event) = event {
                    let now = self.clock.now();
                    self.on_event(event, now);
                }
            }
            request = self.requests.recv() => match request {
                Some(request) => {
                    let now = self.clock.now();
                    self.on_request(request, now);
                }
                // Every handle is gone: nobody is left to end us but the deadline.
                None => std::future::pending().await,
            },
            Some(done) = self.kernel_events.done.recv() => {
                self.fib_done(done, self.clock.now());
            }
            Some(batch) = self.kernel_events.kernel.recv() => {
                self.on_kernel(batch, self.clock.now());
            }
            () = sleep => {}
            Some(_) = self.lingering.join_next() => {}
        }
        next.unwrap_or_else(|| self.clock.now())
    }

    /// What BFD says, answers of the kernel, and one batch of what it reported. How many there were.
    fn take_kernel(&mut self, now: Instant) -> usize {
        let mut heard = 0;
        while let Ok(status) = self.bfd_reports.try_recv() {
            self.speaker.handle(now, Input::Bfd(status));
            heard += 1;
        }
        while let Ok(done) = self.kernel_events.done.try_recv() {
            heard += self.fib_done(done, now);
        }
        if let Ok(batch) = self.kernel_events.kernel.try_recv() {
            heard += self.on_kernel(batch, now);
        }
        heard
    }

    fn fib_done(&mut self, done: Done, now: Instant) -> usize {
        let n = done.len();
        done.into_iter().for_each(|(seq, result)| self.speaker.handle(now, Input::FibDone { seq, result }));
        n
    }

    fn on_kernel(&mut self, batch: Vec<KernelEvent>, now: Instant) -> usize {
        let n = batch.len();
        batch.into_iter().for_each(|event| self.speaker.handle(now, Input::Kernel(event)));
        n
    }

    fn has_event(&self) -> bool {
        self.unfinished.is_some() || !self.events.is_empty()
    }

    /// The rest of a read comes before all else, for its connection's next word may be in the queue.
    fn next_event(&mut self) -> Option<CoreEvent> {
        self.unfinished.take().or_else(|| self.events.try_recv().ok())
    }

    /// How many messages of the event were taken in (at least one).
    fn on_event(&mut self, event: CoreEvent, now: Instant) -> usize {
        match event {
            CoreEvent::Input(input) => return self.on_input(input, None, now),
            CoreEvent::Batch(input, permit) => return self.on_input(input, permit, now),
            CoreEvent::Dialled { conn, outcome } => self.dialled(conn, outcome, now),
            CoreEvent::Accepted { socket, remote } => self.accepted(socket, remote, now),
        }
        1
    }

    fn on_input(&mut self, input: Input, permit: Option<OwnedSemaphorePermit>, now: Instant) -> usize {
        let messages = |input: &Input| if let Input::Received { batch, .. } = input { batch.messages.len() } else { 1 };
        match &input {
            Input::Received { conn, batch } if matches!(batch.messages.last(), Some(Message::Open(_))) => self.half_open.leave(*conn),
            Input::Closed { conn, .. } => self.forget(*conn),
            _ => {}
        }
        let brought = messages(&input);
        let rest = self.speaker.handle_some(now, input);
        let left = rest.as_ref().map_or(0, messages);
        self.unfinished = rest.map(|rest| CoreEvent::Batch(rest, permit));
        brought - left
    }

    fn dialled(&mut self, conn: ConnId, outcome: Result<TcpStream, DialError>, now: Instant) {
        // Closed by the speaker while it was on its way: nobody waits for it.
        if self.dials.remove(&conn).is_none() {
            return;
        }
        match outcome {
            Ok(socket) => self.connect(conn, socket, Direction::Dialled, now),
            Err(error) => {
                self.queue.counters().dial_failures.add(1);
                self.speaker.handle(now, Input::DialFailed { conn, error });
            }
        }
    }

    fn accepted(&mut self, socket: std::net::TcpStream, remote: SocketAddr, now: Instant) {
        let conn = ConnId(ConnId::FIRST_ACCEPTED + self.accepted);
        self.accepted += 1;
        self.queue.counters().accepting.sub(1);
        if !self.half_open.enter(conn, remote.ip()) {
            self.queue.counters().half_open_limited.add(1);
            return listener::reject(socket);
        }
        match TcpStream::from_std(socket) {
            Ok(socket) => {
                self.listeners.accepted(conn, remote);
                self.connect(conn, socket, Direction::Accepted, now);
            }
            Err(error) => {
                self.half_open.leave(conn);
                self.queue.counters().accept_failures.add(1);
                tracing::warn!(%error, peer = %remote.ip(), "an accepted connection could not be watched and is closed");
            }
        }
    }

    /// A connection is there: the speaker takes it in, the reader starts.
    fn connect(&mut self, conn: ConnId, socket: TcpStream, direction: Direction, now: Instant) {
        let ends = socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?)));
        match ends {
            Ok((local, remote)) => {
                self.conns.insert(conn, Conn::start(conn, socket, &self.queue));
                self.speaker.handle(now, Input::Connected { conn, local, remote, direction });
            }
            // Gone before we could look.
            Err(error) if direction == Direction::Dialled => {
                self.speaker.handle(now, Input::DialFailed { conn, error: DialError::Other(error.to_string()) });
            }
            Err(_) => self.forget(conn),
        }
    }

    fn forget(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.half_open.leave(conn);
        self.listeners.closed(conn);
    }

    /// A few requests a cycle: pages of lists stand between batches of messages.
    fn answer_some(&mut self, now: Instant) {
        for _ in 0..ANSWERS {
            let Ok(request) = self.requests.try_recv() else { return };
            self.on_request(request, now);
        }
    }

    fn on_request(&mut self, request: Request, now: Instant) {
        let id = self.asked;
        self.asked += 1;
        match request {
            Request::Query(Question::Bfd { peer }, reply) => self.bfd.ask(peer, reply),
            Request::Query(question, reply) => {
                self.replies.insert(id, reply);
                self.speaker.handle(now, Input::Query { id, question });
            }
            Request::Command(command, reply) => {
                self.replies.insert(id, reply);
                self.speaker.handle(now, Input::Command { id, command });
            }
            Request::Plan(params, apply, reply) => {
                self.replies.insert(id, reply);
                let input = if apply { Input::Reload { id, params } } else { Input::Plan { id, params } };
                self.speaker.handle(now, input);
            }
            Request::Listen { addresses, allowed, reply } => {
                if reply.send(self.listeners.arrange(&addresses, allowed)).is_err() {
                    tracing::debug!("who changed the listening addresses did not wait for the outcome");
                }
            }
            Request::Tell(input, told) => {
                self.speaker.handle(now, input);
                if told.send(()).is_err() {
                    tracing::debug!("who told the core something did not wait for the end");
                }
            }
        }
    }

    /// Performs effects until there are none, or for a slice of time; true if some are left.
    fn apply_effects(&mut self, now: Instant) -> bool {
        let begun = self.clock.now();
        loop {
            let mut any = false;
            while let Some(effect) = self.speaker.poll() {
                any = true;
                self.effect(effect, now);
            }
            if !any {
                return false;
            }
            self.flush(now);
            if self.clock.now() - begun > SLICE {
                return true;
            }
        }
    }

    fn effect(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Dial { conn, transport } => self.dial(conn, transport),
            Effect::Context { conn, context } => {
                self.listeners.agreed(conn);
                if let Some(c) = self.conns.get(&conn) {
                    c.set_context(context);
                }
            }
            Effect::Send { conn, frames } => match self.outgoing.entry(conn) {
                Entry::Vacant(first) => drop(first.insert(frames)),
                Entry::Occupied(mut more) => more.get_mut().extend(frames),
            },
            Effect::Close { conn } => self.close(conn, now),
            Effect::Fib { seq, change } => self.changes.push((seq, change)),
            Effect::ReadKernel => self.netlink.audit(),
            Effect::Remember(known) => drop(self.remember.send_replace(Some(*known))),
            Effect::Bfd { peer, session } => self.bfd.want(peer, session),
            Effect::Neighbour { interface, addr } => self.listeners.found(interface, addr),
            Effect::EndBfd => self.bfd.end(),
            Effect::Bmp(order) => self.stations.order(order),
            Effect::Rpki(wanted) => self.rpki.want(wanted),
            Effect::Overlay(wanted) => self.netlink.tunnels(*wanted),
            Effect::Answer { id, mut answer } => {
                if let Answer::Peer(detail) = &mut answer {
                    detail.transport = detail.conn.and_then(|conn| self.conns.get(&conn)?.tcp_state()).map(transport_row);
                }
                if self.replies.remove(&id).is_some_and(|reply| reply.send(answer).is_err()) {
                    tracing::debug!("who asked did not wait for the answer");
                }
            }
            Effect::Notice(notice) => self.event_log.emit(notice),
            Effect::Stopped => self.stopped = true,
        }
    }

    fn dial(&mut self, conn: ConnId, transport: Transport) {
        self.queue.counters().dials.add(1);
        let room = self.queue.counters().has_descriptors();
        let queue = self.queue.clone();
        let task = tokio::spawn(async move {
            let outcome = if room { dialer::dial(transport).await } else { Err(DialError::Other(NO_DESCRIPTORS.to_owned())) };
            queue.put(CoreEvent::Dialled { conn, outcome }).await;
        });
        self.dials.insert(conn, task.abort_handle());
    }

    /// What was sent before goes out before; a dial that is on its way is called off.
    fn close(&mut self, conn: ConnId, now: Instant) {
        if let Some(frames) = self.outgoing.remove(&conn) {
            self.write(conn, frames, now);
        }
        if let Some(dial) = self.dials.remove(&conn) {
            dial.abort();
        }
        self.half_open.leave(conn);
        self.listeners.closed(conn);
        match self.conns.remove(&conn) {
            Some(c) if self.lingering.len() < LINGERING => drop(self.lingering.spawn(c.close())),
            // Too many linger already: this one closes abruptly. Or it is gone.
            Some(_) | None => {}
        }
    }

    /// One write for each connection that has something to send, one batch for the kernel.
    fn flush(&mut self, now: Instant) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for (conn, frames) in outgoing.drain() {
            self.write(conn, frames, now);
        }
        self.outgoing = outgoing;
        if !self.changes.is_empty()
            && let Err(refused) = self.netlink.apply(std::mem::take(&mut self.changes))
        {
            self.fib_done(refused, now);
        }
    }

    /// What the kernel does not take at once is the writer's, which says so when it has gone. A broken connection is the reader's to report:
    /// what the peer said before it broke is read first.
    fn write(&mut self, conn: ConnId, frames: Frames, now: Instant) {
        let written = self.conns.get(&conn).map_or(0, |c| c.send(frames));
        if written > 0 {
            self.speaker.handle(now, Input::Writable { conn, written });
        }
    }

    fn measure(&self) {
        let counters = self.queue.counters();
        counters.queue.set(self.events.len());
        counters.requests.set(self.requests.len());
        counters.connections.set(self.conns.len());
        counters.dialling.set(self.dials.len());
        counters.half_open.set(self.half_open.len());
        counters.lingering.set(self.lingering.len());
    }

    /// The speaker has stopped: connections that still flush a NOTIFICATION get a moment.
    async fn shutdown(mut self) {
        let conns = std::mem::take(&mut self.conns);
        // Those that the speaker left open close with the process, without a NOTIFICATION (RFC 4724 §4.2).
        drop(conns);
        self.stations.finish().await;
        self.bfd.finish();
        // Nobody listens any more, so nobody waits to be heard.
        self.kernel_events.kernel.close();
        self.netlink.finish();
        let all = async { while self.lingering.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN, all).await.is_err() {
            tracing::debug!("some closed connections were still lingering");
        }
    }
}

fn transport_row(state: super::sys::TcpState) -> TransportRow {
    TransportRow {
        unacknowledged_bytes: state.unacknowledged,
        unsent_bytes: state.unsent,
        resent: state.resent,
        unacknowledged_seconds: state.waits.as_secs_f64(),
        mss: state.mss,
        path_mtu: state.path_mtu,
    }
}
