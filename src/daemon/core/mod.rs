//! The loop around the router: one queue in, effects out, nothing shared.
//!
//! In: [`Word`]s from connections, dials and listeners through one bounded queue, [`Request`]s of operators through a small one of their
//! own, and the kernel's events and answers. Out: whatever the speaker's effects ask for. It leaves every decision to `Speaker` and every system call but the
//! direct write to the tasks around it.
//!
//! A cycle takes in what has arrived, at most [`MESSAGES`] messages or for [`SLICE`], then lets the speaker settle (timers first), then
//! performs effects, all frames for a connection in one write. Under load the next cycle follows at once, after the tasks that read have had
//! their turn; so a flood from one peer delays another's keepalive by one slice and not by the flood. Without load the core sleeps until the
//! next word or deadline.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::fib::FibChange;
use crate::kernel::KernelEvent;
use crate::num::{ConnId, Instant};
use crate::peer::{DialError, Direction, Transport};
use crate::speaker::show::{Answer, Command, Question};
use crate::speaker::{Effect, Frames, Input, Params, Speaker};
use crate::wire::Message;

use super::clock::Clock;
use super::conn::{Conn, LINGERING};
use super::crowd::Crowd;
use super::dialer;
use super::gauges::Gauges;
use super::listener;
use super::netlink::{Done, Events, Netlink};
use super::notices::Notices;
use super::tcpext::md5_refused;

/// Words that wait for the core at most. A batch of messages is one word and holds at most one read (64 KiB).
pub const INBOX: usize = 512;

/// Requests of operators that wait at most.
pub const REQUESTS: usize = 64;

/// Requests answered in one cycle; a page of a list is a request.
const ANSWERS: usize = 4;

/// Messages taken in before the speaker settles.
const MESSAGES: usize = 512;

/// Time spent on taking in before the speaker settles, and on performing before others get their turn.
const SLICE: Duration = Duration::from_millis(1);

/// Woken this much later than meant, the process was stopped or starved.
const LEAP: Duration = Duration::from_millis(500);

/// How long what waits in the sockets is taken in after a leap, before timers are run.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Time between two looks at the kernel's counts of TCP-MD5.
const MD5_LOOK: Duration = Duration::from_secs(1);

/// How long closed connections may linger once the speaker has stopped.
const GOODBYE: Duration = Duration::from_secs(3);

/// One thing that the core is told.
#[derive(Debug)]
pub enum Word {
    Input(Input),
    /// A batch of messages, with the permit that its reader waits for before it delivers more.
    Batch(Input, Option<OwnedSemaphorePermit>),
    Dialled {
        conn: ConnId,
        outcome: Result<TcpStream, DialError>,
    },
    Accepted {
        socket: std::net::TcpStream,
        remote: SocketAddr,
    },
}

/// Where words are put.
#[derive(Clone)]
pub struct Inbox {
    words: mpsc::Sender<Word>,
    gauges: Arc<Gauges>,
}

impl Inbox {
    /// The queue's two ends.
    pub fn new(gauges: Arc<Gauges>) -> (Inbox, mpsc::Receiver<Word>) {
        let (words, queue) = mpsc::channel(INBOX);
        (Inbox { words, gauges }, queue)
    }

    /// Waits while the queue is full. A word to a core that has ended is of no more use to anybody, and its task ends with the runtime.
    pub async fn put(&self, word: Word) {
        if let Err(mpsc::error::TrySendError::Full(word)) = self.words.try_send(word) {
            let since = std::time::Instant::now();
            let ended = self.words.send(word).await.is_err();
            self.gauges.inbox_wait.add(since.elapsed());
            if ended {
                tracing::debug!("a word came after the core had ended");
            }
        }
    }

    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }
}

/// What an operator or a signal wants of the core, with a place for the answer.
#[derive(Debug)]
pub enum Request {
    Ask(Question, oneshot::Sender<Answer>),
    Order(Command, oneshot::Sender<Answer>),
    /// What these parameters would change; with `true` they are taken over.
    Plan(Box<Params>, bool, oneshot::Sender<Answer>),
    /// To be told at once, ahead of what is queued: blocks, stop.
    Tell(Input, oneshot::Sender<()>),
}

/// The speaker with its connections.
pub struct Core {
    speaker: Speaker,
    clock: Clock,
    words: mpsc::Receiver<Word>,
    requests: mpsc::Receiver<Request>,
    inbox: Inbox,
    netlink: Netlink,
    events: Events,
    notices: Notices,
    conns: HashMap<ConnId, Conn, foldhash::fast::RandomState>,
    dials: HashMap<ConnId, AbortHandle>,
    md5_looked: Option<Instant>,
    /// Accepted connections that have not sent an OPEN.
    crowd: Crowd,
    accepted: u64,
    lingering: JoinSet<()>,
    replies: HashMap<u64, oneshot::Sender<Answer>>,
    asked: u64,
    /// Frames of this cycle, by connection, in the order of their first.
    outgoing: HashMap<ConnId, Frames, foldhash::fast::RandomState>,
    changes: Vec<(u64, FibChange)>,
    stopped: bool,
}

