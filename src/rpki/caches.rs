//! All caches: which is connected, whose data is used, and until when (RFC 8210 §6, §10).
//!
//! In: which caches there should be, what happens on connections, the time. Out: [`Action`]s for whoever has the sockets, and a [`Report`] when the
//! router should hear of something.
//!
//! One cache is used at a time: the most preferred that is synchronised. The next ones are tried while it is not, and stand by while it is. What a cache
//! said last is used until another one has said everything, or until it expires (RFC 8210 §10); then no VRP is left, and every route is not-found.
//!
//! # Invariants
//! Below a cache that is synchronised none is connected. What is said of a connection that is over is dropped: each has a number, its `life`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::{Link, Load, Lost, Then};
use super::params::CacheParams;
use super::pdu::{Ask, Code, Fault, Intervals, NEWEST, OLDEST, complaint};
use super::report::{CacheState, News, Report, Source, Update};
use super::table::{Covers, Table, Wrong};
use crate::num::{Instant, Rng};

/// The wait after the first failure; it doubles up to the Retry Interval.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// A cache that was synchronised for so long has earned the first wait again.
const STEADY: Duration = Duration::from_secs(60);

/// What whoever has the sockets is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect. What comes of it is told with this number of a cache, and of its connection.
    Dial { cache: u32, life: u64, address: SocketAddr, timeout: Duration },
    /// Write this.
    Send { cache: u32, life: u64, octets: Bytes },
    /// Write what is left, and close.
    Close { cache: u32, life: u64 },
}

struct Cache {
    number: u32,
    params: CacheParams,
    /// The number of the last attempt.
    life: u64,
    /// Of the protocol, in the next attempt.
    version: u8,
    state: State,
    since: Instant,
    wait: Duration,
    /// The longest wait.
    retry: Duration,
    connections: u64,
    failures: u64,
    last_error: Option<String>,
    /// Said in the log already.
    complained: bool,
    /// That it is synchronised is worth a word.
    news: bool,
}

enum State {
    /// Until then; `None`: it is not wanted now.
    Waiting(Option<Instant>),
    Connecting,
    Linked(Box<Link>),
}

/// Where the table comes from, and how to go on with it.
struct Origin {
    cache: u32,
    /// `None`: what the cache says next must be everything.
    version: Option<u8>,
    source: Source,
}

/// See the module.
pub struct Caches {
    all: Vec<Cache>,
    numbered: u32,
    table: Arc<Table>,
    origin: Option<Origin>,
    actions: VecDeque<Action>,
    report: Report,
    /// The router has yet to hear of something.
    changed: bool,
    rng: Rng,
}

impl Caches {
    /// Without any.
    pub fn new(seed: u64) -> Caches {
        Caches {
            all: Vec::new(),
            numbered: 0,
            table: Arc::default(),
            origin: None,
            actions: VecDeque::new(),
            report: Report::default(),
            changed: false,
            rng: Rng::new(seed),
        }
    }

    /// These caches and no others; those that are as before keep their connections.
    pub fn configure(&mut self, mut wanted: Vec<CacheParams>, now: Instant) {
        wanted.sort_by_key(|params| params.preference);
        let mut before = std::mem::take(&mut self.all);
        for params in wanted {
            let known = before.iter().position(|cache| cache.params == params).map(|at| before.remove(at));
            let cache = known.unwrap_or_else(|| {
                self.numbered += 1;
                Cache::new(self.numbered, params, now)
            });
            self.all.push(cache);
        }
        for cache in &mut before {
            cache.stand_by(&mut self.actions, now);
        }
        if self.all.is_empty() {
            self.origin = None;
            self.replace(Table::default());
        }
        self.changed = true;
        self.arrange(now);
    }

