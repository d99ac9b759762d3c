//! catbird: a BGP-4 speaker for clusters.
pub mod kernel;
pub mod num;
pub mod speaker;
pub mod stats;
