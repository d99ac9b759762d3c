//! The shell: sockets, clock, files and signals around the router that is a value.
//!
//! In: the configuration file, the network, signals. Out: sessions on the wire, routes in the kernel, lines in the log. It leaves every
//! decision about routes and sessions to [`crate::speaker`], which it feeds through one bounded queue.
#![deny(unsafe_code)]

pub mod clock;
pub mod control;
pub mod crowd;
pub mod desk;
pub mod gauges;
pub mod http;
pub mod metrics;
pub mod netlink;
pub mod notices;
pub mod protocol;
pub mod ready;
pub mod sockopt;
pub mod tasks;
