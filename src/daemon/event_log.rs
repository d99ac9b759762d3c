//! What happened, said aloud: a line in the log, and the same to every `catbird monitor`.
//!
//! In: `Notice`s from the core and the shell. Out: tracing events with fields (text or JSON on standard error), and a bounded broadcast. It
//! leaves words and levels to `stats`, and what a monitor wants to see to `control`.

use std::io::IsTerminal;
use std::sync::Arc;

use tokio::sync::broadcast;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::stats::{Level, Notice};

/// Notices that a monitor may be behind; beyond, it is told how many it missed.
pub const BEHIND: usize = 1024;

/// Says notices.
#[derive(Clone)]
pub struct Notices {
    format: Format,
    monitors: broadcast::Sender<Arc<Notice>>,
}

impl Notices {
    pub fn new(format: Format) -> Notices {
        Notices { format, monitors: broadcast::channel(BEHIND).0 }
    }

    pub fn say(&self, notice: Notice) {
        log(&notice, self.format);
        if self.monitors.receiver_count() > 0 && self.monitors.send(Arc::new(notice)).is_err() {
            tracing::debug!("the last monitor went away");
        }
    }

    /// From now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.monitors.subscribe()
    }
}

/// One line. In a log of JSON the notice itself rides along, made only when the level is on.
fn log(notice: &Notice, format: Format) {
    macro_rules! at {
        ($level:ident) => {
            match format {
                Format::Text => tracing::event!(target: "catbird", tracing::Level::$level, "{notice}"),
                Format::Json if tracing::enabled!(target: "catbird", tracing::Level::$level) => {
                    tracing::event!(target: "catbird", tracing::Level::$level, stream = notice.stream(), notice = %json(notice), "{notice}")
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

    /// As a word.
    pub fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_else(|error| error.to_string())
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Starts the log of this process on standard error.
///
/// # Errors
/// An unknown level, or a log that was started before.
pub fn start_log(level: &str, format: Format) -> Result<LogLevel, String> {
    let (filter, handle) = reload::Layer::new(LevelFilter::INFO);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())?;
    let log = LogLevel(handle);
    log.set(level)?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_hears_what_is_said_after_it_came() {
        let notices = Notices::new(Format::Text);
        notices.say(Notice::Draining { on: false });
        let mut monitor = notices.listen();
        notices.say(Notice::Draining { on: true });
        assert_eq!(*monitor.try_recv().expect("one notice"), Notice::Draining { on: true });
        assert!(monitor.try_recv().is_err(), "what was said before is not heard");
    }

    #[test]
    fn a_slow_monitor_is_told_that_it_missed_something() {
        let notices = Notices::new(Format::Text);
        let mut monitor = notices.listen();
        for n in 0..=BEHIND {
            notices.say(Notice::FibRepaired { count: n });
        }
        assert!(matches!(monitor.try_recv(), Err(broadcast::error::TryRecvError::Lagged(1))));
        assert_eq!(*monitor.try_recv().expect("the oldest that is left"), Notice::FibRepaired { count: 1 });
    }
}
