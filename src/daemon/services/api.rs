//! What the control socket and HTTP need of the daemon, as a trait: so that both can be tested without one.
//!
//! In: requests. Out: answers, and [`answers`], which turns a question about a list into page after page.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use crate::api::{Answer, Command, Question, Status};
use crate::config::Config;
use crate::daemon::counters::DaemonMetrics;
use crate::daemon::event_log::Stamped;
use crate::daemon::protocol::{FullStatus, ProcessStatus, Reloaded, SCHEMA_VERSION};
use crate::daemon::sys;
use crate::speaker::Input;

/// The core has ended; nobody is left to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the daemon is ending")
    }
}

impl std::error::Error for Gone {}

/// How the configuration was last read.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// True if there was none.
    pub successful: bool,
    /// When, or the start.
    pub at: SystemTime,
    /// The report.
    pub error: Option<String>,
    /// It goes back by itself unless it is confirmed.
    pub unconfirmed: bool,
}

/// The daemon, seen from the places where operators ask.
pub trait RouterApi: Clone + Send + Sync + 'static {
    /// Something that the core is told ahead of what is queued; returns once it has been taken in.
    fn tell(&self, input: Input) -> impl Future<Output = Result<(), Gone>> + Send;
    /// `None`: the daemon is ending.
    fn query(&self, question: Question) -> impl Future<Output = Option<Answer>> + Send;
    fn command(&self, command: Command) -> impl Future<Output = Option<Answer>> + Send;
    /// Whole or not at all; `Err` is the report.
    fn reload(&self, confirm: Option<Duration>) -> impl Future<Output = Result<Reloaded, String>> + Send;

    /// What taking over this configuration (its name and text), or the daemon's own file, would change against what runs.
    fn diff(&self, text: Option<(String, String)>) -> impl Future<Output = Result<Reloaded, String>> + Send;
    /// False if nothing waited for it.
    fn confirm(&self) -> impl Future<Output = bool> + Send;
    fn last_reload(&self) -> LastReload;
    fn config(&self) -> Arc<Config>;
    fn monitor(&self) -> broadcast::Receiver<Arc<Stamped>>;
    fn set_log_level(&self, level: &str) -> Result<(), String>;
    fn counters(&self) -> &DaemonMetrics;
}

/// Puts a cursor into a question about a list; false if it is not one.
fn go_on(question: &mut Question, from: u64) -> bool {
    match question {
        Question::Peers { cursor }
        | Question::Received { cursor, .. }
        | Question::Advertised { cursor, .. }
        | Question::Routes { cursor, .. }
        | Question::Fib { cursor, .. }
        | Question::Nexthops { cursor } => {
            *cursor = from;
            true
        }
        Question::Status | Question::Peer { .. } | Question::Why { .. } | Question::Blocks | Question::Metrics => false,
        Question::Bmp | Question::Rpki { .. } | Question::Bfd { .. } | Question::Forwarding { .. } => false,
    }
}

/// Where the list of this answer goes on.
fn next_of(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Peers(page) => page.next,
        Answer::Received(page) | Answer::Advertised(page) | Answer::Routes(page) => page.next,
        Answer::Fib(page) => page.next,
        Answer::Nexthops(page) => page.next,
        Answer::Count { next, .. } => *next,
        _ => None,
    }
}

/// Asks page by page. Between two pages the router goes on with its work.
pub struct Pages<A> {
    api: A,
    question: Option<Question>,
}

/// The answers to a question: one, or the pages of a list.
pub fn answers<A: RouterApi>(api: A, question: Question) -> Pages<A> {
    Pages { api, question: Some(question) }
}

impl<A: RouterApi> Pages<A> {
    /// To ask something else.
    pub fn api(&self) -> A {
        self.api.clone()
    }

    /// `None` after the last page, or if the daemon ends.
    pub async fn next(&mut self) -> Option<Answer> {
        let mut question = self.question.take()?;
        let answer = self.api.query(question.clone()).await?;
        if let Some(cursor) = next_of(&answer) {
            self.question = go_on(&mut question, cursor).then_some(question);
        }
        Some(answer)
    }
}

/// The router's status with the process's.
pub async fn full_status<A: RouterApi>(api: &A) -> Option<FullStatus> {
    let Answer::Status(status) = api.query(Question::Status).await? else { return None };
    Some(FullStatus { status: add_warnings(*status, api), process: process(api), sources: api.counters().sources() })
}

fn add_warnings<A: RouterApi>(mut status: Status, api: &A) -> Status {
    if let Some(error) = api.last_reload().error {
        let first = error.lines().next().unwrap_or_default().to_owned();
        status.warnings.push(format!("the last reload failed, the configuration before it is in force: {first}"));
    }
    status.warnings.extend(api.counters().warnings());
    status
}

fn process<A: RouterApi>(api: &A) -> ProcessStatus {
    let reload = api.last_reload();
    let resident = sys::resident();
    ProcessStatus {
        version: crate::daemon::protocol::VERSION.to_owned(),
        schema_version: SCHEMA_VERSION,
        pid: std::process::id(),
        resident_bytes: resident.all,
        program_bytes: resident.program,
        free_bytes: sys::free_bytes(),
        connections: api.counters().connections.get(),
        last_reload_successful: reload.successful,
        last_reload_seconds_ago: reload.at.elapsed().ok().map(|ago| ago.as_secs_f64()),
        last_reload_error: reload.error,
        confirm_pending: reload.unconfirmed,
        log_lines_dropped: api.counters().log.stalled().saturating_add(api.counters().log.repeated()),
    }
}

#[cfg(test)]
pub mod mock;
