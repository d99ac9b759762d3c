//! catbird: a BGP-4 speaker for clusters.
#[cfg(feature = "daemon")]
pub mod cli;
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod fib;
pub mod kernel;
pub mod num;
pub mod peer;
pub mod policy;
pub mod rib;
pub mod speaker;
pub mod stats;
pub mod wire;
