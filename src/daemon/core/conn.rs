//! One transport connection: a task that reads and decodes, and a writer that is a task only while the socket is full.
//!
//! In: a connected socket; from the core, the receive context after an OPEN, frames to send, the event to close. Out: batches of messages with at
//! most one error at their end, credit for octets that the kernel took, and the one `Closed`. It leaves all meaning to the speaker.
//!
//! An idle connection owns no buffer: every read goes through one scratch of its thread, and only the beginning of an unfinished message is
//! kept. Some thousand octets become one event in the core's queue. Frames are shared (`Bytes`) and leave in vectored writes, nearly always straight
//! from the core ([`Sender::send`]); what the kernel does not take is [`write_loop`]'s.
//!
//! Closing keeps a NOTIFICATION readable at the other end: what is queued is flushed, the write side is shut, and what still comes in is
//! read and dropped for a moment, because closing over unread octets makes the kernel send RST and the peer forget what it had not read yet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::driver::Driver;
use crate::num::ConnId;
use crate::speaker::Input;
use crate::wire::{Batch, Context, Hex};

use super::event_queue::{CoreEvent, EventQueue};
use crate::daemon::sys;
use crate::daemon::tasks::{Panicked, caught};

/// Octets of one read.
const READ: usize = 64 * 1024;

/// Batches of one connection that wait for the core at most. What is decoded too early only fills memory: a full table would stand there
/// whole, several times as large as in the tables.
const MAX_BATCHES_IN_FLIGHT: usize = 2;

/// Frames of one vectored write.
const SLICES: usize = 64;

/// How long a closed connection may take to flush what was queued.
const FLUSH: Duration = Duration::from_secs(2);

/// How long a flushed connection waits for the other end to close.
const DRAIN: Duration = Duration::from_secs(1);

/// Closed connections that may flush and drain at a time; beyond, closing is abrupt.
pub const LINGERING: usize = 4096;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// The core's end of a connection.
pub struct Conn {
    sender: Arc<Sender>,
    context: Arc<Slot>,
    reader: AbortHandle,
}

impl Conn {
    /// Sets the reader to work; its events come to `queue`.
    pub fn start(id: ConnId, socket: TcpStream, queue: &EventQueue) -> Conn {
        let (half, write) = socket.into_split();
        let context = Arc::new(Slot::default());
        let reader = tokio::spawn(read(id, half, context.clone(), queue.clone())).abort_handle();
        let sender = Arc::new(Sender { id, socket: write, out: Mutex::default(), queue: queue.clone() });
        Conn { sender, context, reader }
    }

    /// The OPENs agree: the reader goes on.
    pub fn set_context(&self, context: Context) {
        self.context.put(context);
    }

    /// Says what the kernel took at once; the rest follows as `Input::Writable`.
    ///
    /// A socket that fails is shut, and the reader reports it after whatever the peer said last, which may be why.
    pub fn send(&self, frames: impl IntoIterator<Item = Bytes>) -> usize {
        self.sender.send(frames)
    }

    /// As the kernel sees it; `None` if it does not say.
    pub fn tcp_state(&self) -> Option<sys::TcpState> {
        let socket: &TcpStream = self.sender.socket.as_ref();
        sys::tcp_state(socket).ok()
    }

    /// Stops reading and lets go of the socket once what is queued has left, or after a bounded time.
    pub fn close(self) -> impl Future<Output = ()> + Send + 'static {
        self.reader.abort();
        let sender = self.sender.clone();
        sender.stop_writer();
        linger(sender)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Where the reader waits for the meaning of what follows an OPEN.
#[derive(Default)]
struct Slot {
    context: Mutex<Option<Context>>,
    filled: Notify,
}

impl Slot {
    fn put(&self, context: Context) {
        *self.context.lock().unwrap_or_else(PoisonError::into_inner) = Some(context);
        self.filled.notify_one();
    }

