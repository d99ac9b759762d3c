//! A api without a daemon behind it, for the tests of the control socket and of HTTP.

use std::sync::{Arc, Mutex};

use super::*;
use crate::api::{Counters, FibCounts, NexthopRow, Page, ResolutionRow, Snapshot};
use crate::config::{Config, Environment};
use crate::num::Asn;

/// Answers from thin air.
#[derive(Clone)]
pub struct MockApi {
    pub notices: broadcast::Sender<Arc<Stamped>>,
    pub counters: Arc<DaemonMetrics>,
    /// What it was asked and told.
    pub heard: Arc<Mutex<Vec<String>>>,
    config: Arc<Mutex<Config>>,
    frozen: Arc<std::sync::atomic::AtomicBool>,
}

/// Next hops that it lists, so many a page.
pub const ROWS: usize = 1000;
pub const ROWS_A_PAGE: usize = 64;

impl Default for MockApi {
    fn default() -> MockApi {
        MockApi {
            notices: broadcast::channel(4).0,
            counters: Arc::default(),
            heard: Arc::default(),
            config: Arc::new(Mutex::new(plain())),
            frozen: Arc::default(),
        }
    }
}

impl MockApi {
    pub fn new() -> MockApi {
        MockApi::default()
    }

    /// It answers no more.
    pub fn freeze(&self) {
        self.frozen.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// As a reload would.
    pub fn set(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config.lock().expect("nobody panicked"));
    }

    fn hear(&self, what: String) {
        self.heard.lock().expect("nobody panicked").push(what);
    }

    pub fn status() -> Status {
        Status {
            name: "fake".into(),
            router_id: [10, 0, 0, 1].into(),
            asn: Asn(64512),
            mode: "full-mesh".into(),
            cluster_id: None,
            uptime_seconds: 1.0,
            peers_configured: 0,
            peers_established: 0,
            peers_down: Vec::new(),
            tables: Vec::new(),
            attribute_sets: 0,
            fib: FibCounts::default(),
            fib_tables: Vec::new(),
            blocks: 0,
            phase: "running".into(),
            memory: Default::default(),
            jobs: Vec::new(),
            draining: false,
            leaving: None,
            recovering: false,
            waiting: None,
            rpki: None,
            warnings: Vec::new(),
        }
    }

    fn nexthops(cursor: u64) -> Page<NexthopRow> {
        let from = usize::try_from(cursor).expect("small");
        let to = (from + ROWS_A_PAGE).min(ROWS);
        let row = |n: usize| NexthopRow {
            address: format!("10.0.{}.{}", n / 256, n % 256),
            resolved: true,
            resolution: ResolutionRow { hops: Vec::new(), by: None, unusable: None, explanation: None, circle: Vec::new() },
            metric: None,
            used_by: n,
        };
        Page { rows: (from..to).map(row).collect(), next: (to < ROWS).then_some(to as u64) }
    }
}

impl RouterApi for MockApi {
    async fn tell(&self, input: Input) -> Result<(), Gone> {
        self.hear(format!("{input:?}"));
        Ok(())
    }

    async fn query(&self, question: Question) -> Option<Answer> {
        self.hear(format!("{question:?}"));
        if self.frozen.load(std::sync::atomic::Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Some(match question {
            Question::Status => Answer::Status(Box::new(MockApi::status())),
            Question::Nexthops { cursor } => Answer::Nexthops(MockApi::nexthops(cursor)),
            Question::Blocks => Answer::Blocks(Vec::new()),
            Question::Metrics => Answer::Metrics(Box::new(Snapshot {
                status: MockApi::status(),
                peers: Vec::new(),
                blocks: Vec::new(),
                bmp: Vec::new(),
                rpki: None,
                counters: Counters::default(),
            })),
            other => Answer::Refused(format!("no {other:?}")),
        })
    }

    async fn command(&self, command: Command) -> Option<Answer> {
        self.hear(format!("{command:?}"));
        Some(Answer::Done("done".into()))
    }

    async fn reload(&self, _confirm: Option<Duration>) -> Result<Reloaded, String> {
        Ok(Reloaded::default())
    }

    async fn diff(&self, _: Option<(String, String)>) -> Result<Reloaded, String> {
        Ok(Reloaded::default())
    }

    async fn confirm(&self) -> bool {
        false
    }

    fn last_reload(&self) -> LastReload {
        LastReload { successful: false, at: SystemTime::now(), error: Some("line 3 is wrong\n  |".into()), unconfirmed: false }
    }

    fn config(&self) -> Arc<Config> {
        Arc::new(self.config.lock().expect("nobody panicked").clone())
    }

    fn monitor(&self) -> broadcast::Receiver<Arc<Stamped>> {
        self.notices.subscribe()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        if level == "debug" { Ok(()) } else { Err(format!("no level {level}")) }
    }

    fn counters(&self) -> &DaemonMetrics {
        &self.counters
    }
}

fn plain() -> Config {
    let read = |_: &std::path::Path| Err("no files".to_owned());
    let around = Environment { hostname: None, read: &read, memory_limit: None };
    Config::parse("fake", "[node]\nasn = 64512\n", &around).config.expect("legal")
}
