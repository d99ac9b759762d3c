//! What happened: a line in the log, and the same to every `catbird monitor`. Nobody who logs ever waits.
//!
//! In: `Notice`s from the core, and tracing events from anywhere in the shell. Out: lines (text or JSON) on standard error by a thread of
//! their own, and a bounded broadcast. It leaves words and levels to `stats`, and what a monitor wants to see to `control`.
//!
//! Two bounds keep the log from costing more than it is worth. Between those who log and the thread that writes stand [`LINES`] lines at
//! most: if whoever reads standard error stops reading, further lines are dropped and counted. And of warnings and errors of one kind
//! (one place in the code, or one kind of notice) [`BURST`] are written in [`WINDOW`]; how many more there were is said afterwards.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, IsTerminal};
use std::mem::Discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::num::utc;
use crate::stats::{Level, Notice};

use super::atomics::Counter;

/// Notices that a monitor may be behind; beyond, it is told how many it missed.
pub const MONITOR_BACKLOG: usize = 1024;

/// Lines that wait for the thread that writes them at most; beyond, they are dropped.
pub const LINES: usize = 4096;

/// Warnings and errors of one kind that are written in one [`WINDOW`].
pub const BURST: u32 = 50;

/// For so long a [`BURST`] lasts, and so often the sum of what was left out is said.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Target of the lines that notices make; they are limited by the kind of notice and not by the place in the code.
const NOTICES: &str = "catbird";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// A notice, and when it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamped {
    pub at: SystemTime,
    pub notice: Notice,
}

/// In UTC (RFC 3339).
pub fn rfc3339(at: SystemTime) -> String {
    let nanos = at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    utc(nanos).replace(' ', "T") + "Z"
}

/// Turns notices into lines, and passes them to monitors.
#[derive(Clone)]
pub struct EventLog {
    format: Format,
    monitors: broadcast::Sender<Arc<Stamped>>,
    limiter: Arc<Limiter>,
}

impl EventLog {
    /// Writes to `log`.
    pub fn new(log: &Log) -> EventLog {
        EventLog::with(log.format, log.limiter.clone())
    }

    fn with(format: Format, limiter: Arc<Limiter>) -> EventLog {
        EventLog { format, monitors: broadcast::channel(MONITOR_BACKLOG).0, limiter }
    }

    /// To the log, unless it repeats too often, and to every monitor.
    pub fn emit(&self, notice: Notice) {
        if self.limiter.allows_notice(&notice) {
            log(&notice, self.format);
        }
        let stamped = || Arc::new(Stamped { at: SystemTime::now(), notice });
        if self.monitors.receiver_count() > 0 && self.monitors.send(stamped()).is_err() {
            tracing::debug!("the last monitor went away");
        }
    }

    /// Does anybody want to hear of things that happen all the time, such as single routes?
    pub fn is_watched(&self) -> bool {
        self.monitors.receiver_count() > 0 || tracing::enabled!(target: NOTICES, tracing::Level::DEBUG)
    }

    /// Notices from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Stamped>> {
        self.monitors.subscribe()
    }

    /// Says once per [`WINDOW`] how many lines of which kind were left out. Until the task is dropped.
    ///
    /// # Errors
    /// None; the shape is that of a service.
    pub async fn report(self) -> io::Result<()> {
        let mut every = tokio::time::interval(WINDOW);
        loop {
            every.tick().await;
            for (kind, lines) in self.limiter.take_suppressed() {
                tracing::info!(kind, lines, "lines like the last ones were left out of the log");
            }
        }
    }
}

/// One line. In a log of JSON the notice itself rides along, made only when the level is on.
fn log(notice: &Notice, format: Format) {
    macro_rules! at {
        ($level:ident) => {
            match format {
                Format::Text => tracing::event!(target: NOTICES, tracing::Level::$level, "{notice}"),
                Format::Json if tracing::enabled!(target: NOTICES, tracing::Level::$level) => {
                    tracing::event!(target: NOTICES, tracing::Level::$level, stream = notice.stream(), notice = %json(notice), "{notice}")
                }
                Format::Json => {}
            }
        };
    }
    match notice.level() {
        Level::Debug => at!(DEBUG),
        Level::Info => at!(INFO),
        Level::Warn => at!(WARN),
        Level::Error => at!(ERROR),
    }
}