    async fn take(&self) -> Context {
        loop {
            if let Some(context) = self.context.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return context;
            }
            self.filled.notified().await;
        }
    }
}

/// The reader, and its last event.
async fn read(conn: ConnId, socket: OwnedReadHalf, context: Arc<Slot>, queue: EventQueue) {
    let error = match caught(read_loop(conn, socket, context, &queue)).await {
        Ok(End::Closed(error)) => error,
        // The speaker knows, and closes.
        Ok(End::Malformed) => return,
        Err(Panicked(text)) => {
            tracing::error!(panic = text, "a reader panicked and its connection is closed");
            Some(format!("our reader failed: {text}"))
        }
    };
    queue.put(CoreEvent::Input(Input::Closed { conn, error })).await;
}

/// Why a reader stopped.
enum End {
    /// In order, or not.
    Closed(Option<String>),
    /// The error is delivered.
    Malformed,
}

/// The first step of an UPDATE: octets into messages, a batch at a time, until the connection or its meaning ends.
async fn read_loop(id: ConnId, mut socket: OwnedReadHalf, context: Arc<Slot>, queue: &EventQueue) -> End {
    let mut driver = Driver::default();
    let ahead = Arc::new(Semaphore::new(MAX_BATCHES_IN_FLIGHT));
    loop {
        match fill(&mut socket, &mut driver).await {
            Ok(0) => return End::Closed(driver.unfinished().map(|octets| format!("closed by the peer, {octets} octets into a message"))),
            Ok(_) => {}
            Err(error) => return End::Closed(Some(error.to_string())),
        }
        while let Some(batch) = driver.next_batch() {
            let malformed = batch.error.is_some();
            if let (Some(error), Some(message), Ok(peer)) = (&batch.error, driver.refused(), socket.peer_addr()) {
                tracing::warn!(target: "catbird", "{}: malformed, session reset: {error}; message: {}", peer.ip(), Hex(message));
            }
            deliver(id, batch, &ahead, queue).await;
            if malformed {
                return End::Malformed;
            }
            if driver.awaits_context() {
                driver.set_context(context.take().await);
            }
        }
    }
}

async fn deliver(conn: ConnId, batch: Batch, ahead: &Arc<Semaphore>, queue: &EventQueue) {
    // Never closed, so there always is a permit in the end.
    let permit = ahead.clone().acquire_owned().await.ok();
    queue.put(CoreEvent::Batch(Input::Received { conn, batch }, permit)).await;
}

/// Hands over what one read brings, through the scratch of this thread. Zero: the other end has closed.
async fn fill(socket: &mut OwnedReadHalf, driver: &mut Driver) -> io::Result<usize> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf))?;
            driver.push(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        })
    })
    .await
}

/// The write side, shared by the core and, while the socket is full, by [`write_loop`].
struct Sender {
    id: ConnId,
    socket: OwnedWriteHalf,
    out: Mutex<Outbound>,
    queue: EventQueue,
}

/// What the kernel has yet to take. Bounded by the credit that the speaker keeps for each connection.
#[derive(Default)]
struct Outbound {
    frames: VecDeque<Bytes>,
    octets: usize,
    /// The share of this connection in the gauge of unsent octets.
    reported: usize,
    writer: Option<AbortHandle>,
    /// A write has failed; whatever is to be sent from here on is dropped.
    broken: bool,
}

impl Outbound {
    fn push(&mut self, frame: Bytes) {
        self.octets += frame.len();
        self.frames.push_back(frame);
    }

    /// Forgets `n` octets that have been written.
    fn advance(&mut self, mut n: usize) {
        self.octets -= n;
        while let Some(first) = self.frames.front_mut() {
            if first.len() > n {
                return first.advance(n);
            }
            n -= first.len();
            self.frames.pop_front();
        }
    }
}