impl Core {
    pub fn new(
        speaker: Speaker,
        clock: Clock,
        queues: (mpsc::Receiver<Word>, mpsc::Receiver<Request>),
        inbox: Inbox,
        (netlink, events): (Netlink, Events),
        notices: Notices,
    ) -> Core {
        Core {
            speaker,
            clock,
            words: queues.0,
            requests: queues.1,
            inbox,
            netlink,
            events,
            notices,
            conns: HashMap::default(),
            dials: HashMap::new(),
            md5_looked: None,
            crowd: Crowd::default(),
            accepted: 0,
            lingering: JoinSet::new(),
            replies: HashMap::new(),
            asked: 0,
            outgoing: HashMap::default(),
            changes: Vec::new(),
            stopped: false,
        }
    }

    /// Until the speaker has stopped.
    pub async fn run(mut self) {
        loop {
            let busy = self.cycle();
            if self.stopped {
                return self.goodbye().await;
            }
            let due = if busy {
                let now = self.clock.now();
                tokio::task::yield_now().await;
                now
            } else {
                self.wait().await
            };
            if self.clock.now() - due > LEAP {
                self.catch_up().await;
            }
        }
    }

    /// After a time in which this process did not run, every deadline seems to have passed, while what the peers have said in between waits in
    /// the sockets. It is heard first; a hold timer that then still has run out has run out.
    async fn catch_up(&mut self) {
        self.inbox.gauges.leaps.add(1);
        let begun = self.clock.now();
        let mut quiet = 0;
        while quiet < 3 && self.clock.now() - begun < CATCHING_UP {
            // Gives the driver and then the readers their turn.
            tokio::task::yield_now().await;
            quiet += 1;
            while let Ok(word) = self.words.try_recv() {
                quiet = 0;
                let now = self.clock.now();
                self.hear(word, now);
            }
        }
    }

    /// Takes in, settles, performs. True when there is more to do at once.
    fn cycle(&mut self) -> bool {
        self.inbox.gauges.cycles.add(1);
        let begun = self.clock.now();
        let mut messages = self.hear_kernel(begun);
        let mut now = self.clock.now();
        while messages < MESSAGES && now - begun < SLICE {
            let Ok(word) = self.words.try_recv() else { break };
            messages += self.hear(word, now);
            now = self.clock.now();
        }
        self.answer_some(now);
        let more = self.speaker.settle(now);
        let unfinished = self.perform(now);
        self.measure();
        more || unfinished
            || !self.words.is_empty()
            || !self.requests.is_empty()
            || !self.events.kernel.is_empty()
            || self.speaker.wants_settle()
    }

