//! Connections with RPKI caches, on a thread of their own: a table of a million VRPs is sorted there, and nobody waits for it.
//!
//! In: which caches there should be. Out: [`Input::Rpki`], through the event queue. What is said, which cache is used and when one is given up is
//! [`Caches`]' to say, which this thread drives; a task for each connection reads and writes. A core that is busy slows this thread down, the
//! thread its readers, and these, through TCP, the cache.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::clock::Clock;
use super::event_queue::{CoreEvent, EventQueue};
use crate::rpki::{Action, CacheParams, Caches};
use crate::speaker::Input;

/// Octets of one read.
const READ: usize = 64 * 1024;

/// Reads that wait for the thread.
const READS: usize = 4;

/// How long the end of a connection may take to write what is left.
const FAREWELL: Duration = Duration::from_millis(500);

/// A connection over which nothing comes is asked after so long whether it still is one.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The thread, once there is anything for it to do.
pub struct RpkiThread {
    queue: EventQueue,
    clock: Clock,
    wanted: Option<mpsc::UnboundedSender<Vec<CacheParams>>>,
}

impl RpkiThread {
    /// Not yet running.
    pub fn new(queue: EventQueue, clock: Clock) -> RpkiThread {
        RpkiThread { queue, clock, wanted: None }
    }

    /// These caches and no others. (What waits here is one list for each reload.)
    pub fn want(&mut self, caches: Vec<CacheParams>) {
        if self.wanted.is_none() {
            match start(self.queue.clone(), self.clock) {
                Ok(wanted) => self.wanted = Some(wanted),
                Err(error) => return tracing::error!(%error, "no thread for RPKI: every route is not-found"),
            }
        }
        if self.wanted.as_ref().is_some_and(|wanted| wanted.send(caches).is_err()) {
            tracing::error!("the thread of RPKI has ended: what caches said last holds");
        }
    }
}

/// It ends when the sender is dropped, or with the process.
fn start(queue: EventQueue, clock: Clock) -> io::Result<mpsc::UnboundedSender<Vec<CacheParams>>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (wanted, orders) = mpsc::unbounded_channel();
    thread::Builder::new().name("catbird-rpki".into()).spawn(move || {
        runtime.block_on(run(orders, queue, clock));
        runtime.shutdown_background();
    })?;
    Ok(wanted)
}

/// What a connection tells.
enum Told {
    Connected,
    Octets(Bytes),
    Closed(String),
}

type Event = (u32, u64, Told);

async fn run(mut orders: mpsc::UnboundedReceiver<Vec<CacheParams>>, queue: EventQueue, clock: Clock) {
    let mut caches = Caches::new(clock.now().as_nanos());
    let (events, mut told) = mpsc::channel::<Event>(READS);
    // What is to be written, by cache and connection. One whose sender goes writes what is left and closes.
    let mut links: HashMap<(u32, u64), mpsc::UnboundedSender<Bytes>> = HashMap::new();
    loop {
        let deadline = caches.next_deadline().map(|at| clock.wake_at(at));
        tokio::select! {
            order = orders.recv() => match order {
                Some(wanted) => caches.configure(wanted, clock.now()),
                None => return,
            },
            event = told.recv() => if let Some(event) = event {
                take_in(&mut caches, event, clock);
            },
            () = async { tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)).await }, if deadline.is_some() => {
                caches.on_time(clock.now());
            }
        }
        while let Some(action) = caches.poll() {
            match action {
                Action::Dial { cache, life, address, timeout } => {
                    let (sender, octets) = mpsc::unbounded_channel();
                    links.insert((cache, life), sender);
                    tokio::spawn(Connection { cache, life, events: events.clone(), octets }.run(address, timeout));
                }
                Action::Send { cache, life, octets } => {
                    // A few queries, and one complaint at most. A task that is gone needs neither.
                    if links.get(&(cache, life)).is_some_and(|link| link.send(octets).is_err()) {
                        tracing::debug!(cache, "the task of an RPKI cache is gone");
                    }
                }
                Action::Close { cache, life } => drop(links.remove(&(cache, life))),
            }
        }
        if let Some(report) = caches.take_report() {
            queue.put(CoreEvent::Input(Input::Rpki(Box::new(report)))).await;
        }
    }
}

fn take_in(caches: &mut Caches, (cache, life, told): Event, clock: Clock) {
    match told {
        Told::Connected => caches.on_connected(cache, life, clock.now()),
        Told::Octets(octets) => caches.on_octets(cache, life, &octets, clock.now()),
        Told::Closed(error) => caches.on_closed(cache, life, &error, clock.now()),
    }
}

struct Connection {
    cache: u32,
    life: u64,
    events: mpsc::Sender<Event>,
    octets: mpsc::UnboundedReceiver<Bytes>,
}

impl Connection {
    async fn run(mut self, address: SocketAddr, patience: Duration) {
        let why = tokio::select! {
            dialled = timeout(patience, TcpStream::connect(address)) => match dialled {
                Err(_elapsed) => "no answer".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(socket)) => match self.serve(socket).await {
                    Some(error) => error,
                    None => return,
                },
            },
            // Nothing is sent before there is a connection: this is its end.
            _given_up = self.octets.recv() => return,
        };
        self.tell(Told::Closed(why)).await;
    }

    async fn tell(&self, told: Told) {
        if self.events.send((self.cache, self.life, told)).await.is_err() {
            tracing::debug!("the thread of RPKI has ended");
        }
    }

    /// `None`: it was ended by us.
    async fn serve(&mut self, mut socket: TcpStream) -> Option<String> {
        // RFC 8210 §9: "SHOULD enable keep-alives".
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        if let Err(error) = SockRef::from(&socket).set_tcp_keepalive(&keepalive).and_then(|()| socket.set_nodelay(true)) {
            return Some(error.to_string());
        }
        self.tell(Told::Connected).await;
        let (mut reader, mut writer) = socket.split();
        let mut buffer = BytesMut::with_capacity(READ);
        loop {
            tokio::select! {
                octets = self.octets.recv() => {
                    match timeout(FAREWELL, writer.write_all(&octets?)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Some(error.to_string()),
                        Err(_elapsed) => return Some("it does not take what we ask".to_owned()),
                    }
                }
                read = reader.read_buf(&mut buffer) => match read {
                    Ok(0) => return Some("the cache closed the connection".to_owned()),
                    Ok(_) => {
                        self.tell(Told::Octets(buffer.split().freeze())).await;
                        buffer.reserve(READ);
                    }
                    Err(error) => return Some(error.to_string()),
                },
            }
        }
    }
}