fn json(notice: &Notice) -> String {
    serde_json::to_string(notice).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// The log's level, changeable while the daemon runs.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// # Errors
    /// What would have been accepted.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter: LevelFilter = level.parse().map_err(|_| format!("no level {level:?}: error, warn, info, debug, trace or off"))?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Lines that nobody will read, by the reason why.
#[derive(Clone, Debug, Default)]
pub struct LogCounters {
    stalled: Option<ErrorCounter>,
    limiter: Arc<Limiter>,
}

impl LogCounters {
    /// Dropped because whoever reads standard error did not keep up.
    pub fn stalled(&self) -> u64 {
        self.stalled.as_ref().map_or(0, |counter| counter.dropped_lines() as u64)
    }

    /// Left out because too many of their kind came at once.
    pub fn repeated(&self) -> u64 {
        self.limiter.total.get()
    }
}

/// The log of this process on standard error. Dropped, it writes what it still has, for a second at most.
pub struct Log {
    level: LogLevel,
    format: Format,
    limiter: Arc<Limiter>,
    stalled: ErrorCounter,
    _writer: WorkerGuard,
}

impl Log {
    /// Starts the thread that writes. Panics are lines of the log from here on: the standard way would write to standard error itself.
    ///
    /// # Errors
    /// An unknown level, or a log that was started before.
    pub fn start(level: &str, format: Format) -> Result<Log, String> {
        let lossy = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).thread_name("catbird-log");
        let (writer, guard) = lossy.finish(io::stderr());
        let stalled = writer.error_counter();
        let limiter = Arc::new(Limiter::default());
        let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
        let lines: Box<dyn Layer<_> + Send + Sync> = match format {
            Format::Text => {
                let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                fmt::layer().with_writer(writer).with_ansi(colours).with_target(false).with_filter(OncePerKind(limiter.clone())).boxed()
            }
            Format::Json => fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(OncePerKind(limiter.clone())).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        let log = Log { level: LogLevel(handle), format, limiter, stalled, _writer: guard };
        log.level.set(level)?;
        Ok(log)
    }

    /// To change it while the daemon runs.
    pub fn level(&self) -> LogLevel {
        self.level.clone()
    }

    /// For the metrics.
    pub fn counters(&self) -> LogCounters {
        LogCounters { stalled: Some(self.stalled.clone()), limiter: self.limiter.clone() }
    }
}

/// Counts lines by kind. What it keeps is bounded by the program: kinds are places in the code and variants of a notice.
#[derive(Debug, Default)]
struct Limiter {
    places: Mutex<HashMap<Identifier, Window>>,
    notices: Mutex<HashMap<Discriminant<Notice>, Window>>,
    total: Counter,
}

/// Lines of one kind since an instant.
#[derive(Debug)]
struct Window {
    kind: String,
    since: Instant,
    lines: u32,
    suppressed: u64,
}

impl Limiter {
    fn allows_notice(&self, notice: &Notice) -> bool {
        notice.level() < Level::Warn || self.allows(&self.notices, std::mem::discriminant(notice), || notice_kind(notice))
    }

    fn allows_place(&self, meta: &Metadata<'_>) -> bool {
        let place = || format!("{}:{}", meta.target(), meta.line().unwrap_or(0));
        *meta.level() > tracing::Level::WARN || meta.target() == NOTICES || self.allows(&self.places, meta.callsite(), place)
    }

    fn allows<K: Eq + Hash>(&self, windows: &Mutex<HashMap<K, Window>>, key: K, kind: impl FnOnce() -> String) -> bool {
        let now = Instant::now();
        let mut windows = lock(windows);
        let window = windows.entry(key).or_insert_with(|| Window { kind: kind(), since: now, lines: 0, suppressed: 0 });
        if now.duration_since(window.since) >= WINDOW {
            (window.since, window.lines) = (now, 0);
        }
        window.lines = window.lines.saturating_add(1);
        let allowed = window.lines <= BURST;
        if !allowed {
            window.suppressed += 1;
            self.total.add(1);
        }
        allowed
    }

    /// What was left out since the last call, by kind.
    fn take_suppressed(&self) -> Vec<(String, u64)> {
        fn take<K>(windows: &Mutex<HashMap<K, Window>>) -> Vec<(String, u64)> {
            let mut windows = lock(windows);
            let some = windows.values_mut().filter(|window| window.suppressed > 0);
            some.map(|window| (window.kind.clone(), std::mem::take(&mut window.suppressed))).collect()
        }
        [take(&self.places), take(&self.notices)].concat()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of the variant.
fn notice_kind(notice: &Notice) -> String {
    let text = format!("{notice:?}");
    text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

/// The limit as a filter of lines.
struct OncePerKind(Arc<Limiter>);

impl<S: Subscriber> Filter<S> for OncePerKind {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.allows_place(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event_log() -> EventLog {
        EventLog::with(Format::Text, Arc::default())
    }

    fn repaired(count: usize) -> Notice {
        Notice::FibRepaired { count, nets: Vec::new() }
    }

    fn failed(peer: &str) -> Notice {
        Notice::PeerFailed { peer: peer.into(), reason: "refused".into() }
    }

    #[test]
    fn a_monitor_receives_what_happens_after_it_came() {
        let log = event_log();
        log.emit(Notice::Draining { on: false });
        let mut monitor = log.subscribe();
        log.emit(Notice::Draining { on: true });
        assert_eq!(monitor.try_recv().expect("one notice").notice, Notice::Draining { on: true });
        assert!(monitor.try_recv().is_err(), "what was said before is not received");
    }

    #[test]
    fn a_slow_monitor_learns_that_it_missed_something() {
        let log = event_log();
        let mut monitor = log.subscribe();
        for n in 0..=MONITOR_BACKLOG {
            log.emit(repaired(n));
        }
        assert!(matches!(monitor.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
        assert_eq!(monitor.try_recv().expect("the oldest that is left").notice, repaired(1));
    }

    #[test]
    fn warnings_of_one_kind_are_limited_and_the_rest_is_counted_by_kind() {
        let limiter = Limiter::default();
        let allowed = (0..200).filter(|n| limiter.allows_notice(&failed(&n.to_string()))).count();
        assert_eq!(allowed, BURST as usize);
        assert!(limiter.allows_notice(&Notice::NoPolicy { peer: "b".into(), direction: "import" }), "another kind has its own bound");
        assert_eq!(limiter.total.get(), 150);
        assert_eq!(limiter.take_suppressed(), [("PeerFailed".to_owned(), 150)]);
        assert!(limiter.take_suppressed().is_empty(), "said once");
    }

    #[test]
    fn what_is_no_warning_is_never_left_out() {
        let limiter = Limiter::default();
        assert!((0..200).all(|n| limiter.allows_notice(&repaired(n))));
    }
}
