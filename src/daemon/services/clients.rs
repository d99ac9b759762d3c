//! Places for clients: how many are served at a time, and who gives way when there is no place left.
//!
//! In: a client came, waits, is served, does not read what it is sent. Out: a place, or none. A newcomer takes the place of the client that
//! has kept us waiting longest; so whoever asks a short question gets its answer, whatever others do, and a client that makes no progress
//! costs itself. One address has fewer places than there are, so that it cannot crowd out the others.
//!
//! [`Watched`] is the stream of a client with a place: it notes when the client stops reading, and ends the connection after a bounded time.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};

/// How many clients are served at one time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all together.
    pub total: usize,
    /// From one address or user.
    pub per_origin: usize,
}

/// The clients of one service, by where they come from.
pub struct Clients<K>(Arc<Shared<K>>);

impl<K> Clone for Clients<K> {
    fn clone(&self) -> Clients<K> {
        Clients(self.0.clone())
    }
}

struct Shared<K> {
    limits: Limits,
    table: Mutex<Table<K>>,
}

struct Table<K> {
    clients: HashMap<u64, Client<K>>,
    next: u64,
}

struct Client<K> {
    origin: K,
    /// What the client does, as far as it matters to who waits for a place.
    activity: Arc<Activity>,
    task: Option<AbortHandle>,
}

/// What a client does, for those who look for a place. Milliseconds since it came, so that nothing here needs a lock.
#[derive(Debug)]
pub struct Activity {
    came: Instant,
    /// When it stopped reading what it is sent; zero: it reads.
    stalled: AtomicU64,
    /// Requests of it that are being answered.
    answering: AtomicUsize,
}

impl Activity {
    /// Nobody is served.
    fn new() -> Activity {
        Activity { came: Instant::now(), stalled: AtomicU64::new(0), answering: AtomicUsize::new(0) }
    }

    /// It is served from here on until what comes back is dropped.
    pub fn answer(self: &Arc<Activity>) -> Answering {
        self.answering.fetch_add(1, Relaxed);
        Answering(self.clone())
    }

    fn stall(&self) {
        // One at least: zero is "reads".
        let since = u64::try_from(self.came.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let _was_stalled = self.stalled.compare_exchange(0, since, Relaxed, Relaxed);
    }

    fn progress(&self) {
        self.stalled.store(0, Relaxed);
    }

    /// How readily it gives way, larger first: longest without reading, then longest without a request. `None`: it is being served.
    fn yields(&self) -> Option<(bool, Duration)> {
        let stalled = self.stalled.load(Relaxed);
        let since = |millis| self.came.elapsed().saturating_sub(Duration::from_millis(millis));
        match (stalled, self.answering.load(Relaxed)) {
            (0, 0) => Some((false, since(0))),
            (0, _) => None,
            (at, _) => Some((true, since(at))),
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Relaxed);
    }
}

/// A place that is taken until this is dropped.
pub struct Place<K: Eq + Hash + Clone> {
    id: u64,
    pub activity: Arc<Activity>,
    of: Clients<K>,
}

impl<K: Eq + Hash + Clone> Clients<K> {
    pub fn new(limits: Limits) -> Clients<K> {
        Clients(Arc::new(Shared { limits, table: Mutex::new(Table { clients: HashMap::new(), next: 0 }) }))
    }

    /// A place for somebody from `origin`. `None`: all who have one are being served and read.
    pub fn enter(&self, origin: K) -> Option<Place<K>> {
        let mut table = self.lock();
        let same = table.clients.values().filter(|client| client.origin == origin).count();
        let limits = self.0.limits;
        if same >= limits.per_origin {
            table.evict(|client| client.origin == origin)?;
        } else if table.clients.len() >= limits.total {
            table.evict(|_| true)?;
        }
        let (id, activity) = (table.next, Arc::new(Activity::new()));
        table.next += 1;
        table.clients.insert(id, Client { origin, activity: activity.clone(), task: None });
        Some(Place { id, activity, of: self.clone() })
    }

