//! The router itself.

pub mod show;
