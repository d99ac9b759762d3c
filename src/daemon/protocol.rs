//! The words of the control socket: a line of JSON for a request, lines of JSON for the reply.
//!
//! In: what an operator asked of `cli`. Out: what `daemon::control` answers. A list comes as several `answer` lines, one a page, so neither
//! end ever holds it whole; `end` is the last line of every reply. Whoever reads this with `socat` can read it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{Answer, Command, Question, Status};
use crate::speaker::reload_plan::Change;

/// The version, with the commit that it was built from where that is known (`build.rs`).
pub const VERSION: &str = env!("CATBIRD_VERSION");

/// Goes up when a key of an answer is renamed, removed or changes its type; new keys do not count. `docs/json.md` lists all.
pub const SCHEMA_VERSION: u32 = 1;

/// Octets of the longest request; longer ones are refused before they are read to their end.
pub const REQUEST_OCTETS: usize = 64 * 1024;

/// The longest time in which a reload may be confirmed.
pub const MAX_CONFIRM: Duration = Duration::from_secs(24 * 60 * 60);

/// One line from the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Reads only.
    #[serde(alias = "ask")]
    Query(Question),
    /// The router's status with that of the process around it.
    Status,
    /// Changes something.
    #[serde(alias = "order")]
    Command(Command),
    /// Read the configuration again and apply it whole; go back after so many seconds unless confirmed.
    Reload {
        /// `None`: for good. At most [`MAX_CONFIRM`].
        confirm_seconds: Option<f64>,
    },
    /// What would a reload change against what runs? Of this text, or of the daemon's own file.
    Diff {
        /// What its findings call the text.
        name: String,
        /// `None`: read the daemon's own file.
        text: Option<String>,
    },
    /// Keep the configuration that waits for this word.
    Confirm,
    /// Events as they happen, of these streams (none: all), until the client goes.
    Monitor {
        /// Names as in [`Notice::stream`](crate::stats::Notice::stream).
        streams: Vec<String>,
    },
    /// Write the log from this level on, until the next reload that says otherwise.
    LogLevel {
        /// error, warn, info, debug, trace or off.
        level: String,
    },
}

/// One line to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// One page, or one thing.
    Answer(Answer),
    /// To [`Request::Status`].
    Status(Box<FullStatus>),
    /// One event of `monitor`, in words and as data.
    Event {
        /// In UTC, as RFC 3339 has it.
        time: String,
        /// For people.
        text: String,
        /// Which it belongs to.
        stream: String,
        /// debug, info, warn or error.
        level: String,
        /// The same as data, its kind under `event`.
        notice: serde_json::Value,
    },
    /// The monitor was too slow for so many events.
    Missed(u64),
    /// To a reload, or to a diff.
    Reloaded(Reloaded),
    /// What is to be known beside the answer: a source of it that cannot be read.
    Note(String),
    /// In words.
    Done(String),
    /// In words; what was asked did not happen.
    Failed(String),
    /// The reply is over.
    End,
}

/// What a reload did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reloaded {
    /// The plan that was applied, or would be.
    pub changes: Vec<Change>,
    /// Of the configuration file.
    pub warnings: Vec<String>,
    /// Back to the former configuration after so many seconds.
    pub confirm_seconds: Option<f64>,
}

/// The router's status and the process's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FullStatus {
    /// Of the router.
    #[serde(flatten)]
    pub status: Status,
    /// Of the process.
    pub process: ProcessStatus,
    /// What is watched of a cluster's API; none without `[kubernetes]`.
    #[serde(default)]
    pub sources: Vec<SourceRow>,
}

/// One watch of a cluster's API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SourceRow {
    /// In the API's words, in the plural: nodes.
    pub kind: String,
    /// The one that is asked for, with its namespace; `None`: all of the kind.
    pub only: Option<String>,
    /// Known now, by this run or by the one before.
    pub objects: usize,
    /// Since the last whole list; `None`: none was had yet.
    pub listed_seconds_ago: Option<f64>,
    /// Since the API said anything, and be it that nothing is new; `None`: never in this run.
    pub contact_seconds_ago: Option<f64>,
    /// Objects that were added, changed or deleted, without those of lists.
    pub events: u64,
    /// Octets of answers.
    pub octets: u64,
    /// Whole lists.
    pub lists: u64,
    /// Answers that were none.
    pub errors: u64,
    /// Lists come in pages, because the API has none that come as a stream.
    pub pages: bool,
    /// What is wrong now.
    pub error: Option<String>,
}

/// Of the process around the router.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ProcessStatus {
    /// Of the running daemon.
    pub version: String,
    /// Of the keys that answers in JSON have ([`SCHEMA_VERSION`]).
    pub schema_version: u32,
    /// In its own process namespace.
    pub pid: u32,
    /// VmRSS; zero where there is no /proc.
    pub resident_bytes: u64,
    /// Of these, the program itself and its libraries (RssFile, RssShmem): pages that all processes of the same program share.
    #[serde(default)]
    pub program_bytes: u64,
    /// Kept by the allocator for what comes, and used by nobody; absent where the C library does not tell.
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Open BGP connections.
    pub connections: u64,
    /// True if there was none.
    pub last_reload_successful: bool,
    /// Or since the start.
    pub last_reload_seconds_ago: Option<f64>,
    /// The report.
    pub last_reload_error: Option<String>,
    /// A reload waits for `catbird confirm`.
    pub confirm_pending: bool,
    /// Lines of the log that were not written: standard error was not read, or too many of one kind came at once.
    #[serde(default)]
    pub log_lines_dropped: u64,
}
