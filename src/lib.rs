//! catbird: a BGP-4 speaker for clusters. One daemon on each node announces the node's pod blocks, learns everybody else's, and keeps
//! the kernel's routes true.
//!
//! The router is a value: [`speaker::Speaker`] owns every peer and every table, is told inputs and the time, and hands out effects. A
//! thin shell around it ([`daemon`], behind the cargo feature of that name) owns sockets, netlink, files and the clock. Without the
//! feature this crate has no runtime in it at all, and the same router runs in virtual time.
//!
//! # The rooms
//!
//! | room | what it is for |
//! |---|---|
//! | [`num`] | small nouns: AS numbers, identifiers, families, moments |
//! | [`kernel`] | what the kernel tells us, as data |
//! | [`stats`] | what happened, as data |
//! | [`wire`] | octets to messages and back |
//! | [`policy`] | which routes are taken and told, and with which attributes |
//! | [`peer`] | one neighbour: state machine, collisions, negotiation, timers |
//! | [`rib`] | Adj-RIB-In, Loc-RIB, decision, next hops, update groups |
//! | [`fib`] | what should stand in the kernel against what does |
//! | [`speaker`] | the router: all of the above, driven |
//! | [`driver`] | octets of one connection into messages, without a socket: daemon and Lab share it |
//! | [`api`] | what can be asked of the router, and the answers: types that daemon and client share |
//! | [`config`] | what the operator typed, checked, and what it means |
//! | [`source`] | what the objects of a cluster's API mean for a node's configuration |
//! | [`daemon`] | the shell: sockets, netlink, files, signals, HTTP, control socket |
//! | [`cli`] | the client side of the control socket, and `decode` |
//!
//! # The arrows
//!
//! A room may use those below it and no others; `proto-tests/tests/meta/arrows.rs` reads this drawing and the imports. What stands in
//! parentheses is free to all.
//!
//! ```text
//! cli     -> daemon source config speaker api peer rib policy fib wire stats
//! daemon  -> source config speaker driver api peer rib policy fib wire stats
//! source  -> config speaker peer policy fib
//! config  -> speaker peer rib policy fib wire
//! speaker -> api peer rib policy fib wire stats
//! rib     -> policy wire          driver -> wire
//! peer    -> wire          policy -> wire
//! fib, wire, stats -> (num, kernel)
//! ```
//!
//! # One UPDATE, eight hops
//!
//! 1. [`daemon::core::conn`] reads what the kernel has, cuts it into messages and decodes them ([`driver::Driver`]), on the
//!    connection's task.
//!    A [`wire::Batch`] of them, with its octets, is one [`speaker::Input::Received`], however many messages it holds.
//! 2. [`speaker::Speaker::handle_some`] finds whose connection it is.
//! 3. `speaker::import` (`Import::update`) looks for loops, asks [`policy::Chain::judge`], and makes one [`rib::RouteChange`] for each
//!    prefix. The state machine ([`peer::Peer::handle`], RFC 4271 §8) hears of the UPDATEs of a read once, for its hold timer.
//! 4. [`rib::Rib::apply`] keeps it in Adj-RIB-In, refused or not, and marks the destination dirty.
//! 5. [`rib::Rib::settle`], when the queue is empty or the budget is spent, runs [`rib::decide::select`] on what is dirty.
//! 6. `speaker::fib_sync` (`Program::apply`) says what is wanted in the kernel, and [`fib::Fib::set_desired`] plans the changes.
//! 7. [`rib::update_group::UpdateGroups::advertise`] applies export policy, packs and encodes once for all peers that hear the same, and
//!    `speaker::export` (`Export::pump`) hands out frames as far as each connection has credit.
//! 8. [`daemon::netlink`] writes routes in batches, and [`daemon::core::conn`] writes the frozen frames to every member of the group.

// The core has no unsafe code at all, the shell in one file (`proto-tests/tests/meta/wall.rs`).
#![deny(unsafe_code)]
#![cfg_attr(not(feature = "daemon"), forbid(unsafe_code))]
// No room panics on what comes from outside, and rooms that keep no tables of their own index none. `peer` and `wire` promise more.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::get_unwrap, clippy::panic, clippy::unreachable, clippy::string_slice))]
// Clocks and threads (.clippy.toml names the calls) are the shell's.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod api;
#[allow(clippy::disallowed_methods, reason = "the shell's side of the wall")]
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod config;
#[allow(clippy::disallowed_methods, reason = "the shell: clock, threads and tasks are its work")]
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod driver;
pub mod fib;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod kernel;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod num;
pub mod peer;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod policy;
pub mod rib;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod source;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod speaker;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod stats;
pub mod wire;
