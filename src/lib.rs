//! catbird: a BGP-4 speaker for clusters. One daemon on each node announces the node's pod blocks, learns everybody else's, and keeps
//! the kernel's routes true.
//!
//! The router is a value: [`speaker::Speaker`] owns every peer and every table, takes in inputs with the time, and hands out effects. A
//! thin shell around it ([`daemon`], behind the cargo feature of that name) owns sockets, netlink, files and the clock. Without the
//! feature this crate has no runtime in it at all, and the same router runs in virtual time.
//!
//! # The rooms
//!
//! | room | what it is for |
//! |---|---|
//! | [`num`] | small nouns: AS numbers, identifiers, families, moments |
//! | [`kernel`] | links, addresses and routes of the kernel, as data |
//! | [`stats`] | what happened, as data |
//! | [`wire`] | octets to messages and back |
//! | [`bfd`] | whether the path to a neighbour is alive: BFD sessions |
//! | [`bmp`] | what a monitoring station is told: messages and queues of BMP |
//! | [`rpki`] | which AS may originate which prefix: VRPs, and the caches that say them |
//! | [`ndp`] | who the neighbour on a link is: router advertisements |
//! | [`policy`] | which routes are let in and announced, and with which attributes |
//! | [`peer`] | one neighbour: state machine, collisions, negotiation, timers |
//! | [`rib`] | Adj-RIB-In, Loc-RIB, decision, next hops, update groups |
//! | [`fib`] | what should stand in the kernel against what does |
//! | [`speaker`] | the router: all of the above, driven |
//! | [`driver`] | octets of one connection into messages, without a socket: daemon and Lab share it |
//! | [`api`] | what can be asked of the router, and the answers: types that daemon and client share |
//! | [`config`] | what the operator typed, checked, and what it means |
//! | [`convert`] | configurations of BIRD, FRR and GoBGP, as ours |
//! | [`source`] | what the objects of a cluster's API mean for a node's configuration |
//! | [`simulate`] | a whole cluster in virtual time: these routers by the thousand, and what breaks |
//! | [`daemon`] | the shell: sockets, netlink, files, signals, HTTP, control socket |
//! | [`cli`] | the client side of the control socket (of other nodes, for `path`: of their HTTP), and `decode` |
//!
//! # The arrows
//!
//! A room may use those below it and no others; `proto-tests/tests/meta/arrows.rs` reads this drawing and the imports. What stands in
//! parentheses is free to all.
//!
//! ```text
//! cli     -> daemon simulate source convert config speaker api peer rib policy fib bfd wire stats
//! simulate -> config speaker driver api peer policy fib wire stats
//! daemon  -> source config speaker driver api peer rib policy fib bfd bmp rpki ndp wire stats
//! source  -> config speaker peer policy fib
//! config  -> speaker peer rib policy fib bfd bmp rpki wire
//! speaker -> api peer rib policy fib bfd bmp rpki ndp wire stats
//! rib     -> policy rpki wire     driver -> wire
//! peer    -> wire          policy -> rpki wire     bfd, bmp, rpki -> wire
//! fib, ndp, wire, stats, convert -> (num, kernel)
//! ```
//!
//! # One UPDATE, eleven functions
//!
//! From the socket of the peer that announces to the socket of a peer that is announced, in this order. Each of them calls others of its own
//! file; none of them waits for a peer, and what can be large is done in steps.
//!
//! 1. `conn::read_loop`, the connection's task, reads what the kernel has and cuts and decodes it ([`driver::Driver`], [`wire::Decoder`]).
//!    What comes of a read goes, as one or more [`wire::Batch`]es with their octets, into **the event queue**
//!    ([`daemon::core::event_queue`]: 512 events, at most two of one connection).
//! 2. `Core::cycle` takes in events for a millisecond at most, then has the speaker settle, then performs effects.
//! 3. [`speaker::Speaker::handle_some`] takes in some of a batch and hands back the rest. It finds whose connection it is. The state machine
//!    ([`peer::Peer::handle`], RFC 4271 §8) is told how many UPDATEs that were, for its hold timer.
//! 4. `Import::update` looks for loops (RFC 4271 §9.1.2), holds the peer to its limits, and makes a [`rib::RouteChange`] for each prefix.
//! 5. [`policy::Chain::judge`] says whether the route is let in, and with which attributes.
//! 6. [`rib::Rib::apply`] keeps it in Adj-RIB-In, refused or not, and puts its destination into **the dirty list**, once however often it changes.
//! 7. [`rib::Rib::settle`] takes up to 1,000 destinations out of it, for each of which
//! 8. [`rib::decide::select`] chooses the best path (RFC 4271 §9.1.2.2).
//! 9. [`rib::update_group::UpdateGroups::advertise`] applies export policy, packs and encodes what changed, once for all peers that are
//!    announced the same, into **the log of their update group** (RFC 4271 §9.2).
//! 10. `Export::pump` hands each member what it has yet to read of the log, as far as its connection has credit (256 KiB).
//! 11. `Conn::send` writes the frames, which all members share, without a copy.
//!
//! The kernel's branch leaves after 8: `Program::apply` makes the route that the best path should be in the kernel, [`fib::Fib::set_desired`]
//! compares it with what stands there and queues the difference, `FibSync::drain` numbers what the window has room for, and
//! `Writer::run`, on a thread of its own, writes it in batches. The kernel's answers come back as [`speaker::Input::FibDone`].

// The core has no unsafe code at all, the shell in one file (`proto-tests/tests/meta/wall.rs`).
#![deny(unsafe_code)]
#![cfg_attr(not(feature = "daemon"), forbid(unsafe_code))]
// No room panics on what comes from outside, and rooms that keep no tables of their own index none. `peer` and `wire` promise more.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::get_unwrap, clippy::panic, clippy::unreachable, clippy::string_slice))]
// Clocks and threads (.clippy.toml names the calls) are the shell's.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod api;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod bfd;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod bmp;
#[allow(clippy::disallowed_methods, reason = "the shell's side of the wall")]
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod config;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod convert;
#[allow(clippy::disallowed_methods, reason = "the shell: clock, threads and tasks are its work")]
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod driver;
pub mod fib;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod kernel;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod ndp;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod num;
pub mod peer;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod policy;
pub mod rib;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod rpki;
#[cfg_attr(not(test), deny(clippy::expect_used))]
pub mod simulate;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod source;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing))]
pub mod speaker;
#[cfg_attr(not(test), deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]
pub mod stats;
pub mod wire;
