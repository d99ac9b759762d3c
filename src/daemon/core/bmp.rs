//! Connections with monitoring stations: a task for each, which dials, writes, and tries again.
//!
//! In: [`Order`]s of the speaker. Out: [`Report`]s, through the event queue. What is written, and when a station is too slow to be kept, is the
//! speaker's to say: it hands out no more than a window of octets that the kernel has not taken, so what waits here is bounded.
//!
//! A station never has anything to say (RFC 7854 §3.2). What it says is read and dropped, for its end of the connection is seen that way, and
//! one that goes on talking is let go. One that takes nothing for the time that is configured is let go as well.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::event_queue::{CoreEvent, EventQueue};
use crate::bmp::{Order, Report, StationParams};
use crate::speaker::Input;

/// What a station may say to us before it is let go.
const MOST_HEARD: usize = 64 * 1024;

/// How long the end of a connection may take to write what is left.
const FAREWELL: Duration = Duration::from_millis(500);

/// All of them.
pub struct Stations {
    queue: EventQueue,
    tasks: HashMap<u32, Task>,
    /// Those that say goodbye.
    leaving: Vec<AbortHandle>,
}

struct Task {
    told: mpsc::UnboundedSender<Told>,
    task: AbortHandle,
}

/// What a task is told, of one of its connections.
enum Told {
    Send(u64, Bytes),
    Close(u64, &'static str),
}

impl Stations {
    /// Without any.
    pub fn new(queue: EventQueue) -> Stations {
        Stations { queue, tasks: HashMap::new(), leaving: Vec::new() }
    }

    /// Carries out an order.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Stations(wanted) => self.arrange(wanted),
            Order::Send { station, life, octets } => self.tell(station, Told::Send(life, octets)),
            Order::Close { station, life, why } => self.tell(station, Told::Close(life, why)),
        }
    }

    fn tell(&self, station: u32, told: Told) {
        // Bounded by the window of the speaker. A task that is gone needs nothing.
        if self.tasks.get(&station).is_some_and(|task| task.told.send(told).is_err()) {
            tracing::debug!(station, "the task of a monitoring station is gone");
        }
    }

    /// A task whose sender goes writes what it has and ends.
    fn arrange(&mut self, wanted: Vec<(u32, StationParams)>) {
        self.leaving.retain(|task| !task.is_finished());
        let gone: Vec<u32> = self.tasks.keys().filter(|number| !wanted.iter().any(|(n, _)| n == *number)).copied().collect();
        self.leaving.extend(gone.iter().filter_map(|number| self.tasks.remove(number)).map(|task| task.task));
        for (number, params) in wanted {
            let queue = &self.queue;
            self.tasks.entry(number).or_insert_with(|| {
                let (told, orders) = mpsc::unbounded_channel();
                let station = Station { number, params, orders, queue: queue.clone(), life: 0 };
                Task { told, task: tokio::spawn(station.run()).abort_handle() }
            });
        }
    }

    /// Waits a moment for those that say goodbye.
    pub async fn finish(mut self) {
        self.arrange(Vec::new());
        let until = Instant::now() + FAREWELL;
        while self.leaving.iter().any(|task| !task.is_finished()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.leaving.iter().for_each(AbortHandle::abort);
    }
}

struct Station {
    number: u32,
    params: StationParams,
    orders: mpsc::UnboundedReceiver<Told>,
    queue: EventQueue,
    life: u64,
}

/// How a connection ends.
enum End {
    /// The station, the way to it, or the speaker ended it.
    Lost(String),
    /// It is no longer wanted.
    NotWanted,
}

impl Station {
    async fn run(mut self) {
        loop {
            self.life += 1;
            let error = match timeout(self.params.timeout, TcpStream::connect(self.params.address)).await {
                Err(_elapsed) => "no answer".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(socket)) => match self.serve(socket).await {
                    End::Lost(error) => error,
                    End::NotWanted => return,
                },
            };
            self.report(Report::Closed { station: self.number, error }).await;
            let again = Instant::now() + self.params.retry;
            // What is still said is of the connection that is gone.
            loop {
                tokio::select! {
                    told = self.orders.recv() => if told.is_none() { return },
                    () = sleep_until(again) => break,
                }
            }
        }
    }

    async fn report(&self, report: Report) {
        self.queue.put(CoreEvent::Input(Input::Bmp(report))).await;
    }

    async fn serve(&mut self, socket: TcpStream) -> End {
        if let Err(error) = socket.set_nodelay(true) {
            return End::Lost(error.to_string());
        }
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.report(Report::Connected { station: self.number, life: self.life, wall }).await;
        let (mut waiting, mut heard): (VecDeque<Bytes>, usize) = (VecDeque::new(), 0);
        let mut moved = Instant::now();
        loop {
            let stalled = moved + self.params.timeout;
            tokio::select! {
                told = self.orders.recv() => match told {
                    Some(Told::Send(life, octets)) if life == self.life => {
                        if waiting.is_empty() {
                            moved = Instant::now();
                        }
                        waiting.push_back(octets);
                    }
                    Some(Told::Close(life, why)) if life == self.life => {
                        say_what_is_left(&socket, waiting).await;
                        return End::Lost(why.to_owned());
                    }
                    Some(_) => {}
                    None => {
                        say_what_is_left(&socket, waiting).await;
                        return End::NotWanted;
                    }
                },
                ready = socket.readable() => match ready.and_then(|()| hear(&socket)) {
                    Ok(Some(0)) => return End::Lost("the station closed the connection".to_owned()),
                    Ok(n) => heard += n.unwrap_or(0),
                    Err(error) => return End::Lost(error.to_string()),
                },
                ready = socket.writable(), if !waiting.is_empty() => match ready.and_then(|()| write_some(&socket, &mut waiting)) {
                    Ok(0) => {}
                    Ok(octets) => {
                        moved = Instant::now();
                        self.report(Report::Written { station: self.number, life: self.life, octets }).await;
                    }
                    Err(error) => return End::Lost(error.to_string()),
                },
                () = sleep_until(stalled), if !waiting.is_empty() => {
                    return End::Lost(format!("it has taken nothing for {:?}", self.params.timeout));
                }
            }
            if heard > MOST_HEARD {
                return End::Lost("it talks to us, and a station has nothing to say (RFC 7854 section 3.2)".to_owned());
            }
        }
    }
}

/// Reads and drops; `None`: there was nothing after all.
fn hear(socket: &TcpStream) -> io::Result<Option<usize>> {
    let mut scratch = [0; 4096];
    match socket.try_read(&mut scratch) {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel takes now of the first octets that wait.
fn write_some(socket: &TcpStream, waiting: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let Some(first) = waiting.front_mut() else { return Ok(0) };
    let written = match socket.try_write(first) {
        Ok(n) => n,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    first.advance(written);
    if first.is_empty() {
        waiting.pop_front();
    }
    Ok(written)
}

/// A connection that ends has a moment for its last words.
async fn say_what_is_left(socket: &TcpStream, mut waiting: VecDeque<Bytes>) {
    let all = async {
        while !waiting.is_empty() && socket.writable().await.is_ok() {
            if write_some(socket, &mut waiting).is_err() {
                return;
            }
        }
    };
    if timeout(FAREWELL, all).await.is_err() {
        tracing::debug!("a monitoring station did not take our last words");
    }
}