    /// Sleeps until something comes, at the latest until the next deadline, and says when it should have woken. What comes is taken in by the
    /// next cycle, but for the word in hand.
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
            word = self.words.recv() => {
                // `None` cannot be: the core holds an `Inbox` itself.
                if let Some(word) = word {
                    let now = self.clock.now();
                    self.hear(word, now);
                }
            }
            request = self.requests.recv() => match request {
                Some(request) => {
                    let now = self.clock.now();
                    self.obey(request, now);
                }
                // Every handle is gone: nobody is left to end us but the deadline.
                None => std::future::pending().await,
            },
            Some(done) = self.events.done.recv() => {
                self.fib_done(done, self.clock.now());
            }
            Some(batch) = self.events.kernel.recv() => {
                self.kernel_said(batch, self.clock.now());
            }
            () = sleep => {}
            Some(_) = self.lingering.join_next() => {}
        }
        next.unwrap_or_else(|| self.clock.now())
    }

    /// Answers of the kernel, and one batch of what it told. How many there were.
    fn hear_kernel(&mut self, now: Instant) -> usize {
        let mut heard = 0;
        while let Ok(done) = self.events.done.try_recv() {
            heard += self.fib_done(done, now);
        }
        if let Ok(batch) = self.events.kernel.try_recv() {
            heard += self.kernel_said(batch, now);
        }
        heard
    }

    fn fib_done(&mut self, done: Done, now: Instant) -> usize {
        let n = done.len();
        done.into_iter().for_each(|(seq, result)| self.speaker.handle(now, Input::FibDone { seq, result }));
        n
    }

    fn kernel_said(&mut self, batch: Vec<KernelEvent>, now: Instant) -> usize {
        let n = batch.len();
        batch.into_iter().for_each(|event| self.speaker.handle(now, Input::Kernel(event)));
        n
    }

    /// How many messages the word brought (at least one).
    fn hear(&mut self, word: Word, now: Instant) -> usize {
        match word {
            Word::Input(input) | Word::Batch(input, _) => return self.hear_input(input, now),
            Word::Dialled { conn, outcome } => self.dialled(conn, outcome, now),
            Word::Accepted { socket, remote } => self.accepted(socket, remote, now),
        }
        1
    }

    fn hear_input(&mut self, input: Input, now: Instant) -> usize {
        let mut weight = 1;
        match &input {
            Input::Received { conn, messages, .. } => {
                weight = messages.len();
                if matches!(messages.last(), Some(Message::Open(_))) {
                    self.crowd.leave(*conn);
                }
            }
            Input::Closed { conn, .. } => self.forget(*conn),
            _ => {}
        }
        self.speaker.handle(now, input);
        weight
    }

    fn dialled(&mut self, conn: ConnId, outcome: Result<TcpStream, DialError>, now: Instant) {
        // Closed by the speaker while it was on its way: nobody waits for it.
        if self.dials.remove(&conn).is_none() {
            return;
        }
        match outcome {
            Ok(socket) => self.connect(conn, socket, Direction::Dialled, now),
            Err(error) => {
                self.inbox.gauges.dial_failures.add(1);
                self.speaker.handle(now, Input::DialFailed { conn, error });
            }
        }
    }

    fn accepted(&mut self, socket: std::net::TcpStream, remote: SocketAddr, now: Instant) {
        let conn = ConnId(ConnId::FIRST_ACCEPTED + self.accepted);
        self.accepted += 1;
        if !self.crowd.enter(conn, remote.ip()) {
            self.inbox.gauges.crowded.add(1);
            return listener::reject(socket);
        }
        match TcpStream::from_std(socket) {
            Ok(socket) => self.connect(conn, socket, Direction::Accepted, now),
            Err(error) => {
                self.crowd.leave(conn);
                self.inbox.gauges.accept_failures.add(1);
                tracing::warn!(%error, peer = %remote.ip(), "an accepted connection could not be watched and is closed");
            }
        }
    }

    /// A connection is there: the speaker hears of it, the reader starts.
    fn connect(&mut self, conn: ConnId, socket: TcpStream, direction: Direction, now: Instant) {
        let ends = socket.local_addr().and_then(|local| Ok((local, socket.peer_addr()?)));
        match ends {
            Ok((local, remote)) => {
                self.conns.insert(conn, Conn::start(conn, socket, &self.inbox));
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
        self.crowd.leave(conn);
    }

    /// A few requests a cycle: pages of lists stand between batches of messages.
    fn answer_some(&mut self, now: Instant) {
        for _ in 0..ANSWERS {
            let Ok(request) = self.requests.try_recv() else { return };
            self.obey(request, now);
        }
    }

    fn obey(&mut self, request: Request, now: Instant) {
        let id = self.asked;
        self.asked += 1;
        match request {
            Request::Ask(question, reply) => {
                if matches!(question, Question::Peers { .. } | Question::Peer { .. }) {
                    self.look_at_md5(now);
                }
                self.replies.insert(id, reply);
                self.speaker.handle(now, Input::Ask { id, question });
            }
            Request::Order(command, reply) => {
                self.replies.insert(id, reply);
                self.speaker.handle(now, Input::Order { id, command });
            }
            Request::Plan(params, apply, reply) => {
                self.replies.insert(id, reply);
                let input = if apply { Input::Reload { id, params } } else { Input::Plan { id, params } };
                self.speaker.handle(now, input);
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
    fn perform(&mut self, now: Instant) -> bool {
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
            Effect::Dial { conn, transport } => self.dial(conn, transport, now),
            Effect::Context { conn, context } => {
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
            Effect::Overlay(wanted) => self.netlink.tunnels(*wanted),
            Effect::Answer { id, answer } => {
                if self.replies.remove(&id).is_some_and(|reply| reply.send(answer).is_err()) {
                    tracing::debug!("who asked did not wait for the answer");
                }
            }
            Effect::Notice(notice) => self.notices.say(notice),
            Effect::Stopped => self.stopped = true,
        }
    }

    /// What the kernel has dropped for its signature; a file is read for it, so not too often.
    fn look_at_md5(&mut self, now: Instant) {
        if self.md5_looked.is_none_or(|at| now - at >= MD5_LOOK) {
            self.md5_looked = Some(now);
            self.speaker.handle(now, Input::Md5Refused(md5_refused()));
        }
    }

    fn dial(&mut self, conn: ConnId, transport: Transport, now: Instant) {
        self.look_at_md5(now);
        self.inbox.gauges.dials.add(1);
        let inbox = self.inbox.clone();
        let task = tokio::spawn(async move {
            let outcome = dialer::dial(transport).await;
            inbox.put(Word::Dialled { conn, outcome }).await;
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
        self.crowd.leave(conn);
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
        let gauges = &self.inbox.gauges;
        gauges.inbox.set(self.words.len());
        gauges.requests.set(self.requests.len());
        gauges.connections.set(self.conns.len());
        gauges.half_open.set(self.crowd.len());
        gauges.lingering.set(self.lingering.len());
    }

    /// The speaker has stopped: connections that still flush a NOTIFICATION get a moment.
    async fn goodbye(mut self) {
        let conns = std::mem::take(&mut self.conns);
        // Those that the speaker left open close with the process, without a NOTIFICATION (RFC 4724 §4.2).
        drop(conns);
        // Nobody listens any more, so nobody waits to be heard.
        self.events.kernel.close();
        self.netlink.finish();
        let all = async { while self.lingering.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, all).await.is_err() {
            tracing::debug!("some closed connections were still lingering");
        }
    }
}
