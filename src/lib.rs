//! catbird: a BGP-4 speaker for clusters.
pub mod config;
pub mod fib;
pub mod kernel;
pub mod num;
pub mod rib;
pub mod speaker;
pub mod stats;
