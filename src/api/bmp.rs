//! Answers about BMP stations: `catbird bmp`.
//!
//! Units and forms are those of [`super`].

use serde::{Deserialize, Serialize};

/// One BMP station (RFC 7854), and how far behind it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(schemars::JsonSchema))]
pub struct BmpRow {
    /// Its address and port.
    pub station: String,
    /// What it is told: `adj-in-pre`, `adj-in-post`, `adj-out`, `loc-rib`.
    pub tables: Vec<String>,
    /// `connecting`, `disconnected`, `telling tables`, `following` (it has been told every table once), or `slow` (it does not take what is there).
    pub state: String,
    /// How long the connection has stood; absent without one.
    pub since_seconds: Option<f64>,
    /// Prefixes and events that wait for it.
    pub waiting: u64,
    /// How often it was connected.
    pub connections: u64,
    /// Messages that were made for it.
    pub messages: u64,
    /// Octets of these.
    pub bytes: u64,
    /// How often it was so slow that it had to begin anew.
    pub overruns: u64,
    /// Why there is no connection, or how the one before ended.
    pub last_error: Option<String>,
}
