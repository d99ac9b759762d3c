//! The router: a value that owns every peer and every table, takes in what happened and when, and answers with effects.
//!
//! In: [`Input`]s with the time, from the shell or from a lab. Out: [`Effect`]s, polled after each round, and the next deadline. It leaves
//! sockets, netlink, files and clocks to whoever calls it, so a thousand routers in virtual time run the same code as one on a node.
//!
//! The caller's part: hand in what has arrived ([`Speaker::handle`], or piece by piece [`Speaker::handle_some`]), call [`Speaker::settle`] when the queue is empty or after a bounded number
//! of inputs, perform what [`Speaker::poll`] yields, sleep until [`Speaker::next_deadline`], and call `settle` again.
//!
//! # The parts
//!
//! Each has fields of its own and is handed what else it touches; what one means to the others goes through the router.
//!
//! | part | what it owns or decides |
//! |---|---|
//! | `router`, `command`, `reload` | the order in which parts are called; commands; applying a reload |
//! | [`reload_plan`] | the one comparison of two configurations |
//! | `sessions`, `peers` | peers, connections, timers; what sessions mean to the tables |
//! | `import`, `import_context` | from an UPDATE to route changes |
//! | `export` | which update group a peer is in, frames as the connection takes them |
//! | `bfd`, `peer_bfd` | which BFD sessions are wanted, and what their states mean to peers |
//! | `monitoring`, `bmp`, `bmp_tell` | what monitoring stations are told, and in which order |
//! | `validation`, `origins` | what RPKI caches say, and whose routes are judged again by it |
//! | `unnumbered` | peers that are whoever is at the other end of a link |
//! | `fib_sync`, `overlay` | what is wanted in the kernel, and which tunnels |
//! | `origination`, `redistribute` | what is announced as our own |
//! | `lifecycle`, `departure`, `leaving`, `startup`, `retention`, `remembered`, `recall` | drain and stop; a node that leaves; our own restart; what outlives a session, and the process |
//! | `jobs` | work as large as a table, in steps |
//! | `fixed_routes` | kernel routes that stand whatever is learned |
//! | `query`, `explain`, `format`, `counters` | answers |
//!
//! # Invariants
//! Every input and output about a connection names it; words about a connection that is not (or no longer) known are dropped.

mod bfd;
mod bmp;
mod bmp_tell;
mod circle;
mod command;
mod counters;
mod departure;
mod explain;
mod export;
mod fib_sync;
mod fixed_routes;
mod format;
mod import;
mod import_context;
mod io;
mod jobs;
mod leaving;
mod lifecycle;
mod monitoring;
mod origination;
mod origins;
mod overlay;
mod params;
mod peer_bfd;
mod peers;
mod query;
mod recall;
mod redistribute;
mod reload;
pub mod reload_plan;
mod remembered;
mod retention;
mod router;
mod sessions;
mod startup;
mod unnumbered;
mod validation;

pub use io::{Effect, Frames, Input, StopMode};
pub use params::{
    BlockSource, Burden, Forwarding, Leaving, Limits, ListenRange, MaxPrefix, MaxPrefixAction, NextHopSetting, NodeAddresses, OnTerm,
    Params, PeerConfig, RecoveryParams, RedistributeParams, RedistributeRule, Shape, StopParams,
};
pub use remembered::Remembered;
pub use router::Speaker;
pub use sessions::SEND_CREDIT;