impl Sender {
    fn lock(&self) -> MutexGuard<'_, Outbound> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(self: &Arc<Sender>, frames: impl IntoIterator<Item = Bytes>) -> usize {
        let mut out = self.lock();
        if out.broken {
            return 0;
        }
        let (waiting, mut frames) = (out.octets > 0, frames.into_iter());
        let (first, second) = (frames.next(), frames.next());
        let written = match (first, second) {
            (Some(only), None) if !waiting => self.write_one(only, &mut out),
            (first, second) => {
                first.into_iter().chain(second).chain(frames).for_each(|frame| out.push(frame));
                if waiting { 0 } else { self.write(&mut out) }
            }
        };
        if out.octets > 0 && out.writer.is_none() {
            out.writer = Some(tokio::spawn(write_loop(self.clone())).abort_handle());
        }
        self.account(&mut out);
        written
    }

    /// One frame and nothing queued, as nearly always: a keepalive, a change. What the kernel does not take is queued, with its reason met there.
    fn write_one(&self, mut frame: Bytes, out: &mut Outbound) -> usize {
        let written = self.socket.try_write(&frame).unwrap_or(0);
        if written == frame.len() {
            return written;
        }
        frame.advance(written);
        out.push(frame);
        written + self.write(out)
    }

    /// Writes until the queue or the socket's room ends. A failure ends the connection for good: octets may be lost.
    fn write(&self, out: &mut Outbound) -> usize {
        let mut written = 0;
        while out.octets > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, frame) in slices.iter_mut().zip(&out.frames) {
                *slice = IoSlice::new(frame);
                used += 1;
            }
            match self.socket.try_write_vectored(slices.get(..used).unwrap_or(&[])) {
                Ok(n) => {
                    written += n;
                    out.advance(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.give_up(out, &e);
                    break;
                }
            }
        }
        written
    }

    /// Shuts both directions; the reader still gets what has arrived, then the end.
    fn give_up(&self, out: &mut Outbound, error: &io::Error) {
        tracing::debug!(conn = self.id.0, %error, unsent = out.octets, "a write failed");
        *out = Outbound { broken: true, reported: out.reported, ..Outbound::default() };
        if let Err(error) = shut(&self.socket, Shutdown::Both) {
            tracing::debug!(conn = self.id.0, %error, "the other end had gone already");
        }
    }

    fn account(&self, out: &mut Outbound) {
        self.queue.counters().unsent_octets.shift(out.reported, out.octets);
        out.reported = out.octets;
    }

    fn stop_writer(&self) {
        if let Some(writer) = self.lock().writer.take() {
            writer.abort();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut out = std::mem::take(&mut *self.lock());
        out.octets = 0;
        self.account(&mut out);
    }
}

/// Lives while the socket is full: waits for room, writes, says how much the kernel took.
async fn write_loop(sender: Arc<Sender>) {
    loop {
        let (written, done) = write_once(&sender).await;
        if written > 0 {
            sender.queue.put(CoreEvent::Input(Input::Writable { conn: sender.id, written })).await;
        }
        if done {
            return;
        }
    }
}

/// Waits for room and writes; true when nothing is left, and then the writer is gone as far as the core can see.
async fn write_once(sender: &Sender) -> (usize, bool) {
    let room = sender.socket.writable().await;
    let mut out = sender.lock();
    let written = match room {
        Ok(()) => sender.write(&mut out),
        Err(error) => {
            sender.give_up(&mut out, &error);
            0
        }
    };
    let done = out.octets == 0;
    if done {
        out.writer = None;
    }
    sender.account(&mut out);
    (written, done)
}

/// Flush, shut, drain; each for a bounded time.
async fn linger(sender: Arc<Sender>) {
    let flush = async { while sender.lock().octets > 0 && !write_once(&sender).await.1 {} };
    if timeout(FLUSH, flush).await.is_err() {
        return tracing::debug!(conn = sender.id.0, "closed before everything was written: the peer does not read");
    }
    if sender.lock().broken {
        return;
    }
    match shut(&sender.socket, Shutdown::Write) {
        Ok(()) => match timeout(DRAIN, drain(sender.socket.as_ref())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(conn = sender.id.0, %error, "the peer closed in its own way"),
            Err(_elapsed) => tracing::debug!(conn = sender.id.0, "the peer did not close"),
        },
        Err(error) => tracing::debug!(conn = sender.id.0, %error, "the other end had gone already"),
    }
}