    /// Places that are taken.
    pub fn len(&self) -> usize {
        self.lock().clients.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Table<K>> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Table<K> {
    /// Ends the client, of those in question, that gives way most readily.
    fn evict(&mut self, in_question: impl Fn(&Client<K>) -> bool) -> Option<()> {
        let candidates = self.clients.iter().filter(|(_, client)| in_question(client));
        let (_, id) = candidates.filter_map(|(id, client)| Some((client.activity.yields()?, *id))).max()?;
        if let Some(Client { task: Some(task), .. }) = self.clients.remove(&id) {
            task.abort();
        }
        Some(())
    }
}

impl<K: Eq + Hash + Clone> Place<K> {
    /// What ends this client if another takes its place.
    pub fn serve_by(&self, task: AbortHandle) {
        match self.of.lock().clients.get_mut(&self.id) {
            Some(client) => client.task = Some(task),
            // Taken already.
            None => task.abort(),
        }
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        self.of.lock().clients.remove(&self.id);
    }
}

/// A client's stream that is given up when the client takes nothing for some time.
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// `patience`: the longest time without taking an octet.
    pub fn new(stream: S, activity: Arc<Activity>, patience: Duration) -> Watched<S> {
        Watched { stream, activity, patience, deadline: None }
    }

    /// What a write led to: progress, or the end of patience.
    fn watch<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.activity.progress();
            self.deadline = None;
            return outcome;
        }
        self.activity.stall();
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        deadline.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, octets);
        this.watch(outcome, cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.watch(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMITS: Limits = Limits { total: 4, per_origin: 2 };

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_who_reads_nothing_and_only_of_its_own_origin() {
        let clients = Clients::new(LIMITS);
        let places: Vec<_> = [1, 1, 2, 2].iter().map(|from| clients.enter(*from).expect("free")).collect();
        let _answering: Vec<_> = places.iter().map(|place| place.activity.answer()).collect();
        assert!(clients.enter(1).is_none(), "all are served and read");
        let task = tokio::spawn(std::future::pending::<()>());
        places[2].serve_by(task.abort_handle());
        places[2].activity.stall();
        assert!(clients.enter(1).is_none(), "who stalls has another origin");
        let new = clients.enter(2).expect("a place");
        assert!(task.await.expect_err("ended").is_cancelled());
        assert_eq!(clients.len(), 4);
        drop(new);
        drop(places);
        assert!(clients.is_empty());
    }

    #[tokio::test]
    async fn who_has_stalled_longest_goes_first_and_who_asks_nothing_last() {
        let clients = Clients::new(Limits { total: 3, per_origin: 3 });
        let idle = clients.enter(1).expect("free");
        let (second, first) = (clients.enter(1).expect("free"), clients.enter(1).expect("free"));
        tokio::time::sleep(Duration::from_millis(5)).await;
        first.activity.stall();
        tokio::time::sleep(Duration::from_millis(5)).await;
        second.activity.stall();
        let gone = |place: &Place<i32>| !clients.lock().clients.contains_key(&place.id);
        let _a = clients.enter(1).expect("a place");
        assert!(gone(&first) && !gone(&second));
        let _b = clients.enter(1).expect("a place");
        assert!(gone(&second) && !gone(&idle));
        let _c = clients.enter(1).expect("a place");
        assert!(gone(&idle), "the oldest of those that ask nothing");
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up_and_a_slow_one_is_not() {
        let (near, mut far) = tokio::io::duplex(16);
        let activity = Arc::new(Activity::new());
        let mut watched = Watched::new(near, activity.clone(), Duration::from_secs(2));
        let slow = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                tokio::io::AsyncReadExt::read_exact(&mut far, &mut [0; 16]).await.expect("octets");
            }
            far
        });
        watched.write_all(&[0; 80]).await.expect("slow is no crime");
        let _far = slow.await.expect("no panic");
        assert!(activity.yields().is_some_and(|(stalled, _)| !stalled));
        let error = watched.write_all(&[0; 80]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(activity.yields().is_some_and(|(stalled, _)| stalled));
    }
}