    /// The next thing to do outside.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What the router is to hear, if there is anything.
    pub fn take_report(&mut self) -> Option<Report> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let caches = self.all.iter().map(Cache::show).collect();
        let source = self.origin.as_ref().map(|origin| origin.source.clone());
        Some(Report { caches, source, ..std::mem::take(&mut self.report) })
    }

    /// When [`Caches::on_time`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut deadlines: Vec<Instant> = self.origin.iter().map(|origin| origin.source.expires).collect();
        let mut free = true;
        for cache in &self.all {
            match &cache.state {
                State::Linked(link) => deadlines.extend(link.next_deadline()),
                State::Waiting(until) if free => deadlines.extend(*until),
                _ => {}
            }
            free &= matches!(cache.state, State::Waiting(_));
        }
        deadlines.into_iter().min()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Instant) {
        for at in 0..self.all.len() {
            if let Some(State::Linked(link)) = self.all.get_mut(at).map(|cache| &mut cache.state)
                && let Err(lost) = link.on_time(now)
            {
                self.lose(at, lost, now);
            }
        }
        if let Some(origin) = self.origin.take_if(|origin| origin.source.expires <= now) {
            self.report.news.push(News::Expired { cache: origin.source.address });
            self.replace(Table::default());
            let still = self.all.iter().position(|cache| cache.number == origin.cache && matches!(cache.state, State::Linked(_)));
            // A change of what is no more means nothing.
            still.into_iter().for_each(|at| self.lose(at, Lost::silently("what it said has expired"), now));
        }
        self.arrange(now);
    }

    /// The connection stands.
    pub fn on_connected(&mut self, number: u32, life: u64, now: Instant) {
        let Some(at) = self.find(number, life) else { return };
        let Some(cache) = self.all.get_mut(at) else { return };
        let known = self.origin.as_ref().filter(|origin| origin.cache == number && origin.version == Some(cache.version));
        let ask = known.map_or(Ask::Reset, |origin| Ask::Serial { session: origin.source.session, serial: origin.source.serial });
        cache.connections += 1;
        cache.since = now;
        cache.state = State::Linked(Box::new(Link::new(&cache.params, cache.version, ask, now)));
        self.changed = true;
        self.after(at, now);
    }

    /// The cache has said something.
    pub fn on_octets(&mut self, number: u32, life: u64, octets: &[u8], now: Instant) {
        let Some(at) = self.find(number, life) else { return };
        if let Some(link) = self.link(at) {
            link.feed(octets);
        }
        while let Some(link) = self.link(at) {
            match link.advance(now) {
                Ok(None) => break,
                Ok(Some(load)) => self.take_in(at, load, now),
                Err(lost) => self.lose(at, lost, now),
            }
        }
        self.after(at, now);
    }

    /// The connection is over, or did not come about.
    pub fn on_closed(&mut self, number: u32, life: u64, error: &str, now: Instant) {
        let Some(at) = self.find(number, life) else { return };
        let mut lost = Lost::silently(error);
        if self.link(at).is_some_and(|link| link.version().is_none() && link.spoken() > OLDEST) {
            // RFC 8210 §7: one that knows nothing but version 0 may say so in this way. The wait is as after any failure.
            lost.why = format!("{error}, without an answer; the next attempt is in version {OLDEST} of the protocol");
            self.lose(at, lost, now);
            self.all.iter_mut().filter(|cache| cache.number == number).for_each(|cache| cache.version = OLDEST);
        } else {
            self.lose(at, lost, now);
        }
        self.arrange(now);
    }

    fn find(&self, number: u32, life: u64) -> Option<usize> {
        self.all.iter().position(|cache| cache.number == number && cache.life == life && !matches!(cache.state, State::Waiting(_)))
    }

    fn link(&mut self, at: usize) -> Option<&mut Link> {
        match &mut self.all.get_mut(at)?.state {
            State::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// What a link has to say goes out, and others come or go by it.
    fn after(&mut self, at: usize, now: Instant) {
        self.send(at);
        self.arrange(now);
    }

    fn send(&mut self, at: usize) {
        let Some(cache) = self.all.get_mut(at) else { return };
        let State::Linked(link) = &mut cache.state else { return };
        if let Some(octets) = link.take_out() {
            self.actions.push_back(Action::Send { cache: cache.number, life: cache.life, octets });
        }
    }

    /// Dials who is wanted, and lets stand by who is not.
    fn arrange(&mut self, now: Instant) {
        let (mut tried, mut found) = (false, false);
        for cache in &mut self.all {
            if found {
                self.changed |= cache.stand_by(&mut self.actions, now);
                continue;
            }
            match &cache.state {
                State::Linked(link) => {
                    found = link.is_synchronised();
                    tried = true;
                }
                State::Connecting => tried = true,
                State::Waiting(until) if !tried && until.is_none_or(|until| until <= now) => {
                    self.actions.push_back(cache.dial(now));
                    (tried, self.changed) = (true, true);
                }
                State::Waiting(_) => {}
            }
        }
        (0..self.all.len()).for_each(|at| self.send(at));
    }

    /// An answer is complete.
    fn take_in(&mut self, at: usize, load: Load, now: Instant) {
        let Some(cache) = self.all.get(at) else { return };
        let (number, most) = (cache.number, cache.params.max_vrps as usize);
        let empty = Table::default();
        let base = match &self.origin {
            _ if load.whole => &empty,
            Some(origin) if origin.cache == number => &*self.table,
            _ => return self.lose(at, Lost { then: Then::Forget, ..Lost::silently("it told changes of what is no more") }, now),
        };
        let mut changes = load.changes;
        let fault = match base.apply(&mut changes) {
            Ok(table) if table.len() <= most => {
                self.accept(at, (load.session, load.serial), load.intervals, now);
                return self.replace_by(at, table);
            }
            Ok(_) => Fault::new(Code::INTERNAL, format!("more than the {most} VRPs that `max_vrps` allows")),
            Err(Wrong::Duplicate(vrp)) => Fault::new(Code::DUPLICATE, vrp.to_string()),
            Err(Wrong::Unknown(vrp)) => Fault::new(Code::UNKNOWN, vrp.to_string()),
        };
        let spoken = self.link(at).map_or(NEWEST, |link| link.spoken());
        let told = complaint(spoken, &fault, &[]);
        let why = format!("{}: {}", fault.code, fault.what);
        self.lose(at, Lost { why, complaint: Some(told), then: Then::Forget }, now);
    }

    /// What the cache said last is so now.
    fn accept(&mut self, at: usize, (session, serial): (u16, u32), intervals: Intervals, now: Instant) {
        let version = self.link(at).map(|link| link.spoken());
        let Some(cache) = self.all.get_mut(at) else { return };
        cache.retry = cache.params.retry.unwrap_or(intervals.retry);
        cache.version = version.unwrap_or(NEWEST);
        let expires = now + cache.params.expire.unwrap_or(intervals.expire);
        let source = Source { address: cache.params.address, session, serial, at: now, expires };
        self.origin = Some(Origin { cache: cache.number, version, source });
        self.changed = true;
    }

    fn replace_by(&mut self, at: usize, table: Table) {
        let Some(cache) = self.all.get_mut(at) else { return };
        if cache.complained || cache.news {
            self.report.news.push(News::Synchronised { cache: cache.params.address, vrps: table.len() });
        }
        (cache.complained, cache.news) = (false, false);
        self.replace(table);
    }

    /// Another table holds.
    fn replace(&mut self, table: Table) {
        let changed = self.table.difference(&table);
        if changed.is_empty() {
            return;
        }
        // Two that the router has not heard of are one.
        let changed = if self.report.update.is_some() { Covers::all() } else { changed };
        self.table = Arc::new(table);
        self.report.update = Some(Update { table: self.table.clone(), changed: Arc::new(changed) });
        self.changed = true;
    }

    fn lose(&mut self, at: usize, lost: Lost, now: Instant) {
        let Some(cache) = self.all.get_mut(at) else { return };
        let (number, life) = (cache.number, cache.life);
        let older = lost.then == Then::Older && cache.version > OLDEST;
        if lost.then == Then::Forget
            && let Some(origin) = self.origin.as_mut().filter(|origin| origin.cache == number)
        {
            origin.version = None;
        }
        if let State::Linked(_) = cache.state {
            self.actions.extend(lost.complaint.map(|octets| Action::Send { cache: number, life, octets }));
        }
        self.actions.push_back(Action::Close { cache: number, life });
        let steady = matches!(&cache.state, State::Linked(link) if link.is_synchronised()) && now.since(cache.since) >= STEADY;
        cache.wait = if steady { FIRST_WAIT } else { cache.wait };
        cache.version = if older { OLDEST } else { NEWEST };
        let wait = if older { Duration::ZERO } else { self.rng.jitter(cache.wait) };
        cache.wait = if older { cache.wait } else { (cache.wait * 2).min(cache.retry.max(FIRST_WAIT)) };
        (cache.state, cache.since) = (State::Waiting(Some(now + wait)), now);
        if !older {
            cache.failures += 1;
            if !std::mem::replace(&mut cache.complained, true) {
                self.report.news.push(News::Lost { cache: cache.params.address, error: lost.why.clone() });
            }
            cache.last_error = Some(lost.why);
        }
        self.changed = true;
    }
}

impl Cache {
    fn new(number: u32, params: CacheParams, now: Instant) -> Cache {
        Cache {
            number,
            life: 0,
            version: NEWEST,
            state: State::Waiting(None),
            since: now,
            wait: FIRST_WAIT,
            retry: params.retry.unwrap_or(Intervals::default().retry),
            connections: 0,
            failures: 0,
            last_error: None,
            complained: false,
            news: true,
            params,
        }
    }

    fn dial(&mut self, now: Instant) -> Action {
        self.life += 1;
        (self.state, self.since) = (State::Connecting, now);
        Action::Dial { cache: self.number, life: self.life, address: self.params.address, timeout: self.params.timeout }
    }

    /// It is not wanted now, without being at fault. Whether that is news.
    fn stand_by(&mut self, actions: &mut VecDeque<Action>, now: Instant) -> bool {
        if matches!(self.state, State::Waiting(None)) {
            return false;
        }
        if !matches!(self.state, State::Waiting(_)) {
            actions.push_back(Action::Close { cache: self.number, life: self.life });
        }
        (self.state, self.since, self.news) = (State::Waiting(None), now, true);
        true
    }

    fn show(&self) -> CacheState {
        let (state, version, again) = match &self.state {
            State::Waiting(None) => ("standing by", None, None),
            State::Waiting(until) => ("waiting", None, *until),
            State::Connecting => ("connecting", None, None),
            State::Linked(link) if link.is_synchronised() => ("synchronised", link.version(), None),
            State::Linked(link) => ("loading", link.version(), None),
        };
        CacheState {
            params: self.params.clone(),
            state,
            since: self.since,
            version,
            connections: self.connections,
            failures: self.failures,
            last_error: self.last_error.clone(),
            again,
        }
    }
}