fn shut(socket: &OwnedWriteHalf, how: Shutdown) -> io::Result<()> {
    socket2::SockRef::from(socket.as_ref()).shutdown(how)
}

/// Reads and drops until the other end closes.
async fn drain(socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.readable().await?;
        match SCRATCH.with_borrow_mut(|scratch| socket.try_read(scratch)) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::daemon::counters::DaemonMetrics;
    use crate::wire::Message;

    const KEEPALIVE: [u8; 19] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 19, 4];
    const ID: ConnId = ConnId(7);

    /// Version 4, AS 64512, hold time 90, identifier 192.0.2.2, no parameters.
    fn open() -> Vec<u8> {
        let mut octets = KEEPALIVE.to_vec();
        octets[17..].copy_from_slice(&[29, 1]);
        octets.extend([4, 0xfc, 0, 0, 90, 192, 0, 2, 2, 0]);
        octets
    }

    async fn pair() -> (Conn, TcpStream, Receiver<CoreEvent>, Arc<DaemonMetrics>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let theirs = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (ours, _) = listener.accept().await.expect("a connection waits");
        let counters = Arc::new(DaemonMetrics::default());
        let (queue, events) = EventQueue::new(counters.clone());
        (Conn::start(ID, ours, &queue), theirs, events, counters)
    }

    async fn input(events: &mut Receiver<CoreEvent>) -> Input {
        match timeout(Duration::from_secs(5), events.recv()).await.expect("in time") {
            Some(CoreEvent::Input(input) | CoreEvent::Batch(input, _)) => input,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_read_is_one_word_and_half_a_message_waits_for_its_rest() {
        let (_conn, mut theirs, mut events, _) = pair().await;
        let octets = [KEEPALIVE, KEEPALIVE, KEEPALIVE].concat();
        theirs.write_all(&octets[..50]).await.expect("sent");
        let Input::Received { conn: ID, batch: Batch { messages, error: None, .. } } = input(&mut events).await else {
            panic!("not received")
        };
        assert!(matches!(messages[..], [Message::KeepAlive, Message::KeepAlive]), "{messages:?}");
        theirs.write_all(&octets[50..]).await.expect("sent");
        let Input::Received { batch: Batch { messages, .. }, .. } = input(&mut events).await else { panic!("not received") };
        assert!(matches!(messages[..], [Message::KeepAlive]), "{messages:?}");
    }

    #[tokio::test]
    async fn what_follows_an_open_waits_for_its_context() {
        let (conn, mut theirs, mut events, _) = pair().await;
        theirs.write_all(&[&open()[..], &KEEPALIVE].concat()).await.expect("sent");
        let Input::Received { batch: Batch { messages, .. }, .. } = input(&mut events).await else { panic!("not received") };
        assert!(matches!(messages[..], [Message::Open(_)]), "{messages:?}");
        assert!(timeout(Duration::from_millis(100), events.recv()).await.is_err(), "nothing is read without a context");
        conn.set_context(Context::INITIAL);
        let Input::Received { batch: Batch { messages, .. }, .. } = input(&mut events).await else { panic!("not received") };
        assert!(matches!(messages[..], [Message::KeepAlive]), "{messages:?}");
    }

    #[tokio::test]
    async fn an_error_comes_with_the_messages_before_it_and_ends_the_reading() {
        let (_conn, mut theirs, mut events, _) = pair().await;
        let mut bad = KEEPALIVE;
        bad[3] = 0;
        theirs.write_all(&[KEEPALIVE, bad, KEEPALIVE].concat()).await.expect("sent");
        let Input::Received { batch: Batch { messages, error: Some(_), .. }, .. } = input(&mut events).await else {
            panic!("not received")
        };
        assert!(matches!(messages[..], [Message::KeepAlive]), "{messages:?}");
        assert!(timeout(Duration::from_millis(100), events.recv()).await.is_err(), "the rest is not read");
    }

    #[tokio::test]
    async fn the_end_of_a_connection_is_said_once_and_says_whether_it_was_clean() {
        for (octets, clean) in [(&KEEPALIVE[..0], true), (&KEEPALIVE[..5], false)] {
            let (_conn, mut theirs, mut events, _) = pair().await;
            theirs.write_all(octets).await.expect("sent");
            drop(theirs);
            let Input::Closed { conn: ID, error } = input(&mut events).await else { panic!("not closed") };
            assert_eq!(error.is_none(), clean, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_every_octet_in_order_and_credit_adds_up() {
        let (conn, mut theirs, mut events, counters) = pair().await;
        let frames: Vec<Bytes> = (0..200u8).map(|n| vec![n; 64 * 1024].into()).collect();
        let total: usize = frames.iter().map(Bytes::len).sum();
        let mut taken = conn.send(frames.clone());
        assert!(taken < total, "the socket must fill for this test to show anything");
        assert_eq!(counters.unsent_octets.get(), (total - taken) as u64);
        let reader = tokio::spawn(async move {
            let mut heard = vec![0; total];
            theirs.read_exact(&mut heard).await.expect("all of it");
            heard
        });
        while taken < total {
            let Input::Writable { conn: ID, written } = input(&mut events).await else { panic!("not credit") };
            taken += written;
        }
        assert_eq!(taken, total);
        assert_eq!(reader.await.expect("no panic"), frames.concat());
        assert_eq!(counters.unsent_octets.get(), 0);
        assert_eq!(conn.send([Bytes::from_static(b"more")]), 4, "the fast way is open again");
    }

    #[tokio::test]
    async fn a_notification_reaches_a_peer_that_was_still_talking() {
        let (conn, mut theirs, _words, _) = pair().await;
        // Octets that nobody will read: the reader waits for a context, so closing without draining would send RST.
        theirs.write_all(&open()).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
        theirs.write_all(&[0; 100_000]).await.expect("sent");
        conn.send([Bytes::from_static(b"notification")]);
        let close = tokio::spawn(conn.close());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.expect("a clean end, no reset");
        assert_eq!(heard, b"notification");
        drop(theirs);
        close.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_let_go_after_a_bounded_time() {
        let (conn, _theirs, _words, counters) = pair().await;
        conn.send((0..200).map(|_| Bytes::from(vec![0; 64 * 1024])));
        assert!(counters.unsent_octets.get() > 0);
        timeout(FLUSH + DRAIN + Duration::from_secs(1), conn.close()).await.expect("bounded");
        assert_eq!(counters.unsent_octets.get(), 0, "what was not sent is not held");
    }

    #[tokio::test]
    async fn what_the_peer_said_before_it_broke_is_read_before_the_end() {
        let (conn, theirs, mut events, _) = pair().await;
        let mut theirs = theirs.into_std().expect("a socket");
        theirs.set_nonblocking(false).expect("blocking");
        std::io::Write::write_all(&mut theirs, &KEEPALIVE).expect("sent");
        // RST instead of FIN.
        socket2::SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(theirs);
        std::thread::sleep(Duration::from_millis(50));
        conn.send([Bytes::from_static(b"into the void")]);
        let Input::Received { batch: Batch { messages, .. }, .. } = input(&mut events).await else { panic!("not received") };
        assert!(matches!(messages[..], [Message::KeepAlive]), "{messages:?}");
        assert!(matches!(input(&mut events).await, Input::Closed { conn: ID, .. }));
    }
}
